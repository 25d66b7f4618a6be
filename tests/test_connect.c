/* test_connect.c - outgoing connections: to every kind of target, every way to fail, and an end at any moment. */
#include "support/connect_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void set_up(void)
{
    faulty_sys_reset();
    connect_rig_set_up(RILL_BACKEND_EPOLL, false);
}

static void tear_down(void)
{
    faulty_sys_reset();
    connect_rig_tear_down();
}

/* Not loopback's, as far as rill_connect() can see: the handshake is waited for with an event. */
#define FAR_V4 "192.0.2.1:"

static struct rill_addr far_end; /* what stands behind FAR_V4 */

/* Leads all that is not loopback's to far_end. */
static int redirect(int fd, const struct sockaddr *addr, socklen_t length)
{
    if (addr->sa_family == AF_INET &&
        *(const uint8_t *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr == 192)
        return connect(fd, &far_end.socket.any, far_end.length);
    return connect(fd, addr, length);
}

static const char *far_text(const struct rill_addr *addr)
{
    static char text[64];
    far_end = *addr;
    faulty_sys.connect = redirect;
    snprintf(text, sizeof text, FAR_V4 "%u", rill_addr_port(addr));
    return text;
}

static void unix_path(char path[64])
{
    snprintf(path, 64, "unix:/tmp/rill-test-connect-%d", (int)getpid());
}

static void expect_text(int fd, const char *text)
{
    char got[64];
    ssize_t length = 0;
    for (int tries = 0; tries < 1000 && length < (ssize_t)strlen(text); tries++) {
        ssize_t n = recv(fd, got + length, sizeof got - (size_t)length, MSG_DONTWAIT);
        if (n > 0)
            length += n;
        else
            connect_rig_turns(1);
    }
    ck_assert_int_eq(length, (int)strlen(text));
    ck_assert_mem_eq(got, text, strlen(text));
}

/* --- success --- */

static void greet(struct rill_conn *conn, void *arg)
{
    (void)arg;
    connect_rig.config.on_connected(conn, &connect_rig);
    rill_conn_send(conn, "he", 2);
}

static void greet_on(struct rill_conn *conn)
{
    strcat(connect_rig.order, "O");
    rill_conn_send(conn, "llo", 3);
}

/* Connects to TARGET, where LISTENER is, and passes bytes both ways. Returns the accepted end. */
static int round_trip(const char *target, int listener)
{
    struct rill_connect_config config = connect_rig.config;
    config.target = target;
    config.on_connected = greet;
    connect_rig.handler.on_open = greet_on;
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), 0);
    ck_assert_str_eq(connect_rig.order, ""); /* nothing before it has returned */
    connect_rig_expect("CO");
    int fd = accept(listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    expect_text(fd, "hello");
    ck_assert_int_eq(write(fd, "world", 5), 5);
    connect_rig_expect("COD");
    ck_assert_str_eq(connect_rig.received, "world");
    return fd;
}

static const char *const kinds[] = {"127.0.0.1:0", "[::1]:0", "127.9.8.7:0", "unix", "localhost", "*:0", "far"};

