/* test_cache_session_edges.c - rill-cache's connections: limits, slow clients, ends at every moment, and no memory. */
#include "rill/apps/cache/session.h"
#include "support/cache_rig.h"
#include "support/fake_conn.h"
#include "support/fake_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Where the room goes to a value that is coming, others are given up; when there is none, it is said. */
START_TEST(values_that_are_coming_take_memory)
{
    struct fake_peer others[3] = {{0}};
    cache_rig_tear_down();
    cache_rig_set_up_with(2000, 1000);
    for (unsigned i = 0; i < 3; i++) {
        fake_conn_open(cache_rig.loop, &others[i], &cache_rig.config);
        fake_peer_send(&others[i], "set x 0 0 800\r\n...", 18);
    }
    cache_rig_turn();
    ck_assert_uint_ge(cache_rig_stats().bytes, 1600);
    ck_assert_uint_le(cache_rig_stats().bytes, 2000);
    ck_assert_uint_eq(cache_rig_stats().items, 0);
    ck_assert_str_eq(others[2].received, "SERVER_ERROR out of memory storing object\r\n");
    fake_peer_reset(&others[0]);
    fake_peer_end(&others[1]);
    cache_rig_turn();
    ck_assert_uint_eq(cache_rig_stats().bytes, 0);
    fake_peer_reset(&others[2]);
    cache_rig_turn();
    for (unsigned i = 0; i < 3; i++)
        fake_peer_free(&others[i]);
}
END_TEST

/* --- lines --- */

/* As long as may be, and one byte more, in pieces of every kind. */
START_TEST(lines_have_a_limit)
{
    static const struct {
        const char *start;
        size_t limit;
    } lines[] = {{"get ", RILL_COMMAND_KEYS_MAX},
                 {"gats 0 ", RILL_COMMAND_KEYS_MAX},
                 {"set ", RILL_COMMAND_LINE_MAX},
                 {"x", RILL_COMMAND_LINE_MAX}};
    char *line = malloc(RILL_COMMAND_KEYS_MAX + 2);
    for (unsigned i = 0; i < 4 * rill_array_length(lines) * 2; i++) {
        int is_over = i % 2;
        size_t limit = lines[i / 8].limit, length = limit + i % 2;
        size_t piece = i / 2 % 4 == 0 ? limit / 3 + 1 : limit + i / 2 % 4;
        memset(line, 'a', length);
        memcpy(line, lines[i / 8].start, strlen(lines[i / 8].start));
        for (size_t at = 100; at < length; at += 101)
            line[at] = ' ';
        if (i % 3 == 0)
            line[length - 1] = '\r';
        line[length++] = '\n';
        for (size_t at = 0; at < length && !cache_rig.peer.lingered; at += piece)
            cache_rig_send(line + at, length - at < piece ? length - at : piece);
        cache_rig_compare("a long line");
        ck_assert_int_eq(strcmp(cache_rig.peer.received, "CLIENT_ERROR line too long\r\n") == 0, is_over);
        ck_assert_int_eq(cache_rig.peer.lingered, is_over);
        cache_rig_again();
    }
    free(line);
}
END_TEST

/* --- slow clients --- */

/* One who asks for much and reads nothing costs the watermark and one item, and gets all of it when he reads. */
START_TEST(what_is_asked_for_waits_until_there_is_room)
{
    enum { KEYS = 1000, REPEATS = 4, WATERMARK = 16384 };
    static char line[KEYS * 3 + 10];
    static const size_t lengths[] = {10, 3000, 100000};
    for (unsigned l = 0; l < 3; l++) {
        unsigned count = (unsigned[]){KEYS, KEYS / 4, KEYS / 20}[l];
        size_t at = 0;
        cache_rig.config.high_watermark = WATERMARK;
        cache_rig_send_set("k", lengths[l]);
        at += (size_t)sprintf(line, "gets");
        for (unsigned i = 0; i < count; i++)
            at += (size_t)sprintf(line + at, " k");
        strcpy(line + at, "\r\n");
        cache_rig.peer.stalled = true;
        for (unsigned i = 0; i < REPEATS; i++) /* and again, in the same breath */
            fake_peer_send(&cache_rig.peer, line, strlen(line));
        cache_rig_turn();
        for (unsigned i = 0; i < REPEATS; i++)
            cache_model_send(&cache_rig.client, line, strlen(line));
        ck_assert_uint_le(rill_conn_buffered(cache_rig.peer.conn), WATERMARK + lengths[l] + 300);
        uint64_t most = 0;
        while (cache_rig.peer.received_length < cache_rig.client.out_length) {
            cache_rig.peer.room = WATERMARK + lengths[l];
            cache_rig_turn();
            most = rill_conn_buffered(cache_rig.peer.conn) > most ? rill_conn_buffered(cache_rig.peer.conn) : most;
            ck_assert_ptr_nonnull(cache_rig.peer.conn);
        }
        ck_assert_uint_le(most, WATERMARK + lengths[l] + 300);
        ck_assert_uint_gt(most, WATERMARK / 2);
        cache_rig_compare("a slow client");
        cache_rig_again();
    }
}
END_TEST

/* What is being sent stays what it was. */
START_TEST(a_value_that_is_on_its_way_does_not_change)
{
    cache_rig_send_set("k", 100000);
    cache_rig.peer.stalled = true;
    fake_peer_forget(&cache_rig.peer);
    cache_rig_send_text("get k\r\n");
    rill_store_delete(cache_rig.cache.store, rill_slice_of("k"), fake_sys.now_ms);
    cache_rig.peer.stalled = false;
    cache_rig_turn();
    ck_assert_uint_eq(cache_rig.peer.received_length, strlen("VALUE k 0 100000\r\n") + 100002 + 5);
    for (unsigned i = 0; i < 100000; i++)
        ck_assert_int_eq(cache_rig.peer.received[18 + i], 'v');
    ck_assert_uint_eq(cache_rig_stats().bytes, 0);
}
END_TEST

