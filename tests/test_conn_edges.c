/* test_conn_edges.c - connections where it is tight: edges that must not be lost, turns that must not be wasted,
 * buffers that somebody still looks at, and deadlines under a clock that the test puts forward. */
#include "rill/core/sys.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <signal.h>
#include <stdio.h>

enum { BACKENDS = 3 };

static void set_up(void)
{
    faulty_sys_reset();
    rig_set_up((enum rill_backend)0);
}

static void use_backend(int backend)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)(backend % BACKENDS));
}

static void say(const char *text)
{
    ck_assert_int_eq(write(rig.peer, text, strlen(text)), (ssize_t)strlen(text));
}

/* Sends what the kernel will not take all of, so that output waits. */
static void stuff_output(struct rill_conn *conn)
{
    static char much[1 << 20];
    ck_assert_int_eq(rill_conn_send(conn, much, sizeof much), 0);
    rig_turns(2);
    ck_assert_uint_gt(rill_conn_buffered(conn), 0);
}

/* --- edges --- */

START_TEST(a_reset_behind_bytes_is_noticed)
{
    use_backend(_i);
    rig_adopt_tcp();
    rig_turns(2); /* watched from here on */
    struct linger now = {1, 0};
    setsockopt(rig.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    say("part of a request");
    close(rig.peer); /* a reset, in the same edge as the bytes */
    rig.peer = -1;
    rig_turns(3);
    ck_assert_uint_eq(rig.length, 17);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_RESET);
}
END_TEST

START_TEST(the_end_behind_bytes_is_noticed)
{
    use_backend(_i);
    if (_i / BACKENDS)
        rig_adopt_tcp();
    else
        rig_adopt();
    rig_turns(2);
    say("last words");
    shutdown(rig.peer, SHUT_WR);
    rig_turns(3);
    ck_assert_uint_eq(rig.length, 10);
    ck_assert_int_eq(rig.eofs, 1);
}
END_TEST

static void echo(struct rill_conn *conn, struct rill_input *input)
{
    rig.datas++;
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

START_TEST(a_request_and_its_reply_cost_two_calls)
{
    rig.handler.on_data = echo;
    rig_adopt_tcp();
    rig_turns(2);
    for (int i = 0; i < 10; i++) {
        uint64_t received = faulty_sys.calls[FAULTY_RECV], sent = faulty_sys.calls[FAULTY_SEND];
        say("request");
        rig_turns(2);
        ck_assert_uint_eq(rig_drop(rig.peer, NULL), 7);
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV], received + 1);
        ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], sent + 1);
    }
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_EPOLL_CTL], 3); /* the loop's own two, and the connection, once */
}
END_TEST

START_TEST(small_pieces_lose_nothing)
{
    static char text[3000], heard[3000];
    size_t step = (size_t)_i / 2 + 1, said = 0, got = 0;
    use_backend(1 + _i % 2); /* with edges a piece that the kernel did not cut would be the last */
    rig.handler.on_data = echo;
    rig_adopt();
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 >> 2);
    faulty_sys.most_received = step;
    faulty_sys.most_sent = step + 1;
    for (int turns = 0; got < sizeof text && turns < 10000; turns++) {
        ssize_t n = write(rig.peer, text + said, sizeof text - said);
        said += n > 0 ? (size_t)n : 0;
        rig_turns(1);
        n = read(rig.peer, heard + got, sizeof heard - got);
        got += n > 0 ? (size_t)n : 0;
    }
    ck_assert_uint_eq(got, sizeof text);
    ck_assert_mem_eq(heard, text, sizeof text);
}
END_TEST

static struct rill_conn *held_back;

static void resume_the_other(struct rill_conn *conn, struct rill_input *input)
{
    if (conn != held_back) {
        rill_conn_resume(held_back, RILL_PAUSE_USER);
    } else {
        ck_assert_int_eq(rig.eofs, 0);
        if (rig.datas++ == 0) {
            rill_conn_pause(conn, RILL_PAUSE_USER);
            return;
        }
        if (rig.keep && rig.datas == 2) { /* not yet */
            rill_conn_pause(conn, RILL_PAUSE_USER);
            return;
        }
    }
    rig.length += input->length;
    rill_input_consume(input, input->length);
}

