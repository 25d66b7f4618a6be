/* test_mt_stats.c - a server's numbers are read by other threads while it works, and add up when it has; the admin
 * server answers while every reactor stands still. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/admin.h"
#include "rill/http/http_stats.h"
#include "rill/net/net_stats.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

enum { CLIENTS = 4, ROUNDS = 60, THREADS = 2 };

#define LOAD(variable) __atomic_load_n(&(variable), __ATOMIC_SEQ_CST)
#define STORE(variable, value) __atomic_store_n(&(variable), value, __ATOMIC_SEQ_CST)

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static struct rill_router *router;
static struct rill_http_server *server;
static struct rill_server *net;
static pthread_t server_thread;
static unsigned threads;
static int gate[2]; /* a pipe: who stalls a reactor reads from it */
static unsigned stalled;
static bool done;

static void hello(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "hello");
}

static void work_run(void *arg)
{
    snprintf(arg, 8, "worked");
}

static void work(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_work(x, &(struct rill_work){.run = work_run,
                                              .done = rill_work_reply_text,
                                              .arg = rill_arena_alloc(rill_exchange_arena(x), 8)});
}

static void stall(struct rill_exchange *x, void *arg)
{
    char byte;
    (void)arg;
    __atomic_add_fetch(&stalled, 1, __ATOMIC_SEQ_CST);
    MUST(read(gate[0], &byte, 1) == 1);
    rill_exchange_reply_text(x, 200, "late");
}

static void *serve(void *arg)
{
    (void)arg;
    MUST(rill_http_server_run(server, false) == 0);
    return NULL;
}

static void make(unsigned count)
{
    static const struct rill_route routes[] = {{"GET", "/hello", hello, NULL},
                                               {"GET", "/work", work, NULL},
                                               {"GET", "/stall", stall, NULL},
                                               {NULL, NULL, NULL, NULL}};
    int error;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    threads = count;
    stalled = 0;
    done = false;
    router = rill_router_new();
    MUST(router && rill_router_add_all(router, routes) == 0 && pipe(gate) == 0);
    struct rill_http_server_config config = {.router = router,
                                             .net = {.listen = "127.0.0.1:0", .threads = (int)count, .workers = 2}};
    server = rill_http_server_new(&config, &error);
    MUST(server);
    net = rill_http_server_net(server);
}

static void stop_and_free(struct rill_admin *admin)
{
    rill_http_server_stop(server, false);
    pthread_join(server_thread, NULL);
    rill_admin_stop(admin);
    rill_http_server_free(server);
    rill_router_free(router);
    close(gate[0]);
    close(gate[1]);
}

/* --- clients --- */

