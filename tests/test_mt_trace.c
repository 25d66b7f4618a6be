/* test_mt_trace.c - lanes made and written by threads of their own, while the trace's thread empties them. */
#include "rill/core/trace.h"
#include "support/run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 3, EVENTS = 3000 };

static void *produce(void *arg)
{
    struct rill_trace_lane *lane = rill_trace_lane_new(arg, "producer");
    ck_assert_ptr_nonnull(lane);
    for (unsigned i = 0; i < EVENTS; i++) {
        rill_trace_record(lane, RILL_TRACE_PARSE, (struct rill_trace_mark){1, i}, i + 1, false);
        if (i % 50 == 0)
            usleep(1000); /* or the trace's thread would hardly get anything */
    }
    return NULL;
}

START_TEST(what_the_threads_write_is_in_the_file_or_counted)
{
    char path[] = "/tmp/test_mt_trace.XXXXXX", text[1 << 17];
    int error, fd = mkstemp(path);
    struct rill_trace_config config = {.path = path, .ring_events = 512};
    struct rill_trace *trace = rill_trace_start(&config, &error);
    ck_assert_ptr_nonnull(trace);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, produce, trace), 0);
    rill_trace_dropped(trace); /* any thread may ask */
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t dropped = rill_trace_dropped(trace), found = 0;
    rill_trace_stop(trace);
    FILE *file = fdopen(fd, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(text, sizeof text, file))
        found += strstr(text, "\"parse\"") != NULL;
    fclose(file);
    unlink(path);
    ck_assert_uint_eq(found + dropped, THREADS * EVENTS);
    ck_assert_uint_ge(found, THREADS * 512);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_trace");
    TCase *tcase = tcase_create("mt_trace");
    tcase_add_test(tcase, what_the_threads_write_is_in_the_file_or_counted);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
