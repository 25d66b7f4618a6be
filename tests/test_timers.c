/* test_timers.c - timers by id, under a clock that stands still: when they fire, when they do not, and what becomes of
 * what they were given. */
#include <check.h>
#include <errno.h>

#include "rill/core/log.h"
#include "rill/core/timers.h"
#include "support/fake_sys.h"
#include "support/run_suite.h"

enum { START = 1000000, LATE = 1000, MANY = 500 };

static struct rill_loop *loop;

/* What a timer under test is given. */
struct probe {
    struct rill_timer_id id;
    unsigned calls, destroyed;
    uint64_t at[LATE]; /* the time of each call, since START */
    void (*then)(struct probe *probe);
    struct probe *other;
    bool result;
};

static void set_up(void)
{
    int error;
    fake_sys_reset(START);
    loop = rill_loop_new(&(struct rill_loop_config){.index = 9}, &error);
    ck_assert_ptr_nonnull(loop);
}

static void tear_down(void)
{
    rill_loop_free(loop);
    loop = NULL;
}

static void on_fire(void *arg)
{
    struct probe *probe = arg;
    ck_assert_uint_lt(probe->calls, LATE);
    ck_assert_uint_eq(probe->destroyed, 0);
    probe->at[probe->calls++] = rill_loop_now_ms(loop) - START;
    if (probe->then)
        probe->then(probe);
}

static void on_destroy(void *arg)
{
    struct probe *probe = arg;
    probe->destroyed++;
}

static void look_at_the_clock(void *arg)
{
    (void)arg;
    rill_loop_now_ms(loop); /* no timerfd follows the test's clock */
}

/* One turn, at MS after the start. */
static void turn_at(uint64_t ms)
{
    fake_sys.now_ms = START + ms;
    ck_assert_int_eq(rill_post(loop, look_at_the_clock, NULL), 0);
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
}

static void start(struct probe *probe, uint64_t delay_ms, uint64_t period_ms)
{
    struct rill_timer_config config = {
        .delay_ms = delay_ms, .period_ms = period_ms, .fn = on_fire, .arg = probe, .destroy = on_destroy};
    ck_assert_int_eq(rill_timer_start(loop, &config, &probe->id), 0);
    ck_assert_uint_eq(probe->id.value >> 56, 9);
}

START_TEST(fires_once_at_its_time)
{
    static struct probe probe = {0};
    ck_assert_int_eq(rill_loop_after(loop, 50, on_fire, &probe, &probe.id), 0);
    ck_assert_uint_eq(rill_timer_count(loop), 1);
    for (uint64_t ms = 0; ms < 200; ms++)
        turn_at(ms);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_uint_eq(probe.at[0], 50);
    ck_assert_uint_eq(probe.destroyed, 0); /* no destructor was asked for */
    ck_assert_uint_eq(rill_timer_count(loop), 0);
    ck_assert(!rill_timer_cancel(loop, probe.id));
}
END_TEST

START_TEST(no_delay_is_this_turn_or_the_next)
{
    static struct probe probe = {0};
    start(&probe, 0, 0);
    turn_at(0);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_uint_eq(probe.destroyed, 1);
    start(&probe, UINT64_MAX, 0); /* never, and it says so */
    turn_at(UINT32_MAX);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert(rill_timer_cancel(loop, probe.id));
}
END_TEST

START_TEST(a_periodic_timer_does_not_drift)
{
    static struct probe probe = {0};
    ck_assert_int_eq(rill_loop_every(loop, 10, on_fire, &probe, &probe.id), 0);
    for (uint64_t ms = 0; ms <= 1000; ms += 1 + ms % 4) /* each beat a little late, never by a period */
        turn_at(ms);
    turn_at(1000);
    ck_assert_uint_eq(probe.calls, 100);
    for (unsigned i = 0; i < probe.calls; i++) {
        ck_assert_uint_ge(probe.at[i], (i + 1) * 10);
        ck_assert_uint_lt(probe.at[i], (i + 1) * 10 + 4);
    }
    ck_assert(rill_timer_cancel(loop, probe.id));
}
END_TEST

