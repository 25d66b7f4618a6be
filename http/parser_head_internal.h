/* parser_head_internal.h - the head function, to be compiled once for each way of scanning. No include guard: each
 * parser_head_*.c includes it once, after defining
 *
 *   RILL_HEAD_FUNCTION             the name of the function
 *   RILL_HEAD_MIN_BYTES            heads and limits smaller than this go to the portable function
 *   struct head_window             what the scans remember of the bytes they looked at; see head_window_open()
 *   scan_token(window, p)          the first byte from P on that is no tchar
 *   scan_value(window, p)          ... that no field value may hold: the CR of a sound line
 *   scan_target(p, end)            ... that needs a look in a target
 *   scan_host(p, end)              ... that is no plain character of a host name
 *
 * where each gives END (that of the window is the head's) when there is none, reads nothing before the head or from END
 * on, and may count on RILL_HEAD_MIN_BYTES lying between. One source, so that the ways cannot differ in what they
 * accept; compiled whole, so that no call is made for a token.
 *
 * Every line is taken in one pass, by code that only knows how it should be. Whatever is not exactly so, or not yet
 * complete, goes to the slow ways of parser_line.c, which find out. */

/* A request line of the usual kind: a method other than CONNECT, a path without escapes, HTTP/1.1. Returns the line
 * behind it; NULL for any other, with nothing changed. */
static inline const char *head_request_line(struct rill_parser *parser, struct head_window *window, const char *bytes,
                                            const char *line, const char *end)
{
    enum rill_method method = RILL_METHOD_GET;
    const char *target = line + 4;
    if (RILL_UNLIKELY(end - line < 16 || memcmp(line, "GET ", 4) != 0)) {
        const char *method_end = scan_token(window, line);
        if (method_end == line || end - method_end < 2 || *method_end != ' ')
            return NULL;
        struct rill_slice name = {line, (size_t)(method_end - line)};
        method = rill_method_of(name);
        target = method_end + 1;
        if (method == RILL_METHOD_CONNECT)
            return NULL;
    }
    if (RILL_UNLIKELY(*target != '/'))
        return NULL;
    const char *query = NULL;
    const char *target_end = scan_target(target + 1, end);
    while (RILL_UNLIKELY(target_end < end && *target_end == '?')) {
        query = query == NULL ? target_end : query;
        target_end = scan_target(target_end + 1, end);
    }
    if (RILL_UNLIKELY(end - target_end < 11 || memcmp(target_end, " HTTP/1.", 8) != 0 ||
                      memcmp(target_end + 7, ".1\r\n", 4) != 0 ||
                      (size_t)(target_end + 11 - line) > parser->limits->max_request_line_bytes))
        return NULL;

    parser->method = (uint8_t)method;
    parser->method_length = (uint32_t)(target - line) - 1;
    parser->version_minor = 1;
    uint32_t offset = (uint32_t)(target - bytes);
    uint32_t length = (uint32_t)(target_end - target);
    parser->target_offset = offset;
    parser->target_length = length;
    parser->path_offset = offset;
    parser->path_length = length;
    if (query != NULL) {
        parser->has_query = true;
        parser->path_length = (uint32_t)(query - target);
        parser->query_offset = (uint32_t)(query + 1 - bytes);
        parser->query_length = (uint32_t)(target_end - query) - 1;
    }
    rill_parser_enter(parser, RILL_PARSER_HEADERS);
    return target_end + 11;
}

/* Whether the COUNT bytes before END are digits; COUNT is at most four, and eight bytes before END may be read. */
static inline bool head_is_digits(const char *end, size_t count)
{
    uint64_t word = rill_load64(end - 8);
    uint64_t others = ~UINT64_C(0) >> (8 * count); /* the lower bytes: those before the digits */
    word = (word & ~others) | (others & UINT64_C(0x3030303030303030));
    return ((word | (word + UINT64_C(0x4646464646464646)) | (word - UINT64_C(0x3030303030303030))) &
            UINT64_C(0x8080808080808080)) == 0;
}

