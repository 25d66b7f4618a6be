/* loop_stats.c - see loop_stats.h. A turn costs two readings of the clock, of which one is the turn's own. */
#include "rill/core/loop_internal.h"
#include "rill/core/sys.h"

const struct rill_loop_stats *rill_loop_stats(const struct rill_loop *loop)
{
    return &loop->stats;
}

struct rill_loop_turn *rill_loop_turn_under_way(struct rill_loop *loop)
{
    return &loop->turn;
}

void rill_loop_histogram_init(struct rill_histogram *histogram, uint64_t *counts)
{
    rill_histogram_init(histogram, RILL_LOOP_STAT_BITS, counts, RILL_LOOP_TIME_BUCKETS);
}

void rill_loop_stats_init(struct rill_loop_stats *stats)
{
    struct rill_histogram *times[] = {&stats->turn_us, &stats->timer_late_us, &stats->post_delay_us};
    struct rill_histogram *counts[] = {&stats->events_a_turn, &stats->tasks_a_batch};
    for (unsigned i = 0; i < rill_array_length(times); i++)
        rill_loop_histogram_init(times[i], stats->time_counts[i]);
    for (unsigned i = 0; i < rill_array_length(counts); i++)
        rill_histogram_init(counts[i], RILL_LOOP_STAT_BITS, stats->count_counts[i], RILL_LOOP_COUNT_BUCKETS);
}

void rill_loop_note_work(struct rill_loop *loop)
{
    rill_loop_begin_work(loop);
}

void rill_loop_note_event(struct rill_loop *loop)
{
    if (loop->turn_events++ == 0) {
        if (RILL_COUNTING)
            loop->turn.began_ns = rill_loop_read_clock(loop);
        rill_loop_begin_work(loop);
    }
}

void rill_loop_note_turn(struct rill_loop *loop)
{
    struct rill_loop_stats *stats = &loop->stats;
    if (!RILL_COUNTING) {
        loop->turn_events = 0;
        return;
    }
    uint64_t took_ns = rill_sys_monotonic_ns() - loop->turn.began_ns, took_us = took_ns / 1000;
    unsigned index = rill_histogram_index(RILL_LOOP_STAT_BITS, took_us);
    if (RILL_UNLIKELY(index >= RILL_LOOP_TIME_BUCKETS))
        index = RILL_LOOP_TIME_BUCKETS - 1;
    rill_stat_add(&stats->turns, 1);
    rill_stat_add(&stats->events, loop->turn_events);
    rill_stat_add(&stats->busy_ns, took_ns);
    rill_histogram_record(&stats->events_a_turn, loop->turn_events);
    rill_histogram_record_at(&stats->turn_us, index, took_us, 1);
    rill_stat_set(&stats->timers, rill_wheel_count(&loop->wheel));
    if (loop->turn.within > 0 && loop->turn.within_us != NULL)
        rill_histogram_record_at(loop->turn.within_us, index, took_us, loop->turn.within);
    loop->turn.within = loop->turn.began_ns = 0;
    loop->turn_events = 0;
}

void rill_loop_note_tasks(struct rill_loop *loop, uint64_t count)
{
    if (!RILL_COUNTING)
        return;
    uint64_t now_ns = rill_sys_monotonic_ns(), posted_ns = rill_stat_read(&loop->posted_ns);
    rill_stat_add(&loop->stats.tasks, count);
    rill_histogram_record(&loop->stats.tasks_a_batch, count);
    /* A time from before the last look belongs to what was found then: its poster was late in telling. */
    if (posted_ns > loop->looked_ns && posted_ns <= now_ns)
        rill_histogram_record(&loop->stats.post_delay_us, (now_ns - posted_ns) / 1000);
    loop->looked_ns = now_ns;
}

void rill_loop_note_late_timer(struct rill_loop *loop, uint64_t due_ms)
{
    uint64_t now_ns = rill_sys_monotonic_ns(), due_ns = due_ms * 1000000;
    rill_histogram_record(&loop->stats.timer_late_us, now_ns > due_ns ? (now_ns - due_ns) / 1000 : 0);
}
