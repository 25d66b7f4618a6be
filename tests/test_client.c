/* test_client.c - a client keeps its connection up: when it tries again, what it tells, and an end at any moment. */
#include "rill/net/client.h"
#include "support/connect_rig.h"
#include "support/faulty_sys.h"
#include "support/name_server.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct rill_client *client;
static struct rill_client_config config;
static struct rill_client_outage outage; /* the last one; `why` is not kept */
static uint64_t outage_ms;               /* when that was, on the loop's clock */
static char why[256];
static struct rill_addr addr; /* the server's */
static int listener;
static char target[64];

/* What to do in the callback of a letter; see act(). */
enum action { NOTHING, FREE, STOP, RESTART, START };
static char act_on;
static enum action action;

static void act(char letter)
{
    if (letter != act_on)
        return;
    act_on = 0;
    switch (action) {
    case FREE:
        rill_client_free(client);
        client = NULL;
        break;
    case STOP:
        rill_client_stop(client);
        break;
    case RESTART:
        rill_client_stop(client);
        rill_client_start(client);
        break;
    case START:
        rill_client_start(client);
        break;
    case NOTHING:
        break;
    }
}

static void record(char letter)
{
    size_t length = strlen(connect_rig.order);
    ck_assert_uint_lt(length + 1, sizeof connect_rig.order);
    connect_rig.order[length] = letter;
    connect_rig.order[length + 1] = '\0';
    act(letter);
}

/* U on_up, N on_down; the others as connect_rig's. */
static void on_up(struct rill_client *up, struct rill_conn *conn, void *arg)
{
    ck_assert_ptr_eq(up, client);
    ck_assert_ptr_eq(arg, &connect_rig);
    ck_assert_ptr_eq(rill_conn_user(conn), &connect_rig);
    ck_assert_ptr_eq(rill_client_conn(client), conn);
    ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_UP);
    connect_rig.last = conn;
    record('U');
}

static void on_down(struct rill_client *down, const struct rill_client_outage *told, void *arg)
{
    ck_assert_ptr_eq(down, client);
    ck_assert_ptr_eq(arg, &connect_rig);
    ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_WAITING);
    ck_assert_ptr_null(rill_client_conn(client));
    outage = *told;
    outage_ms = rill_loop_now_ms(connect_rig.loop);
    snprintf(why, sizeof why, "%s", told->why);
    record('N');
}

static void on_open(struct rill_conn *conn)
{
    (void)conn;
    record('O');
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    rill_input_consume(input, input->length);
    record('D');
}

static void on_eof(struct rill_conn *conn)
{
    rill_conn_finish(conn, false);
    record('E');
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    record('X');
}

static void set_up(void)
{
    faulty_sys_reset();
    connect_rig_set_up(RILL_BACKEND_EPOLL, true);
    connect_rig.handler =
        (struct rill_conn_handler){.on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};
    listener = connect_rig_listen("127.0.0.1:0", &addr);
    snprintf(target, sizeof target, "%s", connect_rig_text(&addr));
    config = (struct rill_client_config){.connect = {.target = target, .conn = &connect_rig.conn, .user = &connect_rig},
                                         .on_up = on_up,
                                         .on_down = on_down,
                                         .arg = &connect_rig};
    act_on = 0;
}

static void tear_down(void)
{
    rill_client_free(client);
    client = NULL;
    name_server_release();
    close(listener);
    connect_rig_tear_down();
    faulty_sys_reset();
}

static void begin(void)
{
    int error = 1;
    client = rill_client_new(connect_rig.loop, &config, &error);
    ck_assert_ptr_nonnull(client);
    ck_assert_int_eq(error, 0);
    ck_assert_str_eq(connect_rig.order, "");
    ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_CONNECTING);
}

/* The server has gone. */
static void shut_shop(void)
{
    connect_rig_shut(&listener, &addr);
}

/* Lets time pass until the next attempt is due. */
static void pass(uint64_t ms)
{
    faulty_sys_forward(ms + 1);
    connect_rig_turns(4);
}

