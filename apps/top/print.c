/* print.c - a sample as lines of a terminal. */
#include "top.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct metrics_loop none;

/* VALUE in at most six columns. */
static const char *number(char text[16], double value)
{
    static const struct {
        double size;
        char letter;
    } units[] = {{1e9, 'G'}, {1e6, 'M'}, {1e4, 'k'}};
    for (unsigned i = 0; i < rill_array_length(units); i++) {
        double in_units = value / (units[i].letter == 'k' ? 1e3 : units[i].size);
        if (value < units[i].size * 0.9995)
            continue;
        snprintf(text, 16, "%.*f%c", in_units < 10 ? 2 : in_units < 100 ? 1 : 0, in_units, units[i].letter);
        return text;
    }
    snprintf(text, 16, "%.0f", value);
    return text;
}

static const char *seconds(char text[16], double value)
{
    if (isnan(value))
        snprintf(text, 16, "-");
    else if (isinf(value))
        snprintf(text, 16, ">34s");
    else if (value >= 1)
        snprintf(text, 16, "%.1fs", value);
    else if (value >= 0.001)
        snprintf(text, 16, "%.0fms", value * 1e3);
    else
        snprintf(text, 16, "%.0fus", value * 1e6);
    return text;
}

/* The bound of the bucket that FRACTION of what came since BEFORE stays below; NAN when nothing came. */
static double quantile(const struct metrics_histogram *now, const struct metrics_histogram *before, double fraction)
{
    unsigned last = now->length - 1;
    bool known = before->length == now->length;
    double total = now->length ? now->counts[last] - (known ? before->counts[last] : 0) : 0;
    for (unsigned i = 0; i < now->length && total > 0; i++)
        if (now->counts[i] - (known ? before->counts[i] : 0) >= fraction * total)
            return now->bounds[i];
    return NAN;
}

static void print_loop(const struct metrics_loop *now, const struct metrics_loop *before, double time)
{
    char a[16], b[16], c[16], d[16], e[16], f[16], g[16], h[16], i[16], j[16];
    double turns = now->turns - before->turns;
    printf("%-12s %7s %8s %8s %8s %7s %7s %7s %7s %8s %6s %5.0f%%\n", now->name, number(a, now->open),
           number(b, now->dealt), now->http ? number(c, (now->requests - before->requests) / time) : "-",
           now->http ? number(d, now->in_flight) : "-", number(e, (now->in - before->in) / time),
           number(f, (now->out - before->out) / time), seconds(g, quantile(&now->latency, &before->latency, 0.5)),
           seconds(h, quantile(&now->latency, &before->latency, 0.99)),
           seconds(i, quantile(&now->turn, &before->turn, 0.99)),
           turns > 0 ? number(j, (now->events - before->events) / turns) : "-",
           fmin(100, (now->busy - before->busy) / time * 100));
}

/* What LOOP was BEFORE; zeros when it was not there, or has started anew. */
static const struct metrics_loop *earlier(const struct metrics *before, const struct metrics_loop *loop)
{
    for (unsigned i = 0; before && i < before->loop_count; i++)
        if (strcmp(before->loops[i].name, loop->name) == 0 && before->loops[i].turns <= loop->turns)
            return &before->loops[i];
    return &none;
}

void top_print(const struct metrics *now, const struct metrics *before)
{
    char a[16], b[16];
    double time = before && now->time > before->time ? now->time - before->time : 1;
    printf("%s   memory %sB   descriptors %s", now->draining ? "DRAINING" : "running", number(a, now->memory),
           number(b, now->descriptors));
    if (now->has_pool)
        printf("   pool: %.0f waiting, %.0f running", now->queued, now->running);
    printf("\n%-12s %7s %8s %8s %8s %7s %7s %7s %7s %8s %6s %6s\n", "reactor", "open", "dealt", "req/s", "inflight",
           "in/s", "out/s", "p50", "p99", "turn p99", "ev/turn", "busy");
    for (unsigned i = 0; i < now->loop_count; i++)
        if (now->loops[i].serves)
            print_loop(&now->loops[i], earlier(before, &now->loops[i]), time);
}
