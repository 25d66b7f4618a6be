/* main_scale.c - the command line of rill-bench scale, and its rounds: A B C A B C, so that a machine that changes its
 * pace meanwhile does so to every thread count alike. */
#include "../options.h"
#include "rill/core/units.h"
#include "scale.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct command {
    struct scale scale;
    struct bench_plan plan; /* the load, but for the server */
    const char *path;
};

static int parse_rounds(void *target, const char *text, const char **wanted)
{
    uint64_t rounds;
    int error = rill_parse_count(text, 1, FIT_MAX_ROUNDS, &rounds, wanted);
    if (error == 0)
        *(unsigned *)target = (unsigned)rounds;
    return error;
}

/* "1..8", "1,2,4,8", or both. */
static int parse_threads(void *target, const char *text, const char **wanted)
{
    struct scale *scale = target;
    scale->counts = 0;
    *wanted = "counts of 1 to 255 threads are wanted, rising, as in 1..8 or 1,2,4,8";
    while (*text) {
        char *end;
        unsigned long first = strtoul(text, &end, 10), last = first;
        if (end == text)
            return -EINVAL;
        if (strncmp(end, "..", 2) == 0) {
            const char *from = end + 2;
            last = strtoul(from, &end, 10);
            if (end == from)
                return -EINVAL;
        }
        for (unsigned long n = first; n <= last; n++) {
            if (n < 1 || n > 255 || scale->counts == FIT_MAX_COUNTS ||
                (scale->counts > 0 && n <= scale->threads[scale->counts - 1]))
                return -EINVAL;
            scale->threads[scale->counts++] = (unsigned)n;
        }
        if (last < first || (*end != '\0' && *end != ',') || (*end == ',' && end[1] == '\0'))
            return -EINVAL;
        text = *end ? end + 1 : end;
    }
    return scale->counts > 0 ? 0 : -EINVAL;
}

/* CPUs of the set ALL from number FIRST on, COUNT of them. */
static cpu_set_t some_of(const cpu_set_t *all, unsigned first, unsigned count)
{
    cpu_set_t some;
    unsigned seen = 0;
    CPU_ZERO(&some);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, all) && seen++ >= first && seen <= first + count)
            CPU_SET((size_t)cpu, &some);
    return some;
}

static void take_down(const struct bench_result *result, struct scale_run *run)
{
    double requests = result->counts.requests ? (double)result->counts.requests : 1;
    *run = (struct scale_run){
        .throughput = result->elapsed_s > 0 ? (double)result->counts.requests / result->elapsed_s : 0,
        .cpu_us = (result->server_user_s + result->server_system_s) * 1e6 / requests,
        .p50_us = (double)rill_histogram_quantile(&result->counts.latency, 0.5),
        .p99_us = (double)rill_histogram_quantile(&result->counts.latency, 0.99),
        .switches = (double)result->server_switches / requests,
        .errors = bench_result_errors(result),
        .client_was_the_limit = bench_client_was_the_limit(result),
    };
}

/* One run of count C in round R. 0 or an exit status. */
static int run_one(struct command *command, unsigned c, unsigned r)
{
    static struct bench_result result;
    struct scale *scale = &command->scale;
    struct scale_server server;
    struct bench_request_options request = {.close = command->plan.new_connection};
    const char *wanted = "";
    char url[4200];
    cpu_set_t all, of_server, of_client;
    sched_getaffinity(0, sizeof all, &all);
    unsigned apart = scale_server_cpus(scale, scale->threads[c]);
    of_server = some_of(&all, 0, apart);
    of_client = some_of(&all, scale->cpus - scale->client_threads, scale->client_threads);
    if (scale_server_start(&server, scale->command, scale->threads[c], apart ? &of_server : NULL) < 0)
        return 1;
    struct bench_plan plan = command->plan;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", server.port, command->path);
    plan.url = url;
    int status = bench_plan_add_url(&plan, url, &request, &wanted) < 0 || bench_plan_finish(&plan) < 0;
    if (status == 0) {
        if (apart)
            sched_setaffinity(0, sizeof of_client, &of_client); /* the generator's threads inherit it */
        struct bench_run_options options = {.server_pid = server.pid};
        status = bench_run(&plan, &options, &result);
        sched_setaffinity(0, sizeof all, &all);
    } else {
        fprintf(stderr, "rill-bench: %s: %s\n", url, wanted);
    }
    if (status == 0) {
        take_down(&result, &scale->runs[c][r]);
        scale_measure_balance(&server, scale->threads[c], &scale->runs[c][r]);
        if (result.ended_early) {
            fprintf(stderr, "rill-bench: ended early: %s\n", result.ended_early);
            status = 1;
        }
    }
    scale_server_stop(&server);
    bench_result_free(&result);
    bench_plan_free(&plan);
    return status;
}

