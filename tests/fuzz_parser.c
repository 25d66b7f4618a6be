/* fuzz_parser.c - fuzzes the request parser: every ISA, whole and in pieces, against the reference parser; and the path
 * of the target, which must never mean anything above the root.
 *
 * The first two bytes of the input choose how the rest, the request, is split and which limits it has. */
#include <stdio.h>
#include <stdlib.h>

#include "rill/http/parser.h"
#include "support/parser_driver.h"
#include "support/parser_samples.h"
#include "support/random.h"
#include "support/reference_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t split_random(void *arg, size_t offset, size_t length)
{
    (void)offset;
    (void)length;
    struct test_random *random = arg;
    return 1 + test_random_below(random, test_random_below(random, 2) ? 3 : 60);
}

static void must_equal(const struct trace *actual, const struct trace *expected, int isa, const char *how)
{
    if (strcmp(actual->text, expected->text) == 0)
        return;
    fprintf(stderr, "%s, %s:\n%s\nshould be\n%s\n", rill_parser_isa_name((enum rill_parser_isa)isa), how, actual->text,
            expected->text);
    abort();
}

static void check_path(const char *bytes, size_t length)
{
    static const struct rill_parser_limits limits = RILL_PARSER_LIMITS_DEFAULT;
    struct rill_parser parser;
    rill_parser_init(&parser, &limits);
    if (rill_parser_head(&parser, bytes, length) != RILL_PARSE_HEAD)
        return;
    struct rill_slice path = rill_parser_path(&parser, bytes);
    char *buffer = malloc(path.length + 1);
    char *text = malloc(path.length + 3);
    struct rill_slice result;
    if (buffer == NULL || text == NULL)
        abort();
    if (rill_path_normalise(path, buffer, path.length, &result) == 0) {
        memcpy(text, result.bytes, result.length);
        memcpy(text + result.length, "/", 2);
        if (result.length == 0 || text[0] != '/' || strlen(text) != result.length + 1 || strstr(text, "/../") != NULL ||
            strstr(text, "/./") != NULL || memmem(text, result.length, "//", 2) != NULL) {
            fprintf(stderr, "path %.*s became %s\n", (int)path.length, path.bytes, text);
            abort();
        }
    }
    free(text);
    free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rill_parser_limits all_limits[] = {
        PARSER_SAMPLE_LIMITS, RILL_PARSER_LIMITS_DEFAULT, {40, 90, 3, 5, 9, 20}, {20, 70, 2, 8, 5, 3}};
    static struct trace actual, expected;
    if (size < 2)
        return 0;
    struct test_random random = {data[0]};
    const struct rill_parser_limits *limits = &all_limits[data[1] % rill_array_length(all_limits)];
    const char *bytes = (const char *)data + 2;
    size_t length = size - 2;

    reference_parse(limits, bytes, length, &expected);
    for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
        struct rill_parser parser;
        rill_parser_init(&parser, limits);
        if (rill_parser_use(&parser, (enum rill_parser_isa)isa) != 0)
            continue;
        driver_run((enum rill_parser_isa)isa, limits, bytes, length, driver_whole, NULL, NULL, &actual);
        must_equal(&actual, &expected, isa, "whole");
        driver_run((enum rill_parser_isa)isa, limits, bytes, length, split_random, &random, NULL, &actual);
        must_equal(&actual, &expected, isa, "in pieces");
    }
    check_path(bytes, length);
    return 0;
}
