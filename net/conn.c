/* conn.c - a connection's life: adoption, events, time, closing.
 *
 * One event a connection, edge-triggered, added once; once more if output ever has to wait. `readable` and `writable`
 * remember what the edges said until a short read or a full socket takes it back. Whatever is left over at the end of a
 * callback (a fairness cap reached, a resume, output from elsewhere) puts the connection into the loop's ready list,
 * which is worked through when the turn ends.
 *
 * With poll and select there are no edges, so there `interest` follows what is wanted, at the cost of changing the
 * event; epoll never comes to that code. */
#include "rill/core/crash.h"
#include "rill/core/log.h"
#include "rill/core/loop_stats.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

enum {
    LINGER_MS = 5000,
    EARLY_LUCK_MAX = 7,
    EARLY_PROBE_EVERY = 32,
};

static void set_deadline(struct rill_conn *conn, uint64_t delay_ms);

/* --- the per-loop context --- */

static void process_ready(struct rill_task *task);
static void free_closed(struct rill_task *task);

static void free_attached(struct rill_net *net)
{
    while (net->attached) {
        struct rill_attached *memory = net->attached;
        net->attached = memory->next;
        rill_sys_free(memory);
    }
}

void rill_net_free_with_closed(struct rill_net *net, struct rill_attached *memory)
{
    memory->next = net->attached;
    net->attached = memory;
}

static void net_destroy(void *value)
{
    struct rill_net *net = value;
    struct rill_loop *loop = net->loop;
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, net, NULL); /* callbacks find what there is, and begin nothing */
    net->ending = true;
    net->ready_deferred = net->closed_deferred = true; /* the tasks go away with the net: no turn will end any more */
    rill_connect_end_all(net);
    rill_datagram_end_all(net->datagrams);
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        rill_conn_close(rill_slab_at(&net->conns, slot), RILL_CLOSE_STOPPED);
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        rill_buf_unref(((struct rill_conn *)rill_slab_at(&net->conns, slot))->held);
    rill_conn_output_free_leases(net);
    rill_pipes_free(net);
    free_attached(net);
    rill_datagram_net_free(net->datagrams);
    rill_slab_destroy(&net->conns);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, NULL, NULL);
    rill_sys_free(net);
}

/* Every open connection needs a descriptor, so there can be no more of them than the hard limit. Those that close give
 * theirs back at once, but their slot at the end of the turn only, and more may come in the same turn. */
static uint32_t most_connections(void)
{
    struct rlimit limit;
    uint32_t most = 1u << 20;
    if (rill_sys_getrlimit_nofile(&limit) == 0 && limit.rlim_max < most)
        most = (uint32_t)limit.rlim_max;
    return 2 * most + 4096;
}

static void describe(const void *value, struct rill_note *note)
{
    const struct rill_net *net = value;
    if (net->current)
        rill_conn_describe(net->current, note);
}

struct rill_net *rill_net_of(struct rill_loop *loop)
{
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (RILL_LIKELY(net != NULL))
        return net;
    net = rill_sys_calloc(1, sizeof *net);
    if (!net)
        return NULL;
    if (rill_slab_init(&net->conns, sizeof(struct rill_conn), most_connections()) < 0) {
        rill_sys_free(net);
        return NULL;
    }
    net->loop = loop;
    net->trace = rill_loop_trace(loop);
    net->edge_triggered = rill_loop_edge_triggered(loop);
    net->early_luck = EARLY_LUCK_MAX;
    net->ready_task.run = process_ready;
    net->closed_task.run = free_closed;
    rill_list_init(&net->ready);
    rill_list_init(&net->closed);
    rill_list_init(&net->connects);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, net, net_destroy);
    rill_loop_set_describe(loop, RILL_LOOP_SLOT_NET, describe);
    return net;
}

/* --- states and callbacks --- */

static void set_state(struct rill_conn *conn, enum rill_conn_state state)
{
    if (!rill_conn_state_may_change(conn->state, state)) {
        rill_log_error("internal error: connection state %d to %d", conn->state, (int)state);
        abort();
    }
    conn->state = (uint8_t)state;
}

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
    if (conn->state == RILL_CONN_CLOSED || !rill_list_empty(&conn->link))
        return;
    rill_list_push_back(&net->ready, &conn->link);
    if (!net->ready_deferred) {
        net->ready_deferred = true;
        rill_loop_defer(net->loop, &net->ready_task);
    }
}

