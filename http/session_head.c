/* session_head.c - a request's head: parsed where it lies, its path settled, its handler found and called. */
#include "rill/http/session_steps_internal.h"
#include "rill/http/target.h"
#include <errno.h>

/* What a path means is settled once, here: router and handlers see it decoded. */
static int set_path(struct rill_exchange *x)
{
    struct rill_slice raw = rill_parser_path(&x->parser, x->base);
    int error = rill_path_normalise(raw, NULL, 0, &x->path);
    if (error != -ENOBUFS)
        return error;
    char *buffer = rill_arena_alloc(&x->arena, raw.length);
    if (!buffer)
        return -ENOMEM;
    return rill_path_normalise(raw, buffer, raw.length, &x->path);
}

static void answer_without_handler(struct rill_exchange *x)
{
    const struct rill_route_match *match = &x->match;
    if (match->allow.length > 0 && rill_exchange_set_header(x, "Allow", match->allow) < 0) {
        rill_exchange_abort(x);
        return;
    }
    rill_exchange_reply_status(x, match->status);
}

/* Has somebody answer: the handler that was found, or nobody. */
static inline void answer(struct rill_exchange *x)
{
    if (RILL_LIKELY(x->match.handler != NULL)) {
        rill_session_call_now(x, x->match.handler, x->match.arg);
    } else {
        x->callbacks++;
        answer_without_handler(x);
        x->callbacks--;
    }
}

__attribute__((noinline)) static void answer_traced(struct rill_exchange *x)
{
    const struct rill_session *session = x->session;
    struct rill_trace_lane *trace = session->http->trace;
    uint64_t began_ns = rill_trace_begin(trace, session->conn);
    answer(x);
    rill_trace_end(trace, session->conn, RILL_TRACE_HANDLER, began_ns);
}

/* The head is complete: finds the handler and calls it. */
static void dispatch(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    const struct rill_parser *parser = &x->parser;
    rill_session_set_state(session, RILL_SESSION_BUSY);
    x->body_done = !parser->has_body;
    x->continue_wanted = parser->expect_continue && parser->has_body;
    if (session->http->log)
        x->started_ns = rill_clock_ns();

    if (RILL_UNLIKELY(parser->method == RILL_METHOD_CONNECT)) {
        rill_session_refuse(x, 501);
        return;
    }
    if (RILL_UNLIKELY(rill_session_turns_away(x)))
        return;
    bool asterisk = parser->target_form == RILL_TARGET_ASTERISK;
    int error = 0;
    if (asterisk)
        x->path = rill_slice_of("*");
    else
        error = set_path(x);
    if (RILL_UNLIKELY(error < 0)) {
        rill_session_refuse(x, error == -ENOMEM ? 503 : 400);
        return;
    }
    rill_router_find(rill_session_config(session)->router, (enum rill_method)parser->method,
                     rill_exchange_method_name(x), x->path, &x->match);
    if (rill_trace_on(session->http->trace))
        answer_traced(x);
    else
        answer(x);
}

__attribute__((noinline)) static enum rill_parse_result parse_traced(struct rill_exchange *x,
                                                                     const struct rill_input *input)
{
    const struct rill_session *session = x->session;
    uint64_t began_ns = rill_trace_begin(session->http->trace, session->conn);
    enum rill_parse_result result = rill_parser_head(&x->parser, input->bytes, input->length);
    rill_trace_end(session->http->trace, session->conn, RILL_TRACE_PARSE, began_ns);
    return result;
}

bool rill_session_take_head(struct rill_session *session, struct rill_input *input)
{
    struct rill_exchange *x = session->x;
    x->base = input->bytes;
    enum rill_parse_result result = rill_trace_on(session->http->trace)
                                        ? parse_traced(x, input)
                                        : rill_parser_head(&x->parser, input->bytes, input->length);
    switch (result) {
    case RILL_PARSE_HEAD:
        rill_input_consume(input, x->parser.head_length);
        dispatch(x);
        break;
    case RILL_PARSE_MORE:
        session->blank = input->length <= x->parser.request_offset;
        if (!session->deadline_set) {
            session->deadline_set = true;
            rill_conn_set_deadline(session->conn, rill_session_config(session)->header_timeout_ms);
        }
        return false;
    default:
        x->failed = true;
        if (session->http->log)
            x->started_ns = rill_clock_ns();
        rill_input_consume(input, input->length);
        rill_session_refuse(x, x->parser.status);
    }
    if (x->phase == RILL_RESPONSE_COMPLETE)
        rill_session_conclude(x);
    return true;
}
