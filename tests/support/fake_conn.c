/* fake_conn.c - see fake_conn.h. */
#include "fake_conn.h"
#include "rill/core/crash.h"
#include "rill/core/list.h"
#include "rill/core/slab.h"
#include "rill/core/sys.h"
#include <stdio.h>

enum { LINGER_MS = 5000, MAX_CONNECTIONS = 64 };

enum state { OPEN, FINISHING, LINGERING, CLOSED };

struct net {
    struct rill_loop *loop;
    struct rill_slab conns;
    struct rill_list ready, closed;
    struct rill_task pump_task, ready_task, closed_task;
    bool ready_deferred, closed_deferred;
};

struct rill_conn {
    struct net *net;
    struct fake_peer *peer;
    const struct rill_conn_config *config;
    void *user;
    struct rill_list link;
    struct rill_timer timer;
    uint64_t deadline_ms, write_deadline_ms;
    uint32_t slot;
    enum state state;
    unsigned callbacks, pause;
    struct rill_ip ip;
    char *out, *reserved;
    size_t out_length, reserved_length;
    char *held;
    size_t held_length;
    enum rill_close_reason finish_reason;
    bool above_high, drain_wanted, redeliver, linger, eof, broken;
};

/* What Rill itself would allocate: counted, and may fail. A block of 0 bytes is one. */
static char *block(size_t length)
{
    return rill_sys_malloc(length ? length : 1);
}

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fake_conn: %s\n", what);
    abort();
}

static size_t high_watermark(const struct rill_conn *conn)
{
    return conn->config->high_watermark ? conn->config->high_watermark : 256 * 1024;
}

static size_t low_watermark(const struct rill_conn *conn)
{
    return conn->config->low_watermark ? conn->config->low_watermark : high_watermark(conn) / 4;
}

static void make_ready(struct rill_conn *conn)
{
    struct net *net = conn->net;
    if (conn->state == CLOSED || !rill_list_empty(&conn->link))
        return;
    rill_list_push_back(&net->ready, &conn->link);
    if (!net->ready_deferred)
        rill_loop_defer(net->loop, &net->ready_task);
    net->ready_deferred = true;
}

/* --- closing --- */

static void free_closed(struct rill_task *task)
{
    struct net *net = rill_container_of(task, struct net, closed_task);
    struct rill_list *link;
    net->closed_deferred = false;
    while ((link = rill_list_pop_front(&net->closed)))
        rill_slab_free(&net->conns, rill_container_of(link, struct rill_conn, link)->slot);
}

void rill_conn_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct net *net = conn->net;
    rill_loop_check(net->loop, __func__);
    if (conn->state == CLOSED)
        return;
    conn->state = CLOSED;
    rill_loop_disarm(net->loop, &conn->timer);
    conn->peer->dropped += conn->out_length;
    conn->peer->conn = NULL;
    conn->peer->closes++;
    conn->peer->reason = reason;
    free(conn->out);
    free(conn->held);
    free(conn->reserved);
    rill_list_remove(&conn->link);
    rill_list_push_back(&net->closed, &conn->link);
    if (!net->closed_deferred)
        rill_loop_defer_last(net->loop, &net->closed_task);
    net->closed_deferred = true;
    if (conn->config->handler->on_close)
        conn->config->handler->on_close(conn, reason);
}

static void finish(struct rill_conn *conn, bool linger, enum rill_close_reason reason)
{
    if (conn->state != OPEN)
        return;
    conn->state = FINISHING;
    conn->pause |= RILL_PAUSE_CLOSING;
    conn->linger = linger;
    conn->finish_reason = reason;
    conn->deadline_ms = 0;
    if (conn->callbacks == 0)
        make_ready(conn);
}

void rill_conn_finish(struct rill_conn *conn, bool linger)
{
    rill_loop_check(conn->net->loop, __func__);
    finish(conn, linger, RILL_CLOSE_LOCAL);
}

/* --- time --- */

