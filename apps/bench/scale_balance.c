/* scale_balance.c - how evenly a server's loops share the work. Its own counters know best: they count requests. A
 * server that has none, or was not told where to show them, is judged by the CPU time of its threads, which the kernel
 * counts in ticks of 10 ms and which a loop spends on other things, too. */
#include "../common/metrics.h"
#include "scale.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_S = 5, MAX_ANSWER_BYTES = 16 << 20, MAX_THREADS = 512 };

/* All that FD has to say; to be freed. NULL: no memory, or no end. */
static char *read_all(int fd, size_t *length)
{
    char *bytes = NULL;
    size_t size = 0;
    ssize_t got = 1;
    for (*length = 0; got > 0 && *length<MAX_ANSWER_BYTES; *length += got> 0 ? (size_t)got : 0) {
        if (*length == size) {
            char *more = realloc(bytes, size = size ? size * 2 : 65536);
            if (!more)
                break;
            bytes = more;
        }
        got = recv(fd, bytes + *length, size - *length, 0);
    }
    if (got == 0)
        return bytes;
    free(bytes);
    return NULL;
}

/* Asks for /metrics on PORT of this machine. HTTP/1.0, so that the answer comes in one piece and ends with the
 * connection. */
static bool look(unsigned port, struct metrics *metrics)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n", found[] = "HTTP/1.1 200 ";
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = ANSWER_S};
    size_t length = 0;
    char *answer = NULL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1)
        answer = read_all(fd, &length);
    close(fd);
    char *body = answer && length > 0 ? memmem(answer, length, "\r\n\r\n", 4) : NULL;
    bool known = body && memcmp(answer, found, sizeof found - 1) == 0 &&
                 metrics_read(metrics, body + 4, length - (size_t)(body + 4 - answer)) == 0;
    free(answer);
    return known;
}

/* False when the loops that serve HTTP are not THREADS. */
static bool by_requests(const struct metrics *metrics, unsigned threads, double *balance)
{
    double least = 0, most = 0;
    unsigned seen = 0;
    for (unsigned i = 0; i < metrics->loop_count; i++) {
        const struct metrics_loop *loop = &metrics->loops[i];
        if (!loop->serves || !loop->http)
            continue;
        least = seen == 0 || loop->requests < least ? loop->requests : least;
        most = loop->requests > most ? loop->requests : most;
        seen++;
    }
    *balance = most > 0 ? least / most : 0;
    return seen == threads && most > 0;
}

static double by_cpu_time(int pid, unsigned threads)
{
    uint64_t ticks[MAX_THREADS];
    unsigned count = scale_server_threads(pid, ticks, MAX_THREADS);
    return count >= threads && ticks[0] > 0 ? (double)ticks[threads - 1] / (double)ticks[0] : 0;
}

void scale_measure_balance(const struct scale_server *server, unsigned threads, struct scale_run *run)
{
    static struct metrics metrics; /* with its histograms too large for a stack */
    run->counted =
        server->admin_port && look(server->admin_port, &metrics) && by_requests(&metrics, threads, &run->balance);
    if (!run->counted)
        run->balance = by_cpu_time(server->pid, threads);
}
