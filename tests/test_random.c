/* test_random.c - the numbers that spread things out: their range, how even they are, and where they begin. */
#include "rill/core/random.h"
#include "rill/core/sys.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdlib.h>

START_TEST(the_same_state_gives_the_same_numbers)
{
    struct rill_random a = {42}, b = {42};
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(rill_random_next(&a), rill_random_next(&b));
    a.state = 0; /* the first number of splitmix64 from 0, as published */
    ck_assert_uint_eq(rill_random_next(&a), UINT64_C(0xe220a8397b1dcdaf));
}
END_TEST

START_TEST(every_seed_is_another)
{
    struct rill_random all[16];
    for (int i = 0; i < 16; i++) {
        faulty_sys.error[FAULTY_ADVICE] = i >= 8 ? EAGAIN : 0; /* the kernel has no random bytes yet */
        rill_random_seed(&all[i]);
        for (int k = 0; k < i; k++)
            ck_assert_uint_ne(all[i].state, all[k].state);
    }
}
END_TEST

START_TEST(numbers_stay_in_their_range_and_fill_it)
{
    static const uint64_t most[] = {0, 1, 2, 9, 99};
    unsigned seen[100] = {0};
    struct rill_random random = {7};
    for (int i = 0; i < 100000; i++) {
        uint64_t drawn = rill_random_up_to(&random, most[_i]);
        ck_assert_uint_le(drawn, most[_i]);
        seen[drawn]++;
    }
    unsigned each = (unsigned)(100000 / (most[_i] + 1));
    for (uint64_t i = 0; i <= most[_i]; i++)
        ck_assert(seen[i] > each * 4 / 5 && seen[i] < each * 6 / 5 + 1);
}
END_TEST

/* Ranges that divide 2^64 badly are where bias would show: two thirds of it, of which the lower half would come twice
 * as often as the upper. */
START_TEST(large_ranges_are_even_too)
{
    struct rill_random random = {7};
    const uint64_t most = UINT64_MAX / 3 * 2;
    unsigned low = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t drawn = rill_random_up_to(&random, most);
        ck_assert_uint_le(drawn, most);
        low += drawn <= most / 2;
    }
    ck_assert(low > 4800 && low < 5200);
    (void)rill_random_up_to(&random, UINT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("random");
    TCase *tcase = tcase_create("random");
    tcase_add_test(tcase, the_same_state_gives_the_same_numbers);
    tcase_add_test(tcase, every_seed_is_another);
    tcase_add_loop_test(tcase, numbers_stay_in_their_range_and_fill_it, 0, 5);
    tcase_add_test(tcase, large_ranges_are_even_too);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
