/* test_trace.c - the trace's file to the letter, its rings, what is sampled and how long it is followed, and what
 * happens when the system refuses. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/core/trace_internal.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

enum { FILE_BYTES = 1 << 20 };

static char path[64], text[FILE_BYTES];

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/test_trace.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "old", 3), 3); /* what was there before goes */
    close(fd);
    rill_log_set_level(RILL_LOG_OFF);
}

static void teardown(void)
{
    faulty_sys_reset();
    unlink(path);
}

static const char *contents(void)
{
    int fd = open(path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ssize_t got = read(fd, text, sizeof text - 1);
    ck_assert_int_ge(got, 0);
    text[got] = '\0';
    close(fd);
    return text;
}

/* WHAT in `text`, how often. */
static unsigned count(const char *what)
{
    unsigned found = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        found++;
    return found;
}

static struct rill_trace *start(unsigned ring_events)
{
    int error = -1;
    struct rill_trace_config config = {.path = path, .sample = 1, .ring_events = ring_events};
    struct rill_trace *trace = rill_trace_start(&config, &error);
    ck_assert_ptr_nonnull(trace);
    ck_assert_int_eq(error, 0);
    return trace;
}

static struct rill_trace_mark mark(uint64_t id, uint64_t began_ns)
{
    return (struct rill_trace_mark){id, began_ns};
}

/* ---- The file -------------------------------------------------------------------------------------------- */

START_TEST(events_are_written_to_the_letter)
{
    struct rill_trace *trace = start(0);
    struct rill_trace_lane *lane = rill_trace_lane_new(trace, "a \"lane\"\n");
    rill_trace_record(lane, RILL_TRACE_READ, mark(0x1a, 1234567), 1300001, true);
    rill_trace_record(lane, RILL_TRACE_PARSE, mark(0x1a, 1300002), 1300002, false);
    rill_trace_record(lane, RILL_TRACE_WAKE_UP, mark(0x1a, 5), 2000000, false);
    rill_trace_record(lane, RILL_TRACE_WRITE, mark(0x1a, UINT64_MAX), UINT64_MAX, false);
    rill_trace_stop(trace);
    char wanted[4096];
    int pid = (int)getpid();
    snprintf(
        wanted, sizeof wanted,
        "[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"test_trace\"}},\n"
        "{\"ph\":\"M\",\"name\":\"thread_name\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":0.000,\"args\":{"
        "\"name\":\"a ?lane??\"}},\n"
        "{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":0.000,\"args\":{"
        "\"sort_index\":1}},\n"
        "{\"ph\":\"X\",\"name\":\"read\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":1234.567,\"dur\":65.434,"
        "\"args\":{\"request\":\"0x1a\"}},\n"
        "{\"ph\":\"s\",\"name\":\"request\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":1234.567,\"id\":\"0x1a\"},\n"
        "{\"ph\":\"X\",\"name\":\"parse\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":1300.002,\"dur\":0.000,"
        "\"args\":{\"request\":\"0x1a\"}},\n"
        "{\"ph\":\"b\",\"name\":\"wake-up\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":0.005,\"id\":\"0x1a\"},\n"
        "{\"ph\":\"e\",\"name\":\"wake-up\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":2000.000,\"id\":\"0x1a\"},\n"
        "{\"ph\":\"X\",\"name\":\"write\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":18446744073709551.615,"
        "\"dur\":0.000,\"args\":{\"request\":\"0x1a\"}},\n"
        "{\"ph\":\"t\",\"name\":\"request\",\"cat\":\"rill\",\"pid\":%d,\"tid\":1,\"ts\":18446744073709551.615,"
        "\"id\":\"0x1a\"},\n"
        "{\"ph\":\"i\",\"name\":\"events dropped\",",
        pid, pid, pid, pid, pid, pid, pid, pid, pid, pid);
    ck_assert_uint_ge(strlen(contents()), strlen(wanted));
    char *rest = text + strlen(wanted);
    char *dropped = strstr(rest, "\"s\"");
    ck_assert_ptr_nonnull(dropped);
    ck_assert_str_eq(dropped, "\"s\":\"g\",\"args\":{\"dropped\":0}}\n]\n");
    *rest = '\0';
    ck_assert_str_eq(text, wanted);
}
END_TEST

START_TEST(every_part_has_a_name)
{
    struct rill_trace *trace = start(0);
    struct rill_trace_lane *lane = rill_trace_lane_new(trace, "lane");
    for (unsigned part = 0; part < RILL_TRACE_PARTS; part++)
        rill_trace_record(lane, (enum rill_trace_part)part, mark(1, 10), 20, false);
    rill_trace_stop(trace);
    contents();
    ck_assert_ptr_null(strstr(text, "null"));
    ck_assert_uint_eq(count("\"ph\":\"X\""), 9);
    ck_assert_uint_eq(count("\"ph\":\"b\""), 4);
    ck_assert_uint_eq(count("\"ph\":\"e\""), 4);
}
END_TEST

/* Nothing is lost without being counted, and the file has more than one buffer's worth. */
START_TEST(all_events_are_in_the_file_or_counted)
{
    enum { EVENTS = 5000 };
    struct rill_trace *trace = start(1024);
    struct rill_trace_lane *lane = rill_trace_lane_new(trace, "lane");
    for (unsigned i = 0; i < EVENTS; i++)
        rill_trace_record(lane, RILL_TRACE_PARSE, mark(1, i), i, false);
    uint64_t dropped = rill_trace_dropped(trace);
    rill_trace_stop(trace);
    contents();
    ck_assert_uint_eq(count("\"parse\"") + dropped, EVENTS);
    ck_assert_uint_ge(count("\"parse\""), 1024);
    char end[64];
    snprintf(end, sizeof end, "\"dropped\":%llu}}\n]\n", (unsigned long long)dropped);
    ck_assert_ptr_nonnull(strstr(text, end));
}
END_TEST

START_TEST(a_trace_without_events_is_whole)
{
    rill_trace_stop(start(0));
    contents();
    ck_assert_int_eq(strncmp(text, "[\n{", 3), 0);
    ck_assert_str_eq(text + strlen(text) - 3, "\n]\n");
    ck_assert_uint_eq(count("dropped\":0"), 1);
}
END_TEST

/* ---- A lane ---------------------------------------------------------------------------------------------- */

static struct rill_trace_lane *lane;
static char key; /* its address names a connection */

static void setup_lane(void)
{
    lane = rill_trace_lane_make("lane", 3, 4, 1024);
    ck_assert_ptr_nonnull(lane);
}

static void teardown_lane(void)
{
    rill_trace_lane_free(lane);
}

/* The I-th event. */
static const struct rill_trace_event *event(unsigned i)
{
    ck_assert_uint_lt(i, lane->head);
    return &lane->ring[i];
}

START_TEST(a_full_ring_drops_and_counts)
{
    struct rill_trace_lane *small = rill_trace_lane_make("small", 1, 1, 8);
    for (unsigned i = 0; i < 20; i++)
        rill_trace_record(small, RILL_TRACE_READ, mark(i, i), i, false);
    ck_assert_uint_eq(small->head, 8);
    ck_assert_uint_eq(small->dropped, 12);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(small->ring[i].id, i);
    small->tail = 3; /* as the trace's thread does */
    for (unsigned i = 0; i < 5; i++)
        rill_trace_record(small, RILL_TRACE_READ, mark(100 + i, i), i, false);
    ck_assert_uint_eq(small->head, 11);
    ck_assert_uint_eq(small->dropped, 14);
    ck_assert_uint_eq(small->ring[2].id, 102);
    ck_assert_uint_eq(small->ring[3].id, 3);
    rill_trace_lane_free(small);
}
END_TEST

/* A read that finds something, of a connection that is over and done with afterwards. */
static bool one_read(const void *from)
{
    uint64_t began_ns = rill_trace_begin_read(lane, from);
    rill_trace_end_read(lane, from, began_ns);
    bool followed = rill_trace_look(lane, from) != 0;
    ck_assert(followed == (began_ns != 0));
    rill_trace_closed(lane, from);
    return followed;
}

START_TEST(one_read_in_n_is_followed_the_first_among_them)
{
    char keys[40] = "";
    for (unsigned i = 0; i < 40; i++)
        ck_assert(one_read(&keys[i]) == (i % 4 == 0));
    ck_assert_uint_eq(lane->head, 20); /* a read and a request each */
    for (unsigned i = 0; i < 20; i += 2) {
        ck_assert_uint_eq(event(i)->id, (uint64_t)3 << 40 | (i / 2 + 1));
        ck_assert_uint_eq(event(i)->part, RILL_TRACE_READ);
        ck_assert_uint_eq(event(i)->first, 1);
        ck_assert_uint_eq(event(i + 1)->part, RILL_TRACE_REQUEST);
        ck_assert_uint_eq(event(i + 1)->began_ns, event(i)->began_ns);
        ck_assert_uint_eq(event(i + 1)->ended_ns, event(i)->ended_ns);
        ck_assert_uint_le(event(i)->began_ns, event(i)->ended_ns);
    }
}
END_TEST

/* A read that finds nothing is none. */
START_TEST(an_empty_read_does_not_count)
{
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_ne(rill_trace_begin_read(lane, &key), 0);
    ck_assert_uint_eq(lane->head, 0);
    ck_assert(one_read(&key));
}
END_TEST

START_TEST(one_accept_in_n_is_followed_to_its_loop)
{
    unsigned marked = 0;
    for (unsigned i = 0; i < 12; i++) {
        struct rill_trace_mark accepted = rill_trace_begin_accept(lane);
        ck_assert((accepted.id != 0) == (i % 4 == 0));
        marked += accepted.id != 0;
        rill_trace_end_accept(lane, accepted);
    }
    ck_assert_uint_eq(lane->head, marked);

    char other = 0;
    struct rill_trace_mark accepted = mark(77, 1000);
    rill_trace_arrived(lane, accepted, 2000);
    uint64_t began_ns = rill_trace_begin_adopt(lane, accepted);
    rill_trace_adopted(lane, &key);
    rill_trace_adopted(lane, &other); /* within the first one's on_open: not this accept's */
    rill_trace_end_adopt(lane, accepted, began_ns);
    ck_assert_uint_eq(rill_trace_look(lane, &other), 0);
    ck_assert_uint_eq(event(marked)->part, RILL_TRACE_HANDOFF);
    ck_assert_uint_eq(event(marked)->began_ns, 1000);
    ck_assert_uint_eq(event(marked)->ended_ns, 2000);
    ck_assert_uint_eq(event(marked + 1)->part, RILL_TRACE_WAKE_UP);
    ck_assert_uint_eq(event(marked + 1)->began_ns, 2000);
    ck_assert_uint_eq(event(marked + 2)->part, RILL_TRACE_ADOPT);

    lane->reads_left = 100; /* its first request is followed, whatever the sample */
    rill_trace_end_read(lane, &key, rill_trace_begin_read(lane, &key));
    ck_assert_uint_eq(event(marked + 3)->part, RILL_TRACE_READ);
    ck_assert_uint_eq(event(marked + 3)->id, 77);
    ck_assert_uint_eq(event(marked + 3)->first, 0);
    ck_assert_uint_eq(lane->reads_left, 100);
    rill_trace_closed(lane, &key);
    ck_assert_uint_eq(event(marked + 4)->part, RILL_TRACE_REQUEST);
    ck_assert_uint_eq(event(marked + 4)->began_ns, 1000);
}
END_TEST

/* An adoption that made no connection leaves nothing behind that the next would take up. */
START_TEST(a_failed_adoption_is_forgotten)
{
    uint64_t began_ns = rill_trace_begin_adopt(lane, mark(5, 6));
    rill_trace_end_adopt(lane, mark(5, 6), began_ns);
    rill_trace_adopted(lane, &key);
    ck_assert_uint_eq(rill_trace_look(lane, &key), 0);
}
END_TEST

START_TEST(a_request_is_followed_until_its_answer_has_left)
{
    rill_trace_end_read(lane, &key, rill_trace_begin_read(lane, &key));
    uint64_t data_ns = rill_trace_begin_data(lane, &key);
    ck_assert_uint_eq(rill_trace_current(lane), event(0)->id);
    rill_trace_hold(lane, &key);
    uint64_t part_ns = rill_trace_begin(lane, &key);
    rill_trace_end(lane, &key, RILL_TRACE_HANDLER, part_ns);
    rill_trace_end_data(lane, &key, data_ns);
    ck_assert_uint_eq(rill_trace_current(lane), 0);
    rill_trace_end_write(lane, &key, rill_trace_begin(lane, &key), true); /* 100 Continue, say */
    ck_assert_uint_ne(rill_trace_look(lane, &key), 0);
    rill_trace_release(lane, &key);
    rill_trace_end_write(lane, &key, rill_trace_begin(lane, &key), false);
    ck_assert_uint_ne(rill_trace_look(lane, &key), 0);
    rill_trace_end_write(lane, &key, rill_trace_begin(lane, &key), true);
    ck_assert_uint_eq(rill_trace_look(lane, &key), 0);
    static const enum rill_trace_part wanted[] = {RILL_TRACE_READ,   RILL_TRACE_HANDLER, RILL_TRACE_DATA,
                                                  RILL_TRACE_WRITE,  RILL_TRACE_WRITE,   RILL_TRACE_WRITE,
                                                  RILL_TRACE_REQUEST};
    ck_assert_uint_eq(lane->head, rill_array_length(wanted));
    for (unsigned i = 0; i < lane->head; i++) {
        ck_assert_uint_eq(event(i)->part, wanted[i]);
        ck_assert_uint_eq(event(i)->id, event(0)->id);
    }
    ck_assert_uint_eq(event(6)->ended_ns, event(5)->ended_ns);
}
END_TEST

/* With nothing answered the next read shows that the last is over; held, it goes on. */
START_TEST(the_next_read_ends_what_was_never_answered)
{
    lane->sample = 1;
    rill_trace_end_read(lane, &key, rill_trace_begin_read(lane, &key));
    rill_trace_end_read(lane, &key, rill_trace_begin_read(lane, &key));
    ck_assert_uint_eq(lane->head, 3);
    ck_assert_uint_eq(event(1)->part, RILL_TRACE_REQUEST);
    ck_assert_uint_ne(event(2)->id, event(0)->id);
    rill_trace_hold(lane, &key);
    rill_trace_end_read(lane, &key, rill_trace_begin_read(lane, &key));
    ck_assert_uint_eq(lane->head, 4);
    ck_assert_uint_eq(event(3)->id, event(2)->id);
    ck_assert_uint_eq(event(3)->first, 0);
}
END_TEST

/* A connection that closes in its own callback still shows how long that took. */
START_TEST(a_callback_that_closes_is_written_all_the_same)
{
    rill_trace_end_read(lane, &key, rill_trace_begin_read(lane, &key));
    uint64_t began_ns = rill_trace_begin_data(lane, &key);
    rill_trace_closed(lane, &key);
    rill_trace_end_data(lane, &key, began_ns);
    ck_assert_uint_eq(lane->head, 3);
    ck_assert_uint_eq(event(2)->part, RILL_TRACE_DATA);
    ck_assert_uint_eq(event(2)->id, event(0)->id);
    ck_assert_uint_eq(rill_trace_current(lane), 0);
    rill_trace_release(lane, &key); /* of one that is not followed: nothing */
    rill_trace_end_write(lane, &key, 1, true);
    ck_assert_uint_eq(lane->head, 3);
}
END_TEST

/* Connections that say nothing for ever do not keep others from being followed. */
START_TEST(the_stillest_makes_room)
{
    char keys[RILL_TRACE_UNDER_WAY + 10] = "";
    lane->sample = 1;
    for (unsigned i = 0; i < sizeof keys; i++) {
        rill_trace_end_read(lane, &keys[i], rill_trace_begin_read(lane, &keys[i]));
        if (i == RILL_TRACE_UNDER_WAY - 1)
            rill_trace_end(lane, &keys[0], RILL_TRACE_HANDLER, rill_trace_begin(lane, &keys[0])); /* it moves */
    }
    ck_assert_uint_eq(lane->under_way, RILL_TRACE_UNDER_WAY);
    ck_assert_uint_ne(rill_trace_look(lane, &keys[0]), 0);
    for (unsigned i = 1; i <= 10; i++)
        ck_assert_uint_eq(rill_trace_look(lane, &keys[i]), 0);
    for (unsigned i = 11; i < sizeof keys; i++)
        ck_assert_uint_ne(rill_trace_look(lane, &keys[i]), 0);
}
END_TEST

/* Off: no hook does anything. */
START_TEST(no_lane_no_trace)
{
    rill_trace_end_read(NULL, &key, rill_trace_begin_read(NULL, &key));
    rill_trace_end_data(NULL, &key, rill_trace_begin_data(NULL, &key));
    rill_trace_end_write(NULL, &key, rill_trace_begin(NULL, &key), true);
    rill_trace_end(NULL, &key, RILL_TRACE_PARSE, rill_trace_begin(NULL, &key));
    rill_trace_hold(NULL, &key);
    rill_trace_release(NULL, &key);
    rill_trace_closed(NULL, &key);
    ck_assert_uint_eq(rill_trace_begin_accept(NULL).id, 0);
    rill_trace_arrived(NULL, mark(1, 1), 2); /* its loop got no lane: no memory */
    ck_assert_uint_eq(rill_trace_begin_adopt(NULL, mark(1, 1)), 0);
    rill_trace_adopted(NULL, &key);
    ck_assert_ptr_null(rill_trace_lane_new(NULL, "none"));
    rill_trace_stop(NULL);
}
END_TEST

/* ---- What fails ------------------------------------------------------------------------------------------ */

START_TEST(a_file_that_cannot_be_made_is_an_error)
{
    int error = 0;
    struct rill_trace_config config = {.path = "/nonexistent/trace.json"};
    ck_assert_ptr_null(rill_trace_start(&config, &error));
    ck_assert_int_eq(error, -ENOENT);
}
END_TEST

START_TEST(a_start_fails_at_every_step_and_leaves_nothing)
{
    struct rill_trace_config config = {.path = path};
    unsigned descriptors = faulty_sys_open_descriptors();
    int error = 0;
    struct rill_trace *trace = NULL;
    unsigned failures = 0;
    for (unsigned k = 1; !trace; k++) {
        faulty_sys_reset();
        faulty_sys.counts[FAULTY_MEMORY] = faulty_sys.counts[FAULTY_DESCRIPTOR] = faulty_sys.counts[FAULTY_THREAD] =
            true;
        faulty_sys.fail_after = k;
        trace = rill_trace_start(&config, &error);
        if (!trace) {
            failures++;
            ck_assert_int_lt(error, 0);
            ck_assert_uint_eq(faulty_sys_open_descriptors(), descriptors);
        }
    }
    ck_assert_uint_eq(failures, 4); /* the trace, its path, the eventfd, the thread */
    for (unsigned k = 1; k <= 2; k++) {
        faulty_sys_reset();
        faulty_memory_fails_at(k);
        ck_assert_ptr_null(rill_trace_lane_new(trace, "lane"));
    }
    faulty_sys_reset();
    ck_assert_ptr_nonnull(rill_trace_lane_new(trace, "lane"));
    rill_trace_stop(trace);
    ck_assert_uint_eq(faulty_sys_open_descriptors(), descriptors);
}
END_TEST

/* A full disk ends the trace, not the server, and what is lost is counted. */
START_TEST(what_cannot_be_written_is_counted)
{
    int error = 0;
    struct rill_trace_config config = {.path = "/dev/full"};
    struct rill_trace *trace = rill_trace_start(&config, &error);
    ck_assert_ptr_nonnull(trace);
    struct rill_trace_lane *writer = rill_trace_lane_new(trace, "lane");
    for (unsigned i = 0; i < 10; i++)
        rill_trace_record(writer, RILL_TRACE_READ, mark(1, i), i, false);
    while (rill_trace_dropped(trace) < 10)
        usleep(1000);
    rill_trace_stop(trace);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace");
    TCase *file = tcase_create("file");
    tcase_add_checked_fixture(file, setup, teardown);
    tcase_add_test(file, events_are_written_to_the_letter);
    tcase_add_test(file, every_part_has_a_name);
    tcase_add_test(file, all_events_are_in_the_file_or_counted);
    tcase_add_test(file, a_trace_without_events_is_whole);
    tcase_add_test(file, a_file_that_cannot_be_made_is_an_error);
    tcase_add_test(file, a_start_fails_at_every_step_and_leaves_nothing);
    tcase_add_test(file, what_cannot_be_written_is_counted);
    suite_add_tcase(suite, file);
    TCase *lanes = tcase_create("lane");
    tcase_add_checked_fixture(lanes, setup_lane, teardown_lane);
    tcase_add_test(lanes, a_full_ring_drops_and_counts);
    tcase_add_test(lanes, one_read_in_n_is_followed_the_first_among_them);
    tcase_add_test(lanes, an_empty_read_does_not_count);
    tcase_add_test(lanes, one_accept_in_n_is_followed_to_its_loop);
    tcase_add_test(lanes, a_failed_adoption_is_forgotten);
    tcase_add_test(lanes, a_request_is_followed_until_its_answer_has_left);
    tcase_add_test(lanes, the_next_read_ends_what_was_never_answered);
    tcase_add_test(lanes, a_callback_that_closes_is_written_all_the_same);
    tcase_add_test(lanes, the_stillest_makes_room);
    tcase_add_test(lanes, no_lane_no_trace);
    suite_add_tcase(suite, lanes);
    return run_suite(suite);
}
