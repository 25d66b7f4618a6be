/* conn.c - a connection's life: adoption, a change of protocol, closing. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

enum { EARLY_PROBE_EVERY = 32 };

static void set_state(struct rill_conn *conn, enum rill_conn_state state)
{
    if (!rill_conn_state_may_change(conn->state, state)) {
        rill_log_error("internal error: connection state %d to %d", conn->state, (int)state);
        abort();
    }
    conn->state = (uint8_t)state;
}

/* --- closing --- */

void rill_conn_free_closed(struct rill_task *task)
{
    struct rill_net *net = rill_container_of(task, struct rill_net, closed_task);
    net->closed_deferred = false;
    struct rill_list *link;
    while ((link = rill_list_pop_front(&net->closed))) {
        struct rill_conn *conn = rill_container_of(link, struct rill_conn, link);
        if (conn->held)
            rill_conn_forget_held(conn);
        net->server_conns -= conn->served;
        rill_slab_free(&net->conns, conn->slot);
    }
    rill_net_free_attached(net);
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
    if (RILL_UNLIKELY(conn->held_back))
        rill_conn_leave_queue(conn);
    conn->finish_reason = (uint8_t)reason;
    rill_stat_add(&net->stats.closed[reason], 1);
    rill_stat_subtract(&net->stats.open, 1);
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

void rill_conn_finished(struct rill_conn *conn)
{
    if (!conn->linger || conn->eof || rill_sys_shutdown(conn->fd, SHUT_WR) < 0) {
        rill_conn_close(conn, conn->finish_reason);
        return;
    }
    set_state(conn, RILL_CONN_LINGERING);
    rill_conn_set_time(conn, RILL_LINGER_MS);
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

/* --- adoption --- */

/* Whether a new connection is read before libevent watches it. When bytes are there by now, which depends on how busy
 * the machine is, one that ends with its first request never costs an epoll_ctl or a wake-up; when they are not, the
 * call was for nothing. So it follows what the last few found, and tries now and then. */
static bool read_at_once(struct rill_net *net)
{
    return net->early_luck >= RILL_EARLY_LUCK_MAX / 2 || ++net->adoptions % EARLY_PROBE_EVERY == 0;
}

static void note_early_read(struct rill_net *net, const struct rill_conn *conn)
{
    if (conn->state != RILL_CONN_OPEN || conn->received)
        net->early_luck += net->early_luck < RILL_EARLY_LUCK_MAX;
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
    rill_timer_init(&conn->timer, rill_conn_on_timer);
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
    rill_conn_set_time(conn, config->idle_timeout_ms);
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
