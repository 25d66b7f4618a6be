/* address_counts_internal.h - how many connections each client address has: a table as large as the number of addresses
 * that are connected now, which the limit on connections bounds. Thread: any, throughout. */
#ifndef RILL_NET_ADDRESS_COUNTS_INTERNAL_H
#define RILL_NET_ADDRESS_COUNTS_INTERNAL_H

#include "rill/net/addr.h"

struct rill_address_counts;

/* A table that lets each address have LIMIT at a time, fit for about MOST connections in all. An IPv6 network of 64
 * bits counts as one address: it is the least that a customer is given (RFC 6177), so who has one address there has
 * them all. NULL: no memory. */
struct rill_address_counts *rill_address_counts_new(unsigned limit, unsigned most);

/* Counts one more for PEER; false, and nothing is counted, when it has as many as it may, which is logged once for
 * as long as it has any and once a second for all, or memory is lacking. The peers of Unix sockets are not told apart
 * and not limited. */
bool rill_address_counts_take(struct rill_address_counts *counts, const struct rill_ip *peer);

/* Counts one less for PEER. NULL COUNTS is a no-op. */
void rill_address_counts_release(struct rill_address_counts *counts, const struct rill_ip *peer);

/* Addresses in the table now: those with at least one connection. */
unsigned rill_address_counts_size(struct rill_address_counts *counts);

/* Frees the table. NULL is ignored. */
void rill_address_counts_free(struct rill_address_counts *counts);

#endif
