/* file_cache.c - see file_cache_internal.h. */
#include "rill/core/sys.h"
#include "rill/http/file_cache_internal.h"

/* Paths that name no file are not kept, so a client cannot fill a bucket with names of its choice. */
static uint64_t hash_of(struct rill_slice path)
{
    uint64_t hash = path.length * 0x9e3779b97f4a7c15u, word;
    const char *p = path.bytes;
    size_t left = path.length;
    for (; left >= sizeof word; left -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, p, left);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 32;
}

struct rill_file_cache *rill_file_cache_of(struct rill_http_loop *http, struct rill_files *files)
{
    struct rill_file_cache *cache = http->file_caches;
    while (cache && cache->files != files)
        cache = cache->next;
    if (RILL_LIKELY(cache != NULL))
        return cache;
    size_t buckets = 16;
    while (buckets < files->cache_entries)
        buckets *= 2;
    cache = rill_sys_calloc(1, sizeof *cache + buckets * sizeof(struct rill_file_entry *));
    if (!cache)
        return NULL;
    cache->files = files;
    cache->http = http;
    cache->bucket_mask = buckets - 1;
    rill_list_init(&cache->lru);
    cache->next = http->file_caches;
    http->file_caches = cache;
    return cache;
}

struct rill_file_entry *rill_file_cache_find(const struct rill_file_cache *cache, struct rill_slice path, size_t skip)
{
    uint64_t hash = hash_of(path);
    struct rill_file_entry *entry = cache->buckets[hash & cache->bucket_mask];
    while (entry && !(entry->hash == hash && entry->skip == skip &&
                      rill_slice_equal((struct rill_slice){entry->path, entry->path_length}, path)))
        entry = entry->next;
    return entry;
}

struct rill_file_entry *rill_file_cache_add(struct rill_file_cache *cache, struct rill_slice path, size_t skip)
{
    struct rill_file_entry *entry = rill_sys_malloc(sizeof *entry + path.length);
    if (!entry)
        return NULL;
    uint64_t hash = hash_of(path);
    struct rill_file_entry **bucket = &cache->buckets[hash & cache->bucket_mask];
    *entry = (struct rill_file_entry){.next = *bucket, .hash = hash, .skip = skip, .path_length = path.length};
    memcpy(entry->path, path.bytes, path.length);
    rill_list_init(&entry->lru);
    rill_list_init(&entry->waiting);
    *bucket = entry;
    return entry;
}

void rill_file_cache_put(struct rill_file_cache *cache, struct rill_file_entry *entry, struct rill_resource *resource)
{
    if (entry->resource) {
        if (entry->resource->bytes)
            cache->bytes -= rill_buf_length(entry->resource->bytes);
        cache->count--;
        rill_list_remove(&entry->lru);
        rill_resource_drop(entry->resource);
    }
    entry->resource = resource;
    if (!resource)
        return;
    if (resource->bytes)
        cache->bytes += rill_buf_length(resource->bytes);
    cache->count++;
    rill_list_push_front(&cache->lru, &entry->lru);
}

/* Entries that are busy keep their requests and their place; when they stop to be, they are trimmed. */
static void remove_entry(struct rill_file_cache *cache, struct rill_file_entry *entry)
{
    struct rill_file_entry **at = &cache->buckets[entry->hash & cache->bucket_mask];
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    rill_file_cache_put(cache, entry, NULL);
    rill_sys_free(entry);
}

static bool is_busy(const struct rill_file_entry *entry)
{
    return entry->looking || entry->busy > 0;
}

static bool is_over(const struct rill_file_cache *cache)
{
    return cache->count > cache->files->cache_entries || cache->bytes > cache->files->cache_bytes;
}

void rill_file_cache_trim(struct rill_file_cache *cache, struct rill_file_entry *entry)
{
    if (!entry->resource && !is_busy(entry))
        remove_entry(cache, entry);
    struct rill_list *at = cache->lru.previous;
    while (at != &cache->lru && is_over(cache)) {
        struct rill_file_entry *oldest = rill_container_of(at, struct rill_file_entry, lru);
        at = at->previous;
        if (!is_busy(oldest))
            remove_entry(cache, oldest);
    }
}

void rill_file_cache_clear(struct rill_file_cache *cache)
{
    struct rill_list *at = cache->lru.previous;
    while (at != &cache->lru) {
        struct rill_file_entry *entry = rill_container_of(at, struct rill_file_entry, lru);
        at = at->previous;
        if (!is_busy(entry))
            remove_entry(cache, entry);
    }
}

void rill_file_caches_free(struct rill_http_loop *http)
{
    while (http->file_caches) {
        struct rill_file_cache *cache = http->file_caches;
        http->file_caches = cache->next;
        for (size_t i = 0; i <= cache->bucket_mask; i++)
            while (cache->buckets[i])
                remove_entry(cache, cache->buckets[i]);
        rill_sys_free(cache);
    }
}