START_TEST(the_end_comes_after_bytes_that_were_kept)
{
    use_backend(_i);
    rig.handler.on_data = resume_the_other;
    rig.keep = _i / BACKENDS;
    struct rill_conn *other = rig_adopt();
    int other_peer = rig.peer;
    held_back = rig_adopt();
    say("kept");
    rig_turns(3);
    ck_assert_int_eq(write(other_peer, "x", 1), 1); /* both in one pass, this one first */
    shutdown(rig.peer, SHUT_WR);
    rig_turns(3);
    if (rig.keep) {
        ck_assert_int_eq(rig.eofs, 0);
        rill_conn_resume(held_back, RILL_PAUSE_USER);
        rig_turns(3);
    }
    ck_assert_uint_eq(rig.length, 1 + 4);
    ck_assert_int_eq(rig.eofs, 1);
    rill_conn_close(other, RILL_CLOSE_LOCAL);
    close(other_peer);
}
END_TEST

/* Wants to see its bytes once more, and again once more. */
static void resume_the_other_or_self(struct rill_conn *conn, struct rill_input *input)
{
    if (conn != held_back) {
        rill_conn_resume(held_back, RILL_PAUSE_USER);
    } else {
        ck_assert_int_eq(rig.eofs, 0);
        if (++rig.datas < 4) {
            rill_conn_pause(conn, RILL_PAUSE_USER);
            if (rig.datas > 1)
                rill_conn_resume(conn, RILL_PAUSE_USER);
            return;
        }
    }
    rig.length += input->length;
    rill_input_consume(input, input->length);
}

START_TEST(the_end_comes_after_bytes_to_be_shown_again)
{
    use_backend(_i);
    rig.handler.on_data = resume_the_other_or_self;
    struct rill_conn *other = rig_adopt();
    int other_peer = rig.peer;
    held_back = rig_adopt();
    say("kept");
    rig_turns(3);
    ck_assert_int_eq(write(other_peer, "x", 1), 1); /* both in one pass, this one first */
    shutdown(rig.peer, SHUT_WR);
    rig_turns(6);
    ck_assert_int_eq(rig.datas, 4);
    ck_assert_uint_eq(rig.length, 1 + 4);
    ck_assert_int_eq(rig.eofs, 1);
    rill_conn_close(other, RILL_CLOSE_LOCAL);
    close(other_peer);
}
END_TEST

/* --- turns --- */

/* Whatever a connection waits for, waiting costs nothing: the loop sleeps. */
static void assert_sleeps(const char *what)
{
    rig_turns(4);
    int turns = rig_turns_within(20);
    ck_assert_msg(turns <= 3, "%s: %d turns", what, turns);
    ck_assert_msg(rig.closed == 0, "%s: closed", what);
}

START_TEST(waiting_costs_no_turns)
{
    use_backend(_i);
    struct rill_conn *conn = rig_adopt();
    switch (_i / BACKENDS) {
    case 0:
        assert_sleeps("idle");
        break;
    case 1:
        rill_conn_pause(conn, RILL_PAUSE_USER);
        say("unread");
        assert_sleeps("paused with unread bytes");
        break;
    case 2:
        rill_conn_pause(conn, RILL_PAUSE_USER);
        say("unread");
        shutdown(rig.peer, SHUT_WR);
        assert_sleeps("paused before the peer's end");
        break;
    case 3:
        shutdown(rig.peer, SHUT_WR);
        assert_sleeps("half-closed by the peer");
        break;
    case 4:
        rill_conn_shutdown(conn);
        assert_sleeps("half-closed by us");
        break;
    case 5:
        stuff_output(conn);
        assert_sleeps("output waits");
        break;
    case 6:
        stuff_output(conn);
        shutdown(rig.peer, SHUT_WR);
        assert_sleeps("output waits, half-closed by the peer");
        break;
    case 7:
        stuff_output(conn);
        rill_conn_finish(conn, false);
        assert_sleeps("finishing");
        break;
    case 8:
        stuff_output(conn);
        rill_conn_finish(conn, true);
        rig_stuff(rig.peer);
        assert_sleeps("finishing, to linger then");
        break;
    case 9:
        rill_conn_finish(conn, true);
        say("dropped");
        assert_sleeps("lingering");
        break;
    case 10:
        rig.keep = true;
        say("kept");
        assert_sleeps("kept input");
        break;
    }
}
END_TEST

