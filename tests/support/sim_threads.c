/* sim_threads.c - see sim.h: core/loop_group.h and core/workers.h without threads. The loops of a group have their
 * turns when the simulation gives them; a worker's job ends when the simulation says. */
#include "rill/core/loop_group.h"
#include "rill/core/loop_internal.h"
#include "sim_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- another thread: a loop that nobody else knows --- */

void sim_as_other(void (*fn)(void *arg), void *arg)
{
    int error;
    unsigned faults = sim_faults(0);
    if (!sim.other)
        sim.other = rill_loop_new(&(struct rill_loop_config){.name = "other", .index = RILL_LOOP_MAX - 1}, &error);
    if (!sim.other || rill_post(sim.other, fn, arg) < 0)
        sim_fail("there is no other thread");
    sim_faults(faults);
    rill_loop_turn(sim.other, false);
}

/* --- loop_group.h --- */

struct rill_loop_group {
    unsigned count;
    bool joined;
    struct rill_loop *loops[SIM_LOOPS];
};

struct rill_loop_group *rill_loop_group_start(const struct rill_loop_group_config *config, int *error)
{
    struct rill_loop_group *group = calloc(1, sizeof *group);
    for (; group->count < config->count; group->count++) {
        char name[16];
        snprintf(name, sizeof name, "reactor-%u", group->count % RILL_LOOP_MAX);
        struct rill_loop_config loop = {
            .name = name, .index = config->first_index + group->count, .backend = config->backend};
        group->loops[group->count] = rill_loop_new(&loop, error);
        sim.loops[sim.loop_count++] = group->loops[group->count];
    }
    return group;
}

unsigned rill_loop_group_count(const struct rill_loop_group *group)
{
    return group->count;
}

struct rill_loop *rill_loop_group_loop(const struct rill_loop_group *group, unsigned i)
{
    return group->loops[i];
}

void rill_loop_group_join(struct rill_loop_group *group)
{
    if (!group || group->joined)
        return;
    group->joined = true;
    sim.loop_count = 0;
    for (unsigned i = 0; i < group->count; i++)
        rill_loop_stop(group->loops[i]);
    for (unsigned i = 0; i < group->count; i++)
        rill_loop_run(group->loops[i]);
}

void rill_loop_group_stop(struct rill_loop_group *group)
{
    if (!group)
        return;
    rill_loop_group_join(group);
    for (unsigned i = group->count; i-- > 0;)
        rill_loop_free(group->loops[i]);
    free(group);
}

/* --- workers.h --- */

struct rill_workers {
    unsigned threads, queue_length;
    bool stopping;
};

/* The jobs of the run's one pool, oldest first; as many as there are threads run, the others wait. */
static struct rill_workers *pool;
static struct rill_job *jobs[SIM_JOBS];
static unsigned job_count;

void sim_jobs_reset(void)
{
    job_count = 0;
}

unsigned sim_jobs_running(void)
{
    return !pool ? 0 : job_count < pool->threads ? job_count : pool->threads;
}

struct rill_workers *rill_workers_start(const struct rill_workers_config *config, int *error)
{
    *error = 0;
    pool = calloc(1, sizeof *pool);
    pool->threads = config->threads;
    pool->queue_length = config->queue_length;
    return pool;
}

int rill_workers_submit(struct rill_workers *workers, struct rill_job *job)
{
    if (workers->stopping)
        return -ESHUTDOWN;
    if (job_count >= workers->queue_length + workers->threads || job_count == SIM_JOBS)
        return -EAGAIN;
    jobs[job_count++] = job;
    return 0;
}

static void call_done(struct rill_task *task)
{
    struct rill_job *job = rill_container_of(task, struct rill_job, task);
    job->done(job, (enum rill_job_outcome)job->outcome);
}

static void end_job(void *arg)
{
    struct rill_job *job = arg;
    if (job->outcome == RILL_JOB_RAN)
        job->run(job);
    job->task.run = call_done;
    if (rill_loop_post(job->loop, &job->task) < 0)
        sim_fail("a job comes home to a loop that has ended");
}

static struct rill_job *take(unsigned i)
{
    struct rill_job *job = jobs[i];
    for (job_count--; i < job_count; i++)
        jobs[i] = jobs[i + 1];
    return job;
}

void sim_job_end(unsigned i)
{
    struct rill_job *job = take(i);
    bool late = job->deadline_ms != 0 && sim.now_ns / 1000000 > job->deadline_ms;
    job->outcome = job->cancelled ? RILL_JOB_CANCELLED : late ? RILL_JOB_EXPIRED : RILL_JOB_RAN;
    sim_note("a job ends", i, (uint64_t)job->outcome);
    sim_as_other(end_job, job);
}

void rill_job_cancel(struct rill_job *job)
{
    job->cancelled = 1;
}

bool rill_job_cancelled(const struct rill_job *job)
{
    return job->cancelled != 0;
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
    (void)workers;
    *stats = (struct rill_workers_stats){.queued = job_count};
}

void rill_workers_join(struct rill_workers *workers)
{
    if (!workers || workers->stopping)
        return;
    workers->stopping = true;
    while (job_count > 0) {
        struct rill_job *job = take((unsigned)sim_below(job_count));
        job->outcome = sim_chance(2) ? RILL_JOB_CANCELLED : RILL_JOB_RAN; /* it may be running */
        sim_as_other(end_job, job);
    }
}

void rill_workers_stop(struct rill_workers *workers)
{
    rill_workers_join(workers);
    free(workers);
    pool = NULL;
}
