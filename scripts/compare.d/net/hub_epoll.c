/* hub_epoll.c - a hub that is nothing but its system calls: one topic, one loop, and a send a member, one after the
 * other, as soon as something is published. Lines are taken to come whole, and a member that is slow misses some. What
 * it spends beyond the calls is the least that anyone can.
 *
 *     hub_epoll PORT 1 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

enum { MAX_MEMBERS = 65536, MAX_EVENTS = 256 };

static int members[MAX_MEMBERS]; /* in the order of joining; one who has left is a gap of -1 */
static size_t member_count;
static char line[65536];

static void leave(int fd)
{
    for (size_t i = 0; i < member_count; i++) {
        if (members[i] == fd) {
            members[i] = -1;
        }
    }
    close(fd);
}

/* What is published comes out as it went in. */
static void publish(const char *bytes, size_t length)
{
    for (size_t i = 0; i < member_count; i++) {
        if (members[i] >= 0) {
            (void)send(members[i], bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
}

static void serve(int fd)
{
    ssize_t got = recv(fd, line, sizeof(line), 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            leave(fd);
        }
    } else if (strncmp(line, "pub ", 4) == 0) {
        publish(line, (size_t)got);
    } else if (member_count < MAX_MEMBERS) {
        members[member_count++] = fd;
    }
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        peer_die("epoll_ctl");
    }
}

static void run(int inbox)
{
    struct epoll_event events[MAX_EVENTS];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    watch(epoll_fd, inbox);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != inbox) {
                serve(events[i].data.fd);
                continue;
            }
            for (int fd; (fd = peer_take(inbox)) >= 0;) {
                watch(epoll_fd, fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    peer_serve(argc, argv, run);
}
