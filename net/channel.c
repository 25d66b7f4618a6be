/* channel.c - publishing, and delivering to the members of a loop.
 *
 * A channel has a part for each loop with members. A publisher puts a reference into every part's list and posts the
 * part's one task to the loop unless it is on its way already: a batch costs one post, however many messages and
 * members.
 *
 * One lock a channel guards the parts and their lists, and a post is made while it is held. A mailbox would do without,
 * but the lock is what makes the rest simple. Messages are put into all lists in one step, so that all loops deliver in
 * one order. And a loop that ends closes its connections, whose leaving takes its part away, under the lock: no
 * publisher can be on the way to a loop that has gone, so that channels, loops and publishers need not know who lives
 * longest. It is held for a few stores a loop and an eventfd's write; the deliveries, which are what costs, are made
 * without it. */
#include "rill/core/sys.h"
#include "rill/net/channel_internal.h"

enum {
    KEEPING_BYTES = 128, /* what a message costs beside its bytes */
    BATCH_MIN = 16,
    SPARE_MAX = 4096, /* messages; a longer list is given back */
    SEATS_MIN = 16,
    PREFETCH = 4, /* seats ahead */
    SLICE = 1024, /* members, a few milliseconds of send(2) */
};

/* --- life --- */

struct rill_channel *rill_channel_new(const struct rill_channel_config *config)
{
    struct rill_channel *channel = rill_sys_calloc(1, sizeof *channel);
    if (!channel)
        return NULL;
    channel->references = 1;
    channel->max_pending_bytes = config ? config->max_pending_bytes : 0;
    if (channel->max_pending_bytes == 0)
        channel->max_pending_bytes = (size_t)64 << 20;
    channel->slice = SLICE;
    pthread_mutex_init(&channel->lock, NULL);
    rill_list_init(&channel->parts);
    return channel;
}

struct rill_channel *rill_channel_ref(struct rill_channel *channel)
{
    __atomic_fetch_add(&channel->references, 1, __ATOMIC_RELAXED);
    return channel;
}

/* Every part holds a reference, so there is none left when the last one goes. */
void rill_channel_unref(struct rill_channel *channel)
{
    if (!channel || __atomic_fetch_sub(&channel->references, 1, __ATOMIC_ACQ_REL) > 1)
        return;
    pthread_mutex_destroy(&channel->lock);
    rill_sys_free(channel);
}

