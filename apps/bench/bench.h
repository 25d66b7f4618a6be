/* bench.h - what the files of rill-bench share: the plan of a run, what each thread counts, and the result.
 *
 * main.c     the command line
 * plan.c     from the command line to requests, ready to be sent; request_file.c from a file
 * client.c   one connection: requests out, responses in, each checked
 * arrivals.c the open loop: when each request was meant to begin
 * thread.c   one generator thread and its connections
 * run.c      a run: threads, warm-up, measurement, live line
 * result.c   the threads' counts put together
 * report.c   the result for people; report_json.c for programs
 * *scale*.c  the same against a server with one thread, two, three: see scale.h */
#ifndef RILL_APPS_BENCH_H
#define RILL_APPS_BENCH_H

#include "rill/core/histogram.h"
#include "rill/core/loop.h"
#include "rill/core/random.h"
#include "rill/http/parser.h"
#include "rill/net/connect.h"
#include <stdio.h>

/* 1 us to an hour, in microseconds, to three significant digits. */
enum { LATENCY_BITS = 10, LATENCY_VALUE_BITS = 32 };
#define LATENCY_BUCKETS RILL_HISTOGRAM_BUCKETS(LATENCY_BITS, LATENCY_VALUE_BITS)

enum { BENCH_MAX_THREADS = 255, BENCH_MAX_MS = 100 * 3600 * 1000 };

/* How a request can go wrong. Each is counted once, as the first of these that applies. */
enum bench_error {
    BENCH_CONNECT,   /* no connection: refused, unreachable, no descriptors */
    BENCH_RESET,     /* the connection broke, or ended before a byte of the response */
    BENCH_CUT,       /* it ended within the response */
    BENCH_TIMEOUT,   /* no complete response in time */
    BENCH_MALFORMED, /* bytes that are no response */
    BENCH_UNASKED,   /* bytes that no request asked for */
    BENCH_STATUS,    /* a status that is not the expected one, or none of 2xx and 3xx */
    BENCH_LENGTH,    /* a body of another length than the expected one */
    BENCH_BODY,      /* a body of other bytes */
    BENCH_ERRORS,
};
extern const char *const bench_error_names[BENCH_ERRORS]; /* as in the reports */

/* One kind of request, ready to be sent. */
struct bench_request {
    char *bytes;
    size_t length;
    unsigned weight;
    bool head; /* answered without a body */
};

enum bench_protocol { BENCH_HTTP, BENCH_ECHO };

/* What is to be done: fixed before the threads start. */
struct bench_plan {
    enum bench_protocol protocol;
    struct rill_addr address; /* of the server */
    char server[RILL_ADDR_TEXT];
    const char *url; /* the first, as it was given */
    struct bench_request *requests;
    unsigned request_count;
    unsigned *order; /* indices of requests, each as often as its weight: taken in turn */
    unsigned order_length;

    unsigned connections, threads, pipeline;
    uint64_t duration_ms, warmup_ms, ramp_ms, timeout_ms;
    uint64_t request_limit; /* 0: by time */
    double rate;            /* requests a second, all threads together; 0: a closed loop */
    bool poisson;
    bool new_connection;
    unsigned sources; /* addresses of 127.0.0.0/8 to connect from; 0: the system chooses */
    unsigned status;  /* expected; 0: any of 2xx and 3xx */
    uint64_t length;  /* expected, of the body; UINT64_MAX: any */
    uint64_t hash;    /* expected, of the body; with check_hash */
    bool check_hash;
    size_t message_size; /* ECHO */
};

struct bench_thread;

/* One connection's place; it outlives its connections. */
struct bench_client;

/* What one thread counts; it alone writes, with plain stores, and the main thread looks. */
struct bench_counts {
    uint64_t requests; /* answered as they should be */
    uint64_t errors[BENCH_ERRORS];
    uint64_t bytes_in; /* of responses, heads included */
    uint64_t connects;
    uint64_t status[6];             /* by class; [0] is none */
    struct rill_histogram latency;  /* from when the request was sent; us */
    struct rill_histogram intended; /* from when it was meant to begin; us. Open loop only */
    uint64_t latency_counts[LATENCY_BUCKETS], intended_counts[LATENCY_BUCKETS];
};

