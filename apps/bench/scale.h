/* scale.h - rill-bench scale: the same load against the same server with one thread, two, three ...
 *
 * main_scale.c    the command line, the rounds
 * scale_server.c  a server's process: started, pinned, found on its port, stopped
 * scale_report.c  the table, the fitted laws, what can be concluded and what not; CSV and plots */
#ifndef RILL_APPS_BENCH_SCALE_H
#define RILL_APPS_BENCH_SCALE_H

#include "bench.h"
#include "fit.h"
#include <sched.h>

/* One run of one thread count. */
struct scale_run {
    double throughput, cpu_us, p50_us, p99_us, switches, balance;
    uint64_t errors;
    bool client_was_the_limit;
};

struct scale {
    char **command; /* with {threads} and {port} in it */
    unsigned counts, rounds;
    unsigned threads[FIT_MAX_COUNTS];
    bool pinned[FIT_MAX_COUNTS]; /* server and generator had CPUs of their own */
    unsigned cpus;               /* that may be used */
    unsigned client_threads;
    const char *out; /* a folder; NULL: no files */
    const char *what;
    struct scale_run runs[FIT_MAX_COUNTS][FIT_MAX_ROUNDS];
};

/* A running server. */
struct scale_server {
    int pid;
    unsigned port;
};

/* Starts COMMAND with THREADS, bound to CPUS unless that is NULL, and waits until it listens. 0, or -1 having said why.
 */
int scale_server_start(struct scale_server *server, char *const *command, unsigned threads, const cpu_set_t *cpus);
void scale_server_stop(struct scale_server *server);

/* CPU time of each thread of PID and its children, in ticks, the busiest first; returns how many, at most MOST. */
unsigned scale_server_threads(int pid, uint64_t *ticks, unsigned most);

/* Prints what came of it, and writes the files. Returns the exit status. */
int scale_report(const struct scale *scale);

/* `rill-bench scale ...`; ARGV[0] is "scale". */
int scale_main(int argc, char **argv);

#endif
