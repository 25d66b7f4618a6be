/* test_cache_store.c - the store of rill-cache: what is found, what ends, what is given up, and what all of it costs.
 */
#include "rill/apps/cache/shard.h"
#include "rill/apps/cache/store.h"
#include "rill/tests/support/faulty_sys.h"
#include "rill/tests/support/run_suite.h"
#include <check.h>
#include <stdio.h>

static struct rill_store *store;
static uint64_t now_ms;

static void make_store(uint64_t memory_bytes, uint32_t max_item_bytes, unsigned threads)
{
    int error;
    faulty_sys_reset();
    now_ms = 1000000;
    store = rill_store_new(
        &(struct rill_store_config){
            .memory_bytes = memory_bytes, .max_item_bytes = max_item_bytes, .threads = threads, .seed = 42},
        &error);
    ck_assert_ptr_nonnull(store);
}

static void setup(void)
{
    make_store(16 << 20, 1 << 20, 1);
}

static struct rill_store_stats stats(void)
{
    struct rill_store_stats found;
    rill_store_stats(store, &found);
    return found;
}

static void teardown(void)
{
    rill_store_free(store);
}

static struct rill_slice text(const char *string)
{
    return rill_slice_of(string);
}

static struct rill_item *make(const char *key, const char *value, uint32_t flags, uint64_t expires_ms)
{
    enum rill_store_result result;
    struct rill_item *item = rill_store_make(store, text(key), flags, expires_ms, strlen(value), now_ms, &result);
    ck_assert_ptr_nonnull(item);
    memcpy(rill_item_value(item), value, strlen(value));
    return item;
}

static enum rill_store_result put(enum rill_store_order order, const char *key, const char *value)
{
    return rill_store_put(store, make(key, value, 0, 0), order, 0, now_ms);
}

static enum rill_store_result set(const char *key, const char *value)
{
    return put(RILL_STORE_SET, key, value);
}

/* The value of KEY is VALUE (NULL: there is none). */
static void expect(const char *key, const char *value)
{
    struct rill_item *item = rill_store_get(store, text(key), now_ms);
    if (!item != !value)
        ck_abort_msg("%s is %s", key, item ? "there" : "not there");
    if (!item)
        return;
    ck_assert(rill_slice_equal(rill_item_key(item), text(key)));
    ck_assert_uint_eq(item->length, strlen(value));
    ck_assert_mem_eq(rill_item_value(item), value, item->length);
    ck_assert_mem_eq(rill_item_value(item) + item->length, "\r\n", 2);
    rill_item_release(item);
}

static uint64_t cas_of(const char *key)
{
    struct rill_item *item = rill_store_get(store, text(key), now_ms);
    uint64_t cas = item->cas;
    rill_item_release(item);
    return cas;
}

START_TEST(each_order_does_what_it_says)
{
    ck_assert_int_eq(put(RILL_STORE_REPLACE, "k", "0"), RILL_STORE_NOT_STORED);
    ck_assert_int_eq(put(RILL_STORE_APPEND, "k", "0"), RILL_STORE_NOT_STORED);
    ck_assert_int_eq(put(RILL_STORE_PREPEND, "k", "0"), RILL_STORE_NOT_STORED);
    ck_assert_int_eq(put(RILL_STORE_CAS, "k", "0"), RILL_STORE_NOT_FOUND);
    expect("k", NULL);
    ck_assert_int_eq(put(RILL_STORE_ADD, "k", "1"), RILL_STORE_DONE);
    ck_assert_int_eq(put(RILL_STORE_ADD, "k", "2"), RILL_STORE_NOT_STORED);
    expect("k", "1");
    ck_assert_int_eq(set("k", "3"), RILL_STORE_DONE);
    expect("k", "3");
    ck_assert_int_eq(put(RILL_STORE_REPLACE, "k", "45"), RILL_STORE_DONE);
    ck_assert_int_eq(put(RILL_STORE_APPEND, "k", "67"), RILL_STORE_DONE);
    ck_assert_int_eq(put(RILL_STORE_PREPEND, "k", "abc"), RILL_STORE_DONE);
    expect("k", "abc4567");
    uint64_t cas = cas_of("k");
    ck_assert_int_eq(rill_store_put(store, make("k", "8", 0, 0), RILL_STORE_CAS, cas - 1, now_ms), RILL_STORE_EXISTS);
    ck_assert_int_eq(rill_store_put(store, make("k", "9", 0, 0), RILL_STORE_CAS, cas, now_ms), RILL_STORE_DONE);
    ck_assert_int_eq(rill_store_put(store, make("k", "10", 0, 0), RILL_STORE_CAS, cas, now_ms), RILL_STORE_EXISTS);
    expect("k", "9");
    ck_assert(rill_store_delete(store, text("k"), now_ms));
    ck_assert(!rill_store_delete(store, text("k"), now_ms));
    expect("k", NULL);
    ck_assert_uint_eq(stats().items, 0);
    ck_assert_uint_eq(stats().bytes, 0);
}
END_TEST

