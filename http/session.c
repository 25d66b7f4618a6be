/* session.c - HTTP/1.1 on a connection: requests in, one after the other, each given to its handler.
 *
 * A session is IDLE between requests, and then it is only a few words. An exchange is leased from the loop with the
 * first byte of a request. A head that arrives whole is parsed where it landed; a handler that answers at once never
 * sees it move. Only when the callback ends and the exchange goes on is the head copied (detach). Pipelined requests
 * wait: while an exchange goes on, reading is paused, and the connection keeps what it has.
 *
 * After a malformed request nothing more is read as one (RFC 9112, 9.3 and 11.2): who knows where the next one begins?
 */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/session_internal.h"
#include "rill/http/status.h"

enum {
    DISCARD_BYTES = 256 * 1024, /* so much of an unwanted body is read for the sake of keeping the connection */
    PATH_NOTED = 200,           /* bytes of a path in a report */
    STOP_GRACE_MS = 250,        /* an idle client may have a request on its way when the server begins to drain */
};

static const bool legal[RILL_SESSION_STATES][RILL_SESSION_STATES] = {
    [RILL_SESSION_IDLE] = {[RILL_SESSION_HEAD] = true, [RILL_SESSION_CLOSING] = true},
    [RILL_SESSION_HEAD] = {[RILL_SESSION_IDLE] = true, [RILL_SESSION_BUSY] = true, [RILL_SESSION_CLOSING] = true},
    [RILL_SESSION_BUSY] = {[RILL_SESSION_IDLE] = true, [RILL_SESSION_DISCARD] = true, [RILL_SESSION_CLOSING] = true},
    [RILL_SESSION_DISCARD] = {[RILL_SESSION_IDLE] = true, [RILL_SESSION_CLOSING] = true},
};

bool rill_session_state_may_change(enum rill_session_state from, enum rill_session_state to)
{
    return from < RILL_SESSION_STATES && to < RILL_SESSION_STATES && legal[from][to];
}

static void set_state(struct rill_session *session, enum rill_session_state state)
{
#ifndef NDEBUG
    if (!rill_session_state_may_change(session->state, state)) {
        rill_log_error("internal error: session state %d to %d", session->state, (int)state);
        abort();
    }
#endif
    session->state = (uint8_t)state;
    session->deadline_set = false;
}

static void bury(struct rill_session *session);

static const struct rill_http_server_config *config_of(const struct rill_session *session)
{
    return &session->http->server->config;
}

void rill_session_enter(struct rill_session *session)
{
    session->entered++;
}

void rill_session_leave(struct rill_session *session)
{
    if (--session->entered == 0 && RILL_UNLIKELY(session->dead))
        bury(session);
}

/* Calls the handler of X, or one of its callbacks, so that a report of a crash or a stall can name the request. Such a
 * call may lie within another exchange's. */
static inline __attribute__((always_inline)) void call(struct rill_exchange *x, rill_handler_fn *fn, void *arg)
{
    struct rill_http_loop *http = rill_exchange_http(x);
    const struct rill_exchange *outer = http->current;
    http->current = x;
    x->callbacks++;
    fn(x, arg);
    x->callbacks--;
    http->current = outer;
}

void rill_session_describe(const void *value, struct rill_note *note)
{
    const struct rill_exchange *x = ((const struct rill_http_loop *)value)->current;
    if (!x)
        return;
    struct rill_slice method = rill_exchange_method_name(x);
    rill_note_bytes(note, method.bytes, method.length);
    rill_note_text(note, " ");
    rill_note_bytes(note, x->path.bytes, x->path.length < PATH_NOTED ? x->path.length : PATH_NOTED);
    rill_note_text(note, " on ");
    rill_conn_describe(x->session->conn, note);
    note->callback = (void *)(uintptr_t)x->match.handler;
}

void rill_session_call(struct rill_exchange *x, rill_handler_fn *fn, void *arg)
{
    struct rill_session *session = x->session;
    uint64_t began_ns = rill_trace_begin(session->http->trace, session->conn);
    rill_session_enter(session);
    call(x, fn, arg);
    rill_trace_end(session->http->trace, session->conn, RILL_TRACE_HANDLER, began_ns);
    rill_session_settle(x);
    rill_session_leave(session);
}

