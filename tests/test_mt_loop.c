/* test_mt_loop.c - a loop and threads that post to it: nothing lost, wake-ups coalesced, stopping and freeing while
 * posters are still about. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "rill/core/loop_internal.h"
#include "support/run_suite.h"

enum { BACKENDS = RILL_BACKEND_SELECT + 1, POSTERS = 4, POSTS = 10000, STOP_ROUNDS = 50, FREE_ROUNDS = 200 };

struct poster {
    struct rill_loop *loop;
    pthread_t thread;
    unsigned posts;    /* to make; 0: until refused */
    unsigned accepted; /* the poster's */
    unsigned run;      /* the loop's */
    bool out_of_order; /* the loop's */
    int error;
};

struct numbered_task {
    struct rill_task task;
    struct poster *poster;
    unsigned number;
};

static void run_numbered(struct rill_task *task)
{
    struct numbered_task *numbered = rill_container_of(task, struct numbered_task, task);
    struct poster *poster = numbered->poster;
    poster->out_of_order |= numbered->number != poster->run;
    poster->run++;
    free(numbered);
}

static void *post_many(void *arg)
{
    struct poster *poster = arg;
    while (poster->posts == 0 || poster->accepted < poster->posts) {
        struct numbered_task *numbered = malloc(sizeof(*numbered));
        *numbered = (struct numbered_task){{NULL, run_numbered}, poster, poster->accepted};
        poster->error = rill_loop_post(poster->loop, &numbered->task);
        if (poster->error != 0) {
            free(numbered);
            break;
        }
        poster->accepted++;
        if (poster->posts == 0 && poster->accepted % 16 == 0)
            sched_yield(); /* so that those who are to stop it get a turn, too */
    }
    return NULL;
}

static void *run_loop(void *arg)
{
    return rill_loop_run(arg) == 0 ? NULL : arg;
}

static struct rill_loop *new_loop(int backend)
{
    int error;
    struct rill_loop *loop = rill_loop_new(&(struct rill_loop_config){.backend = (enum rill_backend)backend}, &error);
    ck_assert_ptr_nonnull(loop);
    return loop;
}

static pthread_t start(void *(*main)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, main, arg), 0);
    return thread;
}

static void join(pthread_t thread)
{
    void *result;
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_ptr_null(result);
}

static void start_posters(struct poster *posters, struct rill_loop *loop, unsigned posts)
{
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.loop = loop, .posts = posts};
        posters[i].thread = start(post_many, &posters[i]);
    }
}

static void check_poster(const struct poster *poster)
{
    ck_assert_uint_eq(poster->run, poster->accepted);
    ck_assert(!poster->out_of_order);
}

START_TEST(every_post_runs_once_and_in_order)
{
    struct rill_loop *loop = new_loop(_i);
    struct poster posters[POSTERS];
    pthread_t runner = start(run_loop, loop);
    start_posters(posters, loop, POSTS);
    for (int i = 0; i < POSTERS; i++)
        join(posters[i].thread);
    rill_loop_stop(loop);
    join(runner);
    for (int i = 0; i < POSTERS; i++) {
        ck_assert_uint_eq(posters[i].accepted, POSTS);
        check_poster(&posters[i]);
    }
    /* Never more wake-ups than takes, and all of them have been written by now. */
    uint64_t wakes = loop->wakes_seen, unread;
    if (read(loop->wake_fd, &unread, sizeof(unread)) > 0)
        wakes += unread;
    ck_assert_uint_le(loop->wakes_owed, POSTERS * POSTS);
    ck_assert_uint_eq(wakes, loop->wakes_owed + 1); /* 1: the stop */
    loop->wakes_seen = wakes;
    rill_loop_free(loop);
}
END_TEST

START_TEST(posts_that_find_others_wake_nobody)
{
    struct rill_loop *loop = new_loop(_i);
    struct poster poster = {.loop = loop, .posts = 1000};
    uint64_t writes;
    for (unsigned turn = 1; turn <= 3; turn++) {
        poster.posts = 1000 * turn;
        post_many(&poster);
        ck_assert_int_eq(read(loop->wake_fd, &writes, sizeof(writes)), sizeof(writes));
        ck_assert_uint_eq(writes, 1);
        loop->wakes_seen += writes;
        ck_assert_int_eq(rill_loop_turn(loop, false), 0);
        ck_assert_uint_eq(poster.run, poster.posts);
    }
    check_poster(&poster);
    rill_loop_free(loop);
}
END_TEST

