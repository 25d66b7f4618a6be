/* client.h - a client that keeps one connection to a target up: it connects, and when that fails or the connection
 * ends, connects again, later each time.
 *
 * How much later: a time drawn evenly from 0 to `backoff_ms`, then from 0 to twice that, and so on up to
 * `backoff_max_ms` ("full jitter": many clients of a server that comes back do not come back at once). A connection
 * that has lived for `stable_ms` ends the count.
 *
 * Rules of life
 * 1. Nothing is called before rill_client_new() has returned.
 * 2. on_up(client, conn) comes before the connection's on_open; on_down after its on_close, or after a connect that
 *    failed. Between two on_up there is an on_down.
 * 3. Every callback, those of the connection's handler included, may stop the client, start it or free it; nothing is
 *    called for it afterwards but what stopping or freeing calls itself: the on_close of the connection.
 * 4. It is freed before its loop.
 *
 * The connection is the app's to use and to close; the client sees to the next one. All functions are for the loop's
 * thread and check it. */
#ifndef RILL_NET_CLIENT_H
#define RILL_NET_CLIENT_H

#include "rill/net/connect.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_client;

enum rill_client_state {
    RILL_CLIENT_STOPPED,
    RILL_CLIENT_CONNECTING,
    RILL_CLIENT_UP,      /* there is a connection */
    RILL_CLIENT_WAITING, /* for the time to try again */
};

/* Why there is no connection, and when the next is tried. */
struct rill_client_outage {
    bool was_up;                   /* a connection has ended; false: none could be made */
    enum rill_close_reason reason; /* of that end */
    int error;                     /* of that failure, see struct rill_connect_config */
    const char *why;               /* either in words; good until on_down returns */
    unsigned failures;             /* in a row, this one included; 0: the connection had been stable */
    uint64_t retry_ms;             /* from now on */
};

/* Zero is the default of every field but `connect.target` (or `connect.addrs`) and `connect.conn`. Everything is copied
 * but what `connect.conn`, `connect.user` and `arg` point to. */
struct rill_client_config {
    struct rill_connect_config connect; /* its callbacks and `arg` are not used */
    uint64_t backoff_ms;                /* 0: 100 */
    uint64_t backoff_max_ms;            /* 0: 30 s */
    uint64_t stable_ms;                 /* 0: 10 s */
    void (*on_up)(struct rill_client *client, struct rill_conn *conn, void *arg);
    void (*on_down)(struct rill_client *client, const struct rill_client_outage *outage, void *arg);
    void *arg;
};

/* Makes a client and has it connect. Returns NULL with *ERROR a negative errno, as rill_connect() returns it. */
struct rill_client *rill_client_new(struct rill_loop *loop, const struct rill_client_config *config, int *error);

/* Closes the connection (RILL_CLOSE_LOCAL), or ends the attempt to make one, and makes no other. */
void rill_client_stop(struct rill_client *client);

/* Connects, when stopped; tries at once, when waiting; forgets earlier failures. */
void rill_client_start(struct rill_client *client);

/* Stops CLIENT and frees it. NULL is ignored. */
void rill_client_free(struct rill_client *client);

enum rill_client_state rill_client_state(const struct rill_client *client);

/* The connection, while there is one. */
struct rill_conn *rill_client_conn(const struct rill_client *client);

#ifdef __cplusplus
}
#endif

#endif
