/* test_mt_timers.c - timers that other threads start and cancel while the loop does the same, and while it stops. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "rill/core/timers.h"
#include "support/run_suite.h"

enum { THREADS = 3, ORDERS = 3000, IDS = 64 };

static struct rill_loop *loop;
static uint64_t ids[IDS]; /* atomic: of timers that the loop started, most of them stale by now */

/* Atomic, all of them: who starts a timer and who is called for it are not the same. */
static unsigned accepted, called, destroyed, wrong;

static void count_call(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&called, 1, __ATOMIC_RELAXED);
    if (!rill_loop_is_current(loop))
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

static void count_end(void *arg)
{
    free(arg); /* a second one would be noticed by the sanitizer */
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
}

struct poster {
    pthread_t thread;
    unsigned random;
    bool until_refused;
    int error;
};

static void *give_orders(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; poster->until_refused || i < ORDERS; i++) {
        poster->random = poster->random * 1103515245 + 12345;
        unsigned choice = poster->random >> 8;
        if (choice % 2) {
            struct rill_timer_id id = {__atomic_load_n(&ids[choice / 2 % IDS], __ATOMIC_RELAXED)};
            int error = rill_timer_post_cancel(loop, id);
            if (error == -ESTALE && id.value >> 56 != rill_loop_index(loop))
                error = 0;
            poster->error = error;
        } else {
            struct rill_timer_config config = {
                .delay_ms = choice / 2 % 3, .fn = count_call, .arg = malloc(1), .destroy = count_end};
            poster->error = rill_timer_post_start(loop, &config);
            if (poster->error == 0)
                __atomic_fetch_add(&accepted, 1, __ATOMIC_RELAXED);
            else
                free(config.arg);
        }
        if (poster->error != 0)
            break;
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

/* The loop's own: a timer that stays armed for long enough that others may cancel it. */
struct own {
    struct rill_timer_id id;
    bool cancelled;
};

static struct own *mine[IDS];
static unsigned mine_random = 1;

static void own_called(void *arg)
{
    struct own *own = arg;
    if (own->cancelled)
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    count_call(arg);
}

static void own_ended(void *arg)
{
    for (unsigned i = 0; i < IDS; i++)
        if (mine[i] == arg)
            mine[i] = NULL;
    count_end(arg);
}

/* Every millisecond: starts some, and cancels some, which then must not be called. */
static void stir(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < IDS; i++) {
        mine_random = mine_random * 1103515245 + 12345;
        unsigned choice = mine_random >> 8;
        if (mine[i] && choice % 4 == 0) {
            struct own *own = mine[i];
            own->cancelled = true;
            if (!rill_timer_cancel(loop, own->id)) /* its end, by whatever hand, would have taken it from the list */
                __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        } else if (!mine[i]) {
            mine[i] = calloc(1, sizeof(struct own));
            struct rill_timer_config config = {
                .delay_ms = choice / 4 % 8, .fn = own_called, .arg = mine[i], .destroy = own_ended};
            if (choice % 2)
                config.period_ms = 1;
            if (rill_timer_start(loop, &config, &mine[i]->id) != 0) {
                free(mine[i]);
                mine[i] = NULL;
                continue;
            }
            __atomic_fetch_add(&accepted, 1, __ATOMIC_RELAXED);
            __atomic_store_n(&ids[i], mine[i]->id.value, __ATOMIC_RELAXED);
        }
    }
}

static void *run_loop(void *arg)
{
    return rill_loop_run(arg) == 0 ? NULL : arg;
}

static void begin(pthread_t *runner, struct poster *posters, bool until_refused)
{
    int error;
    accepted = called = destroyed = wrong = 0;
    memset(ids, 0, sizeof ids);
    memset(mine, 0, sizeof mine);
    loop = rill_loop_new(&(struct rill_loop_config){.index = 3}, &error);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(rill_loop_every(loop, 1, stir, NULL, NULL), 0);
    ck_assert_int_eq(pthread_create(runner, NULL, run_loop, loop), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){.random = i + 1, .until_refused = until_refused};
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, give_orders, &posters[i]), 0);
    }
}

static void end(pthread_t runner)
{
    void *result;
    rill_loop_stop(loop);
    ck_assert_int_eq(pthread_join(runner, &result), 0);
    ck_assert_ptr_null(result);
}

START_TEST(every_timer_ends_once)
{
    pthread_t runner;
    struct poster posters[THREADS];
    begin(&runner, posters, false);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(posters[i].thread, NULL);
        ck_assert_int_eq(posters[i].error, 0);
    }
    end(runner);
    rill_loop_free(loop);
    ck_assert_uint_eq(destroyed, accepted);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(called, 0);
}
END_TEST

START_TEST(the_loop_stops_under_them)
{
    pthread_t runner;
    struct poster posters[THREADS];
    begin(&runner, posters, true);
    usleep(3000);
    end(runner);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(posters[i].thread, NULL);
        ck_assert_int_eq(posters[i].error, -ESHUTDOWN);
    }
    rill_loop_free(loop);
    ck_assert_uint_eq(destroyed, accepted);
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timers");
    TCase *all = tcase_create("timers");
    tcase_add_test(all, every_timer_ends_once);
    tcase_add_loop_test(all, the_loop_stops_under_them, 0, 20);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
