/* main.c - rill-bench: an honest load generator. The command line; the rest is told in bench.h. */
#include "../options.h"
#include "bench.h"
#include "rill/core/units.h"
#include "scale.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_HEADERS = 64, MAX_URLS = 64 };

/* The command line, before it has become a plan. */
struct command {
    struct bench_plan plan;
    const char *headers[MAX_HEADERS], *urls[MAX_URLS];
    unsigned header_count, url_count;
    const char *method, *body_file, *request_file, *expect_body, *histogram;
    uint64_t message_size;
    unsigned server_pid, requests;
    bool json, quiet;
};

static int parse_rate(void *target, const char *text, const char **wanted)
{
    char *end;
    double rate = strtod(text, &end);
    *wanted = "requests a second are wanted, as in 5000 or 0.5";
    if (*end != '\0' || !(rate > 0) || rate > 1e8)
        return -EINVAL;
    *(double *)target = rate;
    return 0;
}

static int parse_header(void *target, const char *text, const char **wanted)
{
    struct command *command = target;
    const char *colon = strchr(text, ':');
    *wanted = "NAME: VALUE is wanted, and at most 64 of them";
    if (!colon || colon == text || strpbrk(text, "\r\n") || command->header_count == MAX_HEADERS)
        return -EINVAL;
    command->headers[command->header_count++] = text;
    return 0;
}

static int parse_url(void *target, const char *text, const char **wanted)
{
    struct command *command = target;
    *wanted = "at most 64 URLs are wanted; put more into a file for --request-file";
    if (command->url_count == MAX_URLS)
        return -EINVAL;
    command->urls[command->url_count++] = text;
    return 0;
}

static int parse_protocol(void *target, const char *text, const char **wanted)
{
    *wanted = "http or echo is wanted";
    if (strcmp(text, "http") != 0 && strcmp(text, "echo") != 0)
        return -EINVAL;
    *(enum bench_protocol *)target = strcmp(text, "echo") == 0 ? BENCH_ECHO : BENCH_HTTP;
    return 0;
}

static int parse_method(void *target, const char *text, const char **wanted)
{
    *wanted = "the name of a method is wanted, as in GET or PUT";
    if (!bench_is_method(text))
        return -EINVAL;
    *(const char **)target = text;
    return 0;
}

static int parse_length(void *target, const char *text, const char **wanted)
{
    return rill_parse_size(text, target, wanted);
}

static int complain(const char *what, const char *text, const char *why)
{
    fprintf(stderr, "rill-bench: %s%s%s%s: %s\n", what, *text ? " \"" : "", text, *text ? "\"" : "", why);
    return 2;
}

/* The files and URLs of COMMAND become requests. 0 or an exit status. */
static int add_requests(struct command *command)
{
    struct bench_plan *plan = &command->plan;
    struct bench_request_options options = {.method = command->method,
                                            .headers = command->headers,
                                            .header_count = command->header_count,
                                            .close = plan->new_connection};
    char *body = NULL;
    int status = 0;
    const char *wanted = "";
    if (command->body_file && !(body = bench_read_file(command->body_file, &options.body_length)))
        return complain("cannot read the body", command->body_file, strerror(errno));
    options.body = body;
    for (unsigned i = 0; i < command->url_count && status == 0; i++)
        if (bench_plan_add_url(plan, command->urls[i], &options, &wanted) < 0)
            status = complain("the URL", command->urls[i], wanted);
    if (status == 0 && command->request_file && bench_plan_add_file(plan, command->request_file, &options) < 0)
        status = 2;
    free(body);
    if (status == 0 && plan->request_count == 0)
        status = complain("a URL is wanted", "", "rill-bench [options] http://HOST[:PORT]/PATH; see rill-bench --help");
    if (status == 0 && bench_plan_finish(plan) < 0)
        status = complain("the weights of all requests together", "", "at most 100000 are wanted");
    return status;
}

