/* test_wheel - the timing wheel: tables at the borders of its levels, callbacks that interfere, and random programs
 * against a reference that is a sorted array. */
#include "rill/core/base.h"
#include "rill/timer/wheel.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Check writes a record for every assertion that passes, and reads them all back: with millions of them a test takes
 * minutes. These speak only when they fail. */
#define expect_or(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)
#define expect(condition) expect_or(condition, "%s", "expected " #condition)
#define expect_that(a, op, b)                                                                                          \
    do {                                                                                                               \
        uint64_t expect_a = (uint64_t)(a);                                                                             \
        uint64_t expect_b = (uint64_t)(b);                                                                             \
        expect_or(expect_a op expect_b, "expected %s: %" PRIu64 " and %" PRIu64, #a " " #op " " #b, expect_a,          \
                  expect_b);                                                                                           \
    } while (0)
#define expect_eq(a, b) expect_that(a, ==, b)
#define expect_lt(a, b) expect_that(a, <, b)
#define expect_le(a, b) expect_that(a, <=, b)
#define expect_gt(a, b) expect_that(a, >, b)

static void wheel_check(const struct rill_wheel *checked)
{
    const char *why = "";
    expect_or(rill_wheel_validate(checked, &why), "%s", why);
}

/* ---- Tables ---- */

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

/* Times at which a wheel starts: digits of zeros, of ones, and in between. */
static const uint64_t start_times_ms[] = {
    0,
    1,
    62,
    63,
    64,
    65,
    4095,
    4096,
    1234567,
    262143,
    ((uint64_t)1 << 24) - 1,
    ((uint64_t)1 << 32) - 1,
    ((uint64_t)1 << 32) + 1,
    ((uint64_t)1 << 36) - 2,
    ((uint64_t)1 << 60) - 1,
    ((uint64_t)1 << 60),
    ((uint64_t)1 << 63) - 1,
    0xfedcba9876543210u,
    UINT64_MAX - 4097,
};

/* The distances to try: one below, at, and one above every power of two, so every border of every level. 0 after the
 * last one. */
static uint64_t distance_ms(int index)
{
    if (index < 1)
        return 1;
    int power = index / 3 + 1;
    return power > 63 ? 0 : ((uint64_t)1 << power) + (uint64_t)(index % 3) - 1;
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
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

/* ---- Callbacks that interfere ---- */

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
    return advance(now_ms);
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

/* ---- Random programs against a reference ---- */

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
    uint64_t random;
    size_t fired;
    size_t budget; /* what callbacks may still do in this advance */
};

static struct model model;

static uint64_t random_next(void)
{
    uint64_t z = model.random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t random_below(uint64_t limit)
{
    return random_next() % limit;
}

/* As many small numbers as large ones. */
static uint64_t random_magnitude(void)
{
    return random_next() >> random_below(64);
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
        model.random = seed * 1000 + (uint64_t)_i;
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

/* Every millisecond for a while, so that each slot of the low levels is passed one tick at a time. */
START_TEST(every_tick_agrees_with_the_reference)
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

int main(void)
{
    Suite *suite = suite_create("wheel");
    TCase *tables = tcase_create("tables");
    TCase *callbacks = tcase_create("callbacks");
    TCase *properties = tcase_create("properties");
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
    tcase_add_test(callbacks, cancelled_by_a_callback_of_its_batch);
    tcase_add_test(callbacks, cancelled_by_a_callback_while_still_waiting);
    tcase_add_test(callbacks, armed_by_a_callback_waits_for_a_later_advance);
    tcase_add_test(callbacks, periodic_timer_runs_once_an_advance);
    tcase_add_test(callbacks, advance_from_a_callback_does_nothing);
    tcase_add_test(callbacks, callback_frees_its_owner);
    tcase_add_test(properties, validate_sees_damage);
    tcase_add_loop_test(properties, random_programs_agree_with_the_reference, 0, starts);
    tcase_add_loop_test(properties, every_tick_agrees_with_the_reference, 0, starts);
    suite_add_tcase(suite, tables);
    suite_add_tcase(suite, callbacks);
    suite_add_tcase(suite, properties);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
