/* histogram.h - how often which values came, log-linear: exact for small ones, to a chosen relative error for all.
 *
 * A value falls into a bucket whose width is at most 2^-precision_bits of it: 10 bits are three significant digits, 2
 * bits are good enough for a picture. Recording costs a handful of instructions and never allocates.
 *
 * Threads: one thread records. Others may read at any time: every count is stored whole, the sums run a little
 * behind or before one another. */
#ifndef RILL_CORE_HISTOGRAM_H
#define RILL_CORE_HISTOGRAM_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_histogram {
    unsigned precision_bits;
    unsigned bucket_count;
    uint64_t *counts; /* bucket_count of them */
    uint64_t total;   /* values recorded */
    uint64_t sum;     /* of all of them */
    uint64_t max;     /* the largest */
};

/* Buckets that take values up to 2^VALUE_BITS - 1 with PRECISION_BITS; larger values count as that. */
#define RILL_HISTOGRAM_BUCKETS(precision_bits, value_bits)                                                             \
    (((unsigned)((value_bits) - (precision_bits)) + 1) << (precision_bits))

/* Makes HISTOGRAM empty. COUNTS is memory of the caller's, BUCKET_COUNT entries, and outlives it. */
void rill_histogram_init(struct rill_histogram *histogram, unsigned precision_bits, uint64_t *counts,
                         unsigned bucket_count);

/* The bucket of VALUE: may be beyond bucket_count. */
static inline unsigned rill_histogram_index(unsigned precision_bits, uint64_t value)
{
    if (value >> precision_bits < 2)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - precision_bits;
    return (shift << precision_bits) + (unsigned)(value >> shift);
}

/* The smallest and the largest value of a bucket. */
uint64_t rill_histogram_low(const struct rill_histogram *histogram, unsigned index);
uint64_t rill_histogram_high(const struct rill_histogram *histogram, unsigned index);

/* Counts VALUE, TIMES times, in the bucket INDEX, which is its own or the last. */
static inline void rill_histogram_record_at(struct rill_histogram *histogram, unsigned index, uint64_t value,
                                            uint64_t times)
{
    __atomic_store_n(&histogram->counts[index], histogram->counts[index] + times, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->total, histogram->total + times, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->sum, histogram->sum + value * times, __ATOMIC_RELAXED);
    if (value > histogram->max)
        __atomic_store_n(&histogram->max, value, __ATOMIC_RELAXED);
}

/* Counts VALUE, TIMES times. */
static inline void rill_histogram_record_n(struct rill_histogram *histogram, uint64_t value, uint64_t times)
{
    unsigned index = rill_histogram_index(histogram->precision_bits, value);
    if (RILL_UNLIKELY(index >= histogram->bucket_count))
        index = histogram->bucket_count - 1;
    rill_histogram_record_at(histogram, index, value, times);
}

static inline void rill_histogram_record(struct rill_histogram *histogram, uint64_t value)
{
    rill_histogram_record_n(histogram, value, 1);
}

/* Adds all that FROM holds, which has the same precision and no more buckets. Thread: INTO's writer; FROM may be
 * recorded into meanwhile. */
void rill_histogram_merge(struct rill_histogram *into, const struct rill_histogram *from);

/* The value that FRACTION (0 to 1) of all values do not pass: that of the ceil(FRACTION * total)-th, told as the
 * largest of its bucket, and never more than the largest recorded. 0 when nothing was. */
uint64_t rill_histogram_quantile(const struct rill_histogram *histogram, double fraction);

/* The mean; 0 when nothing was recorded. */
double rill_histogram_mean(const struct rill_histogram *histogram);

/* Forgets all. Thread: the writer. */
void rill_histogram_clear(struct rill_histogram *histogram);

#ifdef __cplusplus
}
#endif

#endif
