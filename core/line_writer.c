/* line_writer.c - rings of whole lines, and the thread that empties them.
 *
 * A ring's positions only grow; the byte of position P is at P modulo the ring's size. A line never wraps: one that
 * does not fit before the ring's end starts at its beginning, and `lap_end` says where the lap before it ended.
 * Between tail and head lies at most one such place, because they are never more than the ring's size apart, so that
 * one variable is enough: before the producer sets it again, it has seen a tail beyond the place that it spoke of.
 *
 * A write that fails loses nothing by itself: what was not written stays in the rings and is tried again. Lines are
 * lost only where there is no room for them, one whole line at a time, and the producer counts them. So the file never
 * holds half a line in the middle, however short the writes were. */
#include "rill/core/line_writer.h"

#include "rill/core/append_internal.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#define DEFAULT_RING_BYTES ((size_t)1 << 20)
#define MIN_RING_BYTES ((size_t)1 << 10)
#define DEFAULT_FLUSH_MS 200
#define WRITE_PARTS 64       /* pieces a writev(2) */
#define NOTICE_EVERY_MS 1000 /* at most one "# N lines dropped" in */
#define STOP_STALLED_MS 1000 /* a reader that takes nothing for so long does not hold up the end */
#define NEVER UINT64_MAX

struct rill_line_channel {
    struct rill_line_writer *writer;
    struct rill_line_channel *next; /* set before the channel is published */
    char *bytes;
    size_t ring_bytes;

    /* The producer's side. */
    _Alignas(RILL_CACHE_LINE) atomic_uint_fast64_t head; /* end of the last whole line */
    uint64_t tail_seen;                                  /* tail, when last looked at */
    uint64_t woken_at_tail;                              /* no second wake-up before tail moves from here */
    uint64_t reserved;                                   /* where the line that is being made starts */
    uint64_t reserved_end;                               /* and where it has to end */
    uint64_t lap_end;                                    /* handed over by head; the comment above */
    atomic_uint_fast64_t dropped;

    /* The thread's side. */
    _Alignas(RILL_CACHE_LINE) atomic_uint_fast64_t tail;
};

struct rill_line_writer {
    _Atomic(struct rill_line_channel *) channels;
    atomic_bool stopping;
    atomic_bool reopen;
    int wake_fd;
    size_t ring_bytes;
    unsigned flush_interval_ms;
    char *path; /* NULL: standard output */
    pthread_t thread;

    /* The thread's alone. */
    int fd;
    bool is_socket;
    int failed;                        /* the errno that is said already; 0: writing works */
    bool drop_said;                    /* in the error log, since the file was opened */
    bool torn;                         /* the file was opened with a last line that has no end */
    bool stalled;                      /* the file took less than it was given */
    struct rill_line_channel *cut;     /* whose line stands half written in the file */
    atomic_uint_fast64_t dropped_here; /* lines lost between ring and file */
    uint64_t dropped_noted;            /* dropped lines that the file speaks of */
    uint64_t noted_at_ms;
    char notice[48];
    uint64_t notice_count; /* what dropped_noted becomes when the notice is out */
    size_t notice_length;
    size_t notice_sent;
};

/* ---- The file -------------------------------------------------------------------------------------------- */

/* The thread must be able to give up on a reader who stands still, or stopping would wait for him; so writes must not
 * block. O_NONBLOCK belongs to the open file, which standard output shares with others: a pipe or terminal is opened
 * again, a socket has MSG_DONTWAIT, and a regular file does not care. */
