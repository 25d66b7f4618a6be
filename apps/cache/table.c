/* table.c - see table.h. */
#include "table.h"
#include "rill/core/sys.h"

enum { MIN_BUCKETS = 64 };
#define MAX_BUCKETS (UINT32_C(1) << 31)

static inline struct rill_item **bucket_of(const struct rill_table *table, uint32_t hash)
{
    uint32_t wide = hash & (2 * table->half - 1);
    return &table->buckets[wide < table->half + table->split ? wide : hash & (table->half - 1)];
}

static size_t map_bytes(uint32_t max_buckets)
{
    return max_buckets * sizeof(struct rill_item *);
}

int rill_table_init(struct rill_table *table, uint64_t items)
{
    uint32_t max_buckets = MIN_BUCKETS;
    while (max_buckets < items && max_buckets < MAX_BUCKETS)
        max_buckets *= 2;
    void *map = rill_sys_mmap(NULL, map_bytes(max_buckets), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return -ENOMEM;
    *table = (struct rill_table){.buckets = map, .max_buckets = max_buckets, .half = MIN_BUCKETS};
    return 0;
}

void rill_table_destroy(struct rill_table *table)
{
    if (table->buckets)
        rill_sys_munmap(table->buckets, map_bytes(table->max_buckets));
    table->buckets = NULL;
}

struct rill_item *rill_table_find(const struct rill_table *table, uint32_t hash, struct rill_slice key)
{
    struct rill_item *item = *bucket_of(table, hash);
    while (item && !(item->hash == hash && rill_slice_equal(rill_item_key(item), key)))
        item = item->next;
    return item;
}

/* Deals the items of the next bucket out to it and to a new one. */
static void split_bucket(struct rill_table *table)
{
    struct rill_item *item = table->buckets[table->split], *next;
    table->buckets[table->split] = NULL;
    if (++table->split == table->half) {
        table->half *= 2;
        table->split = 0;
    }
    for (; item; item = next) {
        struct rill_item **bucket = bucket_of(table, item->hash);
        next = item->next;
        item->next = *bucket;
        *bucket = item;
    }
}

void rill_table_insert(struct rill_table *table, struct rill_item *item)
{
    if (++table->count > table->half + table->split && table->half < table->max_buckets)
        split_bucket(table);
    struct rill_item **bucket = bucket_of(table, item->hash);
    item->next = *bucket;
    *bucket = item;
}

void rill_table_remove(struct rill_table *table, struct rill_item *item)
{
    struct rill_item **at = bucket_of(table, item->hash);
    while (*at != item)
        at = &(*at)->next;
    *at = item->next;
    table->count--;
}
