/* conn_pool.h - connections to one target, kept for the next who needs one: lease, use, return.
 *
 * Leasing takes the idle connection that was returned last and is in health; with none it makes one, up to `max_conns`;
 * beyond that it waits for one that is returned. A connection is in health when its peer has neither ended it nor said
 * anything while nobody listened, which is looked at when it happens and once more before it is leased; and, with
 * `probe`, when it has passed the app's own test.
 *
 * Rules of life
 * 1. A leased connection is an ordinary one with the handler, arg and limits of `connect.conn`, and the lessee's
 * `user`. It goes back with rill_conn_pool_return(), or is simply closed; the pool notices.
 * 2. on_open runs once for each connection, before it is leased for the first time; its user is NULL then. on_close
 * runs when it is closed while leased, prepared or probed; an idle one goes without a word.
 * 3. Nothing is called before rill_conn_pool_lease() has returned. A request ends in on_leased, in on_failed or in
 *    rill_lease_cancel(), which is good until one of those two is called, and does nothing while it is.
 * 4. Every callback may lease, return, cancel, close, and free the pool. Freeing it fails those who wait (-ECANCELED),
 * closes all that is not leased, and leaves to the lessees what is, to be closed when it is returned.
 * 5. A pool is freed before its loop.
 *
 * All functions are for the loop's thread and check it. */
#ifndef RILL_NET_CONN_POOL_H
#define RILL_NET_CONN_POOL_H

#include "rill/net/connect.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_conn_pool;

/* A request that has not been met. */
struct rill_lease;

/* Zero is the default of every field but `connect.target` (or `connect.addrs`) and `connect.conn`. Everything is copied
 * but what `connect.conn` and `arg` point to; `connect.conn` outlives the connections. */
struct rill_conn_pool_config {
    struct rill_connect_config connect; /* its callbacks, `arg` and `user` are not used */
    unsigned max_conns;                 /* in all, those that are being made included; 0: 16 */
    unsigned max_idle;                  /* 0: max_conns; more are closed, oldest first, when nobody waits */
    unsigned max_waiting;               /* requests; 0: 1024 */
    uint64_t idle_timeout_ms;           /* an idle connection is closed after it; 0: 60 s */
    /* A new connection, before anybody leases it: to log in, say. It is not leased until it is returned; closed
     * instead, it fails the request that it was made for. NULL: it is leased as it is. */
    void (*prepare)(struct rill_conn *conn, void *arg);
    /* A connection that has been idle for longer than `probe_after_ms`: to ask the peer for a sign of life. It is not
     * leased until it is returned; closed instead, another is taken. NULL: it is leased as it is. Both callbacks set
     * rill_conn_user(), which is NULL, and a deadline, as they see fit. */
    void (*probe)(struct rill_conn *conn, void *arg);
    uint64_t probe_after_ms;
    void *arg;
};

struct rill_lease_request {
    /* CONN is the caller's. REUSED: it has been leased before, so the peer may be about to close it, and what can be
     * asked again should be when it does. */
    void (*on_leased)(struct rill_conn *conn, bool reused, void *arg);
    /* ERROR and WHY as in struct rill_connect_config, or -ETIMEDOUT: timeout_ms have passed; -ECONNABORTED: a new
     * connection closed before it was ready; -ECANCELED: the pool was freed. */
    void (*on_failed)(int error, const char *why, void *arg);
    void *arg;           /* of both */
    void *user;          /* rill_conn_user() */
    uint64_t timeout_ms; /* 0: 30 s */
};

/* Makes a pool, without connections. Returns NULL with *ERROR -ENOMEM, or -EINVAL: no target. */
struct rill_conn_pool *rill_conn_pool_new(struct rill_loop *loop, const struct rill_conn_pool_config *config,
                                          int *error);

/* See rule 4. NULL is ignored. */
void rill_conn_pool_free(struct rill_conn_pool *pool);

/* Asks for a connection. Requests are met in their order. Returns 0, with *LEASE, unless LEASE is NULL, for
 * rill_lease_cancel(); -EAGAIN: max_waiting wait already; -ENOMEM; -ESHUTDOWN: the loop is
 * stopping; -ECANCELED: the pool is being freed. */
RILL_WARN_UNUSED int rill_conn_pool_lease(struct rill_conn_pool *pool, const struct rill_lease_request *request,
                                          struct rill_lease **lease);

/* Neither callback of the request comes any more. NULL is ignored. */
void rill_lease_cancel(struct rill_lease *lease);

/* An idle connection in health, leased to USER at once; NULL when there is none, or others wait. */
struct rill_conn *rill_conn_pool_try(struct rill_conn_pool *pool, void *user);

/* Gives CONN, leased, prepared or probed, back to its pool, between one reply and the next request: bytes that come now
 * are not awaited, and end it. Pauses are lifted; output that waits still leaves. One that is closing, has ended or is
 * too many is closed (RILL_CLOSE_LOCAL). */
void rill_conn_pool_return(struct rill_conn *conn);

/* How many there are. */
struct rill_conn_pool_counts {
    unsigned conns;   /* in all */
    unsigned coming;  /* of these: being made, prepared or probed */
    unsigned idle;    /* of these */
    unsigned waiting; /* requests */
};
struct rill_conn_pool_counts rill_conn_pool_counts(const struct rill_conn_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
