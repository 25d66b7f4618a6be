/* conn_input.c - a connection's input: reading, showing it to the handler, and keeping what the handler leaves.
 *
 * Bytes land in the loop's one buffer and are shown where they landed. Only what a handler does not consume is copied,
 * and later reads go behind it; once it is consumed that memory goes back. */
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

enum {
    READ_BUDGET_BYTES = 128 * 1024, /* read of one connection before the others have their turn */
    HELD_ROOM_BYTES = 4096,         /* for the rest of what came in part */
};

/* The handler's on_data, traced; and recv. */
__attribute__((noinline)) static void call_traced(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_trace_lane *trace = conn->net->trace;
    uint64_t began_ns = rill_trace_begin_data(trace, conn);
    conn->config->handler->on_data(conn, input);
    rill_trace_end_data(trace, conn, began_ns);
}

__attribute__((noinline)) static ssize_t receive_traced(struct rill_conn *conn, char *room, size_t size)
{
    struct rill_trace_lane *trace = conn->net->trace;
    uint64_t began_ns = rill_trace_begin_read(trace, conn);
    ssize_t got = rill_sys_recv(conn->fd, room, size, 0);
    if (got > 0)
        rill_trace_end_read(trace, conn, began_ns);
    return got;
}

/* Counts what `held` has become since it was of CAPACITY. */
static void count_held(struct rill_conn *conn, size_t capacity)
{
    rill_net_count_kept(conn->net, (int64_t)rill_buf_capacity(conn->held) - (int64_t)capacity);
    rill_net_note_buffered(conn->net);
}

/* Keeps what is left of INPUT. False when there is no room for it: the connection is closed now. */
static bool keep(struct rill_conn *conn, const struct rill_input *input)
{
    bool over_budget = rill_net_is_over_budget(conn->net);
    conn->held = over_budget ? NULL : rill_buf_copy(input->bytes, input->length);
    if (!conn->held) {
        rill_conn_close(conn, over_budget ? RILL_CLOSE_OVERLOAD : RILL_CLOSE_NO_MEMORY);
        return false;
    }
    count_held(conn, 0);
    return true;
}

void rill_conn_forget_held(struct rill_conn *conn)
{
    size_t capacity = rill_buf_capacity(conn->held);
    rill_buf_unref(conn->held);
    conn->held = NULL;
    count_held(conn, capacity);
}

/* Shows BYTES, which lie in the loop's buffer or in conn->held, and keeps what is not consumed. */
static void deliver(struct rill_conn *conn, const char *bytes, size_t length)
{
    struct rill_input input = {.bytes = bytes, .length = length};
    const struct rill_conn_config *shown_to = conn->config;
    if (!conn->config->handler->on_data) {
        rill_input_consume(&input, length);
    } else {
        struct rill_net *net = conn->net;
        net->buffer_lent = true;
        conn->callbacks++;
        if (rill_trace_on(net->trace))
            call_traced(conn, &input);
        else
            conn->config->handler->on_data(conn, &input);
        conn->callbacks--;
        net->buffer_lent = false;
    }
    if (RILL_UNLIKELY(conn->state != RILL_CONN_OPEN)) {
        if (conn->state != RILL_CONN_CLOSED)
            rill_conn_settle(conn);
        return; /* what was not consumed is of no use any more */
    }
    if (conn->held) {
        if (rill_buf_consume(&conn->held, input.consumed) == 0 && input.length == 0)
            rill_conn_forget_held(conn);
    } else if (RILL_UNLIKELY(input.length > 0) && !keep(conn, &input)) {
        return;
    }
    size_t limit = conn->config->max_input_bytes ? conn->config->max_input_bytes : 1 << 20;
    if (RILL_UNLIKELY(input.length > limit) && !conn->pause && conn->config == shown_to) {
        rill_conn_close(conn, RILL_CLOSE_INPUT_LIMIT);
        return;
    }
    rill_conn_settle(conn);
}

/* Where the next read goes: the loop's buffer, or behind what is held. NULL: no memory. */
static char *read_room(struct rill_conn *conn, size_t *size)
{
    if (RILL_LIKELY(!conn->held) || conn->state != RILL_CONN_OPEN)
        return rill_loop_read_buffer(conn->net->loop, size);
    size_t capacity = rill_buf_capacity(conn->held);
    char *room = rill_buf_reserve(&conn->held, HELD_ROOM_BYTES);
    if (room)
        count_held(conn, capacity);
    *size = room ? rill_buf_room(conn->held) : 0;
    return room;
}

static void received(struct rill_conn *conn, char *bytes, size_t length)
{
    conn->received = true;
    if (RILL_UNLIKELY(conn->state != RILL_CONN_OPEN))
        return; /* lingering: dropped, and no sign of life */
    if (conn->config->idle_timeout_ms)
        rill_conn_was_active(conn);
    if (RILL_UNLIKELY(conn->held != NULL)) {
        rill_buf_commit(conn->held, length);
        conn->redeliver = false; /* this does it */
        deliver(conn, rill_buf_bytes(conn->held), rill_buf_length(conn->held));
    } else {
        deliver(conn, bytes, length);
    }
}

