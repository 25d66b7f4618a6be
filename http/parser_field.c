/* parser_field.c - what the fields of a head mean: how the request is framed, whether the connection lives on. */
#include "rill/http/parser.h"

#include "rill/http/parser_internal.h"

/* Takes the next member off LIST, a comma-separated list (RFC 9110 5.6.1), without the white space around it. Empty
 * members are skipped, as a recipient must. */
static bool list_next(struct rill_slice *list, struct rill_slice *member)
{
    const char *bytes = list->bytes;
    const char *end = bytes + list->length;
    while (bytes < end && (*bytes == ',' || rill_byte_is_blank(*bytes)))
        bytes++;
    if (bytes == end)
        return false;
    const char *comma = memchr(bytes, ',', (size_t)(end - bytes));
    if (comma == NULL)
        comma = end;
    member->bytes = bytes;
    member->length = (size_t)(comma - bytes);
    while (rill_byte_is_blank(bytes[member->length - 1]))
        member->length--;
    list->bytes = comma;
    list->length = (size_t)(end - comma);
    return true;
}

static bool is_token(struct rill_slice text)
{
    return text.length > 0 && rill_byte_run(text.bytes, text.length, RILL_BYTE_TOKEN) == text.length;
}

static bool equals(struct rill_slice text, const char *lower)
{
    return rill_slice_equal_nocase(text, rill_slice_of(lower));
}

static bool fail(struct rill_parser *parser, const char *reason)
{
    (void)rill_parser_fail(parser, 400, reason);
    return false;
}

static bool connection_field(struct rill_parser *parser, struct rill_slice value)
{
    /* What nearly all clients say, without taking a list apart. */
    if (value.length == 10 && (rill_load64(value.bytes) | RILL_LOWER_WORD) == UINT64_C(0x696c612d7065656b) &&
        (value.bytes[8] | 0x20) == 'v' && (value.bytes[9] | 0x20) == 'e') { /* "keep-alive" */
        parser->connection_options |= RILL_OPTION_KEEP_ALIVE;
        return true;
    }
    struct rill_slice option;
    while (list_next(&value, &option)) {
        if (!is_token(option))
            return fail(parser, "malformed Connection");
        if (equals(option, "close"))
            parser->connection_close = true;
        else if (equals(option, "keep-alive"))
            parser->connection_options |= RILL_OPTION_KEEP_ALIVE;
        else if (equals(option, "upgrade"))
            parser->connection_options |= RILL_OPTION_UPGRADE;
    }
    return true;
}

/* 1*DIGIT, once (RFC 9110 8.6). Two equal ones could be merged; a sender that repeats it is not to be trusted. */
static bool content_length_field(struct rill_parser *parser, struct rill_slice value, bool is_repeated)
{
    if (is_repeated)
        return fail(parser, "more than one Content-Length");
    if (value.length == 0)
        return fail(parser, "empty Content-Length");
    uint64_t length = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (!rill_byte_is_digit(value.bytes[i]))
            return fail(parser, "malformed Content-Length");
        unsigned digit = (unsigned)(value.bytes[i] - '0');
        if (length > ((uint64_t)INT64_MAX - digit) / 10)
            return fail(parser, "Content-Length too large to be true");
        length = length * 10 + digit;
    }
    parser->content_length = length;
    return true;
}

/* Parameters of a coding behind its name: that there are some is enough to know. */
static bool coding_is_plausible(struct rill_slice coding, struct rill_slice *name)
{
    size_t length = rill_byte_run(coding.bytes, coding.length, RILL_BYTE_TOKEN);
    name->bytes = coding.bytes;
    name->length = length;
    while (length < coding.length && rill_byte_is_blank(coding.bytes[length]))
        length++;
    return name->length > 0 && (length == coding.length || coding.bytes[length] == ';');
}

/* Codings in the order they were applied, over all lines of the field. Only chunked is understood, and only as the
 * last one does it say where the body ends (RFC 9112 6.1, 6.3). */
static bool transfer_encoding_field(struct rill_parser *parser, struct rill_slice value)
{
    struct rill_slice coding;
    struct rill_slice name;
    bool is_empty = true;
    while (list_next(&value, &coding)) {
        is_empty = false;
        if (!coding_is_plausible(coding, &name))
            return fail(parser, "malformed Transfer-Encoding");
        if (parser->chunked)
            return fail(parser, "Transfer-Encoding goes on behind chunked");
        if (!equals(name, "chunked"))
            parser->connection_options |= RILL_OPTION_CODING_OTHER;
        else if (name.length != coding.length)
            return fail(parser, "chunked with parameters");
        else
            parser->chunked = true;
    }
    return !is_empty || fail(parser, "empty Transfer-Encoding");
}

static void expect_field(struct rill_parser *parser, struct rill_slice value)
{
    struct rill_slice expectation;
    while (list_next(&value, &expectation))
        parser->connection_options |=
            equals(expectation, "100-continue") ? RILL_OPTION_EXPECT_CONTINUE : RILL_OPTION_EXPECT_OTHER;
}