/* Ends the connection from the other side, and what is left of earlier ones. */
static void hang_up(void)
{
    int count = 0;
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; count++)
        close(fd);
    ck_assert_int_gt(count, 0);
}

/* --- how it goes on --- */

START_TEST(connects_and_connects_again)
{
    begin();
    connect_rig_expect("UO");
    hang_up();
    connect_rig_expect("UOEXN");
    ck_assert(outage.was_up);
    ck_assert_int_eq(outage.reason, RILL_CLOSE_LOCAL); /* on_eof finishes */
    ck_assert_str_eq(why, rill_close_reason_text(RILL_CLOSE_LOCAL));
    ck_assert_uint_le(outage.retry_ms, 100);
    ck_assert_uint_eq(outage.failures, 1);
    pass(outage.retry_ms);
    connect_rig_expect("UOEXNUO");
    rill_conn_close(rill_client_conn(client), RILL_CLOSE_IDLE);
    connect_rig_expect("UOEXNUOXN");
    ck_assert_int_eq(outage.reason, RILL_CLOSE_IDLE);
    ck_assert_uint_eq(outage.failures, 2);
}
END_TEST

START_TEST(what_it_was_told_is_its_own)
{
    struct rill_addr list[2] = {connect_rig_nobody("127.0.0.1:0"), addr}, source, from;
    ck_assert_int_eq(rill_addr_parse("127.0.3.3:0", &source, NULL), 0);
    config.connect.source = &source;
    if (_i) {
        config.connect.target = NULL;
        config.connect.addrs = list;
        config.connect.addr_count = 2;
    }
    begin();
    memset(target, 'x', sizeof target - 1);
    memset(list, 0, sizeof list);
    memset(&source, 0, sizeof source);
    memset(&config, 0, sizeof config);
    connect_rig_expect("UO");
    hang_up();
    connect_rig_expect("UOEXN");
    pass(outage.retry_ms);
    connect_rig_expect("UOEXNUO");
    from.length = sizeof from.socket;
    int fd = accept(listener, &from.socket.any, &from.length);
    ck_assert_uint_eq(ntohl(from.socket.v4.sin_addr.s_addr), 0x7f000303);
    close(fd);
}
END_TEST

/* Over many clients: never later than the backoff allows, over the whole of that time, and not all at once. */
START_TEST(waits_longer_each_time_but_never_too_long)
{
    uint64_t least[10] = {0}, most[10] = {0}, sum[10] = {0};
    enum { CLIENTS = 60 };
    shut_shop();
    config.backoff_ms = 100;
    config.backoff_max_ms = 5000;
    for (int n = 0; n < CLIENTS; n++) {
        connect_rig.order[0] = '\0';
        begin();
        connect_rig_expect("N");
        for (unsigned i = 0; i < 10; i++) {
            ck_assert(!outage.was_up);
            ck_assert_int_eq(outage.error, -ECONNREFUSED);
            ck_assert_ptr_nonnull(strstr(why, "Connection refused"));
            ck_assert_uint_eq(outage.failures, i + 1);
            uint64_t wait = outage.retry_ms;
            least[i] = n == 0 || wait < least[i] ? wait : least[i];
            most[i] = n == 0 || wait > most[i] ? wait : most[i];
            sum[i] += wait;
            uint64_t due_ms = outage_ms + wait;
            connect_rig.order[0] = '\0';
            if (wait > 40) { /* real time passes, too, and may be more than that */
                faulty_sys_forward(wait - 40);
                connect_rig_turns(2);
                ck_assert(connect_rig.order[0] == '\0' || outage_ms >= due_ms); /* not early */
            }
            faulty_sys_forward(wait < 40 ? wait : 40);
            connect_rig_expect("N");
        }
        rill_client_free(client);
        client = NULL;
    }
    for (unsigned i = 0; i < 10; i++) {
        uint64_t cap = (uint64_t)100 << i < 5000 ? (uint64_t)100 << i : 5000;
        ck_assert_uint_le(most[i], cap);
        ck_assert_uint_gt(most[i], cap * 2 / 3);
        ck_assert_uint_lt(least[i], cap / 3);
        ck_assert_uint_gt(sum[i], CLIENTS * cap / 4);
        ck_assert_uint_lt(sum[i], CLIENTS * cap * 3 / 4);
    }
}
END_TEST

