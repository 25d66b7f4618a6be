/* parser_body.c - content: counted by Content-Length, or in chunks with extensions and trailers (RFC 9112 6, 7.1).
 *
 * Framing goes byte by byte through the states, for it is a few bytes a chunk; content is handed out where it lies.
 * Nothing of the input is remembered but counts, so that any split gives the same. */
#include "rill/http/parser.h"

#include <stdio.h>

#include "rill/http/parser_internal.h"

/* rill_parser.step: where in a line. A state begins at step 0. */
enum {
    SIZE_FIRST, /* then 1 to 16: that many digits came */
    SIZE_LF = 255
};

enum { EXT_NAME_FIRST, EXT_NAME, EXT_VALUE_FIRST, EXT_VALUE, EXT_QUOTED, EXT_QUOTED_PAIR, EXT_QUOTE_CLOSED, EXT_LF };

enum { CHUNK_END_CR, CHUNK_END_LF };

enum { TRAILER_LINE_FIRST, TRAILER_NAME, TRAILER_VALUE, TRAILER_LINE_LF, TRAILER_BLANK_LF };

static void fail(struct rill_parser *parser, uint16_t status, const char *reason)
{
    (void)rill_parser_fail(parser, status, reason);
}

/* The line with the size is complete. */
static void chunk_begins(struct rill_parser *parser)
{
    parser->extension_length = 0;
    if (parser->remaining == 0)
        rill_parser_enter(parser, RILL_PARSER_TRAILERS);
    else if (parser->remaining > parser->max_body_bytes - parser->body_length)
        fail(parser, 413, "content above the limit");
    else
        rill_parser_enter(parser, RILL_PARSER_CHUNK_DATA);
}

static void chunk_size_byte(struct rill_parser *parser, char c)
{
    if (parser->step == SIZE_LF) {
        if (c != '\n')
            fail(parser, 400, "CR without LF behind a chunk size");
        else
            chunk_begins(parser);
        return;
    }
    int digit = rill_hex_value(c);
    if (digit >= 0) {
        if (parser->step == 16)
            fail(parser, 400, "chunk size with too many digits");
        else
            parser->step++;
        parser->remaining = parser->remaining << 4 | (unsigned)digit;
    } else if (parser->step == SIZE_FIRST) {
        fail(parser, 400, "no chunk size");
    } else if (c == '\r') {
        parser->step = SIZE_LF;
    } else if (c == ';') {
        rill_parser_enter(parser, RILL_PARSER_CHUNK_EXTENSION);
        parser->extension_length = 1;
    } else {
        fail(parser, 400, "malformed chunk size");
    }
}

/* The step after C in a chunk extension, or -1 when C is not allowed there. The grammar is that of RFC 9112 7.1.1 less
 * the white space that it tells recipients to expect from bad senders. */
static int extension_step(int step, char c)
{
    switch (step) {
    case EXT_NAME_FIRST:
        return rill_byte_is(c, RILL_BYTE_TOKEN) ? EXT_NAME : -1;
    case EXT_NAME:
        if (c == '=')
            return EXT_VALUE_FIRST;
        if (rill_byte_is(c, RILL_BYTE_TOKEN))
            return EXT_NAME;
        break;
    case EXT_VALUE_FIRST:
        if (c == '"')
            return EXT_QUOTED;
        return rill_byte_is(c, RILL_BYTE_TOKEN) ? EXT_VALUE : -1;
    case EXT_VALUE:
        if (rill_byte_is(c, RILL_BYTE_TOKEN))
            return EXT_VALUE;
        break;
    case EXT_QUOTED:
        if (c == '"')
            return EXT_QUOTE_CLOSED;
        if (c == '\\')
            return EXT_QUOTED_PAIR;
        return rill_byte_is(c, RILL_BYTE_CONTROL) ? -1 : EXT_QUOTED;
    case EXT_QUOTED_PAIR:
        return rill_byte_is(c, RILL_BYTE_CONTROL) ? -1 : EXT_QUOTED;
    default:
        break;
    }
    if (c == ';')
        return EXT_NAME_FIRST;
    return c == '\r' ? EXT_LF : -1;
}

static void chunk_extension_byte(struct rill_parser *parser, char c)
{
    if (parser->step == EXT_LF) {
        if (c != '\n')
            fail(parser, 400, "CR without LF behind a chunk extension");
        else
            chunk_begins(parser);
        return;
    }
    int step = extension_step(parser->step, c);
    if (step < 0) {
        fail(parser, 400, "malformed chunk extension");
    } else if (step != EXT_LF && parser->extension_length >= parser->limits->max_chunk_extension_bytes) {
        fail(parser, 400, "chunk extensions too long");
    } else {
        parser->extension_length++;
        parser->step = (uint8_t)step;
    }
}

static void chunk_end_byte(struct rill_parser *parser, char c)
{
    if (c != (parser->step == CHUNK_END_CR ? '\r' : '\n')) {
        fail(parser, 400, "chunk data not as long as its size says");
    } else if (parser->step == CHUNK_END_CR) {
        parser->step = CHUNK_END_LF;
    } else {
        rill_parser_enter(parser, RILL_PARSER_CHUNK_SIZE);
    }
}

