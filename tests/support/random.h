/* random.h - numbers for property tests: the same seed gives the same run, on every machine. */
#ifndef RILL_TESTS_SUPPORT_RANDOM_H
#define RILL_TESTS_SUPPORT_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct test_random {
    uint64_t state; /* the seed, to begin with */
};

/* The next 64 bits (splitmix64). */
static inline uint64_t test_random_next(struct test_random *random)
{
    uint64_t z = (random->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number from 0 to BOUND - 1; 0 when BOUND is 0. */
static inline size_t test_random_below(struct test_random *random, size_t bound)
{
    return bound ? (size_t)(test_random_next(random) % bound) : 0;
}

#endif
