/* fuzz_parser.c - fuzzes the request parser: every ISA, whole and in pieces, against the reference parser.
 *
 * The first two bytes of the input choose how the rest, the request, is split and which limits it has. */
#include "rill/http/parser.h"
#include "support/fuzz.h"
#include "support/message_mutator.h"
#include "support/parser_driver.h"
#include "support/parser_samples.h"
#include "support/random.h"
#include "support/reference_parser.h"

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
        trace_must_equal(&actual, &expected, "%s, whole", rill_parser_isa_name((enum rill_parser_isa)isa));
        driver_run((enum rill_parser_isa)isa, limits, bytes, length, driver_random, &random, NULL, &actual);
        trace_must_equal(&actual, &expected, "%s, in pieces", rill_parser_isa_name((enum rill_parser_isa)isa));
    }
    return 0;
}

/* The two bytes are left to libFuzzer. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return message_mutate(data, size, max, seed, 2);
}
