/* sim_site_pool.c - see sim_site.h: a pool of connections to the echo a loop, and what net/conn_pool.h says of them. */
#include "sim_site_pool.h"

#include <inttypes.h>
#include <string.h>

enum { CHECK_MS = 2000, LATE_MS = 2 };

static struct lender lenders[SITE_LOOPS];

struct lender *site_lender_of(struct rill_loop *loop)
{
    return &lenders[rill_loop_index(loop)];
}

struct pooled *site_pooled_of(struct rill_conn *conn)
{
    struct lender *lender = rill_conn_arg(conn);
    for (unsigned i = lender->made; i-- > 0;)
        if (lender->conns[i].id == rill_conn_id(conn).value)
            return &lender->conns[i];
    sim_fail("a connection of a pool has never been opened");
}

static void set_silent(struct rill_conn_id id, bool silent)
{
    site_record(id)->silent = silent;
}

/* --- its connections --- */

void site_pool_give_back(struct rill_conn *conn)
{
    struct rill_conn_id id = rill_conn_id(conn);
    struct pooled *record = site_pooled_of(conn);
    struct lender *lender = rill_conn_arg(conn);
    struct rill_loop *loop = rill_conn_loop(conn);
    if (sim_chance(8)) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    if (sim_chance(8))
        rill_conn_pause(conn, RILL_PAUSE_USER); /* which is lifted */
    rill_conn_pool_return(conn);
    if (!rill_conn_find(loop, id))
        return; /* one too many, or there is no pool any more */
    record->state = POOLED_IDLE;
    record->returned = ++lender->returns;
    record->idle_since_ms = rill_loop_now_ms(loop);
    set_silent(id, true);
}

/* Bytes that are said back, to see whether CONN is good. */
static void check_conn(struct rill_conn *conn)
{
    switch (sim_below(12)) {
    case 0:
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        break;
    case 1:
    case 2:
        site_pool_give_back(conn);
        break;
    default:
        (void)rill_conn_send(conn, "?", 1);
        if (rill_conn_is_open(conn))
            rill_conn_set_deadline(conn, CHECK_MS);
    }
}

static struct pooled *enter_check(struct rill_conn *conn, const char *callback)
{
    struct pooled *record = site_pooled_of(conn);
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
    struct pooled *record = site_pooled_of(conn);
    site_note(conn, "on_data of a pool");
    if (record->state == POOLED_CHECKED) {
        if (input->length != 1 || input->bytes[0] != '?')
            sim_fail("a check is answered with something else");
        rill_input_consume(input, 1);
        site_pool_give_back(conn);
        return;
    }
    if (record->state != POOLED_LEASED || !borrower)
        sim_fail("bytes come to nobody");
    site_borrower_hears(borrower, conn, input);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct borrower *borrower = rill_conn_user(conn);
    struct pooled *record = site_pooled_of(conn);
    site_note_close(conn, reason);
    if (record->state == POOLED_IDLE)
        sim_fail("on_close of an idle connection");
    if (record->state != POOLED_LEASED) {
        if (borrower)
            sim_fail("a connection that is not leased has a user");
        return;
    }
    site_borrower_loses(borrower);
}

/* --- life --- */

void site_pool_free(struct lender *lender)
{
    struct rill_conn_pool *pool = lender->pool;
    lender->pool = NULL;
    lender->freeing = true;
    rill_conn_pool_free(pool);
    lender->freeing = false;
    if (!rill_list_empty(&lender->waiting))
        sim_fail("a pool was freed, and somebody still waits");
}

static void prod(struct rill_loop *loop)
{
    site_borrow(site_lender_of(loop));
}

static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static void begin_on(struct rill_loop *loop)
{
    struct lender *lender = site_lender_of(loop);
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

static void end_on(struct rill_loop *loop)
{
    struct lender *lender = site_lender_of(loop);
    site_pool_free(lender);
    site_borrowers_end(lender);
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

/* No connection has been idle for too long. */
static void check_idle_times(const struct lender *lender)
{
    uint64_t most_ms = lender->config.idle_timeout_ms ? lender->config.idle_timeout_ms : 60000;
    for (const struct pooled *record = lender->conns; record < lender->conns + lender->made; record++)
        if (record->state == POOLED_IDLE && rill_conn_find(lender->loop, (struct rill_conn_id){record->id}) &&
            rill_clock_ns() / 1000000 > record->idle_since_ms + most_ms + LATE_MS)
            sim_fail("a connection has been idle for longer than %" PRIu64 " ms", most_ms);
}

static void check_asleep(struct rill_loop *loop)
{
    const struct lender *lender = site_lender_of(loop);
    if (!lender->pool)
        return;
    struct rill_conn_pool_counts counts = check_counts(lender);
    unsigned max_idle = lender->config.max_idle ? lender->config.max_idle : lender->config.max_conns;
    if (counts.idle > 0)
        check_idle_times(lender);
    if (counts.waiting == 0 && counts.idle > max_idle)
        sim_fail("a pool has %u idle connections of %u", counts.idle, max_idle);
    if (counts.waiting > counts.coming && (counts.idle > 0 || counts.conns < lender->config.max_conns))
        sim_fail("%u wait for a pool, in which %u of %u connections are idle and %u come", counts.waiting, counts.idle,
                 counts.conns, counts.coming);
    if (counts.waiting > 0 && counts.idle > 0 && !lender->config.probe)
        sim_fail("somebody waits for a pool that has an idle connection");
}

static void check_quiet(bool all)
{
    (void)all;
    for (unsigned i = 0; i < SITE_LOOPS; i++) {
        if (!lenders[i].pool)
            continue;
        struct rill_conn_pool_counts counts = check_counts(&lenders[i]);
        if (counts.waiting > 0 || counts.coming > 0 || counts.conns != counts.idle)
            sim_fail("a pool waits, and nothing will end that");
    }
}

const struct site_app site_pool_app = {
    .start = begin_on, .prod = prod, .stop = end_on, .check_asleep = check_asleep, .check_quiet = check_quiet};
