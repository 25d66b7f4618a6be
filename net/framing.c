/* framing.c - frames out of a stream of bytes, and into one.
 *
 * Every answer depends on the bytes from the start of the frame alone, never on how many of them were there at which
 * call. So errors are told when enough has come to be certain of them, and a frame that is at once too long and
 * malformed gives the same error in every split: an end is looked for in as many bytes as the longest frame may have,
 * and only what lies before it is judged. */
#include "rill/net/framing.h"
#include <errno.h>

enum { SEND_COPIED_BYTES = 2048 }; /* a frame of so many is put together on the stack, a larger one in a block */

static size_t max_bytes(const struct rill_framing *framing)
{
    return framing->max_bytes ? framing->max_bytes : RILL_FRAMING_DEFAULT_MAX_BYTES;
}

static bool is_valid(const struct rill_framing *framing)
{
    size_t n = framing->kind == RILL_FRAMING_DELIMITER ? framing->delimiter.length : framing->prefix_bytes;
    switch (framing->kind) {
    case RILL_FRAMING_LINE:
    case RILL_FRAMING_CRLF:
    case RILL_FRAMING_VARINT:
        return true;
    case RILL_FRAMING_DELIMITER:
        return n >= 1 && n <= RILL_FRAMING_DELIMITER_MAX;
    case RILL_FRAMING_LENGTH:
        return n == 1 || n == 2 || n == 4 || n == 8;
    }
    return false;
}

/* What is sent behind a frame. */
static struct rill_slice end_of(const struct rill_framing *framing)
{
    switch (framing->kind) {
    case RILL_FRAMING_LINE:
        return (struct rill_slice){"\n", 1};
    case RILL_FRAMING_CRLF:
        return (struct rill_slice){"\r\n", 2};
    case RILL_FRAMING_DELIMITER:
        return framing->delimiter;
    default:
        return (struct rill_slice){NULL, 0};
    }
}

/* --- reading --- */

/* The byte behind the first end in the first WINDOW of BYTES, which have none in their first SEARCHED; NULL. */
static const char *find_end(const struct rill_framing *framing, const char *bytes, size_t searched, size_t window)
{
    if (framing->kind != RILL_FRAMING_DELIMITER) {
        const char *lf = memchr(bytes + searched, '\n', window - searched);
        return lf ? lf + 1 : NULL;
    }
    struct rill_slice delimiter = framing->delimiter;
    size_t begun = searched < delimiter.length ? searched : delimiter.length - 1; /* may be the first part of an end */
    const char *from = bytes + searched - begun;
    const char *end = memmem(from, window - searched + begun, delimiter.bytes, delimiter.length);
    return end ? end + delimiter.length : NULL;
}

/* How many bytes of the frame BYTES are its end, which is whole; -EPROTO. */
static int measure_end(const struct rill_framing *framing, const char *bytes, size_t length)
{
    if (framing->kind == RILL_FRAMING_DELIMITER)
        return (int)framing->delimiter.length;
    bool cr = length >= 2 && bytes[length - 2] == '\r';
    if (framing->kind == RILL_FRAMING_CRLF && (!cr || memchr(bytes, '\r', length - 2)))
        return -EPROTO;
    return cr ? 2 : 1;
}

static int next_ended(const struct rill_framing *framing, struct rill_framing_state *state, struct rill_input *input,
                      struct rill_slice *frame)
{
    size_t most = max_bytes(framing);
    size_t longest_end = framing->kind == RILL_FRAMING_DELIMITER ? framing->delimiter.length : 2;
    size_t reach = most < SIZE_MAX - longest_end ? most + longest_end : SIZE_MAX;
    size_t window = input->length < reach ? input->length : reach;
    if (window == 0)
        return 0;
    size_t searched = state->searched < window ? state->searched : window;
    const char *end = find_end(framing, input->bytes, searched, window);
    if (!end) {
        state->searched = window;
        return window == reach ? -EMSGSIZE : 0;
    }
    size_t whole = (size_t)(end - input->bytes);
    int end_bytes = measure_end(framing, input->bytes, whole);
    if (end_bytes < 0)
        return end_bytes;
    if (whole - (size_t)end_bytes > most)
        return -EMSGSIZE;
    *frame = (struct rill_slice){input->bytes, whole - (size_t)end_bytes};
    rill_input_consume(input, whole);
    state->searched = 0;
    return 1;
}

