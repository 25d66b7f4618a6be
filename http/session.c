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
#include "rill/http/session_steps_internal.h"
#include "rill/http/status.h"

enum {
    PATH_NOTED = 200,    /* bytes of a path in a report */
    STOP_GRACE_MS = 250, /* an idle client may have a request on its way when the server begins to drain */
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

void rill_session_set_state(struct rill_session *session, enum rill_session_state state)
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

void rill_session_enter(struct rill_session *session)
{
    session->entered++;
}

void rill_session_leave(struct rill_session *session)
{
    if (--session->entered == 0 && RILL_UNLIKELY(session->dead))
        rill_session_bury(session);
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
    rill_session_call_now(x, fn, arg);
    rill_trace_end(session->http->trace, session->conn, RILL_TRACE_HANDLER, began_ns);
    rill_session_settle(x);
    rill_session_leave(session);
}

/* --- the end of an exchange --- */

void rill_session_end(struct rill_session *session, bool linger)
{
    rill_session_set_state(session, RILL_SESSION_CLOSING);
    rill_conn_finish(session->conn, linger);
}

void rill_session_conclude(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    if (RILL_UNLIKELY(session->dead))
        return; /* released when the turn ends */
    if (RILL_UNLIKELY(x->aborted)) {
        /* What was written still leaves, and the responses before it with it; that it is not whole shows in its
         * framing. Where the end of the connection is the end of the body, nothing that may be done here would show it.
         */
        rill_exchange_drop(x);
        rill_session_end(session, true);
        return;
    }
    if (RILL_UNLIKELY(!x->body_done) && x->keep_alive && !session->closing && rill_session_would_discard(x)) {
        x->on_body = NULL;
        rill_exchange_disarm(x);
        rill_session_set_state(session, RILL_SESSION_DISCARD);
        return;
    }
    bool keep_alive = x->keep_alive && x->body_done && !session->closing;
    bool linger = x->linger || !x->body_done;
    rill_exchange_release(x);
    if (RILL_LIKELY(keep_alive))
        rill_session_set_state(session, RILL_SESSION_IDLE);
    else
        rill_session_end(session, linger);
}

void rill_session_refuse(struct rill_exchange *x, unsigned status)
{
    struct rill_session *session = x->session;
    if (session->state == RILL_SESSION_HEAD)
        rill_session_set_state(session, RILL_SESSION_BUSY);
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

/* --- what follows from a state --- */

void rill_session_follow(struct rill_session *session)
{
    struct rill_conn *conn = session->conn;
    const struct rill_http_server_config *config = rill_session_config(session);
    bool reading = true;
    switch ((enum rill_session_state)session->state) {
    case RILL_SESSION_IDLE:
        rill_conn_set_deadline(conn, session->closing ? STOP_GRACE_MS : config->idle_timeout_ms);
        reading = !rill_conn_is_full(conn); /* who pipelines has to read, too */
        break;
    case RILL_SESSION_BUSY:
        reading = !session->x->body_done && rill_session_wants_body(session->x);
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
        rill_session_conclude(x);
    if (rill_conn_is_open(session->conn)) {
        rill_session_follow(session);
        if (session->state == RILL_SESSION_BUSY && session->x->body_done && rill_session_wants_body(session->x))
            rill_conn_want_drain(session->conn); /* to be called back for the END that is still to be told */
    }
    rill_session_leave(session);
}

/* --- the end of a session --- */

void rill_session_bury(struct rill_session *session)
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

void rill_session_close_all(struct rill_http_loop *http)
{
    for (uint32_t slot = rill_slab_next(&http->sessions, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&http->sessions, slot + 1)) {
        struct rill_session *session = rill_slab_at(&http->sessions, slot);
        if (!session->dead)
            rill_conn_close(session->conn, RILL_CLOSE_STOPPED);
    }
}
