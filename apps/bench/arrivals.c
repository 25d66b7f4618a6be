/* arrivals.c - when requests are meant to begin, whatever the server does: evenly, or as a Poisson process, in which
 * the gaps between independent users are exponential. */
#include "bench.h"
#include <math.h>

void bench_arrivals_start(struct bench_arrivals *arrivals, double per_second, bool poisson, uint64_t seed,
                          uint64_t now_ns)
{
    *arrivals = (struct bench_arrivals){.interval_ns = per_second > 0 ? 1e9 / per_second : 0,
                                        .poisson = poisson,
                                        .random = {seed},
                                        .next_ns = (double)now_ns};
    if (per_second > 0) /* threads that begin together should not send together */
        arrivals->next_ns += arrivals->interval_ns * ((double)(rill_random_next(&arrivals->random) >> 11) * 0x1p-53);
}

uint64_t bench_arrivals_next(struct bench_arrivals *arrivals)
{
    uint64_t at = (uint64_t)arrivals->next_ns;
    double gap = 1;
    if (arrivals->poisson) {
        double uniform = ((double)(rill_random_next(&arrivals->random) >> 11) + 1) * 0x1p-53; /* above 0 */
        gap = -log(uniform);
    }
    arrivals->next_ns += gap * arrivals->interval_ns;
    return at;
}
