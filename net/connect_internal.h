/* connect_internal.h - what connect.c and connect_attempt.c share: a connect, and the attempts that it is made of. */
#ifndef RILL_NET_CONNECT_INTERNAL_H
#define RILL_NET_CONNECT_INTERNAL_H

#include "rill/net/conn_internal.h"
#include "rill/net/connect.h"
#include "rill/net/resolve.h"

/* One address, and how far it has come. */
struct rill_attempt {
    struct rill_connect *connect;
    struct event event;
    bool watched;    /* `event` is added: the handshake is under way */
    bool readable;   /* the peer has said something already, or ended */
    bool peer_ended; /* and it ended */
    uint8_t self;    /* how often it connected to itself */
    int fd;          /* -1: none */
    int error;       /* what it failed with */
    struct rill_addr addr;
};

struct rill_connect {
    struct rill_list link; /* in net->connects */
    struct rill_net *net;
    struct rill_connect_config config; /* what it points to is copied, or the caller's */
    struct rill_timer timer;           /* for the next address, or for the end of all patience */
    uint64_t deadline_ms;
    struct rill_resolve *resolve;  /* while the name is looked up */
    struct rill_task task;         /* goes on from `result` */
    bool posted;                   /* `task` is */
    int result;                    /* what the first attempt, or what comes before it, came to at once */
    const char *why;               /* why there was no first attempt */
    bool ended;                    /* nothing will happen any more; the memory waits for who uses it still */
    struct rill_attempt *attempts; /* behind this struct, or a block of its own after a look-up */
    unsigned count, next;          /* attempts; the first that has not been tried */
    unsigned pending;              /* handshakes under way */
    struct rill_attempt first[];
};

/* connect_attempt.c. What an attempt comes to is 0, connected; -EINPROGRESS; or what it failed with. */

/* Opens a socket and begins the handshake. */
int rill_attempt_start(struct rill_attempt *attempt);

/* The handshake is under way, or was a while ago: looks again where that is likely to pay, and has it watched. */
int rill_attempt_await(struct rill_attempt *attempt);

/* Whether ATTEMPT, connected, is connected to itself: with nobody listening on a port that the system gives out, it may
 * choose that same port for this end, and TCP's simultaneous open does the rest. */
bool rill_attempt_is_self(const struct rill_attempt *attempt);

/* CONN has the socket now. */
void rill_attempt_hand_over(struct rill_attempt *attempt, struct rill_conn *conn);

/* Closes what is open. */
void rill_attempt_close(struct rill_attempt *attempt);

/* connect.c */

/* How many bytes CONFIG's target, addresses and source take; and has CONFIG, a copy, point to copies of them in ROOM,
 * which is aligned as a struct is. */
size_t rill_connect_config_room(const struct rill_connect_config *config);
void rill_connect_config_copy(struct rill_connect_config *config, void *room);

/* Goes on from what ATTEMPT came to. */
void rill_connect_pursue(struct rill_attempt *attempt, int result);

#endif
