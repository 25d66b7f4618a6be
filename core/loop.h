/* loop.h - one reactor: a libevent base, a timer wheel and a mailbox, run by one thread.
 *
 * A turn of a loop is: wait for events; run their callbacks; run posted tasks and due timers; run what was deferred
 * to the end of the turn. The end of the turn is where output is flushed and where closed objects are freed, so that
 * a callback may close anything on its loop without pulling memory from under its callers.
 *
 * All functions belong to the loop's thread, the one inside rill_loop_run(), and stop the process with both
 * threads' names when another calls; those marked "Thread: any" are the exceptions. Before rill_loop_run() and after
 * it has returned, the thread that owns the loop (the one that made it, or joined its runner) may call them all. */
#ifndef RILL_CORE_LOOP_H
#define RILL_CORE_LOOP_H

#include "rill/core/base.h"
#include "rill/core/mailbox.h"
#include "rill/timer/wheel.h"

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct rill_loop;
struct rill_trace_lane;
struct rill_workers;

/* Which of libevent's methods a loop waits with. */
enum rill_backend {
    RILL_BACKEND_EPOLL,
    RILL_BACKEND_POLL,
    RILL_BACKEND_SELECT,
};

/* Reads "epoll", "poll" or "select". Returns 0 or -EINVAL. Thread: any. */
int rill_backend_parse(const char *text, enum rill_backend *backend);

struct rill_loop_config {
    const char *name;          /* shown in logs and in thread lists, at most 15 bytes; copied; NULL: "loop" */
    unsigned index;            /* this loop's number in its group; part of connection ids; below RILL_LOOP_MAX */
    enum rill_backend backend; /* the default is epoll */
    size_t read_buffer_bytes;  /* of the buffer that all reads of the loop land in; 0: 64 KiB */
};

#define RILL_LOOP_MAX 256

/* Makes a loop. Returns NULL and sets *ERROR to a negative errno when memory or descriptors are lacking or the
 * method is not available here (-ENOTSUP). */
struct rill_loop *rill_loop_new(const struct rill_loop_config *config, int *error);

/* Frees a loop that is not running; tasks posted to it and not yet run are run first, with the loop's thread being
 * the caller's, then the slots are destroyed. A thread still in a rill_loop_post() that got its task in is waited for;
 * nobody may begin one. Timers still armed are forgotten. NULL is ignored. */
void rill_loop_free(struct rill_loop *loop);

/* Runs turns until rill_loop_stop(); the calling thread becomes the loop's. Before it returns, the mailbox is closed
 * and every task that got in is run, and after those what is deferred, until nothing is. Runs once in a loop's life.
 * Returns 0; -ESHUTDOWN when it had run before; or another negative errno when libevent gives up. */
int rill_loop_run(struct rill_loop *loop);

/* Runs one turn: waits at most until the next event, timer or task when WAIT, not at all otherwise. For tests and
 * for programs that own their thread's loop. Returns 0 or a negative errno; -EBUSY from within a turn. */
int rill_loop_turn(struct rill_loop *loop, bool wait);

/* Asks the loop to end after its current turn. Thread: any. */
void rill_loop_stop(struct rill_loop *loop);

/* Runs TASK on the loop's thread, in a later turn or later in this one, after all that this thread posted before.
 * Returns 0 or -ESHUTDOWN: the loop is stopping, TASK is the caller's still and will not run. Wakes the loop when
 * its mailbox was empty. Thread: any. */
RILL_WARN_UNUSED int rill_loop_post(struct rill_loop *loop, struct rill_task *task);

/* Calls FN(ARG) on the loop's thread: rill_loop_post() for callers with no struct of their own; costs an allocation.
 * Returns 0, -ENOMEM or -ESHUTDOWN. Thread: any. */
RILL_WARN_UNUSED int rill_post(struct rill_loop *loop, void (*fn)(void *arg), void *arg);

/* Runs TASK at the end of this turn, after all events, posted tasks and timers. A task deferred by a deferred task
 * runs in the next turn, which then does not wait. Each task at most once in the queue at a time (the caller's to see
 * to). */
void rill_loop_defer(struct rill_loop *loop, struct rill_task *task);

/* Like rill_loop_defer(), but after all tasks deferred so, and within the same turn even when called by a deferred
 * task: where memory is given back. */
