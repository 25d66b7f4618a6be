/* test_mt_ids.c - ids in the hands of other threads: a million of them gone stale, from threads and from the pool,
 * while the loop's connections come and go and use the same slots again; posts by a loop to itself, and after its end.
 */
#include "rill/core/workers.h"
#include "rill/net/conn.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    THREADS = 4,
    ORDERS = 1000000, /* in all */
    AHEAD = 500,      /* orders that a thread gives before it waits for the loop */
    LIVE = 16,
    HISTORY = 256,
};

static struct rill_loop *loop;
static pthread_t loop_thread;
static bool stopping;             /* atomic */
static uint64_t history[HISTORY]; /* atomic: ids of connections, those of the living among them */
static unsigned births;           /* the loop's */
static unsigned wrong;            /* the loop's; read after its end */
static uint64_t heard;            /* messages that reached their connection: the loop's */
static struct {
    struct rill_conn *conn;
    int peer;
} live[LIVE]; /* the loop's */

static const struct rill_conn_handler handler;
static const struct rill_conn_config config = {.handler = &handler};
static struct rill_conn *born; /* the loop's */

static void on_open(struct rill_conn *conn)
{
    born = conn;
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    rill_input_consume(input, input->length);
}

/* The connection may have been closed by its id, which was not stale then. */
static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)reason;
    for (unsigned i = 0; i < LIVE; i++)
        if (live[i].conn == conn)
            live[i].conn = NULL;
}

static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

/* What reached the peer of live[I] has to have been meant for it: every message is the id that it was sent to. */
static void hear(unsigned i, uint64_t id)
{
    uint64_t messages[512];
    ssize_t got;
    while ((got = read(live[i].peer, messages, sizeof messages)) > 0) {
        wrong += got % 8 != 0;
        for (ssize_t k = 0; k < got / 8; k++)
            wrong += messages[k] != id;
        heard += (uint64_t)got / 8;
    }
}

static uint64_t live_ids[LIVE];

static void replace(unsigned i)
{
    int pair[2];
    if (live[i].conn)
        rill_conn_close(live[i].conn, RILL_CLOSE_LOCAL);
    if (live_ids[i]) {
        hear(i, live_ids[i]);
        close(live[i].peer);
    }
    live_ids[i] = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0 ||
        rill_conn_adopt(loop, pair[0], NULL, &config) != 0) {
        wrong++;
        return;
    }
    live[i].conn = born;
    live[i].peer = pair[1];
    live_ids[i] = rill_conn_id(born).value;
    __atomic_store_n(&history[births++ % HISTORY], live_ids[i], __ATOMIC_RELAXED);
}

/* In every turn: one connection gives way to another. */
static void churn(struct rill_task *task)
{
    replace(births % LIVE);
    if (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) /* a loop ends when nothing is deferred any more */
        rill_loop_defer(loop, task);
}

static struct rill_task churn_task = {.run = churn};

static void begin_churn(void *arg)
{
    (void)arg;
    while (births < HISTORY)
        replace(births % LIVE);
    rill_loop_defer(loop, &churn_task);
}

static void *run_loop(void *arg)
{
    return rill_loop_run(arg) == 0 ? NULL : arg;
}

