/* thread_internal.h - how core/ starts its threads. */
#ifndef RILL_CORE_THREAD_INTERNAL_H
#define RILL_CORE_THREAD_INTERNAL_H

#include "rill/core/loop_group.h"

/* Copies BASE-NUMBER into NAME, which holds 16 bytes; it is BASE that is cut when both do not fit. */
void rill_thread_number_name(char *name, const char *base, unsigned number);

#endif
