/* log.c - the process's one log sink. A mutex serves all: lines are rare, and each is one write(2). */
#include "rill/core/log.h"

#include "rill/core/sys.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#define LINE_BYTES 2048
#define PREFIX_BYTES 80

static struct {
    pthread_mutex_t lock;
    int fd;     /* written with lock held; atomic, for rill_log_fd() */
    char *path; /* guarded by lock; NULL: standard error */
} sink = {PTHREAD_MUTEX_INITIALIZER, STDERR_FILENO, NULL};

static atomic_int sink_level = RILL_LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

int rill_log_level_parse(const char *text, enum rill_log_level *level)
{
    for (size_t i = 0; i < rill_array_length(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum rill_log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

void rill_log_set_level(enum rill_log_level level)
{
    atomic_store_explicit(&sink_level, (int)level, memory_order_relaxed);
}

bool rill_log_enabled(enum rill_log_level level)
{
    return level < RILL_LOG_OFF && (int)level >= atomic_load_explicit(&sink_level, memory_order_relaxed);
}

static int open_append(const char *path)
{
    int fd = rill_sys_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    return fd < 0 ? -errno : fd;
}

/* Takes FD and PATH over; the old ones go. */
static void sink_replace(int fd, char *path)
{
    pthread_mutex_lock(&sink.lock);
    int old_fd = sink.path ? sink.fd : -1;
    char *old_path = sink.path;
    __atomic_store_n(&sink.fd, fd, __ATOMIC_RELAXED);
    sink.path = path;
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
        sink_replace(STDERR_FILENO, NULL);
        return 0;
    }
    char *copy = copy_text(path);
    if (!copy)
        return -ENOMEM;
    int fd = open_append(path);
    if (fd < 0) {
        rill_sys_free(copy);
        return fd;
    }
    sink_replace(fd, copy);
    return 0;
}

int rill_log_fd(void)
{
    return __atomic_load_n(&sink.fd, __ATOMIC_RELAXED);
}

int rill_log_reopen(void)
{
    pthread_mutex_lock(&sink.lock);
    int rc = 0;
    int old_fd = -1;
    if (sink.path) {
        rc = open_append(sink.path);
        if (rc >= 0) {
            old_fd = sink.fd;
            __atomic_store_n(&sink.fd, rc, __ATOMIC_RELAXED);
            rc = 0;
        }
    }
    pthread_mutex_unlock(&sink.lock);
    if (old_fd >= 0)
        rill_sys_close(old_fd);
    return rc;
}

/* "2026-01-31T12:00:00.123Z warn reactor-0: ". The main thread's name is the program's, so it is called main here. */
static size_t format_prefix(char into[PREFIX_BYTES], enum rill_log_level level)
{
    uint64_t now_ms = rill_sys_realtime_ns() / 1000000;
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char date[40] = "?";
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    char thread[16] = "main";
    if (gettid() != getpid())
        pthread_getname_np(pthread_self(), thread, sizeof thread);
    int n =
        snprintf(into, PREFIX_BYTES, "%s.%03uZ %s %s: ", date, (unsigned)(now_ms % 1000), level_names[level], thread);
    return (size_t)n < PREFIX_BYTES ? (size_t)n : PREFIX_BYTES - 1;
}

/* Copies TEXT with control bytes as \xNN, so that what a peer sent can neither begin a line of its own nor drive a
 * terminal. Returns the bytes used, at most SIZE. */
static size_t copy_escaped(char *into, size_t size, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool control = c < 0x20 || c == 0x7f;
        if (size - used < (control ? 4u : 1u))
            break;
        if (!control) {
            into[used++] = (char)c;
            continue;
        }
        into[used++] = '\\';
        into[used++] = 'x';
        into[used++] = digits[c >> 4];
        into[used++] = digits[c & 15];
    }
    return used;
}

void rill_log(enum rill_log_level level, const char *format, ...)
{
    if (!rill_log_enabled(level))
        return;
    int saved_errno = errno; /* callers log first and look at errno later */
    char text[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0) {
        char line[LINE_BYTES];
        size_t used = format_prefix(line, level);
        used += copy_escaped(line + used, sizeof line - used - 1, text);
        line[used++] = '\n';
        pthread_mutex_lock(&sink.lock);
        /* When the log itself cannot be written there is nowhere left to say so. */
        ssize_t ignored = rill_sys_write(sink.fd, line, used);
        (void)ignored;
        pthread_mutex_unlock(&sink.lock);
    }
    errno = saved_errno;
}