static int run_all(struct command *command)
{
    struct scale *scale = &command->scale;
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    scale->cpus = (unsigned)CPU_COUNT(&all);
    for (unsigned c = 0; c < scale->counts; c++)
        scale->pinned[c] = scale_server_cpus(scale, scale->threads[c]) == scale->threads[c];
    for (unsigned r = 0; r < scale->rounds; r++) {
        for (unsigned c = 0; c < scale->counts; c++) {
            int status = run_one(command, c, r);
            if (status)
                return status;
            fprintf(stderr, "round %u of %u, %u threads: %.0f requests/s\n", r + 1, scale->rounds, scale->threads[c],
                    scale->runs[c][r].throughput);
        }
    }
    return scale_report(scale);
}

int scale_main(int argc, char **argv)
{
    static struct command command = {.plan = {.connections = 64, .pipeline = 1, .length = UINT64_MAX}, .path = "/"};
    struct bench_plan *plan = &command.plan;
    struct scale *scale = &command.scale;
    plan->duration_ms = 3000;
    plan->warmup_ms = 500;
    plan->timeout_ms = 10000;
    scale->rounds = 5;
    scale->client_threads = 1;
    const struct rill_option options[] = {
        {"--threads", "COUNTS", "of the server, as in 1..8 or 1,2,4", RILL_OPTION_CUSTOM, scale, 0, 0, parse_threads},
        {"--rounds", "N", "of all counts (5)", RILL_OPTION_CUSTOM, &scale->rounds, 0, 0, parse_rounds},
        {"--duration", "TIME", "of each run (3s)", RILL_OPTION_DURATION, &plan->duration_ms, 1, BENCH_MAX_MS, NULL},
        {"--warmup", "TIME", "before each (500ms)", RILL_OPTION_DURATION, &plan->warmup_ms, 0, BENCH_MAX_MS, NULL},
        {"--client-threads", "N", "of the generator (1)", RILL_OPTION_COUNT, &scale->client_threads, 1, 255, NULL},
        {"--connections", "N", "open at a time (64)", RILL_OPTION_COUNT, &plan->connections, 1, 1 << 20, NULL},
        {"--pipeline", "N", "requests outstanding on a connection (1)", RILL_OPTION_COUNT, &plan->pipeline, 1, 1024,
         NULL},
        {"--new-connection", NULL, "for every request", RILL_OPTION_FLAG, &plan->new_connection, 0, 0, NULL},
        {"--path", "PATH", "to ask for (/)", RILL_OPTION_TEXT, &command.path, 0, 0, NULL},
        {"--out", "FOLDER", "for scale.csv and, with gnuplot, the plots (none)", RILL_OPTION_TEXT, &scale->out, 0, 0,
         NULL},
    };
    struct rill_app app = {
        .name = "rill-bench scale",
        .summary = "measures how a server scales with threads\n\n"
                   "The server is what follows \"--\": any command with {threads} in it, and {port}\n"
                   "where it wants to be told a port: rill-hello --listen 127.0.0.1:0 --threads {threads}\n"
                   "With --admin {admin} after it the balance between the loops is told by their own\n"
                   "counters; without, by the CPU time of threads.",
        .kind = RILL_APP_TOOL,
        .options = options,
        .option_count = rill_array_length(options),
        .exit_status = "0 measured, whatever can be concluded; 1 a server did not serve, or the files "
                       "cannot be\nwritten; 2 the command line is wrong"};
    int words = 1;
    while (words < argc && strcmp(argv[words], "--") != 0)
        words++;
    int status = rill_app_parse(&app, words, argv);
    if (status >= 0)
        return status;
    scale->command = argv + words + 1;
    bool has_threads = false;
    for (int i = words + 1; i < argc; i++)
        has_threads |= strstr(argv[i], "{threads}") != NULL;
    if (!has_threads || scale->counts == 0 || command.path[0] != '/') {
        fprintf(stderr,
                "rill-bench scale: --threads, a path that begins with / and a server command with {threads} are "
                "wanted:\n  rill-bench scale --threads 1..4 -- rill-hello --listen 127.0.0.1:0 --threads {threads}\n");
        return 2;
    }
    plan->threads = scale->client_threads < plan->connections ? scale->client_threads : plan->connections;
    plan->sources = plan->new_connection ? 16 : 0;
    return run_all(&command);
}