static void rearm(struct rill_conn *conn)
{
    uint64_t at = UINT64_MAX;
    if (conn->state == CLOSED)
        return;
    if (conn->deadline_ms)
        at = conn->deadline_ms;
    if (conn->write_deadline_ms && conn->write_deadline_ms < at)
        at = conn->write_deadline_ms;
    if (at == UINT64_MAX)
        rill_loop_disarm(conn->net->loop, &conn->timer);
    else
        rill_loop_arm_at(conn->net->loop, &conn->timer, at);
}

void rill_conn_set_deadline(struct rill_conn *conn, uint64_t delay_ms)
{
    if (conn->state == CLOSED)
        return;
    conn->deadline_ms = delay_ms ? rill_loop_now_ms(conn->net->loop) + delay_ms : 0;
    rearm(conn);
}

static void settle(struct rill_conn *conn);

static bool call(struct rill_conn *conn, void (*callback)(struct rill_conn *))
{
    conn->callbacks++;
    callback(conn);
    conn->callbacks--;
    return conn->state != CLOSED;
}

static void on_timer(struct rill_timer *timer)
{
    struct rill_conn *conn = rill_container_of(timer, struct rill_conn, timer);
    uint64_t now = rill_loop_now_ms(conn->net->loop);
    if (conn->write_deadline_ms && conn->write_deadline_ms <= now) {
        rill_conn_close(conn, RILL_CLOSE_WRITE_TIMEOUT);
        return;
    }
    if (conn->deadline_ms && conn->deadline_ms <= now) {
        conn->deadline_ms = 0;
        if (conn->state != OPEN || !conn->config->handler->on_timeout) {
            rill_conn_close(conn, conn->state == LINGERING ? RILL_CLOSE_LOCAL : RILL_CLOSE_IDLE);
            return;
        }
        if (!call(conn, conn->config->handler->on_timeout))
            return;
        settle(conn);
    }
    rearm(conn);
}

/* --- output --- */

/* Lets the client take what it will. */
static void flush(struct rill_conn *conn)
{
    struct fake_peer *peer = conn->peer;
    size_t length = peer->stalled && peer->room < conn->out_length ? peer->room : conn->out_length;
    if (length > 0) {
        if (peer->received_length + length >= peer->received_capacity) {
            peer->received_capacity = 2 * (peer->received_length + length) + 1;
            peer->received = realloc(peer->received, peer->received_capacity);
            must(peer->received != NULL, "no memory");
        }
        memcpy(peer->received + peer->received_length, conn->out, length);
        peer->received_length += length;
        peer->received[peer->received_length] = '\0';
        memmove(conn->out, conn->out + length, conn->out_length - length);
        conn->out_length -= length;
        if (peer->stalled)
            peer->room -= length;
    }
    if (conn->out_length == 0)
        conn->write_deadline_ms = 0;
    else if (conn->config->write_timeout_ms && (length > 0 || conn->write_deadline_ms == 0))
        conn->write_deadline_ms = rill_loop_now_ms(conn->net->loop) + conn->config->write_timeout_ms;
    rearm(conn);
}

static void settle(struct rill_conn *conn)
{
    if (conn->state == CLOSED)
        return;
    flush(conn);
    if (conn->broken && conn->out_length == 0) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    if ((conn->above_high || conn->drain_wanted) && conn->out_length <= low_watermark(conn))
        make_ready(conn);
    if (conn->out_length == 0 && conn->state == FINISHING) {
        conn->peer->finished = true;
        if (!conn->linger || conn->eof) {
            rill_conn_close(conn, conn->finish_reason);
            return;
        }
        conn->state = LINGERING;
        conn->peer->lingered = true;
        conn->pause = 0;
        rill_conn_set_deadline(conn, LINGER_MS);
        make_ready(conn);
    }
}

/* Adds a copy of BYTES to what is to leave. */
static int append(struct rill_conn *conn, const void *bytes, size_t length)
{
    char *grown = rill_sys_realloc(conn->out, conn->out_length + length + 1);
    if (!grown) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return -ENOMEM;
    }
    if (length > 0)
        memcpy(grown + conn->out_length, bytes, length);
    conn->out = grown;
    conn->out_length += length;
    if (conn->out_length > high_watermark(conn))
        conn->above_high = true;
    if (conn->callbacks == 0)
        make_ready(conn);
    return 0;
}

