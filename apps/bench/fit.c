/* fit.c - see fit.h.
 *
 * N / X(N) is linear in 1/lambda, sigma/lambda and kappa/lambda, so the fit is a weighted linear regression: no start
 * values, no iteration. A throughput's relative error is about the same at every count, and so is that of N/X: the
 * weight is its inverse square. Neither sigma nor kappa can be below 0; a fit that wants that is made again
 * without the term. */
#include "fit.h"
#include "rill/core/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 2000 };

/* Solves the normal equations of COLUMNS terms by elimination. False: they say too little. */
static bool solve(double matrix[3][4], unsigned columns, double solution[3])
{
    for (unsigned i = 0; i < columns; i++) {
        unsigned pivot = i;
        for (unsigned k = i + 1; k < columns; k++)
            if (fabs(matrix[k][i]) > fabs(matrix[pivot][i]))
                pivot = k;
        if (fabs(matrix[pivot][i]) < 1e-12)
            return false;
        for (unsigned j = 0; j <= columns; j++) {
            double held = matrix[i][j];
            matrix[i][j] = matrix[pivot][j];
            matrix[pivot][j] = held;
        }
        for (unsigned k = 0; k < columns; k++) {
            double factor = k == i ? 0 : matrix[k][i] / matrix[i][i];
            for (unsigned j = i; j <= columns && k != i; j++)
                matrix[k][j] -= factor * matrix[i][j];
        }
    }
    for (unsigned i = 0; i < columns; i++)
        solution[i] = matrix[i][columns] / matrix[i][i];
    return true;
}

/* The regression over MEANS with the terms that USE says: always 1/lambda, then sigma's, then kappa's. */
static bool regress(const struct fit_data *data, const double *means, const bool use[3], struct fit *fit)
{
    double matrix[3][4] = {{0}}, solution[3] = {0}, scale = means[0] / data->threads[0];
    unsigned map[3], columns = 0;
    for (unsigned i = 0; i < 3; i++)
        if (use[i])
            map[columns++] = i;
    for (unsigned c = 0; c < data->counts; c++) {
        double n = data->threads[c], y = n / means[c] * scale, weight = 1 / (y * y);
        const double terms[3] = {1, n - 1, n * (n - 1)};
        for (unsigned i = 0; i < columns; i++) {
            for (unsigned j = 0; j < columns; j++)
                matrix[i][j] += weight * terms[map[i]] * terms[map[j]];
            matrix[i][columns] += weight * terms[map[i]] * y;
        }
    }
    if (!solve(matrix, columns, solution) || solution[0] <= 0)
        return false;
    fit->lambda = scale / solution[0];
    fit->sigma = fit->kappa = 0;
    for (unsigned i = 1; i < columns; i++)
        *(map[i] == 1 ? &fit->sigma : &fit->kappa) = solution[i] / solution[0];
    return true;
}

static bool fit_means(const struct fit_data *data, const double *means, bool amdahl, struct fit *fit)
{
    bool use[3] = {true, true, !amdahl};
    if (!regress(data, means, use, fit))
        return false;
    if (fit->kappa < 0) {
        use[2] = false;
        if (!regress(data, means, use, fit))
            return false;
    }
    if (fit->sigma < 0) {
        use[1] = false;
        if (!regress(data, means, use, fit))
            return false;
        if (fit->kappa < 0) {
            use[2] = false;
            return regress(data, means, use, fit);
        }
    }
    return true;
}

double fit_predict(const struct fit *fit, double n)
{
    return fit->lambda * n / (1 + fit->sigma * (n - 1) + fit->kappa * n * (n - 1));
}

static double mean_of(const double *values, unsigned count)
{
    double sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += values[i];
    return count ? sum / count : 0;
}

void fit_mean(const double *values, unsigned count, double *mean, double *half_width)
{
    /* Student's t at 97.5 %, by degrees of freedom */
    static const double t[] = {0,     12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                               2.201, 2.179,  2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086};
    double squares = 0;
    *mean = mean_of(values, count);
    *half_width = 0;
    if (count < 2)
        return;
    for (unsigned i = 0; i < count; i++)
        squares += (values[i] - *mean) * (values[i] - *mean);
    double student = count - 1 < sizeof t / sizeof *t ? t[count - 1] : 1.96 + 2.5 / (count - 1);
    *half_width = student * sqrt(squares / (count - 1) / count);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct fit_interval middle_95(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, by_size);
    return (struct fit_interval){values[count / 40], values[count - 1 - count / 40]};
}

/* Fits to rounds drawn with replacement, again and again: how far the answer depends on which rounds there were. */
static void resample(const struct fit_data *data, bool amdahl, struct fit *fit)
{
    static double lambdas[RESAMPLES], sigmas[RESAMPLES], kappas[RESAMPLES];
    struct rill_random random = {1}; /* the same data give the same intervals */
    unsigned made = 0;
    for (unsigned i = 0; i < RESAMPLES; i++) {
        double means[FIT_MAX_COUNTS];
        struct fit drawn;
        for (unsigned c = 0; c < data->counts; c++) {
            means[c] = 0;
            for (unsigned r = 0; r < data->rounds; r++)
                means[c] += data->throughput[c][rill_random_up_to(&random, data->rounds - 1)] / data->rounds;
        }
        if (!fit_means(data, means, amdahl, &drawn))
            continue;
        lambdas[made] = drawn.lambda;
        sigmas[made] = drawn.sigma;
        kappas[made++] = drawn.kappa;
    }
    if (made == 0)
        return;
    fit->lambda_95 = middle_95(lambdas, made);
    fit->sigma_95 = middle_95(sigmas, made);
    fit->kappa_95 = middle_95(kappas, made);
}

bool fit_scaling(const struct fit_data *data, bool amdahl, struct fit *fit)
{
    double means[FIT_MAX_COUNTS], residue = 0, spread = 0;
    memset(fit, 0, sizeof *fit);
    if (data->counts < (amdahl ? 3 : 4) || data->rounds == 0)
        return false;
    for (unsigned c = 0; c < data->counts; c++) {
        means[c] = mean_of(data->throughput[c], data->rounds);
        if (!(means[c] > 0))
            return false;
    }
    if (!fit_means(data, means, amdahl, fit))
        return false;
    resample(data, amdahl, fit);
    double all = mean_of(means, data->counts);
    for (unsigned c = 0; c < data->counts; c++) {
        double off = means[c] - fit_predict(fit, data->threads[c]);
        residue += off * off;
        spread += (means[c] - all) * (means[c] - all);
    }
    fit->r_squared = spread > 0 ? 1 - residue / spread : 1;
    fit->peak = fit->kappa > 0 && fit->sigma < 1 ? sqrt((1 - fit->sigma) / fit->kappa) : 0;
    return true;
}
