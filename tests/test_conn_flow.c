/* test_conn_flow.c - a peer who takes its bytes more slowly than they are made, or not at all: each of the ways to
 * bound what waits for it; half-closing in every order; and the socket's options. */
#include "rill/core/sys.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <linux/filter.h>
#include <netinet/tcp.h>

enum { BACKENDS = 3, MAX = 1000, MESSAGE = 10 };

static void set_up(void)
{
    faulty_sys_reset();
    rig_set_up(RILL_BACKEND_EPOLL);
}

static void use_backend(int backend)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)(backend % BACKENDS));
}

/* A connection whose socket takes nothing until the quota says so, with the limits of a small one. */
static struct rill_conn *adopt_limited(enum rill_output_limit limit)
{
    rig.config.max_output_bytes = MAX;
    rig.config.output_limit = limit;
    struct rill_conn *conn = rig_adopt();
    rig_turns(1);
    faulty_sys.send_limited = true;
    return conn;
}

/* Sends LENGTH bytes in the WAY-th of the ways there are. */
static int send_in_way(struct rill_conn *conn, const char *bytes, size_t length, int way)
{
    if (way == 0)
        return rill_conn_send(conn, bytes, length);
    struct rill_buf *buf = rill_buf_copy(bytes, length);
    return rill_conn_send_buf(conn, buf);
}

/* --- time --- */

START_TEST(an_idle_connection_closes_and_a_busy_one_does_not)
{
    use_backend(_i);
    rig.config.idle_timeout_ms = 60000;
    rig.handler.on_timeout = NULL;
    rig_adopt();
    for (int i = 0; i < 12; i++) {
        faulty_sys_forward(20000);
        ck_assert_int_eq(write(rig.peer, "x", 1), 1);
        rig_turns(2);
    }
    ck_assert_int_eq(rig.closed, 0);
    faulty_sys_forward(30000);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 0);
    faulty_sys_forward(30100);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_IDLE);
}
END_TEST

/* --- limits --- */

START_TEST(one_byte_too_many_closes)
{
    static const char bytes[MAX];
    use_backend(_i / 2);
    struct rill_conn *conn = adopt_limited(RILL_OUTPUT_CLOSE);
    for (int i = 0; i < MAX / MESSAGE; i++) {
        ck_assert_int_eq(send_in_way(conn, bytes, MESSAGE, _i % 2), 0);
        rig_turns(1);
    }
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_int_eq(send_in_way(conn, bytes, 1, _i % 2), -ENOBUFS);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_OUTPUT_LIMIT);
    ck_assert_int_eq(send_in_way(conn, bytes, 1, _i % 2), -EPIPE);
}
END_TEST

START_TEST(room_is_limited_in_steps)
{
    rig.config.output_limit = (enum rill_output_limit)_i;
    rig.config.max_output_bytes = 20000;
    struct rill_conn *conn = rig_adopt();
    faulty_sys.send_limited = true;
    size_t reserved = 0;
    for (char *room; reserved < 100000 && (room = rill_conn_reserve(conn, 1000)); reserved += 1000) {
        memset(room, 'r', 1000);
        rill_conn_commit(conn, 1000);
    }
    ck_assert_uint_ge(reserved, 16000);
    ck_assert_uint_le(reserved, 20000 + RILL_SEGMENT_BYTES);
    ck_assert_int_eq(rig.closed, _i == RILL_OUTPUT_DROP ? 0 : 1);
}
END_TEST

static void send_three_times_the_limit(struct rill_conn *conn, struct rill_input *input)
{
    static const char bytes[MAX];
    rill_input_consume(input, input->length);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(rill_conn_send(conn, bytes, MAX), 0);
}

START_TEST(what_the_socket_would_take_is_no_excess)
{
    use_backend(_i / 2);
    rig.config.max_output_bytes = MAX;
    rig.config.output_limit = (enum rill_output_limit)(_i % 2);
    rig.handler.on_data = send_three_times_the_limit;
    rig_adopt();
    ck_assert_int_eq(write(rig.peer, "x", 1), 1);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_uint_eq(rig_drop(rig.peer, NULL), 3 * MAX);
}
END_TEST

