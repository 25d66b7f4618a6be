/* fuzz.h - what the fuzz targets share. A target is run by libFuzzer in the fuzzers' build, and by
 * support/replay_main.c with its kept corpus alone in the others. */
#ifndef RILL_TESTS_SUPPORT_FUZZ_H
#define RILL_TESTS_SUPPORT_FUZZ_H

#include "must.h"
#include "rill/core/base.h"
#include <regex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Defined by each target; 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Defined by targets that know what their input looks like: changes the SIZE bytes at DATA, which has room for MAX, by
 * SEED, and returns how many they are then. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* libFuzzer's own changes, which know nothing of the input. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Takes a line off TEXT, up to LF or the end, and without it. NULL bytes: there is none left. */
static inline struct rill_slice fuzz_take_line(struct rill_slice *text)
{
    struct rill_slice line = {NULL, 0};
    if (text->length == 0)
        return line;
    const char *end = memchr(text->bytes, '\n', text->length);
    line.bytes = text->bytes;
    line.length = end ? (size_t)(end - text->bytes) : text->length;
    text->bytes += line.length + (end != NULL);
    text->length -= line.length + (end != NULL);
    return line;
}

/* An extended regular expression; only `text` is to be set. */
struct fuzz_pattern {
    const char *text;
    regex_t regex; /* made at the first use, and kept */
    bool is_made;
};

/* Whether TEXT matches PATTERN, and what its first COUNT groups match, the whole being the first. */
static inline bool fuzz_match(struct fuzz_pattern *pattern, const char *text, size_t count, regmatch_t *groups)
{
    if (!pattern->is_made)
        MUST(regcomp(&pattern->regex, pattern->text, REG_EXTENDED) == 0);
    pattern->is_made = true;
    return regexec(&pattern->regex, text, count, groups, 0) == 0;
}

/* A copy of TEXT in a block of its own and exactly its size, so that a sanitizer sees each byte read beyond it. */
static inline char *fuzz_copy(struct rill_slice text)
{
    char *copy = malloc(text.length ? text.length : 1);
    MUST(copy);
    if (text.length > 0)
        memcpy(copy, text.bytes, text.length);
    return copy;
}

/* The same as a string; what is behind a NUL in TEXT is not of it. */
static inline char *fuzz_string(struct rill_slice text)
{
    char *copy = strndup(text.length ? text.bytes : "", text.length);
    MUST(copy);
    return copy;
}

#endif
