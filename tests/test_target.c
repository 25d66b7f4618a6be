/* test_target.c - targets taken apart, hosts checked, paths normalised, escapes decoded. (Targets and hosts in requests
 * are among the parser's samples.) */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "rill/http/target.h"
#include "support/random.h"
#include "support/run_suite.h"

static void expect_slice(struct rill_slice slice, const char *text)
{
    ck_assert_msg(rill_slice_equal(slice, rill_slice_of(text)), "[%.*s] should be [%s]", (int)slice.length, slice.bytes,
                  text);
}

static struct rill_slice part(const char *text, uint32_t offset, uint32_t length)
{
    struct rill_slice slice = {text + offset, length};
    return slice;
}

START_TEST(targets_come_apart)
{
    static const struct {
        const char *text;
        enum rill_method method;
        enum rill_target_form form;
        const char *authority, *path, *query;
    } cases[] = {
        {"/", RILL_METHOD_GET, RILL_TARGET_ORIGIN, "", "/", NULL},
        {"/a/b?c=d?e", RILL_METHOD_GET, RILL_TARGET_ORIGIN, "", "/a/b", "c=d?e"},
        {"/?", RILL_METHOD_GET, RILL_TARGET_ORIGIN, "", "/", ""},
        {"/*", RILL_METHOD_OPTIONS, RILL_TARGET_ORIGIN, "", "/*", NULL},
        {"*", RILL_METHOD_OPTIONS, RILL_TARGET_ASTERISK, "", "", NULL},
        {"http://h:1/p?q", RILL_METHOD_GET, RILL_TARGET_ABSOLUTE, "h:1", "/p", "q"},
        {"hTTps://[::1]", RILL_METHOD_PUT, RILL_TARGET_ABSOLUTE, "[::1]", "", NULL},
        {"http://h?q", RILL_METHOD_GET, RILL_TARGET_ABSOLUTE, "h", "", "q"},
        {"h:1", RILL_METHOD_CONNECT, RILL_TARGET_AUTHORITY, "h:1", "", NULL},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        const char *text = cases[i].text;
        struct rill_target target;
        const char *reason = NULL;
        ck_assert_int_eq(rill_target_parse(rill_slice_of(text), cases[i].method, &target, &reason), 0);
        ck_assert_int_eq(target.form, cases[i].form);
        expect_slice(part(text, target.authority_offset, target.authority_length), cases[i].authority);
        expect_slice(part(text, target.path_offset, target.path_length), cases[i].path);
        ck_assert_int_eq(target.has_query, cases[i].query != NULL);
        if (cases[i].query != NULL)
            expect_slice(part(text, target.query_offset, target.query_length), cases[i].query);
        ck_assert_int_eq(target.is_https, strncmp(text, "hTTps:", 6) == 0);
    }
}
END_TEST

START_TEST(bad_targets_have_a_reason)
{
    static const char *const cases[] = {"", "a", "*", "/%", "/#", "http://", "http://a@b/", "ftp://h/", "//\\"};
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        struct rill_target target;
        const char *reason = NULL;
        ck_assert_int_eq(rill_target_parse(rill_slice_of(cases[i]), RILL_METHOD_GET, &target, &reason), -EINVAL);
        ck_assert_ptr_nonnull(reason);
    }
}
END_TEST

/* PATH in memory of its own, and a buffer of exactly its size, for the sanitizer. NULL wanted: refused. */
static void expect_path(const char *path, const char *wanted)
{
    size_t length = strlen(path);
    char *copy = malloc(length + 1);
    char *buffer = malloc(length + 1);
    ck_assert(copy != NULL && buffer != NULL);
    char *start = copy + 1; /* bytes [1, length] of a block: both ends are guarded */
    memcpy(start, path, length);
    struct rill_slice result = {NULL, 0};
    int rc = rill_path_normalise((struct rill_slice){start, length}, buffer, length, &result);
    if (wanted == NULL) {
        ck_assert_msg(rc == -EINVAL, "[%s] should be refused", path);
    } else {
        ck_assert_msg(rc == 0, "[%s] is refused", path);
        expect_slice(result, wanted);
    }
    free(buffer);
    free(copy);
}