bool rill_parser_framing_field(struct rill_parser *parser, const char *bytes, const struct rill_parser_field *field,
                               bool is_repeated)
{
    struct rill_slice value = {bytes + field->value_offset, field->value_length};
    switch ((enum rill_header_id)field->id) {
    case RILL_HEADER_CONNECTION:
        return connection_field(parser, value);
    case RILL_HEADER_CONTENT_LENGTH:
        return content_length_field(parser, value, is_repeated);
    case RILL_HEADER_TRANSFER_ENCODING:
        return transfer_encoding_field(parser, value);
    case RILL_HEADER_EXPECT:
        expect_field(parser, value);
        return true;
    default:
        return true;
    }
}

/* Where the content ends, by RFC 9112 6.3 at its strictest. Which reply is due when several things are wrong follows
 * from the order: what makes the framing doubtful comes first. */
static bool framing_is_sound(struct rill_parser *parser)
{
    if (rill_parser_has(parser, RILL_HEADER_TRANSFER_ENCODING)) {
        if (parser->version_minor == 0)
            return fail(parser, "Transfer-Encoding in HTTP/1.0");
        if (rill_parser_has(parser, RILL_HEADER_CONTENT_LENGTH))
            return fail(parser, "both Transfer-Encoding and Content-Length");
        if (!parser->chunked)
            return fail(parser, "Transfer-Encoding does not end in chunked");
        if ((parser->connection_options & RILL_OPTION_CODING_OTHER) != 0) {
            (void)rill_parser_fail(parser, 501, "transfer coding other than chunked");
            return false;
        }
    }
    if (parser->content_length > parser->max_body_bytes) {
        (void)rill_parser_fail(parser, 413, "Content-Length above the limit");
        return false;
    }
    if ((parser->connection_options & RILL_OPTION_EXPECT_OTHER) != 0) {
        (void)rill_parser_fail(parser, 417, "expectation other than 100-continue");
        return false;
    }
    return true;
}

/* Host: once, and with HTTP/1.1 always. An empty one says that the target URI has no authority, which an http URI
 * cannot be without (RFC 9110 4.2.1); so it will do only where no http URI is made of it. */
static bool host_is_sound(struct rill_parser *parser)
{
    if (!rill_parser_has(parser, RILL_HEADER_HOST))
        return parser->version_minor == 0 || fail(parser, "no Host");
    if (parser->authority_length == 0 && parser->target_form == RILL_TARGET_ORIGIN)
        return fail(parser, "empty Host");
    return true;
}

static bool has_no_content(const struct rill_parser *parser)
{
    return parser->answers_head || parser->code < 200 || parser->code == 204 || parser->code == 304;
}

/* Where a response's content ends (RFC 9112 6.3). */
static enum rill_parse_result response_complete(struct rill_parser *parser)
{
    enum rill_parser_state next = RILL_PARSER_BODY_CLOSE;
    parser->connection_options &= (uint8_t)~RILL_OPTION_EXPECT_OTHER; /* means nothing here */
    if (!has_no_content(parser) && !framing_is_sound(parser))
        return RILL_PARSE_ERROR;
    parser->keep_alive = !parser->connection_close &&
                         (parser->version_minor > 0 || (parser->connection_options & RILL_OPTION_KEEP_ALIVE) != 0);
    if (has_no_content(parser)) {
        parser->chunked = false;
        next = RILL_PARSER_DONE;
    } else if (parser->chunked) {
        next = RILL_PARSER_CHUNK_SIZE;
    } else if (rill_parser_has(parser, RILL_HEADER_CONTENT_LENGTH)) {
        parser->remaining = parser->content_length;
        next = parser->content_length > 0 ? RILL_PARSER_BODY_LENGTH : RILL_PARSER_DONE;
    } else {
        parser->until_close = true;
        parser->keep_alive = false;
    }
    parser->has_body = next != RILL_PARSER_DONE;
    rill_parser_enter(parser, next);
    return RILL_PARSE_HEAD;
}

enum rill_parse_result rill_parser_head_complete(struct rill_parser *parser, uint32_t head_length)
{
    const uint64_t framing = (uint64_t)1 << RILL_HEADER_CONTENT_LENGTH | (uint64_t)1 << RILL_HEADER_TRANSFER_ENCODING |
                             (uint64_t)1 << RILL_HEADER_EXPECT;
    parser->head_length = head_length;
    if (parser->is_response)
        return response_complete(parser);
    if (!host_is_sound(parser))
        return RILL_PARSE_ERROR;
    if ((parser->present & framing) != 0 && !framing_is_sound(parser))
        return RILL_PARSE_ERROR;

    unsigned options = parser->connection_options;
    parser->keep_alive =
        !parser->connection_close && (parser->version_minor > 0 || (options & RILL_OPTION_KEEP_ALIVE) != 0);
    parser->upgrade = (options & RILL_OPTION_UPGRADE) != 0 && rill_parser_has(parser, RILL_HEADER_UPGRADE);
    parser->has_body = parser->chunked || parser->content_length > 0;
    if (!parser->has_body) {
        rill_parser_enter(parser, RILL_PARSER_DONE);
        return RILL_PARSE_HEAD;
    }
    /* A client that waits for 100 (Continue) has content to send; one of HTTP/1.0 knows no 100 (RFC 9110 10.1.1). */
    parser->expect_continue = parser->version_minor > 0 && (options & RILL_OPTION_EXPECT_CONTINUE) != 0;
    parser->remaining = parser->content_length;
    rill_parser_enter(parser, parser->chunked ? RILL_PARSER_CHUNK_SIZE : RILL_PARSER_BODY_LENGTH);
    return RILL_PARSE_HEAD;
}
