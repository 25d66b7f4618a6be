/* test_mt_server_life.c - a server from its start to its end: asked to stop at every moment, starts that fail,
 * connections that are not its own, and the addresses that it listens on. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"
#include "rill/net/server.h"
#include "support/run_suite.h"
#include <check.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>

static struct rill_server *server;
static pthread_t server_thread;
static int server_result;
static struct rill_server_config config;

static int opened, closed, started, stopped, drained, per_loop[RILL_LOOP_MAX]; /* atomic */
static int stop_in; /* where the server is stopped: 'o'pen, 'd'ata, 'c'lose, 's'tart, 'e'nd of a loop, d'r'ained; 0 */
static bool stop_now;
static int failing_loop = -1; /* the index of the loop whose start fails */

static void bump(int *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

static int value_of(int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void maybe_stop(int where)
{
    if (stop_in == where) {
        rill_server_stop(server, stop_now);
        rill_server_stop(server, stop_now); /* twice does no harm */
    }
}

static void on_open(struct rill_conn *conn)
{
    bump(&opened);
    bump(&per_loop[rill_loop_index(rill_conn_loop(conn))]);
    maybe_stop('o');
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
    maybe_stop('d');
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    bump(&closed);
    maybe_stop('c');
}

static const struct rill_conn_handler echo = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static int on_loop_start(struct rill_loop *loop, void *arg)
{
    (void)arg;
    maybe_stop('s');
    if ((int)rill_loop_index(loop) == failing_loop)
        return -EDOM;
    bump(&started);
    return 0;
}

static void on_loop_stop(struct rill_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    bump(&stopped);
    maybe_stop('e');
}

static void on_drained(struct rill_server *of, void *arg)
{
    (void)of;
    (void)arg;
    bump(&drained);
    maybe_stop('r');
}

static void *run(void *arg)
{
    (void)arg;
    server_result = rill_server_run(server, false);
    return NULL;
}

static void set_up(void)
{
    rill_log_set_level(RILL_LOG_OFF);
    signal(SIGPIPE, SIG_IGN);
    config = (struct rill_server_config){.listen = "127.0.0.1:0",
                                         .handler = &echo,
                                         .drain_timeout_ms = 5000,
                                         .on_loop_start = on_loop_start,
                                         .on_loop_stop = on_loop_stop,
                                         .on_drained = on_drained};
    opened = closed = started = stopped = drained = stop_in = 0;
    stop_now = false;
    failing_loop = -1;
    memset(per_loop, 0, sizeof per_loop);
}

static void make(void)
{
    int error;
    server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
}

static void start(void)
{
    make();
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
}

/* Waits for the end and looks whether all was called as often as it should. */
static void finish(int result)
{
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(server_result, result);
    ck_assert_int_eq(opened, closed);
    ck_assert_int_eq(started, stopped);
    ck_assert_int_eq(drained, 1);
    ck_assert(rill_server_is_stopping(server));
    rill_server_free(server);
}

static int dial_addr(const struct sockaddr *at, socklen_t length)
{
    int fd = socket(at->sa_family, SOCK_STREAM, 0);
    struct timeval limit = {60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, at, length) == 0)
        return fd;
    close(fd);
    return -1;
}

static int dial(unsigned listener)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return dial_addr((struct sockaddr *)&at, sizeof at);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    return dial_addr((struct sockaddr *)&at, sizeof at);
}

static bool ping(int fd)
{
    char text[4];
    return write(fd, "ping", 4) == 4 && recv(fd, text, 4, MSG_WAITALL) == 4 && memcmp(text, "ping", 4) == 0;
}

/* --- stopping, at every moment --- */

START_TEST(may_be_stopped_from_everywhere)
{
    static const char places[] = "odcser";
    enum { PLACES = sizeof places - 1 };
    config.threads = _i / PLACES % 3;
    config.accept = (enum rill_accept_mode)(_i / PLACES / 3 % 3);
    stop_now = _i / PLACES / 9;
    stop_in = (unsigned char)places[_i % PLACES];
    start();
    if (stop_in != 's') {
        int fd = dial(0);
        if (fd >= 0) {
            bool answered = ping(fd);
            ck_assert(answered || stop_in == 'o' || stop_in == 'd');
            close(fd);
        }
        if (stop_in == 'e' || stop_in == 'r')
            rill_server_stop(server, stop_now);
    }
    finish(0);
}
END_TEST

