/* test_crash.c - children that crash in every way, and what they say of it before they die. */
#include "rill/core/crash.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/core/workers.h"
#include "rill/http/server.h"
#include "support/run_suite.h"
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <sys/un.h>
#include <sys/wait.h>

/* A sanitizer's own handlers are left alone, so here they are not to be. */
#define LEFT_TO_US "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return LEFT_TO_US;
}
const char *__tsan_default_options(void)
{
    return LEFT_TO_US;
}

static char folder[64], socket_path[96], listen_text[128], log_path[96];
static char said[1 << 16], logged[1 << 16];

static void setup(void)
{
    strcpy(folder, "/tmp/rill-crash-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(socket_path, sizeof socket_path, "%s/socket", folder);
    snprintf(listen_text, sizeof listen_text, "unix:%s", socket_path);
    snprintf(log_path, sizeof log_path, "%s/log", folder);
}

static void teardown(void)
{
    unlink(socket_path);
    unlink(log_path);
    rmdir(folder);
}

/* --- ways to crash --- */

static char *volatile nowhere = (char *)64;
static volatile int zero, most = INT32_MAX;

static __attribute__((noinline)) int use_up_the_stack(int depth)
{
    volatile char room[1024];
    room[0] = (char)depth;
    return depth < most ? use_up_the_stack(depth + 1) + room[0] : 0;
}

static __attribute__((noinline, no_sanitize("address", "undefined", "thread"))) void touch(char *at)
{
    *at = 1;
}

static void crash(const char *how)
{
    if (strcmp(how, "segv") == 0)
        touch(nowhere);
    else if (strcmp(how, "stack") == 0)
        zero = use_up_the_stack(0);
    else if (strcmp(how, "abort") == 0)
        abort();
    else if (strcmp(how, "ill") == 0)
        raise(SIGILL);
    else if (strcmp(how, "fpe") == 0)
        raise(SIGFPE);
    else
        raise(SIGBUS);
}

static void crashing_handler(struct rill_exchange *x, void *arg)
{
    (void)arg;
    struct rill_slice how = rill_exchange_param(x, "how");
    char text[16] = "";
    memcpy(text, how.bytes, how.length < sizeof text ? how.length : sizeof text - 1);
    crash(text);
    rill_exchange_reply_text(x, 200, "still there");
}

static void crash_in_job(struct rill_job *job)
{
    (void)job;
    crash("stack");
}

static void job_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    (void)job;
    (void)outcome;
}

static void job_handler(struct rill_exchange *x, void *arg)
{
    static struct rill_job job = {.run = crash_in_job, .done = job_done};
    (void)arg;
    job.loop = rill_exchange_loop(x);
    if (rill_workers_submit(rill_loop_workers(job.loop), &job) < 0)
        rill_exchange_reply_status(x, 503);
}

/* --- children --- */

static void be_quiet_about_cores(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

/* Starts BODY(ARG) in a child whose standard error is *FD. */
static pid_t start(void (*body)(void *arg), void *arg, int *fd)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        be_quiet_about_cores();
        alarm(60);
        if (rill_crash_report_install() < 0)
            _exit(3);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    *fd = ends[0];
    return child;
}