/* What was asked for, made consistent. 0 or an exit status. */
static int settle(struct command *command)
{
    struct bench_plan *plan = &command->plan;
    size_t length;
    plan->message_size = (size_t)command->message_size;
    plan->request_limit = command->requests;
    if (plan->request_limit)
        plan->warmup_ms = 0;
    if (plan->threads > plan->connections)
        plan->threads = plan->connections;
    if (plan->rate > 0 && plan->pipeline > 1)
        return complain("--rate with --pipeline", "", "an open loop sends one request at a time on a connection");
    if (plan->poisson && !(plan->rate > 0))
        return complain("--poisson", "", "the --rate is wanted at which requests are to begin");
    if (command->server_pid && kill((pid_t)command->server_pid, 0) < 0 && errno == ESRCH)
        return complain("--server-pid", "", "there is no process of that number");
    if (command->expect_body) {
        char *body = bench_read_file(command->expect_body, &length);
        if (!body)
            return complain("cannot read the expected body", command->expect_body, strerror(errno));
        plan->check_hash = true;
        plan->hash = bench_hash(BENCH_HASH_START, body, length);
        plan->length = length;
        free(body);
    }
    int status = add_requests(command);
    if (status)
        return status;
    plan->url = command->url_count ? command->urls[0] : command->request_file;
    /* One address has some 28,000 ports to connect from. */
    bool loopback =
        plan->address.socket.any.sa_family == AF_INET && (ntohl(plan->address.socket.v4.sin_addr.s_addr) >> 24) == 127;
    if (plan->sources == 0 && loopback && (plan->connections > 20000 || plan->new_connection))
        plan->sources = plan->new_connection ? 16 : plan->connections / 20000 + 1;
    if (plan->sources && !loopback)
        return complain("--sources", "", "only a server on 127.0.0.0/8 can be reached from many addresses");
    return 0;
}

/* Carries the run out and tells its result; the latencies go to HISTOGRAM unless that is NULL. Returns the exit status.
 */
static int run(const struct command *command, FILE *histogram)
{
    static struct bench_result result; /* with its histograms too large for a stack */
    struct bench_run_options options = {.server_pid = (int)command->server_pid,
                                        .live = !command->quiet && isatty(STDERR_FILENO)};
    int status = bench_run(&command->plan, &options, &result);
    if (status == 0) {
        if (command->json)
            bench_report_json(&command->plan, &result);
        else
            bench_report_text(&command->plan, &result);
        if (result.ended_early || result.counts.requests == 0)
            status = 1;
        if (histogram)
            bench_report_histogram(&result, histogram);
    }
    bench_result_free(&result);
    return status;
}

