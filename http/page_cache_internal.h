/* page_cache_internal.h - whether bytes of a file can be had without waiting for a disk. */
#ifndef RILL_HTTP_PAGE_CACHE_INTERNAL_H
#define RILL_HTTP_PAGE_CACHE_INTERNAL_H

#include "rill/core/base.h"

/* Whether all of FD's LENGTH (at least 1, at most a few MiB) bytes from OFFSET on are in memory, so that sendfile(2)
 * will not wait for them. Costs one system call.
 *
 * With UNSETTLED the pages may have been asked for a moment ago and be still on their way from the disk, which
 * cachestat(2) does not tell; they are then looked at one by one, which costs a pass over the bytes. So it is done
 * also where cachestat(2) cannot be had: Linux before 6.5, or files of another owner. Where neither can be had (some
 * stacked file systems), the answer is no. */
bool rill_page_cache_has(int fd, uint64_t offset, uint64_t length, bool unsettled);

/* Reads FD's LENGTH bytes from OFFSET on into memory, as far as the file goes, and has what follows them on its way.
 * Returns 0, or the negative errno of the read. Blocks: for the pool. */
RILL_WARN_UNUSED int rill_page_cache_fill(int fd, uint64_t offset, uint64_t length);

#endif
