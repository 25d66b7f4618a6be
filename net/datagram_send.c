/* datagram_send.c - an endpoint's output: a queue that leaves in as few system calls as can be.
 *
 * Datagrams lie one behind the other in chunks that the loop leases out, each with its address, where sendmmsg() finds
 * them. A queue that has left holds no chunk, and in most cases it leaves in the turn that filled it. */
#include "rill/core/loop_stats.h"
#include "rill/net/datagram_internal.h"

enum {
    CHUNK_BYTES = 66 << 10, /* header included; the longest datagram and its address fit */
    CHUNK_CAPACITY = CHUNK_BYTES - sizeof(struct rill_datagram_chunk),
    MAX_FREE_CHUNKS = 4,
    MAX_QUEUED_DEFAULT = 1 << 20,
};

/* A datagram in a chunk: the address follows, and then, 8-byte aligned, the bytes. */
struct record {
    uint32_t length;
    uint32_t to_length; /* 0: to the peer that the socket is connected with */
};

static uint32_t aligned(size_t bytes)
{
    return (uint32_t)((bytes + 7) & ~(size_t)7);
}

static uint32_t record_bytes(size_t length, size_t to_length)
{
    return (uint32_t)sizeof(struct record) + aligned(to_length) + aligned(length);
}

static struct record *record_at(struct rill_datagram_chunk *chunk, uint32_t at)
{
    return (struct record *)(void *)(chunk->bytes + at);
}

/* --- chunks --- */

static struct rill_datagram_chunk *lease(struct rill_datagram_net *net)
{
    struct rill_datagram_chunk *chunk = net->free_chunks;
    if (chunk) {
        net->free_chunks = chunk->next;
        net->free_chunk_count--;
    } else {
        chunk = rill_sys_malloc(CHUNK_BYTES);
        if (!chunk)
            return NULL;
    }
    chunk->next = NULL;
    chunk->start = chunk->end = 0;
    return chunk;
}

static void give_back(struct rill_datagram_net *net, struct rill_datagram_chunk *chunk)
{
    if (net->free_chunk_count == MAX_FREE_CHUNKS) {
        rill_sys_free(chunk);
        return;
    }
    chunk->next = net->free_chunks;
    net->free_chunks = chunk;
    net->free_chunk_count++;
}

void rill_datagram_free_leases(struct rill_datagram_net *net)
{
    while (net->free_chunks) {
        struct rill_datagram_chunk *chunk = net->free_chunks;
        net->free_chunks = chunk->next;
        rill_sys_free(chunk);
    }
    net->free_chunk_count = 0;
}

/* --- the queue --- */

/* Room for SIZE bytes at the end of the queue; NULL: no memory. */
static struct record *append(struct rill_datagram *endpoint, uint32_t size)
{
    struct rill_datagram_chunk *chunk = endpoint->last;
    if (!chunk || CHUNK_CAPACITY - chunk->end < size) {
        chunk = lease(endpoint->net);
        if (!chunk)
            return NULL;
        if (endpoint->last)
            endpoint->last->next = chunk;
        else
            endpoint->first = chunk;
        endpoint->last = chunk;
    }
    struct record *record = record_at(chunk, chunk->end);
    chunk->end += size;
    endpoint->queued++;
    endpoint->queued_bytes += size;
    return record;
}

/* Forgets the first COUNT datagrams. */
static void pop(struct rill_datagram *endpoint, unsigned count)
{
    struct rill_datagram_chunk *chunk;
    endpoint->queued -= count;
    for (; count > 0 && (chunk = endpoint->first) != NULL; count--) {
        const struct record *record = record_at(chunk, chunk->start);
        uint32_t size = record_bytes(record->length, record->to_length);
        endpoint->queued_bytes -= size;
        chunk->start += size;
        if (chunk->start < chunk->end)
            continue;
        endpoint->first = chunk->next;
        if (!endpoint->first)
            endpoint->last = NULL;
        give_back(endpoint->net, chunk);
    }
}

void rill_datagram_drop(struct rill_datagram *endpoint)
{
    endpoint->stats.failed += endpoint->queued;
    pop(endpoint, endpoint->queued);
}

/* Prepares the first COUNT datagrams, which there are, for sendmmsg(). */
static void gather(struct rill_datagram *endpoint, unsigned count)
{
    struct rill_datagram_net *net = endpoint->net;
    struct rill_datagram_chunk *chunk = endpoint->first;
    uint32_t at = chunk->start;
    for (unsigned i = 0; i < count; i++) {
        if (at == chunk->end) {
            chunk = chunk->next;
            at = chunk->start;
        }
        struct record *record = record_at(chunk, at);
        char *to = (char *)(record + 1);
        net->out_parts[i] = (struct iovec){.iov_base = to + aligned(record->to_length), .iov_len = record->length};
        net->out[i].msg_hdr = (struct msghdr){.msg_name = record->to_length ? to : NULL,
                                              .msg_namelen = record->to_length,
                                              .msg_iov = &net->out_parts[i],
                                              .msg_iovlen = 1};
        at += record_bytes(record->length, record->to_length);
    }
}

