/* page_cache.c - see page_cache_internal.h. */
#include "rill/core/sys.h"
#include "rill/http/page_cache_internal.h"

enum {
    SCRATCH_BYTES = 32 * 1024, /* fits in the first-level cache */
    PROBE_PARTS = 64,          /* 2 MiB a call */
};

/* How many pages of the range cachestat(2) counts. */
static uint64_t count_pages(int fd, uint64_t offset, uint64_t length)
{
    struct rill_sys_cachestat_range range = {offset, length};
    struct rill_sys_cachestat stat;
    return rill_sys_cachestat(fd, &range, &stat, 0) == 0 ? stat.cached : 0;
}

bool rill_page_cache_counts(int fd)
{
    char first;
    return rill_sys_pread(fd, &first, 1, 0) == 1 && count_pages(fd, 0, 1) == 1;
}

/* Reads the range without waiting, over and over into the same small buffer: the bytes are not wanted. */
static bool probed(int fd, uint64_t offset, uint64_t length)
{
    char scratch[SCRATCH_BYTES];
    struct iovec parts[PROBE_PARTS];
    while (length > 0) {
        uint64_t asked = 0;
        int count = 0;
        for (; count < PROBE_PARTS && asked < length; count++) {
            uint64_t left = length - asked;
            parts[count].iov_base = &scratch[0];
            parts[count].iov_len = left < SCRATCH_BYTES ? (size_t)left : SCRATCH_BYTES;
            asked += parts[count].iov_len;
        }
        ssize_t got = rill_sys_preadv2(fd, parts, count, (off_t)offset, RWF_NOWAIT);
        if (got <= 0)
            return false;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    return true;
}

bool rill_page_cache_has(int fd, uint64_t offset, uint64_t length, enum rill_page_cache_trust trust)
{
    uint64_t page = (uint64_t)rill_sys_page_size(), pages = (offset + length - 1) / page - offset / page + 1;
    if (trust != RILL_PAGE_CACHE_UNCOUNTED && count_pages(fd, offset, length) < pages)
        return false;
    return trust == RILL_PAGE_CACHE_COUNTED || probed(fd, offset, length);
}

int rill_page_cache_fill(int fd, uint64_t offset, uint64_t length)
{
    char scratch[SCRATCH_BYTES];
    rill_sys_fadvise(fd, (off_t)offset, (off_t)(length * 2), POSIX_FADV_WILLNEED); /* advice: may fail */
    while (length > 0) {
        size_t wanted = length < SCRATCH_BYTES ? (size_t)length : SCRATCH_BYTES;
        ssize_t got = rill_sys_pread(fd, scratch, wanted, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : 0; /* a file that has become shorter is found out when it is sent */
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    return 0;
}
