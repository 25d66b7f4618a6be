/* admin_metrics.c - the numbers in Prometheus' text format 0.0.4: each metric once, with its help, its type and its
 * samples; one a loop where loops count. docs/metrics.md lists them. */
#include "rill/http/admin_internal.h"
#include <stdio.h>

/* What a metric is read from; NULL: that loop has none. */
typedef const uint64_t *counter_fn(const struct rill_admin_loop *loop);
typedef const struct rill_histogram *histogram_fn(const struct rill_admin_loop *loop);

static void head(struct rill_admin_text *text, const char *name, const char *type, const char *help)
{
    rill_admin_print(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void number(struct rill_admin_text *text, const char *name, const char *type, const char *help, uint64_t value)
{
    head(text, name, type, help);
    rill_admin_print(text, "%s %llu\n", name, (unsigned long long)value);
}

/* --- one counter a loop --- */

#define LOOP(function, member)                                                                                         \
    static const uint64_t *function(const struct rill_admin_loop *loop)                                                \
    {                                                                                                                  \
        return &loop->loop->member;                                                                                    \
    }
#define NET(function, member)                                                                                          \
    static const uint64_t *function(const struct rill_admin_loop *loop)                                                \
    {                                                                                                                  \
        return loop->net ? &loop->net->member : NULL;                                                                  \
    }

LOOP(turns, turns)
LOOP(events, events)
LOOP(tasks, tasks)
LOOP(timers, timers)
LOOP(stalls, stalls)
NET(open_connections, open)
NET(held_back_connections, held_back_now)
NET(connections, adopted)
NET(held_back, held_back)
NET(received, bytes_in)
NET(sent, bytes_out)
NET(backlog, waiting_bytes)
NET(segments, leased_segments)

static void print_counters(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    static const struct {
        const char *name, *type, *help;
        counter_fn *counter;
    } metrics[] = {
        {"rill_connections_open", "gauge", "Connections that the loop serves now.", open_connections},
        {"rill_connections_held_back", "gauge", "Connections whose requests are left unread for overload.",
         held_back_connections},
        {"rill_connections_total", "counter", "Connections that were given to the loop.", connections},
        {"rill_requests_held_back_total", "counter", "Requests that were left unread for a while, for overload.",
         held_back},
        {"rill_received_bytes_total", "counter", "Bytes read from connections.", received},
        {"rill_sent_bytes_total", "counter", "Bytes that the kernel took for connections.", sent},
        {"rill_write_backlog_bytes", "gauge", "Bytes of output that wait because peers do not take them.", backlog},
        {"rill_leased_segments", "gauge", "Output buffers of 16 KiB in use.", segments},
        {"rill_loop_turns_total", "counter", "Turns of the loop that had something to do for connections.", turns},
        {"rill_loop_events_total", "counter", "Events of connections that the loop looked after.", events},
        {"rill_loop_tasks_total", "counter", "Tasks that were posted to the loop and run.", tasks},
        {"rill_loop_timers", "gauge", "Timers armed when the last turn ended.", timers},
        {"rill_loop_stalls_total", "counter", "Turns that took longer than --stall-threshold.", stalls},
    };
    for (unsigned i = 0; i < rill_array_length(metrics); i++) {
        head(text, metrics[i].name, metrics[i].type, metrics[i].help);
        for (unsigned k = 0; k < view->loop_count; k++) {
            const uint64_t *counter = metrics[i].counter(&view->loops[k]);
            if (counter)
                rill_admin_print(text, "%s{loop=\"%s\"} %llu\n", metrics[i].name, view->loops[k].name,
                                 (unsigned long long)rill_stat_read(counter));
        }
    }
}

/* --- histograms --- */

/* The buckets of HISTOGRAM, one a power of two, with LABELS (NULL: none). A value is UNIT times what was recorded;
 * where that was cut down to a whole number, bucket 2^k holds all below it. */
static void print_histogram(struct rill_admin_text *text, const char *name, const char *loop,
                            const struct rill_histogram *histogram, double unit, bool cut)
{
    char labels[48];
    uint64_t below = 0;
    unsigned index = 0,
             value_bits = (histogram->bucket_count >> histogram->precision_bits) - 1 + histogram->precision_bits;
    snprintf(labels, sizeof labels, loop ? "loop=\"%s\"," : "%s", loop ? loop : "");
    for (unsigned k = 0; k < value_bits; k++) { /* the last power has the rest, too: it counts as +Inf */
        uint64_t bound = (uint64_t)1 << k;
        while (index < histogram->bucket_count && rill_histogram_high(histogram, index) < bound)
            below += rill_stat_read(&histogram->counts[index++]);
        rill_admin_print(text, "%s_bucket{%sle=\"%.9g\"} %llu\n", name, labels, (double)(bound - !cut) * unit,
                         (unsigned long long)below);
    }
    while (index < histogram->bucket_count)
        below += rill_stat_read(&histogram->counts[index++]);
    rill_admin_print(text, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, (unsigned long long)below);
    snprintf(labels, sizeof labels, loop ? "{loop=\"%s\"}" : "%s", loop ? loop : "");
    rill_admin_print(text, "%s_sum%s %.9g\n%s_count%s %llu\n", name, labels,
                     (double)rill_stat_read(&histogram->sum) * unit, name, labels, (unsigned long long)below);
}

#define LOOP_HISTOGRAM(function, member)                                                                               \
    static const struct rill_histogram *function(const struct rill_admin_loop *loop)                                   \
    {                                                                                                                  \
        return &loop->loop->member;                                                                                    \
    }

LOOP_HISTOGRAM(turn_events, events_a_turn)
LOOP_HISTOGRAM(turn_time, turn_us)
LOOP_HISTOGRAM(lateness, timer_late_us)
LOOP_HISTOGRAM(mailbox, tasks_a_batch)
LOOP_HISTOGRAM(mailbox_delay, post_delay_us)

static const struct rill_histogram *request_time(const struct rill_admin_loop *loop)
{
    return loop->http ? &loop->http->took_us : NULL;
}

static const double second_a_us = 1e-6;

static void print_histograms(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    static const struct {
        const char *name, *help;
        histogram_fn *histogram;
        bool time;
    } metrics[] = {
        {"rill_http_request_duration_seconds",
         "Seconds from the first byte of a request to the last byte of its response, handed to the connection.",
         request_time, true},
        {"rill_loop_turn_duration_seconds", "Seconds that a turn took that had something to do for connections.",
         turn_time, true},
        {"rill_loop_turn_events", "Events that a turn looked after.", turn_events, false},
        {"rill_loop_timer_lateness_seconds", "Seconds by which timers fired late.", lateness, true},
        {"rill_loop_mailbox_tasks", "Tasks that were found in the loop's mailbox at once.", mailbox, false},
        {"rill_loop_mailbox_delay_seconds", "Seconds from the post that woke the loop until it looked.", mailbox_delay,
         true},
    };
    for (unsigned i = 0; i < rill_array_length(metrics); i++) {
        bool begun = false;
        for (unsigned k = 0; k < view->loop_count; k++) {
            const struct rill_histogram *histogram = metrics[i].histogram(&view->loops[k]);
            if (!histogram)
                continue;
            if (!begun)
                head(text, metrics[i].name, "histogram", metrics[i].help);
            begun = true;
            print_histogram(text, metrics[i].name, view->loops[k].name, histogram, metrics[i].time ? second_a_us : 1,
                            metrics[i].time);
        }
    }
}

/* --- with labels of their own --- */

static void print_busy(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    head(text, "rill_loop_busy_seconds_total", "counter", "Seconds that the loop spent in turns for connections.");
    for (unsigned i = 0; i < view->loop_count; i++)
        rill_admin_print(text, "rill_loop_busy_seconds_total{loop=\"%s\"} %.9g\n", view->loops[i].name,
                         (double)rill_stat_read(&view->loops[i].loop->busy_ns) * 1e-9);
}

static void print_overload(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    number(text, "rill_overload", "gauge", "1 while the server makes room or refuses work, else 0.", view->overload.on);
    number(text, "rill_overloads_total", "counter", "Times that an overload began.", view->overload.begun);
    number(text, "rill_accept_pauses_total", "counter", "Times that accepting paused for want of room.",
           view->overload.pauses);
}

static void print_logs(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    head(text, "rill_log_lines_dropped_total", "counter", "Lines that a log lacks because it could not be written.");
    rill_admin_print(text, "rill_log_lines_dropped_total{log=\"error\"} %llu\n",
                     (unsigned long long)view->error_lines_dropped);
    if (view->has_access_log)
        rill_admin_print(text, "rill_log_lines_dropped_total{log=\"access\"} %llu\n",
                         (unsigned long long)view->access_lines_dropped);
}

static void print_buffered(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    head(text, "rill_buffered_bytes", "gauge", "Bytes of memory for input and output that wait.");
    for (unsigned i = 0; i < view->loop_count; i++)
        if (view->loops[i].net)
            rill_admin_print(text, "rill_buffered_bytes{loop=\"%s\"} %llu\n", view->loops[i].name,
                             (unsigned long long)rill_net_stats_buffered(view->loops[i].net));
}

static void print_closed(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    head(text, "rill_connections_closed_total", "counter", "Connections that have ended, by reason.");
    for (unsigned i = 0; i < view->loop_count; i++)
        for (unsigned k = 0; k < RILL_CLOSE_REASONS && view->loops[i].net; k++)
            rill_admin_print(text, "rill_connections_closed_total{loop=\"%s\",reason=\"%s\"} %llu\n",
                             view->loops[i].name, rill_admin_close_reasons[k],
                             (unsigned long long)rill_stat_read(&view->loops[i].net->closed[k]));
}

static bool speaks_http(const struct rill_admin_view *view)
{
    return view->loop_count > 0 && view->loops[0].http;
}

static void print_http(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    head(text, "rill_http_requests_total", "counter", "Requests that have ended, by the class of their status.");
    for (unsigned i = 0; i < view->loop_count; i++)
        for (unsigned k = 0; k < RILL_HTTP_STATUSES / 100 && view->loops[i].http; k++)
            rill_admin_print(text, "rill_http_requests_total{loop=\"%s\",status=\"%s\"} %llu\n", view->loops[i].name,
                             rill_admin_status_classes[k],
                             (unsigned long long)rill_http_stats_ended(view->loops[i].http, k));
    head(text, "rill_http_requests_refused_total", "counter", "Requests that were answered with 503 for overload.");
    for (unsigned i = 0; i < view->loop_count; i++)
        if (view->loops[i].http)
            rill_admin_print(text, "rill_http_requests_refused_total{loop=\"%s\"} %llu\n", view->loops[i].name,
                             (unsigned long long)rill_stat_read(&view->loops[i].http->refused));
    head(text, "rill_http_requests_limited_total", "counter",
         "Requests that were answered with 429, for the limit by address.");
    for (unsigned i = 0; i < view->loop_count; i++)
        if (view->loops[i].http)
            rill_admin_print(text, "rill_http_requests_limited_total{loop=\"%s\"} %llu\n", view->loops[i].name,
                             (unsigned long long)rill_stat_read(&view->loops[i].http->limited));
    head(text, "rill_http_requests_in_flight", "gauge", "Requests that have begun and not ended.");
    for (unsigned i = 0; i < view->loop_count; i++)
        if (view->loops[i].http)
            rill_admin_print(text, "rill_http_requests_in_flight{loop=\"%s\"} %llu\n", view->loops[i].name,
                             (unsigned long long)rill_http_stats_in_flight(view->loops[i].http));
}

static void print_pool(struct rill_admin_text *text, const struct rill_workers_stats *pool)
{
    const struct {
        const char *outcome;
        uint64_t count;
    } jobs[] = {
        {"ran", pool->ran}, {"expired", pool->expired}, {"cancelled", pool->cancelled}, {"refused", pool->refused}};
    number(text, "rill_pool_queued_jobs", "gauge", "Jobs that wait for a worker.", pool->queued);
    number(text, "rill_pool_running_jobs", "gauge", "Jobs that workers run.", pool->running);
    head(text, "rill_pool_jobs_total", "counter", "Jobs that have ended or were refused, by what became of them.");
    for (unsigned i = 0; i < rill_array_length(jobs); i++)
        rill_admin_print(text, "rill_pool_jobs_total{outcome=\"%s\"} %llu\n", jobs[i].outcome,
                         (unsigned long long)jobs[i].count);
    head(text, "rill_pool_wait_seconds", "histogram", "Seconds that a job waited for a worker.");
    print_histogram(text, "rill_pool_wait_seconds", NULL, &pool->wait_us, second_a_us, true);
    head(text, "rill_pool_run_seconds", "histogram", "Seconds that a job ran.");
    print_histogram(text, "rill_pool_run_seconds", NULL, &pool->run_us, second_a_us, true);
}

void rill_admin_metrics(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    number(text, "rill_draining", "gauge", "1 when the server is stopping, else 0.",
           strcmp(view->state, "draining") == 0);
    number(text, "rill_connections_refused_total", "counter",
           "Connections closed unheard, for a limit by address or the list of proxies.", view->refused);
    print_overload(text, view);
    print_logs(text, view);
    if (view->loop_count > 0) {
        print_counters(text, view);
        print_buffered(text, view);
        print_closed(text, view);
        print_busy(text, view);
        if (speaks_http(view))
            print_http(text, view);
        print_histograms(text, view);
    }
    if (view->has_pool)
        print_pool(text, &view->pool);
    if (view->resident_bytes > 0)
        number(text, "process_resident_memory_bytes", "gauge", "Bytes of memory that the process has in use.",
               view->resident_bytes);
    if (view->descriptors > 0)
        number(text, "process_open_fds", "gauge", "File descriptors that the process has open.", view->descriptors);
}
