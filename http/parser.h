/* parser.h - the HTTP/1 parser, of requests and of responses: bytes to events (RFC 9110, RFC 9112).
 *
 * The parser knows no socket, allocates nothing and copies nothing. It works in place on bytes that its caller holds,
 * in two phases:
 *
 *   head   rill_parser_head() is given all bytes of the request so far, from its first, until it says
 *          RILL_PARSE_HEAD. The bytes may move between the calls, for what it remembers is offsets; a later call goes
 * on where the one before stood. The caller keeps the head's bytes as long as it wants to read header fields. body
 * rill_parser_body() is given what follows, in pieces of any size, each byte once, until it says RILL_PARSE_DONE.
 * Nothing needs to be kept.
 *
 * What comes out depends on the bytes alone, never on how they were split. Where the RFCs let a recipient be lenient
 * this one is strict, because whoever stands in front of it may read the same bytes the other way: lines end with
 * CRLF, there is no folding, no space before a colon, no second Content-Length. The one exception is an empty line
 * before a request line (RFC 9112 2.2), which is skipped.
 *
 * One request, one pass through the states; rill_parser_reset() makes ready for the next request. Bytes behind a
 * request are never looked at.
 *
 *   rill_parser_init(&parser, &limits);
 *   switch (rill_parser_head(&parser, bytes, length)) {
 *   case RILL_PARSE_MORE:  read more, keep what is there, call again with all of it
 *   case RILL_PARSE_ERROR: reply parser.status and close
 *   case RILL_PARSE_HEAD:  host = rill_parser_header(&parser, bytes, RILL_HEADER_HOST); ...
 *                          body bytes begin at bytes + parser.head_length
 *   }
 *
 * A parser belongs to one thread at a time. */
#ifndef RILL_HTTP_PARSER_H
#define RILL_HTTP_PARSER_H

#include "rill/core/base.h"
#include "rill/http/header_id.h"
#include "rill/http/method.h"
#include "rill/http/target.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RILL_PARSER_MAX_HEADERS 100

/* Offsets are 32 bits wide; larger limits on the head count as this. */
#define RILL_PARSER_MAX_HEAD_BYTES ((uint32_t)1 << 30)

/* What one request may use. Shared by any number of parsers; must outlive them and stay as it is meanwhile. */
struct rill_parser_limits {
    uint32_t max_request_line_bytes; /* with its CRLF; beyond: 414 */
    uint32_t max_header_bytes;       /* the whole head: empty line before it, request line, fields, blank line; 431 */
    uint32_t max_headers;            /* field lines, at most RILL_PARSER_MAX_HEADERS; 431 */
    uint32_t max_chunk_extension_bytes; /* extensions of one chunk, from the `;`; 400 */
    uint32_t max_trailer_bytes;         /* the trailer section with its blank line; 431 */
    uint64_t max_body_bytes;            /* content, without chunk framing; UINT64_MAX is no limit; 413 */
};

/* 8 KiB request line, 32 KiB head, 100 fields, 256 bytes of extensions a chunk, 8 KiB of trailers, 1 MiB body. */
#define RILL_PARSER_LIMITS_DEFAULT                                                                                     \
    {                                                                                                                  \
        8192, 32768, RILL_PARSER_MAX_HEADERS, 256, 8192, 1048576                                                       \
    }

enum rill_parser_state {
    RILL_PARSER_REQUEST_LINE, /* also the empty line before it; of a response: the status line */
    RILL_PARSER_HEADERS,
    RILL_PARSER_BODY_LENGTH, /* content counted by Content-Length */
    RILL_PARSER_BODY_CLOSE,  /* content of a response that ends with the connection */
    RILL_PARSER_CHUNK_SIZE,
    RILL_PARSER_CHUNK_EXTENSION,
    RILL_PARSER_CHUNK_DATA,
    RILL_PARSER_CHUNK_END, /* the CRLF behind a chunk's data */
    RILL_PARSER_TRAILERS,
    RILL_PARSER_DONE,
    RILL_PARSER_FAILED, /* final: nothing but a reset leads out */
    RILL_PARSER_STATE_COUNT
};

