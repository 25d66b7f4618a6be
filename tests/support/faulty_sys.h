/* faulty_sys.h - the seam of core/sys.h in the hands of a test, over the real system: calls that are counted, that fail
 * when they are told to, and that move fewer bytes than they could; a clock that can be put forward. Linked in place of
 * the layers' own calls, and of libevent's: its memory and its epoll_ctl fail by the same rule. */
#ifndef RILL_TESTS_SUPPORT_FAULTY_SYS_H
#define RILL_TESTS_SUPPORT_FAULTY_SYS_H

#include "faulty_rule.h"

/* Puts the monotonic clock forward; timers that are due then fire in the next turn. */
void faulty_sys_forward(uint64_t ms);

/* Descriptors that are open in this process. */
unsigned faulty_sys_open_descriptors(void);

#endif
