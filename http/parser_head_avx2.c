/* parser_head_avx2.c - the head function with AVX2: any set of ASCII bytes, thirty-two bytes at a time.
 *
 * A byte is in a set when the bit of its high half is set in the entry for its low half: both are table look-ups that
 * `vpshufb` does. Bytes of 0x80 and above have no bit, and so are in no set. */
#include "rill/http/parser.h"

#include "rill/http/parser_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
#endif

/* Entry L of a set: bit H for each byte 0xHL that is in it. rill_byte_class has the same sets the plain way. */
#define SET_TOKEN -24, -4, -8, -4, -4, -4, -4, -4, -8, -8, -12, 84, -48, 84, -12, 112
#define SET_TARGET -8, -4, -8, -8, -4, -8, -4, -4, -4, -4, -4, -4, -44, -4, -12, 116
#define SET_HOST -88, -4, -8, -8, -4, -8, -4, -4, -4, -4, -12, 92, 80, 92, -44, 112
#define HIGH_BITS 1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0
#define TWICE(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)

static inline uint32_t stops_of(__m256i v, __m256i set)
{
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
    __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(set, v), _mm256_shuffle_epi8(TWICE(HIGH_BITS), high));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bits, _mm256_setzero_si256()));
}

static inline uint32_t token_stops(__m256i v)
{
    return stops_of(v, TWICE(SET_TOKEN));
}

static inline uint32_t target_stops(__m256i v)
{
    return stops_of(v, TWICE(SET_TARGET));
}

static inline uint32_t host_stops(__m256i v)
{
    return stops_of(v, TWICE(SET_HOST));
}

static inline uint32_t value_stops(__m256i v)
{
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    low = _mm256_andnot_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t')), low);
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(low, _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f))));
}

static inline __m256i load(const char *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

/* Sixty-four bytes in two vectors. Where fewer are left, the last vector ends at END and overlaps what was looked at
 * before: reading behind END is not allowed. */
static inline __attribute__((always_inline)) void look_at(const char *p, const char *end, uint64_t *token,
                                                          uint64_t *value)
{
    ptrdiff_t left = end - p;
    if (RILL_LIKELY(left >= 64)) {
        __m256i low = load(p);
        __m256i high = load(p + 32);
        *token = token_stops(low) | (uint64_t)token_stops(high) << 32;
        *value = value_stops(low) | (uint64_t)value_stops(high) << 32;
        return;
    }
    uint64_t behind = ~UINT64_C(0) << left;
    __m256i last = load(end - 32);
    if (left >= 32) {
        __m256i low = load(p);
        *token = token_stops(low) | (uint64_t)token_stops(last) << (left - 32) | behind;
        *value = value_stops(low) | (uint64_t)value_stops(last) << (left - 32) | behind;
    } else {
        *token = (uint64_t)token_stops(last) >> (32 - left) | behind;
        *value = (uint64_t)value_stops(last) >> (32 - left) | behind;
    }
}

#include "rill/http/parser_window_internal.h"

/* The first byte from P on whose bit STOPS sets. */
#define SCAN(p, end, stops)                                                                                            \
    for (; RILL_LIKELY((end) - (p) >= 32); (p) += 32) {                                                                \
        uint32_t mask = stops(load(p));                                                                                \
        if (RILL_LIKELY(mask != 0))                                                                                    \
            return (p) + __builtin_ctz(mask);                                                                          \
    }                                                                                                                  \
    if ((p) < (end)) {                                                                                                 \
        uint32_t mask = stops(load((end)-32)) >> (32 - ((end) - (p)));                                                 \
        if (mask != 0)                                                                                                 \
            return (p) + __builtin_ctz(mask);                                                                          \
    }                                                                                                                  \
    return (end)

static inline const char *scan_target(const char *p, const char *end)
{
    SCAN(p, end, target_stops);
}

static inline const char *scan_host(const char *p, const char *end)
{
    SCAN(p, end, host_stops);
}

#define RILL_HEAD_FUNCTION rill_parser_head_avx2
#define RILL_HEAD_MIN_BYTES 32
#include "rill/http/parser_head_internal.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
