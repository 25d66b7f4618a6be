/* test_mt_overload.c - a server that lacks room: whom it closes, whom it keeps waiting, and that it comes back. What
 * its connections wait for is what the test says, so that nothing here depends on time. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    MODES = 4,
    MOST = 64,
    ANSWER = 64 * 1024,
    PATIENCE_MS = 60000,
};

#define BUDGET ((uint64_t)4 << 20)

/* What the test says of the connection that was opened as the I-th. */
static int awaited[MOST], waited[MOST]; /* atomic, as all that follow: enum rill_awaits; ms */
static int ended[MOST];                 /* enum rill_close_reason, and 1 more */
static int opened, open_now;

static struct rill_server *server;
static pthread_t server_thread;
static struct rill_server_config config;
static int fds[MOST];
static char answer[ANSWER], path[64], unix_address[80];

static int value_of(int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void on_open(struct rill_conn *conn)
{
    int number = __atomic_fetch_add(&opened, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&open_now, 1, __ATOMIC_SEQ_CST);
    rill_conn_set_user(conn, &ended[number]);
}

/* 's' is answered with a byte, 'l' with many. */
static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    while (input->length > 0 && rill_conn_is_open(conn)) {
        rill_conn_send(conn, answer, input->bytes[0] == 'l' ? ANSWER : 1);
        rill_input_consume(input, 1);
    }
}

static enum rill_awaits on_awaits(const struct rill_conn *conn, uint64_t *waited_ms)
{
    ptrdiff_t number = (int *)rill_conn_user(conn) - ended;
    *waited_ms = (uint64_t)value_of(&waited[number]);
    return (enum rill_awaits)value_of(&awaited[number]);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    __atomic_store_n((int *)rill_conn_user(conn), (int)reason + 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_sub(&open_now, 1, __ATOMIC_SEQ_CST);
}

static const struct rill_conn_handler handler = {
    .on_open = on_open, .on_data = on_data, .awaits = on_awaits, .on_close = on_close};

static void set_up(void)
{
    snprintf(path, sizeof path, "/tmp/rill-test-mt-overload-%ld.sock", (long)getpid());
    snprintf(unix_address, sizeof unix_address, "unix:%s", path);
    rill_log_set_level(RILL_LOG_OFF);
    signal(SIGPIPE, SIG_IGN);
    opened = open_now = 0;
    memset(ended, 0, sizeof ended);
    memset(answer, 'x', sizeof answer);
    for (int i = 0; i < MOST; i++) {
        awaited[i] = RILL_AWAITS_PROGRAM;
        waited[i] = 0;
        fds[i] = -1;
    }
    config = (struct rill_server_config){
        .listen = "127.0.0.1:0", .handler = &handler, .write_timeout_ms = 600000, .drain_timeout_ms = 1};
}

/* The I-th of MODES. */
static void set_mode(int i)
{
    config.threads = i == 0 ? 0 : i == 1 ? 1 : 2;
    config.accept = i == 3 ? RILL_ACCEPT_REUSEPORT : RILL_ACCEPT_ROUND_ROBIN;
}

static void *run(void *arg)
{
    (void)arg;
    ck_assert_int_eq(rill_server_run(server, false), 0);
    return NULL;
}

static void start(void)
{
    int error;
    server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
}

static void stop(void)
{
    rill_server_stop(server, true);
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(open_now, 0);
    ck_assert_uint_lt(server->overload.bytes, 2 * RILL_OVERLOAD_STRIDE * 3);
    rill_server_free(server);
    for (int i = 0; i < MOST; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void nap(void)
{
    usleep(2000);
}

#define AWAIT(condition)                                                                                               \
    do {                                                                                                               \
        for (int waits = 0; !(condition); waits++) {                                                                   \
            ck_assert_msg(waits < PATIENCE_MS / 2, "waited in vain: %s", #condition);                                  \
            nap();                                                                                                     \
        }                                                                                                              \
    } while (0)

/* The I-th connection is one that awaits WHAT, since MS. */
static void is(int i, enum rill_awaits what, int ms)
{
    __atomic_store_n(&waited[i], ms, __ATOMIC_SEQ_CST);
    __atomic_store_n(&awaited[i], (int)what, __ATOMIC_SEQ_CST);
}

/* A socket that takes little of an answer that is not read. */
static void set_up_unix(void)
{
    set_up();
    config.listen = unix_address;
    config.max_buffered_bytes = BUDGET;
}

/* The I-th client connects. */
static void dial(int i)
{
    if (config.listen == unix_address) {
        struct sockaddr_un local = {.sun_family = AF_UNIX};
        snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
        fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(fds[i], (struct sockaddr *)&local, sizeof local), 0);
        return;
    }
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fds[i] = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fds[i], (struct sockaddr *)&at, sizeof at), 0);
}

static void dial_and_wait(int i)
{
    dial(i);
    AWAIT(value_of(&opened) == i + 1);
}

static uint64_t refusing(void)
{
    return __atomic_load_n(rill_server_refusing(server), __ATOMIC_SEQ_CST);
}

static struct rill_overload_stats stats(void)
{
    struct rill_overload_stats now;
    rill_server_overload_stats(server, &now);
    return now;
}

static uint64_t buffered(void)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < rill_server_loop_count(server); i++) {
        const struct rill_net_stats *of_loop = rill_server_net_stats(server, i);
        bytes += of_loop ? rill_net_stats_buffered(of_loop) : 0;
    }
    return bytes;
}

