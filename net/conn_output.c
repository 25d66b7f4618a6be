/* conn_output.c - a connection's output: a queue of segments, sent in as few system calls as can be.
 *
 * Copied bytes go into 16 KiB segments that the loop leases out, last in first out, so that a reply that the socket
 * takes at once is assembled in memory that is still in the cache, and costs no allocation. What the socket does not
 * take stays where it is; a segment that is mostly empty is then swapped for one that fits, because a peer
 * who does not read may keep it for long. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

enum {
    COPY_CAPACITY = RILL_SEGMENT_BYTES - sizeof(struct rill_segment),
    MAX_FREE_SEGMENTS = 64,
    MAX_FREE_OUTPUTS = 256,
    MAX_GATHER = 64,              /* iovec entries a sendmsg */
    DIRECT_SEND_BYTES = 4096,     /* so much at once is not worth a copy when nothing waits before it */
    SENDFILE_BYTES = 2 << 20,     /* a call */
    WRITE_BUDGET_BYTES = 2 << 20, /* sent of one connection before the others have their turn */
    SMALL_FILE_BYTES = 16384,
};

__attribute__((cold, noreturn)) static void contract_broken(const char *function, const char *what)
{
    rill_log_error("%s: %s", function, what);
    abort();
}

static struct rill_segment *segment_lease(struct rill_net *net)
{
    struct rill_segment *segment = net->free_segments;
    if (segment) {
        net->free_segments = segment->next;
        net->free_segment_count--;
    } else {
        segment = rill_sys_malloc(RILL_SEGMENT_BYTES);
        if (!segment)
            return NULL;
        segment->capacity = COPY_CAPACITY;
        segment->kind = RILL_SEGMENT_COPIED;
    }
    rill_stat_add(&net->stats.leased_segments, 1);
    segment->next = NULL;
    segment->start = segment->end = 0;
    return segment;
}

static void drop_object(struct rill_net *net, const struct rill_segment *segment)
{
    if (segment->kind == RILL_SEGMENT_SHARED)
        rill_buf_unref(segment->of.buf);
    else if (segment->kind == RILL_SEGMENT_FILE)
        rill_file_ref_drop(segment->of.file);
    else if (segment->kind == RILL_SEGMENT_PIPE)
        rill_pipe_return(net, segment->of.pipe);
}

/* Memory that SEGMENT, which is no leased one, has for bytes. Of a shared block that is all of it. */
static int64_t kept_by(const struct rill_segment *segment)
{
    return (int64_t)(segment->kind == RILL_SEGMENT_SHARED ? segment->end : segment->capacity);
}

static void segment_free(struct rill_net *net, struct rill_segment *segment)
{
    if (segment->capacity == COPY_CAPACITY)
        rill_stat_subtract(&net->stats.leased_segments, 1);
    if (segment->capacity == COPY_CAPACITY && net->free_segment_count < MAX_FREE_SEGMENTS) {
        segment->next = net->free_segments;
        net->free_segments = segment;
        net->free_segment_count++;
        return;
    }
    if (segment->capacity != COPY_CAPACITY)
        rill_net_count_kept(net, -kept_by(segment));
    drop_object(net, segment);
    rill_sys_free(segment);
}

static struct rill_output *output_lease(struct rill_net *net)
{
    struct rill_output *out = net->free_outputs;
    if (out) {
        net->free_outputs = (struct rill_output *)(void *)out->first;
        net->free_output_count--;
    } else {
        out = rill_sys_malloc(sizeof *out);
        if (!out)
            return NULL;
    }
    out->first = out->last = NULL;
    out->bytes = out->kernel_bytes = 0;
    out->deadline_ms = 0;
    return out;
}

static void output_free(struct rill_net *net, struct rill_output *out)
{
    if (net->free_output_count < MAX_FREE_OUTPUTS) {
        out->first = (struct rill_segment *)(void *)net->free_outputs;
        net->free_outputs = out;
        net->free_output_count++;
        return;
    }
    rill_sys_free(out);
}

