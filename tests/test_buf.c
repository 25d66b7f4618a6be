/* Counted bytes: every holder's bytes are compared with a plain array of its own after every operation. */
#include "rill/core/buf.h"

#include "rill/core/sys.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>

/* Requests that no machine can meet come back as NULL in sanitizer builds too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void assert_bytes(const struct rill_buf *buf, const char *text)
{
    ck_assert_uint_eq(rill_buf_length(buf), strlen(text));
    ck_assert_mem_eq(rill_buf_bytes(buf), text, strlen(text));
}

static void count_release(void *arg)
{
    ++*(int *)arg;
}

START_TEST(an_empty_buf_has_its_room)
{
    struct rill_buf *buf = rill_buf_new(100);
    ck_assert_uint_eq(rill_buf_length(buf), 0);
    ck_assert_ptr_nonnull(rill_buf_bytes(buf));
    ck_assert_uint_eq(rill_buf_room(buf), 100);
    ck_assert(!rill_buf_shared(buf));
    rill_buf_unref(buf);
    rill_buf_unref(NULL);
}
END_TEST

START_TEST(a_slice_outlives_its_source)
{
    struct rill_buf *buf = rill_buf_copy("hello world", 11);
    struct rill_buf *world = rill_buf_slice(buf, 6, 5);
    struct rill_buf *orl = rill_buf_slice(world, 1, 3);
    ck_assert_ptr_eq(rill_buf_bytes(orl), rill_buf_bytes(buf) + 7);
    rill_buf_unref(buf);
    rill_buf_unref(world);
    assert_bytes(orl, "orl");
    struct rill_buf *empty = rill_buf_slice(orl, 3, 0);
    rill_buf_unref(orl);
    assert_bytes(empty, "");
    rill_buf_unref(empty);
}
END_TEST

START_TEST(appending_to_shared_bytes_copies_them)
{
    struct rill_buf *mine = rill_buf_new(64);
    ck_assert_int_eq(rill_buf_append(&mine, "ab", 2), 0);
    struct rill_buf *other = rill_buf_ref(mine);
    ck_assert_uint_eq(rill_buf_room(mine), 0);
    ck_assert_int_eq(rill_buf_append(&mine, "cd", 2), 0);
    ck_assert_ptr_ne(mine, other);
    assert_bytes(mine, "abcd");
    assert_bytes(other, "ab");

    struct rill_buf *slice = rill_buf_slice(other, 0, 1);
    ck_assert_int_eq(rill_buf_append(&other, "x", 1), 0);
    ck_assert_int_eq(rill_buf_append(&slice, "y", 1), 0);
    assert_bytes(other, "abx");
    assert_bytes(slice, "ay");
    rill_buf_unref(mine);
    rill_buf_unref(other);
    rill_buf_unref(slice);
}
END_TEST

START_TEST(a_sole_holder_changes_in_place)
{
    struct rill_buf *buf = rill_buf_new(16);
    const struct rill_buf *before = buf;
    ck_assert_int_eq(rill_buf_append(&buf, "abcdef", 6), 0);
    struct rill_buf *other = rill_buf_ref(buf);
    rill_buf_unref(other);
    rill_buf_edit(&buf)[0] = 'A';
    ck_assert_int_eq(rill_buf_consume(&buf, 2), 0);
    ck_assert_int_eq(rill_buf_trim(&buf, 3), 0);
    ck_assert_ptr_eq(buf, before);
    assert_bytes(buf, "cde");
    ck_assert_uint_eq(rill_buf_room(buf), 16 - 2 - 3);
    ck_assert_int_eq(rill_buf_consume(&buf, 3), 0);
    ck_assert_uint_eq(rill_buf_room(buf), 16);
    rill_buf_unref(buf);
}
END_TEST

START_TEST(editing_shared_bytes_copies_them)
{
    struct rill_buf *mine = rill_buf_copy("abc", 3);
    struct rill_buf *slice = rill_buf_slice(mine, 1, 2);
    rill_buf_edit(&slice)[0] = 'X';
    rill_buf_edit(&mine)[0] = 'Y';
    assert_bytes(slice, "Xc");
    assert_bytes(mine, "Ybc");
    rill_buf_unref(mine);
    rill_buf_unref(slice);
}
END_TEST

START_TEST(wrapped_bytes_are_never_written_and_released_once)
{
    static const char bytes[] = "static";
    int released = 0;
    struct rill_buf *buf = rill_buf_wrap(bytes, 6, count_release, &released);
    ck_assert_ptr_eq(rill_buf_bytes(buf), bytes);
    ck_assert_uint_eq(rill_buf_room(buf), 0);
    ck_assert(rill_buf_shared(buf));
    struct rill_buf *slice = rill_buf_slice(buf, 1, 4);
    ck_assert_int_eq(rill_buf_consume(&buf, 1), 0);
    assert_bytes(buf, "tatic");
    rill_buf_edit(&buf)[0] = 'T';
    assert_bytes(buf, "Tatic");
    ck_assert_int_eq(released, 0);
    rill_buf_unref(buf);
    ck_assert_int_eq(released, 0);
    assert_bytes(slice, "tati");
    rill_buf_unref(slice);
    ck_assert_int_eq(released, 1);
    ck_assert_str_eq(bytes, "static");

    buf = rill_buf_wrap(NULL, 0, NULL, NULL);
    ck_assert_ptr_nonnull(rill_buf_bytes(buf));
    rill_buf_unref(buf);
}
END_TEST

START_TEST(null_stands_for_empty)
{
    struct rill_buf *buf = NULL;
    ck_assert_int_eq(rill_buf_append(&buf, NULL, 0), 0);
    ck_assert_int_eq(rill_buf_consume(&buf, 0), 0);
    ck_assert_int_eq(rill_buf_trim(&buf, 0), 0);
    rill_buf_shrink(&buf);
    ck_assert_ptr_null(buf);
    ck_assert_int_eq(rill_buf_append(&buf, "abc", 3), 0);
    assert_bytes(buf, "abc");
    rill_buf_unref(buf);
}
END_TEST

START_TEST(appending_byte_by_byte_moves_seldom)
{
    struct rill_buf *buf = NULL;
    const char *at = NULL;
    int moves = 0;
    for (int i = 0; i < 1000000; i++) {
        char byte = (char)i;
        if (rill_buf_append(&buf, &byte, 1) != 0)
            ck_abort();
        /* The capacity shows when the buf was made anew, even where realloc extended in place. */
        const char *end = rill_buf_bytes(buf) + rill_buf_length(buf) + rill_buf_room(buf);
        moves += end != at;
        at = end;
    }
    ck_assert_int_le(moves, 20);
    rill_buf_shrink(&buf);
    ck_assert_uint_eq(rill_buf_room(buf), 0);
    ck_assert_uint_eq(rill_buf_length(buf), 1000000);
    for (size_t i = 0; i < 1000000; i++)
        if (rill_buf_bytes(buf)[i] != (char)i)
            ck_abort_msg("byte %zu differs", i);
    rill_buf_unref(buf);
}
END_TEST

