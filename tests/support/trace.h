/* trace.h - what a parser made of some bytes, as text: two parsers agree when their traces are equal, and where they do
 * not, the difference can be read. */
#ifndef RILL_TESTS_SUPPORT_TRACE_H
#define RILL_TESTS_SUPPORT_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "rill/core/base.h"

struct trace {
    char *text; /* NUL-terminated; owned */
    size_t length;
    size_t capacity;
};

/* What a complete head says. `query` is NULL when there is no `?`. */
struct trace_head {
    struct rill_slice method, target, path, query, authority;
    int version_minor;
    bool keep_alive, chunked, expect_continue, upgrade;
    uint64_t content_length;
    size_t head_length;
};

/* What the head of a response says. */
struct trace_response {
    int code, version_minor;
    bool keep_alive, chunked, until_close;
    uint64_t content_length; /* 0 unless content of that length follows */
    size_t head_length;
};

void trace_clear(struct trace *trace);
void trace_free(struct trace *trace);

/* Appends a line (bytes that cannot be printed escaped). */
void trace_printf(struct trace *trace, const char *format, ...) RILL_PRINTF(2, 3);
void trace_slice(struct trace *trace, const char *label, struct rill_slice slice);
void trace_append(struct trace *trace, const struct trace *other);
void trace_head(struct trace *trace, const struct trace_head *head);
void trace_response(struct trace *trace, const struct trace_response *head);

/* Stops the process, and says HOW the bytes were parsed and both traces, unless these are equal. */
void trace_must_equal(const struct trace *actual, const struct trace *expected, const char *how, ...) RILL_PRINTF(3, 4);

/* Appends content, as it is; to be called any number of times, and followed by another line. */
void trace_content(struct trace *trace, struct rill_slice content);

#endif