void rill_channel_stats(struct rill_channel *channel, struct rill_channel_stats *stats)
{
    pthread_mutex_lock(&channel->lock);
    *stats = channel->stats;
    for (struct rill_list *link = channel->parts.next; link != &channel->parts; link = link->next) {
        struct rill_channel_part *part = rill_container_of(link, struct rill_channel_part, link);
        stats->members += __atomic_load_n(&part->members, __ATOMIC_RELAXED);
        stats->dropped += __atomic_load_n(&part->dropped, __ATOMIC_RELAXED);
        stats->closed += __atomic_load_n(&part->closed, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&channel->lock);
}

/* --- publishing --- */

static int batch_reserve(struct rill_channel_batch *batch)
{
    if (batch->count < batch->capacity)
        return 0;
    uint32_t capacity = batch->capacity ? 2 * batch->capacity : BATCH_MIN;
    struct rill_buf **bufs = rill_sys_realloc(batch->bufs, capacity * sizeof(struct rill_buf *));
    if (!bufs)
        return -ENOMEM;
    batch->bufs = bufs;
    batch->capacity = capacity;
    return 0;
}

/* Whether every part can take a message that costs COST. With the lock. */
static int reserve_all(struct rill_channel *channel, size_t cost)
{
    for (struct rill_list *link = channel->parts.next; link != &channel->parts; link = link->next) {
        struct rill_channel_part *part = rill_container_of(link, struct rill_channel_part, link);
        if (part->incoming.count > 0 && part->incoming.bytes + cost > channel->max_pending_bytes)
            return -EAGAIN;
        if (batch_reserve(&part->incoming) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Gives BUF to PART, which has room for it, unless its loop has ended. With the lock. */
static void hand_over(struct rill_channel_part *part, struct rill_buf *buf, size_t cost)
{
    if (!part->posted && rill_loop_post(part->loop, &part->task) < 0)
        return;
    part->posted = true;
    part->incoming.bufs[part->incoming.count++] = rill_buf_ref(buf);
    part->incoming.bytes += cost;
}

int rill_channel_publish(struct rill_channel *channel, struct rill_buf *buf)
{
    size_t cost = rill_buf_length(buf) + KEEPING_BYTES;
    int error = 0;
    if (cost > KEEPING_BYTES) { /* an empty one has been received by all */
        pthread_mutex_lock(&channel->lock);
        error = reserve_all(channel, cost);
        for (struct rill_list *link = channel->parts.next; error == 0 && link != &channel->parts; link = link->next)
            hand_over(rill_container_of(link, struct rill_channel_part, link), buf, cost);
        channel->stats.published += error == 0;
        pthread_mutex_unlock(&channel->lock);
    }
    rill_buf_unref(buf); /* without the lock: the last one calls who knows what */
    return error;
}

/* --- delivering --- */

static void batch_drop(struct rill_channel_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        rill_buf_unref(batch->bufs[i]);
    batch->count = 0;
    batch->bytes = 0;
}

/* The loop has no members any more and nothing is on its way: the part goes. */
static void retire_if_idle(struct rill_channel_part *part)
{
    struct rill_channel *channel = part->channel;
    if (part->members > 0 || part->delivering)
        return;
    pthread_mutex_lock(&channel->lock);
    bool idle = !part->posted;
    if (idle) {
        rill_list_remove(&part->link);
        channel->stats.dropped += part->dropped;
        channel->stats.closed += part->closed;
    }
    pthread_mutex_unlock(&channel->lock);
    if (!idle)
        return;
    rill_sys_free(part->incoming.bufs);
    rill_sys_free(part->spare.bufs);
    rill_sys_free(part->seats);
    rill_sys_free(part);
    rill_channel_unref(channel);
}

/* To COUNT seats from FIRST on, any of which may be given up, and the array moved, by what this calls. */
static void deliver_chunk(struct rill_channel_part *part, const struct rill_channel_chunk *chunk, uint32_t first,
                          uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (i + PREFETCH < first + count && part->seats[i + PREFETCH].conn) {
            __builtin_prefetch(&part->seats[i + PREFETCH].conn->config);
            __builtin_prefetch(&part->seats[i + PREFETCH].conn->state);
        }
        struct rill_conn *conn = part->seats[i].conn;
        if (!conn)
            continue;
        struct rill_channel_member *member = part->seats[i].member;
        if (RILL_UNLIKELY(!rill_channel_is_fast(conn))) {
            rill_channel_member_deliver(member, chunk);
            continue;
        }
        ssize_t sent = rill_conn_send_now(conn, chunk->parts, chunk->count, chunk->length);
        if (RILL_UNLIKELY(sent < 0))
            rill_conn_broken(conn, (int)sent);
        else if (RILL_UNLIKELY((size_t)sent < chunk->length))
            rill_channel_member_keep(member, chunk, (size_t)sent);
    }
}

/* The messages of the batch that are sent next, as many as go into one sendmsg. */
static void next_chunk(const struct rill_channel_part *part, struct rill_channel_chunk *chunk)
{
    chunk->bufs = part->batch.bufs + part->done;
    chunk->length = 0;
    uint32_t left = part->batch.count - part->done;
    chunk->count = left < RILL_CHANNEL_GATHER ? left : RILL_CHANNEL_GATHER;
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct rill_slice bytes = rill_buf_view(chunk->bufs[i]);
        chunk->parts[i] = (struct iovec){(char *)(uintptr_t)bytes.bytes, bytes.length};
        chunk->length += bytes.length;
    }
}

/* Delivers for as long as one may. False when that was not all. */
static bool deliver_slice(struct rill_channel_part *part)
{
    struct rill_channel_chunk chunk;
    uint32_t budget = part->channel->slice;
    while (part->done < part->batch.count && budget > 0) {
        uint32_t left = part->last_seat - part->next_seat, count = left < budget ? left : budget;
        next_chunk(part, &chunk);
        deliver_chunk(part, &chunk, part->next_seat, count);
        budget -= count;
        part->next_seat += count;
        if (part->next_seat == part->last_seat) {
            part->next_seat = 0;
            part->done += chunk.count;
        }
    }
    return part->done == part->batch.count;
}

/* Takes what was published for a delivery. */
static void begin_delivery(struct rill_channel_part *part)
{
    pthread_mutex_lock(&part->channel->lock);
    part->batch = part->incoming;
    part->incoming = part->spare;
    pthread_mutex_unlock(&part->channel->lock);
    part->spare = (struct rill_channel_batch){0};
    part->delivering = true;
    part->done = part->next_seat = 0;
    part->last_seat = part->seat_count;
}

/* Closes the gaps that members left during the delivery. */
static void close_ranks(struct rill_channel_part *part)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < part->seat_count; i++) {
        if (!part->seats[i].conn)
            continue;
        part->seats[i].member->seat = kept;
        part->seats[kept++] = part->seats[i];
    }
    part->seat_count = kept;
}

