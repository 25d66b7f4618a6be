/* Fuzzes a whole HTTP session in memory: what a client sends, how it is split, what happens meanwhile.
 *
 * The input is a byte N, N bytes of script, and what the client sends. Each script byte is a step: send some bytes, let
 * time pass, take some output, end a job of the pool, run out of memory, end, break off, drain. What is left of the
 * client's bytes is sent after the script. */
#include "support/fake_http.h"
#include "support/fuzz.h"
#include "support/http_response.h"

enum { MAX_REQUESTS = 512 };

/* A request as the parser alone sees it, in the client's bytes all at once. */
struct request {
    struct rill_slice target;
    bool is_head;
};

struct run {
    struct fake_http web;
    struct fake_peer peer;
    struct request requests[MAX_REQUESTS];
    unsigned count;
    bool malformed;   /* after those requests comes one that cannot be read */
    bool cut_short;   /* something happened that may end the connection before all is answered */
    const char *left; /* of the client's bytes */
    size_t left_length;
    bool ended;
};

static void read_requests(struct run *run, struct rill_slice bytes)
{
    static struct rill_parser parser;
    rill_parser_init(&parser, &run->web.server.config.limits);
    while (bytes.length > 0 && run->count < MAX_REQUESTS) {
        rill_parser_reset(&parser);
        enum rill_parse_result result = rill_parser_head(&parser, bytes.bytes, bytes.length);
        run->malformed = result == RILL_PARSE_ERROR;
        if (result != RILL_PARSE_HEAD)
            return;
        struct request *request = &run->requests[run->count];
        request->target = rill_parser_target(&parser, bytes.bytes);
        request->is_head = parser.method == RILL_METHOD_HEAD;
        size_t at = parser.head_length;
        result = parser.has_body ? RILL_PARSE_DATA : RILL_PARSE_DONE;
        run->count++;
        while (result == RILL_PARSE_DATA) {
            struct rill_parser_piece piece;
            result = rill_parser_body(&parser, bytes.bytes + at, bytes.length - at, &piece);
            at += piece.consumed;
        }
        if (result != RILL_PARSE_DONE) { /* it may be answered all the same */
            run->cut_short = true;
            run->malformed = result == RILL_PARSE_ERROR;
            return;
        }
        bytes.bytes += at;
        bytes.length -= at;
    }
    run->cut_short |= run->count == MAX_REQUESTS;
}

static void send_some(struct run *run, size_t count)
{
    count = count < run->left_length ? count : run->left_length;
    if (run->ended)
        return;
    fake_peer_send(&run->peer, run->left, count);
    run->left += count;
    run->left_length -= count;
}

static void step(struct run *run, uint8_t what)
{
    static const enum rill_job_outcome outcomes[] = {RILL_JOB_RAN, RILL_JOB_EXPIRED, RILL_JOB_CANCELLED};
    unsigned how = what >> 4;
    switch (what & 15) {
    case 0:
    case 1:
        send_some(run, how + 1);
        break;
    case 2:
    case 3:
        send_some(run, (size_t)16 << how);
        break;
    case 4:
        fake_sys.now_ms += (uint64_t)1 << how;
        break;
    case 5:
        fake_workers_end_one(run->web.workers, outcomes[how % 3]);
        break;
    case 6:
        run->peer.stalled = true;
        run->peer.room = how;
        break;
    case 7:
        run->peer.room += (size_t)1 << how;
        break;
    case 8:
        run->peer.stalled = false;
        break;
    case 9:
        run->peer.read_max = how;
        break;
    case 10:
        fake_http_answer_kept(&run->web, how);
        break;
    case 11:
        if (how == 0)
            fake_http_drain(&run->web);
        else if (how == 1)
            fake_http_break(&run->web, &run->peer);
        else if (how == 2)
            fake_peer_reset(&run->peer);
        else if (how == 3)
            run->ended = true;
        if (how < 3)
            run->cut_short = true;
        if (how == 3)
            fake_peer_end(&run->peer);
        break;
    case 12:
        faulty_memory_fails_at(how + 1);
        break;
    default:
        fake_conn_turn(run->web.loop);
        return;
    }
    if (what & 1)
        fake_conn_turn(run->web.loop);
}

/* Whether TARGET is one after which a connection may end without an answer, or one that would wait for ever. */
static bool is_deadly(struct rill_slice target)
{
    static const char *const names[] = {"abort", "never", "kept", "known"};
    for (size_t i = 0; i < rill_array_length(names); i++)
        if (memmem(target.bytes, target.length, names[i], strlen(names[i])))
            return true;
    return memchr(target.bytes, '%', target.length) != NULL; /* one of those, encoded */
}

