/* run.c - a run: start the threads, let them warm up, measure, put together what they counted.
 *
 * The threads do all the work; the main thread sleeps, looks at their counters and prints the live line. What it wants
 * of a thread it posts to its loop: a thread's counts are the thread's until its loop has ended. */
#include "bench.h"
#include "rill/core/loop_group.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    LOOK_MS = 20,
    READY_MS = 10000, /* for all connections to be there; those that are not by then go on trying */
};

struct run {
    const struct bench_plan *plan;
    const struct bench_run_options *options;
    struct rill_loop_group *group;
    struct bench_thread *threads[BENCH_MAX_THREADS];
    uint64_t shown_requests; /* by the live line */
    const char *ended_early;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void start_on_loop(void *arg)
{
    struct bench_thread *thread = arg;
    if (bench_thread_start(thread, rill_loop_current()) < 0)
        bench_thread_no_connection(thread, "no timer for the rate: out of descriptors?");
}

static void begin_on_loop(void *arg)
{
    bench_thread_begin(arg);
}

static void end_on_loop(void *arg)
{
    bench_thread_end(arg);
}

/* 0 or a negative errno. */
static int tell_all(struct run *run, void (*fn)(void *thread))
{
    for (unsigned i = 0; i < run->plan->threads; i++) {
        int error = rill_post(rill_loop_group_loop(run->group, i), fn, run->threads[i]);
        if (error < 0)
            return error;
    }
    return 0;
}

static bool all(const struct run *run, bool (*is)(const struct bench_thread *thread))
{
    for (unsigned i = 0; i < run->plan->threads; i++)
        if (!is(run->threads[i]))
            return false;
    return true;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    nanosleep(&time, NULL);
}

/* Sleeps for MS, or less when the run is over. False then. */
static bool go_on(struct run *run, uint64_t ms)
{
    for (uint64_t slept = 0; slept < ms; slept += LOOK_MS) {
        if (interrupted)
            run->ended_early = "interrupted";
        else if (all(run, bench_thread_is_lost))
            run->ended_early = "no connection to the server can be made any more";
        if (run->ended_early || all(run, bench_thread_is_done))
            return false;
        sleep_ms(ms - slept < LOOK_MS ? ms - slept : LOOK_MS);
    }
    return true;
}

static void wait_until_ready(struct run *run)
{
    for (uint64_t waited = 0; waited < READY_MS + run->plan->ramp_ms; waited += LOOK_MS)
        if (all(run, bench_thread_is_ready) || !go_on(run, LOOK_MS))
            return;
}

static void add_counts(const struct run *run, struct bench_counts *sum)
{
    memset(sum, 0, sizeof *sum);
    rill_histogram_init(&sum->latency, LATENCY_BITS, sum->latency_counts, LATENCY_BUCKETS);
    rill_histogram_init(&sum->intended, LATENCY_BITS, sum->intended_counts, LATENCY_BUCKETS);
    for (unsigned i = 0; i < run->plan->threads; i++) {
        const struct bench_counts *counts = bench_thread_counts(run->threads[i]);
        sum->requests += __atomic_load_n(&counts->requests, __ATOMIC_RELAXED);
        sum->connects += __atomic_load_n(&counts->connects, __ATOMIC_RELAXED);
        for (unsigned k = 0; k < BENCH_ERRORS; k++)
            sum->errors[k] += __atomic_load_n(&counts->errors[k], __ATOMIC_RELAXED);
        rill_histogram_merge(&sum->latency, &counts->latency);
        rill_histogram_merge(&sum->intended, &counts->intended);
    }
}

/* The counts that only their thread reads; after its loop has ended. */
static void add_private_counts(const struct run *run, struct bench_counts *sum)
{
    for (unsigned i = 0; i < run->plan->threads; i++) {
        const struct bench_counts *counts = bench_thread_counts(run->threads[i]);
        sum->bytes_in += counts->bytes_in;
        for (unsigned k = 0; k < rill_array_length(sum->status); k++)
            sum->status[k] += counts->status[k];
    }
}

static void show(struct run *run, double elapsed_s, struct bench_counts *scratch)
{
    uint64_t errors = 0;
    add_counts(run, scratch);
    for (unsigned k = 0; k < BENCH_ERRORS; k++)
        errors += scratch->errors[k];
    if (scratch->requests + errors == 0) {
        fprintf(stderr, "\r%6.0f s  no response yet ", elapsed_s);
        return;
    }
    uint64_t p99_us = rill_histogram_quantile(run->plan->rate > 0 ? &scratch->intended : &scratch->latency, 0.99);
    fprintf(stderr, "\r%6.0f s  %9llu req/s  p99 %8.3f ms  %llu errors ", elapsed_s,
            (unsigned long long)(scratch->requests - run->shown_requests), (double)p99_us / 1000,
            (unsigned long long)errors);
    run->shown_requests = scratch->requests;
}

/* The measured stretch. */
static void measure(struct run *run, struct bench_counts *scratch)
{
    uint64_t begin_ns = rill_clock_ns(), end_ns = begin_ns + run->plan->duration_ms * 1000000, now_ns = begin_ns;
    bool limited = run->plan->request_limit > 0;
    uint64_t next_line_ns = begin_ns + 1000000000;
    while (limited || now_ns < end_ns) {
        uint64_t until_ns = limited || next_line_ns < end_ns ? next_line_ns : end_ns;
        bool more = now_ns >= until_ns || go_on(run, (until_ns - now_ns + 999999) / 1000000);
        now_ns = rill_clock_ns();
        if (!more)
            break;
        if (run->options->live && now_ns >= next_line_ns)
            show(run, (double)(now_ns - begin_ns) / 1e9, scratch);
        next_line_ns += now_ns >= next_line_ns ? 1000000000 : 0;
    }
    if (run->options->live)
        fprintf(stderr, "\r%70s\r", "");
}

static void add_seconds(const struct run *run, struct bench_result *result)
{
    for (unsigned i = 0; i < run->plan->threads; i++) {
        const struct bench_second *seconds;
        unsigned count = bench_thread_seconds(run->threads[i], &seconds);
        if (count > result->second_count) {
            struct bench_second *more = realloc(result->seconds, count * sizeof *more);
            if (!more)
                return;
            result->seconds = more;
            memset(more + result->second_count, 0, (count - result->second_count) * sizeof *more);
            result->second_count = count;
        }
        for (unsigned k = 0; k < count; k++) {
            result->seconds[k].requests += seconds[k].requests;
            result->seconds[k].errors += seconds[k].errors;
        }
    }
}

static void put_together(struct run *run, struct bench_result *result)
{
    add_counts(run, &result->counts);
    add_private_counts(run, &result->counts);
    add_seconds(run, result);
    for (unsigned i = 0; i < run->plan->threads; i++) {
        double cpu_s = bench_thread_cpu_s(run->threads[i]), elapsed_s = bench_thread_elapsed_s(run->threads[i]);
        double fraction = elapsed_s > 0 ? cpu_s / elapsed_s : 0;
        result->client_cpu_s += cpu_s;
        result->backlog += bench_thread_backlog(run->threads[i]);
        result->unanswered += bench_thread_unanswered(run->threads[i]);
        if (elapsed_s > result->elapsed_s)
            result->elapsed_s = elapsed_s;
        double busy = elapsed_s > 0 ? (cpu_s + bench_thread_waited_s(run->threads[i])) / elapsed_s : 0;
        if (fraction > result->client_cpu_fraction)
            result->client_cpu_fraction = fraction;
        if (busy > result->client_busy_fraction)
            result->client_busy_fraction = busy;
    }
    result->ended_early = run->ended_early;
}

static void note_usage(const struct bench_usage *before, const struct bench_usage *after, struct bench_result *result)
{
    result->server_known = true;
    result->server_user_s = after->user_s - before->user_s;
    result->server_system_s = after->system_s - before->system_s;
    result->server_switches = after->switches - before->switches;
    result->server_peak_bytes = after->peak_bytes;
}

/* 0, or what the program ends with. */
static int carry_out(struct run *run, struct bench_result *result)
{
    struct bench_usage before, after;
    int pid = run->options->server_pid;
    bool limited = run->plan->request_limit > 0, known = pid && bench_usage_of(pid, &before) == 0;
    if ((limited && tell_all(run, begin_on_loop) < 0) || tell_all(run, start_on_loop) < 0)
        return 1;
    if (!limited) {
        wait_until_ready(run);
        if (run->ended_early == NULL && (run->plan->warmup_ms == 0 || go_on(run, run->plan->warmup_ms))) {
            known = pid && bench_usage_of(pid, &before) == 0;
            if (tell_all(run, begin_on_loop) < 0)
                return 1;
        }
    }
    if (run->ended_early == NULL)
        measure(run, &result->counts);
    known = known && bench_usage_of(pid, &after) == 0;
    if (tell_all(run, end_on_loop) < 0)
        return 1;
    rill_loop_group_join(run->group);
    put_together(run, result);
    if (known)
        note_usage(&before, &after, result);
    if (result->counts.requests == 0 && bench_thread_last_error(run->threads[0])[0]) {
        fprintf(stderr, "rill-bench: %s\n", bench_thread_last_error(run->threads[0]));
        return 1;
    }
    return 0;
}

int bench_run(const struct bench_plan *plan, const struct bench_run_options *options, struct bench_result *result)
{
    struct run run = {.plan = plan, .options = options};
    struct rill_loop_group_config group = {.name = "bench", .count = plan->threads, .read_buffer_bytes = 256 * 1024};
    int error = 0, status = 1;
    memset(result, 0, sizeof *result);
    interrupted = 0;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    for (unsigned i = 0; i < plan->threads && error == 0; i++) {
        run.threads[i] = bench_thread_new(plan, i, rill_clock_ns() + i);
        error = run.threads[i] ? 0 : -ENOMEM;
    }
    if (error < 0)
        fprintf(stderr, "rill-bench: there is no memory for %u connections\n", plan->connections);
    else if (!(run.group = rill_loop_group_start(&group, &error)))
        fprintf(stderr, "rill-bench: cannot start %u threads: %s\n", plan->threads, strerror(-error));
    else
        status = carry_out(&run, result);
    rill_loop_group_join(run.group);
    for (unsigned i = 0; i < plan->threads; i++)
        bench_thread_free(run.threads[i]);
    rill_loop_group_stop(run.group);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    return status;
}

void bench_result_free(struct bench_result *result)
{
    free(result->seconds);
    result->seconds = NULL;
}

bool bench_client_was_the_limit(const struct bench_result *result)
{
    return result->client_busy_fraction > 0.9;
}

uint64_t bench_result_errors(const struct bench_result *result)
{
    uint64_t errors = 0;
    for (unsigned k = 0; k < BENCH_ERRORS; k++)
        errors += result->counts.errors[k];
    return errors;
}
