/* conn_events.c - what happens to a connection, and what has to follow from it.
 *
 * One event a connection, edge-triggered, added once; once more if output ever has to wait. `readable` and `writable`
 * remember what the edges said until a short read or a full socket takes it back. Whatever is left over at the end of a
 * callback (a fairness cap reached, a resume, output from elsewhere) puts the connection into the loop's ready list,
 * which is worked through when the turn ends.
 *
 * With poll and select there are no edges, so there `interest` follows what is wanted, at the cost of changing the
 * event; epoll never comes to that code. */
#include "rill/core/loop_stats.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

bool rill_conn_call(struct rill_conn *conn, void (*callback)(struct rill_conn *))
{
    conn->callbacks++;
    callback(conn);
    conn->callbacks--;
    return conn->state != RILL_CONN_CLOSED;
}

void rill_conn_make_ready(struct rill_conn *conn)
{
    struct rill_net *net = conn->net;
    if (RILL_UNLIKELY(conn->held_back))
        rill_conn_leave_queue(conn); /* until the turn ends */
    if (conn->state == RILL_CONN_CLOSED || !rill_list_empty(&conn->link))
        return;
    rill_list_push_back(&net->ready, &conn->link);
    if (!net->ready_deferred) {
        net->ready_deferred = true;
        rill_loop_defer(net->loop, &net->ready_task);
    }
}

static inline __attribute__((always_inline)) void handle_event(struct rill_conn *conn, short what)
{
    if (what & EV_WRITE)
        conn->writable = true;
    if (what & (EV_READ | EV_CLOSED)) {
        conn->readable = true;
        conn->spent = false;
    }
    if (RILL_UNLIKELY(what & EV_CLOSED))
        conn->peer_closed = true;
    if (RILL_UNLIKELY(conn->out != NULL)) {
        rill_conn_settle(conn);
        if (conn->state == RILL_CONN_CLOSED)
            return;
    }
    rill_conn_read(conn);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct rill_conn *conn = arg;
    struct rill_net *net = conn->net;
    (void)fd;
    rill_loop_note_event(net->loop);
    net->current = conn;
    handle_event(conn, what);
    net->current = NULL;
}

int rill_conn_watch(struct rill_conn *conn, short interest)
{
    if (event_assign(&conn->event, rill_loop_base(conn->net->loop), conn->fd, interest, on_event, conn) < 0 ||
        event_add(&conn->event, NULL) < 0)
        return -ENOMEM;
    conn->interest = (uint8_t)interest;
    return 0;
}

/* Has libevent watch what is wanted. With edges: reading, always and at once; writing from the first time that output
 * has to wait. A new socket has room, and asked for that epoll would report it at once: a turn of the loop for nothing.
 */
static void watch(struct rill_conn *conn)
{
    struct rill_net *net = conn->net;
    short interest;
    if (net->edge_triggered) {
        if (RILL_LIKELY(conn->interest && (!conn->out || conn->interest & EV_WRITE)))
            return;
        interest = EV_READ | EV_CLOSED | EV_ET | EV_PERSIST;
        if (conn->out)
            interest |= EV_WRITE;
        if (conn->interest)
            event_del(&conn->event);
        conn->interest = 0;
    } else {
        interest = (short)((conn->pause || conn->eof || conn->held_back ? 0 : EV_READ) | (conn->out ? EV_WRITE : 0));
        if (interest)
            interest |= EV_PERSIST;
        if (interest == conn->interest)
            return;
        if (conn->interest)
            event_del(&conn->event);
        conn->interest = 0;
        if (!interest)
            return;
    }
    if (rill_conn_watch(conn, interest) < 0)
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
}

void rill_conn_broken(struct rill_conn *conn, int error)
{
    bool no_memory = error == -ENOMEM || error == -ENOBUFS;
    rill_conn_close(conn, no_memory ? RILL_CLOSE_NO_MEMORY : error == -ENODATA ? RILL_CLOSE_LOCAL : RILL_CLOSE_RESET);
}

/* Whether the app waits for room, and there is some. */
static inline bool has_drained(const struct rill_conn *conn)
{
    return RILL_UNLIKELY(conn->above_high || conn->drain_wanted) &&
           rill_conn_buffered(conn) <= rill_conn_low_watermark(conn);
}

/* Sends what the socket takes. False when the connection is closed now. */
static inline bool flush(struct rill_conn *conn)
{
    int error = conn->out ? rill_conn_output_flush(conn) : 0;
    if (RILL_LIKELY(error == 0))
        return true;
    rill_conn_broken(conn, error);
    return false;
}

/* What comes after anything has happened to a connection: sends what waits, ends what is to end, and sees that somebody
 * wakes us for the rest; that includes telling the app that there is room, unless the caller WILL_TELL it. */
static void settle_and(struct rill_conn *conn, bool will_tell)
{
    if (!flush(conn))
        return;
    if (RILL_UNLIKELY(conn->room_wanted) && !conn->out && (!rill_conn_tell_room(conn) || !flush(conn)))
        return;
    if (conn->out) {
        if (conn->out->deadline_ms)
            rill_conn_arm(conn, conn->out->deadline_ms);
    } else if (RILL_UNLIKELY(conn->state == RILL_CONN_FINISHING)) {
        rill_conn_finished(conn);
        if (conn->state == RILL_CONN_CLOSED)
            return;
    } else if (RILL_UNLIKELY(conn->shutdown_wanted && !conn->shutdown_done) && conn->state == RILL_CONN_OPEN) {
        conn->shutdown_done = true;
        rill_sys_shutdown(conn->fd, SHUT_WR); /* fails only when the peer has gone; reading will tell */
        if (conn->eof) {
            rill_conn_close(conn, RILL_CLOSE_EOF);
            return;
        }
    }
    watch(conn);
    if (has_drained(conn) && !will_tell)
        rill_conn_make_ready(conn); /* not here: the callback may send, and come back here */
}

void rill_conn_settle(struct rill_conn *conn)
{
    settle_and(conn, false);
}

/* Tells the app that there is room, when it is waiting for that. */
static void tell_drained(struct rill_conn *conn)
{
    if (!has_drained(conn) || conn->state != RILL_CONN_OPEN)
        return;
    conn->above_high = conn->drain_wanted = false;
    if (conn->pause & RILL_PAUSE_OUTPUT) {
        conn->pause &= (uint8_t)~RILL_PAUSE_OUTPUT;
        rill_conn_make_ready(conn); /* to watch it again */
    }
    if (conn->config->handler->on_drain && rill_conn_call(conn, conn->config->handler->on_drain))
        rill_conn_settle(conn);
}

void rill_conn_want_drain(struct rill_conn *conn)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN)
        return;
    conn->drain_wanted = true;
    if (rill_conn_buffered(conn) <= rill_conn_low_watermark(conn))
        rill_conn_make_ready(conn);
}

void rill_conn_process_ready(struct rill_task *task)
{
    struct rill_net *net = rill_container_of(task, struct rill_net, ready_task);
    struct rill_list batch, *link;
    rill_list_init(&batch);
    rill_list_splice_back(&batch, &net->ready);
    net->ready_deferred = false;
    while ((link = rill_list_pop_front(&batch))) {
        struct rill_conn *conn = rill_container_of(link, struct rill_conn, link);
        settle_and(conn, true);
        tell_drained(conn);
        if (conn->redeliver && !conn->pause)
            rill_conn_show_again(conn);
        rill_conn_read(conn);
    }
}
