/* listing.h - a directory as an HTML page. Pure but for the memory it returns. Thread: any. */
#ifndef RILL_HTTP_LISTING_H
#define RILL_HTTP_LISTING_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_listing_entry {
    struct rill_slice name; /* as in the directory: any bytes but '/' and NUL; borrowed for the call */
    bool is_directory;
    uint64_t size_bytes; /* of a file; not shown for a directory */
    int64_t mtime_seconds;
};

/* Renders COUNT entries as a page (UTF-8, no script, nothing loaded from elsewhere, light and dark by the reader's
 * setting). PATH is the directory's path as the client knows it, decoded, with a '/' at both ends; all but `/` get a
 * link to the parent. Sorts ENTRIES in place: directories first, then by the bytes of the name. The caller leaves out
 * `.` and `..`, and whatever it does not want seen.
 * Returns 0 and sets *HTML (no NUL at the end; the caller frees it with rill_sys_free()) and *LENGTH, or -ENOMEM. */
RILL_WARN_UNUSED int rill_listing_render(struct rill_slice path, struct rill_listing_entry *entries, size_t count,
                                         char **html, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