enum rill_parse_result {
    RILL_PARSE_MORE, /* all that is there has been looked at; more bytes are needed */
    RILL_PARSE_HEAD, /* the head is complete */
    RILL_PARSE_DATA, /* a piece of content; call again with what follows */
    RILL_PARSE_DONE, /* the request is complete, and may have brought a last piece of content along */
    RILL_PARSE_ERROR /* `status` and `reason` say what is wrong; the connection cannot be used for another request */
};

/* How the bytes are looked at. Every way gives the same events; AUTO is the fastest one that this CPU has. */
enum rill_parser_isa {
    RILL_PARSER_ISA_PORTABLE, /* plain C, a machine word at a time */
    RILL_PARSER_ISA_SSE2,
    RILL_PARSER_ISA_AVX2,
    RILL_PARSER_ISA_AVX512, /* needs AVX-512 BW, VL and VBMI */
    RILL_PARSER_ISA_COUNT
};

/* One field line. Offsets count from the head's first byte; the value is without the white space around it. */
struct rill_parser_field {
    uint32_t name_offset;
    uint32_t value_offset;
    uint32_t value_length;
    uint16_t name_length;
    uint16_t id; /* enum rill_header_id */
};

/* To be read by the caller, written by the parser alone. Fields of a request mean something from RILL_PARSE_HEAD on. */
struct rill_parser {
    /* Kept over a reset. */
    const struct rill_parser_limits *limits;
    char *trailer_buffer; /* see rill_parser_keep_trailers() */
    uint32_t trailer_capacity;
    uint8_t isa; /* enum rill_parser_isa */
    bool is_response;
    bool answers_head; /* the response is one to HEAD: see rill_parser_answers() */

    /* From here to `headers`: cleared by a reset. */
    uint8_t state; /* enum rill_parser_state */
    uint8_t step;  /* where in a chunk or trailer line; private */

    uint8_t method;        /* enum rill_method */
    uint8_t target_form;   /* enum rill_target_form */
    uint8_t version_minor; /* 0 for HTTP/1.0, 1 for HTTP/1.1 and every later 1.x */
    bool keep_alive;       /* the connection may serve another request: version and Connection (RFC 9112 9.3) */
    bool has_body;         /* content follows the head: Content-Length above 0, or chunked */
    bool chunked;
    bool until_close;           /* content of a response that ends with the connection (RFC 9112 6.3, 8) */
    uint16_t code;              /* of a response: its status code, 100 to 999 */
    bool expect_continue;       /* Expect: 100-continue, by an HTTP/1.1 client */
    bool upgrade;               /* Connection names upgrade, and there is an Upgrade field */
    bool connection_close;      /* Connection names close */
    bool is_https;              /* absolute-form with https */
    bool target_escaped;        /* the path or the query has a `%` */
    bool has_query;             /* there is a `?` */
    uint8_t connection_options; /* private */

    uint16_t status;       /* after RILL_PARSE_ERROR: 400, 413, 414, 417, 431, 501 or 505; else 0 */
    uint16_t header_count; /* of `headers` in use */
    const char *reason;    /* after RILL_PARSE_ERROR: a static string for the log; else NULL */

    uint64_t present;        /* bit 1 << id for each well-known field that came at least once */
    uint64_t content_length; /* the value of Content-Length; 0 without */
    uint64_t max_body_bytes; /* see rill_parser_limit_body() */
    uint64_t body_length;    /* content bytes handed out so far */
    uint64_t remaining;      /* content bytes still to come: of the body, or of the current chunk */

    uint32_t head_length;    /* bytes of the head with its blank line; content begins there */
    uint32_t request_offset; /* 2 when an empty line came before the request, else 0: bytes beyond are a request's */
    uint32_t method_length;  /* the method begins at request_offset */
    uint32_t target_offset, target_length;
    uint32_t authority_offset, authority_length; /* of an absolute-form or authority-form target, else of Host */
    uint32_t path_offset, path_length;           /* use rill_parser_path() */
    uint32_t query_offset, query_length;         /* without the `?` */
    uint32_t line_offset;                        /* first byte of the line that is still open; private */
    uint32_t scan_offset;                        /* bytes before this need no second look; private */
    uint32_t extension_length;                   /* of the current chunk; private */
    uint32_t trailer_length;                     /* bytes of the trailer section so far */

