/* connect_attempt.c - one address of a connect: socket, handshake, and how it stands. */
#include "rill/core/loop_stats.h"
#include "rill/core/sys.h"
#include "rill/net/connect_internal.h"
#include <netinet/tcp.h>

#define EDGE_INTEREST (EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST)

static bool is_loopback(const struct rill_addr *addr)
{
    if (addr->socket.any.sa_family == AF_INET)
        return *(const uint8_t *)&addr->socket.v4.sin_addr == 127;
    return addr->socket.any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->socket.v6.sin6_addr);
}

static int bind_source(int fd, const struct rill_addr *source, const struct rill_addr *to)
{
    int on = 1;
    if (source->socket.any.sa_family != to->socket.any.sa_family)
        return -EAFNOSUPPORT;
    /* A port is chosen when the other end is known: as many connections as there are pairs of both, not ports. */
    if (source->socket.any.sa_family != AF_UNIX && rill_addr_port(source) == 0)
        rill_sys_setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return rill_sys_bind(fd, &source->socket.any, source->length) < 0 ? -errno : 0;
}

/* Also what connect() says when called again: how the attempt stands. */
static int call_connect(const struct rill_attempt *attempt)
{
    if (rill_sys_connect(attempt->fd, &attempt->addr.socket.any, attempt->addr.length) == 0 || errno == EISCONN)
        return 0;
    return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

int rill_attempt_start(struct rill_attempt *attempt)
{
    const struct rill_connect_config *config = &attempt->connect->config;
    int family = attempt->addr.socket.any.sa_family, on = 1;
    attempt->fd = rill_sys_socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (attempt->fd < 0)
        return -errno;
    if (family != AF_UNIX && !config->nagle) /* a favour, not a need */
        rill_sys_setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int error = config->source ? bind_source(attempt->fd, config->source, &attempt->addr) : 0;
    return error < 0 ? error : call_connect(attempt);
}

static void unwatch(struct rill_attempt *attempt)
{
    if (!attempt->watched)
        return;
    attempt->watched = false;
    attempt->connect->pending--;
    event_del(&attempt->event);
}

void rill_attempt_close(struct rill_attempt *attempt)
{
    unwatch(attempt);
    if (attempt->fd >= 0)
        rill_sys_close(attempt->fd);
    attempt->fd = -1;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct rill_attempt *attempt = arg;
    int error = 0;
    socklen_t length = sizeof error;
    rill_loop_note_work(attempt->connect->net->loop);
    /* With epoll a failure shows as readable too; so does much else. Writable alone is a success. */
    if (what != EV_WRITE || !attempt->connect->net->edge_triggered) {
        if (rill_sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
            error = errno;
        attempt->readable = (what & (EV_READ | EV_CLOSED)) != 0;
        attempt->peer_ended = (what & EV_CLOSED) != 0;
    }
    rill_connect_pursue(attempt, -error);
}

int rill_attempt_await(struct rill_attempt *attempt)
{
    struct rill_connect *connect = attempt->connect;
    if (is_loopback(&attempt->addr)) {
        int result = call_connect(attempt);
        if (result != -EINPROGRESS)
            return result;
    }
    short interest = connect->net->edge_triggered ? EDGE_INTEREST : EV_WRITE | EV_PERSIST;
    if (event_assign(&attempt->event, rill_loop_base(connect->net->loop), attempt->fd, interest, on_event, attempt) <
            0 ||
        event_add(&attempt->event, NULL) < 0)
        return -ENOMEM;
    attempt->watched = true;
    connect->pending++;
    return -EINPROGRESS;
}

bool rill_attempt_is_self(const struct rill_attempt *attempt)
{
    struct rill_addr local;
    local.length = sizeof local.socket;
    int family = attempt->addr.socket.any.sa_family;
    if (family == AF_UNIX || rill_sys_getsockname(attempt->fd, &local.socket.any, &local.length) < 0)
        return false;
    struct rill_ip here = rill_ip_of(&local), there = rill_ip_of(&attempt->addr);
    return here.port == there.port && here.version == there.version &&
           memcmp(here.bytes, there.bytes, here.version == 4 ? 4 : 16) == 0;
}

void rill_attempt_hand_over(struct rill_attempt *attempt, struct rill_conn *conn)
{
    conn->readable = attempt->readable; /* what comes from here on is an edge, or seen when the event is added */
    conn->peer_closed = attempt->peer_ended;
    if (attempt->watched && attempt->connect->net->edge_triggered)
        (void)rill_conn_watch(conn, EDGE_INTEREST); /* before the other event goes; failed, it is tried again later */
    unwatch(attempt);
    attempt->fd = -1;
}
