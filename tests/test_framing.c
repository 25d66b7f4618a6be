/* test_framing.c - frames out of a stream and into one: what each kind makes of a sample in any pieces, the limits
 * exactly, and sending over connections that fail. */
#include "rill/core/sys.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/framing_check.h"
#include "support/run_suite.h"
#include <check.h>

#define LITERAL(text)                                                                                                  \
    {                                                                                                                  \
        (text), sizeof(text) - 1                                                                                       \
    }

static const struct rill_framing line = {.kind = RILL_FRAMING_LINE, .max_bytes = 8};
static const struct rill_framing crlf = {.kind = RILL_FRAMING_CRLF, .max_bytes = 8};
static const struct rill_framing one = {.kind = RILL_FRAMING_DELIMITER, .max_bytes = 8, .delimiter = LITERAL("\0")};
static const struct rill_framing aab = {.kind = RILL_FRAMING_DELIMITER, .max_bytes = 8, .delimiter = LITERAL("aab")};
static const struct rill_framing aba = {.kind = RILL_FRAMING_DELIMITER, .max_bytes = 8, .delimiter = LITERAL("aba")};
static const struct rill_framing u8 = {.kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 1};
static const struct rill_framing u16 = {.kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 2};
static const struct rill_framing u32 = {.kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 4};
static const struct rill_framing u64 = {.kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 8};
static const struct rill_framing le16 = {
    .kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 2, .little_endian = true};
static const struct rill_framing le32 = {
    .kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 4, .little_endian = true};
static const struct rill_framing le64 = {
    .kind = RILL_FRAMING_LENGTH, .max_bytes = 8, .prefix_bytes = 8, .little_endian = true};
static const struct rill_framing huge = {.kind = RILL_FRAMING_LENGTH, .max_bytes = SIZE_MAX, .prefix_bytes = 8};
static const struct rill_framing varint = {.kind = RILL_FRAMING_VARINT, .max_bytes = 200};
static const struct rill_framing huge_varint = {.kind = RILL_FRAMING_VARINT, .max_bytes = SIZE_MAX};
static const struct rill_framing huge_line = {.kind = RILL_FRAMING_LINE, .max_bytes = SIZE_MAX};

static const struct rill_framing *const all[] = {&line, &crlf, &one,  &aab,  &aba,  &u8,     &u16,         &u32,
                                                 &u64,  &le16, &le32, &le64, &huge, &varint, &huge_varint, &huge_line};