    struct rill_parser_field headers[RILL_PARSER_MAX_HEADERS]; /* never cleared: header_count says what counts */
};

/* One step of rill_parser_body(). */
struct rill_parser_piece {
    enum rill_parse_result result;
    size_t consumed;        /* bytes used up, framing included */
    struct rill_slice data; /* content, in place; may come with RILL_PARSE_DATA and RILL_PARSE_DONE, else empty */
};

/* Makes PARSER ready for a first request, with the fastest ISA there is and no trailer buffer. LIMITS is borrowed. */
void rill_parser_init(struct rill_parser *parser, const struct rill_parser_limits *limits);

/* Makes PARSER ready for responses instead: what is said of a request is then true of a response, its status line in
 * the place of the request line (`code`, `version_minor`, `keep_alive`; no method, no target). As strict as with
 * requests, but that the space behind the code may be missing when there is no reason phrase. Interim responses (1xx)
 * are responses of their own, with no content. `status` is without a meaning. */
void rill_parser_init_response(struct rill_parser *parser, const struct rill_parser_limits *limits);

/* The response that comes answers METHOD: one to HEAD has no content, whatever its fields say (RFC 9112 6.3). Before
 * its first byte; holds until it is called again. */
static inline void rill_parser_answers(struct rill_parser *parser, enum rill_method method)
{
    parser->answers_head = method == RILL_METHOD_HEAD;
}

/* The connection ended behind what was parsed so far. RILL_PARSE_DONE: the response is complete, with the connection's
 * end as its own or before that. RILL_PARSE_MORE: nothing of a response had come. RILL_PARSE_ERROR: it is cut off. */
enum rill_parse_result rill_parser_end(struct rill_parser *parser, size_t length) RILL_WARN_UNUSED;

/* Makes PARSER ready for the next request, whatever state it is in; ISA, limits and trailer buffer stay. Cheap: some
 * words are cleared, not the array. */
void rill_parser_reset(struct rill_parser *parser);

/* Chooses ISA instead of the fastest one; for tests and measurements, before the first byte of a request. Returns 0, or
 * -ENOTSUP when this CPU or this build does not have it. */
int rill_parser_use(struct rill_parser *parser, enum rill_parser_isa isa) RILL_WARN_UNUSED;

/* "portable", "sse2", "avx2", "avx512"; a static string. Thread: any. */
const char *rill_parser_isa_name(enum rill_parser_isa isa);

/* Parses the head. BYTES are the LENGTH bytes that came so far, from the first byte of the request, all of them in
 * every call; they may lie elsewhere than in the call before, and may go on behind the head. In all calls together a
 * byte of a line that came whole is looked at once, one of a line that came in pieces at most twice.
 *
 * RILL_PARSE_HEAD: the head is head_length bytes long and all fields are set. Call rill_parser_body() next if has_body
 * is set; the request is complete if not.
 * RILL_PARSE_MORE: call again when there is more. Nothing but empty lines came if LENGTH <= request_offset.
 * RILL_PARSE_ERROR: reply `status`, then close. method, target and header fields may be incomplete: do not use them. */
enum rill_parse_result rill_parser_head(struct rill_parser *parser, const char *bytes, size_t length) RILL_WARN_UNUSED;

/* Parses content: takes as many of the LENGTH bytes at BYTES as make one step, framing and data, and says in *PIECE how
 * many and what they are. To be called again with the bytes not consumed until it says other than RILL_PARSE_DATA:
 *
 * RILL_PARSE_DATA: piece->data is content (never empty).
 * RILL_PARSE_MORE: every byte is consumed; go on when there is more.
 * RILL_PARSE_DONE: the request ends at BYTES + piece->consumed; piece->data may hold its last bytes of content.
 * RILL_PARSE_ERROR: as for the head. Content handed out before was sound, but will never be complete.
 *
 * Returns piece->result. After RILL_PARSE_DONE further calls consume nothing and say the same. Calling it before
 * RILL_PARSE_HEAD is a fault of the program and aborts. */
enum rill_parse_result rill_parser_body(struct rill_parser *parser, const char *bytes, size_t length,
                                        struct rill_parser_piece *piece);

