/* test_wheel_random - random programs on a timing wheel, against a reference that is a sorted array. */
#include "rill/core/base.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"
#include "rill/tests/support/wheel_check.h"
#include "rill/timer/wheel.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_TIMERS = 48, MODEL_STEPS = 600, MODEL_SEEDS = 20 };

/* The reference: the armed timers in an array, sorted by when they count as due, then by when they were armed. */
struct model {
    struct rill_wheel wheel;
    struct rill_timer timers[MODEL_TIMERS];
    struct model_entry {
        int timer;
        uint64_t due_ms;   /* the deadline, or the time when armed if that was later */
        uint64_t armed_at; /* number of the arming */
    } armed[MODEL_TIMERS];
    size_t count;
    uint64_t armings;
    uint64_t now_ms;
    uint64_t batch_until; /* armings from here on are not of the batch */
    struct test_random random;
    size_t fired;
    size_t budget; /* what callbacks may still do in this advance */
};

static struct model model;

static uint64_t random_below(uint64_t limit)
{
    return test_random_below(&model.random, limit);
}

/* As many small numbers as large ones. */
static uint64_t random_magnitude(void)
{
    return test_random_next(&model.random) >> random_below(64);
}

static size_t model_find(int timer)
{
    size_t at = 0;
    while (at < model.count && model.armed[at].timer != timer)
        at++;
    return at;
}

static void model_remove(size_t at)
{
    model.count--;
    memmove(&model.armed[at], &model.armed[at + 1], (model.count - at) * sizeof(model.armed[0]));
}

static void both_cancel(int timer)
{
    size_t at = model_find(timer);
    expect(rill_timer_armed(&model.timers[timer]) == (at < model.count));
    if (at < model.count)
        model_remove(at);
    rill_wheel_cancel(&model.wheel, &model.timers[timer]);
    expect(!rill_timer_armed(&model.timers[timer]));
}

static void both_arm(int timer, uint64_t deadline_ms)
{
    struct model_entry entry = {timer, deadline_ms > model.now_ms ? deadline_ms : model.now_ms, model.armings++};
    size_t at = model_find(timer);
    if (at < model.count)
        model_remove(at);
    for (at = model.count++; at > 0 && model.armed[at - 1].due_ms > entry.due_ms; at--)
        model.armed[at] = model.armed[at - 1];
    model.armed[at] = entry;
    rill_wheel_arm(&model.wheel, &model.timers[timer], deadline_ms);
    expect(rill_timer_armed(&model.timers[timer]));
    expect_eq(model.timers[timer].deadline_ms, deadline_ms);
}

/* Deadlines: any distance, the past, one that others have too, borders of slots, the end of time. */
static uint64_t random_deadline_ms(void)
{
    unsigned shift = (unsigned)random_below(60);
    switch (random_below(8)) {
    case 0:
        return model.now_ms - random_below(add_saturating(model.now_ms, 1));
    case 1:
        return model.count != 0 ? model.armed[random_below(model.count)].due_ms : model.now_ms;
    case 2:
        return add_saturating(model.now_ms >> shift << shift, ((uint64_t)1 << shift) - random_below(2));
    case 3:
        return UINT64_MAX - random_below(3);
    case 4:
        return add_saturating(model.now_ms, random_below(200));
    default:
        return add_saturating(model.now_ms, random_magnitude());
    }
}

static void both_do_something(void)
{
    int timer = (int)random_below(MODEL_TIMERS);
    if (random_below(3) == 0)
        both_cancel(timer);
    else
        both_arm(timer, random_deadline_ms());
}

/* The first armed timer that this advance must fire, or count when there is none left. Within the array due entries
 * come first, but those armed during the advance are among them. */
static size_t model_first_due(void)
{
    size_t at = 0;
    while (at < model.count && model.armed[at].armed_at >= model.batch_until)
        at++;
    return at < model.count && model.armed[at].due_ms <= model.now_ms ? at : model.count;
}

