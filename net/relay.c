/* relay.c - see relay.h.
 *
 * The connections of a relay are ordinary ones with a handler that sends what it is shown to the other. While a way is
 * spliced, rill_conn_read() moves bytes with rill_relay_splice() instead, and a full pipe becomes a piece of the other
 * connection's output like any other: so room, timeouts and the end work as they always do.
 *
 * More is read only when nothing waits at the other end. The sockets' own buffers, megabytes of them, keep both ends
 * busy meanwhile; and an empty pipe that takes nothing tells for sure that the socket has nothing. */
#include "rill/net/relay.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

enum {
    FULL_READS = 2,            /* so many in a row, of all the read buffer, and it is worth a pipe */
    SMALL_SPLICES = 4,         /* so many in a row, and it is not any more */
    SMALL_BYTES = 16 * 1024,   /* one that is small */
    COPIES_WITHOUT_PIPE = 256, /* full reads before a pipe is asked for again where there was none */
};

struct rill_relay {
    struct rill_attached attached; /* first: see rill_net_free_with_closed() */
    struct rill_conn *conns[2];    /* NULL: closed */
    const struct rill_relay_config *config;
    void *user;
    struct rill_conn_config conn_config;
    struct rill_relay_end end;
    bool failed;     /* `end` tells how */
    bool copy_only;  /* asked for, or the sockets cannot be spliced */
    int in_a_row[2]; /* of what came from each: full reads while copied, small ones while spliced */
};

static int side_of(const struct rill_relay *relay, const struct rill_conn *conn)
{
    return relay->conns[1] == conn;
}

/* Sends what TO was just given. What its socket does not take holds FROM back. */
static void send_on(struct rill_conn *from, struct rill_conn *to)
{
    rill_conn_settle(to);
    if (rill_conn_buffered(to) > 0) {
        rill_conn_pause(from, RILL_PAUSE_BACKPRESSURE);
        rill_conn_want_drain(to);
    }
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_relay *relay = rill_conn_user(conn);
    int side = side_of(relay, conn);
    struct rill_conn *to = relay->conns[!side];
    size_t length = input->length, full;
    relay->end.bytes[side] += length;
    rill_loop_read_buffer(conn->net->loop, &full);
    relay->in_a_row[side] = length >= full              ? relay->in_a_row[side] + 1
                            : relay->in_a_row[side] < 0 ? relay->in_a_row[side]
                                                        : 0;
    if (rill_conn_send(to, input->bytes, length) == 0)
        send_on(conn, to);
    rill_input_consume(input, length);
    if (relay->in_a_row[side] >= FULL_READS && !relay->copy_only) {
        conn->spliced = true;
        relay->in_a_row[side] = 0;
    }
}

/* From here on what comes to CONN is copied, for the next FULL_READS + COPIES full reads at least. */
static ssize_t stop_splicing(struct rill_relay *relay, struct rill_conn *conn, int copies)
{
    conn->spliced = false;
    relay->in_a_row[side_of(relay, conn)] = -copies;
    errno = EINTR; /* read again, the other way */
    return -1;
}

ssize_t rill_relay_splice(struct rill_conn *conn)
{
    struct rill_relay *relay = rill_conn_user(conn);
    int side = side_of(relay, conn);
    struct rill_conn *to = relay->conns[!side];
    struct rill_pipe *pipe = rill_pipe_lease(conn->net);
    if (!pipe)
        return stop_splicing(relay, conn, COPIES_WITHOUT_PIPE);
    ssize_t got = rill_sys_splice(conn->fd, pipe->write_fd, pipe->size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (got <= 0) {
        int error = errno;
        rill_pipe_return(conn->net, pipe);
        relay->copy_only |= got < 0 && error == EINVAL;
        errno = error;
        return relay->copy_only ? stop_splicing(relay, conn, 0) : got;
    }
    pipe->held = (uint64_t)got;
    relay->end.bytes[side] += (uint64_t)got;
    conn->received = true;
    if (conn->config->idle_timeout_ms)
        rill_conn_was_active(conn);
    relay->in_a_row[side] = got < SMALL_BYTES ? relay->in_a_row[side] + 1 : 0;
    if (relay->in_a_row[side] >= SMALL_SPLICES)
        stop_splicing(relay, conn, 0);
    if (rill_conn_send_pipe(to, pipe) == 0)
        send_on(conn, to);
    return got;
}

static void on_eof(struct rill_conn *conn)
{
    struct rill_relay *relay = rill_conn_user(conn);
    rill_conn_shutdown(relay->conns[!side_of(relay, conn)]);
}

static void on_drain(struct rill_conn *conn)
{
    struct rill_relay *relay = rill_conn_user(conn);
    struct rill_conn *from = relay->conns[!side_of(relay, conn)];
    if (from)
        rill_conn_resume(from, RILL_PAUSE_BACKPRESSURE);
}

/* A server that drains lets its relays come to their own end. */
static void on_stop(struct rill_conn *conn)
{
    (void)conn;
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct rill_relay *relay = rill_conn_user(conn);
    int side = side_of(relay, conn);
    bool whole =
        conn->eof && conn->shutdown_done; /* and if so the other one has all that it needs to end the same way */
    struct rill_conn *other = relay->conns[!side];
    relay->conns[side] = NULL;
    if (!relay->failed) {
        relay->failed = !whole;
        relay->end.reason = whole ? RILL_CLOSE_EOF : reason;
        relay->end.side = side;
    }
    if (other && !whole) {
        if (reason != RILL_CLOSE_IDLE && reason != RILL_CLOSE_STOPPED && reason != RILL_CLOSE_LOCAL)
            rill_conn_set_reset_on_close(other, true);
        rill_conn_close(other, reason);
    } else if (!other) {
        rill_net_free_with_closed(conn->net, &relay->attached);
        if (relay->config->on_end)
            relay->config->on_end(&relay->end, relay->user);
    }
}

static const struct rill_conn_handler relay_handler = {
    .on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_stop = on_stop, .on_close = on_close};

static bool can_be_coupled(const struct rill_conn *conn)
{
    return conn->state == RILL_CONN_OPEN && !conn->shutdown_wanted;
}

int rill_relay_start(struct rill_conn *a, struct rill_conn *b, const struct rill_relay_config *config, void *user)
{
    rill_loop_check(a->net->loop, __func__);
    if (a == b || a->net != b->net)
        return -EINVAL;
    if (!can_be_coupled(a) || !can_be_coupled(b))
        return -EPIPE;
    struct rill_relay *relay = rill_sys_calloc(1, sizeof *relay);
    if (!relay)
        return -ENOMEM;
    relay->config = config;
    relay->user = user;
    relay->copy_only = config->copy_only;
    relay->conns[0] = a;
    relay->conns[1] = b;
    relay->conn_config = (struct rill_conn_config){.handler = &relay_handler,
                                                   .idle_timeout_ms = config->idle_timeout_ms,
                                                   .write_timeout_ms = config->write_timeout_ms,
                                                   .high_watermark = SIZE_MAX, /* want_drain() is all that is needed */
                                                   .low_watermark = 1};
    for (int side = 0; side < 2; side++) {
        relay->conns[side]->pause = 0;
        relay->conns[side]->drain_wanted = relay->conns[side]->above_high = false;
        (void)rill_conn_become(relay->conns[side], &relay->conn_config, relay); /* they are open */
    }
    return 0;
}
