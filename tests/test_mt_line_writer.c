/* test_mt_line_writer.c - many producers, one file: every line whole and in order, none lost but those counted. */
#include "rill/core/line_writer.h"
#include "rill/core/log.h"
#include "support/folder.h"
#include "support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRODUCERS 4
#define LINE_MAX_BYTES 200

static char folder[FOLDER_BYTES];
static char path[64];
static char moved[64];

static void setup(void)
{
    folder_make(folder);
    snprintf(path, sizeof path, "%s/access.log", folder);
    snprintf(moved, sizeof moved, "%s/access.log.1", folder);
}

static void teardown(void)
{
    folder_remove(folder);
}

/* ---- Producers ------------------------------------------------------------------------------------------- */

struct producer {
    struct rill_line_channel *channel;
    unsigned number;
    unsigned lines;  /* to write */
    bool yields;     /* now and then, so that others get between */
    bool insists;    /* tries a line again until it has room */
    unsigned landed; /* lines that had room */
    uint64_t refused;
};

/* Line I of producer NUMBER: "NUMBER I xxxx.\n", of a length that differs from line to line. */
static size_t make_line(char *into, unsigned number, unsigned i)
{
    int n = snprintf(into, LINE_MAX_BYTES, "%u %u ", number, i);
    size_t fill = (i * 7919u + number) % 150;
    memset(into + n, 'x', fill);
    memcpy(into + (size_t)n + fill, ".\n", 2);
    return (size_t)n + fill + 2;
}

static void *produce(void *arg)
{
    struct producer *producer = arg;
    for (unsigned i = 0; i < producer->lines; i++) {
        char *room;
        while (!(room = rill_line_channel_reserve(producer->channel, LINE_MAX_BYTES))) {
            producer->refused++;
            if (!producer->insists)
                break;
            poll(NULL, 0, 1);
        }
        if (!room)
            continue;
        rill_line_channel_commit(producer->channel, make_line(room, producer->number, i));
        producer->landed++;
        if (producer->yields && i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static void run_producers(struct rill_line_writer *writer, struct producer producers[PRODUCERS], unsigned lines)
{
    pthread_t threads[PRODUCERS];
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i].number = i;
        producers[i].lines = lines;
        producers[i].channel = rill_line_channel_new(writer);
        ck_assert_ptr_nonnull(producers[i].channel);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
}

static struct rill_line_writer *start(const char *to, size_t ring_bytes, unsigned flush_interval_ms)
{
    struct rill_line_writer_config config = {
        .path = to, .ring_bytes = ring_bytes, .flush_interval_ms = flush_interval_ms};
    int error = 1;
    struct rill_line_writer *writer = rill_line_writer_start(&config, &error);
    ck_assert_msg(writer != NULL, "%s: %s", to, strerror(-error));
    ck_assert_int_eq(error, 0);
    return writer;
}

/* ---- The reader's side ----------------------------------------------------------------------------------- */

struct tally {
    unsigned lines[PRODUCERS];
    int64_t last[PRODUCERS];
    uint64_t dropped; /* as the notices say */
    unsigned notices;
    char line[512];
    size_t length;
};

static void tally_init(struct tally *tally)
{
    memset(tally, 0, sizeof *tally);
    for (unsigned i = 0; i < PRODUCERS; i++)
        tally->last[i] = -1;
}

/* No ck_assert here: each tells the parent process where it is. */
static void tally_line(struct tally *tally)
{
    unsigned long long dropped;
    unsigned number, i;
    char expected[LINE_MAX_BYTES];
    tally->line[tally->length] = 0;
    if (sscanf(tally->line, "# %llu lines dropped\n", &dropped) == 1) {
        char again[64];
        snprintf(again, sizeof again, "# %llu lines dropped\n", dropped);
        ck_assert_str_eq(tally->line, again);
        tally->dropped += dropped;
        tally->notices++;
        return;
    }
    if (sscanf(tally->line, "%u %u ", &number, &i) != 2 || number >= PRODUCERS)
        ck_abort_msg("not a line: %s", tally->line);
    size_t length = make_line(expected, number, i);
    if (length != tally->length || memcmp(expected, tally->line, length) != 0)
        ck_abort_msg("not whole: %s", tally->line);
    if ((int64_t)i <= tally->last[number])
        ck_abort_msg("line %u of %u after line %lld", i, number, (long long)tally->last[number]);
    tally->last[number] = i;
    tally->lines[number]++;
}

static void tally_bytes(struct tally *tally, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (tally->length == sizeof tally->line - 1)
            ck_abort_msg("a line without an end");
        tally->line[tally->length++] = bytes[i];
        if (bytes[i] == '\n') {
            tally_line(tally);
            tally->length = 0;
        }
    }
}

/* Reads FD to its end. */
static void tally_fd(struct tally *tally, int fd)
{
    char bytes[4096];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        tally_bytes(tally, bytes, (size_t)n);
    ck_assert_int_eq(n, 0);
}

static unsigned tally_lines(const struct tally *tally)
{
    unsigned lines = 0;
    for (unsigned i = 0; i < PRODUCERS; i++)
        lines += tally->lines[i];
    return lines;
}

/* Waits for bytes and takes some. */
static void tally_some(struct tally *tally, int fd)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    ck_assert_int_gt(n, 0);
    tally_bytes(tally, bytes, (size_t)n);
}

