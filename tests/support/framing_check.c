/* framing_check.c - see framing_check.h. */
#include "framing_check.h"
#include "must.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHORT_BYTES = 64 };

/* Wider than any length that is accepted, so that nothing overflows here. */
__extension__ typedef unsigned __int128 wide;

/* --- the slow reading --- */

static size_t most_of(const struct rill_framing *framing)
{
    return framing->max_bytes ? framing->max_bytes : 65536;
}

/* Whether BYTES end with an end; *END is set to its length, or to -EPROTO. */
static bool has_ended(const struct rill_framing *framing, const char *bytes, size_t length, int *end)
{
    size_t n = framing->delimiter.length;
    if (framing->kind == RILL_FRAMING_DELIMITER) {
        *end = (int)n;
        return length >= n && memcmp(bytes + length - n, framing->delimiter.bytes, n) == 0;
    }
    if (bytes[length - 1] != '\n')
        return false;
    bool cr = length >= 2 && bytes[length - 2] == '\r';
    *end = cr ? 2 : 1;
    if (framing->kind == RILL_FRAMING_CRLF) {
        if (!cr)
            *end = -EPROTO;
        for (size_t i = 0; i + 2 < length; i++)
            if (bytes[i] == '\r')
                *end = -EPROTO;
    }
    return true;
}

static int reference_ended(const struct rill_framing *framing, struct rill_slice rest, size_t *offset, size_t *length,
                           size_t *whole)
{
    wide limit = (wide)most_of(framing) + (framing->kind == RILL_FRAMING_DELIMITER ? framing->delimiter.length : 2);
    for (*whole = 1; *whole <= rest.length && *whole <= limit; ++*whole) {
        int end;
        if (!has_ended(framing, rest.bytes, *whole, &end))
            continue;
        if (end < 0)
            return end;
        *offset = 0;
        *length = *whole - (size_t)end;
        return *length > most_of(framing) ? -EMSGSIZE : 1;
    }
    return rest.length >= limit ? -EMSGSIZE : 0;
}

static int reference_varint(struct rill_slice rest, wide *value)
{
    *value = 0;
    for (unsigned i = 0; i < rest.length; i++) {
        if (i == 10)
            return -EPROTO;
        *value += (wide)((uint8_t)rest.bytes[i] % 128) << 7 * i;
        if (i == 9 && *value > UINT64_MAX)
            return -EPROTO;
        if ((uint8_t)rest.bytes[i] >= 128) {
            if (i == 9)
                return -EPROTO;
            continue;
        }
        unsigned needed = 1;
        while (needed < 10 && *value >> 7 * needed)
            needed++;
        return needed == i + 1 ? (int)needed : -EPROTO;
    }
    return 0;
}

static int reference_prefixed(const struct rill_framing *framing, struct rill_slice rest, size_t *offset,
                              size_t *length, size_t *whole)
{
    wide value = 0;
    int n = framing->prefix_bytes;
    if (framing->kind == RILL_FRAMING_VARINT) {
        n = reference_varint(rest, &value);
        if (n <= 0)
            return n;
    } else if (rest.length < (size_t)n) {
        return 0;
    } else {
        for (int i = 0; i < n; i++)
            value += (wide)(uint8_t)rest.bytes[i] << 8 * (framing->little_endian ? i : n - 1 - i);
    }
    if (value > most_of(framing))
        return -EMSGSIZE;
    if (value + (unsigned)n > rest.length)
        return 0;
    *offset = (size_t)n;
    *length = (size_t)value;
    *whole = *offset + *length;
    return 1;
}

void framing_reference(const struct rill_framing *framing, struct rill_slice stream, struct framing_result *result)
{
    bool prefixed = framing->kind == RILL_FRAMING_LENGTH || framing->kind == RILL_FRAMING_VARINT;
    result->count = 0;
    result->consumed = 0;
    result->end = 0;
    while (result->count < FRAMING_CHECK_MAX_FRAMES) {
        struct rill_slice rest = {stream.bytes + result->consumed, stream.length - result->consumed};
        size_t offset = 0, length = 0, whole = 0;
        int got = prefixed ? reference_prefixed(framing, rest, &offset, &length, &whole)
                           : reference_ended(framing, rest, &offset, &length, &whole);
        if (got <= 0) {
            result->end = got;
            return;
        }
        result->frames[result->count++] = (struct rill_slice){rest.bytes + offset, length};
        result->consumed += whole;
    }
}

/* --- in pieces --- */

