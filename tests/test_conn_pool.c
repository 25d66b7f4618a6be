/* test_conn_pool.c - connections that are leased and returned: which one is leased, who waits, who is in health, and an
 * end at any moment. */
#include "rill/net/conn_pool.h"
#include "support/connect_rig.h"
#include "support/faulty_sys.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct rill_conn_pool *pool;
static struct rill_conn_pool_config config;
static struct rill_addr addr; /* the server's */
static int listener;
static char target[64];

/* A request and what came of it. */
static struct seat {
    struct rill_lease *lease; /* while it waits */
    struct rill_conn *conn;   /* leased */
    int error;
} seats[64];

/* What to do in the callback of a letter. */
static char act_on;
static void (*action)(struct rill_conn *conn);

/* L leased for the first time, R reused, F failed, P prepare, Q probe; O D E X as connect_rig's. */
static void record(char letter, struct rill_conn *conn)
{
    size_t length = strlen(connect_rig.order);
    ck_assert_uint_lt(length + 1, sizeof connect_rig.order);
    connect_rig.order[length] = letter;
    connect_rig.order[length + 1] = '\0';
    if (letter == act_on) {
        act_on = 0;
        action(conn);
    }
}

static void on_leased(struct rill_conn *conn, bool reused, void *arg)
{
    struct seat *seat = arg;
    ck_assert_ptr_eq(rill_conn_user(conn), seat);
    ck_assert_ptr_null(seat->conn);
    seat->lease = NULL;
    seat->conn = conn;
    connect_rig.last = conn;
    record(reused ? 'R' : 'L', conn);
}

static void on_failed(int error, const char *why, void *arg)
{
    struct seat *seat = arg;
    seat->lease = NULL;
    seat->error = error;
    connect_rig.error = error;
    snprintf(connect_rig.why, sizeof connect_rig.why, "%s", why);
    record('F', NULL);
}

static void on_open(struct rill_conn *conn)
{
    ck_assert_ptr_null(rill_conn_user(conn));
    record('O', conn);
}

static bool keep; /* on_data consumes nothing */

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    snprintf(connect_rig.received, sizeof connect_rig.received, "%.*s", (int)input->length, input->bytes);
    if (!keep)
        rill_input_consume(input, input->length);
    record('D', conn);
}

static void on_eof(struct rill_conn *conn)
{
    record('E', conn);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct seat *seat = rill_conn_user(conn);
    (void)reason;
    if (seat)
        seat->conn = NULL;
    record('X', conn);
}

static void prepare(struct rill_conn *conn, void *arg)
{
    ck_assert_ptr_eq(arg, &pool);
    ck_assert_ptr_null(rill_conn_user(conn));
    record('P', conn);
}

static void probe(struct rill_conn *conn, void *arg)
{
    ck_assert_ptr_eq(arg, &pool);
    ck_assert_ptr_null(rill_conn_user(conn));
    connect_rig.last = conn;
    record('Q', conn);
}

static void set_up(void)
{
    faulty_sys_reset();
    connect_rig_set_up(RILL_BACKEND_EPOLL, false);
    connect_rig.handler =
        (struct rill_conn_handler){.on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};
    listener = connect_rig_listen("127.0.0.1:0", &addr);
    snprintf(target, sizeof target, "%s", connect_rig_text(&addr));
    config = (struct rill_conn_pool_config){.connect = {.target = target, .conn = &connect_rig.conn}, .arg = &pool};
    memset(seats, 0, sizeof seats);
    act_on = 0;
    keep = false;
}

static void tear_down(void)
{
    rill_conn_pool_free(pool);
    pool = NULL;
    if (listener >= 0)
        close(listener);
    connect_rig_tear_down();
    faulty_sys_reset();
}

static void make(void)
{
    int error = 1;
    pool = rill_conn_pool_new(connect_rig.loop, &config, &error);
    ck_assert_ptr_nonnull(pool);
    ck_assert_int_eq(error, 0);
}

static int ask_for(unsigned seat, uint64_t timeout_ms)
{
    struct rill_lease_request request = {.on_leased = on_leased,
                                         .on_failed = on_failed,
                                         .arg = &seats[seat],
                                         .user = &seats[seat],
                                         .timeout_ms = timeout_ms};
    size_t told = strlen(connect_rig.order);
    int error = rill_conn_pool_lease(pool, &request, &seats[seat].lease);
    ck_assert_uint_eq(strlen(connect_rig.order), told); /* nothing before it has returned */
    return error;
}

