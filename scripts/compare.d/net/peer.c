#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_LOOPS = 64 };

struct loop {
    void (*run)(int inbox);
    int inbox[2]; /* a pipe that connections come through as numbers */
};

void peer_die(const char *what)
{
    fprintf(stderr, "%s: ", program_invocation_short_name);
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0) {
        peer_die("cannot listen");
    }
    return fd;
}

static void *run_loop(void *arg)
{
    struct loop *loop = arg;
    loop->run(loop->inbox[0]);
    return NULL;
}

void peer_serve(int argc, char **argv, void (*run)(int inbox))
{
    static struct loop loops[MAX_LOOPS];
    int one = 1;
    int port = argc == 3 ? atoi(argv[1]) : 0;
    int count = argc == 3 ? atoi(argv[2]) : 0;
    pthread_t thread;

    if (port < 1 || port > 65535 || count < 1 || count > MAX_LOOPS) {
        fprintf(stderr, "usage: %s PORT LOOPS (at most %d)\n", program_invocation_short_name, MAX_LOOPS);
        exit(2);
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on((uint16_t)port);
    for (int i = 0; i < count; i++) {
        loops[i].run = run;
        if (pipe2(loops[i].inbox, O_CLOEXEC) != 0 || fcntl(loops[i].inbox[0], F_SETFL, O_NONBLOCK) != 0) {
            peer_die("cannot make a pipe");
        }
        if (pthread_create(&thread, NULL, run_loop, &loops[i]) != 0) {
            peer_die("cannot start a thread");
        }
    }
    for (int next = 0;; next = (next + 1) % count) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            peer_die("cannot accept");
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (write(loops[next].inbox[1], &fd, sizeof(fd)) != sizeof(fd)) {
            peer_die("cannot hand a connection over");
        }
    }
}

int peer_take(int inbox)
{
    int fd;
    return read(inbox, &fd, sizeof(fd)) == sizeof(fd) ? fd : -1;
}