START_TEST(values_are_bytes_and_may_be_empty)
{
    enum rill_store_result result;
    struct rill_item *item = rill_store_make(store, text("k"), 0, 0, 256, now_ms, &result);
    for (unsigned i = 0; i < 256; i++)
        rill_item_value(item)[i] = (char)i;
    ck_assert_int_eq(rill_store_put(store, item, RILL_STORE_SET, 0, now_ms), RILL_STORE_DONE);
    item = rill_store_get(store, text("k"), now_ms);
    for (unsigned i = 0; i < 256; i++)
        ck_assert_int_eq(rill_item_value(item)[i], (char)i);
    rill_item_release(item);
    set("k", "");
    expect("k", "");
}
END_TEST

START_TEST(append_keeps_flags_and_end)
{
    rill_store_put(store, make("k", "1", 77, now_ms + 10), RILL_STORE_SET, 0, now_ms);
    rill_store_put(store, make("k", "2", 88, 0), RILL_STORE_APPEND, 0, now_ms);
    struct rill_item *item = rill_store_get(store, text("k"), now_ms);
    ck_assert_uint_eq(item->flags, 77);
    rill_item_release(item);
    now_ms += 9;
    expect("k", "12");
    now_ms++;
    expect("k", NULL);
}
END_TEST

START_TEST(items_end_when_they_are_to)
{
    rill_store_put(store, make("past", "1", 0, 1), RILL_STORE_SET, 0, now_ms);
    rill_store_put(store, make("soon", "1", 0, now_ms + 1000), RILL_STORE_SET, 0, now_ms);
    rill_store_put(store, make("add", "1", 0, now_ms + 1000), RILL_STORE_SET, 0, now_ms);
    expect("past", NULL);
    now_ms += 999;
    expect("soon", "1");
    now_ms += 1;
    ck_assert_uint_eq(stats().items, 2); /* nobody has looked */
    expect("soon", NULL);
    ck_assert_int_eq(put(RILL_STORE_ADD, "add", "2"), RILL_STORE_DONE);
    ck_assert(!rill_store_delete(store, text("soon"), now_ms));
    ck_assert_ptr_null(rill_store_touch(store, text("soon"), 0, now_ms));
    ck_assert_uint_eq(stats().reclaimed, 3);
    ck_assert_uint_eq(stats().items, 1);
}
END_TEST

START_TEST(touch_moves_the_end_and_nothing_else)
{
    rill_store_put(store, make("k", "1", 5, now_ms + 1000), RILL_STORE_SET, 0, now_ms);
    uint64_t cas = cas_of("k");
    struct rill_item *item = rill_store_touch(store, text("k"), now_ms + 5000, now_ms);
    ck_assert_ptr_nonnull(item);
    rill_item_release(item);
    now_ms += 4999;
    ck_assert_uint_eq(cas_of("k"), cas);
    rill_item_release(rill_store_touch(store, text("k"), 0, now_ms));
    now_ms += 1000000000;
    expect("k", "1");
    rill_item_release(rill_store_touch(store, text("k"), 1, now_ms));
    expect("k", NULL);
}
END_TEST

START_TEST(a_flush_ends_all_that_was_there_before)
{
    set("a", "1");
    rill_store_flush(store, 0, now_ms);
    set("b", "2");
    expect("a", NULL);
    expect("b", "2");
    rill_store_flush(store, now_ms + 100, now_ms);
    set("c", "3"); /* before its time has come */
    now_ms += 99;
    expect("b", "2");
    now_ms += 1;
    set("d", "4"); /* the first to come after it */
    expect("b", NULL);
    expect("c", NULL);
    expect("d", "4");
    rill_store_flush(store, now_ms + 100, now_ms);
    rill_store_flush(store, now_ms + 200, now_ms); /* in the place of the other */
    now_ms += 150;
    expect("d", "4");
    rill_store_flush(store, now_ms - 1, now_ms);
    set("e", "5");
    now_ms += 1000;
    expect("d", NULL);
    expect("e", "5");
}
END_TEST

