/* top.h - what the files of rill-top share. */
#ifndef RILL_APPS_TOP_TOP_H
#define RILL_APPS_TOP_TOP_H

#include "../common/metrics.h"

/* Prints NOW, and what happened since BEFORE (NULL: nothing is known of that), a line each reactor. */
void top_print(const struct metrics *now, const struct metrics *before);

#endif