START_TEST(paths_mean_one_thing)
{
    static const char *const cases[][2] = {
        {"", "/"},
        {"/", "/"},
        {"/a/b.c", "/a/b.c"},
        {"/a/", "/a/"},
        {"//", "/"},
        {"//a///b//", "/a/b/"},
        {"/.", "/"},
        {"/./", "/"},
        {"/a/.", "/a/"},
        {"/a/./b", "/a/b"},
        {"/a/..", "/"},
        {"/a/../", "/"},
        {"/a/b/..", "/a/"},
        {"/a/b/../c", "/a/c"},
        {"/a/b/../../c", "/c"},
        {"/a//../b", "/b"},
        {"/.well-known/x", "/.well-known/x"},
        {"/...", "/..."},
        {"/..a/.b/c..", "/..a/.b/c.."},
        {"/%41%62c", "/Abc"},
        {"/a%20b%3f%23%25", "/a b?#%"},
        {"/%2e", "/"},
        {"/a/%2E%2e/b", "/b"},
        {"/a/.%2e/b", "/b"},
        {"/%252e%252e/a", "/%2e%2e/a"},
        {"/%252f", "/%2f"},
        {"/%c3%a9", "/\xc3\xa9"},
        {"/%0a", "/\n"},
        {"/a;b=c/d", "/a;b=c/d"},
        {"/..", NULL},
        {"/../", NULL},
        {"/../a", NULL},
        {"/a/../..", NULL},
        {"/a/../../b", NULL},
        {"//../a", NULL},
        {"/./../a", NULL},
        {"/%2e%2e", NULL},
        {"/%2e%2e/a", NULL},
        {"/.%2E/a", NULL},
        {"/a/%2e%2e/%2e%2e/b", NULL},
        {"/%2f", NULL},
        {"/a%2Fb", NULL},
        {"/..%2f..%2fetc/passwd", NULL},
        {"/\\", NULL},
        {"/a\\..\\b", NULL},
        {"/%5c", NULL},
        {"/..%5C..", NULL},
        {"/%00", NULL},
        {"/a%00.html", NULL},
        {"/%", NULL},
        {"/%4", NULL},
        {"/%zz", NULL},
        {"/%4g", NULL},
        {"a", NULL},
        {"a/%41", NULL},
        {"*", NULL},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++)
        expect_path(cases[i][0], cases[i][1]);
}
END_TEST

START_TEST(a_clean_path_is_not_copied)
{
    const char *path = "/a/b.c/d-e_f~g/";
    struct rill_slice result;
    ck_assert_int_eq(rill_path_normalise(rill_slice_of(path), NULL, 0, &result), 0);
    ck_assert_ptr_eq(result.bytes, path);
    ck_assert_uint_eq(result.length, strlen(path));
    char buffer[4];
    ck_assert_int_eq(rill_path_normalise(rill_slice_of("/%41"), buffer, 3, &result), -ENOBUFS);
    ck_assert_int_eq(rill_path_normalise(rill_slice_of("/%41"), buffer, 4, &result), 0);
}
END_TEST

/* Whatever goes in, what comes out is rooted, has no `.`, `..` or empty segment, and stays itself when it is clean. */
START_TEST(whatever_goes_in_nothing_climbs_out)
{
    static const char *const pieces[] = {"/", "/", "/", ".", "..", "a", "b.", "%2e", "%2E", "%41", "%25", "%2f", "\\"};
    struct test_random random = {(uint64_t)_i + 1};
    for (int round = 0; round < 2000; round++) {
        char path[256] = "/";
        char buffer[256];
        for (size_t count = test_random_below(&random, 16); count > 0; count--)
            strcat(path, pieces[test_random_below(&random, rill_array_length(pieces))]);
        struct rill_slice result;
        if (rill_path_normalise(rill_slice_of(path), buffer, sizeof(buffer), &result) != 0)
            continue;
        char text[258];
        snprintf(text, sizeof(text), "%.*s", (int)result.length, result.bytes);
        ck_assert_msg(text[0] == '/', "[%s] becomes [%s]", path, text);
        ck_assert_msg(strstr(text, "//") == NULL, "[%s] becomes [%s]", path, text);
        strcat(text, "/");
        ck_assert_msg(strstr(text, "/../") == NULL && strstr(text, "/./") == NULL, "[%s] becomes [%s]", path, text);
    }
}
END_TEST

START_TEST(escapes_are_decoded_once)
{
    static const struct {
        const char *text;
        bool plus_is_space;
        const char *wanted;
    } cases[] = {
        {"", true, ""},        {"abc", true, "abc"}, {"a+b", true, "a b"},   {"a+b", false, "a+b"},
        {"%41+", false, "A+"}, {"%2B+", true, "+ "}, {"%2541", true, "%41"}, {"%", true, NULL},
        {"a%4", true, NULL},   {"%zz", false, NULL}, {"a%", false, NULL},    {"%c3%A9", false, "\xc3\xa9"},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        char buffer[32];
        struct rill_slice result;
        int rc =
            rill_percent_decode(rill_slice_of(cases[i].text), cases[i].plus_is_space, buffer, sizeof(buffer), &result);
        ck_assert_int_eq(rc, cases[i].wanted != NULL ? 0 : -EINVAL);
        if (rc == 0)
            expect_slice(result, cases[i].wanted);
    }
    struct rill_slice result;
    char buffer[3];
    ck_assert_int_eq(rill_percent_decode(rill_slice_of("%41"), false, buffer, 2, &result), -ENOBUFS);
    ck_assert_int_eq(rill_percent_decode(rill_slice_of("%00"), false, buffer, 3, &result), 0);
    ck_assert_uint_eq(result.length, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target");
    TCase *cases = tcase_create("target");
    tcase_add_test(cases, targets_come_apart);
    tcase_add_test(cases, bad_targets_have_a_reason);
    tcase_add_test(cases, paths_mean_one_thing);
    tcase_add_test(cases, a_clean_path_is_not_copied);
    tcase_add_loop_test(cases, whatever_goes_in_nothing_climbs_out, 0, 5);
    tcase_add_test(cases, escapes_are_decoded_once);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
