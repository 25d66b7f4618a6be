/* test_mt_server.c - a server with its threads: dealing out, ids from other threads, stopping under load. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server.h"
#include "support/run_suite.h"
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>

enum { MAX_CONNECTIONS = 4096 };

static struct rill_server *server;
static pthread_t server_thread;
static int server_result;

/* Counted by the loops, read by the test. */
static int opened, closed, per_loop[RILL_LOOP_MAX];
static uint64_t ids[MAX_CONNECTIONS];

static void on_open(struct rill_conn *conn)
{
    int n = __atomic_fetch_add(&opened, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&per_loop[rill_loop_index(rill_conn_loop(conn))], 1, __ATOMIC_SEQ_CST);
    if (n < MAX_CONNECTIONS)
        __atomic_store_n(&ids[n], rill_conn_id(conn).value, __ATOMIC_SEQ_CST);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    __atomic_fetch_add(&closed, 1, __ATOMIC_SEQ_CST);
}

static const struct rill_conn_handler echo = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static void *run(void *arg)
{
    (void)arg;
    server_result = rill_server_run(server, false);
    return NULL;
}

static void start(struct rill_server_config config)
{
    int error;
    opened = closed = 0;
    memset(per_loop, 0, sizeof per_loop);
    memset(ids, 0, sizeof ids);
    config.listen = "127.0.0.1:0";
    config.handler = &echo;
    rill_log_set_level(RILL_LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    /* A loop belongs to the thread that runs it, so what makes it does not matter once that has begun. */
    server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
}

static void stop(bool now)
{
    rill_server_stop(server, now);
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(server_result, 0);
    ck_assert_int_eq(opened, closed); /* every connection was opened and closed once */
    rill_server_free(server);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* One round trip; also shows that the connection is open on the other side. */
static void ping(int fd)
{
    char text[4];
    ck_assert_int_eq(write(fd, "ping", 4), 4);
    ck_assert_int_eq(recv(fd, text, 4, MSG_WAITALL), 4);
    ck_assert_mem_eq(text, "ping", 4);
}

START_TEST(every_mode_serves_with_and_without_threads)
{
    static const int threads[] = {0, 1, 3};
    int fds[30];
    enum rill_accept_mode mode = (enum rill_accept_mode)(_i % 3);
    start((struct rill_server_config){.accept = mode, .threads = threads[_i / 3]});
    for (int i = 0; i < 30; i++) {
        fds[i] = dial();
        ping(fds[i]);
    }
    ck_assert_int_eq(opened, 30);
    if (threads[_i / 3] == 3 && mode != RILL_ACCEPT_REUSEPORT) /* in turn, or to the loop with the fewest */
        for (int k = 1; k <= 3; k++)
            ck_assert_int_eq(per_loop[k], 10);
    for (int i = 0; i < 30; i++)
        close(fds[i]);
    stop(false);
}
END_TEST

START_TEST(least_connections_fills_the_gap)
{
    int fds[20];
    start((struct rill_server_config){.accept = RILL_ACCEPT_LEAST_CONNECTIONS, .threads = 2});
    for (int i = 0; i < 20; i++) {
        fds[i] = dial();
        ping(fds[i]);
    }
    int before = per_loop[1];
    for (int i = 0; i < 20; i++) /* all of loop 1's go */
        if (ids[i] >> 56 == 1)
            close(fds[i]);
    while (__atomic_load_n(&closed, __ATOMIC_SEQ_CST) < before)
        usleep(1000);
    for (int i = 0; i < 20; i++) {
        if (ids[i] >> 56 != 1)
            continue;
        fds[i] = dial();
        ping(fds[i]);
    }
    ck_assert_int_eq(per_loop[1], 2 * before);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    stop(true);
}
END_TEST

START_TEST(accepting_pauses_at_the_limit_and_goes_on)
{
    int fds[8];
    start((struct rill_server_config){.threads = 2, .max_connections = 4});
    for (int i = 0; i < 8; i++) /* the kernel completes the handshakes of all */
        fds[i] = dial();
    for (int i = 0; i < 4; i++)
        ping(fds[i]);
    usleep(50000);
    ck_assert_int_eq(__atomic_load_n(&opened, __ATOMIC_SEQ_CST), 4);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    for (int i = 4; i < 8; i++) {
        ping(fds[i]);
        close(fds[i]);
    }
    stop(false);
}
END_TEST

struct hammer {
    pthread_t thread;
    unsigned seed;
};

/* Sends to and closes connections by ids, most of which are stale by then, and some of which never existed. */
static void *hammer(void *arg)
{
    struct hammer *self = arg;
    unsigned random = self->seed;
    for (int i = 0; i < 20000; i++) {
        random = random * 1103515245 + 12345;
        struct rill_conn_id id = {__atomic_load_n(&ids[(random >> 8) % 64], __ATOMIC_SEQ_CST)};
        if (random % 97 == 0)
            id.value ^= (uint64_t)(random >> 3) << 32;
        int result =
            random % 1000 == 0 ? rill_server_close(server, id) : rill_server_send(server, id, rill_buf_copy("boo", 3));
        ck_assert(result == 0 || result == -ESTALE);
    }
    return NULL;
}

START_TEST(ids_may_be_used_by_any_thread)
{
    struct hammer hammers[3];
    start((struct rill_server_config){.threads = 2});
    for (int i = 0; i < 8; i++)
        ping(dial()); /* live connections, for the ids */
    for (unsigned t = 0; t < 3; t++) {
        hammers[t].seed = t;
        ck_assert_int_eq(pthread_create(&hammers[t].thread, NULL, hammer, &hammers[t]), 0);
    }
    for (int i = 0; i < 300; i++) {
        char text[256];
        int fd = dial();
        if (write(fd, "hello", 5) == 5 && recv(fd, text, sizeof text, 0) < 0)
            ck_assert_int_eq(errno, ECONNRESET);
        close(fd);
    }
    for (unsigned t = 0; t < 3; t++)
        pthread_join(hammers[t].thread, NULL);
    stop(true);
}
END_TEST

static void *come_and_go(void *arg)
{
    int *stopping = arg;
    char text[64];
    for (int i = 0; !__atomic_load_n(stopping, __ATOMIC_SEQ_CST); i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)rill_server_port(server, 0)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && write(fd, "hello", 5) == 5 && i % 3)
            (void)!recv(fd, text, sizeof text, 0);
        close(fd);
    }
    return NULL;
}

