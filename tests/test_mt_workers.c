/* test_mt_workers.c - the pool: bounded, with deadlines and cancelling, and `done` exactly once whatever happens. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

#include "rill/core/workers.h"
#include "support/run_suite.h"

enum { MANY_JOBS = 20000 };

/* A job that says when it has begun, and waits to be let go when it has a gate. */
struct test_job {
    struct rill_job job;
    sem_t *begun;
    sem_t *gate;
    bool ran;
    unsigned done_count;
    enum rill_job_outcome outcome;
    bool saw_cancel;
    bool done_on_loop;
    pthread_t done_thread;
};

static unsigned jobs_done; /* the thread's that runs `done`: one loop in each test */

static void run_job(struct rill_job *job)
{
    struct test_job *test = rill_container_of(job, struct test_job, job);
    test->ran = true;
    if (test->begun != NULL)
        sem_post(test->begun);
    if (test->gate != NULL)
        sem_wait(test->gate);
    test->saw_cancel = rill_job_cancelled(job);
}

static void job_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct test_job *test = rill_container_of(job, struct test_job, job);
    test->done_count++;
    test->outcome = outcome;
    test->done_on_loop = rill_loop_is_current(job->loop);
    test->done_thread = pthread_self();
    jobs_done++;
}

static struct rill_loop *loop;
static struct rill_workers *workers;
static sem_t begun, gate;

static void set_up(void)
{
    int error;
    jobs_done = 0;
    loop = rill_loop_new(&(struct rill_loop_config){.name = "jobs"}, &error);
    ck_assert_ptr_nonnull(loop);
    sem_init(&begun, 0, 0);
    sem_init(&gate, 0, 0);
}

static void tear_down(void)
{
    rill_workers_stop(workers);
    rill_loop_free(loop);
    sem_destroy(&begun);
    sem_destroy(&gate);
}

static void start_workers(unsigned threads, unsigned queue_length)
{
    int error = 1;
    workers =
        rill_workers_start(&(struct rill_workers_config){.threads = threads, .queue_length = queue_length}, &error);
    ck_assert_ptr_nonnull(workers);
    ck_assert_int_eq(error, 0);
}

static struct test_job make_job(void)
{
    return (struct test_job){.job = {.run = run_job, .done = job_done, .loop = loop}};
}

static struct test_job make_gated_job(void)
{
    struct test_job test = make_job();
    test.begun = &begun;
    test.gate = &gate;
    return test;
}

static void must_submit(struct test_job *test)
{
    ck_assert_int_eq(rill_workers_submit(workers, &test->job), 0);
}

static void await_done(unsigned count)
{
    while (jobs_done < count)
        ck_assert_int_eq(rill_loop_turn(loop, true), 0);
}

static void check_ended(const struct test_job *test, enum rill_job_outcome outcome)
{
    ck_assert_uint_eq(test->done_count, 1);
    ck_assert_int_eq(test->outcome, outcome);
    ck_assert_int_eq(test->ran, outcome == RILL_JOB_RAN);
}

START_TEST(a_job_runs_and_comes_back)
{
    start_workers(2, 10);
    struct test_job test = make_job();
    must_submit(&test);
    await_done(1);
    check_ended(&test, RILL_JOB_RAN);
    ck_assert(test.done_on_loop);
    ck_assert(!test.saw_cancel);
    struct rill_workers_stats stats;
    rill_workers_stats(workers, &stats);
    ck_assert_uint_eq(stats.submitted, 1);
    ck_assert_uint_eq(stats.ran, 1);
    ck_assert_uint_eq(stats.refused + stats.expired + stats.cancelled + stats.queued + stats.running, 0);
    ck_assert_uint_eq(stats.wait_ns, rill_job_waited_ns(&test.job));
    ck_assert_uint_eq(stats.run_ns, rill_job_ran_ns(&test.job));
    ck_assert_uint_eq(stats.wait_us.total, 1);
    ck_assert_uint_eq(stats.wait_us.sum, rill_job_waited_ns(&test.job) / 1000);
    ck_assert_uint_eq(stats.run_us.total, 1);
    ck_assert_uint_eq(stats.run_us.max, rill_job_ran_ns(&test.job) / 1000);
    ck_assert_uint_ge(rill_histogram_quantile(&stats.run_us, 1), stats.run_us.sum); /* the copy has its own counts */
    ck_assert_uint_le(test.job.finished_ns, rill_clock_ns());
    ck_assert_uint_le(test.job.queued_ns, test.job.started_ns);
    ck_assert_uint_le(test.job.started_ns, test.job.finished_ns);
}
END_TEST

