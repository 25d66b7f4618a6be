/* test_channel.c - a channel on one loop: who receives what, in how many calls, what waits for a slow member and what
 * is dropped, and closing from every callback. test_channel_random.c does all of it at once; test_mt_channel.c with
 * threads. */
#include "rill/core/sys.h"
#include "rill/net/channel_internal.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANY = 5, BACKENDS = 3, HEARD = 1 << 16 };

static struct rill_channel *channel;
static struct rill_conn *conns[MANY];
static struct rill_conn_id ids[MANY];
static int peers[MANY];
static int alive; /* messages that somebody holds */

static void set_up(void)
{
    faulty_sys_reset();
    rig_set_up(RILL_BACKEND_EPOLL);
    alive = 0;
    channel = rill_channel_new(NULL);
    ck_assert_ptr_nonnull(channel);
    memset(conns, 0, sizeof conns);
    for (int i = 0; i < MANY; i++)
        peers[i] = -1;
}

static void tear_down(void)
{
    for (int i = 0; i < MANY; i++)
        if (peers[i] >= 0)
            close(peers[i]);
    rig_tear_down();
    rill_channel_unref(channel);
    ck_assert_int_eq(alive, 0);
}

static void use_backend(int backend)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)backend);
}

static void adopt(int i)
{
    conns[i] = rig_adopt();
    ids[i] = rill_conn_id(conns[i]);
    peers[i] = rig.peer;
    rig.peer = -1;
}

/* Adopts the I-th connection and makes it a member. */
static void join(int i, const struct rill_membership *how)
{
    adopt(i);
    ck_assert_int_eq(rill_channel_join(channel, conns[i], how), 0);
}

static void on_release(void *arg)
{
    free(arg);
    alive--;
}

static struct rill_buf *message(const char *text, size_t length)
{
    char *bytes = malloc(length);
    memcpy(bytes, text, length);
    struct rill_buf *buf = rill_buf_wrap(bytes, length, on_release, bytes);
    ck_assert_ptr_nonnull(buf);
    alive++;
    return buf;
}

static void publish(const char *text)
{
    ck_assert_int_eq(rill_channel_publish(channel, message(text, strlen(text))), 0);
}

static void publish_number(unsigned number)
{
    char text[16];
    snprintf(text, sizeof text, "%05u\n", number);
    publish(text);
}

/* Reads what there is for the I-th peer, with a NUL behind it. */
static const char *hear(int i)
{
    static char heard[HEARD];
    size_t length = 0;
    ssize_t got;
    while ((got = read(peers[i], heard + length, sizeof heard - 1 - length)) > 0)
        length += (size_t)got;
    heard[length] = '\0';
    return heard;
}

static struct rill_channel_stats stats(void)
{
    struct rill_channel_stats now;
    rill_channel_stats(channel, &now);
    return now;
}

/* From here on no socket takes anything more, or all do again, and the loop is told. */
static void block(void)
{
    faulty_sys.send_limited = true;
    faulty_sys.send_quota = 0;
}

static void unblock(int i)
{
    faulty_sys.send_limited = false;
    struct rill_conn *conn = rill_conn_find(rig.loop, ids[i]);
    if (conn) {
        conn->writable = true; /* what an edge would say: the kernel's buffer was never full */
        rill_conn_make_ready(conn);
    }
    rig_turns(5);
}

/* --- who is not slow --- */

START_TEST(one_send_a_member_however_many_messages)
{
    for (int i = 0; i < MANY; i++)
        join(i, NULL);
    rig_turns(2);
    for (int round = 1; round <= 3; round++) {
        uint64_t sends = faulty_sys.calls[FAULTY_SEND], memory = faulty_sys.calls[FAULTY_MEMORY];
        for (int k = 0; k < round; k++)
            publish(k ? "bar " : "foo ");
        uint64_t wrapped = faulty_sys.calls[FAULTY_MEMORY] - memory;
        ck_assert_str_eq(hear(0), ""); /* nothing before publishing has returned */
        rig_turns(1);
        for (int i = 0; i < MANY; i++)
            ck_assert_str_eq(hear(i), round == 1 ? "foo " : round == 2 ? "foo bar " : "foo bar bar ");
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], sends + MANY);
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_MEMORY], memory + wrapped); /* delivering takes none */
        ck_assert_int_eq(alive, 0);
    }
    ck_assert_uint_eq(stats().members, MANY);
    ck_assert_uint_eq(stats().published, 6);
    ck_assert_uint_eq(stats().dropped, 0);
}
END_TEST