START_TEST(connects_to_every_kind_of_target)
{
    static const enum rill_backend backends[] = {RILL_BACKEND_EPOLL, RILL_BACKEND_POLL, RILL_BACKEND_SELECT};
    const char *kind = kinds[_i % 7];
    char text[64];
    struct rill_addr addr;
    tear_down();
    connect_rig_set_up(backends[_i / 7], false);
    bool local = strcmp(kind, "unix") == 0, name = strcmp(kind, "localhost") == 0, far = strcmp(kind, "far") == 0;
    unix_path(text);
    int listener = connect_rig_listen(local ? text : name || far ? "127.0.0.1:0" : kind, &addr);
    if (name)
        snprintf(text, sizeof text, "LocalHost:%u", rill_addr_port(&addr)); /* v6 is refused first */
    else if (!local)
        snprintf(text, sizeof text, "%s", far ? far_text(&addr) : connect_rig_text(&addr));
    int fd = round_trip(text, listener);

    const struct rill_ip *peer = rill_conn_peer(connect_rig.last);
    char peer_text[RILL_IP_TEXT];
    rill_ip_format(peer, peer_text);
    ck_assert_str_eq(peer_text, local               ? "unix"
                                : far               ? "192.0.2.1"
                                : strchr(kind, '[') ? "::1"
                                : strchr(kind, '9') ? "127.9.8.7"
                                                    : "127.0.0.1");
    ck_assert_uint_eq(peer->port, rill_addr_port(&addr));
    int on = 0;
    socklen_t length = sizeof on;
    if (!local)
        ck_assert_int_eq(getsockopt(connect_rig.last->fd, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    ck_assert(local || on);
    close(fd);
    connect_rig_expect("CODEX");
    close(listener);
    if (local)
        unlink(text + 5);
}
END_TEST

START_TEST(a_ready_list_is_tried_in_its_order)
{
    struct rill_addr addrs[3];
    addrs[0] = connect_rig_nobody("127.0.0.1:0");
    addrs[1] = connect_rig_nobody("127.0.0.2:0");
    int listener = connect_rig_listen("127.0.0.3:0", &addrs[2]);
    connect_rig.config.addrs = addrs;
    connect_rig.config.addr_count = 3;
    connect_rig_begin(NULL);
    memset(addrs, 0, sizeof addrs); /* they are copied */
    connect_rig_expect("CO");
    ck_assert_uint_eq(rill_conn_peer(connect_rig.last)->bytes[3], 3);
    close(listener);
}
END_TEST

START_TEST(comes_from_the_source_that_is_wanted)
{
    struct rill_addr addr, source, from;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    ck_assert_int_eq(rill_addr_parse("127.0.7.9:0", &source, NULL), 0);
    connect_rig.config.source = &source;
    connect_rig.config.nagle = true;
    connect_rig_begin(connect_rig_text(&addr));
    connect_rig_expect("CO");
    from.length = sizeof from.socket;
    int fd = accept(listener, &from.socket.any, &from.length), on = 1;
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(from.socket.v4.sin_addr.s_addr, source.socket.v4.sin_addr.s_addr);
    socklen_t length = sizeof on;
    ck_assert_int_eq(getsockopt(connect_rig.last->fd, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    ck_assert_int_eq(on, 0);
    close(fd);
    close(listener);
}
END_TEST

/* What is there when the handshake is noticed is not lost: bytes, the end, or both; where it is waited for with an
 * event, and where it is not. */
START_TEST(a_peer_that_speaks_first_is_heard)
{
    struct rill_addr addr;
    bool far = _i & 1, bytes = _i & 2, end = _i & 4;
    int listener = connect_rig_listen("127.0.0.1:0", &addr), fd = -1;
    connect_rig_begin(far ? far_text(&addr) : connect_rig_text(&addr));
    ck_assert_int_ge(fd = accept(listener, NULL, NULL), 0); /* the handshake is over; the loop does not know */
    if (bytes)
        ck_assert_int_eq(write(fd, "hi", 2), 2);
    if (end)
        shutdown(fd, SHUT_WR);
    connect_rig_expect(bytes && end ? "CODEX" : bytes ? "COD" : end ? "COEX" : "CO");
    close(fd);
    close(listener);
}
END_TEST

/* What a connection costs that is closed as soon as it is open: nothing is watched, nothing is asked twice. */
START_TEST(costs_few_calls)
{
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    bool far = _i;
    const char *target = far ? far_text(&addr) : connect_rig_text(&addr);
    connect_rig_begin(target); /* has what is made once made, also what libevent keeps for a descriptor */
    connect_rig_expect("CO");
    rill_conn_close(connect_rig.last, RILL_CLOSE_LOCAL);
    uint64_t before[FAULTY_CALLS];
    memcpy(before, faulty_sys.calls, sizeof before);
    connect_rig_begin(target);
    connect_rig_expect("COXCO");
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_MEMORY] - before[FAULTY_MEMORY], 1);
    /* socket, nodelay, name; and whether it got there */
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_DESCRIPTOR] - before[FAULTY_DESCRIPTOR], far ? 4 : 3);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_CONNECT] - before[FAULTY_CONNECT], far ? 1 : 2);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_EPOLL_CTL] - before[FAULTY_EPOLL_CTL], 1); /* the connection's own */
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV] - before[FAULTY_RECV], 0);
    close(listener);
}
END_TEST

static void close_on_open(struct rill_conn *conn)
{
    strcat(connect_rig.order, "O");
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

START_TEST(one_that_closes_at_once_is_never_watched)
{
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    connect_rig.handler.on_open = close_on_open;
    uint64_t before = faulty_sys.calls[FAULTY_EPOLL_CTL];
    connect_rig_begin(connect_rig_text(&addr));
    connect_rig_expect("COX");
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_EPOLL_CTL], before);
    close(listener);
}
END_TEST

