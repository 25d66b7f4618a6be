/* reference_parser.c - RFC 9112, read as if nobody were in a hurry. */
#include "reference_parser.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum verdict { OK, MORE, BAD };

struct reference {
    const struct rill_parser_limits *limits;
    const char *bytes;
    size_t length;
    size_t at;
    int status;
    struct trace *trace;
};

static enum verdict bad(struct reference *ref, int status)
{
    ref->status = status;
    return BAD;
}

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_one_of(int c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static bool is_tchar(int c)
{
    return is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

static bool is_token(const char *text)
{
    for (const char *c = text; *c != 0; c++)
        if (!is_tchar(*c))
            return false;
    return *text != 0;
}

static bool is_control(int c)
{
    return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f;
}

static int hex(int c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c != 0 ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* An escape begins at TEXT, and is not that of NUL. */
static bool is_escape(const char *text)
{
    return text[0] == '%' && hex(text[1]) >= 0 && hex(text[2]) >= 0 && (text[1] != '0' || text[2] != '0');
}

/* A line from `at` on that ends before END: OK, with *LINE a copy without its CRLF (freed by the caller). */
static enum verdict take_line(struct reference *ref, size_t end, char **line)
{
    size_t i = ref->at;
    while (i < end && !is_control((unsigned char)ref->bytes[i]))
        i++;
    if (i == end || (ref->bytes[i] == '\r' && i + 1 == end))
        return MORE;
    if (ref->bytes[i] != '\r' || ref->bytes[i + 1] != '\n')
        return bad(ref, 400);
    *line = strndup(ref->bytes + ref->at, i - ref->at);
    ref->at = i + 2;
    return OK;
}

static bool is_port(const char *text)
{
    return strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) && atoi(text) <= 65535;
}

static bool is_literal(char *text)
{
    struct in6_addr address;
    char *close = strchr(text, ']');
    if (close == NULL || (close[1] != 0 && (close[1] != ':' || !is_port(close + 2))))
        return false;
    *close = 0;
    return inet_pton(AF_INET6, text + 1, &address) == 1;
}

static bool is_name(char *text)
{
    char *colon = strchr(text, ':');
    if (colon != NULL && !is_port(colon + 1))
        return false;
    if (colon != NULL)
        *colon = 0;
    for (const char *c = text; *c != 0; c++) {
        if (is_escape(c))
            c += 2;
        else if (!is_alnum(*c) && !is_one_of(*c, "-._~!$&'()*+;="))
            return false;
    }
    return *text != 0;
}

static bool is_host(const char *text)
{
    char *copy = strdup(text);
    bool sound = *copy == '[' ? is_literal(copy) : is_name(copy);
    free(copy);
    return sound;
}

/* TEXT is a path with or without a query. */
static bool is_path(const char *text)
{
    bool in_query = false;
    for (const char *c = text; *c != 0; c++) {
        if (*c == '%' && !is_escape(c))
            return false;
        if (*c == '?')
            in_query = true;
        if (*c == '\\' && !in_query)
            return false;
        if (*c <= 0x20 || *c >= 0x7f || is_one_of(*c, "#\"<>"))
            return false;
    }
    return true;
}

static struct rill_slice part(const char *bytes, size_t length)
{
    struct rill_slice slice = {bytes, length};
    return slice;
}

static void split_path(const char *path, struct trace_head *head)
{
    const char *query = strchr(path, '?');
    head->path = part(path, query != NULL ? (size_t)(query - path) : strlen(path));
    if (query != NULL)
        head->query = rill_slice_of(query + 1);
}

/* TARGET is not in origin-form, or METHOD is CONNECT. */
static bool take_other_target(const char *method, const char *target, struct trace_head *head)
{
    if (strcmp(method, "CONNECT") == 0) {
        const char *colon = strrchr(target, ':');
        head->authority = rill_slice_of(target);
        return is_host(target) && colon != NULL && colon[1] != 0 && colon[strspn(colon + 1, "0123456789") + 1] == 0;
    }
    if (strcmp(target, "*") == 0) {
        head->path = rill_slice_of("*");
        return strcmp(method, "OPTIONS") == 0;
    }
    size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0)
        return false;
    size_t length = strcspn(target + scheme, "/?");
    char *authority = strndup(target + scheme, length);
    bool sound = is_host(authority) && is_path(target + scheme + length);
    free(authority);
    head->authority = part(target + scheme, length);
    split_path(target + scheme + length, head);
    if (head->path.length == 0)
        head->path = rill_slice_of(strcmp(method, "OPTIONS") == 0 && head->query.bytes == NULL ? "*" : "/");
    return sound;
}

/* LINE is cut in pieces, which HEAD points into. */
static enum verdict parse_request_line(struct reference *ref, char *line, struct trace_head *head, bool *is_origin)
{
    char *first = strchr(line, ' ');
    char *second = first != NULL ? strchr(first + 1, ' ') : NULL;
    if (second == NULL)
        return bad(ref, 400);
    *first = *second = 0;
    const char *target = first + 1;
    const char *version = second + 1;
    head->method = rill_slice_of(line);
    head->target = rill_slice_of(target);
    if (!is_token(line))
        return bad(ref, 400);
    for (const char *c = target; *c != 0; c++)
        if (*c <= 0x20 || *c >= 0x7f)
            return bad(ref, 400);
    if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 || !isdigit((unsigned char)version[5]) ||
        version[6] != '.' || !isdigit((unsigned char)version[7]))
        return bad(ref, 400);
    if (version[5] != '1')
        return bad(ref, 505);
    head->version_minor = version[7] == '0' ? 0 : 1;
    *is_origin = *target == '/' && strcmp(line, "CONNECT") != 0;
    if (*is_origin)
        split_path(target, head);
    if (*is_origin ? !is_path(target) : !take_other_target(line, target, head))
        return bad(ref, 400);
    return OK;
}

