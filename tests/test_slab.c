/* The slab: the lowest free slot first, ids that never reach another object, memory that goes back after a burst. */
#include "rill/core/slab.h"

#include "rill/core/memory_internal.h"
#include "rill/core/sys.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Address space that no machine has is refused in sanitizer builds too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void make(struct rill_slab *slab, size_t object_bytes, uint32_t max_objects)
{
    ck_assert_int_eq(rill_slab_init(slab, object_bytes, max_objects), 0);
}

/* Allocates COUNT objects and writes to every byte of them; the slots have to come in order. */
static void fill(struct rill_slab *slab, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = RILL_SLAB_NONE;
        void *object = rill_slab_alloc(slab, &slot);
        if (!object || slot != i)
            ck_abort_msg("slot %u came instead of %u", slot, i);
        memset(object, 0x5a, slab->object_bytes);
    }
}

/* Bytes of the slab's mapping that are in memory now: objects, generations and bit maps. */
static size_t resident_bytes(const struct rill_slab *slab)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = slab->map_bytes / page;
    unsigned char *in_memory = malloc(pages);
    ck_assert_int_eq(mincore(slab->objects, slab->map_bytes, in_memory), 0);
    size_t count = 0;
    for (size_t i = 0; i < pages; i++)
        count += in_memory[i] & 1;
    free(in_memory);
    return count * page;
}

START_TEST(arguments_out_of_range_are_refused)
{
    struct rill_slab slab;
    ck_assert_int_eq(rill_slab_init(&slab, 0, 1), -EINVAL);
    ck_assert_int_eq(rill_slab_init(&slab, 1, 0), -EINVAL);
    ck_assert_int_eq(rill_slab_init(&slab, 1, RILL_SLAB_MAX_OBJECTS + 1), -EINVAL);
    ck_assert_int_eq(rill_slab_init(&slab, SIZE_MAX, 1), -ENOMEM);
    ck_assert_int_eq(rill_slab_init(&slab, SIZE_MAX / 1000, 1000), -ENOMEM);
    ck_assert_int_eq(rill_slab_init(&slab, (size_t)1 << 34, RILL_SLAB_MAX_OBJECTS), -ENOMEM);
    ck_assert_int_eq(rill_slab_init(&slab, (size_t)1 << 20, RILL_SLAB_MAX_OBJECTS), -ENOMEM);
    rill_slab_destroy(&slab);
}
END_TEST

START_TEST(objects_are_packed_and_aligned)
{
    struct rill_slab slab;
    make(&slab, 33, 100);
    char *a = rill_slab_alloc(&slab, NULL);
    char *b = rill_slab_alloc(&slab, NULL);
    ck_assert_int_eq(b - a, 48);
    ck_assert_uint_eq((uintptr_t)a % 16, 0);
    ck_assert_uint_eq(rill_slab_slot(&slab, b), 1);
    rill_slab_destroy(&slab);
    rill_slab_destroy(&slab);
}
END_TEST

/* Sizes around the words of each level of the bit map. */
static const uint32_t sizes[] = {1, 2, 63, 64, 65, 127, 4095, 4096, 4097, 262143, 262144, 262145};

START_TEST(every_slot_can_be_live_and_no_more)
{
    uint32_t size = sizes[_i];
    struct rill_slab slab;
    make(&slab, 16, size);
    fill(&slab, size);
    ck_assert_uint_eq(rill_slab_count(&slab), size);
    uint32_t slot = 7;
    ck_assert_ptr_null(rill_slab_alloc(&slab, &slot));
    ck_assert_uint_eq(slot, 7);
    ck_assert_ptr_nonnull(rill_slab_at(&slab, size - 1));
    ck_assert_ptr_null(rill_slab_at(&slab, size));
    ck_assert_ptr_null(rill_slab_at(&slab, RILL_SLAB_NONE));
    ck_assert_uint_eq(rill_slab_generation(&slab, size), 0);
    ck_assert_ptr_null(rill_slab_lookup(&slab, size, 0));

    /* Any one hole is found, wherever it is. */
    uint32_t step = size / 200 + 1;
    for (uint32_t hole = size - 1; hole < size; hole -= step) {
        rill_slab_free(&slab, hole);
        if (!rill_slab_alloc(&slab, &slot) || slot != hole)
            ck_abort_msg("%u came instead of the hole %u", slot, hole);
    }
    for (uint32_t i = size; i-- > 0;)
        rill_slab_free(&slab, i);
    ck_assert_uint_eq(rill_slab_count(&slab), 0);
    ck_assert_uint_eq(rill_slab_next(&slab, 0), RILL_SLAB_NONE);
    fill(&slab, size);
    rill_slab_destroy(&slab);
}
END_TEST