START_TEST(a_post_wakes_a_waiting_loop)
{
    struct rill_loop *loop = new_loop(_i);
    struct poster poster = {.loop = loop, .posts = 1};
    poster.thread = start(post_many, &poster);
    while (poster.run == 0)
        ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    join(poster.thread);
    /* And again, with the descriptor's counter no longer at 0. */
    poster.posts = 2;
    poster.thread = start(post_many, &poster);
    while (poster.run == 1)
        ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    join(poster.thread);
    check_poster(&poster);
    rill_loop_free(loop);
}
END_TEST

START_TEST(stop_refuses_or_runs)
{
    for (int round = 0; round < STOP_ROUNDS; round++) {
        struct rill_loop *loop = new_loop(_i);
        struct poster posters[POSTERS];
        pthread_t runner = start(run_loop, loop);
        start_posters(posters, loop, 0);
        if (round % 4 != 0)
            usleep((useconds_t)(round % 10) * 20);
        rill_loop_stop(loop);
        join(runner);
        for (int i = 0; i < POSTERS; i++) {
            join(posters[i].thread);
            ck_assert_int_eq(posters[i].error, -ESHUTDOWN);
            check_poster(&posters[i]);
        }
        rill_loop_free(loop);
    }
}
END_TEST

static void stop_current(void *arg)
{
    (void)arg;
    rill_loop_stop(rill_loop_current());
}

static void *post_the_stop(void *arg)
{
    return rill_post(arg, stop_current, NULL) == 0 ? NULL : arg;
}

/* The task may stop the loop, and the loop be freed, while the thread that posted it is still in rill_loop_post(). */
START_TEST(a_loop_may_go_while_its_last_poster_returns)
{
    for (int round = 0; round < FREE_ROUNDS; round++) {
        struct rill_loop *loop = new_loop(_i);
        pthread_t poster = start(post_the_stop, loop);
        ck_assert_int_eq(rill_loop_run(loop), 0);
        rill_loop_free(loop);
        join(poster);
    }
}
END_TEST

static bool has_written;

/* rill_loop_post() in slow motion: pushes, and comes to wake the loop only when all is over. */
static void *post_slowly(void *arg)
{
    struct rill_loop *loop = arg;
    struct numbered_task *numbered = malloc(sizeof(*numbered));
    static struct poster poster;
    *numbered = (struct numbered_task){{NULL, run_numbered}, &poster, 0};
    int pushed = rill_mailbox_push(&loop->mailbox, &numbered->task);
    rill_loop_stop(loop);
    usleep(20000);
    uint64_t one = 1;
    has_written = write(loop->wake_fd, &one, sizeof(one)) == sizeof(one);
    return pushed == 1 ? NULL : arg;
}

START_TEST(free_waits_for_a_slow_poster)
{
    struct rill_loop *loop = new_loop(_i);
    has_written = false;
    pthread_t poster = start(post_slowly, loop);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    rill_loop_free(loop);
    join(poster);
    ck_assert(has_written);
}
END_TEST

START_TEST(stop_from_many_threads)
{
    struct rill_loop *loop = new_loop(_i);
    pthread_t runner = start(run_loop, loop);
    struct poster poster = {.loop = loop};
    poster.thread = start(post_many, &poster);
    for (int i = 0; i < 3; i++)
        rill_loop_stop(loop);
    join(runner);
    join(poster.thread);
    rill_loop_stop(loop); /* after the end: nothing happens */
    check_poster(&poster);
    rill_loop_free(loop);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_loop");
    TCase *tcase = tcase_create("loop");
    tcase_add_loop_test(tcase, every_post_runs_once_and_in_order, 0, BACKENDS);
    tcase_add_loop_test(tcase, posts_that_find_others_wake_nobody, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_post_wakes_a_waiting_loop, 0, BACKENDS);
    tcase_add_loop_test(tcase, stop_refuses_or_runs, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_loop_may_go_while_its_last_poster_returns, 0, BACKENDS);
    tcase_add_loop_test(tcase, free_waits_for_a_slow_poster, 0, BACKENDS);
    tcase_add_loop_test(tcase, stop_from_many_threads, 0, BACKENDS);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
