/* sock.c - listening and accepting sockets. */
#include "rill/core/sys.h"
#include "rill/net/sock_internal.h"
#include <netinet/tcp.h>

void rill_sock_remove_stale(const struct rill_addr *addr, int type)
{
    struct stat st;
    const char *path = addr->socket.local.sun_path;
    int probe = rill_sys_socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return;
    if (rill_sys_lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        rill_sys_connect(probe, &addr->socket.any, addr->length) < 0 && errno == ECONNREFUSED)
        rill_sys_unlink(path);
    rill_sys_close(probe);
}

static int set_options(int fd, int family, const struct rill_sock_listen_options *options)
{
    int on = 1;
    if (family == AF_UNIX)
        return 0;
    /* Accepted sockets inherit TCP_NODELAY, which saves a call for each. */
    if (rill_sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        rill_sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return -errno;
    if (options->reuse_port && rill_sys_setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    if (family == AF_INET6 && rill_sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
        return -errno;
    return 0;
}

/* From a socket to one that listens. Of a Unix socket nothing is left when it fails. */
static int bind_and_listen(int fd, const struct rill_addr *addr, const struct rill_sock_listen_options *options)
{
    bool local = addr->socket.any.sa_family == AF_UNIX;
    if (rill_sys_bind(fd, &addr->socket.any, addr->length) < 0)
        return -errno;
    /* Nobody can connect before listen(2), so nobody gets in before the mode is what was asked for. */
    if ((!local || options->mode == 0 || rill_sys_chmod(addr->socket.local.sun_path, (mode_t)options->mode) == 0) &&
        rill_sys_listen(fd, options->backlog ? options->backlog : SOMAXCONN) == 0)
        return 0;
    int error = -errno;
    if (local)
        rill_sys_unlink(addr->socket.local.sun_path);
    return error;
}

static int tell_address(int fd, struct rill_addr *addr)
{
    addr->length = sizeof addr->socket;
    return rill_sys_getsockname(fd, &addr->socket.any, &addr->length) < 0 ? -errno : 0;
}

int rill_sock_listen(struct rill_addr *addr, const struct rill_sock_listen_options *options)
{
    int family = addr->socket.any.sa_family;
    int fd = rill_sys_socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (family == AF_UNIX)
        rill_sock_remove_stale(addr, SOCK_STREAM);
    int error = set_options(fd, family, options);
    if (error == 0)
        error = bind_and_listen(fd, addr, options);
    if (error == 0 && family != AF_UNIX)
        error = tell_address(fd, addr);
    if (error < 0) {
        rill_sys_close(fd);
        return error;
    }
    return fd;
}

int rill_sock_inherit(int fd, struct rill_addr *addr)
{
    int listening = 0, type = 0, on = 1;
    socklen_t length = sizeof listening, type_length = sizeof type;
    if (rill_sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 ||
        rill_sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) < 0)
        return -errno;
    if (!listening || type != SOCK_STREAM)
        return -EINVAL;
    int error = tell_address(fd, addr);
    if (error == 0 && rill_sys_set_nonblocking(fd) < 0)
        error = -errno;
    if (error == 0 && addr->socket.any.sa_family != AF_UNIX)
        rill_sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a favour, not a need */
    return error;
}

int rill_sock_defer_accept(int fd, bool on)
{
    int seconds = on;
    return rill_sys_setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) < 0 ? -errno : 0;
}

int rill_sock_accept(int listen_fd, struct rill_ip *peer)
{
    struct rill_addr from;
    from.length = sizeof from.socket;
    from.socket.any.sa_family = AF_UNIX;
    int fd = rill_sys_accept4(listen_fd, &from.socket.any, &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    *peer = rill_ip_of(&from);
    return fd;
}
