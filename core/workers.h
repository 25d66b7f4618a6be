/* workers.h - the worker pool: a fixed number of threads and one bounded queue for whatever would block a reactor.
 *
 * A job is given to the pool by a loop's thread and comes back to that loop. Ownership: the submitter's until
 * rill_workers_submit() returns 0; the pool's until `done` runs on the loop; the loop's from then on. */
#ifndef RILL_CORE_WORKERS_H
#define RILL_CORE_WORKERS_H

#include "rill/core/loop_stats.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_trace;
struct rill_workers;
struct rill_job;

/* How a job ended, as `done` is told. */
enum rill_job_outcome {
    RILL_JOB_RAN,       /* `run` returned */
    RILL_JOB_EXPIRED,   /* its deadline passed while it waited; `run` was not called */
    RILL_JOB_CANCELLED, /* cancelled, or the pool stopped, before it was started; `run` was not called */
};

/* Embed it in the struct that carries the arguments and the result. Fill in the first four, zero the rest. */
struct rill_job {
    void (*run)(struct rill_job *job);                                 /* on a worker thread; may block */
    void (*done)(struct rill_job *job, enum rill_job_outcome outcome); /* on `loop`; frees the job. Exactly once,
                                                                          whatever happens, save when submit failed */
    struct rill_loop *loop;                                            /* where `done` runs */
    uint64_t deadline_ms; /* of rill_clock_ns() / 1e6; not started after it; 0: none */

    /* The pool's. */
    struct rill_task task;
    struct rill_job *next;
    uint64_t queued_ns, started_ns, finished_ns;
    int cancelled;
    int outcome;
    uint64_t traced; /* the request that it is part of; 0: one that nobody traces */
};

struct rill_workers_config {
    const char *name;         /* threads are called NAME-0, ...; NULL: "worker" */
    unsigned threads;         /* 1 to 1024 */
    unsigned queue_length;    /* jobs that may wait, not counting those that run; at least 1 */
    struct rill_trace *trace; /* NULL: none; outlives the pool */
};

/* Starts the pool. Returns NULL and sets *ERROR to a negative errno. Signals are blocked in its threads. */
struct rill_workers *rill_workers_start(const struct rill_workers_config *config, int *error);

/* Gives JOB to the pool. Returns 0; -EAGAIN: the queue is full (503 in HTTP); -ESHUTDOWN: the pool is stopping.
 * After an error the job is the caller's and neither callback runs. Thread: any. */
RILL_WARN_UNUSED int rill_workers_submit(struct rill_workers *workers, struct rill_job *job);

/* Asks that JOB not be started; one that runs can ask rill_job_cancelled(). `done` still runs, once. Thread: any,
 * while the caller knows that `done` has not run (so: the job's loop). */
void rill_job_cancel(struct rill_job *job);

/* Whether somebody has cancelled JOB: for long `run`s to look at now and then. Thread: any. */
bool rill_job_cancelled(const struct rill_job *job);

/* Nanoseconds that a finished job waited in the queue, and ran. */
uint64_t rill_job_waited_ns(const struct rill_job *job);
uint64_t rill_job_ran_ns(const struct rill_job *job);

/* Counters since the start: a copy, taken under the pool's lock. Thread: any. */
struct rill_workers_stats {
    uint64_t submitted, refused, expired, cancelled, ran;
    uint64_t wait_ns, run_ns; /* sums over all jobs */
    unsigned queued, running; /* now */

    struct rill_histogram wait_us;                   /* of those that ran, expired or were cancelled */
    struct rill_histogram run_us;                    /* of those that ran */
    uint64_t time_counts[2][RILL_LOOP_TIME_BUCKETS]; /* the histograms' memory */
};
void rill_workers_stats(struct rill_workers *workers, struct rill_workers_stats *stats);

/* Ends the pool: refuses new jobs, cancels those that wait (their `done` is posted), lets those that run finish, joins.
 * The pool stays, so that a late rill_workers_submit() is refused with -ESHUTDOWN and does no harm. Call it while the
 * loops of all jobs still run, or `done` of a job whose loop refused the post is called on the calling thread. NULL,
 * and a second call, are no-ops. Thread: one, not a worker. */
void rill_workers_join(struct rill_workers *workers);

/* rill_workers_join(), then frees the pool. NULL is ignored. */
void rill_workers_stop(struct rill_workers *workers);

#ifdef __cplusplus
}
#endif

#endif
