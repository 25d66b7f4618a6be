/* fake_workers.c - see fake_workers.h. */
#include "fake_workers.h"
#include "rill/core/sys.h"

struct rill_workers {
    struct rill_job *first, **end;
    unsigned waiting, queue_length;
};

struct rill_workers *rill_workers_start(const struct rill_workers_config *config, int *error)
{
    struct rill_workers *workers = calloc(1, sizeof *workers);
    *error = workers ? 0 : -ENOMEM;
    if (workers) {
        workers->end = &workers->first;
        workers->queue_length = config->queue_length;
    }
    return workers;
}

int rill_workers_submit(struct rill_workers *workers, struct rill_job *job)
{
    if (workers->waiting == workers->queue_length)
        return -EAGAIN;
    job->next = NULL;
    *workers->end = job;
    workers->end = &job->next;
    workers->waiting++;
    return 0;
}

static void call_done(struct rill_task *task)
{
    struct rill_job *job = rill_container_of(task, struct rill_job, task);
    job->done(job, (enum rill_job_outcome)job->outcome);
}

bool fake_workers_end_one(struct rill_workers *workers, enum rill_job_outcome outcome)
{
    struct rill_job *job = workers->first;
    if (!job)
        return false;
    workers->first = job->next;
    if (!job->next)
        workers->end = &workers->first;
    workers->waiting--;
    if (outcome == RILL_JOB_RAN)
        job->run(job);
    job->outcome = (int)outcome;
    job->task.run = call_done;
    if (rill_loop_post(job->loop, &job->task) < 0)
        call_done(&job->task);
    return true;
}

void rill_workers_stop(struct rill_workers *workers)
{
    while (workers && fake_workers_end_one(workers, RILL_JOB_CANCELLED))
        ;
    free(workers);
}
