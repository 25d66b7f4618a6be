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

/* A loop, what it was before, and the seconds in between. */
struct pair {
    const struct metrics_loop *now, *before;
    double time;
};

#define A_SECOND(name, member)                                                                                         \
    static const char *name(char text[16], const struct pair *of)                                                      \
    {                                                                                                                  \
        return number(text, (of->now->member - of->before->member) / of->time);                                        \
    }
A_SECOND(requests_a_second, requests)
A_SECOND(bytes_in_a_second, in)
A_SECOND(bytes_out_a_second, out)

static const char *open_now(char text[16], const struct pair *of)
{
    return number(text, of->now->open);
}

static const char *dealt(char text[16], const struct pair *of)
{
    return number(text, of->now->dealt);
}

static const char *in_flight(char text[16], const struct pair *of)
{
    return number(text, of->now->in_flight);
}

static const char *half_of_requests(char text[16], const struct pair *of)
{
    return seconds(text, quantile(&of->now->latency, &of->before->latency, 0.5));
}

static const char *most_requests(char text[16], const struct pair *of)
{
    return seconds(text, quantile(&of->now->latency, &of->before->latency, 0.99));
}

static const char *most_turns(char text[16], const struct pair *of)
{
    return seconds(text, quantile(&of->now->turn, &of->before->turn, 0.99));
}

static const char *events_a_turn(char text[16], const struct pair *of)
{
    double turns = of->now->turns - of->before->turns;
    return turns > 0 ? number(text, (of->now->events - of->before->events) / turns) : "-";
}

static const char *busy(char text[16], const struct pair *of)
{
    snprintf(text, 16, "%.0f%%", fmin(100, (of->now->busy - of->before->busy) / of->time * 100));
    return text;
}

/* From left to right; where they do not all fit the last are left out. */
static const struct {
    const char *name;
    int width;
    bool http; /* servers of other protocols have none */
    const char *(*value)(char text[16], const struct pair *of);
} columns[] = {
    {"open", 7, false, open_now},
    {"dealt", 8, false, dealt},
    {"req/s", 8, true, requests_a_second},
    {"inflight", 8, true, in_flight},
    {"in/s", 7, false, bytes_in_a_second},
    {"out/s", 7, false, bytes_out_a_second},
    {"p50", 7, false, half_of_requests},
    {"p99", 7, false, most_requests},
    {"turn p99", 8, false, most_turns},
    {"ev/turn", 7, false, events_a_turn},
    {"busy", 6, false, busy},
};
enum { NAME_WIDTH = 12, NARROW_NAME_WIDTH = 9 };

/* How many of the columns fit beside the name. */
static unsigned fitting(unsigned width, int name_width)
{
    unsigned used = (unsigned)name_width, i = 0;
    while (i < rill_array_length(columns) && used + 1 + (unsigned)columns[i].width <= width)
        used += 1 + (unsigned)columns[i++].width;
    return i;
}

/* What LOOP was BEFORE; zeros when it was not there, or has started anew. */
static const struct metrics_loop *earlier(const struct metrics *before, const struct metrics_loop *loop)
{
    for (unsigned i = 0; before && i < before->loop_count; i++)
        if (strcmp(before->loops[i].name, loop->name) == 0 && before->loops[i].turns <= loop->turns)
            return &before->loops[i];
    return &none;
}

/* Prints TEXT, with SPACE before it, when that fits into what is LEFT of the line. */
static void print_fact(unsigned *left, const char *space, const char *text)
{
    size_t length = strlen(space) + strlen(text);
    if (length > *left)
        return;
    *left -= (unsigned)length;
    printf("%s%s", space, text);
}

static void print_facts(const struct metrics *now, unsigned width)
{
    char value[16], text[64];
    print_fact(&width, "", now->draining ? "DRAINING" : "running");
    snprintf(text, sizeof text, "memory %sB", number(value, now->memory));
    print_fact(&width, "   ", text);
    snprintf(text, sizeof text, "descriptors %s", number(value, now->descriptors));
    print_fact(&width, "   ", text);
    snprintf(text, sizeof text, "pool: %.0f waiting, %.0f running", now->queued, now->running);
    if (now->has_pool)
        print_fact(&width, "   ", text);
    printf("\n");
}

void top_print(const struct metrics *now, const struct metrics *before, unsigned width, unsigned height)
{
    double time = before && now->time > before->time ? now->time - before->time : 1;
    int name_width = width < 80 ? NARROW_NAME_WIDTH : NAME_WIDTH;
    unsigned shown = fitting(width, name_width), lines = 2, left_out = 0;
    print_facts(now, width);
    printf("%-*.*s", name_width, (int)width, "reactor");
    for (unsigned i = 0; i < shown; i++)
        printf(" %*s", columns[i].width, columns[i].name);
    printf("\n");
    for (unsigned l = 0; l < now->loop_count; l++) {
        const struct pair of = {&now->loops[l], earlier(before, &now->loops[l]), time};
        if (!of.now->serves)
            continue;
        if (++lines > height - 2) { /* of the last two one tells that, and one is where the cursor comes to rest */
            left_out++;
            continue;
        }
        printf("%-*.*s", name_width, (int)width, of.now->name);
        for (unsigned i = 0; i < shown; i++) {
            char text[16];
            printf(" %*s", columns[i].width, columns[i].http && !of.now->http ? "-" : columns[i].value(text, &of));
        }
        printf("\n");
    }
    if (left_out > 0)
        printf("%u more\n", left_out);
}
