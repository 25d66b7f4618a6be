/* trace_internal.h - what trace.c (the file) and trace_lane.c (the threads that are traced) share. */
#ifndef RILL_CORE_TRACE_INTERNAL_H
#define RILL_CORE_TRACE_INTERNAL_H

#include "rill/core/trace.h"

enum {
    RILL_TRACE_UNDER_WAY = 64
}; /* traced at a time on one thread; beyond, the one that moved longest ago is let go */

struct rill_trace_event {
    uint64_t id, began_ns, ended_ns;
    uint32_t part; /* enum rill_trace_part */
    uint32_t first;
};

/* What a thread follows. */
struct rill_trace_followed {
    struct rill_trace_mark mark;
    uint64_t moved_ns; /* the end of its last part */
    unsigned holds;
    bool read; /* bytes of it have come */
};

struct rill_trace_lane {
    struct rill_trace_lane *next; /* set before the lane is published */
    char name[16];
    unsigned number; /* the file's tid; from 1 on */
    unsigned sample;
    uint64_t mask;
    struct rill_trace_event *ring;

    /* The producer's. */
    char apart_before[RILL_CACHE_LINE];
    uint64_t head;    /* atomic: events ever put in */
    uint64_t dropped; /* atomic */
    uint64_t tail_seen;
    uint64_t ids;
    uint64_t current;
    struct rill_trace_mark joining;
    unsigned accepts_left, reads_left; /* 1: the next is traced */
    unsigned under_way;
    const void *keys[RILL_TRACE_UNDER_WAY]; /* of the first `under_way` of */
    struct rill_trace_followed followed[RILL_TRACE_UNDER_WAY];

    /* The trace's thread's. */
    char apart_after[RILL_CACHE_LINE];
    uint64_t tail; /* atomic: events ever taken out */
    bool introduced;
};

/* A lane of its own, in nobody's list. NULL: no memory. RING_EVENTS is a power of two. */
struct rill_trace_lane *rill_trace_lane_make(const char *name, unsigned number, unsigned sample, unsigned ring_events);
void rill_trace_lane_free(struct rill_trace_lane *lane);

#endif