/* Reads all that CHILD says until it ends, and returns the signal that it died of; 0: it did not. */
static int await(pid_t child, int fd)
{
    size_t length = 0;
    ssize_t got;
    int status;
    while ((got = read(fd, said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = '\0';
    close(fd);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void serve(void *arg)
{
    struct rill_router *router = rill_router_new();
    struct rill_http_server_config config = {.router = router,
                                             .net = {.listen = listen_text, .threads = *(int *)arg, .workers = 1}};
    if (rill_log_open(log_path) < 0 ||
        rill_router_add(router, "GET", "/crash/:how/*rest", crashing_handler, NULL) < 0 ||
        rill_router_add(router, "GET", "/job", job_handler, NULL) < 0)
        _exit(4);
    _exit(rill_http_server_main(&config));
}

/* Has a server of so many THREADS that is asked for PATH crash; returns the signal that it died of. */
static int crash_server(int threads, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char request[512];
    int fd;
    pid_t child = start(serve, &threads, &fd);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(at.sun_path, socket_path);
    for (int tries = 0; connect(client, (struct sockaddr *)&at, sizeof at) < 0; tries++) {
        ck_assert_int_lt(tries, 6000);
        usleep(10000);
    }
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    ck_assert_int_eq(write(client, request, (size_t)length), length);
    int died_of = await(child, fd);
    close(client);
    FILE *file = fopen(log_path, "r");
    ck_assert_ptr_nonnull(file);
    logged[fread(logged, 1, sizeof logged - 1, file)] = '\0';
    fclose(file);
    return died_of;
}

#define SAYS(where, text) ck_assert_msg(strstr(where, text) != NULL, "\"%s\" is not in:\n%s", text, where)

/* --- the tests --- */

static const struct {
    const char *how;
    int number;
    const char *name;
} ways[] = {
    {"segv", SIGSEGV, "SIGSEGV at address 0x40 on thread "},
    {"stack", SIGSEGV, "SIGSEGV at address 0x"},
    {"abort", SIGABRT, "SIGABRT on thread "},
    {"ill", SIGILL, "SIGILL on thread "},
    {"fpe", SIGFPE, "SIGFPE on thread "},
    {"bus", SIGBUS, "SIGBUS on thread "},
};

static bool tsan(void)
{
#if defined __SANITIZE_THREAD__
    return true;
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
    return true;
#endif
#endif
    return false;
}

START_TEST(the_request_that_crashes_is_named)
{
    int way = _i / 2, threads = _i % 2;
    char path[64];
    if (tsan() && strcmp(ways[way].how, "stack") == 0)
        return; /* its own shadow of the stack ends before the stack does */
    snprintf(path, sizeof path, "/crash/%s/%%0d%%1bx", ways[way].how);
    ck_assert_int_eq(crash_server(threads, path), ways[way].number);
    char *both[] = {said, logged};
    for (int i = 0; i < 2; i++) {
        SAYS(both[i], ways[way].name);
        SAYS(both[i], threads ? "on thread reactor-0 (" : "on thread test_crash (");
        SAYS(both[i], threads ? ", loop reactor-0\n" : ", loop main\n");
        snprintf(path, sizeof path, "rill: crash: in GET /crash/%s/\\x0d\\x1bx on connection ", ways[way].how);
        SAYS(both[i], path);
        SAYS(both[i], ", called back:\n");
        SAYS(both[i], "rill: crash: backtrace:\n");
        ck_assert_ptr_null(strstr(both[i], "the report itself"));
        const char *at = strstr(both[i], "backtrace:\n");
        unsigned frames = 0;
        while ((at = strstr(at + 1, "[0x")))
            frames++;
        ck_assert_uint_ge(frames, 4);
    }
}
END_TEST

START_TEST(a_job_that_crashes_is_named_by_its_thread)
{
    if (tsan())
        return; /* as above */
    ck_assert_int_eq(crash_server(1, "/job"), SIGSEGV);
    SAYS(said, " on thread worker-0 (");
    SAYS(said, "), which runs no loop\n");
    SAYS(said, "rill: crash: backtrace:\n");
}
END_TEST

static void crash_in_task(struct rill_task *task)
{
    (void)task;
    crash("segv");
}

static void run_task(void *arg)
{
    int error;
    struct rill_task task = {.run = crash_in_task};
    struct rill_loop *loop = rill_loop_new(&(struct rill_loop_config){.name = "lonely"}, &error);
    (void)arg;
    if (!loop || rill_loop_post(loop, &task) < 0)
        _exit(4);
    rill_loop_turn(loop, true);
}

START_TEST(a_task_that_crashes_is_named)
{
    int fd;
    pid_t child = start(run_task, NULL, &fd);
    ck_assert_int_eq(await(child, fd), SIGSEGV);
    SAYS(said, ", loop lonely\n");
    SAYS(said, "rill: crash: in a task, called back:\n");
}
END_TEST

static void describe_badly(const void *value, struct rill_note *note)
{
    rill_note_text(note, value);
    crash("segv");
}

static void crash_twice(void *arg)
{
    int error;
    struct rill_task task = {.run = crash_in_task};
    struct rill_loop *loop = rill_loop_new(&(struct rill_loop_config){.name = "lonely"}, &error);
    if (!loop || rill_loop_post(loop, &task) < 0)
        _exit(4);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, arg, NULL);
    rill_loop_set_describe(loop, RILL_LOOP_SLOT_APP, describe_badly);
    rill_loop_turn(loop, true);
}

START_TEST(a_crash_in_the_report_ends_it)
{
    char words[] = "something";
    int fd;
    if (tsan())
        return; /* it has no second fault in a handler handled */
    pid_t child = start(crash_twice, words, &fd);
    ck_assert_int_eq(await(child, fd), SIGSEGV);
    SAYS(said, ", loop lonely\nrill: crash: the report itself has crashed\n");
}
END_TEST

static void on_own(int number)
{
    (void)number;
    _exit(7);
}

static void crash_with_own_handler(void *arg)
{
    (void)arg;
    raise(SIGSEGV);
}

START_TEST(who_has_a_handler_keeps_it)
{
    int fd;
    signal(SIGSEGV, on_own);
    pid_t child = start(crash_with_own_handler, NULL, &fd);
    ck_assert_int_eq(await(child, fd), 0);
    ck_assert_str_eq(said, "");
}
END_TEST

START_TEST(notes_are_cut_and_escaped)
{
    struct rill_note note = {.length = 0};
    rill_note_text(&note, "a\x7f\n");
    rill_note_number(&note, 0, 10);
    rill_note_number(&note, UINT64_MAX, 10);
    rill_note_number(&note, 0xbeef, 16);
    ck_assert_uint_eq(note.length, strlen("a\\x7f\\x0a018446744073709551615beef"));
    ck_assert_mem_eq(note.text, "a\\x7f\\x0a018446744073709551615beef", note.length);
    for (unsigned i = 0; i < sizeof note.text; i++)
        rill_note_text(&note, i % 3 ? "x" : "\n");
    ck_assert_uint_lt(note.length, sizeof note.text); /* there is room for the end of the line */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crash");
    TCase *all = tcase_create("crash");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, the_request_that_crashes_is_named, 0, 2 * (int)rill_array_length(ways));
    tcase_add_test(all, a_job_that_crashes_is_named_by_its_thread);
    tcase_add_test(all, a_task_that_crashes_is_named);
    tcase_add_test(all, a_crash_in_the_report_ends_it);
    tcase_add_test(all, who_has_a_handler_keeps_it);
    tcase_add_test(all, notes_are_cut_and_escaped);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