int rill_conn_send(struct rill_conn *conn, const void *bytes, size_t length)
{
    rill_loop_check(conn->net->loop, __func__);
    return conn->state == OPEN ? append(conn, bytes, length) : -EPIPE;
}

char *rill_conn_reserve(struct rill_conn *conn, size_t length)
{
    rill_loop_check(conn->net->loop, __func__);
    must(length <= RILL_CONN_RESERVE_MAX, "more reserved than is allowed");
    if (conn->state != OPEN)
        return NULL;
    free(conn->reserved);
    conn->reserved = block(length);
    conn->reserved_length = length;
    if (!conn->reserved)
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
    return conn->state == OPEN ? conn->reserved : NULL;
}

void rill_conn_commit(struct rill_conn *conn, size_t length)
{
    must(conn->reserved && length <= conn->reserved_length, "more committed than was reserved");
    char *bytes = conn->reserved;
    conn->reserved = NULL;
    append(conn, bytes, length);
    free(bytes);
}

int rill_conn_send_buf(struct rill_conn *conn, struct rill_buf *buf)
{
    int error = rill_conn_send(conn, rill_buf_bytes(buf), rill_buf_length(buf));
    rill_buf_unref(buf);
    return error;
}

int rill_conn_send_file(struct rill_conn *conn, struct rill_file_ref *file, uint64_t offset, uint64_t length)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != OPEN)
        return -EPIPE;
    char *bytes = malloc(length + 1);
    must(bytes != NULL, "no memory");
    ssize_t got = rill_sys_pread(rill_file_ref_fd(file), bytes, length, (off_t)offset);
    if (got < 0 || (uint64_t)got < length)
        conn->broken = true;
    int error = append(conn, bytes, got < 0 ? 0 : (size_t)got);
    free(bytes);
    return error;
}

size_t rill_conn_buffered(const struct rill_conn *conn)
{
    return conn->out_length;
}

bool rill_conn_is_full(const struct rill_conn *conn)
{
    return conn->out_length > high_watermark(conn);
}

void rill_conn_want_drain(struct rill_conn *conn)
{
    rill_loop_check(conn->net->loop, __func__);
    conn->drain_wanted = true;
    if (conn->out_length <= low_watermark(conn))
        make_ready(conn);
}

static void tell_drained(struct rill_conn *conn)
{
    if (!(conn->above_high || conn->drain_wanted) || conn->state != OPEN || conn->out_length > low_watermark(conn))
        return;
    conn->above_high = conn->drain_wanted = false;
    if (conn->config->handler->on_drain && call(conn, conn->config->handler->on_drain))
        settle(conn);
}

/* --- input --- */

/* Shows what was held, and COUNT more bytes of what the client sent. */
static void deliver(struct rill_conn *conn, size_t count)
{
    struct fake_peer *peer = conn->peer;
    size_t length = conn->held_length + count;
    char *shown = block(length);
    if (!shown) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return;
    }
    if (conn->held_length > 0)
        memcpy(shown, conn->held, conn->held_length);
    if (count > 0)
        memcpy(shown + conn->held_length, peer->sent, count);
    free(conn->held);
    conn->held = NULL;
    conn->held_length = 0;
    memmove(peer->sent, peer->sent + count, peer->unread - count);
    peer->unread -= count;
    peer->read_total += count;

    struct rill_input input = {.bytes = shown, .length = length};
    conn->callbacks++;
    conn->config->handler->on_data(conn, &input);
    conn->callbacks--;
    must(input.bytes == shown + input.consumed && input.length + input.consumed == length, "input out of step");
    if (conn->state != CLOSED && input.length > 0) {
        conn->held = block(input.length);
        conn->held_length = input.length;
        if (conn->held)
            memcpy(conn->held, input.bytes, input.length);
        else
            rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
    }
    free(shown);
    if (conn->state == CLOSED)
        return;
    size_t limit = conn->config->max_input_bytes ? conn->config->max_input_bytes : 1 << 20;
    if (conn->held_length > limit && !conn->pause)
        rill_conn_close(conn, RILL_CLOSE_INPUT_LIMIT);
    else
        settle(conn);
}

