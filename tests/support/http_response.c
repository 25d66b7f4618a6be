/* http_response.c - see http_response.h. */
#include "http_response.h"
#include "rill/http/date.h"
#include "rill/http/status.h"
#include <stdlib.h>

static enum http_response_result malformed(struct http_response *response, const char *why)
{
    response->why = why;
    return HTTP_RESPONSE_MALFORMED;
}

/* The line at the start of TEXT without its CRLF; `bytes` is NULL when it is not whole, or holds a stray CR or LF. */
static struct rill_slice line_of(struct rill_slice text)
{
    struct rill_slice none = {NULL, 0};
    for (size_t i = 0; i + 1 < text.length; i++) {
        if (text.bytes[i] == '\r' && text.bytes[i + 1] == '\n')
            return (struct rill_slice){text.bytes, i};
        if (text.bytes[i] == '\r' || text.bytes[i] == '\n')
            return none;
    }
    return none;
}

static void skip(struct rill_slice *text, size_t count)
{
    text->bytes += count;
    text->length -= count;
}

static bool token_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *check_field(struct rill_slice line)
{
    size_t name = 0;
    while (name < line.length && token_byte(line.bytes[name]))
        name++;
    if (name == 0 || name + 1 >= line.length || line.bytes[name] != ':' || line.bytes[name + 1] != ' ')
        return "a field is not `name: value`";
    for (size_t i = name + 2; i < line.length; i++)
        if (((unsigned char)line.bytes[i] < 0x20 && line.bytes[i] != '\t') || line.bytes[i] == 0x7f)
            return "a control byte in a field's value";
    return NULL;
}

static const char *check_status_line(struct rill_slice line, struct http_response *response)
{
    if (line.length < 13 || memcmp(line.bytes, "HTTP/1.1 ", 9) != 0 || line.bytes[12] != ' ')
        return "not a status line of HTTP/1.1";
    for (size_t i = 9; i < 12; i++) {
        if (line.bytes[i] < '0' || line.bytes[i] > '9')
            return "not a status code";
        response->status = response->status * 10 + (unsigned)(line.bytes[i] - '0');
    }
    if (response->status < 100 || response->status > 599)
        return "not a status code";
    for (size_t i = 13; i < line.length; i++)
        if ((unsigned char)line.bytes[i] < 0x20)
            return "a control byte in the reason phrase";
    return NULL;
}

struct rill_slice http_response_field(const struct http_response *response, const char *name, unsigned *count)
{
    struct rill_slice rest = response->head, found = {NULL, 0};
    unsigned seen = 0;
    skip(&rest, line_of(rest).length + 2);
    for (;;) {
        struct rill_slice line = line_of(rest);
        if (!line.bytes || line.length == 0)
            break;
        size_t length = (size_t)((const char *)memchr(line.bytes, ':', line.length) - line.bytes);
        if (rill_slice_equal_nocase((struct rill_slice){line.bytes, length}, rill_slice_of(name))) {
            if (seen++ == 0)
                found = (struct rill_slice){line.bytes + length + 2, line.length - length - 2};
        }
        skip(&rest, line.length + 2);
    }
    if (count)
        *count = seen;
    return found;
}

static const char *check_framing(struct http_response *response)
{
    unsigned lengths, codings, dates, connections;
    struct rill_slice length = http_response_field(response, "Content-Length", &lengths);
    struct rill_slice coding = http_response_field(response, "Transfer-Encoding", &codings);
    struct rill_slice date = http_response_field(response, "Date", &dates);
    struct rill_slice connection = http_response_field(response, "Connection", &connections);
    int64_t seconds;
    if (lengths + codings > 1)
        return "framed twice";
    if (lengths + codings > 0 && rill_status_has_no_body(response->status))
        return "framing where there can be no content";
    if (codings && !rill_slice_equal(coding, rill_slice_of("chunked")))
        return "an unknown transfer coding";
    response->chunked = codings > 0;
    response->announced = UINT64_MAX;
    for (size_t i = 0; lengths && i < length.length; i++) {
        if (length.bytes[i] < '0' || length.bytes[i] > '9' || length.length > 18)
            return "Content-Length is not a number";
        response->announced = (i ? response->announced * 10 : 0) + (uint64_t)(length.bytes[i] - '0');
    }
    if (lengths && length.length == 0)
        return "Content-Length is empty";
    if (response->status >= 200 && (dates != 1 || rill_http_date_parse(date, 1769860800, &seconds) != 0))
        return "no valid Date";
    if (connections > 1)
        return "more than one Connection field";
    response->close = rill_slice_equal(connection, rill_slice_of("close"));
    response->keep_alive = rill_slice_equal(connection, rill_slice_of("keep-alive"));
    if (connections && !response->close && !response->keep_alive)
        return "an unknown connection option";
    return NULL;
}