START_TEST(a_full_queue_refuses)
{
    start_workers(1, 2);
    struct test_job running = make_gated_job(), waiting[2] = {make_job(), make_job()}, refused = make_job();
    must_submit(&running);
    sem_wait(&begun); /* so it does not wait in the queue any more */
    must_submit(&waiting[0]);
    must_submit(&waiting[1]);
    ck_assert_int_eq(rill_workers_submit(workers, &refused.job), -EAGAIN);
    struct rill_workers_stats stats;
    rill_workers_stats(workers, &stats);
    ck_assert_uint_eq(stats.queued, 2);
    ck_assert_uint_eq(stats.running, 1);
    ck_assert_uint_eq(stats.refused, 1);
    sem_post(&gate);
    await_done(3);
    check_ended(&running, RILL_JOB_RAN);
    check_ended(&waiting[0], RILL_JOB_RAN);
    check_ended(&waiting[1], RILL_JOB_RAN);
    ck_assert_uint_eq(refused.done_count, 0);
    must_submit(&refused); /* there is room again */
    await_done(4);
    check_ended(&refused, RILL_JOB_RAN);
}
END_TEST

START_TEST(an_expired_job_is_not_started)
{
    start_workers(1, 10);
    uint64_t now_ms = rill_clock_ns() / 1000000;
    struct test_job running = make_gated_job(), late = make_job(), in_time = make_job();
    late.job.deadline_ms = now_ms - 1;
    in_time.job.deadline_ms = now_ms + 3600 * 1000;
    must_submit(&running);
    sem_wait(&begun);
    must_submit(&late);
    must_submit(&in_time);
    sem_post(&gate);
    await_done(3);
    check_ended(&late, RILL_JOB_EXPIRED);
    check_ended(&in_time, RILL_JOB_RAN);
    ck_assert_uint_eq(rill_job_ran_ns(&late.job), 0);
    struct rill_workers_stats stats;
    rill_workers_stats(workers, &stats);
    ck_assert_uint_eq(stats.expired, 1);
    ck_assert_uint_eq(stats.ran, 2);
}
END_TEST

START_TEST(a_deadline_does_not_end_a_job_that_runs)
{
    start_workers(1, 10);
    struct test_job running = make_gated_job();
    running.job.deadline_ms = rill_clock_ns() / 1000000 + 3600 * 1000;
    must_submit(&running);
    sem_wait(&begun);
    running.job.deadline_ms = 1; /* an hour has passed */
    sem_post(&gate);
    await_done(1);
    check_ended(&running, RILL_JOB_RAN);
}
END_TEST

START_TEST(cancelled_before_it_runs)
{
    start_workers(1, 10);
    struct test_job running = make_gated_job(), cancelled = make_job(), both = make_job();
    both.job.deadline_ms = 1;
    must_submit(&running);
    sem_wait(&begun);
    must_submit(&cancelled);
    must_submit(&both);
    rill_job_cancel(&cancelled.job);
    rill_job_cancel(&both.job);
    sem_post(&gate);
    await_done(3);
    check_ended(&cancelled, RILL_JOB_CANCELLED);
    check_ended(&both, RILL_JOB_CANCELLED);
    struct rill_workers_stats stats;
    rill_workers_stats(workers, &stats);
    ck_assert_uint_eq(stats.cancelled, 2);
}
END_TEST

START_TEST(cancelled_while_it_runs)
{
    start_workers(1, 10);
    struct test_job running = make_gated_job();
    must_submit(&running);
    sem_wait(&begun);
    rill_job_cancel(&running.job);
    sem_post(&gate);
    await_done(1);
    check_ended(&running, RILL_JOB_RAN);
    ck_assert(running.saw_cancel);
}
END_TEST

static void *open_gate_when_stopping(void *arg)
{
    /* The pool refuses only once it has cancelled what waited. */
    struct test_job *probe = arg;
    while (rill_workers_submit(workers, &probe->job) != -ESHUTDOWN)
        sched_yield();
    sem_post(&gate);
    return NULL;
}

START_TEST(stop_cancels_what_waits_and_lets_run_what_runs)
{
    start_workers(1, 2);
    struct test_job running = make_gated_job(), waiting[2] = {make_job(), make_job()}, probe = make_job();
    must_submit(&running);
    sem_wait(&begun);
    must_submit(&waiting[0]);
    must_submit(&waiting[1]);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, open_gate_when_stopping, &probe), 0);
    rill_workers_stop(workers);
    pthread_join(thread, NULL);
    workers = NULL;
    ck_assert_uint_eq(jobs_done, 0); /* the loop had no turn yet */
    await_done(3);
    check_ended(&running, RILL_JOB_RAN);
    check_ended(&waiting[0], RILL_JOB_CANCELLED);
    check_ended(&waiting[1], RILL_JOB_CANCELLED);
    ck_assert(waiting[0].done_on_loop);
    ck_assert_uint_eq(probe.done_count, 0);
}
END_TEST

