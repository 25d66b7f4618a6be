/* stat.h - counters that one thread writes and others read: no atomic read-modify-write, no lock.
 *
 * The writer's store is a plain one on every machine; a reader sees some value that the counter has had, whole. Several
 * counters read one after the other need not fit together to the last unit. */
#ifndef RILL_CORE_STAT_H
#define RILL_CORE_STAT_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0: nothing is counted, and /metrics shows zeros. Only `scripts/compare counters` builds it so, to measure what
 * counting costs. */
#ifndef RILL_COUNTING
#define RILL_COUNTING 1
#endif

/* Thread: the counter's writer. */
static inline void rill_stat_add(uint64_t *counter, uint64_t count)
{
    if (RILL_COUNTING)
        __atomic_store_n(counter, *counter + count, __ATOMIC_RELAXED);
}

static inline void rill_stat_subtract(uint64_t *counter, uint64_t count)
{
    rill_stat_add(counter, -count);
}

static inline void rill_stat_set(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

/* Thread: any. */
static inline uint64_t rill_stat_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#ifdef __cplusplus
}
#endif

#endif
