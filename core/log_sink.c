/* log_sink.c - where the error log goes: standard error or a file. A mutex serves all: lines are rare, and each is one
 * write(2).
 *
 * A disk that is full takes a part of a line, or nothing. The line that it took a part of is kept, and its rest is the
 * first that is written when there is room again; lines in between are dropped and counted, and a line says how many
 * they were, where they would have stood. So the file holds whole lines and nothing else, whatever the disk does. */
#include "rill/core/append_internal.h"
#include "rill/core/log_internal.h"
#include "rill/core/sys.h"

#include <stdatomic.h>
#include <stdio.h>

static struct {
    pthread_mutex_t lock;
    int fd; /* written with lock held; atomic, for rill_log_fd() */
    /* Guarded by lock. */
    char *path;                     /* NULL: standard error */
    char rest[RILL_LOG_LINE_BYTES]; /* of a line whose beginning is in the file */
    size_t rest_length;
    int failed;            /* the errno that is said already; 0: writing works */
    uint64_t dropped_said; /* dropped lines that the file speaks of */
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

static atomic_uint_fast64_t dropped; /* written with lock held */

static void count_dropped(void)
{
    uint64_t count = atomic_load_explicit(&dropped, memory_order_relaxed);
    atomic_store_explicit(&dropped, count + 1, memory_order_relaxed);
}

uint64_t rill_log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* --- writing; with lock held --- */

/* When standard error is the log itself there is nowhere left to say so. */
static void note_failure(int error)
{
    char text[RILL_LOG_LINE_BYTES], line[RILL_LOG_LINE_BYTES];
    if (sink.failed == error)
        return;
    sink.failed = error;
    if (!sink.path)
        return;
    snprintf(text, sizeof text, "cannot write to %s: %s; lines are dropped until it can be", sink.path,
             strerror(error));
    ssize_t ignored = rill_sys_write(STDERR_FILENO, line, rill_log_line(line, RILL_LOG_ERROR, text));
    (void)ignored;
}

/* Returns how many of LENGTH bytes are in the file now. */
static size_t write_some(const char *bytes, size_t length)
{
    size_t written = 0;
    while (written < length) {
        ssize_t n = rill_sys_write(sink.fd, bytes + written, length - written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            note_failure(errno);
            return written;
        }
        written += (size_t)n;
    }
    sink.failed = 0;
    return written;
}

/* Returns whether BYTES are in the file, or their beginning is: then their rest is kept. */
static bool append(const char *bytes, size_t length)
{
    size_t written = write_some(bytes, length);
    if (written == 0)
        return false;
    sink.rest_length = length - written;
    memmove(sink.rest, bytes + written, sink.rest_length);
    return true;
}

/* Returns whether the file ends with a whole line. */
static bool finish_line(void)
{
    return sink.rest_length == 0 || (append(sink.rest, sink.rest_length) && sink.rest_length == 0);
}

/* Returns whether the file speaks of all lines that it lacks, and ends with a whole line. */
static bool say_dropped(void)
{
    char text[80], line[RILL_LOG_LINE_BYTES];
    uint64_t count = rill_log_dropped() - sink.dropped_said;
    if (count == 0)
        return true;
    snprintf(text, sizeof text, "%llu lines dropped: the log could not be written", (unsigned long long)count);
    if (!append(line, rill_log_line(line, RILL_LOG_WARN, text)))
        return false;
    sink.dropped_said += count;
    return sink.rest_length == 0;
}

void rill_log_sink_write(const char *line, size_t length)
{
    pthread_mutex_lock(&sink.lock);
    if (!finish_line() || !say_dropped() || !append(line, length))
        count_dropped();
    pthread_mutex_unlock(&sink.lock);
}

/* --- opening --- */

/* With lock held: lines go to FD, which is PATH, from now on. TORN: it ends within a line, which is ended first. */
static void redirect(int fd, char *path, bool torn)
{
    if (!finish_line())
        count_dropped(); /* its beginning is elsewhere */
    sink.path = path;
    sink.rest_length = torn;
    sink.rest[0] = '\n';
    sink.failed = 0;
    __atomic_store_n(&sink.fd, fd, __ATOMIC_RELAXED);
    finish_line();
}

/* Takes FD and PATH over; the old ones go. */
static void sink_replace(int fd, char *path, bool torn)
{
    pthread_mutex_lock(&sink.lock);
    int old_fd = sink.path ? sink.fd : -1;
    char *old_path = sink.path;
    redirect(fd, path, torn);
    pthread_mutex_unlock(&sink.lock);
    if (old_fd >= 0)
        rill_sys_close(old_fd);
    rill_sys_free(old_path);
}

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = rill_sys_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

int rill_log_open(const char *path)
{
    if (!path) {
        sink_replace(STDERR_FILENO, NULL, false);
        return 0;
    }
    char *copy = copy_text(path);
    if (!copy)
        return -ENOMEM;
    bool torn = false;
    int fd = rill_append_open(path, 0, &torn);
    if (fd < 0) {
        rill_sys_free(copy);
        return fd;
    }
    sink_replace(fd, copy, torn);
    return 0;
}

int rill_log_fd(void)
{
    return __atomic_load_n(&sink.fd, __ATOMIC_RELAXED);
}

int rill_log_reopen(void)
{
    pthread_mutex_lock(&sink.lock);
    bool torn = false;
    int old_fd = -1;
    int fd = sink.path ? rill_append_open(sink.path, 0, &torn) : 0;
    if (sink.path && fd >= 0) {
        old_fd = sink.fd;
        redirect(fd, sink.path, torn);
    }
    pthread_mutex_unlock(&sink.lock);
    if (old_fd >= 0)
        rill_sys_close(old_fd);
    return fd < 0 ? fd : 0;
}
