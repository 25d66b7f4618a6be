/* test_conn_become.c - a connection that changes its protocol: what the old handler left reaches the new one, each is
 * called for its own time only, and who adopted it goes on counting it. */
#include "rill/core/sys.h"
#include "rill/net/server.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <netinet/in.h>

enum { BACKENDS = 3, HEADER = 4 };

/* The protocol that comes after a header of 4 bytes. */
static struct second {
    struct rill_conn_config config;
    int opened, closed, datas, eofs, stops;
    enum rill_close_reason reason;
    size_t length;
    char bytes[1 << 17];
    char *user;
} second;

static void second_open(struct rill_conn *conn)
{
    second.opened++;
    second.user = rill_conn_user(conn);
    rill_conn_send(conn, "welcome", 7);
}

static void second_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    second.datas++;
    memcpy(second.bytes + second.length, input->bytes, input->length);
    second.length += input->length;
    rill_input_consume(input, input->length);
}

static void second_eof(struct rill_conn *conn)
{
    second.eofs++;
    rill_conn_finish(conn, false);
}

static void second_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    second.closed++;
    second.reason = reason;
}

static const struct rill_conn_handler second_handler = {
    .on_open = second_open, .on_data = second_data, .on_eof = second_eof, .on_close = second_close};

static char user[] = "the second one's";

static void take_header(struct rill_conn *conn, struct rill_input *input)
{
    rig.datas++;
    if (input->length < HEADER)
        return;
    rill_input_consume(input, HEADER);
    ck_assert_int_eq(rill_conn_become(conn, &second.config, user), 0);
}

static void set_up(void)
{
    faulty_sys_reset();
    memset(&second, 0, sizeof second);
    second.config.handler = &second_handler;
    rig_set_up(RILL_BACKEND_EPOLL);
    rig.handler.on_data = take_header;
}

static void use_backend(int backend)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)(backend % BACKENDS));
    rig.handler.on_data = take_header;
}

static void say(const char *bytes, size_t length)
{
    ck_assert_int_eq(write(rig.peer, bytes, length), (ssize_t)length);
}

START_TEST(every_split_reaches_the_second_whole)
{
    static const char all[] = "HEADthe rest";
    size_t length = sizeof all - 1, split = (size_t)_i / BACKENDS;
    bool ended;
    use_backend(_i);
    rig_adopt();
    say(all, split);
    rig_turns(2);
    say(all + split, length - split);
    shutdown(rig.peer, SHUT_WR); /* behind the bytes, whoever gets them */
    rig_turns(3);
    ck_assert_uint_eq(second.length, length - HEADER);
    ck_assert_mem_eq(second.bytes, all + HEADER, length - HEADER);
    ck_assert_int_eq(second.opened, 1);
    ck_assert_ptr_eq(second.user, user);
    ck_assert_int_eq(second.eofs, 1);
    ck_assert_int_eq(second.closed, 1);
    ck_assert_uint_eq(rig_drop(rig.peer, &ended), 7);
    ck_assert_int_eq(rig.eofs + rig.closed, 0); /* nothing more for the first */
}
END_TEST

START_TEST(much_behind_the_header_is_no_excess)
{
    static char much[60000];
    second.config.max_input_bytes = 100;
    memcpy(much, "HEAD", 4);
    rig_adopt();
    say(much, sizeof much);
    rig_turns(3);
    ck_assert_uint_eq(second.length, sizeof much - HEADER);
    ck_assert_int_eq(second.closed, 0);
}
END_TEST

START_TEST(kept_bytes_are_shown_when_nothing_more_comes)
{
    rig_tear_down();
    rig_set_up((enum rill_backend)_i);
    rig.keep = true; /* the first consumes nothing */
    struct rill_conn *conn = rig_adopt();
    say("kept", 4);
    rig_turns(2);
    ck_assert_int_eq(rig.datas, 1);
    ck_assert_int_eq(rill_conn_become(conn, &second.config, user), 0); /* from outside of its callbacks */
    ck_assert_int_eq(second.opened, 1);
    ck_assert_uint_eq(second.length, 0);
    rig_turns(1);
    ck_assert_uint_eq(second.length, 4);
    ck_assert_uint_eq(rig_drop(rig.peer, NULL), 7);
}
END_TEST

static void become_at_once(struct rill_conn *conn)
{
    ck_assert_int_eq(rill_conn_become(conn, &second.config, user), 0);
}

