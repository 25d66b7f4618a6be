/* test_mt_cache.c - rill-cache's store, used by many threads at once: no change is lost, what is held stays whole, and
 * all memory comes back. */
#include "rill/apps/cache/shard.h"
#include "rill/apps/cache/store.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, MEMORY = 256 * 1024, MAX_ITEM = 16 * 1024, KEYS = 60, HELD = 8 };

static struct rill_store *store;
static uint64_t now_ms; /* atomic: as the loops' clocks, not the same for all at every moment */

static void setup(void)
{
    int error;
    now_ms = 1000;
    store = rill_store_new(
        &(struct rill_store_config){.memory_bytes = MEMORY, .max_item_bytes = MAX_ITEM, .threads = 2}, &error);
    ck_assert_ptr_nonnull(store);
}

static void teardown(void)
{
    rill_store_free(store);
}

static void run_all(void *(*fn)(void *arg))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fn, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static uint64_t now(void)
{
    return __atomic_load_n(&now_ms, __ATOMIC_RELAXED);
}

static enum rill_store_result put(enum rill_store_order order, const char *key, const char *value, size_t length,
                                  uint64_t cas)
{
    enum rill_store_result result;
    struct rill_item *item = rill_store_make(store, rill_slice_of(key), 0, 0, length, now(), &result);
    if (!item)
        return result;
    memcpy(rill_item_value(item), value, length);
    return rill_store_put(store, item, order, cas, now());
}

static uint64_t number_of(const char *key, uint64_t *cas)
{
    struct rill_item *item = rill_store_get(store, rill_slice_of(key), now());
    ck_assert_ptr_nonnull(item);
    uint64_t number = strtoull(rill_item_value(item), NULL, 10); /* a CR ends it */
    *cas = item->cas;
    rill_item_release(item);
    return number;
}

enum { ROUNDS = 3000 };

static void *count(void *arg)
{
    uint64_t number, cas;
    char digits[24];
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(rill_store_add(store, rill_slice_of("incr"), 1, false, now(), &number), RILL_STORE_DONE);
        ck_assert_uint_ge(number_of("incr", &cas), number); /* read while others count on */
        enum rill_store_result result;
        do {
            number = number_of("cas", &cas);
            size_t length = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number + 1);
            result = put(RILL_STORE_CAS, "cas", digits, length, cas);
        } while (result == RILL_STORE_EXISTS);
        ck_assert_int_eq(result, RILL_STORE_DONE);
        if (i % 100 == 0)
            ck_assert_int_eq(put(RILL_STORE_APPEND, "log", "x", 1, 0), RILL_STORE_DONE);
    }
    return NULL;
}

START_TEST(no_change_is_lost)
{
    uint64_t cas;
    put(RILL_STORE_SET, "incr", "0", 1, 0);
    put(RILL_STORE_SET, "cas", "0", 1, 0);
    put(RILL_STORE_SET, "log", "", 0, 0);
    run_all(count);
    ck_assert_uint_eq(number_of("incr", &cas), THREADS * ROUNDS);
    ck_assert_uint_eq(number_of("cas", &cas), THREADS * ROUNDS);
    struct rill_item *log = rill_store_get(store, rill_slice_of("log"), now());
    ck_assert_uint_eq(log->length, THREADS * ROUNDS / 100);
    rill_item_release(log);
}
END_TEST

static void check_whole(struct rill_item *item)
{
    const char *value = rill_item_value(item);
    for (uint32_t i = 1; i < item->length; i++)
        if (value[i] != value[0])
            ck_abort_msg("byte %u of %u is another one", i, item->length);
    ck_assert_mem_eq(value + item->length, "\r\n", 2);
}

/* Values of one letter each, more than there is memory for, some of them held for a while. */
static void *churn(void *arg)
{
    struct test_random random = {(uintptr_t)arg};
    struct rill_item *held[HELD] = {NULL};
    static const uint32_t sizes[] = {1, 30, 500, 3000, 15000};
    char key[16], value[15000];
    for (unsigned i = 0; i < 6000; i++) {
        unsigned slot = i % HELD;
        snprintf(key, sizeof key, "%u", (unsigned)test_random_below(&random, KEYS));
        if (held[slot])
            check_whole(held[slot]);
        rill_item_release(held[slot]);
        held[slot] = NULL;
        switch (test_random_below(&random, 8)) {
        case 0:
            rill_store_delete(store, rill_slice_of(key), now());
            break;
        case 1:
            held[slot] = rill_store_touch(store, rill_slice_of(key), now() + test_random_below(&random, 20), now());
            break;
        case 2:
            if (test_random_below(&random, 50) == 0)
                rill_store_flush(store, now() + test_random_below(&random, 20), now());
            __atomic_fetch_add(&now_ms, 1, __ATOMIC_RELAXED);
            break;
        case 3:
        case 4: {
            uint32_t size = sizes[test_random_below(&random, rill_array_length(sizes))];
            memset(value, 'a' + (int)test_random_below(&random, 26), size);
            enum rill_store_result result =
                put(test_random_below(&random, 2) ? RILL_STORE_SET : RILL_STORE_ADD, key, value, size, 0);
            ck_assert(result == RILL_STORE_DONE || result == RILL_STORE_NOT_STORED || result == RILL_STORE_NO_MEMORY);
            break;
        }
        default:
            held[slot] = rill_store_get(store, rill_slice_of(key), now());
        }
    }
    for (unsigned i = 0; i < HELD; i++)
        rill_item_release(held[i]);
    return NULL;
}

START_TEST(what_is_held_stays_whole_and_memory_comes_back)
{
    struct rill_store_stats stats;
    char key[16];
    run_all(churn);
    rill_store_stats(store, &stats);
    ck_assert_uint_gt(stats.evicted, 0);
    ck_assert_uint_le(stats.bytes, MEMORY + THREADS * MAX_ITEM);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "%u", i);
        rill_store_delete(store, rill_slice_of(key), now());
    }
    rill_store_stats(store, &stats);
    ck_assert_uint_eq(stats.items, 0);
    ck_assert_uint_eq(stats.bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache, many threads");
    TCase *all = tcase_create("cache");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, no_change_is_lost);
    tcase_add_test(all, what_is_held_stays_whole_and_memory_comes_back);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