/* FRAMES are joined by '|'. */
static const struct {
    const struct rill_framing *framing;
    struct rill_slice stream;
    const char *frames;
    int end;
} samples[] = {
    {&line, LITERAL(""), "", 0},
    {&line, LITERAL("one\ntwo\r\n\n\r\nfive"), "one|two|||", 0},
    {&line, LITERAL("a\rb\n\r\r\n\n"), "a\rb|\r||", 0},
    {&line, LITERAL("12345678\n12345678\r\n"), "12345678|12345678|", 0},
    {&line, LITERAL("12345678\r"), "", 0},
    {&line, LITERAL("ok\n123456789\n"), "ok|", -EMSGSIZE},
    {&line, LITERAL("ok\n12345678\r\r\n"), "ok|", -EMSGSIZE},
    {&line, LITERAL("ok\n1234567890"), "ok|", -EMSGSIZE},
    {&line, LITERAL("ok\n123456789"), "ok|", 0}, /* certain only with the next byte */
    {&huge_line, LITERAL("no limit\nat all"), "no limit|", 0},
    {&crlf, LITERAL("one\r\ntwo\r\n\r\nfo\r"), "one|two||", 0},
    {&crlf, LITERAL("12345678\r\n12345678\r"), "12345678|", 0},
    {&crlf, LITERAL("one\r\ntwo\n"), "one|", -EPROTO},
    {&crlf, LITERAL("one\r\n\ntwo\r\n"), "one|", -EPROTO},
    {&crlf, LITERAL("one\r\ntw\ro\r\n"), "one|", -EPROTO},
    {&crlf, LITERAL("one\r\n\r\r\n"), "one|", -EPROTO},
    {&crlf, LITERAL("one\r\n123456789\r\n"), "one|", -EMSGSIZE},
    {&crlf, LITERAL("one\r\n1234567890"), "one|", -EMSGSIZE},
    {&one, LITERAL("one\0two\0\0fo"), "one|two||", 0},
    {&one, LITERAL("12345678\0\r\n\0"), "12345678|\r\n|", 0},
    {&one, LITERAL("123456789\0"), "", -EMSGSIZE},
    {&aab, LITERAL("oneaabtwoaabaaabaabaa"), "one|two|a||", 0},
    {&aab, LITERAL("12345678aab12345678aa"), "12345678|", 0},
    {&aab, LITERAL("123456789aab"), "", -EMSGSIZE},
    {&aab, LITERAL("aaaaaaaaaab"), "aaaaaaaa|", 0},
    {&aab, LITERAL("aaaaaaaaaaab"), "", -EMSGSIZE},
    {&aba, LITERAL("ababababaaba"), "|b|ba|", 0},
    {&u8,
     LITERAL("\3one\0\10"
             "12345678\2x"),
     "one||12345678|", 0},
    {&u8,
     LITERAL("\3one\11"
             "123456789"),
     "one|", -EMSGSIZE},
    {&u8, LITERAL("\3one\377"), "one|", -EMSGSIZE},
    {&u16,
     LITERAL("\0\3one\0\0\0\10"
             "12345678\0"),
     "one||12345678|", 0},
    {&u16, LITERAL("\0\3one\1\0"), "one|", -EMSGSIZE},
    {&le16,
     LITERAL("\3\0one\0\0\10\0"
             "12345678\3"),
     "one||12345678|", 0},
    {&le16, LITERAL("\3\0one\0\1"), "one|", -EMSGSIZE},
    {&u32, LITERAL("\0\0\0\3one\0\0\0\0\0\0\0"), "one||", 0},
    {&u32, LITERAL("\0\0\0\11"), "", -EMSGSIZE},
    {&u32, LITERAL("\200\0\0\0"), "", -EMSGSIZE},
    {&le32, LITERAL("\3\0\0\0one\0\0\0\0\0\0\0"), "one||", 0},
    {&le32, LITERAL("\0\0\0\1"), "", -EMSGSIZE},
    {&u64, LITERAL("\0\0\0\0\0\0\0\3one\0\0\0\0\0\0\0\0\0"), "one||", 0},
    {&u64, LITERAL("\0\0\0\0\0\0\0\11"), "", -EMSGSIZE},
    {&u64, LITERAL("\1\0\0\0\0\0\0\0"), "", -EMSGSIZE},
    {&u64, LITERAL("\377\377\377\377\377\377\377\377"), "", -EMSGSIZE},
    {&le64, LITERAL("\3\0\0\0\0\0\0\0one\0\0\0\0\0\0\0\0\0"), "one||", 0},
    {&le64, LITERAL("\1\0\0\0\0\0\0\200"), "", -EMSGSIZE},
    {&huge, LITERAL("\0\0\0\0\0\0\0\1x\377\377\377\377\377\377\377\377never whole"), "x|", 0},
    {&huge, LITERAL("\377\377\377\377\377\377\377\370"), "", 0}, /* with its prefix exactly 2^64 bytes */
    {&huge, LITERAL("\377\377\377\377\377\377\377\370xxxxxxxx"), "", 0},
    {&varint, LITERAL("\3one\0\1x\200"), "one||x|", 0},
    {&varint, LITERAL("\310\1"), "", 0}, /* 200 */
    {&varint, LITERAL("\311\1"), "", -EMSGSIZE},
    {&varint, LITERAL("\200\0"), "", -EPROTO},
    {&varint, LITERAL("\203\0one"), "", -EPROTO},
    {&varint, LITERAL("\203\200\200\200\0one"), "", -EPROTO},
    {&varint, LITERAL("\377\377\377\377\377\377\377\377\377\1"), "", -EMSGSIZE},
    {&huge_varint, LITERAL("\1x\377\377\377\377\377\377\377\377\377\1never whole"), "x|", 0},
    {&huge_varint, LITERAL("\377\377\377\377\377\377\377\377\377\2"), "", -EPROTO},
    {&huge_varint, LITERAL("\200\200\200\200\200\200\200\200\200\200\1"), "", -EPROTO},
    {&huge_varint, LITERAL("\200\200\200\200\200\200\200\200\200\201\0"), "", -EPROTO},
    {&huge_varint, LITERAL("\200\200\200\200\200\200\200\200\200\0"), "", -EPROTO},
};

