/* conn_state.c - the legal ways through a connection's life. */
#include "rill/net/conn_internal.h"

static const bool legal[RILL_CONN_STATES][RILL_CONN_STATES] = {
    [RILL_CONN_OPEN] = {[RILL_CONN_FINISHING] = true, [RILL_CONN_CLOSED] = true},
    [RILL_CONN_FINISHING] = {[RILL_CONN_LINGERING] = true, [RILL_CONN_CLOSED] = true},
    [RILL_CONN_LINGERING] = {[RILL_CONN_CLOSED] = true},
};

bool rill_conn_state_may_change(enum rill_conn_state from, enum rill_conn_state to)
{
    return from < RILL_CONN_STATES && to < RILL_CONN_STATES && legal[from][to];
}

const char *rill_close_reason_text(enum rill_close_reason reason)
{
    static const char *const text[RILL_CLOSE_REASONS] = {
        [RILL_CLOSE_LOCAL] = "closed by the server",
        [RILL_CLOSE_EOF] = "ended by the peer",
        [RILL_CLOSE_RESET] = "reset by the peer",
        [RILL_CLOSE_IDLE] = "deadline passed",
        [RILL_CLOSE_WRITE_TIMEOUT] = "the peer took no data",
        [RILL_CLOSE_STOPPED] = "the server stops",
        [RILL_CLOSE_NO_MEMORY] = "out of memory",
        [RILL_CLOSE_INPUT_LIMIT] = "too much unconsumed input",
        [RILL_CLOSE_OUTPUT_LIMIT] = "the peer is too far behind",
        [RILL_CLOSE_OVERLOAD] = "others need the room",
    };
    return reason < RILL_CLOSE_REASONS ? text[reason] : "unknown";
}
