/* parser_head_internal.h - the head function, to be compiled once for each way of scanning. No include guard: each
 * parser_head_*.c includes it once, after defining
 *
 *   RILL_HEAD_FUNCTION             the name of the function
 *   RILL_HEAD_MIN_BYTES            heads and limits smaller than this go to the portable function
 *   scan_token(p, begin, end)      the first byte from P on that is no tchar
 *   scan_value(p, begin, end)      ... that no field value may hold: the CR of a sound line
 *   scan_target(p, begin, end)     ... that needs a look in a target
 *   scan_host(p, begin, end)       ... that is no plain character of a host name
 *   RILL_HEAD_VALUE_FROM_LINE      1 when a look at the whole line is as cheap as one at its value
 *
 * where each gives END when there is none, reads nothing outside [begin, end), and may count on RILL_HEAD_MIN_BYTES
 * lying there. One source, so that the ways cannot differ in what they accept; compiled whole, so that no call is made
 * for a token.
 *
 * Every line is taken in one pass. Whatever is not exactly as it should be leads to rill_parser_line_broken(), which
 * takes its time to find out why. */

/* The method of the line at LINE; its end is returned. */
static inline const char *head_method(struct rill_parser *parser, const char *bytes, const char *line, const char *end)
{
    if (RILL_LIKELY(end - line >= 4 && memcmp(line, "GET ", 4) == 0)) {
        parser->method = RILL_METHOD_GET;
        parser->method_length = 3;
        return line + 3;
    }
    const char *p = scan_token(line, bytes, end);
    struct rill_slice name = {line, (size_t)(p - line)};
    parser->method = (uint8_t)rill_method_of(name);
    parser->method_length = (uint32_t)name.length;
    return p;
}

/* A target in origin-form that begins at TARGET; its end is returned, or NULL with *REASON set. */
static inline const char *head_origin(struct rill_parser *parser, const char *bytes, const char *target,
                                      const char *end, const char **reason)
{
    const char *query = NULL;
    const char *p = target;
    for (;;) {
        p = scan_target(p, bytes, end);
        if (RILL_LIKELY(p < end && *p == ' '))
            break;
        *reason = "byte not allowed in a request target";
        if (p == end)
            return NULL;
        if (*p == '?') {
            query = query == NULL ? p : query;
            p++;
        } else if (*p == '%') {
            *reason = "bad percent-encoding in the request target";
            if (end - p < 3 || rill_hex_value(p[1]) < 0 || rill_hex_value(p[2]) < 0 || (p[1] == '0' && p[2] == '0'))
                return NULL;
            parser->target_escaped = true;
            p += 3;
        } else if (*p == '\\' && query != NULL) {
            p++;
        } else {
            return NULL;
        }
    }
    const char *path_end = query == NULL ? p : query;
    parser->has_query = query != NULL;
    parser->path_offset = (uint32_t)(target - bytes);
    parser->path_length = (uint32_t)(path_end - target);
    parser->query_offset = (uint32_t)(path_end - bytes) + (query != NULL);
    parser->query_length = (uint32_t)(p - bytes) - parser->query_offset;
    return p;
}

/* The request line at LINE. The line behind it is returned; NULL when it is not complete or not sound, with *RESULT
 * set. */
static inline const char *head_request_line(struct rill_parser *parser, const char *bytes, const char *line,
                                            const char *end, enum rill_parse_result *result)
{
    const char *reason = "malformed request line";
    uint16_t status = 400;
    if (RILL_UNLIKELY(line == bytes && end - line >= 2 && line[0] == '\r' && line[1] == '\n')) {
        line += 2;
        parser->request_offset = 2;
    }
    if ((size_t)(end - line) > parser->limits->max_request_line_bytes)
        end = line + parser->limits->max_request_line_bytes;

    const char *target = head_method(parser, bytes, line, end);
    if (RILL_UNLIKELY(target == line || target == end || *target != ' '))
        goto broken;
    target++;
    const char *p = target;
    bool is_origin = target < end && *target == '/' && parser->method != RILL_METHOD_CONNECT;
    if (RILL_LIKELY(is_origin)) {
        p = head_origin(parser, bytes, target, end, &reason);
        if (RILL_UNLIKELY(p == NULL))
            goto broken;
    } else {
        while (p < end && (uint8_t)(*p - 0x21) < 0x5e)
            p++;
        if (p == end || *p != ' ')
            goto broken;
    }
    parser->target_offset = (uint32_t)(target - bytes);
    parser->target_length = (uint32_t)(p - target);
    p++;
    if (RILL_LIKELY(end - p >= 10 && memcmp(p, "HTTP/1.1\r\n", 10) == 0))
        parser->version_minor = 1;
    else if (!rill_parser_version(parser, p, end, &status, &reason))
        goto broken;
    if (!is_origin && !rill_parser_take_target(parser, bytes)) {
        *result = RILL_PARSE_ERROR;
        return NULL;
    }
    rill_parser_enter(parser, RILL_PARSER_HEADERS);
    return p + 10;

broken:
    *result = rill_parser_line_broken(parser, bytes, line, end, status, reason);
    return NULL;
}

