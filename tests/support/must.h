/* must.h - what has to hold in the tests' own machinery, which is also linked where there is no Check. */
#ifndef RILL_TESTS_SUPPORT_MUST_H
#define RILL_TESTS_SUPPORT_MUST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What does not hold stops the process, with all that a fuzzer knows. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s (errno: %s)\n", __FILE__, __LINE__, #condition,                  \
                    strerror(errno));                                                                                  \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