/* --- the end of an exchange --- */

static void close_session(struct rill_session *session, bool linger)
{
    set_state(session, RILL_SESSION_CLOSING);
    rill_conn_finish(session->conn, linger);
}

bool rill_session_would_discard(const struct rill_exchange *x)
{
    const struct rill_parser *parser = &x->parser;
    if (x->continue_wanted)
        return false; /* whether the client sends it now is anybody's guess */
    return parser->chunked || parser->content_length - parser->body_length <= DISCARD_BYTES;
}

/* The response is complete: on to the next request, or to the end of the connection. */
static void conclude(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    if (RILL_UNLIKELY(session->dead))
        return; /* released when the turn ends */
    if (RILL_UNLIKELY(x->aborted)) {
        /* What was written still leaves, and the responses before it with it; that it is not whole shows in its
         * framing. Where the end of the connection is the end of the body, nothing that may be done here would show it.
         */
        rill_exchange_drop(x);
        close_session(session, true);
        return;
    }
    if (RILL_UNLIKELY(!x->body_done) && x->keep_alive && !session->closing && rill_session_would_discard(x)) {
        x->on_body = NULL;
        rill_exchange_disarm(x);
        set_state(session, RILL_SESSION_DISCARD);
        return;
    }
    bool keep_alive = x->keep_alive && x->body_done && !session->closing;
    bool linger = x->linger || !x->body_done;
    rill_exchange_release(x);
    if (RILL_LIKELY(keep_alive))
        set_state(session, RILL_SESSION_IDLE);
    else
        close_session(session, linger);
}

/* Answers a request that cannot be handled, and the connection with it. */
static void refuse(struct rill_exchange *x, unsigned status)
{
    struct rill_session *session = x->session;
    if (session->state == RILL_SESSION_HEAD)
        set_state(session, RILL_SESSION_BUSY);
    session->closing = true;
    x->linger = true;
    x->on_body = NULL;
    x->callbacks++; /* concluded by the caller */
    if (x->phase == RILL_RESPONSE_NONE)
        rill_exchange_reply_status(x, status);
    else
        rill_exchange_abort(x);
    x->callbacks--;
}

/* --- the request's head --- */

/* What a path means is settled once, here: router and handlers see it decoded. */
static int set_path(struct rill_exchange *x)
{
    struct rill_slice raw = rill_parser_path(&x->parser, x->base);
    int error = rill_path_normalise(raw, NULL, 0, &x->path);
    if (error != -ENOBUFS)
        return error;
    char *buffer = rill_arena_alloc(&x->arena, raw.length);
    if (!buffer)
        return -ENOMEM;
    return rill_path_normalise(raw, buffer, raw.length, &x->path);
}

static void answer_without_handler(struct rill_exchange *x)
{
    const struct rill_route_match *match = &x->match;
    if (match->allow.length > 0 && rill_exchange_set_header(x, "Allow", match->allow) < 0) {
        rill_exchange_abort(x);
        return;
    }
    rill_exchange_reply_status(x, match->status);
}

/* The head is complete: finds the handler and calls it. */
static void dispatch(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    const struct rill_parser *parser = &x->parser;
    set_state(session, RILL_SESSION_BUSY);
    x->body_done = !parser->has_body;
    x->continue_wanted = parser->expect_continue && parser->has_body;
    if (session->http->log)
        x->started_ns = rill_clock_ns();

    if (RILL_UNLIKELY(parser->method == RILL_METHOD_CONNECT)) {
        refuse(x, 501);
        return;
    }
    bool asterisk = parser->target_form == RILL_TARGET_ASTERISK;
    int error = 0;
    if (asterisk)
        x->path = rill_slice_of("*");
    else
        error = set_path(x);
    if (RILL_UNLIKELY(error < 0)) {
        refuse(x, error == -ENOMEM ? 503 : 400);
        return;
    }
    rill_router_find(config_of(session)->router, (enum rill_method)parser->method, rill_exchange_method_name(x),
                     x->path, &x->match);
    uint64_t began_ns = rill_trace_begin(session->http->trace, session->conn);
    if (RILL_LIKELY(x->match.handler != NULL)) {
        call(x, x->match.handler, x->match.arg);
    } else {
        x->callbacks++;
        answer_without_handler(x);
        x->callbacks--;
    }
    rill_trace_end(session->http->trace, session->conn, RILL_TRACE_HANDLER, began_ns);
}

