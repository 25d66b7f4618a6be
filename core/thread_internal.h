/* thread_internal.h - how core/ starts its threads. */
#ifndef RILL_CORE_THREAD_INTERNAL_H
#define RILL_CORE_THREAD_INTERNAL_H

#include <pthread.h>

/* Starts THREAD in MAIN(ARG) with every signal blocked, so that signals reach the main reactor alone. Returns 0 or a
 * negative errno. */
int rill_thread_start_quiet(pthread_t *thread, void *(*main)(void *arg), void *arg);

/* Copies BASE-NUMBER into NAME, which holds 16 bytes; it is BASE that is cut when both do not fit. */
void rill_thread_number_name(char *name, const char *base, unsigned number);

#endif
