/* test_wheel - the timing wheel: tables at the borders of its levels, and whether its checker sees damage. */
#include "rill/core/base.h"
#include "rill/tests/support/run_suite.h"
#include "rill/tests/support/wheel_check.h"
#include "rill/timer/wheel.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A timer that writes down that it fired. */
struct probe {
    struct rill_timer timer;
    int fired;
    int rank; /* how many had fired before it */
};

static struct rill_wheel wheel;
static int fired_total;

static void probe_fired(struct rill_timer *timer)
{
    struct probe *probe = rill_container_of(timer, struct probe, timer);
    expect(!rill_timer_armed(timer));
    probe->fired++;
    probe->rank = fired_total++;
}

static void probe_init(struct probe *probe)
{
    rill_timer_init(&probe->timer, probe_fired);
    probe->fired = 0;
    probe->rank = -1;
}

static void start(uint64_t now_ms)
{
    rill_wheel_init(&wheel, now_ms);
    fired_total = 0;
}

static size_t advance(uint64_t now_ms)
{
    size_t fired = rill_wheel_advance(&wheel, now_ms);
    wheel_check(&wheel);
    return fired;
}

/* The distances to try: one below, at, and one above every power of two, so every border of every level. 0 after the
 * last one. */
static uint64_t distance_ms(int index)
{
    if (index < 1)
        return 1;
    int power = index / 3 + 1;
    return power > 63 ? 0 : ((uint64_t)1 << power) + (uint64_t)(index % 3) - 1;
}

START_TEST(fires_at_its_deadline_and_not_a_tick_before)
{
    uint64_t start_ms = start_times_ms[_i];
    for (int i = 0; distance_ms(i) != 0; i++) {
        uint64_t deadline_ms = add_saturating(start_ms, distance_ms(i));
        struct probe probe;
        probe_init(&probe);
        start(start_ms);
        rill_wheel_arm(&wheel, &probe.timer, deadline_ms);
        wheel_check(&wheel);
        expect_eq(probe.timer.deadline_ms, deadline_ms);
        expect_eq(rill_wheel_next(&wheel, start_ms), deadline_ms - start_ms);
        expect_eq(advance(start_ms), 0);
        expect_eq(advance(deadline_ms - 1), 0);
        expect(rill_timer_armed(&probe.timer));
        expect_eq(rill_wheel_next(&wheel, deadline_ms - 1), 1);
        expect_eq(advance(deadline_ms), 1);
        expect_eq(probe.fired, 1);
        expect(!rill_timer_armed(&probe.timer));
        expect_eq(rill_wheel_count(&wheel), 0);
        expect_eq(rill_wheel_next(&wheel, deadline_ms), UINT64_MAX);
    }
}
END_TEST

START_TEST(fires_once_after_a_gap_of_any_size)
{
    uint64_t start_ms = start_times_ms[_i];
    for (int i = 0; distance_ms(i) != 0; i++) {
        for (int gap = 0; distance_ms(gap) != 0; gap++) {
            uint64_t deadline_ms = add_saturating(start_ms, distance_ms(i));
            uint64_t now_ms = add_saturating(start_ms, distance_ms(gap));
            struct probe probe;
            probe_init(&probe);
            start(start_ms);
            rill_wheel_arm(&wheel, &probe.timer, deadline_ms);
            expect_eq(rill_wheel_advance(&wheel, now_ms), now_ms >= deadline_ms);
            if (i == gap)
                wheel_check(&wheel);
            expect_eq(rill_wheel_advance(&wheel, UINT64_MAX), now_ms < deadline_ms);
            expect_eq(probe.fired, 1);
        }
    }
}
END_TEST

/* Sleeping for what rill_wheel_next() says, again and again, must arrive at the deadline, in few steps: with the timer
 * alone in one; with another in its slot, so that the wheel knows only where the slot starts, in one a level. */
