/* store.c - shards: each a table, an LRU list, a share of the memory, and a lock; any loop serves any key.
 *
 * Why locks, in a framework whose loops share nothing? A shard could be one loop's alone, and a request that arrives on
 * another loop be posted to it. But with N loops all but one of N requests are another loop's, and each would cost two
 * posts, two wake-ups when the loops are not busy, and a queue that keeps a connection's replies in order; a get of
 * twenty keys would be a small distributed system. What a request does to a shard takes a tenth of a microsecond or
 * two; the system calls that bring it and take its reply away take several whole ones. So the lock is nearly always
 * free, and one that is free costs some twenty nanoseconds: less than the cheapest hand-over. Four shards a loop make
 * it rarer still that two meet, and when they do the second spins a little before it sleeps.
 *
 * For the same reason nothing long happens under a lock: values are received into items that are not in the store yet,
 * and sent from items that are held, not locked. */
#include "store.h"
#include "rill/core/number.h"
#include "shard.h"

enum {
    SHARDS_A_THREAD = 4,
    MAX_SHARDS = 1024,
    ITEMS_A_SHARE = 8, /* a shard's memory holds at least so many of the largest items */
};

struct rill_store {
    struct rill_store_config config;
    unsigned shard_count; /* a power of 2 */
    struct rill_shard *shards;
};

static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Eight bytes of the key at a time, folded by multiplication; the seed keeps its collisions a secret. */
static uint64_t hash_of(const struct rill_store *store, struct rill_slice key)
{
    uint64_t hash = store->config.seed + key.length, word;
    const char *p = key.bytes;
    size_t left = key.length;
    for (; left > sizeof word; left -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = fold(hash ^ word, 0x9e3779b97f4a7c15);
    }
    word = 0;
    memcpy(&word, p, left);
    return fold(hash ^ word, 0xd6e8feb86659fd93);
}

/* The table takes the other half of the hash. */
static struct rill_shard *shard_of(const struct rill_store *store, uint64_t hash)
{
    return &store->shards[(hash >> 32) & (store->shard_count - 1)];
}

struct rill_item *rill_store_make(struct rill_store *store, struct rill_slice key, uint32_t flags, uint64_t expires_ms,
                                  uint64_t length, uint64_t now_ms, enum rill_store_result *result)
{
    uint64_t hash = hash_of(store, key), bytes = rill_shard_item_bytes(key.length, length);
    struct rill_shard *shard = shard_of(store, hash);
    if (bytes > store->config.max_item_bytes) {
        *result = RILL_STORE_TOO_LARGE;
        return NULL;
    }
    /* Others may take the room that was made: then there is an item a thread too many, until the next one. */
    bool room = rill_shard_has_room(shard, bytes);
    if (!room) {
        rill_shard_lock(shard, now_ms);
        room = rill_shard_make_room(shard, bytes, now_ms);
        rill_shard_unlock(shard);
    }
    struct rill_item *item = room ? rill_shard_make(shard, key, (uint32_t)hash, length) : NULL;
    if (!item) {
        *result = RILL_STORE_NO_MEMORY;
        return NULL;
    }
    item->flags = flags;
    item->expires_ms = expires_ms;
    return item;
}

/* An item for another value of LENGTH bytes with OLD's key, flags and end. OLD is in the shard and stays there. */
static struct rill_item *make_like(struct rill_shard *shard, struct rill_item *old, uint64_t length, uint64_t now_ms)
{
    struct rill_item *item = NULL;
    rill_item_hold(old); /* so that the room is not made of it */
    if (rill_shard_make_room(shard, rill_shard_item_bytes(old->key_length, length), now_ms))
        item = rill_shard_make(shard, rill_item_key(old), old->hash, length);
    if (item) {
        item->flags = old->flags;
        item->expires_ms = old->expires_ms;
    }
    rill_item_release(old);
    return item;
}

static struct rill_item *join(struct rill_shard *shard, struct rill_item *old, struct rill_item *added,
                              enum rill_store_order order, uint64_t now_ms)
{
    struct rill_item *item = make_like(shard, old, (uint64_t)old->length + added->length, now_ms);
    struct rill_item *first = order == RILL_STORE_APPEND ? old : added, *second = first == old ? added : old;
    if (item) {
        memcpy(rill_item_value(item), rill_item_value(first), first->length);
        memcpy(rill_item_value(item) + first->length, rill_item_value(second), second->length);
    }
    return item;
}

