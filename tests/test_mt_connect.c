/* test_mt_connect.c - connecting on several loops at a time, with look-ups on a pool that they share: cancelled at any
 * moment, stopped at any moment, and a server that stops while its loops connect. */
#include "rill/core/log.h"
#include "rill/core/workers.h"
#include "rill/net/client.h"
#include "rill/net/conn_pool.h"
#include "rill/net/server.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOPS = 3, SHOTS = 8 };

/* A connect under way; its loop's. */
struct shot {
    struct driver *driver;
    struct rill_connect *connect;
    struct rill_timer cancel; /* ends it from outside, when armed */
    bool under_way;
};

/* What keeps SHOTS connects going on one loop. All of it is the loop's thread's. */
struct driver {
    struct rill_loop *loop;
    pthread_t thread;
    struct test_random random;
    unsigned begun, connected, failed, cancelled, refused;
    unsigned most; /* of `begun`; then no more; 0: for ever */
    struct shot shots[SHOTS];
};

static struct driver drivers[LOOPS];
static struct rill_workers *workers;
static char targets[4][96];
static int listener;
static int finished; /* drivers that have come to their end; atomic */

/* Keeps a worker busy for a while, so that look-ups wait. */
static void nap(struct rill_job *job)
{
    (void)job;
    usleep(300);
}

static void nap_over(struct rill_job *job, enum rill_job_outcome outcome)
{
    (void)outcome;
    free(job);
}

static void send_to_sleep(struct driver *driver)
{
    struct rill_job *job = calloc(1, sizeof *job);
    *job = (struct rill_job){.run = nap, .done = nap_over, .loop = driver->loop};
    if (rill_workers_submit(workers, job) < 0)
        free(job);
}

static void close_it(struct rill_conn *conn)
{
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static const struct rill_conn_handler closing = {.on_open = close_it};
static const struct rill_conn_config conn_config = {.handler = &closing};

static void begin(struct shot *shot);

static void ended(struct shot *shot, unsigned *counter)
{
    struct driver *driver = shot->driver;
    ck_assert(shot->under_way);
    shot->under_way = false;
    shot->connect = NULL;
    rill_loop_disarm(driver->loop, &shot->cancel);
    (*counter)++;
    begin(shot);
    if (driver->most && driver->connected + driver->failed + driver->cancelled + driver->refused == driver->most)
        __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

static void on_connected(struct rill_conn *conn, void *arg)
{
    (void)conn;
    struct shot *shot = arg;
    ended(shot, &shot->driver->connected);
}

static void on_failed(int error, const char *why, void *arg)
{
    struct shot *shot = arg;
    ck_assert_int_lt(error, 0);
    ck_assert_uint_gt(strlen(why), 0);
    ended(shot, &shot->driver->failed);
}

static void on_cancel(struct rill_timer *timer)
{
    struct shot *shot = rill_container_of(timer, struct shot, cancel);
    rill_connect_cancel(shot->connect);
    ended(shot, &shot->driver->cancelled);
}

static void begin(struct shot *shot)
{
    struct driver *driver = shot->driver;
    if (driver->most && driver->begun == driver->most)
        return;
    driver->begun++;
    if (test_random_below(&driver->random, 4) == 0)
        send_to_sleep(driver);
    struct rill_connect_config config = {.target = targets[test_random_below(&driver->random, 4)],
                                         .timeout_ms = test_random_below(&driver->random, 4) ? 5000 : 1,
                                         .conn = &conn_config,
                                         .on_connected = on_connected,
                                         .on_failed = on_failed,
                                         .arg = shot};
    if (rill_connect(driver->loop, &config, &shot->connect) < 0) {
        driver->refused++;
        return;
    }
    shot->under_way = true;
    if (test_random_below(&driver->random, 2))
        rill_loop_arm(driver->loop, &shot->cancel, test_random_below(&driver->random, 3));
}

static void drive(void *arg)
{
    struct driver *driver = arg;
    for (unsigned i = 0; i < SHOTS; i++) {
        driver->shots[i].driver = driver;
        rill_timer_init(&driver->shots[i].cancel, on_cancel);
        begin(&driver->shots[i]);
    }
}

static void *run_loop(void *arg)
{
    struct driver *driver = arg;
    ck_assert_int_eq(rill_loop_run(driver->loop), 0);
    return NULL;
}

static void *accept_all(void *arg)
{
    (void)arg;
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;)
        close(fd);
    return NULL;
}

static pthread_t acceptor;

static void listen_up(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(listener, 128), 0);
    getsockname(listener, (struct sockaddr *)&at, &length);
    /* The second one is for the resolver, which finds it without asking anybody; the third one has a part that is too
     * long for a name, which the resolver sees without asking anybody. */
    char nobody[80] = "";
    memset(nobody, 'a', 70);
    const char *const hosts[4] = {"127.0.0.1", "127.1", nobody, "localhost"};
    for (int i = 0; i < 4; i++)
        snprintf(targets[i], sizeof targets[i], "%s:%u", hosts[i], ntohs(at.sin_port));
    ck_assert_int_eq(pthread_create(&acceptor, NULL, accept_all, NULL), 0);
}

static void hush(void)
{
    shutdown(listener, SHUT_RDWR); /* accept() returns */
    pthread_join(acceptor, NULL);
    close(listener);
}