static int trailer_step(int step, char c)
{
    switch (step) {
    case TRAILER_LINE_FIRST:
        if (c == '\r')
            return TRAILER_BLANK_LF;
        return rill_byte_is(c, RILL_BYTE_TOKEN) ? TRAILER_NAME : -1;
    case TRAILER_NAME:
        if (c == ':')
            return TRAILER_VALUE;
        return rill_byte_is(c, RILL_BYTE_TOKEN) ? TRAILER_NAME : -1;
    case TRAILER_VALUE:
        if (c == '\r')
            return TRAILER_LINE_LF;
        return rill_byte_is(c, RILL_BYTE_CONTROL) ? -1 : TRAILER_VALUE;
    default:
        return c == '\n' ? TRAILER_LINE_FIRST : -1;
    }
}

static void trailer_byte(struct rill_parser *parser, char c)
{
    uint32_t limit = parser->limits->max_trailer_bytes;
    if (parser->trailer_buffer != NULL && parser->trailer_capacity < limit)
        limit = parser->trailer_capacity;
    int step = trailer_step(parser->step, c);
    if (step < 0) {
        fail(parser, 400, "malformed trailer section");
        return;
    }
    if (parser->trailer_length >= limit) {
        fail(parser, 431, "trailer section too large");
        return;
    }
    if (parser->trailer_buffer != NULL)
        parser->trailer_buffer[parser->trailer_length] = c;
    parser->trailer_length++;
    if (parser->step == TRAILER_BLANK_LF)
        rill_parser_enter(parser, RILL_PARSER_DONE);
    else
        parser->step = (uint8_t)step;
}

/* Content from BYTES, as much as the body or the chunk still has and as came. */
static void take_data(struct rill_parser *parser, const char *bytes, size_t length, struct rill_parser_piece *piece)
{
    size_t taken = length < parser->remaining ? length : (size_t)parser->remaining;
    parser->remaining -= taken;
    parser->body_length += taken;
    piece->data.bytes = bytes;
    piece->data.length = taken;
    piece->consumed += taken;
    if (parser->remaining == 0)
        rill_parser_enter(parser, parser->chunked ? RILL_PARSER_CHUNK_END : RILL_PARSER_DONE);
}

/* Content up to the connection's end: all that came, and of too much as much as may be, however it comes in pieces. */
static void take_all(struct rill_parser *parser, const char *bytes, size_t length, struct rill_parser_piece *piece)
{
    uint64_t room = parser->max_body_bytes - parser->body_length;
    if (room == 0) {
        fail(parser, 413, "content above the limit");
        return;
    }
    length = length < room ? length : (size_t)room;
    parser->body_length += length;
    piece->data.bytes = bytes;
    piece->data.length = piece->consumed = length;
}

/* One byte of framing. */
static void framing_byte(struct rill_parser *parser, char c)
{
    switch ((enum rill_parser_state)parser->state) {
    case RILL_PARSER_CHUNK_SIZE:
        chunk_size_byte(parser, c);
        break;
    case RILL_PARSER_CHUNK_EXTENSION:
        chunk_extension_byte(parser, c);
        break;
    case RILL_PARSER_CHUNK_END:
        chunk_end_byte(parser, c);
        break;
    case RILL_PARSER_TRAILERS:
        trailer_byte(parser, c);
        break;
    default:
        fprintf(stderr, "rill_parser_body: called before rill_parser_head() said RILL_PARSE_HEAD\n");
        abort();
    }
}

enum rill_parse_result rill_parser_body(struct rill_parser *parser, const char *bytes, size_t length,
                                        struct rill_parser_piece *piece)
{
    piece->consumed = 0;
    piece->data.bytes = bytes;
    piece->data.length = 0;
    for (;;) {
        if (parser->state == RILL_PARSER_DONE)
            return piece->result = RILL_PARSE_DONE;
        if (parser->state == RILL_PARSER_FAILED)
            return piece->result = RILL_PARSE_ERROR;
        if (piece->data.length > 0)
            return piece->result = RILL_PARSE_DATA;
        if (piece->consumed == length)
            return piece->result = RILL_PARSE_MORE;
        if (RILL_UNLIKELY(parser->state == RILL_PARSER_BODY_CLOSE))
            take_all(parser, bytes, length, piece);
        else if (parser->state == RILL_PARSER_BODY_LENGTH || parser->state == RILL_PARSER_CHUNK_DATA)
            take_data(parser, bytes + piece->consumed, length - piece->consumed, piece);
        else
            framing_byte(parser, bytes[piece->consumed++]);
    }
}

void rill_parser_keep_trailers(struct rill_parser *parser, char *buffer, size_t capacity)
{
    parser->trailer_buffer = buffer;
    parser->trailer_capacity = capacity < UINT32_MAX ? (uint32_t)capacity : UINT32_MAX;
}

struct rill_slice rill_parser_trailers(const struct rill_parser *parser)
{
    struct rill_slice section = {parser->trailer_buffer, parser->trailer_buffer != NULL ? parser->trailer_length : 0};
    return section;
}

bool rill_trailer_next(struct rill_slice *section, struct rill_slice *name, struct rill_slice *value)
{
    if (section->length <= 2)
        return false;
    const char *end = section->bytes + section->length;
    const char *colon = memchr(section->bytes, ':', section->length);
    const char *line_end = colon != NULL ? memchr(colon, '\r', (size_t)(end - colon)) : NULL;
    if (line_end == NULL || end - line_end < 2)
        return false; /* the section of a request that failed half-way */
    const char *first = colon + 1;
    const char *last = line_end;
    while (first < last && rill_byte_is_blank(*first))
        first++;
    while (last > first && rill_byte_is_blank(last[-1]))
        last--;
    name->bytes = section->bytes;
    name->length = (size_t)(colon - section->bytes);
    value->bytes = first;
    value->length = (size_t)(last - first);
    section->bytes = line_end + 2;
    section->length = (size_t)(end - section->bytes);
    return true;
}
