/* test_mt_mailbox.c - many producers, one consumer: each task exactly once, in its producer's order, and after a
 * close either taken or refused. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "rill/core/mailbox.h"
#include "support/run_suite.h"

enum { PRODUCERS = 4, TASKS = 100000, CLOSE_ROUNDS = 200, CLOSE_TASKS = 500 };

struct message {
    struct rill_task task;
    unsigned producer;
    unsigned number;
    unsigned seen;
};

struct producer {
    pthread_t thread;
    struct rill_mailbox *mailbox;
    struct message *messages;
    unsigned count;
    unsigned accepted;
    unsigned wakes; /* pushes that found it empty */
    int error;
};

static void *produce(void *arg)
{
    struct producer *producer = arg;
    for (unsigned i = 0; i < producer->count; i++) {
        int pushed = rill_mailbox_push(producer->mailbox, &producer->messages[i].task);
        if (pushed < 0) {
            producer->error = pushed;
            return NULL; /* once refused, always refused: those after it need not try */
        }
        producer->accepted++;
        producer->wakes += (unsigned)pushed;
    }
    return NULL;
}

static void start(struct producer *producers, struct rill_mailbox *mailbox, unsigned count)
{
    for (unsigned p = 0; p < PRODUCERS; p++) {
        struct producer *producer = &producers[p];
        *producer = (struct producer){.mailbox = mailbox, .count = count};
        producer->messages = calloc(count, sizeof(struct message));
        ck_assert_ptr_nonnull(producer->messages);
        for (unsigned i = 0; i < count; i++) {
            producer->messages[i].producer = p;
            producer->messages[i].number = i;
        }
    }
    for (unsigned p = 0; p < PRODUCERS; p++)
        ck_assert_int_eq(pthread_create(&producers[p].thread, NULL, produce, &producers[p]), 0);
}

/* Marks the messages of a list as seen, and checks that each is its producer's next. Check's own asserts cost too much
 * to be made for every message. */
static unsigned consume(struct rill_task *task, unsigned next[PRODUCERS])
{
    unsigned count = 0;
    for (; task != NULL; task = task->next) {
        struct message *message = rill_container_of(task, struct message, task);
        if (message->number != next[message->producer])
            ck_abort_msg("producer %u: %u after %u", message->producer, message->number, next[message->producer]);
        next[message->producer]++;
        message->seen++;
        count++;
    }
    return count;
}

static void finish(struct producer *producers)
{
    for (unsigned p = 0; p < PRODUCERS; p++) {
        for (unsigned i = 0; i < producers[p].count; i++)
            if (producers[p].messages[i].seen != (i < producers[p].accepted))
                ck_abort_msg("producer %u: message %u seen %u times", p, i, producers[p].messages[i].seen);
        ck_assert_int_eq(producers[p].error, producers[p].accepted == producers[p].count ? 0 : -ESHUTDOWN);
        free(producers[p].messages);
    }
}

START_TEST(each_once_and_in_order)
{
    struct rill_mailbox mailbox;
    struct producer producers[PRODUCERS];
    unsigned next[PRODUCERS] = {0}, taken = 0, takes = 0, wakes = 0;
    rill_mailbox_init(&mailbox);
    start(producers, &mailbox, TASKS);
    while (taken < PRODUCERS * TASKS) {
        struct rill_task *tasks = rill_mailbox_take(&mailbox);
        takes += tasks != NULL;
        taken += consume(tasks, next);
        if (tasks == NULL)
            sched_yield();
    }
    for (unsigned p = 0; p < PRODUCERS; p++) {
        pthread_join(producers[p].thread, NULL);
        wakes += producers[p].wakes;
    }
    ck_assert_ptr_null(rill_mailbox_take(&mailbox));
    /* The loop relies on this: a take that finds something stands for exactly one push that found nothing. */
    ck_assert_uint_eq(takes, wakes);
    finish(producers);
}
END_TEST

START_TEST(close_loses_nothing)
{
    for (unsigned round = 0; round < CLOSE_ROUNDS; round++) {
        struct rill_mailbox mailbox;
        struct producer producers[PRODUCERS];
        unsigned next[PRODUCERS] = {0}, accepted = 0, taken = 0;
        rill_mailbox_init(&mailbox);
        start(producers, &mailbox, CLOSE_TASKS);
        while (taken < round) /* closes at another place in every round */
            taken += consume(rill_mailbox_take(&mailbox), next);
        taken += consume(rill_mailbox_close(&mailbox), next);
        for (unsigned p = 0; p < PRODUCERS; p++) {
            pthread_join(producers[p].thread, NULL);
            accepted += producers[p].accepted;
        }
        ck_assert_ptr_null(rill_mailbox_take(&mailbox));
        ck_assert_uint_eq(accepted, taken);
        finish(producers);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_mailbox");
    TCase *tcase = tcase_create("mailbox");
    tcase_add_test(tcase, each_once_and_in_order);
    tcase_add_test(tcase, close_loses_nothing);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