/* --- ends --- */

/* Where a session may be, and whether it has to go on before it stops. */
static const struct {
    const char *start, *rest;
    bool busy;
} places[] = {
    {"", "get k\r\n", false},
    {"get", " k\r\n", false},
    {"version\r\nget k", "\r\n", false},
    {"set a 0 0 10\r\n", "0123456789\r\n", true},
    {"set a 0 0 10\r\n0123456789\r", "\n", true},
    {"set a 0 0 2000000\r\n01", "2", true},
    {"quit\r\n", "", false},
    {"POST / HTTP/1.1\r\nset k 0 0 1\r\nx\r\n", "", false},
};

START_TEST(a_session_may_end_anywhere)
{
    for (unsigned i = 0; i < rill_array_length(places) * 2; i++) {
        fake_peer_send(&cache_rig.peer, places[i / 2].start, strlen(places[i / 2].start));
        cache_rig_turn();
        if (i % 2)
            fake_peer_reset(&cache_rig.peer);
        else
            fake_peer_end(&cache_rig.peer);
        cache_rig_turn();
        ck_assert_ptr_null(cache_rig.peer.conn);
        ck_assert_uint_eq(cache_rig_stats().bytes, 0);
        ck_assert_uint_eq(cache_rig.cache.counts[0].of[RILL_COUNT_CLOSED], 1);
        cache_rig_again();
    }
}
END_TEST

START_TEST(a_stop_waits_for_what_has_begun)
{
    for (unsigned i = 0; i < rill_array_length(places); i++) {
        fake_peer_send(&cache_rig.peer, places[i].start, strlen(places[i].start));
        cache_rig_turn();
        if (cache_rig.peer.conn)
            rill_cache_handler.on_stop(cache_rig.peer.conn);
        cache_rig_turn();
        ck_assert_int_eq(cache_rig.peer.conn != NULL, places[i].busy);
        if (cache_rig.peer.conn && strcmp(places[i].rest, "2") != 0) {
            fake_peer_send(&cache_rig.peer, places[i].rest, strlen(places[i].rest));
            fake_peer_send(&cache_rig.peer, "version\r\n", 9);
            cache_rig_turn();
            ck_assert_ptr_null(cache_rig.peer.conn);
            ck_assert_str_eq(cache_rig.peer.received, "STORED\r\n");
        }
        cache_rig_again();
    }
    /* In the middle of an answer that the client is slow to take. */
    cache_rig_send_set("k", 200000);
    cache_rig.peer.stalled = true;
    fake_peer_forget(&cache_rig.peer);
    fake_peer_send(&cache_rig.peer, "get k k k k k k\r\nget k\r\n", 24);
    cache_rig_turn();
    rill_cache_handler.on_stop(cache_rig.peer.conn);
    cache_rig_turn();
    ck_assert_ptr_nonnull(cache_rig.peer.conn);
    cache_rig.peer.stalled = false;
    for (unsigned i = 0; i < 10; i++)
        cache_rig_turn();
    ck_assert_ptr_null(cache_rig.peer.conn);
    ck_assert_uint_eq(cache_rig.peer.received_length, 6 * (18 + 200002) + 5);
}
END_TEST

/* Every allocation fails in turn: a client is told, or its connection closes; and nothing is lost for good. */
START_TEST(without_memory_a_client_is_told_or_closed)
{
    unsigned told = 0, closed = 0;
    for (uint64_t k = 1, failed = 1; failed > 0; k++) {
        faulty_memory_fails_at(k);
        faulty_sys.failed = 0;
        fake_peer_send(&cache_rig.peer, cache_rig_script, strlen(cache_rig_script));
        cache_rig_turn();
        failed = faulty_sys.failed;
        faulty_sys.fail_after = 0;
        ck_assert_ptr_null(cache_rig.peer.conn); /* it ends with a quit */
        told += strstr(cache_rig.peer.received ? cache_rig.peer.received : "",
                       "SERVER_ERROR out of memory storing object\r\n") != NULL;
        closed += cache_rig.peer.reason == RILL_CLOSE_NO_MEMORY;
        cache_rig_again();
    }
    ck_assert_uint_ge(told, 6);
    ck_assert_uint_ge(closed, 20);
    /* A connection that cannot have a session, and a value that cannot be sent. */
    struct fake_peer other = {0};
    faulty_memory_fails_at(1);
    fake_conn_open(cache_rig.loop, &other, &cache_rig.config);
    ck_assert_int_eq(other.reason, RILL_CLOSE_NO_MEMORY);
    fake_peer_free(&other);
    for (uint64_t k = 1; k < 10; k++) {
        cache_rig_send_set("k", 100000);
        faulty_memory_fails_at(k);
        fake_peer_send(&cache_rig.peer, "get k\r\n", 7);
        cache_rig_turn();
        faulty_sys.fail_after = 0;
        cache_rig_again();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache session, edges");
    TCase *all = tcase_create("edges");
    tcase_add_checked_fixture(all, cache_rig_set_up, cache_rig_tear_down);
    tcase_add_test(all, values_that_are_coming_take_memory);
    tcase_add_test(all, lines_have_a_limit);
    tcase_add_test(all, what_is_asked_for_waits_until_there_is_room);
    tcase_add_test(all, a_value_that_is_on_its_way_does_not_change);
    tcase_add_test(all, a_session_may_end_anywhere);
    tcase_add_test(all, a_stop_waits_for_what_has_begun);
    tcase_add_test(all, without_memory_a_client_is_told_or_closed);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