void rill_conn_output_free_leases(struct rill_net *net)
{
    while (net->free_segments) {
        struct rill_segment *segment = net->free_segments;
        net->free_segments = segment->next;
        rill_sys_free(segment);
    }
    while (net->free_outputs) {
        struct rill_output *out = net->free_outputs;
        net->free_outputs = (struct rill_output *)(void *)out->first;
        rill_sys_free(out);
    }
    net->free_segment_count = net->free_output_count = 0;
}

void rill_conn_output_drop(struct rill_conn *conn)
{
    struct rill_output *out = conn->out;
    if (!out)
        return;
    conn->out = NULL;
    rill_stat_subtract(&conn->net->stats.waiting_bytes, out->bytes);
    while (out->first) {
        struct rill_segment *segment = out->first;
        out->first = segment->next;
        segment_free(conn->net, segment);
    }
    output_free(conn->net, out);
    rill_net_note_buffered(conn->net);
}

/* Appends SEGMENT, which may be NULL for lack of memory: the connection is closed then, because a stream with a hole
 * is worse than none. Returns 0 or -ENOMEM. */
static inline int append(struct rill_conn *conn, struct rill_segment *segment)
{
    if (segment && !conn->out)
        conn->out = output_lease(conn->net);
    struct rill_output *out = conn->out;
    if (!segment || !out) {
        if (segment)
            segment_free(conn->net, segment);
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return -ENOMEM;
    }
    if (out->last)
        out->last->next = segment;
    else
        out->first = segment;
    out->last = segment;
    return 0;
}

/* Output passed the high watermark: somebody should wait. */
__attribute__((cold)) static void passed_high(struct rill_conn *conn)
{
    conn->above_high = true;
    if (conn->config->output_limit == RILL_OUTPUT_PAUSE)
        rill_conn_pause(conn, RILL_PAUSE_OUTPUT);
}

/* Counts LENGTH bytes that were added to the queue. */
static inline void count_added(struct rill_conn *conn, uint64_t length)
{
    conn->out->bytes += length;
    rill_stat_add(&conn->net->stats.waiting_bytes, length);
    if (RILL_UNLIKELY(conn->out->bytes > rill_conn_high_watermark(conn)))
        passed_high(conn);
}

/* Counts LENGTH bytes that were added to the queue and sees that they leave. */
static inline void added(struct rill_conn *conn, uint64_t length)
{
    count_added(conn, length);
    if (RILL_UNLIKELY(conn->callbacks == 0))
        rill_conn_make_ready(conn);
}

static bool over_limit(const struct rill_conn *conn, uint64_t length)
{
    uint64_t in_memory = conn->out ? conn->out->bytes - conn->out->kernel_bytes : 0;
    return in_memory + length > conn->config->max_output_bytes;
}

/* Whether there is a limit that LENGTH more bytes would pass, even when the socket has taken what it takes now. Closes
 * the connection then, if that is the rule. */
static inline bool refused(struct rill_conn *conn, uint64_t length)
{
    if (RILL_LIKELY(conn->config->max_output_bytes == 0) || !over_limit(conn, length))
        return false;
    rill_conn_settle(conn);
    if (conn->state == RILL_CONN_OPEN && !over_limit(conn, length))
        return false;
    if (conn->config->output_limit != RILL_OUTPUT_DROP)
        rill_conn_close(conn, RILL_CLOSE_OUTPUT_LIMIT);
    return true;
}

/* Room at the end of the output, where there is a segment with as much, or in a new one. */
static inline char *room_in_segment(struct rill_conn *conn, size_t length)
{
    struct rill_segment *last = conn->out ? conn->out->last : NULL;
    return last && last->end + length <= last->capacity ? last->bytes + last->end : NULL;
}

/* There is no budget for more output behind what waits already: closes. */
static inline bool over_budget(struct rill_conn *conn)
{
    if (RILL_LIKELY(!conn->out) || !rill_net_is_over_budget(conn->net))
        return false;
    rill_conn_close(conn, RILL_CLOSE_OVERLOAD);
    return true;
}

static char *room_in_new_segment(struct rill_conn *conn)
{
    if (RILL_UNLIKELY(over_budget(conn)))
        return NULL;
    struct rill_segment *segment = segment_lease(conn->net);
    return append(conn, segment) < 0 ? NULL : segment->bytes;
}

