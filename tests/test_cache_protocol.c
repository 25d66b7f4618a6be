/* test_cache_protocol.c - rill-cache's command lines: what they say, and what is wrong with them. */
#include "rill/apps/cache/item.h"
#include "rill/apps/cache/protocol.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdlib.h>

#define FORMAT "CLIENT_ERROR bad command line format\r\n"
#define EXPTIME "CLIENT_ERROR invalid exptime argument\r\n"
#define DELTA "CLIENT_ERROR invalid numeric delta argument\r\n"
#define DELETE "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
#define KEY50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define KEY250 KEY50 KEY50 KEY50 KEY50 KEY50

START_TEST(good_lines_are_understood)
{
    static const struct {
        const char *line;
        struct rill_command wanted;
    } cases[] = {
        {"get a", {.verb = RILL_VERB_GET, .key = {" a", 2}}},
        {"  get  a   b ", {.verb = RILL_VERB_GET, .key = {"  a   b ", 8}}},
        {"gets noreply", {.verb = RILL_VERB_GETS, .key = {" noreply", 8}}},
        {"get " KEY250, {.verb = RILL_VERB_GET, .key = {" " KEY250, 251}}},
        {"get \x80\xff!~", {.verb = RILL_VERB_GET, .key = {" \x80\xff!~", 5}}},
        {"get a\tb\r", {.verb = RILL_VERB_GET, .key = {" a\tb\r", 5}}},
        {"gat 10 a b", {.verb = RILL_VERB_GAT, .exptime = 10, .key = {" a b", 4}}},
        {"gats -1 a", {.verb = RILL_VERB_GATS, .exptime = -1, .key = {" a", 2}}},
        {"gat 10", {.verb = RILL_VERB_GAT, .exptime = 10, .key = {"", 0}}},
        {"set a 1 2 3", {.verb = RILL_VERB_SET, .key = {"a", 1}, .flags = 1, .exptime = 2, .length = 3}},
        {"set a 01 02 03 noreply ",
         {.verb = RILL_VERB_SET, .noreply = true, .key = {"a", 1}, .flags = 1, .exptime = 2, .length = 3}},
        {"set a 1 2 3 whatever", {.verb = RILL_VERB_SET, .key = {"a", 1}, .flags = 1, .exptime = 2, .length = 3}},
        {"add a 4294967295 -5 2147483645",
         {.verb = RILL_VERB_ADD, .key = {"a", 1}, .flags = UINT32_MAX, .exptime = -5, .length = INT32_MAX - 2}},
        {"replace a 0 9223372036854775807 0", {.verb = RILL_VERB_REPLACE, .key = {"a", 1}, .exptime = INT64_MAX}},
        {"append a 0 9223372036854775808 0", {.verb = RILL_VERB_APPEND, .key = {"a", 1}, .exptime = INT64_MAX}},
        {"prepend a 0 -9223372036854775808 0", {.verb = RILL_VERB_PREPEND, .key = {"a", 1}, .exptime = -INT64_MAX}},
        {"cas a 0 0 1 18446744073709551615",
         {.verb = RILL_VERB_CAS, .key = {"a", 1}, .length = 1, .number = UINT64_MAX}},
        {"cas a 0 0 1 7 noreply", {.verb = RILL_VERB_CAS, .noreply = true, .key = {"a", 1}, .length = 1, .number = 7}},
        {"delete a", {.verb = RILL_VERB_DELETE, .key = {"a", 1}}},
        {"delete noreply", {.verb = RILL_VERB_DELETE, .key = {"noreply", 7}}},
        {"delete a 0", {.verb = RILL_VERB_DELETE, .key = {"a", 1}}},
        {"delete a noreply", {.verb = RILL_VERB_DELETE, .noreply = true, .key = {"a", 1}}},
        {"delete a 0 noreply", {.verb = RILL_VERB_DELETE, .noreply = true, .key = {"a", 1}}},
        {"incr a 5", {.verb = RILL_VERB_INCR, .key = {"a", 1}, .number = 5}},
        {"incr a 5 bogus", {.verb = RILL_VERB_INCR, .key = {"a", 1}, .number = 5}},
        {"decr a 18446744073709551615 noreply",
         {.verb = RILL_VERB_DECR, .noreply = true, .key = {"a", 1}, .number = UINT64_MAX}},
        {"touch a 0", {.verb = RILL_VERB_TOUCH, .key = {"a", 1}}},
        {"touch a 100 noreply", {.verb = RILL_VERB_TOUCH, .noreply = true, .key = {"a", 1}, .exptime = 100}},
        {"flush_all", {.verb = RILL_VERB_FLUSH_ALL}},
        {"flush_all 10", {.verb = RILL_VERB_FLUSH_ALL, .key = {"10", 2}, .exptime = 10}},
        {"flush_all noreply", {.verb = RILL_VERB_FLUSH_ALL, .noreply = true, .key = {"noreply", 7}}},
        {"flush_all -1 noreply", {.verb = RILL_VERB_FLUSH_ALL, .noreply = true, .key = {"-1", 2}, .exptime = -1}},
        {"verbosity 2", {.verb = RILL_VERB_VERBOSITY, .key = {"2", 1}, .number = 2}},
        {"verbosity noreply", {.verb = RILL_VERB_VERBOSITY, .noreply = true, .key = {"noreply", 7}}},
        {"stats", {.verb = RILL_VERB_STATS}},
        {"stats items", {.verb = RILL_VERB_STATS, .key = {"items", 5}}},
        {"stats noreply", {.verb = RILL_VERB_STATS, .key = {"noreply", 7}}},
        {"version 1 2 3 4 5 6 7 8 9", {.verb = RILL_VERB_VERSION, .key = {"1", 1}}},
        {"quit", {.verb = RILL_VERB_QUIT}},
        {"POST / HTTP/1.1", {.verb = RILL_VERB_QUIT}}, /* not our client */
    };
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        /* In a block of its own, so that a byte too far is seen. */
        size_t length = strlen(cases[i].line);
        char *line = malloc(length);
        struct rill_command got;
        memcpy(line, cases[i].line, length);
        const char *error = rill_command_parse((struct rill_slice){line, length}, &got);
        const struct rill_command *wanted = &cases[i].wanted;
        if (error)
            ck_abort_msg("\"%s\" is answered with %s", cases[i].line, error);
        if (got.verb != wanted->verb || got.noreply != wanted->noreply || !rill_slice_equal(got.key, wanted->key) ||
            got.flags != wanted->flags || got.length != wanted->length || got.exptime != wanted->exptime ||
            got.number != wanted->number)
            ck_abort_msg("\"%s\" is misunderstood", cases[i].line);
        free(line);
    }
}
END_TEST