START_TEST(a_broken_socket_is_noticed_at_the_limit)
{
    static const char bytes[MAX];
    struct rill_conn *conn = adopt_limited((enum rill_output_limit)_i);
    ck_assert_int_eq(rill_conn_send(conn, bytes, MAX), 0);
    faulty_sys.error[FAULTY_SEND] = ECONNRESET;
    ck_assert_int_eq(rill_conn_send(conn, bytes, 1), -ENOBUFS);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_RESET);
}
END_TEST

/* Messages of MESSAGE bytes, each of one letter: what arrives is whole messages, in order, the last ones missing. */
START_TEST(dropped_messages_are_dropped_whole)
{
    static char heard[10 * MAX];
    char message[MESSAGE];
    size_t taken = 0, got = 0;
    use_backend(1 + _i / 2 % 2); /* what the socket takes is up to the quota; there is no edge to wait for */
    struct rill_conn *conn = adopt_limited(RILL_OUTPUT_DROP);
    char taken_letters[MAX];
    for (unsigned i = 0; i < 300; i++) {
        memset(message, (char)('a' + i % 26), sizeof message);
        int error = send_in_way(conn, message, sizeof message, _i % 2);
        ck_assert(error == 0 || error == -ENOBUFS);
        if (error == 0)
            taken_letters[taken++] = message[0];
        ck_assert_uint_le(rill_conn_buffered(conn), MAX);
        if (i % 150 == 149) { /* room for some, not ending with a message */
            faulty_sys.send_quota = 333;
            rig_turns(2);
        }
    }
    ck_assert_uint_gt(taken, MAX / MESSAGE); /* after the first room some more were taken ... */
    ck_assert_uint_lt(taken, 300);           /* ... and others were dropped */
    ck_assert_int_eq(rig.closed, 0);
    faulty_sys.send_limited = false;
    rig_turns(3);
    got = (size_t)read(rig.peer, heard, sizeof heard);
    ck_assert_uint_eq(got, taken * MESSAGE);
    for (size_t i = 0; i < got; i++)
        ck_assert_int_eq(heard[i], taken_letters[i / MESSAGE]);
}
END_TEST

START_TEST(a_message_larger_than_the_limit_is_refused_and_the_drain_is_told)
{
    static const char bytes[MAX + 1];
    rig.config.high_watermark = 500;
    struct rill_conn *conn = adopt_limited(RILL_OUTPUT_DROP);
    ck_assert_int_eq(rill_conn_send(conn, bytes, 900), 0);
    rig_turns(2);
    faulty_sys.send_limited = false;
    conn->writable = true; /* as after an edge that has not been served yet */
    ck_assert_int_eq(rill_conn_send(conn, bytes, MAX + 1), -ENOBUFS);
    ck_assert_uint_eq(rill_conn_buffered(conn), 0); /* it was tried */
    rig_turns(1);
    ck_assert_int_eq(rig.drains, 1);
}
END_TEST

START_TEST(files_hold_no_memory)
{
    static const char bytes[MAX];
    use_backend(1 + _i % 2);
    FILE *file = tmpfile();
    ck_assert_int_eq(ftruncate(fileno(file), 1 << 20), 0);
    struct rill_file_ref *ref = rill_file_ref_new(dup(fileno(file)));
    struct rill_conn *conn = adopt_limited(RILL_OUTPUT_CLOSE);
    ck_assert_int_eq(rill_conn_send_file(conn, ref, 0, 1 << 20), 0);
    ck_assert_int_eq(rill_conn_send(conn, bytes, 600), 0);
    faulty_sys.send_quota = 5000; /* of the file */
    rig_turns(2);
    ck_assert_uint_eq(rill_conn_buffered(conn), (1 << 20) - 5000 + 600);
    ck_assert_int_eq(rill_conn_send(conn, bytes, 400), 0);
    ck_assert_int_eq(rill_conn_send(conn, bytes, 1), -ENOBUFS);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_OUTPUT_LIMIT);
    rill_file_ref_drop(ref);
    fclose(file);
}
END_TEST

