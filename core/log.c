/* log.c - the error log's levels, and how its lines are made; log_sink.c has where they go. */
#include "rill/core/log_internal.h"

#include "rill/core/sys.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#define PREFIX_BYTES 80

static atomic_int least_level = RILL_LOG_INFO;

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
    atomic_store_explicit(&least_level, (int)level, memory_order_relaxed);
}

bool rill_log_enabled(enum rill_log_level level)
{
    return level < RILL_LOG_OFF && (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
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

size_t rill_log_line(char into[RILL_LOG_LINE_BYTES], enum rill_log_level level, const char *text)
{
    size_t used = format_prefix(into, level);
    used += copy_escaped(into + used, RILL_LOG_LINE_BYTES - used - 1, text);
    into[used++] = '\n';
    return used;
}

void rill_log(enum rill_log_level level, const char *format, ...)
{
    if (!rill_log_enabled(level))
        return;
    int saved_errno = errno; /* callers log first and look at errno later */
    char text[RILL_LOG_LINE_BYTES], line[RILL_LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0)
        rill_log_sink_write(line, rill_log_line(line, level, text));
    errno = saved_errno;
}
