/* scale_report.c - what came of rill-bench scale: the table, and the laws that fit it. */
#include "scale.h"
#include <stdio.h>

static double mean_of(const struct scale *scale, unsigned c, double (*member)(const struct scale_run *run))
{
    double sum = 0;
    for (unsigned r = 0; r < scale->rounds; r++)
        sum += member(&scale->runs[c][r]);
    return sum / scale->rounds;
}

#define MEMBER(name)                                                                                                   \
    static double name##_of(const struct scale_run *run)                                                               \
    {                                                                                                                  \
        return run->name;                                                                                              \
    }
MEMBER(cpu_us)
MEMBER(p50_us)
MEMBER(p99_us)
MEMBER(switches)
MEMBER(balance)

void scale_sum_up(const struct scale *scale, struct scale_row *rows)
{
    for (unsigned c = 0; c < scale->counts; c++) {
        double values[FIT_MAX_ROUNDS];
        struct scale_row *row = &rows[c];
        for (unsigned r = 0; r < scale->rounds; r++)
            values[r] = scale->runs[c][r].throughput;
        fit_mean(values, scale->rounds, &row->throughput, &row->half_width);
        /* Of one thread; when none was measured, of a thread's share of the fewest. */
        double one = rows[0].throughput / scale->threads[0];
        row->speed_up = one > 0 ? row->throughput / one : 0;
        row->efficiency = row->speed_up / scale->threads[c];
        row->cpu_us = mean_of(scale, c, cpu_us_of);
        row->p50_us = mean_of(scale, c, p50_us_of);
        row->p99_us = mean_of(scale, c, p99_us_of);
        row->switches = mean_of(scale, c, switches_of);
        row->balance = mean_of(scale, c, balance_of);
    }
}

static void print_table(const struct scale *scale, const struct scale_row *rows)
{
    printf("threads  requests/s   +-95%%  speed-up  efficiency  CPU us/req  p50 ms  p99 ms  balance  switches/req  "
           "CPUs\n");
    for (unsigned c = 0; c < scale->counts; c++)
        printf("%7u %11.0f %7.0f %9.2f %11.2f %11.2f %7.3f %7.3f %8.2f %13.4f  %s\n", scale->threads[c],
               rows[c].throughput, rows[c].half_width, rows[c].speed_up, rows[c].efficiency, rows[c].cpu_us,
               rows[c].p50_us / 1000, rows[c].p99_us / 1000, rows[c].balance, rows[c].switches,
               scale->pinned[c]                              ? "own"
               : scale_server_cpus(scale, scale->threads[c]) ? "few"
                                                             : "shared");
}

static void print_balance(const struct scale *scale)
{
    unsigned counted = 0, all = scale->counts * scale->rounds;
    for (unsigned c = 0; c < scale->counts; c++)
        for (unsigned r = 0; r < scale->rounds; r++)
            counted += scale->runs[c][r].counted;
    printf("\nbalance: ");
    if (counted > 0)
        printf("requests of the loop that had the fewest, by those of the one that had the most, as they count them");
    if (counted < all)
        printf(
            "%sCPU time of the threads, the least busy by the busiest%s; \"--admin {admin}\" has Rill's servers tell "
            "their requests",
            counted > 0 ? "; in some rounds " : "", counted > 0 ? ", because no counters could be read" : "");
    printf("\n");
}

static void fill_in(const struct scale *scale, struct fit_data *data)
{
    data->counts = scale->counts;
    data->rounds = scale->rounds;
    for (unsigned c = 0; c < scale->counts; c++) {
        data->threads[c] = scale->threads[c];
        for (unsigned r = 0; r < scale->rounds; r++)
            data->throughput[c][r] = scale->runs[c][r].throughput;
    }
}

static void print_fit(const char *name, const struct fit *fit, bool amdahl)
{
    printf("\n%s (R2 %.4f)\n  one thread   %.0f requests/s (95 %%: %.0f to %.0f)\n  sigma        %.4f (%.4f to %.4f)\n",
           name, fit->r_squared, fit->lambda, fit->lambda_95.low, fit->lambda_95.high, fit->sigma, fit->sigma_95.low,
           fit->sigma_95.high);
    if (!amdahl)
        printf("  kappa        %.6f (%.6f to %.6f)\n", fit->kappa, fit->kappa_95.low, fit->kappa_95.high);
    if (amdahl && fit->sigma > 0)
        printf("  at most      %.1f times one thread\n", 1 / fit->sigma);
    else if (!amdahl && fit->peak > 0)
        printf("  peak         at %.1f threads, %.0f requests/s\n", fit->peak, fit_predict(fit, fit->peak));
    else if (!amdahl)
        printf("  peak         none in sight\n");
}

int scale_report(const struct scale *scale)
{
    static struct scale_row rows[FIT_MAX_COUNTS];
    static struct fit_data data;
    struct fit usl, amdahl;
    char reason[SCALE_REASON];
    bool fitted = false, concluded = false;
    scale_sum_up(scale, rows);
    print_table(scale, rows);
    print_balance(scale);
    fill_in(scale, &data);
    if (scale_cannot_conclude(scale, rows, reason)) {
        printf("\nno conclusion: %s\n", reason);
    } else {
        concluded = fit_scaling(&data, true, &amdahl);
        if (concluded)
            print_fit("Amdahl's law", &amdahl, true);
        fitted = fit_scaling(&data, false, &usl);
        if (fitted)
            print_fit("Universal Scalability Law", &usl, false);
        else
            printf("\nno Universal Scalability Law: four thread counts are wanted\n");
    }
    if (scale->out) {
        const struct fit *drawn = fitted ? &usl : concluded ? &amdahl : NULL;
        return scale_write_files(scale, rows, drawn) < 0 ? 1 : 0;
    }
    return 0;
}