static void add_content(struct http_response *response, struct rill_slice bytes)
{
    char *grown = realloc(response->content, response->content_length + bytes.length + 1);
    if (!grown)
        abort();
    if (bytes.length > 0)
        memcpy(grown + response->content_length, bytes.bytes, bytes.length);
    response->content = grown;
    response->content_length += bytes.length;
    grown[response->content_length] = '\0';
}

/* Chunks without extensions, and no trailer section: what Rill sends. */
static enum http_response_result read_chunks(struct rill_slice *rest, struct http_response *response)
{
    for (;;) {
        struct rill_slice line = line_of(*rest);
        if (!line.bytes)
            return rest->length < 20 ? HTTP_RESPONSE_PART : malformed(response, "not a chunk size");
        uint64_t size = 0;
        if (line.length == 0 || line.length > 15 || (line.bytes[0] == '0' && line.length > 1))
            return malformed(response, "not a chunk size");
        for (size_t i = 0; i < line.length; i++) {
            const char *digits = "0123456789abcdef", *digit = strchr(digits, rill_ascii_lower(line.bytes[i]));
            if (!digit || !line.bytes[i])
                return malformed(response, "not a chunk size");
            size = size * 16 + (uint64_t)(digit - digits);
        }
        skip(rest, line.length + 2);
        struct rill_slice data = {rest->bytes, rest->length < size ? rest->length : (size_t)size};
        add_content(response, data);
        skip(rest, data.length);
        if (data.length < size || rest->length < 2)
            return HTTP_RESPONSE_PART;
        if (memcmp(rest->bytes, "\r\n", 2) != 0)
            return malformed(response, "a chunk is longer than it said");
        skip(rest, 2);
        if (size == 0)
            return HTTP_RESPONSE_WHOLE;
    }
}

static enum http_response_result read_content(struct rill_slice *rest, bool to_head, bool ended,
                                              struct http_response *response)
{
    add_content(response, (struct rill_slice){NULL, 0});
    if (to_head || rill_status_has_no_body(response->status))
        return HTTP_RESPONSE_WHOLE;
    if (response->chunked)
        return read_chunks(rest, response);
    if (response->announced == UINT64_MAX && !response->close)
        return malformed(response, "nobody can tell where the content ends");
    struct rill_slice data = *rest;
    if (data.length > response->announced)
        data.length = (size_t)response->announced;
    add_content(response, data);
    skip(rest, data.length);
    if (response->announced == UINT64_MAX)
        return ended ? HTTP_RESPONSE_WHOLE : HTTP_RESPONSE_PART;
    return data.length == response->announced ? HTTP_RESPONSE_WHOLE : HTTP_RESPONSE_PART;
}

enum http_response_result http_response_read(const char *bytes, size_t length, bool to_head, bool ended,
                                             struct http_response *response)
{
    struct rill_slice rest = {bytes, length}, line = line_of(rest);
    memset(response, 0, sizeof *response);
    if (!line.bytes) {
        size_t known = length < 9 ? length : 9;
        return memcmp(bytes, "HTTP/1.1 ", known) == 0 ? HTTP_RESPONSE_PART
                                                      : malformed(response, "not a status line of HTTP/1.1");
    }
    const char *why = check_status_line(line, response);
    while (!why && line.length > 0) {
        skip(&rest, line.length + 2);
        line = line_of(rest);
        if (!line.bytes)
            return HTTP_RESPONSE_PART;
        why = line.length > 0 ? check_field(line) : NULL;
    }
    if (!why) {
        skip(&rest, 2);
        response->head = (struct rill_slice){bytes, (size_t)(rest.bytes - bytes)};
        why = check_framing(response);
    }
    if (why)
        return malformed(response, why);
    enum http_response_result result = read_content(&rest, to_head, ended, response);
    response->length = (size_t)(rest.bytes - bytes);
    return result;
}

void http_response_free(struct http_response *response)
{
    free(response->content);
    memset(response, 0, sizeof *response);
}
