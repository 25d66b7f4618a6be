/* test_mt_admission.c - a server that is asked for more than it can even refuse: whose requests it leaves unread, in
 * what order they are let in, and that nobody of them is forgotten. When the loop is as far behind as that is for the
 * test to say, so that nothing here depends on how fast anything is. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/http_stats.h"
#include "rill/http/server.h"
#include "rill/net/conn_internal.h"
#include "rill/net/server.h"
#include "rill/tests/support/run_suite.h"
#include "support/http_response.h"
#include <arpa/inet.h>
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CLIENTS = 40,
    UNDER_WAY = 3,
    MOST_REFUSED = 2, /* in a turn */
    REFUSED = MOST_REFUSED + 1,
    PATIENCE_MS = 60000,
    NEVER = 0, /* budget: only who is answered lets somebody in */
};

#define USUAL ((uint64_t)625000)
#define PLENTY ((uint64_t)1000000000)

static struct rill_router *router;
static struct rill_http_server *server;
static pthread_t server_thread;
static struct rill_loop *loop;
static struct rill_http_server_config config;
static struct client {
    int fd;
    size_t length;
    char bytes[4096];
} clients[CLIENTS];

/* the loop's */
static bool gate_open;
static struct rill_exchange_id waiting[UNDER_WAY];
static unsigned waiting_count;

#define AWAIT(condition)                                                                                               \
    do {                                                                                                               \
        for (int waits = 0; !(condition); waits++) {                                                                   \
            ck_assert_msg(waits < PATIENCE_MS / 2, "waited in vain: %s", #condition);                                  \
            usleep(2000);                                                                                              \
        }                                                                                                              \
    } while (0)

/* --- the server --- */

static void quick(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "quick");
}

/* Waits until the gate is open. */
static void work(struct rill_exchange *x, void *arg)
{
    (void)arg;
    if (gate_open)
        rill_exchange_reply_text(x, 200, "work");
    else
        waiting[waiting_count++] = rill_exchange_id(x);
}

static void run(void *arg)
{
    (void)arg;
}

static void done(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "pool");
}

static void pool(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_work(x, &(struct rill_work){.run = run, .done = done});
}

static void *serve(void *arg)
{
    (void)arg;
    ck_assert_int_eq(rill_http_server_run(server, false), 0);
    return NULL;
}

/* --- orders to the loop --- */

struct order {
    struct rill_task task;
    void (*fn)(struct rill_net *net);
    bool done; /* atomic */
};

static void carry_out(struct rill_task *task)
{
    struct order *order = rill_container_of(task, struct order, task);
    order->fn(rill_net_of(loop));
    __atomic_store_n(&order->done, true, __ATOMIC_SEQ_CST);
}

static void post(struct order *order, void (*fn)(struct rill_net *net))
{
    *order = (struct order){.task.run = carry_out, .fn = fn};
    ck_assert_int_eq(rill_loop_post(loop, &order->task), 0);
}

static void on_loop(void (*fn)(struct rill_net *net))
{
    struct order order;
    post(&order, fn);
    AWAIT(__atomic_load_n(&order.done, __ATOMIC_SEQ_CST));
}

static uint64_t budget_ns;
static bool sent; /* atomic */
static unsigned closed;
static bool is_on;

static void adjust(struct rill_net *net)
{
    net->admission.most_refused = MOST_REFUSED;
    net->admission.budget_ns = budget_ns;
}

static void open_gate(struct rill_net *net)
{
    (void)net;
    gate_open = true;
    for (unsigned i = 0; i < waiting_count; i++) {
        struct rill_exchange *x = rill_exchange_find(loop, waiting[i]);
        if (x)
            rill_exchange_reply_text(x, 200, "work");
    }
}

static void wait_for_all(struct rill_net *net)
{
    (void)net;
    while (!__atomic_load_n(&sent, __ATOMIC_SEQ_CST))
        usleep(500);
}

static void make_room(struct rill_net *net)
{
    closed = rill_net_make_room(net, 64, true);
}

static void look(struct rill_net *net)
{
    is_on = net->admission.on;
}

static bool is_over(void)
{
    on_loop(look);
    return !is_on;
}

static uint64_t held_back(void)
{
    return rill_stat_read(&rill_server_net_stats(rill_http_server_net(server), 0)->held_back_now);
}

static uint64_t refused(void)
{
    return rill_stat_read(&rill_http_server_stats(server, 0)->refused);
}

/* --- the clients --- */

static void dial(struct client *client)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)rill_server_port(rill_http_server_net(server), 0));
    client->length = 0;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(client->fd, 0);
    ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
}