/* Takes the next head off INPUT. False when there is nothing more to do with it now. */
static bool take_head(struct rill_session *session, struct rill_input *input)
{
    struct rill_exchange *x = session->x;
    x->base = input->bytes;
    uint64_t began_ns = rill_trace_begin(session->http->trace, session->conn);
    enum rill_parse_result result = rill_parser_head(&x->parser, input->bytes, input->length);
    rill_trace_end(session->http->trace, session->conn, RILL_TRACE_PARSE, began_ns);
    switch (result) {
    case RILL_PARSE_HEAD:
        rill_input_consume(input, x->parser.head_length);
        dispatch(x);
        break;
    case RILL_PARSE_MORE:
        session->blank = input->length <= x->parser.request_offset;
        if (!session->deadline_set) {
            session->deadline_set = true;
            rill_conn_set_deadline(session->conn, config_of(session)->header_timeout_ms);
        }
        return false;
    default:
        x->failed = true;
        if (session->http->log)
            x->started_ns = rill_clock_ns();
        rill_input_consume(input, input->length);
        refuse(x, x->parser.status);
    }
    if (x->phase == RILL_RESPONSE_COMPLETE)
        conclude(x);
    return true;
}

/* --- the request's body --- */

static void tell_body(struct rill_exchange *x, struct rill_slice bytes, bool end)
{
    struct rill_http_loop *http = rill_exchange_http(x);
    const struct rill_exchange *outer = http->current;
    http->current = x;
    x->callbacks++;
    if (x->on_body && bytes.length > 0 && x->phase != RILL_RESPONSE_COMPLETE)
        x->on_body(x, x->body_arg, bytes, false);
    if (end && x->on_body && !x->body_paused && !x->body_end_told && x->phase != RILL_RESPONSE_COMPLETE) {
        x->body_end_told = true;
        x->on_body(x, x->body_arg, (struct rill_slice){NULL, 0}, true);
    }
    x->callbacks--;
    http->current = outer;
}

/* Drops the request's body, up to a limit: then the connection ends. */
static void discard(struct rill_session *session, const struct rill_parser_piece *piece)
{
    struct rill_exchange *x = session->x;
    x->discarded += (uint32_t)piece->consumed;
    bool too_much = piece->result == RILL_PARSE_ERROR || x->discarded > DISCARD_BYTES;
    if (piece->result != RILL_PARSE_DONE && !too_much)
        return;
    rill_exchange_release(x);
    if (too_much || session->closing)
        close_session(session, true);
    else
        set_state(session, RILL_SESSION_IDLE);
}

/* Gives the handler, or nobody, what INPUT holds of the body. False when there is nothing more to do with it now. */
static bool take_body(struct rill_session *session, struct rill_input *input)
{
    struct rill_exchange *x = session->x;
    if (x->body_done) {
        if (!x->on_body || x->body_end_told)
            return false;
        tell_body(x, (struct rill_slice){NULL, 0}, true);
    } else if (input->length == 0) {
        return false;
    } else {
        struct rill_parser_piece piece;
        rill_parser_body(&x->parser, input->bytes, input->length, &piece);
        rill_input_consume(input, piece.result == RILL_PARSE_ERROR ? input->length : piece.consumed);
        x->continue_wanted = false; /* it did not wait */
        if (session->state == RILL_SESSION_DISCARD) {
            discard(session, &piece);
            return true;
        }
        x->body_done = piece.result == RILL_PARSE_DONE;
        if (RILL_UNLIKELY(piece.result == RILL_PARSE_ERROR))
            refuse(x, x->parser.status);
        else
            tell_body(x, piece.data, x->body_done);
    }
    if (x->phase == RILL_RESPONSE_COMPLETE)
        conclude(x);
    return true;
}

/* --- what follows from a state --- */

/* Whether the handler wants to be told more of the body now. A full response holds the sender back, too. */
static bool wants_body(const struct rill_exchange *x)
{
    return x->on_body && !x->body_paused && !(x->body_done && x->body_end_told) && !rill_exchange_is_full(x);
}