void rill_conn_show_again(struct rill_conn *conn)
{
    conn->redeliver = false;
    if (conn->held && !conn->pause && conn->state == RILL_CONN_OPEN)
        deliver(conn, rill_buf_bytes(conn->held), rill_buf_length(conn->held));
}

/* The peer's end, read again, says nothing new; but what woke us may be an error behind it, which a read does not tell
 * once it has come to the end. */
static void received_eof_again(struct rill_conn *conn)
{
    int error = 0;
    socklen_t length = sizeof error;
    conn->readable = false;
    if (rill_sys_getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error != 0)
        rill_conn_broken(conn, -error);
}

static void received_eof(struct rill_conn *conn)
{
    if (RILL_UNLIKELY(conn->eof)) {
        received_eof_again(conn);
        return;
    }
    if (RILL_UNLIKELY(conn->redeliver)) { /* resumed in this turn; the end comes after the bytes */
        rill_conn_show_again(conn);
        if (conn->pause || conn->redeliver || conn->state == RILL_CONN_CLOSED)
            return; /* readable still: the end will be read again */
    }
    conn->eof = true;
    conn->readable = false;
    if (conn->state == RILL_CONN_LINGERING) {
        rill_conn_close(conn, conn->finish_reason);
        return;
    }
    if (conn->state == RILL_CONN_OPEN && !conn->config->handler->on_eof)
        rill_conn_finish_as(conn, false, RILL_CLOSE_EOF);
    else if (conn->state == RILL_CONN_OPEN && !rill_conn_call(conn, conn->config->handler->on_eof))
        return;
    if (conn->shutdown_done && conn->state == RILL_CONN_OPEN)
        rill_conn_close(conn, RILL_CLOSE_EOF); /* both ways have ended */
    else
        rill_conn_settle(conn);
}

/* A short read has emptied the socket; what comes later makes a new edge (epoll(7), "Q9"). What may have come before is
 * an error: a reset behind the bytes is part of the same edge, and libevent tells it as room to write. A send that
 * succeeds shows that there is none; if nothing is sent the next read will tell. Before the event is added, and with
 * poll and select, all there is will be reported again. */
static inline void emptied(struct rill_conn *conn)
{
    conn->readable = conn->spent = (conn->interest & EV_ET) != 0;
}

/* What a read that GOT nothing means: 0 is the end, -1 what errno says. True when there is no use in another. */
static bool nothing_read(struct rill_conn *conn, ssize_t got)
{
    if (got == 0)
        received_eof(conn);
    else if (errno == EAGAIN)
        conn->readable = false;
    else if (errno != EINTR)
        rill_conn_broken(conn, -errno);
    else
        return false;
    return true;
}

void rill_conn_read(struct rill_conn *conn)
{
    if (RILL_LIKELY(!conn->net->admission.on) || !rill_conn_is_held_back(conn))
        rill_conn_read_now(conn);
}

void rill_conn_read_now(struct rill_conn *conn)
{
    size_t budget = READ_BUDGET_BYTES;
    while (conn->readable && !conn->pause && conn->state != RILL_CONN_CLOSED) {
        if (RILL_UNLIKELY(budget == 0)) {
            rill_conn_make_ready(conn);
            return;
        }
        if (RILL_UNLIKELY(conn->spliced)) {
            ssize_t moved = rill_relay_splice(conn);
            if (moved > 0) {
                rill_stat_add(&conn->net->stats.bytes_in, (uint64_t)moved);
                budget = (size_t)moved < budget ? budget - (size_t)moved : 0;
            } else if (nothing_read(conn, moved)) {
                return;
            }
            continue;
        }
        size_t size;
        char *room = read_room(conn, &size);
        if (RILL_UNLIKELY(!room)) {
            rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
            return;
        }
        ssize_t got =
            rill_trace_on(conn->net->trace) ? receive_traced(conn, room, size) : rill_sys_recv(conn->fd, room, size, 0);
        if (RILL_LIKELY(got > 0)) {
            rill_stat_add(&conn->net->stats.bytes_in, (uint64_t)got);
            if ((size_t)got < size && !conn->peer_closed)
                emptied(conn);
            budget = (size_t)got < budget ? budget - (size_t)got : 0;
            received(conn, room, (size_t)got);
        } else if (nothing_read(conn, got)) {
            return;
        }
    }
}

void rill_conn_pause(struct rill_conn *conn, enum rill_pause reason)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN)
        return; /* what is read now is dropped */
    conn->pause |= (uint8_t)reason;
    if (!conn->net->edge_triggered && conn->callbacks == 0)
        rill_conn_make_ready(conn); /* to stop watching */
}

void rill_conn_resume(struct rill_conn *conn, enum rill_pause reason)
{
    rill_loop_check(conn->net->loop, __func__);
    if (!conn->pause || conn->state != RILL_CONN_OPEN)
        return;
    conn->pause &= (uint8_t)~reason;
    if (conn->pause)
        return;
    conn->redeliver = conn->held != NULL || conn->callbacks > 0;
    if (conn->redeliver || conn->readable || !conn->net->edge_triggered)
        rill_conn_make_ready(conn);
}
