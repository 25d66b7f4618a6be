/* reference_parser.c - RFC 9112, read as if nobody were in a hurry. */
#include "reference_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

static bool is_token(const char *text)
{
    for (const char *c = text; *c != 0; c++)
        if (!reference_is_tchar(*c))
            return false;
    return *text != 0;
}

/* TEXT is a path with or without a query. */
static bool is_path(const char *text)
{
    bool in_query = false;
    for (const char *c = text; *c != 0; c++) {
        if (*c == '%' && !reference_is_escape(c))
            return false;
        if (*c == '?')
            in_query = true;
        if (*c == '\\' && !in_query)
            return false;
        if (*c <= 0x20 || *c >= 0x7f || reference_is_one_of(*c, "#\"<>"))
            return false;
    }
    return true;
}

static void split_path(const char *path, struct trace_head *head)
{
    const char *query = strchr(path, '?');
    head->path = reference_part(path, query != NULL ? (size_t)(query - path) : strlen(path));
    if (query != NULL)
        head->query = rill_slice_of(query + 1);
}

/* TARGET is not in origin-form, or METHOD is CONNECT. */
static bool take_other_target(const char *method, const char *target, struct trace_head *head)
{
    if (strcmp(method, "CONNECT") == 0) {
        const char *colon = strrchr(target, ':');
        head->authority = rill_slice_of(target);
        return reference_is_host(target) && colon != NULL && colon[1] != 0 &&
               colon[strspn(colon + 1, "0123456789") + 1] == 0;
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
    bool sound = reference_is_host(authority) && is_path(target + scheme + length);
    free(authority);
    head->authority = reference_part(target + scheme, length);
    split_path(target + scheme + length, head);
    if (head->path.length == 0)
        head->path = rill_slice_of(strcmp(method, "OPTIONS") == 0 && head->query.bytes == NULL ? "*" : "/");
    return sound;
}

/* LINE is cut in pieces, which HEAD points into. */
static enum reference_verdict parse_request_line(struct reference *ref, char *line, struct trace_head *head,
                                                 bool *is_origin)
{
    char *first = strchr(line, ' ');
    char *second = first != NULL ? strchr(first + 1, ' ') : NULL;
    if (second == NULL)
        return reference_bad(ref, 400);
    *first = *second = 0;
    const char *target = first + 1;
    const char *version = second + 1;
    head->method = rill_slice_of(line);
    head->target = rill_slice_of(target);
    if (!is_token(line))
        return reference_bad(ref, 400);
    for (const char *c = target; *c != 0; c++)
        if (*c <= 0x20 || *c >= 0x7f)
            return reference_bad(ref, 400);
    if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 || !isdigit((unsigned char)version[5]) ||
        version[6] != '.' || !isdigit((unsigned char)version[7]))
        return reference_bad(ref, 400);
    if (version[5] != '1')
        return reference_bad(ref, 505);
    head->version_minor = version[7] == '0' ? 0 : 1;
    *is_origin = *target == '/' && strcmp(line, "CONNECT") != 0;
    if (*is_origin)
        split_path(target, head);
    if (*is_origin ? !is_path(target) : !take_other_target(line, target, head))
        return reference_bad(ref, 400);
    return OK;
}

static enum reference_verdict judge(struct reference *ref, const struct reference_fields *fields,
                                    struct trace_head *head, bool is_origin)
{
    if (fields->hosts == 0 && head->version_minor == 1)
        return reference_bad(ref, 400);
    if (fields->hosts > 0 && fields->host_is_empty && is_origin)
        return reference_bad(ref, 400);
    if (fields->codings > 0) {
        if (head->version_minor == 0 || fields->lengths > 0 || !fields->chunked)
            return reference_bad(ref, 400);
        if (fields->other_coding)
            return reference_bad(ref, 501);
    }
    if (fields->content_length > ref->limits->max_body_bytes)
        return reference_bad(ref, 413);
    if (fields->other_expect)
        return reference_bad(ref, 417);
    head->keep_alive = !fields->close && (head->version_minor == 1 || fields->keep_alive);
    head->chunked = fields->chunked;
    head->content_length = fields->content_length;
    head->upgrade = fields->upgrade && fields->upgrade_field;
    head->expect_continue =
        fields->expect && head->version_minor == 1 && (fields->chunked || fields->content_length > 0);
    return OK;
}