static int open_stdout(bool *is_socket)
{
    struct stat st;
    if (rill_sys_fstat(STDOUT_FILENO, &st) != 0)
        return -errno;
    int fd = -1;
    *is_socket = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
        fd = rill_sys_open("/proc/self/fd/1", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    if (fd < 0)
        fd = rill_sys_dup(STDOUT_FILENO);
    return fd < 0 ? -errno : fd;
}

/* *TORN stays as it is unless the file ends within a line. */
static int open_file(const struct rill_line_writer *writer, bool *is_socket, bool *torn)
{
    if (!writer->path)
        return open_stdout(is_socket);
    *is_socket = false;
    return rill_append_open(writer->path, O_NONBLOCK, torn);
}

static const char *file_name(const struct rill_line_writer *writer)
{
    return writer->path ? writer->path : "standard output";
}

static ssize_t write_parts(const struct rill_line_writer *writer, struct iovec *parts, int count)
{
    if (!writer->is_socket)
        return rill_sys_writev(writer->fd, parts, count);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    return rill_sys_sendmsg(writer->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- The thread ------------------------------------------------------------------------------------------ */

/* Puts what CHANNEL holds into PARTS: none, one or two pieces. */
static int gather_channel(struct rill_line_channel *channel, struct iovec parts[2])
{
    size_t mask = channel->ring_bytes - 1;
    uint64_t head = atomic_load_explicit(&channel->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&channel->tail, memory_order_relaxed);
    int count = 0;
    uint64_t next_lap = (tail | mask) + 1;
    if (head > next_lap) {
        if (channel->lap_end > tail)
            parts[count++] = (struct iovec){channel->bytes + (tail & mask), (size_t)(channel->lap_end - tail)};
        tail = next_lap;
    }
    if (head > tail)
        parts[count++] = (struct iovec){channel->bytes + (tail & mask), (size_t)(head - tail)};
    return count;
}

/* Gives the first LENGTH bytes of what gather_channel() found back to the producer. */
static void consume(struct rill_line_channel *channel, size_t length)
{
    size_t mask = channel->ring_bytes - 1;
    uint64_t head = atomic_load_explicit(&channel->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&channel->tail, memory_order_relaxed);
    uint64_t next_lap = (tail | mask) + 1;
    if (head > next_lap && tail + length >= channel->lap_end) {
        length -= (size_t)(channel->lap_end - tail);
        tail = next_lap;
    }
    atomic_store_explicit(&channel->tail, tail + length, memory_order_release);
}

/* The end of the first line in PARTS, in bytes from its start. Pieces hold whole lines, but for the first's start. */
static size_t first_line(const struct iovec *part)
{
    const char *newline = memchr(part->iov_base, '\n', part->iov_len);
    return newline ? (size_t)(newline - (const char *)part->iov_base) + 1 : part->iov_len;
}

static void count_lost(struct rill_line_writer *writer, uint64_t lines)
{
    uint64_t lost = atomic_load_explicit(&writer->dropped_here, memory_order_relaxed);
    atomic_store_explicit(&writer->dropped_here, lost + lines, memory_order_relaxed);
}

/* Makes the notice when one is due; returns whether there is one to write. */
static bool notice_pending(struct rill_line_writer *writer, uint64_t now_ms)
{
    if (writer->notice_sent > 0)
        return true;
    if (writer->torn) { /* first of all the end of what somebody else began */
        writer->notice_count = writer->dropped_noted;
        writer->notice_length = 1;
        writer->notice[0] = '\n';
        return true;
    }
    uint64_t dropped = rill_line_writer_dropped(writer);
    bool stopping = atomic_load_explicit(&writer->stopping, memory_order_relaxed);
    if (dropped == writer->dropped_noted || (!stopping && now_ms - writer->noted_at_ms < NOTICE_EVERY_MS))
        return false;
    writer->notice_count = dropped;
    writer->notice_length = (size_t)snprintf(writer->notice, sizeof writer->notice, "# %llu lines dropped\n",
                                             (unsigned long long)(dropped - writer->dropped_noted));
    return true;
}

/* One writev(2), as it is put together and as it is taken apart again. */
struct batch {
    int count;
    bool has_notice; /* the first part */
    struct iovec parts[WRITE_PARTS];
    struct rill_line_channel *owners[WRITE_PARTS];
};

static void batch_add(struct batch *batch, struct rill_line_channel *channel)
{
    if (batch->count > WRITE_PARTS - 2)
        return;
    int added = gather_channel(channel, batch->parts + batch->count);
    for (int i = 0; i < added; i++)
        batch->owners[batch->count++] = channel;
}

static void batch_gather(struct batch *batch, struct rill_line_writer *writer, uint64_t now_ms)
{
    batch->count = 0;
    batch->has_notice = !writer->cut && notice_pending(writer, now_ms);
    if (batch->has_notice) {
        batch->parts[0] =
            (struct iovec){writer->notice + writer->notice_sent, writer->notice_length - writer->notice_sent};
        batch->owners[batch->count++] = NULL;
    }
    struct rill_line_channel *cut = writer->cut;
    if (cut)
        batch_add(batch, cut); /* first: the rest of its line belongs where its beginning is */
    struct rill_line_channel *channel = atomic_load_explicit(&writer->channels, memory_order_acquire);
    for (; channel; channel = channel->next)
        if (channel != cut)
            batch_add(batch, channel);
}

/* LENGTH bytes of BATCH are in the file. */
static void batch_written(struct batch *batch, struct rill_line_writer *writer, size_t length, uint64_t now_ms)
{
    int i = 0;
    if (batch->has_notice) {
        size_t taken = length < batch->parts[0].iov_len ? length : batch->parts[0].iov_len;
        writer->notice_sent += taken;
        length -= taken;
        if (writer->notice_sent == writer->notice_length) {
            writer->noted_at_ms = writer->torn ? writer->noted_at_ms : now_ms;
            writer->notice_sent = 0;
            writer->torn = false;
            writer->dropped_noted = writer->notice_count;
        }
        i = 1;
    }
    for (; i < batch->count && length > 0; i++) {
        const struct iovec *part = &batch->parts[i];
        size_t taken = length < part->iov_len ? length : part->iov_len;
        bool whole = ((const char *)part->iov_base)[taken - 1] == '\n';
        writer->cut = whole ? NULL : batch->owners[i];
        length -= taken;
        consume(batch->owners[i], taken);
    }
}

static void note_failure(struct rill_line_writer *writer, int error)
{
    if (error == EAGAIN) {
        if (!writer->drop_said && rill_line_writer_dropped(writer) != writer->dropped_noted) {
            writer->drop_said = true;
            rill_log_warn("%s: the reader is behind, lines are dropped", file_name(writer));
        }
        return;
    }
    if (writer->failed != error)
        rill_log_error("cannot write to %s: %s; lines are kept while there is room, then dropped", file_name(writer),
                       strerror(error));
    writer->failed = error;
}

/* Writes what the rings hold now. Returns whether all of it went out; when not, WRITER->stalled says if waiting for
 * the file to be writable makes sense. */
static bool flush(struct rill_line_writer *writer, size_t *written)
{
    uint64_t now_ms = rill_sys_monotonic_ns() / 1000000;
    struct batch batch;
    *written = 0;
    writer->stalled = false;
    for (;;) {
        batch_gather(&batch, writer, now_ms);
        if (batch.count == 0)
            return true;
        size_t wanted = 0;
        for (int i = 0; i < batch.count; i++)
            wanted += batch.parts[i].iov_len;
        ssize_t n = write_parts(writer, batch.parts, batch.count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            writer->stalled = errno == EAGAIN;
            note_failure(writer, errno);
            return false;
        }
        batch_written(&batch, writer, (size_t)n, now_ms);
        *written += (size_t)n;
        if ((size_t)n < wanted)
            continue; /* the next try says why */
        writer->failed = 0;
        if (batch.count <= WRITE_PARTS - 2)
            return true;
    }
}

/* The rest of a line whose beginning is in another file, or in none any more, is worth nothing. */
static void abandon_cut_line(struct rill_line_writer *writer)
{
    struct rill_line_channel *cut = writer->cut;
    struct iovec parts[2];
    writer->notice_sent = 0;
    if (!cut)
        return;
    writer->cut = NULL;
    if (gather_channel(cut, parts) > 0)
        consume(cut, first_line(&parts[0]));
    count_lost(writer, 1);
}

static void reopen_file(struct rill_line_writer *writer)
{
    if (!writer->path)
        return;
    bool is_socket = false, torn = false;
    int fd = open_file(writer, &is_socket, &torn);
    if (fd < 0) {
        rill_log_error("cannot open %s again: %s; going on with the old file", file_name(writer), strerror(-fd));
        return;
    }
    abandon_cut_line(writer);
    rill_sys_close(writer->fd);
    writer->fd = fd;
    writer->is_socket = is_socket;
    writer->torn = torn;
    writer->failed = 0;
    writer->drop_said = false;
}

/* Waits for a wake-up, for the file to take more when it did not, or for TIMEOUT_MS. */
static void wait_for_work(struct rill_line_writer *writer, unsigned timeout_ms)
{
    struct pollfd fds[2] = {{.fd = writer->wake_fd, .events = POLLIN}, {.fd = writer->fd, .events = POLLOUT}};
    rill_sys_poll(fds, writer->stalled ? 2 : 1, (int)timeout_ms);
    uint64_t wakeups;
    if (fds[0].revents && rill_sys_read(writer->wake_fd, &wakeups, sizeof wakeups) < 0)
        return; /* somebody else's EAGAIN: nothing to take */
}

/* What could not be written before the end. */
static void count_leftovers(struct rill_line_writer *writer)
{
    uint64_t lines = 0;
    struct rill_line_channel *channel = atomic_load_explicit(&writer->channels, memory_order_acquire);
    for (; channel; channel = channel->next) {
        struct iovec parts[2];
        int count = gather_channel(channel, parts);
        for (int i = 0; i < count; i++) {
            size_t end = 0;
            while (end < parts[i].iov_len) {
                struct iovec rest = {(char *)parts[i].iov_base + end, parts[i].iov_len - end};
                end += first_line(&rest);
                lines++;
            }
        }
    }
    count_lost(writer, lines);
}

static void finish(struct rill_line_writer *writer)
{
    uint64_t last_ms = rill_sys_monotonic_ns() / 1000000;
    size_t written;
    for (;;) {
        bool all = flush(writer, &written);
        if (all && rill_line_writer_dropped(writer) == writer->dropped_noted)
            return;
        if (all)
            continue; /* a notice from before was still under way: one more for what was dropped since */
        uint64_t now_ms = rill_sys_monotonic_ns() / 1000000;
        if (written > 0)
            last_ms = now_ms;
        if (!writer->stalled || now_ms - last_ms >= STOP_STALLED_MS) {
            count_leftovers(writer);
            break;
        }
        wait_for_work(writer, 50);
    }
    uint64_t unsaid = rill_line_writer_dropped(writer) - writer->dropped_noted;
    if (unsaid > 0)
        rill_log_warn("%s: %llu lines dropped", file_name(writer), (unsigned long long)unsaid);
}

static void *thread_main(void *arg)
{
    struct rill_line_writer *writer = arg;
    pthread_setname_np(pthread_self(), "line-writer");
    while (!atomic_load_explicit(&writer->stopping, memory_order_acquire)) {
        size_t written;
        wait_for_work(writer, writer->flush_interval_ms);
        flush(writer, &written);
        /* After the flush: lines from before the rotation belong into the old file. */
        if (atomic_exchange_explicit(&writer->reopen, false, memory_order_acquire))
            reopen_file(writer);
    }
    finish(writer);
    return NULL;
}

/* ---- Start and stop -------------------------------------------------------------------------------------- */

static void wake(struct rill_line_writer *writer)
{
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the thread has been woken already. */
    ssize_t ignored = rill_sys_write(writer->wake_fd, &one, sizeof one);
    (void)ignored;
}

/* A signal must never land on this thread: it is the main loop's to handle, and SIGPIPE would end the process. */
static int start_thread(struct rill_line_writer *writer)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = rill_sys_thread_create(&writer->thread, thread_main, writer);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

static size_t round_up(size_t bytes)
{
    size_t size = MIN_RING_BYTES;
    while (size < bytes && size <= SIZE_MAX / 4)
        size *= 2;
    return size;
}

struct rill_line_writer *rill_line_writer_start(const struct rill_line_writer_config *config, int *error)
{
    *error = -ENOMEM;
    struct rill_line_writer *writer = rill_sys_calloc(1, sizeof *writer);
    if (!writer)
        return NULL;
    writer->ring_bytes = config->ring_bytes ? round_up(config->ring_bytes) : DEFAULT_RING_BYTES;
    writer->flush_interval_ms = config->flush_interval_ms ? config->flush_interval_ms : DEFAULT_FLUSH_MS;
    writer->noted_at_ms = rill_sys_monotonic_ns() / 1000000 - NOTICE_EVERY_MS;
    if (strcmp(config->path, "-") != 0) {
        size_t size = strlen(config->path) + 1;
        writer->path = rill_sys_malloc(size);
        if (!writer->path)
            goto fail_path;
        memcpy(writer->path, config->path, size);
    }
    writer->fd = open_file(writer, &writer->is_socket, &writer->torn);
    if (writer->fd < 0) {
        *error = writer->fd;
        goto fail_open;
    }
    writer->wake_fd = rill_sys_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (writer->wake_fd < 0) {
        *error = -errno;
        goto fail_eventfd;
    }
    *error = start_thread(writer);
    if (*error == 0)
        return writer;

    rill_sys_close(writer->wake_fd);
fail_eventfd:
    rill_sys_close(writer->fd);
fail_open:
    rill_sys_free(writer->path);
fail_path:
    rill_sys_free(writer);
    return NULL;
}

void rill_line_writer_stop(struct rill_line_writer *writer)
{
    if (!writer)
        return;
    atomic_store_explicit(&writer->stopping, true, memory_order_release);
    wake(writer);
    rill_sys_thread_join(writer->thread);
    struct rill_line_channel *channel = atomic_load_explicit(&writer->channels, memory_order_acquire);
    while (channel) {
        struct rill_line_channel *next = channel->next;
        rill_sys_munmap(channel, sizeof *channel + channel->ring_bytes);
        channel = next;
    }
    rill_sys_close(writer->wake_fd);
    rill_sys_close(writer->fd);
    rill_sys_free(writer->path);
    rill_sys_free(writer);
}

void rill_line_writer_reopen(struct rill_line_writer *writer)
{
    atomic_store_explicit(&writer->reopen, true, memory_order_release);
    wake(writer);
}

uint64_t rill_line_writer_dropped(const struct rill_line_writer *writer)
{
    uint64_t sum = atomic_load_explicit(&writer->dropped_here, memory_order_relaxed);
    const struct rill_line_channel *channel = atomic_load_explicit(&writer->channels, memory_order_acquire);
    for (; channel; channel = channel->next)
        sum += atomic_load_explicit(&channel->dropped, memory_order_relaxed);
    return sum;
}

/* ---- The producers' side --------------------------------------------------------------------------------- */

struct rill_line_channel *rill_line_channel_new(struct rill_line_writer *writer)
{
    if (atomic_load_explicit(&writer->stopping, memory_order_acquire))
        return NULL;
    /* Mapped, so that a ring costs only what was ever used of it. The channel itself lies in front of it. */
    void *memory = rill_sys_mmap(NULL, sizeof(struct rill_line_channel) + writer->ring_bytes, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    struct rill_line_channel *channel = memory;
    channel->writer = writer;
    channel->bytes = (char *)(channel + 1);
    channel->ring_bytes = writer->ring_bytes;
    channel->woken_at_tail = NEVER;
    channel->next = atomic_load_explicit(&writer->channels, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&writer->channels, &channel->next, channel, memory_order_release,
                                                  memory_order_relaxed))
        ;
    return channel;
}

/* Whether the ring has room up to END, with a fresh look at tail only when the last one says no. */
static bool has_room(struct rill_line_channel *channel, uint64_t end)
{
    if (end - channel->tail_seen <= channel->ring_bytes)
        return true;
    channel->tail_seen = atomic_load_explicit(&channel->tail, memory_order_acquire);
    return end - channel->tail_seen <= channel->ring_bytes;
}

/* Once for each place that tail stands at: a thread that cannot write is not woken again and again. */
static void wake_if_half_full(struct rill_line_channel *channel, uint64_t head)
{
    if (head - channel->tail_seen > channel->ring_bytes / 2 && channel->woken_at_tail != channel->tail_seen) {
        channel->woken_at_tail = channel->tail_seen;
        wake(channel->writer);
    }
}

char *rill_line_channel_reserve(struct rill_line_channel *channel, size_t max_bytes)
{
    size_t mask = channel->ring_bytes - 1;
    uint64_t start = atomic_load_explicit(&channel->head, memory_order_relaxed);
    if (max_bytes > channel->ring_bytes - (start & mask))
        start = (start | mask) + 1;
    if (RILL_UNLIKELY(max_bytes > channel->ring_bytes / 4 || !has_room(channel, start + max_bytes))) {
        uint64_t dropped = atomic_load_explicit(&channel->dropped, memory_order_relaxed);
        atomic_store_explicit(&channel->dropped, dropped + 1, memory_order_relaxed);
        /* The thread may have taken a little and gone to sleep before the last commits: nothing else would wake it. */
        wake_if_half_full(channel, atomic_load_explicit(&channel->head, memory_order_relaxed));
        return NULL;
    }
    channel->reserved = start;
    channel->reserved_end = start + max_bytes;
    return channel->bytes + (start & mask);
}

void rill_line_channel_commit(struct rill_line_channel *channel, size_t length)
{
    uint64_t start = channel->reserved;
    if ((start & (channel->ring_bytes - 1)) == 0)
        channel->lap_end = atomic_load_explicit(&channel->head, memory_order_relaxed);
    uint64_t head = start + length;
    if (RILL_UNLIKELY(head > channel->reserved_end)) { /* into what others have to say */
        rill_log_error("rill_line_channel_commit: more bytes than there was room for");
        abort();
    }
    atomic_store_explicit(&channel->head, head, memory_order_release);

    if (RILL_LIKELY(head - channel->tail_seen <= channel->ring_bytes / 2))
        return;
    channel->tail_seen = atomic_load_explicit(&channel->tail, memory_order_acquire);
    wake_if_half_full(channel, head);
}
