/* histogram.c - see histogram.h. */
#include "rill/core/histogram.h"
#include <string.h>

void rill_histogram_init(struct rill_histogram *histogram, unsigned precision_bits, uint64_t *counts,
                         unsigned bucket_count)
{
    *histogram =
        (struct rill_histogram){.precision_bits = precision_bits, .bucket_count = bucket_count, .counts = counts};
    memset(counts, 0, bucket_count * sizeof *counts);
}

uint64_t rill_histogram_low(const struct rill_histogram *histogram, unsigned index)
{
    unsigned bits = histogram->precision_bits;
    if (index >> bits < 2)
        return index;
    unsigned shift = (index >> bits) - 1;
    return (uint64_t)(index - (shift << bits)) << shift;
}

uint64_t rill_histogram_high(const struct rill_histogram *histogram, unsigned index)
{
    return rill_histogram_low(histogram, index + 1) - 1;
}

static uint64_t read_count(const uint64_t *count)
{
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

void rill_histogram_merge(struct rill_histogram *into, const struct rill_histogram *from)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < from->bucket_count; i++) {
        uint64_t count = read_count(&from->counts[i]);
        total += count;
        if (count)
            __atomic_store_n(&into->counts[i], into->counts[i] + count, __ATOMIC_RELAXED);
    }
    uint64_t max = read_count(&from->max);
    __atomic_store_n(&into->total, into->total + total, __ATOMIC_RELAXED);
    __atomic_store_n(&into->sum, into->sum + read_count(&from->sum), __ATOMIC_RELAXED);
    if (max > into->max)
        __atomic_store_n(&into->max, max, __ATOMIC_RELAXED);
}

uint64_t rill_histogram_quantile(const struct rill_histogram *histogram, double fraction)
{
    uint64_t total = read_count(&histogram->total), max = read_count(&histogram->max), seen = 0;
    double exact = fraction * (double)total;
    uint64_t rank = exact <= 1 ? 1 : (uint64_t)exact;
    rank += (double)rank < exact;
    for (unsigned i = 0; i < histogram->bucket_count && total > 0; i++) {
        seen += read_count(&histogram->counts[i]);
        if (seen >= rank) {
            uint64_t high = rill_histogram_high(histogram, i);
            return i == histogram->bucket_count - 1 || high > max ? max : high;
        }
    }
    return max;
}

double rill_histogram_mean(const struct rill_histogram *histogram)
{
    uint64_t total = read_count(&histogram->total);
    return total ? (double)read_count(&histogram->sum) / (double)total : 0;
}

void rill_histogram_clear(struct rill_histogram *histogram)
{
    for (unsigned i = 0; i < histogram->bucket_count; i++)
        __atomic_store_n(&histogram->counts[i], 0, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->total, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->sum, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->max, 0, __ATOMIC_RELAXED);
}