START_TEST(may_be_stopped_before_it_starts)
{
    config.threads = _i % 3;
    config.accept = (enum rill_accept_mode)(_i / 3 % 3);
    make();
    rill_server_stop(server, _i / 9);
    rill_server_stop(server, true);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
    finish(0);
}
END_TEST

START_TEST(may_be_stopped_while_it_starts)
{
    config.threads = _i % 4;
    config.accept = (enum rill_accept_mode)(_i / 4 % 3);
    start();
    usleep((useconds_t)(_i / 12) * 37);
    rill_server_stop(server, _i % 2);
    finish(0);
}
END_TEST

START_TEST(now_overtakes_a_drain)
{
    config.threads = _i % 3;
    config.drain_timeout_ms = 100000;
    static const struct rill_conn_handler stubborn = {
        .on_open = on_open, .on_data = on_data, .on_close = on_close, .on_stop = on_open};
    config.handler = &stubborn; /* its on_stop ends nothing */
    start();
    int fd = dial(0);
    ck_assert(ping(fd));
    rill_server_stop(server, false);
    while (value_of(&opened) < 2)
        usleep(1000);
    ck_assert(ping(fd)); /* still served */
    ck_assert_int_eq(value_of(&closed), 0);
    rill_server_stop(server, true);
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(server_result, 0);
    ck_assert_int_eq(closed, 1);
    rill_server_free(server);
    close(fd);
}
END_TEST

static void close_one(struct rill_conn *conn, void *arg)
{
    (void)arg;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void close_everybody(struct rill_conn *conn)
{
    rill_conn_each(rill_conn_loop(conn), NULL, close_one, NULL);
}

START_TEST(on_stop_may_close_every_connection)
{
    static const struct rill_conn_handler hasty = {
        .on_open = on_open, .on_data = on_data, .on_close = on_close, .on_stop = close_everybody};
    int fds[10];
    char byte;
    config.threads = _i % 3;
    config.accept = (enum rill_accept_mode)(_i / 3);
    config.handler = &hasty;
    start();
    for (size_t i = 0; i < rill_array_length(fds); i++) {
        fds[i] = dial(0);
        ck_assert(ping(fds[i]));
    }
    rill_server_stop(server, false);
    finish(0);
    for (size_t i = 0; i < rill_array_length(fds); i++) {
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
}
END_TEST

START_TEST(a_drain_has_its_timeout)
{
    static const struct rill_conn_handler stubborn = {.on_open = on_open, .on_close = on_close, .on_stop = on_open};
    config.threads = _i;
    config.drain_timeout_ms = 30;
    config.handler = &stubborn;
    start();
    int fd = dial(0);
    while (value_of(&opened) < 1)
        usleep(1000);
    rill_server_stop(server, false);
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(closed, 1);
    rill_server_free(server);
    close(fd);
}
END_TEST

static sem_t blocked, go_on;

static void block(struct rill_task *task)
{
    (void)task;
    sem_post(&blocked);
    sem_wait(&go_on);
}

START_TEST(a_drain_serves_who_got_through_the_handshake)
{
    enum { CLIENTS = 150 }; /* more than a batch */
    int fds[CLIENTS];
    struct rill_task task = {.run = block};
    config.threads = 1 + _i % 2;
    sem_init(&blocked, 0, 0);
    sem_init(&go_on, 0, 0);
    start();
    fds[0] = dial(0);
    ck_assert(ping(fds[0])); /* it accepts */
    close(fds[0]);
    ck_assert_int_eq(rill_loop_post(rill_server_main_loop(server), &task), 0);
    sem_wait(&blocked);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial(0);
        ck_assert_int_eq(write(fds[i], "ping", 4), 4);
    }
    rill_server_stop(server, false);
    sem_post(&go_on);
    for (int i = 0; i < CLIENTS; i++) {
        char text[4];
        ck_assert_int_eq(recv(fds[i], text, 4, MSG_WAITALL), 4);
        close(fds[i]);
    }
    finish(0);
}
END_TEST

/* --- starts that fail --- */

START_TEST(a_loop_that_cannot_start_ends_the_server)
{
    config.threads = _i / 2 % 4;
    config.accept = (enum rill_accept_mode)(_i / 8);
    failing_loop = _i % 2 ? config.threads : config.threads > 0; /* the last one, the first one */
    stop_in = _i % 3 == 0 ? 's' : 0;
    start();
    finish(-EDOM);
}
END_TEST

START_TEST(runs_once)
{
    start();
    rill_server_stop(server, false);
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(rill_server_run(server, false), -EBUSY);
    rill_server_free(server);
}
END_TEST

START_TEST(ids_are_refused_before_and_after)
{
    config.threads = _i;
    make();
    struct rill_conn_id id = {(uint64_t)(_i > 0) << 56 | 1};
    ck_assert_int_eq(rill_server_send(server, id, rill_buf_copy("x", 1)), -ESTALE);
    ck_assert_int_eq(rill_server_close(server, id), -ESTALE);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
    int fd = dial(0);
    ck_assert(ping(fd));
    id.value = (uint64_t)200 << 56 | 1; /* no such loop */
    ck_assert_int_eq(rill_server_close(server, id), -ESTALE);
    close(fd);
    rill_server_stop(server, false);
    pthread_join(server_thread, NULL);
    id.value = (uint64_t)(_i > 0) << 56 | 1;
    ck_assert_int_eq(rill_server_send(server, id, rill_buf_copy("x", 1)), -ESHUTDOWN);
    ck_assert_int_eq(rill_server_close(server, id), -ESHUTDOWN);
    rill_server_stop(server, true);
    rill_server_free(server);
}
END_TEST

/* --- connections that are not the server's --- */

static int foreign_closed;
static int foreign_pair[2];

static void on_foreign_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    bump(&foreign_closed);
}