static void close_connected(struct rill_conn *conn, void *arg)
{
    connect_rig.config.on_connected(conn, arg);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void finish_connected(struct rill_conn *conn, void *arg)
{
    connect_rig.config.on_connected(conn, arg);
    rill_conn_send(conn, "bye", 3);
    rill_conn_finish(conn, false);
}

START_TEST(what_on_connected_closes_is_not_opened)
{
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    struct rill_connect_config config = connect_rig.config;
    config.target = _i & 1 ? far_text(&addr) : connect_rig_text(&addr);
    config.on_connected = _i & 2 ? finish_connected : close_connected;
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), 0);
    connect_rig_expect("CX");
    int fd = accept(listener, NULL, NULL);
    if (_i & 2)
        expect_text(fd, "bye");
    close(fd);
    close(listener);
}
END_TEST

START_TEST(callbacks_may_be_absent)
{
    struct rill_addr addr, nobody = connect_rig_nobody("127.0.0.1:0");
    static const struct rill_conn_handler none;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    connect_rig.config.on_connected = NULL;
    connect_rig.config.on_failed = NULL;
    connect_rig.conn.handler = &none;
    connect_rig_begin(connect_rig_text(&addr));
    connect_rig_begin(connect_rig_text(&nobody));
    connect_rig_turns(3);
    ck_assert_uint_eq(rill_conn_count(connect_rig.loop), 1);
    close(listener);
}
END_TEST

/* --- failure --- */

static void expect_failure(int error, const char *why)
{
    connect_rig_expect("F");
    ck_assert_str_eq(connect_rig.why, why);
    ck_assert_int_eq(connect_rig.error, error);
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "F"); /* and nothing after it */
}

START_TEST(refused)
{
    char why[256], text[64];
    struct rill_addr addr;
    unix_path(text);
    if (_i < 4) {
        addr = connect_rig_nobody(_i == 0 ? "127.0.0.1:0" : _i == 1 ? "[::1]:0" : _i == 2 ? "127.0.0.1:0" : text);
        snprintf(text, sizeof text, "%s", _i == 2 ? far_text(&addr) : connect_rig_text(&addr));
        snprintf(why, sizeof why, "cannot connect to %s: Connection refused", text);
    } else {
        addr = connect_rig_nobody("127.0.0.1:0");
        snprintf(text, sizeof text, "localhost:%u", rill_addr_port(&addr));
        snprintf(why, sizeof why,
                 "cannot connect to %s: [::1]:%u: Connection refused; 127.0.0.1:%u: Connection refused", text,
                 rill_addr_port(&addr), rill_addr_port(&addr));
    }
    connect_rig_begin(text);
    expect_failure(-ECONNREFUSED, why);
    if (_i == 3)
        unlink(text + 5);
}
END_TEST

START_TEST(a_list_says_what_each_failed_with)
{
    struct rill_addr addrs[2] = {connect_rig_nobody("127.0.0.1:0")};
    char first[RILL_ADDR_TEXT], why[256];
    snprintf(first, sizeof first, "%s", connect_rig_text(&addrs[0]));
    connect_rig.config.addrs = addrs;
    connect_rig.config.addr_count = 1;
    connect_rig_begin(NULL);
    snprintf(why, sizeof why, "cannot connect to %s: Connection refused", first);
    expect_failure(-ECONNREFUSED, why);

    connect_rig.order[0] = '\0';
    ck_assert_int_eq(rill_addr_parse("255.255.255.255:9", &addrs[1], NULL), 0);
    connect_rig.config.addr_count = 2;
    connect_rig_begin(NULL);
    snprintf(why, sizeof why, "cannot connect: %s: Connection refused; 255.255.255.255:9: Network is unreachable",
             first);
    expect_failure(-ENETUNREACH, why); /* of the last */
}
END_TEST

