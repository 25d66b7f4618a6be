/* parser_head_avx512.c - the head function with AVX-512: sixty-four bytes at a time, their classes looked up in one
 * instruction (`vpermi2b`, VBMI). Most lines end within one look, and masked loads end exactly where the bytes do. */
#include "rill/http/parser.h"

#include "rill/http/parser_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512bw,avx512vl,avx512vbmi,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512bw,avx512vl,avx512vbmi,bmi,bmi2")
#endif

/* Up to sixty-four bytes at P; zeroes, at which every scan stops, behind END. */
static inline __m512i load(const char *p, const char *end)
{
    if (RILL_LIKELY(end - p >= 64))
        return _mm512_loadu_si512((const void *)p);
    return _mm512_maskz_loadu_epi8(_bzhi_u64(~UINT64_C(0), (unsigned)(end - p)), (const void *)p);
}

/* The classes of the bytes of V, from the table that everything else uses; of its 128 entries for ASCII, picked by the
 * low seven bits. */
static inline __m512i classes_of(__m512i v)
{
    __m512i low = _mm512_loadu_si512((const void *)rill_byte_class);
    __m512i high = _mm512_loadu_si512((const void *)(rill_byte_class + 64));
    return _mm512_permutex2var_epi8(low, v, high);
}

static inline uint64_t not_in(__m512i v, char classes)
{
    return _mm512_testn_epi8_mask(classes_of(v), _mm512_set1_epi8(classes)) | _mm512_movepi8_mask(v);
}

static inline __attribute__((always_inline)) void look_at(const char *p, const char *end, uint64_t *token,
                                                          uint64_t *value)
{
    __m512i v = load(p, end);
    __m512i classes = classes_of(v);
    uint64_t high = _mm512_movepi8_mask(v);
    *token = _mm512_testn_epi8_mask(classes, _mm512_set1_epi8(RILL_BYTE_TOKEN)) | high;
    *value = _mm512_test_epi8_mask(classes, _mm512_set1_epi8(RILL_BYTE_CONTROL)) & ~high;
}

#include "rill/http/parser_window_internal.h"

/* The first byte from P on that is in none of CLASSES; END at the latest, for a zero is in none. */
static inline const char *scan_class(const char *p, const char *end, char classes)
{
    for (;; p += 64) {
        uint64_t mask = not_in(load(p, end), classes);
        if (RILL_LIKELY(mask != 0))
            return p + __builtin_ctzll(mask);
    }
}

static inline const char *scan_target(const char *p, const char *end)
{
    return scan_class(p, end, RILL_BYTE_TARGET);
}

static inline const char *scan_host(const char *p, const char *end)
{
    return scan_class(p, end, RILL_BYTE_HOST);
}

#define RILL_HEAD_FUNCTION rill_parser_head_avx512
#define RILL_HEAD_MIN_BYTES 0
#include "rill/http/parser_head_internal.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
