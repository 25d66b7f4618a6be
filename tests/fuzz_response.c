/* fuzz_response.c - fuzzes the parsing of responses: every ISA, whole and in pieces, against the reference parser.
 *
 * The first byte of the input chooses how the rest, a stream of responses, is split, which limits there are, and
 * whether the responses answer HEAD. */
#include "rill/http/parser.h"
#include "support/fuzz.h"
#include "support/message_mutator.h"
#include "support/parser_driver.h"
#include "support/random.h"
#include "support/reference_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rill_parser_limits all_limits[] = {{1000, 4000, 20, 30, 200, 100000}, {30, 90, 3, 5, 9, 20}};
    static struct trace actual, expected;
    if (size < 1 || size > 8192)
        return 0;
    struct test_random random = {data[0]};
    bool answers_head = data[0] & 1;
    const struct rill_parser_limits *limits = &all_limits[data[0] >> 1 & 1];
    const char *bytes = (const char *)data + 1;
    size_t length = size - 1, used;
    enum rill_parser_isa isa;
    do {
        used = reference_parse_response(limits, answers_head, bytes, length, &expected);
        for (isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
            struct rill_parser parser;
            rill_parser_init(&parser, limits);
            if (rill_parser_use(&parser, isa) < 0)
                continue;
            MUST(driver_run_response(isa, limits, answers_head, bytes, length, driver_whole, NULL, &actual) == used);
            trace_must_equal(&actual, &expected, "%s, whole", rill_parser_isa_name(isa));
            MUST(driver_run_response(isa, limits, answers_head, bytes, length, driver_random, &random, &actual) ==
                 used);
            trace_must_equal(&actual, &expected, "%s, in pieces", rill_parser_isa_name(isa));
        }
        bytes += used;
        length -= used;
    } while (used > 0 && length > 0);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return message_mutate(data, size, max, seed, 1);
}
