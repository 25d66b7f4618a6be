/* test_mailbox.c - the mailbox, seen from one thread; test_mt_mailbox.c has the producers. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "rill/core/mailbox.h"
#include "support/run_suite.h"

START_TEST(empty_gives_nothing)
{
    struct rill_mailbox mailbox;
    rill_mailbox_init(&mailbox);
    ck_assert_ptr_null(rill_mailbox_take(&mailbox));
    ck_assert_ptr_null(rill_mailbox_take(&mailbox));
}
END_TEST

START_TEST(only_the_first_push_asks_for_a_wake_up)
{
    struct rill_mailbox mailbox;
    struct rill_task tasks[3];
    rill_mailbox_init(&mailbox);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(rill_mailbox_push(&mailbox, &tasks[0]), 1);
        ck_assert_int_eq(rill_mailbox_push(&mailbox, &tasks[1]), 0);
        ck_assert_int_eq(rill_mailbox_push(&mailbox, &tasks[2]), 0);
        ck_assert_ptr_nonnull(rill_mailbox_take(&mailbox));
    }
}
END_TEST

START_TEST(comes_out_in_order)
{
    enum { COUNT = 100 };
    struct rill_mailbox mailbox;
    struct rill_task tasks[COUNT];
    rill_mailbox_init(&mailbox);
    for (int length = 1; length <= COUNT; length++) {
        for (int i = 0; i < length; i++)
            ck_assert_int_ge(rill_mailbox_push(&mailbox, &tasks[i]), 0);
        struct rill_task *task = rill_mailbox_take(&mailbox);
        for (int i = 0; i < length; i++, task = task->next)
            ck_assert_ptr_eq(task, &tasks[i]);
        ck_assert_ptr_null(task);
        ck_assert_ptr_null(rill_mailbox_take(&mailbox));
    }
}
END_TEST

START_TEST(close_takes_the_last_and_refuses_the_rest)
{
    struct rill_mailbox mailbox;
    struct rill_task in[2], late = {&in[0], NULL};
    rill_mailbox_init(&mailbox);
    ck_assert_int_eq(rill_mailbox_push(&mailbox, &in[0]), 1);
    ck_assert_int_eq(rill_mailbox_push(&mailbox, &in[1]), 0);
    struct rill_task *task = rill_mailbox_close(&mailbox);
    ck_assert_ptr_eq(task, &in[0]);
    ck_assert_ptr_eq(task->next, &in[1]);
    ck_assert_ptr_null(task->next->next);

    ck_assert_int_eq(rill_mailbox_push(&mailbox, &late), -ESHUTDOWN);
    ck_assert_ptr_eq(late.next, &in[0]); /* a refused task was not touched */
    ck_assert_ptr_null(rill_mailbox_take(&mailbox));
    /* Neither a take nor a second close opens it again. */
    ck_assert_ptr_null(rill_mailbox_close(&mailbox));
    ck_assert_int_eq(rill_mailbox_push(&mailbox, &late), -ESHUTDOWN);
}
END_TEST

START_TEST(close_when_empty)
{
    struct rill_mailbox mailbox;
    struct rill_task task;
    rill_mailbox_init(&mailbox);
    ck_assert_ptr_null(rill_mailbox_close(&mailbox));
    ck_assert_int_eq(rill_mailbox_push(&mailbox, &task), -ESHUTDOWN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tcase = tcase_create("mailbox");
    tcase_add_test(tcase, empty_gives_nothing);
    tcase_add_test(tcase, only_the_first_push_asks_for_a_wake_up);
    tcase_add_test(tcase, comes_out_in_order);
    tcase_add_test(tcase, close_takes_the_last_and_refuses_the_rest);
    tcase_add_test(tcase, close_when_empty);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
