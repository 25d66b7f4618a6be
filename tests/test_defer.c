/* test_defer.c - when short connections are numerous enough to be left to the kernel until they speak. */
#include "rill/net/defer_internal.h"
#include "support/run_suite.h"
#include <check.h>

static struct rill_defer defer;
static uint64_t now_ms, room;

static void set_up(void)
{
    defer = (struct rill_defer){.on = false};
    now_ms = 5000;
    room = 10000;
    rill_defer_look(&defer, now_ms, room);
}

/* A window of 100 ms in which ACCEPTED came and CLOSED went. */
static bool window(unsigned accepted, unsigned closed)
{
    defer.accepted += accepted;
    room += closed;
    room -= accepted;
    now_ms += 100;
    return rill_defer_look(&defer, now_ms, room);
}

START_TEST(begins_when_short_ones_are_many)
{
    ck_assert(!window(49, 49));
    ck_assert(window(50, 50));
    ck_assert_uint_eq(defer.accepted, 0);
}
END_TEST

START_TEST(does_not_begin_when_they_stay)
{
    ck_assert(!window(1000, 0));
    ck_assert(!window(1000, 700));
    ck_assert(window(1000, 750));
}
END_TEST

START_TEST(goes_on_until_they_are_few)
{
    ck_assert(window(100, 100));
    ck_assert(window(25, 25));
    ck_assert(!window(24, 24));
    ck_assert(!window(25, 25)); /* to begin takes more than to go on */
}
END_TEST

START_TEST(ends_when_they_stay)
{
    ck_assert(window(100, 100));
    ck_assert(window(100, 50));
    ck_assert(!window(100, 49));
}
END_TEST

START_TEST(within_a_window_nothing_changes)
{
    defer.accepted = 1000;
    room += 1000;
    ck_assert(!rill_defer_look(&defer, now_ms + 99, room));
    ck_assert_uint_eq(defer.accepted, 1000);
    ck_assert(rill_defer_look(&defer, now_ms + 100, room));
}
END_TEST

START_TEST(a_long_window_counts_by_the_second)
{
    defer.accepted = 400;
    ck_assert(!rill_defer_look(&defer, now_ms + 1000, room));
    defer.accepted = 500;
    ck_assert(rill_defer_look(&defer, now_ms + 2000, room));
}
END_TEST

START_TEST(calm_ends_it)
{
    ck_assert(window(100, 100));
    ck_assert(rill_defer_calm(&defer, now_ms + 999));
    ck_assert(!rill_defer_calm(&defer, now_ms + 1000));
    now_ms += 5000;
    ck_assert(!window(100, 100)); /* begins to look only */
    ck_assert(window(100, 100));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("defer");
    TCase *all = tcase_create("defer");
    tcase_add_checked_fixture(all, set_up, NULL);
    tcase_add_test(all, begins_when_short_ones_are_many);
    tcase_add_test(all, does_not_begin_when_they_stay);
    tcase_add_test(all, goes_on_until_they_are_few);
    tcase_add_test(all, ends_when_they_stay);
    tcase_add_test(all, within_a_window_nothing_changes);
    tcase_add_test(all, a_long_window_counts_by_the_second);
    tcase_add_test(all, calm_ends_it);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
