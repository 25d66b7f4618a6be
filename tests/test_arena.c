/* The arena: pieces that do not overlap and keep their bytes, limits that hold, handlers in their order. */
#include "rill/core/arena.h"

#include "rill/core/memory_internal.h"
#include "rill/core/sys.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <stdlib.h>

enum { FIRST_BYTES = 512 };

static _Alignas(16) char first[FIRST_BYTES];

static bool is_aligned(const void *memory)
{
    return (uintptr_t)memory % 16 == 0;
}

struct order {
    struct rill_arena *arena;
    char seen[16];
    size_t count;
};

static struct order order;

static void never(void *arg)
{
    (void)arg;
    ck_abort_msg("a handler ran that was refused");
}

START_TEST(a_request_that_fits_costs_the_heap_nothing)
{
    struct rill_arena arena;
    rill_arena_init(&arena, first, sizeof first, 0);
    for (int request = 0; request < 3; request++) {
        ck_assert_ptr_eq(rill_arena_alloc(&arena, 100), first);
        ck_assert_ptr_eq(rill_arena_alloc(&arena, FIRST_BYTES - 112), first + 112);
        ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 0);
        rill_arena_reset(&arena);
    }
    rill_arena_free(&arena);
    memset(first, 1, sizeof first); /* the caller's again, for AddressSanitizer too */
}
END_TEST

START_TEST(the_first_block_from_the_heap_is_kept)
{
    struct rill_arena arena;
    rill_arena_init(&arena, NULL, 0, 0);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 0);
    char *kept = rill_arena_alloc(&arena, 24);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), RILL_ARENA_BLOCK_BYTES);
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_nonnull(rill_arena_alloc(&arena, 64));
    ck_assert_uint_gt(rill_arena_heap_bytes(&arena), 64000);
    rill_arena_reset(&arena);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), RILL_ARENA_BLOCK_BYTES);
    ck_assert_ptr_eq(rill_arena_alloc(&arena, 24), kept);
    rill_arena_free(&arena);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 0);
    ck_assert_ptr_nonnull(rill_arena_alloc(&arena, 24)); /* usable after a free, as after init */
    rill_arena_free(&arena);
    rill_arena_free(&arena);
}
END_TEST

START_TEST(a_large_piece_gets_a_block_of_its_own)
{
    struct rill_arena arena;
    rill_arena_init(&arena, first, sizeof first, 0);
    char *small = rill_arena_alloc(&arena, 16);
    char *large = rill_arena_alloc(&arena, 100000);
    ck_assert(is_aligned(large));
    memset(large, 1, 100000);
    ck_assert_uint_ge(rill_arena_heap_bytes(&arena), 100000);
    ck_assert_uint_le(rill_arena_heap_bytes(&arena), 100064);
    ck_assert_ptr_eq(rill_arena_alloc(&arena, 16), small + 16); /* the current block goes on */
    rill_arena_reset(&arena);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 0);
    rill_arena_free(&arena);

    /* Large pieces before there is a first block do not become it. */
    rill_arena_init(&arena, NULL, 0, 0);
    ck_assert_ptr_nonnull(rill_arena_alloc(&arena, 100000));
    ck_assert_ptr_nonnull(rill_arena_alloc(&arena, 16));
    rill_arena_reset(&arena);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), RILL_ARENA_BLOCK_BYTES);
    rill_arena_free(&arena);
}
END_TEST

START_TEST(an_odd_first_block_is_used_where_it_is_aligned)
{
    for (size_t skip = 0; skip < 40; skip++)
        for (size_t bytes = 0; bytes < 100; bytes++) {
            struct rill_arena arena;
            rill_arena_init(&arena, first + skip, bytes, 1); /* a limit that lets nothing come from the heap */
            size_t taken = 0;
            for (char *piece; (piece = rill_arena_alloc(&arena, 16)); taken += 16)
                if (!is_aligned(piece) || piece < first + skip || piece + 16 > first + skip + bytes)
                    ck_abort_msg("a piece outside of %zu bytes at %zu", bytes, skip);
            ck_assert_uint_gt(taken + 32, bytes);
            rill_arena_free(&arena);
        }
}
END_TEST

