/* test_mt_address_rates.c - token buckets by address: what is at once and what is in the long run, what one address is,
 * a full table, and several threads at one bucket. Time is what the test says. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/address_rates.h"
#include "support/addresses.h"
#include "support/random.h"
#include "support/test_log.h"
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define START (UINT64_C(1000) * SECOND)

enum { ADDRESSES = 16384, THREADS = 4 };

static void set_up(void)
{
    test_log_open();
}

static void tear_down(void)
{
    test_log_close();
}

/* The I-th of many IPv4 addresses. */
static struct rill_ip nth(unsigned i)
{
    struct rill_addr addr = {.length = 0};
    addr.socket.v4.sin_family = AF_INET;
    addr.socket.v4.sin_addr.s_addr = htonl(0x0a000000 + i);
    return rill_ip_of(&addr);
}

static struct rill_address_rates *make(unsigned per_second, unsigned burst)
{
    struct rill_address_rates *rates = rill_address_rates_new(&(struct rill_rate){per_second, burst}, "things");
    ck_assert_ptr_nonnull(rates);
    return rates;
}

static uint64_t take(struct rill_address_rates *rates, const char *text, uint64_t now_ns)
{
    struct rill_ip peer = ip_from_text(text);
    return rill_address_rates_take(rates, &peer, now_ns);
}

