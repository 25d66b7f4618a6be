/* files_internal.h - what the parts of the file handler share.
 *
 *   files.c       the handler: looks into the cache, or has the pool look
 *   file_cache.c  a loop's cache
 *   files_open.c  what runs on the pool: paths, files, folders
 *   files_send.c  a file as a response: conditions, ranges, bodies in pieces
 *   page_cache.c  whether the loop may touch a file's bytes */
#ifndef RILL_HTTP_FILES_INTERNAL_H
#define RILL_HTTP_FILES_INTERNAL_H

#include "rill/core/list.h"
#include "rill/http/files.h"
#include "rill/http/session_internal.h"

/* Constant while servers use it, and so shared by all threads. */
struct rill_files {
    int root_fd;
    bool listing;
    char *index; /* "" for none */
    size_t index_length;
    struct rill_mime *mime;
    unsigned cache_entries;
    size_t cache_file_bytes, cache_bytes;
};

/* What tells one version of a file from the next. */
struct rill_file_stamp {
    uint64_t device, inode, size;
    int64_t mtime_seconds, mtime_ns, ctime_seconds, ctime_ns;
};

/* One version of a file, ready to be sent. Made by a worker, then one loop's; constant but for the first two. */
struct rill_resource {
    unsigned holders;
    uint64_t read_ahead_ms;     /* when some of it was not in memory last; 0: never */
    struct rill_file_ref *file; /* NULL when the bytes are in memory */
    struct rill_buf *bytes;     /* NULL when they are not */
    struct rill_file_stamp stamp;
    bool pages_counted; /* rill_page_cache_counts() */
    bool settled;       /* it was at rest when it was looked at: the next change will show in its stamp */
    /* `text`: header lines, first those that also a 304 and a multipart response have (ETag is the very first), then
     * Content-Type. */
    uint16_t etag_length, common_length, fields_length;
    char text[];
};

/* The entity tag, with its quotes. */
static inline struct rill_slice rill_resource_etag(const struct rill_resource *resource)
{
    return (struct rill_slice){resource->text + sizeof("ETag: ") - 1, resource->etag_length};
}

static inline struct rill_slice rill_resource_content_type(const struct rill_resource *resource)
{
    size_t name = sizeof("Content-Type: ") - 1;
    return (struct rill_slice){resource->text + resource->common_length + name,
                               (size_t)(resource->fields_length - resource->common_length) - name - 2};
}

struct rill_resource *rill_resource_hold(struct rill_resource *resource);
void rill_resource_drop(struct rill_resource *resource); /* NULL is ignored */

/* --- files_open.c --- */

/* One look at the file system: what a path means. */
struct rill_lookup {
    struct rill_job job;
    const struct rill_files *files;
    struct rill_file_cache *cache; /* these two are the loop's: a worker leaves them alone */
    struct rill_file_entry *entry;
    uint64_t begun_ms;
    bool has_known;
    struct rill_file_stamp known; /* of the version that is in the cache */

    /* The outcome. */
    unsigned status;                /* 200: a file or a listing; 301: a folder without its slash; or an error */
    bool unchanged;                 /* 200: it is the known version */
    struct rill_resource *resource; /* 200: the file, if it has changed; the lookup's reference */
    struct rill_buf *listing;       /* 200: the folder's page */

    size_t skip; /* bytes of `path` before the part that is below the root */
    size_t path_length;
    char path[]; /* as the client knows it, decoded; with room for a `.`, the name of the index file and a NUL */
};

/* Finds out what LOOKUP's path means and puts it into the second half of its fields. Blocks: for the pool. */
void rill_lookup_run(struct rill_lookup *lookup);

/* Opens PATH (NUL-terminated, relative) below the root and nowhere else. Returns a descriptor or a negative errno. */
int rill_files_open_below(const struct rill_files *files, const char *path, int flags);

/* The status for a negative errno of the file system. */
unsigned rill_files_status_of(int error);

/* --- files_listing.c --- */

/* Makes the page for the folder FD, which it closes; PATH and SKIP as in struct rill_lookup, ending in `/`. Returns
 * the status. */
unsigned rill_files_list(const struct rill_files *files, int fd, struct rill_slice path, size_t skip,
                         struct rill_buf **page);

/* --- files_send.c --- */

/* Answers X with RESOURCE, as its method, conditions and ranges ask. Borrows RESOURCE. */
void rill_resource_send(struct rill_exchange *x, struct rill_resource *resource);

#endif
