/* Durations, sizes and counts of the command line. */
#include "rill/core/units.h"
#include "support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

typedef int parse_function(const char *text, uint64_t *value, const char **wanted);

struct parse_case {
    const char *text;
    bool is_fine;
    uint64_t value;
};

/* A wrong text leaves the value alone and says what would be right; without a place to say it that is fine too. */
static void check_case(parse_function *parse, const struct parse_case *expected)
{
    uint64_t value = 4711;
    const char *wanted = NULL;
    int error = parse(expected->text, &value, &wanted);
    ck_assert_msg(error == (expected->is_fine ? 0 : -EINVAL), "\"%s\": %d", expected->text, error);
    ck_assert_msg(value == (error == 0 ? expected->value : 4711), "\"%s\"", expected->text);
    ck_assert_msg((wanted != NULL) == (error != 0), "\"%s\"", expected->text);
    ck_assert_int_eq(parse(expected->text, &value, NULL), error);
}

START_TEST(durations)
{
    static const struct parse_case cases[] = {
        {"500ms", true, 500},
        {"30s", true, 30000},
        {"5m", true, 300000},
        {"1h", true, 3600000},
        {"0s", true, 0},
        {"0ms", true, 0},
        {"007s", true, 7000},
        {"18446744073709551615ms", true, UINT64_MAX},
        {"18446744073709551616ms", false, 0},
        {"18446744073709551s", true, 18446744073709551000u},
        {"18446744073709552s", false, 0},
        {"307445734561825m", true, 18446744073709500000u},
        {"307445734561826m", false, 0},
        {"5124095576030h", true, 18446744073708000000u},
        {"5124095576031h", false, 0},
        {"99999999999999999999999h", false, 0},
        {"", false, 0},
        {"0", false, 0},
        {"30", false, 0},
        {"s", false, 0},
        {"ms", false, 0},
        {"30 s", false, 0},
        {" 30s", false, 0},
        {"30s ", false, 0},
        {"30S", false, 0},
        {"30MS", false, 0},
        {"30sec", false, 0},
        {"30mss", false, 0},
        {"1h30m", false, 0},
        {"1.5s", false, 0},
        {"-1s", false, 0},
        {"+1s", false, 0},
        {"1d", false, 0},
        {"1us", false, 0},
        {"forever", false, 0},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++)
        check_case(rill_parse_duration_ms, &cases[i]);
}
END_TEST

START_TEST(a_plain_number_is_told_that_a_unit_is_missing)
{
    uint64_t ms;
    const char *wanted = NULL;
    ck_assert_int_eq(rill_parse_duration_ms("30", &ms, &wanted), -EINVAL);
    ck_assert_ptr_nonnull(strstr(wanted, "needs a unit"));
    ck_assert_ptr_nonnull(strstr(wanted, "500ms"));
    ck_assert_int_eq(rill_parse_duration_ms("ms", &ms, &wanted), -EINVAL);
    ck_assert_ptr_nonnull(strstr(wanted, "whole number and a unit"));
}
END_TEST

START_TEST(sizes)
{
    static const struct parse_case cases[] = {
        {"0", true, 0},
        {"4096", true, 4096},
        {"64k", true, 65536},
        {"64K", true, 65536},
        {"10m", true, 10485760},
        {"10M", true, 10485760},
        {"1g", true, 1073741824},
        {"1G", true, 1073741824},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"18014398509481983k", true, 18446744073709550592u},
        {"18014398509481984k", false, 0},
        {"17592186044415m", true, 18446744073708503040u},
        {"17592186044416m", false, 0},
        {"17179869183g", true, 18446744072635809792u},
        {"17179869184g", false, 0},
        {"", false, 0},
        {"k", false, 0},
        {"64kb", false, 0},
        {"64kk", false, 0},
        {"64 k", false, 0},
        {" 64k", false, 0},
        {"64k ", false, 0},
        {"1t", false, 0},
        {"1.5g", false, 0},
        {"-1", false, 0},
        {"+1k", false, 0},
        {"0x10", false, 0},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++)
        check_case(rill_parse_size, &cases[i]);
}
END_TEST

static int parse_small_count(const char *text, uint64_t *value, const char **wanted)
{
    return rill_parse_count(text, 1, 64, value, wanted);
}

static int parse_any_count(const char *text, uint64_t *value, const char **wanted)
{
    return rill_parse_count(text, 0, UINT64_MAX, value, wanted);
}

START_TEST(counts)
{
    static const struct parse_case small[] = {
        {"0", false, 0},
        {"1", true, 1},
        {"64", true, 64},
        {"064", true, 64},
        {"65", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"4x", false, 0},
        {"4k", false, 0},
        {" 4", false, 0},
        {"+4", false, 0},
        {"4.0", false, 0},
        {"99999999999999999999", false, 0},
    };
    static const struct parse_case any[] = {
        {"0", true, 0}, {"18446744073709551615", true, UINT64_MAX}, {"18446744073709551616", false, 0}};
    for (size_t i = 0; i < rill_array_length(small); i++)
        check_case(parse_small_count, &small[i]);
    for (size_t i = 0; i < rill_array_length(any); i++)
        check_case(parse_any_count, &any[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("units");
    TCase *tests = tcase_create("units");
    tcase_add_test(tests, durations);
    tcase_add_test(tests, a_plain_number_is_told_that_a_unit_is_missing);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, counts);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
