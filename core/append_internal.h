/* append_internal.h - opening a file that lines are appended to. */
#ifndef RILL_CORE_APPEND_INTERNAL_H
#define RILL_CORE_APPEND_INTERNAL_H

#include "rill/core/base.h"

/* Opens PATH, made when missing (0640), to be appended to; MORE: further flags of open(2). *TORN: it is a file whose
 * last line has no end, because somebody died or had no room in the middle of it, and what is appended would become a
 * part of that line. Returns the descriptor or a negative errno. Thread: any. */
RILL_WARN_UNUSED int rill_append_open(const char *path, int more, bool *torn);

#endif
