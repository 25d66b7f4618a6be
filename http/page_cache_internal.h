/* page_cache_internal.h - whether bytes of a file can be had without waiting for a disk. */
#ifndef RILL_HTTP_PAGE_CACHE_INTERNAL_H
#define RILL_HTTP_PAGE_CACHE_INTERNAL_H

#include "rill/core/base.h"

/* How much is known of a file's pages. */
enum rill_page_cache_trust {
    RILL_PAGE_CACHE_UNCOUNTED, /* rill_page_cache_counts() said no */
    RILL_PAGE_CACHE_UNSETTLED, /* it said yes, but pages that were asked for a moment ago may be on their way */
    RILL_PAGE_CACHE_COUNTED,   /* it said yes */
};

/* Whether cachestat(2) knows the pages of FD, a regular file that is not empty. It does not before Linux 6.5, nor for
 * files of other owners, nor where the pages belong to a file below (some stacked file systems). Blocks: for the pool.
 */
bool rill_page_cache_counts(int fd);

/* Whether all of FD's LENGTH (at least 1, at most a few MiB) bytes from OFFSET on are in memory, so that sendfile(2)
 * will not wait for them. One system call where the pages are counted. Where they are not, or where a page that is
 * counted may still be on its way from the disk, the bytes are passed over without waiting (RWF_NOWAIT); where that
 * cannot be done either, the answer is no. */
bool rill_page_cache_has(int fd, uint64_t offset, uint64_t length, enum rill_page_cache_trust trust);

/* Reads FD's LENGTH bytes from OFFSET on into memory, as far as the file goes, and has what follows them on its way.
 * Returns 0, or the negative errno of the read. Blocks: for the pool. */
RILL_WARN_UNUSED int rill_page_cache_fill(int fd, uint64_t offset, uint64_t length);

#endif
