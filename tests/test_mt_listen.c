/* test_mt_listen.c - a server's listeners at work, with all ways to accept: what is spoken on each, sockets that it was
 * started with, the limit by address, and the pool that its loops share. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>

enum { MODES = 9 }; /* threads 0 to 2, in every mode */

static struct rill_server *server;
static pthread_t server_thread;
static int server_result;
static struct rill_server_config config;
static char path[64], unix_address[80];

static int opened, closed, stopped; /* atomic */

static int value_of(int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void bump(int *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

static void on_open(struct rill_conn *conn)
{
    (void)conn;
    bump(&opened);
}

/* Says what it is configured as, for every byte. */
static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    for (size_t i = 0; i < input->length; i++)
        rill_conn_send(conn, rill_conn_arg(conn), 4);
    rill_input_consume(input, input->length);
}

static void on_stop(struct rill_conn *conn)
{
    bump(&stopped);
    rill_conn_send(conn, "stop", 4);
    rill_conn_finish(conn, false);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    bump(&closed);
}

static const struct rill_conn_handler plain = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
static const struct rill_conn_handler polite = {
    .on_open = on_open, .on_data = on_data, .on_stop = on_stop, .on_close = on_close};

static void set_up(void)
{
    rill_log_set_level(RILL_LOG_OFF);
    signal(SIGPIPE, SIG_IGN);
    snprintf(path, sizeof path, "/tmp/rill-test-mt-listen-%ld.sock", (long)getpid());
    snprintf(unix_address, sizeof unix_address, "unix:%s", path);
    unlink(path);
    opened = closed = stopped = 0;
    config = (struct rill_server_config){
        .listen = "127.0.0.1:0", .handler = &plain, .arg = "main", .drain_timeout_ms = 10000};
}

/* The I-th of MODES. */
static void set_mode(int i)
{
    config.threads = i % 3;
    config.accept = (enum rill_accept_mode)(i / 3);
}

static void *run(void *arg)
{
    (void)arg;
    server_result = rill_server_run(server, false);
    return NULL;
}

static void make(void)
{
    int error;
    server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
}

static void run_it(void)
{
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
}

/* Waits for the end. Whoever was counted is counted no more. */
static void join(void)
{
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(server_result, 0);
    ck_assert_int_eq(opened, closed);
    if (server->address_counts)
        ck_assert_uint_eq(rill_address_counts_size(server->address_counts), 0);
}

static void stop(void)
{
    rill_server_stop(server, false);
    join();
    rill_server_free(server);
}

/* --- clients --- */

static int dial_from(const char *source, const struct sockaddr *at, socklen_t length)
{
    int fd = socket(at->sa_family, SOCK_STREAM, 0);
    struct timeval limit = {60, 0};
    struct sockaddr_in from = {.sin_family = AF_INET};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (source) {
        inet_pton(AF_INET, source, &from.sin_addr);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    }
    ck_assert_int_eq(connect(fd, at, length), 0);
    return fd;
}

static int dial(unsigned listener, const char *source)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return dial_from(source, (struct sockaddr *)&at, sizeof at);
}

static int dial_unix(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    return dial_from(NULL, (struct sockaddr *)&at, sizeof at);
}

/* Whether one byte is answered; ANSWER is what with. False: the connection was closed. */
static bool ask(int fd, char answer[5])
{
    memset(answer, 0, 5);
    if (send(fd, "?", 1, 0) != 1)
        return false;
    ssize_t count = recv(fd, answer, 4, MSG_WAITALL);
    ck_assert(count == 4 || count == 0 || (count < 0 && (errno == ECONNRESET || errno == EPIPE)));
    return count == 4;
}

static void says(int fd, const char *what)
{
    char answer[5];
    ck_assert(ask(fd, answer));
    ck_assert_str_eq(answer, what);
}

/* Closed by the other end, which has said nothing. */
static void is_refused(int fd)
{
    char byte;
    ssize_t count = recv(fd, &byte, 1, 0);
    ck_assert(count == 0 || (count < 0 && errno == ECONNRESET));
    close(fd);
}

/* --- each listener has its own --- */

