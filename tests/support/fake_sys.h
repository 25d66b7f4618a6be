/* fake_sys.h - the seam of core/sys.h in the hands of a test: a clock that stands still until it is told to move;
 * memory and the calls of connections are counted, and fail, by the rule of faulty_rule.h. For programs built on
 * rill_replaced. */
#ifndef RILL_TESTS_SUPPORT_FAKE_SYS_H
#define RILL_TESTS_SUPPORT_FAKE_SYS_H

#include "faulty_rule.h"

struct fake_sys {
    uint64_t now_ms;       /* of both clocks; the wall clock began at FAKE_SYS_EPOCH */
    uint64_t timer_orders; /* calls of timerfd_settime */
};

#define FAKE_SYS_EPOCH 1769860800 /* Sat, 31 Jan 2026 12:00:00 GMT */

/* One for the whole program, which has one thread that uses it. */
extern struct fake_sys fake_sys;

/* Nothing fails and nothing has been counted; it is NOW_MS. */
void fake_sys_reset(uint64_t now_ms);

#endif