START_TEST(next_leads_to_the_deadline)
{
    uint64_t start_ms = start_times_ms[_i];
    for (int i = 0; distance_ms(i) != 0; i++) {
        for (int company = 0; company < 2; company++) {
            uint64_t deadline_ms = add_saturating(start_ms, distance_ms(i));
            uint64_t now_ms = start_ms;
            int steps = 0;
            struct probe probes[2];
            start(start_ms);
            for (int p = 0; p <= company; p++) {
                probe_init(&probes[p]);
                rill_wheel_arm(&wheel, &probes[p].timer, deadline_ms);
            }
            while (fired_total == 0) {
                uint64_t wait_ms = rill_wheel_next(&wheel, now_ms);
                expect_gt(wait_ms, 0);
                expect_le(wait_ms, deadline_ms - now_ms);
                now_ms += wait_ms;
                advance(now_ms);
                steps++;
            }
            expect_eq(now_ms, deadline_ms);
            expect_le(steps, company ? RILL_WHEEL_LEVELS : 1);
        }
    }
}
END_TEST

/* All distances armed at once, in shuffled order, fire in the order of their deadlines, in one advance. */
START_TEST(fires_in_the_order_of_deadlines)
{
    static struct probe probes[256];
    uint64_t start_ms = start_times_ms[_i];
    int count = 0;
    start(start_ms);
    while (distance_ms(count) != 0)
        count++;
    for (int i = 0; i < count; i++) {
        int shuffled = (i * 101 + 7) % count; /* a prime that does not divide it */
        probe_init(&probes[shuffled]);
        rill_wheel_arm(&wheel, &probes[shuffled].timer, add_saturating(start_ms, distance_ms(shuffled)));
        wheel_check(&wheel);
    }
    expect_eq(rill_wheel_count(&wheel), (size_t)count);
    expect_eq(advance(UINT64_MAX), (size_t)count);
    for (int a = 0; a < count; a++) {
        expect_eq(probes[a].fired, 1);
        for (int b = 0; b < count; b++)
            if (probes[a].timer.deadline_ms < probes[b].timer.deadline_ms)
                expect_lt(probes[a].rank, probes[b].rank);
    }
}
END_TEST

/* Equal deadlines: whatever level each was armed into, the one armed first fires first. */
START_TEST(fires_equal_deadlines_in_the_order_armed)
{
    enum { PROBES = 16 };
    const uint64_t deadline_ms = 70 * 4096 + 65; /* every digit counts */
    struct probe probes[PROBES];
    start(0);
    for (int i = 0; i < PROBES; i++) {
        probe_init(&probes[i]);
        rill_wheel_arm(&wheel, &probes[i].timer, deadline_ms);
        advance(deadline_ms - (deadline_ms >> (i + 1)) - 1);
    }
    expect_eq(advance(deadline_ms), PROBES);
    for (int i = 0; i < PROBES; i++)
        expect_eq(probes[i].rank, i);
}
END_TEST

START_TEST(empty_wheel_has_nothing_to_do)
{
    start(start_times_ms[_i]);
    wheel_check(&wheel);
    expect_eq(rill_wheel_count(&wheel), 0);
    expect_eq(rill_wheel_next(&wheel, start_times_ms[_i]), UINT64_MAX);
    expect_eq(advance(start_times_ms[_i]), 0);
    expect_eq(advance(UINT64_MAX), 0);
    expect_eq(rill_wheel_next(&wheel, UINT64_MAX), UINT64_MAX);
}
END_TEST

START_TEST(past_deadline_fires_at_the_next_advance)
{
    const uint64_t past_ms[] = {1000, 999, 936, 0};
    for (size_t i = 0; i < rill_array_length(past_ms); i++) {
        struct probe probe;
        probe_init(&probe);
        start(1000);
        rill_wheel_arm(&wheel, &probe.timer, past_ms[i]);
        wheel_check(&wheel);
        expect_eq(probe.timer.deadline_ms, past_ms[i]);
        expect_eq(rill_wheel_count(&wheel), 1);
        expect_eq(rill_wheel_next(&wheel, 1000), 0);
        expect_eq(advance(1000), 1);
        expect_eq(advance(1000), 0);
    }
}
END_TEST