START_TEST(the_default_backoff_has_an_end)
{
    shut_shop();
    config.backoff_max_ms = _i ? UINT64_MAX : 0;
    config.backoff_ms = _i ? UINT64_MAX / 3 : 0;
    begin();
    connect_rig_expect("N");
    for (unsigned i = 0; i < 70 && !_i; i++) {
        ck_assert_uint_le(outage.retry_ms, 30000);
        connect_rig.order[0] = '\0';
        faulty_sys_forward(outage.retry_ms);
        connect_rig_expect("N");
    }
    ck_assert_uint_gt(outage.failures, 0);
}
END_TEST

/* A connection that lived long enough ends the count of failures; one that did not goes on with it. */
START_TEST(a_stable_connection_ends_the_count)
{
    config.stable_ms = 2000;
    config.backoff_ms = 8;
    begin();
    for (unsigned i = 1; i <= 5; i++) {
        connect_rig_expect("UO");
        pass(1900);
        hang_up();
        connect_rig_expect("UOEXN");
        ck_assert_uint_eq(outage.failures, i);
        connect_rig.order[0] = '\0';
        pass(outage.retry_ms);
    }
    connect_rig_expect("UO");
    pass(2000);
    hang_up();
    connect_rig_expect("UOEXN");
    ck_assert_uint_eq(outage.failures, 0);
    ck_assert_uint_le(outage.retry_ms, 8);
}
END_TEST

START_TEST(a_name_is_looked_up_each_time)
{
    name_server_set_up();
    config.connect.target = "name:80";
    name_server.addrs[0] = "192.0.2.1";
    begin();
    connect_rig_expect("N");
    ck_assert_int_eq(outage.error, -ECONNREFUSED);
    name_server_route("192.0.2.1", &addr);
    pass(outage.retry_ms);
    connect_rig_expect("NUO");
    ck_assert_uint_eq(name_server.look_ups, 2);
}
END_TEST

START_TEST(callbacks_may_be_absent)
{
    static const struct rill_conn_handler none;
    config.on_up = NULL;
    config.on_down = NULL;
    connect_rig.conn.handler = &none;
    begin();
    connect_rig_turns(3);
    ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_UP);
    hang_up();
    connect_rig_turns(3);
    ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_WAITING);
    pass(100);
    ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_UP);
}
END_TEST

START_TEST(what_cannot_begin)
{
    int error = 0;
    config.connect.target = NULL;
    ck_assert_ptr_null(rill_client_new(connect_rig.loop, &config, &error));
    ck_assert_int_eq(error, -EINVAL);
    config.connect.target = target;
    begin(); /* so that the loop has what it makes once */
    rill_client_free(client);
    client = NULL;
    for (uint64_t k = 1; k <= 2; k++) {
        faulty_memory_fails_at(k);
        ck_assert_ptr_null(rill_client_new(connect_rig.loop, &config, &error));
        ck_assert_int_eq(error, -ENOMEM);
    }
    rill_client_free(NULL);
}
END_TEST

/* Memory fails for a while, at every place in turn: the client comes back by itself. */
START_TEST(comes_back_when_memory_does)
{
    config.backoff_ms = 1;
    begin();
    connect_rig_expect("UO");
    for (uint64_t k = 1; k < 12; k++) {
        connect_rig.order[0] = '\0';
        hang_up();
        faulty_sys.counts[FAULTY_MEMORY] = faulty_sys.counts[FAULTY_EPOLL_CTL] = true;
        faulty_sys.fail_after = k;
        for (int i = 0; i < 20; i++)
            pass(outage.retry_ms);
        faulty_sys.fail_after = 0;
        ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_UP);
        ck_assert_int_eq(connect_rig.order[strlen(connect_rig.order) - 1], 'O');
    }
}
END_TEST

/* --- an end at any moment --- */

