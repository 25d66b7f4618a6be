/* session_internal.h - what the files of http/ share: the per-loop context, the session (HTTP/1 on a connection) and
 * the exchange (one request and its response). */
#ifndef RILL_HTTP_SESSION_INTERNAL_H
#define RILL_HTTP_SESSION_INTERNAL_H

#include "rill/core/crash.h"
#include "rill/core/line_writer.h"
#include "rill/core/slab.h"
#include "rill/core/trace.h"
#include "rill/http/date.h"
#include "rill/http/exchange.h"
#include "rill/http/http_stats.h"
#include "rill/http/parser.h"
#include "rill/http/router.h"
#include "rill/http/server.h"

/* What a session is doing; see the table in session.c. */
enum rill_session_state {
    RILL_SESSION_IDLE,    /* between requests: no exchange, no byte of the next one */
    RILL_SESSION_HEAD,    /* part of a head has come */
    RILL_SESSION_BUSY,    /* a handler has the exchange; the request's body may still be coming */
    RILL_SESSION_DISCARD, /* answered; what is left of the request's body is read and dropped */
    RILL_SESSION_CLOSING, /* the connection is on its way out */
    RILL_SESSION_STATES,
};

/* Whether a session may go from FROM to TO. */
bool rill_session_state_may_change(enum rill_session_state from, enum rill_session_state to);

struct rill_http_loop;

/* 40 bytes: beside its connection, all that an idle keep-alive client costs. */
struct rill_session {
    struct rill_conn *conn;
    struct rill_http_loop *http;
    struct rill_exchange *x; /* NULL while IDLE */
    uint32_t serial;         /* of the current or next exchange */
    uint32_t slot;
    uint8_t state;     /* enum rill_session_state, changed by set_state() only */
    uint8_t entered;   /* frames on the stack that go on using it: it is freed when they have returned */
    bool dead;         /* the connection has closed meanwhile */
    bool buried;       /* and it is freed when the turn ends */
    bool closing;      /* after this exchange: the server stops, or the peer has ended its stream */
    bool deadline_set; /* for this HEAD, or this body */
    bool blank;        /* HEAD: nothing but an empty line has come */
};

/* How far the response is. */
enum rill_response_phase {
    RILL_RESPONSE_NONE,
    RILL_RESPONSE_STREAMING, /* the head has been sent */
    RILL_RESPONSE_COMPLETE,
};

#define RILL_EXCHANGE_ARENA_FIRST 1024
#define RILL_EXCHANGE_ARENA_MAX (1 << 20)

/* Leased from the loop for as long as it lasts. The fields up to `match` are cleared for each request. */
struct rill_exchange {
    struct rill_session *session;
    const char *base; /* the head: where it landed, or a copy in the arena once `detached` */
    struct rill_slice path;
    uint64_t began_ns;   /* when its first byte was looked at, or the turn in which that was, began */
    uint64_t started_ns; /* 0: nobody wants to know */

    /* the response */
    uint64_t body_left; /* of the content length announced; RILL_LENGTH_UNKNOWN: chunked or until close */
    uint64_t body_sent; /* for the log */
    struct rill_slice fields;
    char *extra; /* further lines, in the arena */
    uint32_t extra_length, extra_capacity;
    uint16_t status;
    uint8_t phase; /* enum rill_response_phase */
    bool detached;
    bool no_content; /* HEAD, 204, 304: body bytes are not sent */
    bool chunked;
    bool keep_alive;
    bool aborted;
    bool linger;
    bool refused; /* for overload */

    /* the request's body */
    bool body_done;     /* all of it has been read, or there is none */
    bool body_end_told; /* on_body was called with END */
    bool body_paused;
    bool continue_wanted; /* the client waits for 100 Continue */
    bool failed;          /* the request was malformed: log it as such */
    uint32_t discarded;   /* bytes of it that were read after the answer */
    unsigned callbacks;   /* of the handler, on the stack: it ends when they have returned */
    rill_body_fn *on_body;
    void *body_arg;
    uint64_t body_mark; /* body bytes read when the stretch of body_timeout_ms began */

    rill_handler_fn *on_room, *on_after;
    void *room_arg, *after_arg;

    struct rill_route_match match; /* from here on: not cleared */
    struct rill_timer after_timer, deadline_timer;
    struct rill_exchange *next_free;
    struct rill_arena arena;
    struct rill_parser parser;
    char arena_first[RILL_EXCHANGE_ARENA_FIRST] __attribute__((aligned(16)));
};

struct rill_http_server {
    struct rill_http_server_config config;
    struct rill_server *net;
    struct rill_line_writer *log;
    struct rill_address_rates *request_rates;    /* NULL: no limit */
    uint64_t in_flight;                          /* requests, when there is a limit on them; atomic: any loop */
    struct rill_http_loop *loops[RILL_LOOP_MAX]; /* by rill_loop_index(); each set once, by its loop; atomic */
    char common_prefix[96];                      /* the Server field with its CRLF */
    size_t common_prefix_length;
};