/* Whether the host of LENGTH bytes at HOST is sound; the common kinds without a call. */
static inline bool head_host_is_sound(const char *host, size_t length, const char *bytes, const char *end)
{
    const char *host_end = host + length;
    const char *p = scan_host(host, bytes, end);
    if (RILL_LIKELY(p > host && host_end - p <= 5 && *p == ':')) {
        while (++p < host_end && rill_byte_is_digit(*p))
            ;
    }
    struct rill_slice slice = {host, length};
    return p == host_end || length == 0 || rill_host_check(slice) == 0;
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
    if (RILL_UNLIKELY(!head_host_is_sound(bytes + field->value_offset, field->value_length, bytes, end))) {
        (void)rill_parser_fail(parser, 400, "malformed Host");
        return false;
    }
    if (RILL_LIKELY(parser->authority_length == 0)) { /* else the target has one, which wins (RFC 9112 3.2.2) */
        parser->authority_offset = field->value_offset;
        parser->authority_length = field->value_length;
    }
    return true;
}

/* Field lines from LINE on, up to the blank one. */
static inline enum rill_parse_result head_fields(struct rill_parser *parser, const char *bytes, const char *line,
                                                 const char *end)
{
    uint64_t present = parser->present;
    uint32_t count = parser->header_count;
    uint32_t limit = parser->limits->max_headers;
    limit = limit < RILL_PARSER_MAX_HEADERS ? limit : RILL_PARSER_MAX_HEADERS;
    enum rill_parse_result result;
    for (;;) {
        const char *colon = scan_token(line, bytes, end);
        if (colon == end || *colon != ':' || colon == line) {
            if (end - line < 2 || line[0] != '\r' || line[1] != '\n')
                goto broken;
            break;
        }
        const char *stop = scan_value(RILL_HEAD_VALUE_FROM_LINE ? line : colon + 1, bytes, end);
        if (RILL_UNLIKELY(end - stop < 2 || stop[0] != '\r' || stop[1] != '\n'))
            goto broken;
        if (RILL_UNLIKELY(count >= limit || colon - line > UINT16_MAX)) {
            result = rill_parser_fail(parser, 431, "too many fields, or a name too long");
            goto out;
        }
        const char *first = colon + 1;
        while (rill_byte_is_blank(*first))
            first++;
        const char *last = stop;
        while (last > first && rill_byte_is_blank(last[-1]))
            last--;

        struct rill_parser_field *field = &parser->headers[count++];
        size_t name_length = (size_t)(colon - line);
        unsigned id;
        if (RILL_LIKELY(end - line >= 8)) {
            id = rill_header_lookup(line, name_length);
        } else {
            struct rill_slice name = {line, name_length};
            id = rill_header_id_of(name);
        }
        field->name_offset = (uint32_t)(line - bytes);
        field->value_offset = (uint32_t)(first - bytes);
        field->value_length = (uint32_t)(last - first);
        field->name_length = (uint16_t)name_length;
        field->id = (uint8_t)id;
        field->reserved = 0;
        if (id - RILL_HEADER_HOST <= RILL_HEADER_UPGRADE - RILL_HEADER_HOST &&
            !head_field_matters(parser, bytes, end, field, (present >> id & 1) != 0)) {
            result = RILL_PARSE_ERROR;
            goto out;
        }
        present |= (uint64_t)1 << id;
        line = stop + 2;
    }
    parser->present = present;
    parser->header_count = (uint16_t)count;
    return rill_parser_head_complete(parser, (uint32_t)(line + 2 - bytes));

broken:
    result = rill_parser_line_broken(parser, bytes, line, end, 400, NULL);
out:
    parser->present = present;
    parser->header_count = (uint16_t)count;
    return result;
}

/* A line that was left open is taken up as a whole when its end has come. True when it has not, and may yet come. */
static inline bool head_line_is_open(struct rill_parser *parser, const char *bytes, const char *line, const char *end)
{
    const struct rill_parser_limits *limits = parser->limits;
    const char *stop = scan_value(bytes + parser->scan_offset, bytes, end);
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
    const struct rill_parser_limits *limits = parser->limits;
    if (length > limits->max_header_bytes)
        length = limits->max_header_bytes;
    if (length > RILL_PARSER_MAX_HEAD_BYTES)
        length = RILL_PARSER_MAX_HEAD_BYTES;
#if RILL_HEAD_MIN_BYTES > 0
    if (RILL_UNLIKELY(length < RILL_HEAD_MIN_BYTES || limits->max_request_line_bytes < RILL_HEAD_MIN_BYTES))
        return rill_parser_head_portable(parser, bytes, length);
#endif
    const char *end = bytes + length;
    const char *line = bytes + parser->line_offset;
    if (parser->scan_offset > parser->line_offset && head_line_is_open(parser, bytes, line, end))
        return RILL_PARSE_MORE;
    enum rill_parse_result result;
    if (parser->state == RILL_PARSER_REQUEST_LINE) {
        line = head_request_line(parser, bytes, line, end, &result);
        if (RILL_UNLIKELY(line == NULL))
            return result;
    }
    return head_fields(parser, bytes, line, end);
}
