/* test_mt_loop_group.c - the group starts whole or not at all, its threads are what they should be, and stopping it
 * loses no task. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "rill/core/loop_group.h"
#include "support/run_suite.h"

static struct rill_loop_group *start_group(const struct rill_loop_group_config *config)
{
    int error = 1;
    struct rill_loop_group *group = rill_loop_group_start(config, &error);
    ck_assert_ptr_nonnull(group);
    ck_assert_int_eq(error, 0);
    return group;
}

static int count_entries(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* What a thread of the group says about itself. */
struct report {
    char name[16];
    struct rill_loop *loop;
    pthread_t thread;
    sigset_t blocked;
    cpu_set_t cpus;
};

static void describe(void *arg)
{
    struct report *report = arg;
    report->loop = rill_loop_current();
    report->thread = pthread_self();
    pthread_getname_np(pthread_self(), report->name, sizeof(report->name));
    pthread_sigmask(SIG_SETMASK, NULL, &report->blocked);
    sched_getaffinity(0, sizeof(report->cpus), &report->cpus);
}

START_TEST(loops_run_on_threads_of_their_own)
{
    struct report reports[3];
    sigset_t after;
    struct rill_loop_group *group = start_group(
        &(struct rill_loop_group_config){.name = "sub", .count = 3, .first_index = 1, .read_buffer_bytes = 4096});
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_int_eq(sigismember(&after, SIGTERM), 0); /* the starting thread still gets them */
    ck_assert_uint_eq(rill_loop_group_count(group), 3);
    for (unsigned i = 0; i < 3; i++) {
        struct rill_loop *loop = rill_loop_group_loop(group, i);
        ck_assert_uint_eq(rill_loop_index(loop), 1 + i);
        ck_assert_int_eq(rill_post(loop, describe, &reports[i]), 0);
    }
    struct rill_loop *loops[3] = {rill_loop_group_loop(group, 0), rill_loop_group_loop(group, 1),
                                  rill_loop_group_loop(group, 2)};
    rill_loop_group_stop(group); /* which runs what was posted */
    static const char *const names[] = {"sub-0", "sub-1", "sub-2"};
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_ptr_eq(reports[i].loop, loops[i]);
        ck_assert_str_eq(reports[i].name, names[i]);
        ck_assert(!pthread_equal(reports[i].thread, pthread_self()));
        ck_assert_int_eq(sigismember(&reports[i].blocked, SIGTERM), 1);
        ck_assert_int_eq(sigismember(&reports[i].blocked, SIGPIPE), 1);
    }
}
END_TEST

START_TEST(long_names_keep_their_number)
{
    struct rill_loop_group *group =
        start_group(&(struct rill_loop_group_config){.name = "a name that is too long", .count = 11});
    ck_assert_str_eq(rill_loop_name(rill_loop_group_loop(group, 0)), "a name that i-0");
    ck_assert_str_eq(rill_loop_name(rill_loop_group_loop(group, 10)), "a name that -10");
    rill_loop_group_stop(group);
    group = start_group(&(struct rill_loop_group_config){.count = 1});
    ck_assert_str_eq(rill_loop_name(rill_loop_group_loop(group, 0)), "reactor-0");
    rill_loop_group_stop(group);
    rill_loop_group_stop(NULL);
}
END_TEST