/* Reads a prefix of fixed size. Returns its size, or 0 when it has not come whole. */
static int read_length(const struct rill_framing *framing, const struct rill_input *input, uint64_t *length)
{
    unsigned n = framing->prefix_bytes;
    if (input->length < n)
        return 0;
    const uint8_t *bytes = (const uint8_t *)input->bytes;
    *length = 0;
    for (unsigned i = 0; i < n; i++)
        *length = *length << 8 | bytes[framing->little_endian ? n - 1 - i : i];
    return (int)n;
}

/* Reads a varint. Returns its size; 0: it has not come whole; -EPROTO. */
static int read_varint(const struct rill_input *input, uint64_t *length)
{
    const uint8_t *bytes = (const uint8_t *)input->bytes;
    *length = 0;
    for (unsigned i = 0; i < input->length; i++) {
        *length |= (uint64_t)(bytes[i] & 0x7f) << 7 * i;
        if (i == RILL_FRAMING_PREFIX_MAX - 1 && bytes[i] > 1)
            return -EPROTO; /* bits beyond the 64th, or bytes beyond the 10th */
        if (bytes[i] < 0x80)
            return bytes[i] == 0 && i > 0 ? -EPROTO : (int)i + 1;
    }
    return 0;
}

static int next_prefixed(const struct rill_framing *framing, struct rill_input *input, struct rill_slice *frame)
{
    uint64_t length;
    int prefix =
        framing->kind == RILL_FRAMING_VARINT ? read_varint(input, &length) : read_length(framing, input, &length);
    if (prefix <= 0)
        return prefix;
    if (length > max_bytes(framing))
        return -EMSGSIZE;
    if (length > input->length - (size_t)prefix)
        return 0;
    *frame = (struct rill_slice){input->bytes + prefix, (size_t)length};
    rill_input_consume(input, (size_t)prefix + (size_t)length);
    return 1;
}

int rill_framing_next(const struct rill_framing *framing, struct rill_framing_state *state, struct rill_input *input,
                      struct rill_slice *frame)
{
    if (RILL_UNLIKELY(!is_valid(framing)))
        return -EINVAL;
    if (framing->kind == RILL_FRAMING_LENGTH || framing->kind == RILL_FRAMING_VARINT)
        return next_prefixed(framing, input, frame);
    return next_ended(framing, state, input, frame);
}

/* --- writing --- */

static int write_length(const struct rill_framing *framing, uint64_t length, char *prefix)
{
    unsigned n = framing->prefix_bytes;
    if (n < 8 && length >> 8 * n)
        return -EMSGSIZE;
    for (unsigned i = 0; i < n; i++)
        prefix[framing->little_endian ? i : n - 1 - i] = (char)(length >> 8 * i);
    return (int)n;
}

static int write_varint(uint64_t length, char *prefix)
{
    int n = 0;
    for (; length >= 0x80; length >>= 7)
        prefix[n++] = (char)(length | 0x80);
    prefix[n++] = (char)length;
    return n;
}

int rill_framing_prefix(const struct rill_framing *framing, uint64_t length, char prefix[RILL_FRAMING_PREFIX_MAX])
{
    if (!is_valid(framing))
        return -EINVAL;
    if (length > max_bytes(framing))
        return -EMSGSIZE;
    if (framing->kind == RILL_FRAMING_LENGTH)
        return write_length(framing, length, prefix);
    return framing->kind == RILL_FRAMING_VARINT ? write_varint(length, prefix) : 0;
}

