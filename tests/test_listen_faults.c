/* test_listen_faults.c - a server's listeners when memory is lacking: in its start, and between accept and hand-over.
 */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>

static struct rill_server *server;
static char path[64], unix_address[80];

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static const struct rill_conn_handler echo = {.on_data = on_data};

static void set_up(void)
{
    faulty_sys_reset();
    rill_log_set_level(RILL_LOG_OFF);
    signal(SIGPIPE, SIG_IGN);
    snprintf(path, sizeof path, "/tmp/rill-test-listen-faults-%ld.sock", (long)getpid());
    snprintf(unix_address, sizeof unix_address, "unix:%s", path);
    unlink(path);
}

static void make(const struct rill_server_config *config)
{
    int error;
    server = rill_server_new(config, &error);
    ck_assert_ptr_nonnull(server);
}

static struct rill_timer stop_timer;
static bool a_loop_started;

static void stop_server(struct rill_timer *timer)
{
    (void)timer;
    rill_server_stop(server, false);
}

static int stop_soon(struct rill_loop *loop, void *arg)
{
    (void)arg;
    a_loop_started = true;
    rill_loop_arm(loop, &stop_timer, 1);
    return 0;
}

START_TEST(a_failed_start_leaves_no_file)
{
    /* Each allocation of the start fails in its turn. */
    const struct rill_server_config config = {
        .listen = unix_address, .listens = {{.address = "127.0.0.1:0"}}, .handler = &echo, .on_loop_start = stop_soon};
    int before_it_listened = 0, after = 0;
    for (uint64_t k = 1; k < 100; k++) {
        make(&config);
        ck_assert_int_eq(access(path, F_OK), 0);
        rill_timer_init(&stop_timer, stop_server);
        a_loop_started = false;
        faulty_memory_fails_at(k);
        int result = rill_server_run(server, false);
        bool over = faulty_sys.failed == 0;
        faulty_sys_reset();
        rill_server_free(server);
        ck_assert_int_lt(access(path, F_OK), 0);
        ck_assert(result == 0 || result == -ENOMEM);
        before_it_listened += result < 0 && !a_loop_started;
        after += result < 0 && a_loop_started;
        if (over) {
            ck_assert_int_ge(before_it_listened, 2);
            ck_assert_int_ge(after, 2);
            return;
        }
    }
    ck_abort_msg("there is no end to it");
}
END_TEST

/* --- while it runs; what the faults are is said on the main loop --- */

struct order {
    struct rill_task task;
    int error;
    sem_t done;
};

static void set_memory_error(struct rill_task *task)
{
    struct order *order = rill_container_of(task, struct order, task);
    faulty_sys.error[FAULTY_MEMORY] = order->error;
    sem_post(&order->done);
}

static void memory_is_lacking(bool lacking)
{
    struct order order = {.task.run = set_memory_error, .error = lacking ? ENOMEM : 0};
    sem_init(&order.done, 0, 0);
    ck_assert_int_eq(rill_loop_post(rill_server_main_loop(server), &order.task), 0);
    sem_wait(&order.done);
}

static int dial(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {60, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void is_served(int fd)
{
    /* Twice: the second is answered when the loop has nothing left to set up for it. */
    for (int i = 0; i < 2; i++) {
        char byte = 0;
        ck_assert_int_eq(send(fd, "x", 1, 0), 1);
        ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
        ck_assert_int_eq(byte, 'x');
    }
}

static void is_closed_unheard(int fd)
{
    char byte;
    ssize_t count = recv(fd, &byte, 1, 0);
    ck_assert(count == 0 || (count < 0 && errno == ECONNRESET));
    close(fd);
}

static void *run(void *arg)
{
    (void)arg;
    ck_assert_int_eq(rill_server_run(server, false), 0);
    return NULL;
}

START_TEST(who_cannot_be_handed_over_is_not_counted)
{
    const struct rill_server_config config = {
        .listen = "127.0.0.1:0", .threads = 1 + _i, .handler = &echo, .max_connections_per_address = 2};
    pthread_t thread;
    make(&config);
    ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
    int first = dial();
    is_served(first); /* its address is in the table, so that only the message needs memory */
    memory_is_lacking(true);
    for (int i = 0; i < 5; i++)
        is_closed_unheard(dial());
    memory_is_lacking(false);
    ck_assert_uint_eq(rill_server_refused(server), 0);
    int second = dial();
    is_served(second);
    is_closed_unheard(dial());
    ck_assert_uint_eq(rill_server_refused(server), 1);
    close(first);
    close(second);
    rill_server_stop(server, false);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(rill_address_counts_size(server->address_counts), 0);
    rill_server_free(server);
}
END_TEST

START_TEST(who_cannot_be_counted_is_refused)
{
    const struct rill_server_config config = {
        .listen = "127.0.0.1:0", .threads = 1, .handler = &echo, .max_connections_per_address = 2};
    pthread_t thread;
    make(&config);
    ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
    int fd = dial();
    is_served(fd); /* so the start is over */
    close(fd);
    while (rill_address_counts_size(server->address_counts) > 0)
        usleep(1000);
    memory_is_lacking(true);
    for (int i = 0; i < 3; i++)
        is_closed_unheard(dial());
    memory_is_lacking(false);
    ck_assert_uint_eq(rill_server_refused(server), 3);
    fd = dial();
    is_served(fd);
    rill_server_stop(server, true);
    pthread_join(thread, NULL);
    close(fd);
    ck_assert_uint_eq(rill_address_counts_size(server->address_counts), 0);
    rill_server_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listeners without memory");
    TCase *all = tcase_create("listeners without memory");
    tcase_add_checked_fixture(all, set_up, NULL);
    tcase_add_test(all, a_failed_start_leaves_no_file);
    tcase_add_loop_test(all, who_cannot_be_handed_over_is_not_counted, 0, 2);
    tcase_add_test(all, who_cannot_be_counted_is_refused);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