/* Whether ORDER may be done to OLD, which may be NULL. */
static enum rill_store_result may_put(const struct rill_store *store, const struct rill_item *old,
                                      const struct rill_item *item, enum rill_store_order order, uint64_t cas)
{
    switch (order) {
    case RILL_STORE_ADD:
        return old ? RILL_STORE_NOT_STORED : RILL_STORE_DONE;
    case RILL_STORE_REPLACE:
        return old ? RILL_STORE_DONE : RILL_STORE_NOT_STORED;
    case RILL_STORE_APPEND:
    case RILL_STORE_PREPEND:
        if (!old)
            return RILL_STORE_NOT_STORED;
        uint64_t bytes = rill_shard_item_bytes(old->key_length, (uint64_t)old->length + item->length);
        return bytes <= store->config.max_item_bytes ? RILL_STORE_DONE : RILL_STORE_TOO_LARGE;
    case RILL_STORE_CAS:
        if (!old)
            return RILL_STORE_NOT_FOUND;
        return old->cas == cas ? RILL_STORE_DONE : RILL_STORE_EXISTS;
    case RILL_STORE_SET:
        break;
    }
    return RILL_STORE_DONE;
}

enum rill_store_result rill_store_put(struct rill_store *store, struct rill_item *item, enum rill_store_order order,
                                      uint64_t cas, uint64_t now_ms)
{
    struct rill_shard *shard = item->shard;
    struct rill_item *in = item, *out = NULL; /* what comes into the shard, and what leaves it */
    rill_shard_lock(shard, now_ms);
    struct rill_item *old = rill_shard_find(shard, item->hash, rill_item_key(item), now_ms);
    enum rill_store_result result = may_put(store, old, item, order, cas);
    if (result == RILL_STORE_DONE && (order == RILL_STORE_APPEND || order == RILL_STORE_PREPEND)) {
        in = join(shard, old, item, order, now_ms);
        if (!in)
            result = RILL_STORE_NO_MEMORY;
    }
    if (result == RILL_STORE_DONE) {
        if (old)
            out = rill_shard_unlink(shard, old);
        rill_shard_link(shard, in);
    }
    rill_shard_unlock(shard);
    rill_item_release(out);
    if (result != RILL_STORE_DONE || in != item)
        rill_item_release(item);
    return result;
}

struct rill_item *rill_store_get(struct rill_store *store, struct rill_slice key, uint64_t now_ms)
{
    uint64_t hash = hash_of(store, key);
    struct rill_shard *shard = shard_of(store, hash);
    rill_shard_lock(shard, now_ms);
    struct rill_item *item = rill_shard_find(shard, (uint32_t)hash, key, now_ms);
    if (item)
        rill_item_hold(item);
    rill_shard_unlock(shard);
    return item;
}

struct rill_item *rill_store_touch(struct rill_store *store, struct rill_slice key, uint64_t expires_ms,
                                   uint64_t now_ms)
{
    uint64_t hash = hash_of(store, key);
    struct rill_shard *shard = shard_of(store, hash);
    rill_shard_lock(shard, now_ms);
    struct rill_item *item = rill_shard_find(shard, (uint32_t)hash, key, now_ms);
    if (item)
        rill_item_hold(item)->expires_ms = expires_ms;
    rill_shard_unlock(shard);
    return item;
}

bool rill_store_delete(struct rill_store *store, struct rill_slice key, uint64_t now_ms)
{
    uint64_t hash = hash_of(store, key);
    struct rill_shard *shard = shard_of(store, hash);
    rill_shard_lock(shard, now_ms);
    struct rill_item *item = rill_shard_find(shard, (uint32_t)hash, key, now_ms);
    if (item)
        rill_shard_unlink(shard, item);
    rill_shard_unlock(shard);
    rill_item_release(item);
    return item != NULL;
}

static struct rill_slice without_spaces(struct rill_slice text)
{
    while (text.length > 0 && text.bytes[0] == ' ') {
        text.bytes++;
        text.length--;
    }
    while (text.length > 0 && text.bytes[text.length - 1] == ' ')
        text.length--;
    return text;
}