static void ask(const struct client *client, const char *path)
{
    char text[100];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    ck_assert_int_eq(send(client->fd, text, (size_t)length, MSG_NOSIGNAL), length);
}

/* The status of the next response; 0: the connection has ended before its first byte. */
static unsigned next_status(struct client *client)
{
    for (;;) {
        struct http_response response = {0};
        enum http_response_result result = http_response_read(client->bytes, client->length, false, false, &response);
        ck_assert_msg(result != HTTP_RESPONSE_MALFORMED, "%s", response.why);
        if (result == HTTP_RESPONSE_WHOLE) {
            unsigned status = response.status;
            client->length -= response.length;
            memmove(client->bytes, client->bytes + response.length, client->length);
            http_response_free(&response);
            return status;
        }
        http_response_free(&response);
        struct pollfd ready = {.fd = client->fd, .events = POLLIN};
        ck_assert_msg(poll(&ready, 1, PATIENCE_MS) == 1, "nobody answers");
        ssize_t got = recv(client->fd, client->bytes + client->length, sizeof client->bytes - client->length, 0);
        if (got <= 0) {
            ck_assert_uint_eq(client->length, 0);
            return 0;
        }
        client->length += (size_t)got;
    }
}

static void hang_up(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

/* --- what each test begins and ends with --- */

static void set_up(void)
{
    static const struct rill_route routes[] = {{"GET", "/quick", quick, NULL},
                                               {"GET", "/work", work, NULL},
                                               {"GET", "/pool", pool, NULL},
                                               {NULL, NULL, NULL, NULL}};
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    router = rill_router_new();
    ck_assert_int_eq(rill_router_add_all(router, routes), 0);
    config = (struct rill_http_server_config){
        .router = router,
        .idle_timeout_ms = 600000,
        .header_timeout_ms = 600000,
        .max_requests = UNDER_WAY,
        .net = {.listen = "127.0.0.1:0", .threads = 1, .workers = 1, .worker_queue = 2}};
    gate_open = false;
    waiting_count = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i].fd = -1;
}

static void start(uint64_t budget)
{
    int error;
    server = rill_http_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, serve, NULL), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        dial(&clients[i]);
        ask(&clients[i], "/quick");
        ck_assert_uint_eq(next_status(&clients[i]), 200);
    }
    loop = rill_server_loop(rill_http_server_net(server), 0);
    budget_ns = budget;
    on_loop(adjust);
}

/* All ask for work, and the loop finds all of it at once. */
static void all_ask(void)
{
    struct order order;
    __atomic_store_n(&sent, false, __ATOMIC_SEQ_CST);
    post(&order, wait_for_all);
    for (unsigned i = 0; i < CLIENTS; i++)
        ask(&clients[i], "/work");
    __atomic_store_n(&sent, true, __ATOMIC_SEQ_CST);
    AWAIT(__atomic_load_n(&order.done, __ATOMIC_SEQ_CST));
}

/* The same, until all that is not under way is held back, but for those that showed how far behind the loop is. */
static void fill(void)
{
    all_ask();
    AWAIT(held_back() == CLIENTS - UNDER_WAY - REFUSED);
    ck_assert_uint_eq(refused(), REFUSED);
}

/* Reads everybody's answer. Returns how many were refused; all others were not. */
static unsigned read_all(void)
{
    unsigned unavailable = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        unsigned status = next_status(&clients[i]);
        ck_assert_msg(status == 200 || status == 503, "client %u: %u", i, status);
        unavailable += status == 503;
    }
    return unavailable;
}

static void join(void)
{
    pthread_join(server_thread, NULL);
    ck_assert_uint_eq(held_back(), 0);
    rill_http_server_free(server);
    rill_router_free(router);
    for (unsigned i = 0; i < CLIENTS; i++)
        hang_up(&clients[i]);
}

static void stop(void)
{
    rill_http_server_stop(server, true);
    join();
}

/* --- the tests --- */

START_TEST(for_each_that_is_answered_one_is_let_in)
{
    static const enum rill_backend backends[] = {RILL_BACKEND_EPOLL, RILL_BACKEND_POLL, RILL_BACKEND_SELECT};
    config.net.backend = backends[_i];
    start(NEVER);
    fill();
    struct client late = {.fd = -1}; /* its first request is one as any other */
    dial(&late);
    ask(&late, "/quick");
    AWAIT(held_back() == CLIENTS - UNDER_WAY - REFUSED + 1);
    on_loop(open_gate);
    ck_assert_uint_eq(read_all(), REFUSED);
    ck_assert_uint_eq(next_status(&late), 200);
    AWAIT(is_over());
    for (unsigned i = 0; i < CLIENTS; i++) { /* and all is as before */
        ask(&clients[i], "/work");
        ck_assert_uint_eq(next_status(&clients[i]), 200);
    }
    hang_up(&late);
    stop();
}
END_TEST