START_TEST(each_listener_speaks_its_own_protocol)
{
    char text[10];
    set_mode(_i);
    config.listens[0] = (struct rill_listen){.address = unix_address, .handler = &polite, .arg = "unix"};
    config.listens[1] = (struct rill_listen){.address = "127.0.0.1:0", .arg = "lost"}; /* no handler: the server's */
    config.listens[2] = (struct rill_listen){.address = "localhost:0", .handler = &polite, .arg = "second"};
    make();
    run_it();
    int fds[20];
    for (int i = 0; i < 20; i += 4) {
        says(fds[i] = dial(0, NULL), "main");
        says(fds[i + 1] = dial_unix(), "unix");
        says(fds[i + 2] = dial(2, NULL), "main");
        says(fds[i + 3] = dial(3, NULL), "seco");
    }
    ck_assert_int_eq(opened, 20);
    rill_server_stop(server, false);
    for (int i = 0; i < 20; i++) {
        ssize_t count = recv(fds[i], text, sizeof text, 0);
        ck_assert_int_eq(count, i % 2 ? 4 : 0);
        close(fds[i]);
    }
    join();
    ck_assert_int_eq(stopped, 10);
    rill_server_free(server);
}
END_TEST

/* --- inherited sockets --- */

START_TEST(inherited_sockets_serve)
{
    char texts[2][20];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    int tcp = socket(AF_INET, SOCK_STREAM, 0), unix_fd = socket(AF_UNIX, SOCK_STREAM, 0), fds[12];
    struct stat st;
    snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
    ck_assert(bind(tcp, (struct sockaddr *)&at, sizeof at) == 0 && listen(tcp, 100) == 0);
    ck_assert(bind(unix_fd, (struct sockaddr *)&local, sizeof local) == 0 && listen(unix_fd, 100) == 0);
    snprintf(texts[0], sizeof texts[0], "fd:%d", tcp);
    snprintf(texts[1], sizeof texts[1], "fd:%d", unix_fd);
    set_mode(_i);
    config.listen = texts[0];
    config.listens[0] = (struct rill_listen){.address = texts[1], .handler = &polite, .arg = "unix"};
    make();
    fds[0] = dial(0, NULL); /* it listens before the server runs */
    run_it();
    says(fds[0], "main");
    for (int i = 1; i < 12; i++)
        says(fds[i] = i % 2 ? dial_unix() : dial(0, NULL), i % 2 ? "unix" : "main");
    for (int i = 0; i < 12; i++)
        close(fds[i]);
    stop();
    ck_assert_int_lt(fcntl(tcp, F_GETFD), 0);
    ck_assert_int_lt(fcntl(unix_fd, F_GETFD), 0);
    ck_assert_int_eq(lstat(path, &st), 0);
    unlink(path);
}
END_TEST

START_TEST(a_socket_outlives_the_server_that_was_given_a_copy)
{
    /* As a restart goes: the old server drains, the new one has the same socket, and nobody is turned away. */
    char text[20];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(bind(listening, (struct sockaddr *)&at, sizeof at) == 0 && listen(listening, 100) == 0);
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "fd:%d", dup(listening));
        config.listen = text;
        config.threads = i;
        make();
        run_it();
        int fd = dial(0, NULL);
        says(fd, "main");
        close(fd);
        stop();
    }
    close(listening);
}
END_TEST

/* --- the limit by address --- */

START_TEST(one_more_is_closed_unheard)
{
    enum { LIMIT = 3 };
    int fds[LIMIT], other[LIMIT];
    set_mode(_i);
    config.max_connections_per_address = LIMIT;
    config.listens[0] = (struct rill_listen){.address = unix_address, .handler = &plain, .arg = "unix"};
    config.listens[1] = (struct rill_listen){.address = "127.0.0.1:0", .handler = &plain, .arg = "more"};
    make();
    run_it();
    for (int i = 0; i < LIMIT; i++)
        says(fds[i] = dial(i % 2 ? 2 : 0, NULL), i % 2 ? "more" : "main");
    for (int i = 0; i < 5; i++)
        is_refused(dial(i % 2 ? 2 : 0, NULL)); /* the limit is the server's, not each listener's */
    ck_assert_uint_eq(rill_server_refused(server), 5);
    ck_assert_int_eq(value_of(&opened), LIMIT);
    for (int i = 0; i < LIMIT; i++)
        says(other[i] = dial(0, "127.0.0.2"), "main");
    is_refused(dial(0, "127.0.0.2"));
    for (int i = 0; i < 10; i++) {
        int fd = dial_unix();
        says(fd, "unix");
        close(fd);
    }
    ck_assert_uint_eq(rill_address_counts_size(server->address_counts), 2);
    while (value_of(&closed) < 10)
        usleep(1000);
    close(fds[1]); /* there is room again when it has gone */
    while (value_of(&closed) < 11)
        usleep(1000);
    says(fds[1] = dial(0, NULL), "main");
    is_refused(dial(0, NULL));
    for (int i = 0; i < LIMIT; i++) {
        close(fds[i]);
        close(other[i]);
    }
    while (value_of(&closed) < opened)
        usleep(1000);
    ck_assert_uint_eq(rill_address_counts_size(server->address_counts), 0);
    ck_assert_uint_eq(rill_server_refused(server), 7);
    stop();
}
END_TEST