char *rill_conn_reserve(struct rill_conn *conn, size_t length)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        return NULL;
    char *room = room_in_segment(conn, length);
    if (RILL_LIKELY(room != NULL))
        return room;
    if (RILL_UNLIKELY(length > RILL_CONN_RESERVE_MAX))
        contract_broken("rill_conn_reserve", "more than RILL_CONN_RESERVE_MAX bytes were wanted");
    return refused(conn, length) ? NULL : room_in_new_segment(conn);
}

void rill_conn_commit(struct rill_conn *conn, size_t length)
{
    struct rill_segment *last = conn->out->last;
    if (RILL_UNLIKELY(last->end + length > last->capacity))
        contract_broken("rill_conn_commit", "more bytes than there was room for");
    last->end += length;
    added(conn, length);
}

/* The socket took bytes, so it has no error for us. */
static inline void made_progress(struct rill_conn *conn)
{
    if (conn->spent)
        conn->readable = conn->spent = false;
    if (conn->config->idle_timeout_ms)
        rill_conn_was_active(conn);
}

ssize_t rill_conn_send_now(struct rill_conn *conn, const struct iovec *parts, size_t count, size_t length)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    uint64_t began_ns = rill_trace_begin(conn->net->trace, conn);
    ssize_t sent;
    do
        sent = count == 1 ? rill_sys_send(conn->fd, parts->iov_base, length, MSG_NOSIGNAL)
                          : rill_sys_sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN)
        return -errno;
    if (sent < 0 || (size_t)sent < length)
        conn->writable = false;
    if (sent <= 0)
        return 0;
    rill_trace_end_write(conn->net->trace, conn, began_ns, (size_t)sent == length);
    rill_stat_add(&conn->net->stats.bytes_out, (uint64_t)sent);
    made_progress(conn);
    return sent;
}

/* Sends at once what the socket takes, for large sends with nothing waiting before them. Returns the bytes taken;
 * an error shows again when the rest is flushed. */
static size_t send_directly(struct rill_conn *conn, const char *bytes, size_t length)
{
    struct iovec part = {(char *)(uintptr_t)bytes, length};
    ssize_t sent = rill_conn_send_now(conn, &part, 1, length);
    return sent > 0 ? (size_t)sent : 0;
}

int rill_conn_send(struct rill_conn *conn, const void *bytes, size_t length)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        return -EPIPE;
    if (RILL_UNLIKELY(refused(conn, length)))
        return -ENOBUFS;
    const char *from = bytes;
    if (length >= DIRECT_SEND_BYTES && !conn->out && conn->writable) {
        size_t sent = send_directly(conn, from, length);
        from += sent;
        length -= sent;
    }
    while (length > 0) {
        size_t piece = length < RILL_CONN_RESERVE_MAX ? length : RILL_CONN_RESERVE_MAX;
        char *room = room_in_segment(conn, piece);
        if (!room && !(room = room_in_new_segment(conn)))
            return -ENOMEM;
        memcpy(room, from, piece);
        rill_conn_commit(conn, piece);
        from += piece;
        length -= piece;
    }
    return 0;
}

/* Appends what has no bytes of its own: OBJECT, with a header for all of it. Returns 0 or -ENOMEM; the reference to
 * what it is of is dropped then. */
static int append_object(struct rill_conn *conn, const struct rill_segment *object)
{
    bool refused_it = object->kind == RILL_SEGMENT_SHARED && over_budget(conn);
    struct rill_segment *segment = refused_it ? NULL : rill_sys_malloc(sizeof *segment);
    uint64_t length = object->end - object->start;
    if (segment) {
        *segment = *object;
        rill_net_count_kept(conn->net, kept_by(segment));
    } else {
        drop_object(conn->net, object);
    }
    int error = append(conn, segment);
    if (error == 0) {
        if (object->kind != RILL_SEGMENT_SHARED)
            conn->out->kernel_bytes += length;
        added(conn, length);
    }
    return error;
}

