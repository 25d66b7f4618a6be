/* parser_internal.h - what the files of the parser share: the state's one setter, the ways out for everything that is
 * not a well-formed line, and the entry points of the head function, which is compiled once for each ISA. */
#ifndef RILL_HTTP_PARSER_INTERNAL_H
#define RILL_HTTP_PARSER_INTERNAL_H

#include <stdlib.h>

#include "rill/http/parser.h"
#include "rill/http/scan_internal.h"

/* Bits of rill_parser.connection_options: what the framing fields said, until the head is complete. */
enum {
    RILL_OPTION_KEEP_ALIVE = 1,      /* Connection: keep-alive */
    RILL_OPTION_UPGRADE = 2,         /* Connection: upgrade */
    RILL_OPTION_EXPECT_CONTINUE = 4, /* Expect: 100-continue */
    RILL_OPTION_EXPECT_OTHER = 8,    /* Expect: anything else */
    RILL_OPTION_CODING_OTHER = 16    /* a transfer coding that is not chunked */
};

/* Bit 1 << TO of rill_parser_changes[FROM]: that change is legal. */
extern const uint16_t rill_parser_changes[RILL_PARSER_STATE_COUNT];

/* The one place where the state changes. */
static inline void rill_parser_enter(struct rill_parser *parser, enum rill_parser_state state)
{
#ifndef NDEBUG
    if ((rill_parser_changes[parser->state] >> state & 1) == 0)
        abort();
#endif
    parser->state = (uint8_t)state;
    parser->step = 0;
}

/* Enters FAILED with STATUS and REASON. Always RILL_PARSE_ERROR. */
enum rill_parse_result rill_parser_fail(struct rill_parser *parser, uint16_t status, const char *reason)
    __attribute__((cold));

/* Takes the request line at LINE: any kind, and slowly. An empty line before it is skipped. Returns the line behind it;
 * NULL, with *RESULT set, when it is still open (and may yet be completed by END) or not sound. Which it is depends on
 * the bytes from LINE to END alone, so that a line that came byte by byte fares like one that came whole. */
const char *rill_parser_request_line(struct rill_parser *parser, const char *bytes, const char *line, const char *end,
                                     enum rill_parse_result *result) __attribute__((cold));

/* Says why the field line at LINE is none: RILL_PARSE_MORE when it is merely still open, else RILL_PARSE_ERROR. */
enum rill_parse_result rill_parser_field_line_broken(struct rill_parser *parser, const char *bytes, const char *line,
                                                     const char *end) __attribute__((cold));

/* Acts on FIELD, one with an id from RILL_HEADER_CONNECTION to RILL_HEADER_UPGRADE; IS_REPEATED says that another with
 * its id came before. False when the request fails by it. */
bool rill_parser_framing_field(struct rill_parser *parser, const char *bytes, const struct rill_parser_field *field,
                               bool is_repeated);

/* The blank line came, and the head ends before END: judges what could not be judged before (RFC 9112 3.2, 6.3, 9.3).
 * RILL_PARSE_HEAD or RILL_PARSE_ERROR. */
enum rill_parse_result rill_parser_head_complete(struct rill_parser *parser, uint32_t head_length);

/* rill_parser_head() in the states REQUEST_LINE and HEADERS, for each ISA. Those with vectors want some bytes to work
 * on, and pass heads (or limits) that are smaller on to the portable one. */
typedef enum rill_parse_result rill_parser_head_function(struct rill_parser *parser, const char *bytes, size_t length);

rill_parser_head_function rill_parser_head_portable;
#if defined(__x86_64__)
rill_parser_head_function rill_parser_head_sse2;
rill_parser_head_function rill_parser_head_avx2;
rill_parser_head_function rill_parser_head_avx512;
#endif

#endif
