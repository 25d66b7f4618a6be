/* sim_site_borrow.c - see sim_site.h: those who borrow from a loop's pool, and what net/conn_pool.h promises them.
 *
 * Each has something said back to him. Some borrow for a front, a connection of the server's whose bytes they take
 * there and back; others do so for themselves, and change their minds. */
#include "sim_site_pool.h"

#include "rill/net/conn_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MOST = 3000, HOLD_MS = 100 };

static struct rill_conn *find(const struct borrower *borrower)
{
    return rill_conn_find(borrower->lender->loop, borrower->conn);
}

/* --- a borrower's life --- */

static void ask(struct borrower *borrower);

/* He is done, well or not. */
static void end_borrower(struct borrower *borrower)
{
    struct rill_conn *front = rill_conn_find(borrower->lender->loop, borrower->front);
    borrower->state = ENDED;
    rill_list_remove(&borrower->link);
    rill_loop_disarm(borrower->lender->loop, &borrower->hold);
    site.borrowers_gone++;
    if (front)
        site_front_answered(front, borrower->bytes, borrower->got == borrower->n ? borrower->n : 0);
    free(borrower->bytes);
    free(borrower);
}

static void on_hold(struct rill_timer *timer)
{
    struct borrower *borrower = rill_container_of(timer, struct borrower, hold);
    struct rill_conn *conn = find(borrower);
    if (!conn)
        sim_fail("a borrower has not been told that his connection has closed");
    borrower->state = ENDED; /* so that on_close is nothing to him */
    site_pool_give_back(conn);
    end_borrower(borrower);
}

/* All that he wanted has come. */
static void finish(struct borrower *borrower, struct rill_conn *conn)
{
    if (sim_chance(3)) {
        rill_loop_arm(borrower->lender->loop, &borrower->hold, sim_below(HOLD_MS));
        return;
    }
    borrower->state = ENDED;
    site_pool_give_back(conn);
    end_borrower(borrower);
}

/* --- on the connection --- */

