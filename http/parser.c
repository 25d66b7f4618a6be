/* parser.c - the parser's states, its start, and what a caller asks it about a head. The work is in parser_head_*.c
 * (lines), parser_field.c (what they mean together) and parser_body.c (content). */
#include "rill/http/parser.h"

#include <errno.h>

#include "rill/http/parser_internal.h"

#define TO(state) (1 << RILL_PARSER_##state)

const uint16_t rill_parser_changes[RILL_PARSER_STATE_COUNT] = {
    [RILL_PARSER_REQUEST_LINE] = TO(HEADERS) | TO(FAILED),
    [RILL_PARSER_HEADERS] = TO(BODY_LENGTH) | TO(BODY_CLOSE) | TO(CHUNK_SIZE) | TO(DONE) | TO(FAILED),
    [RILL_PARSER_BODY_LENGTH] = TO(DONE) | TO(FAILED),
    [RILL_PARSER_BODY_CLOSE] = TO(DONE) | TO(FAILED),
    [RILL_PARSER_CHUNK_SIZE] = TO(CHUNK_EXTENSION) | TO(CHUNK_DATA) | TO(TRAILERS) | TO(FAILED),
    [RILL_PARSER_CHUNK_EXTENSION] = TO(CHUNK_DATA) | TO(TRAILERS) | TO(FAILED),
    [RILL_PARSER_CHUNK_DATA] = TO(CHUNK_END) | TO(FAILED),
    [RILL_PARSER_CHUNK_END] = TO(CHUNK_SIZE) | TO(FAILED),
    [RILL_PARSER_TRAILERS] = TO(DONE) | TO(FAILED),
    [RILL_PARSER_DONE] = 0,
    [RILL_PARSER_FAILED] = 0,
};

static rill_parser_head_function *const head_functions[RILL_PARSER_ISA_COUNT] = {
    [RILL_PARSER_ISA_PORTABLE] = rill_parser_head_portable,
#if defined(__x86_64__)
    [RILL_PARSER_ISA_SSE2] = rill_parser_head_sse2,
    [RILL_PARSER_ISA_AVX2] = rill_parser_head_avx2,
    [RILL_PARSER_ISA_AVX512] = rill_parser_head_avx512,
#endif
};

static bool isa_is_supported(enum rill_parser_isa isa)
{
#if defined(__x86_64__)
    switch (isa) {
    case RILL_PARSER_ISA_PORTABLE:
    case RILL_PARSER_ISA_SSE2:
        return true;
    case RILL_PARSER_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    case RILL_PARSER_ISA_AVX512:
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    default:
        return false;
    }
#else
    return isa == RILL_PARSER_ISA_PORTABLE;
#endif
}

void rill_parser_init(struct rill_parser *parser, const struct rill_parser_limits *limits)
{
    parser->limits = limits;
    parser->trailer_buffer = NULL;
    parser->trailer_capacity = 0;
    int isa = RILL_PARSER_ISA_COUNT - 1;
    while (!isa_is_supported((enum rill_parser_isa)isa))
        isa--;
    parser->isa = (uint8_t)isa;
    parser->is_response = parser->answers_head = false;
    rill_parser_reset(parser);
}

void rill_parser_init_response(struct rill_parser *parser, const struct rill_parser_limits *limits)
{
    rill_parser_init(parser, limits);
    parser->is_response = true;
}

enum rill_parse_result rill_parser_end(struct rill_parser *parser, size_t length)
{
    switch ((enum rill_parser_state)parser->state) {
    case RILL_PARSER_BODY_CLOSE:
        rill_parser_enter(parser, RILL_PARSER_DONE);
        return RILL_PARSE_DONE;
    case RILL_PARSER_DONE:
        return RILL_PARSE_DONE;
    case RILL_PARSER_FAILED:
        return RILL_PARSE_ERROR;
    case RILL_PARSER_REQUEST_LINE:
        if (length == 0)
            return RILL_PARSE_MORE;
        break;
    default:
        break;
    }
    return rill_parser_fail(parser, 400, "cut off by the end of the connection");
}

