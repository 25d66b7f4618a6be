/* fake_workers.h - the worker pool of core/workers.h without threads: jobs wait until the test says what becomes of
 * them. Linked instead of core/workers.c. */
#ifndef RILL_TESTS_SUPPORT_FAKE_WORKERS_H
#define RILL_TESTS_SUPPORT_FAKE_WORKERS_H

#include "rill/core/workers.h"

/* rill_workers_start() and rill_workers_stop() make and free one; these end the oldest job that waits, false when there
 * is none: its `done` is posted to its loop. */
bool fake_workers_end_one(struct rill_workers *workers, enum rill_job_outcome outcome);

#endif
