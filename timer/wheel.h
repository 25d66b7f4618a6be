/* wheel.h - a timing wheel: many timers, O(1) each.
 *
 * A wheel belongs to one thread. It reads no clock: the caller says what time it is, in milliseconds of any
 * monotonic clock, and that time never goes back. A timer is a node inside its owner's struct; the wheel allocates
 * nothing. The resolution is one tick of 1 ms over the whole range of 64 bits: no deadline is too far away.
 *
 * Rules
 * 1. A timer never fires before its deadline, and fires in the first rill_wheel_advance() at or after it.
 * 2. Timers fire in the order of their deadlines; equal deadlines in the order in which they were armed. A deadline
 *    already past when it is armed counts as the time of the last advance.
 * 3. A timer fires once and is not armed any more when its callback runs. The callback may arm or cancel any timer of
 *    the wheel, its own included, and may free the owner of its own timer and of any timer that is not armed.
 * 4. A timer armed from a callback never fires within the advance that runs the callback, even if it is already due.
 * 5. A cancelled timer does not fire, even when it was due in the advance whose callback cancelled it.
 *
 * Thread: every function is for the wheel's thread alone. None of them can fail. */
#ifndef RILL_TIMER_WHEEL_H
#define RILL_TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rill_timer;

/* Called when TIMER is due; find its owner with rill_container_of(). */
typedef void rill_timer_fn(struct rill_timer *timer);

/* Private: a place in one of the wheel's circular lists. */
struct rill_timer_link {
    struct rill_timer_link *next;
    struct rill_timer_link *previous;
};

/* A timer, embedded in what it times. Its owner keeps it in place while it is armed. */
struct rill_timer {
    struct rill_timer_link link; /* private; must stay first */
    uint64_t deadline_ms;        /* read only: what it was last armed for */
    rill_timer_fn *fn;           /* read only: from rill_timer_init() */
};

enum {
    RILL_WHEEL_SLOT_BITS = 6,
    RILL_WHEEL_SLOTS = 1 << RILL_WHEEL_SLOT_BITS, /* a level: one bit each in a uint64_t */
    RILL_WHEEL_LEVELS = 11                        /* 11 digits of 6 bits hold any 64-bit deadline */
};

/* A wheel, 11 KiB, embedded in its owner, which neither moves nor copies it. All fields are private. */
struct rill_wheel {
    uint64_t current_ms; /* the time of the last advance */
    size_t count;        /* timers armed */
    uint32_t levels;     /* bit n: occupied[n] is not 0 */
    bool advancing;
    uint64_t occupied[RILL_WHEEL_LEVELS + 1]; /* bit n: that slot of that level is not empty */
    /* Level after level; then the timers armed when already due, and those of the advance under way. */
    struct rill_timer_link slots[RILL_WHEEL_LEVELS * RILL_WHEEL_SLOTS + 2];
};

/* Makes TIMER a timer, not armed, that will call FN. Not for an armed timer. */
static inline void rill_timer_init(struct rill_timer *timer, rill_timer_fn *fn)
{
    timer->link.next = NULL;
    timer->link.previous = NULL;
    timer->deadline_ms = 0;
    timer->fn = fn;
}

/* Whether TIMER is armed and will fire; false from within its own callback unless that armed it again. */
static inline bool rill_timer_armed(const struct rill_timer *timer)
{
    return timer->link.next != NULL;
}

/* Makes WHEEL an empty wheel whose time is NOW_MS. There is nothing to destroy: a wheel may go away when no timer is
 * armed on it, or when none of its timers will be touched again but by rill_timer_init(). */
void rill_wheel_init(struct rill_wheel *wheel, uint64_t now_ms);

/* Arms TIMER to fire once at DEADLINE_MS; an armed timer is moved. A deadline in the past fires at the next
 * rill_wheel_advance(). The timer must stay where it is in memory until it fires or is cancelled, and may be armed on
 * one wheel at a time. O(1). */
void rill_wheel_arm(struct rill_wheel *wheel, struct rill_timer *timer, uint64_t deadline_ms);

/* Disarms TIMER, which must not be armed on another wheel; does nothing when it is not armed. O(1). */
void rill_wheel_cancel(struct rill_wheel *wheel, struct rill_timer *timer);

/* Makes NOW_MS the wheel's time and runs the callbacks of all timers then due, by the rules above. Returns how many
 * ran. A NOW_MS before the last one counts as the last one. Called from one of the wheel's callbacks it does nothing
 * and returns 0. O(1) a timer, amortised, whatever the time since the last advance. */
size_t rill_wheel_advance(struct rill_wheel *wheel, uint64_t now_ms);

/* Milliseconds from NOW_MS until some timer may be due; 0 when one is, UINT64_MAX when none is armed. Never later than
 * the true next deadline, and often sooner for one far away: an advance then fires nothing but brings it nearer, at
 * most RILL_WHEEL_LEVELS - 1 times for one deadline. O(1). */
uint64_t rill_wheel_next(const struct rill_wheel *wheel, uint64_t now_ms);

/* How many timers are armed. O(1). */
size_t rill_wheel_count(const struct rill_wheel *wheel);

/* For tests: true when WHEEL is consistent; otherwise false, and *WHY, unless WHY is NULL, is a constant string that
 * says what is wrong. May be called from a callback. O(timers armed). */
bool rill_wheel_validate(const struct rill_wheel *wheel, const char **why);

#ifdef __cplusplus
}
#endif

#endif
