/* scale_report.c - what came of rill-bench scale, and what can be concluded from it.
 *
 * A law that is fitted to the wrong thing looks as good as any. So before one is told, everything that would make it a
 * law of something else is looked for, and named. */
#include "scale.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISAGREE_PERCENT = 10, REASON = 300 };

/* Of one thread count: means over the rounds. */
struct row {
    double throughput, half_width, speed_up, efficiency, cpu_us, p50_us, p99_us, switches, balance;
};

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

static void sum_up(const struct scale *scale, struct row *rows)
{
    for (unsigned c = 0; c < scale->counts; c++) {
        double values[FIT_MAX_ROUNDS];
        struct row *row = &rows[c];
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

static void print_table(const struct scale *scale, const struct row *rows)
{
    printf("threads  requests/s   +-95%%  speed-up  efficiency  CPU us/req  p50 ms  p99 ms  balance  switches/req  "
           "CPUs\n");
    for (unsigned c = 0; c < scale->counts; c++)
        printf("%7u %11.0f %7.0f %9.2f %11.2f %11.2f %7.3f %7.3f %8.2f %13.4f  %s\n", scale->threads[c],
               rows[c].throughput, rows[c].half_width, rows[c].speed_up, rows[c].efficiency, rows[c].cpu_us,
               rows[c].p50_us / 1000, rows[c].p99_us / 1000, rows[c].balance, rows[c].switches,
               scale->pinned[c] ? "own" : "shared");
}

/* The first reason not to conclude anything; false: there is none. */
static bool cannot_conclude(const struct scale *scale, const struct row *rows, char reason[REASON])
{
    for (unsigned c = 0; c < scale->counts; c++) {
        unsigned n = scale->threads[c], limited = 0;
        uint64_t errors = 0;
        for (unsigned r = 0; r < scale->rounds; r++) {
            limited += scale->runs[c][r].client_was_the_limit;
            errors += scale->runs[c][r].errors;
        }
        if (errors) {
            snprintf(reason, REASON, "with %u threads %llu requests went wrong", n, (unsigned long long)errors);
            return true;
        }
        if (!scale->pinned[c]) {
            snprintf(reason, REASON,
                     "%u server threads and %u of the generator want %u CPUs, and there are %u: from %u "
                     "threads on they take CPU time from one another",
                     n, scale->client_threads, n + scale->client_threads, scale->cpus, n);
            return true;
        }
        if (limited * 2 > scale->rounds) {
            snprintf(reason, REASON,
                     "with %u threads the client was the limit, not the server: use more "
                     "--client-threads",
                     n);
            return true;
        }
        if (scale->rounds > 1 && rows[c].half_width * 100 > rows[c].throughput * DISAGREE_PERCENT) {
            snprintf(reason, REASON,
                     "with %u threads the rounds disagree: %.0f requests/s +- %.0f (over %d %%); use a quieter "
                     "machine, or more and longer rounds",
                     n, rows[c].throughput, rows[c].half_width, DISAGREE_PERCENT);
            return true;
        }
    }
    if (scale->counts < 3) {
        snprintf(reason, REASON,
                 "%u thread counts are too few to fit a law to: three for Amdahl's, four for the Universal "
                 "Scalability Law",
                 scale->counts);
        return true;
    }
    if (scale->rounds < 3) {
        snprintf(reason, REASON, "%u rounds are too few to say how sure it is: at least three are wanted",
                 scale->rounds);
        return true;
    }
    return false;
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

/* --- files --- */

static FILE *open_in(const char *folder, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file)
        fprintf(stderr, "rill-bench: cannot write %s: %s\n", path, strerror(errno));
    return file;
}

static int write_csv(const struct scale *scale)
{
    char path[4096];
    FILE *file = open_in(scale->out, "scale.csv", path);
    if (!file)
        return -1;
    fprintf(file,
            "threads,round,requests_per_second,cpu_us_per_request,p50_us,p99_us,switches_per_request,balance,errors,"
            "client_was_the_limit,own_cpus\n");
    for (unsigned c = 0; c < scale->counts; c++) {
        for (unsigned r = 0; r < scale->rounds; r++) {
            const struct scale_run *run = &scale->runs[c][r];
            fprintf(file, "%u,%u,%.1f,%.3f,%.0f,%.0f,%.5f,%.3f,%llu,%d,%d\n", scale->threads[c], r + 1, run->throughput,
                    run->cpu_us, run->p50_us, run->p99_us, run->switches, run->balance, (unsigned long long)run->errors,
                    run->client_was_the_limit, scale->pinned[c]);
        }
    }
    return fclose(file) == 0 ? 0 : -1;
}

static void plot(FILE *file, const char *name, const char *y, const char *what)
{
    static const char *const terminals[] = {"svg size 800,500 background 'white'", "pngcairo size 800,500"};
    static const char *const endings[] = {"svg", "png"};
    for (unsigned i = 0; i < 2; i++)
        fprintf(file, "set terminal %s\nset output '%s.%s'\nset ylabel '%s'\nplot %s\n", terminals[i], name, endings[i],
                y, what);
}

/* Has gnuplot draw what is in FOLDER. */
static void draw(const char *folder)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(folder) == 0)
            execlp("gnuplot", "gnuplot", "scale.gnuplot", (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        printf("\nno plots: gnuplot %s; scale.gnuplot in %s draws them\n",
               WIFEXITED(status) && WEXITSTATUS(status) == 127 ? "is not installed" : "failed", folder);
}

/* Data and script for gnuplot, which draws when it is there. FIT may be NULL. */
static int write_plots(const struct scale *scale, const struct row *rows, const struct fit *fit)
{
    char path[4096];
    FILE *data = open_in(scale->out, "scale.dat", path);
    if (!data)
        return -1;
    for (unsigned c = 0; c < scale->counts; c++)
        fprintf(data, "%u %.1f %.1f %.3f %.3f %.3f\n", scale->threads[c], rows[c].throughput, rows[c].half_width,
                rows[c].p50_us / 1000, rows[c].p99_us / 1000, rows[c].cpu_us);
    fclose(data);
    FILE *script = open_in(scale->out, "scale.gnuplot", path);
    if (!script)
        return -1;
    fprintf(script, "set xlabel 'threads'\nset yrange [0:*]\nset xrange [0:*]\nset key bottom right\nset grid\n");
    if (fit) {
        fprintf(script, "x(n) = %.6g*n/(1+%.6g*(n-1)+%.6g*n*(n-1))\n", fit->lambda, fit->sigma, fit->kappa);
        plot(script, "throughput", "requests a second",
             "'scale.dat' using 1:2:3 with yerrorbars title 'measured', "
             "x(x) title 'fitted', x(1)*x title 'linear' dashtype 2");
    } else {
        plot(script, "throughput", "requests a second", "'scale.dat' using 1:2:3 with yerrorlines title 'measured'");
    }
    plot(script, "latency", "ms",
         "'scale.dat' using 1:4 with linespoints title 'p50', "
         "'' using 1:5 with linespoints title 'p99'");
    plot(script, "cpu", "us of CPU a request", "'scale.dat' using 1:6 with linespoints title 'server'");
    fclose(script);
    draw(scale->out);
    return 0;
}

int scale_report(const struct scale *scale)
{
    static struct row rows[FIT_MAX_COUNTS];
    static struct fit_data data;
    struct fit usl, amdahl;
    char reason[REASON];
    bool fitted = false, concluded = false;
    sum_up(scale, rows);
    print_table(scale, rows);
    fill_in(scale, &data);
    if (cannot_conclude(scale, rows, reason)) {
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
        if ((mkdir(scale->out, 0777) < 0 && errno != EEXIST) || write_csv(scale) < 0 ||
            write_plots(scale, rows,
                        fitted      ? &usl
                        : concluded ? &amdahl
                                    : NULL) < 0) {
            fprintf(stderr, "rill-bench: nothing can be written into %s\n", scale->out);
            return 1;
        }
    }
    return 0;
}