START_TEST(bad_lines_are_answered)
{
    static const struct {
        const char *line, *error;
        bool noreply;
    } cases[] = {
        {"", "ERROR\r\n", false},
        {"   ", "ERROR\r\n", false},
        {"bogus", "ERROR\r\n", false},
        {"GET a", "ERROR\r\n", false},
        {"ge a", "ERROR\r\n", false},
        {"getx a", "ERROR\r\n", false},
        {"get\ta", "ERROR\r\n", false},
        {"bogus noreply", "ERROR\r\n", false},
        {"get", "ERROR\r\n", false},
        {"get   ", "ERROR\r\n", false},
        {"gat", "ERROR\r\n", false},
        {"gat x a", EXPTIME, false},
        {"get " KEY250 "k", FORMAT, false},
        {"get a " KEY250 "k b", FORMAT, false},
        {"set", "ERROR\r\n", false},
        {"set a 0 0", "ERROR\r\n", false},
        {"set a 0 0 1 noreply more", "ERROR\r\n", false},
        {"set a 0 0 1 2 3 4 5 6 7 8 9", "ERROR\r\n", false},
        {"set " KEY250 "k 0 0 1", FORMAT, false},
        {"set " KEY250 "k 0 0 1 noreply", FORMAT, true},
        {"set a b 0 1", FORMAT, false},
        {"set a -1 0 1", FORMAT, false},
        {"set a +1 0 1", FORMAT, false},
        {"set a 4294967296 0 1", FORMAT, false},
        {"set a 0 b 1", FORMAT, false},
        {"set a 0 - 1", FORMAT, false},
        {"set a 0 --1 1", FORMAT, false},
        {"set a 0 99999999999999999999 1", FORMAT, false},
        {"set a 0 0 b", FORMAT, false},
        {"set a 0 0 -1", FORMAT, false},
        {"set a 0 0 1x", FORMAT, false},
        {"set a 0 0 2147483646", FORMAT, false},
        {"set a 0 0 99999999999999999999", FORMAT, false},
        {"set a 0 0 noreply", FORMAT, true},
        {"set a 0 0 -1 noreply", FORMAT, true},
        {"cas a 0 0 1", "ERROR\r\n", false},
        {"cas a 0 0 1 x", FORMAT, false},
        {"cas a 0 0 1 -5", FORMAT, false},
        {"delete", "ERROR\r\n", false},
        {"delete a b c d", "ERROR\r\n", false},
        {"delete a 5", DELETE, false},
        {"delete a 5 noreply", DELETE, true},
        {"delete a 0 0", DELETE, false},
        {"delete a noreply x", DELETE, false},
        {"delete " KEY250 "k", FORMAT, false},
        {"incr a", "ERROR\r\n", false},
        {"incr a 1 2 3", "ERROR\r\n", false},
        {"incr a b", DELTA, false},
        {"incr a -1", DELTA, false},
        {"incr a 18446744073709551616", DELTA, false},
        {"decr a b noreply", DELTA, true},
        {"touch a", "ERROR\r\n", false},
        {"touch a b", EXPTIME, false},
        {"touch a b noreply", EXPTIME, true},
        {"touch a 1 2 3", "ERROR\r\n", false},
        {"flush_all x", EXPTIME, false},
        {"flush_all noreply 1", EXPTIME, false},
        {"flush_all 1 2 3", "ERROR\r\n", false},
        {"verbosity", "ERROR\r\n", false},
        {"verbosity x", FORMAT, false},
        {"verbosity -1", FORMAT, false},
        {"verbosity 1 2 3", "ERROR\r\n", false},
    };
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        struct rill_command command;
        const char *error = rill_command_parse(rill_slice_of(cases[i].line), &command);
        if (!error || strcmp(error, cases[i].error) != 0)
            ck_abort_msg("\"%s\" is answered with %s", cases[i].line, error ? error : "what it wants");
        ck_assert_int_eq(command.noreply, cases[i].noreply);
    }
}
END_TEST

