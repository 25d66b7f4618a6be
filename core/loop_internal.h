/* loop_internal.h - what a loop is made of. Private to core/. */
#ifndef RILL_CORE_LOOP_INTERNAL_H
#define RILL_CORE_LOOP_INTERNAL_H

#include "rill/core/crash.h"
#include "rill/core/loop_stats.h"

struct event;

/* Tasks waiting for the end of a turn, oldest first. */
struct rill_task_queue {
    struct rill_task *first;
    struct rill_task **end; /* where the next one is linked */
};

struct rill_loop {
    /* Fixed while the loop lives; read by any thread. */
    char name[16];
    unsigned index;
    bool edge_triggered;
    int wake_fd;  /* eventfd; written to make the loop look at its mailbox */
    int timer_fd; /* timerfd; set to `timer_armed_ms` */
    struct event_base *base;
    struct event *wake_event;
    struct event *timer_event;
    char *read_buffer;
    size_t read_buffer_bytes;

    /* Written by any thread, so on a cache line of their own. */
    char apart_before[RILL_CACHE_LINE];
    struct rill_mailbox mailbox;
    bool stop;           /* atomic */
    unsigned stops;      /* atomic: calls of rill_loop_stop() that another thread made or makes */
    const void *owner;   /* atomic: token of the thread that may use the loop; NULL: whoever comes first */
    char owner_name[32]; /* for the message of a failed check only */
    uint64_t posted_ns;  /* atomic: when the post was made that woke the loop last */
    int owner_thread;    /* atomic: the owner's gettid() */
    char apart_after[RILL_CACHE_LINE];

    /* The loop thread's alone, all that follows. */
    uint64_t progress;  /* odd while the loop works, another number each time; read by core/watchdog.c */
    rill_task_fn *task; /* that runs; NULL: none does */
    bool in_turn;
    bool must_not_wait; /* there is work that no event will announce */
    bool timer_expired;
    bool closed; /* the mailbox is, for good: the loop is in its last turn, or has ended */
    bool ended;  /* rill_loop_run() has returned */

    bool now_valid;
    uint64_t now_ms, now_up_ms; /* the turn's time, rounded down and up */
    int64_t unix_seconds;
    uint64_t unix_seconds_until_ms; /* when the wall clock is read again: at its next full second */

    uint64_t next_timer_ms;  /* no timer is due before; UINT64_MAX: none */
    uint64_t timer_armed_ms; /* what timer_fd is set to; UINT64_MAX: nothing */

    uint64_t wakes_owed; /* writes to wake_fd that other threads made or are about to make */
    uint64_t wakes_seen; /* of these, those read back */

    struct rill_task_queue deferred;
    struct rill_task_queue deferred_last;

    struct rill_workers *workers;  /* the owner's */
    struct rill_trace_lane *trace; /* the owner's; NULL: none */
    void *slots[RILL_LOOP_SLOTS];
    void (*slot_destroy[RILL_LOOP_SLOTS])(void *value);
    rill_describe_fn *describe[RILL_LOOP_SLOTS];

    unsigned turn_events;
    struct rill_loop_turn turn;
    uint64_t looked_ns;
    struct rill_loop_stats stats; /* written by the loop, read by any */

    struct rill_wheel wheel;
};

/* Makes a base that waits with BACKEND and nothing else. Returns 0, -ENOTSUP or another negative errno. */
int rill_loop_base_new(struct event_base **base, enum rill_backend backend);

/* The wait is over: from here to the end of the turn the loop works. */
static inline void rill_loop_begin_work(struct rill_loop *loop)
{
    rill_stat_set(&loop->progress, loop->progress | 1);
}

/* Reads the clock for this turn; returns nanoseconds. */
uint64_t rill_loop_read_clock(struct rill_loop *loop);

/* loop_stats.c: makes the counters zero; counts a turn with events that has ended, COUNT posted tasks that were found,
 * a timer that fires and was due at DUE_MS. */
void rill_loop_stats_init(struct rill_loop_stats *stats);
void rill_loop_note_turn(struct rill_loop *loop);
void rill_loop_note_tasks(struct rill_loop *loop, uint64_t count);
void rill_loop_note_late_timer(struct rill_loop *loop, uint64_t due_ms);

/* Before a wait: sets timer_fd when a timer is due before it would expire. */
void rill_loop_set_timer_fd(struct rill_loop *loop);

/* The callback of timer_fd's event; ARG is the loop. */
void rill_loop_on_timer_fd(int fd, short events, void *arg);

/* Runs the timers that are due. Without an expiry of timer_fd it looks only when the clock was read anyway. */
void rill_loop_run_timers(struct rill_loop *loop);

#endif