static void tally_file(struct tally *tally, const char *file_path)
{
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s: %s", file_path, strerror(errno));
    tally_fd(tally, fd);
    close(fd);
    ck_assert_uint_eq(tally->length, 0); /* ends with a whole line */
}

static void *tally_thread(void *arg)
{
    struct tally *tally = arg;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    tally_fd(tally, fd);
    close(fd);
    return NULL;
}

/* ---- Tests ----------------------------------------------------------------------------------------------- */

START_TEST(nothing_is_lost_when_there_is_room)
{
    struct producer producers[PRODUCERS] = {{.yields = true}, {0}, {.yields = true}, {0}};
    struct rill_line_writer *writer = start(path, 4u << 20, 5);
    run_producers(writer, producers, 10000);
    ck_assert_uint_eq(rill_line_writer_dropped(writer), 0);
    rill_line_writer_stop(writer);
    struct tally tally;
    tally_init(&tally);
    tally_file(&tally, path);
    for (unsigned i = 0; i < PRODUCERS; i++)
        ck_assert_uint_eq(tally.lines[i], 10000);
    ck_assert_uint_eq(tally.notices, 0);
}
END_TEST

/* The smallest ring wraps every few lines: all the ways in which a lap can end come up. */
START_TEST(every_lap_of_a_small_ring_is_whole)
{
    struct producer producers[PRODUCERS] = {{.insists = true}, {.insists = true}, {.insists = true}, {.insists = true}};
    struct rill_line_writer *writer = start(path, 1, 1000);
    run_producers(writer, producers, 3000);
    uint64_t refused = 0;
    for (unsigned i = 0; i < PRODUCERS; i++)
        refused += producers[i].refused;
    ck_assert_uint_eq(rill_line_writer_dropped(writer), refused);
    rill_line_writer_stop(writer);
    struct tally tally;
    tally_init(&tally);
    tally_file(&tally, path);
    for (unsigned i = 0; i < PRODUCERS; i++)
        ck_assert_uint_eq(tally.lines[i], 3000);
    ck_assert_uint_eq(tally.dropped, refused);
}
END_TEST

/* Lengths that end a lap exactly at the ring's end, one before it, one after it, and so on. */
START_TEST(lines_of_any_length)
{
    struct rill_line_writer *writer = start(path, 1024, 1);
    struct rill_line_channel *channel = rill_line_channel_new(writer);
    size_t total = 0;
    for (size_t length = 1; length <= 256; length++) {
        for (unsigned times = 0; times < 9; times++) {
            char *room;
            while (!(room = rill_line_channel_reserve(channel, length)))
                poll(NULL, 0, 1);
            memset(room, 'a' + (int)(length % 26), length - 1);
            room[length - 1] = '\n';
            rill_line_channel_commit(channel, length);
            total += length;
        }
    }
    rill_line_writer_stop(writer);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    char line[512];
    size_t length = 1, times = 0, read_total = 0;
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#')
            continue;
        read_total += strlen(line);
        ck_assert_uint_eq(strlen(line), length);
        for (size_t i = 0; i + 1 < length; i++)
            if (line[i] != 'a' + (int)(length % 26))
                ck_abort_msg("not whole: %s", line);
        if (++times == 9) {
            times = 0;
            length++;
        }
    }
    fclose(file);
    ck_assert_uint_eq(read_total, total);
}
END_TEST