/* Gives this request another limit than limits->max_body_bytes; between RILL_PARSE_HEAD and the first call of
 * rill_parser_body(), for a route that wants less. (A Content-Length above the general limit was refused already, so a
 * route that wants more needs general limits that allow it.) Returns 0, or -EMSGSIZE when content_length is above
 * MAX_BODY_BYTES already: reply 413. Content in chunks that passes it is RILL_PARSE_ERROR with 413. */
int rill_parser_limit_body(struct rill_parser *parser, uint64_t max_body_bytes) RILL_WARN_UNUSED;

/* Lends PARSER a buffer that the trailer section of a chunked body is copied to (RFC 9112 7.1.2); BUFFER NULL takes it
 * away. Without one, trailers are checked and dropped. A section larger than CAPACITY or max_trailer_bytes is refused
 * with 431. After RILL_PARSE_DONE, rill_parser_trailers() reads it. */
void rill_parser_keep_trailers(struct rill_parser *parser, char *buffer, size_t capacity);

/* The trailer section as it came, blank line included; empty when there was none or no buffer. */
struct rill_slice rill_parser_trailers(const struct rill_parser *parser);

/* Takes the next field off *SECTION, a slice from rill_parser_trailers(): true, with *NAME and *VALUE set, or false at
 * its end. Trailers are never merged into the header: one called Content-Length or Host means nothing to the parser. */
bool rill_trailer_next(struct rill_slice *section, struct rill_slice *name, struct rill_slice *value);

/* The method as it is spelled. BASE, here and below, is the first byte of the head, wherever it is now. */
static inline struct rill_slice rill_parser_method(const struct rill_parser *parser, const char *base)
{
    struct rill_slice slice = {base + parser->request_offset, parser->method_length};
    return slice;
}

/* The request target as it came: encoded, in whichever form. */
static inline struct rill_slice rill_parser_target(const struct rill_parser *parser, const char *base)
{
    struct rill_slice slice = {base + parser->target_offset, parser->target_length};
    return slice;
}

/* The path of the target, still encoded (rill_path_normalise() decodes it). `/` for `http://host`; `*` for
 * asterisk-form and for OPTIONS with `http://host` (RFC 9112 3.2.4); empty for authority-form. */
struct rill_slice rill_parser_path(const struct rill_parser *parser, const char *base);

/* The query, still encoded, without its `?`; empty when there is none (has_query tells the two apart). */
static inline struct rill_slice rill_parser_query(const struct rill_parser *parser, const char *base)
{
    struct rill_slice slice = {base + parser->query_offset, parser->query_length};
    return slice;
}

/* Host and port that the request is for: of the target if it has them, else of Host; empty when there are none. */
static inline struct rill_slice rill_parser_authority(const struct rill_parser *parser, const char *base)
{
    struct rill_slice slice = {base + parser->authority_offset, parser->authority_length};
    return slice;
}

/* Whether the well-known field ID came. */
static inline bool rill_parser_has(const struct rill_parser *parser, enum rill_header_id id)
{
    return (parser->present >> id & 1) != 0;
}

/* The value of the first field with ID, or a slice whose `bytes` are NULL when there is none. */
struct rill_slice rill_parser_header(const struct rill_parser *parser, const char *base, enum rill_header_id id);

/* The same by name, in any case, for fields that have no number. */
struct rill_slice rill_parser_header_named(const struct rill_parser *parser, const char *base, struct rill_slice name);

/* Goes through all fields with ID, for those whose value is a list that may come on several lines. Start with *INDEX 0;
 * true with *VALUE set as long as there is one more. */
bool rill_parser_header_next(const struct rill_parser *parser, const char *base, enum rill_header_id id, size_t *index,
                             struct rill_slice *value);

/* Name and value of field number INDEX, counted from 0 and below header_count, in the order they came. */
static inline struct rill_slice rill_parser_header_name_at(const struct rill_parser *parser, const char *base,
                                                           size_t index)
{
    struct rill_slice slice = {base + parser->headers[index].name_offset, parser->headers[index].name_length};
    return slice;
}

static inline struct rill_slice rill_parser_header_value_at(const struct rill_parser *parser, const char *base,
                                                            size_t index)
{
    struct rill_slice slice = {base + parser->headers[index].value_offset, parser->headers[index].value_length};
    return slice;
}

#ifdef __cplusplus
}
#endif

#endif