START_TEST(a_slow_reader_of_a_last_response_costs_no_turns)
{
    static char much[300000];
    use_backend(_i);
    rig.config.high_watermark = 1000;
    rig.config.low_watermark = 500;
    struct rill_conn *conn = rig_adopt();
    faulty_sys.send_limited = true;
    ck_assert_int_eq(rill_conn_send(conn, much, 3000), 0); /* above the high watermark */
    faulty_sys.send_quota = 2900;
    if (_i % BACKENDS == 0) { /* then below the low one; the kernel itself must be full for the loop to sleep */
        faulty_sys.send_limited = false;
        ck_assert_int_eq(rill_conn_send(conn, much, sizeof much), 0);
        rig_turns(1);
        rig.config.low_watermark = sizeof much;
        rig.config.high_watermark = sizeof much + 1;
    }
    rill_conn_finish(conn, _i / BACKENDS);
    rig_turns(2);
    if (_i % BACKENDS == 0)
        assert_sleeps("finishing above the high watermark");
    faulty_sys.send_limited = false;
    for (int i = 0; i < 20; i++) {
        rig_turns(1);
        rig_drop(rig.peer, NULL);
    }
    ck_assert_int_eq(rig.drains, 0); /* nobody is asked for more */
    if (_i / BACKENDS)
        assert_sleeps("lingering after the high watermark");
    else
        ck_assert_int_eq(rig.closed, 1);
}
END_TEST

START_TEST(a_drain_is_told_within_its_turn)
{
    rig.config.high_watermark = 1000;
    struct rill_conn *conn = rig_adopt();
    rill_conn_want_drain(conn);
    ck_assert_int_eq(rig.drains, 0);
    rig_turns(1);
    ck_assert_int_eq(rig.drains, 1);
    ck_assert_int_le(rig_turns_within(10), 2);
    ck_assert_int_eq(rig.drains, 1);
}
END_TEST

START_TEST(nothing_is_shown_twice_for_nothing)
{
    struct rill_conn *conn = rig_adopt();
    rill_conn_pause(conn, RILL_PAUSE_USER);
    rill_conn_resume(conn, RILL_PAUSE_USER);
    rig.keep = true;
    say("part");
    rig_turns(2);
    ck_assert_int_eq(rig.datas, 1);
    rill_conn_want_drain(conn); /* has it looked at */
    rig_turns(2);
    ck_assert_int_eq(rig.drains, 1);
    ck_assert_int_eq(rig.datas, 1);
}
END_TEST

static void pause_and_resume(struct rill_conn *conn, struct rill_input *input)
{
    rig.datas++;
    rill_conn_pause(conn, RILL_PAUSE_USER);
    rill_conn_resume(conn, RILL_PAUSE_USER);
    rill_input_consume(input, input->length);
}

START_TEST(a_pause_within_a_callback_leaves_no_trace)
{
    rig.handler.on_data = pause_and_resume;
    struct rill_conn *conn = rig_adopt();
    say("all of it");
    rig_turns(3);
    ck_assert_int_eq(rig.datas, 1);
    ck_assert(!conn->redeliver);
}
END_TEST

/* --- fairness --- */

START_TEST(who_sends_without_end_leaves_turns_to_others)
{
    use_backend(_i);
    struct rill_conn *greedy = rig_adopt();
    int greedy_peer = rig.peer;
    struct rill_conn *modest = rig_adopt();
    (void)modest;
    rig_turns(2);
    faulty_sys.endless_fd = greedy->fd;
    ck_assert_int_eq(write(greedy_peer, "x", 1), 1); /* the event */
    for (int i = 1; i <= 5; i++) {
        size_t before = rig.length;
        uint64_t greedy_before = faulty_sys.endless;
        say("m");
        rig_turns(1);
        ck_assert_uint_le(faulty_sys.endless - greedy_before, 2 * (256 + 64) * 1024);
        ck_assert_uint_gt(faulty_sys.endless, greedy_before); /* it goes on without another event */
        ck_assert_uint_eq(rig.length - before, faulty_sys.endless - greedy_before + 1);
    }
    faulty_sys.endless_fd = 0;
    rig_turns(1);
    close(greedy_peer);
}
END_TEST

