/* test_short_io.c - every read and write cut short, interrupted or put off, at random, over many seeds: whatever the
 * kernel does to the pieces, what arrives is what was sent, in order, whole, and the end comes after it. */
#include "rill/core/sys.h"
#include "rill/net/framing.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>

enum { BACKENDS = 3, SEEDS = 16, MOST_TURNS = 200000 };

static struct test_random random_numbers;

static size_t below(size_t bound)
{
    return test_random_below(&random_numbers, bound);
}

/* The test's seed, from its number in the loop; the rest of the number is the backend. */
static void set_up(void)
{
    faulty_sys_reset();
    rig_set_up(RILL_BACKEND_EPOLL);
}

static void begin(int number)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)(number % BACKENDS));
    random_numbers.state = (uint64_t)number + 1;
    faulty_sys.short_seed = test_random_next(&random_numbers) | 1;
}

static void turn(void)
{
    rig_turns(1);
}

/* What the peer says and hears. It uses the system itself, in pieces of its own. */
static struct stream {
    char said[300000], heard[300000];
    size_t to_say, said_so_far, got;
    bool ended;
} stream;

static void prepare(size_t length)
{
    stream.to_say = length;
    stream.said_so_far = stream.got = 0;
    stream.ended = false;
    for (size_t i = 0; i < length; i++)
        stream.said[i] = (char)test_random_next(&random_numbers);
}

static void peer_talks(void)
{
    if (stream.said_so_far < stream.to_say) {
        size_t piece = 1 + below(below(3) ? 100 : 20000);
        piece = piece < stream.to_say - stream.said_so_far ? piece : stream.to_say - stream.said_so_far;
        ssize_t n = write(rig.peer, stream.said + stream.said_so_far, piece);
        stream.said_so_far += n > 0 ? (size_t)n : 0;
        if (stream.said_so_far == stream.to_say)
            shutdown(rig.peer, SHUT_WR);
    }
    if (below(3) > 0) {
        size_t most = 1 + below(30000);
        most = most < sizeof stream.heard - stream.got ? most : sizeof stream.heard - stream.got;
        ssize_t n = read(rig.peer, stream.heard + stream.got, most);
        stream.ended |= n == 0 && most > 0;
        stream.got += n > 0 ? (size_t)n : 0;
    }
}

/* Runs until the peer has heard the end. */
static void run(void)
{
    for (int i = 0; !stream.ended && i < MOST_TURNS; i++) {
        peer_talks();
        turn();
    }
    ck_assert(stream.ended);
    for (int i = 0; rig.closed == 0 && i < 100; i++)
        turn();
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_uint_eq(rill_conn_count(rig.loop), 0);
}

/* --- echo --- */

static void echo(struct rill_conn *conn, struct rill_input *input)
{
    size_t take = 1 + below(input->length); /* the rest is shown again, with what comes */
    rill_conn_send(conn, input->bytes, take);
    rill_input_consume(input, take);
    if (input->length > 0 && below(2)) { /* or without */
        rill_conn_pause(conn, RILL_PAUSE_USER);
        rill_conn_resume(conn, RILL_PAUSE_USER);
    }
}

/* All that came has been shown at least once; what was left is taken now. */
static void echo_the_end(struct rill_conn *conn)
{
    rig.eofs++;
    if (conn->held)
        rill_conn_send(conn, rill_buf_bytes(conn->held), rill_buf_length(conn->held));
    rill_conn_finish(conn, below(2) > 0);
    shutdown(rig.peer, SHUT_WR);
}

START_TEST(an_echo_returns_the_stream)
{
    begin(_i);
    rig.handler.on_data = echo;
    rig.handler.on_eof = echo_the_end;
    rig.config.output_limit = RILL_OUTPUT_PAUSE;
    rig.config.high_watermark = 1 + below(20000);
    if (_i / BACKENDS % 2)
        rig_adopt_tcp();
    else
        rig_adopt();
    prepare(1 + below(60000));
    run();
    ck_assert_uint_eq(stream.got, stream.to_say);
    ck_assert_mem_eq(stream.heard, stream.said, stream.to_say);
    ck_assert_int_eq(rig.eofs, 1);
}
END_TEST

