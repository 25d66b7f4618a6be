/* sim_site_pool.c - see sim_site.h: a pool of connections to the echo a loop, those who borrow from it, and what
 * net/conn_pool.h says of them.
 *
 * Each has something said back to him. Some borrow for a front, a connection of the server's whose bytes they take
 * there and back; others do so for themselves, and change their minds. */
#include "sim_site_internal.h"

#include "rill/core/list.h"
#include "rill/net/conn_internal.h"
#include "rill/net/conn_pool.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FRONT_MOST = 3000, HOLD_MS = 100, CHECK_MS = 2000 };

/* A connection of a pool, as its app may know it. */
enum pooled_state { POOLED_NEW, POOLED_CHECKED, POOLED_LEASED, POOLED_IDLE };

struct pooled {
    uint64_t id;
    enum pooled_state state;
    unsigned leases;
    uint64_t returned; /* the number of that return; 0: it was not */
    uint64_t idle_since_ms;
};

static struct lender {
    struct rill_loop *loop;
    struct rill_conn_pool *pool; /* NULL: freed */
    struct rill_conn_pool_config config;
    struct rill_conn_config conn_config;
    struct rill_list waiting, leased; /* borrowers, in their order */
    bool freeing;                     /* rill_conn_pool_free() has not returned */
    struct pooled conns[SITE_CONNS];
    unsigned made;
    uint64_t returns;
} lenders[SITE_LOOPS];

enum borrower_state { ASKING, WAITING, LEASED, ENDED };

struct borrower {
    struct rill_list link; /* in one of the lender's lists */
    struct lender *lender;
    struct rill_lease *lease;
    enum borrower_state state;
    struct rill_timer hold;   /* he keeps the connection for a while when he is done */
    struct rill_conn_id conn; /* LEASED */
    struct rill_conn_id front;
    bool reused, patient;
    uint64_t not_before_ms; /* of "it took too long" */
    char *bytes;
    size_t n, got;
};

static struct pooled *pooled_of(struct rill_conn *conn)
{
    struct lender *lender = rill_conn_arg(conn);
    for (unsigned i = lender->made; i-- > 0;)
        if (lender->conns[i].id == rill_conn_id(conn).value)
            return &lender->conns[i];
    sim_fail("a connection of a pool has never been opened");
}

static struct rill_conn *find(const struct borrower *borrower)
{
    return rill_conn_find(borrower->lender->loop, borrower->conn);
}

