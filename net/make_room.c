/* make_room.c - which connections are closed so that others have room.
 *
 * Nobody keeps them in order: that would be work with every request. When room is needed, which is seldom, all are
 * looked at once, and those that have waited for longest are kept in a short list, in order. */
#include "rill/net/conn_internal.h"

enum {
    MOST = 64,
    GRACE_MS = 300, /* what somebody may take for a request or for taking a response, however many want in */
};

struct candidate {
    struct rill_conn *conn;
    enum rill_awaits awaits;
    uint64_t waited_ms;
};

struct candidates {
    struct candidate list[MOST]; /* the first to go comes first */
    unsigned count, most;
    bool waiting;
};

/* Whether A goes before B. */
static bool goes_before(const struct candidate *a, const struct candidate *b)
{
    return a->awaits != b->awaits ? a->awaits > b->awaits : a->waited_ms > b->waited_ms;
}

static uint64_t since(uint64_t limit_ms, uint64_t left_ms)
{
    return limit_ms > left_ms ? limit_ms - left_ms : 0;
}

static uint64_t output_waited_ms(const struct rill_conn *conn)
{
    uint64_t now_ms = rill_loop_now_ms(conn->net->loop), deadline_ms = conn->out->deadline_ms;
    return since(conn->config->write_timeout_ms, deadline_ms > now_ms ? deadline_ms - now_ms : 0);
}

static struct candidate look_at(struct rill_conn *conn)
{
    struct candidate candidate = {.conn = conn, .awaits = RILL_AWAITS_PROGRAM};
    if (conn->state == RILL_CONN_LINGERING) {
        candidate.awaits = RILL_AWAITS_REQUEST; /* it has had all */
        candidate.waited_ms = since(RILL_LINGER_MS, rill_conn_time_left_ms(conn));
    } else if (conn->out) {
        if (conn->out->deadline_ms) { /* else it was not tried yet, or the peer may take its time */
            candidate.awaits = RILL_AWAITS_PEER;
            candidate.waited_ms = output_waited_ms(conn);
        }
    } else if (conn->state == RILL_CONN_OPEN) {
        candidate.awaits = conn->config->handler->awaits(conn, &candidate.waited_ms);
    }
    return candidate;
}

static void consider(struct rill_conn *conn, void *arg)
{
    struct candidates *candidates = arg;
    if (!conn->served || conn->held_back || !conn->config->handler->awaits)
        return;
    struct candidate candidate = look_at(conn);
    if (candidate.awaits == RILL_AWAITS_PROGRAM || candidate.waited_ms < GRACE_MS ||
        (candidate.awaits == RILL_AWAITS_PEER && !candidates->waiting))
        return;
    unsigned place = candidates->count;
    while (place > 0 && goes_before(&candidate, &candidates->list[place - 1]))
        place--;
    if (place == candidates->most)
        return;
    if (candidates->count < candidates->most)
        candidates->count++;
    for (unsigned i = candidates->count - 1; i > place; i--)
        candidates->list[i] = candidates->list[i - 1];
    candidates->list[place] = candidate;
}

unsigned rill_net_make_room(struct rill_net *net, unsigned most, bool waiting)
{
    struct candidates candidates = {.most = most < MOST ? most : MOST, .waiting = waiting};
    rill_conn_each(net->loop, NULL, consider, &candidates);
    for (unsigned i = 0; i < candidates.count; i++)
        rill_conn_close(candidates.list[i].conn, RILL_CLOSE_OVERLOAD);
    return candidates.count;
}
