/* parser_head_portable.c - the head function in plain C: tables, and eight bytes at a time in values. */
#include "rill/http/parser.h"

#include "rill/http/parser_internal.h"

/* Nothing is remembered from one scan to the next. */
struct head_window {
    const char *end;
};

static inline struct head_window head_window_open(const char *start, const char *end)
{
    (void)start;
    return (struct head_window){end};
}

static inline const char *scan_class(const char *p, const char *end, unsigned classes)
{
    while (p < end && rill_byte_is(*p, classes))
        p++;
    return p;
}

static inline const char *scan_token(struct head_window *window, const char *p)
{
    return scan_class(p, window->end, RILL_BYTE_TOKEN);
}

static inline const char *scan_target(const char *p, const char *end)
{
    return scan_class(p, end, RILL_BYTE_TARGET);
}

static inline const char *scan_host(const char *p, const char *end)
{
    return scan_class(p, end, RILL_BYTE_HOST);
}

/* Whether one of the bytes of WORD is below 0x20 or is 0x7f. Borrows can make it true for nothing, never false. */
static inline bool may_have_control(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low = (word - ones * 0x20) & ~word;
    uint64_t del = word ^ ones * 0x7f;
    return ((low | ((del - ones) & ~del)) & ones * 0x80) != 0;
}

static inline const char *scan_value(struct head_window *window, const char *p)
{
    const char *end = window->end;
    for (;;) {
        while (end - p >= 8 && !may_have_control(rill_load64(p)))
            p += 8;
        const char *stop = end - p >= 8 ? p + 8 : end;
        while (p < stop && !rill_byte_is(*p, RILL_BYTE_CONTROL))
            p++;
        if (p < stop || p == end)
            return p;
    }
}

#define RILL_HEAD_FUNCTION rill_parser_head_portable
#define RILL_HEAD_MIN_BYTES 0
#include "rill/http/parser_head_internal.h"