static void ask(unsigned seat)
{
    ck_assert_int_eq(ask_for(seat, 0), 0);
}

static void give_back(unsigned seat)
{
    struct rill_conn *conn = seats[seat].conn;
    seats[seat].conn = NULL;
    rill_conn_pool_return(conn);
}

static void expect_counts(unsigned conns, unsigned coming, unsigned idle, unsigned waiting)
{
    struct rill_conn_pool_counts counts = rill_conn_pool_counts(pool);
    ck_assert_uint_eq(counts.conns, conns);
    ck_assert_uint_eq(counts.coming, coming);
    ck_assert_uint_eq(counts.idle, idle);
    ck_assert_uint_eq(counts.waiting, waiting);
}

static int accepted(void)
{
    int fd = accept(listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void reset(int fd)
{
    struct linger linger = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

static void forget_order(void)
{
    connect_rig.order[0] = '\0';
}

/* --- lease and return --- */

START_TEST(a_connection_is_made_and_used_again)
{
    make();
    expect_counts(0, 0, 0, 0);
    ask(0);
    expect_counts(0, 0, 0, 1);
    connect_rig_expect("OL");
    expect_counts(1, 0, 0, 0);
    int fd = accepted();
    char text[8];
    rill_conn_send(seats[0].conn, "ask", 3);
    connect_rig_turns(2);
    ck_assert_int_eq(recv(fd, text, sizeof text, 0), 3);
    ck_assert_int_eq(write(fd, "reply", 5), 5);
    connect_rig_expect("OLD");
    ck_assert_str_eq(connect_rig.received, "reply");
    struct rill_conn *conn = seats[0].conn;
    give_back(0);
    expect_counts(1, 0, 1, 0);
    connect_rig_turns(3);
    expect_counts(1, 0, 1, 0);
    ask(1);
    connect_rig_expect("OLDR");
    ck_assert_ptr_eq(seats[1].conn, conn);
    ck_assert_int_eq(write(fd, "again", 5), 5);
    connect_rig_expect("OLDRD"); /* the handler is the app's again */
    give_back(1);
    ck_assert_ptr_eq(rill_conn_pool_try(pool, &seats[2]), conn); /* at once */
    ck_assert_ptr_eq(rill_conn_user(conn), &seats[2]);
    ck_assert_ptr_null(rill_conn_pool_try(pool, NULL));
    ck_assert_int_lt(accept(listener, NULL, NULL), 0);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    connect_rig_expect("OLDRDX");
    expect_counts(0, 0, 0, 0);
    close(fd);
}
END_TEST

START_TEST(the_one_returned_last_is_leased_first)
{
    make();
    for (unsigned i = 0; i < 3; i++)
        ask(i);
    connect_rig_expect("OLOLOL");
    struct rill_conn *conns[3] = {seats[0].conn, seats[1].conn, seats[2].conn};
    give_back(1);
    give_back(2);
    give_back(0);
    for (unsigned i = 3; i < 6; i++)
        ask(i);
    connect_rig_expect("OLOLOLRRR");
    ck_assert_ptr_eq(seats[3].conn, conns[0]);
    ck_assert_ptr_eq(seats[4].conn, conns[2]);
    ck_assert_ptr_eq(seats[5].conn, conns[1]);
}
END_TEST

/* What is sent when it is leased leaves at once, in one piece. */
static void send_twice(struct rill_conn *conn)
{
    rill_conn_send(conn, "one ", 4);
    rill_conn_send(conn, "piece", 5);
}

START_TEST(what_is_sent_on_leasing_leaves_in_one_piece)
{
    make();
    for (int i = 0; i < 2; i++) {
        forget_order();
        act_on = i == 0 ? 'L' : 'R';
        action = send_twice;
        uint64_t before = faulty_sys.calls[FAULTY_SEND];
        ask(0);
        connect_rig_expect(i == 0 ? "OL" : "R");
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND] - before, 1);
        give_back(0);
    }
}
END_TEST

START_TEST(there_are_no_more_than_max_conns)
{
    config.max_conns = 2;
    make();
    for (unsigned i = 0; i < 5; i++)
        ask(i);
    connect_rig_expect("OLOL");
    connect_rig_turns(3);
    expect_counts(2, 0, 0, 3);
    ck_assert_ptr_null(rill_conn_pool_try(pool, NULL));
    struct rill_conn *conn = seats[1].conn;
    give_back(1);
    ck_assert_ptr_null(rill_conn_pool_try(pool, NULL)); /* others were here before */
    connect_rig_expect("OLOLR");
    ck_assert_ptr_eq(seats[2].conn, conn);            /* in their order */
    rill_conn_close(seats[0].conn, RILL_CLOSE_LOCAL); /* instead of being returned: a new one takes its place */
    connect_rig_expect("OLOLRXOL");
    ck_assert_ptr_nonnull(seats[3].conn);
    give_back(3);
    connect_rig_expect("OLOLRXOLR");
    expect_counts(2, 0, 0, 0);
}
END_TEST

START_TEST(who_waits_too_long_is_told)
{
    config.max_conns = 1;
    make();
    ask(0);
    connect_rig_expect("OL");
    ck_assert_int_eq(ask_for(1, 1000), 0);
    ask(2);
    connect_rig_turns(2);
    faulty_sys_forward(1001);
    connect_rig_expect("OLF");
    ck_assert_int_eq(seats[1].error, -ETIMEDOUT);
    ck_assert_str_eq(connect_rig.why, "no connection of the pool was free within 1000 ms");
    faulty_sys_forward(28000);
    connect_rig_turns(2);
    ck_assert_str_eq(connect_rig.order, "OLF");
    faulty_sys_forward(1500);
    connect_rig_expect("OLFF");
    ck_assert_str_eq(connect_rig.why, "no connection of the pool was free within 30000 ms");
    expect_counts(1, 0, 0, 0);
}
END_TEST

START_TEST(too_many_who_wait)
{
    config.max_waiting = 2;
    make();
    ask(0);
    ask(1);
    ck_assert_int_eq(ask_for(2, 0), -EAGAIN);
    connect_rig_expect("OLOL");
    ask(2);
    connect_rig_expect("OLOLOL");
}
END_TEST

START_TEST(what_cannot_be_made)
{
    int error = 0;
    config.connect.target = NULL;
    ck_assert_ptr_null(rill_conn_pool_new(connect_rig.loop, &config, &error));
    ck_assert_int_eq(error, -EINVAL);
    config.connect.target = target;
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert_ptr_null(rill_conn_pool_new(connect_rig.loop, &config, &error));
    ck_assert_int_eq(error, -ENOMEM);
    faulty_sys.error[FAULTY_MEMORY] = 0;
    make();
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert_int_eq(ask_for(0, 0), -ENOMEM);
    faulty_sys.error[FAULTY_MEMORY] = 0;
    rill_conn_pool_free(NULL);
    rill_lease_cancel(NULL);
}
END_TEST

/* Who asks for a connection that cannot be made is told, also those for whom none was begun. */
START_TEST(the_server_is_not_there)
{
    connect_rig_shut(&listener, &addr);
    config.max_conns = 2;
    make();
    for (unsigned i = 0; i < 5; i++)
        ask(i);
    connect_rig_expect("FFFFF");
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(seats[i].error, -ECONNREFUSED);
    ck_assert_ptr_nonnull(strstr(connect_rig.why, "Connection refused"));
    expect_counts(0, 0, 0, 0);
}
END_TEST

/* A request that is cancelled leaves its connection to the next, or to nobody. */
START_TEST(cancelled_requests)
{
    make();
    ask(0);
    rill_lease_cancel(seats[0].lease);
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "");
    expect_counts(0, 0, 0, 0);
    ask(1);
    connect_rig_turns(1); /* it is being made */
    expect_counts(1, 1, 0, 1);
    rill_lease_cancel(seats[1].lease);
    connect_rig_expect("O");
    expect_counts(1, 0, 1, 0);
    ask(2);
    connect_rig_expect("OL"); /* for the first time */
}
END_TEST

