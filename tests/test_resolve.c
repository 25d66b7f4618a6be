/* test_resolve.c - look-ups on the pool: what is made of what is found, every error, and an end at any moment. */
#include "rill/net/resolve.h"
#include "support/connect_rig.h"
#include "support/faulty_sys.h"
#include "support/name_server.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    int calls, error;
    char why[256];
    char addrs[4096]; /* as text, each with a space after it */
} told;

static void set_up(void)
{
    faulty_sys_reset();
    name_server_set_up();
    memset(&told, 0, sizeof told);
    connect_rig_set_up(RILL_BACKEND_EPOLL, true);
}

static void tear_down(void)
{
    name_server_release();
    connect_rig_tear_down();
    faulty_sys_reset();
}

static void on_resolved(const struct rill_resolved *resolved, void *arg)
{
    ck_assert_ptr_eq(arg, &told);
    told.calls++;
    told.error = resolved->error;
    ck_assert_int_eq(resolved->error == 0, resolved->count > 0);
    if (resolved->error < 0)
        snprintf(told.why, sizeof told.why, "%s", resolved->why);
    for (unsigned i = 0; i < resolved->count; i++)
        strcat(strcat(told.addrs, connect_rig_text(&resolved->addrs[i])), " ");
}

static int begin(const char *host, struct rill_resolve **resolve)
{
    struct rill_resolve *unused;
    return rill_resolve(connect_rig.loop, host, 80, 0, on_resolved, &told, resolve ? resolve : &unused);
}

static void await(int calls)
{
    while (told.calls < calls)
        ck_assert_int_eq(rill_loop_turn(connect_rig.loop, true), 0);
}

static const struct {
    const char *found[8], *made;
} orders[] = {
    {{"10.0.0.1"}, "10.0.0.1:80 "},
    {{"2001:db8::1"}, "[2001:db8::1]:80 "},
    {{"2001:db8::1", "2001:db8::2", "2001:db8::3", "10.0.0.1", "10.0.0.2"},
     "[2001:db8::1]:80 10.0.0.1:80 [2001:db8::2]:80 10.0.0.2:80 [2001:db8::3]:80 "},
    {{"10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"}, "10.0.0.1:80 [2001:db8::1]:80 10.0.0.2:80 10.0.0.3:80 "},
    {{"10.0.0.1", "2001:db8::1", "10.0.0.2", "2001:db8::2"},
     "10.0.0.1:80 [2001:db8::1]:80 10.0.0.2:80 [2001:db8::2]:80 "},
    {{"unix", "2001:db8::1", "unix", "unix", "10.0.0.1", "unix"}, "[2001:db8::1]:80 10.0.0.1:80 "},
};

START_TEST(families_take_turns)
{
    memcpy(name_server.addrs, orders[_i].found, sizeof orders[_i].found);
    ck_assert_int_eq(begin("name", NULL), 0);
    ck_assert_int_eq(told.calls, 0);
    await(1);
    ck_assert_str_eq(told.addrs, orders[_i].made);
}
END_TEST

START_TEST(too_many_are_cut)
{
    static char texts[NAME_SERVER_MAX][16];
    for (int i = 0; i < NAME_SERVER_MAX - 1; i++) {
        snprintf(texts[i], sizeof texts[i], i == 40 ? "2001:db8::1" : "10.0.0.%d", i);
        name_server.addrs[i] = texts[i];
    }
    ck_assert_int_eq(begin("name", NULL), 0);
    await(1);
    unsigned count = 0;
    for (const char *at = told.addrs; (at = strchr(at, ' ')); at++)
        count++;
    ck_assert_uint_eq(count, RILL_RESOLVE_MAX_ADDRS);
    ck_assert_int_eq(strncmp(told.addrs, "10.0.0.0:80 [2001:db8::1]:80 10.0.0.1:80 ", 41), 0);
}
END_TEST

static const struct {
    int gai, system, error;
    const char *why;
} errors[] = {
    {EAI_NONAME, 0, -ENOENT, "no such host"},
    {EAI_NODATA, 0, -ENOENT, "no such host"},
    {EAI_ADDRFAMILY, 0, -ENOENT, "no such host"},
    {EAI_AGAIN, 0, -EAGAIN, "the name server does not answer"},
    {EAI_MEMORY, 0, -ENOMEM, NULL},
    {EAI_FAIL, 0, -EIO, NULL},
    {EAI_SYSTEM, EMFILE, -EMFILE, "Too many open files"},
    {EAI_SYSTEM, 0, -EIO, "Input/output error"},
    {0, 0, -ENOENT, "no such host"}, /* found, and nothing in it */
};

