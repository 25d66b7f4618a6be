/* load_echo.c - the client of all echo servers: each connection sends a message, waits for all of it to come back,
 * and sends the next.
 *
 * It is to be cheaper than any server, so that the server is what is measured: what comes back is counted, but not
 * copied (MSG_TRUNC). That a server echoes the right bytes is checked by others, before.
 *
 *     load_echo PORT CONNECTIONS MESSAGE_BYTES THREADS WARM_MS WINDOW_MS */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { MAX_EVENTS = 256, MAX_MESSAGE_BYTES = 1 << 20 };

struct shape {
    uint16_t port;
    unsigned connections, message_bytes, threads;
};

struct conn {
    int fd;
    size_t sent, received; /* of the message under way */
    uint64_t start_ns;
};

static char message[MAX_MESSAGE_BYTES];
static char nothing[1 << 20]; /* where MSG_TRUNC does not write to */

static void send_rest(struct conn *conn, const struct shape *shape)
{
    while (conn->sent < shape->message_bytes) {
        ssize_t n = send(conn->fd, message + conn->sent, shape->message_bytes - conn->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0) {
            load_die("cannot send");
        }
        conn->sent += (size_t)n;
    }
}

static void receive(struct load_thread *self, struct conn *conn, const struct shape *shape)
{
    ssize_t n = recv(conn->fd, nothing, sizeof(nothing), MSG_TRUNC);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        load_die("the server closed a connection");
    }
    conn->received += (size_t)n;
    if (conn->received > shape->message_bytes) {
        load_fail("more came back than was sent");
    }
    if (conn->received == shape->message_bytes) {
        load_count(self, 1);
        load_took(self, 1, conn->start_ns);
        conn->sent = conn->received = 0;
        conn->start_ns = load_now_ns();
    }
}

static void work(struct load_thread *self)
{
    const struct shape *shape = self->arg;
    struct epoll_event events[MAX_EVENTS];
    struct conn *conns = calloc(shape->connections, sizeof(*conns));
    int epoll_fd = load_epoll();

    if (conns == NULL) {
        load_die("calloc");
    }
    for (unsigned i = (unsigned)self->index; i < shape->connections; i += shape->threads) {
        conns[i].fd = load_connect(shape->port, (int)i);
        load_watch(epoll_fd, conns[i].fd, EPOLLIN | EPOLLOUT | EPOLLET, &conns[i]);
        conns[i].start_ns = load_now_ns();
        send_rest(&conns[i], shape);
    }
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct conn *conn = events[i].data.ptr;
            receive(self, conn, shape);
            send_rest(conn, shape);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned values[6];
    load_operands(argc, argv, "PORT CONNECTIONS MESSAGE_BYTES THREADS WARM_MS WINDOW_MS", values);
    struct shape shape = {
        .port = (uint16_t)values[0], .connections = values[1], .message_bytes = values[2], .threads = values[3]};

    if (shape.message_bytes < 1 || shape.message_bytes > MAX_MESSAGE_BYTES) {
        load_fail("a message is 1 byte to 1 MiB");
    }
    load_run(&(struct load){
        .threads = values[3], .work = work, .arg = &shape, .warm_ms = values[4], .window_ms = values[5]});
}