/* --- connections --- */

START_TEST(the_longest_idle_go_first)
{
    /* Room for 32, of which 2 are kept free: one a loop where there are two. */
    set_mode(_i);
    config.max_connections = 32;
    start();
    for (int i = 0; i < 30; i++) {
        is(i, (enum rill_awaits)(i % 3), 1000 + i);
        dial_and_wait(i);
    }
    ck_assert_uint_eq(stats().begun, 0);
    if (config.threads < 2)
        is(5, RILL_AWAITS_REQUEST, 100000);
    for (int i = 30; i < 33; i++)
        dial_and_wait(i);
    AWAIT(value_of(&open_now) <= 31);
    for (int i = 0; i < 30; i++)
        if (value_of(&ended[i])) {
            ck_assert_int_eq(value_of(&ended[i]), RILL_CLOSE_OVERLOAD + 1);
            ck_assert_int_eq(value_of(&awaited[i]), RILL_AWAITS_REQUEST);
        }
    if (config.threads < 2)
        ck_assert(value_of(&ended[5]));
    AWAIT(!stats().on);
    ck_assert_uint_ge(stats().begun, 1);
    stop();
}
END_TEST

START_TEST(those_that_are_worked_for_stay_and_others_wait)
{
    set_mode(_i);
    config.max_connections = 8;
    start();
    for (int i = 0; i < 8; i++)
        dial_and_wait(i);
    is(3, RILL_AWAITS_PROGRAM, 1000000);
    dial(8);
    AWAIT(stats().pauses >= 3);
    ck_assert_int_eq(value_of(&opened), 8);
    ck_assert_int_eq(value_of(&open_now), 8);
    close(fds[5]);
    fds[5] = -1;
    AWAIT(value_of(&opened) == 9);
    ck_assert_int_eq(value_of(&ended[5]), RILL_CLOSE_EOF + 1);
    stop();
}
END_TEST

START_TEST(at_the_limit_go_those_whose_peers_keep_them_waiting)
{
    set_mode(_i);
    config.max_connections = 8;
    start();
    for (int i = 0; i < 8; i++) {
        is(i, i < 4 ? RILL_AWAITS_PEER : RILL_AWAITS_PROGRAM, 0);
        dial_and_wait(i);
    }
    dial(8);
    AWAIT(stats().pauses >= 3);
    ck_assert_int_eq(value_of(&opened), 8); /* all have come just now */
    is(2, RILL_AWAITS_PEER, 600);
    AWAIT(value_of(&opened) == 9);
    ck_assert_int_eq(value_of(&ended[2]), RILL_CLOSE_OVERLOAD + 1);
    for (int i = 0; i < 9; i++)
        ck_assert(i == 2 || !value_of(&ended[i]));
    stop();
}
END_TEST

/* --- bytes --- */

/* Client I has an answer that is larger than its socket's buffers, and takes nothing of it: less than an eighth of the
 * budget. */
static void stuff(int i)
{
    ck_assert_int_eq(send(fds[i], "lllll", 5, MSG_NOSIGNAL), 5);
}