START_TEST(errors_are_told_in_words)
{
    name_server.error = errors[_i].gai;
    name_server.system_error = errors[_i].system;
    name_server.addrs[0] = "unix";
    ck_assert_int_eq(begin("name", NULL), 0);
    await(1);
    ck_assert_int_eq(told.error, errors[_i].error);
    ck_assert_str_eq(told.why, errors[_i].why ? errors[_i].why : gai_strerror(errors[_i].gai));
}
END_TEST

START_TEST(a_name_that_nobody_has)
{
    char name[80] = "";
    memset(name, 'a', 70); /* no part of a name may be so long: no server is asked */
    faulty_sys.getaddrinfo = NULL;
    ck_assert_int_eq(begin(name, NULL), 0);
    await(1);
    ck_assert_int_lt(told.error, 0);
}
END_TEST

START_TEST(what_cannot_be_begun)
{
    char host[RILL_HOST_TEXT + 1];
    memset(host, 'a', RILL_HOST_TEXT);
    host[RILL_HOST_TEXT] = '\0';
    ck_assert_int_eq(begin(host, NULL), -EINVAL);
    rill_loop_set_workers(connect_rig.loop, NULL);
    ck_assert_int_eq(begin("name", NULL), -ENOTSUP);
    rill_loop_set_workers(connect_rig.loop, connect_rig.workers);
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert_int_eq(begin("name", NULL), -ENOMEM);
    faulty_sys.error[FAULTY_MEMORY] = 0;
    name_server.held = true;
    name_server.addrs[0] = "10.0.0.1";
    ck_assert_int_eq(begin("runs", NULL), 0);
    name_server_await(1);
    ck_assert_int_eq(begin("waits", NULL), 0);
    ck_assert_int_eq(begin("too much", NULL), -EAGAIN);
    name_server_release();
    await(2);
}
END_TEST

START_TEST(memory_is_lacking_on_the_worker)
{
    name_server.addrs[0] = "10.0.0.1";
    name_server.held = true;
    ck_assert_int_eq(begin("name", NULL), 0);
    name_server_await(1);
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    name_server_release();
    await(1);
    ck_assert_int_eq(told.error, -ENOMEM);
}
END_TEST

START_TEST(one_that_waits_too_long_is_not_begun)
{
    struct rill_resolve *resolve;
    name_server.held = true;
    name_server.addrs[0] = "10.0.0.1";
    ck_assert_int_eq(begin("runs", NULL), 0);
    name_server_await(1);
    ck_assert_int_eq(rill_resolve(connect_rig.loop, "waits", 80, rill_loop_deadline_ms(connect_rig.loop, 1000),
                                  on_resolved, &told, &resolve),
                     0);
    faulty_sys_forward(2000);
    name_server_release();
    await(2);
    ck_assert_int_eq(told.error, -ETIMEDOUT);
    ck_assert_uint_eq(name_server.look_ups, 1);
}
END_TEST

/* Cancelled while it waits, while it runs, and when its result is on the way. */
START_TEST(cancelled_it_is_not_heard_of)
{
    struct rill_resolve *runs, *waits;
    name_server.held = true;
    name_server.addrs[0] = "10.0.0.1";
    ck_assert_int_eq(begin("runs", &runs), 0);
    name_server_await(1);
    ck_assert_int_eq(begin("waits", &waits), 0);
    if (_i == 0) {
        rill_resolve_cancel(waits);
        rill_resolve_cancel(runs);
    }
    name_server_release();
    if (_i == 1) {
        name_server_await(2);
        rill_workers_stop(connect_rig.workers);
        connect_rig.workers = NULL;
        rill_resolve_cancel(waits);
        rill_resolve_cancel(runs);
    }
    for (int i = 0; i < 20; i++)
        connect_rig_turns(1);
    ck_assert_int_eq(told.calls, 0);
    ck_assert_uint_eq(name_server.look_ups, _i == 0 ? 1 : 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve");
    TCase *tcase = tcase_create("resolve");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, families_take_turns, 0, rill_array_length(orders));
    tcase_add_test(tcase, too_many_are_cut);
    tcase_add_loop_test(tcase, errors_are_told_in_words, 0, rill_array_length(errors));
    tcase_add_test(tcase, a_name_that_nobody_has);
    tcase_add_test(tcase, what_cannot_be_begun);
    tcase_add_test(tcase, memory_is_lacking_on_the_worker);
    tcase_add_test(tcase, one_that_waits_too_long_is_not_begun);
    tcase_add_loop_test(tcase, cancelled_it_is_not_heard_of, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
