/* fake_sys.h - the seam of core/sys.h in the hands of a test: a clock that stands still until it is told to move,
 * memory that is counted and runs out at will, system calls that are counted. For programs built on rill_replaced. */
#ifndef RILL_TESTS_SUPPORT_FAKE_SYS_H
#define RILL_TESTS_SUPPORT_FAKE_SYS_H

#include <stdbool.h>
#include <stdint.h>

struct fake_sys {
    uint64_t now_ms;       /* of both clocks; the wall clock began at FAKE_SYS_EPOCH */
    uint64_t allocations;  /* made so far, by Rill's own code */
    uint64_t fail_after;   /* so many more succeed, then one fails; 0: none fails */
    uint64_t failed;       /* allocations that failed for that reason */
    bool no_maps;          /* mmap fails */
    uint64_t receives;     /* calls of recv */
    uint64_t sends;        /* calls of send, sendmsg and sendfile */
    uint64_t timer_orders; /* calls of timerfd_settime */
};

#define FAKE_SYS_EPOCH 1769860800 /* Sat, 31 Jan 2026 12:00:00 GMT */

/* One for the whole program, which has one thread that uses it. */
extern struct fake_sys fake_sys;

#endif
