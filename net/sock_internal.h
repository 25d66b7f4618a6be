/* sock_internal.h - listening and accepting sockets, with the options that a server wants. */
#ifndef RILL_NET_SOCK_INTERNAL_H
#define RILL_NET_SOCK_INTERNAL_H

#include "rill/net/addr.h"

struct rill_sock_listen_options {
    int backlog;     /* 0: SOMAXCONN */
    bool reuse_port; /* SO_REUSEPORT */
    int mode;        /* of a Unix socket's file; 0: what the umask leaves */
};

/* Opens a non-blocking listening socket at ADDR, whose port becomes the real one. A Unix socket's file that nobody
 * listens on any more is removed first. Returns the descriptor or a negative errno. */
int rill_sock_listen(struct rill_addr *addr, const struct rill_sock_listen_options *options);

/* Removes the socket file at ADDR, of a Unix socket of TYPE, when connecting to it is refused: its owner has gone
 * without cleaning up. */
void rill_sock_remove_stale(const struct rill_addr *addr, int type);

/* Makes FD, inherited, one that a listener can use, and tells its ADDR. Returns 0, or -ENOTSOCK, -EINVAL when it is not
 * a listening stream socket, or another negative errno. */
int rill_sock_inherit(int fd, struct rill_addr *addr);

/* Sets TCP_DEFER_ACCEPT of a listening socket to a second, which for the kernel is one more SYN-ACK, or to 0. Returns
 * 0, or a negative errno when FD is not a TCP socket. */
int rill_sock_defer_accept(int fd, bool on);

/* Accepts one connection, non-blocking. Returns its descriptor or a negative errno, -EAGAIN when none waits. */
int rill_sock_accept(int listen_fd, struct rill_ip *peer);

#endif
