/* test_cache_session.c - rill-cache's connections: what is replied to what, however it is split and whoever is slow. */
#include "rill/apps/cache/session.h"
#include "rill/apps/cache/shard.h"
#include "support/cache_model.h"
#include "support/fake_conn.h"
#include "support/fake_sys.h"
#include "support/random.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEMORY = 64 << 20, MAX_ITEM = 1 << 20 };

static struct rill_cache cache;
static struct rill_loop *loop;
static struct rill_conn_config config;
static struct fake_peer peer;
static struct cache_model model;
static struct cache_model_client client;

static void set_up_with(uint64_t memory_bytes, uint32_t max_item_bytes)
{
    int error;
    fake_sys = (struct fake_sys){.now_ms = 1000000};
    memset(&cache, 0, sizeof cache);
    cache.version = "1.2.3";
    cache.threads = 1;
    cache.store = rill_store_new(
        &(struct rill_store_config){.memory_bytes = memory_bytes, .max_item_bytes = max_item_bytes, .threads = 1},
        &error);
    ck_assert_ptr_nonnull(cache.store);
    loop = rill_loop_new(&(struct rill_loop_config){.name = "cache"}, &error);
    config = (struct rill_conn_config){
        .handler = &rill_cache_handler, .arg = &cache, .max_input_bytes = RILL_CACHE_MAX_INPUT};
    memset(&peer, 0, sizeof peer);
    ck_assert_int_eq(fake_conn_open(loop, &peer, &config), 0);
    model = (struct cache_model){.now_ms = fake_sys.now_ms,
                                 .unix_seconds = FAKE_SYS_EPOCH,
                                 .max_item_bytes = max_item_bytes,
                                 .item_overhead = rill_shard_item_bytes(0, 0),
                                 .version = cache.version};
    client = (struct cache_model_client){.model = &model};
}

static void setup(void)
{
    set_up_with(MEMORY, MAX_ITEM);
}

static struct rill_store_stats stats(void)
{
    struct rill_store_stats found;
    rill_store_stats(cache.store, &found);
    return found;
}

static void teardown(void)
{
    if (peer.conn)
        rill_conn_close(peer.conn, RILL_CLOSE_STOPPED);
    fake_conn_turn(loop);
    rill_loop_free(loop);
    fake_peer_free(&peer);
    rill_store_flush(cache.store, 0, fake_sys.now_ms);
    rill_store_free(cache.store);
    cache_model_client_free(&client);
    cache_model_free(&model);
}

static void again(void)
{
    teardown();
    setup();
}

static void turn(void)
{
    fake_conn_turn(loop);
    fake_conn_turn(loop);
}

static void pass(uint64_t ms)
{
    fake_sys.now_ms += ms;
    model.now_ms += ms;
    model.unix_seconds = FAKE_SYS_EPOCH - 1000 + (int64_t)fake_sys.now_ms / 1000;
}

/* Sends BYTES to the server and to the model. */
static void send_bytes(const char *bytes, size_t length)
{
    fake_peer_send(&peer, bytes, length);
    turn();
    cache_model_send(&client, bytes, length);
}

static void send_text(const char *text)
{
    send_bytes(text, strlen(text));
}

/* Both have said the same. */
static void compare(const char *what)
{
    size_t length = client.out_length < peer.received_length ? client.out_length : peer.received_length, i = 0;
    while (i < length && peer.received[i] == client.out[i])
        i++;
    if (i < length || client.out_length != peer.received_length)
        ck_abort_msg("%s: from byte %zu on \"%.200s\" came instead of \"%.200s\"", what, i,
                     peer.received ? peer.received + i : "", client.out ? client.out + i : "");
    ck_assert_int_eq(peer.conn == NULL || peer.finished, client.closed);
}

