/* address_rates.h - how often each client address may do something: a token bucket for each, in a table whose size is
 * fixed. Thread: any, throughout. */
#ifndef RILL_NET_ADDRESS_RATES_H
#define RILL_NET_ADDRESS_RATES_H

#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_address_rates;

/* So many a second in the long run, and `burst` at once by who has not come for a while; 0 a second: no limit. */
struct rill_rate {
    unsigned per_second;
    unsigned burst; /* 0: as many as per_second */
};

/* Reads "N" or "N:BURST", 1 to 1,000,000 each. Returns 0, or -EINVAL with *WANTED set to what would have been right. */
int rill_rate_parse(const char *text, struct rill_rate *rate, const char **wanted);

/* A table for RATE; WHAT is limited ("requests"), for the log. It knows 16,384 addresses (40 bytes each), an IPv6
 * network of 64 bits being one. When more come, a new one takes the place of the one among eight whose bucket is
 * fullest: one that has come least of late. So a full table errs in favour of who comes. NULL: no memory. */
struct rill_address_rates *rill_address_rates_new(const struct rill_rate *rate, const char *what);

/* Takes one of PEER's tokens at NOW_NS, of rill_sys_monotonic_ns(). Returns 0, or, when there is none, in how many
 * nanoseconds there will be one; that is logged once for as long as it goes on, and once a second for all. The peers of
 * Unix sockets are not told apart and not limited. */
uint64_t rill_address_rates_take(struct rill_address_rates *rates, const struct rill_ip *peer, uint64_t now_ns);

/* Frees the table. NULL is ignored. */
void rill_address_rates_free(struct rill_address_rates *rates);

#ifdef __cplusplus
}
#endif

#endif