/* --- health --- */

START_TEST(an_idle_connection_that_ends_is_noticed)
{
    make();
    ask(0);
    connect_rig_expect("OL");
    int fd = accepted();
    give_back(0);
    bool told = _i / 4; /* the loop has heard of it; or it has not by the time it is leased */
    switch (_i % 4) {
    case 0:
        close(fd);
        break;
    case 1:
        shutdown(fd, SHUT_WR);
        break;
    case 2:
        reset(fd);
        break;
    case 3:
        ck_assert_int_eq(write(fd, "?", 1), 1);
        break;
    }
    if (told) {
        connect_rig_turns(2);
        expect_counts(0, 0, 0, 0);
    }
    ck_assert_ptr_null(rill_conn_pool_try(pool, NULL));
    ask(1);
    connect_rig_expect("OLOL");
    if (_i % 4 == 1 || _i % 4 == 3)
        close(fd);
}
END_TEST

START_TEST(idle_connections_do_not_live_for_ever)
{
    config.idle_timeout_ms = _i ? 5000 : 0;
    uint64_t timeout = _i ? 5000 : 60000;
    make();
    ask(0);
    ask(1);
    connect_rig_expect("OLOL");
    give_back(0);
    faulty_sys_forward(timeout / 2);
    connect_rig_turns(2);
    give_back(1);
    faulty_sys_forward(timeout * 3 / 4);
    connect_rig_turns(3);
    expect_counts(1, 0, 1, 0);
    ask(2); /* the clock stops */
    connect_rig_expect("OLOLR");
    faulty_sys_forward(10 * timeout);
    connect_rig_turns(3);
    expect_counts(1, 0, 0, 0);
    ck_assert_str_eq(connect_rig.order, "OLOLR"); /* and idle ones go without a word */
}
END_TEST

