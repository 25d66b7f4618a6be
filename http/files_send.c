/* files_send.c - a file as a response: conditions, ranges, and bodies that are sent in pieces.
 *
 * A piece of a file is given to sendfile(2) only when the page cache holds it, so the loop does not wait for a disk;
 * when it does not, a worker reads it first. The next piece is looked at when there is room for it: what waits to
 * leave stays small, and so does what could be evicted between look and departure. */
#include "rill/core/sys.h"
#include "rill/http/conditional.h"
#include "rill/http/files_internal.h"
#include "rill/http/page_cache_internal.h"
#include "rill/http/range.h"

enum {
    COPY_BYTES = 4096,         /* contents that leave as one piece of memory with their head */
    WHOLE_BYTES = 1024 * 1024, /* of a file, that leave as one piece: cheapest */
    PIECE_BYTES = 256 * 1024,  /* of a larger one: bounds what may be evicted while a slow client is waited for */
    RETRY_MS = 10,             /* when the pool's queue is full */
    UNSETTLED_MS = 1000,       /* after a read ahead; by then no page is still on its way */
};

/* A body on its way; in the exchange's arena. */
struct body {
    struct rill_resource *resource;
    size_t range_count, range_index;
    uint64_t sent;   /* of the current range */
    bool in_range;   /* its part header has been sent */
    bool read_ahead; /* the next piece is in memory: a worker has just read it */
    bool has_multipart;
    struct rill_multipart multipart;
    char boundary[RILL_MULTIPART_BOUNDARY_LENGTH];
    struct rill_range ranges[];
};

static void pump(struct rill_exchange *x, void *arg);

/* --- read ahead --- */

struct read_ahead {
    struct rill_job job;
    struct rill_exchange_id id;
    struct body *body; /* lives as long as the exchange */
    struct rill_file_ref *file;
    uint64_t offset, length;
    int error;
};

static void read_ahead_run(struct rill_job *job)
{
    struct read_ahead *ahead = rill_container_of(job, struct read_ahead, job);
    ahead->error = rill_page_cache_fill(rill_file_ref_fd(ahead->file), ahead->offset, ahead->length);
}

static void read_ahead_arrived(struct rill_exchange *x, void *arg)
{
    struct read_ahead *ahead = arg;
    if (ahead->error < 0) {
        rill_exchange_abort(x);
        return;
    }
    ahead->body->read_ahead = true;
    pump(x, ahead->body);
}

static void read_ahead_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct read_ahead *ahead = rill_container_of(job, struct read_ahead, job);
    struct rill_exchange *x = rill_loop_is_current(job->loop) ? rill_exchange_find(job->loop, ahead->id) : NULL;
    if (outcome != RILL_JOB_RAN)
        ahead->error = -ECANCELED;
    if (x)
        rill_session_call(x, read_ahead_arrived, ahead);
    rill_file_ref_drop(ahead->file);
    rill_sys_free(ahead);
}

/* Has a worker read the piece; pump() goes on when it has. */
static void read_ahead(struct rill_exchange *x, struct body *body, uint64_t offset, uint64_t length)
{
    struct read_ahead *ahead = rill_sys_malloc(sizeof *ahead);
    if (!ahead) {
        rill_exchange_abort(x);
        return;
    }
    *ahead = (struct read_ahead){
        .job = {.run = read_ahead_run, .done = read_ahead_done, .loop = rill_exchange_loop(x)},
        .id = rill_exchange_id(x),
        .body = body,
        .file = rill_file_ref_hold(body->resource->file),
        .offset = offset,
        .length = length,
    };
    int error = rill_workers_submit(rill_loop_workers(rill_exchange_http(x)->loop), &ahead->job);
    if (error == 0)
        return;
    rill_file_ref_drop(ahead->file);
    rill_sys_free(ahead);
    if (error == -EAGAIN)
        rill_exchange_after(x, RETRY_MS, pump, body);
    else
        rill_exchange_abort(x);
}

/* --- bodies --- */