static void echo(struct rill_conn *conn, struct rill_input *input)
{
    rig.datas++;
    rig.length += input->length;
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

/* Fills BYTES, which are number AT and following of an endless row that repeats itself late. */
static void fill(char *bytes, size_t length, size_t at)
{
    for (size_t i = 0; i < length; i++, at++)
        bytes[i] = (char)(at * 7 ^ at >> 9);
}

/* A peer that writes all and reads nothing, then reads. The echo takes no more than it may keep, and loses nothing. */
START_TEST(an_echo_holds_its_peer_back)
{
    enum { TOTAL = 8 << 20, KEPT = 256 * 1024 + 64 * 1024 };
    static char piece[1 << 16], expected[1 << 16];
    size_t said = 0, heard = 0;
    use_backend(_i);
    rig.config.output_limit = RILL_OUTPUT_PAUSE;
    rig.handler.on_data = echo;
    struct rill_conn *conn = _i / BACKENDS ? rig_adopt_tcp() : rig_adopt();
    for (int silent = 0; said < TOTAL && silent < 20; silent++) { /* until it is taken no more */
        fill(piece, sizeof piece, said);
        ssize_t n = write(rig.peer, piece, sizeof piece);
        said += n > 0 ? (size_t)n : 0;
        silent = n > 0 ? 0 : silent;
        rig_turns(1);
        ck_assert_uint_le(rill_conn_buffered(conn), KEPT);
    }
    ck_assert_uint_gt(rill_conn_buffered(conn), 256 * 1024);
    ck_assert_int_ne(conn->pause & RILL_PAUSE_OUTPUT, 0);
    ck_assert_int_eq(rig.drains, 0);
    size_t read_while_stuck = rig.length;
    rig_turns(5);
    ck_assert_uint_eq(rig.length, read_while_stuck);
    for (int i = 0; heard < said && i < 100000; i++) {
        ssize_t n = read(rig.peer, piece, sizeof piece);
        if (n > 0) {
            fill(expected, (size_t)n, heard);
            ck_assert_mem_eq(piece, expected, (size_t)n);
            heard += (size_t)n;
        }
        rig_turns(1);
        ck_assert_uint_le(rill_conn_buffered(conn), KEPT);
    }
    ck_assert_uint_eq(heard, said);
    rig_turns(2);
    ck_assert_int_eq(conn->pause, 0);
    ck_assert_int_gt(rig.drains, 0); /* who produces besides is told as ever */
    ck_assert_int_eq(rig.closed, 0);
}
END_TEST

START_TEST(a_pause_of_the_apps_own_stays)
{
    static const char much[300 * 1024];
    rig.config.output_limit = RILL_OUTPUT_PAUSE;
    struct rill_conn *conn = rig_adopt();
    rill_conn_pause(conn, RILL_PAUSE_BACKPRESSURE);
    faulty_sys.send_limited = true;
    rill_conn_send(conn, much, sizeof much);
    ck_assert_int_eq(conn->pause, RILL_PAUSE_BACKPRESSURE | RILL_PAUSE_OUTPUT);
    faulty_sys.send_limited = false;
    for (int i = 0; i < 10; i++) {
        rig_turns(1);
        rig_drop(rig.peer, NULL);
    }
    ck_assert_int_eq(conn->pause, RILL_PAUSE_BACKPRESSURE);
}
END_TEST

START_TEST(a_paused_source_may_still_pass_the_limit)
{
    static const char much[300 * 1024];
    rig.config.output_limit = RILL_OUTPUT_PAUSE;
    rig.config.max_output_bytes = 500 * 1024;
    struct rill_conn *conn = rig_adopt();
    faulty_sys.send_limited = true;
    ck_assert_int_eq(rill_conn_send(conn, much, sizeof much), 0);
    ck_assert_int_eq(rill_conn_send(conn, much, sizeof much), -ENOBUFS);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_OUTPUT_LIMIT);
}
END_TEST

/* --- half-closing --- */

/* Which side ends its stream first, and whether there is output that waits meanwhile. In each of them both streams
 * arrive whole, each end is told once, and the connection ends when both have. */