START_TEST(numbers_are_counted)
{
    static const struct {
        const char *before;
        uint64_t delta;
        bool subtract;
        enum rill_store_result result;
        const char *after;
    } cases[] = {
        {"5", 6, false, RILL_STORE_DONE, "11"},
        {"11", 3, true, RILL_STORE_DONE, "8 "},
        {"10", 100, true, RILL_STORE_DONE, "0 "},
        {"0", 0, true, RILL_STORE_DONE, "0"},
        {"18446744073709551615", 1, false, RILL_STORE_DONE, "0                   "},
        {"18446744073709551615", UINT64_MAX, true, RILL_STORE_DONE, "0                   "},
        {"1", UINT64_MAX, false, RILL_STORE_DONE, "0"},
        {"99", 1, false, RILL_STORE_DONE, "100"},
        {"0", UINT64_MAX, false, RILL_STORE_DONE, "18446744073709551615"},
        {"007", 1, false, RILL_STORE_DONE, "8  "},
        {" 12 ", 1, false, RILL_STORE_DONE, "13  "},
        {"18446744073709551616", 1, false, RILL_STORE_NOT_A_NUMBER, "18446744073709551616"},
        {"", 1, false, RILL_STORE_NOT_A_NUMBER, ""},
        {"  ", 1, false, RILL_STORE_NOT_A_NUMBER, "  "},
        {"-1", 1, false, RILL_STORE_NOT_A_NUMBER, "-1"},
        {"1a", 1, true, RILL_STORE_NOT_A_NUMBER, "1a"},
    };
    uint64_t number = 0;
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        rill_store_put(store, make("n", cases[i].before, 9, now_ms + 10), RILL_STORE_SET, 0, now_ms);
        uint64_t cas = cas_of("n");
        ck_assert_int_eq(rill_store_add(store, text("n"), cases[i].delta, cases[i].subtract, now_ms, &number),
                         cases[i].result);
        expect("n", cases[i].after);
        ck_assert_int_eq(cas_of("n") != cas, cases[i].result == RILL_STORE_DONE);
        if (cases[i].result == RILL_STORE_DONE)
            ck_assert_uint_eq(number, strtoull(cases[i].after, NULL, 10));
        struct rill_item *item = rill_store_get(store, text("n"), now_ms);
        ck_assert_uint_eq(item->flags, 9);
        rill_item_release(item);
        ck_assert_ptr_null(rill_store_get(store, text("n"), now_ms + 10));
    }
    ck_assert_int_eq(rill_store_add(store, text("none"), 1, false, now_ms, &number), RILL_STORE_NOT_FOUND);
}
END_TEST

/* What somebody holds is not changed under his eyes, and lives as long as he holds it. */
START_TEST(what_is_held_stays_as_it_is)
{
    set("n", "41");
    struct rill_item *held = rill_store_get(store, text("n"), now_ms);
    uint64_t number;
    ck_assert_int_eq(rill_store_add(store, text("n"), 1, false, now_ms, &number), RILL_STORE_DONE);
    ck_assert_mem_eq(rill_item_value(held), "41\r\n", 4);
    expect("n", "42");
    uint64_t with_both = stats().bytes;
    rill_item_release(held);
    ck_assert_uint_eq(stats().bytes, with_both / 2);
    held = rill_store_get(store, text("n"), now_ms);
    set("n", "something else");
    ck_assert(rill_store_delete(store, text("n"), now_ms));
    rill_store_flush(store, 0, now_ms);
    ck_assert_mem_eq(rill_item_value(held), "42\r\n", 4);
    ck_assert_uint_eq(stats().items, 0);
    ck_assert_uint_gt(stats().bytes, 0);
    rill_item_release(held);
    ck_assert_uint_eq(stats().bytes, 0);
}
END_TEST