/* Opens what is to be written before it is measured, so that nothing is measured in vain. */
static int run_with_files(const struct command *command)
{
    FILE *histogram = command->histogram ? fopen(command->histogram, "w") : NULL;
    if (command->histogram && !histogram)
        return complain("cannot write the histogram", command->histogram, strerror(errno));
    int status = run(command, histogram);
    if (histogram) {
        bool failed = ferror(histogram);
        if (fclose(histogram) != 0 || failed) {
            complain("cannot write the histogram", command->histogram, strerror(errno));
            status = 1;
        }
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct command command = {.plan = {.connections = 64, .pipeline = 1, .length = UINT64_MAX},
                                     .message_size = 64};
    struct bench_plan *plan = &command.plan;
    if (argc > 1 && strcmp(argv[1], "scale") == 0)
        return scale_main(argc - 1, argv + 1);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    plan->threads = cpus > 1 ? (unsigned)cpus / 2 : 1;
    plan->duration_ms = 10000;
    plan->warmup_ms = 1000;
    plan->timeout_ms = 10000;
    const struct rill_option options[] = {
        {"--connections", "N", "open at a time (64)", RILL_OPTION_COUNT, &plan->connections, 1, 1 << 20, NULL},
        {"--threads", "N", "of the generator (half the CPUs)", RILL_OPTION_COUNT, &plan->threads, 1, 255, NULL},
        {"--duration", "TIME", "to measure for (10s)", RILL_OPTION_DURATION, &plan->duration_ms, 1, BENCH_MAX_MS, NULL},
        {"--requests", "N", "to make instead, without a warm-up", RILL_OPTION_COUNT, &command.requests, 1, 1u << 31,
         NULL},
        {"--warmup", "TIME", "before measuring (1s)", RILL_OPTION_DURATION, &plan->warmup_ms, 0, BENCH_MAX_MS, NULL},
        {"--ramp", "TIME", "in which the connections are opened (at once)", RILL_OPTION_DURATION, &plan->ramp_ms, 0,
         BENCH_MAX_MS, NULL},
        {"--timeout", "TIME", "for a response (10s)", RILL_OPTION_DURATION, &plan->timeout_ms, 1, BENCH_MAX_MS, NULL},
        {"--rate", "R", "requests a second, whatever the server does: an open loop (a closed one)", RILL_OPTION_CUSTOM,
         &plan->rate, 0, 0, parse_rate},
        {"--poisson", NULL, "with --rate: as independent users would, not evenly", RILL_OPTION_FLAG, &plan->poisson, 0,
         0, NULL},
        {"--pipeline", "N", "requests outstanding on a connection (1)", RILL_OPTION_COUNT, &plan->pipeline, 1, 1024,
         NULL},
        {"--new-connection", NULL, "for every request", RILL_OPTION_FLAG, &plan->new_connection, 0, 0, NULL},
        {"--sources", "N", "addresses of 127.0.0.0/8 to connect from (as many as it takes)", RILL_OPTION_COUNT,
         &plan->sources, 1, 1 << 20, NULL},
        {"--method", "NAME", "of the requests (GET; POST with a body)", RILL_OPTION_CUSTOM, &command.method, 0, 0,
         parse_method},
        {"--header", "FIELD", "\"NAME: VALUE\"; may be repeated", RILL_OPTION_CUSTOM, &command, 0, 0, parse_header},
        {"--body", "FILE", "to send with each request", RILL_OPTION_TEXT, &command.body_file, 0, 0, NULL},
        {"--url", "[N*]URL", "a further URL, N times as often as one without; may be repeated", RILL_OPTION_CUSTOM,
         &command, 0, 0, parse_url},
        {"--request-file", "FILE", "lines of [N*]METHOD URL-OR-PATH [BODY-FILE]", RILL_OPTION_TEXT,
         &command.request_file, 0, 0, NULL},
        {"--expect-status", "N", "what else counts as an error (2xx and 3xx do not)", RILL_OPTION_COUNT, &plan->status,
         100, 999, NULL},
        {"--expect-length", "SIZE", "of every body", RILL_OPTION_CUSTOM, &plan->length, 0, 0, parse_length},
        {"--expect-body", "FILE", "every body has to be this file", RILL_OPTION_TEXT, &command.expect_body, 0, 0, NULL},
        {"--protocol", "NAME", "http or echo: messages that come back as they were sent (http)", RILL_OPTION_CUSTOM,
         &plan->protocol, 0, 0, parse_protocol},
        {"--message-size", "SIZE", "with echo (64)", RILL_OPTION_SIZE, &command.message_size, 1, 1 << 30, NULL},
        {"--server-pid", "PID", "tell that process's CPU time a request, switches and memory", RILL_OPTION_COUNT,
         &command.server_pid, 1, 1 << 22, NULL},
        {"--json", NULL, "print the result for programs", RILL_OPTION_FLAG, &command.json, 0, 0, NULL},
        {"--histogram", "FILE", "write the latencies there, as CSV", RILL_OPTION_TEXT, &command.histogram, 0, 0, NULL},
        {"--quiet", NULL, "no live line", RILL_OPTION_FLAG, &command.quiet, 0, 0, NULL},
    };
    struct rill_app app = {.name = "rill-bench",
                           .summary = "loads an HTTP or echo server and tells what came of it;\n"
                                      "             rill-bench scale --help: measures how a server scales with threads",
                           .operand = "URL",
                           .kind = RILL_APP_TOOL,
                           .options = options,
                           .option_count = rill_array_length(options),
                           .exit_status = "0 measured, whatever the server's errors; 1 no request was answered as it "
                                          "should be, or\nthe run ended early; 2 the command line, or a file that it "
                                          "names, is wrong"};
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    if (app.operand_value) { /* the first, whatever else there is */
        memmove(command.urls + 1, command.urls, (MAX_URLS - 1) * sizeof *command.urls);
        command.urls[0] = app.operand_value;
        command.url_count += command.url_count < MAX_URLS;
    }
    status = settle(&command);
    if (status == 0)
        status = run_with_files(&command);
    bench_plan_free(plan);
    return status;
}