static bool in_memory(struct rill_exchange *x, const struct rill_resource *resource, uint64_t offset, uint64_t length)
{
    enum rill_page_cache_trust trust = RILL_PAGE_CACHE_COUNTED;
    uint64_t now_ms = rill_loop_now_ms(rill_exchange_loop(x));
    if (resource->bytes)
        return true;
    if (!resource->pages_counted)
        trust = RILL_PAGE_CACHE_UNCOUNTED;
    else if (resource->read_ahead_ms > 0 && now_ms - resource->read_ahead_ms < UNSETTLED_MS)
        trust = RILL_PAGE_CACHE_UNSETTLED;
    return rill_page_cache_has(rill_file_ref_fd(resource->file), offset, length, trust);
}

/* Sends LENGTH bytes, which are in memory, from OFFSET on. Returns 0 or a negative errno. */
static int send_bytes(struct rill_exchange *x, struct rill_resource *resource, uint64_t offset, uint64_t length)
{
    if (!resource->bytes)
        return rill_exchange_write_file(x, resource->file, offset, length);
    if (length <= COPY_BYTES)
        return rill_exchange_write(x, rill_buf_bytes(resource->bytes) + offset, (size_t)length);
    struct rill_buf *piece = length == rill_buf_length(resource->bytes)
                                 ? rill_buf_ref(resource->bytes)
                                 : rill_buf_slice(resource->bytes, (size_t)offset, (size_t)length);
    return piece ? rill_exchange_write_buf(x, piece) : -ENOMEM;
}

static int send_part_header(struct rill_exchange *x, const struct body *body, struct rill_range range)
{
    size_t length = rill_multipart_part(&body->multipart, range, body->range_index == 0, NULL);
    char *header = rill_arena_alloc(rill_exchange_arena(x), length);
    if (!header)
        return -ENOMEM;
    rill_multipart_part(&body->multipart, range, body->range_index == 0, header);
    return rill_exchange_write(x, header, length);
}

static int send_multipart_end(struct rill_exchange *x, const struct body *body)
{
    char end[RILL_MULTIPART_BOUNDARY_LENGTH + 16];
    return rill_exchange_write(x, end, rill_multipart_end(&body->multipart, end));
}

/* Sends the next piece of the current range if that can be done now. Returns 1; 0: pump() will be called again; or a
 * negative errno. */
static int send_piece(struct rill_exchange *x, struct body *body)
{
    struct rill_range range = body->ranges[body->range_index];
    uint64_t offset = range.offset + body->sent, left = range.length - body->sent;
    uint64_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
    if (rill_exchange_is_full(x)) {
        rill_exchange_on_room(x, pump, body);
        return 0;
    }
    if (!body->read_ahead && !in_memory(x, body->resource, offset, piece)) {
        body->resource->read_ahead_ms = rill_loop_now_ms(rill_exchange_loop(x));
        read_ahead(x, body, offset, piece);
        return 0;
    }
    body->read_ahead = false;
    body->sent += piece;
    int error = send_bytes(x, body->resource, offset, piece);
    return error < 0 ? error : 1;
}

/* Sends what can be sent of the body at ARG. */
static void pump(struct rill_exchange *x, void *arg)
{
    struct body *body = arg;
    int error = 1;
    while (error > 0 && body->range_index < body->range_count) {
        struct rill_range range = body->ranges[body->range_index];
        if (!body->in_range && body->has_multipart && (error = send_part_header(x, body, range)) < 0)
            break;
        body->in_range = true;
        error = send_piece(x, body);
        if (body->sent == range.length) {
            body->range_index++;
            body->sent = 0;
            body->in_range = false;
        }
    }
    if (error == 0)
        return;
    if (error > 0 && body->has_multipart)
        error = send_multipart_end(x, body);
    if (error < 0)
        rill_exchange_abort(x);
    else
        rill_exchange_end(x);
}

static void body_free(void *arg)
{
    rill_resource_drop(((struct body *)arg)->resource);
}

