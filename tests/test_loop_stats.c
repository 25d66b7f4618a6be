/* test_loop_stats.c - what a loop counts of itself, under a clock that the test sets. */
#include "rill/core/loop_internal.h"
#include "rill/core/sys.h"
#include "support/fake_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <event2/event.h>

static struct rill_loop *loop;
static const struct rill_loop_stats *stats;

static void setup(void)
{
    int error;
    fake_sys_reset(1000);
    loop = rill_loop_new(&(struct rill_loop_config){.name = "stats"}, &error);
    ck_assert_ptr_nonnull(loop);
    stats = rill_loop_stats(loop);
}

static void teardown(void)
{
    rill_loop_free(loop);
}

static void turn(void)
{
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
}

/* An event of somebody's descriptor that takes TOOK_MS of its loop's time. */
static uint64_t took_ms, within;

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    rill_loop_note_event(loop);
    rill_loop_turn_under_way(loop)->within += within;
    fake_sys.now_ms += took_ms;
}

static void fire(unsigned events, uint64_t each_ms)
{
    struct event *made[16];
    took_ms = each_ms;
    for (unsigned i = 0; i < events; i++) {
        made[i] = event_new(rill_loop_base(loop), -1, 0, on_event, NULL);
        ck_assert_ptr_nonnull(made[i]);
        event_active(made[i], EV_READ, 1);
    }
    turn();
    for (unsigned i = 0; i < events; i++)
        event_free(made[i]);
}

START_TEST(turns_count_that_had_events)
{
    turn();
    ck_assert_uint_eq(stats->turns, 0);
    fire(3, 2);
    ck_assert_uint_eq(stats->turns, 1);
    ck_assert_uint_eq(stats->events, 3);
    ck_assert_uint_eq(stats->busy_ns, 6 * 1000000u);
    turn();
    ck_assert_uint_eq(stats->turns, 1);
    fire(1, 0);
    ck_assert_uint_eq(stats->turns, 2);
    ck_assert_uint_eq(stats->events_a_turn.total, 2);
    ck_assert_uint_eq(stats->events_a_turn.sum, 4);
    ck_assert_uint_eq(stats->events_a_turn.max, 3);
    ck_assert_uint_eq(stats->turn_us.total, 2);
    ck_assert_uint_eq(stats->turn_us.sum, 6000);
    ck_assert_uint_eq(stats->turn_us.counts[rill_histogram_index(RILL_LOOP_STAT_BITS, 6000)], 1);
    ck_assert_uint_eq(stats->turn_us.counts[0], 1);
}
END_TEST

START_TEST(a_turn_of_hours_counts_as_the_longest)
{
    fire(1, 7200000);
    ck_assert_uint_eq(stats->turn_us.counts[RILL_LOOP_TIME_BUCKETS - 1], 1);
    ck_assert_uint_eq(stats->turn_us.max, 7200000000u);
}
END_TEST

START_TEST(what_begins_and_ends_within_a_turn_counts_as_long_as_that)
{
    uint64_t counts[RILL_LOOP_TIME_BUCKETS];
    struct rill_histogram histogram;
    struct rill_loop_turn *under_way = rill_loop_turn_under_way(loop);
    rill_loop_histogram_init(&histogram, counts);
    within = 2;
    fire(2, 1); /* nobody counts yet */
    ck_assert_uint_eq(under_way->within, 0);
    under_way->within_us = &histogram;
    ck_assert_uint_eq(under_way->began_ns, 0);
    fire(3, 5);
    ck_assert_uint_eq(histogram.total, 6);
    ck_assert_uint_eq(histogram.sum, 6 * 15000);
    ck_assert_uint_eq(histogram.counts[rill_histogram_index(RILL_LOOP_STAT_BITS, 15000)], 6);
    within = 0;
    fire(1, 1);
    ck_assert_uint_eq(histogram.total, 6);
    ck_assert_uint_eq(under_way->began_ns, 0); /* between turns there is none */
}
END_TEST

static void nothing(struct rill_task *task)
{
    (void)task;
}

START_TEST(posted_tasks_count_in_batches_with_their_delay)
{
    struct rill_task tasks[5];
    for (unsigned i = 0; i < 5; i++) {
        tasks[i].run = nothing;
        ck_assert_int_eq(rill_loop_post(loop, &tasks[i]), 0);
        fake_sys.now_ms += 3; /* the first one woke it */
    }
    turn();
    ck_assert_uint_eq(stats->tasks, 5);
    ck_assert_uint_eq(stats->tasks_a_batch.total, 1);
    ck_assert_uint_eq(stats->tasks_a_batch.max, 5);
    ck_assert_int_eq(rill_loop_post(loop, &tasks[0]), 0);
    fake_sys.now_ms += 7;
    turn();
    turn();
    ck_assert_uint_eq(stats->tasks, 6);
    ck_assert_uint_eq(stats->tasks_a_batch.total, 2);
    ck_assert_uint_ge(stats->post_delay_us.total, 1);
    ck_assert_uint_ge(stats->post_delay_us.sum, 7000);
    ck_assert_uint_le(stats->post_delay_us.max, 15000);
}
END_TEST

static unsigned fired;

static void on_timer(struct rill_timer *timer)
{
    (void)timer;
    fired++;
}

START_TEST(timers_count_while_armed_and_by_their_lateness)
{
    struct rill_timer timers[3];
    fired = 0;
    for (unsigned i = 0; i < 3; i++) {
        rill_timer_init(&timers[i], on_timer);
        rill_loop_arm(loop, &timers[i], 10 + 90 * i);
    }
    fire(1, 0);
    ck_assert_uint_eq(stats->timers, 3);
    ck_assert_uint_eq(stats->timer_late_us.total, 0);
    fake_sys.now_ms = rill_loop_now_ms(loop) + 14;
    fire(1, 0); /* reads the clock, so that the wheel is looked at */
    ck_assert_uint_eq(fired, 1);
    ck_assert_uint_eq(stats->timer_late_us.total, 1);
    ck_assert_uint_ge(stats->timer_late_us.sum, 3000);
    ck_assert_uint_le(stats->timer_late_us.sum, 5000);
    ck_assert_uint_eq(stats->timers, 2);
    rill_loop_disarm(loop, &timers[1]);
    rill_loop_disarm(loop, &timers[2]);
    fire(1, 0);
    ck_assert_uint_eq(stats->timers, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop_stats");
    TCase *tcase = tcase_create("loop_stats");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, turns_count_that_had_events);
    tcase_add_test(tcase, a_turn_of_hours_counts_as_the_longest);
    tcase_add_test(tcase, what_begins_and_ends_within_a_turn_counts_as_long_as_that);
    tcase_add_test(tcase, posted_tasks_count_in_batches_with_their_delay);
    tcase_add_test(tcase, timers_count_while_armed_and_by_their_lateness);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