static void begin(void (*first)(void *arg), void *arg)
{
    int error;
    signal(SIGPIPE, SIG_IGN);
    loop = rill_loop_new(&(struct rill_loop_config){.name = "ids", .index = 5}, &error);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(rill_post(loop, first, arg), 0);
    ck_assert_int_eq(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
}

static void stop(void)
{
    void *result;
    __atomic_store_n(&stopping, true, __ATOMIC_RELAXED);
    rill_loop_stop(loop);
    ck_assert_int_eq(pthread_join(loop_thread, &result), 0);
    ck_assert_ptr_null(result);
}

static void reached(void *gate)
{
    sem_post(gate);
}

/* Waits until LOOP has done all that this thread has posted. */
static void catch_up(sem_t *gate)
{
    if (rill_post(loop, reached, gate) == 0)
        sem_wait(gate);
}

static int order(unsigned *random)
{
    *random = *random * 1103515245 + 12345;
    unsigned choice = *random >> 8;
    struct rill_conn_id id = {__atomic_load_n(&history[choice % HISTORY], __ATOMIC_RELAXED)};
    if (choice % 127 == 0)
        id.value ^= (uint64_t)choice << 20; /* one that never was, of another loop perhaps */
    int error = choice % 251 == 0 ? rill_conn_post_close(loop, id)
                                  : rill_conn_post_send(loop, id, rill_buf_copy(&id.value, sizeof id.value));
    return error == -ESTALE && rill_conn_id_loop(id) != rill_loop_index(loop) ? 0 : error;
}

struct shooter {
    pthread_t thread;
    unsigned random;
    int error;
};

static void *shoot(void *arg)
{
    struct shooter *shooter = arg;
    sem_t gate;
    sem_init(&gate, 0, 0);
    for (int i = 0; i < ORDERS / THREADS && shooter->error == 0; i++) {
        shooter->error = order(&shooter->random);
        if (i % AHEAD == 0)
            catch_up(&gate);
    }
    sem_destroy(&gate);
    return NULL;
}

START_TEST(stale_ids_by_the_million)
{
    struct shooter shooters[THREADS];
    begin(begin_churn, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        shooters[i] = (struct shooter){.random = i + 1};
        ck_assert_int_eq(pthread_create(&shooters[i].thread, NULL, shoot, &shooters[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(shooters[i].thread, NULL);
        ck_assert_int_eq(shooters[i].error, 0);
    }
    stop();
    for (unsigned i = 0; i < LIVE; i++) {
        hear(i, live_ids[i]);
        close(live[i].peer);
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(heard, 0); /* some met their connection */
    ck_assert_uint_gt(births, LIVE);
    rill_loop_free(loop);
}
END_TEST

/* --- the pool --- */

enum { JOBS = 200 };

struct shot {
    struct rill_job job;
    unsigned random;
    int error;
};

static unsigned jobs_done; /* the loop's */

static void job_run(struct rill_job *job)
{
    struct shot *shot = rill_container_of(job, struct shot, job);
    for (int i = 0; i < 50 && shot->error == 0; i++)
        shot->error = order(&shot->random);
}

static void job_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct shot *shot = rill_container_of(job, struct shot, job);
    wrong += outcome != RILL_JOB_RAN || shot->error != 0;
    jobs_done++;
    free(shot);
}

START_TEST(from_jobs_of_the_pool)
{
    int error;
    sem_t gate;
    sem_init(&gate, 0, 0);
    begin(begin_churn, NULL);
    struct rill_workers *workers =
        rill_workers_start(&(struct rill_workers_config){.threads = 3, .queue_length = JOBS}, &error);
    ck_assert_ptr_nonnull(workers);
    for (unsigned i = 0; i < JOBS; i++) {
        struct shot *shot = calloc(1, sizeof *shot);
        *shot = (struct shot){.job = {.run = job_run, .done = job_done, .loop = loop}, .random = i};
        ck_assert_int_eq(rill_workers_submit(workers, &shot->job), 0);
    }
    struct rill_workers_stats stats;
    do {
        catch_up(&gate);
        rill_workers_stats(workers, &stats);
    } while (stats.ran < JOBS);
    rill_workers_stop(workers);
    stop();
    for (unsigned i = 0; i < LIVE; i++) {
        hear(i, live_ids[i]);
        close(live[i].peer);
    }
    ck_assert_uint_eq(jobs_done, JOBS);
    ck_assert_uint_eq(wrong, 0);
    rill_loop_free(loop);
    sem_destroy(&gate);
}
END_TEST

/* --- a loop that posts to itself, and after its end --- */

static unsigned rounds; /* the loop's */
static int last_error;

static void again(void *arg)
{
    rounds++;
    if (rounds < 1000)
        last_error = rill_post(loop, again, arg);
    else if (rounds == 1000)
        reached(arg);
}

START_TEST(a_loop_that_posts_to_itself_does_not_starve_others)
{
    sem_t gate, others;
    sem_init(&gate, 0, 0);
    sem_init(&others, 0, 0);
    begin(again, &gate);
    for (int i = 0; i < 100; i++)
        catch_up(&others);
    sem_wait(&gate);
    stop();
    ck_assert_uint_eq(rounds, 1000);
    ck_assert_int_eq(last_error, 0);
    rill_loop_free(loop);
    sem_destroy(&gate);
    sem_destroy(&others);
}
END_TEST

static void again_until_refused(void *arg)
{
    rounds++;
    last_error = rill_post(loop, again_until_refused, arg);
}

START_TEST(one_that_never_ceases_still_stops)
{
    begin(again_until_refused, NULL);
    usleep(1000);
    stop();
    ck_assert_uint_gt(rounds, 0);
    ck_assert_int_eq(last_error, -ESHUTDOWN);
    ck_assert_int_eq(rill_post(loop, again_until_refused, NULL), -ESHUTDOWN);
    ck_assert_int_eq(rill_conn_post_send(loop, (struct rill_conn_id){UINT64_C(5) << 56}, rill_buf_copy("x", 1)),
                     -ESHUTDOWN);
    ck_assert_int_eq(rill_conn_post_close(loop, (struct rill_conn_id){UINT64_C(5) << 56}), -ESHUTDOWN);
    rill_loop_free(loop);
}
END_TEST

static void *shoot_until_refused(void *arg)
{
    struct shooter *shooter = arg;
    for (int i = 0; shooter->error == 0; i++) {
        shooter->error = order(&shooter->random);
        if (i % 64 == 0)
            sched_yield(); /* so that who is to stop it gets a turn, too */
    }
    return NULL;
}

START_TEST(stops_under_fire)
{
    struct shooter shooters[THREADS];
    begin(begin_churn, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        shooters[i] = (struct shooter){.random = i + 1};
        ck_assert_int_eq(pthread_create(&shooters[i].thread, NULL, shoot_until_refused, &shooters[i]), 0);
    }
    usleep(2000);
    stop();
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(shooters[i].thread, NULL);
        ck_assert_int_eq(shooters[i].error, -ESHUTDOWN);
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (live_ids[i] == 0)
            continue;
        hear(i, live_ids[i]);
        close(live[i].peer);
    }
    ck_assert_uint_eq(wrong, 0);
    rill_loop_free(loop);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ids");
    TCase *all = tcase_create("ids");
    tcase_add_test(all, stale_ids_by_the_million);
    tcase_add_test(all, from_jobs_of_the_pool);
    tcase_add_test(all, a_loop_that_posts_to_itself_does_not_starve_others);
    tcase_add_test(all, one_that_never_ceases_still_stops);
    tcase_add_loop_test(all, stops_under_fire, 0, 10);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