static const struct rill_conn_handler foreign_handler = {.on_close = on_foreign_close};
static const struct rill_conn_config foreign_config = {.handler = &foreign_handler};

/* Opens and closes ten of them, and leaves one open. */
static void adopt_foreign(struct rill_task *task)
{
    (void)task;
    struct rill_loop *loop = rill_loop_current();
    for (int i = 0; i < 10; i++) {
        int pair[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        close(pair[1]);
        ck_assert_int_eq(rill_conn_adopt(loop, pair[0], NULL, &foreign_config), 0);
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, foreign_pair), 0);
    ck_assert_int_eq(rill_conn_adopt(loop, foreign_pair[0], NULL, &foreign_config), 0);
}

START_TEST(connections_of_others_are_neither_counted_nor_waited_for)
{
    struct rill_task task = {.run = adopt_foreign};
    int fds[3];
    config.threads = _i % 3;
    config.accept = (enum rill_accept_mode)(_i / 3);
    config.max_connections = 3;
    foreign_closed = 0;
    start();
    int fd = dial(0);
    ck_assert(ping(fd)); /* it runs */
    close(fd);
    ck_assert_int_eq(rill_loop_post(rill_server_loop(server, 0), &task), 0);
    while (value_of(&foreign_closed) < 10)
        usleep(1000);
    for (int i = 0; i < 3; i++) { /* all that are allowed get in */
        fds[i] = dial(0);
        ck_assert(ping(fds[i]));
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    rill_server_stop(server, _i % 2);
    finish(0);
    ck_assert_int_eq(foreign_closed, 11); /* the last one with its loop */
    close(foreign_pair[1]);
}
END_TEST

/* --- where it listens --- */

START_TEST(listens_in_many_places_at_once)
{
    char path[64], text[80];
    struct stat st;
    snprintf(path, sizeof path, "/tmp/rill-test-server-%ld.sock", (long)getpid());
    snprintf(text, sizeof text, "unix:%s", path);
    unlink(path);
    config.threads = _i % 3;
    config.accept = (enum rill_accept_mode)(_i / 3);
    config.listens[0].address = text;
    config.listens[1].address = "localhost:0";
    start();
    ck_assert_uint_eq(rill_server_port(server, 1), 0);
    ck_assert_uint_ne(rill_server_port(server, 0), rill_server_port(server, 2));
    int fds[60];
    for (int i = 0; i < 60; i++) {
        fds[i] = i % 2 ? dial_unix(path) : dial(0);
        ck_assert_int_ge(fds[i], 0);
        ck_assert(ping(fds[i]));
    }
    ck_assert_int_eq(opened, 60);
    if (config.threads == 2)
        ck_assert(per_loop[1] > 0 && per_loop[2] > 0); /* one port, all loops */
    /* No second server takes the live socket away. */
    int error;
    ck_assert_ptr_null(rill_server_new(&(struct rill_server_config){.listen = text, .handler = &echo}, &error));
    ck_assert_int_eq(error, -EADDRINUSE);
    fds[0] = dial_unix(path);
    ck_assert(ping(fds[0]));
    for (int i = 0; i < 60; i++)
        close(fds[i]);
    rill_server_stop(server, false);
    finish(0);
    ck_assert_int_lt(lstat(path, &st), 0); /* gone with the server */
}
END_TEST

START_TEST(one_that_never_ran_leaves_no_file)
{
    char path[64], text[80];
    struct stat st;
    snprintf(path, sizeof path, "/tmp/rill-test-server-%ld.sock", (long)getpid());
    snprintf(text, sizeof text, "unix:%s", path);
    unlink(path);
    config.listen = text;
    make();
    ck_assert_int_eq(lstat(path, &st), 0);
    rill_server_free(server);
    ck_assert_int_lt(lstat(path, &st), 0);
    config.threads = 1;
    failing_loop = 1;
    start();
    finish(-EDOM);
    ck_assert_int_lt(lstat(path, &st), 0);
}
END_TEST

START_TEST(listens_on_ipv6)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    bool available = probe >= 0 && bind(probe, (struct sockaddr *)&at, sizeof at) == 0;
    if (probe >= 0)
        close(probe);
    if (!available)
        return; /* a machine without it */
    config.listen = "[::1]:0";
    config.threads = 2;
    config.accept = (enum rill_accept_mode)_i;
    start();
    at.sin6_port = htons((uint16_t)rill_server_port(server, 0));
    int fd = dial_addr((struct sockaddr *)&at, sizeof at);
    ck_assert(ping(fd));
    close(fd);
    rill_server_stop(server, false);
    finish(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server life");
    TCase *all = tcase_create("server life");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, set_up, NULL);
    tcase_add_loop_test(all, may_be_stopped_from_everywhere, 0, 6 * 18);
    tcase_add_loop_test(all, may_be_stopped_before_it_starts, 0, 18);
    tcase_add_loop_test(all, may_be_stopped_while_it_starts, 0, 120);
    tcase_add_loop_test(all, now_overtakes_a_drain, 0, 3);
    tcase_add_loop_test(all, on_stop_may_close_every_connection, 0, 9);
    tcase_add_loop_test(all, a_drain_has_its_timeout, 0, 3);
    tcase_add_loop_test(all, a_drain_serves_who_got_through_the_handshake, 0, 2);
    tcase_add_loop_test(all, a_loop_that_cannot_start_ends_the_server, 0, 24);
    tcase_add_test(all, runs_once);
    tcase_add_loop_test(all, ids_are_refused_before_and_after, 0, 3);
    tcase_add_loop_test(all, connections_of_others_are_neither_counted_nor_waited_for, 0, 9);
    tcase_add_loop_test(all, listens_in_many_places_at_once, 0, 9);
    tcase_add_test(all, one_that_never_ran_leaves_no_file);
    tcase_add_loop_test(all, listens_on_ipv6, 0, 3);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
