/* test_router.c - which handler a path finds. */
#include "rill/http/router.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct rill_router *router;
static struct rill_route_match match;

static void setup(void)
{
    router = rill_router_new();
    ck_assert_ptr_nonnull(router);
}

static void teardown(void)
{
    rill_router_free(router);
}

static void handler(struct rill_exchange *x, void *arg)
{
    (void)x, (void)arg;
}

/* Adds a route whose ARG is its pattern. */
static int add(const char *method, const char *pattern)
{
    return rill_router_add(router, method, pattern, handler, (void *)(uintptr_t)pattern);
}

static void must_add(const char *method, const char *pattern)
{
    ck_assert_msg(add(method, pattern) == 0, "%s", pattern);
}

static void find(const char *method, const char *path)
{
    struct rill_slice name = rill_slice_of(method);
    memset(&match, 0xee, sizeof match);
    rill_router_find(router, rill_method_of(name), name, rill_slice_of(path), &match);
}

/* GET PATH finds the route of PATTERN, with the parameters "name=value ...". */
static void expect(const char *path, const char *pattern, const char *params)
{
    char text[512] = "";
    size_t length = 0;
    find("GET", path);
    ck_assert_msg(match.handler == handler, "%s: %u instead of %s", path, match.status, pattern);
    ck_assert_str_eq(match.arg, pattern);
    for (unsigned i = 0; i < match.param_count; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%.*s=%.*s", i ? " " : "",
                                   (int)match.params[i].name.length, match.params[i].name.bytes,
                                   (int)match.params[i].value.length, match.params[i].value.bytes);
    ck_assert_str_eq(text, params);
}

static void expect_status(const char *method, const char *path, unsigned status, const char *allow)
{
    find(method, path);
    ck_assert(match.handler == NULL);
    ck_assert_uint_eq(match.status, status);
    ck_assert_msg(rill_slice_equal(match.allow, rill_slice_of(allow)), "%s %s: %.*s instead of %s", method, path,
                  (int)match.allow.length, match.allow.bytes, allow);
    ck_assert_uint_eq(match.param_count, 0);
}

START_TEST(literals_are_matched_whole)
{
    must_add("GET", "/");
    must_add("GET", "/a");
    must_add("GET", "/a/");
    must_add("GET", "/a/b");
    must_add("GET", "/ab");
    expect("/", "/", "");
    expect("/a", "/a", "");
    expect("/a/", "/a/", "");
    expect("/a/b", "/a/b", "");
    expect("/ab", "/ab", "");
    static const char *const missing[] = {"/b", "/A", "/a/b/", "/a/bc", "/a/b/c", "/abc", "/a//"};
    for (size_t i = 0; i < rill_array_length(missing); i++)
        expect_status("GET", missing[i], 404, "");
}
END_TEST

START_TEST(parameters_take_one_segment_that_is_not_empty)
{
    must_add("GET", "/user/:id");
    must_add("GET", "/user/:name/posts/:post");
    expect("/user/7", "/user/:id", "id=7");
    expect("/user/a b:*", "/user/:id", "id=a b:*");
    expect("/user/x/posts/y", "/user/:name/posts/:post", "name=x post=y");
    expect_status("GET", "/user/", 404, "");
    expect_status("GET", "/user", 404, "");
    expect_status("GET", "/user/7/", 404, "");
    expect_status("GET", "/user//posts/y", 404, "");
    expect_status("GET", "/user/x/posts/", 404, "");
    expect_status("GET", "/user/x/posts", 404, "");
}
END_TEST

START_TEST(the_rest_may_be_empty)
{
    must_add("GET", "/files/*path");
    must_add("GET", "/:top/x/*more");
    expect("/files/", "/files/*path", "path=");
    expect("/files/a", "/files/*path", "path=a");
    expect("/files/a/b/", "/files/*path", "path=a/b/");
    expect("/t/x/", "/:top/x/*more", "top=t more=");
    expect("/t/x/y/z", "/:top/x/*more", "top=t more=y/z");
    expect_status("GET", "/files", 404, "");
    expect_status("GET", "/t/x", 404, "");
    must_add("GET", "/*all");
    expect("/files", "/*all", "all=files");
    expect("/", "/*all", "all=");
}
END_TEST