START_TEST(an_item_has_a_largest_size)
{
    enum rill_store_result result;
    rill_store_free(store);
    make_store(1 << 20, 1000, 1);
    uint64_t length = 1000 - rill_shard_item_bytes(1, 0);
    ck_assert_ptr_null(rill_store_make(store, text("k"), 0, 0, length + 1, now_ms, &result));
    ck_assert_int_eq(result, RILL_STORE_TOO_LARGE);
    ck_assert_ptr_null(rill_store_make(store, text("k"), 0, 0, UINT64_MAX - 1000, now_ms, &result));
    ck_assert_ptr_null(rill_store_make(store, text("kk"), 0, 0, length, now_ms, &result));
    struct rill_item *item = rill_store_make(store, text("k"), 0, 0, length, now_ms, &result);
    ck_assert_ptr_nonnull(item);
    memset(rill_item_value(item), 'x', length);
    ck_assert_int_eq(rill_store_put(store, item, RILL_STORE_SET, 0, now_ms), RILL_STORE_DONE);
    ck_assert_int_eq(put(RILL_STORE_APPEND, "k", "y"), RILL_STORE_TOO_LARGE);
    ck_assert_int_eq(put(RILL_STORE_PREPEND, "k", "y"), RILL_STORE_TOO_LARGE);
    ck_assert_int_eq(put(RILL_STORE_APPEND, "k", ""), RILL_STORE_DONE);
    ck_assert_uint_eq(stats().items, 1);
}
END_TEST

/* Three items of one size fit, and not a fourth: every way to use them four times before it comes. */
START_TEST(the_least_recently_used_goes_first)
{
    static const char *const keys[] = {"a", "b", "c"};
    char value[801];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned sequence = 0; sequence < 3 * 3 * 3 * 3; sequence++) {
        unsigned left = sequence, last_use[3] = {0, 1, 2};
        rill_store_free(store);
        make_store(3000, 1000, 1);
        for (unsigned i = 0; i < 3; i++)
            set(keys[i], value);
        for (unsigned use = 3; use < 7; use++, left /= 3) {
            const char *key = keys[left % 3];
            last_use[left % 3] = use;
            if (use == 3)
                rill_item_release(rill_store_touch(store, text(key), 0, now_ms));
            else if (use == 4)
                ck_assert_int_eq(put(RILL_STORE_ADD, key, ""), RILL_STORE_NOT_STORED);
            else
                expect(key, value);
        }
        set("d", value);
        ck_assert_uint_eq(stats().evicted, 1);
        ck_assert_uint_le(stats().bytes, 3000);
        for (unsigned i = 0; i < 3; i++) {
            bool oldest = last_use[i] <= last_use[(i + 1) % 3] && last_use[i] <= last_use[(i + 2) % 3];
            expect(keys[i], oldest ? NULL : value);
        }
    }
}
END_TEST

/* Held items are no use to make room of; when there is nothing else, there is no room. */
START_TEST(what_is_held_is_not_given_up)
{
    enum rill_store_result result;
    struct rill_item *held[4], *more;
    char key[16];
    rill_store_free(store);
    make_store(1 << 20, 1 << 18, 1);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%u", i);
        held[i] = rill_store_make(store, text(key), 0, 0, 250000, now_ms, &result);
        ck_assert_ptr_nonnull(held[i]);
        memset(rill_item_value(held[i]), '0' + (int)i, 250000);
        ck_assert_int_eq(rill_store_put(store, held[i], RILL_STORE_SET, 0, now_ms), RILL_STORE_DONE);
        held[i] = rill_store_get(store, text(key), now_ms);
    }
    ck_assert_ptr_null(rill_store_make(store, text("x"), 0, 0, 250000, now_ms, &result));
    ck_assert_int_eq(result, RILL_STORE_NO_MEMORY);
    ck_assert_int_eq(put(RILL_STORE_APPEND, "0", "more"), RILL_STORE_NO_MEMORY);
    ck_assert_uint_eq(stats().evicted, 0);
    ck_assert_uint_eq(stats().items, 4);
    rill_item_release(held[2]);
    more = rill_store_make(store, text("x"), 0, 0, 250000, now_ms, &result);
    ck_assert_ptr_nonnull(more);
    ck_assert_ptr_null(rill_store_get(store, text("2"), now_ms));
    rill_item_release(more);
    for (unsigned i = 0; i < 4; i++)
        if (i != 2)
            rill_item_release(held[i]);
}
END_TEST

/* An item that is to be appended to is not what the room for the longer one is made of. */
START_TEST(what_is_appended_to_is_not_given_up)
{
    enum rill_store_result result;
    char value[701];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    rill_store_free(store);
    make_store(2000, 1000, 1);
    set("k", value);
    struct rill_item *other = rill_store_make(store, text("other"), 0, 0, 300, now_ms, &result);
    ck_assert_int_eq(put(RILL_STORE_APPEND, "k", "more"), RILL_STORE_NO_MEMORY);
    expect("k", value);
    rill_item_release(other);
    ck_assert_int_eq(put(RILL_STORE_PREPEND, "k", ""), RILL_STORE_DONE);
    expect("k", value);
}
END_TEST

