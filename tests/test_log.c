/* test_log.c - the error log: levels, the shape of a line, and reopening. */
#include "rill/core/log.h"
#include "support/folder.h"
#include "support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[FOLDER_BYTES];
static char path[64];
static char moved[64];

static void setup(void)
{
    folder_make(folder);
    snprintf(path, sizeof path, "%s/error.log", folder);
    snprintf(moved, sizeof moved, "%s/error.log.1", folder);
    ck_assert_int_eq(rill_log_open(path), 0);
}

static void teardown(void)
{
    ck_assert_int_eq(rill_log_open(NULL), 0);
    rill_log_set_level(RILL_LOG_INFO);
    folder_remove(folder);
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int rc = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    ck_assert_msg(rc == 0, "'%s' does not match %s", text, pattern);
}

START_TEST(a_line_has_time_level_and_thread)
{
    rill_log_warn("cannot do %s: %d", "this", 7);
    assert_matches(file_text(path), "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z warn main: "
                                    "cannot do this: 7\n$");
}
END_TEST

static void *log_from_thread(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "reactor-7");
    rill_log_info("here");
    return NULL;
}

START_TEST(a_line_names_its_thread)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, log_from_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_matches(file_text(path), "Z info reactor-7: here\n$");
}
END_TEST

START_TEST(levels_are_read)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};
    for (size_t i = 0; i < rill_array_length(names); i++) {
        enum rill_log_level level = RILL_LOG_DEBUG;
        ck_assert_int_eq(rill_log_level_parse(names[i], &level), 0);
        ck_assert_int_eq((int)level, (int)i);
    }
    enum rill_log_level level = RILL_LOG_WARN;
    ck_assert_int_eq(rill_log_level_parse("warning", &level), -EINVAL);
    ck_assert_int_eq(rill_log_level_parse("", &level), -EINVAL);
    ck_assert_int_eq(rill_log_level_parse("WARN", &level), -EINVAL);
    ck_assert_int_eq((int)level, RILL_LOG_WARN);
}
END_TEST

START_TEST(lines_below_the_level_are_dropped)
{
    for (int set = RILL_LOG_DEBUG; set <= RILL_LOG_OFF; set++) {
        ck_assert_int_eq(truncate(path, 0), 0);
        rill_log_set_level((enum rill_log_level)set);
        int expected = 0;
        for (int level = RILL_LOG_DEBUG; level <= RILL_LOG_OFF; level++) {
            bool wanted = level >= set && level != RILL_LOG_OFF;
            ck_assert_int_eq(rill_log_enabled((enum rill_log_level)level), wanted);
            rill_log((enum rill_log_level)level, "x");
            expected += wanted;
        }
        int lines = 0;
        for (const char *at = file_text(path); (at = strchr(at, '\n')) != NULL; at++)
            lines++;
        ck_assert_int_eq(lines, expected);
    }
}
END_TEST

START_TEST(control_bytes_are_shown)
{
    rill_log_error("a\nb\r\x1b[31mc\td\x7f\xc3\xa4");
    assert_matches(file_text(path), " error main: a\\\\x0ab\\\\x0d\\\\x1b\\[31mc\\\\x09d\\\\x7f\xc3\xa4\n$");
}
END_TEST

START_TEST(long_lines_are_cut)
{
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    rill_log_error("%s", text);
    memset(text, '\n', sizeof text - 1); /* four bytes each in the log */
    rill_log_error("%s", text);
    const char *written = file_text(path);
    const char *second = strchr(written, '\n') + 1;
    ck_assert_int_eq(second - written, 2048);
    size_t length = strlen(second);
    ck_assert_uint_le(length, 2048);
    ck_assert_uint_gt(length, 2040);
    ck_assert_int_eq(second[length - 1], '\n');
    ck_assert_int_eq(second[length - 2], 'a');
}
END_TEST

START_TEST(errno_is_kept)
{
    errno = ENOTTY;
    rill_log_error("x");
    ck_assert_int_eq(errno, ENOTTY);
}
END_TEST

START_TEST(reopen_after_a_rename)
{
    rill_log_info("one");
    ck_assert_int_eq(rename(path, moved), 0);
    rill_log_info("two");
    ck_assert_int_eq(rill_log_reopen(), 0);
    rill_log_info("three");
    assert_matches(file_text(moved), " one\n.* two\n$");
    assert_matches(file_text(path), "^[^\n]* three\n$");
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0137, 0);
}
END_TEST

START_TEST(failures_change_nothing)
{
    ck_assert_int_eq(rill_log_open("/nonexistent/error.log"), -ENOENT);
    rill_log_info("one");
    ck_assert_int_eq(rename(path, moved), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(rill_log_reopen(), -EISDIR);
    rill_log_info("two");
    assert_matches(file_text(moved), " one\n.* two\n$");
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(reopen_of_standard_error_is_a_no_op)
{
    ck_assert_int_eq(rill_log_open(NULL), 0);
    ck_assert_int_eq(rill_log_reopen(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_line_has_time_level_and_thread);
    tcase_add_test(tc, a_line_names_its_thread);
    tcase_add_test(tc, levels_are_read);
    tcase_add_test(tc, lines_below_the_level_are_dropped);
    tcase_add_test(tc, control_bytes_are_shown);
    tcase_add_test(tc, long_lines_are_cut);
    tcase_add_test(tc, errno_is_kept);
    tcase_add_test(tc, reopen_after_a_rename);
    tcase_add_test(tc, failures_change_nothing);
    tcase_add_test(tc, reopen_of_standard_error_is_a_no_op);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
