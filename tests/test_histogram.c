/* test_histogram.c - buckets, quantiles against those of the sorted values, merging. */
#include "rill/core/histogram.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdlib.h>

enum { BITS = 10, VALUE_BITS = 32, BUCKETS = RILL_HISTOGRAM_BUCKETS(BITS, VALUE_BITS) };

static uint64_t counts[BUCKETS], other_counts[BUCKETS];
static struct rill_histogram histogram, other;

static void set_up(void)
{
    rill_histogram_init(&histogram, BITS, counts, BUCKETS);
    rill_histogram_init(&other, BITS, other_counts, BUCKETS);
}

START_TEST(buckets_meet_without_gap_or_overlap)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        uint64_t low = rill_histogram_low(&histogram, i), high = rill_histogram_high(&histogram, i);
        ck_assert_uint_le(low, high);
        ck_assert_uint_eq(rill_histogram_index(BITS, low), i);
        ck_assert_uint_eq(rill_histogram_index(BITS, high), i);
        ck_assert_uint_eq(rill_histogram_index(BITS, high + 1), i + 1);
        ck_assert_uint_le((high - low) << BITS, low);
    }
    ck_assert_uint_eq(rill_histogram_high(&histogram, BUCKETS - 1), (1ull << VALUE_BITS) - 1);
}
END_TEST

START_TEST(every_precision_fits_its_buckets)
{
    for (unsigned bits = 0; bits <= 12; bits++)
        for (unsigned value_bits = bits + 1; value_bits <= 63; value_bits++)
            ck_assert_uint_eq(rill_histogram_index(bits, (1ull << value_bits) - 1),
                              RILL_HISTOGRAM_BUCKETS(bits, value_bits) - 1);
    ck_assert_uint_gt(rill_histogram_index(10, UINT64_MAX), 0);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Of the same distribution as latencies: many small, few very large. */
START_TEST(quantiles_are_those_of_the_values)
{
    enum { VALUES = 20000 };
    static uint64_t values[VALUES];
    static const double fractions[] = {0, 0.001, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1};
    struct test_random random = {(uint64_t)_i + 1};
    uint64_t sum = 0;
    for (unsigned i = 0; i < VALUES; i++) {
        values[i] = test_random_next(&random) >> (32 + test_random_next(&random) % 32);
        sum += values[i];
        rill_histogram_record(&histogram, values[i]);
    }
    qsort(values, VALUES, sizeof *values, by_value);
    ck_assert_uint_eq(histogram.total, VALUES);
    ck_assert_uint_eq(histogram.max, values[VALUES - 1]);
    ck_assert_double_eq_tol(rill_histogram_mean(&histogram), (double)sum / VALUES, 1e-6 * (double)sum);
    for (unsigned i = 0; i < rill_array_length(fractions); i++) {
        double exact_rank = fractions[i] * VALUES;
        unsigned rank = exact_rank <= 1 ? 1 : (unsigned)exact_rank;
        rank += (double)rank < exact_rank;
        uint64_t exact = values[rank - 1], told = rill_histogram_quantile(&histogram, fractions[i]);
        ck_assert_uint_ge(told, exact);
        ck_assert_uint_le(told - exact, exact >> BITS);
    }
}
END_TEST

START_TEST(what_is_too_large_counts_as_the_largest)
{
    rill_histogram_record(&histogram, 5ull << VALUE_BITS);
    rill_histogram_record(&histogram, 1);
    ck_assert_uint_eq(rill_histogram_quantile(&histogram, 1), 5ull << VALUE_BITS);
    ck_assert_uint_eq(rill_histogram_quantile(&histogram, 0.5), 1);
}
END_TEST

START_TEST(merged_is_as_recorded_together)
{
    static uint64_t both_counts[BUCKETS];
    struct rill_histogram both;
    struct test_random random = {7};
    rill_histogram_init(&both, BITS, both_counts, BUCKETS);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t value = test_random_next(&random) >> 40;
        rill_histogram_record_n(i % 3 ? &histogram : &other, value, i % 4);
        rill_histogram_record_n(&both, value, i % 4);
    }
    rill_histogram_merge(&histogram, &other);
    ck_assert_mem_eq(counts, both_counts, sizeof counts);
    ck_assert_uint_eq(histogram.total, both.total);
    ck_assert_uint_eq(histogram.sum, both.sum);
    ck_assert_uint_eq(histogram.max, both.max);
    rill_histogram_clear(&histogram);
    ck_assert_uint_eq(rill_histogram_quantile(&histogram, 0.5), 0);
    ck_assert_double_eq(rill_histogram_mean(&histogram), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *all = tcase_create("histogram");
    tcase_add_checked_fixture(all, set_up, NULL);
    tcase_add_test(all, buckets_meet_without_gap_or_overlap);
    tcase_add_test(all, every_precision_fits_its_buckets);
    tcase_add_loop_test(all, quantiles_are_those_of_the_values, 0, 20);
    tcase_add_test(all, what_is_too_large_counts_as_the_largest);
    tcase_add_test(all, merged_is_as_recorded_together);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
