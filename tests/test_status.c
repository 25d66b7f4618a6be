/* Every status code there is, and those that are none. */
#include "rill/http/status.h"
#include "support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* The codes of the IANA registry, once more. */
static const unsigned registered[] = {
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305,
    307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421,
    422, 423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
};

static bool is_registered(unsigned status)
{
    for (size_t i = 0; i < rill_array_length(registered); i++)
        if (registered[i] == status)
            return true;
    return false;
}

START_TEST(every_code_has_its_line)
{
    for (unsigned status = 0; status < 1100; status++) {
        struct rill_slice line = rill_status_line(status), reason = rill_status_reason(status);
        char expected[96];
        ck_assert_msg((reason.length > 0) == is_registered(status), "%u", status);
        unsigned shown = status >= 100 && status <= 599 ? status : 500;
        struct rill_slice shown_reason = rill_status_reason(shown);
        snprintf(expected, sizeof(expected), "HTTP/1.1 %u %.*s\r\n", shown, (int)shown_reason.length,
                 shown_reason.bytes);
        ck_assert_msg(rill_slice_equal(line, rill_slice_of(expected)), "%u: %.*s", status, (int)line.length,
                      line.bytes);
    }
    ck_assert(rill_slice_equal(rill_status_line(0u - 1u), rill_status_line(500)));
}
END_TEST

START_TEST(samples)
{
    ck_assert(rill_slice_equal(rill_status_line(200), rill_slice_of("HTTP/1.1 200 OK\r\n")));
    ck_assert(rill_slice_equal(rill_status_line(404), rill_slice_of("HTTP/1.1 404 Not Found\r\n")));
    ck_assert(rill_slice_equal(rill_status_line(416), rill_slice_of("HTTP/1.1 416 Range Not Satisfiable\r\n")));
    ck_assert(rill_slice_equal(rill_status_line(299), rill_slice_of("HTTP/1.1 299 \r\n")));
    ck_assert(rill_slice_equal(rill_status_reason(413), rill_slice_of("Content Too Large")));
}
END_TEST

START_TEST(which_have_no_body)
{
    for (unsigned status = 100; status < 600; status++)
        ck_assert_int_eq(rill_status_has_no_body(status), status / 100 == 1 || status == 204 || status == 304);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");
    tcase_add_test(tests, every_code_has_its_line);
    tcase_add_test(tests, samples);
    tcase_add_test(tests, which_have_no_body);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