START_TEST(the_apps_own_deadline_is_back_when_it_is_leased)
{
    connect_rig.conn.idle_timeout_ms = 1000;
    make();
    ask(0);
    connect_rig_expect("OL");
    give_back(0);
    faulty_sys_forward(2000);
    connect_rig_turns(2);
    ask(1);
    connect_rig_expect("OLR");
    faulty_sys_forward(1100);
    connect_rig_expect("OLRX");
}
END_TEST

START_TEST(there_are_no_more_than_max_idle)
{
    config.max_idle = 2;
    make();
    for (unsigned i = 0; i < 4; i++)
        ask(i);
    connect_rig_expect("OLOLOLOL");
    for (unsigned i = 0; i < 4; i++)
        give_back(i);
    expect_counts(2, 0, 2, 0);
    ck_assert_str_eq(connect_rig.order, "OLOLOLOLXX");
}
END_TEST

/* Nor are there more when those whom they were for have changed their minds. */
START_TEST(what_was_for_others_is_not_kept_beyond_max_idle)
{
    config.max_idle = 1;
    config.max_conns = 2;
    make();
    ask(0);
    ask(1);
    connect_rig_expect("OLOL");
    ask(2);
    connect_rig_turns(1);
    expect_counts(2, 0, 0, 1);
    give_back(0);
    give_back(1);
    expect_counts(2, 0, 2, 1);
    rill_lease_cancel(seats[2].lease); /* who was to have one of them */
    expect_counts(1, 0, 1, 0);
    ask(3);
    ask(4);
    connect_rig_turns(1); /* one is leased, one is being made */
    rill_lease_cancel(seats[4].lease);
    give_back(3);
    expect_counts(2, 1, 1, 0);
    connect_rig_expect("OLOLRO");
    expect_counts(1, 0, 1, 0);
}
END_TEST

/* Several are returned to one who waits. */
START_TEST(who_is_met_leaves_no_more_than_max_idle)
{
    config.max_idle = 1;
    config.max_conns = 3;
    make();
    for (unsigned i = 0; i < 3; i++)
        ask(i);
    connect_rig_expect("OLOLOL");
    ask(3);
    connect_rig_turns(1);
    for (unsigned i = 0; i < 3; i++)
        give_back(i);
    connect_rig_expect("OLOLOLR");
    expect_counts(2, 0, 1, 0);
}
END_TEST

static void return_it(struct rill_conn *conn)
{
    struct seat *seat = rill_conn_user(conn);
    if (seat)
        seat->conn = NULL;
    rill_conn_pool_return(conn);
    ck_assert(conn->callbacks == 0 || rill_conn_pool_try(pool, NULL) == NULL); /* not while it may leave bytes */
}

static void ask_and_return(struct rill_conn *conn)
{
    ask(1); /* which is met as soon as the turn ends, before anybody has looked at what is left */
    return_it(conn);
}

/* Returned while its on_data runs: what that leaves belongs to nobody. */
START_TEST(bytes_that_are_left_over_end_it)
{
    make();
    ask(0);
    connect_rig_expect("OL");
    int fd = accepted();
    connect_rig_turns(2); /* nothing is left to be looked at */
    act_on = 'D';
    action = _i == 2 ? ask_and_return : return_it;
    keep = true;
    ck_assert_int_eq(write(fd, "more than was asked for", 23), 23);
    connect_rig_expect("OLD");
    if (_i == 1)
        connect_rig_turns(2);
    if (_i < 2)
        ask(1);
    connect_rig_expect("OLDOL");
    close(fd);
}
END_TEST

