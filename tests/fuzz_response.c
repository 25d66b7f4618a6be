/* fuzz_response.c - fuzzes the parsing of responses: whatever the ISA and the pieces, the same responses come out, and
 * the same end; and what comes out is what the bytes say.
 *
 * The first byte of the input chooses how the rest, a stream of responses, is split, and whether they answer HEAD. */
#include "rill/http/parser.h"
#include "support/random.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TOLD = 65536 };

/* What came out: for each response its code, whether the connection lives on, where it ends and its content. */
struct told {
    size_t length;
    char text[MAX_TOLD];
};

__attribute__((format(printf, 2, 3))) static void tell(struct told *told, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(told->text + told->length, MAX_TOLD - told->length, format, args);
    va_end(args);
    told->length += (size_t)length < MAX_TOLD - told->length ? (size_t)length : MAX_TOLD - told->length - 1;
}

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

/* One response from BYTES on, of which HAVE have come; the rest comes in pieces. Returns where it ends; 0: it does not.
 */
static size_t run_one(struct rill_parser *parser, const char *bytes, size_t length, struct test_random *random,
                      struct told *told)
{
    size_t have = random ? test_random_below(random, length + 1) : length, at;
    enum rill_parse_result result;
    uint64_t content = 0;
    while ((result = rill_parser_head(parser, bytes, have)) == RILL_PARSE_MORE && have < length)
        have += 1 + test_random_below(random, length - have);
    if (result != RILL_PARSE_HEAD) {
        if (result == RILL_PARSE_MORE)
            result = rill_parser_end(parser, length);
        tell(told, result == RILL_PARSE_ERROR ? "!" : ".");
        return 0;
    }
    must(parser->head_length >= 16 && parser->head_length <= have, "a head of impossible length");
    must(memcmp(bytes + parser->head_length - 4, "\r\n\r\n", 4) == 0, "a head that ends otherwise");
    must(parser->code >= 100 && parser->code <= 999, "an impossible code");
    must(!(parser->answers_head && parser->has_body), "content that answers HEAD");
    tell(told, "%u %d ", parser->code, parser->keep_alive);
    for (at = parser->head_length;;) {
        struct rill_parser_piece piece;
        result = rill_parser_body(parser, bytes + at, have - at, &piece);
        must(piece.consumed <= have - at && piece.data.length <= piece.consumed, "more taken than there is");
        content += piece.data.length;
        at += piece.consumed;
        if (result == RILL_PARSE_MORE && have < length)
            have += 1 + test_random_below(random, length - have);
        else if (result != RILL_PARSE_DATA)
            break;
    }
    bool until_close = parser->until_close;
    if (result == RILL_PARSE_MORE)
        result = rill_parser_end(parser, 0);
    must(content == parser->body_length, "content that was not counted");
    must(parser->chunked || until_close || !parser->has_body || result != RILL_PARSE_DONE ||
             content == parser->content_length,
         "content of another length than was said");
    tell(told, "%llu at %zu%s", (unsigned long long)content, at, result == RILL_PARSE_DONE ? ";" : "!");
    return result == RILL_PARSE_DONE && !until_close ? at : 0;
}

static void run(const char *bytes, size_t length, bool head, int isa, uint64_t seed, struct told *told)
{
    static const struct rill_parser_limits limits = {1000, 4000, 20, 30, 200, 100000};
    struct rill_parser parser;
    struct test_random random = {seed};
    told->length = 0;
    told->text[0] = '\0';
    rill_parser_init_response(&parser, &limits);
    if (rill_parser_use(&parser, (enum rill_parser_isa)isa) < 0)
        return;
    rill_parser_answers(&parser, head ? RILL_METHOD_HEAD : RILL_METHOD_GET);
    for (size_t from = 0, end = 1; end && from <= length; from += end) {
        char *copy = malloc(length - from + 1); /* so that reading too far is seen */
        must(copy != NULL, "no memory");
        memcpy(copy, bytes + from, length - from);
        char *exact = realloc(copy, length - from ? length - from : 1);
        rill_parser_reset(&parser);
        end = run_one(&parser, exact, length - from, seed ? &random : NULL, told);
        free(exact);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct told whole, pieces;
    if (size < 1 || size > 8192)
        return 0;
    const char *bytes = (const char *)data + 1;
    run(bytes, size - 1, data[0] & 1, RILL_PARSER_ISA_PORTABLE, 0, &whole);
    for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            run(bytes, size - 1, data[0] & 1, isa, seed ? seed + data[0] : 0, &pieces);
            must(pieces.length == 0 || strcmp(pieces.text, whole.text) == 0, pieces.text);
        }
    }
    return 0;
}
