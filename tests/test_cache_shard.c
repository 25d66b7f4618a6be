/* test_cache_shard.c - what rill-cache's shards are made of: the table that finds items, and the order of their use. */
#include "rill/apps/cache/shard.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOW = 1000000 };

/* In a long list what goes first is out of order by a quarter of it at most. */
START_TEST(many_go_in_about_the_order_of_their_use)
{
    enum { COUNT = 1000, ROUNDS = 20000 };
    static struct rill_shard shard;
    static struct {
        struct rill_item *item;
        unsigned last_use;
    } all[COUNT];
    struct test_random random = {7};
    char key[16];
    unsigned gone = 0;
    memset(&shard, 0, sizeof shard);
    ck_assert_int_eq(rill_shard_init(&shard, COUNT / 2 * rill_shard_item_bytes(16, 100)), 0);
    rill_shard_lock(&shard, NOW);
    for (unsigned use = 1; use < ROUNDS; use++) {
        /* Some are used much more often than others. */
        unsigned i = (unsigned)test_random_below(&random, test_random_below(&random, COUNT) + 1);
        snprintf(key, sizeof key, "%u", i);
        all[i].last_use = use;
        if (rill_shard_find(&shard, i, rill_slice_of(key), NOW)) {
            ck_assert_ptr_eq(rill_shard_find(&shard, i, rill_slice_of(key), NOW), all[i].item);
            continue;
        }
        while (!rill_shard_has_room(&shard, rill_shard_item_bytes(strlen(key), 100))) {
            struct rill_item *last = rill_container_of(shard.lru.previous, struct rill_item, lru);
            unsigned older = 0, at = 0;
            while (all[at].item != last)
                at++;
            for (unsigned k = 0; k < COUNT; k++)
                older += all[k].item && all[k].last_use < all[at].last_use;
            ck_assert_uint_le(older, shard.table.count / 4);
            uint64_t evicted = shard.evicted;
            rill_shard_make_room(&shard, shard.share_bytes - shard.used_bytes + 1, NOW);
            ck_assert_uint_eq(shard.evicted, evicted + 1);
            all[at].item = NULL;
            gone++;
        }
        all[i].item = rill_shard_make(&shard, rill_slice_of(key), i, 100);
        rill_shard_link(&shard, all[i].item);
    }
    ck_assert_uint_gt(gone, 1000);
    rill_shard_unlock(&shard);
    rill_shard_destroy(&shard);
}
END_TEST

/* Keys that grow, shrink and grow the table; some hashes are shared by all. */
START_TEST(a_table_finds_what_is_in_it)
{
    enum { COUNT = 5000 };
    static struct rill_item *items[COUNT];
    struct test_random random = {(uint64_t)_i};
    struct rill_table table;
    uint32_t in = 0;
    char key[16];
    ck_assert_int_eq(rill_table_init(&table, _i == 0 ? 100 : COUNT), 0);
    for (unsigned round = 0; round < 30000; round++) {
        unsigned i = (unsigned)test_random_below(&random, COUNT);
        snprintf(key, sizeof key, "%u", i);
        uint32_t hash = i % 50 == 0 ? 0xabcdef : i * 2654435761u;
        struct rill_item *found = rill_table_find(&table, hash, rill_slice_of(key));
        ck_assert_ptr_eq(found, items[i]);
        if (found && test_random_below(&random, 4) != 0) {
            rill_table_remove(&table, found);
            free(found);
            items[i] = NULL;
            in--;
        } else if (!found) {
            items[i] = malloc(sizeof **items + sizeof key);
            *items[i] = (struct rill_item){.hash = hash, .key_length = (uint8_t)strlen(key)};
            memcpy(items[i]->bytes, key, strlen(key));
            rill_table_insert(&table, items[i]);
            in++;
        }
        ck_assert_uint_eq(table.count, in);
        ck_assert(table.half + table.split >= in || table.half == table.max_buckets);
        ck_assert_uint_le(table.half + table.split, table.max_buckets);
    }
    for (unsigned i = 0; i < COUNT; i++)
        free(items[i]);
    memset(items, 0, sizeof items);
    rill_table_destroy(&table);
    rill_table_destroy(&table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache shard");
    TCase *all = tcase_create("shard");
    tcase_add_test(all, many_go_in_about_the_order_of_their_use);
    tcase_add_loop_test(all, a_table_finds_what_is_in_it, 0, 3);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
