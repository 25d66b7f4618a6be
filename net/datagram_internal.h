/* datagram_internal.h - what datagram.c (life, receiving), datagram_send.c and datagram_socket.c share. */
#ifndef RILL_NET_DATAGRAM_INTERNAL_H
#define RILL_NET_DATAGRAM_INTERNAL_H

#include "rill/core/list.h"
#include "rill/core/sys.h"
#include "rill/net/datagram.h"
#include <event2/event.h>
#include <event2/event_struct.h>

enum {
    RILL_DATAGRAM_BATCH = 64,           /* at most so many a system call */
    RILL_DATAGRAM_MAX = 65536,          /* longer than any of UDP */
    RILL_DATAGRAM_AREA_BYTES = 1 << 20, /* of the area that a loop receives into: 16 of the longest */
};

/* A piece of a queue: datagrams to be sent, one behind the other. Leased from the loop. */
struct rill_datagram_chunk {
    struct rill_datagram_chunk *next;
    uint32_t start, end; /* what is still to be sent of `bytes` */
    _Alignas(8) char bytes[];
};

/* What all endpoints of one loop share. */
struct rill_datagram_net {
    struct rill_loop *loop;
    struct rill_list open;
    struct rill_list ready;       /* those that have something to send when the turn ends */
    struct rill_datagram *closed; /* those whose memory goes back when the turn ends */
    struct rill_task ready_task, closed_task;
    bool ready_deferred, closed_deferred;
    struct rill_datagram_chunk *free_chunks;
    unsigned free_chunk_count;
    char *area;        /* what is received lies here until it was shown; mapped while there are endpoints */
    size_t slot_bytes; /* what `in` is set up for; 0: nothing yet */
    unsigned slots;    /* the area holds so many */
    struct mmsghdr in[RILL_DATAGRAM_BATCH];
    struct iovec in_parts[RILL_DATAGRAM_BATCH];
    struct rill_addr from[RILL_DATAGRAM_BATCH];
    struct mmsghdr out[RILL_DATAGRAM_BATCH];
    struct iovec out_parts[RILL_DATAGRAM_BATCH];
};

struct rill_datagram {
    struct rill_list link;   /* in net->open */
    struct rill_list flush;  /* in net->ready */
    struct event read_event; /* always, level-triggered: one call a wake-up is enough */
    struct event room_event; /* while the socket takes no more */
    struct rill_datagram_net *net;
    const struct rill_datagram_config *config;
    void *user;
    struct rill_datagram *next_closed;
    struct rill_datagram_chunk *first, *last; /* the queue */
    size_t queued_bytes;                      /* with what each takes beside its bytes */
    uint32_t queued;                          /* datagrams */
    int fd;
    bool closed;      /* on_close has run or is about to */
    bool in_callback; /* what is sent leaves when the batch has been shown */
    bool sending;     /* in rill_datagram_flush(): on_error may send and close */
    bool waiting;     /* room_event is added */
    bool was_refused; /* on_drain is owed */
    bool owns_file;   /* of a Unix socket */
    struct rill_addr local;
    struct rill_datagram_stats stats;
};

/* datagram.c */

/* Has ENDPOINT flushed when the turn ends. */
void rill_datagram_make_ready(struct rill_datagram *endpoint);

/* Tells the app, unless it has closed ENDPOINT. */
void rill_datagram_tell_error(struct rill_datagram *endpoint, const struct rill_addr *to, int error);

/* datagram_send.c */

/* Sends what is queued, as far as the socket takes it. ENDPOINT may be closed afterwards. */
void rill_datagram_flush(struct rill_datagram *endpoint);

/* Drops what is queued. */
void rill_datagram_drop(struct rill_datagram *endpoint);

/* There may be room again: room_event's callback; ARG is the endpoint. */
void rill_datagram_on_room(evutil_socket_t fd, short what, void *arg);

/* Frees the leases that NET keeps. */
void rill_datagram_free_leases(struct rill_datagram_net *net);

/* datagram_socket.c */

/* A non-blocking socket bound to ADDR. Returns it or a negative errno. */
int rill_datagram_socket_bound(const struct rill_addr *addr, bool shared);

/* One connected with PEER. */
int rill_datagram_socket_connected(const struct rill_addr *peer);

#endif
