/* cidr.h - networks of addresses, as in "10.0.0.0/8", and lists of them: who may do what. Thread: any, throughout; a
 * list does not change once it is made. */
#ifndef RILL_NET_CIDR_H
#define RILL_NET_CIDR_H

#include "rill/core/base.h"
#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The addresses that begin with the same bits (RFC 4632, 3.1; RFC 4291, 2.3); or the peers of Unix sockets. */
struct rill_cidr {
    uint8_t bytes[16]; /* network order; IPv4: the first four */
    uint8_t bits;      /* that count */
    uint8_t version;   /* 4, 6, or 0 for Unix sockets, as in struct rill_ip */
};

/* Reads "10.0.0.0/8", "2001:db8::/32", one address ("127.0.0.1", "::1"), or "unix:" for all peers of Unix sockets. IPv4
 * mapped into IPv6 is IPv4, as it is in struct rill_ip. Bits beyond those that count must be 0: "10.1.2.3/8" may have
 * been meant otherwise. Returns 0, or -EINVAL with *WHY set to a constant string that says what is wanted; WHY may be
 * NULL. */
RILL_WARN_UNUSED int rill_cidr_parse(struct rill_slice text, struct rill_cidr *cidr, const char **why);

/* Whether IP is one of CIDR's. "0.0.0.0/0" has all IPv4 addresses and no others, "::/0" all IPv6 ones. */
bool rill_cidr_contains(const struct rill_cidr *cidr, const struct rill_ip *ip);

/* Several networks. */
struct rill_cidr_list;

/* Reads networks with commas between them, and spaces as one likes. At least one is wanted. Returns a list for
 * rill_cidr_list_free(), or NULL and sets *ERROR to -EINVAL, with *WHY as rill_cidr_parse(), or -ENOMEM. */
RILL_WARN_UNUSED struct rill_cidr_list *rill_cidr_list_new(const char *text, int *error, const char **why);

/* Whether IP is in one of them. O(n). */
bool rill_cidr_list_contains(const struct rill_cidr_list *list, const struct rill_ip *ip);

/* NULL is ignored. */
void rill_cidr_list_free(struct rill_cidr_list *list);

#ifdef __cplusplus
}
#endif

#endif