static void read_eof(struct rill_conn *conn)
{
    conn->eof = true;
    if (conn->state == LINGERING) {
        rill_conn_close(conn, conn->finish_reason);
    } else if (conn->config->handler->on_eof) {
        if (call(conn, conn->config->handler->on_eof))
            settle(conn);
    } else {
        finish(conn, false, RILL_CLOSE_EOF);
        settle(conn);
    }
}

static void read_input(struct rill_conn *conn)
{
    struct fake_peer *peer = conn->peer;
    while (conn->state != CLOSED && !conn->pause && !conn->eof) {
        if (peer->reset) {
            rill_conn_close(conn, RILL_CLOSE_RESET);
        } else if (peer->unread > 0) {
            size_t count = peer->read_max && peer->read_max < peer->unread ? peer->read_max : peer->unread;
            if (conn->state == OPEN) {
                deliver(conn, count);
            } else {
                memmove(peer->sent, peer->sent + count, peer->unread - count);
                peer->unread -= count;
            }
        } else if (peer->ended) {
            read_eof(conn);
        } else {
            return;
        }
    }
}

void rill_conn_pause(struct rill_conn *conn, enum rill_pause reason)
{
    rill_loop_check(conn->net->loop, __func__);
    conn->pause |= (unsigned)reason;
}

void rill_conn_resume(struct rill_conn *conn, enum rill_pause reason)
{
    rill_loop_check(conn->net->loop, __func__);
    if (!conn->pause)
        return;
    conn->pause &= ~(unsigned)reason;
    if (conn->pause)
        return;
    conn->redeliver = conn->held != NULL || conn->callbacks > 0;
    make_ready(conn);
}

static void process_ready(struct rill_task *task)
{
    struct net *net = rill_container_of(task, struct net, ready_task);
    struct rill_list batch, *link;
    rill_list_init(&batch);
    rill_list_splice_back(&batch, &net->ready);
    net->ready_deferred = false;
    while ((link = rill_list_pop_front(&batch))) {
        struct rill_conn *conn = rill_container_of(link, struct rill_conn, link);
        settle(conn);
        tell_drained(conn);
        if (conn->redeliver && !conn->pause && conn->held && conn->state == OPEN) {
            conn->redeliver = false;
            deliver(conn, 0);
        }
        read_input(conn);
    }
}

static void pump(struct rill_task *task)
{
    struct net *net = rill_container_of(task, struct net, pump_task);
    rill_loop_now_ms(net->loop); /* so that the loop looks at its timers in this turn */
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1)) {
        struct rill_conn *conn = rill_slab_at(&net->conns, slot);
        settle(conn);
        if (conn->state != CLOSED && conn->peer->reset && conn->out_length > 0)
            rill_conn_close(conn, RILL_CLOSE_RESET);
        read_input(conn);
    }
}

void fake_conn_turn(struct rill_loop *loop)
{
    struct net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    must(!net || rill_loop_post(loop, &net->pump_task) == 0, "the loop has stopped");
    must(rill_loop_turn(loop, false) == 0, "the loop has failed");
}

/* --- life --- */

static void net_destroy(void *value)
{
    struct net *net = value;
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        rill_conn_close(rill_slab_at(&net->conns, slot), RILL_CLOSE_STOPPED);
    rill_slab_destroy(&net->conns);
    free(net);
}

static struct net *net_of(struct rill_loop *loop)
{
    struct net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (net)
        return net;
    net = calloc(1, sizeof *net);
    must(net && rill_slab_init(&net->conns, sizeof(struct rill_conn), MAX_CONNECTIONS) == 0, "no memory");
    net->loop = loop;
    rill_list_init(&net->ready);
    rill_list_init(&net->closed);
    net->pump_task.run = pump;
    net->ready_task.run = process_ready;
    net->closed_task.run = free_closed;
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, net, net_destroy);
    return net;
}