void rill_parser_reset(struct rill_parser *parser)
{
    /* In three pieces because compilers make a loop of one this large, which takes longer to start than to run. */
    char *first = (char *)parser + offsetof(struct rill_parser, state);
    const size_t length = offsetof(struct rill_parser, headers) - offsetof(struct rill_parser, state);
    memset(first, 0, length / 3);
    memset(first + length / 3, 0, length / 3);
    memset(first + length / 3 * 2, 0, length - length / 3 * 2);
    parser->max_body_bytes = parser->limits->max_body_bytes;
}

int rill_parser_use(struct rill_parser *parser, enum rill_parser_isa isa)
{
    if ((unsigned)isa >= RILL_PARSER_ISA_COUNT || !isa_is_supported(isa))
        return -ENOTSUP;
    parser->isa = (uint8_t)isa;
    return 0;
}

const char *rill_parser_isa_name(enum rill_parser_isa isa)
{
    static const char *const names[RILL_PARSER_ISA_COUNT] = {"portable", "sse2", "avx2", "avx512"};
    return (unsigned)isa < RILL_PARSER_ISA_COUNT ? names[isa] : "";
}

enum rill_parse_result rill_parser_head(struct rill_parser *parser, const char *bytes, size_t length)
{
    if (RILL_UNLIKELY(parser->state > RILL_PARSER_HEADERS))
        return parser->state == RILL_PARSER_FAILED ? RILL_PARSE_ERROR : RILL_PARSE_HEAD;
    return head_functions[parser->isa](parser, bytes, length);
}

enum rill_parse_result rill_parser_fail(struct rill_parser *parser, uint16_t status, const char *reason)
{
    rill_parser_enter(parser, RILL_PARSER_FAILED);
    parser->status = status;
    parser->reason = reason;
    parser->keep_alive = false;
    return RILL_PARSE_ERROR;
}

int rill_parser_limit_body(struct rill_parser *parser, uint64_t max_body_bytes)
{
    parser->max_body_bytes = max_body_bytes;
    return parser->content_length > max_body_bytes ? -EMSGSIZE : 0;
}

struct rill_slice rill_parser_path(const struct rill_parser *parser, const char *base)
{
    struct rill_slice path = {base + parser->path_offset, parser->path_length};
    if (path.length > 0)
        return path;
    switch ((enum rill_target_form)parser->target_form) {
    case RILL_TARGET_ASTERISK:
        return rill_slice_of("*");
    case RILL_TARGET_ABSOLUTE:
        return rill_slice_of(parser->method == RILL_METHOD_OPTIONS && !parser->has_query ? "*" : "/");
    default:
        return path;
    }
}

bool rill_parser_header_next(const struct rill_parser *parser, const char *base, enum rill_header_id id, size_t *index,
                             struct rill_slice *value)
{
    for (size_t i = *index; i < parser->header_count; i++) {
        if (parser->headers[i].id != id)
            continue;
        *value = rill_parser_header_value_at(parser, base, i);
        *index = i + 1;
        return true;
    }
    *index = parser->header_count;
    return false;
}

struct rill_slice rill_parser_header(const struct rill_parser *parser, const char *base, enum rill_header_id id)
{
    struct rill_slice value = {NULL, 0};
    size_t index = 0;
    if (rill_parser_has(parser, id))
        (void)rill_parser_header_next(parser, base, id, &index, &value);
    return value;
}

struct rill_slice rill_parser_header_named(const struct rill_parser *parser, const char *base, struct rill_slice name)
{
    struct rill_slice value = {NULL, 0};
    for (size_t i = 0; i < parser->header_count; i++)
        if (rill_slice_equal_nocase(rill_parser_header_name_at(parser, base, i), name))
            return rill_parser_header_value_at(parser, base, i);
    return value;
}
