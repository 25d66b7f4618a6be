/* test_request_cost.c - what a request costs once all is warm, counted at the seam to the system, over a real socket.
 */
#include "rill/core/sys.h"
#include "rill/http/session_internal.h"
#include "rill/net/conn_internal.h"
#include "support/fake_sys.h"
#include "support/http_response.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

#define GET                                                                                                            \
    "GET /hello/you HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\nAccept: text/html,*/*;q=0.8\r\n"                \
    "Accept-Language: en\r\nCookie: a=b; c=d\r\n\r\n"

static struct rill_http_server server;
static struct rill_router *router;
static struct rill_loop *loop;
static struct rill_conn_config config;
static struct rill_conn *conn;
static int client;

static void hello(struct rill_exchange *x, void *arg)
{
    (void)arg;
    struct rill_slice name = rill_exchange_param(x, "name");
    rill_exchange_reply(x, 200, "text/plain", name.bytes, name.length);
}

static void take_conn(struct rill_conn *found, void *arg)
{
    (void)arg;
    conn = found;
}

static void setup(void)
{
    int error, pair[2];
    fake_sys_reset(1000000);
    memset(&server, 0, sizeof server);
    router = rill_router_new();
    ck_assert_int_eq(rill_router_add(router, "GET", "/hello/:name", hello, NULL), 0);
    ck_assert_int_eq(rill_http_server_configure(&server, &(struct rill_http_server_config){.router = router}), 0);
    loop = rill_loop_new(&(struct rill_loop_config){.name = "cost"}, &error);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(rill_http_loop_start(loop, &server), 0);
    config = (struct rill_conn_config){.handler = &rill_session_handler,
                                       .write_timeout_ms = server.config.net.write_timeout_ms,
                                       .max_input_bytes = server.config.net.max_input_bytes};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    client = pair[1];
    ck_assert_int_eq(rill_conn_adopt(loop, pair[0], NULL, &config), 0);
    rill_conn_each(loop, &config, take_conn, NULL);
    ck_assert_ptr_nonnull(conn);
}

static void teardown(void)
{
    close(client);
    rill_loop_free(loop);
    rill_router_free(router);
}

/* One exchange of COUNT pipelined requests; time goes on. */
static void ask(const char *requests, unsigned count)
{
    char bytes[16384];
    ck_assert_int_eq(write(client, requests, strlen(requests)), (ssize_t)strlen(requests));
    fake_sys.now_ms++;
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
    ssize_t got = read(client, bytes, sizeof bytes);
    ck_assert_int_gt(got, 0);
    size_t at = 0;
    while (count-- > 0) {
        struct http_response response;
        ck_assert_int_eq(http_response_read(bytes + at, (size_t)got - at, false, false, &response),
                         HTTP_RESPONSE_WHOLE);
        ck_assert_str_eq(response.content, "you");
        at += response.length;
        http_response_free(&response);
    }
    ck_assert_uint_eq(at, (size_t)got);
}

START_TEST(a_request_costs_one_recv_and_one_send)
{
    enum { ROUNDS = 50 };
    for (unsigned i = 0; i < 3; i++)
        ask(GET, 1);
    struct faulty_sys before = faulty_sys;
    uint64_t timer_orders = fake_sys.timer_orders;
    uint64_t timer_ms = conn->timer.deadline_ms;
    for (unsigned i = 0; i < ROUNDS; i++)
        ask(GET, 1);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_MEMORY], before.calls[FAULTY_MEMORY]);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV], before.calls[FAULTY_RECV] + ROUNDS);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], before.calls[FAULTY_SEND] + ROUNDS);
    ck_assert_uint_eq(fake_sys.timer_orders, timer_orders);
    ck_assert_uint_eq(conn->timer.deadline_ms, timer_ms); /* the deadline moves, the timer stays */
    ck_assert_uint_gt(conn->deadline_ms, timer_ms);
}
END_TEST

START_TEST(pipelined_requests_share_their_system_calls)
{
    static char sixteen[16 * sizeof(GET)];
    for (unsigned i = 0; i < 16; i++)
        strcat(sixteen, GET);
    for (unsigned i = 0; i < 3; i++)
        ask(sixteen, 16);
    struct faulty_sys before = faulty_sys;
    for (unsigned i = 0; i < 10; i++)
        ask(sixteen, 16);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_MEMORY], before.calls[FAULTY_MEMORY]);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV], before.calls[FAULTY_RECV] + 10);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], before.calls[FAULTY_SEND] + 10);
}
END_TEST

/* All that begin and end in one turn count as long as it takes; nothing of that costs a system call. */
START_TEST(requests_of_one_turn_count_together)
{
    const struct rill_http_stats *stats = rill_http_server_stats(&server, 0);
    ask(GET GET GET, 3);
    ck_assert_uint_eq(stats->begun, 3);
    ck_assert_uint_eq(stats->ended[200], 3);
    ck_assert_uint_eq(stats->took_us.total, 3);
    ck_assert_uint_eq(rill_loop_stats(loop)->turns, 1);
    ck_assert_int_eq(write(client, GET, 30), 30); /* and one of two turns takes the time between them, too */
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
    fake_sys.now_ms += 40;
    ck_assert_uint_eq(stats->took_us.total, 3);
    ask(&GET[30], 1);
    ck_assert_uint_eq(stats->took_us.total, 4);
    ck_assert_uint_eq(stats->took_us.sum, 41000);
}
END_TEST

/* What is kept is given back: an idle session holds no exchange, no input and no output. */
START_TEST(an_idle_session_holds_nothing)
{
    struct rill_session *session = rill_conn_user(conn);
    ask(GET, 1);
    ck_assert_ptr_null(session->x);
    ck_assert_ptr_null(conn->out);
    ck_assert_ptr_null(conn->held);
    ck_assert_int_eq(write(client, GET, 20), 20); /* a part of a request is kept */
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
    ck_assert_ptr_nonnull(session->x);
    ck_assert_ptr_nonnull(conn->held);
    ask(&GET[20], 1);
    ck_assert_ptr_null(session->x);
    ck_assert_ptr_null(conn->held);
    ck_assert_uint_le(sizeof(struct rill_session), 40);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("request_cost");
    TCase *tcase = tcase_create("request_cost");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_request_costs_one_recv_and_one_send);
    tcase_add_test(tcase, pipelined_requests_share_their_system_calls);
    tcase_add_test(tcase, requests_of_one_turn_count_together);
    tcase_add_test(tcase, an_idle_session_holds_nothing);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
