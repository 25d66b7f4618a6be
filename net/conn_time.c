/* conn_time.c - a connection's one timer, for its deadline and for that of its output.
 *
 * It is lazy: a new deadline is stored, and the timer is moved only when it would fire too late. One that fires early
 * looks, and is armed again; so activity costs a store. */
#include "rill/net/conn_internal.h"

/* The nearest moment at which something has to happen; UINT64_MAX for none. */
static uint64_t next_deadline(const struct rill_conn *conn)
{
    uint64_t at = conn->deadline_ms ? conn->deadline_ms : UINT64_MAX;
    if (conn->out && conn->out->deadline_ms && conn->out->deadline_ms < at)
        at = conn->out->deadline_ms;
    return at;
}

void rill_conn_arm(struct rill_conn *conn, uint64_t at)
{
    if (!rill_timer_armed(&conn->timer) || conn->timer.deadline_ms > at)
        rill_loop_arm_at(conn->net->loop, &conn->timer, at);
}

void rill_conn_on_timer(struct rill_timer *timer)
{
    struct rill_conn *conn = rill_container_of(timer, struct rill_conn, timer);
    uint64_t now = rill_loop_now_ms(conn->net->loop);
    if (RILL_UNLIKELY(conn->held_back)) { /* it is not the peer who is late */
        rill_conn_let_in(conn);
        if (conn->state == RILL_CONN_CLOSED)
            return;
    }
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
        rill_conn_arm(conn, next_deadline(conn));
}

void rill_conn_set_time(struct rill_conn *conn, uint64_t delay_ms)
{
    if (delay_ms == 0) {
        conn->deadline_ms = 0;
        return;
    }
    conn->deadline_ms = rill_loop_deadline_ms(conn->net->loop, delay_ms);
    rill_conn_arm(conn, conn->deadline_ms);
}

void rill_conn_set_deadline(struct rill_conn *conn, uint64_t delay_ms)
{
    if (conn->state <= RILL_CONN_FINISHING) /* to linger takes a time of its own */
        rill_conn_set_time(conn, delay_ms);
}

uint64_t rill_conn_time_left_ms(const struct rill_conn *conn)
{
    uint64_t now_ms = rill_loop_now_ms(conn->net->loop);
    return conn->deadline_ms > now_ms ? conn->deadline_ms - now_ms : 0;
}

void rill_conn_was_active(struct rill_conn *conn)
{
    rill_conn_set_deadline(conn, conn->config->idle_timeout_ms);
}