START_TEST(returned_in_on_data_it_is_good)
{
    make();
    ask(0);
    connect_rig_expect("OL");
    int fd = accepted();
    act_on = 'D';
    action = return_it;
    ck_assert_int_eq(write(fd, "reply", 5), 5);
    connect_rig_expect("OLD");
    ask(1);
    connect_rig_expect("OLDR");
    ck_assert_int_eq(write(fd, "reply", 5), 5);
    connect_rig_expect("OLDRD");
    close(fd);
}
END_TEST

/* What cannot be used again is closed when it is returned. */
START_TEST(some_are_not_kept)
{
    make();
    ask(0);
    connect_rig_expect("OL");
    int fd = accepted();
    switch (_i) {
    case 0: /* the peer has ended */
        shutdown(fd, SHUT_WR);
        connect_rig_expect("OLE");
        break;
    case 1: /* we have */
        rill_conn_shutdown(seats[0].conn);
        break;
    case 2: /* it is closing */
        rill_conn_send(seats[0].conn, "x", 1);
        rill_conn_finish(seats[0].conn, true);
        break;
    }
    give_back(0);
    connect_rig_expect(_i == 0 ? "OLEX" : "OLX");
    expect_counts(0, 0, 0, 0);
    close(fd);
}
END_TEST

/* A pause would keep the end from being seen. */
START_TEST(pauses_are_lifted)
{
    make();
    ask(0);
    connect_rig_expect("OL");
    int fd = accepted();
    rill_conn_pause(seats[0].conn, RILL_PAUSE_USER);
    rill_conn_pause(seats[0].conn, RILL_PAUSE_BACKPRESSURE);
    give_back(0);
    close(fd);
    connect_rig_turns(3);
    expect_counts(0, 0, 0, 0);
}
END_TEST

START_TEST(a_greeting_reaches_the_first_lessee)
{
    make();
    ask(0);
    connect_rig_turns(1); /* the handshake is over, which the loop does not know */
    int fd = accepted();
    ck_assert_int_eq(write(fd, "220 hello", 9), 9);
    connect_rig_expect("OLD");
    ck_assert_str_eq(connect_rig.received, "220 hello");
    close(fd);
}
END_TEST

/* --- prepare and probe --- */

START_TEST(a_new_connection_is_prepared)
{
    config.prepare = prepare;
    make();
    ask(0);
    connect_rig_expect("OP");
    expect_counts(1, 1, 0, 1);
    int fd = accepted();
    ck_assert_int_eq(write(fd, "220 hello", 9), 9);
    act_on = 'D';
    action = return_it;
    connect_rig_expect("OPDL"); /* leased for the first time */
    ck_assert_str_eq(connect_rig.received, "220 hello");
    give_back(0);
    ask(1);
    connect_rig_expect("OPDLR");
    close(fd);
}
END_TEST

