#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 64, CONNECTIONS_A_SOURCE = 20000 };

struct totals {
    uint64_t at_ns, units;
    uint64_t latency[LOAD_BUCKETS];
};

static struct load_thread threads[MAX_THREADS];
static void (*work)(struct load_thread *self);

void load_die(const char *what)
{
    fprintf(stderr, "%s: ", program_invocation_short_name);
    perror(what);
    exit(1);
}

void load_fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

void load_operands(int argc, char **argv, const char *usage, unsigned *values)
{
    int wanted = 1;
    bool numbers = true;

    for (const char *p = usage; *p != '\0'; p++) {
        wanted += *p == ' ';
    }
    for (int i = 1; i < argc && i <= wanted; i++) {
        char *end;
        values[i - 1] = (unsigned)strtoul(argv[i], &end, 10);
        numbers = numbers && *end == '\0' && end != argv[i];
    }
    if (argc - 1 != wanted || !numbers) {
        fprintf(stderr, "usage: %s %s\n", program_invocation_short_name, usage);
        exit(2);
    }
}

/* ---- Time and counting ----------------------------------------------------------------------------------------- */

uint64_t load_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Only one thread writes a counter, so that adding needs no locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + more, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < LOAD_FINE) {
        return (unsigned)ns;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(ns); /* at least 5, the power of LOAD_FINE */
    return (power - 4) * LOAD_FINE + (unsigned)(ns >> (power - 5)) % LOAD_FINE;
}

static double bucket_ns(unsigned bucket)
{
    unsigned power = bucket / LOAD_FINE + 4;
    if (bucket < LOAD_FINE) {
        return bucket;
    }
    return ((double)(LOAD_FINE + bucket % LOAD_FINE) + 0.5) * (double)(1ull << (power - 5));
}

void load_count(struct load_thread *self, uint64_t count)
{
    add(&self->units, count);
}

void load_took(struct load_thread *self, uint64_t count, uint64_t start_ns)
{
    add(&self->latency[bucket_of(load_now_ns() - start_ns)], count);
}

static void take_totals(struct totals *totals, unsigned count)
{
    memset(totals, 0, sizeof(*totals));
    totals->at_ns = load_now_ns();
    for (unsigned i = 0; i < count; i++) {
        totals->units += atomic_load_explicit(&threads[i].units, memory_order_relaxed);
        for (unsigned b = 0; b < LOAD_BUCKETS; b++) {
            totals->latency[b] += atomic_load_explicit(&threads[i].latency[b], memory_order_relaxed);
        }
    }
}

/* Microseconds that SHARE of the units between the two took at most. */
static double percentile_us(const struct totals *before, const struct totals *after, double share)
{
    double all = 0, below = 0;
    unsigned b = 0;

    for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
        all += (double)(after->latency[i] - before->latency[i]);
    }
    for (; b < LOAD_BUCKETS - 1; b++) {
        below += (double)(after->latency[b] - before->latency[b]);
        if (below >= share * all) {
            break;
        }
    }
    return all > 0 ? bucket_ns(b) / 1e3 : 0;
}

/* ---- Running ------------------------------------------------------------------------------------------------------
 */

static void *run_thread(void *arg)
{
    work(arg);
    return NULL;
}

static void sleep_ms(unsigned ms)
{
    struct timespec length = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&length, NULL);
}

void load_run(const struct load *load)
{
    static struct totals before, after;

    if (load->threads < 1 || load->threads > MAX_THREADS) {
        load_fail("wants 1 to 64 threads");
    }
    work = load->work;
    for (unsigned i = 0; i < load->threads; i++) {
        threads[i].index = (int)i;
        threads[i].arg = load->arg;
        if (pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]) != 0) {
            load_fail("cannot start a thread");
        }
    }
    sleep_ms(load->warm_ms);
    puts("begin");
    fflush(stdout);
    take_totals(&before, load->threads);
    sleep_ms(load->window_ms);
    take_totals(&after, load->threads);
    printf("end seconds=%.6f units=%llu p50_us=%.2f p99_us=%.2f\n", (double)(after.at_ns - before.at_ns) / 1e9,
           (unsigned long long)(after.units - before.units), percentile_us(&before, &after, 0.5),
           percentile_us(&before, &after, 0.99));
    fflush(stdout);
    for (;;) {
        pause();
    }
}

/* ---- Sockets ------------------------------------------------------------------------------------------------------
 */

int load_connect(uint16_t port, int index)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr =
                                   htonl(INADDR_LOOPBACK + 1 + (uint32_t)(index / CONNECTIONS_A_SOURCE))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        load_die("cannot connect");
    }
    return fd;
}

int load_epoll(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        load_die("epoll_create1");
    }
    return fd;
}

void load_watch(int epoll_fd, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        load_die("epoll_ctl");
    }
}
