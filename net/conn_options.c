/* conn_options.c - options of a connection's socket, and its own address. */
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"
#include <netinet/tcp.h>

static int set_option(struct rill_conn *conn, int level, int name, const void *value, size_t size)
{
    if (conn->state == RILL_CONN_CLOSED)
        return -EPIPE;
    return rill_sys_setsockopt(conn->fd, level, name, value, (socklen_t)size) < 0 ? -errno : 0;
}

static int set_int(struct rill_conn *conn, int level, int name, int value)
{
    return set_option(conn, level, name, &value, sizeof value);
}

int rill_conn_set_nodelay(struct rill_conn *conn, bool on)
{
    rill_loop_check(conn->net->loop, __func__);
    return set_int(conn, IPPROTO_TCP, TCP_NODELAY, on);
}

int rill_conn_set_keepalive(struct rill_conn *conn, unsigned idle_s, unsigned interval_s, unsigned count)
{
    rill_loop_check(conn->net->loop, __func__);
    int error = idle_s ? set_int(conn, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s) : 0;
    if (error == 0 && idle_s && interval_s)
        error = set_int(conn, IPPROTO_TCP, TCP_KEEPINTVL, (int)interval_s);
    if (error == 0 && idle_s && count)
        error = set_int(conn, IPPROTO_TCP, TCP_KEEPCNT, (int)count);
    return error ? error : set_int(conn, SOL_SOCKET, SO_KEEPALIVE, idle_s > 0);
}

int rill_conn_set_reset_on_close(struct rill_conn *conn, bool on)
{
    rill_loop_check(conn->net->loop, __func__);
    struct linger none = {.l_onoff = on};
    return set_option(conn, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

int rill_conn_local(const struct rill_conn *conn, struct rill_addr *addr)
{
    rill_loop_check(conn->net->loop, __func__);
    *addr = (struct rill_addr){.length = sizeof addr->socket};
    if (conn->state == RILL_CONN_CLOSED)
        return -EPIPE;
    return rill_sys_getsockname(conn->fd, &addr->socket.any, &addr->length) < 0 ? -errno : 0;
}

int rill_conn_remote(const struct rill_conn *conn, struct rill_addr *addr)
{
    rill_loop_check(conn->net->loop, __func__);
    *addr = (struct rill_addr){.length = sizeof addr->socket};
    if (conn->state == RILL_CONN_CLOSED)
        return -EPIPE;
    return rill_sys_getpeername(conn->fd, &addr->socket.any, &addr->length) < 0 ? -errno : 0;
}