START_TEST(buffers_stay_within_their_budget)
{
    set_mode(_i);
    config.write_timeout_ms = 0; /* their time is never up: none of them is closed for that */
    start();
    uint64_t most = 0;
    for (int i = 0; i < MOST && stats().pauses == 0; i++) {
        dial(i);
        stuff(i);
        for (int k = 0; k < 10; k++) {
            uint64_t now = buffered();
            most = now > most ? now : most;
            nap();
        }
    }
    AWAIT(refusing());
    ck_assert_uint_ge(stats().begun, 1);
    /* What was sent at once to the last is closed above the budget, within a segment a loop and what was untold. */
    ck_assert_uint_le(most, BUDGET + 3 * 2 * RILL_OVERLOAD_STRIDE);
    ck_assert_uint_ge(most, BUDGET / 2);
    for (int i = 0; i < MOST; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
    AWAIT(value_of(&open_now) == 0);
    AWAIT(!refusing());
    AWAIT(!stats().on);
    ck_assert_uint_eq(buffered(), 0);
    dial(0);
    char byte;
    ck_assert_int_eq(send(fds[0], "s", 1, MSG_NOSIGNAL), 1);
    ck_assert_int_eq(recv(fds[0], &byte, 1, 0), 1);
    stop();
}
END_TEST

START_TEST(slow_readers_give_way_when_the_budget_is_used_up)
{
    /* Nobody of them closes; the output of each has not moved, so in time there is room. */
    config.threads = 1;
    start();
    for (int i = 0; i < MOST && stats().pauses == 0; i++) {
        dial(i);
        stuff(i);
        nap();
    }
    AWAIT(stats().pauses > 0 || value_of(&opened) == MOST);
    AWAIT(value_of(&open_now) < value_of(&opened));
    AWAIT(buffered() < BUDGET / 16 * 15);
    for (int i = 0; i < MOST; i++)
        ck_assert(!value_of(&ended[i]) || value_of(&ended[i]) == RILL_CLOSE_OVERLOAD + 1);
    stop();
}
END_TEST

static unsigned closed_with_fresh_output; /* atomic */

static void answer_it(struct rill_conn *conn, void *arg)
{
    (void)arg;
    rill_conn_send(conn, answer, 1);
}

static void answer_and_make_room(struct rill_task *task)
{
    struct rill_loop *loop = rill_server_loop(server, 0);
    (void)task;
    rill_conn_each(loop, NULL, answer_it, NULL);
    unsigned closed = rill_net_make_room(rill_net_of(loop), MOST, true);
    __atomic_store_n(&closed_with_fresh_output, closed, __ATOMIC_SEQ_CST);
}

/* Room is made within a turn, where output may be new. */
START_TEST(output_that_was_not_tried_yet_does_not_wait_for_its_peer)
{
    static struct rill_task task;
    task.run = answer_and_make_room;
    config.threads = 1;
    start();
    for (int i = 0; i < 3; i++)
        dial_and_wait(i);
    closed_with_fresh_output = MOST;
    ck_assert_int_eq(rill_loop_post(rill_server_loop(server, 0), &task), 0);
    for (int i = 0; i < 3; i++) {
        char byte;
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 1);
    }
    ck_assert_uint_eq(__atomic_load_n(&closed_with_fresh_output, __ATOMIC_SEQ_CST), 0);
    stop();
}
END_TEST

/* Consumes nothing. */
static void keep_on_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    (void)input;
}

START_TEST(kept_input_counts)
{
    static const struct rill_conn_handler keeper = {
        .on_open = on_open, .on_data = keep_on_data, .awaits = on_awaits, .on_close = on_close};
    config.threads = 1;
    config.handler = &keeper;
    start();
    for (int i = 0; i < 4; i++) {
        dial_and_wait(i);
        for (int k = 0; k < 2; k++)
            ck_assert_int_eq(send(fds[i], answer, 50000, MSG_NOSIGNAL), 50000);
    }
    AWAIT(buffered() >= 400000);
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
        fds[i] = -1;
    }
    AWAIT(value_of(&open_now) == 0 && buffered() == 0);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("overload");
    TCase *connections = tcase_create("connections"), *bytes = tcase_create("bytes");
    tcase_add_checked_fixture(connections, set_up, NULL);
    tcase_add_checked_fixture(bytes, set_up_unix, NULL);
    tcase_add_loop_test(connections, the_longest_idle_go_first, 0, MODES);
    tcase_add_loop_test(connections, those_that_are_worked_for_stay_and_others_wait, 0, MODES);
    tcase_add_loop_test(connections, at_the_limit_go_those_whose_peers_keep_them_waiting, 0, MODES);
    tcase_add_loop_test(bytes, buffers_stay_within_their_budget, 0, MODES);
    tcase_add_test(connections, output_that_was_not_tried_yet_does_not_wait_for_its_peer);
    tcase_add_test(bytes, kept_input_counts);
    tcase_add_test(bytes, slow_readers_give_way_when_the_budget_is_used_up);
    suite_add_tcase(suite, connections);
    suite_add_tcase(suite, bytes);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