/* --- closing --- */

static void free_closed(struct rill_task *task)
{
    struct rill_net *net = rill_container_of(task, struct rill_net, closed_task);
    net->closed_deferred = false;
    struct rill_list *link;
    while ((link = rill_list_pop_front(&net->closed))) {
        struct rill_conn *conn = rill_container_of(link, struct rill_conn, link);
        rill_buf_unref(conn->held);
        net->server_conns -= conn->served;
        rill_slab_free(&net->conns, conn->slot);
    }
    free_attached(net);
    if (net->server_conns == 0 && net->on_empty)
        net->on_empty(net->on_empty_arg);
}

void rill_conn_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct rill_net *net = conn->net;
    rill_loop_check(net->loop, __func__);
    if (conn->state == RILL_CONN_CLOSED)
        return;
    set_state(conn, RILL_CONN_CLOSED);
    conn->finish_reason = (uint8_t)reason;
    rill_stat_add(&net->stats.closed[reason], 1);
    rill_stat_set(&net->stats.open, net->stats.open - 1);
    rill_loop_disarm(net->loop, &conn->timer);
    rill_trace_closed(net->trace, conn);
    if (conn->interest)
        event_del(&conn->event);
    if (RILL_UNLIKELY(conn->counted)) /* first: the peer sees the end, and may call again at once */
        rill_address_counts_release(net->address_counts, &conn->peer);
    rill_sys_close(conn->fd); /* last: another thread's accept may get the same number at once */
    conn->fd = -1;
    rill_conn_output_drop(conn);
    if (conn->served) /* released: who sees it has seen the connection dealt */
        __atomic_store_n(&net->closed_total, net->closed_total + 1, __ATOMIC_RELEASE);
    rill_list_remove(&conn->link);
    rill_list_push_back(&net->closed, &conn->link);
    if (!net->closed_deferred) {
        net->closed_deferred = true;
        rill_loop_defer_last(net->loop, &net->closed_task);
    }
    if (RILL_UNLIKELY(conn->watchers != NULL))
        rill_conn_tell_closed(conn);
    if (conn->config->handler->on_close)
        conn->config->handler->on_close(conn, reason);
}

/* All output has left while FINISHING: close, or wait for the peer to close first. */
static void finished(struct rill_conn *conn)
{
    if (!conn->linger || conn->eof || rill_sys_shutdown(conn->fd, SHUT_WR) < 0) {
        rill_conn_close(conn, conn->finish_reason);
        return;
    }
    set_state(conn, RILL_CONN_LINGERING);
    set_deadline(conn, LINGER_MS);
}

void rill_conn_finish_as(struct rill_conn *conn, bool linger, enum rill_close_reason reason)
{
    if (conn->state != RILL_CONN_OPEN)
        return;
    set_state(conn, RILL_CONN_FINISHING);
    /* Who lingers reads and drops from here on: a peer that sends all before it reads anything would never make room
     * for the output otherwise. */
    conn->pause = linger ? 0 : RILL_PAUSE_CLOSING;
    conn->linger = linger;
    conn->spliced = false; /* what comes now is dropped */
    conn->finish_reason = (uint8_t)reason;
    conn->above_high = conn->drain_wanted = false; /* nobody will produce more */
    conn->deadline_ms = 0;
    if (conn->config->idle_timeout_ms)
        rill_conn_was_active(conn);
    if (conn->callbacks == 0 || (linger && conn->readable))
        rill_conn_make_ready(conn);
}

void rill_conn_finish(struct rill_conn *conn, bool linger)
{
    rill_loop_check(conn->net->loop, __func__);
    rill_conn_finish_as(conn, linger, RILL_CLOSE_LOCAL);
}

void rill_conn_shutdown(struct rill_conn *conn)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        return;
    conn->shutdown_wanted = true;
    if (conn->callbacks == 0)
        rill_conn_make_ready(conn);
}

/* --- time --- */