START_TEST(those_that_the_server_ends_are_given_back)
{
    int fds[6];
    set_mode(_i % MODES);
    config.max_connections_per_address = 6;
    make();
    run_it();
    for (int i = 0; i < 6; i++)
        says(fds[i] = dial(0, NULL), "main");
    rill_server_stop(server, _i / MODES);
    join(); /* looks at the table */
    rill_server_free(server);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
}
END_TEST

static void hang_up(struct rill_conn *conn, struct rill_input *input)
{
    (void)input;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

START_TEST(who_sees_the_end_may_call_again)
{
    static const struct rill_conn_handler curt = {.on_open = on_open, .on_data = hang_up, .on_close = on_close};
    char answer[5];
    set_mode(_i);
    config.handler = &curt;
    config.max_connections_per_address = 1;
    make();
    run_it();
    for (int i = 0; i < 200; i++) {
        int fd = dial(0, NULL);
        ck_assert(!ask(fd, answer));
        close(fd);
    }
    stop();
    ck_assert_int_eq(opened, 200); /* none was refused */
}
END_TEST

static int answered, turned_away; /* atomic */

static void *come_and_go(void *arg)
{
    const char *source = arg;
    char answer[5];
    for (int i = 0; i < 60; i++) {
        int fd = dial(0, source);
        bump(ask(fd, answer) ? &answered : &turned_away);
        close(fd);
    }
    return NULL;
}

START_TEST(many_come_and_go_at_once)
{
    static char sources[2][16] = {"127.0.0.2", "127.0.0.3"};
    enum { CLIENTS = 6 };
    pthread_t clients[CLIENTS];
    answered = turned_away = 0;
    config.threads = 1 + _i % 2;
    config.accept = (enum rill_accept_mode)(_i / 2);
    config.max_connections_per_address = 2; /* three at a time want in from each address */
    make();
    run_it();
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&clients[i], NULL, come_and_go, sources[i % 2]), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    rill_server_stop(server, false);
    join();
    ck_assert_int_eq(answered + turned_away, CLIENTS * 60);
    ck_assert_uint_eq(rill_server_refused(server), (uint64_t)turned_away);
    ck_assert_int_eq(opened, answered);
    ck_assert_int_gt(answered, 0);
    rill_server_free(server);
}
END_TEST

enum { ADDRESSES = 3, LIMIT_OF_TABLE = 2, ROUNDS = 20000 };

static struct rill_address_counts *table;
static int held[ADDRESSES], took, too_many; /* atomic */

static void *take_and_release(void *arg)
{
    uintptr_t seed = (uintptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned at = (unsigned)(seed + (uintptr_t)i / 7) % ADDRESSES;
        struct rill_ip peer = {.version = 6, .bytes = {0x20, 0x01, (uint8_t)at, 0, 0, 0, 0, 0, (uint8_t)i}};
        if (!rill_address_counts_take(table, &peer))
            continue;
        bump(&took);
        if (__atomic_add_fetch(&held[at], 1, __ATOMIC_SEQ_CST) > LIMIT_OF_TABLE)
            bump(&too_many);
        if (i % 64 == 0)
            usleep(1); /* so that others come while it holds one, on one processor, too */
        __atomic_fetch_sub(&held[at], 1, __ATOMIC_SEQ_CST);
        rill_address_counts_release(table, &peer);
    }
    return NULL;
}

START_TEST(threads_share_the_table)
{
    enum { THREADS = 5 };
    pthread_t threads[THREADS];
    table = rill_address_counts_new(LIMIT_OF_TABLE, 10);
    took = too_many = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_release, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(too_many, 0);
    ck_assert_int_gt(took, ROUNDS / 100);
    ck_assert_uint_eq(rill_address_counts_size(table), 0);
    rill_address_counts_free(table);
}
END_TEST

