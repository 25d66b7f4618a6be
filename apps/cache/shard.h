/* shard.h - a part of a store: a table, an LRU list, a share of the memory, and the lock of the first two.
 *
 * All functions want the lock held by the caller, save where they say otherwise. */
#ifndef RILL_APPS_CACHE_SHARD_H
#define RILL_APPS_CACHE_SHARD_H

#include "rill/core/sys.h"
#include "table.h"

struct rill_shard {
    _Alignas(RILL_CACHE_LINE) pthread_mutex_t lock;
    /* Guarded by it. */
    struct rill_table table;
    struct rill_list lru; /* the most recently used first */
    uint32_t touches;     /* how often an item came to the front */
    uint64_t last_cas;
    uint64_t flushed_cas; /* items up to this number are gone */
    uint64_t flush_at_ms; /* when all that are there will be; 0: no such time */
    uint64_t stored, evicted, reclaimed;
    /* Atomic: memory is taken and given back by whoever does it, without the lock. */
    _Alignas(RILL_CACHE_LINE) uint64_t used_bytes;
    uint64_t share_bytes; /* constant: that they should be */
};

/* Makes an empty shard of zero bytes. Returns 0 or -ENOMEM. No lock. */
RILL_WARN_UNUSED int rill_shard_init(struct rill_shard *shard, uint64_t share_bytes);

/* Frees all in it. One of zero bytes stays as it is. No lock. */
void rill_shard_destroy(struct rill_shard *shard);

/* Every operation on a shard begins so: a flush whose time has come happens before anything else does. */
void rill_shard_lock(struct rill_shard *shard, uint64_t now_ms);
void rill_shard_unlock(struct rill_shard *shard);

/* What an item takes. */
uint64_t rill_shard_item_bytes(size_t key_length, uint64_t length);

/* Whether there is room for BYTES more. No lock: others may be taking it. */
bool rill_shard_has_room(const struct rill_shard *shard, uint64_t bytes);

/* Gives up items until there is room for BYTES more, if that can be. What somebody holds would free nothing now, and
 * stays: it is in use. */
bool rill_shard_make_room(struct rill_shard *shard, uint64_t bytes, uint64_t now_ms);

/* An item whose one holder is the caller; value, flags and end are the caller's to set. NULL: no memory. No lock. */
struct rill_item *rill_shard_make(struct rill_shard *shard, struct rill_slice key, uint32_t hash, uint64_t length);

/* The item with KEY, which is used with that; NULL when there is none, or none any more. */
struct rill_item *rill_shard_find(struct rill_shard *shard, uint32_t hash, struct rill_slice key, uint64_t now_ms);

/* Puts ITEM, whose key is not there, in: the caller's reference is the shard's from here on. */
void rill_shard_link(struct rill_shard *shard, struct rill_item *item);

/* Takes ITEM out: the shard's reference is the caller's from here on. Returns ITEM. */
struct rill_item *rill_shard_unlink(struct rill_shard *shard, struct rill_item *item);

/* One holder more. Returns ITEM. */
static inline struct rill_item *rill_item_hold(struct rill_item *item)
{
    __atomic_fetch_add(&item->holders, 1, __ATOMIC_RELAXED);
    return item;
}

/* Whether nobody but the shard holds ITEM. What earlier holders read of it, they have read. */
static inline bool rill_item_is_alone(const struct rill_item *item)
{
    return __atomic_load_n(&item->holders, __ATOMIC_ACQUIRE) == 1;
}

#endif