START_TEST(a_burst_and_then_one_at_a_time)
{
    struct rill_address_rates *rates = make(10, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(take(rates, "192.0.2.1", START), 0);
    ck_assert_uint_eq(take(rates, "192.0.2.1", START), SECOND / 10);
    ck_assert_uint_eq(take(rates, "192.0.2.1", START + SECOND / 20), SECOND / 20); /* in vain, and it costs nothing */
    ck_assert_uint_eq(take(rates, "192.0.2.1", START + SECOND / 10), 0);
    ck_assert_uint_gt(take(rates, "192.0.2.1", START + SECOND / 10), 0);
    uint64_t later = START + SECOND * 100; /* a bucket holds no more than a burst */
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(take(rates, "192.0.2.1", later), 0);
    ck_assert_uint_gt(take(rates, "192.0.2.1", later), 0);
    rill_address_rates_free(rates);
}
END_TEST

START_TEST(nobody_gets_more_in_the_long_run)
{
    struct test_random random = {1};
    for (int round = 0; round < 50; round++) {
        unsigned per_second = 1 + (unsigned)test_random_below(&random, 1000);
        unsigned burst = 1 + (unsigned)test_random_below(&random, 100);
        struct rill_address_rates *rates = make(per_second, burst);
        uint64_t now = START, got = 0;
        for (int i = 0; i < 5000; i++) {
            now += test_random_below(&random, 2 * SECOND / per_second);
            got += take(rates, "192.0.2.1", now) == 0;
        }
        uint64_t fair = (now - START) / (SECOND / per_second);
        ck_assert_uint_le(got, fair + burst);
        rill_address_rates_free(rates);
    }
}
END_TEST

START_TEST(addresses_have_buckets_of_their_own)
{
    struct rill_address_rates *rates = make(1, 1);
    ck_assert_uint_eq(take(rates, "192.0.2.1", START), 0);
    ck_assert_uint_gt(take(rates, "192.0.2.1", START), 0);
    ck_assert_uint_eq(take(rates, "192.0.2.2", START), 0);
    ck_assert_uint_eq(take(rates, "2001:db8:0:1::1", START), 0);
    ck_assert_uint_gt(take(rates, "2001:db8:0:1:ffff::2", START), 0); /* a customer's network is one */
    ck_assert_uint_eq(take(rates, "2001:db8:0:2::1", START), 0);
    for (int i = 0; i < 10; i++) /* of a Unix socket */
        ck_assert_uint_eq(rill_address_rates_take(rates, &(struct rill_ip){.version = 0}, START), 0);
    rill_address_rates_free(rates);
}
END_TEST

START_TEST(a_full_table_forgets_those_that_came_least)
{
    /* Somebody has used its bucket up, and far more addresses than there is room for come once each. */
    struct rill_address_rates *rates = make(1, 100);
    struct rill_ip busy = ip_from_text("192.0.2.1");
    while (rill_address_rates_take(rates, &busy, START) == 0)
        ;
    for (unsigned i = 0; i < 4 * ADDRESSES; i++) {
        struct rill_ip peer = nth(i);
        ck_assert_uint_eq(rill_address_rates_take(rates, &peer, START), 0);
    }
    ck_assert_uint_gt(rill_address_rates_take(rates, &busy, START), 0);
    rill_address_rates_free(rates);
}
END_TEST

START_TEST(refusals_are_logged_once)
{
    struct rill_address_rates *rates = make(1, 1);
    for (int i = 0; i < 100; i++)
        take(rates, "192.0.2.1", START + (uint64_t)i);
    take(rates, "192.0.2.2", START);
    take(rates, "192.0.2.2", START + 1); /* in the same second */
    ck_assert_int_eq(test_log_lines("192.0.2.1 makes more than 1 things a second"), 1);
    ck_assert_int_eq(test_log_lines("192.0.2.2"), 0);
    for (uint64_t now = START; now < START + 100 * SECOND; now += SECOND / 2) /* it goes on without a pause */
        take(rates, "192.0.2.1", now);
    ck_assert_int_le(test_log_lines("192.0.2.1 "), 101);
    int before = test_log_lines("192.0.2.1 ");
    take(rates, "192.0.2.1", START + 1000 * SECOND);
    take(rates, "192.0.2.1", START + 1000 * SECOND); /* another time */
    ck_assert_int_eq(test_log_lines("192.0.2.1 "), before + 1);
    rill_address_rates_free(rates);
}
END_TEST

START_TEST(rates_are_read)
{
    struct rill_rate rate;
    const char *wanted;
    ck_assert_int_eq(rill_rate_parse("10", &rate, &wanted), 0);
    ck_assert(rate.per_second == 10 && rate.burst == 0);
    ck_assert_int_eq(rill_rate_parse("1:1000000", &rate, &wanted), 0);
    ck_assert(rate.per_second == 1 && rate.burst == 1000000);
    static const char *const wrong[] = {"", "0", "x", "1:", "1:0", ":1", "1000001", "1:1000001", "1:2:3", "-1", "1.5"};
    for (unsigned i = 0; i < rill_array_length(wrong); i++) {
        ck_assert_int_eq(rill_rate_parse(wrong[i], &rate, &wanted), -EINVAL);
        ck_assert_ptr_nonnull(strstr(wanted, "RATE"));
    }
}
END_TEST

static struct rill_address_rates *shared;
static uint64_t granted; /* atomic */

static void *greedy(void *arg)
{
    struct rill_ip peer = ip_from_text("192.0.2.1");
    (void)arg;
    for (int i = 0; i < 20000; i++)
        if (rill_address_rates_take(shared, &peer, START) == 0)
            __atomic_fetch_add(&granted, 1, __ATOMIC_RELAXED);
    return NULL;
}

START_TEST(threads_share_a_bucket)
{
    pthread_t threads[THREADS];
    shared = make(1000, 30000);
    granted = 0;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, greedy, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(granted, 30000);
    rill_address_rates_free(shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("address_rates");
    TCase *tcase = tcase_create("rates");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_burst_and_then_one_at_a_time);
    tcase_add_test(tcase, nobody_gets_more_in_the_long_run);
    tcase_add_test(tcase, addresses_have_buckets_of_their_own);
    tcase_add_test(tcase, a_full_table_forgets_those_that_came_least);
    tcase_add_test(tcase, refusals_are_logged_once);
    tcase_add_test(tcase, rates_are_read);
    tcase_add_test(tcase, threads_share_a_bucket);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
