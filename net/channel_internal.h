/* channel_internal.h - what channel.c (publishing, joining, delivering) and channel_member.c (one member, and what
 * waits for it) share. */
#ifndef RILL_NET_CHANNEL_INTERNAL_H
#define RILL_NET_CHANNEL_INTERNAL_H

#include "rill/net/channel.h"
#include "rill/net/conn_internal.h"
#include <pthread.h>

#define RILL_CHANNEL_GATHER 64 /* messages a sendmsg */

/* Messages one after another, each with a reference. */
struct rill_channel_batch {
    struct rill_buf **bufs;
    uint32_t count, capacity;
    size_t bytes;
};

/* Some of a batch, as all members of a loop are sent it. */
struct rill_channel_chunk {
    struct rill_buf *const *bufs;
    uint32_t count;
    size_t length; /* of all together */
    struct iovec parts[RILL_CHANNEL_GATHER];
};

/* One connection's membership, on its loop. */
struct rill_channel_member {
    struct rill_conn_watcher watcher;
    struct rill_channel_part *part;
    struct rill_conn *conn;
    uint32_t seat; /* its index in part->seats */
    struct rill_membership how;
    /* What waits, oldest first: a ring that begins at `first`. While there is anything conn->room_wanted is set. */
    struct rill_buf **ring; /* NULL: nothing waits */
    uint32_t first, count, capacity;
    size_t bytes;
};

/* Beside each other, so that a delivery to those who are not slow reads nothing of the members. */
struct rill_channel_seat {
    struct rill_conn *conn; /* NULL: left during a delivery */
    struct rill_channel_member *member;
};

/* What a channel keeps for a loop: from the first of its members on until the last has left, and nothing is posted. */
struct rill_channel_part {
    struct rill_list link; /* channel->lock: in channel->parts */
    struct rill_channel *channel;
    struct rill_loop *loop;
    bool posted;                        /* channel->lock: `task` is on its way, or its delivery goes on */
    struct rill_task task;              /* the loop's while posted */
    struct rill_channel_batch incoming; /* channel->lock: what the loop has not got to */
    /* The loop's alone, all that follows. */
    struct rill_channel_batch spare; /* empty; takes turns with `incoming` */
    struct rill_channel_seat *seats;
    uint32_t seat_count, seat_capacity;
    uint32_t members; /* seats that are taken */
    /* A delivery, which may take several turns: of the messages of `batch` from `done` on to the seats from `next_seat`
     * to `last_seat`; who joins meanwhile sits behind these. */
    bool delivering;
    struct rill_channel_batch batch;
    uint32_t done, next_seat, last_seat;
    uint64_t dropped, closed; /* written by the loop, with plain stores; read by all */
};

struct rill_channel {
    int references; /* atomic */
    size_t max_pending_bytes;
    uint32_t slice; /* members that are sent to before others on the loop have their turn */
    pthread_mutex_t lock;
    struct rill_list parts;          /* lock */
    struct rill_channel_stats stats; /* lock; of parts that have gone, but for `published` */
};

/* channel_member.c */

/* A membership without a seat; NULL when memory is lacking. */
struct rill_channel_member *rill_channel_member_new(struct rill_channel_part *part, struct rill_conn *conn,
                                                    const struct rill_membership *how);

/* Drops what waits. Its watcher must be off the connection. */
void rill_channel_member_free(struct rill_channel_member *member);

/* CONN's member of CHANNEL; NULL when there is none. */
struct rill_channel_member *rill_channel_member_find(struct rill_channel *channel, struct rill_conn *conn);

/* Sends CHUNK to a member that cannot be sent it in the straight way, or of which the socket took only SENT bytes: what
 * does not go now waits, as the membership says. The member may be gone when it returns. */
void rill_channel_member_deliver(struct rill_channel_member *member, const struct rill_channel_chunk *chunk);
void rill_channel_member_keep(struct rill_channel_member *member, const struct rill_channel_chunk *chunk, size_t sent);

/* channel.c */

/* The member's connection closes, or it leaves: gives up its seat and frees it. Its watcher is off. */
void rill_channel_member_leave(struct rill_channel_member *member);

/* Whether a message can go straight to the socket: nothing waits before it, and there may be room. */
static inline bool rill_channel_is_fast(const struct rill_conn *conn)
{
    return conn->state == RILL_CONN_OPEN && !conn->out && conn->writable && !conn->room_wanted &&
           !conn->shutdown_wanted;
}

static inline void rill_channel_count(uint64_t *counter, uint64_t more)
{
    __atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

#endif
