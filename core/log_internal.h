/* log_internal.h - between the making of lines (log.c) and the place where they go (log_sink.c). */
#ifndef RILL_CORE_LOG_INTERNAL_H
#define RILL_CORE_LOG_INTERNAL_H

#include "rill/core/log.h"

enum { RILL_LOG_LINE_BYTES = 2048 };

/* Makes a line of TEXT, with time, level and thread before it, its control bytes escaped and its end. Returns its
 * length. */
size_t rill_log_line(char into[RILL_LOG_LINE_BYTES], enum rill_log_level level, const char *text);

/* Writes a whole line, of at most RILL_LOG_LINE_BYTES, or counts it as dropped. Thread: any. */
void rill_log_sink_write(const char *line, size_t length);

#endif
