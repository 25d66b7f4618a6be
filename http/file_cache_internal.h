/* file_cache_internal.h - a loop's cache of files, by path.
 *
 * A loop has one for each struct rill_files; no other thread sees it. An entry begins with a look-up and stays while
 * its path names a file that can be served. Requests that come while a look-up is under way wait at its entry, so that
 * many of them cost one look-up. An entry that is busy (being looked up, or its requests being answered) is not
 * removed.
 */
#ifndef RILL_HTTP_FILE_CACHE_INTERNAL_H
#define RILL_HTTP_FILE_CACHE_INTERNAL_H

#include "rill/http/files_internal.h"

struct rill_file_entry {
    struct rill_file_entry *next; /* in its bucket */
    struct rill_list lru;         /* of the cache; in no list without a resource */
    struct rill_list waiting;     /* struct rill_file_request */
    struct rill_resource *resource;
    uint64_t checked_ms; /* rill_loop_now_ms() before `resource` was looked at */
    uint64_t hash;
    unsigned busy;
    bool looking;
    size_t skip; /* see struct rill_lookup */
    size_t path_length;
    char path[];
};

/* A request that waits at an entry; in its exchange's arena. */
struct rill_file_request {
    struct rill_list link;
    struct rill_exchange *x;
};

struct rill_file_cache {
    struct rill_file_cache *next; /* of the same loop */
    struct rill_files *files;
    struct rill_http_loop *http;
    struct rill_list lru; /* least recently used last */
    unsigned count;       /* entries with a resource, all in `lru` */
    size_t bytes;         /* of their contents in memory */
    size_t bucket_mask;
    struct rill_file_entry *buckets[];
};

/* HTTP's cache for FILES, made when it is not there yet; NULL when memory is lacking. */
struct rill_file_cache *rill_file_cache_of(struct rill_http_loop *http, struct rill_files *files);

/* Frees all caches of a loop whose exchanges have ended. */
void rill_file_caches_free(struct rill_http_loop *http);

/* The entry of PATH and SKIP, or NULL. */
struct rill_file_entry *rill_file_cache_find(const struct rill_file_cache *cache, struct rill_slice path, size_t skip);

/* A new, empty entry; there is none of the same name. NULL when memory is lacking. */
struct rill_file_entry *rill_file_cache_add(struct rill_file_cache *cache, struct rill_slice path, size_t skip);

/* Marks ENTRY as used just now. */
static inline void rill_file_cache_touch(struct rill_file_cache *cache, struct rill_file_entry *entry)
{
    if (RILL_LIKELY(cache->lru.next == &entry->lru))
        return;
    rill_list_remove(&entry->lru);
    rill_list_push_front(&cache->lru, &entry->lru);
}

/* Makes RESOURCE (taking over the reference; NULL: none) what ENTRY holds, in place of what it held. */
void rill_file_cache_put(struct rill_file_cache *cache, struct rill_file_entry *entry, struct rill_resource *resource);

/* Removes ENTRY if it is neither busy nor of use, then those least recently used until the bounds hold. */
void rill_file_cache_trim(struct rill_file_cache *cache, struct rill_file_entry *entry);

/* Removes all that is not busy: descriptors are short. */
void rill_file_cache_clear(struct rill_file_cache *cache);

#endif
