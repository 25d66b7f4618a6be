/* test_proxy_gate.c - listeners behind proxies that cannot be made, and who is at the other end of a socket. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>

static const struct rill_conn_handler silent;

static struct rill_server *make(const char *proxy_from, int *error)
{
    struct rill_server_config config = {.handler = &silent,
                                        .listens = {{.address = "127.0.0.1:0", .proxy_from = proxy_from},
                                                    {.address = "127.0.0.1:0", .proxy_from = proxy_from}}};
    rill_log_set_level(RILL_LOG_OFF);
    *error = 0;
    return rill_server_new(&config, error);
}

START_TEST(what_is_no_list_of_proxies_is_refused)
{
    static const char *const bad[] = {"", "all", "10.0.0.1/8", "10.0.0.0/8,"};
    for (size_t i = 0; i < rill_array_length(bad); i++) {
        int error;
        ck_assert_ptr_null(make(bad[i], &error));
        ck_assert_int_eq(error, -EINVAL);
    }
}
END_TEST

START_TEST(without_memory_there_is_no_server)
{
    unsigned descriptors = faulty_sys_open_descriptors();
    uint64_t without, nth = 0;
    for (int gates = 0; gates < 2; gates++) {
        struct rill_server *server = NULL;
        without = nth;
        for (nth = 1; !server && nth < 1000; nth++) {
            int error;
            faulty_sys_reset();
            faulty_memory_fails_at(nth);
            server = make(gates ? "10.0.0.0/8, ::1" : NULL, &error);
            ck_assert(server ? error == 0 : error < 0);
            if (!server)
                ck_assert_uint_eq(faulty_sys_open_descriptors(), descriptors);
        }
        faulty_sys_reset();
        ck_assert_ptr_nonnull(server);
        rill_server_free(server);
    }
    ck_assert_uint_eq(nth, without + 4); /* the gates' four allocations have failed one by one */
}
END_TEST

START_TEST(the_other_end_is_asked_of_the_system)
{
    struct rill_addr remote, expected = {.length = sizeof expected.socket};
    rig_set_up(RILL_BACKEND_EPOLL);
    struct rill_conn *conn = rig_adopt_tcp();
    ck_assert_int_eq(getsockname(rig.peer, &expected.socket.any, &expected.length), 0);
    ck_assert_int_eq(rill_conn_remote(conn, &remote), 0);
    ck_assert_uint_eq(remote.length, expected.length);
    ck_assert_mem_eq(&remote.socket, &expected.socket, expected.length);
    faulty_sys.error[FAULTY_DESCRIPTOR] = ENOBUFS;
    ck_assert_int_eq(rill_conn_remote(conn, &remote), -ENOBUFS);
    faulty_sys_reset();
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_int_eq(rill_conn_remote(conn, &remote), -EPIPE);
    rig_tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_gate");
    TCase *all = tcase_create("proxy_gate");
    tcase_add_test(all, what_is_no_list_of_proxies_is_refused);
    tcase_add_test(all, without_memory_there_is_no_server);
    tcase_add_test(all, the_other_end_is_asked_of_the_system);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