/* Brings the client to one of its states. */
enum moment { FRESH, RESOLVING, HANDSHAKE, UP, LOST, WAITING, STOPPED, MOMENTS };

static int holes[3];

static void bring_to(enum moment moment)
{
    struct rill_addr hole;
    config.backoff_ms = config.backoff_max_ms = 3600000; /* drawn from 0 up: hardly ever over before it is looked at */
    if (moment == RESOLVING) {
        name_server_set_up();
        name_server.held = true;
        config.connect.target = "name:80";
    } else if (moment == HANDSHAKE) {
        connect_rig_black_hole("127.0.0.1:0", &hole, holes);
        config.connect.target = connect_rig_text(&hole);
    } else if (moment == WAITING) {
        shut_shop();
    }
    begin();
    if (moment == RESOLVING)
        name_server_await(1);
    if (moment == HANDSHAKE)
        connect_rig_turns(2);
    if (moment == UP || moment == LOST || moment == STOPPED)
        connect_rig_expect("UO");
    if (moment == LOST)
        rill_conn_close(rill_client_conn(client), RILL_CLOSE_LOCAL); /* the client has yet to tell */
    if (moment == WAITING)
        connect_rig_expect("N");
    if (moment == STOPPED)
        rill_client_stop(client);
    static const enum rill_client_state states[MOMENTS] = {
        [FRESH] = RILL_CLIENT_CONNECTING,     [RESOLVING] = RILL_CLIENT_CONNECTING,
        [HANDSHAKE] = RILL_CLIENT_CONNECTING, [UP] = RILL_CLIENT_UP,
        [LOST] = RILL_CLIENT_WAITING,         [WAITING] = RILL_CLIENT_WAITING,
        [STOPPED] = RILL_CLIENT_STOPPED};
    ck_assert_int_eq(rill_client_state(client), states[moment]);
}

static void clear_away(enum moment moment)
{
    name_server_release();
    for (int i = 0; moment == HANDSHAKE && i < 3; i++)
        close(holes[i]);
}

START_TEST(freed_or_stopped_at_any_moment_it_is_quiet)
{
    enum moment moment = (enum moment)(_i / 2);
    bring_to(moment);
    connect_rig.order[0] = '\0';
    if (_i % 2) {
        rill_client_stop(client);
        ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_STOPPED);
    } else {
        rill_client_free(client);
        client = NULL;
    }
    clear_away(moment);
    pass(60000);
    pass(60000);
    ck_assert_str_eq(connect_rig.order, moment == UP ? "X" : "");
}
END_TEST

START_TEST(started_at_any_moment_it_is_up_soon)
{
    enum moment moment = (enum moment)_i;
    bring_to(moment);
    if (listener < 0) { /* the server has come back */
        char text[64];
        snprintf(text, sizeof text, "%s", target);
        listener = connect_rig_listen(text, &addr);
    }
    connect_rig.order[0] = '\0';
    rill_client_start(client);
    rill_client_start(client);
    if (moment == RESOLVING || moment == HANDSHAKE)
        ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_CONNECTING); /* as before */
    else
        connect_rig_turns(moment == LOST ? 6 : 4);
    static const char *const orders[MOMENTS] = {[FRESH] = "UO", [RESOLVING] = "", [HANDSHAKE] = "", [UP] = "",
                                                [LOST] = "NUO", [WAITING] = "UO", [STOPPED] = "UO"};
    connect_rig_expect(orders[moment]); /* what is due at once is a millisecond away at most */
    if (moment == LOST)
        ck_assert_uint_eq(outage.retry_ms, 0);
    clear_away(moment);
}
END_TEST

START_TEST(stopped_and_started_it_goes_on)
{
    begin();
    connect_rig_expect("UO");
    rill_client_stop(client);
    connect_rig_expect("UOX");
    pass(60000);
    ck_assert_str_eq(connect_rig.order, "UOX"); /* no on_down: it was asked for */
    rill_client_start(client);
    connect_rig_expect("UOXUO");
}
END_TEST

/* Each callback in turn frees, stops, or stops and starts the client; for good or ill afterwards. */
static const char letters[] = "UODEXN";

