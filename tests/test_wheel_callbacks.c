/* test_wheel_callbacks - timers of a wheel whose callbacks interfere with each other and with themselves. */
#include "rill/core/base.h"
#include "rill/tests/support/run_suite.h"
#include "rill/tests/support/wheel_check.h"
#include "rill/timer/wheel.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct rill_wheel wheel;

static void start(uint64_t now_ms)
{
    rill_wheel_init(&wheel, now_ms);
}

/* A timer whose callback does one thing to another timer, or to itself. */
struct actor {
    struct rill_timer timer;
    int fired;
    struct rill_timer *cancels;
    struct rill_timer *arms;
    uint64_t arms_for_ms;
    bool advances;
    bool frees;
};

static uint64_t actor_time_ms;
static bool actor_inside;

static void actor_fired(struct rill_timer *timer)
{
    struct actor *actor = rill_container_of(timer, struct actor, timer);
    expect(!actor_inside);
    actor_inside = true;
    expect(!rill_timer_armed(timer));
    actor->fired++;
    if (actor->cancels != NULL)
        rill_wheel_cancel(&wheel, actor->cancels);
    if (actor->arms != NULL)
        rill_wheel_arm(&wheel, actor->arms, actor->arms_for_ms);
    if (actor->advances)
        expect_eq(rill_wheel_advance(&wheel, actor_time_ms + 1000), 0);
    if (actor->frees)
        free(actor);
    wheel_check(&wheel);
    actor_inside = false;
}

static void actor_arm(struct actor *actor, uint64_t deadline_ms)
{
    memset(actor, 0, sizeof(*actor));
    rill_timer_init(&actor->timer, actor_fired);
    rill_wheel_arm(&wheel, &actor->timer, deadline_ms);
}

static size_t actors_advance(uint64_t now_ms)
{
    actor_time_ms = now_ms;
    size_t fired = rill_wheel_advance(&wheel, now_ms);
    wheel_check(&wheel);
    return fired;
}

/* First, middle and last of a batch, the same tick or not: who is cancelled by an earlier one does not fire. */
START_TEST(cancelled_by_a_callback_of_its_batch)
{
    struct actor actors[4];
    for (int victim = 1; victim < 4; victim++) {
        for (int spread = 0; spread < 2; spread++) {
            start(1000);
            for (int i = 0; i < 4; i++)
                actor_arm(&actors[i], 1001 + (spread ? (uint64_t)i * 100 : 0));
            actors[0].cancels = &actors[victim].timer;
            expect_eq(actors_advance(2000), 3);
            for (int i = 0; i < 4; i++)
                expect_eq(actors[i].fired, i != victim);
            expect_eq(rill_wheel_count(&wheel), 0);
            expect_eq(actors_advance(UINT64_MAX), 0);
        }
    }
}
END_TEST

START_TEST(cancelled_by_a_callback_while_still_waiting)
{
    struct actor early;
    struct actor late;
    start(0);
    actor_arm(&early, 10);
    actor_arm(&late, 100000);
    early.cancels = &late.timer;
    expect_eq(actors_advance(10), 1);
    expect_eq(actors_advance(UINT64_MAX), 0);
    expect_eq(late.fired, 0);
}
END_TEST

/* Due or not, a timer armed by a callback waits for a later advance, even if it had been in this batch. */
START_TEST(armed_by_a_callback_waits_for_a_later_advance)
{
    const uint64_t deadlines_ms[] = {0, 50, 99, 100, 101, 164, 100000, UINT64_MAX};
    for (size_t i = 0; i < rill_array_length(deadlines_ms); i++) {
        for (int kind = 0; kind < 3; kind++) { /* itself; one of the batch; one that was not armed */
            struct actor first;
            struct actor second;
            uint64_t due_ms = deadlines_ms[i] < 100 ? 100 : deadlines_ms[i];
            start(10);
            actor_arm(&first, 60);
            actor_arm(&second, 70);
            if (kind == 2)
                rill_wheel_cancel(&wheel, &second.timer);
            struct actor *armed = kind == 0 ? &first : &second;
            first.arms = &armed->timer;
            first.arms_for_ms = deadlines_ms[i];
            expect_eq(actors_advance(100), kind == 0 ? 2 : 1);
            expect(rill_timer_armed(&armed->timer));
            expect_eq(rill_wheel_next(&wheel, 100), due_ms - 100);
            first.arms = NULL;
            int before = armed->fired;
            if (due_ms > 100)
                expect_eq(actors_advance(due_ms - 1), 0);
            expect_eq(actors_advance(due_ms), 1);
            expect_eq(armed->fired, before + 1);
            expect_eq(rill_wheel_count(&wheel), 0);
        }
    }
}
END_TEST

/* Re-armed for no time at all, a timer runs once an advance: never inside itself, never for ever. */
START_TEST(periodic_timer_runs_once_an_advance)
{
    struct actor actor;
    start(0);
    actor_arm(&actor, 5);
    actor.arms = &actor.timer;
    for (int i = 1; i <= 100; i++) {
        actor.arms_for_ms = 5;
        expect_eq(actors_advance(5), 1);
        expect_eq(actor.fired, i);
    }
    for (uint64_t now_ms = 6; now_ms < 300; now_ms++) {
        actor.arms_for_ms = now_ms + 1;
        expect_eq(actors_advance(now_ms), 1);
    }
}
END_TEST

START_TEST(advance_from_a_callback_does_nothing)
{
    struct actor actors[2];
    start(0);
    actor_arm(&actors[0], 5);
    actor_arm(&actors[1], 6);
    actors[0].advances = true;
    expect_eq(actors_advance(6), 2);
    expect_eq(actors[1].fired, 1);
    actor_arm(&actors[1], 7); /* the nested advance did not move the time */
    expect_eq(rill_wheel_next(&wheel, 6), 1);
}
END_TEST

START_TEST(callback_frees_its_owner)
{
    start(0);
    for (int i = 0; i < 10; i++) {
        struct actor *actor = malloc(sizeof(*actor));
        expect(actor != NULL);
        actor_arm(actor, 64 + (uint64_t)(i / 3));
        actor->frees = true;
    }
    expect_eq(actors_advance(64), 3);
    expect_eq(actors_advance(100), 7);
    expect_eq(rill_wheel_count(&wheel), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wheel");
    TCase *callbacks = tcase_create("callbacks");

    tcase_add_test(callbacks, cancelled_by_a_callback_of_its_batch);
    tcase_add_test(callbacks, cancelled_by_a_callback_while_still_waiting);
    tcase_add_test(callbacks, armed_by_a_callback_waits_for_a_later_advance);
    tcase_add_test(callbacks, periodic_timer_runs_once_an_advance);
    tcase_add_test(callbacks, advance_from_a_callback_does_nothing);
    tcase_add_test(callbacks, callback_frees_its_owner);
    suite_add_tcase(suite, callbacks);

    return run_suite(suite);
}