void rill_loop_defer_last(struct rill_loop *loop, struct rill_task *task);

/* Milliseconds of CLOCK_MONOTONIC, read once a turn. */
uint64_t rill_loop_now_ms(const struct rill_loop *loop);

/* Seconds since 1970, read once a turn. */
int64_t rill_loop_unix_seconds(const struct rill_loop *loop);

/* Nanoseconds of CLOCK_MONOTONIC, read now. Thread: any. */
uint64_t rill_clock_ns(void);

/* Arms TIMER to fire in DELAY_MS, counted from the time of this turn: not earlier, and at most 1 ms later plus the
 * loop's own lateness. 0: in this turn still when called before its timers, or else in the next. TIMER must have been
 * initialised; an armed one is moved. */
void rill_loop_arm(struct rill_loop *loop, struct rill_timer *timer, uint64_t delay_ms);

/* The moment DELAY_MS from now, for rill_loop_arm_at() and to be compared with rill_loop_now_ms(): what waits until
 * then has waited that long. UINT64_MAX when it is too far away to be told. */
uint64_t rill_loop_deadline_ms(const struct rill_loop *loop, uint64_t delay_ms);

/* Arms TIMER to fire at DEADLINE_MS of rill_loop_now_ms(). */
void rill_loop_arm_at(struct rill_loop *loop, struct rill_timer *timer, uint64_t deadline_ms);

/* Disarms TIMER; a no-op when it is not armed. */
void rill_loop_disarm(struct rill_loop *loop, struct rill_timer *timer);

/* The buffer that reads land in, of *SIZE bytes. Its contents are the current callback's only. */
char *rill_loop_read_buffer(struct rill_loop *loop, size_t *size);

/* The libevent base, for apps that bring other libevent libraries along. Built with EVENT_BASE_FLAG_NOLOCK: use it
 * on the loop's thread only. */
struct event_base *rill_loop_base(struct rill_loop *loop);

/* Whether the loop's method knows EV_ET: true with epoll. With poll and select an event that asks for EV_ET is
 * level-triggered all the same, and a writable socket fires in every turn. Thread: any. */
bool rill_loop_edge_triggered(const struct rill_loop *loop);

const char *rill_loop_name(const struct rill_loop *loop); /* Thread: any. */
unsigned rill_loop_index(const struct rill_loop *loop);   /* Thread: any. */

/* Whether the calling thread is LOOP's. Thread: any. */
bool rill_loop_is_current(const struct rill_loop *loop);

/* The loop that the calling thread runs, or NULL. Thread: any. */
struct rill_loop *rill_loop_current(void);

/* Stops the process, naming FUNCTION and both threads, unless the caller may use LOOP's loop-bound functions. */
void rill_loop_check(const struct rill_loop *loop, const char *function);

/* The worker pool for what would block this loop, a look-up of a name for instance; NULL: none. Set by whoever owns
 * both, before the loop needs it and not after it has ended. Thread: the loop's. */
void rill_loop_set_workers(struct rill_loop *loop, struct rill_workers *workers);
struct rill_workers *rill_loop_workers(const struct rill_loop *loop);

/* Where the loop's thread writes what it does for the requests that are traced (core/trace.h); NULL: nothing is. Set by
 * whoever owns both, before the loop serves. Thread: the loop's to set, any to ask. */
void rill_loop_set_trace(struct rill_loop *loop, struct rill_trace_lane *trace);
struct rill_trace_lane *rill_loop_trace(const struct rill_loop *loop);

/* What a higher layer keeps once a loop (its connections, its caches): one pointer a layer, freed with the loop. */
enum rill_loop_slot {
    RILL_LOOP_SLOT_TIMERS,
    RILL_LOOP_SLOT_NET,
    RILL_LOOP_SLOT_HTTP,
    RILL_LOOP_SLOT_APP,
    RILL_LOOP_SLOTS,
};

/* The pointer in SLOT; NULL before it was set. */
void *rill_loop_slot(const struct rill_loop *loop, enum rill_loop_slot slot);

/* Puts VALUE into SLOT; rill_loop_free() calls DESTROY(VALUE), the highest slot first. DESTROY may be NULL. */
void rill_loop_set_slot(struct rill_loop *loop, enum rill_loop_slot slot, void *value, void (*destroy)(void *value));

#ifdef __cplusplus
}
#endif

#endif
