/* cache_model.h - what memcached's text protocol says, done slowly: every command looks at all items, every item is a
 * copy, every byte of a reply is printed. What rill-cache is held against. */
#ifndef RILL_TESTS_SUPPORT_CACHE_MODEL_H
#define RILL_TESTS_SUPPORT_CACHE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache_model_item;

/* A cache with all the memory that it wants. */
struct cache_model {
    /* To be set. */
    uint64_t now_ms;
    int64_t unix_seconds;
    uint64_t max_item_bytes;
    uint64_t item_overhead; /* what an item takes beside key and value */
    const char *version;
    /* The model's, zero at first. */
    struct cache_model_item *items;
    uint64_t last_cas, flushed_cas, flush_at_ms;
};

/* A client of one; zero at first, but for the model. */
struct cache_model_client {
    struct cache_model *model;
    char *in, *out; /* what was not dealt with yet, and the replies, with a NUL behind them */
    size_t in_length, out_length;
    bool closed; /* by the server */
    bool lost;   /* statistics were asked for: `out` is not all that was to be said */
    /* A value is to come. */
    bool pending, unwanted, noreply;
    char verb[16], key[256];
    uint64_t flags, length, cas, expires_ms;
    size_t key_length;
};

void cache_model_send(struct cache_model_client *client, const void *bytes, size_t length);

void cache_model_client_free(struct cache_model_client *client);
void cache_model_free(struct cache_model *model);

#endif