/* Reading stops while nothing that came could be used, and goes on when it can; deadlines go with that. */
static void follow_state(struct rill_session *session)
{
    struct rill_conn *conn = session->conn;
    const struct rill_http_server_config *config = config_of(session);
    bool reading = true;
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        rill_conn_set_deadline(conn, session->closing ? STOP_GRACE_MS : config->idle_timeout_ms);
        reading = !rill_conn_is_full(conn); /* who pipelines has to read, too */
        break;
    case RILL_SESSION_BUSY:
        reading = !session->x->body_done && wants_body(session->x);
        /* fallthrough */
    case RILL_SESSION_DISCARD:
        if (!reading) {
            rill_conn_set_deadline(conn, 0);
            session->deadline_set = false;
        } else if (!session->deadline_set) {
            session->deadline_set = true;
            session->x->body_mark = session->x->parser.body_length;
            rill_conn_set_deadline(conn, config->body_timeout_ms);
        }
        break;
    case RILL_SESSION_HEAD:
    case RILL_SESSION_CLOSING:
    case RILL_SESSION_STATES:
        return;
    }
    if (RILL_LIKELY(reading))
        rill_conn_resume(conn, RILL_PAUSE_PENDING);
    else
        rill_conn_pause(conn, RILL_PAUSE_PENDING);
}

void rill_session_settle(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    if (x->callbacks > 0 || session->state != RILL_SESSION_BUSY || session->dead)
        return;
    rill_session_enter(session);
    if (x->phase == RILL_RESPONSE_COMPLETE)
        conclude(x);
    if (rill_conn_is_open(session->conn)) {
        follow_state(session);
        if (session->state == RILL_SESSION_BUSY && session->x->body_done && wants_body(session->x))
            rill_conn_want_drain(session->conn); /* to be called back for the END that is still to be told */
    }
    rill_session_leave(session);
}

/* --- the connection's callbacks --- */

static void on_open(struct rill_conn *conn)
{
    struct rill_http_loop *http = rill_http_loop_of(rill_conn_loop(conn));
    uint32_t slot;
    struct rill_session *session = rill_slab_alloc(&http->sessions, &slot);
    rill_conn_set_user(conn, session);
    if (!session) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return;
    }
    *session = (struct rill_session){.conn = conn, .http = http, .slot = slot};
    rill_conn_set_deadline(conn, http->server->config.header_timeout_ms);
}

/* Works through INPUT as far as the state allows. */
static void take_input(struct rill_session *session, struct rill_input *input)
{
    struct rill_conn *conn = session->conn;
    bool more = true;
    while (more && rill_conn_is_open(conn)) {
        switch ((enum rill_session_state)session->state) {
        case RILL_SESSION_IDLE:
            if (input->length == 0 || rill_conn_is_full(conn)) {
                more = false;
            } else if (rill_exchange_lease(session)) {
                set_state(session, RILL_SESSION_HEAD);
            } else {
                rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
            }
            break;
        case RILL_SESSION_HEAD:
            more = take_head(session, input);
            break;
        case RILL_SESSION_BUSY:
            more = wants_body(session->x) && take_body(session, input);
            break;
        case RILL_SESSION_DISCARD:
            more = take_body(session, input);
            break;
        case RILL_SESSION_CLOSING:
        case RILL_SESSION_STATES:
            more = false;
        }
    }
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_session *session = rill_conn_user(conn);
    rill_session_enter(session);
    take_input(session, input);
    if (RILL_UNLIKELY(!rill_conn_is_open(conn)))
        rill_input_consume(input, input->length);
    else if (RILL_UNLIKELY(session->state == RILL_SESSION_BUSY && !rill_exchange_detach(session->x)))
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
    else
        follow_state(session);
    rill_session_leave(session);
}

static void on_eof(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    session->closing = true;
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        close_session(session, false);
        break;
    case RILL_SESSION_BUSY:
        if (session->x->body_done)
            break; /* it still wants its answer (RFC 9112, 9.6: half-closed) */
        /* fallthrough */
    case RILL_SESSION_HEAD:
    case RILL_SESSION_DISCARD:
        rill_exchange_drop(session->x);
        close_session(session, false); /* what was answered before still leaves */
        break;
    case RILL_SESSION_CLOSING:
    case RILL_SESSION_STATES:
        break;
    }
}

