/* log.h - the error log: levels, one line a message, and the process's one log sink.
 *
 * Lines look like: 2026-01-31T12:00:00.123Z warn reactor-0: text. They are written with one write(2) each, to standard
 * error or to a file, and are rare by design: nothing is logged on the way of a good request.
 *
 * While a file takes nothing, because its disk is full for instance, lines are dropped and counted, and standard error
 * is told once; when it takes lines again, a line says how many are missing there. A line of which the file took a part
 * is finished first. So there are whole lines in the file; one that a crash has left without its end is ended when the
 * file is opened. */
#ifndef RILL_CORE_LOG_H
#define RILL_CORE_LOG_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum rill_log_level {
    RILL_LOG_DEBUG,
    RILL_LOG_INFO,
    RILL_LOG_WARN,
    RILL_LOG_ERROR,
    RILL_LOG_OFF,
};

/* Reads "debug", "info", "warn", "error" or "off". Returns 0 or -EINVAL. */
int rill_log_level_parse(const char *text, enum rill_log_level *level);

/* Lines below LEVEL are dropped; the default is info. Thread: any. */
void rill_log_set_level(enum rill_log_level level);

/* Whether a line of LEVEL would be written. Thread: any. */
bool rill_log_enabled(enum rill_log_level level);

/* Writes to PATH from now on (appending), or to standard error when PATH is NULL. Returns 0 or a negative errno; on
 * an error nothing changes. Thread: any. */
RILL_WARN_UNUSED int rill_log_open(const char *path);

/* Opens the path again, after a rotation moved the file away (SIGHUP). Returns 0 or a negative errno, and goes on
 * with the old file then. Thread: any. */
int rill_log_reopen(void);

/* Writes a line. Longer than 2 KiB is cut; control bytes are shown as \xNN. Never blocks longer than write(2) does.
 * Thread: any. */
void rill_log(enum rill_log_level level, const char *format, ...) RILL_PRINTF(2, 3);

/* Lines dropped since the start. Thread: any. */
uint64_t rill_log_dropped(void);

/* The descriptor that lines go to at the moment; for signal handlers, which may call nothing else here. Thread: any. */
int rill_log_fd(void);

#define rill_log_debug(...) rill_log(RILL_LOG_DEBUG, __VA_ARGS__)
#define rill_log_info(...) rill_log(RILL_LOG_INFO, __VA_ARGS__)
#define rill_log_warn(...) rill_log(RILL_LOG_WARN, __VA_ARGS__)
#define rill_log_error(...) rill_log(RILL_LOG_ERROR, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
