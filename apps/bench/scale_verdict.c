/* scale_verdict.c - what can be concluded from the runs of rill-bench scale, and what not.
 *
 * A law that is fitted to the wrong thing looks as good as any. So before one is told, everything that would make it a
 * law of something else is looked for, and named. */
#include "scale.h"
#include <stdio.h>

enum { DISAGREE_PERCENT = 10 };

unsigned scale_server_cpus(const struct scale *scale, unsigned threads)
{
    unsigned left = scale->cpus > scale->client_threads ? scale->cpus - scale->client_threads : 0;
    return left < threads ? left : threads;
}

bool scale_cannot_conclude(const struct scale *scale, const struct scale_row *rows, char reason[SCALE_REASON])
{
    for (unsigned c = 0; c < scale->counts; c++) {
        unsigned n = scale->threads[c], limited = 0;
        uint64_t errors = 0;
        for (unsigned r = 0; r < scale->rounds; r++) {
            limited += scale->runs[c][r].client_was_the_limit;
            errors += scale->runs[c][r].errors;
        }
        if (errors) {
            snprintf(reason, SCALE_REASON, "with %u threads %llu requests went wrong", n, (unsigned long long)errors);
            return true;
        }
        if (!scale->pinned[c]) {
            snprintf(reason, SCALE_REASON,
                     "%u server threads and %u of the generator want %u CPUs, and there are %u: from %u "
                     "threads on they take CPU time from one another",
                     n, scale->client_threads, n + scale->client_threads, scale->cpus, n);
            return true;
        }
        if (limited * 2 > scale->rounds) {
            snprintf(reason, SCALE_REASON,
                     "with %u threads the client was the limit, not the server: use more "
                     "--client-threads",
                     n);
            return true;
        }
        if (scale->rounds > 1 && rows[c].half_width * 100 > rows[c].throughput * DISAGREE_PERCENT) {
            snprintf(reason, SCALE_REASON,
                     "with %u threads the rounds disagree: %.0f requests/s +- %.0f (over %d %%); use a quieter "
                     "machine, or more and longer rounds",
                     n, rows[c].throughput, rows[c].half_width, DISAGREE_PERCENT);
            return true;
        }
    }
    if (scale->counts < 3) {
        snprintf(reason, SCALE_REASON,
                 "%u thread counts are too few to fit a law to: three for Amdahl's, four for the Universal "
                 "Scalability Law",
                 scale->counts);
        return true;
    }
    if (scale->rounds < 3) {
        snprintf(reason, SCALE_REASON, "%u rounds are too few to say how sure it is: at least three are wanted",
                 scale->rounds);
        return true;
    }
    return false;
}