/* The loop arms by its own clock, which may be ahead of the last advance. */
START_TEST(next_is_zero_when_time_ran_past_the_deadline)
{
    struct probe probe;
    probe_init(&probe);
    start(1000);
    rill_wheel_arm(&wheel, &probe.timer, 1010);
    expect_eq(rill_wheel_next(&wheel, 1009), 1);
    expect_eq(rill_wheel_next(&wheel, 1010), 0);
    expect_eq(rill_wheel_next(&wheel, 5000), 0);
    rill_wheel_cancel(&wheel, &probe.timer);
    expect_eq(rill_wheel_next(&wheel, 5000), UINT64_MAX);
}
END_TEST

START_TEST(time_that_goes_back_counts_as_the_last)
{
    struct probe probe;
    probe_init(&probe);
    start(1000);
    rill_wheel_arm(&wheel, &probe.timer, 1001);
    expect_eq(advance(10), 0);
    expect_eq(advance(1001), 1);
    rill_wheel_arm(&wheel, &probe.timer, 900);
    expect_eq(advance(10), 1);
}
END_TEST

START_TEST(cancel_disarms_in_every_place)
{
    uint64_t start_ms = start_times_ms[_i];
    static struct probe probes[256];
    int count = 0;
    start(start_ms);
    for (; distance_ms(count) != 0; count++) {
        probe_init(&probes[count]);
        rill_wheel_cancel(&wheel, &probes[count].timer); /* not armed: nothing happens */
        rill_wheel_arm(&wheel, &probes[count].timer, add_saturating(start_ms, distance_ms(count)));
    }
    for (int i = 0; i < count; i++) {
        rill_wheel_cancel(&wheel, &probes[i * 101 % count].timer);
        expect(!rill_timer_armed(&probes[i * 101 % count].timer));
        rill_wheel_cancel(&wheel, &probes[i * 101 % count].timer);
        expect_eq(rill_wheel_count(&wheel), (size_t)(count - i - 1));
        wheel_check(&wheel);
    }
    expect_eq(rill_wheel_next(&wheel, start_ms), UINT64_MAX);
    expect_eq(advance(UINT64_MAX), 0);
}
END_TEST

START_TEST(arm_moves_an_armed_timer)
{
    struct probe probe;
    probe_init(&probe);
    start(100);
    rill_wheel_arm(&wheel, &probe.timer, 105);
    rill_wheel_arm(&wheel, &probe.timer, 100000);
    wheel_check(&wheel);
    expect_eq(rill_wheel_count(&wheel), 1);
    expect_eq(advance(99999), 0);
    rill_wheel_arm(&wheel, &probe.timer, 0);
    rill_wheel_arm(&wheel, &probe.timer, 100001);
    expect_eq(advance(100000), 0);
    expect_eq(advance(100001), 1);
    expect_eq(advance(UINT64_MAX), 0);
}
END_TEST

/* Every millisecond for a while, so that each slot of the low levels is passed one tick at a time. */
START_TEST(every_tick_fires_its_own_timer)
{
    enum { TICKS = 10000 };
    uint64_t start_ms = start_times_ms[_i];
    static struct probe probes[TICKS];
    if (start_ms > UINT64_MAX - TICKS - 1)
        return;
    start(start_ms);
    for (uint64_t i = 0; i < TICKS; i++) {
        probe_init(&probes[i]);
        rill_wheel_arm(&wheel, &probes[i].timer, start_ms + 1 + i * 7919 % TICKS);
    }
    for (uint64_t tick = 1; tick <= TICKS; tick++) {
        expect_eq(rill_wheel_advance(&wheel, start_ms + tick), 1);
        expect_eq(rill_wheel_count(&wheel), TICKS - tick);
    }
    wheel_check(&wheel);
    for (uint64_t i = 0; i < TICKS; i++)
        expect_eq(probes[i].rank, (int)(i * 7919 % TICKS));
}
END_TEST