/* Asks REQUEST, and is to be told REPLY. */
static void ask(const char *request, const char *reply)
{
    size_t before = peer.received_length;
    send_text(request);
    if (strcmp(peer.received ? peer.received + before : "", reply) != 0)
        ck_abort_msg("\"%.100s\" is answered with \"%.200s\"", request, peer.received ? peer.received + before : "");
    compare(request);
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
        ck_assert_ptr_nonnull(peer.conn);
        again();
    }
}
END_TEST

/* A bit of everything, the end of a session included. */
static const char script[] =
    "get a\r\nset a 1 0 6\r\nab\r\ncd\r\nadd b 2 10 1\r\ny\r\nget a b c\r\ngets b a\r\nappend a 0 0 3\r\n123\r\n"
    "prepend  b 0 0 0\r\n\r\nset n 0 0 2 noreply\r\n99\r\nincr n 1\r\nget n\r\ndecr n 991\nget n\r\nbogus\r\n\r\n"
    "set a 0 0 1\r\nxyz\r\nset x 0 0 3\r\nx\r\n\r\ntouch a 5\r\ngat 7 a n\r\ndelete b\r\ndelete b 0 noreply\r\n"
    "cas n 1 0 1 5\r\n1\r\nversion\r\nflush_all 1\r\nget n\r\nverbosity 1 noreply\r\nset q 0 0 3\r\n\n\n\n\r\n"
    "get  q  q \r\nset a x 0 1\r\nx\r\nflush_all\r\nget q\r\nset z 0 0 1\r\nz\r\nquit\r\nget z\r\n";

/* In two pieces, at every place; and byte by byte. */
START_TEST(replies_do_not_depend_on_where_requests_are_split)
{
    size_t length = sizeof script - 1;
    for (size_t cut = 0; cut <= length; cut++) {
        send_bytes(script, cut);
        send_bytes(script + cut, length - cut);
        compare("two pieces");
        again();
    }
    peer.read_max = 1;
    send_bytes(script, length);
    compare("byte by byte");
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
        again();
        teardown();
        set_up_with(MEMORY, 8000);
        for (unsigned i = 0; i < 60; i++)
            length += make_command(&random, text + length, sizeof text - length);
        while (sent < length) {
            size_t most = test_random_below(&random, 2) ? 20 : 20000, piece = test_random_below(&random, most) + 1;
            piece = piece < length - sent ? piece : length - sent;
            peer.read_max = test_random_below(&random, 3) ? 0 : test_random_below(&random, 40);
            send_bytes(text + sent, piece);
            sent += piece;
            if (test_random_below(&random, 4) == 0)
                pass(test_random_below(&random, 1500));
        }
        compare("random");
    }
}
END_TEST

/* --- sizes --- */

/* "set KEY ..." and a value of LENGTH bytes. The caller frees it. */
static char *set_command(const char *key, size_t length, size_t *total)
{
    char *text = malloc(length + 100);
    int at = snprintf(text, 100, "set %s 0 0 %zu\r\n", key, length);
    memset(text + at, 'v', length);
    memcpy(text + at + length, "\r\n", 3);
    *total = (size_t)at + length + 2;
    return text;
}

static void send_set(const char *key, size_t length)
{
    size_t total;
    char *text = set_command(key, length, &total);
    send_bytes(text, total);
    free(text);
}

START_TEST(values_of_every_size_come_back)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 7900, 8191, 8192, 70000, 262144, 1000000, 1048489, 1048490};
    for (unsigned i = 0; i < rill_array_length(sizes); i++) {
        peer.read_max = i % 3 * 30000;
        send_set("k", sizes[i]);
        send_text("gets k k\r\nversion\r\n");
        compare("a size");
        fake_peer_forget(&peer);
        client.out_length = 0;
    }
    ck_assert_uint_eq(stats().items, 0); /* the last one was too large, and took what there was along */
}
END_TEST

