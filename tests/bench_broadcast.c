/* bench_broadcast.c - what a broadcast costs: messages of 100 bytes to many TCP connections on several loops, one at a
 * time, so that every member costs a send(2) of its own; and, beside it, the same sends in a plain loop over an array
 * of descriptors, which is the floor. Printed is the CPU time of the threads that send, and how much of it was spent in
 * the program and not in the system.
 *
 *   bench_broadcast [MEMBERS [LOOPS [ROUNDS]]]
 *
 * The peers are this process's own and read nothing while it is measured; every round ends with emptying them. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rill/core/loop_group.h"
#include "rill/core/sys.h"
#include "rill/net/channel.h"

enum { LENGTH = 100, MESSAGES = 20 /* a round */ };

static unsigned members = 10000, loops = 2, rounds = 20;
static int *ends, *peers;
static struct rill_loop_group *group;
static struct rill_channel *channel;
static sem_t done;

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "bench_broadcast: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void dial_all(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1024) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&at, &length) == 0, "getsockname");
    for (unsigned i = 0; i < members; i++) {
        peers[i] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(peers[i], (struct sockaddr *)&at, sizeof at) == 0, "connect");
        ends[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        must(ends[i] >= 0, "accept");
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
}

/* Empties all peers, each of which has to have been sent so much. */
static void hear_all(size_t wanted)
{
    static char bytes[65536];
    for (unsigned i = 0; i < members; i++)
        for (size_t got = 0; got < wanted;) {
            ssize_t n = recv(peers[i], bytes, sizeof bytes, 0);
            must(n > 0, "recv");
            got += (size_t)n;
        }
}

struct cpu {
    double user, system;
};

static struct cpu thread_cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (struct cpu){(double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
                        (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6};
}

static void report(const char *what, struct cpu cpu)
{
    double total = cpu.user + cpu.system, sends = (double)members * rounds * MESSAGES;
    printf("%-12s %7.0f ns a member and message: %6.0f in the system, %5.0f beside it (%.1f %%)\n", what,
           total / sends * 1e9, cpu.system / sends * 1e9, cpu.user / sends * 1e9, cpu.user / total * 100);
}

/* --- the floor --- */

static void plain_sends(void)
{
    static char bytes[LENGTH];
    struct cpu sum = {0, 0};
    for (unsigned round = 0; round < rounds; round++) {
        struct cpu before = thread_cpu();
        for (int k = 0; k < MESSAGES; k++)
            for (unsigned i = 0; i < members; i++)
                must(send(ends[i], bytes, LENGTH, MSG_NOSIGNAL) == LENGTH, "send");
        struct cpu after = thread_cpu();
        sum.user += after.user - before.user;
        sum.system += after.system - before.system;
        hear_all((size_t)LENGTH * MESSAGES);
    }
    report("plain send", sum);
}

/* --- the channel --- */

static struct {
    struct cpu before, sum;
} measured[RILL_LOOP_MAX];

static const struct rill_conn_handler handler;
static const struct rill_conn_config config = {.handler = &handler};

static void on_open(struct rill_conn *conn)
{
    must(rill_channel_join(channel, conn, NULL) == 0, "join");
}

static const struct rill_conn_handler handler = {.on_open = on_open};

static void adopt_share(void *arg)
{
    unsigned l = *(unsigned *)arg;
    for (unsigned i = l; i < members; i += loops)
        must(rill_conn_adopt(rill_loop_group_loop(group, l), ends[i], NULL, &config) == 0, "adopt");
    sem_post(&done);
}

static void begin_measuring(void *arg)
{
    unsigned l = *(unsigned *)arg;
    measured[l].before = thread_cpu();
    sem_post(&done);
}

static void end_measuring(void *arg)
{
    unsigned l = *(unsigned *)arg;
    struct cpu after = thread_cpu();
    measured[l].sum.user += after.user - measured[l].before.user;
    measured[l].sum.system += after.system - measured[l].before.system;
    sem_post(&done);
}

/* On all loops, and waits for them. */
static void on_all(void (*fn)(void *arg))
{
    static unsigned numbers[RILL_LOOP_MAX];
    for (unsigned l = 0; l < loops; l++) {
        numbers[l] = l;
        must(rill_post(rill_loop_group_loop(group, l), fn, &numbers[l]) == 0, "post");
    }
    for (unsigned l = 0; l < loops; l++)
        sem_wait(&done);
}

/* The last of the loops has sent it to all. */
static void on_release(void *arg)
{
    (void)arg;
    sem_post(&done);
}

static void broadcasts(void)
{
    static char bytes[LENGTH];
    struct cpu sum = {0, 0};
    int error;
    sem_init(&done, 0, 0);
    group = rill_loop_group_start(&(struct rill_loop_group_config){.count = loops}, &error);
    channel = rill_channel_new(NULL);
    must(group && channel, "start");
    on_all(adopt_share);
    for (unsigned round = 0; round < rounds; round++) {
        on_all(begin_measuring);
        for (int k = 0; k < MESSAGES; k++) {
            must(rill_channel_publish(channel, rill_buf_wrap(bytes, LENGTH, on_release, NULL)) == 0, "publish");
            sem_wait(&done);
        }
        on_all(end_measuring);
        hear_all((size_t)LENGTH * MESSAGES);
    }
    for (unsigned l = 0; l < loops; l++) {
        sum.user += measured[l].sum.user;
        sum.system += measured[l].sum.system;
    }
    report("broadcast", sum);
    rill_loop_group_stop(group);
    rill_channel_unref(channel);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    members = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : members;
    loops = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : loops;
    rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : rounds;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    ends = calloc(members, sizeof *ends);
    peers = calloc(members, sizeof *peers);
    must(ends && peers && members > 0 && loops > 0 && loops < RILL_LOOP_MAX, "arguments");
    dial_all();
    plain_sends();
    broadcasts();
    return 0;
}
