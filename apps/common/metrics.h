/* metrics.h - what a server's /metrics said at one moment, as far as rill-top and rill-bench scale show it. */
#ifndef RILL_APPS_COMMON_METRICS_H
#define RILL_APPS_COMMON_METRICS_H

#include "rill/core/base.h"

enum { METRICS_LOOPS = 257, METRICS_BUCKETS = 40 };

/* Counts by upper bound, as Prometheus has them: each bucket holds those before it, too. */
struct metrics_histogram {
    unsigned length;
    double bounds[METRICS_BUCKETS], counts[METRICS_BUCKETS];
};

struct metrics_loop {
    char name[16];
    bool serves, http;
    double open, dealt, requests, in_flight, in, out, backlog, turns, events, busy;
    struct metrics_histogram latency, turn;
};

struct metrics {
    double time; /* when it was taken, seconds */
    bool draining, has_pool;
    double queued, running, memory, descriptors;
    unsigned loop_count;
    struct metrics_loop loops[METRICS_LOOPS];
};

/* Reads the LENGTH bytes of TEXT, in Prometheus' text format, into SAMPLE. What it does not know it passes over.
 * Returns 0, or -EINVAL when a line is none of that format or nothing is known. */
int metrics_read(struct metrics *sample, const char *text, size_t length);

#endif