/* A queue that is filled behind and emptied in front must neither grow for ever nor move its bytes at each step. */
START_TEST(a_steady_queue_stays_bounded)
{
    static const char content[30000];
    char chunk[100] = {0};
    struct rill_buf *buf = rill_buf_copy(content, sizeof content); /* no room at all to begin with */
    size_t moved = 0;
    for (int i = 0; i < 100000; i++) {
        if (rill_buf_consume(&buf, sizeof chunk) != 0)
            ck_abort();
        const char *before = rill_buf_bytes(buf);
        if (rill_buf_append(&buf, chunk, sizeof chunk) != 0)
            ck_abort();
        if (rill_buf_bytes(buf) != before)
            moved += rill_buf_length(buf);
        if (rill_buf_length(buf) + rill_buf_room(buf) > 4 * sizeof content)
            ck_abort_msg("grew at step %d", i);
    }
    ck_assert_uint_le(moved, 2 * 100000 * sizeof chunk);
    rill_buf_unref(buf);
}
END_TEST

START_TEST(shortage_changes_nothing)
{
    const size_t too_much[] = {SIZE_MAX, (size_t)PTRDIFF_MAX, SIZE_MAX / 4};
    for (size_t i = 0; i < rill_array_length(too_much); i++) {
        ck_assert_ptr_null(rill_buf_new(too_much[i]));
        struct rill_buf *buf = rill_buf_copy("abc", 3);
        struct rill_buf *before = buf;
        ck_assert_ptr_null(rill_buf_reserve(&buf, too_much[i]));
        ck_assert_int_eq(rill_buf_append(&buf, "", too_much[i]), -ENOMEM);
        struct rill_buf *slice = rill_buf_slice(buf, 1, 1);
        struct rill_buf *slice_before = slice;
        ck_assert_int_eq(rill_buf_append(&slice, "", too_much[i]), -ENOMEM);
        ck_assert_ptr_eq(slice, slice_before);
        ck_assert_ptr_eq(buf, before);
        assert_bytes(buf, "abc");
        assert_bytes(slice, "b");
        rill_buf_unref(slice);
        rill_buf_unref(buf);
        struct rill_buf *none = NULL;
        ck_assert_int_eq(rill_buf_append(&none, "", too_much[i]), -ENOMEM);
        ck_assert_ptr_null(none);
    }
}
END_TEST