/* A loop that has no room for connections beyond the first. */
static int on_cramped_loop_start(struct rill_loop *loop, void *arg)
{
    (void)arg;
    rill_net_of(loop)->conns.max_objects = 1;
    return 0;
}

START_TEST(who_cannot_be_adopted_is_not_counted)
{
    set_mode(_i);
    config.on_loop_start = on_cramped_loop_start;
    config.max_connections_per_address = 5; /* of which each loop serves one, and is about to give one back */
    make();
    run_it();
    int served[2], count = 0, loops = config.threads ? config.threads : 1;
    for (int i = 0; i < 40; i++) { /* with SO_REUSEPORT it is up to the kernel which loop gets one */
        char answer[5];
        int fd = dial(0, NULL);
        if (ask(fd, answer)) {
            ck_assert_int_lt(count, loops);
            served[count++] = fd;
        } else {
            close(fd);
        }
    }
    ck_assert_int_ge(count, 1);
    ck_assert_uint_eq(rill_server_refused(server), 0); /* they were dropped for another reason */
    for (int i = 0; i < count; i++)
        close(served[i]);
    stop();
}
END_TEST

/* --- the pool --- */

struct work {
    struct rill_job job;
    struct rill_conn_id conn;
    unsigned number;
};

static int submitted, refused, ran, done, came_late; /* atomic */
static int wrong_loop, pools_seen;

static void work_run(struct rill_job *job)
{
    struct work *work = rill_container_of(job, struct work, job);
    bump(&ran);
    usleep(work->number % 4 * 100);
}

static void work_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct work *work = rill_container_of(job, struct work, job);
    struct rill_conn *conn = rill_conn_find(job->loop, work->conn);
    if (rill_loop_current() != job->loop)
        bump(&wrong_loop);
    if (!conn)
        bump(&came_late); /* it has closed meanwhile */
    else if (outcome == RILL_JOB_RAN)
        rill_conn_send(conn, "done", 4);
    bump(&done);
    free(work);
}

static void submit(struct rill_loop *loop, struct rill_conn_id conn, unsigned number)
{
    struct work *work = calloc(1, sizeof *work);
    work->job = (struct rill_job){.run = work_run, .done = work_done, .loop = loop};
    work->conn = conn;
    work->number = number;
    int error = rill_workers_submit(rill_loop_workers(loop), &work->job);
    bump(error == 0 ? &submitted : &refused);
    if (error < 0)
        free(work);
}

static void on_work(struct rill_conn *conn, struct rill_input *input)
{
    for (size_t i = 0; i < input->length; i++)
        submit(rill_conn_loop(conn), rill_conn_id(conn), (unsigned)i);
    rill_input_consume(input, input->length);
}

static const struct rill_conn_handler worker_handler = {.on_open = on_open, .on_data = on_work, .on_close = on_close};

static int look_at_pool(struct rill_loop *loop, void *arg)
{
    (void)arg;
    if (rill_loop_workers(loop) && rill_loop_workers(loop) == rill_server_workers(server))
        bump(&pools_seen);
    return 0;
}

/* On the main loop, which has the pool as the others do. The pool works still, and what it is given comes home. */
static void submit_at_the_end(struct rill_server *of, void *arg)
{
    (void)arg;
    if (rill_loop_workers(rill_server_main_loop(of)) == rill_server_workers(of))
        bump(&pools_seen);
    submit(rill_server_main_loop(of), (struct rill_conn_id){0}, 3);
}

static void set_up_pool(void)
{
    submitted = refused = ran = done = came_late = wrong_loop = pools_seen = 0;
    config.handler = &worker_handler;
    config.on_loop_start = look_at_pool;
    config.on_drained = submit_at_the_end;
    config.workers = 2;
}

START_TEST(all_loops_share_the_pool)
{
    char text[4];
    set_mode(_i);
    set_up_pool();
    make();
    run_it();
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = dial(0, NULL);
        ck_assert_int_eq(send(fds[i], "12345", 5, 0), 5);
    }
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 5; k++) {
            ck_assert_int_eq(recv(fds[i], text, 4, MSG_WAITALL), 4);
            ck_assert_mem_eq(text, "done", 4);
        }
        close(fds[i]);
    }
    rill_server_stop(server, false);
    join();
    ck_assert_int_eq(submitted, 51);
    ck_assert(ran == 50 || ran == 51); /* the last one may not have begun */
    ck_assert_int_eq(done, 51);
    ck_assert_int_eq(came_late, 1); /* it is of no connection */
    ck_assert_int_eq(wrong_loop, 0);
    ck_assert_int_eq(pools_seen, (config.threads ? config.threads : 1) + 1);
    rill_server_free(server);
}
END_TEST