START_TEST(who_takes_without_end_leaves_turns_to_others)
{
    use_backend(_i);
    FILE *file = tmpfile();
    ck_assert_int_eq(ftruncate(fileno(file), 1 << 20), 0);
    struct rill_conn *greedy = rig_adopt();
    int greedy_peer = rig.peer;
    rig_adopt();
    faulty_sys.endless_fd = greedy->fd;
    struct rill_file_ref *ref = rill_file_ref_new(dup(fileno(file)));
    ck_assert_int_eq(rill_conn_send_file(greedy, ref, 0, UINT64_C(1) << 40), 0);
    rill_file_ref_drop(ref);
    for (int i = 1; i <= 5; i++) {
        uint64_t before = faulty_sys.endless;
        say("m");
        rig_turns(1);
        ck_assert_uint_eq(rig.length, (size_t)i);
        ck_assert_uint_gt(faulty_sys.endless, before);
        ck_assert_uint_le(faulty_sys.endless - before, 2 * (2 << 20));
    }
    close(greedy_peer);
    fclose(file);
}
END_TEST

/* --- buffers --- */

static int second_pair[2];

static void adopt_another(struct rill_conn *conn, struct rill_input *input)
{
    static const char expected[] = "first, in full";
    (void)conn;
    rig.datas++;
    if (second_pair[0] >= 0) {
        int fd = second_pair[0];
        second_pair[0] = -1;
        ck_assert_uint_eq(input->length, strlen(expected));
        ck_assert_int_eq(rill_conn_adopt(rig.loop, fd, NULL, &rig.config), 0);
        ck_assert_mem_eq(input->bytes, expected, strlen(expected)); /* whose buffer it is still */
    } else {
        ck_assert_uint_eq(input->length, 15);
        ck_assert_mem_eq(input->bytes, "XXXXXXXXXXXXXXX", 15);
    }
    rig.length += input->length;
    rill_input_consume(input, input->length);
}

START_TEST(adopting_leaves_the_input_of_others_alone)
{
    use_backend(_i);
    rig.handler.on_data = adopt_another;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, second_pair), 0);
    ck_assert_int_eq(write(second_pair[1], "XXXXXXXXXXXXXXX", 15), 15);
    rig_adopt();
    say("first, in full");
    rig_turns(3);
    ck_assert_int_eq(rig.opened, 2);
    ck_assert_int_eq(rig.datas, 2); /* the second one's bytes came, too */
    ck_assert_uint_eq(rig.length, 14 + 15);
    close(second_pair[1]);
}
END_TEST

static void close_and_look(struct rill_conn *conn, struct rill_input *input)
{
    if (input->length < 8)
        return;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_mem_eq(input->bytes, "one two ", 8);
    rill_input_consume(input, 4);
}

START_TEST(input_is_good_until_on_data_returns)
{
    use_backend(_i);
    rig.handler.on_data = close_and_look;
    rig_adopt();
    say("one ");
    rig_turns(2); /* kept */
    say("two ");
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_uint_eq(rill_conn_count(rig.loop), 0);
}
END_TEST

static void finish_with_much_left(struct rill_conn *conn, struct rill_input *input)
{
    (void)input;
    rig.datas++;
    rill_conn_send(conn, "enough", 6);
    rill_conn_finish(conn, true);
}

START_TEST(what_is_left_when_it_finishes_is_no_excess)
{
    bool ended;
    use_backend(_i);
    rig.config.max_input_bytes = 4;
    rig.handler.on_data = finish_with_much_left;
    rig_adopt();
    say("more than four bytes");
    rig_turns(3);
    ck_assert_uint_eq(rig_drop(rig.peer, &ended), 6);
    ck_assert(ended);
    ck_assert_int_eq(rig.datas, 1);
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_ptr_null(rig.conn->held);
    close(rig.peer);
    rig.peer = -1;
    rig_turns(3);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_LOCAL);
}
END_TEST

START_TEST(freed_with_all_that_a_connection_can_hold)
{
    rig.keep = true;
    struct rill_conn *conn = rig_adopt();
    say("kept input");
    rig_turns(2);
    stuff_output(conn);
    ck_assert_int_eq(rill_conn_send_buf(conn, rill_buf_copy("shared", 6)), 0);
    rill_conn_set_deadline(conn, 1000);
    rill_loop_free(rig.loop);
    rig.loop = NULL;
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_STOPPED);
}
END_TEST