START_TEST(both_streams_end_whole_in_either_order)
{
    enum { PEER_FIRST, WE_FIRST, BOTH };
    static char much[1500000], heard[sizeof much + 100];
    int order = _i / BACKENDS % 3;
    bool waits = _i / BACKENDS / 3 % 2, tcp = _i / BACKENDS / 6, ended = false;
    size_t length = waits ? sizeof much : 100, got = 0;
    use_backend(_i);
    struct rill_conn *conn = tcp ? rig_adopt_tcp() : rig_adopt();
    int small = 128 * 1024; /* so that it does not all fit into the kernel */
    setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(rig.peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    rig_turns(2);
    fill(much, sizeof much, 0);
    ck_assert_int_eq(rill_conn_send(conn, much, length), 0);
    rig_turns(2);
    ck_assert_int_eq(rill_conn_buffered(conn) > 0, waits);
    if (order != PEER_FIRST)
        rill_conn_shutdown(conn);
    if (order == WE_FIRST) {
        rig_turns(2);
        ck_assert_int_eq(rill_conn_send(conn, "x", 1), -EPIPE);
        ck_assert(rill_conn_is_open(conn));
    }
    ck_assert_int_eq(write(rig.peer, "from the peer", 13), 13);
    shutdown(rig.peer, SHUT_WR);
    rig_turns(3);
    ck_assert_uint_eq(rig.length, 13);
    ck_assert_int_eq(rig.eofs, 1);
    if (order == PEER_FIRST) {
        ck_assert_int_eq(rill_conn_send(conn, "more", 4), 0);
        rig_turns(1);
        ck_assert_int_eq(rig.closed, 0);
        rill_conn_shutdown(conn);
    }
    if (waits)
        ck_assert_int_eq(rig.closed, 0);
    for (int i = 0; i < 1000 && !ended; i++) {
        rig_turns(2);
        for (ssize_t n; (n = read(rig.peer, heard + got, sizeof heard - got)) >= 0; got += (size_t)n)
            if ((ended = n == 0))
                break;
    }
    ck_assert_uint_eq(got, length + (order == PEER_FIRST ? 4 : 0));
    ck_assert_mem_eq(heard, much, length);
    rig_turns(2);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_EOF);
    ck_assert_int_eq(rig.eofs, 1);
}
END_TEST

static void end_too(struct rill_conn *conn)
{
    rig.eofs++;
    rill_conn_send(conn, "bye", 3);
    rill_conn_shutdown(conn);
}

START_TEST(the_answer_to_the_end_may_be_the_end)
{
    bool ended;
    use_backend(_i);
    rig.handler.on_eof = end_too;
    rig_adopt();
    shutdown(rig.peer, SHUT_WR);
    rig_turns(3);
    ck_assert_uint_eq(rig_drop(rig.peer, &ended), 3);
    ck_assert(ended);
    ck_assert_int_eq(rig.eofs, 1);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_EOF);
}
END_TEST

/* --- options --- */

static int option(const struct rill_conn *conn, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    ck_assert_int_eq(getsockopt(conn->fd, level, name, &value, &length), 0);
    return value;
}

START_TEST(options_reach_the_socket)
{
    struct rill_conn *conn = rig_adopt_tcp();
    ck_assert_int_eq(rill_conn_set_nodelay(conn, true), 0);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_NODELAY) != 0, 1);
    ck_assert_int_eq(rill_conn_set_nodelay(conn, false), 0);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_NODELAY), 0);

    int interval = option(conn, IPPROTO_TCP, TCP_KEEPINTVL), count = option(conn, IPPROTO_TCP, TCP_KEEPCNT);
    ck_assert_int_eq(rill_conn_set_keepalive(conn, 60, 0, 0), 0);
    ck_assert_int_eq(option(conn, SOL_SOCKET, SO_KEEPALIVE), 1);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_KEEPINTVL), interval);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_KEEPCNT), count);
    ck_assert_int_eq(rill_conn_set_keepalive(conn, 61, 7, 3), 0);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_KEEPIDLE), 61);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_KEEPINTVL), 7);
    ck_assert_int_eq(option(conn, IPPROTO_TCP, TCP_KEEPCNT), 3);
    ck_assert_int_eq(rill_conn_set_keepalive(conn, 0, 7, 3), 0);
    ck_assert_int_eq(option(conn, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_lt(rill_conn_set_keepalive(conn, 1u << 30, 0, 0), 0); /* the system has its limits, and says so */
    ck_assert_int_lt(rill_conn_set_keepalive(conn, 60, 1u << 30, 0), 0);
    ck_assert_int_lt(rill_conn_set_keepalive(conn, 60, 60, 1u << 30), 0);

    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_conn_set_nodelay(conn, true), -EPIPE);
    ck_assert_int_eq(rill_conn_set_keepalive(conn, 60, 0, 0), -EPIPE);
    ck_assert_int_eq(rill_conn_set_reset_on_close(conn, true), -EPIPE);
}
END_TEST

/* As a machine that was switched off: its end of the connection hears nothing and answers nothing from here on. */
static void fall_silent(int fd)
{
    struct sock_filter drop = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog program = {.len = 1, .filter = &drop};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
}