START_TEST(times_out)
{
    struct rill_addr addr;
    int fds[3];
    char why[256];
    connect_rig_black_hole("127.0.0.1:0", &addr, fds);
    connect_rig.config.timeout_ms = 20000;
    connect_rig_begin(connect_rig_text(&addr));
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "");
    faulty_sys_forward(19000);
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "");
    faulty_sys_forward(1001);
    snprintf(why, sizeof why, "cannot connect to %s: no answer within 20000 ms", connect_rig_text(&addr));
    expect_failure(-ETIMEDOUT, why);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_full_backlog_of_a_unix_socket_is_told)
{
    struct rill_addr addr;
    char path[64];
    int fds[300], count = 0;
    unix_path(path);
    int listener = connect_rig_listen(path, &addr);
    ck_assert_int_eq(listen(listener, 0), 0);
    do
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    while (connect(fds[count++], &addr.socket.any, addr.length) == 0);
    char why[256];
    snprintf(why, sizeof why, "cannot connect to %s: its backlog is full", path);
    connect_rig_begin(path);
    expect_failure(-EAGAIN, why);
    while (count > 0)
        close(fds[--count]);
    close(listener);
    unlink(path + 5);
}
END_TEST

static const struct {
    const char *target;
    int error;
    const char *why;
} never[] = {
    {"", -EINVAL, "cannot connect to : HOST:PORT, [V6]:PORT or unix:/PATH is wanted"},
    {"host", -EINVAL, "cannot connect to host: HOST:PORT, [V6]:PORT or unix:/PATH is wanted"},
    {"host:", -EINVAL, "cannot connect to host:: a port from 0 to 65535 is wanted after the last colon"},
    {"127.0.0.1:0", -EINVAL, "cannot connect to 127.0.0.1:0: a port from 1 to 65535 is wanted after the last colon"},
    {"localhost:0", -EINVAL, "cannot connect to localhost:0: a port from 1 to 65535 is wanted after the last colon"},
    {"host:0", -EINVAL, "cannot connect to host:0: a port from 1 to 65535 is wanted after the last colon"},
    {"[::zz]:1", -EINVAL, "cannot connect to [::zz]:1: an IPv6 address is wanted between the brackets"},
    {"::1:1", -EINVAL, "cannot connect to ::1:1: an IPv6 address is written in brackets: [::1]:8080"},
    {"unix:", -EINVAL, "cannot connect to unix:: a path is wanted after \"unix:\""},
    {"unix:/nowhere/to/be", -ENOENT, "cannot connect to unix:/nowhere/to/be: No such file or directory"},
    {"host:1", -ENOTSUP, "cannot connect to host:1: looking a name up takes a worker pool, and this loop has none"},
    {"255.255.255.255:9", -ENETUNREACH, "cannot connect to 255.255.255.255:9: Network is unreachable"},
};

START_TEST(what_cannot_be_is_told_in_words)
{
    connect_rig_begin(never[_i].target);
    ck_assert_str_eq(connect_rig.order, "");
    expect_failure(never[_i].error, never[_i].why);
}
END_TEST

START_TEST(a_config_without_addresses_is_refused_at_once)
{
    struct rill_addr addr = {.length = 0};
    struct rill_connect_config config = connect_rig.config;
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), -EINVAL);
    config.addrs = &addr;
    config.addr_count = RILL_CONNECT_MAX_ADDRS + 1;
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), -EINVAL);
    connect_rig_turns(2);
    ck_assert_str_eq(connect_rig.order, "");
}
END_TEST

START_TEST(a_source_that_cannot_be)
{
    static const struct {
        const char *source;
        int error;
        const char *why;
    } sources[] = {
        {"192.0.2.77:0", -EADDRNOTAVAIL, "no local port is free, or the source address is not this machine's"},
        {"[::1]:0", -EAFNOSUPPORT, "the source address is of another family, or this machine has none of this one"},
    };
    struct rill_addr addr, source;
    char why[256];
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    ck_assert_int_eq(rill_addr_parse(sources[_i].source, &source, NULL), 0);
    connect_rig.config.source = &source;
    connect_rig_begin(connect_rig_text(&addr));
    snprintf(why, sizeof why, "cannot connect to %s: %s", connect_rig_text(&addr), sources[_i].why);
    expect_failure(sources[_i].error, why);
    close(listener);
}
END_TEST

START_TEST(without_descriptors_or_ports)
{
    static const struct {
        enum faulty_call call;
        int error;
    } faults[] = {{FAULTY_DESCRIPTOR, EMFILE},     {FAULTY_DESCRIPTOR, ENFILE}, {FAULTY_DESCRIPTOR, ENOBUFS},
                  {FAULTY_CONNECT, EADDRNOTAVAIL}, {FAULTY_CONNECT, EACCES},    {FAULTY_CONNECT, EHOSTUNREACH},
                  {FAULTY_EPOLL_CTL, ENOMEM}};
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    faulty_sys.error[faults[_i].call] = faults[_i].error;
    connect_rig_begin(far_text(&addr));
    connect_rig_expect("F");
    ck_assert_int_eq(connect_rig.error, -faults[_i].error);
    faulty_sys_reset();
    connect_rig_begin(far_text(&addr)); /* and then it is as before */
    connect_rig_expect("FCO");
    close(listener);
}
END_TEST

