/* echo_epoll.c - echo as an edge-triggered epoll loop does it with nothing in between: the ceiling.
 *
 * One recv and one send a message and a share of one epoll_wait; a connection is registered once. What the socket
 * would not take is kept until it has room again, and nothing is read meanwhile.
 *
 *     echo_epoll PORT LOOPS */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

enum { BUFFER_BYTES = 64 * 1024, MAX_EVENTS = 256 };

struct conn {
    int fd;
    char *rest; /* not yet sent, of rest_bytes; NULL: nothing */
    size_t rest_bytes;
};

static _Thread_local char buffer[BUFFER_BYTES];

/* Returns how many bytes the socket took, or -1 when the connection is done. */
static ssize_t send_some(int fd, const char *bytes, size_t length)
{
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static bool keep(struct conn *conn, const char *bytes, size_t length)
{
    conn->rest = malloc(length);
    if (conn->rest == NULL) {
        return false;
    }
    memcpy(conn->rest, bytes, length);
    conn->rest_bytes = length;
    return true;
}

/* Returns false when the connection is done. */
static bool flush(struct conn *conn)
{
    ssize_t sent = send_some(conn->fd, conn->rest, conn->rest_bytes);
    if (sent < 0) {
        return false;
    }
    conn->rest_bytes -= (size_t)sent;
    memmove(conn->rest, conn->rest + sent, conn->rest_bytes);
    if (conn->rest_bytes == 0) {
        free(conn->rest);
        conn->rest = NULL;
    }
    return true;
}

/* Returns false when the connection is done. */
static bool serve(struct conn *conn)
{
    if (conn->rest != NULL && !flush(conn)) {
        return false;
    }
    while (conn->rest == NULL) {
        ssize_t got = recv(conn->fd, buffer, sizeof(buffer), 0);
        if (got <= 0) {
            return got < 0 && errno == EAGAIN;
        }
        ssize_t sent = send_some(conn->fd, buffer, (size_t)got);
        if (sent < 0 || (sent < got && !keep(conn, buffer + sent, (size_t)(got - sent)))) {
            return false;
        }
        if (got < BUFFER_BYTES) {
            break; /* all that was there: what comes next is a new edge */
        }
    }
    return true;
}

static void watch(int epoll_fd, int fd, uint32_t events, struct conn *conn)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        peer_die("epoll_ctl");
    }
}

static void adopt(int epoll_fd, int inbox)
{
    int fd;
    while ((fd = peer_take(inbox)) >= 0) {
        struct conn *conn = calloc(1, sizeof(*conn));
        if (conn == NULL) {
            peer_die("calloc");
        }
        conn->fd = fd;
        watch(epoll_fd, fd, EPOLLIN | EPOLLOUT | EPOLLET, conn);
    }
}

static void run(int inbox)
{
    struct epoll_event events[MAX_EVENTS];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    watch(epoll_fd, inbox, EPOLLIN, NULL);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn == NULL) {
                adopt(epoll_fd, inbox);
            } else if (!serve(conn)) {
                close(conn->fd);
                free(conn->rest);
                free(conn);
            }
        }
    }
}

int main(int argc, char **argv)
{
    peer_serve(argc, argv, run);
}