/* All that http/ keeps for one loop; one thread's. */
struct rill_http_loop {
    struct rill_http_server *server;
    struct rill_loop *loop;
    struct rill_trace_lane *trace; /* the loop's; NULL: none */
    struct rill_slab sessions;
    const bool *refusing; /* the net server's: it is overloaded; atomic */
    struct rill_exchange *free_exchanges;
    unsigned free_exchange_count;
    struct rill_exchange *dead_exchanges; /* their connections died; freed, sessions and all, when the turn ends */
    struct rill_task dead_task, end_task;
    const struct rill_exchange *current; /* whose handler has been called; NULL: none's */
    struct rill_line_channel *log;       /* NULL: no access log */
    struct rill_file_cache *file_caches; /* of this loop, one for each struct rill_files */
    struct rill_loop_turn *turn;         /* the loop's */
    struct rill_http_stats stats;        /* written by the loop, read by any */
    int64_t date_second;                 /* that `common` was rendered for */
    int64_t log_second;                  /* that `log_time` was rendered for */
    size_t common_length;
    char common[160]; /* Server and Date, with their CRLFs */
    char log_time[32];
};

/* LOOP's context, once the server has started it there. */
static inline struct rill_http_loop *rill_http_loop_of(const struct rill_loop *loop)
{
    return rill_loop_slot(loop, RILL_LOOP_SLOT_HTTP);
}

static inline struct rill_http_loop *rill_exchange_http(const struct rill_exchange *x)
{
    return x->session->http;
}

/* context.c */

/* Gives SERVER the configuration CONFIG with its defaults filled in. Returns 0, or -EINVAL: the Server field is too
 * long. */
RILL_WARN_UNUSED int rill_http_server_configure(struct rill_http_server *server,
                                                const struct rill_http_server_config *config);

/* Makes LOOP's context; ARG is the server. Returns 0 or -ENOMEM. */
RILL_WARN_UNUSED int rill_http_loop_start(struct rill_loop *loop, void *arg);

/* session.c */

/* Whoever may cause the connection to close, and goes on using the session or its exchange, does so between these. */
void rill_session_enter(struct rill_session *session);
void rill_session_leave(struct rill_session *session);

/* Called when something about X has changed outside the session's own callbacks: ends it when its response is complete
 * and no callback of it is on the stack, and sees that reading goes on or stops. X may be gone afterwards. */
void rill_session_settle(struct rill_exchange *x);

/* Calls FN(X, ARG), a callback of the handler that comes from elsewhere than the connection, and settles. */
void rill_session_call(struct rill_exchange *x, rill_handler_fn *fn, void *arg);

/* HTTP's task for the end of a turn in which connections died. */
void rill_session_free_dead(struct rill_task *task);

/* What the loop is doing, for rill_loop_set_describe(); VALUE is its struct rill_http_loop. */
void rill_session_describe(const void *value, struct rill_note *note);

/* Closes the connections of all sessions; what is left of them is freed when the turn ends. */
void rill_session_close_all(struct rill_http_loop *http);

/* session_body.c */

/* Whether what is left of the body of X's request is little enough to be read and dropped, once X is answered. */
bool rill_session_would_discard(const struct rill_exchange *x);

/* session_conn.c */

/* The callbacks of a connection that speaks HTTP. */
extern const struct rill_conn_handler rill_session_handler;

/* lease.c */

/* SESSION's exchange for its next request; NULL when memory is lacking. */
struct rill_exchange *rill_exchange_lease(struct rill_session *session);

/* Ends X: its log line, its timers, its clean-up handlers, its lease. */
void rill_exchange_release(struct rill_exchange *x);

/* The same for one that may have got no answer: then it does not count among those whose time is taken. */
void rill_exchange_drop(struct rill_exchange *x);

/* The two first of these alone; a second time they do nothing. */
void rill_exchange_write_log(struct rill_exchange *x);
void rill_exchange_disarm(struct rill_exchange *x);

/* X goes on after its handler's callback: counts it as in flight, and keeps a copy of the head, which lies in memory
 * that is about to be used for something else. False when memory is lacking. */
bool rill_exchange_detach(struct rill_exchange *x);

/* Frees the exchanges that HTTP keeps for reuse. */
void rill_session_free_leases(struct rill_http_loop *http);

/* response.c */

/* Renders Date (and the log's time) when the second has changed. */
void rill_http_loop_refresh(struct rill_http_loop *http);

/* access_log.c */

/* Writes X's line to the access log, when there is one. */
void rill_access_log_write(struct rill_exchange *x);

#endif