static void start_drivers(unsigned most)
{
    int error;
    finished = 0;
    workers = rill_workers_start(&(struct rill_workers_config){.threads = 2, .queue_length = 16}, &error);
    ck_assert_ptr_nonnull(workers);
    memset(drivers, 0, sizeof drivers);
    for (unsigned i = 0; i < LOOPS; i++) {
        drivers[i].random.state = i;
        drivers[i].most = most;
        drivers[i].loop = rill_loop_new(&(struct rill_loop_config){.index = i}, &error);
        ck_assert_ptr_nonnull(drivers[i].loop);
        rill_loop_set_workers(drivers[i].loop, workers);
        ck_assert_int_eq(rill_post(drivers[i].loop, drive, &drivers[i]), 0);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        ck_assert_int_eq(pthread_create(&drivers[i].thread, NULL, run_loop, &drivers[i]), 0);
}

/* Every connect had one end. */
static void stop_drivers(void)
{
    for (unsigned i = 0; i < LOOPS; i++)
        rill_loop_stop(drivers[i].loop);
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(drivers[i].thread, NULL);
    rill_workers_join(workers);
    for (unsigned i = 0; i < LOOPS; i++) {
        struct driver *driver = &drivers[i];
        rill_loop_free(driver->loop);
        ck_assert_uint_eq(driver->begun, driver->connected + driver->failed + driver->cancelled + driver->refused);
    }
    rill_workers_stop(workers);
}

START_TEST(connects_on_several_loops)
{
    listen_up();
    start_drivers(300);
    while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) < LOOPS)
        usleep(1000);
    stop_drivers();
    for (unsigned i = 0; i < LOOPS; i++) {
        ck_assert_uint_eq(drivers[i].begun, 300);
        ck_assert_uint_gt(drivers[i].connected, 0);
        ck_assert_uint_gt(drivers[i].failed, 0);
        ck_assert_uint_gt(drivers[i].cancelled, 0);
    }
    hush();
}
END_TEST

/* The pool stops while the loops look names up, and the loops while they connect. */
START_TEST(stopped_while_connecting)
{
    listen_up();
    start_drivers(0);
    usleep((useconds_t)(1000 + _i * 3000));
    if (_i % 2)
        rill_workers_join(workers);
    usleep(1000);
    stop_drivers();
    hush();
}
END_TEST

/* --- a server whose loops are clients, too --- */

/* One loop's: a client and a pool that live as long as it does. */
struct guest {
    struct rill_client *client;
    struct rill_conn_pool *pool;
    unsigned asked, answered;
};

static struct guest guests[RILL_LOOP_MAX];
static int ups;

static void on_up(struct rill_client *client, struct rill_conn *conn, void *arg)
{
    (void)client;
    (void)conn;
    (void)arg;
    __atomic_add_fetch(&ups, 1, __ATOMIC_SEQ_CST);
}

static void ask(struct guest *guest);

static void on_leased(struct rill_conn *conn, bool reused, void *arg)
{
    struct guest *guest = arg;
    (void)reused;
    guest->answered++;
    if (guest->answered % 3)
        rill_conn_pool_return(conn);
    else
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ask(guest);
}

static void on_lease_failed(int error, const char *why, void *arg)
{
    struct guest *guest = arg;
    (void)why;
    guest->answered++;
    if (error != -ECANCELED)
        ask(guest);
}

static void ask(struct guest *guest)
{
    struct rill_lease_request request = {.on_leased = on_leased, .on_failed = on_lease_failed, .arg = guest};
    guest->asked += rill_conn_pool_lease(guest->pool, &request, NULL) == 0;
}

static const struct rill_conn_handler nothing;
static const struct rill_conn_config guest_config = {.handler = &nothing};

static int on_loop_start(struct rill_loop *loop, void *arg)
{
    (void)arg;
    struct guest *guest = &guests[rill_loop_index(loop)];
    int error;
    memset(guest, 0, sizeof *guest);
    struct rill_client_config client = {
        .connect = {.target = targets[1], .conn = &guest_config}, .backoff_ms = 1, .backoff_max_ms = 3, .on_up = on_up};
    guest->client = rill_client_new(loop, &client, &error);
    ck_assert_ptr_nonnull(guest->client);
    struct rill_conn_pool_config pool = {.connect = {.target = targets[1], .conn = &guest_config}};
    guest->pool = rill_conn_pool_new(loop, &pool, &error);
    ck_assert_ptr_nonnull(guest->pool);
    for (int i = 0; i < 4; i++)
        ask(guest);
    return 0;
}

static void on_loop_stop(struct rill_loop *loop, void *arg)
{
    (void)arg;
    struct guest *guest = &guests[rill_loop_index(loop)];
    rill_client_free(guest->client);
    rill_conn_pool_free(guest->pool);
    ck_assert_uint_eq(guest->asked, guest->answered);
}

static void *run_server(void *arg)
{
    ck_assert_int_eq(rill_server_run(arg, false), 0);
    return NULL;
}

START_TEST(a_server_stops_while_its_loops_connect)
{
    int error;
    pthread_t thread;
    listen_up();
    ups = 0;
    struct rill_server_config config = {.listen = "127.0.0.1:0",
                                        .threads = 2,
                                        .workers = 2,
                                        .handler = &nothing,
                                        .on_loop_start = on_loop_start,
                                        .on_loop_stop = on_loop_stop};
    struct rill_server *server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_server, server), 0);
    while (_i >= 2 && __atomic_load_n(&ups, __ATOMIC_SEQ_CST) < 20)
        usleep(1000);
    rill_server_stop(server, _i % 2);
    pthread_join(thread, NULL);
    rill_server_free(server);
    hush();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_connect");
    TCase *tcase = tcase_create("mt_connect");
    tcase_add_test(tcase, connects_on_several_loops);
    tcase_add_loop_test(tcase, stopped_while_connecting, 0, 6);
    tcase_add_loop_test(tcase, a_server_stops_while_its_loops_connect, 0, 4);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