START_TEST(a_value_that_is_too_large_is_skipped)
{
    send_text("set k 0 0 1\r\nx\r\n");
    send_text("add k 0 0 2000000\r\n"); /* told at once */
    ck_assert_str_eq(peer.received, "STORED\r\nSERVER_ERROR object too large for cache\r\n");
    char *value = malloc(2000002);
    memset(value, '\n', 2000002);
    for (unsigned i = 0; i < 2; i++)
        send_bytes(value, 1000001);
    free(value);
    send_text("get k\r\nset k 0 0 2000000 noreply\r\n");
    compare("half");
    send_text("get k\r\n");
    ck_assert_uint_eq(stats().items, 0);
}
END_TEST

/* Where the room goes to a value that is coming, others are given up; when there is none, it is said. */
START_TEST(values_that_are_coming_take_memory)
{
    struct fake_peer others[3] = {{0}};
    teardown();
    set_up_with(2000, 1000);
    for (unsigned i = 0; i < 3; i++) {
        fake_conn_open(loop, &others[i], &config);
        fake_peer_send(&others[i], "set x 0 0 800\r\n...", 18);
    }
    turn();
    ck_assert_uint_ge(stats().bytes, 1600);
    ck_assert_uint_le(stats().bytes, 2000);
    ck_assert_uint_eq(stats().items, 0);
    ck_assert_str_eq(others[2].received, "SERVER_ERROR out of memory storing object\r\n");
    fake_peer_reset(&others[0]);
    fake_peer_end(&others[1]);
    turn();
    ck_assert_uint_eq(stats().bytes, 0);
    fake_peer_reset(&others[2]);
    turn();
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
        for (size_t at = 0; at < length && !peer.lingered; at += piece)
            send_bytes(line + at, length - at < piece ? length - at : piece);
        compare("a long line");
        ck_assert_int_eq(strcmp(peer.received, "CLIENT_ERROR line too long\r\n") == 0, is_over);
        ck_assert_int_eq(peer.lingered, is_over);
        again();
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
        unsigned count = l < 2 ? KEYS : 100;
        size_t at = 0;
        config.high_watermark = WATERMARK;
        send_set("k", lengths[l]);
        at += (size_t)sprintf(line, "gets");
        for (unsigned i = 0; i < count; i++)
            at += (size_t)sprintf(line + at, " k");
        strcpy(line + at, "\r\n");
        peer.stalled = true;
        for (unsigned i = 0; i < REPEATS; i++) /* and again, in the same breath */
            fake_peer_send(&peer, line, strlen(line));
        turn();
        for (unsigned i = 0; i < REPEATS; i++)
            cache_model_send(&client, line, strlen(line));
        ck_assert_uint_le(rill_conn_buffered(peer.conn), WATERMARK + lengths[l] + 300);
        uint64_t most = 0;
        while (peer.received_length < client.out_length) {
            peer.room = WATERMARK + lengths[l];
            turn();
            most = rill_conn_buffered(peer.conn) > most ? rill_conn_buffered(peer.conn) : most;
            ck_assert_ptr_nonnull(peer.conn);
        }
        ck_assert_uint_le(most, WATERMARK + lengths[l] + 300);
        ck_assert_uint_gt(most, WATERMARK / 2);
        compare("a slow client");
        again();
    }
}
END_TEST

/* What is being sent stays what it was. */
START_TEST(a_value_that_is_on_its_way_does_not_change)
{
    send_set("k", 100000);
    peer.stalled = true;
    fake_peer_forget(&peer);
    send_text("get k\r\n");
    rill_store_delete(cache.store, rill_slice_of("k"), fake_sys.now_ms);
    peer.stalled = false;
    turn();
    ck_assert_uint_eq(peer.received_length, strlen("VALUE k 0 100000\r\n") + 100002 + 5);
    for (unsigned i = 0; i < 100000; i++)
        ck_assert_int_eq(peer.received[18 + i], 'v');
    ck_assert_uint_eq(stats().bytes, 0);
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
        fake_peer_send(&peer, places[i / 2].start, strlen(places[i / 2].start));
        turn();
        if (i % 2)
            fake_peer_reset(&peer);
        else
            fake_peer_end(&peer);
        turn();
        ck_assert_ptr_null(peer.conn);
        ck_assert_uint_eq(stats().bytes, 0);
        ck_assert_uint_eq(cache.counts[0].of[RILL_COUNT_CLOSED], 1);
        again();
    }
}
END_TEST

