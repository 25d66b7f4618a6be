/* channel.h - what one publishes, all members receive: connections of any loops, from any thread.
 *
 * A message is one counted buffer, shared by all that wait for it, and one post to each loop that has members, however
 * many: the loop sends it straight from the buffer to each of them. What is published before the loop gets to it goes
 * with it, in one sendmsg a member.
 *
 * Rules of life
 * 1. A channel is counted: whoever makes it holds a reference, each member holds one by being a member, and so do the
 *    messages on their way. It goes when nobody holds it any more, on whatever thread that is; nobody has to outlive
 * it, neither loops nor connections.
 * 2. A connection joins and leaves on its own loop. It leaves by itself when it closes, before its on_close runs. A
 *    connection that finishes or was shut down stays a member and is sent nothing any more.
 * 3. Order: all members receive what they receive in one order, the order in which the calls of rill_channel_publish()
 *    took effect; so messages of one publisher arrive in the order in which they were published. Between what is
 * published and what is sent by rill_conn_send() there is no order, but no message is ever torn.
 * 4. A member receives what is published after rill_channel_join() returned, and nothing that was not delivered when
 *    rill_channel_leave() returned. What was published shortly before the one or the other it may receive or not.
 * 5. A member whose socket is full is slow. What it has not been sent waits as references to the shared buffers, within
 *    the limits of its membership, and leaves when the peer reads on. Beside these, the one message that was being sent
 *    is with the connection's output and can be taken back no more.
 *
 * What waits counts as buffered output for rill_conn_finish(), rill_conn_buffered() and on_drain only once it is with
 * the connection. write_timeout_ms holds for members as for everybody, and finds the peers that read nothing at all. */
#ifndef RILL_NET_CHANNEL_H
#define RILL_NET_CHANNEL_H

#include "rill/net/conn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_channel;

/* What comes of a member that is slow when what waits for it would pass its limits. */
enum rill_slow {
    RILL_SLOW_DROP_OLDEST, /* the oldest that waits are dropped; a message beyond the limit by itself is dropped alone
                            */
    RILL_SLOW_CONFLATE,    /* only the newest waits, however large: for those who want to know how things stand */
    RILL_SLOW_CLOSE,       /* it is closed (RILL_CLOSE_OUTPUT_LIMIT): for those who must not miss anything */
};

/* How a connection is a member. Zero is the default of every field. */
struct rill_membership {
    enum rill_slow slow;
    size_t max_bytes;      /* that may wait; 0: 256 KiB */
    uint32_t max_messages; /* that may wait; 0: 1024 */
};

struct rill_channel_config {
    /* What one loop may have waiting before it gets to it, each message with 128 bytes more for its keeping; beyond
     * that publishing is refused. 0: 64 MiB. */
    size_t max_pending_bytes;
};

/* A channel without members, which the caller holds. CONFIG may be NULL for the defaults. NULL when memory is lacking.
 * Thread: any. */
RILL_WARN_UNUSED struct rill_channel *rill_channel_new(const struct rill_channel_config *config);

/* One more reference; CHANNEL is returned. Thread: any that holds one. */
struct rill_channel *rill_channel_ref(struct rill_channel *channel);

/* Gives up one reference. What was published before reaches the members still. NULL is ignored. Thread: any. */
void rill_channel_unref(struct rill_channel *channel);

/* Makes CONN a member; HOW may be NULL for the defaults. Returns 0; -EALREADY: it is one, and stays as it was; -EPIPE:
 * it is closed or closing; -ENOMEM. Thread: the connection's loop's, while somebody holds the channel. */
RILL_WARN_UNUSED int rill_channel_join(struct rill_channel *channel, struct rill_conn *conn,
                                       const struct rill_membership *how);

/* Ends a membership; what waits for the member is dropped. Returns whether there was one. Thread: the connection's
 * loop's, while somebody holds the channel. */
bool rill_channel_leave(struct rill_channel *channel, struct rill_conn *conn);

/* Sends BUF to all members, the caller's own connection included if it is one, and takes over the caller's reference,
 * on errors too. No member is sent anything before it returns. Returns 0, with nobody to send to as well: a loop that
 * has ended is no error; -EAGAIN: some loop is behind by max_pending_bytes; -ENOMEM; in both cases nobody receives it.
 * Thread: any that holds the channel. */
int rill_channel_publish(struct rill_channel *channel, struct rill_buf *buf);

/* Counts since the channel was made; `members` is now. Thread: any that holds the channel. */
struct rill_channel_stats {
    uint64_t members;
    uint64_t published; /* messages */
    uint64_t dropped;   /* messages that a slow member was not sent, counted for each */
    uint64_t closed;    /* members closed for being slow */
};
void rill_channel_stats(struct rill_channel *channel, struct rill_channel_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