/* A body for COUNT ranges, to be filled in; NULL when memory is lacking. */
static struct body *body_new(struct rill_exchange *x, struct rill_resource *resource, const struct rill_range *ranges,
                             size_t count)
{
    struct body *body = rill_arena_alloc(rill_exchange_arena(x), sizeof *body + count * sizeof *ranges);
    if (!body || rill_arena_on_reset(rill_exchange_arena(x), body_free, body) < 0)
        return NULL;
    *body = (struct body){.resource = rill_resource_hold(resource), .range_count = count};
    memcpy(body->ranges, ranges, count * sizeof *ranges);
    return body;
}

/* --- responses --- */

/* 200 with everything. */
static void send_whole(struct rill_exchange *x, struct rill_resource *resource)
{
    uint64_t size = resource->stamp.size;
    bool is_head = rill_exchange_method(x) == RILL_METHOD_HEAD;
    rill_exchange_set_fields(x, (struct rill_slice){resource->text, resource->fields_length});
    if (RILL_LIKELY(resource->bytes && size <= COPY_BYTES)) {
        rill_exchange_reply(x, 200, NULL, rill_buf_bytes(resource->bytes), (size_t)size);
        return;
    }
    struct body *body = NULL;
    if (!is_head && size > 0 && (size > WHOLE_BYTES || !in_memory(x, resource, 0, size))) {
        body = body_new(x, resource, &(struct rill_range){0, size}, 1);
        if (!body) {
            rill_exchange_set_fields(x, (struct rill_slice){NULL, 0});
            rill_exchange_reply_status(x, 503);
            return;
        }
    }
    if (rill_exchange_begin(x, 200, NULL, size) < 0)
        return;
    if (body)
        pump(x, body);
    else if (is_head || size == 0 || send_bytes(x, resource, 0, size) == 0)
        rill_exchange_end(x);
    else
        rill_exchange_abort(x);
}

/* 206 with the ranges of SET: one as it is, several as multipart/byteranges (RFC 9110 15.3.7). */
static void send_ranges(struct rill_exchange *x, struct rill_resource *resource, const struct rill_range_set *set)
{
    char content_range[RILL_CONTENT_RANGE_MAX], content_type[RILL_MULTIPART_TYPE_LENGTH + 1];
    uint64_t length = set->ranges[0].length, random[2];
    struct rill_slice fields = {resource->text, resource->fields_length};
    struct body *body = body_new(x, resource, set->ranges, set->count);
    int error = body ? 0 : -ENOMEM;
    if (body && set->count == 1) {
        size_t text_length = rill_content_range(content_range, set->ranges[0], resource->stamp.size);
        error = rill_exchange_set_header(x, "Content-Range", (struct rill_slice){content_range, text_length});
    } else if (body) {
        if (rill_sys_getrandom(random, sizeof random, 0) != sizeof random)
            error = -errno;
        rill_multipart_boundary(body->boundary, random[0], random[1]);
        rill_multipart_type(content_type, body->boundary);
        content_type[RILL_MULTIPART_TYPE_LENGTH] = '\0';
        body->has_multipart = true;
        body->multipart = (struct rill_multipart){
            .boundary = {body->boundary, sizeof body->boundary},
            .content_type = rill_resource_content_type(resource),
            .size = resource->stamp.size,
        };
        length = rill_multipart_length(&body->multipart, set);
        fields.length = resource->common_length;
    }
    if (error < 0) {
        rill_exchange_reply_status(x, 503);
        return;
    }
    rill_exchange_set_fields(x, fields);
    if (rill_exchange_begin(x, 206, set->count > 1 ? content_type : NULL, length) == 0)
        pump(x, body);
}

static void refuse_ranges(struct rill_exchange *x, const struct rill_resource *resource)
{
    char content_range[RILL_CONTENT_RANGE_MAX];
    size_t length = rill_content_range_unsatisfied(content_range, resource->stamp.size);
    rill_exchange_set_header(x, "Content-Range",
                             (struct rill_slice){content_range, length}); /* SHOULD: may be lacking */
    rill_exchange_reply_status(x, 416);
}