START_TEST(room_is_reserved_and_committed)
{
    char got[16];
    struct rill_conn *conn = rig_adopt();
    char *room = rill_conn_reserve(conn, RILL_CONN_RESERVE_MAX);
    memset(room, 'r', RILL_CONN_RESERVE_MAX);
    rill_conn_commit(conn, 0);
    room = rill_conn_reserve(conn, 4);
    memcpy(room, "room", 4);
    rill_conn_commit(conn, 3);
    room = rill_conn_reserve(conn, 4);
    memcpy(room, "fles", 4);
    rill_conn_commit(conn, 4);
    ck_assert_ptr_nonnull(rill_conn_reserve(conn, 1)); /* and never used */
    rig_turns(2);
    ck_assert_int_eq(read(rig.peer, got, sizeof got), 7);
    ck_assert_mem_eq(got, "roofles", 7);
    ck_assert_ptr_null(conn->out);
    rill_conn_finish(conn, false);
    ck_assert_ptr_null(rill_conn_reserve(conn, 1));
    ck_assert_int_eq(rill_conn_send_buf(conn, rill_buf_copy("x", 1)), -EPIPE);
}
END_TEST

START_TEST(more_than_was_reserved_is_a_contract_broken)
{
    struct rill_conn *conn = rig_adopt();
    if (_i == 0) {
        rill_conn_reserve(conn, 1 << 20);
    } else {
        rill_conn_reserve(conn, 10);
        rill_conn_commit(conn, RILL_SEGMENT_BYTES);
    }
}
END_TEST

/* --- watermarks --- */

START_TEST(watermarks_are_exact)
{
    use_backend(1 + _i); /* what the socket takes is up to the quota; there is no edge to wait for */
    rig.config.high_watermark = 1000;
    rig.config.low_watermark = 250;
    struct rill_conn *conn = rig_adopt();
    static char bytes[1001];
    faulty_sys.send_limited = true;
    ck_assert_int_eq(rill_conn_send(conn, bytes, 1000), 0);
    rig_turns(2);
    ck_assert(!rill_conn_is_full(conn));
    faulty_sys.send_quota = 900;
    rig_turns(2);
    ck_assert_uint_eq(rill_conn_buffered(conn), 100);
    ck_assert_int_eq(rig.drains, 0); /* it was not full */
    ck_assert_int_eq(rill_conn_send(conn, bytes, 901), 0);
    rig_turns(2);
    ck_assert(rill_conn_is_full(conn));
    faulty_sys.send_quota = 750;
    rig_turns(2);
    ck_assert_uint_eq(rill_conn_buffered(conn), 251);
    ck_assert_int_eq(rig.drains, 0);
    faulty_sys.send_quota = 1;
    rig_turns(2);
    ck_assert_uint_eq(rill_conn_buffered(conn), 250);
    ck_assert_int_eq(rig.drains, 1);
    faulty_sys.send_quota = 250;
    rig_turns(3);
    ck_assert_int_eq(rig.drains, 1);
    ck_assert_uint_eq(rill_conn_buffered(conn), 0);
}
END_TEST

/* --- ends --- */

START_TEST(reads_while_its_last_output_leaves)
{
    static char reply[2 << 20];
    size_t to_send = 2 << 20, heard = 0;
    bool ended = false;
    use_backend(_i);
    struct rill_conn *conn = rig_adopt();
    rill_conn_send(conn, reply, sizeof reply);
    rill_conn_finish(conn, true);
    /* A peer who reads nothing before it has sent all. */
    for (int i = 0; i < 2000 && to_send > 0; i++) {
        ssize_t n = write(rig.peer, reply, to_send);
        to_send -= n > 0 ? (size_t)n : 0;
        rig_turns(1);
    }
    ck_assert_uint_eq(to_send, 0);
    for (int i = 0; i < 2000 && !ended; i++) {
        heard += rig_drop(rig.peer, &ended);
        rig_turns(1);
    }
    ck_assert_uint_eq(heard, sizeof reply);
    ck_assert_uint_eq(rig.length, 0);
    ck_assert_int_eq(rig.datas + rig.eofs, 0);
    close(rig.peer);
    rig.peer = -1;
    rig_turns(3);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_LOCAL);
}
END_TEST