START_TEST(reads_its_samples_in_any_pieces)
{
    static struct framing_result result;
    char frames[128] = "";
    struct test_random random = {(uint64_t)_i};
    framing_reference(samples[_i].framing, samples[_i].stream, &result);
    for (unsigned i = 0; i < result.count; i++) {
        strncat(frames, result.frames[i].bytes, result.frames[i].length);
        strcat(frames, "|");
    }
    ck_assert_str_eq(frames, samples[_i].frames);
    ck_assert_int_eq(result.end, samples[_i].end);
    framing_check_stream(samples[_i].framing, samples[_i].stream, &random);
    /* In three pieces, wherever they may meet. */
    for (size_t a = 0; a <= samples[_i].stream.length; a++)
        for (size_t b = a; b <= samples[_i].stream.length; b++)
            framing_check_pieces(samples[_i].framing, samples[_i].stream, (size_t[]){a, b}, 2, &result);
}
END_TEST

/* Streams of the bytes that matter to the kind, so that everything meets everything. */
START_TEST(agrees_with_a_slow_reading_on_random_streams)
{
    static const char some[] = "\n\n\r\raab\0\1\2\3\200\201\377x";
    struct test_random random = {(uint64_t)_i + 1};
    const struct rill_framing *framing = all[(size_t)_i];
    for (int round = 0; round < 1000; round++) {
        char bytes[80];
        size_t length = test_random_below(&random, sizeof bytes), kinds = 1 + test_random_below(&random, sizeof some);
        for (size_t i = 0; i < length; i++)
            bytes[i] = some[test_random_below(&random, kinds)];
        framing_check_stream(framing, (struct rill_slice){bytes, length}, &random);
        framing_check_message(framing, (struct rill_slice){bytes, test_random_below(&random, 12)});
    }
}
END_TEST

START_TEST(a_frame_may_have_max_bytes_and_no_more)
{
    static struct framing_result result;
    static char bytes[70000];
    struct test_random random = {1};
    for (size_t i = 0; i < rill_array_length(all); i++) {
        struct rill_framing framing = *all[i];
        const size_t limits[] = {0, 1, 2, 127, 128, 255, 256, 300};
        for (size_t k = 0; k < rill_array_length(limits); k++) {
            framing.max_bytes = limits[k];
            size_t most = limits[k] ? limits[k] : 65536;
            memset(bytes, 'x', sizeof bytes);
            for (size_t length = most - 1; length <= most + 1; length++) {
                struct rill_buf *buf;
                int error = rill_framing_buf(&framing, bytes, length, &buf);
                bool too_long = length > most;
                if (framing.kind == RILL_FRAMING_LENGTH && framing.prefix_bytes < 4)
                    too_long |= length >> 8 * framing.prefix_bytes > 0;
                ck_assert_int_eq(error, too_long ? -EMSGSIZE : 0);
                if (too_long) /* what another sends, who has no such limit */
                    framing.max_bytes = length;
                if (too_long && rill_framing_buf(&framing, bytes, length, &buf) < 0)
                    continue;
                framing.max_bytes = limits[k];
                framing_reference(&framing, rill_buf_view(buf), &result);
                ck_assert_uint_eq(result.count, !too_long);
                ck_assert_int_eq(result.end, too_long ? -EMSGSIZE : 0);
                const size_t cuts[] = {length / 2, length, length};
                framing_check_pieces(&framing, rill_buf_view(buf), cuts, 3, &result);
                if (length < 400)
                    framing_check_stream(&framing, rill_buf_view(buf), &random);
                rill_buf_unref(buf);
            }
            framing.max_bytes = limits[k];
        }
    }
}
END_TEST