/* ---- The checker itself ---- */

/* Moves PROBE into the batch, the list after all others, as an advance does. */
static void batch_with(struct probe *probe)
{
    const size_t batch = RILL_WHEEL_LEVELS * RILL_WHEEL_SLOTS + 1;
    struct rill_timer_link *head = &wheel.slots[batch];
    rill_wheel_cancel(&wheel, &probe->timer);
    probe->timer.deadline_ms = 100;
    probe->timer.link.next = probe->timer.link.previous = head;
    head->next = head->previous = &probe->timer.link;
    wheel.occupied[RILL_WHEEL_LEVELS] |= 2;
    wheel.levels |= (uint32_t)1 << RILL_WHEEL_LEVELS;
    wheel.count++;
}

/* validate() must see damage, or the tests above prove little. */
START_TEST(validate_sees_damage)
{
    struct probe probes[2];
    const char *why = NULL;
    for (int damage = 0; damage < 9; damage++) {
        start(100);
        for (int i = 0; i < 2; i++) {
            probe_init(&probes[i]);
            rill_wheel_arm(&wheel, &probes[i].timer, 5000);
        }
        wheel_check(&wheel);
        switch (damage) {
        case 0:
            wheel.count++;
            break;
        case 1:
            wheel.occupied[1] |= 1;
            break;
        case 2:
            wheel.levels |= 1;
            break;
        case 3:
            probes[0].timer.deadline_ms = 101;
            break;
        case 4:
            probes[1].timer.link.previous = probes[0].timer.link.previous;
            break;
        case 5:
            wheel.current_ms = 5000;
            break;
        case 6: /* among those that are due */
            rill_wheel_arm(&wheel, &probes[0].timer, 100);
            probes[0].timer.deadline_ms = 101;
            break;
        case 7: /* in the middle of an advance, and then not */
            wheel.advancing = true;
            batch_with(&probes[0]);
            wheel_check(&wheel);
            wheel.advancing = false;
            break;
        default:
            probes[0].timer.fn = NULL;
            break;
        }
        expect_or(!rill_wheel_validate(&wheel, NULL), "damage %d is not seen", damage);
        expect(!rill_wheel_validate(&wheel, &why));
        expect(why != NULL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wheel");
    TCase *tables = tcase_create("tables");
    int starts = (int)rill_array_length(start_times_ms);

    tcase_add_loop_test(tables, fires_at_its_deadline_and_not_a_tick_before, 0, starts);
    tcase_add_loop_test(tables, fires_once_after_a_gap_of_any_size, 0, starts);
    tcase_add_loop_test(tables, next_leads_to_the_deadline, 0, starts);
    tcase_add_loop_test(tables, fires_in_the_order_of_deadlines, 0, starts);
    tcase_add_test(tables, fires_equal_deadlines_in_the_order_armed);
    tcase_add_loop_test(tables, empty_wheel_has_nothing_to_do, 0, starts);
    tcase_add_test(tables, past_deadline_fires_at_the_next_advance);
    tcase_add_test(tables, next_is_zero_when_time_ran_past_the_deadline);
    tcase_add_test(tables, time_that_goes_back_counts_as_the_last);
    tcase_add_loop_test(tables, cancel_disarms_in_every_place, 0, starts);
    tcase_add_test(tables, arm_moves_an_armed_timer);
    tcase_add_test(tables, validate_sees_damage);
    tcase_add_loop_test(tables, every_tick_fires_its_own_timer, 0, starts);
    suite_add_tcase(suite, tables);

    return run_suite(suite);
}