static enum reference_verdict parse_head(struct reference *ref, struct trace_head *head)
{
    size_t end = ref->length < ref->limits->max_header_bytes ? ref->length : ref->limits->max_header_bytes;
    char *line = NULL;
    struct reference_fields fields = {0};
    struct trace lines = {0};
    trace_clear(&lines);
    bool is_origin = false;
    if (end >= 2 && memcmp(ref->bytes, "\r\n", 2) == 0)
        ref->at = 2;
    enum reference_verdict verdict = reference_take_first_line(ref, end, &line);
    if (verdict == OK)
        verdict = parse_request_line(ref, line, head, &is_origin);
    bool host_counts = head->authority.length == 0;
    if (verdict == OK)
        verdict = reference_take_fields(ref, end, &fields, &lines);
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

void reference_parse(const struct rill_parser_limits *limits, const char *bytes, size_t length, struct trace *trace)
{
    struct reference ref = {.limits = limits, .bytes = bytes, .length = length, .trace = trace};
    struct trace_head head = {0};
    struct trace lines = {0};
    uint64_t total = 0;
    trace_clear(trace);
    trace_clear(&lines);
    enum reference_verdict verdict = parse_head(&ref, &head);
    if (verdict == OK) {
        if (head.chunked)
            verdict = reference_take_chunks(&ref, &lines, &total);
        else
            verdict = reference_take_content(&ref, head.content_length, &total);
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

/* `HTTP/1.x`, a space, three digits; then a space and a reason phrase, or neither. */
static bool parse_status_line(const char *line, struct trace_response *head)
{
    static const char pattern[] = "HTTP/1.d ddd";
    for (size_t i = 0; pattern[i] != 0; i++)
        if (pattern[i] == 'd' ? !isdigit((unsigned char)line[i]) : line[i] != pattern[i])
            return false;
    head->version_minor = line[7] != '0';
    head->code = atoi(line + 9);
    return head->code >= 100 && (line[12] == 0 || line[12] == ' ');
}

static bool judge_response(const struct reference *ref, const struct reference_fields *fields, bool answers_head,
                           struct trace_response *head)
{
    head->keep_alive = !fields->close && (head->version_minor == 1 || fields->keep_alive);
    if (answers_head || head->code < 200 || head->code == 204 || head->code == 304)
        return true;
    if (fields->codings > 0 &&
        (head->version_minor == 0 || fields->lengths > 0 || !fields->chunked || fields->other_coding))
        return false;
    head->chunked = fields->chunked;
    head->content_length = fields->content_length;
    head->until_close = !fields->chunked && fields->lengths == 0;
    head->keep_alive &= !head->until_close;
    return fields->content_length <= ref->limits->max_body_bytes;
}

static enum reference_verdict parse_response_head(struct reference *ref, bool answers_head, struct trace_response *head)
{
    size_t end = ref->length < ref->limits->max_header_bytes ? ref->length : ref->limits->max_header_bytes;
    char *line = NULL;
    struct reference_fields fields = {0};
    struct trace lines = {0};
    trace_clear(&lines);
    enum reference_verdict verdict = reference_take_first_line(ref, end, &line);
    if (verdict == OK && !parse_status_line(line, head))
        verdict = BAD;
    if (verdict == OK)
        verdict = reference_take_fields(ref, end, &fields, &lines);
    if (verdict == OK && !judge_response(ref, &fields, answers_head, head))
        verdict = BAD;
    if (verdict == OK) {
        head->head_length = ref->at;
        trace_response(ref->trace, head);
        trace_append(ref->trace, &lines);
    }
    trace_free(&lines);
    free(fields.host);
    free(line);
    return verdict;
}

size_t reference_parse_response(const struct rill_parser_limits *limits, bool answers_head, const char *bytes,
                                size_t length, struct trace *trace)
{
    struct reference ref = {.limits = limits, .bytes = bytes, .length = length, .trace = trace};
    struct trace_response head = {0};
    struct trace lines = {0};
    uint64_t total = 0;
    trace_clear(trace);
    trace_clear(&lines);
    enum reference_verdict verdict = parse_response_head(&ref, answers_head, &head);
    if (verdict == OK) {
        if (head.chunked)
            verdict = reference_take_chunks(&ref, &lines, &total);
        else if (!head.until_close)
            verdict = reference_take_content(&ref, head.content_length, &total);
        else if (length - ref.at <= limits->max_body_bytes)
            verdict = reference_take_content(&ref, length - ref.at, &total);
        else if (reference_take_content(&ref, limits->max_body_bytes, &total) == OK)
            verdict = BAD;
        trace_printf(trace, "\ncontent %llu", (unsigned long long)total);
    }
    if (verdict == OK) {
        trace_append(trace, &lines);
        trace_printf(trace, "done %zu", ref.at);
    } else {
        trace_printf(trace, verdict == MORE && length == 0 ? "nothing" : "error"); /* cut off, or wrong */
    }
    trace_free(&lines);
    return verdict == OK && !head.until_close ? ref.at : 0;
}