/* What was searched is not searched again: however long a line is, a byte more costs the same. */
START_TEST(a_dribbled_byte_is_searched_once)
{
    static char bytes[65536];
    const struct rill_framing *const ended[] = {&line, &crlf, &one, &aab};
    memset(bytes, 'a', sizeof bytes);
    for (size_t i = 0; i < rill_array_length(ended); i++) {
        struct rill_framing framing = *ended[i];
        struct rill_framing_state state = {0};
        struct rill_slice frame;
        framing.max_bytes = sizeof bytes;
        size_t length = 0;
        int got = 0;
        while (length < sizeof bytes && got == 0 && state.searched == length) {
            struct rill_input input = {.bytes = bytes, .length = ++length};
            got = rill_framing_next(&framing, &state, &input, &frame);
        }
        ck_assert_int_eq(got, 0);
        ck_assert_uint_eq(state.searched, sizeof bytes);
        /* Nor looked at, save for what may be the beginning of a delimiter: an end put there is not found. */
        struct rill_slice end = i == 0 ? rill_slice_of("\n") : i == 1 ? rill_slice_of("\r\n") : framing.delimiter;
        memcpy(bytes + sizeof bytes - 2 * end.length, end.bytes, end.length);
        struct rill_input input = {.bytes = bytes, .length = sizeof bytes};
        ck_assert_int_eq(rill_framing_next(&framing, &state, &input, &frame), 0);
        memset(bytes, 'a', sizeof bytes);
    }
}
END_TEST

START_TEST(a_line_and_what_it_announces_share_a_stream)
{
    struct rill_framing_state state = {0};
    struct rill_input input = {.bytes = "set 5\r\n\n\n\n\n\nget\r\n", .length = 17};
    struct rill_slice frame;
    ck_assert_int_eq(rill_framing_next(&line, &state, &input, &frame), 1);
    ck_assert(rill_slice_equal(frame, rill_slice_of("set 5")));
    rill_input_consume(&input, 5);
    ck_assert_int_eq(rill_framing_next(&line, &state, &input, &frame), 1);
    ck_assert(rill_slice_equal(frame, rill_slice_of("get")));
    ck_assert_int_eq(rill_framing_next(&line, &state, &input, &frame), 0);
    ck_assert_uint_eq(input.consumed, 17);
}
END_TEST

START_TEST(refuses_a_framing_that_makes_no_sense)
{
    static const char long_delimiter[RILL_FRAMING_DELIMITER_MAX + 1];
    const struct rill_framing senseless[] = {
        {.kind = RILL_FRAMING_DELIMITER},
        {.kind = RILL_FRAMING_DELIMITER, .delimiter = {long_delimiter, sizeof long_delimiter}},
        {.kind = RILL_FRAMING_LENGTH},
        {.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 3},
        {.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 16},
        {.kind = (enum rill_framing_kind)99},
    };
    for (size_t i = 0; i < rill_array_length(senseless); i++) {
        struct rill_framing_state state = {0};
        struct rill_input input = {.bytes = "\0\0\0\0\n", .length = 5};
        struct rill_slice frame;
        struct rill_buf *buf;
        char prefix[RILL_FRAMING_PREFIX_MAX];
        ck_assert_int_eq(rill_framing_next(&senseless[i], &state, &input, &frame), -EINVAL);
        ck_assert_uint_eq(input.consumed, 0);
        ck_assert_int_eq(rill_framing_prefix(&senseless[i], 1, prefix), -EINVAL);
        ck_assert_int_eq(rill_framing_buf(&senseless[i], "x", 1, &buf), -EINVAL);
        ck_assert_ptr_null(buf);
    }
    struct rill_framing longest = senseless[1];
    longest.delimiter.length--;
    struct rill_buf *buf;
    ck_assert_int_eq(rill_framing_buf(&longest, "x", 1, &buf), 0);
    ck_assert_uint_eq(rill_buf_length(buf), 1 + RILL_FRAMING_DELIMITER_MAX);
    rill_buf_unref(buf);
}
END_TEST

