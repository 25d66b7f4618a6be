/* metrics.c - reading /metrics. */
#include "metrics.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Metrics with one value, or one a loop: which member of the sample or of the loop they are added to. */
#define WHOLE(name, member)                                                                                            \
    {                                                                                                                  \
        name, offsetof(struct metrics, member), false                                                                  \
    }
#define EACH(name, member)                                                                                             \
    {                                                                                                                  \
        name, offsetof(struct metrics_loop, member), true                                                              \
    }
static const struct {
    const char *name;
    size_t offset;
    bool by_loop;
} numbers[] = {
    EACH("rill_connections_open", open),
    EACH("rill_connections_total", dealt),
    EACH("rill_http_requests_total", requests),
    EACH("rill_http_requests_in_flight", in_flight),
    EACH("rill_received_bytes_total", in),
    EACH("rill_sent_bytes_total", out),
    EACH("rill_write_backlog_bytes", backlog),
    EACH("rill_loop_turns_total", turns),
    EACH("rill_loop_events_total", events),
    EACH("rill_loop_busy_seconds_total", busy),
    WHOLE("rill_pool_queued_jobs", queued),
    WHOLE("rill_pool_running_jobs", running),
    WHOLE("process_resident_memory_bytes", memory),
    WHOLE("process_open_fds", descriptors),
};

/* One line of the format: name, labels between the braces, value. */
struct line {
    struct rill_slice name, labels;
    double value;
};

static struct rill_slice label(const struct line *line, const char *name)
{
    size_t length = strlen(name);
    const char *p = line->labels.bytes, *end = p + line->labels.length;
    while (p < end) {
        const char *equals = memchr(p, '=', (size_t)(end - p));
        const char *close = equals && equals + 1 < end ? memchr(equals + 2, '"', (size_t)(end - equals - 2)) : NULL;
        if (!close)
            break;
        if ((size_t)(equals - p) == length && memcmp(p, name, length) == 0)
            return (struct rill_slice){equals + 2, (size_t)(close - equals - 2)};
        p = close + 1 < end && close[1] == ',' ? close + 2 : end;
    }
    return (struct rill_slice){NULL, 0};
}

/* Takes the LENGTH bytes at TEXT apart. A number is at most 40 bytes long. */
static int take_apart(const char *text, size_t length, struct line *line)
{
    char number[41], *number_end;
    const char *space = memrchr(text, ' ', length), *brace = memchr(text, '{', length);
    if (!space)
        return -EINVAL;
    size_t digits = length - (size_t)(space + 1 - text);
    *line = (struct line){.name = {text, (size_t)((brace ? brace : space) - text)}, .labels = {text, 0}};
    if (brace && (space <= brace || space[-1] != '}'))
        return -EINVAL;
    if (brace)
        line->labels = (struct rill_slice){brace + 1, (size_t)(space - 1 - (brace + 1))};
    if (digits == 0 || digits >= sizeof number)
        return -EINVAL;
    memcpy(number, space + 1, digits);
    number[digits] = '\0';
    line->value = strtod(number, &number_end);
    return *number_end == '\0' ? 0 : -EINVAL;
}

static struct metrics_loop *loop_of(struct metrics *sample, struct rill_slice name)
{
    for (unsigned i = 0; i < sample->loop_count; i++)
        if (rill_slice_equal(name, rill_slice_of(sample->loops[i].name)))
            return &sample->loops[i];
    if (sample->loop_count == METRICS_LOOPS || name.length == 0 || name.length >= sizeof sample->loops[0].name)
        return NULL;
    for (size_t i = 0; i < name.length; i++)
        if (name.bytes[i] <= ' ' || name.bytes[i] >= 0x7f) /* it is printed, to a terminal perhaps */
            return NULL;
    struct metrics_loop *loop = &sample->loops[sample->loop_count++];
    memcpy(loop->name, name.bytes, name.length);
    return loop;
}

static void add_bucket(struct metrics_histogram *histogram, struct rill_slice bound, double count)
{
    char text[32];
    if (!bound.bytes || histogram->length == METRICS_BUCKETS || bound.length >= sizeof text)
        return;
    memcpy(text, bound.bytes, bound.length);
    text[bound.length] = '\0';
    histogram->bounds[histogram->length] = strtod(text, NULL);
    histogram->counts[histogram->length++] = count;
}

static bool is(const struct line *line, const char *name)
{
    return rill_slice_equal(line->name, rill_slice_of(name));
}

static void take_line(struct metrics *sample, const struct line *line)
{
    struct rill_slice name = label(line, "loop");
    struct metrics_loop *loop = name.bytes ? loop_of(sample, name) : NULL;
    for (unsigned i = 0; i < rill_array_length(numbers); i++) {
        char *at = numbers[i].by_loop ? (char *)loop : (char *)sample;
        if (at && is(line, numbers[i].name))
            *(double *)(void *)(at + numbers[i].offset) += line->value;
    }
    if (is(line, "rill_draining"))
        sample->draining = line->value > 0;
    else if (is(line, "rill_pool_queued_jobs"))
        sample->has_pool = true;
    else if (loop && is(line, "rill_connections_open"))
        loop->serves = true;
    else if (loop && is(line, "rill_http_requests_in_flight"))
        loop->http = true;
    else if (loop && is(line, "rill_http_request_duration_seconds_bucket"))
        add_bucket(&loop->latency, label(line, "le"), line->value);
    else if (loop && is(line, "rill_loop_turn_duration_seconds_bucket"))
        add_bucket(&loop->turn, label(line, "le"), line->value);
}

int metrics_read(struct metrics *sample, const char *text, size_t length)
{
    const char *end = text + length;
    bool known = false;
    memset(sample, 0, sizeof *sample);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        struct line line;
        if (!newline)
            return -EINVAL;
        if (*text != '#' && newline > text) {
            if (take_apart(text, (size_t)(newline - text), &line) < 0)
                return -EINVAL;
            take_line(sample, &line);
            known |= is(&line, "rill_draining");
        }
        text = newline + 1;
    }
    return known ? 0 : -EINVAL;
}
