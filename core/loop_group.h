/* loop_group.h - the sub-reactors: N loops, each run by a thread of its own. */
#ifndef RILL_CORE_LOOP_GROUP_H
#define RILL_CORE_LOOP_GROUP_H

#include <pthread.h>

#include "rill/core/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_loop_group;

struct rill_loop_group_config {
    const char *name;          /* threads are called NAME-0, NAME-1, ...; NULL: "reactor"; copied */
    unsigned count;            /* loops, 1 to RILL_LOOP_MAX - 1 */
    unsigned first_index;      /* rill_loop_index() of the first */
    enum rill_backend backend; /* of every loop */
    size_t read_buffer_bytes;  /* of every loop; 0: the loop's default */
    bool pin;                  /* bind loop I to the I-th CPU that the process may use, wrapping round */
};

/* Makes the loops and starts their threads; all are running when it returns. Signals are blocked in the threads.
 * Returns NULL and sets *ERROR to a negative errno when anything is lacking; nothing is left running then. */
struct rill_loop_group *rill_loop_group_start(const struct rill_loop_group_config *config, int *error);

unsigned rill_loop_group_count(const struct rill_loop_group *group); /* Thread: any. */

/* The I-th loop, I below the count. Thread: any. */
struct rill_loop *rill_loop_group_loop(const struct rill_loop_group *group, unsigned i);

/* Stops every loop and joins the threads; the loops stay, so that a late rill_loop_post() is refused with -ESHUTDOWN
 * and does no harm. What is left on them is the caller's thread's. NULL, and a second call, are no-ops.
 * Thread: the one that started the group. */
void rill_loop_group_join(struct rill_loop_group *group);

/* Stops every loop, joins the threads and frees all. Tasks that were accepted before run. NULL is ignored.
 * Thread: the one that started the group. */
void rill_loop_group_stop(struct rill_loop_group *group);

/* Binds the calling thread to the I-th CPU that the process may run on, wrapping round. Returns 0 or a negative
 * errno. Thread: any. */
int rill_thread_pin(unsigned i);

/* Has the calling thread, when it is woken, wait until the thread that runs on its CPU has had its turn (SCHED_BATCH,
 * sched(7)): for threads that do better with much to do at once. A CPU of its own it gets at once, as before. A
 * hint: where the system refuses it nothing changes. Thread: any. */
void rill_thread_set_patient(void);

/* Starts THREAD in MAIN(ARG) with every signal blocked, so that signals reach the main reactor alone; but for those of
 * core/crash.h and SIGURG (core/watchdog.h). Returns 0 or a negative errno. Thread: any. */
int rill_thread_start_quiet(pthread_t *thread, void *(*main)(void *arg), void *arg);

/* Names the calling thread in thread lists: at most 15 bytes, more are cut. Thread: any. */
void rill_thread_set_name(const char *name);

#ifdef __cplusplus
}
#endif

#endif
