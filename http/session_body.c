/* session_body.c - a request's body: to the handler, or to nobody, at the handler's pace but not at any. */
#include "rill/http/session_steps_internal.h"

enum { DISCARD_BYTES = 256 * 1024 }; /* so much of an unwanted body is read for the sake of keeping the connection */

bool rill_session_would_discard(const struct rill_exchange *x)
{
    const struct rill_parser *parser = &x->parser;
    if (x->continue_wanted)
        return false; /* whether the client sends it now is anybody's guess */
    return parser->chunked || parser->content_length - parser->body_length <= DISCARD_BYTES;
}

bool rill_session_wants_body(const struct rill_exchange *x)
{
    return x->on_body && !x->body_paused && !(x->body_done && x->body_end_told) && !rill_exchange_is_full(x);
}

void rill_session_tell_body(struct rill_exchange *x, struct rill_slice bytes, bool end)
{
    struct rill_http_loop *http = rill_exchange_http(x);
    const struct rill_exchange *outer = http->current;
    http->current = x;
    x->callbacks++;
    if (x->on_body && bytes.length > 0 && x->phase != RILL_RESPONSE_COMPLETE)
        x->on_body(x, x->body_arg, bytes, false);
    if (end && x->on_body && !x->body_paused && !x->body_end_told && x->phase != RILL_RESPONSE_COMPLETE) {
        x->body_end_told = true;
        x->on_body(x, x->body_arg, (struct rill_slice){NULL, 0}, true);
    }
    x->callbacks--;
    http->current = outer;
}

/* Drops the request's body, up to a limit: then the connection ends. */
static void discard(struct rill_session *session, const struct rill_parser_piece *piece)
{
    struct rill_exchange *x = session->x;
    x->discarded += (uint32_t)piece->consumed;
    bool too_much = piece->result == RILL_PARSE_ERROR || x->discarded > DISCARD_BYTES;
    if (piece->result != RILL_PARSE_DONE && !too_much)
        return;
    rill_exchange_release(x);
    if (too_much || session->closing)
        rill_session_end(session, true);
    else
        rill_session_set_state(session, RILL_SESSION_IDLE);
}

bool rill_session_take_body(struct rill_session *session, struct rill_input *input)
{
    struct rill_exchange *x = session->x;
    if (x->body_done) {
        if (!x->on_body || x->body_end_told)
            return false;
        rill_session_tell_body(x, (struct rill_slice){NULL, 0}, true);
    } else if (input->length == 0) {
        return false;
    } else {
        struct rill_parser_piece piece;
        rill_parser_body(&x->parser, input->bytes, input->length, &piece);
        rill_input_consume(input, piece.result == RILL_PARSE_ERROR ? input->length : piece.consumed);
        x->continue_wanted = false; /* it did not wait */
        if (session->state == RILL_SESSION_DISCARD) {
            discard(session, &piece);
            return true;
        }
        x->body_done = piece.result == RILL_PARSE_DONE;
        if (RILL_UNLIKELY(piece.result == RILL_PARSE_ERROR))
            rill_session_refuse(x, x->parser.status);
        else
            rill_session_tell_body(x, piece.data, x->body_done);
    }
    if (x->phase == RILL_RESPONSE_COMPLETE)
        rill_session_conclude(x);
    return true;
}

bool rill_session_body_has_come(const struct rill_session *session, uint64_t elapsed_ms)
{
    const struct rill_exchange *x = session->x;
    uint64_t came = x->parser.body_length - x->body_mark;
    return came >= rill_session_config(session)->min_body_bytes_per_second * elapsed_ms / 1000;
}

bool rill_session_body_keeps_its_rate(struct rill_session *session)
{
    uint64_t stretch_ms = rill_session_config(session)->body_timeout_ms;
    if (!rill_session_body_has_come(session, stretch_ms))
        return false;
    session->x->body_mark = session->x->parser.body_length;
    rill_conn_set_deadline(session->conn, stretch_ms);
    return true;
}