START_TEST(a_line_may_use_less_than_its_room)
{
    struct rill_line_writer *writer = start(path, 4096, 1);
    struct rill_line_channel *channel = rill_line_channel_new(writer);
    ck_assert_ptr_null(rill_line_channel_reserve(channel, 1025)); /* more than a quarter: dropped */
    ck_assert_uint_eq(rill_line_writer_dropped(writer), 1);
    for (unsigned i = 0; i < 5000; i++) {
        char *room;
        while (!(room = rill_line_channel_reserve(channel, 1024)))
            poll(NULL, 0, 1);
        rill_line_channel_commit(channel, make_line(room, 0, i));
    }
    rill_line_writer_stop(writer);
    struct tally tally;
    tally_init(&tally);
    tally_file(&tally, path);
    ck_assert_uint_eq(tally.lines[0], 5000);
}
END_TEST

START_TEST(stop_flushes_all)
{
    struct producer producers[PRODUCERS] = {{0}};
    struct rill_line_writer *writer = start(path, 1u << 20, 3600000); /* never by the clock */
    run_producers(writer, producers, 100);
    rill_line_writer_stop(writer);
    struct tally tally;
    tally_init(&tally);
    tally_file(&tally, path);
    for (unsigned i = 0; i < PRODUCERS; i++)
        ck_assert_uint_eq(tally.lines[i], 100);
}
END_TEST

START_TEST(half_a_ring_wakes_the_thread)
{
    struct rill_line_writer *writer = start(path, 8192, 3600000);
    struct producer producer = {.channel = rill_line_channel_new(writer), .lines = 60};
    produce(&producer);
    ck_assert_uint_eq(producer.refused, 0);
    struct stat st = {0};
    while (stat(path, &st) != 0 || st.st_size == 0) /* hangs when it was not woken */
        poll(NULL, 0, 1);
    rill_line_writer_stop(writer);
}
END_TEST

/* The reader of a pipe stands still until all producers are done. */
static void stalled_reader(int reader_fd, const char *to)
{
    struct producer producers[PRODUCERS] = {{0}};
    struct rill_line_writer *writer = start(to, 16384, 5);
    run_producers(writer, producers, 5000); /* returns: nobody waited for the reader */
    uint64_t dropped = rill_line_writer_dropped(writer);
    ck_assert_uint_gt(dropped, 0);

    /* Room again: the notice, then lines once more. */
    struct tally tally;
    tally_init(&tally);
    while (tally.notices == 0)
        tally_some(&tally, reader_fd);
    ck_assert_uint_gt(tally.dropped, 0);
    unsigned landed = 0;
    for (unsigned i = 0; i < PRODUCERS; i++)
        landed += producers[i].landed;
    ck_assert_uint_eq(landed + dropped, PRODUCERS * 5000u);

    /* The producer's thread has ended: its channel is this thread's now. */
    struct producer late = producers[0];
    char *room;
    while (!(room = rill_line_channel_reserve(late.channel, LINE_MAX_BYTES)))
        tally_some(&tally, reader_fd);
    rill_line_channel_commit(late.channel, make_line(room, 0, 5000));
    dropped = rill_line_writer_dropped(writer);
    unsigned delivered = tally_lines(&tally);
    while (delivered < landed + 1) {
        tally_some(&tally, reader_fd);
        delivered = tally_lines(&tally);
    }
    rill_line_writer_stop(writer);
    ck_assert_uint_eq(delivered, landed + 1);
    ck_assert_int_eq(fcntl(reader_fd, F_SETFL, O_NONBLOCK), 0);
    char bytes[4096];
    for (ssize_t n; (n = read(reader_fd, bytes, sizeof bytes)) > 0;)
        tally_bytes(&tally, bytes, (size_t)n);
    ck_assert_uint_eq(tally.dropped, dropped);
}