START_TEST(when_nobody_is_answered_everybody_is_refused_in_time)
{
    start(PLENTY);
    all_ask();
    for (unsigned i = 0; i < CLIENTS - UNDER_WAY; i++) { /* whoever they are */
        struct pollfd ready[CLIENTS];
        for (unsigned k = 0; k < CLIENTS; k++)
            ready[k] = (struct pollfd){.fd = clients[k].fd, .events = POLLIN};
        ck_assert_int_gt(poll(ready, CLIENTS, PATIENCE_MS), 0);
        unsigned k = 0;
        while (!ready[k].revents)
            k++;
        ck_assert_uint_eq(next_status(&clients[k]), 503);
        hang_up(&clients[k]);
    }
    AWAIT(is_over());
    ck_assert_uint_ge(rill_stat_read(&rill_server_net_stats(rill_http_server_net(server), 0)->held_back), 1);
    stop();
}
END_TEST

START_TEST(who_is_held_back_does_not_count_as_idle)
{
    config.idle_timeout_ms = 300;
    start(NEVER);
    all_ask();
    AWAIT(refused() == CLIENTS - UNDER_WAY); /* when their time is over they are read */
    on_loop(open_gate);
    ck_assert_uint_eq(read_all(), CLIENTS - UNDER_WAY);
    stop();
}
END_TEST

START_TEST(nor_is_it_closed_to_make_room)
{
    start(NEVER);
    fill();
    usleep(400000); /* longer than anybody is left alone */
    on_loop(make_room);
    ck_assert_uint_eq(closed, REFUSED); /* they are idle by now */
    on_loop(open_gate);
    ck_assert_uint_eq(read_all(), REFUSED);
    stop();
}
END_TEST

START_TEST(a_draining_server_answers_them)
{
    start(NEVER);
    fill();
    rill_http_server_stop(server, false);
    AWAIT(refused() == CLIENTS - UNDER_WAY);
    on_loop(open_gate);
    ck_assert_uint_eq(read_all(), CLIENTS - UNDER_WAY);
    for (unsigned i = 0; i < CLIENTS; i++)
        ck_assert_uint_eq(next_status(&clients[i]), 0);
    join();
}
END_TEST

START_TEST(they_may_end_with_the_server)
{
    start(NEVER);
    fill();
    stop();
}
END_TEST

START_TEST(those_who_leave_are_forgotten)
{
    start(NEVER);
    fill();
    for (unsigned i = 0; i < CLIENTS; i += 2)
        hang_up(&clients[i]);
    on_loop(open_gate);
    for (unsigned i = 1; i < CLIENTS; i += 2) {
        unsigned status = next_status(&clients[i]);
        ck_assert(status == 200 || status == 503);
    }
    AWAIT(is_over());
    AWAIT(rill_stat_read(&rill_server_net_stats(rill_http_server_net(server), 0)->open) == CLIENTS / 2);
    stop();
}
END_TEST

/* Who goes on asking as soon as he is answered, 503 or not, for a while. */
static void *insist(void *arg)
{
    struct client *client = arg;
    for (unsigned i = 0; i < 200; i++) {
        ask(client, i % 3 ? "/pool" : "/quick");
        unsigned status = next_status(client);
        ck_assert_msg(status == 200 || status == 503, "%u", status);
    }
    return NULL;
}

START_TEST(many_loops_and_clients_at_once)
{
    pthread_t threads[CLIENTS];
    config.net.threads = 2;
    config.max_requests = 0;
    start(_i ? PLENTY : USUAL);
    loop = rill_server_loop(rill_http_server_net(server), 1);
    on_loop(adjust);
    for (unsigned i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, insist, &clients[i]), 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admission");
    TCase *tcase = tcase_create("admission");
    tcase_add_checked_fixture(tcase, set_up, NULL);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, for_each_that_is_answered_one_is_let_in, 0, 3);
    tcase_add_test(tcase, when_nobody_is_answered_everybody_is_refused_in_time);
    tcase_add_test(tcase, who_is_held_back_does_not_count_as_idle);
    tcase_add_test(tcase, nor_is_it_closed_to_make_room);
    tcase_add_test(tcase, a_draining_server_answers_them);
    tcase_add_test(tcase, they_may_end_with_the_server);
    tcase_add_test(tcase, those_who_leave_are_forgotten);
    tcase_add_loop_test(tcase, many_loops_and_clients_at_once, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
