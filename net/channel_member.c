/* channel_member.c - one member of a channel, and what waits for it while its socket is full.
 *
 * Whoever has filled the socket leaves something in the connection's output: the rest of the message that was cut, or
 * else one whole message. So the connection waits for room as it does for all output, with its timeouts, and tells its
 * watchers when that has left; only what comes after it waits here, where it can still be dropped. */
#include "rill/core/sys.h"
#include "rill/net/channel_internal.h"

enum {
    MAX_BYTES_DEFAULT = 256 * 1024,
    MAX_MESSAGES_DEFAULT = 1024,
    RING_MIN = 8,
    SEND_BUDGET_BYTES = 2 << 20, /* of one member before the others have their turn */
};

/* --- the ring --- */

/* The I-th message that waits. */
static struct rill_buf *waiting(const struct rill_channel_member *member, uint32_t i)
{
    return member->ring[(member->first + i) & (member->capacity - 1)];
}

static int grow(struct rill_channel_member *member)
{
    uint32_t capacity = member->capacity ? 2 * member->capacity : RING_MIN;
    struct rill_buf **ring = rill_sys_malloc(capacity * sizeof(struct rill_buf *));
    if (!ring)
        return -ENOMEM;
    for (uint32_t i = 0; i < member->count; i++)
        ring[i] = waiting(member, i);
    rill_sys_free(member->ring);
    member->ring = ring;
    member->first = 0;
    member->capacity = capacity;
    return 0;
}

static int push(struct rill_channel_member *member, struct rill_buf *buf)
{
    if (member->count == member->capacity && grow(member) < 0)
        return -ENOMEM;
    member->ring[(member->first + member->count++) & (member->capacity - 1)] = rill_buf_ref(buf);
    member->bytes += rill_buf_length(buf);
    return 0;
}

/* Takes the oldest out; its reference is the caller's. */
static struct rill_buf *pop(struct rill_channel_member *member)
{
    struct rill_buf *buf = waiting(member, 0);
    member->first = (member->first + 1) & (member->capacity - 1);
    member->count--;
    member->bytes -= rill_buf_length(buf);
    return buf;
}

/* Who has caught up needs no ring. */
static void free_ring(struct rill_channel_member *member)
{
    while (member->count > 0)
        rill_buf_unref(pop(member));
    rill_sys_free(member->ring);
    member->ring = NULL;
    member->capacity = member->first = 0;
}

/* --- being slow --- */

static void drop_oldest(struct rill_channel_member *member)
{
    rill_buf_unref(pop(member));
    rill_channel_count(&member->part->dropped, 1);
}

static bool fits(const struct rill_channel_member *member, size_t length)
{
    return member->bytes + length <= member->how.max_bytes && member->count < member->how.max_messages;
}

/* Has BUF wait, or not, as the membership says. False when the connection was closed for it: the member has gone. */
static bool keep_one(struct rill_channel_member *member, struct rill_buf *buf)
{
    size_t length = rill_buf_length(buf);
    bool wanted = true;
    switch (member->how.slow) {
    case RILL_SLOW_DROP_OLDEST:
        while (member->count > 0 && !fits(member, length))
            drop_oldest(member);
        wanted = fits(member, length);
        break;
    case RILL_SLOW_CONFLATE:
        while (member->count > 0)
            drop_oldest(member);
        break;
    case RILL_SLOW_CLOSE:
        if (fits(member, length))
            break;
        rill_channel_count(&member->part->closed, 1);
        rill_conn_close(member->conn, RILL_CLOSE_OUTPUT_LIMIT);
        return false;
    }
    if (wanted && push(member, buf) == 0)
        return true;
    if (wanted && member->how.slow == RILL_SLOW_CLOSE) {
        rill_conn_close(member->conn, RILL_CLOSE_NO_MEMORY);
        return false;
    }
    rill_channel_count(&member->part->dropped, 1);
    return true;
}

void rill_channel_member_keep(struct rill_channel_member *member, const struct rill_channel_chunk *chunk, size_t sent)
{
    struct rill_conn *conn = member->conn;
    uint32_t i = 0;
    while (sent >= chunk->parts[i].iov_len)
        sent -= chunk->parts[i++].iov_len;
    if (!conn->out && rill_conn_queue_buf(conn, rill_buf_ref(chunk->bufs[i++]), sent) < 0)
        return;
    for (; i < chunk->count; i++)
        if (!keep_one(member, chunk->bufs[i]))
            return;
    conn->room_wanted = conn->room_wanted || member->count > 0;
}

