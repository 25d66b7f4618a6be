/* scale.h - rill-bench scale: the same load against the same server with one thread, two, three ...
 *
 * main_scale.c    the command line, the rounds
 * scale_server.c  a server's process: started, pinned, found on its port, stopped
 * scale_balance.c how evenly the server's loops share the work
 * scale_verdict.c whether anything can be concluded
 * scale_report.c  the table and the fitted laws
 * scale_files.c   CSV and plots */
#ifndef RILL_APPS_BENCH_SCALE_H
#define RILL_APPS_BENCH_SCALE_H

#include "bench.h"
#include "fit.h"
#include <sched.h>

/* One run of one thread count. */
struct scale_run {
    double throughput, cpu_us, p50_us, p99_us, switches;
    double balance; /* what the loop with the least to do did, by what the one with the most did */
    bool counted;   /* in requests, by the loops themselves; else in CPU time, by the kernel */
    uint64_t errors;
    bool client_was_the_limit;
};

struct scale {
    char **command; /* with {threads}, {port} and {admin} in it */
    unsigned counts, rounds;
    unsigned threads[FIT_MAX_COUNTS];
    bool pinned[FIT_MAX_COUNTS]; /* each thread of server and generator had a CPU of its own */
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
    unsigned admin_port; /* that was put in the place of {admin}; 0: there is none */
};

/* Starts COMMAND with THREADS, bound to CPUS unless that is NULL, and waits until it listens: on its admin port as
 * well, when it was given one. 0, or -1 having said why. */
int scale_server_start(struct scale_server *server, char *const *command, unsigned threads, const cpu_set_t *cpus);
void scale_server_stop(struct scale_server *server);

/* CPU time of each thread of PID and its children, in ticks, the busiest first; returns how many, at most MOST. */
unsigned scale_server_threads(int pid, uint64_t *ticks, unsigned most);

/* How evenly THREADS loops of SERVER shared the work since its start: RUN's balance, and by what. Without an admin
 * port, or when what answers there is not Rill's, it goes by the CPU time of the busiest THREADS threads. */
void scale_measure_balance(const struct scale_server *server, unsigned threads, struct scale_run *run);

/* Of one thread count: means over the rounds. */
struct scale_row {
    double throughput, half_width, speed_up, efficiency, cpu_us, p50_us, p99_us, switches, balance;
};

/* The first reason not to conclude anything from what was measured, ROWS of it by thread count; false: there is none.
 */
enum { SCALE_REASON = 300 };
bool scale_cannot_conclude(const struct scale *scale, const struct scale_row *rows, char reason[SCALE_REASON]);

/* The CPUs that the server gets when it has THREADS: those that the generator does not need, at most one a thread. 0:
 * server and generator take what they find. */
unsigned scale_server_cpus(const struct scale *scale, unsigned threads);

/* One row a thread count. */
void scale_sum_up(const struct scale *scale, struct scale_row *rows);

/* Writes the CSV, and the plots with FIT drawn unless that is NULL, into scale->out, which is made. 0, or -1 having
 * said why. */
int scale_write_files(const struct scale *scale, const struct scale_row *rows, const struct fit *fit);

/* Prints what came of it, and writes the files. Returns the exit status. */
int scale_report(const struct scale *scale);

/* `rill-bench scale ...`; ARGV[0] is "scale". */
int scale_main(int argc, char **argv);

#endif
