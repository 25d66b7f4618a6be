/* connect_epoll.c - a client that connects and closes, as an edge-triggered epoll loop does it with nothing in between:
 * some connects are always under way; each that succeeds is closed, and another begun in its place. A unit is a
 * connection; the destinations are the acceptor's addresses, in turn.
 *
 *     connect_epoll PORT AT_A_TIME WARM_MS WINDOW_MS */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { ADDRESSES = 16, MAX_EVENTS = 256 };

struct client {
    uint16_t port;
    unsigned at_a_time;
    unsigned next; /* address */
    int epoll_fd;
};

static void begin(struct client *client)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(client->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK + client->next++ % ADDRESSES)};

    if (fd < 0 || (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)) {
        load_die("cannot connect");
    }
    load_watch(client->epoll_fd, fd, EPOLLIN | EPOLLOUT | EPOLLET, (void *)(intptr_t)fd);
}

static void finish(int fd)
{
    int error = 0;
    socklen_t length = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        errno = error;
        load_die("cannot connect");
    }
    close(fd);
}

static void work(struct load_thread *self)
{
    struct client *client = self->arg;
    struct epoll_event events[MAX_EVENTS];

    client->epoll_fd = load_epoll();
    for (unsigned i = 0; i < client->at_a_time; i++) {
        begin(client);
    }
    for (;;) {
        int ready = epoll_wait(client->epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            finish((int)(intptr_t)events[i].data.ptr);
            load_count(self, 1);
            begin(client);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned values[4];
    load_operands(argc, argv, "PORT AT_A_TIME WARM_MS WINDOW_MS", values);
    struct client client = {.port = (uint16_t)values[0], .at_a_time = values[1]};
    load_run(&(struct load){.threads = 1, .work = work, .arg = &client, .warm_ms = values[2], .window_ms = values[3]});
}