/* One second of a run. */
struct bench_second {
    uint64_t requests, errors;
};

struct bench_result {
    struct bench_counts counts; /* of the measured stretch, all threads */
    double elapsed_s;
    double client_cpu_fraction;  /* of the busiest thread: CPU time by elapsed time */
    double client_cpu_s;         /* of all threads */
    double client_busy_fraction; /* of the busiest thread: it ran, or wanted to and had no CPU */
    struct bench_second *seconds;
    unsigned second_count;
    uint64_t backlog;    /* requests that were meant to begin and had not, at the end */
    uint64_t unanswered; /* requests that were sent, and waited for their responses, at the end */
    bool server_known;
    double server_user_s, server_system_s;
    uint64_t server_switches, server_peak_bytes;
    const char *ended_early; /* why; NULL: it did not */
};

/* plan.c */

/* One URL, "http://HOST[:PORT]/PATH", or "[N*]URL" with a weight, or "echo://HOST:PORT". Adds a request to PLAN. 0, or
 * -EINVAL with *WANTED. */
struct bench_request_options {
    const char *method;
    const char *const *headers;
    unsigned header_count;
    const char *body;
    size_t body_length;
    bool close;
};
int bench_plan_add_url(struct bench_plan *plan, const char *text, const struct bench_request_options *options,
                       const char **wanted);

/* "N*" before what TEXT goes on with; 1 without. NULL: out of range. */
const char *bench_take_weight(const char *text, unsigned *weight);

/* Settles the order of requests. 0, -EINVAL: there is none; or -ENOMEM. */
int bench_plan_finish(struct bench_plan *plan);
void bench_plan_free(struct bench_plan *plan);

/* FNV-1a, so that it can go on from piece to piece. */
#define BENCH_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t bench_hash(uint64_t hash, const void *bytes, size_t length);

/* request_file.c */

/* A token (RFC 9110, 5.6.2): anything else would be another request than the one meant. */
bool bench_is_method(const char *text);

/* A line "[N*]METHOD URL-OR-PATH [BODY-FILE]", taken apart in place. 0, or -EINVAL with *WANTED. */
struct bench_line {
    const char *method, *target, *body_path; /* body_path: NULL: there is none */
    unsigned weight;
};
int bench_take_line(char *line, struct bench_line *parts, const char **wanted);

/* Adds the requests of such lines, but for those that are empty or begin with '#', to PLAN. TEXT has LENGTH bytes and
 * one more, and is changed. 0; or -EINVAL or -ENOMEM, with the *NUMBER of the line, from 1, and what was *WANTED. */
int bench_plan_add_text(struct bench_plan *plan, char *text, size_t length, const struct bench_request_options *options,
                        unsigned *number, const char **wanted);

/* The same with a file. Writes to standard error what is wrong; 0 or -1. */
int bench_plan_add_file(struct bench_plan *plan, const char *path, const struct bench_request_options *options);

/* The whole of a file, and a NUL, for the caller to free(); NULL with errno set. */
char *bench_read_file(const char *path, size_t *length);

/* thread.c */
struct bench_thread *bench_thread_new(const struct bench_plan *plan, unsigned index, uint64_t seed);
void bench_thread_free(struct bench_thread *thread);

/* All on the thread's loop: opens connections; begins to count; ends counting and closes. */
int bench_thread_start(struct bench_thread *thread, struct rill_loop *loop);
void bench_thread_begin(struct bench_thread *thread);
void bench_thread_end(struct bench_thread *thread);

/* From any thread. */
const struct bench_counts *bench_thread_counts(const struct bench_thread *thread);
bool bench_thread_is_done(const struct bench_thread *thread);  /* all its requests are answered (request_limit) */
bool bench_thread_is_lost(const struct bench_thread *thread);  /* for a second it has had no connection and got none */
bool bench_thread_is_ready(const struct bench_thread *thread); /* every connection was tried */