START_TEST(the_limit_holds_to_the_byte)
{
    struct rill_arena arena;
    rill_arena_init(&arena, NULL, 0, 10000);
    ck_assert_ptr_null(rill_arena_alloc(&arena, 10000)); /* the header comes on top */
    char *all = rill_arena_alloc(&arena, 10000 - 16);
    ck_assert_ptr_nonnull(all);
    memset(all, 1, 10000 - 16);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 10000);
    ck_assert_ptr_null(rill_arena_alloc(&arena, 1));
    ck_assert_ptr_null(rill_arena_strdup(&arena, "text"));
    ck_assert_ptr_null(rill_arena_calloc(&arena, 1, 1));
    ck_assert_int_eq(rill_arena_on_reset(&arena, never, NULL), -ENOMEM);
    rill_arena_reset(&arena);

    /* The last block is as small as the limit leaves it. */
    size_t pieces = 0;
    while (rill_arena_alloc(&arena, 100))
        pieces++;
    ck_assert_uint_le(rill_arena_heap_bytes(&arena), 10000);
    ck_assert_uint_ge(pieces, (10000 - 3 * 16) / 112 - 3);
    rill_arena_free(&arena);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused)
{
    struct rill_arena arena;
    rill_arena_init(&arena, first, sizeof first, 0);
    ck_assert_ptr_null(rill_arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(rill_arena_alloc(&arena, SIZE_MAX - 15));
    ck_assert_ptr_null(rill_arena_alloc(&arena, (size_t)PTRDIFF_MAX));
    ck_assert_ptr_null(rill_arena_calloc(&arena, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(rill_arena_copy(&arena, (struct rill_slice){"", SIZE_MAX}));
    ck_assert_ptr_eq(rill_arena_alloc(&arena, 1), first);
    rill_arena_free(&arena);
}
END_TEST

START_TEST(copies_end_with_nul_and_calloc_is_zero)
{
    struct rill_arena arena;
    memset(first, 0xff, sizeof first);
    rill_arena_init(&arena, first, sizeof first, 0);
    struct rill_slice text = {"hello world", 5};
    ck_assert_str_eq(rill_arena_copy(&arena, text), "hello");
    ck_assert_str_eq(rill_arena_copy(&arena, (struct rill_slice){NULL, 0}), "");
    ck_assert_str_eq(rill_arena_strdup(&arena, "world"), "world");
    const char *zeros = rill_arena_calloc(&arena, 7, 5);
    for (int i = 0; i < 35; i++)
        ck_assert_int_eq(zeros[i], 0);
    const char *empty = rill_arena_alloc(&arena, 0);
    ck_assert_ptr_ne(empty, rill_arena_alloc(&arena, 0));
    ck_assert_ptr_nonnull(rill_arena_calloc(&arena, 0, 8));
    rill_arena_free(&arena);
}
END_TEST

static void note(void *arg)
{
    order.seen[order.count++] = *(char *)arg;
}

static void note_and_leave_two_more(void *arg)
{
    note(arg);
    char *x = rill_arena_strdup(order.arena, "x");
    ck_assert_int_eq(rill_arena_on_reset(order.arena, note, x), 0);
    ck_assert_int_eq(rill_arena_on_reset(order.arena, note, rill_arena_strdup(order.arena, "y")), 0);
}

START_TEST(handlers_run_once_in_reverse_order)
{
    struct rill_arena arena;
    rill_arena_init(&arena, NULL, 0, 0);
    order = (struct order){.arena = &arena};
    for (char c = 'a'; c <= 'e'; c++) {
        char *arg = rill_arena_alloc(&arena, 3000); /* handlers and arguments in many blocks */
        *arg = c;
        ck_assert_int_eq(rill_arena_on_reset(&arena, c == 'c' ? note_and_leave_two_more : note, arg), 0);
    }
    ck_assert_uint_eq(order.count, 0);
    rill_arena_reset(&arena);
    ck_assert_str_eq(order.seen, "edcyxba");
    rill_arena_reset(&arena);
    ck_assert_uint_eq(order.count, 7);

    char *arg = rill_arena_strdup(&arena, "z");
    ck_assert_int_eq(rill_arena_on_reset(&arena, note, arg), 0);
    rill_arena_free(&arena);
    ck_assert_str_eq(order.seen, "edcyxbaz");
}
END_TEST

#ifdef RILL_ASAN
START_TEST(memory_is_poisoned_unless_allocated)
{
    struct rill_arena arena;
    rill_arena_init(&arena, NULL, 0, 0);
    char *piece = rill_arena_alloc(&arena, 20);
    char *large = rill_arena_alloc(&arena, 5000);
    ck_assert_ptr_null(__asan_region_is_poisoned(piece, 20));
    ck_assert_int_ne(__asan_address_is_poisoned(piece + 20), 0);
    ck_assert_int_ne(__asan_address_is_poisoned(piece + 32), 0);
    ck_assert_int_ne(__asan_address_is_poisoned(large + 5000), 0);
    rill_arena_reset(&arena);
    ck_assert_int_ne(__asan_address_is_poisoned(piece), 0);
    rill_arena_free(&arena);

    rill_arena_init(&arena, first, sizeof first, 0);
    ck_assert_int_ne(__asan_address_is_poisoned(first), 0);
    rill_arena_free(&arena);
    ck_assert_int_eq(__asan_address_is_poisoned(first), 0);
}
END_TEST
#endif

/* The property test: random requests, every piece filled with a pattern of its own and looked at when the request
 * ends. Overlaps, moves and early frees all show as a wrong pattern. */

enum { PIECES = 200, REQUESTS = 20, SEEDS = 40 };

struct piece {
    unsigned char *bytes;
    size_t length;
};

static size_t random_size(struct test_random *random)
{
    switch (test_random_below(random, 8)) {
    case 0:
        return 0;
    case 1:
        return 900 + test_random_below(random, 300); /* around what gets a block of its own */
    case 2:
        return test_random_below(random, 20000);
    default:
        return test_random_below(random, 200);
    }
}

static void run_request(struct rill_arena *arena, struct test_random *random, size_t max_bytes)
{
    struct piece pieces[PIECES];
    size_t count = 0;
    size_t wanted = test_random_below(random, PIECES);
    for (size_t i = 0; i < wanted; i++) {
        size_t size = random_size(random);
        size_t held = rill_arena_heap_bytes(arena);
        unsigned char *bytes = rill_arena_alloc(arena, size);
        if (max_bytes && rill_arena_heap_bytes(arena) > max_bytes)
            ck_abort_msg("%zu bytes held, the limit is %zu", rill_arena_heap_bytes(arena), max_bytes);
        if (!bytes) {
            /* Only ever at the limit: refused although a block for it alone would fit is a fault. */
            if (!max_bytes || held + 16 + ((size + 15) & ~(size_t)15) <= max_bytes)
                ck_abort_msg("%zu bytes refused with %zu of %zu held", size, held, max_bytes);
            continue;
        }
        if (!is_aligned(bytes))
            ck_abort_msg("not aligned");
        memset(bytes, (int)count, size);
        pieces[count++] = (struct piece){bytes, size};
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < pieces[i].length; k++)
            if (pieces[i].bytes[k] != (unsigned char)i)
                ck_abort_msg("piece %zu was overwritten", i);
}

START_TEST(pieces_keep_their_bytes)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct test_random random = {seed};
        size_t max_bytes = seed % 2 ? test_random_below(&random, 100000) : 0;
        size_t first_bytes = seed % 3 ? test_random_below(&random, FIRST_BYTES) : 0;
        struct rill_arena arena;
        rill_arena_init(&arena, first_bytes ? first : NULL, first_bytes, max_bytes);
        for (int i = 0; i < REQUESTS; i++) {
            run_request(&arena, &random, max_bytes);
            rill_arena_reset(&arena);
            ck_assert_uint_le(rill_arena_heap_bytes(&arena), RILL_ARENA_BLOCK_BYTES);
        }
        rill_arena_free(&arena);
        ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 0);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("arena");
    tcase_add_test(tcase, a_request_that_fits_costs_the_heap_nothing);
    tcase_add_test(tcase, the_first_block_from_the_heap_is_kept);
    tcase_add_test(tcase, a_large_piece_gets_a_block_of_its_own);
    tcase_add_test(tcase, an_odd_first_block_is_used_where_it_is_aligned);
    tcase_add_test(tcase, the_limit_holds_to_the_byte);
    tcase_add_test(tcase, sizes_that_overflow_are_refused);
    tcase_add_test(tcase, copies_end_with_nul_and_calloc_is_zero);
    tcase_add_test(tcase, handlers_run_once_in_reverse_order);
#ifdef RILL_ASAN
    tcase_add_test(tcase, memory_is_poisoned_unless_allocated);
#endif
    tcase_add_test(tcase, pieces_keep_their_bytes);

    Suite *suite = suite_create("arena");
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