START_TEST(may_become_another_when_it_opens)
{
    use_backend(_i);
    rig.handler.on_open = become_at_once;
    rig_adopt();
    say("bytes", 5);
    rig_turns(2);
    ck_assert_uint_eq(second.length, 5);
    ck_assert_int_eq(second.datas, 1);
}
END_TEST

static void close_at_once(struct rill_conn *conn)
{
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

START_TEST(may_be_closed_by_the_second_on_open)
{
    struct rill_conn_handler refuses = second_handler;
    refuses.on_open = close_at_once;
    second.config.handler = &refuses;
    use_backend(_i);
    rig_adopt();
    say("HEADand more", 12);
    rig_turns(3);
    ck_assert_int_eq(second.closed, 1);
    ck_assert_int_eq(second.datas, 0);
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_uint_eq(rill_conn_count(rig.loop), 0);
}
END_TEST

START_TEST(the_deadline_is_the_second_ones)
{
    rig.config.idle_timeout_ms = 1000;
    second.config.idle_timeout_ms = _i ? 5000 : 0;
    rig_adopt();
    say("HEAD", 4);
    rig_turns(2);
    faulty_sys_forward(2000);
    rig_turns(2);
    ck_assert_int_eq(second.closed, 0);
    faulty_sys_forward(4000);
    rig_turns(2);
    ck_assert_int_eq(second.closed, _i);
    if (_i)
        ck_assert_int_eq(second.reason, RILL_CLOSE_IDLE);
    ck_assert_int_eq(rig.closed + rig.timeouts, 0);
}
END_TEST

START_TEST(what_is_closing_becomes_nothing)
{
    struct rill_conn *conn = rig_adopt();
    rill_conn_finish(conn, true);
    ck_assert_int_eq(rill_conn_become(conn, &second.config, user), -EPIPE);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_conn_become(conn, &second.config, user), -EPIPE);
    ck_assert_int_eq(second.opened, 0);
    ck_assert_int_eq(rig.closed, 1);
}
END_TEST

/* --- of a server --- */

static struct rill_server *server;

static void stop_server(struct rill_conn *conn, struct rill_input *input)
{
    second_data(conn, input);
    rill_server_stop(server, second.config.arg != NULL);
}

static void second_stop(struct rill_conn *conn)
{
    second.stops++;
    if (!second.config.arg) /* or else the server does */
        rill_conn_close(conn, RILL_CLOSE_STOPPED);
}

/* Whatever its connections have become, the server tells them to stop, counts them down, and ends. */
START_TEST(a_server_stops_what_its_connections_became)
{
    int error, client = socket(AF_INET, SOCK_STREAM, 0);
    struct rill_conn_handler stopper = second_handler;
    stopper.on_data = stop_server;
    stopper.on_stop = second_stop;
    second.config.handler = &stopper;
    second.config.arg = _i ? &second : NULL;
    server = rill_server_new(
        &(struct rill_server_config){.listen = "127.0.0.1:0", .handler = &rig.handler, .max_output_bytes = 1 << 20},
        &error);
    ck_assert_ptr_nonnull(server);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(connect(client, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(write(client, "HEADstop", 8), 8);
    ck_assert_int_eq(rill_server_run(server, false), 0);
    ck_assert_int_eq(rig.opened, 1);
    ck_assert_int_eq(rig.closed, 0);
    ck_assert_int_eq(second.stops, 1);
    ck_assert_int_eq(second.closed, 1);
    ck_assert_int_eq(second.reason, RILL_CLOSE_STOPPED);
    rill_server_free(server);
    close(client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn become");
    TCase *all = tcase_create("conn become");
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_loop_test(all, every_split_reaches_the_second_whole, 0, BACKENDS * 13);
    tcase_add_test(all, much_behind_the_header_is_no_excess);
    tcase_add_loop_test(all, kept_bytes_are_shown_when_nothing_more_comes, 0, BACKENDS);
    tcase_add_loop_test(all, may_become_another_when_it_opens, 0, BACKENDS);
    tcase_add_loop_test(all, may_be_closed_by_the_second_on_open, 0, BACKENDS);
    tcase_add_loop_test(all, the_deadline_is_the_second_ones, 0, 2);
    tcase_add_test(all, what_is_closing_becomes_nothing);
    tcase_add_loop_test(all, a_server_stops_what_its_connections_became, 0, 2);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