/* What the fields of a head have said so far. */
struct fields {
    char *host; /* owned */
    int count, hosts, lengths, codings;
    bool host_is_empty, chunked, other_coding, close, keep_alive, upgrade, upgrade_field, expect, other_expect;
    uint64_t content_length;
};

/* Calls EACH for each member of the list VALUE that is not empty; false when one call said so. */
static bool each_member(const char *value, struct fields *fields, bool (*each)(const char *, struct fields *))
{
    char *copy = strdup(value);
    char *rest = copy;
    bool sound = true;
    for (char *member = strsep(&rest, ","); member != NULL && sound; member = strsep(&rest, ",")) {
        member += strspn(member, " \t");
        size_t length = strlen(member);
        while (length > 0 && is_one_of(member[length - 1], " \t"))
            member[--length] = 0;
        sound = length == 0 || each(member, fields);
    }
    free(copy);
    return sound;
}

static bool each_option(const char *option, struct fields *fields)
{
    fields->close |= strcasecmp(option, "close") == 0;
    fields->keep_alive |= strcasecmp(option, "keep-alive") == 0;
    fields->upgrade |= strcasecmp(option, "upgrade") == 0;
    return is_token(option);
}

static bool each_coding(const char *coding, struct fields *fields)
{
    if (fields->chunked)
        return false;
    fields->codings++;
    size_t length = 0;
    while (is_tchar(coding[length]))
        length++;
    const char *rest = coding + length;
    rest += strspn(rest, " \t");
    if (length == 0 || (*rest != 0 && *rest != ';'))
        return false;
    if (length != 7 || strncasecmp(coding, "chunked", 7) != 0)
        fields->other_coding = true;
    else
        fields->chunked = true;
    return !fields->chunked || *rest == 0;
}

static bool each_expectation(const char *expectation, struct fields *fields)
{
    if (strcasecmp(expectation, "100-continue") == 0)
        fields->expect = true;
    else
        fields->other_expect = true;
    return true;
}

