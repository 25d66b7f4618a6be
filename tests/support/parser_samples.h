/* parser_samples.h - requests, sound and not, and what each is worth; for the tests that split them, and to begin
 * random ones with. */
#ifndef RILL_TESTS_SUPPORT_PARSER_SAMPLES_H
#define RILL_TESTS_SUPPORT_PARSER_SAMPLES_H

#include "rill/core/base.h"

struct parser_sample {
    const char *bytes;
    size_t length;
    int status; /* 0: a complete request; 1: a beginning of one; else the status it is refused with */
};

/* What the samples count on: request line 1,000 bytes, head 2,000, 20 fields, extensions 60, trailers 200, body
 * 1,000,000. */
#define PARSER_SAMPLE_LIMITS                                                                                           \
    {                                                                                                                  \
        1000, 2000, 20, 60, 200, 1000000                                                                               \
    }

extern const struct parser_sample parser_samples[];
extern const size_t parser_sample_count;

#endif