START_TEST(done_is_called_by_stop_when_the_loop_has_ended)
{
    start_workers(1, 10);
    struct test_job running = make_gated_job(), waiting = make_job();
    must_submit(&running);
    sem_wait(&begun);
    must_submit(&waiting);
    rill_loop_stop(loop);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    sem_post(&gate);
    rill_workers_stop(workers);
    workers = NULL;
    ck_assert_uint_eq(jobs_done, 2);
    check_ended(&running, RILL_JOB_RAN);
    ck_assert_uint_eq(waiting.done_count, 1); /* it may have run in time */
    ck_assert(pthread_equal(running.done_thread, pthread_self()));
    ck_assert(!running.done_on_loop);
}
END_TEST

static void count_and_free(struct rill_job *job, enum rill_job_outcome outcome)
{
    (void)outcome;
    jobs_done++;
    free(job);
}

static void run_nothing(struct rill_job *job)
{
    (void)job;
}

static unsigned submit_many(unsigned count)
{
    unsigned accepted = 0;
    for (unsigned i = 0; i < count; i++) {
        struct rill_job *job = calloc(1, sizeof(*job));
        ck_assert_ptr_nonnull(job);
        job->run = run_nothing;
        job->done = count_and_free;
        job->loop = loop;
        job->deadline_ms = i % 7 == 0 ? 1 : 0;
        int error = rill_workers_submit(workers, job);
        if (error == 0 && i % 11 == 0)
            rill_job_cancel(job); /* it cannot be gone: its `done` needs a turn of this loop */
        if (error == 0) {
            accepted++;
            continue;
        }
        free(job);
        if (rill_loop_turn(loop, false) != 0)
            ck_abort();
    }
    return accepted;
}

START_TEST(many_jobs_each_done_once)
{
    start_workers(4, 100);
    unsigned accepted = submit_many(MANY_JOBS);
    await_done(accepted);
    struct rill_workers_stats stats;
    rill_workers_stats(workers, &stats);
    ck_assert_uint_eq(stats.submitted, accepted);
    ck_assert_uint_eq(stats.submitted + stats.refused, MANY_JOBS);
    ck_assert_uint_eq(stats.ran + stats.expired + stats.cancelled, accepted);
    ck_assert_uint_eq(stats.queued + stats.running, 0);
}
END_TEST

START_TEST(stop_in_the_middle_each_done_once)
{
    for (int round = 0; round < 50; round++) {
        jobs_done = 0;
        start_workers(3, 50);
        unsigned accepted = submit_many((unsigned)round * 5);
        bool loop_ends_first = round % 2 != 0;
        if (loop_ends_first) {
            rill_loop_stop(loop);
            ck_assert_int_eq(rill_loop_run(loop), 0);
        }
        rill_workers_stop(workers);
        workers = NULL;
        if (!loop_ends_first && jobs_done < accepted)
            await_done(accepted);
        ck_assert_uint_eq(jobs_done, accepted);
        if (loop_ends_first) {
            int error;
            rill_loop_free(loop);
            loop = rill_loop_new(&(struct rill_loop_config){.name = "jobs"}, &error);
        }
    }
}
END_TEST

static char thread_name[16];
static sigset_t thread_mask;

static void describe_thread(struct rill_job *job)
{
    (void)job;
    pthread_getname_np(pthread_self(), thread_name, sizeof(thread_name));
    pthread_sigmask(SIG_SETMASK, NULL, &thread_mask);
}

START_TEST(threads_are_named_and_get_no_signals)
{
    int error;
    workers =
        rill_workers_start(&(struct rill_workers_config){.name = "disk", .threads = 1, .queue_length = 1}, &error);
    struct test_job test = make_job();
    test.job.run = describe_thread;
    must_submit(&test);
    await_done(1);
    ck_assert_str_eq(thread_name, "disk-0");
    ck_assert_int_eq(sigismember(&thread_mask, SIGTERM), 1);
}
END_TEST

START_TEST(bad_configurations_are_refused)
{
    static const struct rill_workers_config bad[] = {
        {.threads = 0, .queue_length = 1}, {.threads = 1025, .queue_length = 1}, {.threads = 1}};
    for (size_t i = 0; i < rill_array_length(bad); i++) {
        int error = 0;
        ck_assert_ptr_null(rill_workers_start(&bad[i], &error));
        ck_assert_int_eq(error, -EINVAL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_workers");
    TCase *tcase = tcase_create("workers");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_job_runs_and_comes_back);
    tcase_add_test(tcase, a_full_queue_refuses);
    tcase_add_test(tcase, an_expired_job_is_not_started);
    tcase_add_test(tcase, a_deadline_does_not_end_a_job_that_runs);
    tcase_add_test(tcase, cancelled_before_it_runs);
    tcase_add_test(tcase, cancelled_while_it_runs);
    tcase_add_test(tcase, stop_cancels_what_waits_and_lets_run_what_runs);
    tcase_add_test(tcase, done_is_called_by_stop_when_the_loop_has_ended);
    tcase_add_test(tcase, many_jobs_each_done_once);
    tcase_add_test(tcase, stop_in_the_middle_each_done_once);
    tcase_add_test(tcase, threads_are_named_and_get_no_signals);
    tcase_add_test(tcase, bad_configurations_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
