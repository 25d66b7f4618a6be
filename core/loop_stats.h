/* loop_stats.h - what a loop counts of itself, to be read while it runs. */
#ifndef RILL_CORE_LOOP_STATS_H
#define RILL_CORE_LOOP_STATS_H

#include "rill/core/histogram.h"
#include "rill/core/loop.h"
#include "rill/core/stat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Good for a picture: each bucket is a quarter of its power of two wide; times up to 67 s, counts up to 65535. */
enum { RILL_LOOP_STAT_BITS = 2 };
#define RILL_LOOP_TIME_BUCKETS RILL_HISTOGRAM_BUCKETS(RILL_LOOP_STAT_BITS, 26)
#define RILL_LOOP_COUNT_BUCKETS RILL_HISTOGRAM_BUCKETS(RILL_LOOP_STAT_BITS, 16)

/* The loop writes it; all others read it with rill_stat_read() and the functions of core/histogram.h. */
struct rill_loop_stats {
    uint64_t turns;   /* with something to do for connections or datagrams */
    uint64_t events;  /* of theirs */
    uint64_t busy_ns; /* in those turns, from the first event on */
    uint64_t tasks;   /* posted and run */
    uint64_t timers;  /* armed now */

    uint64_t stalls;           /* written by the loop's core/watchdog.h: turns that lasted too long, ... */
    uint64_t longest_stall_ms; /* ... and the longest of them, also while it lasts */

    struct rill_histogram events_a_turn;
    struct rill_histogram turn_us;       /* how long a turn took */
    struct rill_histogram timer_late_us; /* by how much the earliest of the timers that were due together was late */
    struct rill_histogram tasks_a_batch; /* how many posted tasks were found at once: the mailbox's depth */
    struct rill_histogram post_delay_us; /* from the post that woke the loop to when it looked */

    uint64_t time_counts[3][RILL_LOOP_TIME_BUCKETS];   /* the histograms' */
    uint64_t count_counts[2][RILL_LOOP_COUNT_BUCKETS]; /* memory */
};

/* The turn under way, for a layer that counts how long its things take: those that begin and end in one turn cost it no
 * reading of the clock. The loop's thread alone. */
struct rill_loop_turn {
    uint64_t began_ns; /* when its first event was about to be looked after; 0: there has been none */
    uint64_t within;   /* things that have begun and ended since then; each counts as long as the turn takes */
    struct rill_histogram *within_us; /* where they are counted; made like turn_us; NULL: nowhere */
};

/* LOOP's; good for as long as the loop is. Thread: any; what it points to is the loop's. */
struct rill_loop_turn *rill_loop_turn_under_way(struct rill_loop *loop);

/* Makes HISTOGRAM, with COUNTS of RILL_LOOP_TIME_BUCKETS, one of times in microseconds, like turn_us. */
void rill_loop_histogram_init(struct rill_histogram *histogram, uint64_t *counts);

/* LOOP's; good for as long as the loop is. Thread: any. */
const struct rill_loop_stats *rill_loop_stats(const struct rill_loop *loop);

/* An event of a descriptor is about to be looked after: the turn's first starts its clock. For whoever adds events of
 * his own to rill_loop_base(); net/ does it for its own. */
void rill_loop_note_event(struct rill_loop *loop);

/* A callback of rill_loop_base() that is not counted as an event begins: from here on, and no earlier, core/watchdog.h
 * sees that the turn lasts. */
void rill_loop_note_work(struct rill_loop *loop);

#ifdef __cplusplus
}
#endif

#endif
