/* sim_trace.c - see sim.h: what happened in a run, for the case that it fails. */
#include "sim_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRACE_ENTRIES = 4096 };

static struct {
    const char *what;
    uint64_t at_ns, a, b;
} trace[TRACE_ENTRIES];
static uint64_t trace_count;

void sim_note(const char *what, uint64_t a, uint64_t b)
{
    uint64_t at = trace_count++ % TRACE_ENTRIES;
    trace[at].what = what;
    trace[at].at_ns = sim.now_ns;
    trace[at].a = a;
    trace[at].b = b;
    sim.hash = (sim.hash ^ (a + b * 31 + sim.now_ns + (unsigned char)what[0])) * UINT64_C(0x100000001b3);
}

void sim_trace_reset(void)
{
    trace_count = 0;
}

void sim_show_trace(void)
{
    uint64_t i = trace_count > TRACE_ENTRIES ? trace_count - TRACE_ENTRIES : 0;
    for (; i < trace_count; i++)
        fprintf(stderr, "%12.6f ms  %-24s %" PRIu64 " %" PRIu64 "\n",
                (double)(trace[i % TRACE_ENTRIES].at_ns - SIM_START_NS) / 1e6, trace[i % TRACE_ENTRIES].what,
                trace[i % TRACE_ENTRIES].a, trace[i % TRACE_ENTRIES].b);
    fprintf(stderr, "this was seed %" PRIu64 "; %" PRIu64 " things happened in %u steps\n", sim.seed, trace_count,
            sim.steps);
}

void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "seed %" PRIu64 " fails: ", sim.seed);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
