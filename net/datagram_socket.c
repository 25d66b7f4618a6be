/* datagram_socket.c - the sockets of endpoints. */
#include "rill/net/datagram_internal.h"
#include "rill/net/sock_internal.h"

static int new_socket(int family)
{
    int fd = rill_sys_socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int rill_datagram_socket_bound(const struct rill_addr *addr, bool shared)
{
    int family = addr->socket.any.sa_family, on = 1;
    int fd = new_socket(family);
    if (fd < 0)
        return fd;
    if (family == AF_UNIX)
        rill_sock_remove_stale(addr, SOCK_DGRAM);
    if ((shared && rill_sys_setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        (family == AF_INET6 && rill_sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        rill_sys_bind(fd, &addr->socket.any, addr->length) < 0) {
        int error = -errno;
        rill_sys_close(fd);
        return error;
    }
    return fd;
}

int rill_datagram_socket_connected(const struct rill_addr *peer)
{
    const struct sockaddr abstract = {.sa_family = AF_UNIX}; /* without a name: the kernel chooses one (unix(7)) */
    int fd = new_socket(peer->socket.any.sa_family);
    if (fd < 0)
        return fd;
    if ((peer->socket.any.sa_family == AF_UNIX && rill_sys_bind(fd, &abstract, sizeof abstract.sa_family) < 0) ||
        rill_sys_connect(fd, &peer->socket.any, peer->length) < 0) {
        int error = -errno;
        rill_sys_close(fd);
        return error;
    }
    return fd;
}

/* The port of the first is the port of all. Returns 0 or a negative errno. */
static int tell_port(int fd, struct rill_addr *addr)
{
    addr->length = sizeof addr->socket;
    return rill_sys_getsockname(fd, &addr->socket.any, &addr->length) < 0 ? -errno : 0;
}

int rill_datagram_bind(struct rill_addr *addr, unsigned count, int *fds)
{
    unsigned open = 0;
    int error = 0;
    if (addr->socket.any.sa_family != AF_INET && addr->socket.any.sa_family != AF_INET6)
        return -EAFNOSUPPORT;
    while (open < count && error == 0) {
        int fd = rill_datagram_socket_bound(addr, count > 1);
        if (fd < 0) {
            error = fd;
            break;
        }
        fds[open++] = fd;
        if (open == 1)
            error = tell_port(fd, addr);
    }
    while (error < 0 && open > 0)
        rill_sys_close(fds[--open]);
    return error;
}
