/* test_cache_cost.c - what rill-cache's requests cost once all is warm, counted at the seam to the system, over a real
 * socket. */
#include "rill/apps/cache/session.h"
#include "rill/core/sys.h"
#include "support/fake_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

static struct rill_cache cache;
static struct rill_loop *loop;
static struct rill_conn_config config;
static int client;

static void setup(void)
{
    int error, pair[2];
    fake_sys_reset(1000000);
    memset(&cache, 0, sizeof cache);
    cache.store = rill_store_new(
        &(struct rill_store_config){.memory_bytes = 8 << 20, .max_item_bytes = 1 << 20, .threads = 1}, &error);
    loop = rill_loop_new(&(struct rill_loop_config){.name = "cost"}, &error);
    ck_assert_ptr_nonnull(loop);
    config = (struct rill_conn_config){
        .handler = &rill_cache_handler, .arg = &cache, .max_input_bytes = RILL_CACHE_MAX_INPUT};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    client = pair[1];
    ck_assert_int_eq(rill_conn_adopt(loop, pair[0], NULL, &config), 0);
}

static void teardown(void)
{
    close(client);
    rill_loop_free(loop);
    rill_store_free(cache.store);
}

/* Asks REQUEST, which has come in whole when the loop turns, and is told REPLY (NULL: whatever). */
static void ask(const char *request, const char *reply)
{
    static char bytes[65536];
    ck_assert_int_eq(write(client, request, strlen(request)), (ssize_t)strlen(request));
    fake_sys.now_ms++;
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
    ssize_t got = read(client, bytes, sizeof bytes - 1);
    ck_assert_int_gt(got, 0);
    bytes[got] = '\0';
    if (reply)
        ck_assert_str_eq(bytes, reply);
}

START_TEST(a_get_costs_one_recv_and_one_send)
{
    static const char *const requests[] = {"get k\r\n", "gets a k b\r\n", "gat 100 k\r\n", "get none\r\n",
                                           "get k\r\nget k\r\nincr n 1\r\ntouch k 10\r\nget a b k\r\nversion\r\n"};
    char value[200];
    snprintf(value, sizeof value, "set k 0 0 100\r\n%0100d\r\nset n 0 0 20\r\n%020d\r\n", 1, 1);
    cache.version = "1";
    ask(value, "STORED\r\nSTORED\r\n");
    for (unsigned i = 0; i < rill_array_length(requests); i++) {
        ask(requests[i], NULL);
        struct faulty_sys before = faulty_sys;
        uint64_t timer_orders = fake_sys.timer_orders;
        for (unsigned round = 0; round < 20; round++)
            ask(requests[i], NULL);
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV] - before.calls[FAULTY_RECV], 20);
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND] - before.calls[FAULTY_SEND], 20);
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_MEMORY], before.calls[FAULTY_MEMORY]);
        ck_assert_uint_eq(fake_sys.timer_orders, timer_orders);
    }
}
END_TEST

START_TEST(a_set_costs_its_item)
{
    ask("set k 0 0 5\r\nhello\r\n", "STORED\r\n");
    struct faulty_sys before = faulty_sys;
    for (unsigned round = 0; round < 20; round++)
        ask("set k 0 0 5\r\nhello\r\n", "STORED\r\n");
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV] - before.calls[FAULTY_RECV], 20);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND] - before.calls[FAULTY_SEND], 20);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_MEMORY] - before.calls[FAULTY_MEMORY], 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache cost");
    TCase *all = tcase_create("cost");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_get_costs_one_recv_and_one_send);
    tcase_add_test(all, a_set_costs_its_item);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
