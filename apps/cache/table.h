/* table.h - items by key: a hash table that grows by one bucket at a time (linear hashing).
 *
 * A table that doubles has to move everything at once, or be two tables for a while. This one splits its buckets in
 * turn: an insertion that finds more items than buckets splits the next one, and that is all there ever is to do. The
 * buckets lie in address space that was reserved for the most that there can be, and that the system commits as they
 * are first used: they never move, and growing cannot fail.
 *
 * A table belongs to whoever holds the lock of its shard. It allocates nothing after it was made. */
#ifndef RILL_APPS_CACHE_TABLE_H
#define RILL_APPS_CACHE_TABLE_H

#include "item.h"

struct rill_table {
    struct rill_item **buckets;
    uint32_t max_buckets;
    uint32_t half;  /* a power of 2: so many buckets there were when the splits began anew ... */
    uint32_t split; /* ... and so many of them have been split since */
    uint32_t count; /* items */
};

/* Makes an empty table that will spread ITEMS over as many buckets, and more items less well. Returns 0 or -ENOMEM. */
RILL_WARN_UNUSED int rill_table_init(struct rill_table *table, uint64_t items);

/* Gives the buckets back, not the items. A table of all zero bytes stays as it is. */
void rill_table_destroy(struct rill_table *table);

/* The item with KEY, whose hash is HASH; NULL when there is none. */
struct rill_item *rill_table_find(const struct rill_table *table, uint32_t hash, struct rill_slice key);

/* Adds ITEM, whose key is not in the table. */
void rill_table_insert(struct rill_table *table, struct rill_item *item);

/* Takes ITEM, which is in the table, out. */
void rill_table_remove(struct rill_table *table, struct rill_item *item);

#endif