/* Reads the response at BYTES. To a request that was not read to its end the server may have answered as to HEAD or
 * not; then it says that it closes, and nothing follows. */
static enum http_response_result read_response(struct rill_slice bytes, bool to_head, struct http_response *response)
{
    enum http_response_result result = http_response_read(bytes.bytes, bytes.length, to_head, true, response);
    if (!response->close || response->status < 400 ||
        (result == HTTP_RESPONSE_WHOLE && response->length == bytes.length))
        return result;
    struct http_response other;
    if (http_response_read(bytes.bytes, bytes.length, !to_head, true, &other) != HTTP_RESPONSE_WHOLE ||
        other.length != bytes.length) {
        http_response_free(&other);
        return result;
    }
    http_response_free(response);
    *response = other;
    return HTTP_RESPONSE_WHOLE;
}

/* All that was sent came, one response to each request and in order. */
static void check_responses(struct run *run)
{
    const struct fake_peer *peer = &run->peer;
    unsigned answered = 0;
    size_t at = 0;
    bool said_close = false, whole = true, continued = false;
    while (at < peer->received_length) {
        struct http_response response;
        bool to_head = answered < run->count && run->requests[answered].is_head;
        enum http_response_result result =
            read_response((struct rill_slice){peer->received + at, peer->received_length - at}, to_head, &response);
        if (result == HTTP_RESPONSE_MALFORMED)
            fprintf(stderr, "%s\n%s\n", response.why, peer->received + at);
        MUST(result != HTTP_RESPONSE_MALFORMED);
        MUST(!said_close); /* what says that it is the last one is */
        if (result == HTTP_RESPONSE_PART) {
            whole = false;
            http_response_free(&response);
            break;
        }
        at += response.length;
        if (response.status == 100) {
            MUST(!continued);
            continued = true;
            http_response_free(&response);
            continue;
        }
        continued = false;
        struct rill_slice target = http_response_field(&response, "X-Target", NULL);
        if (target.bytes) {
            MUST(answered < run->count);
            MUST(rill_slice_equal(target, run->requests[answered].target));
        }
        said_close = response.close;
        if (response.status == 408)
            run->cut_short = true;
        answered++;
        http_response_free(&response);
    }
    MUST(answered <= run->count + run->malformed || run->cut_short);
    MUST(answered <= run->count + 1); /* one reply to what cannot be read, and nothing after it */
    for (unsigned i = 0; i <= answered && i < run->count; i++)
        run->cut_short |= is_deadly(run->requests[i].target);
    if (run->cut_short || faulty_sys.failed > 0)
        return;
    MUST(whole);
    MUST(said_close || answered == run->count + run->malformed);
}

static void pass(struct run *run, unsigned steps, unsigned step_ms)
{
    while (steps-- > 0) {
        size_t received;
        fake_sys.now_ms += step_ms;
        do {
            received = run->peer.received_length;
            while (fake_workers_end_one(run->web.workers, RILL_JOB_RAN))
                ;
            fake_conn_turn(run->web.loop);
        } while (run->peer.received_length > received);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    static const struct rill_http_server_config config = {
        .limits = {.max_body_bytes = 4096, .max_header_bytes = 2048, .max_request_line_bytes = 512, .max_headers = 20},
        .net = {.worker_queue = 2, .high_watermark = 2000, .low_watermark = 500, .max_input_bytes = 1 << 20}};
    if (size == 0)
        return 0;
    size_t script = data[0] < size - 1 ? data[0] : size - 1;
    memset(&run, 0, sizeof run);
    fake_sys_reset(1000000);
    fake_http_start(&run.web, &config);
    run.left = (const char *)data + 1 + script;
    run.left_length = size - 1 - script;
    read_requests(&run, (struct rill_slice){run.left, run.left_length});
    fake_http_open(&run.web, &run.peer);
    for (size_t i = 0; i < script; i++)
        step(&run, data[1 + i]);
    run.cut_short |= run.left_length > 0 && run.ended;
    run.cut_short |= fake_sys.now_ms > 1005000; /* a timeout may have come in between */
    faulty_sys.fail_after = 0;
    send_some(&run, run.left_length);
    run.peer.stalled = false;
    pass(&run, 40, 100);  /* all handlers have answered that will; no deadline has passed */
    pass(&run, 8, 50000); /* and now all of them have */
    if (!run.peer.conn)
        MUST(run.peer.closes == 1);
    fake_http_break(&run.web, &run.peer);
    pass(&run, 2, 0);
    MUST(run.peer.opens == 1 && run.peer.closes == 1);
    if (run.web.mistaken) {
        fprintf(stderr, "%s\n", run.web.mistake);
        abort();
    }
    check_responses(&run);
    fake_http_stop(&run.web);
    fake_peer_free(&run.peer);
    return 0;
}
