/* test_cache_session.c - rill-cache's connections: what is replied to what, however it is split. */
#include "rill/apps/cache/session.h"
#include "support/cache_rig.h"
#include "support/fake_conn.h"
#include "support/fake_sys.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Asks REQUEST, and is to be told REPLY. */
static void ask(const char *request, const char *reply)
{
    size_t before = cache_rig.peer.received_length;
    cache_rig_send_text(request);
    if (strcmp(cache_rig.peer.received ? cache_rig.peer.received + before : "", reply) != 0)
        ck_abort_msg("\"%.100s\" is answered with \"%.200s\"", request,
                     cache_rig.peer.received ? cache_rig.peer.received + before : "");
    cache_rig_compare(request);
}

/* What memcached 1.6 replies, save where a comment says otherwise. */
START_TEST(each_command_is_answered)
{
    static const struct {
        const char *request, *reply;
    } cases[] = {
        {"get a\r\n", "END\r\n"},
        {"get a b c\n", "END\r\n"},
        {"set a 5 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 5 1\r\nx\r\nEND\r\n"},
        {"set a 5 0 3\r\n\r\n\r\r\nget a\r\n", "STORED\r\nVALUE a 5 3\r\n\r\n\r\r\nEND\r\n"},
        {"set a 0 0 0\r\n\r\nget a\r\n", "STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n"},
        {"set a 0 0 1\nx\r\nget a\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"},
        {"set a 0 0 1 noreply\r\nx\r\nget a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"},
        {"set a 1 0 1\r\nx\r\nset b 2 0 1\r\ny\r\nget b a c b\r\n",
         "STORED\r\nSTORED\r\nVALUE b 2 1\r\ny\r\nVALUE a 1 1\r\nx\r\nVALUE b 2 1\r\ny\r\nEND\r\n"},
        {"set a 0 0 1\r\nx\r\ngets a b\r\n", "STORED\r\nVALUE a 0 1 1\r\nx\r\nEND\r\n"},
        {"set a 0 0 1\r\nxy\r\nversion\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\nVERSION 1.2.3\r\n"},
        {"set a 0 0 1\r\nxyzzzz\r\nversion\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\nVERSION 1.2.3\r\n"},
        {"set a 0 0 3\r\nx\r\nversion\r\nversion\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\nVERSION 1.2.3\r\n"},
        {"set a 0 0 1 noreply\r\nxyz\r\nversion\r\n", "ERROR\r\nVERSION 1.2.3\r\n"},
        {"set a 0 0 1\r\nx\r\nset a 0 0 1\r\nxy\r\nget a\r\n",
         "STORED\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nVALUE a 0 1\r\nx\r\nEND\r\n"},
        {"set a x 0 1\r\nx\r\n", "CLIENT_ERROR bad command line format\r\nERROR\r\n"},
        {"set a x 0 1 noreply\r\nx\r\n", "ERROR\r\n"},
        {"add a 0 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\nget a\r\n", "STORED\r\nNOT_STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"},
        {"replace a 0 0 1\r\nx\r\nset a 0 0 1\r\nx\r\nreplace a 9 0 2\r\nyz\r\nget a\r\n",
         "NOT_STORED\r\nSTORED\r\nSTORED\r\nVALUE a 9 2\r\nyz\r\nEND\r\n"},
        {"append a 0 0 1\r\nx\r\nprepend a 0 0 1\r\nx\r\n", "NOT_STORED\r\nNOT_STORED\r\n"},
        {"set a 5 0 1\r\nx\r\nappend a 7 0 2\r\nyz\r\nprepend a 0 0 2\r\nvw\r\nget a\r\n",
         "STORED\r\nSTORED\r\nSTORED\r\nVALUE a 5 5\r\nvwxyz\r\nEND\r\n"},
        {"cas a 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n"},
        {"set a 0 0 1\r\nx\r\ncas a 0 0 1 2\r\ny\r\ncas a 0 0 1 1\r\nz\r\ncas a 0 0 1 1\r\nw\r\nget a\r\n",
         "STORED\r\nEXISTS\r\nSTORED\r\nEXISTS\r\nVALUE a 0 1\r\nz\r\nEND\r\n"},
        {"delete a\r\nset a 0 0 1\r\nx\r\ndelete a\r\ndelete a\r\n", "NOT_FOUND\r\nSTORED\r\nDELETED\r\nNOT_FOUND\r\n"},
        {"incr a 1\r\ndecr a 1\r\n", "NOT_FOUND\r\nNOT_FOUND\r\n"},
        {"set a 0 0 2\r\n10\r\ndecr a 1\r\nget a\r\nincr a 991\r\nget a\r\n",
         "STORED\r\n9\r\nVALUE a 0 2\r\n9 \r\nEND\r\n1000\r\nVALUE a 0 4\r\n1000\r\nEND\r\n"},
        {"set a 0 0 20\r\n18446744073709551615\r\nincr a 2\r\ndecr a 5\r\n", "STORED\r\n1\r\n0\r\n"},
        {"set a 0 0 1\r\nx\r\nincr a 1\r\ndecr a 1 noreply\r\n",
         "STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
        {"touch a 0\r\nset a 0 0 1\r\nx\r\ntouch a 10\r\ntouch a -1\r\nget a\r\n",
         "NOT_FOUND\r\nSTORED\r\nTOUCHED\r\nTOUCHED\r\nEND\r\n"},
        {"set a 3 0 1\r\nx\r\ngat 10 a b\r\ngats 10 a\r\ngat 10\r\ngat -1 a\r\nget a\r\n",
         "STORED\r\nVALUE a 3 1\r\nx\r\nEND\r\nVALUE a 3 1 1\r\nx\r\nEND\r\nEND\r\nVALUE a 3 1\r\nx\r\nEND\r\nEND\r\n"},
        {"set a 0 -1 1\r\nx\r\nget a\r\n", "STORED\r\nEND\r\n"},
        {"set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\nset a 0 0 1\r\ny\r\nget a\r\n",
         "STORED\r\nOK\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n"},
        {"set a 0 0 1\r\nx\r\nflush_all 100\r\nget a\r\nflush_all -5\r\nget a\r\n",
         "STORED\r\nOK\r\nVALUE a 0 1\r\nx\r\nEND\r\nOK\r\nEND\r\n"},
        {"flush_all noreply\r\nverbosity 1\r\nverbosity noreply\r\n", "OK\r\n"},
        {"version\r\n\r\nbogus\r\n", "VERSION 1.2.3\r\nERROR\r\nERROR\r\n"},
        {"set a\x01\x7f\tb 0 0 1\r\nx\r\nget a\x01\x7f\tb\r\n", "STORED\r\nVALUE a\x01\x7f\tb 0 1\r\nx\r\nEND\r\n"},
        {"set a 0 0 2147483646\r\nversion\r\n", "CLIENT_ERROR bad command line format\r\nVERSION 1.2.3\r\n"},
    };
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        ask(cases[i].request, cases[i].reply);
        ck_assert_ptr_nonnull(cache_rig.peer.conn);
        cache_rig_again();
    }
}
END_TEST

