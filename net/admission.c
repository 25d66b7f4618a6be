/* admission.c - how many requests a loop reads when it cannot even refuse all of them.
 *
 * To refuse a request costs nearly as much as to serve a small one: it was received and parsed, and is answered. A loop
 * that is asked for several times what it can carry would come to do little else. That it is so far behind shows when
 * more than MOST_REFUSED are refused in a single turn. From then on connections of the server that await a request are
 * not read when something has come, but wait in a queue, and TCP tells their peers to wait, too. One is let in for each
 * request that is answered: so there are always as many under way as can be carried. Beside these as many are let in as
 * can be read, and refused, in an eighth of the time: so it is found out when more can be carried, and nobody waits for
 * long when all are slow. It is over when that empties the queue. */
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"
#include "rill/net/server.h"

enum { MOST_REFUSED = 32, MOST_LET_IN = 32, TICK_MS = 5, NS_PER_MS = 1000000 };

/* --- the queue --- */

static bool awaits_request(const struct rill_conn *conn)
{
    uint64_t waited_ms;
    return conn->served && conn->state == RILL_CONN_OPEN && !conn->out && !conn->held && !conn->eof &&
           conn->config->handler->awaits && conn->config->handler->awaits(conn, &waited_ms) == RILL_AWAITS_REQUEST;
}

static void enqueue(struct rill_admission *admission, struct rill_conn *conn)
{
    rill_list_push_back(&admission->queue, &conn->link);
    conn->held_back = true;
    rill_stat_add(&conn->net->stats.held_back, 1);
    rill_stat_add(&conn->net->stats.held_back_now, 1);
    if (!conn->net->edge_triggered)
        rill_conn_settle(conn); /* to stop watching */
}

void rill_conn_leave_queue(struct rill_conn *conn)
{
    rill_list_remove(&conn->link);
    conn->held_back = false;
    rill_stat_subtract(&conn->net->stats.held_back_now, 1);
}

bool rill_conn_is_held_back(struct rill_conn *conn)
{
    struct rill_admission *admission = &conn->net->admission;
    if (conn->held_back)
        return true;
    if (!conn->readable || conn->pause || !awaits_request(conn))
        return false;
    if (admission->credit > 0 && rill_list_empty(&admission->queue)) {
        admission->credit--;
        return false;
    }
    if (rill_list_empty(&conn->link)) /* else it will come here again when the turn ends */
        enqueue(admission, conn);
    return true;
}

void rill_conn_let_in(struct rill_conn *conn)
{
    rill_conn_leave_queue(conn);
    rill_conn_read_now(conn);
    if (!conn->net->edge_triggered && conn->state != RILL_CONN_CLOSED)
        rill_conn_settle(conn); /* to watch it again */
}

static struct rill_conn *first_of(const struct rill_admission *admission)
{
    struct rill_list *first = admission->queue.next;
    return first == &admission->queue ? NULL : rill_container_of(first, struct rill_conn, link);
}

/* --- when --- */

static void defer_let_in(struct rill_net *net)
{
    if (net->admission.let_in_deferred)
        return;
    net->admission.let_in_deferred = true;
    rill_loop_defer(net->loop, &net->admission.let_in_task);
}

/* The turn ends; requests were answered in it. */
static void let_in(struct rill_task *task)
{
    struct rill_net *net = rill_container_of(task, struct rill_net, admission.let_in_task);
    struct rill_admission *admission = &net->admission;
    struct rill_conn *conn;
    admission->let_in_deferred = false;
    for (unsigned i = 0; admission->credit > 0 && (conn = first_of(admission)); i++) {
        if (i == MOST_LET_IN) { /* who is answered at once lets in the next: others have their turn between */
            defer_let_in(net);
            return;
        }
        admission->credit--;
        rill_conn_let_in(conn);
    }
}

/* The turn ends; requests were refused in it. */
static void end_turn(struct rill_task *task)
{
    struct rill_admission *admission = rill_container_of(task, struct rill_admission, turn_task);
    admission->turn_deferred = false;
    admission->refused = 0;
}

static void tick(struct rill_timer *timer)
{
    struct rill_net *net = rill_container_of(timer, struct rill_net, admission.tick);
    struct rill_admission *admission = &net->admission;
    uint64_t until_ns = rill_clock_ns() + admission->budget_ns;
    struct rill_conn *conn;
    while ((conn = first_of(admission)) && rill_clock_ns() < until_ns)
        rill_conn_let_in(conn);
    admission->on = conn != NULL;
    if (admission->on) {
        rill_loop_arm(net->loop, timer, TICK_MS); /* who was answered in this turn still lets somebody in */
        return;
    }
    admission->refused = admission->credit = 0;
}

void rill_server_note_refused(struct rill_loop *loop)
{
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (!net || !net->overload || net->ending)
        return;
    struct rill_admission *admission = &net->admission;
    rill_overload_want(net->overload, RILL_MEASURE_REFUSE);
    if (admission->on)
        return;
    if (!admission->turn_deferred) {
        admission->turn_deferred = true;
        rill_loop_defer(loop, &admission->turn_task);
    }
    if (++admission->refused > admission->most_refused) {
        admission->on = true;
        rill_loop_arm(loop, &admission->tick, TICK_MS);
    }
}

void rill_server_note_answered(struct rill_loop *loop)
{
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (RILL_LIKELY(!net || !net->admission.on || net->ending))
        return;
    net->admission.credit++;
    defer_let_in(net);
}

void rill_admission_init(struct rill_admission *admission)
{
    rill_list_init(&admission->queue);
    admission->most_refused = MOST_REFUSED;
    admission->budget_ns = TICK_MS * NS_PER_MS / 8;
    admission->turn_task.run = end_turn;
    admission->let_in_task.run = let_in;
    rill_timer_init(&admission->tick, tick);
}

void rill_admission_end(struct rill_net *net)
{
    rill_loop_disarm(net->loop, &net->admission.tick);
}
