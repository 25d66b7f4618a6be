/* parser_line.c - lines taken slowly: request lines of the rarer kinds, lines that are still open, and what is wrong
 * with those that are no lines. The fast way is in parser_head_internal.h. */
#include "rill/http/parser.h"

#include "rill/http/parser_internal.h"

/* The line is not well-formed, or not yet. RILL_PARSE_MORE when it is merely still open: nothing but more bytes is
 * missing, and it may have them. Otherwise fails: by a limit that END stands at, by a control byte or a line end that
 * is not CRLF, or else with STATUS and REASON. The order of these is what makes the outcome the same for a line that
 * came whole and for one that came byte by byte. */
static enum rill_parse_result line_broken(struct rill_parser *parser, const char *bytes, const char *line,
                                          const char *end, uint16_t status, const char *reason)
{
    const char *stop = line;
    while (stop < end && !rill_byte_is(*stop, RILL_BYTE_CONTROL))
        stop++;
    if (stop == end || (*stop == '\r' && stop + 1 == end)) {
        parser->line_offset = (uint32_t)(line - bytes);
        parser->scan_offset = (uint32_t)(stop - bytes);
        const struct rill_parser_limits *limits = parser->limits;
        bool is_at_limit =
            (size_t)(end - bytes) >= limits->max_header_bytes || (size_t)(end - bytes) >= RILL_PARSER_MAX_HEAD_BYTES;
        if (parser->state == RILL_PARSER_REQUEST_LINE) {
            if (is_at_limit || (size_t)(end - line) >= limits->max_request_line_bytes)
                return rill_parser_fail(parser, 414, "request line too long");
        } else if (is_at_limit) {
            return rill_parser_fail(parser, 431, "header section too large");
        }
        return RILL_PARSE_MORE;
    }
    if (*stop == '\r' && stop[1] != '\n')
        return rill_parser_fail(parser, 400, "CR without LF");
    if (*stop == '\n')
        return rill_parser_fail(parser, 400, "LF without CR");
    if (*stop != '\r')
        return rill_parser_fail(parser, 400, "control character in the head");
    return rill_parser_fail(parser, status, reason);
}

enum rill_parse_result rill_parser_field_line_broken(struct rill_parser *parser, const char *bytes, const char *line,
                                                     const char *end)
{
    const char *name_end = line + rill_byte_run(line, (size_t)(end - line), RILL_BYTE_TOKEN);
    const char *reason = "bad byte in a field name";
    if (name_end == end)
        reason = "field line without a colon";
    else if (name_end == line && rill_byte_is_blank(*line))
        reason = "field line folded or indented";
    else if (name_end == line && *line == ':')
        reason = "field without a name";
    else if (rill_byte_is_blank(*name_end))
        reason = "white space in or behind a field name";
    else if (*name_end == '\r')
        reason = "field line without a colon";
    return line_broken(parser, bytes, line, end, 400, reason);
}

static bool take_target(struct rill_parser *parser, const char *bytes)
{
    struct rill_slice text = {bytes + parser->target_offset, parser->target_length};
    struct rill_target target;
    const char *reason;
    if (rill_target_parse(text, (enum rill_method)parser->method, &target, &reason) != 0) {
        (void)rill_parser_fail(parser, 400, reason);
        return false;
    }
    parser->target_form = (uint8_t)target.form;
    parser->is_https = target.is_https;
    parser->has_query = target.has_query;
    parser->target_escaped = target.form != RILL_TARGET_AUTHORITY &&
                             memchr(text.bytes + target.path_offset, '%', text.length - target.path_offset) != NULL;
    parser->authority_offset = parser->target_offset + target.authority_offset;
    parser->authority_length = target.authority_length;
    parser->path_offset = parser->target_offset + target.path_offset;
    parser->path_length = target.path_length;
    parser->query_offset = parser->target_offset + target.query_offset;
    parser->query_length = target.query_length;
    return true;
}