START_TEST(literals_go_before_parameters_and_those_before_the_rest)
{
    must_add("GET", "/*rest");
    must_add("GET", "/:one");
    must_add("GET", "/a");
    must_add("GET", "/a/:two");
    must_add("GET", "/a/b");
    must_add("GET", "/a/*two");
    must_add("GET", "/:one/b/c");
    expect("/a", "/a", "");
    expect("/b", "/:one", "one=b");
    expect("/", "/*rest", "rest=");
    expect("/a/b", "/a/b", "");
    expect("/a/c", "/a/:two", "two=c");
    expect("/a/", "/a/*two", "two=");
    expect("/a/b/c", "/a/*two", "two=b/c"); /* the first segment decides first */
    expect("/x/b/c", "/:one/b/c", "one=x");
    expect("/x/b/d", "/*rest", "rest=x/b/d");
}
END_TEST

START_TEST(a_choice_that_leads_nowhere_is_taken_back)
{
    must_add("GET", "/a/b/c");
    must_add("GET", "/a/:x/d");
    must_add("GET", "/:y/b/e");
    must_add("GET", "/:y/:x/f");
    expect("/a/b/c", "/a/b/c", "");
    expect("/a/b/d", "/a/:x/d", "x=b");
    expect("/a/b/e", "/:y/b/e", "y=a");
    expect("/a/b/f", "/:y/:x/f", "y=a x=b");
    expect_status("GET", "/a/b/g", 404, "");
    expect_status("GET", "/a/b", 404, "");
}
END_TEST

/* Names belong to the route, not to the place in the tree. */
START_TEST(each_route_names_its_own_parameters)
{
    must_add("GET", "/:a/:b");
    must_add("POST", "/:c/:d");
    must_add("GET", "/:e/:f/x");
    expect("/1/2", "/:a/:b", "a=1 b=2");
    expect("/1/2/x", "/:e/:f/x", "e=1 f=2");
    find("POST", "/1/2");
    ck_assert(rill_slice_equal(match.params[0].name, rill_slice_of("c")));
    ck_assert(rill_slice_equal(match.params[1].value, rill_slice_of("2")));
}
END_TEST

START_TEST(methods_choose_among_the_handlers_of_a_path)
{
    must_add("GET", "/a");
    must_add("POST", "/a");
    must_add("PURGE", "/a");
    must_add("POST", "/b");
    must_add("HEAD", "/c");
    must_add("GET", "/c");
    must_add("OPTIONS", "/d");
    must_add(NULL, "/e");
    must_add("GET", "/e");
    find("HEAD", "/a"); /* GET answers it */
    ck_assert(match.handler != NULL);
    find("PURGE", "/a");
    ck_assert(match.handler != NULL);
    expect_status("DELETE", "/a", 405, "GET, HEAD, OPTIONS, POST, PURGE");
    expect_status("OPTIONS", "/a", 204, "GET, HEAD, OPTIONS, POST, PURGE");
    expect_status("purge", "/a", 405, "GET, HEAD, OPTIONS, POST, PURGE"); /* methods have cases */
    expect_status("HEAD", "/b", 405, "POST, OPTIONS");
    expect_status("GET", "/b", 405, "POST, OPTIONS");
    find("OPTIONS", "/d");
    ck_assert(match.handler != NULL);
    expect_status("GET", "/d", 405, "OPTIONS");
    find("ODD", "/e");
    ck_assert(match.handler != NULL);
    expect_status("OPTIONS", "/e", 204, "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS");
    expect_status("OPTIONS", "*", 204, "GET, HEAD, OPTIONS, POST, PURGE, PUT, DELETE, PATCH");
    expect_status("OPTIONS", "/nowhere", 404, "");
}
END_TEST

START_TEST(head_has_a_handler_of_its_own_when_it_wants)
{
    static int get_arg, head_arg;
    ck_assert_int_eq(rill_router_add(router, "GET", "/a", handler, &get_arg), 0);
    ck_assert_int_eq(rill_router_add(router, "HEAD", "/a", handler, &head_arg), 0);
    find("HEAD", "/a");
    ck_assert_ptr_eq(match.arg, &head_arg);
    find("GET", "/a");
    ck_assert_ptr_eq(match.arg, &get_arg);
}
END_TEST