START_TEST(lingers_for_a_while_only)
{
    use_backend(_i);
    struct rill_conn *conn = rig_adopt();
    rill_conn_finish(conn, true);
    rig_turns(2);
    rill_conn_pause(conn, RILL_PAUSE_USER); /* nothing of this keeps it */
    rill_conn_set_deadline(conn, 0);
    rill_conn_want_drain(conn);
    ck_assert_int_eq(rill_conn_send(conn, "x", 1), -EPIPE);
    say("still sending");
    rig_turns(2);
    faulty_sys_forward(4000);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 0);
    say("and sending");
    rig_turns(2);
    faulty_sys_forward(1100);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rig.timeouts + rig.drains, 0);
    ck_assert_uint_eq(rig.length, 0);
}
END_TEST

START_TEST(ends_when_both_ways_have)
{
    use_backend(_i);
    struct rill_conn *conn = rig_adopt();
    rill_conn_shutdown(conn);
    rig_turns(2);
    shutdown(rig.peer, SHUT_WR);
    rig_turns(3);
    ck_assert_int_eq(rig.eofs, 1);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_EOF);
}
END_TEST

static void try_everything(struct rill_conn *conn, enum rill_close_reason reason)
{
    rig.closed++;
    rig.reason = reason;
    ck_assert(!rill_conn_is_open(conn));
    ck_assert_int_eq(rill_conn_send(conn, "x", 1), -EPIPE);
    ck_assert_int_eq(rill_conn_send_buf(conn, rill_buf_copy("x", 1)), -EPIPE);
    ck_assert_ptr_null(rill_conn_reserve(conn, 1));
    rill_conn_pause(conn, RILL_PAUSE_USER);
    rill_conn_resume(conn, RILL_PAUSE_USER);
    rill_conn_want_drain(conn);
    rill_conn_set_deadline(conn, 1);
    rill_conn_shutdown(conn);
    rill_conn_finish(conn, true);
    rill_conn_close(conn, RILL_CLOSE_RESET);
    ck_assert_ptr_null(rill_conn_find(rig.loop, rill_conn_id(conn)));
}

START_TEST(on_close_may_call_anything)
{
    use_backend(_i);
    rig.handler.on_close = try_everything;
    struct rill_conn *conn = rig_adopt();
    stuff_output(conn);
    rill_conn_close(conn, RILL_CLOSE_STOPPED);
    rig_turns(3);
    faulty_sys_forward(1000);
    rig_turns(3);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_STOPPED);
    ck_assert_int_eq(rig.timeouts + rig.drains, 0);
    ck_assert_uint_eq(rill_conn_count(rig.loop), 0);
}
END_TEST

static void greet(struct rill_conn *conn)
{
    rig.opened++;
    rig.conn = conn;
    rill_conn_send(conn, "hello, and ", 11);
    if (rig.keep)
        rill_conn_finish(conn, false);
    ck_assert_int_eq(rill_conn_send(conn, "bye", 3), rig.keep ? -EPIPE : 0);
}

START_TEST(on_open_may_send_and_finish)
{
    char got[32];
    use_backend(_i / 2);
    rig.handler.on_open = greet;
    rig.keep = _i % 2;
    rig_adopt();
    ck_assert_int_eq(read(rig.peer, got, sizeof got), rig.keep ? 11 : 14); /* before adopting has returned */
    ck_assert_int_eq(rig.closed, rig.keep);
}
END_TEST

/* --- time --- */

static void forward(uint64_t ms)
{
    faulty_sys_forward(ms);
    rig_turns(2);
}

START_TEST(write_timeout_counts_from_the_last_progress)
{
    use_backend(1 + _i);
    rig.config.write_timeout_ms = 1000;
    struct rill_conn *conn = rig_adopt();
    static char bytes[4000];
    faulty_sys.send_limited = true;
    rill_conn_send(conn, bytes, 4000);
    rig_turns(1);
    for (int i = 0; i < 10; i++) {
        forward(900);
        ck_assert_int_eq(rig.closed, 0);
        faulty_sys.send_quota = 100;
        rig_turns(1);
        rill_conn_send(conn, bytes, 10); /* more to send is no progress */
        rig_turns(1);
    }
    forward(900);
    rill_conn_send(conn, bytes, 10);
    forward(200);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_WRITE_TIMEOUT);
}
END_TEST