START_TEST(prefixes_are_what_the_protocols_say)
{
    static const struct {
        struct rill_framing framing;
        uint64_t length;
        struct rill_slice prefix;
    } table[] = {
        {{.kind = RILL_FRAMING_LINE}, 5, LITERAL("")},
        {{.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 1}, 255, LITERAL("\377")},
        {{.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 2}, 0x1234, LITERAL("\x12\x34")},
        {{.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 2, .little_endian = true}, 0x1234, LITERAL("\x34\x12")},
        {{.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 4, .max_bytes = SIZE_MAX},
         0x12345678,
         LITERAL("\x12\x34\x56\x78")},
        {{.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 8, .max_bytes = SIZE_MAX, .little_endian = true},
         0x123456789abcdef0,
         LITERAL("\xf0\xde\xbc\x9a\x78\x56\x34\x12")},
        {{.kind = RILL_FRAMING_VARINT}, 0, LITERAL("\0")},
        {{.kind = RILL_FRAMING_VARINT}, 127, LITERAL("\x7f")},
        {{.kind = RILL_FRAMING_VARINT}, 128, LITERAL("\x80\x01")},
        {{.kind = RILL_FRAMING_VARINT}, 300, LITERAL("\xac\x02")}, /* the example of protobuf's documentation */
        {{.kind = RILL_FRAMING_VARINT, .max_bytes = SIZE_MAX},
         UINT64_MAX,
         LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
    };
    char prefix[RILL_FRAMING_PREFIX_MAX];
    for (size_t i = 0; i < rill_array_length(table); i++) {
        ck_assert_int_eq(rill_framing_prefix(&table[i].framing, table[i].length, prefix), (int)table[i].prefix.length);
        ck_assert_mem_eq(prefix, table[i].prefix.bytes, table[i].prefix.length);
    }
    const struct rill_framing four = {.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 4, .max_bytes = SIZE_MAX};
    ck_assert_int_eq(rill_framing_prefix(&four, UINT32_MAX, prefix), 4);
    ck_assert_int_eq(rill_framing_prefix(&four, UINT64_C(1) << 32, prefix), -EMSGSIZE);
}
END_TEST

/* --- over a connection --- */

static char message[100000];
static const size_t lengths[] = {0, 1, 2037, 2038, 2039, 2046, 2047, 2048, 4096, 8192, 16384, 100000};

static int read_peer(struct rill_buf **received)
{
    static char bytes[65536];
    ssize_t n;
    while ((n = read(rig.peer, bytes, sizeof bytes)) > 0)
        ck_assert_int_eq(rill_buf_append(received, bytes, (size_t)n), 0);
    return n == 0 ? 0 : -errno;
}

START_TEST(what_is_sent_is_what_is_read)
{
    static struct framing_result result;
    struct rill_framing framing = *all[(size_t)_i];
    framing.max_bytes = sizeof message;
    memset(message, 'm', sizeof message);
    rig_set_up(RILL_BACKEND_EPOLL);
    struct rill_conn *conn = rig_adopt();
    struct rill_buf *received = NULL;
    unsigned count = 0;
    for (size_t i = 0; i < rill_array_length(lengths); i++) {
        int error = rill_framing_send(&framing, conn, message, lengths[i]);
        bool fits = framing.kind != RILL_FRAMING_LENGTH || framing.prefix_bytes == 8 ||
                    lengths[i] >> 8 * framing.prefix_bytes == 0;
        ck_assert_int_eq(error, fits ? 0 : -EMSGSIZE);
        count += fits;
        for (int turn = 0; turn < 10; turn++) {
            rig_turns(1);
            read_peer(&received);
        }
    }
    ck_assert_int_eq(rill_framing_send(&framing, conn, message, sizeof message + 1), -EMSGSIZE);
    framing_reference(&framing, rill_buf_view(received), &result);
    ck_assert_uint_eq(result.count, count);
    ck_assert_int_eq(result.end, 0);
    ck_assert_uint_eq(result.consumed, rill_buf_length(received));
    for (unsigned i = 0; i < count; i++)
        ck_assert(rill_slice_equal(result.frames[i], (struct rill_slice){message, lengths[i]}));
    rill_buf_unref(received);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_framing_send(&framing, conn, message, 5), -EPIPE);
    ck_assert_int_eq(rill_framing_send(&framing, conn, message, 100), -EPIPE);
    rig_tear_down();
}
END_TEST

