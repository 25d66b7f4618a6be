/* connect.h - outgoing connections: from a target to an ordinary struct rill_conn.
 *
 * rill_connect() looks a name up on the loop's worker pool (rill_loop_workers()), races the addresses that it finds as
 * RFC 8305 ("happy eyeballs") says, and ends in exactly one of
 *   success: a connection of the loop, adopted with the caller's rill_conn_config; from then on net/conn.h is all there
 *            is to know about it;
 *   failure: on_failed(), with a negative errno and a sentence for people;
 *   silence: rill_connect_cancel() was called before either.
 *
 * Rules of life
 * 1. Nothing is called before rill_connect() has returned, whatever is known by then.
 * 2. The handle ends with on_connected or on_failed, also when these are NULL: with a success that is before the
 *    connection's on_open. While that callback runs it may still be given to rill_connect_cancel(), which does nothing
 *    then; afterwards it is gone.
 * 3. Every callback may cancel any connect, start others, close any connection and free what ARG points to.
 * 4. A loop that is freed ends what is under way on it with on_failed(-ECANCELED); nothing can be started then.
 *    The worker pool has been stopped before, as core/workers.h wants it.
 *
 * What a success calls, in this order: on_connected(conn, arg), in which rill_conn_user(conn) is `user` already;
 * on_open(conn) of the handler, unless on_connected closed the connection; later on_data and the others. With `user`
 * and on_open most programs need no on_connected.
 *
 * An address that is written as numbers, a Unix socket, a ready list and "localhost" need no pool and no look-up.
 *
 * All functions are for the loop's thread and check it. */
#ifndef RILL_NET_CONNECT_H
#define RILL_NET_CONNECT_H

#include "rill/net/conn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A connect that is under way. */
struct rill_connect;

/* Zero is the default of every field but `target` (or `addrs`) and `conn`. Everything is copied but what `conn`, `user`
 * and `arg` point to. */
struct rill_connect_config {
    /* "HOST:PORT", "[V6]:PORT" or "unix:/PATH". The addresses of a HOST are tried with their families in turn, the
     * one that getaddrinfo(3) puts first leading (RFC 8305, 4; RFC 6724). */
    const char *target;
    const struct rill_addr *addrs; /* instead of `target`: tried in this order */
    unsigned addr_count;

    const struct rill_addr *source; /* where the connection comes from; port 0: any; NULL: the system chooses */
    uint64_t timeout_ms;            /* for everything, the look-up included; 0: 30 s */
    uint64_t
        attempt_delay_ms; /* so long one address has before the next one is tried beside it; 0: 250 (RFC 8305, 5) */
    bool nagle;           /* leaves TCP_NODELAY off; off saves a system call */

    const struct rill_conn_config *conn; /* outlives the connection */
    void *user;                          /* rill_conn_user() */
    void (*on_connected)(struct rill_conn *conn, void *arg);
    /* ERROR is what the address failed with that failed last, or
     *   -ETIMEDOUT    timeout_ms have passed, or the network has given up sooner
     *   -ENOENT       there is no such name, or it has no address
     *   -EINVAL       the target is none
     *   -ENOTSUP      a name was to be looked up, and the loop has no worker pool
     *   -EAGAIN       the name server, or the worker pool's queue, is overloaded; of a Unix socket: its backlog is full
     *   -ECANCELED    the loop or its worker pool has ended
     *   -ENOMEM, -ENFILE   memory or connections are used up.
     * WHY says what was wanted and what each address failed with: "cannot connect to example.org:80: 192.0.2.1:80:
     * connection refused; [2001:db8::1]:80: network is unreachable". It is good until on_failed returns. */
    void (*on_failed)(int error, const char *why, void *arg);
    void *arg; /* of both */
};

/* Begins to connect. Returns 0; -ENOMEM; -EINVAL when CONFIG names no target or more than RILL_CONNECT_MAX_ADDRS
 * addresses; -ESHUTDOWN: the loop is stopping. After an error no callback runs. *CONNECT, unless CONNECT is NULL, is
 * for rill_connect_cancel(). */
#define RILL_CONNECT_MAX_ADDRS 64
RILL_WARN_UNUSED int rill_connect(struct rill_loop *loop, const struct rill_connect_config *config,
                                  struct rill_connect **connect);

/* Ends a connect without a word: no callback comes any more. NULL is ignored. */
void rill_connect_cancel(struct rill_connect *connect);

#ifdef __cplusplus
}
#endif

#endif