int rill_conn_queue_buf(struct rill_conn *conn, struct rill_buf *buf, size_t offset)
{
    struct rill_segment object = {
        .kind = RILL_SEGMENT_SHARED, .of.buf = buf, .start = offset, .end = rill_buf_length(buf)};
    return append_object(conn, &object);
}

int rill_conn_send_buf(struct rill_conn *conn, struct rill_buf *buf)
{
    rill_loop_check(conn->net->loop, __func__);
    size_t length = rill_buf_length(buf);
    int error = length == 0 ? 0 : conn->state != RILL_CONN_OPEN || conn->shutdown_wanted ? -EPIPE : 1;
    if (RILL_UNLIKELY(error > 0 && refused(conn, length)))
        error = -ENOBUFS;
    if (RILL_UNLIKELY(error <= 0)) {
        rill_buf_unref(buf);
        return error;
    }
    return rill_conn_queue_buf(conn, buf, 0);
}

int rill_conn_send_file(struct rill_conn *conn, struct rill_file_ref *file, uint64_t offset, uint64_t length)
{
    rill_loop_check(conn->net->loop, __func__);
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted)
        return -EPIPE;
    if (length == 0)
        return 0;
    struct rill_segment object = {
        .kind = RILL_SEGMENT_FILE, .of.file = rill_file_ref_hold(file), .start = offset, .end = offset + length};
    return append_object(conn, &object);
}

int rill_conn_send_pipe(struct rill_conn *conn, struct rill_pipe *pipe)
{
    if (conn->state != RILL_CONN_OPEN || conn->shutdown_wanted) {
        rill_pipe_return(conn->net, pipe);
        return -EPIPE;
    }
    struct rill_segment object = {.kind = RILL_SEGMENT_PIPE, .of.pipe = pipe, .end = pipe->held};
    return append_object(conn, &object);
}

/* Sends the copied and shared segments up to the next of another kind. Returns bytes sent, or a negative errno.
 * *OFFERED is what was there to be sent. */
static ssize_t send_bytes(struct rill_conn *conn, size_t *offered)
{
    struct iovec parts[MAX_GATHER];
    size_t count = 0;
    *offered = 0;
    struct rill_segment *segment = conn->out->first;
    for (; segment && segment->kind <= RILL_SEGMENT_SHARED && count < MAX_GATHER; segment = segment->next) {
        const char *base = segment->kind == RILL_SEGMENT_SHARED ? rill_buf_bytes(segment->of.buf) : segment->bytes;
        parts[count].iov_base = (char *)(uintptr_t)(base + segment->start);
        parts[count].iov_len = segment->end - segment->start;
        *offered += parts[count++].iov_len;
    }
    /* A small file leaves in one packet with what goes before it. A large one does not wait for that: measured, it
     * costs the kernel a third more to append the file's pages to a packet that was begun with copied bytes. */
    bool more = segment && (segment->kind <= RILL_SEGMENT_SHARED || segment->end - segment->start <= SMALL_FILE_BYTES);
    int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    ssize_t sent;
    if (count == 1) {
        sent = rill_sys_send(conn->fd, parts[0].iov_base, parts[0].iov_len, flags);
    } else {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        sent = rill_sys_sendmsg(conn->fd, &message, flags);
    }
    return sent < 0 ? -errno : sent;
}

