/* conn_rig.c - see conn_rig.h. */
#include "conn_rig.h"
#include "must.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct rig rig;

static void on_open(struct rill_conn *conn)
{
    rig.opened++;
    rig.conn = conn;
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    rig.datas++;
    if (rig.keep)
        return;
    rig.length += input->length;
    rill_input_consume(input, input->length);
}

static void on_eof(struct rill_conn *conn)
{
    (void)conn;
    rig.eofs++;
}

static void on_drain(struct rill_conn *conn)
{
    (void)conn;
    rig.drains++;
}

static void on_timeout(struct rill_conn *conn)
{
    (void)conn;
    rig.timeouts++;
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    rig.closed++;
    rig.reason = reason;
}

void rig_set_up(enum rill_backend backend)
{
    int error;
    signal(SIGPIPE, SIG_IGN);
    memset(&rig, 0, sizeof rig);
    rig.handler = (struct rill_conn_handler){.on_open = on_open,
                                             .on_data = on_data,
                                             .on_eof = on_eof,
                                             .on_drain = on_drain,
                                             .on_timeout = on_timeout,
                                             .on_close = on_close};
    rig.config.handler = &rig.handler;
    rig.peer = -1;
    rig.loop = rill_loop_new(&(struct rill_loop_config){.backend = backend}, &error);
    MUST(rig.loop != NULL);
}

void rig_tear_down(void)
{
    if (rig.peer >= 0)
        close(rig.peer);
    rig.peer = -1;
    rill_loop_free(rig.loop);
    rig.loop = NULL;
}

struct rill_conn *rig_adopt(void)
{
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    rig.peer = pair[1];
    MUST(rill_conn_adopt(rig.loop, pair[0], NULL, &rig.config) == 0);
    return rig.conn;
}

struct rill_conn *rig_adopt_tcp(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int on = 1;
    MUST(bind(listener, (struct sockaddr *)&at, sizeof at) == 0);
    MUST(listen(listener, 1) == 0);
    MUST(getsockname(listener, (struct sockaddr *)&at, &length) == 0);
    rig.peer = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(rig.peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    MUST(connect(rig.peer, (struct sockaddr *)&at, sizeof at) == 0);
    fcntl(rig.peer, F_SETFL, O_NONBLOCK);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    MUST(fd >= 0);
    close(listener);
    MUST(rill_conn_adopt(rig.loop, fd, NULL, &rig.config) == 0);
    return rig.conn;
}

void rig_turns(int count)
{
    while (count-- > 0)
        MUST(rill_loop_turn(rig.loop, false) == 0);
}

static bool time_is_up;

static void on_time_up(struct rill_timer *timer)
{
    (void)timer;
    time_is_up = true;
}

int rig_turns_within(uint64_t ms)
{
    struct rill_timer timer;
    int count = 0;
    rill_timer_init(&timer, on_time_up);
    time_is_up = false;
    rill_loop_arm(rig.loop, &timer, ms);
    for (; !time_is_up; count++)
        MUST(rill_loop_turn(rig.loop, true) == 0);
    return count;
}

size_t rig_stuff(int fd)
{
    static const char much[65536];
    size_t total = 0;
    for (ssize_t n; (n = write(fd, much, sizeof much)) > 0;)
        total += (size_t)n;
    MUST(errno == EAGAIN);
    return total;
}

size_t rig_drop(int fd, bool *ended)
{
    static char much[65536];
    size_t total = 0;
    ssize_t n;
    while ((n = read(fd, much, sizeof much)) > 0)
        total += (size_t)n;
    if (ended)
        *ended = n == 0 || (errno != EAGAIN && errno != EINTR);
    return total;
}
