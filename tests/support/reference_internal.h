/* reference_internal.h - what the parts of the reference parser share. */
#ifndef RILL_TESTS_SUPPORT_REFERENCE_INTERNAL_H
#define RILL_TESTS_SUPPORT_REFERENCE_INTERNAL_H

#include "reference_parser.h"

enum reference_verdict { OK, MORE, BAD };

struct reference {
    const struct rill_parser_limits *limits;
    const char *bytes;
    size_t length;
    size_t at;
    int status;
    struct trace *trace;
};

/* What the fields of a head have said so far. */
struct reference_fields {
    char *host; /* owned */
    int count, hosts, lengths, codings;
    bool host_is_empty, chunked, other_coding, close, keep_alive, upgrade, upgrade_field, expect, other_expect;
    uint64_t content_length;
};

static inline enum reference_verdict reference_bad(struct reference *ref, int status)
{
    ref->status = status;
    return BAD;
}

static inline struct rill_slice reference_part(const char *bytes, size_t length)
{
    struct rill_slice slice = {bytes, length};
    return slice;
}

static inline bool reference_is_one_of(int c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static inline bool reference_is_tchar(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           reference_is_one_of(c, "!#$%&'*+-.^_`|~");
}

static inline bool reference_is_control(int c)
{
    return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f;
}

/* The value of a hexadecimal digit; -1 for what is none. */
int reference_hex(int c);

/* --- reference_fields.c --- */

/* A line from `at` on that ends before END: OK, with *LINE a copy without its CRLF (freed by the caller). */
enum reference_verdict reference_take_line(struct reference *ref, size_t end, char **line);

/* The first line. The line limit cuts it off; one that is still open there is too long. */
enum reference_verdict reference_take_first_line(struct reference *ref, size_t end, char **line);

/* Field lines up to the blank one, written to LINES. */
enum reference_verdict reference_take_fields(struct reference *ref, size_t end, struct reference_fields *fields,
                                             struct trace *lines);

/* Whether TEXT is `uri-host [":" port]`. */
bool reference_is_host(const char *text);

/* An escape begins at TEXT, and is not that of NUL. */
bool reference_is_escape(const char *text);

/* --- reference_body.c --- */

/* SIZE bytes of content, added to *TOTAL. */
enum reference_verdict reference_take_content(struct reference *ref, uint64_t size, uint64_t *total);

/* A chunked body; its trailers are written to LINES. */
enum reference_verdict reference_take_chunks(struct reference *ref, struct trace *lines, uint64_t *total);

#endif
