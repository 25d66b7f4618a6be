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

/* The line at LINE is not a well-formed line, or not yet. RILL_PARSE_MORE when it is merely still open: nothing but
 * more bytes is missing, and it may have them. Otherwise fails: by a limit that END stands at, by a control byte or a
 * line end that is not CRLF, or else with STATUS and REASON. The order of these is what makes the outcome the same for
 * a line that came whole and for one that came byte by byte. END is where the line has to end at the latest. */
enum rill_parse_result rill_parser_line_broken(struct rill_parser *parser, const char *bytes, const char *line,
                                               const char *end, uint16_t status, const char *reason)
    __attribute__((cold));

/* Reads `HTTP/1.x` and CRLF at VERSION. False, with *STATUS and *REASON set, for anything else. */
bool rill_parser_version(struct rill_parser *parser, const char *version, const char *end, uint16_t *status,
                         const char **reason) __attribute__((cold));

/* Takes apart a target that is not in origin-form, or that CONNECT came with. False when the request fails by it. */
bool rill_parser_take_target(struct rill_parser *parser, const char *bytes) __attribute__((cold));

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
