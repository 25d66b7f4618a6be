/* test_listener.c - accepting: batches, shortages, ends; and the sockets that are listened on. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/listener.h"
#include "rill/net/sock_internal.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include "support/test_log.h"
#include <check.h>
#include <netinet/tcp.h>
#include <stdio.h>

static struct rill_loop *loop;
static struct rill_listener *listener;
static struct rill_addr at;
static int accepted, batches, close_at, ends;
static unsigned welcome;
static void on_accept(void *arg, int fd, const struct rill_ip *peer)
{
    (void)arg;
    ck_assert_uint_eq(peer->version, at.socket.any.sa_family == AF_INET ? 4 : 0);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    close(fd);
    accepted++;
    if (accepted == close_at) {
        rill_listener_close(listener, true);
        listener = NULL;
    }
}

static void on_batch_end(void *arg)
{
    (void)arg;
    batches++;
}

static unsigned room(void *arg)
{
    (void)arg;
    return welcome;
}

static void on_closed(void *arg)
{
    (void)arg;
    ends++;
}

static const struct rill_listener_handler handler = {
    .on_accept = on_accept, .on_batch_end = on_batch_end, .room = room, .on_closed = on_closed};

static void listen_on(const char *text)
{
    int error = 0;
    ck_assert_int_eq(rill_addr_parse(text, &at, NULL), 0);
    int fd = rill_sock_listen(&at, &(struct rill_sock_listen_options){.backlog = 0});
    ck_assert_int_ge(fd, 0);
    listener = rill_listener_new(loop, fd, &handler, RILL_DEFER_OFF, &error);
    ck_assert_ptr_nonnull(listener);
}

static void set_up(void)
{
    int error;
    faulty_sys_reset();
    accepted = batches = close_at = ends = 0;
    welcome = 1000000;
    test_log_open();
    loop = rill_loop_new(&(struct rill_loop_config){.name = "main"}, &error);
    ck_assert_ptr_nonnull(loop);
    listen_on("127.0.0.1:0");
}

static void tear_down(void)
{
    rill_listener_close(listener, true);
    rill_loop_free(loop);
    test_log_close();
}

static void turns(int count)
{
    while (count-- > 0)
        ck_assert_int_eq(rill_loop_turn(loop, false), 0);
}

static void call(int count)
{
    while (count-- > 0) {
        int fd = socket(at.socket.any.sa_family, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(fd, &at.socket.any, at.length), 0);
        close(fd); /* what got through the handshake is accepted all the same */
    }
}

START_TEST(accepts_in_batches)
{
    call(150);
    turns(1);
    ck_assert_int_gt(accepted, 0);
    ck_assert_int_lt(accepted, 150); /* others have their turn */
    turns(5);
    ck_assert_int_eq(accepted, 150);
    ck_assert_int_eq(batches, 3);
}
END_TEST

START_TEST(pauses_while_a_resource_is_lacking)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    faulty_sys.error[FAULTY_ACCEPT] = errors[_i];
    call(10);
    uint64_t before = faulty_sys.calls[FAULTY_ACCEPT];
    for (int ms = 0; ms < 1000; ms++) {
        turns(2);
        faulty_sys_forward(1);
    }
    uint64_t calls = faulty_sys.calls[FAULTY_ACCEPT] - before;
    ck_assert_uint_ge(calls, 10); /* it tries again, and again */
    ck_assert_uint_le(calls, 30); /* and not all the time */
    ck_assert_int_eq(test_log_lines("accepting pauses"), 1);
    faulty_sys.error[FAULTY_ACCEPT] = 0;
    faulty_sys_forward(100);
    turns(3);
    ck_assert_int_eq(accepted, 10);
    /* The next shortage is another one. */
    faulty_sys.error[FAULTY_ACCEPT] = errors[_i];
    call(1);
    turns(3);
    ck_assert_int_eq(test_log_lines("accepting pauses"), 2);
}
END_TEST