int fake_conn_open(struct rill_loop *loop, struct fake_peer *peer, const struct rill_conn_config *config)
{
    static const struct rill_ip ip = {.bytes = {192, 0, 2, 1}, .port = 4711, .version = 4};
    struct net *net = net_of(loop);
    uint32_t slot;
    struct rill_conn *conn = rill_slab_alloc(&net->conns, &slot);
    if (!conn)
        return -ENFILE;
    memset(conn, 0, sizeof *conn);
    conn->net = net;
    conn->config = config;
    conn->slot = slot;
    conn->ip = ip;
    conn->peer = peer;
    peer->conn = conn;
    rill_timer_init(&conn->timer, on_timer);
    rill_list_init(&conn->link);
    peer->opens++;
    if (config->handler->on_open && !call(conn, config->handler->on_open))
        return 0;
    settle(conn);
    return 0;
}

void fake_peer_send(struct fake_peer *peer, const void *bytes, size_t length)
{
    must(!peer->ended, "sent after the end");
    peer->sent = realloc(peer->sent, peer->unread + length + 1);
    must(peer->sent != NULL, "no memory");
    if (length > 0)
        memcpy(peer->sent + peer->unread, bytes, length);
    peer->unread += length;
}

void fake_peer_end(struct fake_peer *peer)
{
    peer->ended = true;
}

void fake_peer_reset(struct fake_peer *peer)
{
    peer->reset = true;
}

void fake_peer_forget(struct fake_peer *peer)
{
    peer->received_length = 0;
    if (peer->received)
        peer->received[0] = '\0';
}

void fake_peer_free(struct fake_peer *peer)
{
    must(!peer->conn, "a client freed before its connection");
    free(peer->received);
    free(peer->sent);
    memset(peer, 0, sizeof *peer);
}

/* --- looking --- */

void *rill_conn_user(const struct rill_conn *conn)
{
    return conn->user;
}

void rill_conn_set_user(struct rill_conn *conn, void *user)
{
    conn->user = user;
}

void *rill_conn_arg(const struct rill_conn *conn)
{
    return conn->config->arg;
}

struct rill_loop *rill_conn_loop(const struct rill_conn *conn)
{
    return conn->net->loop;
}

const struct rill_ip *rill_conn_peer(const struct rill_conn *conn)
{
    return &conn->ip;
}

bool rill_conn_is_open(const struct rill_conn *conn)
{
    return conn->state == OPEN;
}

void rill_conn_describe(const struct rill_conn *conn, struct rill_note *note)
{
    rill_note_text(note, "connection ");
    rill_note_number(note, conn->slot, 10);
}

struct rill_conn_id rill_conn_id(const struct rill_conn *conn)
{
    uint64_t loop = rill_loop_index(conn->net->loop), slot = conn->slot;
    return (struct rill_conn_id){loop << 56 | slot << 32 | rill_slab_generation(&conn->net->conns, conn->slot)};
}

struct rill_conn *rill_conn_find(struct rill_loop *loop, struct rill_conn_id id)
{
    struct net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (!net || rill_conn_id_loop(id) != rill_loop_index(loop))
        return NULL;
    struct rill_conn *conn = rill_slab_lookup(&net->conns, (uint32_t)(id.value >> 32) & 0xffffffu, (uint32_t)id.value);
    return conn && conn->state != CLOSED ? conn : NULL;
}

uint32_t rill_conn_count(struct rill_loop *loop)
{
    struct net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    return net ? rill_slab_count(&net->conns) : 0;
}

void rill_conn_each(struct rill_loop *loop, const struct rill_conn_config *config,
                    void (*fn)(struct rill_conn *conn, void *arg), void *arg)
{
    struct net *net = net_of(loop);
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1)) {
        struct rill_conn *conn = rill_slab_at(&net->conns, slot);
        if (conn->state != CLOSED && (!config || conn->config == config))
            fn(conn, arg);
    }
}

uint64_t rill_conn_time_left_ms(const struct rill_conn *conn)
{
    uint64_t now_ms = rill_loop_now_ms(conn->net->loop);
    return conn->deadline_ms > now_ms ? conn->deadline_ms - now_ms : 0;
}