START_TEST(head_follows_get_before_a_handler_for_all)
{
    static int get_arg, any_arg;
    ck_assert_int_eq(rill_router_add(router, NULL, "/a", handler, &any_arg), 0);
    ck_assert_int_eq(rill_router_add(router, "GET", "/a", handler, &get_arg), 0);
    find("HEAD", "/a");
    ck_assert_ptr_eq(match.arg, &get_arg);
    find("POST", "/a");
    ck_assert_ptr_eq(match.arg, &any_arg);
}
END_TEST

START_TEST(an_empty_router_finds_nothing)
{
    expect_status("GET", "/", 404, "");
    expect_status("OPTIONS", "*", 204, "OPTIONS");
}
END_TEST

START_TEST(wrong_routes_are_refused)
{
    static const char *const wrong[] = {"",
                                        "a",
                                        "a/b",
                                        "*",
                                        ":x",
                                        "/:",
                                        "/*",
                                        "/a/:",
                                        "/a/*",
                                        "/*rest/x",
                                        "/*rest/",
                                        "/:1/:2/:3/:4/:5/:6/:7/:8/:9",
                                        "/:1/:2/:3/:4/:5/:6/:7/:8/*9"};
    for (size_t i = 0; i < rill_array_length(wrong); i++)
        ck_assert_msg(add("GET", wrong[i]) == -EINVAL, "%s", wrong[i]);
    static const char *const methods[] = {"", "GE T", "GET\r\n", "G\xc3\xa4", "A,B"};
    for (size_t i = 0; i < rill_array_length(methods); i++)
        ck_assert_msg(add(methods[i], "/a") == -EINVAL, "%s", methods[i]);
    ck_assert_int_eq(rill_router_add(router, "GET", "/a", NULL, NULL), -EINVAL);
    expect_status("GET", "/a", 404, ""); /* nothing of these has stayed */
    must_add("GET", "/:1/:2/:3/:4/:5/:6/:7/*8");
    expect("/a/b/c/d/e/f/g/h/i", "/:1/:2/:3/:4/:5/:6/:7/*8", "1=a 2=b 3=c 4=d 5=e 6=f 7=g 8=h/i");
}
END_TEST

START_TEST(a_route_exists_once)
{
    must_add("GET", "/a/:x");
    ck_assert_int_eq(add("GET", "/a/:x"), -EEXIST);
    ck_assert_int_eq(add("GET", "/a/:y"), -EEXIST); /* names aside */
    must_add("POST", "/a/:y");
    must_add(NULL, "/a/:z");
    ck_assert_int_eq(add(NULL, "/a/:z"), -EEXIST);
    must_add("GET", "/a/*x");
    ck_assert_int_eq(add("GET", "/a/*y"), -EEXIST);
    must_add("GET", "/a/x");
    ck_assert_int_eq(add("GET", "/a/x"), -EEXIST);
}
END_TEST

START_TEST(a_table_is_added_up_to_its_first_error)
{
    const struct rill_route routes[] = {{"GET", "/a", handler, (void *)(uintptr_t) "/a"},
                                        {"GET", "/b", handler, (void *)(uintptr_t) "/b"},
                                        {"GET", "/a", handler, NULL},
                                        {"GET", "/c", handler, NULL},
                                        {NULL, NULL, NULL, NULL}};
    ck_assert_int_eq(rill_router_add_all(router, routes), -EEXIST);
    expect("/a", "/a", "");
    expect("/b", "/b", "");
    expect_status("GET", "/c", 404, "");
}
END_TEST

/* --- against a matcher that knows no tree --- */

enum { ROUTES = 60, PATTERN_BYTES = 40 };

static char patterns[ROUTES][PATTERN_BYTES];
static unsigned pattern_count;

/* Takes the first segment off *PATH, which begins with a slash. */
static struct rill_slice take(const char **path)
{
    const char *begin = *path + 1;
    *path = begin + strcspn(begin, "/");
    return (struct rill_slice){begin, (size_t)(*path - begin)};
}