START_TEST(stops_under_load)
{
    int stopping = 0;
    pthread_t clients[3];
    start((struct rill_server_config){
        .threads = _i % 3, .accept = (enum rill_accept_mode)(_i / 3 % 3), .drain_timeout_ms = 100});
    close(dial());
    for (unsigned t = 0; t < 3; t++)
        ck_assert_int_eq(pthread_create(&clients[t], NULL, come_and_go, &stopping), 0);
    usleep(30000);
    rill_server_stop(server, _i % 2);
    pthread_join(server_thread, NULL);
    __atomic_store_n(&stopping, 1, __ATOMIC_SEQ_CST);
    for (unsigned t = 0; t < 3; t++)
        pthread_join(clients[t], NULL);
    ck_assert_int_eq(server_result, 0);
    ck_assert_int_eq(opened, closed);
    rill_server_free(server);
}
END_TEST

/* What it listened on is closed when it has run, not when it is freed. */
START_TEST(who_waits_at_a_server_that_never_accepts_is_let_go)
{
    int error;
    char byte;
    server = rill_server_new(
        &(struct rill_server_config){
            .listen = "127.0.0.1:0", .threads = _i % 2, .accept = (enum rill_accept_mode)(_i % 3), .handler = &echo},
        &error);
    ck_assert_ptr_nonnull(server);
    int fd = dial();
    rill_server_stop(server, _i >= 6);
    ck_assert_int_eq(rill_server_run(server, false), 0);
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    ck_assert_msg(got == 0 || (got < 0 && errno == ECONNRESET), "%zd: %s", got, strerror(errno));
    close(fd);
    rill_server_free(server);
}
END_TEST

START_TEST(says_why_it_cannot_start)
{
    int error;
    rill_log_set_level(RILL_LOG_OFF);
    ck_assert_ptr_null(rill_server_new(&(struct rill_server_config){.listen = "127.0.0.1:0"}, &error));
    ck_assert_int_eq(error, -EINVAL); /* no handler */
    ck_assert_ptr_null(rill_server_new(&(struct rill_server_config){.handler = &echo}, &error));
    ck_assert_int_eq(error, -EINVAL); /* no address */
    ck_assert_ptr_null(rill_server_new(&(struct rill_server_config){.handler = &echo, .listen = "127.0.0.1"}, &error));
    ck_assert_int_eq(error, -EINVAL);
    struct rill_server *first =
        rill_server_new(&(struct rill_server_config){.handler = &echo, .listen = "127.0.0.1:0"}, &error);
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%u", rill_server_port(first, 0));
    ck_assert_ptr_null(rill_server_new(&(struct rill_server_config){.handler = &echo, .listen = text}, &error));
    ck_assert_int_eq(error, -EADDRINUSE);
    rill_server_free(first); /* one that never ran */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server");
    TCase *all = tcase_create("server");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, every_mode_serves_with_and_without_threads, 0, 9);
    tcase_add_test(all, least_connections_fills_the_gap);
    tcase_add_test(all, accepting_pauses_at_the_limit_and_goes_on);
    tcase_add_test(all, ids_may_be_used_by_any_thread);
    tcase_add_loop_test(all, stops_under_load, 0, 18);
    tcase_add_loop_test(all, who_waits_at_a_server_that_never_accepts_is_let_go, 0, 12);
    tcase_add_test(all, says_why_it_cannot_start);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
