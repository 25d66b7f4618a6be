/* watchdog.h - a thread that looks after loops, and says which of them is stalled, where, and by what.
 *
 * A loop stalls when a turn lasts longer than a threshold: some callback blocks or computes, and all other connections
 * of the loop wait. The watchdog then logs one warning with what the loop's layers say of it (core/crash.h), the
 * callback where it is known, and a backtrace of the loop's thread, and another line when the loop goes on. It counts
 * in rill_loop_stats(): `stalls`, `longest_stall_ms`. The loop itself pays two stores a turn.
 *
 * The thread is asked for its backtrace by SIGURG, whose handler is installed with the first watchdog, unless the
 * program has one of its own: then there is no backtrace. SIGURG interrupts what blocks the loop, and a system call
 * that is not restarted returns EINTR (signal(7)), once a stall. */
#ifndef RILL_CORE_WATCHDOG_H
#define RILL_CORE_WATCHDOG_H

#include "rill/core/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_watchdog;

/* Looks after COUNT LOOPS, which no other watchdog has and which outlive it. A turn that lasts THRESHOLD_MS (above 0)
 * is found while it lasts, at most a quarter of that later; a shorter one never is. A turn begins with an event of net/
 * or rill_loop_note_event(). Returns NULL and sets *ERROR to a negative errno when memory or threads are lacking.
 * Thread: any. */
struct rill_watchdog *rill_watchdog_start(struct rill_loop *const *loops, unsigned count, uint64_t threshold_ms,
                                          int *error);

/* Ends and frees it. NULL is ignored. Thread: any but the loops'. */
void rill_watchdog_stop(struct rill_watchdog *watchdog);

#ifdef __cplusplus
}
#endif

#endif
