/* item.h - a key and its value, in one block of memory, counted.
 *
 * 1. Key, flags, value and cas number stay as they are for as long as anybody but the store may look. (incr writes over
 *    the digits of a value that nobody but the store holds.)
 * 2. Holders: the store while the item is in it, the connection that fills it with what it receives, each connection
 *    that is sending it. The last to let go frees it, on whatever thread that is.
 * 3. New holders come from the store only, under the lock of the item's shard. So one holder, seen under that lock, is
 *    the store. */
#ifndef RILL_APPS_CACHE_ITEM_H
#define RILL_APPS_CACHE_ITEM_H

#include "rill/core/base.h"
#include "rill/core/list.h"

#define RILL_ITEM_KEY_MAX 250

struct rill_shard;

struct rill_item {
    /* Guarded by the shard's lock. */
    struct rill_item *next; /* in the table's bucket */
    struct rill_list lru;
    uint64_t expires_ms; /* of rill_loop_now_ms(); 0: never */
    uint32_t stamp;      /* the shard's `touches` when it came to the front of the LRU list */
    /* Constant. */
    uint32_t hash;
    struct rill_shard *shard; /* where its memory is counted */
    uint64_t cas;             /* given by the store; another one with every change */
    uint32_t flags;
    uint32_t length;  /* of the value */
    uint32_t holders; /* atomic */
    uint8_t key_length;
    char bytes[]; /* the key, the value, CR LF */
};

static inline struct rill_slice rill_item_key(const struct rill_item *item)
{
    return (struct rill_slice){item->bytes, item->key_length};
}

/* The value, with room for, and once it is whole with, a CR LF behind its `length` bytes. */
static inline char *rill_item_value(struct rill_item *item)
{
    return item->bytes + item->key_length;
}

/* Gives up a reference; NULL is ignored. Thread: any. */
void rill_item_release(struct rill_item *item);

#endif