static void set_silent(struct rill_conn_id id, bool silent)
{
    site_record(id)->silent = silent;
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

/* Gives CONN, which is not used any more, back to its pool. */
static void give_back(struct rill_conn *conn)
{
    struct rill_conn_id id = rill_conn_id(conn);
    struct pooled *record = pooled_of(conn);
    struct lender *lender = rill_conn_arg(conn);
    struct rill_loop *loop = rill_conn_loop(conn);
    if (sim_chance(8)) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    rill_conn_pool_return(conn);
    if (!rill_conn_find(loop, id))
        return; /* one too many, or there is no pool any more */
    record->state = POOLED_IDLE;
    record->returned = ++lender->returns;
    record->idle_since_ms = rill_loop_now_ms(loop);
    set_silent(id, true);
}

static void on_hold(struct rill_timer *timer)
{
    struct borrower *borrower = rill_container_of(timer, struct borrower, hold);
    struct rill_conn *conn = find(borrower);
    if (!conn)
        sim_fail("a borrower has not been told that his connection has closed");
    borrower->state = ENDED; /* so that on_close is nothing to him */
    give_back(conn);
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
    give_back(conn);
    end_borrower(borrower);
}

/* --- the pool's connections --- */

/* Bytes that are said back, to see whether CONN is good. */
static void check_conn(struct rill_conn *conn)
{
    switch (sim_below(12)) {
    case 0:
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        break;
    case 1:
    case 2:
        give_back(conn);
        break;
    default:
        (void)rill_conn_send(conn, "?", 1);
        if (rill_conn_is_open(conn))
            rill_conn_set_deadline(conn, CHECK_MS);
    }
}

static struct pooled *enter_check(struct rill_conn *conn, const char *callback)
{
    struct pooled *record = pooled_of(conn);
    if (rill_conn_user(conn))
        sim_fail("%s of a connection that has a user", callback);
    set_silent(rill_conn_id(conn), false);
    site_note(conn, callback);
    return record;
}

static void prepare(struct rill_conn *conn, void *arg)
{
    struct pooled *record = enter_check(conn, "prepare");
    if (record->state != POOLED_NEW || rill_conn_arg(conn) != arg)
        sim_fail("a connection is prepared that is not new");
    record->state = POOLED_CHECKED;
    check_conn(conn);
}

static void probe(struct rill_conn *conn, void *arg)
{
    struct pooled *record = enter_check(conn, "probe");
    const struct lender *lender = arg;
    uint64_t idle_ms = rill_loop_now_ms(rill_conn_loop(conn)) - record->idle_since_ms;
    if (record->state == POOLED_NEW ? lender->config.prepare != NULL : record->state != POOLED_IDLE)
        sim_fail("a connection is probed that is not idle");
    if (record->state == POOLED_IDLE && idle_ms <= lender->config.probe_after_ms)
        sim_fail("a connection is probed that has been idle for %" PRIu64 " ms", idle_ms);
    record->state = POOLED_CHECKED;
    check_conn(conn);
}

static void on_open(struct rill_conn *conn)
{
    site_note_open(conn);
    if (rill_conn_user(conn))
        sim_fail("a new connection of a pool has a user");
    struct lender *lender = rill_conn_arg(conn);
    lender->conns[lender->made++] = (struct pooled){.id = rill_conn_id(conn).value, .state = POOLED_NEW};
    set_silent(rill_conn_id(conn), true); /* it may be idle from here on */
    if (sim_chance(32))
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct borrower *borrower = rill_conn_user(conn);
    struct pooled *record = pooled_of(conn);
    site_note(conn, "on_data of a pool");
    if (record->state == POOLED_CHECKED) {
        if (input->length != 1 || input->bytes[0] != '?')
            sim_fail("a check is answered with something else");
        rill_input_consume(input, 1);
        give_back(conn);
        return;
    }
    if (record->state != POOLED_LEASED || !borrower || borrower->conn.value != record->id)
        sim_fail("bytes come to nobody");
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

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct borrower *borrower = rill_conn_user(conn);
    struct pooled *record = pooled_of(conn);
    site_note_close(conn, reason);
    if (record->state == POOLED_IDLE)
        sim_fail("on_close of an idle connection");
    if (record->state != POOLED_LEASED) {
        if (borrower)
            sim_fail("a connection that is not leased has a user");
        return;
    }
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
    struct pooled *record = pooled_of(conn);
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
    set_silent(rill_conn_id(conn), false);
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
    struct borrower *borrower = new_borrower(&lenders[rill_loop_index(rill_conn_loop(front))], copy, n);
    borrower->front = rill_conn_id(front);
    borrower->patient = true;
    ask(borrower);
}

/* --- what happens beside --- */

static void free_pool(struct lender *lender)
{
    struct rill_conn_pool *pool = lender->pool;
    lender->pool = NULL;
    lender->freeing = true;
    rill_conn_pool_free(pool);
    lender->freeing = false;
    if (!rill_list_empty(&lender->waiting))
        sim_fail("a pool was freed, and somebody still waits");
}

static void try(struct lender *lender)
{
    size_t n = 1 + sim_below(FRONT_MOST);
    struct borrower *borrower = new_borrower(lender, site_content(n), n);
    struct rill_conn *conn = rill_conn_pool_try(lender->pool, borrower);
    rill_list_push_back(&lender->leased, &borrower->link);
    if (conn && !rill_list_empty(&lender->waiting))
        sim_fail("a connection is lent while others wait");
    if (conn)
        take(borrower, conn, pooled_of(conn)->leases > 0);
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

void site_pool_prod(struct rill_loop *loop)
{
    struct lender *lender = &lenders[rill_loop_index(loop)];
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
            free_pool(lender);
        break;
    default:
        for (size_t i = 1 + sim_below(4); i > 0; i--) {
            n = 1 + sim_below(FRONT_MOST);
            ask(new_borrower(lender, site_content(n), n));
        }
    }
}

/* --- life --- */

static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

void site_pool_start(struct rill_loop *loop)
{
    struct lender *lender = &lenders[rill_loop_index(loop)];
    int error;
    *lender = (struct lender){.loop = loop, .conn_config = {.handler = &handler, .arg = lender}};
    lender->config = (struct rill_conn_pool_config){.connect = {.conn = &lender->conn_config},
                                                    .max_conns = 1 + (unsigned)sim_below(4),
                                                    .max_idle = (unsigned)sim_below(4),
                                                    .max_waiting = site.has_fronts ? 0 : 1 + (unsigned)sim_below(6),
                                                    .idle_timeout_ms = sim_chance(2) ? 0 : 1 + sim_below(2000),
                                                    .prepare = sim_chance(3) ? prepare : NULL,
                                                    .probe = sim_chance(3) ? probe : NULL,
                                                    .probe_after_ms = sim_below(50),
                                                    .arg = lender};
    site_target(&lender->config.connect,
                (enum site_target)sim_below(site.has_fronts ? SITE_ECHO_TARGETS : SITE_QUIET_TARGETS));
    if (!site.has_fronts)
        lender->config.connect.timeout_ms = sim_below(1000);
    rill_list_init(&lender->waiting);
    rill_list_init(&lender->leased);
    lender->pool = rill_conn_pool_new(loop, &lender->config, &error);
    if (!lender->pool)
        sim_fail("a pool cannot be made: %s", strerror(-error));
}

void site_pool_stop(struct rill_loop *loop)
{
    struct lender *lender = &lenders[rill_loop_index(loop)];
    free_pool(lender);
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
        if (rill_conn_find(loop, borrower->conn))
            sim_fail("a connection was returned to a pool that has gone, and lives");
        end_borrower(borrower);
    }
}

