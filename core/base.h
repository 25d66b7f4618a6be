/* base.h - what every file may use: attributes, a byte slice, and a few inline helpers. No state. */
#ifndef RILL_CORE_BASE_H
#define RILL_CORE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RILL_WARN_UNUSED __attribute__((warn_unused_result))
#define RILL_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#define RILL_LIKELY(x) __builtin_expect(!!(x), 1)
#define RILL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define RILL_CACHE_LINE 64

/* The struct that holds MEMBER at address POINTER. */
#define rill_container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define rill_array_length(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes that somebody else owns. Not terminated by NUL; `bytes` may be NULL only when `length` is 0. */
struct rill_slice {
    const char *bytes;
    size_t length;
};

/* The slice of a string literal, or of any NUL-terminated string: without its NUL. */
static inline struct rill_slice rill_slice_of(const char *text)
{
    struct rill_slice slice = {text, strlen(text)};
    return slice;
}

static inline bool rill_slice_equal(struct rill_slice a, struct rill_slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

/* ASCII only, whatever the locale: the rules of HTTP, not of a language. */
static inline char rill_ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

static inline bool rill_slice_equal_nocase(struct rill_slice a, struct rill_slice b)
{
    if (a.length != b.length)
        return false;
    for (size_t i = 0; i < a.length; i++)
        if (rill_ascii_lower(a.bytes[i]) != rill_ascii_lower(b.bytes[i]))
            return false;
    return true;
}

#ifdef __cplusplus
}
#endif

#endif
