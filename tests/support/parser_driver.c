/* parser_driver.c - the parser, fed in pieces. */
#include "parser_driver.h"
#include "random.h"

#include <stdlib.h>

#define TRAILER_CAPACITY 65536

size_t driver_whole(void *arg, size_t offset, size_t length)
{
    (void)arg;
    return length - offset;
}

size_t driver_bytewise(void *arg, size_t offset, size_t length)
{
    (void)arg;
    (void)offset;
    (void)length;
    return 1;
}

size_t driver_random(void *arg, size_t offset, size_t length)
{
    (void)offset;
    (void)length;
    struct test_random *random = arg;
    return 1 + test_random_below(random, test_random_below(random, 2) ? 3 : 60);
}

static char *copy_of(const char *bytes, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, length);
    return copy;
}

static void visit(uint16_t *visited, int from, int to)
{
    if (visited != NULL && from != to)
        visited[from] = (uint16_t)(visited[from] | 1u << to);
}

static void write_fields(const struct rill_parser *parser, const char *base, struct trace *trace)
{
    for (size_t i = 0; i < parser->header_count; i++) {
        trace_slice(trace, "name", rill_parser_header_name_at(parser, base, i));
        trace_slice(trace, "value", rill_parser_header_value_at(parser, base, i));
        trace_printf(trace, "id %d", parser->headers[i].id);
    }
}

static void write_head(const struct rill_parser *parser, const char *base, struct trace *trace)
{
    struct rill_slice none = {NULL, 0};
    struct trace_head head = {
        .method = rill_parser_method(parser, base),
        .target = rill_parser_target(parser, base),
        .path = rill_parser_path(parser, base),
        .query = parser->has_query ? rill_parser_query(parser, base) : none,
        .authority = rill_parser_authority(parser, base),
        .version_minor = parser->version_minor,
        .keep_alive = parser->keep_alive,
        .chunked = parser->chunked,
        .expect_continue = parser->expect_continue,
        .upgrade = parser->upgrade,
        .content_length = parser->content_length,
        .head_length = parser->head_length,
    };
    trace_head(trace, &head);
    write_fields(parser, base, trace);
}

static void write_response(const struct rill_parser *parser, const char *base, struct trace *trace)
{
    struct trace_response head = {
        .code = parser->code,
        .version_minor = parser->version_minor,
        .keep_alive = parser->keep_alive,
        .chunked = parser->chunked,
        .until_close = parser->until_close,
        .content_length = parser->has_body && !parser->chunked ? parser->content_length : 0,
        .head_length = parser->head_length,
    };
    trace_response(trace, &head);
    write_fields(parser, base, trace);
}

static void write_trailers(const struct rill_parser *parser, struct trace *trace)
{
    struct rill_slice section = rill_parser_trailers(parser);
    struct rill_slice name, value;
    while (rill_trailer_next(&section, &name, &value)) {
        trace_slice(trace, "trailer name", name);
        trace_slice(trace, "trailer value", value);
    }
}

struct feed {
    struct rill_parser parser;
    const char *bytes;
    size_t length;
    size_t offset; /* bytes that came */
    driver_split *split;
    void *arg;
    uint16_t *visited;
    struct trace *trace;
};

static size_t next_piece(struct feed *feed)
{
    size_t piece = feed->split(feed->arg, feed->offset, feed->length);
    return piece < feed->length - feed->offset ? piece : feed->length - feed->offset;
}

/* Until the head is complete, refused, or out of bytes. */
static enum rill_parse_result feed_head(struct feed *feed)
{
    enum rill_parse_result result;
    do {
        feed->offset += next_piece(feed);
        char *copy = copy_of(feed->bytes, feed->offset);
        int before = feed->parser.state;
        result = rill_parser_head(&feed->parser, copy, feed->offset);
        visit(feed->visited, before, feed->parser.state);
        if (result == RILL_PARSE_HEAD)
            (feed->parser.is_response ? write_response : write_head)(&feed->parser, copy, feed->trace);
        free(copy);
    } while (result == RILL_PARSE_MORE && feed->offset < feed->length);
    return result;
}