START_TEST(pinned_loops_share_the_cpus_in_turn)
{
    cpu_set_t allowed;
    ck_assert_int_eq(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    unsigned cpus = (unsigned)CPU_COUNT(&allowed), count = cpus < 60 ? cpus + 1 : 61;
    struct report *reports = calloc(count, sizeof(*reports));
    /* That the starting thread is bound itself must not bind them all to the same CPU. */
    ck_assert_int_eq(rill_thread_pin(0), 0);
    struct rill_loop_group *group = start_group(&(struct rill_loop_group_config){.count = count, .pin = true});
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(rill_post(rill_loop_group_loop(group, i), describe, &reports[i]), 0);
    rill_loop_group_stop(group);
    for (unsigned i = 0; i < count; i++) {
        cpu_set_t both;
        ck_assert_int_eq(CPU_COUNT(&reports[i].cpus), 1);
        CPU_AND(&both, &reports[i].cpus, &allowed);
        ck_assert_int_eq(CPU_COUNT(&both), 1);
        for (unsigned j = 0; j < i; j++)
            ck_assert_int_eq(CPU_EQUAL(&reports[i].cpus, &reports[j].cpus) != 0, i % cpus == j % cpus);
    }
    free(reports);
}
END_TEST

START_TEST(bad_counts_are_refused)
{
    static const struct rill_loop_group_config bad[] = {
        {.count = 0},
        {.count = RILL_LOOP_MAX},
        {.count = 2, .first_index = RILL_LOOP_MAX - 1},
    };
    for (size_t i = 0; i < rill_array_length(bad); i++) {
        int error = 0;
        ck_assert_ptr_null(rill_loop_group_start(&bad[i], &error));
        ck_assert_int_eq(error, -EINVAL);
    }
}
END_TEST

START_TEST(nothing_is_left_when_descriptors_run_out)
{
    int fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task"), error = 0;
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)fds + 8; /* a loop takes five */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rill_loop_group *group = rill_loop_group_start(&(struct rill_loop_group_config){.count = 4}, &error);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_ptr_null(group);
    ck_assert_int_eq(error, -EMFILE);
    ck_assert_int_eq(count_entries("/proc/self/fd"), fds);
    ck_assert_int_eq(count_entries("/proc/self/task"), threads);
}
END_TEST

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

#ifndef SANITIZED
/* Runs threads out by their stacks: the address space has room for the loops, not for the stacks of all. (Sanitizers
 * take terabytes of it.) */
START_TEST(nothing_is_left_when_a_thread_cannot_start)
{
    int threads = count_entries("/proc/self/task"), fds = count_entries("/proc/self/fd"), error = 0;
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 120 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    struct rill_loop_group *group = rill_loop_group_start(&(struct rill_loop_group_config){.count = 64}, &error);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_assert_ptr_null(group);
    ck_assert_int_eq(error, -EAGAIN);
    ck_assert_int_eq(count_entries("/proc/self/fd"), fds);
    ck_assert_int_eq(count_entries("/proc/self/task"), threads);
}
END_TEST
#endif

struct hop {
    struct rill_task task;
    struct rill_loop_group *group;
    unsigned left;
    unsigned refused;
};

static void hop_on(struct rill_task *task)
{
    struct hop *hop = rill_container_of(task, struct hop, task);
    hop->left--;
    struct rill_loop *next = rill_loop_group_loop(hop->group, hop->left % rill_loop_group_count(hop->group));
    if (hop->left > 0 && rill_loop_post(next, &hop->task) != 0)
        hop->refused = 1;
}

START_TEST(a_task_goes_round_the_loops)
{
    struct rill_loop_group *group = start_group(&(struct rill_loop_group_config){.count = 3});
    struct hop hops[4];
    for (unsigned i = 0; i < rill_array_length(hops); i++) {
        hops[i] = (struct hop){{NULL, hop_on}, group, 1000, 0};
        ck_assert_int_eq(rill_loop_post(rill_loop_group_loop(group, i % 3), &hops[i].task), 0);
    }
    rill_loop_group_stop(group);
    /* Stopped in the middle or not, a hop either came to its end or was told that it cannot go on. */
    for (unsigned i = 0; i < rill_array_length(hops); i++)
        ck_assert_int_eq(hops[i].left == 0, hops[i].refused == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_loop_group");
    TCase *tcase = tcase_create("group");
    tcase_add_test(tcase, loops_run_on_threads_of_their_own);
    tcase_add_test(tcase, long_names_keep_their_number);
    tcase_add_test(tcase, pinned_loops_share_the_cpus_in_turn);
    tcase_add_test(tcase, bad_counts_are_refused);
    tcase_add_test(tcase, nothing_is_left_when_descriptors_run_out);
#ifndef SANITIZED
    tcase_add_test(tcase, nothing_is_left_when_a_thread_cannot_start);
#endif
    tcase_add_test(tcase, a_task_goes_round_the_loops);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