static bool take_content_length(const char *value, struct fields *fields)
{
    const char *most = "9223372036854775807";
    if (fields->lengths++ > 0 || *value == 0 || value[strspn(value, "0123456789")] != 0)
        return false;
    value += strspn(value, "0");
    if (strlen(value) > strlen(most) || (strlen(value) == strlen(most) && strcmp(value, most) > 0))
        return false;
    fields->content_length = strtoull(*value != 0 ? value : "0", NULL, 10);
    return true;
}

static bool take_field(const char *name, const char *value, struct fields *fields)
{
    if (strcasecmp(name, "host") == 0) {
        fields->host_is_empty = *value == 0;
        if (fields->host == NULL)
            fields->host = strdup(value);
        return fields->hosts++ == 0 && (*value == 0 || is_host(value));
    }
    if (strcasecmp(name, "content-length") == 0)
        return take_content_length(value, fields);
    if (strcasecmp(name, "connection") == 0)
        return each_member(value, fields, each_option);
    if (strcasecmp(name, "expect") == 0)
        return each_member(value, fields, each_expectation);
    if (strcasecmp(name, "transfer-encoding") == 0) {
        int before = fields->codings;
        return each_member(value, fields, each_coding) && fields->codings > before;
    }
    fields->upgrade_field |= strcasecmp(name, "upgrade") == 0;
    return true;
}

static int id_of(const char *name)
{
    for (int id = RILL_HEADER_OTHER + 1; id < RILL_HEADER_COUNT; id++)
        if (strcasecmp(name, rill_header_name((enum rill_header_id)id)) == 0)
            return id;
    return RILL_HEADER_OTHER;
}

static enum verdict parse_field_line(struct reference *ref, char *line, struct fields *fields, struct trace *lines)
{
    char *colon = strchr(line, ':');
    if (colon == NULL)
        return bad(ref, 400);
    *colon = 0;
    if (!is_token(line))
        return bad(ref, 400);
    if ((uint32_t)fields->count >= ref->limits->max_headers || fields->count >= RILL_PARSER_MAX_HEADERS ||
        strlen(line) > UINT16_MAX)
        return bad(ref, 431);
    fields->count++;
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t length = strlen(value);
    while (length > 0 && is_one_of(value[length - 1], " \t"))
        value[--length] = 0;
    trace_slice(lines, "name", rill_slice_of(line));
    trace_slice(lines, "value", rill_slice_of(value));
    trace_printf(lines, "id %d", id_of(line));
    if (!take_field(line, value, fields))
        return bad(ref, 400);
    return OK;
}

static enum verdict judge(struct reference *ref, const struct fields *fields, struct trace_head *head, bool is_origin)
{
    if (fields->hosts == 0 && head->version_minor == 1)
        return bad(ref, 400);
    if (fields->hosts > 0 && fields->host_is_empty && is_origin)
        return bad(ref, 400);
    if (fields->codings > 0) {
        if (head->version_minor == 0 || fields->lengths > 0 || !fields->chunked)
            return bad(ref, 400);
        if (fields->other_coding)
            return bad(ref, 501);
    }
    if (fields->content_length > ref->limits->max_body_bytes)
        return bad(ref, 413);
    if (fields->other_expect)
        return bad(ref, 417);
    head->keep_alive = !fields->close && (head->version_minor == 1 || fields->keep_alive);
    head->chunked = fields->chunked;
    head->content_length = fields->content_length;
    head->upgrade = fields->upgrade && fields->upgrade_field;
    head->expect_continue =
        fields->expect && head->version_minor == 1 && (fields->chunked || fields->content_length > 0);
    return OK;
}

static enum verdict parse_fields(struct reference *ref, size_t end, struct fields *fields, struct trace *lines)
{
    for (;;) {
        char *line;
        enum verdict verdict = take_line(ref, end, &line);
        if (verdict == MORE && end >= ref->limits->max_header_bytes)
            return bad(ref, 431);
        if (verdict != OK)
            return verdict;
        bool is_last = *line == 0;
        if (!is_last)
            verdict = parse_field_line(ref, line, fields, lines);
        free(line);
        if (verdict != OK || is_last)
            return verdict;
    }
}