/* What is wrong with the version at VERSION, which is to be `HTTP/1.x` and CRLF; NULL when nothing is. */
static const char *version_fault(struct rill_parser *parser, const char *version, const char *end, uint16_t *status)
{
    if (end - version < 10 || memcmp(version, "HTTP/", 5) != 0 || !rill_byte_is_digit(version[5]) ||
        version[6] != '.' || !rill_byte_is_digit(version[7]) || version[8] != '\r' || version[9] != '\n')
        return "malformed HTTP version";
    if (version[5] != '1') {
        *status = 505;
        return "HTTP version other than 1.x";
    }
    parser->version_minor = version[7] != '0';
    return NULL;
}

/* `HTTP/1.x`, a space, three digits; then a space and a reason phrase of any sound bytes, or neither (RFC 9112 4). */
static const char *status_line(struct rill_parser *parser, const char *bytes, const char *line, const char *end,
                               enum rill_parse_result *result)
{
    const char *reason = NULL, *stop = line;
    if ((size_t)(end - line) > parser->limits->max_request_line_bytes)
        end = line + parser->limits->max_request_line_bytes;
    while (stop < end && !rill_byte_is(*stop, RILL_BYTE_CONTROL))
        stop++;
    if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n') {
        *result = line_broken(parser, bytes, line, end, 400, "malformed status line");
        return NULL;
    }
    const char *code = line + 9;
    if (stop - line < 12 || memcmp(line, "HTTP/", 5) != 0 || !rill_byte_is_digit(line[5]) || line[6] != '.' ||
        !rill_byte_is_digit(line[7]) || line[8] != ' ')
        reason = "malformed HTTP version";
    else if (line[5] != '1')
        reason = "HTTP version other than 1.x";
    else if (code[0] < '1' || !rill_byte_is_digit(code[0]) || !rill_byte_is_digit(code[1]) ||
             !rill_byte_is_digit(code[2]) || (stop - code > 3 && code[3] != ' '))
        reason = "malformed status code";
    if (reason != NULL) {
        *result = rill_parser_fail(parser, 400, reason);
        return NULL;
    }
    parser->version_minor = line[7] != '0';
    parser->code = (uint16_t)((code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0'));
    rill_parser_enter(parser, RILL_PARSER_HEADERS);
    return stop + 2;
}

const char *rill_parser_request_line(struct rill_parser *parser, const char *bytes, const char *line, const char *end,
                                     enum rill_parse_result *result)
{
    if (parser->is_response)
        return status_line(parser, bytes, line, end, result);
    uint16_t status = 400;
    const char *reason = NULL;
    if (line == bytes && end - line >= 2 && line[0] == '\r' && line[1] == '\n') {
        line += 2;
        parser->request_offset = 2;
    }
    if ((size_t)(end - line) > parser->limits->max_request_line_bytes)
        end = line + parser->limits->max_request_line_bytes;

    struct rill_slice method = {line, rill_byte_run(line, (size_t)(end - line), RILL_BYTE_TOKEN)};
    const char *target = line + method.length + 1;
    if (method.length == 0 || target >= end || target[-1] != ' ') {
        *result = line_broken(parser, bytes, line, end, 400, "malformed method");
        return NULL;
    }
    const char *target_end = target;
    while (target_end < end && (uint8_t)(*target_end - 0x21) < 0x5e)
        target_end++;
    if (target_end == end || *target_end != ' ') {
        *result = line_broken(parser, bytes, line, end, 400, "malformed request line");
        return NULL;
    }
    parser->method = (uint8_t)rill_method_of(method);
    parser->method_length = (uint32_t)method.length;
    parser->target_offset = (uint32_t)(target - bytes);
    parser->target_length = (uint32_t)(target_end - target);
    reason = version_fault(parser, target_end + 1, end, &status);
    if (reason != NULL) {
        *result = line_broken(parser, bytes, line, end, status, reason);
        return NULL;
    }
    if (!take_target(parser, bytes)) {
        *result = RILL_PARSE_ERROR;
        return NULL;
    }
    rill_parser_enter(parser, RILL_PARSER_HEADERS);
    return target_end + 11;
}
