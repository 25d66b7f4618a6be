/* test_mt_watchdog.c - loops that are stalled on purpose: one report a stall, with what it was, and none without. */
#include "rill/core/crash.h"
#include "rill/core/log.h"
#include "rill/core/loop_group.h"
#include "rill/core/loop_stats.h"
#include "rill/core/sys.h"
#include "rill/core/watchdog.h"
#include "rill/http/server.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>

enum { THRESHOLD_MS = 100, PATIENCE_MS = 60000, HANDLER_BYTES = 2048 };

static char log_path[64], log_text[1 << 17];
static bool released; /* atomic: what stalls may go on */

/* --- the log, and what is expected in it --- */

static void setup(void)
{
    strcpy(log_path, "/tmp/rill-watchdog-XXXXXX");
    int fd = mkstemp(log_path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(rill_log_open(log_path), 0);
    rill_log_set_level(RILL_LOG_WARN);
    released = false;
}

static void teardown(void)
{
    unlink(log_path);
}

static void read_log(void)
{
    FILE *file = fopen(log_path, "r");
    size_t got = fread(log_text, 1, sizeof log_text - 1, file);
    fclose(file);
    log_text[got] = '\0';
}

static unsigned count_in_log(const char *text)
{
    unsigned count = 0;
    read_log();
    for (const char *at = log_text; (at = strstr(at, text)); at++)
        count++;
    return count;
}

static void await_in_log(const char *text, unsigned count)
{
    for (unsigned waited_ms = 0; count_in_log(text) < count; waited_ms += 5) {
        ck_assert_msg(waited_ms < PATIENCE_MS, "waited in vain for %u times \"%s\" in:\n%s", count, text, log_text);
        usleep(5000);
    }
}

/* Whether a line with WHAT names an address within FUNCTION, the programs being loaded anywhere:
 * "...: WHAT PROGRAM(+0x1234) [0x5555...]". */
static bool names(const char *what, uintptr_t function)
{
    for (const char *at = log_text; (at = strstr(at, what)); at++) {
        const char *address = strstr(at, "[0x"), *end = strchr(at, '\n');
        uintptr_t value = address && address < end ? (uintptr_t)strtoull(address + 1, NULL, 16) : 0;
        if (value >= function && value < function + HANDLER_BYTES)
            return true;
    }
    return false;
}

/* --- what stalls --- */

static void stall(void)
{
    while (!__atomic_load_n(&released, __ATOMIC_ACQUIRE))
        usleep(1000); /* the signal cuts one of them short */
}

static void release(void)
{
    __atomic_store_n(&released, true, __ATOMIC_RELEASE);
}

static __attribute__((noinline)) void stalling_task(struct rill_task *task)
{
    (void)task;
    stall();
    __asm__ volatile(""); /* so that the call above is none that this function's frame is given up for */
}

static void short_task(struct rill_task *task)
{
    __atomic_store_n(&task->run, (rill_task_fn *)NULL, __ATOMIC_RELEASE);
}

static struct rill_loop_group *start_loops(void)
{
    int error;
    struct rill_loop_group *group = rill_loop_group_start(&(struct rill_loop_group_config){.count = 2}, &error);
    ck_assert_ptr_nonnull(group);
    return group;
}

static struct rill_watchdog *watch(struct rill_loop_group *group, uint64_t threshold_ms)
{
    struct rill_loop *loops[] = {rill_loop_group_loop(group, 0), rill_loop_group_loop(group, 1)};
    int error;
    struct rill_watchdog *watchdog = rill_watchdog_start(loops, 2, threshold_ms, &error);
    ck_assert_ptr_nonnull(watchdog);
    return watchdog;
}

START_TEST(a_stalled_loop_is_reported_once_a_stall)
{
    struct rill_loop_group *group = start_loops();
    struct rill_watchdog *watchdog = watch(group, THRESHOLD_MS);
    struct rill_loop *loop = rill_loop_group_loop(group, 1);
    const struct rill_loop_stats *stats = rill_loop_stats(loop);
    struct rill_task tasks[2];
    for (unsigned stalls = 1; stalls <= 2; stalls++) {
        tasks[stalls - 1] = (struct rill_task){.run = stalling_task};
        __atomic_store_n(&released, false, __ATOMIC_RELEASE);
        ck_assert_int_eq(rill_loop_post(loop, &tasks[stalls - 1]), 0);
        await_in_log("stalled at", 2 * stalls); /* its function has a caller, too */
        usleep(3 * THRESHOLD_MS * 1000);        /* it goes on to stall */
        while (rill_stat_read(&stats->longest_stall_ms) < 2 * THRESHOLD_MS)
            usleep(5000);
        ck_assert_uint_eq(count_in_log("is stalled"), stalls);
        ck_assert_uint_eq(rill_stat_read(&stats->stalls), stalls);
        release();
        await_in_log("goes on", stalls);
    }
    ck_assert_uint_eq(count_in_log("loop reactor-1 is stalled"), 2);
    ck_assert_msg(names("called back", (uintptr_t)stalling_task), "the task is not named in:\n%s", log_text);
    ck_assert_msg(names("stalled at", (uintptr_t)stalling_task), "the task is no frame in:\n%s", log_text);
    ck_assert_uint_eq(rill_stat_read(&rill_loop_stats(rill_loop_group_loop(group, 0))->stalls), 0);
    rill_watchdog_stop(watchdog);
    rill_loop_group_stop(group);
}
END_TEST

/* Short for a busy machine, too. */
START_TEST(nothing_is_reported_of_loops_that_wait_or_have_short_turns)
{
    struct rill_loop_group *group = start_loops();
    struct rill_watchdog *watchdog = watch(group, 20 * THRESHOLD_MS);
    struct rill_loop *busy = rill_loop_group_loop(group, 0), *idle = rill_loop_group_loop(group, 1);
    struct rill_task task = {.run = NULL};
    for (uint64_t until_ns = rill_clock_ns() + 30 * THRESHOLD_MS * 1000000ull; rill_clock_ns() < until_ns;) {
        if (__atomic_load_n(&task.run, __ATOMIC_ACQUIRE) == NULL) {
            task.run = short_task;
            ck_assert_int_eq(rill_loop_post(busy, &task), 0);
        }
        usleep(200);
    }
    rill_watchdog_stop(watchdog);
    ck_assert_uint_eq(rill_stat_read(&rill_loop_stats(busy)->stalls), 0);
    ck_assert_uint_eq(rill_stat_read(&rill_loop_stats(idle)->stalls), 0);
    rill_loop_group_stop(group);
    ck_assert_uint_eq(count_in_log("loop"), 0);
}
END_TEST

START_TEST(watchdogs_come_and_go)
{
    struct rill_loop_group *group = start_loops();
    struct rill_task task = {.run = stalling_task};
    int error;
    ck_assert_ptr_null(rill_watchdog_start(NULL, 0, 0, &error));
    ck_assert_int_eq(error, -EINVAL);
    rill_watchdog_stop(NULL);
    for (int i = 0; i < 20; i++) /* stopped between two looks */
        rill_watchdog_stop(watch(group, THRESHOLD_MS));
    struct rill_watchdog *watchdog = watch(group, THRESHOLD_MS);
    ck_assert_int_eq(rill_loop_post(rill_loop_group_loop(group, 0), &task), 0);
    await_in_log("is stalled", 1);
    rill_watchdog_stop(watchdog); /* while a loop is stalled */
    release();
    rill_loop_group_stop(group);
}
END_TEST

/* --- a server --- */

static void stalling_handler(struct rill_exchange *x, void *arg)
{
    (void)arg;
    stall();
    rill_exchange_reply_text(x, 200, "at last");
}

static void *run_server(void *server)
{
    return rill_http_server_run(server, false) == 0 ? NULL : server;
}

static int ask(const struct rill_http_server *server)
{
    static const char request[] = "GET /slow/%0apath HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(rill_http_server_net(server), 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    return fd;
}

START_TEST(a_server_names_the_request_that_stalls_it)
{
    pthread_t thread;
    char text[512];
    void *failed;
    int error;
    struct rill_router *router = rill_router_new();
    ck_assert_int_eq(rill_router_add(router, "GET", "/slow/*rest", stalling_handler, NULL), 0);
    struct rill_http_server *server = rill_http_server_new(
        &(struct rill_http_server_config){
            .router = router, .net = {.listen = "127.0.0.1:0", .threads = _i, .stall_threshold_ms = THRESHOLD_MS}},
        &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_server, server), 0);
    int fd = ask(server);
    await_in_log("stalled at", 1);
    await_in_log(_i ? "loop reactor-0 is stalled" : "loop main is stalled", 1);
    ck_assert_ptr_nonnull(strstr(log_text, "in GET /slow/\\x0apath on connection "));
    ck_assert_msg(names("called back", (uintptr_t)stalling_handler), "the handler is not named in:\n%s", log_text);
    release();
    ck_assert_int_gt(recv(fd, text, sizeof text, 0), 12);
    ck_assert_mem_eq(text, "HTTP/1.1 200", 12);
    close(fd);
    rill_server_stop(rill_http_server_net(server), false);
    pthread_join(thread, &failed);
    ck_assert_ptr_null(failed);
    rill_http_server_free(server);
    rill_router_free(router);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watchdog");
    TCase *all = tcase_create("watchdog");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_stalled_loop_is_reported_once_a_stall);
    tcase_add_test(all, nothing_is_reported_of_loops_that_wait_or_have_short_turns);
    tcase_add_test(all, watchdogs_come_and_go);
    tcase_add_loop_test(all, a_server_names_the_request_that_stalls_it, 0, 2);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