START_TEST(a_stalled_fifo_costs_lines_not_time)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    stalled_reader(fd, path);
    close(fd);
}
END_TEST

/* Runs stalled_reader() with FDS[1] as standard output, and sees that its flags are left alone. */
static void stalled_stdout(int fds[2])
{
    int saved = dup(STDOUT_FILENO);
    ck_assert_int_ge(dup2(fds[1], STDOUT_FILENO), 0);
    int flags = fcntl(fds[1], F_GETFL);
    stalled_reader(fds[0], "-");
    ck_assert_int_eq(fcntl(fds[1], F_GETFL), flags);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fds[0]);
    close(fds[1]);
}

START_TEST(a_stalled_pipe_as_standard_output)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    stalled_stdout(fds);
}
END_TEST

START_TEST(a_stalled_socket_as_standard_output)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    stalled_stdout(fds);
}
END_TEST

START_TEST(a_reader_who_never_comes_back_does_not_hold_up_the_stop)
{
    struct producer producers[PRODUCERS] = {{0}};
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct rill_line_writer *writer = start(path, 1u << 20, 5);
    run_producers(writer, producers, 2000); /* more than a pipe holds, less than the rings */
    ck_assert_uint_eq(rill_line_writer_dropped(writer), 0);
    rill_line_writer_stop(writer); /* returns */
    close(fd);
}
END_TEST

/* A reader that is always a little too slow, and a writer that is stopped under it. */
START_TEST(a_slow_reader_gets_whole_lines_only)
{
    struct producer producers[PRODUCERS] = {{0}};
    struct tally tally;
    tally_init(&tally);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    pthread_t reader;
    ck_assert_int_eq(pthread_create(&reader, NULL, tally_thread, &tally), 0);
    int error = 0;
    struct rill_line_writer_config config = {.path = path, .ring_bytes = 4096, .flush_interval_ms = 1};
    struct rill_line_writer *writer;
    while (!(writer = rill_line_writer_start(&config, &error)))
        ck_assert_int_eq(error, -ENXIO); /* the reader is not there yet */
    run_producers(writer, producers, 20000);
    uint64_t dropped = rill_line_writer_dropped(writer);
    rill_line_writer_stop(writer);
    pthread_join(reader, NULL);
    uint64_t delivered = 0;
    for (unsigned i = 0; i < PRODUCERS; i++)
        delivered += tally.lines[i];
    ck_assert_uint_eq(tally.length, 0);
    ck_assert_uint_eq(tally.dropped, dropped);
    ck_assert_uint_eq(delivered + dropped, PRODUCERS * 20000u);
}
END_TEST

START_TEST(reopen_after_a_rename)
{
    struct rill_line_writer *writer = start(path, 65536, 5);
    struct producer first = {.channel = rill_line_channel_new(writer), .lines = 200, .insists = true};
    produce(&first);
    ck_assert_int_eq(rename(path, moved), 0);
    rill_line_writer_reopen(writer);
    while (access(path, F_OK) != 0) /* hangs when nothing is reopened */
        poll(NULL, 0, 1);
    struct producer second = {.channel = rill_line_channel_new(writer), .lines = 300, .number = 1, .insists = true};
    produce(&second);
    rill_line_writer_stop(writer);
    struct tally tally;
    tally_init(&tally);
    tally_file(&tally, moved);
    ck_assert_uint_eq(tally.lines[0], 200);
    ck_assert_uint_eq(tally.lines[1], 0);
    tally_init(&tally);
    tally_file(&tally, path);
    ck_assert_uint_eq(tally.lines[0], 0);
    ck_assert_uint_eq(tally.lines[1], 300);
}
END_TEST