START_TEST(the_largest_slab_can_be_made)
{
    struct rill_slab slab;
    make(&slab, 16, RILL_SLAB_MAX_OBJECTS);
    ck_assert_uint_eq(slab.level_count, RILL_SLAB_MAX_LEVELS);
    fill(&slab, 5000);
    ck_assert_uint_lt(resident_bytes(&slab), 300000);
    rill_slab_destroy(&slab);
}
END_TEST

/* A million operations against a table that says what every slot must hold. */

enum { CHURN_SLOTS = 3000, CHURN_OPERATIONS = 1000000, STALE_IDS = 4096 };

struct object {
    uint64_t stamp;
    char filling[104];
};

struct id {
    uint32_t slot;
    uint32_t generation;
};

struct churn {
    struct test_random random;
    struct rill_slab slab;
    uint64_t next_stamp;
    uint32_t live;
    uint32_t lowest; /* no slot below is free */
    struct {
        uint64_t stamp; /* 0: free */
        uint32_t generation;
    } table[CHURN_SLOTS];
    struct id stale[STALE_IDS]; /* ids of freed objects, old ones overwritten */
    uint32_t stale_count;
};

static void churn_alloc(struct churn *churn)
{
    uint32_t lowest = churn->lowest;
    while (lowest < CHURN_SLOTS && churn->table[lowest].stamp)
        lowest++;
    churn->lowest = lowest;
    uint32_t slot = RILL_SLAB_NONE;
    struct object *object = rill_slab_alloc(&churn->slab, &slot);
    if (!object) {
        if (churn->live != CHURN_SLOTS)
            ck_abort_msg("full with %u live objects", churn->live);
        return;
    }
    if (slot != lowest || rill_slab_slot(&churn->slab, object) != slot)
        ck_abort_msg("slot %u came, %u is the lowest", slot, lowest);
    object->stamp = ++churn->next_stamp;
    memset(object->filling, (int)object->stamp, sizeof object->filling);
    churn->table[slot].stamp = object->stamp;
    churn->table[slot].generation = rill_slab_generation(&churn->slab, slot);
    churn->live++;
}

static void churn_free(struct churn *churn, uint32_t slot)
{
    if (!churn->table[slot].stamp) {
        if (rill_slab_at(&churn->slab, slot))
            ck_abort_msg("free slot %u is live", slot);
        return;
    }
    uint32_t generation = churn->table[slot].generation;
    churn->stale[churn->stale_count++ % STALE_IDS] = (struct id){slot, generation};
    rill_slab_free(&churn->slab, slot);
    churn->table[slot].stamp = 0;
    churn->live--;
    if (churn->lowest > slot)
        churn->lowest = slot;
    if (rill_slab_generation(&churn->slab, slot) == generation)
        ck_abort_msg("slot %u kept its generation", slot);
}

static void churn_look(struct churn *churn)
{
    uint32_t slot = (uint32_t)test_random_below(&churn->random, CHURN_SLOTS);
    uint64_t stamp = churn->table[slot].stamp;
    struct object *object = rill_slab_lookup(&churn->slab, slot, churn->table[slot].generation);
    if (stamp ? !object || object->stamp != stamp || object->filling[103] != (char)stamp : object != NULL)
        ck_abort_msg("slot %u does not hold what it should", slot);
    if (churn->stale_count > 0) {
        size_t kept = churn->stale_count < STALE_IDS ? churn->stale_count : STALE_IDS;
        struct id id = churn->stale[test_random_below(&churn->random, kept)];
        if (rill_slab_lookup(&churn->slab, id.slot, id.generation))
            ck_abort_msg("a stale id reached slot %u", id.slot);
    }
}

static void churn_check_all(const struct churn *churn)
{
    uint32_t slot = rill_slab_next(&churn->slab, 0);
    uint32_t top = 0;
    for (uint32_t i = 0; i < CHURN_SLOTS; i++) {
        if (!churn->table[i].stamp)
            continue;
        top = i + 1;
        if (slot != i)
            ck_abort_msg("slot %u came instead of %u", slot, i);
        slot = rill_slab_next(&churn->slab, slot + 1);
    }
    ck_assert_uint_eq(slot, RILL_SLAB_NONE);
    ck_assert_uint_eq(churn->slab.top, top);
    ck_assert_uint_eq(rill_slab_count(&churn->slab), churn->live);
}