/* The nearest moment at which something has to happen; UINT64_MAX for none. */
static uint64_t next_deadline(const struct rill_conn *conn)
{
    uint64_t at = conn->deadline_ms ? conn->deadline_ms : UINT64_MAX;
    if (conn->out && conn->out->deadline_ms && conn->out->deadline_ms < at)
        at = conn->out->deadline_ms;
    return at;
}

/* Arms the timer only when it would fire too late: one that fires early finds out and is armed again. */
static inline void arm(struct rill_conn *conn, uint64_t at)
{
    if (!rill_timer_armed(&conn->timer) || conn->timer.deadline_ms > at)
        rill_loop_arm_at(conn->net->loop, &conn->timer, at);
}

static void on_timer(struct rill_timer *timer)
{
    struct rill_conn *conn = rill_container_of(timer, struct rill_conn, timer);
    uint64_t now = rill_loop_now_ms(conn->net->loop);
    if (conn->out && conn->out->deadline_ms && conn->out->deadline_ms <= now) {
        rill_conn_close(conn, RILL_CLOSE_WRITE_TIMEOUT);
        return;
    }
    if (conn->deadline_ms && conn->deadline_ms <= now) {
        conn->deadline_ms = 0;
        if (conn->state != RILL_CONN_OPEN || !conn->config->handler->on_timeout) {
            bool lingered = conn->state == RILL_CONN_LINGERING;
            rill_conn_close(conn, lingered ? (enum rill_close_reason)conn->finish_reason : RILL_CLOSE_IDLE);
            return;
        }
        if (!rill_conn_call(conn, conn->config->handler->on_timeout))
            return;
        rill_conn_settle(conn);
    }
    if (conn->state != RILL_CONN_CLOSED && next_deadline(conn) != UINT64_MAX)
        arm(conn, next_deadline(conn));
}

static void set_deadline(struct rill_conn *conn, uint64_t delay_ms)
{
    if (delay_ms == 0) {
        conn->deadline_ms = 0;
        return;
    }
    conn->deadline_ms = rill_loop_deadline_ms(conn->net->loop, delay_ms);
    arm(conn, conn->deadline_ms);
}

void rill_conn_set_deadline(struct rill_conn *conn, uint64_t delay_ms)
{
    if (conn->state <= RILL_CONN_FINISHING) /* to linger takes a time of its own */
        set_deadline(conn, delay_ms);
}

void rill_conn_was_active(struct rill_conn *conn)
{
    rill_conn_set_deadline(conn, conn->config->idle_timeout_ms);
}