/* Whether the host of LENGTH bytes at HOST is sound; names, with or without a port, without a call. */
static inline bool head_host_is_sound(const char *host, size_t length, const char *end)
{
    const char *host_end = host + length;
    const char *p = scan_host(host, end);
    if (RILL_LIKELY(p == host_end))
        return true; /* also when empty: head_complete() sees to that */
    size_t digits = (size_t)(host_end - p) - 1;
    if (RILL_LIKELY(p > host && *p == ':' && digits <= 4 && head_is_digits(host_end, digits)))
        return true;
    struct rill_slice slice = {host, length};
    return rill_host_check(slice) == 0;
}

/* Acts on a field that decides about routing or framing. False when the request fails by it. */
static inline bool head_field_matters(struct rill_parser *parser, const char *bytes, const char *end,
                                      const struct rill_parser_field *field, bool is_repeated)
{
    if (field->id != RILL_HEADER_HOST)
        return rill_parser_framing_field(parser, bytes, field, is_repeated);
    if (RILL_UNLIKELY(is_repeated)) {
        (void)rill_parser_fail(parser, 400, "more than one Host");
        return false;
    }
    if (RILL_UNLIKELY(!head_host_is_sound(bytes + field->value_offset, field->value_length, end))) {
        (void)rill_parser_fail(parser, 400, "malformed Host");
        return false;
    }
    if (RILL_LIKELY(parser->authority_length == 0)) { /* else the target has one, which wins (RFC 9112 3.2.2) */
        parser->authority_offset = field->value_offset;
        parser->authority_length = field->value_length;
    }
    return true;
}

/* The blank line came. The usual kind of request, without content or conditions to weigh, is judged here. */
static inline enum rill_parse_result head_complete(struct rill_parser *parser, uint32_t head_length)
{
    const uint64_t weighty = (uint64_t)1 << RILL_HEADER_CONTENT_LENGTH | (uint64_t)1 << RILL_HEADER_TRANSFER_ENCODING |
                             (uint64_t)1 << RILL_HEADER_EXPECT | (uint64_t)1 << RILL_HEADER_UPGRADE;
    if (RILL_UNLIKELY((parser->present & weighty) != 0 || parser->authority_length == 0 || parser->version_minor == 0 ||
                      !rill_parser_has(parser, RILL_HEADER_HOST) || parser->is_response))
        return rill_parser_head_complete(parser, head_length);
    parser->head_length = head_length;
    parser->keep_alive = !parser->connection_close;
    rill_parser_enter(parser, RILL_PARSER_DONE);
    return RILL_PARSE_HEAD;
}

/* The number of a field's name. Short names want eight bytes to read, which the last lines of a tiny head lack. */
static inline unsigned head_lookup(const char *name, size_t length, const char *end)
{
    if (RILL_UNLIKELY(end - name < 8)) {
        struct rill_slice slice = {name, length};
        return rill_header_id_of(slice);
    }
    return rill_header_lookup(name, length);
}