/* One piece of what follows the head; *USED says how much of it belongs to the request. */
static enum rill_parse_result feed_body_piece(struct feed *feed, size_t start, size_t length, size_t *used)
{
    char *copy = copy_of(feed->bytes + start, length);
    struct rill_parser_piece piece;
    *used = 0;
    do {
        int before = feed->parser.state;
        (void)rill_parser_body(&feed->parser, copy + *used, length - *used, &piece);
        visit(feed->visited, before, feed->parser.state);
        *used += piece.consumed;
        trace_content(feed->trace, piece.data);
    } while (piece.result == RILL_PARSE_DATA);
    free(copy);
    return piece.result;
}

/* What follows the head, until it ends or the bytes do. *AT is where that is. */
static enum rill_parse_result feed_body(struct feed *feed, size_t *at)
{
    size_t start = feed->parser.head_length;
    enum rill_parse_result result = feed->parser.has_body ? RILL_PARSE_MORE : RILL_PARSE_DONE;
    while (result == RILL_PARSE_MORE && start < feed->length) {
        if (feed->offset == start)
            feed->offset += next_piece(feed);
        size_t used;
        result = feed_body_piece(feed, start, feed->offset - start, &used);
        start += used;
    }
    *at = start;
    trace_printf(feed->trace, "\ncontent %llu", (unsigned long long)feed->parser.body_length);
    return result;
}

static char trailers[TRAILER_CAPACITY];

static void begin(struct feed *feed, enum rill_parser_isa isa, const struct rill_parser_limits *limits, bool response)
{
    memset(&feed->parser, 0xa5, sizeof(feed->parser)); /* a reset must do without zeroed memory */
    if (response)
        rill_parser_init_response(&feed->parser, limits);
    else
        rill_parser_init(&feed->parser, limits);
    if (rill_parser_use(&feed->parser, isa) != 0)
        abort();
    rill_parser_keep_trailers(&feed->parser, trailers, sizeof(trailers));
    trace_clear(feed->trace);
}

void driver_run(enum rill_parser_isa isa, const struct rill_parser_limits *limits, const char *bytes, size_t length,
                driver_split *split, void *arg, uint16_t *visited, struct trace *trace)
{
    struct feed feed = {
        .bytes = bytes, .length = length, .split = split, .arg = arg, .visited = visited, .trace = trace};
    begin(&feed, isa, limits, false);
    enum rill_parse_result result = feed_head(&feed);
    size_t consumed = feed.parser.head_length;
    if (result == RILL_PARSE_HEAD)
        result = feed_body(&feed, &consumed);
    if (result == RILL_PARSE_ERROR) {
        trace_printf(trace, "error %d", feed.parser.status);
    } else if (result == RILL_PARSE_DONE) {
        write_trailers(&feed.parser, trace);
        trace_printf(trace, "done %zu", consumed);
    } else {
        trace_printf(trace, "more");
    }
}

size_t driver_run_response(enum rill_parser_isa isa, const struct rill_parser_limits *limits, bool answers_head,
                           const char *bytes, size_t length, driver_split *split, void *arg, struct trace *trace)
{
    struct feed feed = {.bytes = bytes, .length = length, .split = split, .arg = arg, .trace = trace};
    begin(&feed, isa, limits, true);
    rill_parser_answers(&feed.parser, answers_head ? RILL_METHOD_HEAD : RILL_METHOD_GET);
    enum rill_parse_result result = feed_head(&feed);
    size_t consumed = feed.parser.head_length;
    if (result == RILL_PARSE_HEAD)
        result = feed_body(&feed, &consumed);
    bool until_close = feed.parser.until_close;
    if (result == RILL_PARSE_MORE)
        result = rill_parser_end(&feed.parser, length);
    if (result == RILL_PARSE_DONE) {
        write_trailers(&feed.parser, trace);
        trace_printf(trace, "done %zu", consumed);
        return until_close ? 0 : consumed;
    }
    trace_printf(trace, result == RILL_PARSE_MORE ? "nothing" : "error");
    return 0;
}