START_TEST(a_batch_of_any_size)
{
    join(0, NULL);
    join(1, NULL);
    unsigned sizes[] = {1, 63, 64, 65, 128, 200, 1000};
    for (size_t s = 0; s < rill_array_length(sizes); s++) {
        uint64_t sends = faulty_sys.calls[FAULTY_SEND];
        for (unsigned n = 0; n < sizes[s]; n++)
            publish_number(n);
        rig_turns(1);
        for (int i = 0; i < 2; i++) {
            const char *heard = hear(i);
            ck_assert_uint_eq(strlen(heard), sizes[s] * 6);
            for (unsigned n = 0; n < sizes[s]; n++)
                ck_assert_uint_eq(strtoul(heard + n * 6, NULL, 10), n);
        }
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], sends + 2 * ((sizes[s] + 63) / 64));
    }
}
END_TEST

START_TEST(nobody_and_nothing)
{
    publish("to nobody");
    ck_assert_int_eq(alive, 0);
    join(0, NULL);
    publish("");
    rig_turns(2);
    ck_assert_str_eq(hear(0), "");
    ck_assert_uint_eq(stats().published, 1);
    rill_channel_unref(NULL);
}
END_TEST

START_TEST(joins_once_and_leaves_once)
{
    join(0, NULL);
    ck_assert_int_eq(rill_channel_join(channel, conns[0], NULL), -EALREADY);
    publish("one ");
    rig_turns(1);
    ck_assert(rill_channel_leave(channel, conns[0]));
    ck_assert(!rill_channel_leave(channel, conns[0]));
    publish("two ");
    rig_turns(1);
    ck_assert_int_eq(rill_channel_join(channel, conns[0], NULL), 0);
    publish("three ");
    ck_assert(rill_channel_leave(channel, conns[0])); /* with a message on its way */
    rig_turns(1);
    ck_assert_int_eq(rill_channel_join(channel, conns[0], NULL), 0);
    publish("four");
    rig_turns(1);
    ck_assert_str_eq(hear(0), "one four");
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(whoever_ends_does_not_join)
{
    conns[0] = rig_adopt();
    rill_conn_shutdown(conns[0]);
    ck_assert_int_eq(rill_channel_join(channel, conns[0], NULL), -EPIPE);
    rill_conn_finish(conns[0], true);
    ck_assert_int_eq(rill_channel_join(channel, conns[0], NULL), -EPIPE);
    rill_conn_close(conns[0], RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_channel_join(channel, conns[0], NULL), -EPIPE);
    ck_assert(!rill_channel_leave(channel, conns[0]));
    ck_assert_uint_eq(stats().members, 0);
}
END_TEST

START_TEST(whoever_ends_is_sent_nothing)
{
    for (int i = 0; i < 4; i++)
        join(i, NULL);
    block();
    publish("in the output ");
    rig_turns(1);
    publish("waits"); /* for all four */
    rig_turns(1);
    rill_conn_shutdown(conns[0]);
    rill_conn_finish(conns[1], false);
    rill_conn_close(conns[2], RILL_CLOSE_LOCAL);
    publish("late");
    rig_turns(1);
    for (int i = 0; i < 4; i++)
        unblock(i == 2 ? 3 : i);
    ck_assert_str_eq(hear(0), "in the output ");
    ck_assert_str_eq(hear(1), "in the output ");
    ck_assert_str_eq(hear(2), "");
    ck_assert_str_eq(hear(3), "in the output waitslate");
    ck_assert_int_eq(rig.closed, 2);
    ck_assert_uint_eq(stats().members, 2);
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(a_channel_goes_when_nobody_holds_it)
{
    join(0, NULL);
    publish("last words");
    rill_channel_unref(channel); /* the member holds it, and so does what is on its way */
    if (_i) {
        rill_conn_close(conns[0], RILL_CLOSE_LOCAL);
        rig_turns(1);
        ck_assert_str_eq(hear(0), "");
    } else {
        rig_turns(1);
        ck_assert_str_eq(hear(0), "last words");
    }
    ck_assert_int_eq(alive, 0);
    channel = NULL; /* AddressSanitizer would tell if it had stayed */
}
END_TEST

START_TEST(a_loop_may_go_first)
{
    join(0, NULL);
    publish("on its way at the end");
    if (_i) {
        rill_loop_stop(rig.loop);
        ck_assert_int_eq(rill_loop_run(rig.loop), 0);
        publish("after the end"); /* the connection is a member still */
        ck_assert_uint_eq(stats().members, 1);
    }
    rill_loop_free(rig.loop);
    ck_assert_str_eq(hear(0), "on its way at the end");
    publish("to nobody any more");
    ck_assert_uint_eq(stats().members, 0);
    ck_assert_int_eq(alive, 0);
    rig_set_up(RILL_BACKEND_EPOLL); /* perhaps in the same place in memory */
    publish("to nobody yet");
    join(1, NULL);
    publish("hello");
    rig_turns(1);
    ck_assert_str_eq(hear(1), "hello");
}
END_TEST

/* --- a delivery of several turns --- */

/* How many have been sent the message by now. */
static int count_heard(void)
{
    int count = 0;
    for (int i = 0; i < MANY; i++)
        count += *hear(i) != '\0';
    return count;
}

START_TEST(many_members_leave_the_others_their_turn)
{
    channel->slice = 1;
    for (int i = 0; i < MANY; i++)
        join(i, NULL);
    rig_turns(2);
    for (int round = 0; round < 3; round++) {
        int heard = 0, turns = 0;
        publish("news");
        while (heard < MANY) {
            rig_turns(1);
            int more = count_heard();
            ck_assert_int_ge(more, 1);
            ck_assert_int_le(more, 2); /* one when it was posted, one when the turn ended */
            heard += more;
            turns++;
        }
        ck_assert_int_eq(turns, MANY - 1);
        ck_assert_int_eq(alive, 0);
    }
}
END_TEST

START_TEST(what_is_published_meanwhile_comes_after)
{
    channel->slice = 1 + (uint32_t)_i;
    for (int i = 0; i < MANY; i++)
        join(i, NULL);
    rig_turns(2);
    char wanted[512] = "", heard[MANY][512] = {"", "", "", "", ""};
    for (unsigned n = 0; n < 60 || alive > 0; n++) {
        char text[8];
        snprintf(text, sizeof text, "%02u ", n);
        if (n < 60) {
            publish(text);
            strcat(wanted, text);
        }
        rig_turns(1);
        for (int i = 0; i < MANY; i++)
            strcat(heard[i], hear(i));
        ck_assert_uint_lt(n, 1000);
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_str_eq(heard[i], wanted);
}
END_TEST

/* Between the first slice and the second. */
START_TEST(members_come_and_go_during_a_delivery)
{
    channel->slice = 1;
    for (int i = 0; i < 4; i++)
        join(i, NULL);
    rig_turns(2);
    publish("one ");
    rig_turns(1); /* to two of the four */
    rill_conn_close(conns[0], RILL_CLOSE_LOCAL);
    ck_assert(rill_channel_leave(channel, conns[2]));
    if (_i > 0)
        ck_assert_int_eq(rill_channel_join(channel, conns[2], NULL), 0);
    join(4, NULL);
    if (_i > 1)
        for (int i = 1; i < MANY; i++)
            rill_channel_leave(channel, conns[i]);
    publish("two");
    rig_turns(10);
    ck_assert_str_eq(hear(0), "one ");
    ck_assert_str_eq(hear(1), _i > 1 ? "one " : "one two");
    ck_assert_str_eq(hear(2), _i == 1 ? "two" : "");
    ck_assert_str_eq(hear(3), _i > 1 ? "" : "one two");
    ck_assert_str_eq(hear(4), _i > 1 ? "" : "two");
    ck_assert_uint_eq(stats().members, _i > 1 ? 0 : _i > 0 ? 4 : 3);
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(a_loop_ends_its_deliveries_first)
{
    channel->slice = 1;
    for (int i = 0; i < MANY; i++)
        join(i, NULL);
    publish("to the end");
    rig_turns(1);
    publish("too late"); /* the loop takes no posts any more when it comes to that */
    if (_i) {
        rill_loop_stop(rig.loop);
        ck_assert_int_eq(rill_loop_run(rig.loop), 0);
    } else {
        rill_loop_free(rig.loop);
        rig_set_up(RILL_BACKEND_EPOLL);
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_str_eq(hear(i), "to the end");
    ck_assert_int_eq(alive, 0);
}
END_TEST

/* --- cut anywhere --- */

START_TEST(no_message_is_torn_however_little_goes_at_once)
{
    char wanted[4096] = "";
    use_backend(1 + _i % 2); /* with edges a piece that the kernel did not cut would be the last */
    for (int i = 0; i < 3; i++)
        join(i, NULL);
    faulty_sys.most_sent = (size_t)_i / 2 + 1;
    char heard[3][4096] = {"", "", ""};
    for (unsigned turn = 0, n = 0; turn < 3000 && (n < 150 || strlen(heard[2]) < strlen(wanted)); turn++) {
        for (unsigned k = 0; k < turn % 4 && n < 150; k++, n++) {
            char text[32];
            snprintf(text, sizeof text, "<%u%.*s>", n, (int)(n % 13), "=============");
            strcat(wanted, text);
            publish(text);
        }
        if (turn % 7 == 3) /* the app's own, between two messages */
            for (int i = 0; i < 3; i++)
                rill_conn_send(conns[i], "|", 1);
        rig_turns(1);
        for (int i = 0; i < 3; i++)
            for (const char *c = hear(i); *c; c++) {
                size_t length = strlen(heard[i]);
                if (*c == '|') /* never within one */
                    ck_assert(length == 0 || heard[i][length - 1] == '>');
                else
                    heard[i][length] = *c;
            }
    }
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(heard[i], wanted);
    ck_assert_int_eq(alive, 0);
    ck_assert_uint_eq(stats().dropped, 0);
}
END_TEST

/* --- who is slow --- */

/* A member that takes 3 bytes of the first message, and then LATER more are published. */
static void slow_member(const struct rill_membership *how, unsigned later)
{
    join(0, how);
    rig_turns(2);
    block();
    faulty_sys.send_quota = 3;
    for (unsigned n = 0; n <= later; n++) {
        publish_number(n);
        if (n % 3 == 0)
            rig_turns(1);
    }
    rig_turns(1);
}

START_TEST(drops_the_oldest_by_number)
{
    uint32_t limit = (uint32_t)_i + 1;
    slow_member(&(struct rill_membership){.max_messages = limit}, 50);
    ck_assert_int_eq(alive, 1 + (int)limit); /* the one begun, and those that wait */
    ck_assert_uint_eq(stats().dropped, 50 - limit);
    unblock(0);
    const char *heard = hear(0);
    ck_assert_uint_eq(strlen(heard), 6 * (limit + 1));
    ck_assert_uint_eq(strtoul(heard, NULL, 10), 0);
    for (uint32_t k = 0; k < limit; k++)
        ck_assert_uint_eq(strtoul(heard + 6 * (k + 1), NULL, 10), 51 - limit + k);
    ck_assert_int_eq(alive, 0);
    publish("on again");
    rig_turns(1);
    ck_assert_str_eq(hear(0), "on again");
}
END_TEST

START_TEST(drops_the_oldest_by_bytes)
{
    size_t limit = (size_t)_i;
    slow_member(&(struct rill_membership){.max_bytes = limit}, 50);
    uint32_t fit = (uint32_t)limit / 6;
    ck_assert_int_eq(alive, 1 + (int)fit);
    publish("too long to wait at all, whatever else does, but for a good while");
    rig_turns(1);
    ck_assert_int_eq(alive, 1); /* what waited was older, and made room in vain */
    ck_assert_uint_eq(stats().dropped, 51);
    unblock(0);
    ck_assert_str_eq(hear(0), "00000\n");
}
END_TEST

START_TEST(conflates)
{
    slow_member(&(struct rill_membership){.slow = RILL_SLOW_CONFLATE, .max_bytes = 1}, (unsigned)_i);
    ck_assert_int_eq(alive, _i ? 2 : 1);
    ck_assert_uint_eq(stats().dropped, _i ? (unsigned)_i - 1 : 0);
    unblock(0);
    const char *heard = hear(0);
    ck_assert_uint_eq(strtoul(heard, NULL, 10), 0);
    if (_i)
        ck_assert_uint_eq(strtoul(heard + 6, NULL, 10), (unsigned)_i);
    ck_assert_uint_eq(strlen(heard), _i ? 12 : 6);
}
END_TEST

START_TEST(closes)
{
    struct rill_membership how = {.slow = RILL_SLOW_CLOSE};
    if (_i)
        how.max_bytes = 60;
    else
        how.max_messages = 10;
    slow_member(&how, 10);
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_int_eq(alive, 11);
    publish("one too many");
    rig_turns(1);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_OUTPUT_LIMIT);
    ck_assert_uint_eq(stats().closed, 1);
    ck_assert_uint_eq(stats().members, 0);
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(who_must_not_miss_anything_does_not)
{
    slow_member(&(struct rill_membership){.slow = RILL_SLOW_CLOSE, .max_messages = 400}, 400);
    char heard[4096] = "";
    for (unsigned taken = 0; taken < 401 * 6; taken += 7) { /* of the peer that reads on slowly */
        faulty_sys.send_quota = 7;
        conns[0]->writable = true;
        rill_conn_make_ready(conns[0]);
        rig_turns(2);
        strcat(heard, hear(0));
    }
    ck_assert_uint_eq(strlen(heard), 401 * 6);
    for (unsigned n = 0; n <= 400; n++)
        ck_assert_uint_eq(strtoul(heard + 6 * n, NULL, 10), n);
    ck_assert_int_eq(rig.closed, 0);
}
END_TEST

START_TEST(a_real_peer_that_does_not_read)
{
    static const enum rill_slow policies[] = {RILL_SLOW_DROP_OLDEST, RILL_SLOW_CONFLATE, RILL_SLOW_CLOSE};
    static char large[8192];
    use_backend(_i % BACKENDS);
    enum rill_slow slow = policies[_i / BACKENDS];
    join(0, &(struct rill_membership){.slow = slow, .max_bytes = 4 * sizeof large});
    join(1, NULL); /* reads, and is sent all */
    memset(large, 'x', sizeof large);
    size_t heard = 0;
    for (int n = 0; n < 500; n++) {
        ck_assert_int_eq(rill_channel_publish(channel, message(large, sizeof large)), 0);
        rig_turns(1);
        heard += rig_drop(peers[1], NULL);
        ck_assert_int_le(alive, 1 + 4);
    }
    ck_assert_uint_eq(heard, 500 * sizeof large);
    ck_assert_int_eq(rig.closed, slow == RILL_SLOW_CLOSE);
    if (slow != RILL_SLOW_CLOSE) {
        size_t whole = 0, more;
        do {
            more = rig_drop(peers[0], NULL);
            whole += more;
            rig_turns(2);
        } while (more > 0);
        ck_assert_uint_eq(whole % sizeof large, 0);
        ck_assert_uint_eq(whole / sizeof large + stats().dropped, 500);
    }
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(whose_output_waits_for_the_end_of_the_turn_is_not_slow)
{
    join(0, &(struct rill_membership){.slow = RILL_SLOW_CLOSE, .max_messages = 1});
    rig_turns(2);
    uint64_t sends = faulty_sys.calls[FAULTY_SEND];
    rill_conn_send(conns[0], "first ", 6);
    for (unsigned n = 0; n < 20; n++)
        publish_number(n);
    rig_turns(1);
    const char *heard = hear(0);
    ck_assert_uint_eq(strlen(heard), 6 + 20 * 6);
    ck_assert_int_eq(strncmp(heard, "first 00000\n", 12), 0);
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], sends + 2);
}
END_TEST

START_TEST(who_reads_nothing_runs_into_the_write_timeout)
{
    rig.config.write_timeout_ms = 1000;
    slow_member(&(struct rill_membership){.slow = RILL_SLOW_CONFLATE}, 5);
    faulty_sys_forward(900);
    publish("newer");
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 0);
    faulty_sys_forward(200);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_WRITE_TIMEOUT);
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(leaving_drops_what_waits)
{
    slow_member(NULL, 20);
    ck_assert_int_eq(alive, 21);
    ck_assert(rill_channel_leave(channel, conns[0]));
    ck_assert_int_eq(alive, 1); /* the one that was begun is sent to its end */
    unblock(0);
    ck_assert_str_eq(hear(0), "00000\n");
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(a_slow_member_of_two_channels_hears_both)
{
    struct rill_channel *other = rill_channel_new(NULL);
    struct rill_membership how = {.max_messages = 100};
    join(0, &how);
    ck_assert_int_eq(rill_channel_join(other, conns[0], &how), 0);
    rig_turns(2);
    block();
    publish("begun\n");
    rig_turns(1);
    /* A flood of one must not keep the other's few from leaving. */
    for (unsigned n = 0; n < 100; n++)
        publish_number(n);
    ck_assert_int_eq(rill_channel_publish(other, message("other\n", 6)), 0);
    rig_turns(1);
    unsigned before = 0;
    for (int k = 0; k < 50; k++) {
        faulty_sys.send_quota = 9;
        conns[0]->writable = true;
        rill_conn_make_ready(conns[0]);
        rig_turns(1);
        publish("more\n");
        publish("more\n");
        rig_turns(1);
        const char *heard = hear(0);
        before += (unsigned)strlen(heard);
        if (strstr(heard, "oth"))
            break;
    }
    ck_assert_uint_lt(before, 60);
    unblock(0);
    rill_channel_unref(other);
}
END_TEST

START_TEST(too_much_for_one_turn_goes_on_in_the_next)
{
    static char large[1 << 16];
    join(0, &(struct rill_membership){.max_bytes = 32 << 20});
    rig_turns(2);
    block();
    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(rill_channel_publish(channel, message(large, sizeof large)), 0);
    rig_turns(1);
    ck_assert_int_eq(alive, 300);
    faulty_sys.send_limited = false;
    faulty_sys.endless_fd = conns[0]->fd; /* takes all there is */
    rill_conn_pause(conns[0], RILL_PAUSE_USER);
    conns[0]->writable = true;
    rill_conn_make_ready(conns[0]);
    rig_turns(1);
    ck_assert_int_gt(alive, 0);
    rig_turns(5);
    ck_assert_int_eq(alive, 0);
    ck_assert_uint_eq(faulty_sys.endless, sizeof large * 300);
}
END_TEST

/* --- what is refused --- */

START_TEST(publishing_waits_for_a_loop_that_is_behind)
{
    rill_channel_unref(channel);
    channel = rill_channel_new(&(struct rill_channel_config){.max_pending_bytes = 10 * (6 + 128)});
    join(0, NULL);
    for (unsigned n = 0; n < 10; n++)
        publish_number(n);
    ck_assert_int_eq(rill_channel_publish(channel, message("one more", 8)), -EAGAIN);
    ck_assert_int_eq(alive, 10);
    ck_assert_uint_eq(stats().published, 10);
    rig_turns(1);
    ck_assert_uint_eq(strlen(hear(0)), 60);
    char large[8192] = "larger than all that may be pending";
    ck_assert_int_eq(rill_channel_publish(channel, message(large, sizeof large)), 0); /* alone it is not refused */
    ck_assert_int_eq(rill_channel_publish(channel, message("x", 1)), -EAGAIN);
    rig_turns(1);
    ck_assert_int_eq(alive, 0);
}
END_TEST

/* Every allocation fails once, on the way from the first connection to the last message. */
START_TEST(without_memory_nothing_is_lost_but_what_is_said)
{
    static const enum rill_slow policies[] = {RILL_SLOW_DROP_OLDEST, RILL_SLOW_CONFLATE, RILL_SLOW_CLOSE};
    enum rill_slow slow = policies[_i];
    for (uint64_t k = 1;; k++) {
        struct rill_membership how = {.slow = slow};
        adopt(0);
        adopt(1);
        rig_turns(2);
        struct rill_buf *bufs[20];
        for (unsigned n = 0; n < 20; n++)
            bufs[n] = message("12345", 6);
        faulty_memory_fails_at(k);
        struct rill_channel *fresh = rill_channel_new(NULL);
        int joined = 0, published = 0, closed = rig.closed;
        for (int i = 0; fresh && i < 2; i++) {
            int error = rill_channel_join(fresh, conns[i], &how);
            ck_assert(error == 0 || error == -ENOMEM);
            joined += error == 0;
        }
        for (unsigned n = 0; n < 20; n++) {
            if (n == 2)
                block();
            int error = fresh ? rill_channel_publish(fresh, bufs[n]) : -ENOMEM;
            ck_assert(error == 0 || error == -ENOMEM);
            published += error == 0;
            if (!fresh)
                rill_buf_unref(bufs[n]);
            rig_turns(1);
        }
        faulty_sys.fail_after = 0;
        unblock(0);
        unblock(1);
        for (int i = 0; i < 2; i++) {
            size_t heard = rig_drop(peers[i], NULL);
            ck_assert_uint_le(heard, 20 * 6);
            ck_assert_uint_eq(heard % 6, 0);
            if (slow == RILL_SLOW_CLOSE && joined == 2 && rig.closed == closed)
                ck_assert_uint_eq(heard, (size_t)published * 6);
        }
        for (int i = 0; i < 2; i++) {
            struct rill_conn *conn = rill_conn_find(rig.loop, ids[i]);
            if (conn)
                rill_conn_close(conn, RILL_CLOSE_LOCAL);
            close(peers[i]);
            peers[i] = -1;
        }
        rig_turns(2);
        rill_channel_unref(fresh);
        ck_assert_int_eq(alive, 0);
        if (faulty_sys.failed < k)
            break; /* there were not so many */
    }
    ck_assert_uint_gt(faulty_sys.failed, 5);
}
END_TEST

/* --- from callbacks --- */

static int callback_step;

/* Each a thing that an app may do when a connection closes; during a delivery, too. */
static void on_close_do(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)reason;
    rig.closed++;
    ck_assert(!rill_channel_leave(channel, conn)); /* it has left already */
    if (callback_step < 0 || rig.closed > 1)
        return;
    switch (callback_step) {
    case 0: /* closes the others */
        for (int i = 0; i < MANY; i++)
            rill_conn_close(conns[i], RILL_CLOSE_LOCAL);
        break;
    case 1: /* has them leave */
        for (int i = 0; i < MANY; i++)
            rill_channel_leave(channel, conns[i]);
        break;
    case 2: /* has them leave and join again */
        for (int i = 0; i < MANY; i++)
            if (rill_channel_leave(channel, conns[i]))
                ck_assert_int_eq(rill_channel_join(channel, conns[i], NULL), 0);
        break;
    case 3: /* says that it has left */
        publish("gone");
        break;
    case 4: /* makes many new members */
        for (int i = 0; i < 40; i++) {
            rig_adopt();
            ck_assert_int_eq(rill_channel_join(channel, rig.conn, NULL), 0);
            close(rig.peer);
        }
        rig.peer = -1;
        break;
    default: /* gives up the channel */
        rill_channel_unref(channel);
        break;
    }
}

START_TEST(closing_within_a_delivery)
{
    int steps = 6, victim = _i / steps % MANY, how = _i / steps / MANY;
    struct rill_membership strict = {.slow = RILL_SLOW_CLOSE, .max_bytes = 1};
    callback_step = _i % steps;
    rig.handler.on_close = on_close_do;
    for (int i = 0; i < MANY; i++)
        join(i, i == victim ? &strict : NULL);
    rig_turns(2);
    if (how == 0) { /* the socket breaks */
        close(peers[victim]);
        peers[victim] = -1;
    } else { /* it is slow */
        rig_stuff(conns[victim]->fd);
        if (how == 2)
            rig_drop(peers[victim], NULL);
    }
    for (int n = 0; n < 3; n++)
        publish("news");
    rig_turns(1);
    publish("more news"); /* the first of them waits with the output of who is slow */
    rig_turns(5);
    if (callback_step == 5)
        rill_channel_ref(channel);
    if (how < 2)
        ck_assert_int_ge(rig.closed, 1);
    for (int i = 0; i < MANY; i++) {
        if (i == victim)
            continue;
        static const char all[] = "newsnewsnewsmore news", with_gone[] = "newsnewsnewsgonemore news";
        const char *heard = hear(i), *wanted = callback_step == 3 && how < 2 ? with_gone : all;
        if (callback_step >= 3 || how == 2)
            ck_assert_str_eq(heard, wanted);
        else if (callback_step == 2) /* those that came after it left before they were sent it */
            ck_assert(strcmp(heard, all) == 0 || strcmp(heard, "more news") == 0);
        else
            ck_assert(strcmp(heard, "newsnewsnews") == 0 || strcmp(heard, "") == 0);
    }
    callback_step = -1;
}
END_TEST

static void leave_and_come_back(struct rill_conn *conn, struct rill_input *input)
{
    rill_input_consume(input, input->length);
    ck_assert(rill_channel_leave(channel, conn));
    ck_assert_int_eq(rill_channel_join(channel, conn, NULL), 0);
    publish("back");
    rill_conn_send(conn, "before ", 7);
}

START_TEST(from_on_data)
{
    rig.handler.on_data = leave_and_come_back;
    join(0, NULL);
    join(1, NULL);
    rig_turns(2);
    ck_assert_int_eq(write(peers[0], "x", 1), 1);
    rig_turns(2);
    ck_assert_str_eq(hear(0), "before back");
    ck_assert_str_eq(hear(1), "back");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *all = tcase_create("channel");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, one_send_a_member_however_many_messages);
    tcase_add_test(all, a_batch_of_any_size);
    tcase_add_test(all, nobody_and_nothing);
    tcase_add_test(all, joins_once_and_leaves_once);
    tcase_add_test(all, whoever_ends_does_not_join);
    tcase_add_test(all, whoever_ends_is_sent_nothing);
    tcase_add_loop_test(all, a_channel_goes_when_nobody_holds_it, 0, 2);
    tcase_add_loop_test(all, a_loop_may_go_first, 0, 2);
    tcase_add_test(all, many_members_leave_the_others_their_turn);
    tcase_add_loop_test(all, what_is_published_meanwhile_comes_after, 0, 6);
    tcase_add_loop_test(all, members_come_and_go_during_a_delivery, 0, 3);
    tcase_add_loop_test(all, a_loop_ends_its_deliveries_first, 0, 2);
    tcase_add_loop_test(all, no_message_is_torn_however_little_goes_at_once, 0, 48);
    suite_add_tcase(suite, all);

    TCase *slow = tcase_create("slow");
    tcase_add_checked_fixture(slow, set_up, tear_down);
    tcase_add_loop_test(slow, drops_the_oldest_by_number, 0, 18);
    tcase_add_loop_test(slow, drops_the_oldest_by_bytes, 1, 20);
    tcase_add_loop_test(slow, conflates, 0, 5);
    tcase_add_loop_test(slow, closes, 0, 2);
    tcase_add_test(slow, who_must_not_miss_anything_does_not);
    tcase_add_loop_test(slow, a_real_peer_that_does_not_read, 0, 3 * BACKENDS);
    tcase_add_test(slow, whose_output_waits_for_the_end_of_the_turn_is_not_slow);
    tcase_add_test(slow, who_reads_nothing_runs_into_the_write_timeout);
    tcase_add_test(slow, leaving_drops_what_waits);
    tcase_add_test(slow, a_slow_member_of_two_channels_hears_both);
    tcase_add_test(slow, too_much_for_one_turn_goes_on_in_the_next);
    suite_add_tcase(suite, slow);

    TCase *hard = tcase_create("hard");
    tcase_add_checked_fixture(hard, set_up, tear_down);
    tcase_add_test(hard, publishing_waits_for_a_loop_that_is_behind);
    tcase_add_loop_test(hard, without_memory_nothing_is_lost_but_what_is_said, 0, 3);
    tcase_add_loop_test(hard, closing_within_a_delivery, 0, 6 * MANY * 3);
    tcase_add_test(hard, from_on_data);
    suite_add_tcase(suite, hard);

    return run_suite(suite);
}