void framing_check_pieces(const struct rill_framing *framing, struct rill_slice stream, const size_t *cuts,
                          size_t count, const struct framing_result *expected)
{
    struct rill_framing_state state = {0};
    size_t consumed = 0;
    unsigned frames = 0;
    int got = 0;
    for (size_t i = 0; i <= count && got == 0; i++) {
        size_t upto = i < count ? cuts[i] : stream.length, length = upto - consumed;
        char *block = malloc(length ? length : 1);
        MUST(block != NULL);
        if (length > 0)
            memcpy(block, stream.bytes + consumed, length);
        struct rill_input input = {.bytes = block, .length = length};
        struct rill_slice frame = {NULL, 0};
        while (frames < FRAMING_CHECK_MAX_FRAMES && (got = rill_framing_next(framing, &state, &input, &frame)) == 1) {
            MUST(frames < expected->count);
            MUST(frame.bytes >= block && frame.bytes + frame.length <= block + length);
            MUST(rill_slice_equal(frame, expected->frames[frames]));
            MUST(state.searched == 0);
            frames++;
        }
        MUST(got >= 0 || rill_framing_next(framing, &state, &input, &frame) == got); /* an error stays */
        MUST(input.consumed + input.length == length);
        consumed += input.consumed;
        free(block);
    }
    MUST(frames == expected->count);
    MUST(consumed == expected->consumed);
    MUST((frames == FRAMING_CHECK_MAX_FRAMES ? 0 : got) == expected->end);
}

void framing_check_stream(const struct rill_framing *framing, struct rill_slice stream, struct test_random *random)
{
    static struct framing_result expected;
    framing_reference(framing, stream, &expected);
    framing_check_pieces(framing, stream, NULL, 0, &expected);
    size_t *cuts = calloc(stream.length + 1, sizeof *cuts);
    MUST(cuts != NULL);
    for (size_t i = 0; i < stream.length; i++)
        cuts[i] = i;
    framing_check_pieces(framing, stream, cuts, stream.length, &expected);
    for (size_t cut = 0; stream.length <= SHORT_BYTES && cut <= stream.length; cut++)
        framing_check_pieces(framing, stream, &cut, 1, &expected);
    for (size_t longest = 2; longest < 2 * stream.length; longest *= 3) {
        size_t count = 0;
        for (size_t at = 0; (at += test_random_below(random, longest + 1)) < stream.length && count < stream.length;)
            cuts[count++] = at;
        framing_check_pieces(framing, stream, cuts, count, &expected);
    }
    free(cuts);
}

/* --- written --- */

void framing_check_message(const struct rill_framing *framing, struct rill_slice message)
{
    static struct framing_result result;
    char prefix[RILL_FRAMING_PREFIX_MAX];
    struct rill_buf *buf;
    int error = rill_framing_buf(framing, message.bytes, message.length, &buf);
    int prefix_bytes = rill_framing_prefix(framing, message.length, prefix);
    if (error == 0) {
        framing_reference(framing, rill_buf_view(buf), &result);
        MUST(result.count == 1 && result.end == 0 && result.consumed == rill_buf_length(buf));
        MUST(rill_slice_equal(result.frames[0], message));
        MUST(prefix_bytes >= 0 && memcmp(rill_buf_bytes(buf), prefix, (size_t)prefix_bytes) == 0);
        rill_buf_unref(buf);
        return;
    }
    MUST(buf == NULL);
    if (error == -EMSGSIZE) {
        MUST(prefix_bytes == -EMSGSIZE);
        MUST(message.length > most_of(framing) || (framing->kind == RILL_FRAMING_LENGTH && framing->prefix_bytes < 8 &&
                                                   message.length >> 8 * framing->prefix_bytes > 0));
        return;
    }
    /* With the delimiter behind it the message is read as something else. */
    MUST(error == -EBADMSG && prefix_bytes == 0);
    struct rill_slice end = framing->kind == RILL_FRAMING_DELIMITER ? framing->delimiter
                            : framing->kind == RILL_FRAMING_CRLF    ? rill_slice_of("\r\n")
                                                                    : rill_slice_of("\n");
    struct rill_slice whole = {.length = message.length + end.length};
    char *bytes = malloc(whole.length);
    MUST(bytes != NULL);
    memcpy(bytes, message.bytes, message.length);
    memcpy(bytes + message.length, end.bytes, end.length);
    whole.bytes = bytes;
    framing_reference(framing, whole, &result);
    MUST(result.count != 1 || result.consumed != whole.length || !rill_slice_equal(result.frames[0], message));
    free(bytes);
}