START_TEST(a_stale_id_never_reaches_another_object)
{
    struct churn *churn = calloc(1, sizeof *churn);
    churn->random.state = (uint64_t)_i;
    make(&churn->slab, sizeof(struct object), CHURN_SLOTS);
    size_t tendency = 5; /* in ten: how often to allocate; it changes so that the slab fills and empties */
    for (int i = 0; i < CHURN_OPERATIONS; i++) {
        if (i % 20000 == 0) {
            tendency = 1 + test_random_below(&churn->random, 9);
            churn_check_all(churn);
        }
        if (test_random_below(&churn->random, 10) < tendency)
            churn_alloc(churn);
        else
            churn_free(churn, (uint32_t)test_random_below(&churn->random, CHURN_SLOTS));
        churn_look(churn);
    }
    ck_assert_uint_gt(churn->slab.releases, 0);
    for (uint32_t slot = 0; slot < CHURN_SLOTS; slot++)
        churn_free(churn, slot);
    churn_check_all(churn);
    rill_slab_destroy(&churn->slab);
    free(churn);
}
END_TEST

START_TEST(generations_wrap_and_are_never_zero)
{
    struct rill_slab slab;
    make(&slab, 16, 10);
    ck_assert_uint_eq(rill_slab_generation(&slab, 0), 1);
    fill(&slab, 1);
    slab.frees[0] = UINT32_MAX - 2; /* as after so many frees */
    ck_assert_uint_eq(rill_slab_generation(&slab, 0), UINT32_MAX - 1);
    rill_slab_free(&slab, 0);
    fill(&slab, 1);
    ck_assert_uint_eq(rill_slab_generation(&slab, 0), UINT32_MAX);
    ck_assert_ptr_null(rill_slab_lookup(&slab, 0, UINT32_MAX - 1));
    ck_assert_ptr_nonnull(rill_slab_lookup(&slab, 0, UINT32_MAX));
    rill_slab_free(&slab, 0);
    fill(&slab, 1);
    ck_assert_uint_eq(rill_slab_generation(&slab, 0), 1);
    ck_assert_ptr_null(rill_slab_lookup(&slab, 0, UINT32_MAX));
    ck_assert_ptr_null(rill_slab_lookup(&slab, 0, 0));
    rill_slab_destroy(&slab);
}
END_TEST

START_TEST(iteration_survives_freeing)
{
    struct rill_slab slab;
    make(&slab, 32, 500);
    fill(&slab, 500);
    uint32_t expected = 0;
    for (uint32_t slot = rill_slab_next(&slab, 0); slot != RILL_SLAB_NONE; slot = rill_slab_next(&slab, slot + 1)) {
        ck_assert_uint_eq(slot, expected);
        rill_slab_free(&slab, slot);
        expected++;
        if (slot % 3 == 0 && slot + 1 < 500) { /* another one, still ahead */
            rill_slab_free(&slab, slot + 1);
            expected++;
        }
    }
    ck_assert_uint_eq(expected, 500);
    ck_assert_uint_eq(rill_slab_count(&slab), 0);
    rill_slab_destroy(&slab);
}
END_TEST

