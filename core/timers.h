/* timers.h - an app's timers, named by ids: once, or again and again.
 *
 * Who has a struct of his own to embed a struct rill_timer in uses rill_loop_arm(), which allocates nothing and cannot
 * fail. These are for everybody else: the loop keeps the timer, and hands out a value that names it.
 *
 * Rules of life
 * 1. A timer ends with its one call, when it is cancelled, or with its loop. With `destroy`, its `arg` is the timer's
 *    from the start on: `destroy` is called with it, once, when the timer has ended and no call is under way. A timer
 *    that could not be started leaves `arg` to the caller.
 * 2. A timer that was cancelled on the loop's thread does not fire any more, even when it was due in this turn.
 * 3. Times are those of rill_loop_arm(): never early, and counted in the loop's turns. A loop fires its timers, and
 *    ends them in rill_loop_free(); one that does not run any more fires nothing and starts none.
 * 4. A periodic timer has its beats at start + delay + N * period, however late one of them came: there is no drift. It
 *    never runs inside itself, and beats that passed while the loop, or the call itself, was busy are skipped: a late
 * call comes once, and the next one at the next beat to come.
 * 5. An id may be copied anywhere and kept for ever; one that outlived its timer names nothing. A callback may start
 * and cancel any timer, its own included.
 *
 * All functions are for the loop's thread and check it, save where marked "Thread: any". */
#ifndef RILL_CORE_TIMERS_H
#define RILL_CORE_TIMERS_H

#include "rill/core/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Names a timer by value: loop (8 bits), slot (24), generation (32). 0 names none. */
struct rill_timer_id {
    uint64_t value;
};

/* How many a loop keeps at a time. */
#define RILL_TIMERS_MAX (1u << 20)

struct rill_timer_config {
    uint64_t delay_ms;          /* until the first call */
    uint64_t period_ms;         /* between calls; 0: there is only one */
    void (*fn)(void *arg);      /* on the loop */
    void *arg;                  /* for both */
    void (*destroy)(void *arg); /* on the loop; NULL: `arg` is not the timer's */
};

/* Starts a timer. Its id goes to *ID unless ID is NULL. Returns 0; -ENOMEM: memory is lacking, or there are
 * RILL_TIMERS_MAX; -ESHUTDOWN: the loop has ended. */
RILL_WARN_UNUSED int rill_timer_start(struct rill_loop *loop, const struct rill_timer_config *config,
                                      struct rill_timer_id *id);

/* Calls FN(ARG) once, in DELAY_MS. Returns as rill_timer_start(). */
RILL_WARN_UNUSED int rill_loop_after(struct rill_loop *loop, uint64_t delay_ms, void (*fn)(void *arg), void *arg,
                                     struct rill_timer_id *id);

/* Calls FN(ARG) every PERIOD_MS, for the first time in PERIOD_MS. Returns as rill_timer_start(); -EINVAL when PERIOD_MS
 * is 0. */
RILL_WARN_UNUSED int rill_loop_every(struct rill_loop *loop, uint64_t period_ms, void (*fn)(void *arg), void *arg,
                                     struct rill_timer_id *id);

/* Ends the timer that ID names. Returns whether there was one: false when it has made its one call or is making it, was
 * cancelled before, or is another loop's. From its own callback a periodic timer is ended after that call. */
bool rill_timer_cancel(struct rill_loop *loop, struct rill_timer_id id);

/* Timers that LOOP keeps. */
uint32_t rill_timer_count(struct rill_loop *loop);

/* rill_timer_start() from elsewhere: the delay counts from when LOOP gets to it. The timer has no id, because only LOOP
 * gives them: to have one, rill_post() a function that starts it. Returns 0, and the timer fires, or ends with its
 * loop; should LOOP lack memory, that is logged and it ends at once. -ENOMEM; -ESHUTDOWN. Thread: any. */
RILL_WARN_UNUSED int rill_timer_post_start(struct rill_loop *loop, const struct rill_timer_config *config);

/* rill_timer_cancel() from elsewhere. Until LOOP gets to it the timer may still fire. Returns 0 when the order was
 * posted; -ESTALE: ID is none of LOOP's; -ENOMEM; -ESHUTDOWN: no timer of LOOP's fires any more. Thread: any. */
RILL_WARN_UNUSED int rill_timer_post_cancel(struct rill_loop *loop, struct rill_timer_id id);

#ifdef __cplusplus
}
#endif

#endif