static void close_it(struct rill_conn *conn)
{
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void finish_it(struct rill_conn *conn)
{
    rill_conn_finish(conn, false);
}

/* The app does not like a new connection: the request fails, rather than that another is made, and another. */
START_TEST(a_connection_that_never_gets_ready_fails_the_request)
{
    char letter = _i % 2 ? 'O' : 'P';
    config.prepare = prepare;
    make();
    ask(0);
    act_on = letter;
    action = _i / 2 ? finish_it : close_it;
    connect_rig_expect(_i == 0 ? "OPFX" : _i == 1 ? "OFX" : _i == 2 ? "OPFX" : "OFX");
    ck_assert_int_eq(seats[0].error, -ECONNABORTED);
    ck_assert_str_eq(connect_rig.why, "the connection ended before it was ready: closed by the server");
    expect_counts(0, 0, 0, 0);
}
END_TEST

START_TEST(one_that_was_idle_for_long_is_probed)
{
    config.probe = probe;
    config.probe_after_ms = 1000;
    make();
    ask(0);
    ask(1);
    connect_rig_expect("OLOL");
    give_back(0);
    give_back(1);
    faulty_sys_forward(500);
    ask(2);
    connect_rig_expect("OLOLR"); /* not yet */
    give_back(2);
    faulty_sys_forward(1500);
    connect_rig_turns(1);
    ck_assert_ptr_null(rill_conn_pool_try(pool, NULL)); /* a probe takes time */
    ask(3);
    connect_rig_expect("OLOLRQ");
    expect_counts(2, 1, 1, 1); /* one request, one probe */
    if (_i) {
        rill_conn_pool_return(connect_rig.last);
        connect_rig_expect("OLOLRQR");
        expect_counts(2, 0, 1, 0);
    } else {
        struct rill_conn *first = connect_rig.last;
        rill_conn_close(first, RILL_CLOSE_LOCAL);
        connect_rig_expect("OLOLRQXQ"); /* the other one has its chance */
        ck_assert_ptr_ne(connect_rig.last, first);
        rill_conn_close(connect_rig.last, RILL_CLOSE_LOCAL);
        connect_rig_expect("OLOLRQXQXOL");
        expect_counts(1, 0, 0, 0);
    }
}
END_TEST

START_TEST(a_probe_may_answer_at_once)
{
    config.probe = probe;
    make();
    ask(0);
    connect_rig_expect("OL");
    give_back(0);
    faulty_sys_forward(10);
    connect_rig_turns(1);
    act_on = 'Q';
    action = return_it;
    ask(1);
    connect_rig_expect("OLQR");
}
END_TEST

/* --- an end at any moment --- */

static void free_pool(struct rill_conn *conn)
{
    (void)conn;
    rill_conn_pool_free(pool);
    pool = NULL;
}

/* Every callback frees the pool while others wait, while some are leased and some idle. The lessees go on. */
static const struct {
    char letter;
    const char *order;
} ends[] = {
    {'O', "OFFX"}, {'L', "OLFX"}, {'P', "OPFFX"}, {'F', "OPFFX"},
    {'Q', "QFFX"}, {'R', "RF"},   {'X', "XFF"},   {'D', "DFF"},
};

START_TEST(every_callback_may_free_the_pool)
{
    char letter = ends[_i].letter;
    config.prepare = strchr("PF", letter) ? prepare : NULL;
    config.probe = letter == 'Q' ? probe : NULL;
    config.max_conns = 1;
    make();
    int fd = -1;
    if (strchr("QRXD", letter)) {
        ask(0);
        connect_rig_expect("OL");
        fd = accepted();
        if (strchr("QR", letter))
            give_back(0);
        faulty_sys_forward(10);
        connect_rig_turns(1);
        forget_order();
    }
    ask(1);
    ask(2);
    act_on = letter;
    action = free_pool;
    if (letter == 'X')
        rill_conn_close(seats[0].conn, RILL_CLOSE_LOCAL);
    if (letter == 'D')
        ck_assert_int_eq(write(fd, "x", 1), 1);
    if (letter == 'F') {
        connect_rig_expect("OP");
        rill_lease_cancel(seats[2].lease);
        ask(3);
        faulty_sys_forward(30001); /* the first one gives up, and frees the pool with the other one waiting */
    }
    for (int i = 0; i < 100 && pool; i++)
        connect_rig_turns(1);
    ck_assert_ptr_null(pool);
    connect_rig_turns(3);
    if (letter == 'L')
        ck_assert_str_eq(connect_rig.order, "OLF");
    else
        ck_assert_str_eq(connect_rig.order, ends[_i].order);
    for (unsigned i = 0; i < 4; i++) {
        if (!seats[i].conn)
            continue;
        rill_conn_send(seats[i].conn, "still there", 11);
        struct rill_conn *conn = seats[i].conn;
        size_t told = strlen(connect_rig.order);
        rill_conn_pool_return(conn); /* nobody takes it: it is closed */
        ck_assert_uint_eq(strlen(connect_rig.order), told + 1);
    }
    connect_rig_turns(1);
    ck_assert_uint_eq(rill_conn_count(connect_rig.loop), 0);
    if (fd >= 0)
        close(fd);
}
END_TEST

static int late_error;

static void ask_too_late(struct rill_conn *conn)
{
    (void)conn;
    late_error = ask_for(9, 0);
    for (unsigned i = 0; i < 4; i++) { /* the others' turn to be told never comes */
        rill_lease_cancel(seats[i].lease);
        seats[i].lease = NULL;
    }
}

START_TEST(freeing_tells_those_who_wait)
{
    config.max_conns = 1;
    make();
    for (unsigned i = 0; i < 4; i++)
        ask(i);
    if (_i & 1)
        connect_rig_turns(1);
    if (_i & 2) {
        act_on = 'F';
        action = ask_too_late;
    }
    rill_conn_pool_free(pool);
    pool = NULL;
    ck_assert_str_eq(connect_rig.order, _i & 2 ? "F" : "FFFF");
    ck_assert_int_eq(connect_rig.error, -ECANCELED);
    if (_i & 2)
        ck_assert_int_eq(late_error, -ECANCELED);
    connect_rig_turns(3);
    ck_assert_uint_eq(rill_conn_count(connect_rig.loop), 0);
}
END_TEST

static void cancel_all(struct rill_conn *conn)
{
    (void)conn;
    for (unsigned i = 0; i < 4; i++) {
        rill_lease_cancel(seats[i].lease);
        seats[i].lease = NULL;
    }
}

START_TEST(callbacks_may_cancel_the_others)
{
    make();
    for (unsigned i = 0; i < 4; i++)
        ask(i);
    if (_i)
        connect_rig_shut(&listener, &addr);
    act_on = _i ? 'F' : 'L';
    action = cancel_all;
    connect_rig_turns(6);
    if (_i) {
        ck_assert_str_eq(connect_rig.order, "F");
        expect_counts(0, 0, 0, 0);
    } else {
        connect_rig_expect("OLOOO");
        expect_counts(4, 0, 3, 0);
    }
}
END_TEST

static unsigned asked, answered;

static void ask_again(int error, const char *why, void *arg)
{
    struct rill_lease_request request = {.on_failed = ask_again};
    (void)why;
    (void)arg;
    answered++;
    if (error != -ECANCELED && pool)
        asked += rill_conn_pool_lease(pool, &request, NULL) == 0;
}

/* Who asks again whenever he is told no keeps neither the loop from others, nor a loop that stops from its end. */
START_TEST(asking_again_at_once_has_an_end)
{
    struct rill_lease_request request = {.on_failed = ask_again};
    connect_rig_shut(&listener, &addr);
    make();
    asked = answered = 0;
    for (int i = 0; i < 3; i++)
        asked += rill_conn_pool_lease(pool, &request, NULL) == 0;
    connect_rig_turns(10);
    ck_assert_uint_gt(answered, 3);
    ck_assert_uint_lt(answered, 100);
    rill_loop_stop(connect_rig.loop);
    ck_assert_int_eq(rill_loop_run(connect_rig.loop), 0);
    ck_assert_uint_lt(answered, 200);
    ck_assert_int_eq(rill_conn_pool_lease(pool, &request, NULL), -ESHUTDOWN);
    rill_conn_pool_free(pool);
    pool = NULL;
    ck_assert_uint_eq(asked, answered);
}
END_TEST

/* Every allocation fails once: each request has one end, and the pool is good afterwards. */
START_TEST(every_call_fails_once)
{
    static const enum faulty_call calls[] = {FAULTY_MEMORY, FAULTY_DESCRIPTOR, FAULTY_CONNECT, FAULTY_EPOLL_CTL,
                                             FAULTY_RECV};
    for (uint64_t k = 1;; k++) {
        make();
        forget_order();
        memset(seats, 0, sizeof seats);
        faulty_sys.counts[calls[_i]] = true;
        faulty_sys.fail_after = k;
        faulty_sys.failed = 0;
        int error = ask_for(0, 0);
        ck_assert(error == 0 || error == -ENOMEM);
        for (int i = 0; i < 100 && seats[0].lease; i++)
            connect_rig_turns(1);
        ck_assert_ptr_null(seats[0].lease);
        if (seats[0].conn)
            give_back(0);
        connect_rig_turns(1);
        ck_assert_ptr_null(seats[0].conn);
        ask_for(1, 0);
        for (int i = 0; i < 100 && seats[1].lease; i++)
            connect_rig_turns(1);
        if (seats[1].conn)
            rill_conn_close(seats[1].conn, RILL_CLOSE_LOCAL);
        bool failed = faulty_sys.failed > 0;
        faulty_sys.fail_after = 0;
        rill_conn_pool_free(pool);
        pool = NULL;
        connect_rig_turns(1);
        if (!failed)
            break;
        ck_assert_uint_lt(k, 100);
    }
    ck_assert_str_eq(connect_rig.order, "OLRX");
}
END_TEST

/* Anything in any order: the counts agree with what the test knows, every request has one end, nothing leaks. */
START_TEST(at_random)
{
    struct test_random random = {(uint64_t)_i};
    int fds[256], count = 0;
    config.max_conns = 4;
    config.max_idle = 3;
    config.prepare = _i % 2 ? prepare : NULL;
    make();
    for (int step = 0; step < 400; step++) {
        unsigned seat = (unsigned)test_random_below(&random, 12);
        forget_order();
        for (int fd; count < 256 && (fd = accept(listener, NULL, NULL)) >= 0;)
            fds[count++] = fd;
        act_on = 'P'; /* prepared at once */
        action = test_random_below(&random, 8) ? return_it : close_it;
        switch (test_random_below(&random, 8)) {
        case 0:
        case 1:
            if (!seats[seat].lease && !seats[seat].conn)
                ask(seat);
            break;
        case 2:
            rill_lease_cancel(seats[seat].lease);
            seats[seat].lease = NULL;
            break;
        case 3:
        case 4:
            if (seats[seat].conn)
                give_back(seat);
            break;
        case 5:
            if (seats[seat].conn)
                rill_conn_close(seats[seat].conn, RILL_CLOSE_LOCAL);
            break;
        case 6:
            if (count > 0) {
                int *fd = &fds[test_random_below(&random, (size_t)count)];
                if (test_random_below(&random, 2))
                    reset(*fd);
                else
                    close(*fd);
                *fd = fds[--count];
            }
            break;
        default:
            if (count > 0)
                (void)!send(fds[test_random_below(&random, (size_t)count)], "x", 1, MSG_NOSIGNAL);
        }
        connect_rig_turns((int)test_random_below(&random, 3));
        struct rill_conn_pool_counts counts = rill_conn_pool_counts(pool);
        unsigned leased = 0, waiting = 0;
        for (unsigned i = 0; i < 12; i++) {
            leased += seats[i].conn != NULL;
            waiting += seats[i].lease != NULL;
        }
        ck_assert_uint_eq(counts.waiting, waiting);
        ck_assert_uint_eq(counts.conns, leased + counts.idle + counts.coming);
        ck_assert_uint_le(counts.conns, 4);
        ck_assert_uint_le(counts.idle, 3);
    }
    while (count > 0)
        close(fds[--count]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn_pool");
    TCase *lease = tcase_create("lease"), *health = tcase_create("health"), *check = tcase_create("check"),
          *end = tcase_create("end");
    tcase_add_checked_fixture(lease, set_up, tear_down);
    tcase_add_test(lease, a_connection_is_made_and_used_again);
    tcase_add_test(lease, the_one_returned_last_is_leased_first);
    tcase_add_test(lease, what_is_sent_on_leasing_leaves_in_one_piece);
    tcase_add_test(lease, there_are_no_more_than_max_conns);
    tcase_add_test(lease, who_waits_too_long_is_told);
    tcase_add_test(lease, too_many_who_wait);
    tcase_add_test(lease, what_cannot_be_made);
    tcase_add_test(lease, the_server_is_not_there);
    tcase_add_test(lease, cancelled_requests);
    tcase_add_checked_fixture(health, set_up, tear_down);
    tcase_add_loop_test(health, an_idle_connection_that_ends_is_noticed, 0, 8);
    tcase_add_loop_test(health, idle_connections_do_not_live_for_ever, 0, 2);
    tcase_add_test(health, the_apps_own_deadline_is_back_when_it_is_leased);
    tcase_add_test(health, there_are_no_more_than_max_idle);
    tcase_add_test(health, what_was_for_others_is_not_kept_beyond_max_idle);
    tcase_add_test(health, who_is_met_leaves_no_more_than_max_idle);
    tcase_add_loop_test(health, bytes_that_are_left_over_end_it, 0, 3);
    tcase_add_test(health, returned_in_on_data_it_is_good);
    tcase_add_loop_test(health, some_are_not_kept, 0, 3);
    tcase_add_test(health, pauses_are_lifted);
    tcase_add_test(health, a_greeting_reaches_the_first_lessee);
    tcase_add_checked_fixture(check, set_up, tear_down);
    tcase_add_test(check, a_new_connection_is_prepared);
    tcase_add_loop_test(check, a_connection_that_never_gets_ready_fails_the_request, 0, 4);
    tcase_add_loop_test(check, one_that_was_idle_for_long_is_probed, 0, 2);
    tcase_add_test(check, a_probe_may_answer_at_once);
    tcase_add_checked_fixture(end, set_up, tear_down);
    tcase_add_loop_test(end, every_callback_may_free_the_pool, 0, rill_array_length(ends));
    tcase_add_loop_test(end, freeing_tells_those_who_wait, 0, 4);
    tcase_add_loop_test(end, callbacks_may_cancel_the_others, 0, 2);
    tcase_add_test(end, asking_again_at_once_has_an_end);
    tcase_add_loop_test(end, every_call_fails_once, 0, 5);
    tcase_add_loop_test(end, at_random, 0, 20);
    suite_add_tcase(suite, lease);
    suite_add_tcase(suite, health);
    suite_add_tcase(suite, check);
    suite_add_tcase(suite, end);
    return run_suite(suite);
}
