/* Allocation that fails, at every point where it can: nothing may be lost, leaked or changed by it. */
#include "rill/core/arena.h"
#include "rill/core/buf.h"
#include "rill/tests/support/faulty_sys.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <string.h>

/* One in so many allocations fails. */
static void lack_memory(unsigned one_in, uint64_t seed)
{
    faulty_sys_reset();
    faulty_sys.counts[FAULTY_MEMORY] = true;
    faulty_sys.one_in = one_in;
    faulty_sys.seed = seed;
}

struct model {
    struct rill_buf *buf;
    size_t length;
    char bytes[4000];
};

static void assert_same(const struct model *model)
{
    struct rill_slice view = model->buf ? rill_buf_view(model->buf) : (struct rill_slice){"", 0};
    struct rill_slice wanted = {model->bytes, model->length};
    if (!rill_slice_equal(view, wanted))
        ck_abort_msg("the bytes are not what they were");
}

/* One operation on MODEL; its bytes change only when the operation says that it succeeded. */
static void change(struct model *model, struct test_random *random)
{
    size_t part = test_random_below(random, model->length + 1);
    struct rill_buf *before = model->buf;
    bool done = true;
    switch (test_random_below(random, 6)) {
    case 0:
    case 1: {
        size_t length = test_random_below(random, 300);
        if (model->length + length > sizeof model->bytes)
            return;
        char bytes[300];
        memset(bytes, (int)test_random_next(random), sizeof bytes);
        done = rill_buf_append(&model->buf, bytes, length) == 0;
        if (done) {
            memcpy(model->bytes + model->length, bytes, length);
            model->length += length;
        }
        break;
    }
    case 2:
        done = rill_buf_consume(&model->buf, part) == 0;
        if (done) {
            model->length -= part;
            memmove(model->bytes, model->bytes + part, model->length);
        }
        break;
    case 3:
        done = rill_buf_trim(&model->buf, part) == 0;
        if (done)
            model->length = part;
        break;
    case 4: {
        char *bytes = rill_buf_edit(&model->buf);
        done = bytes != NULL;
        if (done && model->length > 0)
            bytes[0] = ++model->bytes[0];
        break;
    }
    default:
        rill_buf_shrink(&model->buf);
    }
    if (!done && model->buf != before)
        ck_abort_msg("a failure replaced the buf");
}

START_TEST(a_failed_change_of_a_buf_changes_nothing)
{
    struct model models[4] = {0};
    lack_memory(3, 1);
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct test_random random = {seed};
        for (int i = 0; i < 500; i++) {
            struct model *model = &models[test_random_below(&random, 4)];
            struct model *other = &models[test_random_below(&random, 4)];
            change(model, &random);
            if (model != other && model->buf && test_random_below(&random, 3) == 0) {
                struct rill_buf *slice = rill_buf_slice(model->buf, 0, model->length);
                if (slice) {
                    rill_buf_unref(other->buf);
                    *other = *model;
                    other->buf = slice;
                }
            }
            for (size_t k = 0; k < 4; k++)
                assert_same(&models[k]);
        }
    }
    for (size_t k = 0; k < 4; k++)
        rill_buf_unref(models[k].buf);
    ck_assert_uint_gt(faulty_sys.failed, 1000);
}
END_TEST

static void must_not_run(void *arg)
{
    (void)arg;
    ck_abort_msg("bytes were released although they were not taken");
}

START_TEST(what_could_not_be_wrapped_stays_the_callers)
{
    lack_memory(1, 0);
    ck_assert_ptr_null(rill_buf_wrap("abc", 3, must_not_run, NULL));
    ck_assert_ptr_null(rill_buf_copy("abc", 3));
    ck_assert_ptr_null(rill_buf_new(0));
}
END_TEST

static void count(void *arg)
{
    ++*(size_t *)arg;
}

START_TEST(an_arena_goes_on_after_a_failure)
{
    struct rill_arena arena;
    rill_arena_init(&arena, NULL, 0, 0);
    lack_memory(2, 2);
    for (int request = 0; request < 200; request++) {
        struct test_random random = {(uint64_t)request};
        size_t left = 0;
        size_t ran = 0;
        for (int i = 0; i < 100; i++) {
            size_t size = test_random_below(&random, 2000);
            char *bytes = rill_arena_alloc(&arena, size);
            if (bytes)
                memset(bytes, 1, size);
            left += rill_arena_on_reset(&arena, count, &ran) == 0;
        }
        rill_arena_reset(&arena);
        ck_assert_uint_eq(ran, left);
    }
    rill_arena_free(&arena);
    ck_assert_uint_eq(rill_arena_heap_bytes(&arena), 0);
    ck_assert_uint_gt(faulty_sys.failed, 1000);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("memory faults");
    tcase_add_test(tcase, a_failed_change_of_a_buf_changes_nothing);
    tcase_add_test(tcase, what_could_not_be_wrapped_stays_the_callers);
    tcase_add_test(tcase, an_arena_goes_on_after_a_failure);

    Suite *suite = suite_create("memory_faults");
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