/* --- what has to hold --- */

static unsigned length_of(const struct rill_list *list)
{
    unsigned length = 0;
    for (const struct rill_list *link = list->next; link != list; link = link->next)
        length++;
    return length;
}

/* The counts are right and within their bounds. */
static struct rill_conn_pool_counts check_counts(const struct lender *lender)
{
    struct rill_conn_pool_counts counts = rill_conn_pool_counts(lender->pool);
    unsigned leased = length_of(&lender->leased), waiting = length_of(&lender->waiting);
    if (counts.waiting != waiting || counts.conns != counts.coming + counts.idle + leased)
        sim_fail("a pool says %u wait, and of %u connections %u come, %u are idle; %u wait, %u are leased",
                 counts.waiting, counts.conns, counts.coming, counts.idle, waiting, leased);
    if (counts.conns > lender->config.max_conns)
        sim_fail("a pool has %u connections of %u", counts.conns, lender->config.max_conns);
    return counts;
}

void site_pool_check_asleep(struct rill_loop *loop)
{
    const struct lender *lender = &lenders[rill_loop_index(loop)];
    if (!lender->pool)
        return;
    struct rill_conn_pool_counts counts = check_counts(lender);
    unsigned max_idle = lender->config.max_idle ? lender->config.max_idle : lender->config.max_conns;
    if (counts.waiting == 0 && counts.idle > max_idle)
        sim_fail("a pool has %u idle connections of %u", counts.idle, max_idle);
    if (counts.waiting > counts.coming && (counts.idle > 0 || counts.conns < lender->config.max_conns))
        sim_fail("%u wait for a pool, in which %u of %u connections are idle and %u come", counts.waiting, counts.idle,
                 counts.conns, counts.coming);
    if (counts.waiting > 0 && counts.idle > 0 && !lender->config.probe)
        sim_fail("somebody waits for a pool that has an idle connection");
}

void site_pool_check_quiet(void)
{
    for (unsigned i = 0; i < SITE_LOOPS; i++) {
        if (!lenders[i].pool)
            continue;
        struct rill_conn_pool_counts counts = check_counts(&lenders[i]);
        if (counts.waiting > 0 || counts.coming > 0 || counts.conns != counts.idle)
            sim_fail("a pool waits, and nothing will end that");
    }
}
