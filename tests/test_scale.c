/* test_scale.c - rill-bench scale concludes from good measurements, and from each kind of bad ones it does not. */
#include "rill/apps/bench/scale.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdlib.h>

static struct scale scale;
static struct scale_row rows[FIT_MAX_COUNTS];
static char reason[SCALE_REASON];

/* Four counts, four rounds that differ by less than a hundredth, a CPU for everybody. */
static void setup(void)
{
    const struct fit law = {.lambda = 100000, .sigma = 0.05, .kappa = 0.001};
    scale = (struct scale){.counts = 4, .rounds = 4, .threads = {1, 2, 4, 8}, .cpus = 16, .client_threads = 4};
    for (unsigned c = 0; c < scale.counts; c++) {
        scale.pinned[c] = true;
        for (unsigned r = 0; r < scale.rounds; r++)
            scale.runs[c][r] = (struct scale_run){.throughput = fit_predict(&law, scale.threads[c]) * (1 + 0.002 * r),
                                                  .cpu_us = 5 + c,
                                                  .balance = 0.5 + 0.1 * r,
                                                  .counted = true};
    }
}

static bool concludes(void)
{
    scale_sum_up(&scale, rows);
    return !scale_cannot_conclude(&scale, rows, reason);
}

START_TEST(good_measurements_are_summed_up)
{
    ck_assert(concludes());
    ck_assert_double_eq_tol(rows[0].throughput, 100300, 1e-6);
    ck_assert_double_eq_tol(rows[0].speed_up, 1, 1e-9);
    ck_assert_double_eq_tol(rows[1].speed_up, 2 / (1 + 0.05 + 0.002), 1e-9);
    ck_assert_double_eq_tol(rows[1].efficiency, rows[1].speed_up / 2, 1e-9);
    ck_assert_double_eq_tol(rows[3].cpu_us, 8, 1e-9);
    ck_assert_double_eq_tol(rows[3].balance, 0.65, 1e-9);
}
END_TEST

START_TEST(without_a_count_of_one_the_fewest_threads_are_the_measure)
{
    scale.threads[0] = 2;
    scale.threads[1] = 3;
    ck_assert(concludes());
    ck_assert_double_eq_tol(rows[0].speed_up, 2, 1e-9);
    ck_assert_double_eq_tol(rows[0].efficiency, 1, 1e-9);
}
END_TEST

START_TEST(errors_are_a_reason)
{
    scale.runs[2][3].errors = 7;
    ck_assert(!concludes());
    ck_assert_ptr_nonnull(strstr(reason, "with 4 threads 7 requests went wrong"));
}
END_TEST

/* The generator's CPUs are its own as long as it leaves one over. */
START_TEST(cpus_are_dealt_out)
{
    ck_assert_uint_eq(scale_server_cpus(&scale, 8), 8);
    ck_assert_uint_eq(scale_server_cpus(&scale, 12), 12);
    ck_assert_uint_eq(scale_server_cpus(&scale, 13), 12);
    scale.cpus = 4;
    ck_assert_uint_eq(scale_server_cpus(&scale, 1), 0);
    scale.cpus = 5;
    ck_assert_uint_eq(scale_server_cpus(&scale, 3), 1);
}
END_TEST

START_TEST(too_few_cpus_are_a_reason)
{
    scale.pinned[3] = false;
    scale.cpus = 8;
    ck_assert(!concludes());
    ck_assert_ptr_nonnull(strstr(reason, "8 server threads and 4 of the generator want 12 CPUs, and there are 8"));
}
END_TEST

/* In a round of four it may have been chance. */
START_TEST(a_client_that_was_the_limit_is_a_reason)
{
    scale.runs[3][0].client_was_the_limit = scale.runs[3][1].client_was_the_limit = true;
    ck_assert(concludes());
    scale.runs[3][2].client_was_the_limit = true;
    ck_assert(!concludes());
    ck_assert_ptr_nonnull(strstr(reason, "with 8 threads the client was the limit"));
}
END_TEST

START_TEST(rounds_that_disagree_are_a_reason)
{
    scale.runs[1][2].throughput *= 1.3;
    ck_assert(!concludes());
    ck_assert_ptr_nonnull(strstr(reason, "with 2 threads the rounds disagree"));
}
END_TEST

START_TEST(too_few_points_are_a_reason)
{
    scale.counts = 3;
    ck_assert(concludes());
    scale.counts = 2;
    ck_assert(!concludes());
    ck_assert_ptr_nonnull(strstr(reason, "2 thread counts are too few"));
    scale.counts = 4;
    scale.rounds = 2;
    ck_assert(!concludes());
    ck_assert_ptr_nonnull(strstr(reason, "2 rounds are too few"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scale");
    TCase *all = tcase_create("scale");
    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, good_measurements_are_summed_up);
    tcase_add_test(all, without_a_count_of_one_the_fewest_threads_are_the_measure);
    tcase_add_test(all, errors_are_a_reason);
    tcase_add_test(all, cpus_are_dealt_out);
    tcase_add_test(all, too_few_cpus_are_a_reason);
    tcase_add_test(all, a_client_that_was_the_limit_is_a_reason);
    tcase_add_test(all, rounds_that_disagree_are_a_reason);
    tcase_add_test(all, too_few_points_are_a_reason);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
