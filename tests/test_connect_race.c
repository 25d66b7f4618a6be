/* test_connect_race.c - connecting to names: the look-up, the race of the addresses, and an end at any moment of them.
 */
#include "support/connect_rig.h"
#include "support/faulty_sys.h"
#include "support/name_server.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of this machine: a listener, and addresses that never answer. */
static struct rill_addr open_end, hole_v4, hole_v6;
static int listener, holes[6];

static void set_up(void)
{
    faulty_sys_reset();
    connect_rig_set_up(RILL_BACKEND_EPOLL, true);
    listener = connect_rig_listen("127.0.0.1:0", &open_end);
    connect_rig_black_hole("127.0.0.1:0", &hole_v4, holes);
    connect_rig_black_hole("[::1]:0", &hole_v6, holes + 3);
    name_server_set_up();
}

static void tear_down(void)
{
    name_server_release();
    close(listener);
    for (int i = 0; i < 6; i++)
        close(holes[i]);
    connect_rig_tear_down();
    faulty_sys_reset();
}

static void has(const char *a, const char *b, const char *c, const char *d)
{
    const char *const all[] = {a, b, c, d};
    memcpy(name_server.addrs, all, sizeof all);
}

/* Runs turns until so many addresses have been tried. */
static void await_tries(unsigned count)
{
    for (;;) {
        unsigned tried = 0;
        for (const char *at = name_server.tried; (at = strchr(at, ' ')); at++)
            tried++;
        ck_assert_uint_le(tried, count);
        if (tried == count)
            break;
        ck_assert_int_eq(rill_loop_turn(connect_rig.loop, true), 0);
    }
    connect_rig_turns(2);
}

static void expect_failure(int error, const char *why)
{
    connect_rig_expect("F");
    ck_assert_str_eq(connect_rig.why, why);
    ck_assert_int_eq(connect_rig.error, error);
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "F");
}

/* --- the race --- */

START_TEST(who_is_refused_goes_on_at_once)
{
    has("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2");
    connect_rig_begin("name:80");
    expect_failure(-ECONNREFUSED,
                   "cannot connect to name:80: [2001:db8::1]:80: Connection refused; 192.0.2.1:80: Connection refused; "
                   "[2001:db8::2]:80: Connection refused; 192.0.2.2:80: Connection refused");
    ck_assert_str_eq(name_server.tried, "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 ");
}
END_TEST

START_TEST(the_first_that_answers_is_taken)
{
    has("2001:db8::1", "192.0.2.1", "192.0.2.2", NULL);
    name_server_route("192.0.2.1", &open_end);
    name_server_route("192.0.2.2", &open_end);
    connect_rig_begin("name:80");
    connect_rig_expect("CO");
    ck_assert_str_eq(name_server.tried, "2001:db8::1 192.0.2.1 ");
    ck_assert_uint_eq(rill_conn_peer(connect_rig.last)->port, 80);
}
END_TEST

/* The next address is tried beside the first one after the delay, and not before; the loser is closed. */
START_TEST(who_does_not_answer_gets_company)
{
    static const uint64_t delays[] = {0, 250, 1000};
    uint64_t delay = delays[_i] ? delays[_i] : 250;
    has("2001:db8::1", "192.0.2.1", NULL, NULL);
    name_server_route("2001:db8::1", &hole_v6);
    name_server_route("192.0.2.1", &open_end);
    connect_rig.config.attempt_delay_ms = delays[_i];
    connect_rig_begin("name:80");
    await_tries(1);
    faulty_sys_forward(delay * 4 / 5);
    connect_rig_turns(3);
    ck_assert_str_eq(name_server.tried, "2001:db8::1 ");
    faulty_sys_forward(delay / 5 + 1);
    connect_rig_expect("CO");
    ck_assert_uint_eq(rill_conn_peer(connect_rig.last)->version, 4);
    ck_assert_str_eq(name_server.tried, "2001:db8::1 192.0.2.1 ");
    faulty_sys_forward(60000); /* nothing is left of the race */
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "CO");
}
END_TEST

/* One that fails does not wait for the delay, and one that answers late, but first, wins over those begun after it. */
START_TEST(the_first_address_may_win_late)
{
    has("2001:db8::1", "192.0.2.1", "192.0.2.2", NULL);
    name_server_route("2001:db8::1", &hole_v6);
    name_server_route("192.0.2.2", &hole_v4);
    connect_rig_begin("name:80");
    await_tries(1);
    faulty_sys_forward(251);
    connect_rig_turns(3);
    ck_assert_str_eq(name_server.tried, "2001:db8::1 192.0.2.1 192.0.2.2 "); /* the second is refused */
    ck_assert_str_eq(connect_rig.order, "");
    for (int i = 4; i < 6; i++) { /* those who fill it, first: one still waits to get in, too */
        close(holes[i]);
        holes[i] = -1;
    }
    int fd; /* then there is room; the first address's SYN comes again within a second */
    while ((fd = accept(holes[3], NULL, NULL)) >= 0)
        close(fd);
    connect_rig_expect("CO");
    ck_assert_uint_eq(rill_conn_peer(connect_rig.last)->version, 6);
}
END_TEST

