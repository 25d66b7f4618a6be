/* One block held by many threads. What ThreadSanitizer has to see: no data race between a holder that reads and the
 * last one that frees or, being alone, writes in place. */
#include "rill/core/buf.h"

#include "rill/core/sys.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { THREADS = 6, ROUNDS = 60, TURNS = 300, LENGTH = 512 };

struct block {
    char bytes[LENGTH];
    atomic_int released;
};

struct holder {
    pthread_t thread;
    struct rill_buf *buf; /* this thread's one reference */
    uint64_t seed;
    bool ok;
};

static void release_block(void *arg)
{
    struct block *block = arg;
    memset(block->bytes, 0, LENGTH); /* a write that must not race with anybody's read */
    atomic_fetch_add(&block->released, 1);
}

static bool bytes_are_whole(const struct rill_buf *buf)
{
    const char *bytes = rill_buf_bytes(buf);
    for (size_t i = 1; i < rill_buf_length(buf); i++)
        if ((char)(bytes[i] - bytes[i - 1]) != 1)
            return false;
    return true;
}

static bool hold_in_many_ways(struct holder *holder, struct test_random *random)
{
    bool ok = true;
    struct rill_buf *again = rill_buf_ref(holder->buf);
    size_t offset = test_random_below(random, LENGTH / 2);
    struct rill_buf *slice = rill_buf_slice(again, offset, LENGTH / 2);
    struct rill_buf *inner = rill_buf_slice(slice, 1, 8);
    ok = ok && slice && inner && bytes_are_whole(slice) && bytes_are_whole(inner);
    /* Others hold the block, so that this one gets bytes of its own. */
    if (test_random_below(random, 4) == 0)
        ok = ok && rill_buf_append(&slice, "xyz", 3) == 0 && rill_buf_edit(&again) != NULL;
    rill_buf_unref(slice);
    rill_buf_unref(again);
    rill_buf_unref(inner);
    return ok;
}

static void *hold_and_let_go(void *arg)
{
    struct holder *holder = arg;
    struct test_random random = {holder->seed};
    size_t turns = test_random_below(&random, TURNS);
    holder->ok = true;
    for (size_t i = 0; i < turns; i++)
        holder->ok = hold_in_many_ways(holder, &random) && holder->ok;
    rill_buf_unref(holder->buf);
    return NULL;
}

/* Every thread changes what it holds; the last to come changes it in place, after the others have read it. */
static void *change_own(void *arg)
{
    struct holder *holder = arg;
    holder->ok = bytes_are_whole(holder->buf);
    char *bytes = rill_buf_edit(&holder->buf);
    holder->ok = holder->ok && bytes != NULL;
    if (bytes)
        memset(bytes, (int)holder->seed, rill_buf_length(holder->buf));
    for (size_t i = 0; bytes && i < rill_buf_length(holder->buf); i++)
        holder->ok = holder->ok && bytes[i] == (char)holder->seed;
    rill_buf_unref(holder->buf);
    return NULL;
}

/* Gives each thread a reference, and this one's own away. */
static void run(struct rill_buf *buf, void *(*main)(void *), uint64_t seed)
{
    struct holder holders[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        holders[i] = (struct holder){.buf = rill_buf_ref(buf), .seed = seed + i};
    rill_buf_unref(buf);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(rill_sys_thread_create(&holders[i].thread, main, &holders[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(rill_sys_thread_join(holders[i].thread), 0);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert(holders[i].ok);
}

START_TEST(a_block_is_released_exactly_once)
{
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct block block = {.released = 0};
        for (size_t i = 0; i < LENGTH; i++)
            block.bytes[i] = (char)i;
        run(rill_buf_wrap(block.bytes, LENGTH, release_block, &block), hold_and_let_go, round * 1000);
        ck_assert_int_eq(atomic_load(&block.released), 1);
    }
}
END_TEST

START_TEST(changes_stay_with_their_thread)
{
    char bytes[LENGTH];
    for (size_t i = 0; i < LENGTH; i++)
        bytes[i] = (char)i;
    for (uint64_t round = 0; round < ROUNDS; round++)
        run(rill_buf_copy(bytes, LENGTH), change_own, round * 1000);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("buf on many threads");
    tcase_add_test(tcase, a_block_is_released_exactly_once);
    tcase_add_test(tcase, changes_stay_with_their_thread);

    Suite *suite = suite_create("mt_buf");
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
