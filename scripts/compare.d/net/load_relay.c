/* load_relay.c - both ends of a relay: one thread sends without end into each stream, another takes what comes out.
 *
 * Neither touches the bytes: they are spliced out of the page cache, and dropped by the kernel where they arrive
 * (MSG_TRUNC), so that the relay is what is measured. A unit is a byte. That a relay hands on the right bytes is
 * checked by others, before.
 *
 *     load_relay PORT LISTENER STREAMS WARM_MS WINDOW_MS
 *
 * PORT is the relay's; LISTENER is an inherited descriptor that listens where the relay connects to. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { MAX_EVENTS = 256, FILE_BYTES = 1 << 20 };

struct ends {
    uint16_t port;
    int listener;
    unsigned streams;
};

static void fill(int fd, int file)
{
    for (;;) {
        off_t from = 0;
        ssize_t n = sendfile(fd, file, &from, FILE_BYTES);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            load_die("cannot send");
        }
    }
}

static void send_all(const struct ends *ends)
{
    struct epoll_event events[MAX_EVENTS];
    int epoll_fd = load_epoll();
    int file = memfd_create("stream", MFD_CLOEXEC);

    if (file < 0 || ftruncate(file, FILE_BYTES) != 0) {
        load_die("cannot make what to send");
    }
    for (unsigned i = 0; i < ends->streams; i++) {
        int fd = load_connect(ends->port, (int)i);
        load_watch(epoll_fd, fd, EPOLLOUT | EPOLLET, (void *)(intptr_t)fd);
    }
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            fill((int)(intptr_t)events[i].data.ptr, file);
        }
    }
}

static void drain(struct load_thread *self, int fd)
{
    static char nothing[1 << 20];
    ssize_t n = recv(fd, nothing, sizeof(nothing), MSG_TRUNC);
    if (n > 0) {
        load_count(self, (uint64_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        close(fd); /* a relay that has only looked whether anyone listens */
    }
}

static void receive_all(struct load_thread *self, const struct ends *ends)
{
    struct epoll_event events[MAX_EVENTS];
    int epoll_fd = load_epoll();

    load_watch(epoll_fd, ends->listener, EPOLLIN, NULL);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr != NULL) {
                drain(self, (int)(intptr_t)events[i].data.ptr);
                continue;
            }
            int fd = accept4(ends->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0) {
                load_watch(epoll_fd, fd, EPOLLIN, (void *)(intptr_t)fd);
            }
        }
    }
}

static void work(struct load_thread *self)
{
    if (self->index == 0) {
        send_all(self->arg);
    } else {
        receive_all(self, self->arg);
    }
}

int main(int argc, char **argv)
{
    unsigned values[5];
    load_operands(argc, argv, "PORT LISTENER STREAMS WARM_MS WINDOW_MS", values);
    struct ends ends = {.port = (uint16_t)values[0], .listener = (int)values[1], .streams = values[2]};

    if (fcntl(ends.listener, F_SETFL, O_NONBLOCK) != 0) {
        load_die("the listener is not there");
    }
    load_run(&(struct load){.threads = 2, .work = work, .arg = &ends, .warm_ms = values[3], .window_ms = values[4]});
}