void rill_channel_member_deliver(struct rill_channel_member *member, const struct rill_channel_chunk *chunk)
{
    struct rill_conn *conn = member->conn;
    if (conn->writable)
        rill_conn_settle(conn); /* what waits had nobody to send it so far: it is not slow for that */
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        return;
    ssize_t sent = 0;
    if (rill_channel_is_fast(conn))
        sent = rill_conn_send_now(conn, chunk->parts, chunk->count, chunk->length);
    if (sent < 0)
        rill_conn_broken(conn, (int)sent);
    else if ((size_t)sent < chunk->length)
        rill_channel_member_keep(member, chunk, (size_t)sent);
}

/* --- catching up --- */

/* Sends once. Returns the bytes taken, 0 when that was not all that was offered, or a negative errno: the connection,
 * and the member with it, has gone. */
static ssize_t send_some(struct rill_channel_member *member)
{
    struct rill_conn *conn = member->conn;
    struct iovec parts[RILL_CHANNEL_GATHER];
    uint32_t count = 0;
    size_t length = 0;
    do {
        struct rill_slice bytes = rill_buf_view(waiting(member, count));
        parts[count] = (struct iovec){(char *)(uintptr_t)bytes.bytes, bytes.length};
        length += bytes.length;
    } while (++count < member->count && count < RILL_CHANNEL_GATHER);
    ssize_t sent = rill_conn_send_now(conn, parts, count, length);
    if (sent < 0) {
        rill_conn_broken(conn, (int)sent);
        return sent;
    }
    size_t left = (size_t)sent;
    for (; count > 0 && left >= rill_buf_length(waiting(member, 0)); count--) {
        left -= rill_buf_length(waiting(member, 0));
        rill_buf_unref(pop(member));
    }
    if (count == 0)
        return sent;
    return rill_conn_queue_buf(conn, pop(member), left);
}

static void on_room(struct rill_conn_watcher *watcher)
{
    struct rill_channel_member *member = rill_container_of(watcher, struct rill_channel_member, watcher);
    struct rill_conn *conn = member->conn;
    ssize_t sent = 0, total = 0;
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        free_ring(member);
    while (member->count > 0 && total < SEND_BUDGET_BYTES) {
        sent = send_some(member);
        if (sent < 0)
            return;
        if (sent == 0)
            break;
        total += sent;
    }
    if (member->count == 0) {
        free_ring(member);
        return;
    }
    conn->room_wanted = true;
    if (!conn->out)
        rill_conn_make_ready(conn);
}

static void on_close(struct rill_conn_watcher *watcher)
{
    rill_channel_member_leave(rill_container_of(watcher, struct rill_channel_member, watcher));
}

/* --- life --- */

struct rill_channel_member *rill_channel_member_new(struct rill_channel_part *part, struct rill_conn *conn,
                                                    const struct rill_membership *how)
{
    struct rill_channel_member *member = rill_sys_calloc(1, sizeof *member);
    if (!member)
        return NULL;
    member->watcher.on_room = on_room;
    member->watcher.on_close = on_close;
    member->part = part;
    member->conn = conn;
    if (how)
        member->how = *how;
    if (member->how.max_bytes == 0)
        member->how.max_bytes = MAX_BYTES_DEFAULT;
    if (member->how.max_messages == 0)
        member->how.max_messages = MAX_MESSAGES_DEFAULT;
    return member;
}

void rill_channel_member_free(struct rill_channel_member *member)
{
    free_ring(member);
    rill_sys_free(member);
}

struct rill_channel_member *rill_channel_member_find(struct rill_channel *channel, struct rill_conn *conn)
{
    struct rill_conn_watcher *watcher = conn->watchers;
    if (!watcher)
        return NULL;
    do {
        struct rill_channel_member *member = rill_container_of(watcher, struct rill_channel_member, watcher);
        if (watcher->on_close == on_close && member->part->channel == channel)
            return member;
        watcher = watcher->next;
    } while (watcher != conn->watchers);
    return NULL;
}