START_TEST(a_peer_that_went_without_a_word_is_found)
{
    use_backend(_i);
    struct rill_conn *conn = rig_adopt_tcp();
    ck_assert_int_eq(write(rig.peer, "a last word", 11), 11);
    rig_turns(2);
    ck_assert_uint_eq(rig.length, 11);
    fall_silent(rig.peer);
    ck_assert_int_eq(rill_conn_set_keepalive(conn, 1, 1, 1), 0);
    for (int i = 0; i < 200 && rig.closed == 0; i++) /* 2 s are the system's least */
        rig_turns_within(100);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_RESET);
    ck_assert_int_eq(rig.eofs, 0);
}
END_TEST

START_TEST(our_end_has_an_address)
{
    char text[RILL_ADDR_TEXT];
    struct rill_addr addr, theirs = {.length = sizeof theirs.socket};
    struct rill_conn *conn = rig_adopt_tcp();
    ck_assert_int_eq(rill_conn_local(conn, &addr), 0);
    ck_assert_int_eq(getpeername(rig.peer, &theirs.socket.any, &theirs.length), 0);
    ck_assert_uint_eq(addr.length, theirs.length);
    ck_assert_mem_eq(&addr.socket, &theirs.socket, addr.length);
    faulty_sys.error[FAULTY_DESCRIPTOR] = ENOBUFS;
    ck_assert_int_eq(rill_conn_local(conn, &addr), -ENOBUFS);
    faulty_sys_reset();
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_conn_local(conn, &addr), -EPIPE);
    close(rig.peer);
    ck_assert_int_eq(rill_conn_local(rig_adopt(), &addr), 0);
    rill_addr_format(&addr, text);
    ck_assert_str_eq(text, "unix:");
}
END_TEST

START_TEST(a_unix_socket_has_no_options_of_tcp)
{
    struct rill_conn *conn = rig_adopt();
    ck_assert_int_eq(rill_conn_set_nodelay(conn, true), -EOPNOTSUPP);
    ck_assert_int_eq(rill_conn_set_keepalive(conn, 60, 0, 0), -EOPNOTSUPP);
}
END_TEST

START_TEST(the_end_is_a_reset_when_wanted)
{
    char byte;
    struct rill_conn *conn = rig_adopt_tcp();
    ck_assert_int_eq(rill_conn_set_reset_on_close(conn, true), 0);
    if (_i == 1)
        ck_assert_int_eq(rill_conn_set_reset_on_close(conn, false), 0);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ssize_t n = read(rig.peer, &byte, 1);
    if (_i == 1)
        ck_assert_int_eq(n, 0);
    else
        ck_assert(n < 0 && errno == ECONNRESET);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn flow");
    TCase *all = tcase_create("conn flow");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_loop_test(all, an_idle_connection_closes_and_a_busy_one_does_not, 0, BACKENDS);
    tcase_add_loop_test(all, one_byte_too_many_closes, 0, 2 * BACKENDS);
    tcase_add_loop_test(all, room_is_limited_in_steps, 0, 3);
    tcase_add_loop_test(all, what_the_socket_would_take_is_no_excess, 0, 2 * BACKENDS);
    tcase_add_loop_test(all, a_broken_socket_is_noticed_at_the_limit, 0, 3);
    tcase_add_loop_test(all, dropped_messages_are_dropped_whole, 0, 4);
    tcase_add_test(all, a_message_larger_than_the_limit_is_refused_and_the_drain_is_told);
    tcase_add_loop_test(all, files_hold_no_memory, 0, 2);
    tcase_add_loop_test(all, an_echo_holds_its_peer_back, 0, 2 * BACKENDS);
    tcase_add_test(all, a_pause_of_the_apps_own_stays);
    tcase_add_test(all, a_paused_source_may_still_pass_the_limit);
    tcase_add_loop_test(all, both_streams_end_whole_in_either_order, 0, 12 * BACKENDS);
    tcase_add_loop_test(all, the_answer_to_the_end_may_be_the_end, 0, BACKENDS);
    tcase_add_test(all, options_reach_the_socket);
    tcase_add_loop_test(all, a_peer_that_went_without_a_word_is_found, 0, BACKENDS);
    tcase_add_test(all, our_end_has_an_address);
    tcase_add_test(all, a_unix_socket_has_no_options_of_tcp);
    tcase_add_loop_test(all, the_end_is_a_reset_when_wanted, 0, 2);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
