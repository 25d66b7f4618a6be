/* sock_internal.h - listening and accepting sockets, with the options that a server wants. */
#ifndef RILL_NET_SOCK_INTERNAL_H
#define RILL_NET_SOCK_INTERNAL_H

#include "rill/net/addr.h"

struct rill_sock_listen_options {
    int backlog;       /* 0: SOMAXCONN */
    bool reuse_port;   /* SO_REUSEPORT */
    bool defer_accept; /* TCP_DEFER_ACCEPT */
};

/* Opens a non-blocking listening socket at ADDR, whose port becomes the real one. A Unix socket's file that nobody
 * listens on any more is removed first. Returns the descriptor or a negative errno. */
int rill_sock_listen(struct rill_addr *addr, const struct rill_sock_listen_options *options);

/* Accepts one connection, non-blocking. Returns its descriptor or a negative errno, -EAGAIN when none waits. */
int rill_sock_accept(int listen_fd, struct rill_ip *peer);

#endif