START_TEST(an_idle_object_costs_its_size_and_little_more)
{
    enum { OBJECTS = 15000, BYTES = 240 };
    struct rill_slab slab;
    make(&slab, BYTES, 1 << 20);
    ck_assert_uint_eq(resident_bytes(&slab), 0);
    fill(&slab, OBJECTS);
    /* No page is read for its generation, unless it was freed once. 5 pages: the ends of the parts. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_uint_le(resident_bytes(&slab), (size_t)OBJECTS * BYTES + OBJECTS / 7 + 5 * page);
    for (uint32_t i = OBJECTS; i-- > 0;)
        rill_slab_free(&slab, i);
    rill_slab_destroy(&slab);
}
END_TEST

enum { BURST_OBJECTS = 15000, BURST_BYTES = 400 };

/* What may still be committed when nothing is live: what is kept on purpose, the generations, the bit maps. */
static size_t burst_remainder(const struct rill_slab *slab)
{
    return slab->slack_bytes + 4 * BURST_OBJECTS + BURST_OBJECTS / 7 + 5 * slab->page_bytes;
}

START_TEST(memory_goes_back_after_a_burst)
{
    enum { OBJECTS = BURST_OBJECTS, BYTES = BURST_BYTES };
    struct rill_slab slab;
    make(&slab, BYTES, 1 << 20);
    fill(&slab, OBJECTS);
    size_t full = resident_bytes(&slab);
    ck_assert_uint_ge(full, (size_t)OBJECTS * BYTES);
    for (uint32_t i = 1; i < OBJECTS; i++)
        rill_slab_free(&slab, i);
    ck_assert_uint_le(resident_bytes(&slab), burst_remainder(&slab));
    ck_assert_int_eq(*(char *)rill_slab_at(&slab, 0), 0x5a);

    /* The ids of the burst are stale although their pages are gone. */
    for (uint32_t i = 1; i < OBJECTS; i++)
        if (rill_slab_alloc(&slab, NULL) != rill_slab_lookup(&slab, i, 2) || rill_slab_lookup(&slab, i, 1))
            ck_abort_msg("slot %u forgot its generation", i);

    for (uint32_t i = OBJECTS; i-- > 0;)
        rill_slab_free(&slab, i);
    ck_assert_uint_le(resident_bytes(&slab), burst_remainder(&slab));
    ck_assert_uint_le(slab.releases, 60);
    fill(&slab, OBJECTS);
    rill_slab_destroy(&slab);
}
END_TEST

/* Connections do not end in the order of their slots, and some stay for long. */
START_TEST(a_burst_with_survivors_leaves_little_behind)
{
    enum { SURVIVORS = 100 };
    struct test_random random = {(uint64_t)_i};
    struct rill_slab slab;
    make(&slab, BURST_BYTES, 1 << 20);
    fill(&slab, BURST_OBJECTS);
    uint32_t slots[BURST_OBJECTS] = {0};
    for (uint32_t i = 0; i < BURST_OBJECTS; i++) {
        size_t k = test_random_below(&random, i + 1);
        slots[i] = slots[k];
        slots[k] = i;
        char *object = rill_slab_at(&slab, i);
        memset(object, (int)i, BURST_BYTES);
    }
    for (uint32_t i = SURVIVORS; i < BURST_OBJECTS; i++)
        rill_slab_free(&slab, slots[i]);
    /* Those who left since memory was last given back, 64 or a quarter, hold their pages still. */
    ck_assert_uint_le(resident_bytes(&slab), burst_remainder(&slab) + 2 * (SURVIVORS + 64) * slab.page_bytes);
    for (uint32_t i = 0; i < SURVIVORS; i++) {
        const char *object = rill_slab_at(&slab, slots[i]);
        for (size_t k = 0; k < BURST_BYTES; k++)
            if (object[k] != (char)slots[i])
                ck_abort_msg("survivor %u lost its bytes", slots[i]);
        rill_slab_free(&slab, slots[i]);
    }
    ck_assert_uint_le(resident_bytes(&slab), burst_remainder(&slab));
    rill_slab_destroy(&slab);
}
END_TEST

START_TEST(swinging_makes_no_system_calls)
{
    static const size_t object_sizes[] = {16, 400, 4096, 5000, 100000};
    size_t bytes = object_sizes[_i];
    struct rill_slab slab;
    make(&slab, bytes, 40000);
    uint32_t high = (uint32_t)(slab.slack_bytes / slab.object_bytes) * 2 + 10;
    ck_assert_uint_le(high, slab.max_objects);
    fill(&slab, high);
    for (uint32_t i = high; i-- > 10;)
        rill_slab_free(&slab, i);
    uint64_t before = slab.releases;
    ck_assert_uint_gt(before, 0);
    /* Up and down by one, by ten, and by one less than the slack. */
    uint32_t swings[] = {1, 10, (uint32_t)((slab.slack_bytes - 1) / slab.object_bytes)};
    for (size_t k = 0; k < rill_array_length(swings); k++)
        for (int round = 0; round < 100; round++) {
            for (uint32_t i = 0; i < swings[k]; i++)
                if (!rill_slab_alloc(&slab, NULL))
                    ck_abort();
            for (uint32_t i = swings[k]; i-- > 0;)
                rill_slab_free(&slab, 10 + i);
        }
    ck_assert_uint_eq(slab.releases, before);
    rill_slab_destroy(&slab);
}
END_TEST

/* A full slab, of a size that is no multiple of anything: what is given back ends where the next part begins. */
START_TEST(the_last_slots_go_back_too)
{
    struct rill_slab slab;
    make(&slab, 1008, 5003);
    fill(&slab, 5003);
    for (uint32_t i = 5003; i-- > 0;)
        rill_slab_free(&slab, i);
    for (uint32_t i = 0; i < 5003; i++)
        if (rill_slab_generation(&slab, i) != 2)
            ck_abort_msg("slot %u lost its generation", i);
    ck_assert_uint_le(resident_bytes(&slab), slab.slack_bytes + 4 * 5003 + 8 * slab.page_bytes);
    rill_slab_destroy(&slab);
}
END_TEST

#ifdef RILL_ASAN
START_TEST(a_free_object_is_poisoned)
{
    struct rill_slab slab;
    make(&slab, 64, 10);
    fill(&slab, 3);
    char *object = rill_slab_at(&slab, 1);
    rill_slab_free(&slab, 1);
    for (int i = 0; i < 64; i++)
        ck_assert_int_ne(__asan_address_is_poisoned(object + i), 0);
    ck_assert_ptr_null(__asan_region_is_poisoned(object - 64, 64));
    ck_assert_ptr_null(__asan_region_is_poisoned(object + 64, 64));
    ck_assert_ptr_eq(rill_slab_alloc(&slab, NULL), object);
    ck_assert_ptr_null(__asan_region_is_poisoned(object, 64));
    rill_slab_free(&slab, 1);
    rill_slab_destroy(&slab);
    ck_assert_int_eq(__asan_address_is_poisoned(object), 0);
}
END_TEST
#endif

START_TEST(freeing_twice_stops)
{
    struct rill_slab slab;
    make(&slab, 16, 10);
    fill(&slab, 2);
    rill_slab_free(&slab, 0);
    rill_slab_free(&slab, 0);
}
END_TEST

START_TEST(freeing_what_is_not_there_stops)
{
    struct rill_slab slab;
    make(&slab, 16, 10);
    rill_slab_free(&slab, 10);
}
END_TEST

START_TEST(a_pointer_into_an_object_has_no_slot)
{
    struct rill_slab slab;
    make(&slab, 32, 10);
    fill(&slab, 2);
    ck_assert_uint_eq(rill_slab_slot(&slab, slab.objects + 32), 1);
    rill_slab_slot(&slab, slab.objects + 16);
}
END_TEST

START_TEST(a_foreign_pointer_has_no_slot)
{
    struct rill_slab slab;
    make(&slab, 32, 10);
    fill(&slab, 2);
    rill_slab_slot(&slab, &slab);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("slab");
    tcase_add_test(tcase, arguments_out_of_range_are_refused);
    tcase_add_test(tcase, objects_are_packed_and_aligned);
    tcase_add_loop_test(tcase, every_slot_can_be_live_and_no_more, 0, (int)rill_array_length(sizes));
    tcase_add_test(tcase, the_largest_slab_can_be_made);
    tcase_add_loop_test(tcase, a_stale_id_never_reaches_another_object, 0, 3);
    tcase_add_test(tcase, generations_wrap_and_are_never_zero);
    tcase_add_test(tcase, iteration_survives_freeing);
    tcase_add_test(tcase, an_idle_object_costs_its_size_and_little_more);
    tcase_add_test(tcase, memory_goes_back_after_a_burst);
    tcase_add_loop_test(tcase, a_burst_with_survivors_leaves_little_behind, 0, 5);
    tcase_add_loop_test(tcase, swinging_makes_no_system_calls, 0, 5);
    tcase_add_test(tcase, the_last_slots_go_back_too);
#ifdef RILL_ASAN
    tcase_add_test(tcase, a_free_object_is_poisoned);
#endif
    tcase_add_test_raise_signal(tcase, freeing_twice_stops, SIGABRT);
    tcase_add_test_raise_signal(tcase, freeing_what_is_not_there_stops, SIGABRT);
    tcase_add_test_raise_signal(tcase, a_pointer_into_an_object_has_no_slot, SIGABRT);
    tcase_add_test_raise_signal(tcase, a_foreign_pointer_has_no_slot, SIGABRT);

    Suite *suite = suite_create("slab");
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
