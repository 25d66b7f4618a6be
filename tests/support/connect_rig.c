/* connect_rig.c - see connect_rig.h. */
#include "connect_rig.h"
#include "rill/core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define must(condition) ((condition) ? (void)0 : failed(#condition, __LINE__))

struct connect_rig connect_rig;

__attribute__((cold, noreturn)) static void failed(const char *condition, int line)
{
    fprintf(stderr, "connect_rig.c:%d: %s (called: \"%s\", error %d: %s)\n", line, condition, connect_rig.order,
            connect_rig.error, connect_rig.why);
    abort();
}

/* --- the recorder --- */

static void record(char letter)
{
    size_t length = strlen(connect_rig.order);
    must(length + 1 < sizeof connect_rig.order);
    connect_rig.order[length] = letter;
    connect_rig.order[length + 1] = '\0';
}

static void on_open(struct rill_conn *conn)
{
    (void)conn;
    record('O');
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    record('D');
    size_t length = strlen(connect_rig.received);
    must(length + input->length < sizeof connect_rig.received);
    memcpy(connect_rig.received + length, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static void on_eof(struct rill_conn *conn)
{
    record('E');
    rill_conn_finish(conn, false);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)reason;
    record('X');
    if (conn == connect_rig.last)
        connect_rig.last = NULL;
}

static void on_connected(struct rill_conn *conn, void *arg)
{
    must(arg == &connect_rig);
    must(rill_conn_user(conn) == &connect_rig);
    record('C');
    connect_rig.last = conn;
}

static void on_failed(int error, const char *why, void *arg)
{
    must(arg == &connect_rig);
    record('F');
    connect_rig.error = error;
    snprintf(connect_rig.why, sizeof connect_rig.why, "%s", why);
}

/* --- life --- */

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

void connect_rig_set_up(enum rill_backend backend, bool pool)
{
    int error;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    memset(&connect_rig, 0, sizeof connect_rig);
    connect_rig.descriptors = open_descriptors();
    connect_rig.handler =
        (struct rill_conn_handler){.on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};
    connect_rig.conn.handler = &connect_rig.handler;
    connect_rig.config = (struct rill_connect_config){.conn = &connect_rig.conn,
                                                      .user = &connect_rig,
                                                      .on_connected = on_connected,
                                                      .on_failed = on_failed,
                                                      .arg = &connect_rig};
    connect_rig.loop = rill_loop_new(&(struct rill_loop_config){.backend = backend}, &error);
    must(connect_rig.loop != NULL);
    if (!pool)
        return;
    connect_rig.workers = rill_workers_start(&(struct rill_workers_config){.threads = 1, .queue_length = 1}, &error);
    must(connect_rig.workers != NULL);
    rill_loop_set_workers(connect_rig.loop, connect_rig.workers);
}

/* Sockets that have addresses at which nobody listens, so that no other program gets them meanwhile. */
static int guards[8];
static unsigned guard_count;

void connect_rig_tear_down(void)
{
    rill_workers_stop(connect_rig.workers);
    rill_loop_free(connect_rig.loop);
    while (guard_count > 0)
        close(guards[--guard_count]);
    must(open_descriptors() == connect_rig.descriptors);
}

/* --- the other end --- */

/* A socket that has TEXT's address; ADDR is where that is. */
static int bind_to(const char *text, struct rill_addr *addr)
{
    must(rill_addr_parse(text, addr, NULL) == 0);
    int fd = socket(addr->socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int on = 1;
    must(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (addr->socket.any.sa_family == AF_UNIX)
        unlink(addr->socket.local.sun_path);
    must(bind(fd, &addr->socket.any, addr->length) == 0);
    addr->length = sizeof addr->socket;
    must(getsockname(fd, &addr->socket.any, &addr->length) == 0);
    return fd;
}

int connect_rig_listen(const char *text, struct rill_addr *addr)
{
    int fd = bind_to(text, addr);
    must(listen(fd, 128) == 0);
    return fd;
}

static void guard(int fd)
{
    must(guard_count < sizeof guards / sizeof guards[0]);
    guards[guard_count++] = fd;
}

void connect_rig_shut(int *listener, const struct rill_addr *addr)
{
    struct rill_addr same;
    close(*listener);
    *listener = -1;
    guard(bind_to(connect_rig_text(addr), &same));
}

void connect_rig_black_hole(const char *text, struct rill_addr *addr, int fds[3])
{
    fds[0] = connect_rig_listen(text, addr);
    must(listen(fds[0], 0) == 0);
    for (int i = 1; i < 3; i++) {
        fds[i] = socket(addr->socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        must(connect(fds[i], &addr->socket.any, addr->length) < 0 && errno == EINPROGRESS);
    }
}

struct rill_addr connect_rig_nobody(const char *text)
{
    struct rill_addr addr;
    guard(bind_to(text, &addr));
    return addr;
}

const char *connect_rig_text(const struct rill_addr *addr)
{
    static char text[RILL_ADDR_TEXT];
    rill_addr_format(addr, text);
    return text;
}

/* --- what is done --- */

struct rill_connect *connect_rig_begin(const char *target)
{
    struct rill_connect_config config = connect_rig.config;
    struct rill_connect *connect = NULL;
    if (target)
        config.target = target;
    must(rill_connect(connect_rig.loop, &config, &connect) == 0);
    must(connect != NULL);
    return connect;
}

static bool time_is_up;

static void on_time_up(struct rill_timer *timer)
{
    (void)timer;
    time_is_up = true;
}

void connect_rig_expect(const char *order)
{
    struct rill_timer timer;
    rill_timer_init(&timer, on_time_up);
    time_is_up = false;
    rill_loop_arm(connect_rig.loop, &timer, 60000);
    while (strcmp(connect_rig.order, order) != 0) {
        must(!time_is_up);
        must(strlen(connect_rig.order) < strlen(order));
        must(rill_loop_turn(connect_rig.loop, true) == 0);
    }
    rill_loop_disarm(connect_rig.loop, &timer);
}

void connect_rig_turns(int count)
{
    while (count-- > 0)
        must(rill_loop_turn(connect_rig.loop, false) == 0);
}