/* --- frames --- */

static const struct rill_framing framing = {.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 2};
static struct rill_framing_state framing_state;
static size_t frames;

/* Answers each frame with its length as text, in a frame. */
static void answer_frames(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_slice frame;
    char text[16];
    int got;
    while ((got = rill_framing_next(&framing, &framing_state, input, &frame)) > 0) {
        frames++;
        int length = snprintf(text, sizeof text, "%zu", frame.length);
        ck_assert_int_eq(rill_framing_send(&framing, conn, text, (size_t)length), 0);
    }
    ck_assert_int_eq(got, 0);
}

static void end_frames(struct rill_conn *conn)
{
    rig.eofs++;
    rill_conn_shutdown(conn);
}

START_TEST(frames_arrive_whole)
{
    size_t at = 0, expected_frames = 0, expected_length = 0;
    static char expected[sizeof stream.heard];
    begin(_i);
    rig.handler.on_data = answer_frames;
    rig.handler.on_eof = end_frames;
    memset(&framing_state, 0, sizeof framing_state);
    frames = 0;
    prepare(sizeof stream.said);
    while (at < 40000) {
        size_t length = below(below(4) ? 50 : 3000);
        stream.said[at] = (char)(length >> 8);
        stream.said[at + 1] = (char)length;
        at += 2 + length;
        expected_frames++;
        int n = snprintf(expected + expected_length + 2, 16, "%zu", length);
        expected[expected_length] = 0;
        expected[expected_length + 1] = (char)n;
        expected_length += 2 + (size_t)n;
    }
    stream.to_say = at;
    rig_adopt();
    run();
    ck_assert_uint_eq(frames, expected_frames);
    ck_assert_uint_eq(stream.got, expected_length);
    ck_assert_mem_eq(stream.heard, expected, expected_length);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_EOF);
}
END_TEST

/* --- output of every kind --- */

START_TEST(output_of_every_kind_arrives_in_order)
{
    begin(_i);
    struct rill_conn *conn = _i / BACKENDS % 2 ? rig_adopt_tcp() : rig_adopt();
    prepare(100000);
    FILE *file = tmpfile();
    ck_assert_uint_eq(fwrite(stream.said, 1, stream.to_say, file), stream.to_say);
    fflush(file);
    struct rill_file_ref *ref = rill_file_ref_new(dup(fileno(file)));
    for (size_t at = 0, length; at < stream.to_say; at += length) {
        length = 1 + below(below(3) ? 300 : 20000);
        length = length < stream.to_say - at ? length : stream.to_say - at;
        int error;
        switch (below(4)) {
        case 0:
            error = rill_conn_send_buf(conn, rill_buf_copy(stream.said + at, length));
            break;
        case 1:
            error = rill_conn_send_file(conn, ref, at, length);
            break;
        case 2:
            length = length < RILL_CONN_RESERVE_MAX ? length : RILL_CONN_RESERVE_MAX;
            memcpy(rill_conn_reserve(conn, length), stream.said + at, length);
            rill_conn_commit(conn, length);
            error = 0;
            break;
        default:
            error = rill_conn_send(conn, stream.said + at, length);
        }
        ck_assert_int_eq(error, 0);
        if (below(8) == 0)
            turn();
    }
    rill_file_ref_drop(ref);
    rill_conn_finish(conn, false);
    stream.said_so_far = stream.to_say; /* the peer only listens */
    run();
    ck_assert_uint_eq(stream.got, stream.to_say);
    ck_assert_mem_eq(stream.heard, stream.said, stream.to_say);
    fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("short io");
    TCase *all = tcase_create("short io");
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_loop_test(all, an_echo_returns_the_stream, 0, SEEDS * BACKENDS);
    tcase_add_loop_test(all, frames_arrive_whole, 0, SEEDS * BACKENDS);
    tcase_add_loop_test(all, output_of_every_kind_arrives_in_order, 0, SEEDS * BACKENDS);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