START_TEST(missed_beats_are_skipped)
{
    static struct probe probe = {0};
    start(&probe, 3, 10); /* beats at 3, 13, 23, ... */
    turn_at(2);
    ck_assert_uint_eq(probe.calls, 0);
    turn_at(47); /* 3, 13, 23, 33 and 43 have passed: one call */
    turn_at(48);
    turn_at(52);
    ck_assert_uint_eq(probe.calls, 1);
    turn_at(53);
    ck_assert_uint_eq(probe.calls, 2);
    turn_at(63 + (uint64_t)_i); /* late by up to a period and more */
    ck_assert_uint_eq(probe.calls, 3);
    turn_at(63 + (uint64_t)_i);
    ck_assert_uint_eq(probe.calls, 3);
    uint64_t next = 63 + ((uint64_t)_i / 10 + 1) * 10;
    turn_at(next - 1);
    ck_assert_uint_eq(probe.calls, 3);
    turn_at(next);
    ck_assert_uint_eq(probe.calls, 4);
}
END_TEST

static void take_25_ms(struct probe *probe)
{
    (void)probe;
    fake_sys.now_ms += 25;
}

START_TEST(a_call_longer_than_the_period_is_not_followed_by_a_burst)
{
    static struct probe probe = {.then = take_25_ms};
    start(&probe, 10, 10);
    turn_at(10); /* until 35; 20 and 30 have passed */
    ck_assert_uint_eq(probe.calls, 1);
    probe.then = NULL;
    turn_at(35);
    ck_assert_uint_eq(probe.calls, 2); /* one late call for both */
    turn_at(39);
    ck_assert_uint_eq(probe.calls, 2);
    turn_at(40);
    ck_assert_uint_eq(probe.calls, 3);
}
END_TEST

static void try_a_turn(struct probe *probe)
{
    fake_sys.now_ms += 100;
    probe->result = rill_loop_turn(loop, false) == -EBUSY;
}

START_TEST(never_runs_inside_itself)
{
    static struct probe probe = {.then = try_a_turn};
    start(&probe, 1, 1);
    turn_at(1);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert(probe.result);
}
END_TEST

START_TEST(a_period_that_is_too_long_to_be_told)
{
    static struct probe probe = {0};
    start(&probe, 1, UINT64_MAX);
    turn_at(1);
    turn_at(UINT32_MAX);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_int_eq(rill_loop_every(loop, 0, on_fire, &probe, NULL), -EINVAL);
}
END_TEST

START_TEST(cancelled_it_does_not_fire)
{
    static struct probe probe = {0};
    start(&probe, 10, (uint64_t)_i * 10);
    turn_at(9);
    ck_assert(rill_timer_cancel(loop, probe.id));
    ck_assert_uint_eq(probe.destroyed, 1);
    ck_assert(!rill_timer_cancel(loop, probe.id));
    turn_at(10);
    turn_at(100);
    ck_assert_uint_eq(probe.calls, 0);
    ck_assert_uint_eq(probe.destroyed, 1);
    ck_assert_uint_eq(rill_timer_count(loop), 0);
}
END_TEST

static void cancel_self(struct probe *probe)
{
    probe->result = rill_timer_cancel(loop, probe->id);
    ck_assert_uint_eq(probe->destroyed, 0); /* the call goes on and may use it */
    ck_assert(!rill_timer_cancel(loop, probe->id));
}

static void cancel_other(struct probe *probe)
{
    probe->result = rill_timer_cancel(loop, probe->other->id);
}

START_TEST(cancels_itself)
{
    static struct probe probe = {.then = cancel_self};
    start(&probe, 10, (uint64_t)_i * 10);
    turn_at(10);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_uint_eq(probe.destroyed, 1);
    ck_assert(probe.result == (_i > 0)); /* a call that is the only one can be cancelled no more */
    turn_at(100);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_uint_eq(rill_timer_count(loop), 0);
}
END_TEST

START_TEST(cancels_another_that_is_due_in_the_same_turn)
{
    static struct probe second = {0}, first = {.then = cancel_other, .other = &second};
    start(&first, 10, 0);
    start(&second, 10, (uint64_t)_i * 10);
    turn_at(100);
    ck_assert_uint_eq(first.calls, 1);
    ck_assert(first.result);
    ck_assert_uint_eq(second.calls, 0);
    ck_assert_uint_eq(second.destroyed, 1);
}
END_TEST

static void start_another(struct probe *probe)
{
    start(probe->other, 0, 0);
}

