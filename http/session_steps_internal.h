/* session_steps_internal.h - what the files session*.c share among themselves: the steps of a session. */
#ifndef RILL_HTTP_SESSION_STEPS_INTERNAL_H
#define RILL_HTTP_SESSION_STEPS_INTERNAL_H

#include "rill/http/session_internal.h"

static inline const struct rill_http_server_config *rill_session_config(const struct rill_session *session)
{
    return &session->http->server->config;
}

/* Calls the handler of X, or one of its callbacks, so that a report of a crash or a stall can name the request. Such a
 * call may lie within another exchange's. */
static inline __attribute__((always_inline)) void rill_session_call_now(struct rill_exchange *x, rill_handler_fn *fn,
                                                                        void *arg)
{
    struct rill_http_loop *http = rill_exchange_http(x);
    const struct rill_exchange *outer = http->current;
    http->current = x;
    x->callbacks++;
    fn(x, arg);
    x->callbacks--;
    http->current = outer;
}

/* session.c */

/* The one place where the state changes. */
void rill_session_set_state(struct rill_session *session, enum rill_session_state state);

/* Ends the connection when its output has left; see rill_conn_finish() for LINGER. */
void rill_session_end(struct rill_session *session, bool linger);

/* X's response is complete: on to the next request, or to the end of the connection. */
void rill_session_conclude(struct rill_exchange *x);

/* Answers a request that cannot be handled with STATUS, and the connection ends with it; the caller concludes. */
void rill_session_refuse(struct rill_exchange *x, unsigned status);

/* Reading stops while nothing that came could be used, and goes on when it can; deadlines go with that. */
void rill_session_follow(struct rill_session *session);

/* The connection is dead and no frame on the stack goes on using SESSION. An exchange in progress lasts until the turn
 * ends: whoever has found it by its id may have been told by an error that the connection is going, or not at all. */
void rill_session_bury(struct rill_session *session);

/* session_head.c */

/* Takes the next head off INPUT. False when there is nothing more to do with it now. */
bool rill_session_take_head(struct rill_session *session, struct rill_input *input);

/* overload.c */

/* Answers X when it is not to be handled now, for lack of room or because its sender asks too often; the caller
 * concludes. False: it is to be handled. */
bool rill_session_turns_away(struct rill_exchange *x);

/* session_body.c */

/* Gives the handler, or nobody, what INPUT holds of the body. False when there is nothing more to do with it now. */
bool rill_session_take_body(struct rill_session *session, struct rill_input *input);

/* Tells the handler of BYTES of the body, and of its END. */
void rill_session_tell_body(struct rill_exchange *x, struct rill_slice bytes, bool end);

/* Whether the handler wants to be told more of the body now. A full response holds the sender back, too. */
bool rill_session_wants_body(const struct rill_exchange *x);

/* Whether as much of the body has come in the present stretch as has to come in ELAPSED_MS. */
bool rill_session_body_has_come(const struct rill_session *session, uint64_t elapsed_ms);

/* The time for a stretch of the body is over: false when it came too slowly, and the handler did not hold it back;
 * otherwise the next stretch begins. */
bool rill_session_body_keeps_its_rate(struct rill_session *session);

#endif
