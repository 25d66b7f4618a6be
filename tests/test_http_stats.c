/* test_http_stats.c - which requests count as what, and how long they took, under a clock that the test sets. */
#include "rill/http/http_stats.h"
#include "support/fake_http.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdlib.h>

static struct fake_http web;
static struct fake_peer peer;
static const struct rill_http_stats *stats;

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a.example\r\n\r\n"

static void setup(void)
{
    fake_http_start(&web, NULL);
    peer = (struct fake_peer){.conn = NULL};
    fake_http_open(&web, &peer);
    stats = rill_http_server_stats(&web.server, 0);
    ck_assert_ptr_nonnull(stats);
    ck_assert_ptr_null(rill_http_server_stats(&web.server, 1));
    ck_assert_ptr_null(rill_http_server_stats(&web.server, RILL_LOOP_MAX));
}

static void teardown(void)
{
    if (peer.conn)
        fake_peer_reset(&peer);
    fake_http_settle(&web);
    fake_http_stop(&web);
    fake_peer_free(&peer);
}

static void say(const char *text)
{
    fake_peer_send(&peer, text, strlen(text));
    fake_http_settle(&web);
}

/* So many have ended with STATUS, which are all, and so many of them were answered. */
static void expect(unsigned status, uint64_t count, uint64_t answered)
{
    ck_assert_uint_eq(stats->ended[status], count);
    ck_assert_uint_eq(rill_http_stats_ended(stats, status / 100), count);
    ck_assert_uint_eq(stats->begun, count);
    ck_assert_uint_eq(stats->took_us.total, answered);
    ck_assert_uint_eq(rill_http_stats_in_flight(stats), 0);
}

START_TEST(each_request_counts_by_its_status)
{
    say(GET("/hello") GET("/hello") GET("/status/404") GET("/status/503") GET("/status/301") "nonsense\r\n\r\n");
    ck_assert_uint_eq(rill_http_stats_ended(stats, 2), 2);
    ck_assert_uint_eq(rill_http_stats_ended(stats, 3), 1);
    ck_assert_uint_eq(rill_http_stats_ended(stats, 4), 2);
    ck_assert_uint_eq(stats->ended[400], 1);
    ck_assert_uint_eq(stats->ended[404], 1);
    ck_assert_uint_eq(rill_http_stats_ended(stats, 5), 1);
    ck_assert_uint_eq(stats->begun, 6);
    ck_assert_uint_eq(rill_http_stats_in_flight(stats), 0);
    ck_assert_uint_eq(stats->took_us.total, 6);
    ck_assert_uint_eq(stats->took_us.sum, 0); /* no time has passed */
}
END_TEST

START_TEST(one_that_is_answered_later_is_in_flight_and_took_so_long)
{
    say(GET("/later/30"));
    ck_assert_uint_eq(rill_http_stats_in_flight(stats), 1);
    ck_assert_uint_eq(stats->took_us.total, 0);
    fake_http_pass(&web, 100);
    expect(200, 1, 1);
    ck_assert_uint_ge(stats->took_us.sum, 30000);
    ck_assert_uint_le(stats->took_us.sum, 40000);
}
END_TEST

/* From its first byte, however slowly the others come. */
START_TEST(a_slow_sender_takes_time)
{
    say("GET /he");
    fake_http_pass(&web, 200);
    ck_assert_uint_eq(rill_http_stats_in_flight(stats), 1);
    say("llo HTTP/1.1\r\nHost: a.example\r\n\r\n");
    expect(200, 1, 1);
    ck_assert_uint_ge(stats->took_us.sum, 200000);
}
END_TEST

START_TEST(who_gets_no_answer_counts_apart_and_not_in_the_times)
{
    switch (_i) {
    case 0: /* ends in the middle of its head */
        say("GET /he");
        fake_peer_end(&peer);
        break;
    case 1: /* breaks while the handler works */
        say(GET("/later/50"));
        fake_http_break(&web, &peer);
        break;
    case 2: /* is given up by the handler */
        say(GET("/abort/before"));
        break;
    case 3: /* says nothing but an empty line */
        say("\r\n");
        fake_http_pass(&web, 20000);
        break;
    }
    fake_http_settle(&web);
    expect(0, 1, 0);
}
END_TEST

START_TEST(an_answer_that_breaks_off_counts_by_its_status)
{
    say(GET("/abort/after"));
    expect(200, 1, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("http_stats");
    TCase *tcase = tcase_create("http_stats");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, each_request_counts_by_its_status);
    tcase_add_test(tcase, one_that_is_answered_later_is_in_flight_and_took_so_long);
    tcase_add_test(tcase, a_slow_sender_takes_time);
    tcase_add_loop_test(tcase, who_gets_no_answer_counts_apart_and_not_in_the_times, 0, 4);
    tcase_add_test(tcase, an_answer_that_breaks_off_counts_by_its_status);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