START_TEST(write_timeout_ends_with_the_output)
{
    use_backend(1 + _i);
    rig.config.write_timeout_ms = 1000;
    struct rill_conn *conn = rig_adopt();
    faulty_sys.send_limited = true;
    rill_conn_send(conn, "abc", 3);
    rig_turns(1);
    forward(600);
    faulty_sys.send_limited = false;
    rig_turns(2);
    ck_assert_uint_eq(rill_conn_buffered(conn), 0);
    forward(600); /* the timer finds nothing */
    faulty_sys.send_limited = true;
    rill_conn_send(conn, "def", 3); /* a time of its own */
    rig_turns(1);
    forward(900);
    ck_assert_int_eq(rig.closed, 0);
    forward(200);
    ck_assert_int_eq(rig.closed, 1);
}
END_TEST

START_TEST(two_deadlines_keep_apart)
{
    use_backend(1 + _i % 2);
    rig.config.write_timeout_ms = 1000;
    struct rill_conn *conn = rig_adopt();
    faulty_sys.send_limited = true;
    rill_conn_send(conn, "abc", 3);
    rig_turns(1);
    switch (_i / 2) {
    case 0: /* the app's comes first, and again */
        rill_conn_set_deadline(conn, 300);
        forward(400);
        ck_assert_int_eq(rig.timeouts, 1);
        rill_conn_set_deadline(conn, 300);
        forward(400);
        ck_assert_int_eq(rig.timeouts, 2);
        forward(300);
        break;
    case 1: /* both have passed */
        rill_conn_set_deadline(conn, 500);
        forward(2000);
        ck_assert_int_eq(rig.timeouts, 0);
        break;
    case 2: /* the app's comes last, and is taken back */
        rill_conn_set_deadline(conn, 3000);
        rill_conn_set_deadline(conn, 0);
        forward(1100);
        break;
    }
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_WRITE_TIMEOUT);
}
END_TEST

START_TEST(a_deadline_far_away_never_comes)
{
    struct rill_conn *conn = rig_adopt();
    rill_conn_set_deadline(conn, UINT64_MAX);
    forward(1000);
    rill_conn_set_deadline(conn, UINT64_MAX - 1);
    forward(1000);
    ck_assert_int_eq(rig.timeouts + rig.closed, 0);
}
END_TEST

START_TEST(idle_is_without_a_byte_either_way)
{
    static char much[8192];
    use_backend(_i % BACKENDS);
    rig.config.idle_timeout_ms = 1000;
    rig.handler.on_timeout = NULL;
    struct rill_conn *conn = rig_adopt();
    for (int i = 0; i < 5; i++) { /* what leaves counts, at once or not */
        forward(900);
        ck_assert_int_eq(rill_conn_send(conn, much, i % 2 ? sizeof much : 10), 0);
        rig_turns(1);
        rig_drop(rig.peer, NULL);
    }
    ck_assert_int_eq(rig.closed, 0);
    for (int i = 0; i < 5; i++) { /* what comes counts */
        forward(900);
        say("x");
        rig_turns(2);
    }
    ck_assert_int_eq(rig.closed, 0);
    while (rill_conn_buffered(conn) == 0) {
        rill_conn_send(conn, much, sizeof much);
        rig_turns(1);
    }
    for (int i = 0; i < 3; i++) { /* what cannot leave does not */
        ck_assert_int_eq(rig.closed, 0);
        forward(400);
        if (rig.closed == 0)
            rill_conn_send(conn, "more", 4);
        rig_turns(1);
    }
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_IDLE);
}
END_TEST

START_TEST(idle_ends_a_peer_who_does_not_take_the_last_output)
{
    use_backend(_i % BACKENDS);
    rig.config.idle_timeout_ms = 1000;
    struct rill_conn *conn = rig_adopt();
    stuff_output(conn);
    rill_conn_finish(conn, _i / BACKENDS);
    rig_turns(2);
    for (int i = 0; i < 3; i++) { /* as long as it takes some it goes on */
        ck_assert_uint_gt(rig_drop(rig.peer, NULL), 0);
        rig_turns(2);
        ck_assert_uint_gt(rill_conn_buffered(conn), 0);
        forward(800);
        ck_assert_int_eq(rig.closed, 0);
    }
    forward(1100);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_IDLE);
}
END_TEST