/* In two pieces, at every place; and byte by byte. */
START_TEST(replies_do_not_depend_on_where_requests_are_split)
{
    size_t length = strlen(cache_rig_script);
    for (size_t cut = 0; cut <= length; cut++) {
        cache_rig_send(cache_rig_script, cut);
        cache_rig_send(cache_rig_script + cut, length - cut);
        cache_rig_compare("two pieces");
        cache_rig_again();
    }
    cache_rig.peer.read_max = 1;
    cache_rig_send(cache_rig_script, length);
    cache_rig_compare("byte by byte");
}
END_TEST

/* --- random dialogues --- */

static size_t add_value(struct test_random *random, char *to, size_t length)
{
    static const char bytes[] = "0123456789\r\n ";
    for (size_t i = 0; i < length; i++)
        to[i] = test_random_below(random, 3) ? bytes[test_random_below(random, 10)]
                                             : bytes[test_random_below(random, sizeof bytes - 1)];
    memcpy(to + length, "\r\n", 2);
    return length + 2;
}

/* A command that is mostly right, about one of few keys. */
static size_t make_command(struct test_random *random, char *to, size_t room)
{
    static const char *const formats[] = {
        "get k%u\r\n",
        "get k%u k%u missing k%u\r\n",
        "gets k%u k%u\r\n",
        "gat %u k%u k%u\r\n",
        "gats %u k%u\r\n",
        "delete k%u\r\n",
        "incr k%u %u\r\n",
        "decr k%u %u\r\n",
        "touch k%u %u\r\n",
        "touch k%u -%u\r\n",
        "flush_all %u\r\n",
        "delete k%u noreply\r\n",
        "incr k%u %u noreply\r\n",
        "version\r\n",
        "get k%u\r k%u\r\n",
        "nothing k%u %u\r\n",
    };
    static const char *const verbs[] = {"set", "set", "set", "add", "replace", "append", "prepend", "cas"};
    unsigned a = (unsigned)test_random_below(random, 8), b = (unsigned)test_random_below(random, 8);
    unsigned c = (unsigned)test_random_below(random, 4);
    size_t which = test_random_below(random, 2 * rill_array_length(formats));
    if (which < rill_array_length(formats)) {
        const char *format = which == 10 && test_random_below(random, 8) ? "get k%u k%u\r\n" : formats[which];
        return (size_t)snprintf(to, room, format, a, b, c); /* NOLINT(clang-diagnostic-format-nonliteral) */
    }
    const char *verb = verbs[test_random_below(random, rill_array_length(verbs))];
    size_t length = test_random_below(random, 4) ? test_random_below(random, 12) : test_random_below(random, 9000);
    size_t said = test_random_below(random, 40) ? length : length + test_random_below(random, 3);
    int at = snprintf(to, room, "%s k%u %u %u %zu", verb, a, b, test_random_below(random, 3) ? 0 : c, said);
    if (strcmp(verb, "cas") == 0)
        at += snprintf(to + at, room - (size_t)at, " %zu", test_random_below(random, 30));
    at += snprintf(to + at, room - (size_t)at, "%s", test_random_below(random, 5) ? "\r\n" : " noreply\r\n");
    return (size_t)at + add_value(random, to + at, length);
}

