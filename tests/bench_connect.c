/* bench_connect.c - what an outgoing connection costs: AT_A_TIME connects are always under way; each that succeeds is
 * closed, and another begun in its place. The destinations are 127.0.0.1 to 127.0.0.16 in turn, so that ports do not
 * run out; something that accepts and closes has to listen there: scripts/compare net connect.
 *
 *   bench_connect PORT AT_A_TIME WARM_MS WINDOW_MS
 *
 * Prints "begin" after WARM_MS and "end seconds=S units=CONNECTIONS" after another WINDOW_MS, and goes on until it is
 * killed. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "rill/net/connect.h"

enum { ADDRESSES = 16 };

struct bench {
    struct rill_loop *loop;
    struct rill_addr addresses[ADDRESSES];
    unsigned next;
    unsigned long long done, done_at_begin;
    uint64_t begin_ns;
    uint64_t window_ms;
    struct rill_timer timer;
};

static struct bench bench;

static void begin(void);

static void on_connected(struct rill_conn *conn, void *arg)
{
    (void)arg;
    bench.done++;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    begin();
}

static void on_failed(int error, const char *why, void *arg)
{
    (void)error;
    (void)arg;
    fprintf(stderr, "bench_connect: %s\n", why);
    exit(EXIT_FAILURE);
}

static void begin(void)
{
    static const struct rill_conn_handler handler = {0};
    static const struct rill_conn_config conn = {.handler = &handler};
    const struct rill_connect_config config = {.addrs = &bench.addresses[bench.next++ % ADDRESSES],
                                               .addr_count = 1,
                                               .nagle = true,
                                               .conn = &conn,
                                               .on_connected = on_connected,
                                               .on_failed = on_failed};
    if (rill_connect(bench.loop, &config, NULL) != 0)
        abort();
}

static void on_window_end(struct rill_timer *timer)
{
    (void)timer;
    printf("end seconds=%.6f units=%llu\n", (double)(rill_clock_ns() - bench.begin_ns) / 1e9,
           bench.done - bench.done_at_begin);
    fflush(stdout);
}

static void on_warm(struct rill_timer *timer)
{
    puts("begin");
    fflush(stdout);
    bench.done_at_begin = bench.done;
    bench.begin_ns = rill_clock_ns();
    rill_timer_init(timer, on_window_end);
    rill_loop_arm(bench.loop, timer, bench.window_ms);
}

int main(int argc, char **argv)
{
    int error;
    if (argc != 5) {
        fprintf(stderr, "usage: bench_connect PORT AT_A_TIME WARM_MS WINDOW_MS\n");
        return 2;
    }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        bench.addresses[i].length = sizeof(struct sockaddr_in);
        bench.addresses[i].socket.v4 = (struct sockaddr_in){.sin_family = AF_INET,
                                                            .sin_port = htons((uint16_t)atoi(argv[1])),
                                                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK + i)};
    }
    bench.window_ms = strtoul(argv[4], NULL, 10);
    bench.loop = rill_loop_new(&(struct rill_loop_config){.name = "bench"}, &error);
    if (bench.loop == NULL)
        return EXIT_FAILURE;
    for (unsigned long i = strtoul(argv[2], NULL, 10); i > 0; i--)
        begin();
    rill_timer_init(&bench.timer, on_warm);
    rill_loop_arm(bench.loop, &bench.timer, strtoul(argv[3], NULL, 10));
    rill_loop_run(bench.loop);
    rill_loop_free(bench.loop);
    return EXIT_SUCCESS;
}
