/* floor.c - what an HTTP server on kernel TCP sockets costs at the very least.
 *
 * One thread, one epoll, one recv and one send a batch of requests. A request is whatever ends in a blank line:
 * nothing is parsed, nothing is logged, no deadline is kept, and every reply is the same bytes. It is no server; it
 * is the yardstick that says how much of a figure is the kernel's.
 *
 *     floor PORT BODY_BYTES        listens on 127.0.0.1 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_BODY_BYTES = 16384, MAX_REPLY_BYTES = MAX_BODY_BYTES + 512, MAX_EVENTS = 256 };

struct reply {
    char bytes[MAX_REPLY_BYTES];
    size_t length;
};

static char input[65536];
static char output[1 << 20];

static void reply_build(struct reply *reply, const char *connection, size_t body_bytes)
{
    int head = snprintf(reply->bytes, sizeof(reply->bytes),
                        "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                        "Content-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n",
                        body_bytes, connection);
    memset(reply->bytes + head, 'x', body_bytes);
    reply->length = (size_t)head + body_bytes;
}

static int listen_on(uint16_t port)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0) {
        perror("floor: cannot listen");
        exit(1);
    }
    return fd;
}

static void watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("floor: epoll_ctl");
        exit(1);
    }
}

static void accept_all(int epoll_fd, int listener)
{
    int one = 1;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        watch(epoll_fd, fd, EPOLLIN | EPOLLET);
    }
}

static bool send_all(int fd, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, output + sent, length - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
        } else {
            return false;
        }
    }
    return true;
}

/* Answers all the requests of one read; returns false when the connection is done. */
static bool serve(int fd, const struct reply *keep, const struct reply *last)
{
    ssize_t got = recv(fd, input, sizeof(input), 0);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    const char *end = input + got;
    bool closing = memmem(input, (size_t)got, "Connection: close", 17) != NULL;
    const struct reply *reply = closing ? last : keep;
    size_t length = 0;

    for (const char *p = input; (p = memmem(p, (size_t)(end - p), "\r\n\r\n", 4)) != NULL; p += 4) {
        if (length + reply->length > sizeof(output)) {
            if (!send_all(fd, length)) {
                return false;
            }
            length = 0;
        }
        memcpy(output + length, reply->bytes, reply->length);
        length += reply->length;
    }
    return send_all(fd, length) && !closing;
}

int main(int argc, char **argv)
{
    static struct reply keep, last;
    struct epoll_event events[MAX_EVENTS];
    int port = argc == 3 ? atoi(argv[1]) : 0;
    int body_bytes = argc == 3 ? atoi(argv[2]) : -1;

    if (port < 1 || port > 65535 || body_bytes < 0 || body_bytes > MAX_BODY_BYTES) {
        fprintf(stderr, "usage: floor PORT BODY_BYTES (at most %d)\n", MAX_BODY_BYTES);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    reply_build(&keep, "", (size_t)body_bytes);
    reply_build(&last, "Connection: close\r\n", (size_t)body_bytes);

    int listener = listen_on((uint16_t)port);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll_fd, listener, EPOLLIN);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(epoll_fd, listener);
            } else if (!serve(fd, &keep, &last)) {
                close(fd);
            }
        }
    }
}
