/* loop_group.c - N loops and their threads, started together or not at all. */
#include "rill/core/loop_group.h"

#include <pthread.h>

#include "rill/core/sys.h"
#include "rill/core/thread_internal.h"

struct member {
    struct rill_loop_group *group;
    struct rill_loop *loop;
    struct rill_task running; /* runs as the first thing on the loop */
    unsigned number;
    pthread_t thread;
};

struct rill_loop_group {
    unsigned count;
    bool pin;
    bool joined;
    char name[16];

    pthread_mutex_t lock;
    pthread_cond_t changed; /* `started` did */
    unsigned started;       /* lock: threads that run their loop, or failed to */
    int error;              /* lock: of the thread that failed last; 0 */

    struct member members[];
};

static void report_started(struct rill_loop_group *group, int error)
{
    pthread_mutex_lock(&group->lock);
    group->started++;
    if (error != 0)
        group->error = error;
    pthread_cond_signal(&group->changed);
    pthread_mutex_unlock(&group->lock);
}

static void on_running(struct rill_task *task)
{
    report_started(rill_container_of(task, struct member, running)->group, 0);
}

static void *run_member(void *arg)
{
    struct member *member = arg;
    struct rill_loop_group *group = member->group;
    char name[16];
    rill_thread_number_name(name, group->name, member->number);
    rill_thread_set_name(name);
    int error = group->pin ? rill_thread_pin(member->number) : 0;
    if (error == 0) {
        member->running.run = on_running;
        error = rill_loop_post(member->loop, &member->running);
    }
    if (error != 0)
        report_started(group, error);
    else
        rill_loop_run(member->loop);
    return NULL;
}

static int make_loops(struct rill_loop_group *group, const struct rill_loop_group_config *config)
{
    for (unsigned i = 0; i < group->count; i++) {
        char name[16];
        rill_thread_number_name(name, group->name, i);
        struct rill_loop_config loop_config = {
            .name = name,
            .index = config->first_index + i,
            .backend = config->backend,
            .read_buffer_bytes = config->read_buffer_bytes,
        };
        struct member *member = &group->members[i];
        int error;
        member->loop = rill_loop_new(&loop_config, &error);
        if (member->loop == NULL)
            return error;
        member->group = group;
        member->number = i;
    }
    return 0;
}

/* Starts threads until one cannot be; returns the error of that, and in *RUNNING how many there are. */
static int start_threads(struct rill_loop_group *group, unsigned *running)
{
    for (*running = 0; *running < group->count; ++*running) {
        struct member *member = &group->members[*running];
        int error = rill_thread_start_quiet(&member->thread, run_member, member);
        if (error != 0)
            return error;
    }
    return 0;
}

/* Waits until COUNT threads have said how their start went, and returns what went wrong. */
static int await_started(struct rill_loop_group *group, unsigned count)
{
    pthread_mutex_lock(&group->lock);
    while (group->started < count)
        pthread_cond_wait(&group->changed, &group->lock);
    int error = group->error;
    pthread_mutex_unlock(&group->lock);
    return error;
}

static void stop_threads(struct rill_loop_group *group, unsigned running)
{
    for (unsigned i = 0; i < running; i++)
        rill_loop_stop(group->members[i].loop);
    for (unsigned i = 0; i < running; i++)
        rill_sys_thread_join(group->members[i].thread);
}

static void free_group(struct rill_loop_group *group)
{
    for (unsigned i = group->count; i-- > 0;)
        rill_loop_free(group->members[i].loop);
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
    rill_sys_free(group);
}

struct rill_loop_group *rill_loop_group_start(const struct rill_loop_group_config *config, int *error)
{
    *error = 0;
    if (config->count == 0 || config->count >= RILL_LOOP_MAX || config->first_index > RILL_LOOP_MAX - config->count) {
        *error = -EINVAL;
        return NULL;
    }
    struct rill_loop_group *group = rill_sys_calloc(1, sizeof(*group) + config->count * sizeof(group->members[0]));
    if (group == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    group->count = config->count;
    group->pin = config->pin;
    strncpy(group->name, config->name != NULL ? config->name : "reactor", sizeof(group->name) - 1);
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->changed, NULL);

    unsigned running = 0;
    *error = make_loops(group, config);
    if (*error == 0) {
        *error = start_threads(group, &running);
        int start_error = await_started(group, running);
        if (*error == 0)
            *error = start_error;
    }
    if (*error != 0) {
        stop_threads(group, running);
        free_group(group);
        return NULL;
    }
    return group;
}

unsigned rill_loop_group_count(const struct rill_loop_group *group)
{
    return group->count;
}

struct rill_loop *rill_loop_group_loop(const struct rill_loop_group *group, unsigned i)
{
    return group->members[i].loop;
}

void rill_loop_group_join(struct rill_loop_group *group)
{
    if (group == NULL || group->joined)
        return;
    group->joined = true;
    stop_threads(group, group->count);
}

void rill_loop_group_stop(struct rill_loop_group *group)
{
    if (group == NULL)
        return;
    rill_loop_group_join(group);
    free_group(group);
}