START_TEST(a_slice_out_of_range_stops)
{
    struct rill_buf *buf = rill_buf_copy("abc", 3);
    if (rill_buf_slice(buf, 2, SIZE_MAX))
        ck_abort();
}
END_TEST

START_TEST(a_commit_beyond_the_room_stops)
{
    struct rill_buf *buf = rill_buf_new(10);
    rill_buf_commit(buf, 11);
}
END_TEST

START_TEST(a_commit_after_sharing_stops)
{
    struct rill_buf *buf = NULL;
    if (!rill_buf_reserve(&buf, 10))
        ck_abort();
    rill_buf_ref(buf);
    rill_buf_commit(buf, 1);
}
END_TEST

START_TEST(consuming_too_much_stops)
{
    struct rill_buf *buf = rill_buf_copy("abc", 3);
    ck_assert_int_eq(rill_buf_consume(&buf, 4), 0);
}
END_TEST

START_TEST(trimming_to_more_stops)
{
    struct rill_buf *buf = rill_buf_copy("abc", 3);
    ck_assert_int_eq(rill_buf_trim(&buf, 4), 0);
}
END_TEST

/* The property test: holders of bufs, each beside what its bytes must be. */

enum { HOLDERS = 12, MAX_LENGTH = 6000, OPERATIONS = 400, SEEDS_A_TEST = 30 };

struct holder {
    struct rill_buf *buf;
    size_t length;
    char bytes[MAX_LENGTH];
};

struct world {
    struct test_random random;
    int wrapped;
    int released;
    struct holder holders[HOLDERS];
};

static struct world *released_into;

static void release_foreign(void *arg)
{
    free(arg);
    released_into->released++;
}

static size_t fill(struct world *world, char *bytes, size_t bound)
{
    size_t length = test_random_below(&world->random, bound + 1);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (char)test_random_next(&world->random);
    return length;
}

static void drop(struct holder *holder)
{
    rill_buf_unref(holder->buf);
    holder->buf = NULL;
    holder->length = 0;
}

static void make(struct world *world, struct holder *holder)
{
    drop(holder);
    holder->length = fill(world, holder->bytes, 700);
    if (test_random_below(&world->random, 2)) {
        holder->buf = rill_buf_copy(holder->bytes, holder->length);
    } else {
        char *foreign = malloc(holder->length + 1);
        memcpy(foreign, holder->bytes, holder->length);
        holder->buf = rill_buf_wrap(foreign, holder->length, release_foreign, foreign);
        world->wrapped++;
    }
    ck_assert_ptr_nonnull(holder->buf);
}

static void share(struct world *world, struct holder *from, struct holder *to)
{
    if (from == to || !from->buf)
        return;
    drop(to);
    size_t offset = 0;
    to->length = from->length;
    if (test_random_below(&world->random, 3) == 0) {
        to->buf = rill_buf_ref(from->buf);
    } else {
        offset = test_random_below(&world->random, from->length + 1);
        to->length = test_random_below(&world->random, from->length - offset + 1);
        to->buf = rill_buf_slice(from->buf, offset, to->length);
    }
    memcpy(to->bytes, from->bytes + offset, to->length);
}