/* Every byte but the space between keys; what ends the line is not there any more. */
START_TEST(keys_may_have_any_byte_that_does_not_end_them)
{
    for (unsigned c = 0; c < 256; c++) {
        char key[3] = {'a', (char)c, 'b'};
        struct rill_slice keys = {key, 3}, got;
        ck_assert_int_eq(rill_command_next_key(&keys, &got), 1);
        ck_assert_uint_eq(got.length, c == ' ' ? 1 : 3);
    }
}
END_TEST

START_TEST(keys_come_one_by_one)
{
    struct rill_slice keys = rill_slice_of("  one two   three  "), key;
    static const char *const wanted[] = {"one", "two", "three"};
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(rill_command_next_key(&keys, &key), 1);
        ck_assert(rill_slice_equal(key, rill_slice_of(wanted[i])));
    }
    ck_assert_int_eq(rill_command_next_key(&keys, &key), 0);
    ck_assert_int_eq(rill_command_next_key(&keys, &key), 0);
}
END_TEST

/* The limit of a line that is longer than the lower one is the same whatever of it has come. */
START_TEST(a_limit_does_not_change_as_a_line_grows)
{
    static const struct {
        const char *end;
        size_t spaces, limit;
    } cases[] = {
        {"get a ", 0, RILL_COMMAND_KEYS_MAX},    {"gats 1 a ", 3, RILL_COMMAND_KEYS_MAX},
        {"set a ", 0, RILL_COMMAND_LINE_MAX},    {"gettt ", 0, RILL_COMMAND_LINE_MAX},
        {"get a ", 2045, RILL_COMMAND_KEYS_MAX}, {"get a ", 2046, RILL_COMMAND_LINE_MAX},
        {"get a ", 3000, RILL_COMMAND_LINE_MAX},
    };
    char line[5000];
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        memset(line, ' ', cases[i].spaces);
        memcpy(line + cases[i].spaces, cases[i].end, strlen(cases[i].end));
        size_t length = cases[i].spaces + strlen(cases[i].end);
        memset(line + length, 'x', sizeof line - length);
        for (length = RILL_COMMAND_LINE_MAX + 1; length < sizeof line; length++)
            ck_assert_uint_eq(rill_command_limit((struct rill_slice){line, length}), cases[i].limit);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache protocol");
    TCase *all = tcase_create("protocol");
    tcase_add_test(all, good_lines_are_understood);
    tcase_add_test(all, bad_lines_are_answered);
    tcase_add_test(all, keys_may_have_any_byte_that_does_not_end_them);
    tcase_add_test(all, keys_come_one_by_one);
    tcase_add_test(all, a_limit_does_not_change_as_a_line_grows);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
