/* resolve.h - names to addresses, on the worker pool, so that no loop waits for a name server.
 *
 * rill_connect() does this by itself; here it is for programs that want the addresses. Nothing is cached: that is the
 * system's resolver's to do. All functions are for the loop's thread and check it. */
#ifndef RILL_NET_RESOLVE_H
#define RILL_NET_RESOLVE_H

#include "rill/core/loop.h"
#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A look-up that is under way. */
struct rill_resolve;

/* What came of a look-up. The addresses have the port that was asked for; IPv4 and IPv6 take turns, each in the order
 * of getaddrinfo(3), whose first leads (RFC 8305, 4; RFC 6724). All of it is good until the callback returns. */
struct rill_resolved {
    int error;                     /* 0, or see rill_resolve() */
    const char *why;               /* with an error: what is wrong, for people */
    const struct rill_addr *addrs; /* without: at least one */
    unsigned count;                /* at most RILL_RESOLVE_MAX_ADDRS */
};

#define RILL_RESOLVE_MAX_ADDRS 64

/* Looks HOST up on rill_loop_workers(LOOP) and calls FN once, later, on the loop, with 0 or
 *   -ENOENT      there is no such name, or it has no address
 *   -EAGAIN      the name server does not answer
 *   -ETIMEDOUT   DEADLINE_MS of rill_loop_now_ms() (0: none) passed before a worker was free
 *   -ECANCELED   the pool stopped
 *   -ENOMEM, -EIO or another of the resolver's.
 * When the loop has ended and refuses the result, FN is called by whoever stops the pool, as in core/workers.h.
 * Returns 0 with *RESOLVE for rill_resolve_cancel(); or, FN is not called then, -ENOTSUP: the loop has no pool;
 * -EAGAIN: the pool's queue is full; -ESHUTDOWN: it has stopped; -EINVAL: HOST is too long; -ENOMEM. */
RILL_WARN_UNUSED int rill_resolve(struct rill_loop *loop, const char *host, uint16_t port, uint64_t deadline_ms,
                                  void (*fn)(const struct rill_resolved *resolved, void *arg), void *arg,
                                  struct rill_resolve **resolve);

/* FN is not called any more; RESOLVE is gone. Not after FN was called. */
void rill_resolve_cancel(struct rill_resolve *resolve);

#ifdef __cplusplus
}
#endif

#endif