/* The machine's own limit, not one that is made up. */
START_TEST(without_descriptors_for_real)
{
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr), fds[1024], count = 0;
    struct rlimit limit, before;
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    limit.rlim_cur = 256;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while ((fds[count] = dup(0)) >= 0)
        count++;
    connect_rig_begin(connect_rig_text(&addr));
    connect_rig_expect("F");
    ck_assert_int_eq(connect_rig.error, -EMFILE);
    while (count > 0)
        close(fds[--count]);
    setrlimit(RLIMIT_NOFILE, &before);
    close(listener);
}
END_TEST

static int self_connects; /* how many connects still lead to themselves */

/* Makes the system choose the other end's port for this one. */
static int to_itself(int fd, const struct sockaddr *addr, socklen_t length)
{
    struct sockaddr_in local;
    socklen_t local_length = sizeof local;
    getsockname(fd, (struct sockaddr *)&local, &local_length);
    if (self_connects > 0 && local.sin_port == 0) {
        int on = 1;
        self_connects--;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        ck_assert_int_eq(bind(fd, addr, length), 0);
    }
    return connect(fd, addr, length);
}

START_TEST(does_not_take_itself_for_a_peer)
{
    struct rill_addr addr = connect_rig_nobody("127.0.0.1:0");
    self_connects = _i;
    faulty_sys.connect = to_itself;
    char why[256];
    snprintf(why, sizeof why, "cannot connect to %s: Connection refused", connect_rig_text(&addr));
    connect_rig_begin(connect_rig_text(&addr));
    expect_failure(-ECONNREFUSED, why);
    ck_assert_int_eq(self_connects, _i > 4 ? _i - 4 : 0); /* and does not try for ever */
}
END_TEST

/* Every call that may fail does, one after the other: there is one end to everything, and nothing leaks. */
START_TEST(every_call_fails_once)
{
    static const enum faulty_call calls[] = {FAULTY_MEMORY, FAULTY_DESCRIPTOR, FAULTY_CONNECT, FAULTY_EPOLL_CTL,
                                             FAULTY_RECV};
    struct rill_addr addr;
    bool far = _i >= 5, failed;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    const char *target = far ? far_text(&addr) : connect_rig_text(&addr);
    for (uint64_t k = 1;; k++) {
        connect_rig.order[0] = '\0';
        faulty_sys.counts[calls[_i % 5]] = true;
        faulty_sys.fail_after = k;
        faulty_sys.failed = 0;
        faulty_sys.fail_error = calls[_i % 5] == FAULTY_MEMORY || calls[_i % 5] == FAULTY_EPOLL_CTL ? ENOMEM : EMFILE;
        struct rill_connect_config config = connect_rig.config;
        config.target = target;
        int error = rill_connect(connect_rig.loop, &config, NULL);
        if (error == 0) {
            for (int i = 0; i < 1000 && !strpbrk(connect_rig.order, "OF"); i++)
                connect_rig_turns(1);
            ck_assert_ptr_nonnull(strpbrk(connect_rig.order, "OF"));
            ck_assert(!strchr(connect_rig.order, 'C') || !strchr(connect_rig.order, 'F'));
        }
        failed = faulty_sys.failed > 0;
        faulty_sys.fail_after = 0;
        if (error < 0)
            ck_assert_int_eq(error, -ENOMEM);
        if (connect_rig.last)
            rill_conn_close(connect_rig.last, RILL_CLOSE_LOCAL);
        connect_rig_turns(1);
        if (!failed)
            break;
    }
    ck_assert_str_eq(connect_rig.order, "COX");
    close(listener);
}
END_TEST

/* --- an end at any moment --- */