START_TEST(a_stop_waits_for_what_has_begun)
{
    for (unsigned i = 0; i < rill_array_length(places); i++) {
        fake_peer_send(&peer, places[i].start, strlen(places[i].start));
        turn();
        if (peer.conn)
            rill_cache_handler.on_stop(peer.conn);
        turn();
        ck_assert_int_eq(peer.conn != NULL, places[i].busy);
        if (peer.conn && strcmp(places[i].rest, "2") != 0) {
            fake_peer_send(&peer, places[i].rest, strlen(places[i].rest));
            fake_peer_send(&peer, "version\r\n", 9);
            turn();
            ck_assert_ptr_null(peer.conn);
            ck_assert_str_eq(peer.received, "STORED\r\n");
        }
        again();
    }
    /* In the middle of an answer that the client is slow to take. */
    send_set("k", 200000);
    peer.stalled = true;
    fake_peer_forget(&peer);
    fake_peer_send(&peer, "get k k k k k k\r\nget k\r\n", 24);
    turn();
    rill_cache_handler.on_stop(peer.conn);
    turn();
    ck_assert_ptr_nonnull(peer.conn);
    peer.stalled = false;
    for (unsigned i = 0; i < 10; i++)
        turn();
    ck_assert_ptr_null(peer.conn);
    ck_assert_uint_eq(peer.received_length, 6 * (18 + 200002) + 5);
}
END_TEST

/* Every allocation fails in turn: a client is told, or its connection closes; and nothing is lost for good. */
START_TEST(without_memory_a_client_is_told_or_closed)
{
    unsigned told = 0, closed = 0;
    for (uint64_t k = 1, failed = 1; failed > 0; k++) {
        fake_sys.fail_after = k;
        fake_sys.failed = 0;
        fake_peer_send(&peer, script, sizeof script - 1);
        turn();
        failed = fake_sys.failed;
        fake_sys.fail_after = 0;
        ck_assert_ptr_null(peer.conn); /* it ends with a quit */
        told += strstr(peer.received ? peer.received : "", "SERVER_ERROR out of memory storing object\r\n") != NULL;
        closed += peer.reason == RILL_CLOSE_NO_MEMORY;
        again();
    }
    ck_assert_uint_ge(told, 6);
    ck_assert_uint_ge(closed, 20);
    /* A connection that cannot have a session, and a value that cannot be sent. */
    struct fake_peer other = {0};
    fake_sys.fail_after = 1;
    fake_conn_open(loop, &other, &config);
    ck_assert_int_eq(other.reason, RILL_CLOSE_NO_MEMORY);
    fake_peer_free(&other);
    for (uint64_t k = 1; k < 10; k++) {
        send_set("k", 100000);
        fake_sys.fail_after = k;
        fake_peer_send(&peer, "get k\r\n", 7);
        turn();
        fake_sys.fail_after = 0;
        again();
    }
}
END_TEST

/* --- what else there is --- */