static void end_delivery(struct rill_channel_part *part)
{
    part->delivering = false;
    if (part->members < part->seat_count)
        close_ranks(part);
    batch_drop(&part->batch);
    if (part->batch.capacity > SPARE_MAX) {
        rill_sys_free(part->batch.bufs);
        part->batch = (struct rill_channel_batch){0};
    }
    part->spare = part->batch;
}

/* Has what was published meanwhile delivered, by a post like any other: a loop that ends refuses it, however fast
 * others publish. */
static void go_on(struct rill_channel_part *part)
{
    struct rill_channel_batch refused = {0};
    pthread_mutex_lock(&part->channel->lock);
    part->posted = part->incoming.count > 0 && rill_loop_post(part->loop, &part->task) == 0;
    if (!part->posted) {
        refused = part->incoming;
        part->incoming = (struct rill_channel_batch){0};
    }
    pthread_mutex_unlock(&part->channel->lock);
    batch_drop(&refused);
    rill_sys_free(refused.bufs);
}

static void run_part(struct rill_task *task)
{
    struct rill_channel_part *part = rill_container_of(task, struct rill_channel_part, task);
    if (!part->delivering)
        begin_delivery(part);
    if (!deliver_slice(part)) {
        rill_loop_defer(part->loop, task);
        return;
    }
    end_delivery(part);
    go_on(part);
    retire_if_idle(part);
}

/* --- members --- */

/* CHANNEL's part for LOOP, which is the caller's; NULL when there is none. */
static struct rill_channel_part *find_part(struct rill_channel *channel, const struct rill_loop *loop)
{
    struct rill_channel_part *found = NULL;
    pthread_mutex_lock(&channel->lock);
    for (struct rill_list *link = channel->parts.next; !found && link != &channel->parts; link = link->next) {
        struct rill_channel_part *part = rill_container_of(link, struct rill_channel_part, link);
        if (part->loop == loop)
            found = part;
    }
    pthread_mutex_unlock(&channel->lock);
    return found;
}

/* Only the loop's own thread makes it a part, so between looking and this nobody else has. */
static struct rill_channel_part *new_part(struct rill_channel *channel, struct rill_loop *loop)
{
    struct rill_channel_part *part = rill_sys_calloc(1, sizeof *part);
    if (!part)
        return NULL;
    part->channel = rill_channel_ref(channel);
    part->loop = loop;
    part->task.run = run_part;
    rill_list_init(&part->link);
    pthread_mutex_lock(&channel->lock);
    rill_list_push_back(&channel->parts, &part->link);
    pthread_mutex_unlock(&channel->lock);
    return part;
}

static int take_seat(struct rill_channel_part *part, struct rill_channel_member *member)
{
    if (part->seat_count == part->seat_capacity) {
        uint32_t capacity = part->seat_capacity ? 2 * part->seat_capacity : SEATS_MIN;
        struct rill_channel_seat *seats = rill_sys_realloc(part->seats, capacity * sizeof *seats);
        if (!seats)
            return -ENOMEM;
        part->seats = seats;
        part->seat_capacity = capacity;
    }
    member->seat = part->seat_count;
    part->seats[part->seat_count++] = (struct rill_channel_seat){member->conn, member};
    __atomic_store_n(&part->members, part->members + 1, __ATOMIC_RELAXED);
    return 0;
}

int rill_channel_join(struct rill_channel *channel, struct rill_conn *conn, const struct rill_membership *how)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        return -EPIPE;
    if (rill_channel_member_find(channel, conn))
        return -EALREADY;
    struct rill_channel_part *part = find_part(channel, conn->net->loop);
    if (!part)
        part = new_part(channel, conn->net->loop);
    if (!part)
        return -ENOMEM;
    struct rill_channel_member *member = rill_channel_member_new(part, conn, how);
    if (!member || take_seat(part, member) < 0) {
        if (member)
            rill_channel_member_free(member);
        retire_if_idle(part);
        return -ENOMEM;
    }
    rill_conn_add_watcher(conn, &member->watcher);
    return 0;
}

void rill_channel_member_leave(struct rill_channel_member *member)
{
    struct rill_channel_part *part = member->part;
    struct rill_channel_seat *seat = &part->seats[member->seat];
    __atomic_store_n(&part->members, part->members - 1, __ATOMIC_RELAXED);
    if (part->delivering) {
        seat->conn = NULL; /* somebody is going through the seats */
    } else {
        *seat = part->seats[--part->seat_count];
        seat->member->seat = member->seat;
    }
    rill_channel_member_free(member);
    retire_if_idle(part);
}

bool rill_channel_leave(struct rill_channel *channel, struct rill_conn *conn)
{
    rill_loop_check(conn->net->loop, __func__);
    struct rill_channel_member *member = rill_channel_member_find(channel, conn);
    if (!member)
        return false;
    rill_conn_remove_watcher(conn, &member->watcher);
    rill_channel_member_leave(member);
    return true;
}
