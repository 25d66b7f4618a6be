/* files.h - a handler that serves a folder of files: GET and HEAD, index files, listings, ranges, conditions.
 *
 * Nothing outside the folder can be reached: paths are resolved by the kernel below it (openat2(2), RESOLVE_BENEATH).
 * No file is opened, looked at or read by a reactor, save bytes that the page cache is known to hold: all else is done
 * by the worker pool. Each loop keeps a cache of open files, with their validators, their header fields made ready and,
 * when small, their bytes; an entry older than a second is looked at again before it is used, by the pool.
 *
 * Only regular files are served. Names that begin with a dot are served too (/.well-known/ has to be, RFC 8615), but
 * not listed. Whatever leads out of the folder is answered as if it were not there. */
#ifndef RILL_HTTP_FILES_H
#define RILL_HTTP_FILES_H

#include "rill/http/exchange.h"
#include "rill/http/mime.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_files;

/* Zero is the default of every field but `root`. */
struct rill_files_config {
    const char *root;        /* the folder */
    const char *index;       /* served for a folder; NULL: "index.html"; "": none */
    bool listing;            /* show folders without an index file */
    const char *mime_types;  /* a table like /etc/mime.types; NULL: that one, or the built-in table */
    unsigned cache_entries;  /* a loop; 0: 512 */
    size_t cache_file_bytes; /* files up to this size are kept in memory; 0: 64 KiB */
    size_t cache_bytes;      /* of file contents a loop; 0: 16 MiB */
};

/* Opens the folder. Returns NULL and sets *ERROR to a negative errno. */
struct rill_files *rill_files_new(const struct rill_files_config *config, int *error);

/* Frees it; when no server that uses it runs any more. NULL is ignored. */
void rill_files_free(struct rill_files *files);

/* The handler: ARG is the struct rill_files. Serves the file that the route's `*` parameter names (called `path`), or
 * the whole path when the route has none. */
rill_handler_fn rill_files_handle;

#ifdef __cplusplus
}
#endif

#endif
