/* workers.c - the pool: one mutex, one bounded queue, a fixed number of threads.
 *
 * A lock is right here, unlike in a mailbox: a job costs a blocking call, and the queue must be counted to be bounded.
 * The lock is held for a few assignments at a time, never while a job or a `done` runs. Accounting is over before a job
 * is posted to its loop, for from then on it is the loop's and may be freed. */
#include "rill/core/workers.h"

#include <pthread.h>

#include "rill/core/crash_internal.h"
#include "rill/core/loop_group.h"
#include "rill/core/sys.h"
#include "rill/core/thread_internal.h"
#include "rill/core/trace.h"

enum { THREADS_MAX = 1024 };

#define NS_PER_MS 1000000u

/* Jobs, oldest first, linked through `next`. */
struct job_list {
    struct rill_job *first;
    struct rill_job **end;
};

struct rill_workers {
    /* Fixed after the start. */
    unsigned queue_length;
    unsigned thread_count;
    struct rill_trace *trace;
    char name[16];

    pthread_mutex_t lock;
    pthread_cond_t work_or_stop;     /* with `lock`: a job is queued, or `stopping` */
    struct job_list queue;           /* lock */
    struct job_list orphans;         /* lock: finished, but refused by their loop, which has stopped */
    struct rill_workers_stats stats; /* lock; `queued` is the length of `queue` */
    unsigned named;                  /* lock: threads that have taken their number */
    bool stopping;                   /* lock */

    pthread_t threads[];
};