START_TEST(cancelled_it_never_says_a_word)
{
    struct rill_addr addr;
    int fds[3], listener = connect_rig_listen("127.0.0.1:0", &addr);
    struct rill_connect *connect;
    switch (_i) {
    case 0: /* when the handshake is over, and the loop does not know */
        connect = connect_rig_begin(connect_rig_text(&addr));
        break;
    case 1: /* the same where an event tells */
        connect = connect_rig_begin(far_text(&addr));
        break;
    case 2: /* when it has failed already */
        connect = connect_rig_begin("nonsense");
        break;
    default: /* while nobody answers */
        close(listener);
        connect_rig_black_hole("127.0.0.1:0", &addr, fds);
        listener = fds[0];
        connect = connect_rig_begin(connect_rig_text(&addr));
        connect_rig_turns(2);
    }
    rill_connect_cancel(connect);
    connect_rig_turns(3);
    faulty_sys_forward(60000);
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, "");
    ck_assert_uint_eq(rill_conn_count(connect_rig.loop), 0);
    rill_connect_cancel(NULL);
    close(listener);
    if (_i == 3) {
        close(fds[1]);
        close(fds[2]);
    }
}
END_TEST

static struct rill_connect *own, *other;

static void cancel_both(void)
{
    struct rill_connect *a = own, *b = other;
    own = other = NULL;
    rill_connect_cancel(a); /* over already: nothing happens */
    rill_connect_cancel(b);
}

static void cancel_connected(struct rill_conn *conn, void *arg)
{
    connect_rig.config.on_connected(conn, arg);
    cancel_both();
}

static void cancel_failed(int error, const char *why, void *arg)
{
    connect_rig.config.on_failed(error, why, arg);
    cancel_both();
    ck_assert_str_eq(connect_rig.why, why); /* which is still there */
}

static void cancel_on_open(struct rill_conn *conn)
{
    (void)conn;
    strcat(connect_rig.order, "O");
    rill_connect_cancel(other);
    other = NULL;
}

/* Of two connects the first one to end cancels itself, which is too late to do anything, and the other. */
START_TEST(callbacks_may_cancel)
{
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    struct rill_connect_config config = connect_rig.config;
    bool far = _i & 1, fails = _i & 2, open = _i & 4;
    if (fails)
        close(listener);
    config.target = far ? far_text(&addr) : connect_rig_text(&addr);
    if (open)
        connect_rig.handler.on_open = cancel_on_open;
    else
        config.on_connected = cancel_connected;
    config.on_failed = cancel_failed;
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, &own), 0);
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, &other), 0);
    connect_rig_expect(fails ? "F" : "CO");
    connect_rig_turns(3);
    ck_assert_str_eq(connect_rig.order, fails ? "F" : "CO");
    if (!fails)
        close(listener);
}
END_TEST

static void again_failed(int error, const char *why, void *arg)
{
    connect_rig.config.on_failed(error, why, arg);
    if (strlen(connect_rig.order) < 20)
        connect_rig_begin(NULL);
}

static void again_on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    strcat(connect_rig.order, "X");
    if (strlen(connect_rig.order) < 21)
        connect_rig_begin(NULL);
}

START_TEST(callbacks_may_begin_again)
{
    struct rill_addr addr;
    int listener = connect_rig_listen("127.0.0.1:0", &addr);
    char text[64];
    snprintf(text, sizeof text, "%s", _i & 1 ? far_text(&addr) : connect_rig_text(&addr));
    connect_rig.config.target = text;
    if (_i & 2) {
        close(listener);
        struct rill_connect_config config = connect_rig.config;
        config.on_failed = again_failed;
        connect_rig.config.on_failed(0, "", &connect_rig);
        ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), 0);
        connect_rig_expect("FFF");
    } else {
        connect_rig.handler.on_open = close_on_open;
        connect_rig.handler.on_close = again_on_close;
        connect_rig_begin(NULL);
        connect_rig_expect("COXCOXCOXCOXCOXCOXCOX");
        close(listener);
    }
}
END_TEST

static int failures;

static void again_for_ever(int error, const char *why, void *arg)
{
    struct rill_connect_config config = connect_rig.config;
    (void)error;
    (void)why;
    (void)arg;
    config.on_failed = again_for_ever;
    if (++failures < 1000)
        (void)!rill_connect(connect_rig.loop, &config, NULL);
}

