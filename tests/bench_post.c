/* bench_post.c - what a post costs: messages a second from one other thread into one loop, and how many wake-ups they
 * take: writes to the loop's eventfd, beside the batches that it took out of its mailbox. Each round posts the same set
 * of tasks; a task is posted again only after the loop has run it.
 *
 *   bench_post [ROUNDS [TASKS]] */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "rill/core/loop_internal.h"

struct bench {
    struct rill_loop *loop;
    struct rill_task *tasks;
    unsigned count;
    unsigned rounds;
    unsigned long long run;         /* the loop's */
    unsigned long long run_visible; /* the same, for the poster; stored once a turn */
    struct rill_task publish;
    uint64_t posting_ns;
};

static struct bench bench;

static void publish(struct rill_task *task)
{
    (void)task;
    __atomic_store_n(&bench.run_visible, bench.run, __ATOMIC_RELEASE);
}

static void count_task(struct rill_task *task)
{
    (void)task;
    bench.run++;
}

static void *post(void *arg)
{
    (void)arg;
    unsigned long long posted = 0;
    for (unsigned round = 0; round < bench.rounds; round++) {
        uint64_t start_ns = rill_clock_ns();
        for (unsigned i = 0; i < bench.count; i++)
            if (rill_loop_post(bench.loop, &bench.tasks[i]) != 0)
                abort();
        bench.posting_ns += rill_clock_ns() - start_ns;
        posted += bench.count;
        if (rill_loop_post(bench.loop, &bench.publish) != 0)
            abort();
        while (__atomic_load_n(&bench.run_visible, __ATOMIC_ACQUIRE) < posted)
            sched_yield();
    }
    rill_loop_stop(bench.loop);
    return NULL;
}

/* The writes to the eventfd so far; the loop has run, and nobody posts any more. */
static uint64_t count_wakes(struct rill_loop *loop)
{
    uint64_t unread;
    if (read(loop->wake_fd, &unread, sizeof(unread)) == sizeof(unread))
        loop->wakes_seen += unread;
    return loop->wakes_seen;
}

int main(int argc, char **argv)
{
    int error;
    pthread_t thread;
    bench.rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 200;
    bench.count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100000;
    bench.tasks = calloc(bench.count, sizeof(*bench.tasks));
    bench.loop = rill_loop_new(&(struct rill_loop_config){.name = "bench"}, &error);
    if (bench.tasks == NULL || bench.loop == NULL || bench.count == 0)
        return EXIT_FAILURE;
    for (unsigned i = 0; i < bench.count; i++)
        bench.tasks[i].run = count_task;
    bench.publish.run = publish;
    uint64_t start_ns = rill_clock_ns();
    if (pthread_create(&thread, NULL, post, NULL) != 0)
        return EXIT_FAILURE;
    rill_loop_run(bench.loop);
    pthread_join(thread, NULL);
    double seconds = (double)(rill_clock_ns() - start_ns) / 1e9;
    double posts = (double)bench.run;
    uint64_t wakes = count_wakes(bench.loop) - 1; /* that of the stop */
    printf("%.1f million posts a second, end to end; %.1f ns a post for the poster; %llu wake-ups for %llu batches of "
           "%.0f posts\n",
           posts / seconds / 1e6, (double)bench.posting_ns / posts, (unsigned long long)wakes,
           (unsigned long long)bench.loop->wakes_owed, posts / (double)bench.loop->wakes_owed);
    rill_loop_free(bench.loop);
    free(bench.tasks);
    return EXIT_SUCCESS;
}
