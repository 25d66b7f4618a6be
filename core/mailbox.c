/* mailbox.c - a stack of tasks pushed one by one, taken whole and turned round.
 *
 * A stack and not a queue, because it needs one word: a push is one compare-and-swap, taking everything one exchange,
 * and neither touches a node that somebody else may own. The ABA problem cannot arise, for nothing is ever popped
 * singly. "Closed" is a value of that same word, so that no push can slip in between the last take and the close. */
#include "rill/core/mailbox.h"

#include <errno.h>

/* Never run and never linked to; only its address counts. */
static struct rill_task closed_mark;

void rill_mailbox_init(struct rill_mailbox *mailbox)
{
    __atomic_store_n(&mailbox->incoming, NULL, __ATOMIC_RELAXED);
}

int rill_mailbox_push(struct rill_mailbox *mailbox, struct rill_task *task)
{
    struct rill_task *newest = __atomic_load_n(&mailbox->incoming, __ATOMIC_RELAXED);
    do {
        if (newest == &closed_mark)
            return -ESHUTDOWN;
        task->next = newest;
    } while (!__atomic_compare_exchange_n(&mailbox->incoming, &newest, task, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    return newest == NULL;
}

/* Turns a stack into a list, oldest first. */
static struct rill_task *reverse(struct rill_task *newest)
{
    struct rill_task *oldest_first = NULL;
    while (newest != NULL) {
        struct rill_task *older = newest->next;
        newest->next = oldest_first;
        oldest_first = newest;
        newest = older;
    }
    return oldest_first;
}

struct rill_task *rill_mailbox_take(struct rill_mailbox *mailbox)
{
    /* The plain load spares a loop with no messages, which is nearly every turn, the exchange. Only this thread
     * closes the mailbox, so the exchange cannot undo that. */
    struct rill_task *newest = __atomic_load_n(&mailbox->incoming, __ATOMIC_RELAXED);
    if (newest == NULL || newest == &closed_mark)
        return NULL;
    return reverse(__atomic_exchange_n(&mailbox->incoming, NULL, __ATOMIC_ACQUIRE));
}

struct rill_task *rill_mailbox_close(struct rill_mailbox *mailbox)
{
    struct rill_task *newest = __atomic_exchange_n(&mailbox->incoming, &closed_mark, __ATOMIC_ACQUIRE);
    return newest == &closed_mark ? NULL : reverse(newest);
}