START_TEST(a_million_stale_ids_find_nothing)
{
    enum { ROUNDS = 2000, AT_ONCE = 500 };
    static struct rill_conn_id stale[ROUNDS];
    rig_adopt();
    struct rill_conn *live = rig.conn;
    int live_peer = rig.peer;
    for (int i = 0; i < ROUNDS; i++) { /* the same slot, over and over */
        stale[i] = rill_conn_id(rig_adopt());
        rill_conn_close(rig.conn, RILL_CLOSE_LOCAL);
        close(rig.peer);
        rig_turns(1);
    }
    rig_adopt();
    ck_assert_uint_eq(rig.conn->slot, (uint32_t)(stale[0].value >> 32) & 0xffffff);
    for (int n = 0; n < AT_ONCE; n++)
        for (int i = 0; i < ROUNDS; i++)
            ck_assert(rill_conn_find(rig.loop, stale[i]) == NULL);
    ck_assert_ptr_eq(rill_conn_find(rig.loop, rill_conn_id(live)), live);
    close(live_peer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn edges");
    TCase *all = tcase_create("conn edges");
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_loop_test(all, a_reset_behind_bytes_is_noticed, 0, BACKENDS);
    tcase_add_loop_test(all, the_end_behind_bytes_is_noticed, 0, 2 * BACKENDS);
    tcase_add_test(all, a_request_and_its_reply_cost_two_calls);
    tcase_add_loop_test(all, small_pieces_lose_nothing, 0, 40);
    tcase_add_loop_test(all, the_end_comes_after_bytes_that_were_kept, 0, 2 * BACKENDS);
    tcase_add_loop_test(all, the_end_comes_after_bytes_to_be_shown_again, 0, BACKENDS);
    tcase_add_loop_test(all, waiting_costs_no_turns, 0, 11 * BACKENDS);
    tcase_add_loop_test(all, a_slow_reader_of_a_last_response_costs_no_turns, 0, 2 * BACKENDS);
    tcase_add_test(all, a_drain_is_told_within_its_turn);
    tcase_add_test(all, nothing_is_shown_twice_for_nothing);
    tcase_add_test(all, a_pause_within_a_callback_leaves_no_trace);
    tcase_add_loop_test(all, who_sends_without_end_leaves_turns_to_others, 0, BACKENDS);
    tcase_add_loop_test(all, who_takes_without_end_leaves_turns_to_others, 0, BACKENDS);
    tcase_add_loop_test(all, adopting_leaves_the_input_of_others_alone, 0, BACKENDS);
    tcase_add_loop_test(all, input_is_good_until_on_data_returns, 0, BACKENDS);
    tcase_add_loop_test(all, what_is_left_when_it_finishes_is_no_excess, 0, BACKENDS);
    tcase_add_test(all, freed_with_all_that_a_connection_can_hold);
    tcase_add_test(all, room_is_reserved_and_committed);
    tcase_add_loop_test_raise_signal(all, more_than_was_reserved_is_a_contract_broken, SIGABRT, 0, 2);
    tcase_add_loop_test(all, watermarks_are_exact, 0, 2);
    tcase_add_loop_test(all, reads_while_its_last_output_leaves, 0, BACKENDS);
    tcase_add_loop_test(all, lingers_for_a_while_only, 0, BACKENDS);
    tcase_add_loop_test(all, ends_when_both_ways_have, 0, BACKENDS);
    tcase_add_loop_test(all, on_close_may_call_anything, 0, BACKENDS);
    tcase_add_loop_test(all, on_open_may_send_and_finish, 0, 2 * BACKENDS);
    tcase_add_loop_test(all, write_timeout_counts_from_the_last_progress, 0, 2);
    tcase_add_loop_test(all, write_timeout_ends_with_the_output, 0, 2);
    tcase_add_loop_test(all, two_deadlines_keep_apart, 0, 6);
    tcase_add_test(all, a_deadline_far_away_never_comes);
    tcase_add_loop_test(all, idle_is_without_a_byte_either_way, 0, BACKENDS);
    tcase_add_loop_test(all, idle_ends_a_peer_who_does_not_take_the_last_output, 0, 2 * BACKENDS);
    tcase_add_test(all, a_million_stale_ids_find_nothing);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
