/* fake_http.h - a whole HTTP server in memory: real sessions, router and loop on connections without sockets, a pool
 * without threads and a clock without time; and handlers of every kind.
 *
 * Each handler leaves a clean-up handler with its exchange, and says in a field X-Target what it was asked for. */
#ifndef RILL_TESTS_SUPPORT_FAKE_HTTP_H
#define RILL_TESTS_SUPPORT_FAKE_HTTP_H

#include "fake_conn.h"
#include "fake_sys.h"
#include "fake_workers.h"
#include "rill/http/session_internal.h"

struct fake_http {
    struct rill_loop *loop;
    struct rill_router *router;
    struct rill_http_server server;
    struct rill_workers *workers;
    struct rill_conn_config conn_config;
    unsigned started;              /* exchanges that got as far as their handler */
    unsigned cleaned;              /* of these, ended: their clean-up handlers have run */
    unsigned submitted, destroyed; /* jobs given to the pool, and their ends */
    unsigned too_long;             /* writes refused with -EMSGSIZE */
    unsigned bodies_ended;         /* times that a handler was told END */
    unsigned late_calls;           /* timers of handlers that fired */
    uint64_t body_bytes;           /* told to handlers */
    bool mistaken;                 /* a handler saw what it should not: see `mistake` */
    const char *mistake;
    struct rill_exchange_id kept; /* the last exchange of /kept */
};

/*  GET  /hello            at once                   POST /echo       the body back, as it comes
 *  GET  /hello/:name      at once, a parameter      POST /collect    the body's length, when it has come
 *  GET  /later/:ms        from a timer              POST /limited    the same, at most 10 bytes
 *  GET  /pool/:text       from the pool             POST /paused     the same, holding back after each piece
 *  GET  /never            not at all                POST /late-read  the same, beginning after 20 ms
 *  GET  /kept             by fake_http_answer_kept  POST /ignore     at once, the body is not read
 *  GET  /bytes/:n         n bytes, copied           POST /early      at the first piece of the body
 *  GET  /buf/:n           n bytes, shared           POST /ignore-later/:ms  from a timer, the body is not read
 *  GET  /stream/:n/:size  n pieces, length unknown
 *  GET  /known/:said/:sent  a length said, and another sent
 *  GET  /abort/:when      "before", "after" the head, or "later", from a timer
 *  GET  /deadline/:ms/:later  503 after so long, an answer after so long
 *  GET  /status/:code     a page for a status
 *  GET  /end              ends without having begun
 *  GET  /headers          tries fields that are and are not allowed
 *  any method  /any
 *
 * Starts a server with CONFIG (NULL: the defaults; its router and net.handler are filled in). */
void fake_http_start(struct fake_http *web, const struct rill_http_server_config *config);

/* Ends it. Stops the program when an exchange, a session or a connection is left over, or a clean-up handler did not
 * run or ran twice. */
void fake_http_stop(struct fake_http *web);

/* Opens a connection for PEER. */
void fake_http_open(struct fake_http *web, struct fake_peer *peer);

/* Turns until nothing happens at this moment; jobs of the pool are run. */
void fake_http_settle(struct fake_http *web);

/* Lets DELAY_MS pass, in steps, with turns between. */
void fake_http_pass(struct fake_http *web, uint64_t delay_ms);

/* Answers the exchange that /kept kept, from outside every callback: a stream of COUNT pieces. False when it is gone.
 */
bool fake_http_answer_kept(struct fake_http *web, unsigned count);

/* The server drains: tells every connection. */
void fake_http_drain(struct fake_http *web);

/* Breaks connection PEER from the server's side, as a lack of memory would. */
void fake_http_break(struct fake_http *web, struct fake_peer *peer);

/* The net server's part in overload: whether it wants requests refused, and how often it was told how one ended. */
struct fake_overload {
    bool refusing;
    unsigned refused, answered;
};
extern struct fake_overload fake_overload;

#endif