static int dial(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    address.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    MUST(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* One request on a connection of its own; returns the response's length, which has STATUS in its status line. Adds what
 * was sent to *SENT. */
static size_t ask_once(unsigned port, const char *target, const char *status, char *into, size_t size, size_t *sent)
{
    char request[128];
    size_t length = 0;
    int fd = dial(port),
        written = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target);
    MUST(send(fd, request, (size_t)written, 0) == written);
    for (ssize_t got = 1; got > 0; length += (size_t)got) {
        got = recv(fd, into + length, size - 1 - length, 0);
        MUST(got >= 0);
    }
    close(fd);
    into[length] = '\0';
    MUST(strncmp(into, "HTTP/1.1 ", 9) == 0 && strncmp(into + 9, status, 3) == 0);
    *sent += (size_t)written;
    return length;
}

struct client {
    pthread_t thread;
    size_t sent, received;
};

static void *client_run(void *arg)
{
    static const char *const targets[] = {"/hello", "/work", "/nothing"};
    static const char *const statuses[] = {"200", "200", "404"};
    struct client *client = arg;
    char bytes[4096];
    for (unsigned i = 0; i < ROUNDS; i++)
        client->received +=
            ask_once(rill_server_port(net, 0), targets[i % 3], statuses[i % 3], bytes, sizeof bytes, &client->sent);
    return NULL;
}

/* --- the reader --- */

struct sums {
    uint64_t open, adopted, closed, in, out, ended, took, in_flight, turns, ran;
};

static void sum(struct sums *sums)
{
    struct rill_workers_stats pool;
    rill_workers_stats(rill_server_workers(net), &pool);
    *sums = (struct sums){.ran = pool.ran};
    MUST(pool.run_us.total == pool.ran && pool.wait_us.total == pool.ran); /* a copy of one moment */
    MUST(rill_histogram_quantile(&pool.run_us, 1) <= pool.run_us.max);
    for (unsigned i = 0; i < rill_server_loop_count(net); i++) {
        const struct rill_net_stats *of_net = rill_server_net_stats(net, i);
        if (!of_net)
            return; /* it has not started yet */
        const struct rill_http_stats *http = rill_http_server_stats(server, i);
        const struct rill_loop_stats *loop = rill_loop_stats(rill_server_loop(net, i));
        MUST(http);
        sums->open += rill_stat_read(&of_net->open);
        sums->adopted += rill_stat_read(&of_net->adopted);
        sums->in += rill_stat_read(&of_net->bytes_in);
        sums->out += rill_stat_read(&of_net->bytes_out);
        for (unsigned k = 0; k < RILL_CLOSE_REASONS; k++)
            sums->closed += rill_stat_read(&of_net->closed[k]);
        for (unsigned k = 0; k < RILL_HTTP_STATUSES / 100; k++)
            sums->ended += rill_http_stats_ended(http, k);
        sums->in_flight += rill_http_stats_in_flight(http);
        sums->took += rill_stat_read(&http->took_us.total);
        sums->turns += rill_stat_read(&loop->turns);
        rill_histogram_quantile(&http->took_us, 0.99);
        rill_histogram_quantile(&loop->turn_us, 0.99);
        rill_histogram_mean(&loop->post_delay_us);
    }
}

static void *reader_run(void *arg)
{
    struct sums before = {.open = 0};
    (void)arg;
    while (!LOAD(done)) {
        struct sums now;
        sum(&now);
        MUST(now.adopted >= before.adopted && now.ended >= before.ended && now.out >= before.out &&
             now.turns >= before.turns && now.ran >= before.ran);
        MUST(now.open <= CLIENTS * ROUNDS);
        before = now;
    }
    return NULL;
}

START_TEST(numbers_are_read_while_the_server_works)
{
    struct client clients[CLIENTS] = {{.sent = 0}};
    struct rill_admin *admin = NULL;
    struct sums sums;
    pthread_t reader;
    char *bytes = malloc(1 << 20);
    size_t sent = 0;
    int error;
    make((unsigned)_i);
    admin =
        rill_admin_start(&(struct rill_admin_config){.listen = "127.0.0.1:0", .server = net, .http = server}, &error);
    MUST(admin && bytes);
    MUST(pthread_create(&reader, NULL, reader_run, NULL) == 0); /* before the server runs: it reads that, too */
    ask_once(rill_admin_port(admin), "/metrics", "200", bytes, 1 << 20, &sent);
    ask_once(rill_admin_port(admin), "/health", "503", bytes, 1 << 20, &sent);
    MUST(strstr(bytes, "\r\n\r\nstarting"));
    MUST(pthread_create(&server_thread, NULL, serve, NULL) == 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        MUST(pthread_create(&clients[i].thread, NULL, client_run, &clients[i]) == 0);
    for (unsigned i = 0; i < 20; i++)
        ask_once(rill_admin_port(admin), i % 2 ? "/metrics" : "/status.json", "200", bytes, 1 << 20, &sent);
    size_t received = 0;
    sent = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        sent += clients[i].sent;
        received += clients[i].received;
    }
    do
        sum(&sums);
    while (sums.open > 0); /* what the clients have seen the end of ends here soon */
    ck_assert_uint_eq(sums.adopted, CLIENTS * ROUNDS);
    ck_assert_uint_eq(sums.closed, CLIENTS * ROUNDS);
    ck_assert_uint_eq(sums.ended, CLIENTS * ROUNDS);
    ck_assert_uint_eq(sums.in_flight, 0);
    ck_assert_uint_eq(sums.ran, CLIENTS * ROUNDS / 3);
    ck_assert_uint_eq(sums.in, sent);
    ck_assert_uint_eq(sums.out, received);
    STORE(done, true);
    pthread_join(reader, NULL);
    stop_and_free(admin);
    free(bytes);
}
END_TEST

static void *stalled_client(void *arg)
{
    char bytes[4096];
    size_t sent = 0;
    (void)arg;
    ask_once(rill_server_port(net, 0), "/stall", "200", bytes, sizeof bytes, &sent);
    return NULL;
}

START_TEST(the_admin_server_answers_while_all_reactors_stand_still)
{
    pthread_t clients[THREADS];
    char *bytes = malloc(1 << 20);
    size_t sent = 0;
    int error;
    make(THREADS);
    struct rill_admin *admin =
        rill_admin_start(&(struct rill_admin_config){.listen = "127.0.0.1:0", .server = net, .http = server}, &error);
    MUST(admin && bytes);
    MUST(pthread_create(&server_thread, NULL, serve, NULL) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        MUST(pthread_create(&clients[i], NULL, stalled_client, NULL) == 0);
    while (LOAD(stalled) < THREADS)
        usleep(1000);
    ask_once(rill_admin_port(admin), "/health", "200", bytes, 1 << 20, &sent);
    ask_once(rill_admin_port(admin), "/metrics", "200", bytes, 1 << 20, &sent);
    ck_assert_ptr_nonnull(strstr(bytes, "\nrill_http_requests_in_flight{loop=\"reactor-0\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(bytes, "\nrill_http_requests_in_flight{loop=\"reactor-1\"} 1\n"));
    rill_http_server_stop(server, false);
    while (!rill_server_is_stopping(net))
        usleep(1000);
    ask_once(rill_admin_port(admin), "/health", "503", bytes, 1 << 20, &sent);
    ck_assert_ptr_nonnull(strstr(bytes, "\r\n\r\ndraining"));
    MUST(write(gate[1], "ab", THREADS) == THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(clients[i], NULL);
    stop_and_free(admin);
    free(bytes);
}
END_TEST

START_TEST(an_admin_server_that_cannot_start_leaves_nothing)
{
    int error;
    make(1);
    rill_log_set_level(RILL_LOG_OFF);
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%u", rill_server_port(net, 0));
    ck_assert_ptr_null(rill_admin_start(&(struct rill_admin_config){.listen = taken, .server = net}, &error));
    ck_assert_int_eq(error, -EADDRINUSE);
    ck_assert_ptr_null(rill_admin_start(&(struct rill_admin_config){.listen = "nonsense", .server = net}, &error));
    ck_assert_int_eq(error, -EINVAL);
    rill_admin_stop(NULL);
    MUST(pthread_create(&server_thread, NULL, serve, NULL) == 0);
    stop_and_free(NULL);
}
END_TEST

START_TEST(addresses_of_one_word_are_of_this_machine)
{
    static const char *const cases[][2] = {{"9000", "127.0.0.1:9000"},
                                           {":9000", "127.0.0.1:9000"},
                                           {"0.0.0.0:1", "0.0.0.0:1"},
                                           {"[::1]:1", "[::1]:1"},
                                           {"unix:/run/admin", "unix:/run/admin"}};
    static const char *const wrong[] = {"", ":", "65536", ":x", "host", "1.2.3.4"};
    char address[64], small[8];
    const char *why = NULL;
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        ck_assert_int_eq(rill_admin_address(cases[i][0], address, sizeof address, &why), 0);
        ck_assert_str_eq(address, cases[i][1]);
    }
    for (unsigned i = 0; i < rill_array_length(wrong); i++) {
        why = NULL;
        ck_assert_int_eq(rill_admin_address(wrong[i], address, sizeof address, &why), -EINVAL);
        ck_assert_ptr_nonnull(why);
    }
    ck_assert_int_eq(rill_admin_address("9000", small, sizeof small, &why), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_stats");
    TCase *tcase = tcase_create("mt_stats");
    tcase_add_loop_test(tcase, numbers_are_read_while_the_server_works, 0, THREADS + 1);
    tcase_add_test(tcase, the_admin_server_answers_while_all_reactors_stand_still);
    tcase_add_test(tcase, an_admin_server_that_cannot_start_leaves_nothing);
    tcase_add_test(tcase, addresses_of_one_word_are_of_this_machine);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
