/* report_json.c - a result for programs: one JSON object on standard output. */
#include "bench.h"
#include <stdio.h>

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_latency(const char *name, const struct rill_histogram *histogram)
{
    static const struct {
        const char *name;
        double fraction;
    } told[] = {{"p50", 0.5},     {"p75", 0.75},      {"p90", 0.9},         {"p99", 0.99},
                {"p99.9", 0.999}, {"p99.99", 0.9999}, {"p99.999", 0.99999}, {"max", 1}};
    printf(",\n  \"%s\": {\"mean\": %.1f", name, rill_histogram_mean(histogram));
    for (unsigned i = 0; i < rill_array_length(told); i++)
        printf(", \"%s\": %llu", told[i].name,
               (unsigned long long)rill_histogram_quantile(histogram, told[i].fraction));
    printf("}");
}

static void print_seconds(const struct bench_result *result)
{
    printf(",\n  \"seconds\": [");
    for (unsigned i = 0; i < result->second_count; i++)
        printf("%s[%llu, %llu]", i ? ", " : "", (unsigned long long)result->seconds[i].requests,
               (unsigned long long)result->seconds[i].errors);
    printf("]");
}

void bench_report_json(const struct bench_plan *plan, const struct bench_result *result)
{
    double elapsed_s = result->elapsed_s > 0 ? result->elapsed_s : 1e-9;
    const struct bench_counts *counts = &result->counts;
    printf("{\n  \"url\": ");
    print_text(plan->url);
    printf(",\n  \"connections\": %u, \"threads\": %u, \"pipeline\": %u, \"rate\": %.3f, \"elapsed_s\": %.6f",
           plan->connections, plan->threads, plan->pipeline, plan->rate, result->elapsed_s);
    printf(",\n  \"requests\": %llu,\n  \"requests_per_second\": %.1f,\n  \"bytes_per_second\": %.0f,\n  \"connects\": "
           "%llu",
           (unsigned long long)counts->requests, (double)counts->requests / elapsed_s,
           (double)counts->bytes_in / elapsed_s, (unsigned long long)counts->connects);
    printf(",\n  \"errors\": {\"total\": %llu", (unsigned long long)bench_result_errors(result));
    for (unsigned k = 0; k < BENCH_ERRORS; k++)
        printf(", \"%s\": %llu", bench_error_names[k], (unsigned long long)counts->errors[k]);
    printf("},\n  \"status\": {\"1xx\": %llu, \"2xx\": %llu, \"3xx\": %llu, \"4xx\": %llu, \"5xx\": %llu}",
           (unsigned long long)counts->status[1], (unsigned long long)counts->status[2],
           (unsigned long long)counts->status[3], (unsigned long long)counts->status[4],
           (unsigned long long)counts->status[5]);
    print_latency("latency_us", &counts->latency);
    /* In a closed loop a request is meant to begin when it is sent. */
    print_latency("latency_from_intended_start_us", plan->rate > 0 ? &counts->intended : &counts->latency);
    print_seconds(result);
    printf(",\n  \"unanswered\": %llu", (unsigned long long)result->unanswered);
    printf(",\n  \"backlog\": %llu,\n  \"client_cpu_fraction\": %.4f,\n  \"client_busy_fraction\": %.4f,\n  "
           "\"client_cpu_us_per_request\": %.3f",
           (unsigned long long)result->backlog, result->client_cpu_fraction, result->client_busy_fraction,
           result->client_cpu_s * 1e6 / (counts->requests ? (double)counts->requests : 1));
    printf(",\n  \"client_was_the_limit\": %s", bench_client_was_the_limit(result) ? "true" : "false");
    if (result->server_known)
        printf(
            ",\n  \"server\": {\"user_s\": %.3f, \"system_s\": %.3f, \"context_switches\": %llu, \"peak_bytes\": %llu}",
            result->server_user_s, result->server_system_s, (unsigned long long)result->server_switches,
            (unsigned long long)result->server_peak_bytes);
    printf(",\n  \"ended_early\": ");
    if (result->ended_early)
        print_text(result->ended_early);
    else
        printf("null");
    printf("\n}\n");
}
