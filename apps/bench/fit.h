/* fit.h - how throughput grows with threads: Amdahl's law and the Universal Scalability Law, fitted to measurements.
 *
 *     X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))
 *
 * lambda is what one thread carries, sigma what has to be done one after the other (contention), kappa what it costs to
 * keep each two of them coherent (N. Gunther, "A General Theory of Computational Scalability Based on Rational
 * Functions"). Amdahl's law is the same with kappa 0. Pure: numbers in, numbers out. */
#ifndef RILL_APPS_BENCH_FIT_H
#define RILL_APPS_BENCH_FIT_H

#include <stdbool.h>
#include <stdint.h>

enum { FIT_MAX_COUNTS = 64, FIT_MAX_ROUNDS = 64 };

/* What was measured: for each count of threads, the throughput of each round. */
struct fit_data {
    unsigned counts, rounds;
    double threads[FIT_MAX_COUNTS];
    double throughput[FIT_MAX_COUNTS][FIT_MAX_ROUNDS];
};

struct fit_interval {
    double low, high; /* of 95 % */
};

struct fit {
    double lambda, sigma, kappa;
    struct fit_interval lambda_95, sigma_95, kappa_95; /* by resampling the rounds */
    double r_squared;                                  /* of the counts' means */
    double peak;                                       /* threads beyond which it falls; 0: it does not */
};

/* Fits the Universal Scalability Law, or with AMDAHL that. False when there are too few counts: four, or three. */
bool fit_scaling(const struct fit_data *data, bool amdahl, struct fit *fit);

/* What the law says for N threads. */
double fit_predict(const struct fit *fit, double n);

/* Mean of VALUES and half the width of its 95 % confidence interval (Student's t); 0 for fewer than two. */
void fit_mean(const double *values, unsigned count, double *mean, double *half_width);

#endif