START_TEST(a_shortage_lasts_until_the_backlog_is_empty)
{
    call(40);
    for (int i = 0; i < 20; i++) { /* now and then one gets in */
        faulty_sys.fail_error = EMFILE;
        faulty_sys.counts[FAULTY_ACCEPT] = true;
        faulty_sys.fail_after = 2;
        faulty_sys_forward(100);
        turns(3);
    }
    ck_assert_int_gt(accepted, 10);
    ck_assert_int_lt(accepted, 40);
    ck_assert_int_eq(test_log_lines("accepting pauses"), 1);
}
END_TEST

START_TEST(takes_no_more_than_are_welcome)
{
    welcome = 7;
    call(20);
    turns(1);
    ck_assert_int_eq(accepted, 7);
    welcome = 0;
    for (int ms = 0; ms < 500; ms++) {
        turns(1);
        faulty_sys_forward(1);
    }
    ck_assert_int_eq(accepted, 7);
    ck_assert_int_eq(test_log_lines("connection limit"), 1);
    welcome = 1;
    faulty_sys_forward(100);
    turns(2); /* the timer's, and the event's */
    ck_assert_int_eq(accepted, 8);
    welcome = 0;
    turns(3);
    ck_assert_int_eq(test_log_lines("connection limit"), 1); /* the same shortage still */
    welcome = 100;
    faulty_sys_forward(100);
    turns(3);
    ck_assert_int_eq(accepted, 20);
}
END_TEST

START_TEST(one_connections_trouble_is_not_the_others)
{
    static const int errors[] = {ECONNABORTED, EPROTO,       EINTR,     EPERM,       ENETDOWN,
                                 ENETUNREACH,  EHOSTUNREACH, EHOSTDOWN, ENOPROTOOPT, EOPNOTSUPP};
    faulty_sys.fail_error = errors[_i];
    faulty_sys.counts[FAULTY_ACCEPT] = true;
    faulty_sys.fail_after = 3;
    call(5);
    turns(3);
    ck_assert_int_eq(accepted, errors[_i] == ECONNABORTED ? 4 : 5); /* that one is lost */
    ck_assert_uint_eq(faulty_sys.failed, 1);
    ck_assert_int_eq(test_log_lines("warn"), 0);
}
END_TEST

START_TEST(closing_accepts_what_got_through)
{
    call(200);
    rill_listener_close(listener, true);
    listener = NULL;
    ck_assert_int_eq(accepted, 200);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_lt(connect(fd, &at.socket.any, at.length), 0);
    ck_assert_int_eq(errno, ECONNREFUSED);
    close(fd);
}
END_TEST

/* A client that says nothing is the kernel's until a second has passed: real time, which cannot be sped up. */
START_TEST(closing_waits_for_those_held_back)
{
    rill_listener_close(listener, true);
    ck_assert_int_eq(rill_addr_parse("127.0.0.1:0", &at, NULL), 0);
    int error = 0, fd = rill_sock_listen(&at, &(struct rill_sock_listen_options){.backlog = 0});
    listener = rill_listener_new(loop, fd, &handler, RILL_DEFER_ON, &error);
    ck_assert_ptr_nonnull(listener);
    int silent = socket(AF_INET, SOCK_STREAM, 0), eager = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(silent, &at.socket.any, at.length), 0);
    ck_assert_int_eq(connect(eager, &at.socket.any, at.length), 0);
    ck_assert_int_eq(write(eager, "x", 1), 1);
    turns(2);
    ck_assert_int_eq(accepted, 1);
    rill_listener_close(listener, _i);
    ck_assert_int_eq(ends, _i ? 2 : 1);
    while (ends < 2)
        ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    listener = NULL;
    ck_assert_int_eq(accepted, _i ? 1 : 2);
    close(silent);
    close(eager);
}
END_TEST

