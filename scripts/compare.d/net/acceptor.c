/* acceptor.c - the other end of the clients that connect and close: accepts, closes, and does nothing else.
 *
 * It listens on 127.0.0.1 to 127.0.0.16, so that the ports of closed connections, which rest for a minute, do not run
 * out.
 *
 *     acceptor PORT */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

enum { ADDRESSES = 16 };

static int listen_on(uint32_t address, uint16_t port)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 4096) != 0) {
        peer_die("cannot listen");
    }
    return fd;
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[ADDRESSES];
    int port = argc == 2 ? atoi(argv[1]) : 0;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (port < 1 || port > 65535) {
        fprintf(stderr, "usage: acceptor PORT\n");
        return 2;
    }
    for (uint32_t i = 0; i < ADDRESSES; i++) {
        int fd = listen_on(INADDR_LOOPBACK + i, (uint16_t)port);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            peer_die("epoll_ctl");
        }
    }
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, ADDRESSES, -1);
        for (int i = 0; i < ready; i++) {
            accept_all(events[i].data.fd);
        }
    }
}