START_TEST(a_slot_used_again_has_another_id)
{
    static struct probe second = {0}, first = {.then = start_another, .other = &second};
    start(&first, 10, 0);
    struct rill_timer_id stale = first.id;
    turn_at(10); /* the slot is free by the time of the call */
    ck_assert_uint_eq((uint32_t)(second.id.value >> 32), (uint32_t)(stale.value >> 32));
    ck_assert_uint_ne(second.id.value, stale.value);
    ck_assert(!rill_timer_cancel(loop, stale));
    ck_assert_uint_eq(second.calls, 0); /* not in the advance that it was started in */
    turn_at(10);
    ck_assert_uint_eq(second.calls, 1);
}
END_TEST

START_TEST(strange_ids_name_nothing)
{
    static struct probe probe = {0};
    ck_assert(!rill_timer_cancel(loop, (struct rill_timer_id){UINT64_C(9) << 56})); /* before there are any */
    start(&probe, 10, 10);
    uint64_t real = probe.id.value;
    uint64_t strange[] = {0,
                          UINT64_MAX,
                          UINT64_C(9) << 56,
                          real + 1,
                          real ^ UINT64_C(1) << 56,
                          real + (UINT64_C(1) << 32),
                          real ^ UINT64_C(0x800000) << 32};
    for (size_t i = 0; i < rill_array_length(strange); i++)
        ck_assert(!rill_timer_cancel(loop, (struct rill_timer_id){strange[i]}));
    ck_assert(rill_timer_cancel(loop, probe.id));
}
END_TEST

START_TEST(the_loop_ends_what_is_left)
{
    static struct probe probes[5] = {{.other = &probes[4]}, {.then = start_another, .other = &probes[0]}};
    for (int i = 0; i < 4; i++)
        start(&probes[i], 10 + (uint64_t)i, i % 2 ? 10 : 0);
    tear_down();
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(probes[i].calls, 0);
        ck_assert_uint_eq(probes[i].destroyed, 1);
    }
    set_up();
}
END_TEST

static int late_result;

static void start_late(void *arg)
{
    late_result = rill_loop_after(loop, 0, on_fire, arg, NULL);
    rill_timer_cancel(loop, ((struct probe *)arg)->id);
}

START_TEST(none_is_started_when_the_loop_has_ended)
{
    static struct probe probe = {0};
    struct rill_timer_config last = {.fn = on_fire, .arg = &probe, .destroy = start_late};
    ck_assert_int_eq(rill_timer_start(loop, &last, &probe.id), 0);
    rill_loop_stop(loop);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_int_eq(rill_loop_after(loop, 0, on_fire, &probe, NULL), -ESHUTDOWN);
    ck_assert_int_eq(rill_timer_post_start(loop, &last), -ESHUTDOWN);
    ck_assert_int_eq(rill_timer_post_cancel(loop, probe.id), -ESHUTDOWN);
    late_result = 0;
    tear_down(); /* a destructor is too late, too */
    ck_assert_int_eq(late_result, -ESHUTDOWN);
    ck_assert_uint_eq(probe.calls, 0);
    set_up();
}
END_TEST

START_TEST(posted_from_its_own_thread)
{
    static struct probe probe = {0}, cancelled = {0};
    struct rill_timer_config config = {.delay_ms = 10, .fn = on_fire, .arg = &probe, .destroy = on_destroy};
    ck_assert_int_eq(rill_timer_post_start(loop, &config), 0);
    ck_assert_uint_eq(rill_timer_count(loop), 0);
    start(&cancelled, 10, 0);
    ck_assert_int_eq(rill_timer_post_cancel(loop, cancelled.id), 0);
    ck_assert_int_eq(rill_timer_post_cancel(loop, (struct rill_timer_id){0}), -ESTALE);
    turn_at(10); /* the delay counts from here */
    ck_assert_uint_eq(cancelled.calls, 0);
    ck_assert_uint_eq(cancelled.destroyed, 1);
    turn_at(19);
    ck_assert_uint_eq(probe.calls, 0);
    turn_at(20);
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_uint_eq(probe.destroyed, 1);
    ck_assert_int_eq(rill_timer_post_start(loop, &config), 0);
    tear_down(); /* taken, and ends with the loop */
    ck_assert_uint_eq(probe.calls, 1);
    ck_assert_uint_eq(probe.destroyed, 2);
    set_up();
}
END_TEST

