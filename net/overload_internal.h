/* overload_internal.h - what a server does when it has more to do than it has room for. */
#ifndef RILL_NET_OVERLOAD_INTERNAL_H
#define RILL_NET_OVERLOAD_INTERNAL_H

#include "rill/core/loop.h"

struct rill_net;
struct rill_server;

/* A loop tells what it buffers when that has changed by so much: it may be as much off. */
#define RILL_OVERLOAD_STRIDE ((uint64_t)64 << 10)

/* What is done, in the order of how much it hurts. */
enum rill_measure {
    RILL_MEASURE_CLOSE_IDLE = 1 << 0,    /* idle connections are closed */
    RILL_MEASURE_CLOSE_WAITING = 1 << 1, /* connections whose peers keep them waiting are closed, too */
    RILL_MEASURE_REFUSE = 1 << 2,        /* protocols refuse new work */
    RILL_MEASURE_PAUSE = 1 << 3,         /* nobody is accepted */
};

/* A server's; see overload.c. */
struct rill_overload {
    struct rill_server *server;
    uint64_t max_bytes, idle_bytes, waiting_bytes, refuse_bytes,
        pause_bytes;   /* where what begins; constant; UINT64_MAX: never */
    unsigned headroom; /* connections that are kept free, if idle ones can be closed */
    char apart_before[RILL_CACHE_LINE];
    bool refusing; /* atomic, written seldom: new work is to be refused */
    char apart_between[RILL_CACHE_LINE];
    uint64_t bytes;  /* atomic: what all loops buffer, as far as they have told */
    unsigned wanted; /* atomic: measures that somebody asked for since the last look */
    bool on;         /* atomic: it has begun */
    uint64_t begun;  /* ever; atomic */
    uint64_t pauses; /* atomic */
    char apart_after[RILL_CACHE_LINE];
    struct rill_task begin_task; /* of whoever has set `on`, until it has come to the main loop */
    struct rill_timer look;      /* from here on the main loop's */
    unsigned calm_looks;
    uint64_t began_ms, closed_before;
};

/* Readies SERVER's, whose limits are known. */
void rill_overload_init(struct rill_overload *overload, struct rill_server *server);

/* Has MEASURES, a mask, taken: soon, and for as long as somebody goes on asking. Thread: any. */
void rill_overload_want(struct rill_overload *overload, unsigned measures);

/* Whether nobody is to be accepted; asks for room then. Thread: any that accepts. */
bool rill_overload_pauses(struct rill_overload *overload);

/* No more looks. On the main loop. */
void rill_overload_stop(struct rill_overload *overload);

/* Tells NET's server what its loop buffers. */
void rill_net_publish_buffered(struct rill_net *net);

/* Whether all that the server buffers is as much as it may: there is no memory for more. */
bool rill_net_is_over_budget(struct rill_net *net);

#endif
