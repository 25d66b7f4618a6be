/* store.h - the items of a cache: found by key, ended by time, and the least recently used ones given up when memory is
 * short. What the protocol says about them is in commands.c.
 *
 * Every function may be called by any thread. NOW_MS is the caller's rill_loop_now_ms(). */
#ifndef RILL_APPS_CACHE_STORE_H
#define RILL_APPS_CACHE_STORE_H

#include "item.h"

struct rill_store;

struct rill_store_config {
    uint64_t memory_bytes;   /* that items may take, with all that keeping them costs */
    uint32_t max_item_bytes; /* that one may take: key, value and what is kept with them; at most half of the memory */
    unsigned threads;        /* that will use the store at a time */
    uint64_t seed;           /* of the hash: not to be guessed, lest somebody chooses keys that share a bucket */
};

/* Returns NULL and sets *ERROR to -EINVAL (too little memory for one item twice) or -ENOMEM. */
struct rill_store *rill_store_new(const struct rill_store_config *config, int *error);

/* Frees a store that nobody uses any more: every item that somebody held has been released. NULL is ignored. */
void rill_store_free(struct rill_store *store);

enum rill_store_result {
    RILL_STORE_DONE,
    RILL_STORE_NOT_FOUND,
    RILL_STORE_NOT_STORED, /* add: there is one; replace, append, prepend: there is none */
    RILL_STORE_EXISTS,     /* cas: it has changed */
    RILL_STORE_NOT_A_NUMBER,
    RILL_STORE_TOO_LARGE,
    RILL_STORE_NO_MEMORY,
};

/* A new item, to be filled in by the caller, who holds it, and then put into the store or released. Its memory counts
 * from now on: items are given up for it. NULL with *RESULT set to TOO_LARGE or NO_MEMORY. */
struct rill_item *rill_store_make(struct rill_store *store, struct rill_slice key, uint32_t flags, uint64_t expires_ms,
                                  uint64_t length, uint64_t now_ms, enum rill_store_result *result);

enum rill_store_order {
    RILL_STORE_SET,
    RILL_STORE_ADD,
    RILL_STORE_REPLACE,
    RILL_STORE_APPEND, /* these two keep the flags and the end of what is there */
    RILL_STORE_PREPEND,
    RILL_STORE_CAS, /* replaces what has this very number */
};

/* Puts ITEM in, in the place of what has its key, as ORDER allows. Takes over the caller's reference whatever comes of
 * it. CAS is for RILL_STORE_CAS. Returns DONE, NOT_STORED, EXISTS, NOT_FOUND, TOO_LARGE or NO_MEMORY. */
enum rill_store_result rill_store_put(struct rill_store *store, struct rill_item *item, enum rill_store_order order,
                                      uint64_t cas, uint64_t now_ms);

/* The item with KEY, for the caller to release; NULL when there is none. */
struct rill_item *rill_store_get(struct rill_store *store, struct rill_slice key, uint64_t now_ms);

/* The same, and gives it a new end. */
struct rill_item *rill_store_touch(struct rill_store *store, struct rill_slice key, uint64_t expires_ms,
                                   uint64_t now_ms);

/* Whether there was one to be taken out. */
bool rill_store_delete(struct rill_store *store, struct rill_slice key, uint64_t now_ms);

/* Reads the value with KEY as a decimal number, adds DELTA (modulo 2^64), or takes it away (0 at the least), and puts
 * the result in its place and in *NUMBER. A result with fewer digits than the value has bytes is filled up with spaces.
 * Returns DONE, NOT_FOUND, NOT_A_NUMBER or NO_MEMORY. */
enum rill_store_result rill_store_add(struct rill_store *store, struct rill_slice key, uint64_t delta, bool subtract,
                                      uint64_t now_ms, uint64_t *number);

/* At AT_MS, all that was put in before is gone. A later call replaces one whose time has not come. */
void rill_store_flush(struct rill_store *store, uint64_t at_ms, uint64_t now_ms);

struct rill_store_stats {
    uint64_t items;     /* in the store; some may have ended and not been noticed */
    uint64_t bytes;     /* that all items take */
    uint64_t stored;    /* items ever put in */
    uint64_t evicted;   /* given up for the memory of others */
    uint64_t reclaimed; /* had ended when their memory was taken */
    uint64_t buckets;   /* of all tables */
    unsigned shards;
    uint64_t memory_bytes;
    uint32_t max_item_bytes;
};
void rill_store_stats(struct rill_store *store, struct rill_store_stats *stats);

#endif