START_TEST(the_deadline_is_everybodys)
{
    has("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2");
    name_server_route("2001:db8::1", &hole_v6);
    name_server_route("2001:db8::2", &hole_v6);
    name_server_route("192.0.2.2", &hole_v4);
    connect_rig.config.timeout_ms = 1000;
    connect_rig_begin("name:80");
    await_tries(1);
    faulty_sys_forward(300);
    await_tries(3); /* the second one was refused */
    faulty_sys_forward(300);
    await_tries(4);
    ck_assert_str_eq(connect_rig.order, "");
    faulty_sys_forward(401);
    expect_failure(-ETIMEDOUT, "cannot connect to name:80: [2001:db8::1]:80: no answer within 1000 ms; 192.0.2.1:80: "
                               "Connection refused; [2001:db8::2]:80: no answer within 1000 ms; 192.0.2.2:80: no "
                               "answer within 1000 ms");
}
END_TEST

/* Those that are not tried are not spoken of; the last one's failure does not end the wait for the first. */
START_TEST(the_last_to_answer_is_waited_for)
{
    has("2001:db8::1", "192.0.2.1", NULL, NULL);
    name_server_route("2001:db8::1", &hole_v6);
    connect_rig_begin("name:80");
    await_tries(1);
    faulty_sys_forward(251);
    await_tries(2);
    faulty_sys_forward(29000);
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "");
    faulty_sys_forward(800);
    expect_failure(-ETIMEDOUT, "cannot connect to name:80: [2001:db8::1]:80: no answer within 30000 ms; 192.0.2.1:80: "
                               "Connection refused");
}
END_TEST

START_TEST(a_deadline_before_the_next_address)
{
    has("2001:db8::1", "192.0.2.1", NULL, NULL);
    name_server_route("2001:db8::1", &hole_v6);
    connect_rig.config.timeout_ms = 100;
    connect_rig_begin("name:80");
    await_tries(1);
    faulty_sys_forward(101);
    expect_failure(-ETIMEDOUT, "cannot connect to name:80: [2001:db8::1]:80: no answer within 100 ms");
    ck_assert_str_eq(name_server.tried, "2001:db8::1 ");
}
END_TEST

/* --- the look-up --- */

START_TEST(a_name_that_is_not_found)
{
    name_server.error = EAI_NONAME;
    connect_rig_begin("name:80");
    expect_failure(-ENOENT, "cannot connect to name:80: no such host");
}
END_TEST

START_TEST(the_deadline_is_the_look_ups_too)
{
    name_server.held = true;
    connect_rig.config.timeout_ms = 1000;
    connect_rig_begin("name:80");
    name_server_await(1);
    faulty_sys_forward(1001);
    expect_failure(-ETIMEDOUT, "cannot connect to name:80: looking the name up took longer than 1000 ms");
}
END_TEST

START_TEST(a_pool_that_is_busy)
{
    name_server.held = true;
    has("192.0.2.1", NULL, NULL, NULL);
    struct rill_connect *runs = connect_rig_begin("runs:80");
    name_server_await(1);
    rill_connect_cancel(runs);
    rill_connect_cancel(connect_rig_begin("waits:80"));
    connect_rig_begin("name:80");
    expect_failure(-EAGAIN, "cannot connect to name:80: the worker pool is busy");
}
END_TEST

static void *release_soon(void *arg)
{
    (void)arg;
    usleep(20000);
    name_server_release();
    return NULL;
}

/* The pool stops: the look-up that waits is cancelled, the one that runs is waited for, and goes on. */
START_TEST(a_pool_that_stops)
{
    pthread_t thread;
    name_server.held = true;
    has("192.0.2.1", NULL, NULL, NULL);
    name_server_route("192.0.2.1", &open_end);
    connect_rig_begin("runs:80");
    name_server_await(1);
    connect_rig_begin("waits:80");
    ck_assert_int_eq(pthread_create(&thread, NULL, release_soon, NULL), 0);
    rill_loop_set_workers(connect_rig.loop, NULL);
    rill_workers_stop(connect_rig.workers);
    connect_rig.workers = NULL;
    pthread_join(thread, NULL);
    connect_rig_expect("FCO");
    ck_assert_int_eq(connect_rig.error, -ECANCELED);
    ck_assert_str_eq(connect_rig.why, "cannot connect to waits:80: the worker pool has stopped");
}
END_TEST

/* --- an end at any moment --- */

/* Cancelled while the look-up waits, while it runs, when it is over, with two handshakes under way, and afterwards:
 * never a word, and nothing is left. */
