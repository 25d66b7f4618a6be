/* mailbox.h - a lock-free queue with many producers and one consumer, the way into a loop for other threads.
 *
 * Messages are intrusive: a task is a node inside whatever its poster owns, so posting allocates nothing. Ownership
 * of a task passes to the mailbox when it is pushed and to the consumer when it is popped; between the two nobody
 * may touch it. Tasks of one producer come out in the order in which they went in. */
#ifndef RILL_CORE_MAILBOX_H
#define RILL_CORE_MAILBOX_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_task;

/* Runs on the consumer's thread. TASK is the callee's from here on: it may free it or post it again. */
typedef void rill_task_fn(struct rill_task *task);

/* One message. Embed it in the struct that carries the arguments and get back with rill_container_of(). */
struct rill_task {
    struct rill_task *next; /* the mailbox's while queued */
    rill_task_fn *run;
};

/* Opaque to its users; here so that it can be embedded. */
struct rill_mailbox {
    struct rill_task *incoming; /* newest first; pushed with one compare-and-swap, taken whole with one exchange */
};

/* Makes MAILBOX empty and open. Before any other thread can see it. */
void rill_mailbox_init(struct rill_mailbox *mailbox);

/* Puts TASK in. Returns 1 when the mailbox was empty, and so its consumer must be woken; 0 when it was not; and
 * -ESHUTDOWN when it is closed: TASK is the caller's still. Thread: any. Lock-free. */
RILL_WARN_UNUSED int rill_mailbox_push(struct rill_mailbox *mailbox, struct rill_task *task);

/* Whether a push would find it empty, as far as can be told: others push and take meanwhile. Thread: any. */
static inline bool rill_mailbox_seems_empty(const struct rill_mailbox *mailbox)
{
    return __atomic_load_n(&mailbox->incoming, __ATOMIC_RELAXED) == NULL;
}

/* Takes all that is in, as a list through `next`, oldest first; NULL when there is nothing. Thread: the consumer's. */
struct rill_task *rill_mailbox_take(struct rill_mailbox *mailbox);

/* Takes all that is in, like rill_mailbox_take(), and closes the mailbox in the same step, so that every task is
 * either in the list returned or was refused with -ESHUTDOWN. Thread: the consumer's. */
struct rill_task *rill_mailbox_close(struct rill_mailbox *mailbox);

#ifdef __cplusplus
}
#endif

#endif