/* The line limit cuts a request line off; one that is still open there is too long. */
static enum verdict take_request_line(struct reference *ref, size_t end, char **line)
{
    if (end >= 2 && memcmp(ref->bytes, "\r\n", 2) == 0)
        ref->at = 2;
    size_t most = ref->limits->max_request_line_bytes;
    size_t line_end = end - ref->at > most ? ref->at + most : end;
    enum verdict verdict = take_line(ref, line_end, line);
    if (verdict == MORE && (line_end - ref->at >= most || line_end >= ref->limits->max_header_bytes))
        return bad(ref, 414);
    return verdict;
}

static enum verdict parse_head(struct reference *ref, struct trace_head *head)
{
    size_t end = ref->length < ref->limits->max_header_bytes ? ref->length : ref->limits->max_header_bytes;
    char *line = NULL;
    struct fields fields = {0};
    struct trace lines = {0};
    trace_clear(&lines);
    bool is_origin = false;
    enum verdict verdict = take_request_line(ref, end, &line);
    if (verdict == OK)
        verdict = parse_request_line(ref, line, head, &is_origin);
    bool host_counts = head->authority.length == 0;
    if (verdict == OK)
        verdict = parse_fields(ref, end, &fields, &lines);
    if (verdict == OK)
        verdict = judge(ref, &fields, head, is_origin);
    if (verdict == OK) {
        if (host_counts && fields.host != NULL)
            head->authority = rill_slice_of(fields.host);
        head->head_length = ref->at;
        trace_head(ref->trace, head);
        trace_append(ref->trace, &lines);
    }
    trace_free(&lines);
    free(fields.host);
    free(line);
    return verdict;
}

/* The next byte; -1 when there is none yet. */
static int peek(const struct reference *ref)
{
    return ref->at < ref->length ? (uint8_t)ref->bytes[ref->at] : -1;
}

static enum verdict expect(struct reference *ref, const char *text)
{
    for (; *text != 0; text++, ref->at++) {
        if (peek(ref) < 0)
            return MORE;
        if (peek(ref) != *text)
            return bad(ref, 400);
    }
    return OK;
}

/* One byte or more for which IS_IN is true. */
static enum verdict take_run(struct reference *ref, bool (*is_in)(int))
{
    size_t start = ref->at;
    while (peek(ref) >= 0 && is_in(peek(ref)))
        ref->at++;
    if (peek(ref) < 0)
        return MORE;
    return ref->at > start ? OK : bad(ref, 400);
}

static enum verdict take_quoted(struct reference *ref)
{
    ref->at++;
    for (;;) {
        int c = peek(ref);
        if (c < 0)
            return MORE;
        ref->at++;
        if (c == '"')
            return OK;
        if (c == '\\') {
            c = peek(ref);
            if (c < 0)
                return MORE;
            ref->at++;
        }
        if (is_control(c))
            return bad(ref, 400);
    }
}

static enum verdict take_extension(struct reference *ref)
{
    ref->at++;
    enum verdict verdict = take_run(ref, is_tchar);
    if (verdict != OK || peek(ref) != '=')
        return verdict;
    ref->at++;
    if (peek(ref) < 0)
        return MORE;
    if (peek(ref) != '"')
        return take_run(ref, is_tchar);
    verdict = take_quoted(ref);
    if (verdict == OK && peek(ref) < 0)
        return MORE;
    return verdict;
}