START_TEST(what_would_be_misread_is_not_sent)
{
    rig_set_up(RILL_BACKEND_EPOLL);
    struct rill_conn *conn = rig_adopt();
    ck_assert_int_eq(rill_framing_send(&line, conn, "a\nb", 3), -EBADMSG);
    ck_assert_int_eq(rill_framing_send(&line, conn, "ab\r", 3), -EBADMSG);
    ck_assert_int_eq(rill_framing_send(&crlf, conn, "a\rb", 3), -EBADMSG);
    ck_assert_int_eq(rill_framing_send(&aab, conn, "xaabx", 5), -EBADMSG);
    ck_assert_int_eq(rill_framing_send(&aba, conn, "ab", 2), -EBADMSG); /* "ababa" */
    ck_assert_uint_eq(rill_conn_buffered(conn), 0);
    ck_assert(rill_conn_is_open(conn));
    rig_tear_down();
}
END_TEST

/* Whichever allocation fails: all of the frame leaves, or nothing and the connection is closed for that reason. */
START_TEST(without_memory_a_frame_is_not_sent_in_part)
{
    memset(message, 'm', sizeof message);
    for (size_t i = 0; i < rill_array_length(lengths); i++) {
        for (uint64_t nth = 1; nth < 10; nth++) {
            struct rill_framing framing = {.kind = RILL_FRAMING_LENGTH, .prefix_bytes = 4, .max_bytes = sizeof message};
            rig_set_up(RILL_BACKEND_EPOLL);
            struct rill_conn *conn = rig_adopt();
            struct rill_buf *received = NULL;
            faulty_sys_reset();
            faulty_memory_fails_at(nth);
            int error = rill_framing_send(&framing, conn, message, lengths[i]);
            faulty_sys_reset();
            for (int turn = 0; turn < 10; turn++) {
                rig_turns(1);
                read_peer(&received);
            }
            if (error == 0) {
                ck_assert_uint_eq(rill_buf_length(received), 4 + lengths[i]);
                ck_assert_int_eq(rig.closed, 0);
            } else {
                ck_assert_int_eq(error, -ENOMEM);
                ck_assert_ptr_null(received);
                ck_assert_int_eq(rig.closed, 1);
                ck_assert_int_eq(rig.reason, RILL_CLOSE_NO_MEMORY);
            }
            rill_buf_unref(received);
            rig_tear_down();
            if (error == 0)
                break;
        }
    }
    struct rill_buf *buf;
    faulty_sys_reset();
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert_int_eq(rill_framing_buf(&line, "x", 1, &buf), -ENOMEM);
    faulty_sys_reset();
    ck_assert_ptr_null(buf);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("framing");
    TCase *reading = tcase_create("reading");
    tcase_add_loop_test(reading, reads_its_samples_in_any_pieces, 0, (int)rill_array_length(samples));
    tcase_add_loop_test(reading, agrees_with_a_slow_reading_on_random_streams, 0, (int)rill_array_length(all));
    tcase_add_test(reading, a_frame_may_have_max_bytes_and_no_more);
    tcase_add_test(reading, a_dribbled_byte_is_searched_once);
    tcase_add_test(reading, a_line_and_what_it_announces_share_a_stream);
    tcase_add_test(reading, refuses_a_framing_that_makes_no_sense);
    suite_add_tcase(suite, reading);
    TCase *writing = tcase_create("writing");
    tcase_add_test(writing, prefixes_are_what_the_protocols_say);
    tcase_add_loop_test(writing, what_is_sent_is_what_is_read, 0, (int)rill_array_length(all));
    tcase_add_test(writing, what_would_be_misread_is_not_sent);
    tcase_add_test(writing, without_memory_a_frame_is_not_sent_in_part);
    suite_add_tcase(suite, writing);
    return run_suite(suite);
}
