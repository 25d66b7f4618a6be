/* scale_files.c - what rill-bench scale writes: a CSV of all runs, and plots of the thread counts by gnuplot. */
#include "scale.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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
    fprintf(
        file,
        "threads,round,requests_per_second,cpu_us_per_request,p50_us,p99_us,switches_per_request,balance,balance_of,"
        "errors,client_was_the_limit,own_cpus\n");
    for (unsigned c = 0; c < scale->counts; c++) {
        for (unsigned r = 0; r < scale->rounds; r++) {
            const struct scale_run *run = &scale->runs[c][r];
            fprintf(file, "%u,%u,%.1f,%.3f,%.0f,%.0f,%.5f,%.3f,%s,%llu,%d,%d\n", scale->threads[c], r + 1,
                    run->throughput, run->cpu_us, run->p50_us, run->p99_us, run->switches, run->balance,
                    run->counted ? "requests" : "cpu_time", (unsigned long long)run->errors, run->client_was_the_limit,
                    scale->pinned[c]);
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
static int write_plots(const struct scale *scale, const struct scale_row *rows, const struct fit *fit)
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

int scale_write_files(const struct scale *scale, const struct scale_row *rows, const struct fit *fit)
{
    if (mkdir(scale->out, 0777) < 0 && errno != EEXIST) {
        fprintf(stderr, "rill-bench: cannot make the folder %s: %s\n", scale->out, strerror(errno));
        return -1;
    }
    return write_csv(scale) < 0 || write_plots(scale, rows, fit) < 0 ? -1 : 0;
}