START_TEST(times_are_relative_or_dates)
{
    char text[100];
    ask("set a 0 10 1\r\nx\r\nset b 0 2592000 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    snprintf(text, sizeof text, "set c 0 %lld 1\r\nx\r\nset d 0 %lld 1\r\nx\r\n", (long long)FAKE_SYS_EPOCH + 20,
             (long long)FAKE_SYS_EPOCH - 1);
    ask(text, "STORED\r\nSTORED\r\n");
    ask("set e 0 2592001 1\r\nx\r\nset f 0 9223372036854775807 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    ask("get d e\r\n", "END\r\n");
    pass(9999);
    ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    pass(1);
    ask("get a c\r\n", "VALUE c 0 1\r\nx\r\nEND\r\n");
    pass(10000);
    ask("get a b c\r\n", "VALUE b 0 1\r\nx\r\nEND\r\n");
    pass((uint64_t)2592000 * 1000);
    ask("get b f\r\n", "VALUE f 0 1\r\nx\r\nEND\r\n");
    snprintf(text, sizeof text, "flush_all %lld\r\nget f\r\n", (long long)model.unix_seconds + 5);
    ask(text, "OK\r\nVALUE f 0 1\r\nx\r\nEND\r\n");
    pass(5000);
    ask("get f\r\n", "END\r\n");
}
END_TEST

/* The number of NAME in the statistics that were sent last. */
static uint64_t statistic(const char *name)
{
    char line[64];
    snprintf(line, sizeof line, "STAT %s ", name);
    const char *at = strstr(peer.received, line);
    if (!at)
        ck_abort_msg("there is no \"%s\"", name);
    return strtoull(at + strlen(line), NULL, 10);
}

static void ask_stats(const char *which)
{
    fake_peer_forget(&peer);
    fake_peer_send(&peer, which, strlen(which));
    turn();
    ck_assert_uint_ge(peer.received_length, 5);
    ck_assert_str_eq(peer.received + peer.received_length - 5, "END\r\n");
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
        {"total_connections", 1}, {"limit_maxbytes", MEMORY},
        {"evictions", 0},         {"threads", 1},
        {"time", FAKE_SYS_EPOCH}, {"uptime", 0},
    };
    size_t length = sizeof script - 1 - strlen("quit\r\nget z\r\n");
    fake_peer_send(&peer, script, length);
    turn();
    size_t said = peer.received_length;
    cache.started_ns = rill_clock_ns();
    ask_stats("stats\r\n");
    for (unsigned i = 0; i < rill_array_length(wanted); i++)
        if (statistic(wanted[i].name) != wanted[i].value)
            ck_abort_msg("%s is %llu", wanted[i].name, (unsigned long long)statistic(wanted[i].name));
    ck_assert_uint_eq(statistic("bytes_written"), said);
    ck_assert_uint_eq(statistic("bytes_read"), length);
    ck_assert_uint_eq(statistic("curr_items"), stats().items);
    ck_assert_uint_eq(statistic("bytes"), stats().bytes);
    ck_assert_ptr_nonnull(strstr(peer.received, "STAT version 1.2.3\r\n"));
    ask_stats("stats settings\r\n");
    ck_assert_uint_eq(statistic("item_size_max"), MAX_ITEM);
    ck_assert_uint_eq(statistic("maxbytes"), MEMORY);
    ck_assert_uint_eq(statistic("verbosity"), 1);
    ask_stats("stats items\r\n");
    ck_assert_uint_eq(statistic("items:1:number"), stats().items);
    fake_peer_forget(&peer);
    fake_peer_send(&peer, "stats bogus\r\n", 13);
    turn();
    ck_assert_str_eq(peer.received, "ERROR\r\n");
    again();
    ask_stats("stats items\r\n");
    ck_assert_str_eq(peer.received, "END\r\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache session");
    TCase *all = tcase_create("session");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, each_command_is_answered);
    tcase_add_test(all, replies_do_not_depend_on_where_requests_are_split);
    tcase_add_loop_test(all, replies_are_those_of_a_slow_and_simple_cache, 0, 10);
    tcase_add_test(all, values_of_every_size_come_back);
    tcase_add_test(all, a_value_that_is_too_large_is_skipped);
    tcase_add_test(all, values_that_are_coming_take_memory);
    tcase_add_test(all, lines_have_a_limit);
    tcase_add_test(all, what_is_asked_for_waits_until_there_is_room);
    tcase_add_test(all, a_value_that_is_on_its_way_does_not_change);
    tcase_add_test(all, a_session_may_end_anywhere);
    tcase_add_test(all, a_stop_waits_for_what_has_begun);
    tcase_add_test(all, without_memory_a_client_is_told_or_closed);
    tcase_add_test(all, times_are_relative_or_dates);
    tcase_add_test(all, statistics_count_what_happened);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
