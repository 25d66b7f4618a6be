/* test_full_disk.c - both logs on a disk that fills up at every byte and has room again: whole lines only, none twice,
 * and as many counted as are missing. */
#include "rill/core/line_writer.h"
#include "rill/core/log.h"
#include "support/faulty_sys.h"
#include "support/folder.h"
#include "support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES = 65536 };

static char folder[FOLDER_BYTES];
static char path[64], moved[64], said_path[64];
static int saved_stderr;

static void setup(void)
{
    folder_make(folder);
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(moved, sizeof moved, "%s/log.1", folder);
    snprintf(said_path, sizeof said_path, "%s/stderr", folder);
    faulty_sys_reset();
    saved_stderr = dup(STDERR_FILENO);
    ck_assert_int_eq(mkfifo(said_path, 0600), 0); /* no file: it has room */
    int fd = open(said_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    close(fd);
}

static void teardown(void)
{
    faulty_sys_reset();
    ck_assert_int_eq(rill_log_open(NULL), 0);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    folder_remove(folder);
}

static void disk_has_room(size_t bytes)
{
    __atomic_store_n(&faulty_sys.disk_room, bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&faulty_sys.disk_limited, true, __ATOMIC_RELEASE);
}

static void disk_is_large(void)
{
    __atomic_store_n(&faulty_sys.disk_limited, false, __ATOMIC_RELEASE);
}

/* What was said on standard error since the last call. */
static const char *said(void)
{
    static char text[TEXT_BYTES];
    ssize_t n = read(STDERR_FILENO, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static unsigned occurrences(const char *text, const char *what)
{
    unsigned count = 0;
    for (; (text = strstr(text, what)); text++)
        count++;
    return count;
}

/* What there is of lines 0 to 98: each whole, in order, once; and of those that are missing, how many were spoken of.
 */
struct tally {
    unsigned next, present;
    unsigned long long missing; /* before `next`, and not spoken of */
    unsigned notices;
};

/* TEXT without its end: "...line 07 xxx." or "...N lines dropped...". A notice stands where the missing lines would. */
static void tally_line(struct tally *tally, const char *text)
{
    unsigned number;
    unsigned long long dropped;
    const char *line = strstr(text, "line "), *notice = strstr(text, " lines dropped");
    if (notice) {
        while (notice > text && notice[-1] >= '0' && notice[-1] <= '9')
            notice--;
        ck_assert_int_eq(sscanf(notice, "%llu", &dropped), 1);
        ck_assert_uint_gt(dropped, 0);
        tally->notices++;
        tally->missing -= dropped; /* below nothing until the next line has come */
        return;
    }
    ck_assert_msg(line && sscanf(line, "line %u", &number) == 1 && strcmp(line + 7, " xxxxxxxxxx.") == 0, "torn: '%s'",
                  text);
    ck_assert_msg(number >= tally->next, "line %u after %u", number, tally->next);
    tally->missing += number - tally->next;
    tally->next = number + 1;
    tally->present++;
}

static struct tally tally_file(const char *file_path)
{
    struct tally tally = {0};
    char text[TEXT_BYTES];
    snprintf(text, sizeof text, "%s", file_text(file_path));
    char *at = text;
    for (char *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = 0;
        tally_line(&tally, at);
    }
    ck_assert_msg(*at == 0, "the last line has no end: '%s'", at);
    return tally;
}

/* --- the error log --- */

static void log_line(unsigned number)
{
    rill_log_error("line %02u xxxxxxxxxx.", number);
}

/* Wherever the disk ends in the first lines. */
enum { MOST_ROOM = 200 };

START_TEST(the_error_log_has_whole_lines_and_counts_the_rest)
{
    bool tore = false;
    for (unsigned room = 0; room < MOST_ROOM; room++) {
        uint64_t before = rill_log_dropped();
        unlink(path);
        disk_has_room(room);
        ck_assert_int_eq(rill_log_open(path), 0);
        for (unsigned i = 0; i < 6; i++)
            log_line(i);
        uint64_t dropped = rill_log_dropped() - before;
        ck_assert_uint_gt(dropped, 0);
        const char *text = said();
        ck_assert_uint_eq(occurrences(text, "\n"), 1);
        ck_assert_ptr_nonnull(strstr(text, " error main: cannot write to "));
        ck_assert_ptr_nonnull(strstr(text, "No space left on device; lines are dropped"));
        text = file_text(path);
        tore |= *text && text[strlen(text) - 1] != '\n';

        disk_is_large();
        log_line(6);
        log_line(7);
        ck_assert_str_eq(said(), "");
        ck_assert_uint_eq(rill_log_dropped() - before, dropped);
        struct tally tally = tally_file(path);
        ck_assert_uint_eq(tally.next, 8);
        ck_assert_uint_eq(tally.present + dropped, 8);
        ck_assert_uint_eq(tally.notices, 1);
        ck_assert_uint_eq(tally.missing, 0);
    }
    ck_assert(tore);
}
END_TEST

/* Somebody deletes a little now and then: no line is whole at once for a long time. */
START_TEST(room_that_comes_in_bits)
{
    for (unsigned bit = 1; bit < 100; bit += 3) {
        uint64_t before = rill_log_dropped();
        unlink(path);
        ck_assert_int_eq(rill_log_open(path), 0);
        for (unsigned i = 0; i < 60; i++) {
            disk_has_room(bit);
            log_line(i);
        }
        disk_is_large();
        log_line(60);
        struct tally tally = tally_file(path);
        ck_assert_uint_eq(tally.next, 61);
        ck_assert_uint_eq(tally.missing, 0);
        ck_assert_uint_eq(tally.present + (rill_log_dropped() - before), 61);
        said();
    }
}
END_TEST

START_TEST(another_full_disk_is_said_again)
{
    ck_assert_int_eq(rill_log_open(path), 0);
    for (unsigned times = 0; times < 3; times++) {
        disk_has_room(10);
        log_line(3 * times);
        log_line(3 * times + 1);
        ck_assert_uint_eq(occurrences(said(), "cannot write to "), 1);
        disk_is_large();
        log_line(3 * times + 2);
    }
    ck_assert_uint_eq(tally_file(path).missing, 0);
}
END_TEST

/* The rest of a line does not go into another file; what is missing is spoken of there. */
START_TEST(a_new_file_begins_with_a_whole_line)
{
    uint64_t before = rill_log_dropped();
    ck_assert_int_eq(rill_log_open(path), 0);
    disk_has_room(30);
    log_line(0);
    log_line(1);
    ck_assert_int_eq(rename(path, moved), 0);
    ck_assert_int_eq(rill_log_reopen(), 0);
    disk_is_large();
    log_line(2);
    ck_assert_uint_eq(strlen(file_text(moved)), 30);
    struct tally tally = tally_file(path);
    ck_assert_uint_eq(tally.present, 1);
    ck_assert_uint_eq(tally.next, 3);
    ck_assert_uint_eq(tally.missing, 0);
    ck_assert_uint_eq(rill_log_dropped() - before, 2);
}
END_TEST

static void leave_torn(const char *text)
{
    file_write(path, text, strlen(text));
}

/* A process that died on a full disk has left the beginning of a line. */
START_TEST(a_torn_end_of_the_error_log_is_ended)
{
    for (unsigned full = 0; full < 2; full++) {
        leave_torn("whole\ntorn");
        if (full)
            disk_has_room(0);
        ck_assert_int_eq(rill_log_open(path), 0);
        if (full)
            log_line(0);
        disk_is_large();
        rill_log_info("next");
        const char *text = file_text(path);
        ck_assert_int_eq(strncmp(text, "whole\ntorn\n2", 12), 0);
        ck_assert_uint_eq(occurrences(text, "\n"), full ? 4 : 3);
        ck_assert_uint_eq(occurrences(text, " 1 lines dropped"), full);
    }
    leave_torn("whole\n");
    ck_assert_int_eq(rill_log_open(path), 0);
    rill_log_info("next");
    ck_assert_int_eq(strncmp(file_text(path), "whole\n2", 7), 0);
}
END_TEST

/* --- the access log --- */

static struct rill_line_writer *start_writer(void)
{
    struct rill_line_writer_config config = {.path = path, .ring_bytes = 1024, .flush_interval_ms = 1};
    int error;
    struct rill_line_writer *writer = rill_line_writer_start(&config, &error);
    ck_assert_ptr_nonnull(writer);
    return writer;
}

/* Returns whether there was room in the ring. */
static bool put_line(struct rill_line_channel *channel, unsigned number)
{
    char *room = rill_line_channel_reserve(channel, 64);
    if (room)
        rill_line_channel_commit(channel, (size_t)snprintf(room, 64, "line %02u xxxxxxxxxx.\n", number));
    return room != NULL;
}

static void wait_for_failure(const char *text)
{
    static char all[TEXT_BYTES];
    size_t length = 0;
    do {
        poll(NULL, 0, 1);
        length += (size_t)snprintf(all + length, sizeof all - length, "%s", said());
    } while (!strstr(all, text));
    ck_assert_uint_eq(occurrences(all, text), 1);
}

START_TEST(the_access_log_has_whole_lines_and_counts_the_rest)
{
    ck_assert_int_eq(rill_log_open(NULL), 0);
    for (unsigned room = 0; room < 70; room++) {
        unlink(path);
        disk_has_room(room);
        struct rill_line_writer *writer = start_writer();
        struct rill_line_channel *channel = rill_line_channel_new(writer);
        unsigned lines = 0, landed = 0;
        while (lines < 80) /* more than the ring and the disk can take */
            landed += put_line(channel, lines++);
        wait_for_failure("No space left on device");
        ck_assert_uint_eq(rill_line_writer_dropped(writer), lines - landed);
        ck_assert_uint_lt(landed, lines);

        disk_is_large();
        while (!put_line(channel, lines)) { /* hangs when it does not go on */
            lines = lines < 98 ? lines + 1 : lines;
            poll(NULL, 0, 1);
        }
        uint64_t dropped = rill_line_writer_dropped(writer);
        rill_line_writer_stop(writer);
        struct tally tally = {0};
        unsigned long long spoken_of = 0;
        char text[TEXT_BYTES];
        snprintf(text, sizeof text, "%s", file_text(path));
        char *at = text;
        for (char *end; (end = strchr(at, '\n')); at = end + 1) {
            unsigned long long count;
            *end = 0;
            if (sscanf(at, "# %llu lines dropped", &count) == 1)
                spoken_of += count;
            else
                tally_line(&tally, at);
        }
        ck_assert_msg(*at == 0, "the last line has no end: '%s'", at);
        ck_assert_uint_eq(tally.present, landed + 1);
        ck_assert_uint_eq(spoken_of, dropped);
        ck_assert_str_eq(said(), "");
    }
}
END_TEST

/* The loop whose line it is need not be the one whose lines would be written first. */
START_TEST(a_cut_line_is_finished_before_other_loops_lines)
{
    for (unsigned whose = 0; whose < 2; whose++) {
        unlink(path);
        disk_has_room(5);
        struct rill_line_writer *writer = start_writer();
        struct rill_line_channel *channels[2] = {rill_line_channel_new(writer), rill_line_channel_new(writer)};
        ck_assert(put_line(channels[whose], 0));
        wait_for_failure("No space left on device");
        ck_assert(put_line(channels[!whose], 1));
        disk_is_large();
        rill_line_writer_stop(writer);
        ck_assert_str_eq(file_text(path), "line 00 xxxxxxxxxx.\nline 01 xxxxxxxxxx.\n");
    }
}
END_TEST

START_TEST(a_torn_end_of_the_access_log_is_ended)
{
    for (unsigned full = 0; full < 2; full++) {
        leave_torn("whole\ntorn");
        if (full)
            disk_has_room(0);
        struct rill_line_writer *writer = start_writer();
        struct rill_line_channel *channel = rill_line_channel_new(writer);
        ck_assert(put_line(channel, 0));
        if (full)
            wait_for_failure("No space left on device");
        disk_is_large();
        ck_assert(put_line(channel, 1));
        rill_line_writer_stop(writer);
        ck_assert_str_eq(file_text(path), "whole\ntorn\nline 00 xxxxxxxxxx.\nline 01 xxxxxxxxxx.\n");
    }
}
END_TEST

/* A reopening while the disk is full: the rest of the line that was cut is dropped, and counted. */
START_TEST(a_new_access_log_begins_with_a_whole_line)
{
    disk_has_room(5);
    struct rill_line_writer *writer = start_writer();
    struct rill_line_channel *channel = rill_line_channel_new(writer);
    ck_assert(put_line(channel, 0));
    ck_assert(put_line(channel, 1));
    wait_for_failure("No space left on device");
    ck_assert_int_eq(rename(path, moved), 0);
    rill_line_writer_reopen(writer);
    while (access(path, F_OK) != 0)
        poll(NULL, 0, 1);
    while (rill_line_writer_dropped(writer) == 0)
        poll(NULL, 0, 1);
    disk_is_large();
    rill_line_writer_stop(writer);
    ck_assert_str_eq(file_text(moved), "line ");
    ck_assert_str_eq(file_text(path), "# 1 lines dropped\nline 01 xxxxxxxxxx.\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("full_disk");
    TCase *tc = tcase_create("full_disk");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_error_log_has_whole_lines_and_counts_the_rest);
    tcase_add_test(tc, room_that_comes_in_bits);
    tcase_add_test(tc, another_full_disk_is_said_again);
    tcase_add_test(tc, a_new_file_begins_with_a_whole_line);
    tcase_add_test(tc, a_torn_end_of_the_error_log_is_ended);
    tcase_add_test(tc, the_access_log_has_whole_lines_and_counts_the_rest);
    tcase_add_test(tc, a_cut_line_is_finished_before_other_loops_lines);
    tcase_add_test(tc, a_torn_end_of_the_access_log_is_ended);
    tcase_add_test(tc, a_new_access_log_begins_with_a_whole_line);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