/* Puts DIGITS in the place of ITEM's value: over it when they fit and nobody looks, or else in another item. */
static enum rill_store_result rewrite(struct rill_shard *shard, struct rill_item *item, struct rill_slice digits,
                                      uint64_t now_ms)
{
    struct rill_item *changed = item;
    if (digits.length > item->length || !rill_item_is_alone(item)) {
        uint64_t length = digits.length > item->length ? digits.length : item->length;
        changed = make_like(shard, item, length, now_ms);
        if (!changed)
            return RILL_STORE_NO_MEMORY;
    }
    rill_shard_unlink(shard, item);
    memset(rill_item_value(changed), ' ', changed->length);
    memcpy(rill_item_value(changed), digits.bytes, digits.length);
    rill_shard_link(shard, changed);
    if (changed != item)
        rill_item_release(item);
    return RILL_STORE_DONE;
}

enum rill_store_result rill_store_add(struct rill_store *store, struct rill_slice key, uint64_t delta, bool subtract,
                                      uint64_t now_ms, uint64_t *number)
{
    uint64_t hash = hash_of(store, key);
    struct rill_shard *shard = shard_of(store, hash);
    enum rill_store_result result = RILL_STORE_NOT_FOUND;
    rill_shard_lock(shard, now_ms);
    struct rill_item *item = rill_shard_find(shard, (uint32_t)hash, key, now_ms);
    if (item) {
        struct rill_slice value = {rill_item_value(item), item->length};
        result = RILL_STORE_NOT_A_NUMBER;
        if (rill_decimal_parse(without_spaces(value), number) == 0) {
            char digits[RILL_DECIMAL_MAX];
            *number = !subtract ? *number + delta : delta < *number ? *number - delta : 0;
            size_t length = rill_decimal_format(digits, *number);
            result = rewrite(shard, item, (struct rill_slice){digits, length}, now_ms);
        }
    }
    rill_shard_unlock(shard);
    return result;
}

void rill_store_flush(struct rill_store *store, uint64_t at_ms, uint64_t now_ms)
{
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct rill_shard *shard = &store->shards[i];
        rill_shard_lock(shard, now_ms);
        shard->flush_at_ms = at_ms > now_ms ? at_ms : 0;
        if (shard->flush_at_ms == 0)
            shard->flushed_cas = shard->last_cas;
        rill_shard_unlock(shard);
    }
}

void rill_store_stats(struct rill_store *store, struct rill_store_stats *stats)
{
    *stats = (struct rill_store_stats){.shards = store->shard_count,
                                       .memory_bytes = store->config.memory_bytes,
                                       .max_item_bytes = store->config.max_item_bytes};
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct rill_shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        stats->items += shard->table.count;
        stats->buckets += shard->table.half + shard->table.split;
        stats->stored += shard->stored;
        stats->evicted += shard->evicted;
        stats->reclaimed += shard->reclaimed;
        pthread_mutex_unlock(&shard->lock);
        stats->bytes += __atomic_load_n(&shard->used_bytes, __ATOMIC_RELAXED);
    }
}

struct rill_store *rill_store_new(const struct rill_store_config *config, int *error)
{
    if (config->memory_bytes / 2 < config->max_item_bytes) {
        *error = -EINVAL;
        return NULL;
    }
    *error = -ENOMEM;
    struct rill_store *store = rill_sys_calloc(1, sizeof *store);
    if (!store)
        return NULL;
    store->config = *config;
    uint64_t most = config->memory_bytes / ITEMS_A_SHARE / config->max_item_bytes;
    unsigned count = 1;
    while (config->threads > 1 && count < SHARDS_A_THREAD * config->threads && 2 * count <= most && count < MAX_SHARDS)
        count *= 2;
    /* From mmap for its alignment. */
    void *shards =
        rill_sys_mmap(NULL, count * sizeof *store->shards, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shards == MAP_FAILED) {
        rill_sys_free(store);
        return NULL;
    }
    store->shards = shards;
    store->shard_count = count;
    for (unsigned i = 0; i < count; i++) {
        if (rill_shard_init(&store->shards[i], config->memory_bytes / count) < 0) {
            rill_store_free(store);
            return NULL;
        }
    }
    *error = 0;
    return store;
}

void rill_store_free(struct rill_store *store)
{
    if (!store)
        return;
    for (unsigned i = 0; i < store->shard_count; i++)
        rill_shard_destroy(&store->shards[i]);
    rill_sys_munmap(store->shards, store->shard_count * sizeof *store->shards);
    rill_sys_free(store);
}