static void on_drain(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    struct rill_exchange *x = session->x;
    if (session->state != RILL_SESSION_BUSY) {
        follow_state(session);
        return;
    }
    rill_session_enter(session);
    rill_handler_fn *on_room = x->on_room;
    x->on_room = NULL;
    x->callbacks++;
    if (on_room && x->phase != RILL_RESPONSE_COMPLETE)
        call(x, on_room, x->room_arg);
    if (x->body_done && wants_body(x))
        tell_body(x, (struct rill_slice){NULL, 0}, true);
    x->callbacks--;
    rill_session_settle(x);
    rill_session_leave(session);
}

/* The body came too slowly, unless the handler held it back or enough came in this stretch. */
static bool body_keeps_its_rate(struct rill_session *session)
{
    const struct rill_http_server_config *config = config_of(session);
    struct rill_exchange *x = session->x;
    uint64_t came = x->parser.body_length - x->body_mark;
    if (came < config->min_body_bytes_per_second * config->body_timeout_ms / 1000)
        return false;
    x->body_mark = x->parser.body_length;
    rill_conn_set_deadline(session->conn, config->body_timeout_ms);
    return true;
}

static void on_timeout(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        close_session(session, false);
        return;
    case RILL_SESSION_HEAD:
        if (session->blank) { /* that was no request, so it gets no reply */
            rill_exchange_release(session->x);
            close_session(session, false);
            return;
        }
        session->x->failed = true;
        if (session->http->log)
            session->x->started_ns = rill_clock_ns();
        break;
    case RILL_SESSION_BUSY:
        if (body_keeps_its_rate(session))
            return;
        break;
    case RILL_SESSION_DISCARD:
        if (!body_keeps_its_rate(session)) {
            rill_exchange_drop(session->x);
            close_session(session, true);
        }
        return;
    case RILL_SESSION_CLOSING:
    case RILL_SESSION_STATES:
        return;
    }
    rill_session_enter(session);
    refuse(session->x, 408);
    conclude(session->x);
    rill_session_leave(session);
}

static void on_stop(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    session->closing = true;
    if (session->state == RILL_SESSION_IDLE)
        follow_state(session);
}

/* The connection is dead and no frame on the stack goes on using SESSION. An exchange in progress lasts until the turn
 * ends: whoever has found it by its id may have been told by an error that the connection is going, or not at all. */
static void bury(struct rill_session *session)
{
    struct rill_http_loop *http = session->http;
    struct rill_exchange *x = session->x;
    if (session->buried)
        return;
    if (!x) {
        rill_slab_free(&http->sessions, session->slot);
        return;
    }
    session->buried = true;
    if (!http->dead_exchanges)
        rill_loop_defer_last(http->loop, &http->dead_task);
    x->next_free = http->dead_exchanges;
    http->dead_exchanges = x;
}

void rill_session_free_dead(struct rill_task *task)
{
    struct rill_http_loop *http = rill_container_of(task, struct rill_http_loop, dead_task);
    struct rill_exchange *x;
    while ((x = http->dead_exchanges)) {
        struct rill_session *session = x->session;
        http->dead_exchanges = x->next_free;
        rill_exchange_drop(x);
        rill_slab_free(&http->sessions, session->slot);
    }
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct rill_session *session = rill_conn_user(conn);
    (void)reason;
    if (!session)
        return;
    if (session->x) {
        rill_exchange_write_log(session->x); /* the connection is gone when it is released */
        rill_exchange_disarm(session->x);
        session->x->aborted = true;
        session->x->phase = RILL_RESPONSE_COMPLETE; /* whoever still has it writes in vain */
    }
    session->dead = true;
    if (session->entered == 0)
        bury(session);
}

void rill_session_close_all(struct rill_http_loop *http)
{
    for (uint32_t slot = rill_slab_next(&http->sessions, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&http->sessions, slot + 1)) {
        struct rill_session *session = rill_slab_at(&http->sessions, slot);
        if (!session->dead)
            rill_conn_close(session->conn, RILL_CLOSE_STOPPED);
    }
}

const struct rill_conn_handler rill_session_handler = {
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_timeout = on_timeout,
    .on_stop = on_stop,
    .on_close = on_close,
};