/* Whether PATTERN matches PATH; RANK tells how well, segment by segment: 'a' literal, 'b' parameter, 'c' rest. */
static bool matches(const char *pattern, const char *path, char *rank)
{
    while (*pattern) {
        struct rill_slice want = take(&pattern);
        if (want.length > 0 && want.bytes[0] == '*') {
            *rank++ = 'c';
            *rank = '\0';
            return *path == '/';
        }
        if (*path != '/')
            return false;
        struct rill_slice have = take(&path);
        bool param = want.length > 0 && want.bytes[0] == ':';
        if (param ? have.length == 0 : !rill_slice_equal(want, have))
            return false;
        *rank++ = param ? 'b' : 'a';
    }
    *rank = '\0';
    return *path == '\0';
}

static const char *best_for(const char *path)
{
    const char *best = NULL;
    char best_rank[PATTERN_BYTES], rank[PATTERN_BYTES];
    for (unsigned i = 0; i < pattern_count; i++) {
        if (!matches(patterns[i], path, rank))
            continue;
        if (!best || strcmp(rank, best_rank) < 0) {
            best = patterns[i];
            memcpy(best_rank, rank, sizeof rank);
        }
    }
    return best;
}

static void random_path(struct test_random *random, bool is_pattern, char *path)
{
    static const char *const words[] = {"a", "b", "ab", ""};
    size_t length = 1 + test_random_below(random, 4);
    *path = '\0';
    for (size_t i = 0; i < length; i++) {
        size_t kind = test_random_below(random, 10);
        strcat(path, "/");
        if (is_pattern && kind < 3)
            strcat(path, ":p");
        else if (is_pattern && kind == 3 && i + 1 == length)
            strcat(path, "*r");
        else
            strcat(path, words[test_random_below(random, rill_array_length(words))]);
    }
}

START_TEST(routes_are_found_as_a_naive_matcher_finds_them)
{
    struct test_random random = {(uint64_t)_i + 1};
    unsigned wanted = 1 + (unsigned)test_random_below(&random, ROUTES);
    for (pattern_count = 0; pattern_count < wanted;) {
        random_path(&random, true, patterns[pattern_count]);
        int error = add("GET", patterns[pattern_count]);
        ck_assert(error == 0 || error == -EEXIST);
        if (error < 0)
            wanted--;
        else
            pattern_count++;
    }
    for (unsigned i = 0; i < 500; i++) {
        char path[PATTERN_BYTES];
        random_path(&random, false, path);
        const char *best = best_for(path);
        find("GET", path);
        ck_assert_msg((best != NULL) == (match.handler != NULL), "%s: %s", path, best ? best : "nothing");
        if (!best) {
            ck_assert_uint_eq(match.status, 404);
            continue;
        }
        ck_assert_msg(match.arg == best, "%s: %s instead of %s", path, (const char *)match.arg, best);
        const char *pattern = best, *rest = path;
        unsigned params = 0;
        while (*pattern) {
            struct rill_slice segment = take(&pattern);
            struct rill_slice value = {rest + 1, strlen(rest + 1)};
            if (segment.length == 0 || segment.bytes[0] != '*')
                value = take(&rest);
            if (segment.length == 0 || (segment.bytes[0] != ':' && segment.bytes[0] != '*'))
                continue;
            ck_assert(rill_slice_equal(match.params[params].value, value));
            ck_assert_ptr_eq(match.params[params].value.bytes, value.bytes);
            params++;
        }
        ck_assert_uint_eq(match.param_count, params);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router");
    TCase *tcase = tcase_create("router");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, literals_are_matched_whole);
    tcase_add_test(tcase, parameters_take_one_segment_that_is_not_empty);
    tcase_add_test(tcase, the_rest_may_be_empty);
    tcase_add_test(tcase, literals_go_before_parameters_and_those_before_the_rest);
    tcase_add_test(tcase, a_choice_that_leads_nowhere_is_taken_back);
    tcase_add_test(tcase, each_route_names_its_own_parameters);
    tcase_add_test(tcase, methods_choose_among_the_handlers_of_a_path);
    tcase_add_test(tcase, head_has_a_handler_of_its_own_when_it_wants);
    tcase_add_test(tcase, head_follows_get_before_a_handler_for_all);
    tcase_add_test(tcase, an_empty_router_finds_nothing);
    tcase_add_test(tcase, wrong_routes_are_refused);
    tcase_add_test(tcase, a_route_exists_once);
    tcase_add_test(tcase, a_table_is_added_up_to_its_first_error);
    tcase_add_loop_test(tcase, routes_are_found_as_a_naive_matcher_finds_them, 0, 100);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
