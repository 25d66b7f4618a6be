/* load_broadcast.c - the clients of a hub: many that have joined one topic, and one that publishes to it. A message is
 * published when everyone has got the one before; a unit is a message that one member got, and a latency is the time
 * until the last one had it.
 *
 *     load_broadcast PORT MEMBERS MESSAGE_BYTES WARM_MS WINDOW_MS */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { MAX_EVENTS = 1024, MAX_MESSAGE_BYTES = 1024, QUIET_MS = 300 };

struct crowd {
    uint16_t port;
    unsigned members;
    int epoll_fd;
    int publisher;
    size_t message_bytes; /* as published, with what is around it */
    char message[MAX_MESSAGE_BYTES + 64];
};

static const char join[] = "sub news\r\n";
static char nothing[1 << 16]; /* where MSG_TRUNC does not write to */

static void say(int fd, const char *bytes, size_t length)
{
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) {
        load_die("cannot send");
    }
}

/* Waits up to LIMIT_MS and returns how many bytes the members have got; 0: nothing came. */
static size_t receive(struct crowd *crowd, int limit_ms)
{
    struct epoll_event events[MAX_EVENTS];
    int ready = epoll_wait(crowd->epoll_fd, events, MAX_EVENTS, limit_ms);
    size_t got = 0;

    for (int i = 0; i < ready; i++) {
        int fd = (int)(intptr_t)events[i].data.ptr;
        ssize_t n = recv(fd, nothing, sizeof(nothing), MSG_TRUNC);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            load_die("the server closed a connection");
        }
        got += n > 0 && fd != crowd->publisher ? (size_t)n : 0;
    }
    return got;
}

/* What comes until nothing does. */
static size_t receive_all(struct crowd *crowd)
{
    size_t all = 0;
    for (size_t got; (got = receive(crowd, QUIET_MS)) > 0;) {
        all += got;
    }
    return all;
}

static int connected(struct crowd *crowd, int index)
{
    int fd = load_connect(crowd->port, index);
    load_watch(crowd->epoll_fd, fd, EPOLLIN, (void *)(intptr_t)fd);
    return fd;
}

static void work(struct load_thread *self)
{
    struct crowd *crowd = self->arg;
    size_t open = 0;

    crowd->epoll_fd = load_epoll();
    for (unsigned i = 0; i < crowd->members; i++) {
        say(connected(crowd, (int)i), join, sizeof(join) - 1);
    }
    crowd->publisher = connected(crowd, (int)crowd->members);
    receive_all(crowd);
    /* The first message tells how many bytes each member gets, whatever the hub puts around them. */
    say(crowd->publisher, crowd->message, crowd->message_bytes);
    size_t each = receive_all(crowd) / crowd->members;
    if (each == 0) {
        load_fail("what was published did not come to all the members");
    }
    for (;;) {
        uint64_t start_ns = load_now_ns();
        say(crowd->publisher, crowd->message, crowd->message_bytes);
        for (open += crowd->members * each; open > 0;) {
            size_t got = receive(crowd, -1);
            if (got > open) {
                load_fail("more came than was published");
            }
            open -= got;
            load_count(self, got / each);
        }
        load_took(self, crowd->members, start_ns);
    }
}

int main(int argc, char **argv)
{
    unsigned values[5];
    static struct crowd crowd;

    load_operands(argc, argv, "PORT MEMBERS MESSAGE_BYTES WARM_MS WINDOW_MS", values);
    if (values[1] < 1 || values[2] > MAX_MESSAGE_BYTES) {
        load_fail("wants a member, and messages of at most 1024 bytes");
    }
    crowd.port = (uint16_t)values[0];
    crowd.members = values[1];
    crowd.message_bytes =
        (size_t)snprintf(crowd.message, sizeof(crowd.message), "pub news %0*d\r\n", (int)values[2], 0);
    load_run(&(struct load){.threads = 1, .work = work, .arg = &crowd, .warm_ms = values[3], .window_ms = values[4]});
}
