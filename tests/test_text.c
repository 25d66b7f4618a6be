/* Percent-encoding, HTML escaping, trimming. */
#include "rill/http/text.h"
#include "support/run_suite.h"

#include <check.h>
#include <stdlib.h>

START_TEST(every_byte_is_encoded_as_the_rfc_says)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (int c = 0; c < 256; c++) {
        char byte = (char)c, out[4] = "~~~~", expected[4] = "%00";
        struct rill_slice path = {&byte, 1};
        bool stays = c != 0 && (strchr(unreserved, c) || c == '/');
        size_t length = rill_path_encode(out, path);
        ck_assert_uint_eq(length, rill_path_encode(NULL, path));
        ck_assert_uint_eq(length, stays ? 1 : 3);
        expected[1] = "0123456789ABCDEF"[c / 16];
        expected[2] = "0123456789ABCDEF"[c % 16];
        ck_assert_mem_eq(out, stays ? &byte : expected, length);
        ck_assert_int_eq(out[length], '~');
    }
}
END_TEST

START_TEST(every_byte_is_escaped_only_when_it_must)
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c, out[8] = "~~~~~~~";
        struct rill_slice text = {&byte, 1};
        struct rill_slice expected = text;
        if (c == '&')
            expected = rill_slice_of("&amp;");
        else if (c == '<')
            expected = rill_slice_of("&lt;");
        else if (c == '>')
            expected = rill_slice_of("&gt;");
        else if (c == '"')
            expected = rill_slice_of("&quot;");
        else if (c == '\'')
            expected = rill_slice_of("&#39;");
        size_t length = rill_html_escape(out, text);
        ck_assert_uint_eq(length, rill_html_escape(NULL, text));
        ck_assert_uint_le(length, RILL_HTML_ESCAPED_MAX);
        ck_assert(rill_slice_equal((struct rill_slice){out, length}, expected));
        ck_assert_int_eq(out[length], '~');
    }
}
END_TEST

START_TEST(whole_texts)
{
    char out[128];
    struct rill_slice found = {out, 0};
    found.length = rill_path_encode(out, rill_slice_of("/a b/100%?#:\\caf\xc3\xa9/.."));
    ck_assert(rill_slice_equal(found, rill_slice_of("/a%20b/100%25%3F%23%3A%5Ccaf%C3%A9/..")));
    found.length = rill_html_escape(out, rill_slice_of("<a href=\"x\">R&D's</a>"));
    ck_assert(rill_slice_equal(found, rill_slice_of("&lt;a href=&quot;x&quot;&gt;R&amp;D&#39;s&lt;/a&gt;")));
    ck_assert_uint_eq(rill_path_encode(out, (struct rill_slice){NULL, 0}), 0);
    ck_assert_uint_eq(rill_html_escape(out, (struct rill_slice){NULL, 0}), 0);
}
END_TEST

START_TEST(trimming)
{
    static const char *const cases[][2] = {
        {"", ""},    {" ", ""},    {" \t \t", ""},       {"a", "a"},
        {" a", "a"}, {"a\t", "a"}, {"\t a b \t", "a b"}, {"\na", "\na"},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++)
        ck_assert(rill_slice_equal(rill_slice_trim(rill_slice_of(cases[i][0])), rill_slice_of(cases[i][1])));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tests = tcase_create("text");
    tcase_add_test(tests, every_byte_is_encoded_as_the_rfc_says);
    tcase_add_test(tests, every_byte_is_escaped_only_when_it_must);
    tcase_add_test(tests, whole_texts);
    tcase_add_test(tests, trimming);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