START_TEST(closing_at_once_after_all)
{
    rill_listener_close(listener, true);
    ck_assert_int_eq(rill_addr_parse("127.0.0.1:0", &at, NULL), 0);
    int error = 0, fd = rill_sock_listen(&at, &(struct rill_sock_listen_options){.backlog = 0});
    listener = rill_listener_new(loop, fd, &handler, RILL_DEFER_ON, &error);
    rill_listener_close(listener, false);
    rill_listener_close(listener, false);
    call(1);
    ck_assert_int_eq(ends, 1);
    rill_listener_close(listener, true);
    ck_assert_int_eq(ends, 2);
    listener = NULL;
}
END_TEST

static int deferring(int fd)
{
    int seconds = 0;
    socklen_t length = sizeof seconds;
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &length), 0);
    return seconds;
}

START_TEST(defers_by_itself_while_short_ones_are_many)
{
    rill_listener_close(listener, true);
    ck_assert_int_eq(rill_addr_parse("127.0.0.1:0", &at, NULL), 0);
    int error = 0, fd = rill_sock_listen(&at, &(struct rill_sock_listen_options){.backlog = 0});
    listener = rill_listener_new(loop, fd, &handler, RILL_DEFER_AUTO, &error);
    ck_assert_ptr_nonnull(listener);
    call(400); /* so many that a slow machine does not make them few a second */
    turns(10);
    ck_assert_int_eq(accepted, 400); /* `welcome` stays as it is: all of them have gone by the next look */
    faulty_sys_forward(110);
    call(1);
    turns(2);
    ck_assert_int_ne(deferring(fd), 0);
    faulty_sys_forward(1100);
    turns(2);
    ck_assert_int_eq(deferring(fd), 0);
}
END_TEST

START_TEST(closing_takes_no_more_than_are_welcome)
{
    welcome = 0;
    call(5);
    rill_listener_close(listener, true);
    listener = NULL;
    ck_assert_int_eq(accepted, 0);
}
END_TEST

START_TEST(closing_while_paused)
{
    faulty_sys.error[FAULTY_ACCEPT] = EMFILE;
    call(3);
    turns(3);
    rill_listener_close(listener, true);
    listener = NULL;
    faulty_sys_forward(1000);
    turns(3);
    ck_assert_int_eq(accepted, 0);
}
END_TEST

START_TEST(on_accept_may_close_the_listener)
{
    unsigned descriptors = faulty_sys_open_descriptors();
    close_at = _i;
    call(100);
    turns(5);
    ck_assert_ptr_null(listener);
    ck_assert_int_eq(accepted, 100); /* the rest of the backlog, too */
    ck_assert_uint_eq(faulty_sys_open_descriptors(), descriptors - 1);
}
END_TEST

/* --- sockets --- */

static char socket_path[64];

static void unix_addr(struct rill_addr *addr)
{
    char text[80];
    snprintf(socket_path, sizeof socket_path, "/tmp/rill-test-listener-%ld.sock", (long)getpid());
    unlink(socket_path);
    snprintf(text, sizeof text, "unix:%s", socket_path);
    ck_assert_int_eq(rill_addr_parse(text, addr, NULL), 0);
}

static const struct rill_sock_listen_options plain;

START_TEST(a_stale_socket_file_is_replaced_and_a_live_one_is_not)
{
    struct rill_addr addr;
    unix_addr(&addr);
    int first = rill_sock_listen(&addr, &plain);
    ck_assert_int_ge(first, 0);
    ck_assert_int_eq(rill_sock_listen(&addr, &plain), -EADDRINUSE);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, &addr.socket.any, addr.length), 0); /* it is alive and well */
    close(fd);
    close(first); /* the file stays, as after a crash */
    int second = rill_sock_listen(&addr, &plain);
    ck_assert_int_ge(second, 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, &addr.socket.any, addr.length), 0);
    close(fd);
    close(second);
    unlink(socket_path);
}
END_TEST

