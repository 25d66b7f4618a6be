/* cache_rig.h - rill-cache's session over a connection in memory, and beside it the model that it is held against: for
 * the tests over support/fake_conn.h. One rig a program; cache_rig_set_up() before each test, cache_rig_tear_down()
 * after. */
#ifndef RILL_TESTS_SUPPORT_CACHE_RIG_H
#define RILL_TESTS_SUPPORT_CACHE_RIG_H

#include "cache_model.h"
#include "fake_conn.h"
#include "rill/apps/cache/session.h"

#define CACHE_RIG_MEMORY (64 << 20)
#define CACHE_RIG_MAX_ITEM (1 << 20)

struct cache_rig {
    struct rill_cache cache; /* version 1.2.3 */
    struct rill_loop *loop;
    struct rill_conn_config config;
    struct fake_peer peer; /* the client of the one connection */
    struct cache_model model;
    struct cache_model_client client; /* the same client, of the model */
};

extern struct cache_rig cache_rig;

void cache_rig_set_up(void);
void cache_rig_set_up_with(uint64_t memory_bytes, uint32_t max_item_bytes);
void cache_rig_tear_down(void);

/* Tears down and sets up. */
void cache_rig_again(void);

/* All that can happen now happens. */
void cache_rig_turn(void);

/* Lets time pass. */
void cache_rig_pass(uint64_t ms);

/* Sends to the server and to the model. */
void cache_rig_send(const char *bytes, size_t length);
void cache_rig_send_text(const char *text);

/* "set KEY 0 0 LENGTH", and a value of so many letters v. */
void cache_rig_send_set(const char *key, size_t length);

/* Server and model have said the same. WHAT is for the message when they have not. */
void cache_rig_compare(const char *what);

struct rill_store_stats cache_rig_stats(void);

/* A bit of everything; it ends with a quit, and a request behind that. */
extern const char cache_rig_script[];

#endif
