/* report.c - a result for people, and its histogram in a file. */
#include "bench.h"
#include <stdio.h>

static const struct {
    const char *name;
    double fraction;
} shown[] = {{"p50", 0.5},     {"p75", 0.75},      {"p90", 0.9},         {"p99", 0.99},
             {"p99.9", 0.999}, {"p99.99", 0.9999}, {"p99.999", 0.99999}, {"max", 1}};

static void print_latency(const char *title, const struct rill_histogram *histogram)
{
    if (histogram->total == 0)
        return;
    printf("\n%s, ms\n  mean     %10.3f\n", title, rill_histogram_mean(histogram) / 1000);
    for (unsigned i = 0; i < rill_array_length(shown); i++)
        printf("  %-8s %10.3f\n", shown[i].name, (double)rill_histogram_quantile(histogram, shown[i].fraction) / 1000);
}

static void print_errors(const struct bench_result *result)
{
    static const char *const texts[BENCH_ERRORS] = {
        [BENCH_CONNECT] = "no connection could be made",
        [BENCH_RESET] = "the connection broke before the response",
        [BENCH_CUT] = "the connection broke within the response",
        [BENCH_TIMEOUT] = "no complete response in time",
        [BENCH_MALFORMED] = "bytes that are no response",
        [BENCH_UNASKED] = "bytes that nobody had asked for",
        [BENCH_STATUS] = "another status than expected",
        [BENCH_LENGTH] = "a body of another length than expected",
        [BENCH_BODY] = "a body of other bytes than expected",
    };
    printf("\n%llu errors\n", (unsigned long long)bench_result_errors(result));
    for (unsigned k = 0; k < BENCH_ERRORS; k++)
        if (result->counts.errors[k])
            printf("  %10llu  %s\n", (unsigned long long)result->counts.errors[k], texts[k]);
}

static void print_server(const struct bench_result *result)
{
    double requests = result->counts.requests ? (double)result->counts.requests : 1;
    printf(
        "\nserver: %.2f us CPU a request (%.2f user, %.2f system), %.3f context switches a request, at most %.1f MiB\n",
        (result->server_user_s + result->server_system_s) * 1e6 / requests, result->server_user_s * 1e6 / requests,
        result->server_system_s * 1e6 / requests, (double)result->server_switches / requests,
        (double)result->server_peak_bytes / 1048576);
}

static void print_seconds(const struct bench_result *result)
{
    /* The last second is seldom a whole one. */
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i + 1 < result->second_count; i++) {
        least = result->seconds[i].requests < least ? result->seconds[i].requests : least;
        most = result->seconds[i].requests > most ? result->seconds[i].requests : most;
    }
    if (result->second_count > 2)
        printf("  by the second: %llu to %llu\n", (unsigned long long)least, (unsigned long long)most);
}

void bench_report_text(const struct bench_plan *plan, const struct bench_result *result)
{
    double elapsed_s = result->elapsed_s > 0 ? result->elapsed_s : 1e-9;
    printf("%s: %u connections, %u threads, ", plan->url, plan->connections, plan->threads);
    if (plan->rate > 0)
        printf("open loop at %.0f req/s%s, ", plan->rate, plan->poisson ? " (Poisson)" : "");
    printf("%s%.2f s\n", plan->new_connection ? "a connection a request, " : "", result->elapsed_s);
    if (result->ended_early)
        printf("ended early: %s\n", result->ended_early);
    printf("\n%.0f requests/s (%llu answered as they should be), %.2f MB/s\n",
           (double)result->counts.requests / elapsed_s, (unsigned long long)result->counts.requests,
           (double)result->counts.bytes_in / elapsed_s / 1e6);
    print_seconds(result);
    if (plan->rate > 0) {
        print_latency("latency from when a request was meant to begin", &result->counts.intended);
        print_latency("latency from when it was sent, which hides that it had to wait", &result->counts.latency);
        if (result->backlog)
            printf("\n%llu requests were meant to begin and had not by the end: the rate is more than was carried\n",
                   (unsigned long long)result->backlog);
    } else {
        print_latency("latency", &result->counts.latency);
    }
    if (result->counts.requests == 0 && result->unanswered > 0)
        printf("\n%llu requests were waiting for their responses at the end\n", (unsigned long long)result->unanswered);
    print_errors(result);
    if (result->server_known)
        print_server(result);
    printf("\nclient: busiest thread %.0f %% of a CPU and %.0f %% waiting for one, %.2f us CPU a request\n",
           result->client_cpu_fraction * 100, (result->client_busy_fraction - result->client_cpu_fraction) * 100,
           result->client_cpu_s * 1e6 / (result->counts.requests ? (double)result->counts.requests : 1));
    if (bench_client_was_the_limit(result))
        printf("THE CLIENT WAS THE LIMIT: the server can do more than this; give it more --threads and CPUs\n");
}

void bench_report_histogram(const struct bench_result *result, FILE *file)
{
    const struct rill_histogram *histogram =
        result->counts.intended.total ? &result->counts.intended : &result->counts.latency;
    uint64_t seen = 0;
    fprintf(file, "low_us,high_us,count,fraction\n");
    for (unsigned i = 0; i < histogram->bucket_count; i++) {
        if (!histogram->counts[i])
            continue;
        seen += histogram->counts[i];
        fprintf(file, "%llu,%llu,%llu,%.7f\n", (unsigned long long)rill_histogram_low(histogram, i),
                (unsigned long long)rill_histogram_high(histogram, i), (unsigned long long)histogram->counts[i],
                (double)seen / (double)histogram->total);
    }
}