START_TEST(every_callback_may_end_it)
{
    char letter = letters[_i / 3];
    act_on = letter;
    action = _i % 3 == 0 ? FREE : _i % 3 == 1 ? STOP : RESTART;
    begin();
    int fd = -1;
    for (int i = 0; i < 10000 && act_on; i++) {
        connect_rig_turns(1);
        if (fd < 0 && (fd = accept(listener, NULL, NULL)) >= 0) {
            ck_assert_int_eq(write(fd, "x", 1), 1);
            shutdown(fd, SHUT_WR);
        }
        usleep(1000);
    }
    ck_assert_int_eq(act_on, 0);
    static const char *const orders[] = {"UX", "UOX", "UODX", "UODEX", "UODEX", "UODEXN"};
    ck_assert_int_eq(strncmp(connect_rig.order, orders[_i / 3], strlen(orders[_i / 3])), 0);
    if (fd >= 0)
        close(fd);
    pass(60000);
    for (int i = 0; i < 20 || (i < 10000 && action == RESTART && rill_client_state(client) != RILL_CLIENT_UP); i++) {
        usleep(1000);
        connect_rig_turns(1);
    }
    if (action == RESTART) {
        ck_assert_uint_gt(strlen(connect_rig.order), strlen(orders[_i / 3]));
        ck_assert_int_eq(rill_client_state(client), RILL_CLIENT_UP);
    } else {
        ck_assert_str_eq(connect_rig.order, orders[_i / 3]);
        ck_assert(action == FREE || rill_client_state(client) == RILL_CLIENT_STOPPED);
    }
}
END_TEST

START_TEST(a_failure_may_end_it)
{
    static const enum action actions[] = {FREE, STOP, RESTART, START};
    shut_shop();
    act_on = 'N';
    action = actions[_i];
    begin();
    connect_rig_expect("N");
    usleep(2000);
    if (action == FREE || action == STOP) {
        pass(60000);
        ck_assert_str_eq(connect_rig.order, "N");
    } else {
        connect_rig_expect("NN");
        ck_assert_uint_eq(outage.failures, 1); /* the count began anew */
    }
}
END_TEST

/* The loop has ended with the client in each state; the client goes before the loop does. */
START_TEST(goes_before_its_loop)
{
    enum moment moment = (enum moment)_i;
    bring_to(moment);
    rill_loop_stop(connect_rig.loop);
    ck_assert_int_eq(rill_loop_run(connect_rig.loop), 0);
    clear_away(moment);
    rill_workers_stop(connect_rig.workers);
    connect_rig.workers = NULL;
    rill_client_free(client);
    client = NULL;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *life = tcase_create("life"), *end = tcase_create("end");
    tcase_add_checked_fixture(life, set_up, tear_down);
    tcase_add_test(life, connects_and_connects_again);
    tcase_add_loop_test(life, what_it_was_told_is_its_own, 0, 2);
    tcase_add_test(life, waits_longer_each_time_but_never_too_long);
    tcase_add_loop_test(life, the_default_backoff_has_an_end, 0, 2);
    tcase_add_test(life, a_stable_connection_ends_the_count);
    tcase_add_test(life, a_name_is_looked_up_each_time);
    tcase_add_test(life, callbacks_may_be_absent);
    tcase_add_test(life, what_cannot_begin);
    tcase_add_test(life, comes_back_when_memory_does);
    tcase_add_checked_fixture(end, set_up, tear_down);
    tcase_add_loop_test(end, freed_or_stopped_at_any_moment_it_is_quiet, 0, 2 * MOMENTS);
    tcase_add_loop_test(end, started_at_any_moment_it_is_up_soon, 0, MOMENTS);
    tcase_add_test(end, stopped_and_started_it_goes_on);
    tcase_add_loop_test(end, every_callback_may_end_it, 0, 18);
    tcase_add_loop_test(end, a_failure_may_end_it, 0, 4);
    tcase_add_loop_test(end, goes_before_its_loop, 0, MOMENTS);
    suite_add_tcase(suite, life);
    suite_add_tcase(suite, end);
    return run_suite(suite);
}
