/* HTTP dates, against a calendar that is walked day by day and against the C library. */
#include "rill/http/date.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DAY 86400
#define FIRST_SECOND (-62167219200) /* 0000-01-01 */
#define LAST_SECOND 253402300799    /* 9999-12-31T23:59:59 */
#define SAMPLE 784111777            /* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOW_2026 1767225600         /* 2026-01-01 */

static const char *const day_names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static int64_t parse(const char *text)
{
    int64_t seconds = INT64_MIN;
    int error = rill_http_date_parse(rill_slice_of(text), NOW_2026, &seconds);
    if (error != 0)
        ck_abort_msg("\"%s\" gives %d", text, error);
    return seconds;
}

static void check_parse(const char *text, int64_t expected)
{
    int64_t seconds = parse(text);
    if (seconds != expected)
        ck_abort_msg("\"%s\" gives %lld", text, (long long)seconds);
}

static void check_format(int64_t seconds, const char *expected)
{
    char found[RILL_HTTP_DATE_LENGTH + 1];
    found[RILL_HTTP_DATE_LENGTH] = '\0';
    rill_http_date_format(found, seconds);
    if (strcmp(found, expected) != 0)
        ck_abort_msg("%s instead of %s", found, expected);
}

START_TEST(samples)
{
    check_format(SAMPLE, "Sun, 06 Nov 1994 08:49:37 GMT");
    check_format(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    check_format(-1, "Wed, 31 Dec 1969 23:59:59 GMT");
    check_format(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    check_format(2147483648, "Tue, 19 Jan 2038 03:14:08 GMT");
    check_format(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
    check_format(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
    check_parse("Sun, 06 Nov 1994 08:49:37 GMT", SAMPLE);
    check_parse("Sunday, 06-Nov-94 08:49:37 GMT", SAMPLE);
    check_parse("Sun Nov  6 08:49:37 1994", SAMPLE);
    check_parse("Wed Nov 16 08:49:37 1994", SAMPLE + 10 * DAY);
}
END_TEST

START_TEST(times_without_four_digits_are_clamped)
{
    check_format(FIRST_SECOND, "Sat, 01 Jan 0000 00:00:00 GMT");
    check_format(FIRST_SECOND - 1, "Sat, 01 Jan 0000 00:00:00 GMT");
    check_format(INT64_MIN, "Sat, 01 Jan 0000 00:00:00 GMT");
    check_format(LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT");
    check_format(LAST_SECOND + 1, "Fri, 31 Dec 9999 23:59:59 GMT");
    check_format(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
}
END_TEST

/* Walks the calendar: both sides of every midnight of ten thousand years, formatted and read back. */
START_TEST(every_day_boundary)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t midnight = FIRST_SECOND, back;
    unsigned weekday = 6; /* 0000-01-01 was a Saturday */
    char found[RILL_HTTP_DATE_LENGTH];
    char expected[2][64];

    for (unsigned year = 0; year <= 9999; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (unsigned month = 0; month < 12; month++) {
            unsigned last = (unsigned)lengths[month] + (month == 1 && leap);
            for (unsigned day = 1; day <= last; day++) {
                /* The names and the year come from printf once a month; the day is patched in. */
                if (day == 1)
                    snprintf(expected[0], sizeof(expected[0]), "%.3s, 01 %s %04u 00:00:00 GMT", day_names[weekday],
                             month_names[month], year);
                memcpy(expected[0], day_names[weekday], 3);
                expected[0][5] = (char)('0' + day / 10);
                expected[0][6] = (char)('0' + day % 10);
                memcpy(expected[1], expected[0], sizeof(expected[0]));
                memcpy(expected[1] + 17, "23:59:59", 8);

                for (int at = 0; at < 2; at++) {
                    int64_t seconds = midnight + (at == 0 ? 0 : DAY - 1);
                    rill_http_date_format(found, seconds);
                    if (memcmp(found, expected[at], sizeof(found)) != 0)
                        ck_abort_msg("%.29s instead of %s", found, expected[at]);
                    struct rill_slice text = {found, sizeof(found)};
                    if (rill_http_date_parse(text, 0, &back) != 0 || back != seconds)
                        ck_abort_msg("%.29s does not come back", found);
                }
                midnight += DAY;
                weekday = (weekday + 1) % 7;
            }
        }
    }
    ck_assert_int_eq(midnight, LAST_SECOND + 1);
}
END_TEST

START_TEST(random_times_in_all_three_forms)
{
    struct test_random random = {2};
    for (int i = 0; i < 200000; i++) {
        int64_t seconds = (int64_t)(test_random_next(&random) % ((uint64_t)LAST_SECOND + 1));
        time_t as_time = (time_t)seconds;
        struct tm tm;
        char text[80];
        int64_t back;

        gmtime_r(&as_time, &tm);
        snprintf(text, sizeof(text), "%.3s, %02d %s %04d %02d:%02d:%02d GMT", day_names[tm.tm_wday], tm.tm_mday,
                 month_names[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        check_format(seconds, text);
        check_parse(text, seconds);

        snprintf(text, sizeof(text), "%.3s %s %2d %02d:%02d:%02d %04d", day_names[tm.tm_wday], month_names[tm.tm_mon],
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
        check_parse(text, seconds);

        /* Two digits come back when they are read in the same year. */
        snprintf(text, sizeof(text), "%s, %02d-%s-%02d %02d:%02d:%02d GMT", day_names[tm.tm_wday], tm.tm_mday,
                 month_names[tm.tm_mon], tm.tm_year % 100, tm.tm_hour, tm.tm_min, tm.tm_sec);
        if (rill_http_date_parse(rill_slice_of(text), seconds, &back) != 0 || back != seconds)
            ck_abort_msg("%s in its own year", text);
    }
}
END_TEST

START_TEST(two_digit_years_are_at_most_fifty_years_ahead)
{
    for (int now_year = 1970; now_year < 2400; now_year++) {
        struct tm now = {.tm_year = now_year - 1900, .tm_mon = 6, .tm_mday = 1};
        int64_t now_seconds = (int64_t)timegm(&now), seconds;
        for (int digits = 0; digits < 100; digits++) {
            char text[40];
            snprintf(text, sizeof(text), "Friday, 01-Mar-%02d 00:00:00 GMT", digits);
            int year = now_year + 50;
            while (year % 100 != digits)
                year--;
            struct tm expected = {.tm_year = year - 1900, .tm_mon = 2, .tm_mday = 1};
            if (rill_http_date_parse(rill_slice_of(text), now_seconds, &seconds) != 0 ||
                seconds != (int64_t)timegm(&expected))
                ck_abort_msg("%s in %d", text, now_year);
        }
    }
}
END_TEST

START_TEST(a_clock_far_away_does_no_harm)
{
    int64_t seconds;
    struct rill_slice text = rill_slice_of("Sunday, 06-Nov-94 08:49:37 GMT");
    ck_assert_int_eq(rill_http_date_parse(text, INT64_MAX, &seconds), 0);
    ck_assert_int_eq(rill_http_date_parse(text, INT64_MIN, &seconds), -EINVAL);
}
END_TEST

START_TEST(leap_days_and_leap_seconds)
{
    check_parse("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800);
    check_parse("Sun, 01 Jan 2017 00:00:00 GMT", 1483228800);
    check_parse("Tue, 29 Feb 2000 00:00:00 GMT", 951782400);
    check_parse("Fri, 29 Feb 2036 00:00:00 GMT", 2087856000);
}
END_TEST

START_TEST(a_wrong_day_name_does_not_matter)
{
    check_parse("Mon, 06 Nov 1994 08:49:37 GMT", SAMPLE);
    check_parse("Monday, 06-Nov-94 08:49:37 GMT", SAMPLE);
    check_parse("Mon Nov  6 08:49:37 1994", SAMPLE);
}
END_TEST

START_TEST(bad_dates)
{
    static const char *const bad[] = {
        "",
        "0",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "Sun; 06 Nov 1994 08:49:37 GMT",
        "Sun,_06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov 1994_08:49:37 GMT",
        "Sun, 06 Nov 1994 08.49:37 GMT",
        "Sun, 06 Nov 1994 08:49.37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov  994 08:49:37 GMT",
        "Sun, 06 Nov 19a4 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 -8:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 30 Feb 2000 08:49:37 GMT",
        "Sun, 32 Dec 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06-Nov-9x 08:49:37 GMT",
        "Sunday, 6-Nov-94 08:49:37 GMT",
        "Sundayy, 06-Nov-94 08:49:37 GMT",
        "Sunday  06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMX",
        "Sunday",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  0 08:49:37 1994",
        "Sun Nov 06 08:49:37 199x",
        "Sun Nov  6 08:49:37 1994 ",
        "Sun_Nov  6 08:49:37 1994",
        "Sun Nov_ 6 08:49:37 1994",
        "Sun Nov _6 08:49:37 1994",
        "Sun Nov  6_08:49:37 1994",
        "Sun Nov  6 08:49:37_1994",
        "Sun Nov  6 08.49:37 1994",
        "Sun Xyz  6 08:49:37 1994",
        "Xyz Nov  6 08:49:37 1994",
        "Sunday,_06-Nov-94 08:49:37 GMT",
        "Sunday, 06 Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov 94 08:49:37 GMT",
        "Sunday, 06-Nov-94_08:49:37 GMT",
        "Sunday, 06-Xyz-94 08:49:37 GMT",
        "Sun, Nov 6 08:49:37 1994",
    };
    for (size_t i = 0; i < rill_array_length(bad); i++) {
        int64_t seconds = 4711;
        int error = rill_http_date_parse(rill_slice_of(bad[i]), NOW_2026, &seconds);
        ck_assert_msg(error == -EINVAL, "\"%s\"", bad[i]);
        ck_assert_int_eq(seconds, 4711);
    }
    int64_t seconds;
    ck_assert_int_eq(rill_http_date_parse((struct rill_slice){NULL, 0}, 0, &seconds), -EINVAL);
}
END_TEST

/* Every single-byte change of a good date is either bad or a date that says itself when formatted again. */
START_TEST(every_changed_byte)
{
    static const char good[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    unsigned accepted = 0;
    for (size_t at = 0; at < sizeof(good) - 1; at++) {
        for (int c = 0; c < 256; c++) {
            char text[sizeof(good)], again[RILL_HTTP_DATE_LENGTH];
            int64_t seconds;
            memcpy(text, good, sizeof(good));
            text[at] = (char)c;
            if (rill_http_date_parse((struct rill_slice){text, sizeof(good) - 1}, NOW_2026, &seconds) != 0)
                continue;
            accepted++;
            rill_http_date_format(again, seconds);
            ck_assert_mem_eq(again + 4, text + 4, sizeof(again) - 4);
        }
    }
    /* Only digits have other values: of the day, the year, the hour, the minute and the second. */
    unsigned fixed_bytes = sizeof("Sun, "
                                  " Nov "
                                  " "
                                  ":"
                                  ":"
                                  " GMT") -
                           1;
    ck_assert_uint_eq(accepted, fixed_bytes + (3 + 9) + 4 * 10 + (2 + 10) + (6 + 10) + (6 + 10));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("date");
    TCase *tests = tcase_create("date");
    tcase_add_test(tests, samples);
    tcase_add_test(tests, times_without_four_digits_are_clamped);
    tcase_add_test(tests, every_day_boundary);
    tcase_add_test(tests, random_times_in_all_three_forms);
    tcase_add_test(tests, two_digit_years_are_at_most_fifty_years_ahead);
    tcase_add_test(tests, a_clock_far_away_does_no_harm);
    tcase_add_test(tests, leap_days_and_leap_seconds);
    tcase_add_test(tests, a_wrong_day_name_does_not_matter);
    tcase_add_test(tests, bad_dates);
    tcase_add_test(tests, every_changed_byte);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
