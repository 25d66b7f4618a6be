/* Decimal and hexadecimal, both ways, at every place where the number of digits changes. */
#include "rill/core/number.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* FOUND holds LENGTH bytes that have to be those of EXPECTED, and nothing written after them. */
static void check_text(const char *found, size_t length, const char *expected)
{
    if (length != strlen(expected) || memcmp(found, expected, length) != 0 || found[length] != '~')
        ck_abort_msg("%.*s instead of %s", (int)length, found, expected);
}

static void check_value(uint64_t value)
{
    char expected[32], found[32];
    uint64_t back = 0;

    memset(found, '~', sizeof(found));
    snprintf(expected, sizeof(expected), "%" PRIu64, value);
    size_t length = rill_decimal_format(found, value);
    check_text(found, length, expected);
    if (rill_decimal_parse((struct rill_slice){found, length}, &back) != 0 || back != value)
        ck_abort_msg("%s does not come back", expected);

    memset(found, '~', sizeof(found));
    snprintf(expected, sizeof(expected), "%" PRIx64, value);
    length = rill_hex_format(found, value);
    check_text(found, length, expected);
}

START_TEST(powers_of_ten_and_two_and_their_neighbours)
{
    uint64_t power = 1;
    for (int digits = 1; digits <= 20; digits++) {
        check_value(power - 1);
        check_value(power);
        check_value(power + 1);
        power *= 10;
    }
    for (int bit = 0; bit < 64; bit++) {
        check_value(((uint64_t)1 << bit) - 1);
        check_value((uint64_t)1 << bit);
        check_value(((uint64_t)1 << bit) + 1);
    }
    check_value(UINT64_MAX);
}
END_TEST

START_TEST(small_and_random_values)
{
    struct test_random random = {1};
    for (uint64_t value = 0; value < 20000; value++)
        check_value(value);
    for (int i = 0; i < 100000; i++)
        check_value(test_random_next(&random) >> test_random_below(&random, 64));
}
END_TEST

START_TEST(what_parses_and_what_does_not)
{
    static const struct {
        const char *text;
        int error;
        uint64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"00", 0, 0},
        {"007", 0, 7},
        {"18446744073709551615", 0, UINT64_MAX},
        {"000000000000000000000000018446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551620", -ERANGE, 0},
        {"28446744073709551615", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"184467440737095516150", -ERANGE, 0},
        {"340282366920938463463374607431768211456", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"+5", -EINVAL, 0},
        {"-5", -EINVAL, 0},
        {" 5", -EINVAL, 0},
        {"5 ", -EINVAL, 0},
        {"5, 6", -EINVAL, 0},
        {"0x5", -EINVAL, 0},
        {"5a", -EINVAL, 0},
        {"/", -EINVAL, 0},
        {":", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"\xb2", -EINVAL, 0},
        {"99999999999999999999x", -EINVAL, 0},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        uint64_t value = 4711;
        int error = rill_decimal_parse(rill_slice_of(cases[i].text), &value);
        ck_assert_msg(error == cases[i].error, "\"%s\": %d", cases[i].text, error);
        ck_assert(value == (error == 0 ? cases[i].value : 4711));
    }
    uint64_t value;
    ck_assert_int_eq(rill_decimal_parse((struct rill_slice){"5\0", 2}, &value), -EINVAL);
    ck_assert_int_eq(rill_decimal_parse((struct rill_slice){NULL, 0}, &value), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("number");
    TCase *tests = tcase_create("number");
    tcase_add_test(tests, powers_of_ten_and_two_and_their_neighbours);
    tcase_add_test(tests, small_and_random_values);
    tcase_add_test(tests, what_parses_and_what_does_not);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