START_TEST(reopen_while_lines_come)
{
    struct rill_line_writer *writer = start(path, 1u << 20, 1);
    struct producer producer = {.channel = rill_line_channel_new(writer), .lines = 50000, .insists = true};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, produce, &producer), 0);
    struct tally tally;
    tally_init(&tally);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(rename(path, moved), 0);
        rill_line_writer_reopen(writer);
        while (access(path, F_OK) != 0)
            poll(NULL, 0, 1);
        tally_file(&tally, moved);
    }
    pthread_join(thread, NULL);
    rill_line_writer_stop(writer);
    tally_file(&tally, path);
    ck_assert_uint_eq(tally.lines[0], 50000);
}
END_TEST

/* A file that takes nothing: producers go on, the fault is said once, and a new file takes what was kept. */
START_TEST(a_full_disk_is_said_once)
{
    char error_log[64];
    snprintf(error_log, sizeof error_log, "%s/error.log", folder);
    ck_assert_int_eq(rill_log_open(error_log), 0);
    ck_assert_int_eq(symlink("/dev/full", path), 0);
    struct rill_line_writer *writer = start(path, 8192, 1);
    struct producer producer = {.channel = rill_line_channel_new(writer), .lines = 10000};
    produce(&producer);
    ck_assert_uint_gt(producer.refused, 0);
    ck_assert_uint_eq(rill_line_writer_dropped(writer), producer.refused);
    struct stat st = {0};
    while (stat(error_log, &st) != 0 || st.st_size == 0)
        poll(NULL, 0, 1);
    unlink(path);
    rill_line_writer_reopen(writer);
    while (access(path, F_OK) != 0)
        poll(NULL, 0, 1);
    rill_line_writer_stop(writer);
    ck_assert_int_eq(rill_log_open(NULL), 0);

    struct tally tally;
    tally_init(&tally);
    tally_file(&tally, path);
    ck_assert_uint_eq(tally.lines[0], producer.landed);
    ck_assert_uint_eq(tally.dropped, producer.refused);
    FILE *file = fopen(error_log, "r");
    char line[512];
    ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
    ck_assert_ptr_nonnull(strstr(line, "No space left on device"));
    ck_assert_ptr_null(fgets(line, sizeof line, file));
    fclose(file);
    unlink(error_log);
}
END_TEST

START_TEST(a_gone_reader_harms_nobody)
{
    ck_assert_int_eq(rill_log_open("/dev/null"), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct rill_line_writer *writer = start(path, 8192, 1);
    close(fd);
    struct producer producer = {.channel = rill_line_channel_new(writer), .lines = 10000};
    produce(&producer); /* EPIPE, and SIGPIPE if the thread did not block it */
    ck_assert_uint_gt(producer.refused, 0);
    rill_line_writer_stop(writer);
    ck_assert_int_eq(rill_log_open(NULL), 0);
}
END_TEST

START_TEST(failure_to_open_is_told)
{
    struct rill_line_writer_config config = {.path = "/nonexistent/access.log"};
    int error = 0;
    ck_assert_ptr_null(rill_line_writer_start(&config, &error));
    ck_assert_int_eq(error, -ENOENT);
    rill_line_writer_stop(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("line_writer");
    TCase *tc = tcase_create("line_writer");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_is_lost_when_there_is_room);
    tcase_add_test(tc, every_lap_of_a_small_ring_is_whole);
    tcase_add_test(tc, lines_of_any_length);
    tcase_add_test(tc, a_line_may_use_less_than_its_room);
    tcase_add_test(tc, stop_flushes_all);
    tcase_add_test(tc, half_a_ring_wakes_the_thread);
    tcase_add_test(tc, a_stalled_fifo_costs_lines_not_time);
    tcase_add_test(tc, a_stalled_pipe_as_standard_output);
    tcase_add_test(tc, a_stalled_socket_as_standard_output);
    tcase_add_test(tc, a_reader_who_never_comes_back_does_not_hold_up_the_stop);
    tcase_add_test(tc, a_slow_reader_gets_whole_lines_only);
    tcase_add_test(tc, reopen_after_a_rename);
    tcase_add_test(tc, reopen_while_lines_come);
    tcase_add_test(tc, a_full_disk_is_said_once);
    tcase_add_test(tc, a_gone_reader_harms_nobody);
    tcase_add_test(tc, failure_to_open_is_told);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
