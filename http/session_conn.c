/* session_conn.c - what a connection tells its session: bytes, the peer's end, room, time, the server's stop, the end.
 */
#include "rill/core/sys.h"
#include "rill/http/session_steps_internal.h"

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
                rill_session_set_state(session, RILL_SESSION_HEAD);
            } else {
                rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
            }
            break;
        case RILL_SESSION_HEAD:
            more = rill_session_take_head(session, input);
            break;
        case RILL_SESSION_BUSY:
            more = rill_session_wants_body(session->x) && rill_session_take_body(session, input);
            break;
        case RILL_SESSION_DISCARD:
            more = rill_session_take_body(session, input);
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
        rill_session_follow(session);
    rill_session_leave(session);
}

static void on_eof(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    session->closing = true;
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        rill_session_end(session, false);
        break;
    case RILL_SESSION_BUSY:
        if (session->x->body_done)
            break; /* it still wants its answer (RFC 9112, 9.6: half-closed) */
        /* fallthrough */
    case RILL_SESSION_HEAD:
    case RILL_SESSION_DISCARD:
        rill_exchange_drop(session->x);
        rill_session_end(session, false); /* what was answered before still leaves */
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
        rill_session_follow(session);
        return;
    }
    rill_session_enter(session);
    rill_handler_fn *on_room = x->on_room;
    x->on_room = NULL;
    x->callbacks++;
    if (on_room && x->phase != RILL_RESPONSE_COMPLETE)
        rill_session_call_now(x, on_room, x->room_arg);
    if (x->body_done && rill_session_wants_body(x))
        rill_session_tell_body(x, (struct rill_slice){NULL, 0}, true);
    x->callbacks--;
    rill_session_settle(x);
    rill_session_leave(session);
}

static void on_timeout(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        rill_session_end(session, false);
        return;
    case RILL_SESSION_HEAD:
        if (session->blank) { /* that was no request, so it gets no reply */
            rill_exchange_release(session->x);
            rill_session_end(session, false);
            return;
        }
        session->x->failed = true;
        if (session->http->log)
            session->x->started_ns = rill_clock_ns();
        break;
    case RILL_SESSION_BUSY:
        if (rill_session_body_keeps_its_rate(session))
            return;
        break;
    case RILL_SESSION_DISCARD:
        if (!rill_session_body_keeps_its_rate(session)) {
            rill_exchange_drop(session->x);
            rill_session_end(session, true);
        }
        return;
    case RILL_SESSION_CLOSING:
    case RILL_SESSION_STATES:
        return;
    }
    rill_session_enter(session);
    rill_session_refuse(session->x, 408);
    rill_session_conclude(session->x);
    rill_session_leave(session);
}

static void on_stop(struct rill_conn *conn)
{
    struct rill_session *session = rill_conn_user(conn);
    session->closing = true;
    if (session->state == RILL_SESSION_IDLE)
        rill_session_follow(session);
}

static uint64_t since(uint64_t limit_ms, uint64_t left_ms)
{
    return limit_ms > left_ms ? limit_ms - left_ms : 0;
}

static enum rill_awaits awaits(const struct rill_conn *conn, uint64_t *waited_ms)
{
    const struct rill_session *session = rill_conn_user(conn);
    const struct rill_http_server_config *config = rill_session_config(session);
    uint64_t left_ms = rill_conn_time_left_ms(conn);
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        *waited_ms = since(session->serial == 0 ? config->header_timeout_ms : config->idle_timeout_ms, left_ms);
        return RILL_AWAITS_REQUEST;
    case RILL_SESSION_HEAD:
        *waited_ms = since(config->header_timeout_ms, left_ms);
        return RILL_AWAITS_PEER;
    case RILL_SESSION_BUSY:
    case RILL_SESSION_DISCARD:
        *waited_ms = since(config->body_timeout_ms, left_ms);
        return session->deadline_set && !rill_session_body_has_come(session, *waited_ms) ? RILL_AWAITS_PEER
                                                                                         : RILL_AWAITS_PROGRAM;
    case RILL_SESSION_CLOSING:
    case RILL_SESSION_STATES:
        break;
    }
    return RILL_AWAITS_PROGRAM;
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
        rill_session_bury(session);
}

const struct rill_conn_handler rill_session_handler = {
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_timeout = on_timeout,
    .on_stop = on_stop,
    .awaits = awaits,
    .on_close = on_close,
};