/* Who tries again at once, for ever, does not keep a loop that stops from its end. */
START_TEST(trying_again_at_once_has_an_end)
{
    connect_rig.config.target = "255.255.255.255:9";
    failures = 0;
    again_for_ever(0, "", NULL);
    connect_rig_turns(5);
    ck_assert_int_ge(failures, 4);
    rill_loop_stop(connect_rig.loop);
    ck_assert_int_eq(rill_loop_run(connect_rig.loop), 0);
    ck_assert_int_lt(failures, 20);
    struct rill_connect_config config = connect_rig.config;
    unsigned before = faulty_sys_open_descriptors();
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), -ESHUTDOWN);
    ck_assert_uint_eq(faulty_sys_open_descriptors(), before);
}
END_TEST

static int refused_with;

static void begin_at_the_end(int error, const char *why, void *arg)
{
    struct rill_connect_config config = {.target = "127.0.0.1:1", .conn = &connect_rig.conn};
    (void)error;
    (void)why;
    (void)arg;
    strcat(connect_rig.order, "f");
    refused_with = rill_connect(connect_rig.loop, &config, NULL);
}

/* The loop goes away with connects in every state. */
START_TEST(a_loop_that_ends_ends_what_is_under_way)
{
    struct rill_addr addr, hole;
    int fds[3], listener = connect_rig_listen("127.0.0.1:0", &addr);
    connect_rig_black_hole("127.0.0.1:0", &hole, fds);
    struct rill_connect_config config = connect_rig.config;
    char target[64];
    config.on_failed = begin_at_the_end;
    config.target = target;
    snprintf(target, sizeof target, "%s", connect_rig_text(&hole));
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), 0);
    connect_rig_turns(2);
    if (_i == 0)
        config.on_failed = connect_rig.config.on_failed;
    ck_assert_int_eq(rill_connect(connect_rig.loop, &config, NULL), 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    refused_with = 0;
    rill_loop_free(connect_rig.loop);
    connect_rig.loop = NULL;
    ck_assert_str_eq(connect_rig.order, _i == 0 ? "fF" : "ff");
    ck_assert_int_eq(refused_with, -ESHUTDOWN);
    if (_i == 0) {
        ck_assert_int_eq(connect_rig.error, -ECANCELED);
        ck_assert_ptr_nonnull(strstr(connect_rig.why, ": the loop has ended"));
    }
    close(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connect");
    TCase *success = tcase_create("success"), *failure = tcase_create("failure"), *end = tcase_create("end");
    tcase_add_checked_fixture(success, set_up, tear_down);
    tcase_add_loop_test(success, connects_to_every_kind_of_target, 0, 21);
    tcase_add_test(success, a_ready_list_is_tried_in_its_order);
    tcase_add_test(success, comes_from_the_source_that_is_wanted);
    tcase_add_loop_test(success, a_peer_that_speaks_first_is_heard, 0, 8);
    tcase_add_loop_test(success, costs_few_calls, 0, 2);
    tcase_add_test(success, one_that_closes_at_once_is_never_watched);
    tcase_add_loop_test(success, what_on_connected_closes_is_not_opened, 0, 4);
    tcase_add_test(success, callbacks_may_be_absent);
    tcase_add_checked_fixture(failure, set_up, tear_down);
    tcase_add_loop_test(failure, refused, 0, 5);
    tcase_add_test(failure, a_list_says_what_each_failed_with);
    tcase_add_test(failure, times_out);
    tcase_add_test(failure, a_full_backlog_of_a_unix_socket_is_told);
    tcase_add_loop_test(failure, what_cannot_be_is_told_in_words, 0, rill_array_length(never));
    tcase_add_test(failure, a_config_without_addresses_is_refused_at_once);
    tcase_add_loop_test(failure, a_source_that_cannot_be, 0, 2);
    tcase_add_loop_test(failure, without_descriptors_or_ports, 0, 7);
    tcase_add_test(failure, without_descriptors_for_real);
    tcase_add_loop_test(failure, does_not_take_itself_for_a_peer, 0, 6);
    tcase_add_loop_test(failure, every_call_fails_once, 0, 10);
    tcase_add_checked_fixture(end, set_up, tear_down);
    tcase_add_loop_test(end, cancelled_it_never_says_a_word, 0, 4);
    tcase_add_loop_test(end, callbacks_may_cancel, 0, 8);
    tcase_add_loop_test(end, callbacks_may_begin_again, 0, 4);
    tcase_add_test(end, trying_again_at_once_has_an_end);
    tcase_add_loop_test(end, a_loop_that_ends_ends_what_is_under_way, 0, 2);
    suite_add_tcase(suite, success);
    suite_add_tcase(suite, failure);
    suite_add_tcase(suite, end);
    return run_suite(suite);
}
