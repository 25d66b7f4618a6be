/* trace.c - a growing text. */
#include "trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void append(struct trace *trace, const char *bytes, size_t length)
{
    if (trace->length + length + 1 > trace->capacity) {
        trace->capacity = (trace->length + length + 1) * 2;
        trace->text = realloc(trace->text, trace->capacity);
        if (trace->text == NULL)
            abort();
    }
    memcpy(trace->text + trace->length, bytes, length);
    trace->length += length;
    trace->text[trace->length] = 0;
}

void trace_clear(struct trace *trace)
{
    trace->length = 0;
    append(trace, "", 0);
}

void trace_free(struct trace *trace)
{
    free(trace->text);
    *trace = (struct trace){0};
}

void trace_printf(struct trace *trace, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    append(trace, line, (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1);
    append(trace, "\n", 1);
}

void trace_append(struct trace *trace, const struct trace *other)
{
    append(trace, other->text, other->length);
}

void trace_content(struct trace *trace, struct rill_slice content)
{
    for (size_t i = 0; i < content.length; i++) {
        uint8_t c = (uint8_t)content.bytes[i];
        char escaped[5];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            append(trace, (const char *)&content.bytes[i], 1);
            continue;
        }
        snprintf(escaped, sizeof(escaped), "\\x%02x", c);
        append(trace, escaped, 4);
    }
}

void trace_slice(struct trace *trace, const char *label, struct rill_slice slice)
{
    append(trace, label, strlen(label));
    append(trace, " [", 2);
    trace_content(trace, slice);
    append(trace, "]\n", 2);
}

void trace_head(struct trace *trace, const struct trace_head *head)
{
    trace_printf(trace, "head %zu bytes, HTTP/1.%d", head->head_length, head->version_minor);
    trace_slice(trace, "method", head->method);
    trace_slice(trace, "target", head->target);
    trace_slice(trace, "path", head->path);
    if (head->query.bytes != NULL)
        trace_slice(trace, "query", head->query);
    trace_slice(trace, "authority", head->authority);
    trace_printf(trace, "keep-alive %d, chunked %d, expect %d, upgrade %d, content-length %llu", head->keep_alive,
                 head->chunked, head->expect_continue, head->upgrade, (unsigned long long)head->content_length);
}

void trace_response(struct trace *trace, const struct trace_response *head)
{
    trace_printf(trace, "head %zu bytes, HTTP/1.%d, %d", head->head_length, head->version_minor, head->code);
    trace_printf(trace, "keep-alive %d, chunked %d, until close %d, content-length %llu", head->keep_alive,
                 head->chunked, head->until_close, (unsigned long long)head->content_length);
}

void trace_must_equal(const struct trace *actual, const struct trace *expected, const char *how, ...)
{
    va_list values;
    if (strcmp(actual->text, expected->text) == 0)
        return;
    va_start(values, how);
    vfprintf(stderr, how, values);
    va_end(values);
    fprintf(stderr, ":\n%s\nshould be\n%s\n", actual->text, expected->text);
    abort();
}
