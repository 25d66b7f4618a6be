/* admin_status.c - the numbers as JSON. A histogram is the counts of its buckets up to the last that is not 0; bucket i
 * holds i itself below 8, and from there on four buckets share a power of two (core/histogram.h, 2 bits). */
#include "rill/core/sys.h"
#include "rill/http/admin_internal.h"

typedef unsigned long long number_t;

static void print_histogram(struct rill_admin_text *text, const char *name, const struct rill_histogram *histogram)
{
    unsigned length = histogram->bucket_count;
    while (length > 0 && rill_stat_read(&histogram->counts[length - 1]) == 0)
        length--;
    rill_admin_print(text, "\"%s\":{\"sum\":%llu,\"max\":%llu,\"counts\":[", name,
                     (number_t)rill_stat_read(&histogram->sum), (number_t)rill_stat_read(&histogram->max));
    for (unsigned i = 0; i < length; i++)
        rill_admin_print(text, "%s%llu", i > 0 ? "," : "", (number_t)rill_stat_read(&histogram->counts[i]));
    rill_admin_print(text, "]}");
}

static void print_net(struct rill_admin_text *text, const struct rill_net_stats *net)
{
    rill_admin_print(text, ",\"connections\":{\"open\":%llu,\"held_back\":%llu,\"total\":%llu,\"closed\":{",
                     (number_t)rill_stat_read(&net->open), (number_t)rill_stat_read(&net->held_back_now),
                     (number_t)rill_stat_read(&net->adopted));
    for (unsigned i = 0; i < RILL_CLOSE_REASONS; i++)
        rill_admin_print(text, "%s\"%s\":%llu", i > 0 ? "," : "", rill_admin_close_reasons[i],
                         (number_t)rill_stat_read(&net->closed[i]));
    rill_admin_print(
        text, "}},\"bytes\":{\"in\":%llu,\"out\":%llu,\"waiting\":%llu,\"buffered\":%llu},\"leased_segments\":%llu",
        (number_t)rill_stat_read(&net->bytes_in), (number_t)rill_stat_read(&net->bytes_out),
        (number_t)rill_stat_read(&net->waiting_bytes), (number_t)rill_net_stats_buffered(net),
        (number_t)rill_stat_read(&net->leased_segments));
}

static void print_http(struct rill_admin_text *text, const struct rill_http_stats *http)
{
    rill_admin_print(text, ",\"http\":{\"in_flight\":%llu,\"requests\":{", (number_t)rill_http_stats_in_flight(http));
    for (unsigned i = 0; i < RILL_HTTP_STATUSES / 100; i++)
        rill_admin_print(text, "%s\"%s\":%llu", i > 0 ? "," : "", rill_admin_status_classes[i],
                         (number_t)rill_http_stats_ended(http, i));
    rill_admin_print(text, "},\"refused\":%llu,\"limited\":%llu,", (number_t)rill_stat_read(&http->refused),
                     (number_t)rill_stat_read(&http->limited));
    print_histogram(text, "took_us", &http->took_us);
    rill_admin_print(text, "}");
}

static void print_loop(struct rill_admin_text *text, const struct rill_admin_loop *loop)
{
    const struct rill_loop_stats *stats = loop->loop;
    rill_admin_print(text,
                     "{\"name\":\"%s\",\"turns\":%llu,\"events\":%llu,\"busy_ns\":%llu,\"tasks\":%llu,\"timers\":%llu,",
                     loop->name, (number_t)rill_stat_read(&stats->turns), (number_t)rill_stat_read(&stats->events),
                     (number_t)rill_stat_read(&stats->busy_ns), (number_t)rill_stat_read(&stats->tasks),
                     (number_t)rill_stat_read(&stats->timers));
    print_histogram(text, "turn_us", &stats->turn_us);
    rill_admin_print(text, ",");
    print_histogram(text, "events_a_turn", &stats->events_a_turn);
    rill_admin_print(text, ",");
    print_histogram(text, "timer_late_us", &stats->timer_late_us);
    rill_admin_print(text, ",");
    print_histogram(text, "tasks_a_batch", &stats->tasks_a_batch);
    rill_admin_print(text, ",");
    print_histogram(text, "post_delay_us", &stats->post_delay_us);
    if (loop->net)
        print_net(text, loop->net);
    if (loop->http)
        print_http(text, loop->http);
    rill_admin_print(text, "}");
}

static void print_pool(struct rill_admin_text *text, const struct rill_workers_stats *pool)
{
    rill_admin_print(text,
                     ",\"pool\":{\"queued\":%u,\"running\":%u,\"submitted\":%llu,\"ran\":%llu,\"expired\":%llu,"
                     "\"cancelled\":%llu,\"refused\":%llu,",
                     pool->queued, pool->running, (number_t)pool->submitted, (number_t)pool->ran,
                     (number_t)pool->expired, (number_t)pool->cancelled, (number_t)pool->refused);
    print_histogram(text, "wait_us", &pool->wait_us);
    rill_admin_print(text, ",");
    print_histogram(text, "run_us", &pool->run_us);
    rill_admin_print(text, "}");
}

/* TEXT of the program's own, as a JSON string. */
static void print_string(struct rill_admin_text *text, const char *key, const char *value)
{
    rill_admin_print(text, "\"%s\":\"", key);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\' || (unsigned char)*value < 0x20)
            rill_admin_print(text, "\\u%04x", (unsigned char)*value);
        else
            rill_admin_print(text, "%c", *value);
    }
    rill_admin_print(text, "\",");
}

void rill_admin_status(struct rill_admin_text *text, const struct rill_admin_view *view)
{
    rill_admin_print(text, "{");
    print_string(text, "name", view->name);
    print_string(text, "version", view->version);
    print_string(text, "state", view->state);
    rill_admin_print(text,
                     "\"time_ns\":%llu,\"process\":{\"resident_bytes\":%llu,\"descriptors\":%llu},"
                     "\"refused_connections\":%llu,\"overload\":{\"on\":%s,\"begun\":%llu,\"pauses\":%llu},"
                     "\"dropped_log_lines\":{\"error\":%llu,\"access\":%llu},\"loops\":[",
                     (number_t)rill_clock_ns(), (number_t)view->resident_bytes, (number_t)view->descriptors,
                     (number_t)view->refused, view->overload.on ? "true" : "false", (number_t)view->overload.begun,
                     (number_t)view->overload.pauses, (number_t)view->error_lines_dropped,
                     (number_t)view->access_lines_dropped);
    for (unsigned i = 0; i < view->loop_count; i++) {
        if (i > 0)
            rill_admin_print(text, ",");
        print_loop(text, &view->loops[i]);
    }
    rill_admin_print(text, "]");
    if (view->has_pool)
        print_pool(text, &view->pool);
    rill_admin_print(text, "}\n");
}