/* Puts the value of the fields with ID, those of several lines joined by commas (RFC 9110 5.3), into *VALUE. Returns 0
 * or -ENOMEM. */
static int join_header(struct rill_exchange *x, enum rill_header_id id, struct rill_slice *value)
{
    struct rill_slice line;
    size_t index = 0, length = 0, lines = 0;
    *value = rill_exchange_header(x, id);
    for (; rill_parser_header_next(&x->parser, x->base, id, &index, &line); lines++)
        length += line.length + 1;
    if (RILL_LIKELY(lines < 2))
        return 0;
    char *joined = rill_arena_alloc(rill_exchange_arena(x), length), *p = joined;
    if (!joined)
        return -ENOMEM;
    for (index = 0; rill_parser_header_next(&x->parser, x->base, id, &index, &line); *p++ = ',') {
        memcpy(p, line.bytes, line.length);
        p += line.length;
    }
    *value = (struct rill_slice){joined, length - 1};
    return 0;
}

#define BIT(id) (1ull << RILL_HEADER_##id)

/* Answers a request that has conditions or ranges. */
static void send_selected(struct rill_exchange *x, struct rill_resource *resource)
{
    struct rill_conditional request = {
        .is_get_or_head = true,
        .has_range = rill_parser_has(&x->parser, RILL_HEADER_RANGE) && rill_exchange_method(x) == RILL_METHOD_GET,
    };
    struct rill_validators validators = {
        .etag = rill_resource_etag(resource),
        .has_mtime = true,
        .mtime_seconds = resource->stamp.mtime_seconds,
        .now_seconds = rill_loop_unix_seconds(rill_exchange_loop(x)),
    };
    struct rill_slice range_value;
    if (join_header(x, RILL_HEADER_IF_MATCH, &request.if_match) < 0 ||
        join_header(x, RILL_HEADER_IF_NONE_MATCH, &request.if_none_match) < 0 ||
        join_header(x, RILL_HEADER_IF_MODIFIED_SINCE, &request.if_modified_since) < 0 ||
        join_header(x, RILL_HEADER_IF_UNMODIFIED_SINCE, &request.if_unmodified_since) < 0 ||
        join_header(x, RILL_HEADER_IF_RANGE, &request.if_range) < 0 ||
        join_header(x, RILL_HEADER_RANGE, &range_value) < 0) {
        rill_exchange_reply_status(x, 503);
        return;
    }
    switch (rill_conditional_evaluate(&request, &validators)) {
    case RILL_CONDITION_NOT_MODIFIED:
        rill_exchange_set_fields(x, (struct rill_slice){resource->text, resource->common_length});
        rill_exchange_reply_status(x, 304);
        return;
    case RILL_CONDITION_FAILED:
        rill_exchange_reply_status(x, 412);
        return;
    case RILL_CONDITION_IGNORE_RANGE:
        break;
    case RILL_CONDITION_PROCEED: {
        struct rill_range_set set;
        enum rill_range_result ranges =
            request.has_range ? rill_range_parse(range_value, resource->stamp.size, &set) : RILL_RANGE_IGNORE;
        if (ranges == RILL_RANGE_IGNORE)
            break;
        if (ranges == RILL_RANGE_PARTIAL)
            send_ranges(x, resource, &set);
        else
            refuse_ranges(x, resource);
        return;
    }
    }
    send_whole(x, resource);
}

void rill_resource_send(struct rill_exchange *x, struct rill_resource *resource)
{
    static const uint64_t selecting = BIT(IF_MATCH) | BIT(IF_NONE_MATCH) | BIT(IF_MODIFIED_SINCE) |
                                      BIT(IF_UNMODIFIED_SINCE) | BIT(IF_RANGE) | BIT(RANGE);
    if (RILL_LIKELY((x->parser.present & selecting) == 0))
        send_whole(x, resource);
    else
        send_selected(x, resource);
}