START_TEST(memory_runs_out)
{
    static struct probe probe = {0};
    struct rill_timer_config config = {.fn = on_fire, .arg = &probe, .destroy = on_destroy};
    rill_log_set_level(RILL_LOG_OFF);
    for (uint64_t k = 1; k <= 2; k++) { /* the loop's timers, and the map that they are in */
        faulty_memory_fails_at(k);
        ck_assert_int_eq(rill_timer_start(loop, &config, NULL), -ENOMEM);
    }
    ck_assert_uint_eq(probe.destroyed, 0); /* still the caller's */
    faulty_memory_fails_at(3);             /* after the order's and turn_at()'s own */
    ck_assert_int_eq(rill_timer_post_start(loop, &config), 0);
    turn_at(0); /* taken by then, so it ends */
    ck_assert_uint_eq(probe.destroyed, 1);
    faulty_memory_fails_at(1);
    ck_assert_int_eq(rill_timer_post_start(loop, &config), -ENOMEM);
    faulty_memory_fails_at(1);
    ck_assert_int_eq(rill_timer_post_cancel(loop, (struct rill_timer_id){UINT64_C(9) << 56}), -ENOMEM);
    ck_assert_uint_eq(probe.destroyed, 1);
    ck_assert_uint_eq(probe.calls, 0);
    probe.destroyed = 0;
    ck_assert_int_eq(rill_timer_start(loop, &config, NULL), 0);
    turn_at(0);
    ck_assert_uint_eq(probe.calls, 1);
}
END_TEST

/* Against a list kept by hand: starts, cancels and fires at random times. */
START_TEST(many_at_random)
{
    static struct probe probes[MANY];
    static uint64_t due[MANY];
    static bool gone[MANY];
    unsigned random = (unsigned)_i + 1, started = 0, ended = 0;
    memset(probes, 0, sizeof probes);
    memset(gone, 0, sizeof gone);
    for (uint64_t ms = 0; ended < MANY; ms++) {
        fake_sys.now_ms = START + ms;
        for (unsigned k = 0; k < 3 && started < MANY; k++, started++) {
            random = random * 1103515245 + 12345;
            uint64_t delay = random >> 16 & 0x7f;
            start(&probes[started], delay, 0);
            due[started] = ms + delay;
        }
        random = random * 1103515245 + 12345;
        unsigned victim = (random >> 8) % started;
        ck_assert(rill_timer_cancel(loop, probes[victim].id) == !gone[victim]);
        ended += !gone[victim];
        gone[victim] = true;
        turn_at(ms);
        bool as_expected = true;
        for (unsigned i = 0; i < started; i++) {
            bool fires = !gone[i] && due[i] <= ms;
            ended += fires;
            gone[i] |= fires;
            as_expected &= probes[i].destroyed == gone[i] && (!fires || probes[i].calls == 1);
        }
        ck_assert(as_expected);
        ck_assert_uint_eq(rill_timer_count(loop), started - ended);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timers");
    TCase *all = tcase_create("timers");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, fires_once_at_its_time);
    tcase_add_test(all, no_delay_is_this_turn_or_the_next);
    tcase_add_test(all, a_periodic_timer_does_not_drift);
    tcase_add_loop_test(all, missed_beats_are_skipped, 0, 35);
    tcase_add_test(all, a_call_longer_than_the_period_is_not_followed_by_a_burst);
    tcase_add_test(all, never_runs_inside_itself);
    tcase_add_test(all, a_period_that_is_too_long_to_be_told);
    tcase_add_loop_test(all, cancelled_it_does_not_fire, 0, 2);
    tcase_add_loop_test(all, cancels_itself, 0, 2);
    tcase_add_loop_test(all, cancels_another_that_is_due_in_the_same_turn, 0, 2);
    tcase_add_test(all, a_slot_used_again_has_another_id);
    tcase_add_test(all, strange_ids_name_nothing);
    tcase_add_test(all, the_loop_ends_what_is_left);
    tcase_add_test(all, none_is_started_when_the_loop_has_ended);
    tcase_add_test(all, posted_from_its_own_thread);
    tcase_add_test(all, memory_runs_out);
    tcase_add_loop_test(all, many_at_random, 0, 3);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