/* After the loop has ended: what the measured stretch was like. */
double bench_thread_cpu_s(const struct bench_thread *thread);
double bench_thread_waited_s(const struct bench_thread *thread); /* ready to run, without a CPU */
double bench_thread_elapsed_s(const struct bench_thread *thread);
uint64_t bench_thread_backlog(const struct bench_thread *thread);
uint64_t bench_thread_unanswered(const struct bench_thread *thread);
const char *bench_thread_last_error(const struct bench_thread *thread); /* of connecting; "" */
unsigned bench_thread_seconds(const struct bench_thread *thread, const struct bench_second **seconds);

/* For client.c, on the loop. */
struct rill_loop *bench_thread_loop(struct bench_thread *thread);
const struct bench_plan *bench_thread_plan(const struct bench_thread *thread);
struct bench_counts *bench_thread_writes(struct bench_thread *thread);

/* The next request's number, or -1 when no more may begin; *INTENDED_NS is when it was meant to begin, or now. */
int bench_thread_next(struct bench_thread *thread, uint64_t now_ns, uint64_t *intended_ns);
void bench_thread_answered(struct bench_thread *thread, uint64_t sent_ns, uint64_t intended_ns, uint64_t now_ns);
void bench_thread_failed(struct bench_thread *thread, enum bench_error error, unsigned requests);
/* CLIENT has room for a request and got none. Returns whether it will be woken when there is one. */
bool bench_thread_wait(struct bench_thread *thread, struct bench_client *client);
void bench_thread_no_connection(struct bench_thread *thread, const char *why);
void bench_thread_connected(struct bench_thread *thread);

/* client.c */
size_t bench_client_size(const struct bench_plan *plan);
void bench_client_init(struct bench_client *client, struct bench_thread *thread, unsigned number);
void bench_client_open(struct bench_client *client);
unsigned bench_client_close(struct bench_client *client);             /* for good; how many responses it waited for */
void bench_client_wake(struct bench_client *client);                  /* it has waited, and no more */
void bench_client_feed(struct bench_client *client);                  /* sends what there is to send */
struct bench_client **bench_client_link(struct bench_client *client); /* the thread's, for its list of waiting ones */

/* arrivals.c */
struct bench_arrivals {
    double interval_ns; /* mean; 0: a closed loop */
    bool poisson;
    struct rill_random random;
    double next_ns; /* of the clock */
};
void bench_arrivals_start(struct bench_arrivals *arrivals, double per_second, bool poisson, uint64_t seed,
                          uint64_t now_ns);
uint64_t bench_arrivals_next(struct bench_arrivals *arrivals); /* takes the next */

/* run.c */

/* Runs PLAN. SERVER_PID 0: unknown. LIVE: a line on standard error every second. Returns 0 and fills in *RESULT, which
 * bench_result_free() empties; or an exit status, having said why. */
struct bench_run_options {
    int server_pid;
    bool live;
};
int bench_run(const struct bench_plan *plan, const struct bench_run_options *options, struct bench_result *result);
void bench_result_free(struct bench_result *result);
uint64_t bench_result_errors(const struct bench_result *result);
bool bench_client_was_the_limit(const struct bench_result *result); /* a thread had hardly any time to spare */

/* server_proc.c: what /proc says of a process and its children. */
struct bench_usage {
    double user_s, system_s;
    uint64_t switches, peak_bytes;
};
int bench_usage_of(int pid, struct bench_usage *usage); /* 0 or a negative errno */

/* COUNT whole numbers out of /proc/PID/stat, or of the thread's stat file at PATH: the fields behind the name, from the
 * parent's id on (proc(5), fields 4 and up). 0 or a negative errno. */
int bench_read_stat(const char *path, uint64_t *fields, unsigned count);
enum { STAT_PARENT = 0, STAT_USER = 10, STAT_SYSTEM = 11, STAT_FIELDS = 12 };

/* The number that the name of a /proc entry is; 0: none. */
int bench_pid_of(const char *name);

/* report.c, report_json.c */
void bench_report_text(const struct bench_plan *plan, const struct bench_result *result);
void bench_report_json(const struct bench_plan *plan, const struct bench_result *result);
void bench_report_histogram(const struct bench_result *result, FILE *file);

#endif
