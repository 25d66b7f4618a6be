/* test_address_counts.c - how many connections an address has: limits, what one address is, memory that is lacking, and
 * the table held against a plain one. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/address_counts_internal.h"
#include "support/addresses.h"
#include "support/faulty_sys.h"
#include "support/random.h"
#include "support/run_suite.h"
#include "support/test_log.h"
#include <check.h>
#include <signal.h>
#include <stdio.h>

static void set_up(void)
{
    faulty_sys_reset();
    test_log_open();
}

static void tear_down(void)
{
    test_log_close();
}

static bool take(struct rill_address_counts *counts, const char *text)
{
    struct rill_ip peer = ip_from_text(text);
    return rill_address_counts_take(counts, &peer);
}

static void release(struct rill_address_counts *counts, const char *text)
{
    struct rill_ip peer = ip_from_text(text);
    rill_address_counts_release(counts, &peer);
}

START_TEST(each_has_as_many_as_it_may)
{
    unsigned limit = 1 + (unsigned)_i;
    struct rill_address_counts *counts = rill_address_counts_new(limit, 100);
    for (unsigned i = 0; i < limit; i++)
        ck_assert(take(counts, "10.0.0.1"));
    for (int i = 0; i < 3; i++)
        ck_assert(!take(counts, "10.0.0.1"));
    ck_assert(take(counts, "10.0.0.2")); /* another is not touched by it */
    ck_assert_uint_eq(rill_address_counts_size(counts), 2);
    for (int i = 0; i < 5; i++) { /* one goes, one comes */
        release(counts, "10.0.0.1");
        ck_assert(take(counts, "10.0.0.1"));
        ck_assert(!take(counts, "10.0.0.1"));
    }
    for (unsigned i = 0; i < limit; i++)
        release(counts, "10.0.0.1");
    ck_assert_uint_eq(rill_address_counts_size(counts), 1);
    release(counts, "10.0.0.2");
    ck_assert_uint_eq(rill_address_counts_size(counts), 0);
    rill_address_counts_free(counts);
}
END_TEST

/* A and B have one limit between them, or each its own. */
START_TEST(what_one_address_is)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"10.0.0.1", "10.0.0.2", false},
        {"10.0.0.1", "10.0.1.1", false},
        {"10.0.0.1", "11.0.0.1", false},
        {"10.0.0.1", "::ffff:10.0.0.1", true}, /* the same host, seen by a socket of IPv6 */
        {"10.0.0.1", "::ffff:10.0.0.2", false},
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true}, /* one network of 64 bits */
        {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
        {"2001:db8:1:2::1", "2001:db8:0:2::1", false},
        {"2001:db8:1:2::1", "2001:db9:1:2::1", false},
        {"2001:db8:1:2::1", "2002:db8:1:2::1", false},
        {"a00:1::", "10.0.0.1", false}, /* the same first four bytes */
        {"::1", "::2", true},
        {"::1", "0.0.0.0", false},
    };
    struct rill_address_counts *counts = rill_address_counts_new(1, 100);
    ck_assert(take(counts, cases[_i].a));
    ck_assert(!take(counts, cases[_i].a));
    ck_assert_int_eq(take(counts, cases[_i].b), !cases[_i].same);
    ck_assert_uint_eq(rill_address_counts_size(counts), cases[_i].same ? 1 : 2);
    release(counts, cases[_i].same ? cases[_i].b : cases[_i].a);
    ck_assert(take(counts, cases[_i].a));
    rill_address_counts_free(counts);
}
END_TEST

START_TEST(ports_do_not_matter)
{
    struct rill_address_counts *counts = rill_address_counts_new(2, 100);
    struct rill_ip peer = ip_from_text("10.0.0.1");
    for (uint16_t port = 1; port < 100; port++) {
        peer.port = port;
        ck_assert_int_eq(rill_address_counts_take(counts, &peer), port <= 2);
    }
    for (uint16_t port = 98; port < 100; port++) {
        peer.port = port;
        rill_address_counts_release(counts, &peer);
    }
    ck_assert_uint_eq(rill_address_counts_size(counts), 0);
    rill_address_counts_free(counts);
}
END_TEST

START_TEST(peers_of_unix_sockets_are_not_limited)
{
    struct rill_address_counts *counts = rill_address_counts_new(1, 100);
    struct rill_ip peer = {.version = 0};
    for (int i = 0; i < 10; i++)
        ck_assert(rill_address_counts_take(counts, &peer));
    ck_assert_uint_eq(rill_address_counts_size(counts), 0);
    for (int i = 0; i < 10; i++)
        rill_address_counts_release(counts, &peer);
    rill_address_counts_free(counts);
}
END_TEST

START_TEST(without_a_table_there_is_nothing_to_do)
{
    struct rill_ip peer = ip_from_text("10.0.0.1");
    rill_address_counts_release(NULL, &peer);
    rill_address_counts_free(NULL);
}
END_TEST

