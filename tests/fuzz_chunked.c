/* fuzz_chunked.c - fuzzes the chunked decoder alone: every byte of the input, but for the first, is chunks and
 * trailers. In pieces that meet anywhere, and by every ISA's way into it, against the reference parser. */
#include "rill/http/parser.h"
#include "support/fuzz.h"
#include "support/message_mutator.h"
#include "support/parser_driver.h"
#include "support/random.h"
#include "support/reference_parser.h"

static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

enum { HEAD_LENGTH = sizeof head - 1, SHORT = 64 };

/* Two pieces that meet at *ARG. */
static size_t split_at(void *arg, size_t offset, size_t length)
{
    size_t cut = *(size_t *)arg;
    return offset < cut ? cut - offset : length - offset;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rill_parser_limits all_limits[] = {{100, 200, 20, 60, 200, 100000}, {100, 200, 20, 5, 12, 20}};
    static struct trace actual, expected;
    static char bytes[HEAD_LENGTH + 8192];
    if (size < 1 || size > sizeof bytes - HEAD_LENGTH)
        return 0;
    const struct rill_parser_limits *limits = &all_limits[data[0] & 1];
    struct test_random random = {data[0]};
    size_t length = HEAD_LENGTH + size - 1;
    memcpy(bytes, head, HEAD_LENGTH);
    memcpy(bytes + HEAD_LENGTH, data + 1, size - 1);
    reference_parse(limits, bytes, length, &expected);

    driver_run(RILL_PARSER_ISA_PORTABLE, limits, bytes, length, driver_whole, NULL, NULL, &actual);
    trace_must_equal(&actual, &expected, "whole");
    driver_run(RILL_PARSER_ISA_PORTABLE, limits, bytes, length, driver_bytewise, NULL, NULL, &actual);
    trace_must_equal(&actual, &expected, "byte by byte");
    driver_run(RILL_PARSER_ISA_PORTABLE, limits, bytes, length, driver_random, &random, NULL, &actual);
    trace_must_equal(&actual, &expected, "in pieces");
    for (size_t cut = HEAD_LENGTH; size <= SHORT && cut < length; cut++) {
        driver_run(RILL_PARSER_ISA_PORTABLE, limits, bytes, length, split_at, &cut, NULL, &actual);
        trace_must_equal(&actual, &expected, "cut at %zu", cut);
    }
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return message_mutate(data, size, max, seed, 1);
}
