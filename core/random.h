/* random.h - numbers that spread things out: jitter, choices. Cheap, one state for each user of them; not for secrets,
 * which somebody must not guess. Thread: the state's. */
#ifndef RILL_CORE_RANDOM_H
#define RILL_CORE_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rill_random {
    uint64_t state; /* any value is a good one to begin with, and gives the same numbers each time */
};

/* Begins where no other begins, in this process or another. */
void rill_random_seed(struct rill_random *random);

/* The next 64 bits. */
uint64_t rill_random_next(struct rill_random *random);

/* A number from 0 to MOST, each as likely as the others. */
uint64_t rill_random_up_to(struct rill_random *random, uint64_t most);

#ifdef __cplusplus
}
#endif

#endif
