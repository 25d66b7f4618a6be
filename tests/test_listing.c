/* The directory page: what is on it, in which order, and that no name can break out of it. */
#include "rill/http/listing.h"

#include "rill/core/sys.h"
#include "support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* The page as a C string, which the caller frees. */
static char *render(const char *path, struct rill_listing_entry *entries, size_t count)
{
    char *html = NULL;
    size_t length = 0;
    ck_assert_int_eq(rill_listing_render(rill_slice_of(path), entries, count, &html, &length), 0);
    char *text = (char *)malloc(length + 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, html, length);
    text[length] = '\0';
    ck_assert_uint_eq(strlen(text), length);
    rill_sys_free(html);
    return text;
}

static struct rill_listing_entry entry(const char *name, bool is_directory, uint64_t size_bytes, int64_t mtime_seconds)
{
    return (struct rill_listing_entry){rill_slice_of(name), is_directory, size_bytes, mtime_seconds};
}

START_TEST(a_page)
{
    struct rill_listing_entry entries[] = {
        entry("b.txt", false, 1536, 784111777),
        entry("sub", true, 4096, 0),
        entry("a b.txt", false, 13, 0),
    };
    char *html = render("/docs/", entries, 3);
    ck_assert_ptr_eq(strstr(html, "<!DOCTYPE html>"), html);
    ck_assert_ptr_nonnull(strstr(html, "<meta charset=\"utf-8\">"));
    ck_assert_ptr_nonnull(strstr(html, "<title>Index of /docs/</title>"));
    ck_assert_ptr_nonnull(strstr(html, "<a href=\"../\">../</a>"));
    ck_assert_ptr_nonnull(strstr(html, "<a href=\"sub/\">sub/</a></td><td></td><td>01 Jan 1970 00:00</td>"));
    ck_assert_ptr_nonnull(strstr(html, "<a href=\"a%20b.txt\">a b.txt</a></td><td>13</td><td>01 Jan 1970 00:00</td>"));
    ck_assert_ptr_nonnull(strstr(html, "<a href=\"b.txt\">b.txt</a></td><td>1.5 KiB</td><td>06 Nov 1994 08:49</td>"));
    ck_assert_ptr_nonnull(strstr(html, "color-scheme:light dark"));
    ck_assert_str_eq(html + strlen(html) - 8, "</html>\n");
    /* Nothing comes from elsewhere. */
    ck_assert_ptr_null(strstr(html, "http:"));
    ck_assert_ptr_null(strstr(html, "https:"));
    ck_assert_ptr_null(strstr(html, "src="));
    ck_assert_ptr_null(strstr(html, "url("));
    ck_assert_ptr_null(strstr(html, "<script"));
    free(html);
}
END_TEST

START_TEST(the_root_has_no_parent)
{
    char *html = render("/", NULL, 0);
    ck_assert_ptr_null(strstr(html, "../"));
    ck_assert_ptr_null(strstr(html, "<a "));
    free(html);
}
END_TEST

START_TEST(directories_first_then_by_name)
{
    struct rill_listing_entry entries[] = {
        entry("b", false, 0, 0), entry("B", false, 0, 0),   entry("a", false, 0, 0), entry("aa", false, 0, 0),
        entry("z", true, 0, 0),  entry("\xff", true, 0, 0), entry("c", true, 0, 0),  entry("a.", false, 0, 0),
    };
    static const char *const order[] = {"c", "z", "\xff", "B", "a", "a.", "aa", "b"};
    char *html = render("/x/", entries, rill_array_length(entries));
    for (size_t i = 0; i < rill_array_length(order); i++)
        ck_assert(rill_slice_equal(entries[i].name, rill_slice_of(order[i])));
    const char *at = html;
    for (size_t i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(at = strstr(at + 1, "/</a>"));
    ck_assert_ptr_nonnull(strstr(at, "\">B</a>"));
    free(html);
}
END_TEST

START_TEST(sizes_for_people)
{
    static const struct {
        uint64_t bytes;
        const char *shown;
    } sizes[] = {
        {0, "0"},
        {1, "1"},
        {1023, "1023"},
        {1024, "1.0 KiB"},
        {1126, "1.0 KiB"},
        {1127, "1.1 KiB"},
        {10239, "9.9 KiB"},
        {10240, "10 KiB"},
        {1048575, "1023 KiB"},
        {1048576, "1.0 MiB"},
        {1073741824, "1.0 GiB"},
        {UINT64_C(1099511627776) * 20, "20 TiB"},
        {UINT64_C(1) << 50, "1.0 PiB"},
        {UINT64_C(1) << 60, "1.0 EiB"},
        {UINT64_MAX, "15 EiB"},
    };
    for (size_t i = 0; i < rill_array_length(sizes); i++) {
        struct rill_listing_entry file = entry("f", false, sizes[i].bytes, 0);
        char expected[64];
        snprintf(expected, sizeof(expected), "</a></td><td>%s</td>", sizes[i].shown);
        char *html = render("/", &file, 1);
        ck_assert_msg(strstr(html, expected) != NULL, "%s", expected);
        free(html);
    }
}
END_TEST

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Every byte that a name can have: the link leads back to the name, and the page has no tag but its own. */
START_TEST(names_cannot_break_out)
{
    char names[255][16];
    struct rill_listing_entry entries[255];
    size_t count = 0;
    for (int c = 1; c < 256; c++) {
        if (c == '/')
            continue;
        memcpy(names[count], "x<b>\"'&y%2e?#:", 15);
        names[count][0] = (char)c;
        entries[count] = entry(names[count], false, 0, 0);
        count++;
    }
    char *html = render("/<i>&\"'/", entries, count);
    ck_assert_ptr_null(strstr(html, "<b>"));
    ck_assert_ptr_null(strstr(html, "<i>"));

    const char *at = strstr(html, "../</a>");
    for (size_t i = 0; i < count; i++) {
        char name[16] = "";
        size_t length = 0;
        ck_assert_ptr_nonnull(at = strstr(at, "<a href=\""));
        for (at += 9; *at != '"'; at++) {
            ck_assert_uint_lt(length, sizeof(name) - 1);
            ck_assert_msg(*at > ' ' && *at <= '~' && !strchr("<>'&?#:\\", *at), "%c in a link", *at);
            name[length] = *at;
            if (*at == '%') {
                name[length] = (char)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
                at += 2;
            }
            length++;
        }
        ck_assert(rill_slice_equal((struct rill_slice){name, length}, entries[i].name));
    }
    ck_assert_ptr_null(strstr(at, "<a "));
    free(html);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listing");
    TCase *tests = tcase_create("listing");
    tcase_add_test(tests, a_page);
    tcase_add_test(tests, the_root_has_no_parent);
    tcase_add_test(tests, directories_first_then_by_name);
    tcase_add_test(tests, sizes_for_people);
    tcase_add_test(tests, names_cannot_break_out);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
