/* defer_internal.h - when to leave new connections to the kernel until their first byte has come (TCP_DEFER_ACCEPT,
 * tcp(7)).
 *
 * Deferred, a connection that carries one request costs a third less CPU time: it is accepted with its request, and
 * neither a wake-up nor a read is for nothing. But who connects and says nothing is accepted a second later, and takes
 * a place in the backlog meanwhile. So it is done while short connections come in numbers, and only then. Pure: the
 * caller brings the time and the counts. */
#ifndef RILL_NET_DEFER_INTERNAL_H
#define RILL_NET_DEFER_INTERNAL_H

#include "rill/core/base.h"

struct rill_defer {
    bool on;
    bool begun;           /* a window has */
    uint64_t began_ms;    /* the window */
    uint64_t room_before; /* when it began */
    unsigned accepted;    /* since then */
};

/* Whether to defer from now on, NOW_MS, when there is ROOM for so many more connections: what has become of the room
 * tells how many have closed. Call it before each batch of accepts and add to `accepted` after it; cheap but when a
 * window of 100 ms has ended. Kept in `on` too. */
bool rill_defer_look(struct rill_defer *defer, uint64_t now_ms, uint64_t room);

/* A second without a call of rill_defer_look() is calm: the caller's timer says so. Returns as that, which is false
 * when the last window began a second ago. */
bool rill_defer_calm(struct rill_defer *defer, uint64_t now_ms);

#endif