/* Whether in BYTES with the delimiter behind them that delimiter shows earlier: in them, or across the seam. */
static bool is_cut_short(struct rill_slice delimiter, const char *bytes, size_t length)
{
    if (memmem(bytes, length, delimiter.bytes, delimiter.length))
        return true;
    for (size_t overlap = 1; overlap < delimiter.length && overlap <= length; overlap++)
        if (memcmp(bytes + length - overlap, delimiter.bytes, overlap) == 0 &&
            memcmp(delimiter.bytes, delimiter.bytes + overlap, delimiter.length - overlap) == 0)
            return true;
    return false;
}

/* Whether the receiver would read BYTES as something else than one frame. */
static bool is_misread(const struct rill_framing *framing, const char *bytes, size_t length)
{
    if (length == 0)
        return false;
    switch (framing->kind) {
    case RILL_FRAMING_LINE:
        return memchr(bytes, '\n', length) || bytes[length - 1] == '\r';
    case RILL_FRAMING_CRLF:
        return memchr(bytes, '\n', length) || memchr(bytes, '\r', length);
    case RILL_FRAMING_DELIMITER:
        return is_cut_short(framing->delimiter, bytes, length);
    default:
        return false;
    }
}

/* The parts of a frame that is sent. */
struct parts {
    char prefix[RILL_FRAMING_PREFIX_MAX];
    size_t prefix_bytes;
    struct rill_slice end;
    size_t whole;
};

static int take_apart(const struct rill_framing *framing, const void *bytes, size_t length, struct parts *parts)
{
    int prefix_bytes = rill_framing_prefix(framing, length, parts->prefix);
    if (prefix_bytes < 0)
        return prefix_bytes;
    if (is_misread(framing, bytes, length))
        return -EBADMSG;
    parts->prefix_bytes = (size_t)prefix_bytes;
    parts->end = end_of(framing);
    parts->whole = parts->prefix_bytes + length + parts->end.length;
    return 0;
}

static void put_together(const struct parts *parts, const void *bytes, size_t length, char *out)
{
    memcpy(out, parts->prefix, parts->prefix_bytes);
    if (length > 0)
        memcpy(out + parts->prefix_bytes, bytes, length);
    if (parts->end.length > 0)
        memcpy(out + parts->prefix_bytes + length, parts->end.bytes, parts->end.length);
}

static int make_buf(const struct parts *parts, const void *bytes, size_t length, struct rill_buf **buf)
{
    *buf = rill_buf_new(parts->whole);
    char *room = *buf ? rill_buf_reserve(buf, parts->whole) : NULL;
    if (!room) {
        rill_buf_unref(*buf);
        *buf = NULL;
        return -ENOMEM;
    }
    put_together(parts, bytes, length, room);
    rill_buf_commit(*buf, parts->whole);
    return 0;
}

int rill_framing_buf(const struct rill_framing *framing, const void *bytes, size_t length, struct rill_buf **buf)
{
    struct parts parts;
    *buf = NULL;
    int error = take_apart(framing, bytes, length, &parts);
    return error < 0 ? error : make_buf(&parts, bytes, length, buf);
}

int rill_framing_send(const struct rill_framing *framing, struct rill_conn *conn, const void *bytes, size_t length)
{
    struct parts parts;
    struct rill_buf *buf;
    char small[SEND_COPIED_BYTES];
    int error = take_apart(framing, bytes, length, &parts);
    if (error < 0)
        return error;
    if (parts.whole <= sizeof small) {
        put_together(&parts, bytes, length, small);
        return rill_conn_send(conn, small, parts.whole);
    }
    error = make_buf(&parts, bytes, length, &buf);
    if (error < 0) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY); /* as when rill_conn_send() finds no memory */
        return error;
    }
    return rill_conn_send_buf(conn, buf);
}