START_TEST(cancelled_it_never_says_a_word)
{
    struct rill_connect *connect, *before = NULL;
    has("2001:db8::1", "192.0.2.1", NULL, NULL);
    name_server_route("2001:db8::1", &hole_v6);
    name_server_route("192.0.2.1", &hole_v4);
    name_server.held = _i < 3;
    if (_i == 0) {
        before = connect_rig_begin("before:80");
        name_server_await(1);
    }
    connect = connect_rig_begin("name:80");
    if (_i == 1 || _i == 2)
        name_server_await(1);
    if (_i == 2) {
        name_server_release();
        rill_workers_stop(connect_rig.workers); /* its result is posted */
        connect_rig.workers = NULL;
    }
    if (_i >= 3) {
        await_tries(1);
        faulty_sys_forward(_i == 4 ? 251 : 0);
        await_tries(_i == 4 ? 2 : 1);
    }
    rill_connect_cancel(connect);
    rill_connect_cancel(before);
    name_server_release();
    faulty_sys_forward(60000);
    connect_rig_turns(5);
    ck_assert_str_eq(connect_rig.order, "");
}
END_TEST

/* The loop goes away at the same moments, after its pool as it has to be; or it has run to its end before, and a pool
 * that stops then finds nobody to tell. */
START_TEST(a_loop_that_ends_ends_it)
{
    int when = _i / 2;
    has("2001:db8::1", "192.0.2.1", NULL, NULL);
    name_server_route("2001:db8::1", &hole_v6);
    name_server_route("192.0.2.1", &hole_v4);
    name_server.held = when == 0;
    connect_rig_begin("name:80");
    if (when == 0)
        name_server_await(1);
    if (when > 0)
        await_tries(1);
    if (when == 2) {
        faulty_sys_forward(251);
        await_tries(2);
    }
    if (_i % 2) {
        rill_loop_stop(connect_rig.loop);
        ck_assert_int_eq(rill_loop_run(connect_rig.loop), 0);
    }
    name_server_release();
    rill_workers_stop(connect_rig.workers);
    connect_rig.workers = NULL;
    rill_loop_free(connect_rig.loop);
    connect_rig.loop = NULL;
    ck_assert_str_eq(connect_rig.order, "F");
    ck_assert_int_eq(connect_rig.error, -ECANCELED);
}
END_TEST

/* Every allocation on the way fails, on the loop and on the worker. */
START_TEST(every_allocation_fails_once)
{
    has("2001:db8::1", "192.0.2.1", NULL, NULL);
    name_server_route("192.0.2.1", &open_end);
    for (uint64_t k = 1;; k++) {
        connect_rig.order[0] = '\0';
        faulty_memory_fails_at(k);
        faulty_sys.failed = 0;
        struct rill_connect_config config = connect_rig.config;
        config.target = "name:80";
        int error = rill_connect(connect_rig.loop, &config, NULL);
        ck_assert(error == 0 || error == -ENOMEM);
        while (error == 0 && !strpbrk(connect_rig.order, "FO"))
            ck_assert_int_eq(rill_loop_turn(connect_rig.loop, true), 0);
        bool failed = faulty_sys.failed > 0;
        faulty_sys.fail_after = 0;
        if (strchr(connect_rig.order, 'F'))
            ck_assert_int_eq(connect_rig.error, -ENOMEM);
        if (connect_rig.last)
            rill_conn_close(connect_rig.last, RILL_CLOSE_LOCAL);
        connect_rig_turns(1);
        if (!failed)
            break;
        ck_assert_uint_lt(k, 50);
    }
    ck_assert_str_eq(connect_rig.order, "COX");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connect_race");
    TCase *race = tcase_create("race"), *look_up = tcase_create("look-up"), *end = tcase_create("end");
    tcase_add_checked_fixture(race, set_up, tear_down);
    tcase_add_test(race, who_is_refused_goes_on_at_once);
    tcase_add_test(race, the_first_that_answers_is_taken);
    tcase_add_loop_test(race, who_does_not_answer_gets_company, 0, 3);
    tcase_add_test(race, the_first_address_may_win_late);
    tcase_add_test(race, the_deadline_is_everybodys);
    tcase_add_test(race, the_last_to_answer_is_waited_for);
    tcase_add_test(race, a_deadline_before_the_next_address);
    tcase_add_checked_fixture(look_up, set_up, tear_down);
    tcase_add_test(look_up, a_name_that_is_not_found);
    tcase_add_test(look_up, the_deadline_is_the_look_ups_too);
    tcase_add_test(look_up, a_pool_that_is_busy);
    tcase_add_test(look_up, a_pool_that_stops);
    tcase_add_checked_fixture(end, set_up, tear_down);
    tcase_add_loop_test(end, cancelled_it_never_says_a_word, 0, 5);
    tcase_add_loop_test(end, a_loop_that_ends_ends_it, 0, 6);
    tcase_add_test(end, every_allocation_fails_once);
    suite_add_tcase(suite, race);
    suite_add_tcase(suite, look_up);
    suite_add_tcase(suite, end);
    return run_suite(suite);
}
