/* random.c - splitmix64: a counter, mixed. Every state gives all 2^64 numbers before one comes again. */
#include "rill/core/random.h"
#include "rill/core/sys.h"

void rill_random_seed(struct rill_random *random)
{
    uint64_t seed;
    /* Early at boot the kernel may have none; then two clocks and an address have to do. */
    if (rill_sys_getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = rill_sys_monotonic_ns() ^ (rill_sys_realtime_ns() << 20) ^ (uint64_t)(uintptr_t)random;
    random->state = seed;
}

uint64_t rill_random_next(struct rill_random *random)
{
    uint64_t z = (random->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t rill_random_up_to(struct rill_random *random, uint64_t most)
{
    if (most == UINT64_MAX)
        return rill_random_next(random);
    /* Numbers above the last whole multiple of the range would favour small results: they are drawn again. */
    uint64_t range = most + 1, biased = (UINT64_MAX % range + 1) % range, drawn;
    do
        drawn = rill_random_next(random);
    while (drawn > UINT64_MAX - biased);
    return drawn % range;
}
