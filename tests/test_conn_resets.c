/* test_conn_resets.c - a peer that resets the connection, in every state that it can be in, and on every backend: told
 * once, for what it was, and soon. */
#include "rill/core/sys.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <signal.h>

enum { BACKENDS = 3 };

/* What the connection is doing when the reset comes. */
enum moment {
    BEFORE_IT_IS_ADOPTED,
    BEFORE_IT_IS_WATCHED,
    IDLE,
    INPUT_UNREAD,
    INPUT_KEPT,
    OUTPUT_WAITS,
    DRAIN_WANTED,
    HALF_CLOSED_BY_US,
    HALF_CLOSED_BY_PEER,
    HALF_CLOSED_BY_PEER_OUTPUT_WAITS,
    SHUTDOWN_WAITS_FOR_OUTPUT,
    PAUSED,
    PAUSED_OUTPUT_WAITS,
    PAUSED_INPUT_UNREAD,
    FINISHING,
    FINISHING_TO_LINGER,
    LINGERING,
    MOMENTS,
};

static void set_up(void)
{
    faulty_sys_reset();
    rig_set_up(RILL_BACKEND_EPOLL);
}

static void reset_by_peer(void)
{
    struct linger now = {1, 0};
    setsockopt(rig.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(rig.peer);
    rig.peer = -1;
}

static void reset_on_open(struct rill_conn *conn)
{
    rig.opened++;
    rig.conn = conn;
    reset_by_peer();
}

/* So much that some of it has to wait. */
static void send_much(struct rill_conn *conn)
{
    static const char much[12 << 20];
    ck_assert_int_eq(rill_conn_send(conn, much, sizeof much), 0);
    rig_turns(2);
    ck_assert_uint_gt(rill_conn_buffered(conn), 0);
}

static void peer_half_closes(void)
{
    shutdown(rig.peer, SHUT_WR);
    rig_turns(2);
    ck_assert_int_eq(rig.eofs, 1);
}

static struct rill_conn *reach(enum moment moment)
{
    if (moment == BEFORE_IT_IS_ADOPTED)
        rig.handler.on_open = reset_on_open;
    rig.keep = moment == INPUT_KEPT;
    struct rill_conn *conn = rig_adopt_tcp();
    if (moment <= BEFORE_IT_IS_WATCHED)
        return conn;
    rig_turns(2);
    switch (moment) {
    case INPUT_UNREAD:
        ck_assert_int_eq(write(rig.peer, "unread", 6), 6);
        break;
    case INPUT_KEPT:
        ck_assert_int_eq(write(rig.peer, "kept", 4), 4);
        rig_turns(2);
        break;
    case OUTPUT_WAITS:
        send_much(conn);
        break;
    case DRAIN_WANTED:
        send_much(conn);
        rill_conn_want_drain(conn);
        break;
    case HALF_CLOSED_BY_US:
        rill_conn_shutdown(conn);
        rig_turns(2);
        break;
    case HALF_CLOSED_BY_PEER:
        peer_half_closes();
        break;
    case HALF_CLOSED_BY_PEER_OUTPUT_WAITS:
        peer_half_closes();
        send_much(conn);
        break;
    case SHUTDOWN_WAITS_FOR_OUTPUT:
        send_much(conn);
        rill_conn_shutdown(conn);
        break;
    case PAUSED:
        rill_conn_pause(conn, RILL_PAUSE_USER);
        rig_turns(2);
        break;
    case PAUSED_OUTPUT_WAITS:
        rill_conn_pause(conn, RILL_PAUSE_USER);
        send_much(conn);
        break;
    case PAUSED_INPUT_UNREAD:
        rill_conn_pause(conn, RILL_PAUSE_USER);
        ck_assert_int_eq(write(rig.peer, "unread", 6), 6);
        rig_turns(2);
        break;
    case FINISHING:
        send_much(conn);
        rill_conn_finish(conn, false);
        break;
    case FINISHING_TO_LINGER:
        send_much(conn);
        rill_conn_finish(conn, true);
        break;
    case LINGERING:
        rill_conn_finish(conn, true);
        rig_turns(2);
        ck_assert_int_eq(conn->state, RILL_CONN_LINGERING);
        break;
    default:
        break;
    }
    return conn;
}

/* Who does not read, and has nothing to send, does not look: it learns of the reset when it does either again. With
 * poll and select nor does who has read up to the peer's end, because watching for more would be told of the end for
 * ever. */
static bool looks(enum moment moment, int backend)
{
    return moment != PAUSED && moment != PAUSED_INPUT_UNREAD &&
           !(moment == HALF_CLOSED_BY_PEER && backend != RILL_BACKEND_EPOLL);
}

START_TEST(is_told_once_and_as_a_reset)
{
    enum moment moment = (enum moment)(_i / BACKENDS);
    int backend = _i % BACKENDS;
    rig_tear_down();
    rig_set_up((enum rill_backend)backend);
    struct rill_conn *conn = reach(moment);
    ck_assert_msg(rig.closed == 0 || moment == BEFORE_IT_IS_ADOPTED, "moment %d", moment);
    if (rig.peer >= 0)
        reset_by_peer();
    rig_turns(4);
    if (!looks(moment, backend)) {
        ck_assert_msg(rig.closed == 0, "moment %d", moment);
        ck_assert_msg(rig_turns_within(10) <= 2, "moment %d spins", moment);
        rill_conn_resume(conn, RILL_PAUSE_USER);
        rill_conn_send(conn, "x", 1);
        rig_turns(4);
    }
    ck_assert_msg(rig.closed == 1, "moment %d: closed %d times", moment, rig.closed);
    ck_assert_msg(rig.reason == RILL_CLOSE_RESET, "moment %d: %s", moment, rill_close_reason_text(rig.reason));
    ck_assert_int_le(rig.eofs, 1);
    ck_assert_uint_eq(rill_conn_count(rig.loop), 0);
}
END_TEST

/* The other end of half-closing: after its own end the peer may still say that it takes no more. */
START_TEST(an_end_that_was_told_is_not_told_again)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)_i);
    struct rill_conn *conn = rig_adopt_tcp();
    rig_turns(2);
    peer_half_closes();
    for (int i = 0; i < 5; i++) { /* edges: room after none */
        send_much(conn);
        while (rill_conn_buffered(conn) > 0) {
            rig_drop(rig.peer, NULL);
            rig_turns(1);
        }
    }
    rig_turns(2);
    ck_assert_int_eq(rig.eofs, 1);
    ck_assert_int_eq(rig.closed, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn resets");
    TCase *all = tcase_create("conn resets");
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_loop_test(all, is_told_once_and_as_a_reset, 0, MOMENTS * BACKENDS);
    tcase_add_loop_test(all, an_end_that_was_told_is_not_told_again, 0, BACKENDS);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