static void list_init(struct job_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_push(struct job_list *list, struct rill_job *job)
{
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
}

static struct rill_job *list_pop(struct job_list *list)
{
    struct rill_job *job = list->first;
    list->first = job->next;
    if (list->first == NULL)
        list_init(list);
    return job;
}

/* ---- Tracing ------------------------------------------------------------------------------------------- */

/* Which traced request's callback gives JOB to the pool. */
static uint64_t submitted_for(const struct rill_job *job)
{
    const struct rill_trace_lane *lane = rill_loop_trace(job->loop);
    return RILL_UNLIKELY(lane != NULL) && rill_loop_is_current(job->loop) ? rill_trace_current(lane) : 0;
}

static void note_run(struct rill_trace_lane *lane, const struct rill_job *job)
{
    struct rill_trace_mark wait = {job->traced, job->queued_ns}, run = {job->traced, job->started_ns};
    rill_trace_record(lane, RILL_TRACE_POOL_WAIT, wait, job->started_ns, false);
    rill_trace_record(lane, RILL_TRACE_POOL_RUN, run, job->finished_ns, false);
}

static void done_traced(struct rill_job *job)
{
    struct rill_trace_lane *lane = rill_loop_trace(job->loop);
    struct rill_trace_mark wake_up = {job->traced, job->finished_ns}, done = {job->traced, rill_sys_monotonic_ns()};
    rill_trace_record(lane, RILL_TRACE_WAKE_UP, wake_up, done.began_ns, false);
    rill_trace_set_current(lane, done.id);
    job->done(job, (enum rill_job_outcome)job->outcome);
    rill_trace_set_current(lane, 0);
    rill_trace_record(lane, RILL_TRACE_POOL_DONE, done, rill_sys_monotonic_ns(), false);
}

/* ---- One job ------------------------------------------------------------------------------------------- */

/* On the job's loop, or where that has ended. */
static void call_done(struct rill_task *task)
{
    struct rill_job *job = rill_container_of(task, struct rill_job, task);
    if (RILL_UNLIKELY(job->traced != 0) && rill_loop_is_current(job->loop))
        done_traced(job);
    else
        job->done(job, (enum rill_job_outcome)job->outcome);
}

/* Hands a finished job back to its loop. */
static void give_back(struct rill_workers *workers, struct rill_job *job)
{
    job->task.run = call_done;
    if (rill_loop_post(job->loop, &job->task) == 0)
        return;
    pthread_mutex_lock(&workers->lock);
    list_push(&workers->orphans, job);
    pthread_mutex_unlock(&workers->lock);
}

/* With the lock held. */
static void note_wait(struct rill_workers *workers, const struct rill_job *job)
{
    uint64_t waited_ns = rill_job_waited_ns(job);
    workers->stats.wait_ns += waited_ns;
    rill_histogram_record(&workers->stats.wait_us, waited_ns / 1000);
}

/* Writes down how JOB, taken from the queue and not run, ended. With the lock held. */
static void end_unrun(struct rill_workers *workers, struct rill_job *job, enum rill_job_outcome outcome,
                      uint64_t now_ns)
{
    job->outcome = (int)outcome;
    job->started_ns = job->finished_ns = now_ns;
    note_wait(workers, job);
    if (outcome == RILL_JOB_EXPIRED)
        workers->stats.expired++;
    else
        workers->stats.cancelled++;
}

/* What becomes of a job that is next: RILL_JOB_RAN when it is to be run. */
static enum rill_job_outcome judge(const struct rill_job *job, uint64_t now_ns)
{
    if (rill_job_cancelled(job))
        return RILL_JOB_CANCELLED;
    if (job->deadline_ms != 0 && now_ns / NS_PER_MS > job->deadline_ms)
        return RILL_JOB_EXPIRED;
    return RILL_JOB_RAN;
}

/* Runs JOB and hands it back. Called with the lock held, and returns so; gives it up meanwhile. */
static void process(struct rill_workers *workers, struct rill_job *job, struct rill_trace_lane *lane)
{
    uint64_t now_ns = rill_sys_monotonic_ns();
    enum rill_job_outcome outcome = judge(job, now_ns);
    if (outcome != RILL_JOB_RAN) {
        end_unrun(workers, job, outcome, now_ns);
    } else {
        workers->stats.running++;
        pthread_mutex_unlock(&workers->lock);
        job->started_ns = now_ns;
        job->run(job);
        job->finished_ns = rill_sys_monotonic_ns();
        job->outcome = RILL_JOB_RAN;
        if (RILL_UNLIKELY(job->traced != 0) && lane)
            note_run(lane, job);
        pthread_mutex_lock(&workers->lock);
        workers->stats.running--;
        workers->stats.ran++;
        note_wait(workers, job);
        workers->stats.run_ns += rill_job_ran_ns(job);
        rill_histogram_record(&workers->stats.run_us, rill_job_ran_ns(job) / 1000);
    }
    pthread_mutex_unlock(&workers->lock);
    give_back(workers, job);
    pthread_mutex_lock(&workers->lock);
}

static void *work(void *arg)
{
    struct rill_workers *workers = arg;
    char name[16];
    pthread_mutex_lock(&workers->lock);
    rill_thread_number_name(name, workers->name, workers->named++);
    rill_thread_set_name(name);
    struct rill_trace_lane *lane = rill_trace_lane_new(workers->trace, name);
    void *crash_stack = rill_crash_stack_reserve();
    for (;;) {
        while (workers->queue.first == NULL && !workers->stopping)
            pthread_cond_wait(&workers->work_or_stop, &workers->lock);
        if (workers->queue.first == NULL)
            break;
        workers->stats.queued--;
        process(workers, list_pop(&workers->queue), lane);
    }
    pthread_mutex_unlock(&workers->lock);
    rill_crash_stack_release(crash_stack);
    return NULL;
}

/* ---- What submitters call ------------------------------------------------------------------------------ */

int rill_workers_submit(struct rill_workers *workers, struct rill_job *job)
{
    int error = 0;
    pthread_mutex_lock(&workers->lock);
    if (workers->stopping)
        error = -ESHUTDOWN;
    else if (workers->stats.queued >= workers->queue_length)
        error = -EAGAIN;
    if (error == 0) {
        job->queued_ns = rill_sys_monotonic_ns();
        job->traced = submitted_for(job);
        list_push(&workers->queue, job);
        workers->stats.queued++;
        workers->stats.submitted++;
        pthread_cond_signal(&workers->work_or_stop);
    } else {
        workers->stats.refused++;
    }
    pthread_mutex_unlock(&workers->lock);
    return error;
}

void rill_job_cancel(struct rill_job *job)
{
    __atomic_store_n(&job->cancelled, 1, __ATOMIC_RELAXED);
}

bool rill_job_cancelled(const struct rill_job *job)
{
    return __atomic_load_n(&job->cancelled, __ATOMIC_RELAXED) != 0;
}

uint64_t rill_job_waited_ns(const struct rill_job *job)
{
    return job->started_ns - job->queued_ns;
}

uint64_t rill_job_ran_ns(const struct rill_job *job)
{
    return job->finished_ns - job->started_ns;
}

void rill_workers_stats(struct rill_workers *workers, struct rill_workers_stats *stats)
{
    pthread_mutex_lock(&workers->lock);
    *stats = workers->stats;
    pthread_mutex_unlock(&workers->lock);
    stats->wait_us.counts = stats->time_counts[0];
    stats->run_us.counts = stats->time_counts[1];
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

/* Cancels what waits. */
static void empty_queue(struct rill_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    struct rill_job *job = workers->queue.first;
    list_init(&workers->queue);
    workers->stats.queued = 0;
    uint64_t now_ns = rill_sys_monotonic_ns();
    for (struct rill_job *each = job; each != NULL; each = each->next)
        end_unrun(workers, each, RILL_JOB_CANCELLED, now_ns);
    pthread_cond_broadcast(&workers->work_or_stop);
    pthread_mutex_unlock(&workers->lock);
    while (job != NULL) {
        struct rill_job *next = job->next;
        give_back(workers, job);
        job = next;
    }
}

static void free_workers(struct rill_workers *workers)
{
    pthread_cond_destroy(&workers->work_or_stop);
    pthread_mutex_destroy(&workers->lock);
    rill_sys_free(workers);
}

void rill_workers_join(struct rill_workers *workers)
{
    if (workers == NULL)
        return;
    empty_queue(workers);
    for (unsigned i = 0; i < workers->thread_count; i++)
        rill_sys_thread_join(workers->threads[i]);
    workers->thread_count = 0;
    /* No thread is left to lock out. */
    while (workers->orphans.first != NULL)
        call_done(&list_pop(&workers->orphans)->task);
}

void rill_workers_stop(struct rill_workers *workers)
{
    if (workers == NULL)
        return;
    rill_workers_join(workers);
    free_workers(workers);
}

struct rill_workers *rill_workers_start(const struct rill_workers_config *config, int *error)
{
    *error = 0;
    if (config->threads == 0 || config->threads > THREADS_MAX || config->queue_length == 0) {
        *error = -EINVAL;
        return NULL;
    }
    struct rill_workers *workers = rill_sys_calloc(1, sizeof(*workers) + config->threads * sizeof(pthread_t));
    if (workers == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    workers->queue_length = config->queue_length;
    workers->trace = config->trace;
    strncpy(workers->name, config->name != NULL ? config->name : "worker", sizeof(workers->name) - 1);
    rill_loop_histogram_init(&workers->stats.wait_us, workers->stats.time_counts[0]);
    rill_loop_histogram_init(&workers->stats.run_us, workers->stats.time_counts[1]);
    list_init(&workers->queue);
    list_init(&workers->orphans);
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->work_or_stop, NULL);
    while (workers->thread_count < config->threads) {
        *error = rill_thread_start_quiet(&workers->threads[workers->thread_count], work, workers);
        if (*error != 0) {
            rill_workers_stop(workers);
            return NULL;
        }
        workers->thread_count++;
    }
    return workers;
}