static void model_fired(struct rill_timer *timer)
{
    size_t at = model_first_due();
    expect_or(at < model.count, "fired although nothing was due");
    expect_eq(model.armed[at].timer, (int)(timer - model.timers));
    expect_le(timer->deadline_ms, model.now_ms);
    expect(!rill_timer_armed(timer));
    model_remove(at);
    model.fired++;
    expect_eq(rill_wheel_count(&model.wheel), model.count);

    while (model.budget > 0 && random_below(2) == 0) {
        model.budget--;
        switch (random_below(4)) {
        case 0:
            both_arm((int)(timer - model.timers), random_deadline_ms());
            break;
        case 1: /* preferably one that is due too */
            at = model_first_due();
            if (at < model.count)
                both_cancel(model.armed[at + random_below(model.count - at)].timer);
            break;
        default:
            both_do_something();
            break;
        }
        wheel_check(&model.wheel);
    }
}

static uint64_t random_time_ms(void)
{
    uint64_t nearest_ms = model.count != 0 ? model.armed[0].due_ms : model.now_ms;
    uint64_t wait_ms = rill_wheel_next(&model.wheel, model.now_ms);
    switch (random_below(8)) {
    case 0:
        return model.now_ms;
    case 1:
        return add_saturating(model.now_ms, random_magnitude() >> 20);
    case 2:
        return nearest_ms;
    case 3:
        return nearest_ms > model.now_ms ? nearest_ms - 1 : model.now_ms;
    case 4:
        return add_saturating(model.now_ms, random_below(5000));
    case 5: /* rarely, or the end of time would come too soon */
        return random_below(50) == 0 ? add_saturating(model.now_ms, random_magnitude())
                                     : model.now_ms + (nearest_ms != UINT64_MAX);
    default:
        return wait_ms == UINT64_MAX || wait_ms > (uint64_t)1 << 50 ? model.now_ms : model.now_ms + wait_ms;
    }
}

static void both_advance(void)
{
    model.now_ms = random_time_ms();
    model.batch_until = model.armings;
    model.fired = 0;
    model.budget = 20;
    size_t fired = rill_wheel_advance(&model.wheel, model.now_ms);
    expect_eq(fired, model.fired);
    expect_or(model_first_due() == model.count, "a due timer did not fire");
}

static void both_compare(void)
{
    wheel_check(&model.wheel);
    expect_eq(rill_wheel_count(&model.wheel), model.count);
    uint64_t wait_ms = rill_wheel_next(&model.wheel, model.now_ms);
    if (model.count == 0)
        expect_eq(wait_ms, UINT64_MAX);
    else
        expect_le(wait_ms, model.armed[0].due_ms - model.now_ms);
    if (model.count != 0 && model.armed[0].due_ms == model.now_ms)
        expect_eq(wait_ms, 0);
    for (int timer = 0; timer < MODEL_TIMERS; timer++)
        expect(rill_timer_armed(&model.timers[timer]) == (model_find(timer) < model.count));
}

START_TEST(random_programs_agree_with_the_reference)
{
    for (uint64_t seed = 0; seed < MODEL_SEEDS; seed++) {
        memset(&model, 0, sizeof(model));
        model.random.state = seed * 1000 + (uint64_t)_i;
        model.now_ms = start_times_ms[_i];
        rill_wheel_init(&model.wheel, model.now_ms);
        for (int timer = 0; timer < MODEL_TIMERS; timer++)
            rill_timer_init(&model.timers[timer], model_fired);
        for (int step = 0; step < MODEL_STEPS; step++) {
            if (random_below(4) == 0)
                both_advance();
            else
                both_do_something();
            both_compare();
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wheel");
    TCase *properties = tcase_create("properties");
    int starts = (int)rill_array_length(start_times_ms);

    tcase_add_loop_test(properties, random_programs_agree_with_the_reference, 0, starts);
    suite_add_tcase(suite, properties);

    return run_suite(suite);
}