START_TEST(after_the_drain_the_pool_refuses)
{
    struct rill_job job = {.run = work_run, .done = work_done};
    struct rill_workers_stats stats;
    set_mode(_i);
    set_up_pool();
    make();
    ck_assert_ptr_nonnull(rill_server_workers(server)); /* before it runs */
    run_it();
    int fd = dial(0, NULL);
    close(fd);
    rill_server_stop(server, false);
    join();
    job.loop = rill_server_main_loop(server);
    ck_assert_int_eq(rill_workers_submit(rill_server_workers(server), &job), -ESHUTDOWN);
    rill_workers_stats(rill_server_workers(server), &stats);
    ck_assert_uint_eq(stats.refused, 1);
    ck_assert_uint_eq(stats.submitted, stats.ran + stats.cancelled);
    rill_server_free(server);
}
END_TEST

START_TEST(stopping_while_jobs_are_in_the_pool)
{
    int fds[8];
    set_mode(_i % MODES);
    set_up_pool();
    config.workers = 1;
    make();
    run_it();
    for (int i = 0; i < 8; i++) {
        fds[i] = dial(0, NULL);
        ck_assert_int_eq(send(fds[i], "0123456789", 10, 0), 10);
    }
    while (value_of(&ran) < 5)
        usleep(500);
    rill_server_stop(server, _i / MODES);
    join();
    ck_assert_int_eq(submitted, done); /* each once, whatever became of it */
    ck_assert_int_eq(wrong_loop, 0);
    ck_assert_int_le(ran, done);
    ck_assert_int_ge(came_late, 1);
    rill_server_free(server);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_full_queue_refuses)
{
    config.threads = 1;
    set_up_pool();
    config.workers = 1;
    config.worker_queue = 2;
    make();
    run_it();
    int fd = dial(0, NULL);
    char many[200];
    memset(many, 'x', sizeof many);
    ck_assert_int_eq(send(fd, many, sizeof many, 0), (ssize_t)sizeof many);
    while (value_of(&submitted) + value_of(&refused) < (int)sizeof many)
        usleep(1000);
    ck_assert_int_gt(value_of(&refused), 0);
    close(fd);
    stop();
    ck_assert_int_eq(submitted, done);
}
END_TEST

START_TEST(without_workers_there_is_no_pool)
{
    set_mode(_i);
    set_up_pool();
    config.workers = 0;
    config.on_drained = NULL;
    make();
    ck_assert_ptr_null(rill_server_workers(server));
    run_it();
    int fd = dial(0, NULL);
    close(fd);
    rill_server_stop(server, false);
    join();
    ck_assert_int_eq(pools_seen, 0);
    rill_server_free(server);
}
END_TEST

START_TEST(a_pool_that_was_never_used_goes_with_its_server)
{
    config.workers = 3;
    make();
    rill_server_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listeners of a server");
    TCase *all = tcase_create("listeners of a server");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, set_up, NULL);
    tcase_add_loop_test(all, each_listener_speaks_its_own_protocol, 0, MODES);
    tcase_add_loop_test(all, inherited_sockets_serve, 0, MODES);
    tcase_add_test(all, a_socket_outlives_the_server_that_was_given_a_copy);
    tcase_add_loop_test(all, one_more_is_closed_unheard, 0, MODES);
    tcase_add_loop_test(all, those_that_the_server_ends_are_given_back, 0, 2 * MODES);
    tcase_add_loop_test(all, who_sees_the_end_may_call_again, 0, MODES);
    tcase_add_loop_test(all, many_come_and_go_at_once, 0, 6);
    tcase_add_test(all, threads_share_the_table);
    tcase_add_loop_test(all, who_cannot_be_adopted_is_not_counted, 0, MODES);
    tcase_add_loop_test(all, all_loops_share_the_pool, 0, MODES);
    tcase_add_loop_test(all, after_the_drain_the_pool_refuses, 0, MODES);
    tcase_add_loop_test(all, stopping_while_jobs_are_in_the_pool, 0, 2 * MODES);
    tcase_add_test(all, a_full_queue_refuses);
    tcase_add_loop_test(all, without_workers_there_is_no_pool, 0, MODES);
    tcase_add_test(all, a_pool_that_was_never_used_goes_with_its_server);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
