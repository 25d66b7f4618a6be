/* crash_internal.h - what the reports of crashes and of stalls share. Private to core/. */
#ifndef RILL_CORE_CRASH_INTERNAL_H
#define RILL_CORE_CRASH_INTERNAL_H

#include "rill/core/crash.h"

/* What LOOP is doing, in NOTE, which is empty: by what its layers say, the innermost first. For a signal handler on
 * LOOP's thread. */
void rill_loop_describe(const struct rill_loop *loop, struct rill_note *note);

/* Sets a stack aside for the calling thread's report, when there are to be reports and it has none. Returns what
 * rill_crash_stack_release() wants before the thread ends; NULL: nothing. */
void *rill_crash_stack_reserve(void);
void rill_crash_stack_release(void *stack);

#endif