int rill_datagram_send(struct rill_datagram *endpoint, const struct rill_addr *to, const void *bytes, size_t length)
{
    rill_loop_check(endpoint->net->loop, __func__);
    size_t limit = endpoint->config->max_queued_bytes ? endpoint->config->max_queued_bytes : MAX_QUEUED_DEFAULT;
    uint32_t to_length = to ? (uint32_t)to->length : 0;
    if (endpoint->closed)
        return -EPIPE;
    if (length > RILL_DATAGRAM_MAX)
        return -EMSGSIZE;
    uint32_t size = record_bytes(length, to_length);
    bool full = endpoint->queued > 0 && endpoint->queued_bytes + size > limit;
    struct record *record = full ? NULL : append(endpoint, size);
    if (!record) {
        endpoint->stats.refused++;
        endpoint->was_refused |= full;
        return full ? -ENOBUFS : -ENOMEM;
    }
    char *place = (char *)(record + 1);
    *record = (struct record){(uint32_t)length, to_length};
    if (to)
        memcpy(place, &to->socket, to_length);
    if (length > 0)
        memcpy(place + aligned(to_length), bytes, length);
    if (!endpoint->in_callback && !endpoint->waiting && !endpoint->sending)
        rill_datagram_make_ready(endpoint);
    return 0;
}

/* --- sending --- */

static int send_first(struct rill_datagram *endpoint, unsigned count)
{
    int sent = rill_sys_sendmmsg(endpoint->fd, endpoint->net->out, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return -errno;
    endpoint->stats.sent += (unsigned)sent;
    pop(endpoint, (unsigned)sent);
    return sent;
}

/* The kernel does not want the first datagram, which `out` begins with, and says ERROR. Returns how many have left the
 * queue. */
static unsigned first_failed(struct rill_datagram *endpoint, int error)
{
    struct rill_addr to = {.length = endpoint->net->out[0].msg_hdr.msg_namelen};
    if (to.length > 0) {
        memcpy(&to.socket, endpoint->net->out[0].msg_hdr.msg_name, to.length);
    } else {
        /* On a connected socket it may be the report on an earlier one, which is told once. */
        int again = send_first(endpoint, 1);
        if (again > 0 || again == -EAGAIN || again == -EINTR) {
            rill_datagram_tell_error(endpoint, NULL, error);
            return again > 0 ? 1 : 0;
        }
    }
    endpoint->stats.failed++;
    pop(endpoint, 1);
    rill_datagram_tell_error(endpoint, to.length > 0 ? &to : NULL, error);
    return 1;
}

/* Whether the socket says when it takes the first datagram after all. A Unix socket that is not connected says that
 * there is room as long as its own is not used up, even if it is the peer that has none; waiting for that peer would
 * hold up all others. */
static bool tells_of_room(const struct rill_datagram *endpoint)
{
    return endpoint->local.socket.any.sa_family != AF_UNIX || endpoint->net->out[0].msg_hdr.msg_namelen == 0;
}

static void wait_for_room(struct rill_datagram *endpoint)
{
    if (endpoint->closed || endpoint->waiting)
        return;
    endpoint->waiting = event_add(&endpoint->room_event, NULL) == 0;
    if (!endpoint->waiting)
        rill_datagram_drop(endpoint); /* nobody would tell when to go on */
}

void rill_datagram_on_room(evutil_socket_t fd, short what, void *arg)
{
    struct rill_datagram *endpoint = arg;
    (void)fd;
    (void)what;
    rill_loop_note_event(endpoint->net->loop);
    endpoint->waiting = false;
    rill_datagram_flush(endpoint);
}

void rill_datagram_flush(struct rill_datagram *endpoint)
{
    endpoint->sending = true;
    /* What on_error sends has to wait, or a handler that tries again for ever would keep us here. */
    uint32_t left = endpoint->queued;
    while (left > 0 && !(endpoint->closed && endpoint->queued == 0)) {
        unsigned count = left < RILL_DATAGRAM_BATCH ? left : RILL_DATAGRAM_BATCH;
        gather(endpoint, count);
        int sent = send_first(endpoint, count);
        if (sent == -EAGAIN && tells_of_room(endpoint)) {
            wait_for_room(endpoint);
            break;
        }
        if (sent >= 0)
            left -= (unsigned)sent;
        else if (sent != -EINTR)
            left -= first_failed(endpoint, sent);
    }
    endpoint->sending = false;
    if (endpoint->closed)
        return;
    if (endpoint->queued > 0 && !endpoint->waiting)
        rill_datagram_make_ready(endpoint);
    if (endpoint->queued == 0 && endpoint->was_refused) {
        endpoint->was_refused = false;
        if (endpoint->config->handler->on_drain)
            endpoint->config->handler->on_drain(endpoint);
    }
}