START_TEST(replies_are_those_of_a_slow_and_simple_cache)
{
    static char text[1 << 20];
    for (unsigned round = 0; round < 30; round++) {
        struct test_random random = {(uint64_t)_i * 1000 + round};
        size_t length = 0, sent = 0;
        cache_rig_again();
        cache_rig_tear_down();
        cache_rig_set_up_with(CACHE_RIG_MEMORY, 8000);
        for (unsigned i = 0; i < 60; i++)
            length += make_command(&random, text + length, sizeof text - length);
        while (sent < length) {
            size_t most = test_random_below(&random, 2) ? 20 : 20000, piece = test_random_below(&random, most) + 1;
            piece = piece < length - sent ? piece : length - sent;
            cache_rig.peer.read_max = test_random_below(&random, 3) ? 0 : test_random_below(&random, 40);
            cache_rig_send(text + sent, piece);
            sent += piece;
            if (test_random_below(&random, 4) == 0)
                cache_rig_pass(test_random_below(&random, 1500));
        }
        cache_rig_compare("random");
    }
}
END_TEST

START_TEST(values_of_every_size_come_back)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 7900, 8191, 8192, 70000, 262144, 1000000, 1048489, 1048490};
    for (unsigned i = 0; i < rill_array_length(sizes); i++) {
        cache_rig.peer.read_max = i % 3 * 30000;
        cache_rig_send_set("k", sizes[i]);
        cache_rig_send_text("gets k k\r\nversion\r\n");
        cache_rig_compare("a size");
        fake_peer_forget(&cache_rig.peer);
        cache_rig.client.out_length = 0;
    }
    ck_assert_uint_eq(cache_rig_stats().items, 0); /* the last one was too large, and took what there was along */
}
END_TEST

START_TEST(a_value_that_is_too_large_is_skipped)
{
    cache_rig_send_text("set k 0 0 1\r\nx\r\n");
    cache_rig_send_text("add k 0 0 2000000\r\n"); /* told at once */
    ck_assert_str_eq(cache_rig.peer.received, "STORED\r\nSERVER_ERROR object too large for cache\r\n");
    char *value = malloc(2000002);
    memset(value, '\n', 2000002);
    for (unsigned i = 0; i < 2; i++)
        cache_rig_send(value, 1000001);
    free(value);
    cache_rig_send_text("get k\r\nset k 0 0 2000000 noreply\r\n");
    cache_rig_compare("half");
    cache_rig_send_text("get k\r\n");
    ck_assert_uint_eq(cache_rig_stats().items, 0);
}
END_TEST