START_TEST(a_live_socket_with_a_full_backlog_is_live)
{
    struct rill_addr addr;
    unix_addr(&addr);
    int first = rill_sock_listen(&addr, &(struct rill_sock_listen_options){.backlog = 1});
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fds[i], &addr.socket.any, addr.length);
    }
    ck_assert_int_eq(rill_sock_listen(&addr, &plain), -EADDRINUSE);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    close(first);
    unlink(socket_path);
}
END_TEST

START_TEST(what_is_no_socket_is_not_removed)
{
    struct rill_addr addr;
    struct stat st;
    char target[80];
    unix_addr(&addr);
    snprintf(target, sizeof target, "%s.target", socket_path);
    int fd = open(_i ? target : socket_path, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_eq(write(fd, "mine", 4), 4);
    if (_i)
        ck_assert_int_eq(symlink(target, socket_path), 0);
    ck_assert_int_eq(rill_sock_listen(&addr, &plain), -EADDRINUSE);
    ck_assert_int_eq(stat(socket_path, &st), 0);
    ck_assert_int_eq(st.st_size, 4);
    close(fd);
    unlink(socket_path);
    unlink(target);
}
END_TEST

START_TEST(a_socket_that_cannot_listen_leaves_no_file)
{
    struct rill_addr addr;
    struct stat st;
    unix_addr(&addr);
    unsigned descriptors = faulty_sys_open_descriptors();
    faulty_sys.counts[FAULTY_DESCRIPTOR] = true;
    faulty_sys.fail_error = ENOBUFS;
    faulty_sys.fail_after = 4; /* socket, socket to probe, bind, listen */
    ck_assert_int_eq(rill_sock_listen(&addr, &plain), -ENOBUFS);
    ck_assert_uint_eq(faulty_sys.failed, 1);
    ck_assert_int_lt(lstat(socket_path, &st), 0);
    ck_assert_uint_eq(faulty_sys_open_descriptors(), descriptors);
}
END_TEST

START_TEST(a_port_is_shared_only_when_wanted)
{
    struct rill_addr addr;
    const struct rill_sock_listen_options shared = {.reuse_port = true};
    ck_assert_int_eq(rill_addr_parse("127.0.0.1:0", &addr, NULL), 0);
    int first = rill_sock_listen(&addr, &shared);
    unsigned port = rill_ip_of(&addr).port;
    ck_assert_uint_gt(port, 0);
    int second = rill_sock_listen(&addr, &shared);
    ck_assert_int_ge(second, 0);
    ck_assert_uint_eq(rill_ip_of(&addr).port, port);
    ck_assert_int_eq(rill_sock_listen(&addr, &plain), -EADDRINUSE);
    close(first);
    close(second);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listener");
    TCase *all = tcase_create("listener");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, accepts_in_batches);
    tcase_add_loop_test(all, pauses_while_a_resource_is_lacking, 0, 4);
    tcase_add_test(all, a_shortage_lasts_until_the_backlog_is_empty);
    tcase_add_test(all, takes_no_more_than_are_welcome);
    tcase_add_loop_test(all, one_connections_trouble_is_not_the_others, 0, 10);
    tcase_add_test(all, closing_accepts_what_got_through);
    tcase_add_loop_test(all, closing_waits_for_those_held_back, 0, 2);
    tcase_add_test(all, closing_at_once_after_all);
    tcase_add_test(all, defers_by_itself_while_short_ones_are_many);
    tcase_add_test(all, closing_takes_no_more_than_are_welcome);
    tcase_add_test(all, closing_while_paused);
    tcase_add_loop_test(all, on_accept_may_close_the_listener, 1, 100);
    tcase_add_test(all, a_stale_socket_file_is_replaced_and_a_live_one_is_not);
    tcase_add_test(all, a_live_socket_with_a_full_backlog_is_live);
    tcase_add_loop_test(all, what_is_no_socket_is_not_removed, 0, 2);
    tcase_add_test(all, a_socket_that_cannot_listen_leaves_no_file);
    tcase_add_test(all, a_port_is_shared_only_when_wanted);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