/* Sends of a file or a pipe. Returns as send_bytes(). */
static ssize_t send_object(struct rill_conn *conn, size_t *offered)
{
    struct rill_segment *segment = conn->out->first;
    uint64_t left = segment->end - segment->start;
    struct rill_pipe *pipe = segment->kind == RILL_SEGMENT_PIPE ? segment->of.pipe : NULL;
    ssize_t sent;
    if (!pipe) {
        off_t offset = (off_t)segment->start;
        size_t count = left < SENDFILE_BYTES ? (size_t)left : SENDFILE_BYTES;
        sent = rill_sys_sendfile(conn->fd, rill_file_ref_fd(segment->of.file), &offset, count);
    } else {
        sent = rill_sys_splice(pipe->read_fd, conn->fd, left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    }
    *offered = 0; /* a short count does not tell a full socket from a file that ended: ask again */
    if (sent == 0)
        return -ENODATA;
    if (sent < 0)
        return -errno;
    conn->out->kernel_bytes -= (uint64_t)sent;
    if (pipe)
        pipe->held -= (uint64_t)sent;
    return sent;
}

/* Drops the first SENT bytes of the queue. */
static inline void advance(struct rill_conn *conn, uint64_t sent)
{
    struct rill_output *out = conn->out;
    out->bytes -= sent;
    rill_stat_subtract(&conn->net->stats.waiting_bytes, sent);
    rill_stat_add(&conn->net->stats.bytes_out, sent);
    for (;;) {
        struct rill_segment *segment = out->first;
        uint64_t here = segment->end - segment->start;
        if (sent < here) {
            segment->start += sent;
            return;
        }
        sent -= here;
        out->first = segment->next;
        segment_free(conn->net, segment);
        if (!out->first) {
            conn->out = NULL;
            output_free(conn->net, out);
            return;
        }
    }
}

/* Swaps a last segment that is mostly room for one that fits; a peer that does not read may keep it for long. */
static void compact(struct rill_conn *conn)
{
    struct rill_output *out = conn->out;
    struct rill_segment *old = out->last;
    uint64_t used = old->end - old->start;
    if (old->capacity != COPY_CAPACITY || out->first != old || used > COPY_CAPACITY / 4)
        return;
    struct rill_segment *fit = rill_sys_malloc(sizeof *fit + used);
    if (!fit)
        return; /* it was only to save memory */
    *fit = (struct rill_segment){.end = used, .capacity = (uint32_t)used};
    rill_net_count_kept(conn->net, kept_by(fit));
    memcpy(fit->bytes, old->bytes + old->start, used);
    out->first = out->last = fit;
    segment_free(conn->net, old);
}

/* Sends what there is, as much as the socket takes. Returns the bytes sent, or a negative errno. */
static inline __attribute__((always_inline)) int64_t send_queued(struct rill_conn *conn)
{
    uint64_t total = 0;
    while (conn->writable) {
        size_t offered;
        ssize_t sent =
            conn->out->first->kind <= RILL_SEGMENT_SHARED ? send_bytes(conn, &offered) : send_object(conn, &offered);
        if (RILL_UNLIKELY(sent < 0)) {
            if (sent == -EINTR)
                continue;
            if (sent != -EAGAIN)
                return sent;
            conn->writable = false;
            break;
        }
        if ((size_t)sent < offered)
            conn->writable = false; /* the kernel has noted that we wait: an edge will come */
        total += (uint64_t)sent;
        advance(conn, (uint64_t)sent);
        if (RILL_LIKELY(!conn->out))
            break;
        if (total >= WRITE_BUDGET_BYTES) {
            rill_conn_make_ready(conn);
            break;
        }
    }
    return (int64_t)total;
}

__attribute__((noinline)) static int64_t send_queued_traced(struct rill_conn *conn)
{
    struct rill_trace_lane *trace = conn->net->trace;
    uint64_t began_ns = rill_trace_begin(trace, conn);
    int64_t sent = send_queued(conn);
    if (sent >= 0)
        rill_trace_end_write(trace, conn, began_ns, !conn->out);
    return sent;
}

int rill_conn_output_flush(struct rill_conn *conn)
{
    int64_t sent = rill_trace_on(conn->net->trace) ? send_queued_traced(conn) : send_queued(conn);
    if (RILL_UNLIKELY(sent < 0))
        return (int)sent;
    if (sent > 0)
        made_progress(conn);
    if (RILL_UNLIKELY(conn->out != NULL)) {
        uint64_t timeout_ms = conn->config->write_timeout_ms;
        if (timeout_ms && (sent > 0 || conn->out->deadline_ms == 0))
            conn->out->deadline_ms = rill_loop_deadline_ms(conn->net->loop, timeout_ms);
        compact(conn);
    }
    rill_net_note_buffered(conn->net);
    return 0;
}

size_t rill_conn_buffered(const struct rill_conn *conn)
{
    return conn->out ? conn->out->bytes : 0;
}

bool rill_conn_is_full(const struct rill_conn *conn)
{
    return conn->out && conn->out->bytes > rill_conn_high_watermark(conn);
}