static enum verdict take_size_line(struct reference *ref, uint64_t *size)
{
    int digits = 0;
    *size = 0;
    for (; peek(ref) >= 0 && hex(peek(ref)) >= 0; ref->at++) {
        if (++digits > 16)
            return bad(ref, 400);
        *size = *size * 16 + (uint64_t)hex(peek(ref));
    }
    if (peek(ref) < 0)
        return MORE;
    if (digits == 0)
        return bad(ref, 400);
    size_t start = ref->at;
    enum verdict verdict = OK;
    while (verdict == OK && peek(ref) == ';')
        verdict = take_extension(ref);
    if (ref->at - start > ref->limits->max_chunk_extension_bytes)
        return bad(ref, 400);
    return verdict == OK ? expect(ref, "\r\n") : verdict;
}

static bool is_value_byte(int c)
{
    return !is_control(c);
}

static enum verdict take_trailer(struct reference *ref, struct trace *lines)
{
    size_t start = ref->at;
    enum verdict verdict = take_run(ref, is_tchar);
    size_t name_end = ref->at;
    if (verdict == OK)
        verdict = expect(ref, ":");
    if (verdict != OK)
        return verdict;
    verdict = peek(ref) == '\r' ? OK : take_run(ref, is_value_byte);
    size_t end = ref->at;
    if (verdict == OK)
        verdict = expect(ref, "\r\n");
    if (verdict != OK)
        return verdict;
    size_t first = name_end + 1;
    while (first < end && is_one_of(ref->bytes[first], " \t"))
        first++;
    while (end > first && is_one_of(ref->bytes[end - 1], " \t"))
        end--;
    trace_slice(lines, "trailer name", part(ref->bytes + start, name_end - start));
    trace_slice(lines, "trailer value", part(ref->bytes + first, end - first));
    return OK;
}

static enum verdict take_trailers(struct reference *ref, struct trace *lines)
{
    size_t start = ref->at;
    enum verdict verdict = OK;
    while (verdict == OK && peek(ref) >= 0 && peek(ref) != '\r')
        verdict = take_trailer(ref, lines);
    if (verdict == OK)
        verdict = expect(ref, "\r\n");
    size_t used = ref->at - start;
    if (used > ref->limits->max_trailer_bytes)
        return bad(ref, 431); /* more than that were sound; a fault behind the limit is not seen any more */
    return verdict;
}

static enum verdict take_content(struct reference *ref, uint64_t size, uint64_t *total)
{
    size_t there = ref->length - ref->at;
    size_t taken = there < size ? there : (size_t)size;
    trace_content(ref->trace, part(ref->bytes + ref->at, taken));
    ref->at += taken;
    *total += taken;
    return taken == size ? OK : MORE;
}

static enum verdict parse_chunks(struct reference *ref, struct trace *lines, uint64_t *total)
{
    for (;;) {
        uint64_t size;
        enum verdict verdict = take_size_line(ref, &size);
        if (verdict == OK && size == 0)
            return take_trailers(ref, lines);
        if (verdict == OK && size > ref->limits->max_body_bytes - *total)
            return bad(ref, 413);
        if (verdict == OK)
            verdict = take_content(ref, size, total);
        if (verdict == OK)
            verdict = expect(ref, "\r\n");
        if (verdict != OK)
            return verdict;
    }
}

void reference_parse(const struct rill_parser_limits *limits, const char *bytes, size_t length, struct trace *trace)
{
    struct reference ref = {.limits = limits, .bytes = bytes, .length = length, .trace = trace};
    struct trace_head head = {0};
    struct trace lines = {0};
    uint64_t total = 0;
    trace_clear(trace);
    trace_clear(&lines);
    enum verdict verdict = parse_head(&ref, &head);
    if (verdict == OK) {
        if (head.chunked)
            verdict = parse_chunks(&ref, &lines, &total);
        else
            verdict = take_content(&ref, head.content_length, &total);
        trace_printf(trace, "\ncontent %llu", (unsigned long long)total);
    }
    if (verdict == BAD)
        trace_printf(trace, "error %d", ref.status);
    else if (verdict == MORE)
        trace_printf(trace, "more");
    else {
        trace_append(trace, &lines);
        trace_printf(trace, "done %zu", ref.at);
    }
    trace_free(&lines);
}
