/* sample.h - what a server's /metrics said at one moment, as far as rill-top shows it. */
#ifndef RILL_APPS_TOP_SAMPLE_H
#define RILL_APPS_TOP_SAMPLE_H

#include "rill/core/base.h"

enum { TOP_LOOPS = 257, TOP_BUCKETS = 40 };

/* Counts by upper bound, as Prometheus has them: each bucket holds those before it, too. */
struct top_histogram {
    unsigned length;
    double bounds[TOP_BUCKETS], counts[TOP_BUCKETS];
};

struct top_loop {
    char name[16];
    bool serves, http;
    double open, dealt, requests, in_flight, in, out, backlog, turns, events, busy;
    struct top_histogram latency, turn;
};

struct top_sample {
    double time; /* when it was taken, seconds */
    bool draining, has_pool;
    double queued, running, memory, descriptors;
    unsigned loop_count;
    struct top_loop loops[TOP_LOOPS];
};

/* Reads the LENGTH bytes of TEXT, in Prometheus' text format, into SAMPLE. What it does not know it passes over.
 * Returns 0, or -EINVAL when a line is none of that format or nothing is known. */
int top_sample_read(struct top_sample *sample, const char *text, size_t length);

/* Prints NOW, and what happened since BEFORE (NULL: nothing is known of that), a line each reactor. */
void top_sample_print(const struct top_sample *now, const struct top_sample *before);

#endif