void site_borrower_hears(struct borrower *borrower, struct rill_conn *conn, struct rill_input *input)
{
    if (borrower->conn.value != rill_conn_id(conn).value)
        sim_fail("bytes come to one whose connection this is not");
    if (input->length > borrower->n - borrower->got ||
        memcmp(input->bytes, borrower->bytes + borrower->got, input->length) != 0)
        sim_fail("a borrower hears what he has not said");
    borrower->got += input->length;
    rill_input_consume(input, input->length);
    if (borrower->got == borrower->n)
        finish(borrower, conn);
    else if (!borrower->patient && sim_chance(64))
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

void site_borrower_loses(struct borrower *borrower)
{
    if (borrower->state == ENDED)
        return;
    if (borrower->got == 0 && borrower->reused) /* the echo was about to end it: once more */
        ask(borrower);
    else
        end_borrower(borrower);
}

/* --- leasing --- */

/* No other connection that is idle, as far as can be known, was returned after RECORD, which is leased. */
static void check_last_returned(const struct lender *lender, const struct pooled *record)
{
    for (const struct pooled *other = lender->conns; other < lender->conns + lender->made; other++)
        if (other->state == POOLED_IDLE && other->returned > record->returned &&
            rill_conn_find(lender->loop, (struct rill_conn_id){other->id}))
            sim_fail("a connection is leased, and another was returned later");
}

/* CONN, which was idle, is leased: nothing is amiss with it, as far as can be seen here. */
static void check_idle(const struct lender *lender, const struct pooled *record, const struct rill_conn *conn)
{
    struct sim_state state = sim_state_of(conn->fd);
    if (state.input > 0 || state.end || state.error)
        sim_fail("a connection is leased whose peer has ended it, or said something");
    check_last_returned(lender, record);
}

static void take(struct borrower *borrower, struct rill_conn *conn, bool reused)
{
    const struct lender *lender = borrower->lender;
    if (rill_conn_arg(conn) != lender)
        sim_fail("a connection is leased that wears another's clothes");
    struct pooled *record = site_pooled_of(conn);
    if (rill_conn_user(conn) != borrower || !rill_conn_is_open(conn))
        sim_fail("a connection is leased that has another user, or is closed");
    if (record->state != POOLED_IDLE && (record->state != POOLED_NEW || lender->config.prepare))
        sim_fail("a connection is leased that is not idle");
    if (reused != (record->leases > 0))
        sim_fail("a connection is leased that was leased %u times", record->leases);
    if (lender->config.probe && record->state == POOLED_IDLE &&
        rill_loop_now_ms(lender->loop) - record->idle_since_ms > lender->config.probe_after_ms)
        sim_fail("a connection is leased that ought to have been probed");
    if (record->state == POOLED_IDLE)
        check_idle(lender, record, conn);
    record->state = POOLED_LEASED;
    record->leases++;
    site_record(rill_conn_id(conn))->silent = false;
    site_note(conn, "a lease");
    site.leases++;
    borrower->state = LEASED;
    borrower->conn = rill_conn_id(conn);
    borrower->reused = reused;
    borrower->got = 0;
    rill_list_remove(&borrower->link);
    rill_list_push_back(&borrower->lender->leased, &borrower->link);
    (void)rill_conn_send(conn, borrower->bytes, borrower->n);
}

/* A request of BORROWER's has come to its end. */
static void answered(struct borrower *borrower, bool in_order)
{
    if (borrower->state != WAITING)
        sim_fail("a borrower is told what he does not wait for");
    if (in_order && borrower->lender->waiting.next != &borrower->link)
        sim_fail("another borrower has waited for longer");
    if (sim_chance(4))
        rill_lease_cancel(borrower->lease); /* does nothing */
    borrower->lease = NULL;
}

static void on_leased(struct rill_conn *conn, bool reused, void *arg)
{
    struct borrower *borrower = arg;
    answered(borrower, true);
    if (!borrower->lender->pool)
        sim_fail("a pool lends that has gone");
    take(borrower, conn, reused);
}

static void on_failed(int error, const char *why, void *arg)
{
    struct borrower *borrower = arg;
    const struct lender *lender = borrower->lender;
    answered(borrower, error != -ETIMEDOUT || rill_loop_now_ms(lender->loop) < borrower->not_before_ms);
    if (error >= 0 || !why)
        sim_fail("a lease fails without an error");
    if ((error == -ECANCELED) != lender->freeing)
        sim_fail("a lease is cancelled, and the pool is not freed, or the other way round");
    sim_note("a lease fails", (uint64_t)-error, 0);
    site.leases_failed++;
    if (error == -ECONNABORTED && borrower->patient) /* our own prepare() has closed it */
        ask(borrower);
    else
        end_borrower(borrower);
}

static void ask(struct borrower *borrower)
{
    struct lender *lender = borrower->lender;
    const struct rill_lease_request request = {.on_leased = on_leased,
                                               .on_failed = on_failed,
                                               .arg = borrower,
                                               .user = borrower,
                                               .timeout_ms = borrower->patient ? 0 : 1 + sim_below(500)};
    borrower->state = ASKING;
    borrower->not_before_ms = rill_loop_now_ms(lender->loop) + (request.timeout_ms ? request.timeout_ms : 30000);
    rill_list_remove(&borrower->link);
    rill_list_push_back(&lender->waiting, &borrower->link);
    int error = lender->pool ? rill_conn_pool_lease(lender->pool, &request, &borrower->lease) : -ECANCELED;
    if (borrower->state != ASKING)
        sim_fail("a borrower is told before his request was taken");
    borrower->state = WAITING;
    if (error < 0)
        end_borrower(borrower);
}

/* One who borrows from LENDER to have N bytes said back. */
static struct borrower *new_borrower(struct lender *lender, char *bytes, size_t n)
{
    struct borrower *borrower = calloc(1, sizeof *borrower);
    borrower->lender = lender;
    borrower->bytes = bytes;
    borrower->n = n;
    rill_timer_init(&borrower->hold, on_hold);
    rill_list_init(&borrower->link);
    site.borrowers++;
    return borrower;
}

void site_pool_ask(struct rill_conn *front, const char *bytes, size_t n)
{
    char *copy = malloc(n);
    memcpy(copy, bytes, n);
    struct borrower *borrower = new_borrower(site_lender_of(rill_conn_loop(front)), copy, n);
    borrower->front = rill_conn_id(front);
    borrower->patient = true;
    ask(borrower);
}

/* --- what happens beside --- */

static void try(struct lender *lender)
{
    size_t n = 1 + sim_below(BYTES_MOST);
    struct borrower *borrower = new_borrower(lender, site_content(n), n);
    struct rill_conn *conn = rill_conn_pool_try(lender->pool, borrower);
    rill_list_push_back(&lender->leased, &borrower->link);
    if (conn && !rill_list_empty(&lender->waiting))
        sim_fail("a connection is lent while others wait");
    if (conn)
        take(borrower, conn, site_pooled_of(conn)->leases > 0);
    else
        end_borrower(borrower);
}

/* A borrower who waits changes his mind. */
static void cancel_one(struct lender *lender)
{
    if (rill_list_empty(&lender->waiting))
        return;
    struct borrower *borrower =
        rill_container_of(sim_chance(2) ? lender->waiting.next : lender->waiting.previous, struct borrower, link);
    rill_lease_cancel(borrower->lease);
    end_borrower(borrower);
}

void site_borrow(struct lender *lender)
{
    size_t n;
    if (!lender->pool)
        return;
    switch (sim_below(8)) {
    case 0:
        try(lender);
        break;
    case 1:
        if (!site.has_fronts)
            cancel_one(lender);
        break;
    case 2:
        if (!site.has_fronts && sim_chance(8))
            site_pool_free(lender);
        break;
    default:
        for (size_t i = 1 + sim_below(4); i > 0; i--) {
            n = 1 + sim_below(BYTES_MOST);
            ask(new_borrower(lender, site_content(n), n));
        }
    }
}

void site_borrowers_end(struct lender *lender)
{
    while (!rill_list_empty(&lender->leased)) {
        struct borrower *borrower = rill_container_of(lender->leased.next, struct borrower, link);
        struct rill_conn *conn = find(borrower);
        if (!conn)
            sim_fail("a borrower has not been told that his connection has closed");
        borrower->state = ENDED;
        if (sim_chance(2))
            rill_conn_pool_return(conn);
        else
            rill_conn_close(conn, RILL_CLOSE_LOCAL);
        if (find(borrower))
            sim_fail("a connection was returned to a pool that has gone, and lives");
        end_borrower(borrower);
    }
}
