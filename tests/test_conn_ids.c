/* test_conn_ids.c - connections named by their ids: what is sent and closed so, what is refused, and who lets go of the
 * bytes. */
#include "rill/core/sys.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>

static int released;

static void on_release(void *arg)
{
    (void)arg;
    released++;
}

static struct rill_buf *buf_of(const char *text)
{
    struct rill_buf *buf = rill_buf_wrap(text, strlen(text), on_release, NULL);
    ck_assert_ptr_nonnull(buf);
    return buf;
}

static void set_up(void)
{
    faulty_sys_reset();
    released = 0;
    rig_set_up(RILL_BACKEND_EPOLL);
}

static void expect(const char *text)
{
    char heard[64] = "";
    ssize_t got = read(rig.peer, heard, sizeof heard - 1);
    ck_assert_str_eq(heard, text);
    ck_assert_int_eq(got, strlen(text) > 0 ? (ssize_t)strlen(text) : -1);
}

START_TEST(what_is_sent_by_id_in_one_turn_leaves_at_once)
{
    struct rill_conn_id id = rill_conn_id(rig_adopt());
    rig_turns(2);
    uint64_t sends = faulty_sys.calls[FAULTY_SEND];
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("one ")), 0);
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("two ")), 0);
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("three")), 0);
    expect(""); /* never within the call, not even on the loop's own thread */
    rig_turns(1);
    expect("one two three");
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], sends + 1);
    ck_assert_int_eq(released, 3);
}
END_TEST

START_TEST(closed_by_id_after_what_was_sent_before)
{
    bool ended;
    struct rill_conn_id id = rill_conn_id(rig_adopt());
    ck_assert_int_eq(rill_conn_post_close(rig.loop, id), 0);
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("too late")), 0);
    ck_assert_int_eq(rill_conn_post_close(rig.loop, id), 0);
    rig_turns(1);
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_LOCAL);
    ck_assert_uint_eq(rig_drop(rig.peer, &ended), 0);
    ck_assert(ended);
    ck_assert_int_eq(released, 1);
}
END_TEST

START_TEST(a_stale_id_reaches_nobody)
{
    struct rill_conn *conn = rig_adopt();
    struct rill_conn_id stale = rill_conn_id(conn);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_conn_post_send(rig.loop, stale, buf_of("closed, and its slot not free yet")), 0);
    rig_turns(1);
    close(rig.peer);
    conn = rig_adopt();
    ck_assert_uint_eq((uint32_t)(rill_conn_id(conn).value >> 32), (uint32_t)(stale.value >> 32)); /* the same slot */
    ck_assert_int_eq(rill_conn_post_send(rig.loop, stale, buf_of("for another")), 0);
    ck_assert_int_eq(rill_conn_post_close(rig.loop, stale), 0);
    rig_turns(2);
    expect("");
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(released, 2);
}
END_TEST

START_TEST(another_loops_id_is_refused)
{
    struct rill_conn_id id = rill_conn_id(rig_adopt());
    id.value += UINT64_C(1) << 56;
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("elsewhere")), -ESTALE);
    ck_assert_int_eq(rill_conn_post_close(rig.loop, id), -ESTALE);
    ck_assert_int_eq(released, 1);
    rig_turns(1);
    ck_assert_int_eq(rig.closed, 0);
}
END_TEST

START_TEST(without_memory_the_bytes_are_let_go)
{
    struct rill_conn_id id = rill_conn_id(rig_adopt());
    struct rill_buf *buf = buf_of("never");
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf), -ENOMEM);
    ck_assert_int_eq(rill_conn_post_close(rig.loop, id), -ENOMEM);
    faulty_sys.error[FAULTY_MEMORY] = 0;
    ck_assert_int_eq(released, 1);
    buf = buf_of("on the way");
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf), 0);
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM; /* on the loop a stream with a hole is worse than none */
    rig_turns(1);
    faulty_sys.error[FAULTY_MEMORY] = 0;
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, RILL_CLOSE_NO_MEMORY);
    ck_assert_int_eq(released, 2);
}
END_TEST

START_TEST(after_the_end_of_the_loop_it_is_refused)
{
    struct rill_conn_id id = rill_conn_id(rig_adopt());
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("posted before the stop")), 0);
    rill_loop_stop(rig.loop);
    ck_assert_int_eq(rill_loop_run(rig.loop), 0);
    expect("posted before the stop");
    ck_assert_int_eq(released, 1);
    ck_assert_int_eq(rill_conn_post_send(rig.loop, id, buf_of("after it")), -ESHUTDOWN);
    ck_assert_int_eq(rill_conn_post_close(rig.loop, id), -ESHUTDOWN);
    ck_assert_int_eq(released, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn ids");
    TCase *all = tcase_create("ids");
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_test(all, what_is_sent_by_id_in_one_turn_leaves_at_once);
    tcase_add_test(all, closed_by_id_after_what_was_sent_before);
    tcase_add_test(all, a_stale_id_reaches_nobody);
    tcase_add_test(all, another_loops_id_is_refused);
    tcase_add_test(all, without_memory_the_bytes_are_let_go);
    tcase_add_test(all, after_the_end_of_the_loop_it_is_refused);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
