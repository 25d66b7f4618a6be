/* addr.h - socket addresses: from text, to text, and a compact form of a peer's. Thread: any, throughout. */
#ifndef RILL_NET_ADDR_H
#define RILL_NET_ADDR_H

#include "rill/core/base.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Any address that Rill listens on or connects to. */
struct rill_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } socket;
    socklen_t length; /* of the part of `socket` in use */
};

/* Room for the text of any address, its NUL included. */
#define RILL_ADDR_TEXT 128

/* Reads "HOST:PORT", "[V6]:PORT", "unix:/PATH"; HOST is an IPv4 address, a name ("localhost"), "*" or nothing (all
 * IPv4 addresses). PORT is 0 to 65535, 0: any free one. Names are looked up, which may block: for start-up only.
 * Returns 0, or -EINVAL with *WHY set to a constant string that says what is wanted; WHY may be NULL. */
int rill_addr_parse(const char *text, struct rill_addr *addr, const char **why);

/* Room for the name of a host, its NUL included. */
#define RILL_HOST_TEXT 256

/* As rill_addr_parse(), but never looks a name up: when HOST is one, returns 1, with HOST its name and ADDR of no
 * family, the port apart (rill_addr_port()). */
int rill_addr_parse_numeric(const char *text, struct rill_addr *addr, char host[RILL_HOST_TEXT], const char **why);

/* ADDR's port; 0 for a Unix socket. */
uint16_t rill_addr_port(const struct rill_addr *addr);

/* Writes ADDR as rill_addr_parse() reads it. */
void rill_addr_format(const struct rill_addr *addr, char text[RILL_ADDR_TEXT]);

/* A peer, in 20 bytes: what a connection keeps. */
struct rill_ip {
    uint8_t bytes[16]; /* IPv4: the first four; network order */
    uint16_t port;     /* host order */
    uint8_t version;   /* 4, 6, or 0 for a Unix socket's peer */
};

/* The compact form of ADDR. IPv4 addresses mapped into IPv6 (RFC 4291, 2.5.5.2) become IPv4. */
struct rill_ip rill_ip_of(const struct rill_addr *addr);

/* The address that IP is the compact form of; of a Unix socket's peer one without a path. */
struct rill_addr rill_addr_of(const struct rill_ip *ip);

/* Room for rill_ip_format(), its NUL included. */
#define RILL_IP_TEXT 48

/* Writes the address without its port ("127.0.0.1", "::1", "unix") and returns its length. */
size_t rill_ip_format(const struct rill_ip *ip, char text[RILL_IP_TEXT]);

#ifdef __cplusplus
}
#endif

#endif
