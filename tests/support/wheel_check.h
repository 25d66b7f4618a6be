/* wheel_check.h - what the tests of the timing wheel share. */
#ifndef RILL_TESTS_SUPPORT_WHEEL_CHECK_H
#define RILL_TESTS_SUPPORT_WHEEL_CHECK_H

#include "rill/timer/wheel.h"

#include <check.h>
#include <inttypes.h>
#include <stdint.h>

/* Check writes a record for every assertion that passes, and reads them all back: with millions of them a test takes
 * minutes. These speak only when they fail. */
#define expect_or(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)
#define expect(condition) expect_or(condition, "%s", "expected " #condition)
#define expect_that(a, op, b)                                                                                          \
    do {                                                                                                               \
        uint64_t expect_a = (uint64_t)(a);                                                                             \
        uint64_t expect_b = (uint64_t)(b);                                                                             \
        expect_or(expect_a op expect_b, "expected %s: %" PRIu64 " and %" PRIu64, #a " " #op " " #b, expect_a,          \
                  expect_b);                                                                                           \
    } while (0)
#define expect_eq(a, b) expect_that(a, ==, b)
#define expect_lt(a, b) expect_that(a, <, b)
#define expect_le(a, b) expect_that(a, <=, b)
#define expect_gt(a, b) expect_that(a, >, b)

/* Fails the test when CHECKED is not consistent. */
static inline void wheel_check(const struct rill_wheel *checked)
{
    const char *why = "";
    expect_or(rill_wheel_validate(checked, &why), "%s", why);
}

/* Times at which a wheel starts: digits of zeros, of ones, and in between. */
static const uint64_t start_times_ms[] = {
    0,
    1,
    62,
    63,
    64,
    65,
    4095,
    4096,
    1234567,
    262143,
    ((uint64_t)1 << 24) - 1,
    ((uint64_t)1 << 32) - 1,
    ((uint64_t)1 << 32) + 1,
    ((uint64_t)1 << 36) - 2,
    ((uint64_t)1 << 60) - 1,
    ((uint64_t)1 << 60),
    ((uint64_t)1 << 63) - 1,
    0xfedcba9876543210u,
    UINT64_MAX - 4097,
};

static inline uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

#endif