static void append(struct world *world, struct holder *holder)
{
    if (holder->length > MAX_LENGTH - 600)
        drop(holder);
    char *tail = holder->bytes + holder->length;
    size_t length = fill(world, tail, 600);
    if (test_random_below(&world->random, 2)) {
        ck_assert_int_eq(rill_buf_append(&holder->buf, tail, length), 0);
    } else {
        size_t asked = length + test_random_below(&world->random, 100);
        char *to = rill_buf_reserve(&holder->buf, asked);
        ck_assert_ptr_nonnull(to);
        ck_assert_uint_ge(rill_buf_room(holder->buf), asked);
        memset(to, 0xee, asked);
        memcpy(to, tail, length);
        rill_buf_commit(holder->buf, length);
    }
    holder->length += length;
}

static void edit(struct world *world, struct holder *holder)
{
    char *bytes = rill_buf_edit(&holder->buf);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < holder->length; i += 1 + test_random_below(&world->random, 50))
        bytes[i] = holder->bytes[i] = (char)test_random_next(&world->random);
}

static void step(struct world *world)
{
    struct holder *holder = &world->holders[test_random_below(&world->random, HOLDERS)];
    struct holder *other = &world->holders[test_random_below(&world->random, HOLDERS)];
    size_t part = test_random_below(&world->random, holder->length + 1);
    switch (test_random_below(&world->random, 10)) {
    case 0:
        make(world, holder);
        break;
    case 1:
    case 2:
        share(world, holder, other);
        break;
    case 3:
    case 4:
    case 5:
        append(world, holder);
        break;
    case 6:
        ck_assert_int_eq(rill_buf_consume(&holder->buf, part), 0);
        holder->length -= part;
        memmove(holder->bytes, holder->bytes + part, holder->length);
        break;
    case 7:
        ck_assert_int_eq(rill_buf_trim(&holder->buf, part), 0);
        holder->length = part;
        break;
    case 8:
        edit(world, holder);
        break;
    default:
        if (test_random_below(&world->random, 2))
            drop(holder);
        else
            rill_buf_shrink(&holder->buf);
    }
}

static void assert_all_as_they_should_be(const struct world *world)
{
    for (size_t i = 0; i < HOLDERS; i++) {
        const struct holder *holder = &world->holders[i];
        struct rill_slice view = holder->buf ? rill_buf_view(holder->buf) : (struct rill_slice){"", 0};
        struct rill_slice wanted = {holder->bytes, holder->length};
        if (!rill_slice_equal(view, wanted))
            ck_abort_msg("holder %zu sees other bytes", i);
    }
}

static void run_seed(uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    world->random.state = seed;
    released_into = world;
    for (int i = 0; i < OPERATIONS; i++) {
        step(world);
        assert_all_as_they_should_be(world);
    }
    for (size_t i = 0; i < HOLDERS; i++)
        drop(&world->holders[i]);
    ck_assert_int_eq(world->released, world->wrapped);
    free(world);
}

START_TEST(no_holder_sees_the_changes_of_another)
{
    for (int i = 0; i < SEEDS_A_TEST; i++)
        run_seed((uint64_t)_i * SEEDS_A_TEST + (uint64_t)i);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("buf");
    tcase_add_test(tcase, an_empty_buf_has_its_room);
    tcase_add_test(tcase, a_slice_outlives_its_source);
    tcase_add_test(tcase, appending_to_shared_bytes_copies_them);
    tcase_add_test(tcase, a_sole_holder_changes_in_place);
    tcase_add_test(tcase, editing_shared_bytes_copies_them);
    tcase_add_test(tcase, wrapped_bytes_are_never_written_and_released_once);
    tcase_add_test(tcase, null_stands_for_empty);
    tcase_add_test(tcase, appending_byte_by_byte_moves_seldom);
    tcase_add_test(tcase, a_steady_queue_stays_bounded);
    tcase_add_test(tcase, shortage_changes_nothing);
    tcase_add_test_raise_signal(tcase, a_slice_out_of_range_stops, SIGABRT);
    tcase_add_test_raise_signal(tcase, a_commit_beyond_the_room_stops, SIGABRT);
    tcase_add_test_raise_signal(tcase, a_commit_after_sharing_stops, SIGABRT);
    tcase_add_test_raise_signal(tcase, consuming_too_much_stops, SIGABRT);
    tcase_add_test_raise_signal(tcase, trimming_to_more_stops, SIGABRT);
    tcase_add_loop_test(tcase, no_holder_sees_the_changes_of_another, 0, 10);

    Suite *suite = suite_create("buf");
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
