/* shard.c - see shard.h.
 *
 * LRU: an item that is used comes to the front of the list, unless it came there so recently that it is still in the
 * first quarter: then it stays, so that what is used all the time does not write to its neighbours all the time. The
 * price is that an item may be given up as if it had not been used for up to a quarter of the list longer than is so.
 */
#include "shard.h"
#include <malloc.h>

enum {
    MALLOC_HEADER = 8,  /* what the allocator adds to a block's usable size */
    SMALLEST_ITEM = 96, /* all told; for the size of the table */
    NEWEST_PART = 4,    /* the first quarter of the list stays as it is */
};

/* What keeping ITEM costs: its block, and its bucket. */
static uint64_t cost_of(struct rill_item *item)
{
    return malloc_usable_size(item) + MALLOC_HEADER + sizeof(struct rill_item *);
}

uint64_t rill_shard_item_bytes(size_t key_length, uint64_t length)
{
    return offsetof(struct rill_item, bytes) + key_length + length + 2 + MALLOC_HEADER + sizeof(struct rill_item *);
}

bool rill_shard_has_room(const struct rill_shard *shard, uint64_t bytes)
{
    return __atomic_load_n(&shard->used_bytes, __ATOMIC_RELAXED) + bytes <= shard->share_bytes;
}

struct rill_item *rill_shard_make(struct rill_shard *shard, struct rill_slice key, uint32_t hash, uint64_t length)
{
    size_t bytes = offsetof(struct rill_item, bytes) + key.length + length + 2;
    struct rill_item *item = rill_sys_malloc(bytes < sizeof *item ? sizeof *item : bytes);
    if (!item)
        return NULL;
    *item = (struct rill_item){
        .shard = shard, .hash = hash, .holders = 1, .length = (uint32_t)length, .key_length = (uint8_t)key.length};
    rill_list_init(&item->lru);
    memcpy(item->bytes, key.bytes, key.length);
    memcpy(rill_item_value(item) + length, "\r\n", 2);
    __atomic_fetch_add(&shard->used_bytes, cost_of(item), __ATOMIC_RELAXED);
    return item;
}

void rill_item_release(struct rill_item *item)
{
    /* The last holder needs no read-modify-write: there is nobody else to change the count. */
    if (!item || (__atomic_load_n(&item->holders, __ATOMIC_ACQUIRE) != 1 &&
                  __atomic_sub_fetch(&item->holders, 1, __ATOMIC_ACQ_REL) != 0))
        return;
    __atomic_fetch_sub(&item->shard->used_bytes, cost_of(item), __ATOMIC_RELAXED);
    rill_sys_free(item);
}

void rill_shard_lock(struct rill_shard *shard, uint64_t now_ms)
{
    pthread_mutex_lock(&shard->lock);
    if (RILL_UNLIKELY(shard->flush_at_ms != 0) && shard->flush_at_ms <= now_ms) {
        shard->flushed_cas = shard->last_cas;
        shard->flush_at_ms = 0;
    }
}

void rill_shard_unlock(struct rill_shard *shard)
{
    pthread_mutex_unlock(&shard->lock);
}

static bool is_over(const struct rill_shard *shard, const struct rill_item *item, uint64_t now_ms)
{
    return (item->expires_ms && item->expires_ms <= now_ms) || item->cas <= shard->flushed_cas;
}

static void to_front(struct rill_shard *shard, struct rill_item *item)
{
    rill_list_remove(&item->lru);
    rill_list_push_front(&shard->lru, &item->lru);
    item->stamp = ++shard->touches;
}

void rill_shard_link(struct rill_shard *shard, struct rill_item *item)
{
    item->cas = ++shard->last_cas;
    shard->stored++;
    to_front(shard, item);
    rill_table_insert(&shard->table, item);
}

struct rill_item *rill_shard_unlink(struct rill_shard *shard, struct rill_item *item)
{
    rill_list_remove(&item->lru);
    rill_table_remove(&shard->table, item);
    return item;
}

struct rill_item *rill_shard_find(struct rill_shard *shard, uint32_t hash, struct rill_slice key, uint64_t now_ms)
{
    struct rill_item *item = rill_table_find(&shard->table, hash, key);
    if (!item)
        return NULL;
    if (is_over(shard, item, now_ms)) {
        shard->reclaimed++;
        rill_item_release(rill_shard_unlink(shard, item));
        return NULL;
    }
    if (shard->touches - item->stamp > shard->table.count / NEWEST_PART)
        to_front(shard, item);
    return item;
}

bool rill_shard_make_room(struct rill_shard *shard, uint64_t bytes, uint64_t now_ms)
{
    for (uint32_t left = shard->table.count; !rill_shard_has_room(shard, bytes) && left > 0; left--) {
        struct rill_item *item = rill_container_of(shard->lru.previous, struct rill_item, lru);
        if (!rill_item_is_alone(item)) {
            to_front(shard, item);
            continue;
        }
        if (is_over(shard, item, now_ms))
            shard->reclaimed++;
        else
            shard->evicted++;
        rill_item_release(rill_shard_unlink(shard, item));
    }
    return rill_shard_has_room(shard, bytes);
}

int rill_shard_init(struct rill_shard *shard, uint64_t share_bytes)
{
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP); /* spins a little before it sleeps */
    pthread_mutex_init(&shard->lock, &kind);
    pthread_mutexattr_destroy(&kind);
    rill_list_init(&shard->lru);
    shard->share_bytes = share_bytes;
    return rill_table_init(&shard->table, share_bytes / SMALLEST_ITEM);
}

void rill_shard_destroy(struct rill_shard *shard)
{
    if (shard->share_bytes == 0)
        return;
    while (!rill_list_empty(&shard->lru))
        rill_item_release(rill_shard_unlink(shard, rill_container_of(shard->lru.next, struct rill_item, lru)));
    rill_table_destroy(&shard->table);
    pthread_mutex_destroy(&shard->lock);
}