START_TEST(times_are_relative_or_dates)
{
    char text[100];
    ask("set a 0 10 1\r\nx\r\nset b 0 2592000 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    snprintf(text, sizeof text, "set c 0 %lld 1\r\nx\r\nset d 0 %lld 1\r\nx\r\n", (long long)FAKE_SYS_EPOCH + 20,
             (long long)FAKE_SYS_EPOCH - 1);
    ask(text, "STORED\r\nSTORED\r\n");
    ask("set e 0 2592001 1\r\nx\r\nset f 0 9223372036854775807 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    ask("get d e\r\n", "END\r\n");
    cache_rig_pass(9999);
    ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    cache_rig_pass(1);
    ask("get a c\r\n", "VALUE c 0 1\r\nx\r\nEND\r\n");
    cache_rig_pass(10000);
    ask("get a b c\r\n", "VALUE b 0 1\r\nx\r\nEND\r\n");
    cache_rig_pass((uint64_t)2592000 * 1000);
    ask("get b f\r\n", "VALUE f 0 1\r\nx\r\nEND\r\n");
    snprintf(text, sizeof text, "flush_all %lld\r\nget f\r\n", (long long)cache_rig.model.unix_seconds + 5);
    ask(text, "OK\r\nVALUE f 0 1\r\nx\r\nEND\r\n");
    cache_rig_pass(5000);
    ask("get f\r\n", "END\r\n");
}
END_TEST

/* The number of NAME in the statistics that were sent last. */
static uint64_t statistic(const char *name)
{
    char line[64];
    snprintf(line, sizeof line, "STAT %s ", name);
    const char *at = strstr(cache_rig.peer.received, line);
    if (!at)
        ck_abort_msg("there is no \"%s\"", name);
    return strtoull(at + strlen(line), NULL, 10);
}

static void ask_stats(const char *which)
{
    fake_peer_forget(&cache_rig.peer);
    fake_peer_send(&cache_rig.peer, which, strlen(which));
    cache_rig_turn();
    ck_assert_uint_ge(cache_rig.peer.received_length, 5);
    ck_assert_str_eq(cache_rig.peer.received + cache_rig.peer.received_length - 5, "END\r\n");
}

START_TEST(statistics_count_what_happened)
{
    static const struct {
        const char *name;
        uint64_t value;
    } wanted[] = {
        {"cmd_get", 14},          {"get_hits", 11},
        {"get_misses", 3},        {"cmd_set", 9},
        {"incr_hits", 1},         {"incr_misses", 0},
        {"decr_hits", 1},         {"decr_misses", 0},
        {"delete_hits", 1},       {"delete_misses", 1},
        {"touch_hits", 3},        {"touch_misses", 0},
        {"cmd_touch", 3},         {"cas_hits", 0},
        {"cas_misses", 0},        {"cas_badval", 1},
        {"cmd_flush", 2},         {"store_too_large", 0},
        {"store_no_memory", 0},   {"curr_connections", 1},
        {"total_connections", 1}, {"limit_maxbytes", CACHE_RIG_MEMORY},
        {"evictions", 0},         {"threads", 1},
        {"time", FAKE_SYS_EPOCH}, {"uptime", 0},
    };
    size_t length = strlen(cache_rig_script) - strlen("quit\r\nget z\r\n");
    fake_peer_send(&cache_rig.peer, cache_rig_script, length);
    cache_rig_turn();
    size_t said = cache_rig.peer.received_length;
    cache_rig.cache.started_ns = rill_clock_ns();
    ask_stats("stats\r\n");
    for (unsigned i = 0; i < rill_array_length(wanted); i++)
        if (statistic(wanted[i].name) != wanted[i].value)
            ck_abort_msg("%s is %llu", wanted[i].name, (unsigned long long)statistic(wanted[i].name));
    ck_assert_uint_eq(statistic("bytes_written"), said);
    ck_assert_uint_eq(statistic("bytes_read"), length);
    ck_assert_uint_eq(statistic("curr_items"), cache_rig_stats().items);
    ck_assert_uint_eq(statistic("bytes"), cache_rig_stats().bytes);
    ck_assert_ptr_nonnull(strstr(cache_rig.peer.received, "STAT version 1.2.3\r\n"));
    ask_stats("stats settings\r\n");
    ck_assert_uint_eq(statistic("item_size_max"), CACHE_RIG_MAX_ITEM);
    ck_assert_uint_eq(statistic("maxbytes"), CACHE_RIG_MEMORY);
    ck_assert_uint_eq(statistic("verbosity"), 1);
    ask_stats("stats items\r\n");
    ck_assert_uint_eq(statistic("items:1:number"), cache_rig_stats().items);
    fake_peer_forget(&cache_rig.peer);
    fake_peer_send(&cache_rig.peer, "stats bogus\r\n", 13);
    cache_rig_turn();
    ck_assert_str_eq(cache_rig.peer.received, "ERROR\r\n");
    cache_rig_again();
    ask_stats("stats items\r\n");
    ck_assert_str_eq(cache_rig.peer.received, "END\r\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache session");
    TCase *all = tcase_create("session");
    tcase_add_checked_fixture(all, cache_rig_set_up, cache_rig_tear_down);
    tcase_add_test(all, each_command_is_answered);
    tcase_add_test(all, replies_do_not_depend_on_where_requests_are_split);
    tcase_add_loop_test(all, replies_are_those_of_a_slow_and_simple_cache, 0, 10);
    tcase_add_test(all, values_of_every_size_come_back);
    tcase_add_test(all, a_value_that_is_too_large_is_skipped);
    tcase_add_test(all, times_are_relative_or_dates);
    tcase_add_test(all, statistics_count_what_happened);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