START_TEST(without_memory_who_is_new_is_refused)
{
    for (uint64_t k = 1; k <= 2; k++) {
        faulty_memory_fails_at(k);
        ck_assert_ptr_null(rill_address_counts_new(5, 100));
        ck_assert_uint_eq(faulty_sys.failed, 1);
        faulty_sys_reset();
    }
    struct rill_address_counts *counts = rill_address_counts_new(5, 100);
    ck_assert(take(counts, "10.0.0.1"));
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert(!take(counts, "10.0.0.2"));
    ck_assert(take(counts, "10.0.0.1")); /* who is in the table needs none */
    faulty_sys.error[FAULTY_MEMORY] = 0;
    ck_assert_uint_eq(rill_address_counts_size(counts), 1);
    ck_assert(take(counts, "10.0.0.2"));
    rill_address_counts_free(counts);
    ck_assert_int_eq(test_log_lines("connections"), 0); /* that was no limit */
}
END_TEST

START_TEST(who_is_refused_is_logged_now_and_then)
{
    struct rill_address_counts *counts = rill_address_counts_new(1, 100);
    ck_assert(take(counts, "10.0.0.1"));
    for (int i = 0; i < 5; i++)
        ck_assert(!take(counts, "10.0.0.1"));
    ck_assert_int_eq(test_log_lines("10.0.0.1 has its 1 connections"), 1);
    /* One that comes and goes, and others, cannot make a line each. */
    ck_assert(take(counts, "10.0.0.2"));
    for (int i = 0; i < 5; i++) {
        ck_assert(!take(counts, "10.0.0.2"));
        release(counts, "10.0.0.1");
        ck_assert(take(counts, "10.0.0.1"));
        ck_assert(!take(counts, "10.0.0.1"));
    }
    ck_assert_int_eq(test_log_lines("has its 1 connections"), 1);
    faulty_sys_forward(1000);
    for (int i = 0; i < 5; i++)
        ck_assert(!take(counts, "10.0.0.2")); /* not told yet, and told once */
    ck_assert_int_eq(test_log_lines("10.0.0.2 has its 1 connections"), 1);
    ck_assert_int_eq(test_log_lines("has its 1 connections"), 2);
    faulty_sys_forward(1000);
    for (int i = 0; i < 5; i++)
        ck_assert(!take(counts, "10.0.0.2"));
    ck_assert_int_eq(test_log_lines("has its 1 connections"), 2);
    rill_address_counts_free(counts);
}
END_TEST

/* Random comings and goings, of few addresses and of many, beside an array that says what should be. */
START_TEST(counts_as_a_plain_table_does)
{
    enum { MOST = 5000, STEPS = 60000 };
    static unsigned plain[MOST];
    static const unsigned addresses[] = {1, 3, 100, MOST}, limits[] = {1, 2, 7, 1000};
    struct test_random random = {(uint64_t)_i + 1};
    unsigned number = addresses[_i / 4], limit = limits[_i % 4], in_use = 0, wrong = 0;
    rill_log_set_level(RILL_LOG_OFF);
    memset(plain, 0, sizeof plain);
    struct rill_address_counts *counts = rill_address_counts_new(limit, _i % 2 ? 1 : 1 << 20);
    for (int step = 0; step < STEPS; step++) {
        unsigned at = (unsigned)test_random_below(&random, number);
        struct rill_ip peer = {.version = at % 2 ? 4 : 6};
        memcpy(peer.bytes + at % 2 * 2, &(uint16_t){htons((uint16_t)at)},
               2);                                   /* IPv6: the first two bytes, IPv4: the last */
        peer.bytes[at % 2 ? 5 : 15] = (uint8_t)step; /* no part of either's identity */
        if (test_random_below(&random, 5) < 3) {
            wrong += rill_address_counts_take(counts, &peer) != (plain[at] < limit);
            in_use += plain[at] == 0;
            plain[at] += plain[at] < limit;
        } else if (plain[at] > 0) {
            rill_address_counts_release(counts, &peer);
            in_use -= --plain[at] == 0;
        }
        if (step % 1000 == 0)
            ck_assert_uint_eq(rill_address_counts_size(counts), in_use);
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(rill_address_counts_size(counts), in_use);
    rill_address_counts_free(counts);
}
END_TEST

/* One that closes more than it had is a fault here, which would let somebody else have too many. */
START_TEST(more_is_never_given_back_than_was_taken)
{
    struct rill_address_counts *counts = rill_address_counts_new(1, 100);
    ck_assert(take(counts, "10.0.0.1"));
    test_log_close(); /* nobody comes back from here */
    rill_log_set_level(RILL_LOG_OFF);
    release(counts, "10.0.0.2");
    rill_address_counts_free(counts);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("address counts");
    TCase *all = tcase_create("address counts");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_loop_test(all, each_has_as_many_as_it_may, 0, 5);
    tcase_add_loop_test(all, what_one_address_is, 0, 13);
    tcase_add_test(all, ports_do_not_matter);
    tcase_add_test(all, peers_of_unix_sockets_are_not_limited);
    tcase_add_test(all, without_a_table_there_is_nothing_to_do);
    tcase_add_test(all, without_memory_who_is_new_is_refused);
    tcase_add_test(all, who_is_refused_is_logged_now_and_then);
    tcase_add_loop_test(all, counts_as_a_plain_table_does, 0, 16);
    tcase_add_test_raise_signal(all, more_is_never_given_back_than_was_taken, SIGABRT);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
