/* parser_head_sse2.c - the head function with what every x86-64 has: ranges compared sixteen bytes at a time. A set of
 * bytes that is no few ranges is approximated from below, and the rest looked up when it occurs. */
#include "rill/http/parser.h"

#include "rill/http/parser_internal.h"

#if defined(__x86_64__)

#include <emmintrin.h>

/* Nothing is remembered from one scan to the next. */
struct head_window {
    const char *end;
};

static inline struct head_window head_window_open(const char *start, const char *end)
{
    (void)start;
    return (struct head_window){end};
}

/* All ones where bytes of V are from FIRST to LAST. */
static inline __m128i in_range(__m128i v, char first, char last)
{
    __m128i offset = _mm_sub_epi8(v, _mm_set1_epi8(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8((char)(last - first))), offset);
}

static inline __m128i equal(__m128i v, char c)
{
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

static inline __m128i alphanumeric(__m128i v)
{
    __m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
    return _mm_or_si128(in_range(lower, 'a', 'z'), in_range(v, '0', '9'));
}

static inline unsigned token_stops(__m128i v)
{
    return ~(unsigned)_mm_movemask_epi8(_mm_or_si128(alphanumeric(v), equal(v, '-')));
}

static inline unsigned host_stops(__m128i v)
{
    return ~(unsigned)_mm_movemask_epi8(_mm_or_si128(alphanumeric(v), in_range(v, '-', '.')));
}

static inline unsigned value_stops(__m128i v)
{
    __m128i low = _mm_andnot_si128(equal(v, '\t'), in_range(v, 0, 0x1f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, equal(v, 0x7f)));
}

static inline unsigned target_stops(__m128i v)
{
    __m128i quote_or_hash = equal(_mm_and_si128(v, _mm_set1_epi8((char)0xfe)), '"');
    __m128i angle = equal(_mm_and_si128(v, _mm_set1_epi8((char)0xfd)), '<');
    __m128i others = _mm_or_si128(equal(v, '%'), _mm_or_si128(equal(v, '?'), equal(v, '\\')));
    __m128i bad = _mm_or_si128(_mm_or_si128(quote_or_hash, angle), others);
    return ~(unsigned)_mm_movemask_epi8(_mm_andnot_si128(bad, in_range(v, 0x21, 0x7e)));
}

/* The first of the next bytes that STOPS marks. Near END the sixteen bytes before END are looked at instead: reading
 * behind END is not allowed, reading again before P is. */
#define SCAN(p, end, stops)                                                                                            \
    for (; (end) - (p) >= 16; (p) += 16) {                                                                             \
        unsigned mask = stops(_mm_loadu_si128((const __m128i *)(const void *)(p))) & 0xffff;                           \
        if (mask != 0)                                                                                                 \
            return (p) + __builtin_ctz(mask);                                                                          \
    }                                                                                                                  \
    if ((p) < (end)) {                                                                                                 \
        unsigned mask = stops(_mm_loadu_si128((const __m128i *)(const void *)((end)-16))) & 0xffff;                    \
        mask >>= 16 - ((end) - (p));                                                                                   \
        if (mask != 0)                                                                                                 \
            return (p) + __builtin_ctz(mask);                                                                          \
    }                                                                                                                  \
    return (end)

static inline const char *find_token_stop(const char *p, const char *end)
{
    SCAN(p, end, token_stops);
}

static inline const char *find_host_stop(const char *p, const char *end)
{
    SCAN(p, end, host_stops);
}

static inline const char *scan_token(struct head_window *window, const char *p)
{
    const char *end = window->end;
    p = find_token_stop(p, end);
    while (RILL_UNLIKELY(p < end && rill_byte_is(*p, RILL_BYTE_TOKEN)))
        p = find_token_stop(p + 1, end);
    return p;
}

static inline const char *scan_host(const char *p, const char *end)
{
    p = find_host_stop(p, end);
    while (RILL_UNLIKELY(p < end && rill_byte_is(*p, RILL_BYTE_HOST)))
        p = find_host_stop(p + 1, end);
    return p;
}

static inline const char *scan_value(struct head_window *window, const char *p)
{
    const char *end = window->end;
    SCAN(p, end, value_stops);
}

static inline const char *scan_target(const char *p, const char *end)
{
    SCAN(p, end, target_stops);
}

#define RILL_HEAD_FUNCTION rill_parser_head_sse2
#define RILL_HEAD_MIN_BYTES 16
#include "rill/http/parser_head_internal.h"

#endif
