/* protocol.h - the messages of SOCKS version 5 (RFC 1928) and of its passwords (RFC 1929). Pure functions. Each takes
 * apart the LENGTH bytes that came so far and returns how many of them its message is long, or 0: it has not come
 * whole. Slices point into the bytes. */
#ifndef RILL_APPS_SOCKS5_PROTOCOL_H
#define RILL_APPS_SOCKS5_PROTOCOL_H

#include "rill/net/addr.h"

enum { SOCKS_VERSION = 5, SOCKS_PASSWORD_VERSION = 1 };

/* Methods of authentication. */
enum { SOCKS_NO_AUTH = 0, SOCKS_BY_PASSWORD = 2, SOCKS_NO_METHOD = 0xff };

/* What a reply says (RFC 1928, 6). */
enum socks_reply {
    SOCKS_SUCCEEDED,
    SOCKS_FAILED,
    SOCKS_NOT_ALLOWED,
    SOCKS_NETWORK_UNREACHABLE,
    SOCKS_HOST_UNREACHABLE,
    SOCKS_REFUSED,
    SOCKS_TTL_EXPIRED,
    SOCKS_NO_SUCH_COMMAND,
    SOCKS_NO_SUCH_ADDRESS_TYPE,
};

/* The first message: the METHODS that the client offers, a byte each. -EPROTO: this is no SOCKS 5. */
int socks_read_greeting(const char *bytes, size_t length, struct rill_slice *methods);

/* A name and a password. With another version than SOCKS_PASSWORD_VERSION both are empty, as no user's are. */
int socks_read_password(const char *bytes, size_t length, struct rill_slice *name, struct rill_slice *password);

/* Where a client wants to be connected to. */
struct socks_request {
    enum socks_reply refusal; /* SOCKS_SUCCEEDED, or why nothing of what follows is set: the answer it gets */
    bool is_name;             /* TARGET, as rill_connect() reads it; else ADDR */
    struct rill_addr addr;
    char target[RILL_HOST_TEXT + 8];
};

/* A request. What is refused for its first bytes need not come whole: then all LENGTH bytes are returned. A name is
 * one: anything else that rill_connect() would understand, a Unix socket for one, is not for strangers to reach. */
int socks_read_request(const char *bytes, size_t length, struct socks_request *request);

enum { SOCKS_REPLY_BYTES = 22 };

/* Writes a reply, with BOUND (NULL: unknown) as the address that the destination sees. Returns its length. */
size_t socks_write_reply(uint8_t out[SOCKS_REPLY_BYTES], enum socks_reply reply, const struct rill_addr *bound);

#endif