/* Every kind of change, with every allocation failing in turn: all of it happens, or nothing. */
START_TEST(without_memory_nothing_changes)
{
    static const enum rill_store_order orders[] = {RILL_STORE_SET, RILL_STORE_APPEND, RILL_STORE_PREPEND};
    uint64_t number;
    for (unsigned i = 0; i < 4; i++) {
        for (uint64_t k = 1;; k++) {
            set("k", "99");
            uint64_t cas = cas_of("k"), bytes = stats().bytes;
            enum rill_store_result result = RILL_STORE_NO_MEMORY;
            faulty_sys.failed = 0;
            faulty_memory_fails_at(k);
            if (i < 3) {
                struct rill_item *item = rill_store_make(store, text("k"), 0, 0, 1, now_ms, &result);
                if (item) {
                    memcpy(rill_item_value(item), "1", 1);
                    result = rill_store_put(store, item, orders[i], 0, now_ms);
                }
            } else {
                result = rill_store_add(store, text("k"), 1, false, now_ms, &number);
            }
            faulty_sys_reset();
            ck_assert_int_eq(result, k == 1 || (k == 2 && (i == 1 || i == 2)) ? RILL_STORE_NO_MEMORY : RILL_STORE_DONE);
            if (result == RILL_STORE_DONE)
                break;
            expect("k", "99");
            ck_assert_uint_eq(cas_of("k"), cas);
            ck_assert_uint_eq(stats().bytes, bytes);
        }
    }
    expect("k", "100");
}
END_TEST

START_TEST(a_store_that_cannot_be_made_says_why)
{
    struct rill_store_config config = {.memory_bytes = 64 << 20, .max_item_bytes = 1 << 20, .threads = 2};
    int error = 0;
    for (uint64_t k = 1;; k++) {
        faulty_memory_fails_at(k);
        faulty_sys.failed = 0;
        struct rill_store *made = rill_store_new(&config, &error);
        uint64_t failed = faulty_sys.failed;
        faulty_sys_reset();
        ck_assert_int_eq(error, failed ? -ENOMEM : 0);
        ck_assert_int_eq(made == NULL, failed > 0);
        rill_store_free(made);
        if (!failed) {
            ck_assert_uint_gt(k, 10); /* the store, its shards and a table for each */
            break;
        }
    }
    config.memory_bytes = (2 << 20) - 1;
    ck_assert_ptr_null(rill_store_new(&config, &error));
    ck_assert_int_eq(error, -EINVAL);
}
END_TEST

START_TEST(shards_are_many_but_not_too_small)
{
    static const struct {
        uint64_t memory_bytes;
        uint32_t max_item_bytes;
        unsigned threads, shards;
    } cases[] = {
        {64 << 20, 1 << 20, 0, 1},        {64 << 20, 1 << 20, 1, 1},
        {64 << 20, 1 << 20, 2, 8},        {64 << 20, 1 << 20, 8, 8},
        {64 << 20, 1 << 16, 8, 32},       {2 << 20, 1 << 20, 8, 1},
        {UINT64_C(1) << 34, 1000, 3, 16}, {UINT64_C(1) << 34, 1000, 255, 1024},
    };
    for (unsigned i = 0; i < rill_array_length(cases); i++) {
        rill_store_free(store);
        make_store(cases[i].memory_bytes, cases[i].max_item_bytes, cases[i].threads);
        ck_assert_uint_eq(stats().shards, cases[i].shards);
        set("k", "v");
        expect("k", "v");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache store");
    TCase *all = tcase_create("store");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, each_order_does_what_it_says);
    tcase_add_test(all, values_are_bytes_and_may_be_empty);
    tcase_add_test(all, append_keeps_flags_and_end);
    tcase_add_test(all, items_end_when_they_are_to);
    tcase_add_test(all, touch_moves_the_end_and_nothing_else);
    tcase_add_test(all, a_flush_ends_all_that_was_there_before);
    tcase_add_test(all, numbers_are_counted);
    tcase_add_test(all, what_is_held_stays_as_it_is);
    tcase_add_test(all, an_item_has_a_largest_size);
    tcase_add_test(all, the_least_recently_used_goes_first);
    tcase_add_test(all, what_is_held_is_not_given_up);
    tcase_add_test(all, what_is_appended_to_is_not_given_up);
    tcase_add_test(all, without_memory_nothing_changes);
    tcase_add_test(all, a_store_that_cannot_be_made_says_why);
    tcase_add_test(all, shards_are_many_but_not_too_small);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