/* --- events --- */

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
        interest = (short)((conn->pause || conn->eof ? 0 : EV_READ) | (conn->out ? EV_WRITE : 0));
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
            arm(conn, conn->out->deadline_ms);
    } else if (RILL_UNLIKELY(conn->state == RILL_CONN_FINISHING)) {
        finished(conn);
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

/* The turn ends: looks at every connection that asked for it. */
static void process_ready(struct rill_task *task)
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

/* --- adoption --- */

/* Whether a new connection is read before libevent watches it. When bytes are there by now, which depends on how busy
 * the machine is, one that ends with its first request never costs an epoll_ctl or a wake-up; when they are not, the
 * call was for nothing. So it follows what the last few found, and tries now and then. */
static bool read_at_once(struct rill_net *net)
{
    return net->early_luck >= EARLY_LUCK_MAX / 2 || ++net->adoptions % EARLY_PROBE_EVERY == 0;
}

static void note_early_read(struct rill_net *net, const struct rill_conn *conn)
{
    if (conn->state != RILL_CONN_OPEN || conn->received)
        net->early_luck += net->early_luck < EARLY_LUCK_MAX;
    else
        net->early_luck -= net->early_luck > 0;
}

struct rill_conn *rill_conn_make(struct rill_net *net, int fd, const struct rill_ip *peer,
                                 const struct rill_conn_config *config)
{
    uint32_t slot;
    struct rill_conn *conn = net->ending ? NULL : rill_slab_alloc(&net->conns, &slot);
    if (!conn)
        return NULL;
    memset(conn, 0, sizeof *conn);
    rill_timer_init(&conn->timer, on_timer);
    rill_list_init(&conn->link);
    conn->net = net;
    conn->config = config;
    conn->fd = fd;
    conn->slot = slot;
    conn->readable = conn->writable = true;
    if (peer)
        conn->peer = *peer;
    conn->served = rill_net_serves(net, config);
    conn->counted = conn->served && net->address_counts;
    net->server_conns += conn->served;
    rill_stat_add(&net->stats.adopted, 1);
    rill_stat_add(&net->stats.open, 1);
    if (config->idle_timeout_ms)
        rill_conn_was_active(conn);
    return conn;
}

int rill_conn_adopt(struct rill_loop *loop, int fd, const struct rill_ip *peer, const struct rill_conn_config *config)
{
    rill_loop_check(loop, __func__);
    struct rill_net *net = rill_net_of(loop);
    struct rill_conn *conn = net ? rill_conn_make(net, fd, peer, config) : NULL;
    if (!conn) {
        rill_sys_close(fd);
        return net ? -ENFILE : -ENOMEM;
    }
    rill_trace_adopted(net->trace, conn);
    if (config->handler->on_open && !rill_conn_call(conn, config->handler->on_open))
        return 0;
    if (RILL_LIKELY(!net->buffer_lent) && !conn->pause && read_at_once(net)) {
        rill_conn_read(conn);
        note_early_read(net, conn);
    }
    if (conn->state != RILL_CONN_CLOSED)
        rill_conn_settle(conn);
    return 0;
}

void rill_conn_dress(struct rill_conn *conn, const struct rill_conn_config *config, void *user)
{
    conn->config = config;
    conn->user = user;
    set_deadline(conn, config->idle_timeout_ms);
    conn->redeliver = conn->held != NULL || conn->callbacks > 0; /* on_data may be on the stack, and leave something */
    conn->readable |= conn->eof;                                 /* the end can be read again */
    if (conn->redeliver || conn->eof)
        rill_conn_make_ready(conn);
    conn->eof = false;
}

int rill_conn_become(struct rill_conn *conn, const struct rill_conn_config *config, void *user)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN)
        return -EPIPE;
    rill_conn_dress(conn, config, user);
    if (conn->callbacks == 0)
        rill_conn_make_ready(conn);
    if (config->handler->on_open)
        rill_conn_call(conn, config->handler->on_open);
    if (conn->redeliver || conn->readable)
        rill_conn_make_ready(conn);
    return 0;
}

/* --- looking --- */

struct rill_conn *rill_conn_find(struct rill_loop *loop, struct rill_conn_id id)
{
    rill_loop_check(loop, __func__);
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (!net || rill_conn_id_loop(id) != rill_loop_index(loop))
        return NULL;
    struct rill_conn *conn = rill_slab_lookup(&net->conns, (uint32_t)(id.value >> 32) & 0xffffffu, (uint32_t)id.value);
    return conn && conn->state != RILL_CONN_CLOSED ? conn : NULL;
}

struct rill_conn_id rill_conn_id(const struct rill_conn *conn)
{
    const struct rill_net *net = conn->net;
    uint64_t loop = rill_loop_index(net->loop), slot = conn->slot;
    return (struct rill_conn_id){loop << 56 | slot << 32 | rill_slab_generation(&net->conns, conn->slot)};
}

void rill_conn_describe(const struct rill_conn *conn, struct rill_note *note)
{
    uint64_t id = rill_conn_id(conn).value;
    rill_note_text(note, "connection ");
    rill_note_number(note, id >> 56, 10);
    rill_note_text(note, "/");
    rill_note_number(note, id >> 32 & 0xffffff, 10);
    rill_note_text(note, "/");
    rill_note_number(note, (uint32_t)id, 10);
}

uint32_t rill_conn_count(struct rill_loop *loop)
{
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    return net ? rill_slab_count(&net->conns) : 0;
}

void rill_conn_each(struct rill_loop *loop, const struct rill_conn_config *config,
                    void (*fn)(struct rill_conn *conn, void *arg), void *arg)
{
    rill_loop_check(loop, __func__);
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (!net)
        return;
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1)) {
        struct rill_conn *conn = rill_slab_at(&net->conns, slot);
        if (conn->state != RILL_CONN_CLOSED && (!config || conn->config == config))
            fn(conn, arg);
    }
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
    return &conn->peer;
}

bool rill_conn_is_open(const struct rill_conn *conn)
{
    return conn->state == RILL_CONN_OPEN;
}
