/* top.h - what the files of rill-top share. */
#ifndef RILL_APPS_TOP_TOP_H
#define RILL_APPS_TOP_TOP_H

#include "../common/metrics.h"

/* Prints NOW, and what happened since BEFORE (NULL: nothing is known of that), a line each reactor, in WIDTH columns
 * and HEIGHT lines, at least 3: what does not fit is left out, whole columns and whole lines. */
void top_print(const struct metrics *now, const struct metrics *before, unsigned width, unsigned height);

#endif