/* Field lines from LINE on, up to the blank one. */
static inline enum rill_parse_result head_fields(struct rill_parser *parser, struct head_window *window,
                                                 const char *bytes, const char *line, const char *end)
{
    uint64_t present = parser->present;
    uint32_t most = parser->limits->max_headers;
    struct rill_parser_field *field = parser->headers + parser->header_count;
    const struct rill_parser_field *fields_end =
        parser->headers + (most < RILL_PARSER_MAX_HEADERS ? most : RILL_PARSER_MAX_HEADERS);
    enum rill_parse_result result = RILL_PARSE_ERROR;
    const char *last_stop = end - 2; /* where the last CRLF may begin */
    for (;;) {
        const char *colon = scan_token(window, line);
        const char *stop = scan_value(window, colon);
        if (RILL_UNLIKELY(stop > last_stop || memcmp(stop, "\r\n", 2) != 0))
            goto broken;
        if (RILL_UNLIKELY(*colon != ':')) {
            if (stop == line)
                break;
            goto broken;
        }
        const char *first = colon + 2;
        if (RILL_UNLIKELY(colon[1] != ' ' || (uint8_t)*first <= ' ')) { /* not one space and a value behind it */
            first = colon + 1;
            while (rill_byte_is_blank(*first))
                first++;
        }
        const char *last = stop;
        if (RILL_UNLIKELY((uint8_t)last[-1] <= ' ')) {
            while (last > first && rill_byte_is_blank(last[-1]))
                last--;
        }
        size_t name_length = (size_t)(colon - line);
        unsigned id = head_lookup(line, name_length, end);
        if (RILL_UNLIKELY(id == RILL_HEADER_OTHER && name_length == 0))
            goto broken;
        if (RILL_UNLIKELY(field == fields_end || (id == RILL_HEADER_OTHER && name_length > UINT16_MAX))) {
            (void)rill_parser_fail(parser, 431, "too many fields, or a name too long");
            goto out;
        }
        field->name_offset = (uint32_t)(line - bytes);
        field->value_offset = (uint32_t)(first - bytes);
        field->value_length = (uint32_t)(last - first);
        field->name_length = (uint16_t)name_length;
        field->id = (uint16_t)id;
        if (id - RILL_HEADER_HOST <= RILL_HEADER_UPGRADE - RILL_HEADER_HOST &&
            !head_field_matters(parser, bytes, end, field, (present >> id & 1) != 0))
            goto out;
        present |= (uint64_t)1 << id;
        field++;
        line = stop + 2;
    }
    parser->present = present;
    parser->header_count = (uint16_t)(field - parser->headers);
    return head_complete(parser, (uint32_t)(line + 2 - bytes));

broken:
    result = rill_parser_field_line_broken(parser, bytes, line, end);
out:
    parser->present = present;
    parser->header_count = (uint16_t)(field - parser->headers);
    return result;
}

/* A line that was left open is taken up as a whole when its end has come. True when it has not, and may yet come. */
static inline bool head_line_is_open(struct rill_parser *parser, struct head_window *window, const char *bytes,
                                     const char *line, const char *end)
{
    const struct rill_parser_limits *limits = parser->limits;
    const char *stop = scan_value(window, bytes + parser->scan_offset);
    if (stop != end && !(*stop == '\r' && stop + 1 == end))
        return false;
    if (parser->state == RILL_PARSER_REQUEST_LINE && (size_t)(end - line) >= limits->max_request_line_bytes)
        return false;
    if ((size_t)(end - bytes) >= limits->max_header_bytes || (size_t)(end - bytes) >= RILL_PARSER_MAX_HEAD_BYTES)
        return false;
    parser->scan_offset = (uint32_t)(stop - bytes);
    return true;
}

enum rill_parse_result RILL_HEAD_FUNCTION(struct rill_parser *parser, const char *bytes, size_t length)
{
    size_t most = parser->limits->max_header_bytes;
    if (RILL_UNLIKELY(length > most))
        length = most;
    if (RILL_UNLIKELY(length > RILL_PARSER_MAX_HEAD_BYTES))
        length = RILL_PARSER_MAX_HEAD_BYTES;
#if RILL_HEAD_MIN_BYTES > 0
    if (RILL_UNLIKELY(length < RILL_HEAD_MIN_BYTES))
        return rill_parser_head_portable(parser, bytes, length);
#endif
    const char *end = bytes + length;
    const char *line = bytes + parser->line_offset;
    struct head_window window = head_window_open(line, end);
    if (RILL_UNLIKELY(parser->scan_offset > parser->line_offset)) {
        if (head_line_is_open(parser, &window, bytes, line, end))
            return RILL_PARSE_MORE;
        window = head_window_open(line, end); /* from the line's start again */
    }
    if (RILL_LIKELY(parser->state == RILL_PARSER_REQUEST_LINE)) {
        const char *fields = NULL;
        if (RILL_LIKELY(!parser->is_response))
            fields = head_request_line(parser, &window, bytes, line, end);
        if (RILL_UNLIKELY(fields == NULL)) {
            enum rill_parse_result result;
            fields = rill_parser_request_line(parser, bytes, line, end, &result);
            if (fields == NULL)
                return result;
        }
        line = fields;
    }
    return head_fields(parser, &window, bytes, line, end);
}
