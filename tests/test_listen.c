/* test_listen.c - where a server listens: the texts of addresses, the files of Unix sockets, and descriptors that it
 * was started with; up to the point where it would run. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include "support/test_log.h"
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>

static const struct rill_conn_handler handler;
static char path[64];

static void set_up(void)
{
    faulty_sys_reset();
    snprintf(path, sizeof path, "/tmp/rill-test-listen-%ld.sock", (long)getpid());
    unlink(path);
    test_log_open();
}

static void tear_down(void)
{
    unlink(path);
    test_log_close();
}

/* --- texts --- */

static int parse(const char *text, struct rill_listen_address *address)
{
    const char *why = NULL;
    int error = rill_listen_parse(text, address, &why);
    ck_assert(error == 0 || error == -EINVAL);
    if (error < 0) {
        ck_assert_ptr_nonnull(why);
        ck_assert_int_eq(rill_listen_parse(text, address, NULL), error); /* who does not want to know why */
    }
    return error;
}

START_TEST(addresses_are_what_they_are_elsewhere)
{
    static const char *const texts[] = {"127.0.0.1:80", "[::1]:443", "*:0", "unix:/a/b", "unix:relative,comma"};
    struct rill_listen_address address;
    struct rill_addr plain;
    ck_assert_int_eq(parse(texts[_i], &address), 0);
    ck_assert_int_eq(rill_addr_parse(texts[_i], &plain, NULL), 0);
    ck_assert_int_eq(address.fd, -1);
    ck_assert_int_eq(address.mode, 0);
    ck_assert_uint_eq(address.addr.length, plain.length);
    ck_assert_mem_eq(&address.addr.socket, &plain.socket, plain.length);
}
END_TEST

START_TEST(modes_are_octal)
{
    static const struct {
        const char *text, *path;
        int mode;
    } cases[] = {
        {"unix:/a,mode=660", "/a", 0660},
        {"unix:/a,mode=0660", "/a", 0660},
        {"unix:/a,mode=777", "/a", 0777},
        {"unix:/a,mode=1", "/a", 01},
        {"unix:/a,b,mode=600", "/a,b", 0600},
        {"unix:/a,mode=6,mode=600", "/a,mode=6", 0600}, /* a path may have it in it */
        {"unix:/a,mode=b/c,mode=600", "/a,mode=b/c", 0600},
    };
    struct rill_listen_address address;
    ck_assert_int_eq(parse(cases[_i].text, &address), 0);
    ck_assert_int_eq(address.mode, cases[_i].mode);
    ck_assert_int_eq(address.fd, -1);
    ck_assert_str_eq(address.addr.socket.local.sun_path, cases[_i].path);
    ck_assert_uint_eq(address.addr.length, offsetof(struct sockaddr_un, sun_path) + strlen(cases[_i].path) + 1);
}
END_TEST

START_TEST(descriptors_are_numbers)
{
    struct rill_listen_address address;
    ck_assert_int_eq(parse("fd:0", &address), 0);
    ck_assert_int_eq(address.fd, 0);
    ck_assert_int_eq(parse("fd:2147483647", &address), 0);
    ck_assert_int_eq(address.fd, INT32_MAX);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    static const char *const texts[] = {
        "",
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:65536",
        "[::1]",
        "unix:",
        "unix:,mode=660",
        "unix:/a,mode=",
        "unix:/a,mode=0",
        "unix:/a,mode=000",
        "unix:/a,mode=1777",
        "unix:/a,mode=66 ",
        "unix:/a,mode=680",
        "unix:/a,mode=rw",
        "unix:/a,mode=-60",
        "unix:/a,mode=00660",
        "unix:/a,mode=99999999999999999999",
        "unix:/a,mode=660,",
        "127.0.0.1:80,mode=660",
        "fd:",
        "fd:-1",
        "fd:+3",
        "fd:3x",
        "fd: 3",
        "fd:2147483648",
        "fd:99999999999999999999999",
        "fd:three",
        "fd",
    };
    struct rill_listen_address address;
    ck_assert_int_eq(parse(texts[_i], &address), -EINVAL);
}
END_TEST

START_TEST(paths_have_room_for_as_much_as_the_system_takes)
{
    struct rill_listen_address address;
    char text[200];
    for (size_t length = 1; length < 180; length++) {
        memset(text, 'p', sizeof text);
        memcpy(text, "unix:", 5);
        text[5 + length] = '\0';
        ck_assert_int_eq(parse(text, &address), length <= 107 ? 0 : -EINVAL);
        memcpy(text + 5 + length, ",mode=660", 10);
        ck_assert_int_eq(parse(text, &address), length <= 107 ? 0 : -EINVAL);
        if (length <= 107) {
            ck_assert_int_eq(address.mode, 0660);
            ck_assert_uint_eq(strlen(address.addr.socket.local.sun_path), length);
        }
    }
}
END_TEST

/* --- servers that do not run --- */

static struct rill_server *new_server(const char *first, const char *second, int *error)
{
    struct rill_server_config config = {.handler = &handler, .threads = 2, .listen = first};
    config.listens[0].address = second;
    return rill_server_new(&config, error);
}

static struct rill_server *must_listen(const char *first, const char *second)
{
    int error;
    struct rill_server *server = new_server(first, second, &error);
    ck_assert_ptr_nonnull(server);
    return server;
}

static void must_not_listen(const char *first, const char *second, int expected)
{
    int error = 0;
    ck_assert_ptr_null(new_server(first, second, &error));
    ck_assert_int_eq(error, expected);
}

START_TEST(every_listener_wants_a_handler)
{
    struct rill_server_config config = {
        .listens = {{.address = "127.0.0.1:0", .handler = &handler}, {.address = "127.0.0.1:0"}}};
    int error = 0;
    ck_assert_ptr_null(rill_server_new(&config, &error));
    ck_assert_int_eq(error, -EINVAL);
    ck_assert(test_log_lines("a handler is wanted for what listens on \"127.0.0.1:0\""));
    config.listens[1].handler = &handler;
    struct rill_server *server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_uint_ne(rill_server_port(server, 0), rill_server_port(server, 1));
    ck_assert_uint_eq(rill_server_port(server, 2), 0);
    rill_server_free(server);
}
END_TEST

START_TEST(there_is_an_end_to_the_listeners)
{
    struct rill_server_config config = {.handler = &handler};
    int error = 0;
    ck_assert_ptr_null(rill_server_new(&config, &error));
    ck_assert_int_eq(error, -EINVAL);
    ck_assert(test_log_lines("an address to listen on is wanted"));
    for (unsigned i = 0; i < RILL_SERVER_MAX_LISTENERS; i++)
        config.listens[i].address = "127.0.0.1:0";
    struct rill_server *server = rill_server_new(&config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_uint_ne(rill_server_port(server, RILL_SERVER_MAX_LISTENERS - 1), 0);
    rill_server_free(server);
    config.listen = "127.0.0.1:0";
    ck_assert_ptr_null(rill_server_new(&config, &error));
    ck_assert_int_eq(error, -EINVAL);
    ck_assert(test_log_lines("cannot listen on more than 32 addresses"));
}
END_TEST

/* --- the files of Unix sockets --- */

static int mode_of_file(void)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) ? (int)(st.st_mode & 0777) : -1;
}

START_TEST(the_file_has_the_mode_that_was_asked_for)
{
    static const int modes[] = {0, 0600, 0660, 0666, 0777, 0222};
    static const mode_t masks[] = {0022, 0077, 0000, 0777};
    char text[100];
    for (unsigned m = 0; m < rill_array_length(masks); m++) {
        int plain = 0777 & ~(int)masks[m];
        snprintf(text, sizeof text, modes[_i] ? "unix:%s,mode=%o" : "unix:%s", path, (unsigned)modes[_i]);
        mode_t before = umask(masks[m]);
        struct rill_server *server = must_listen(text, NULL);
        umask(before);
        ck_assert_int_eq(mode_of_file(), modes[_i] ? modes[_i] : plain);
        rill_server_free(server);
        ck_assert_int_eq(mode_of_file(), -1);
    }
}
END_TEST

static int local_socket(int type, bool listening)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, type, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert(!listening || listen(fd, 5) == 0);
    return fd;
}

START_TEST(a_stale_file_is_cleaned_up_and_a_live_one_is_not)
{
    char text[100];
    snprintf(text, sizeof text, "unix:%s", path);
    int fd = local_socket(SOCK_STREAM, true);
    must_not_listen(text, NULL, -EADDRINUSE);
    ck_assert(test_log_lines("another program listens there"));
    ck_assert_int_ne(mode_of_file(), -1);
    close(fd); /* as a crash leaves it */
    ck_assert_int_ne(mode_of_file(), -1);
    rill_server_free(must_listen(text, NULL));
    ck_assert_int_eq(mode_of_file(), -1);
}
END_TEST

START_TEST(a_busy_socket_is_not_stale)
{
    /* Nobody accepts, and the backlog is full, so that connecting to it fails, if for another reason. */
    char text[100];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int calls[8];
    snprintf(text, sizeof text, "unix:%s", path);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = local_socket(SOCK_STREAM, true);
    bool full = false;
    for (int i = 0; i < 8; i++) {
        calls[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        full |= connect(calls[i], (struct sockaddr *)&at, sizeof at) < 0 && errno == EAGAIN;
    }
    ck_assert(full);
    must_not_listen(text, NULL, -EADDRINUSE);
    ck_assert_int_ne(mode_of_file(), -1);
    for (int i = 0; i < 8; i++)
        close(calls[i]);
    close(fd);
}
END_TEST

START_TEST(what_is_no_socket_stays)
{
    char text[100], target[80];
    struct stat st;
    snprintf(text, sizeof text, "unix:%s", path);
    snprintf(target, sizeof target, "%s.target", path);
    FILE *file = fopen(path, "w");
    fclose(file);
    must_not_listen(text, NULL, -EADDRINUSE);
    ck_assert(lstat(path, &st) == 0 && S_ISREG(st.st_mode));
    unlink(path);
    ck_assert_int_eq(symlink(target, path), 0); /* to nowhere */
    must_not_listen(text, NULL, -EADDRINUSE);
    ck_assert(lstat(path, &st) == 0 && S_ISLNK(st.st_mode));
}
END_TEST

START_TEST(a_failure_leaves_nothing_behind)
{
    /* Every call that makes a server fails in its turn: no descriptor and no file is left, and nobody else's goes. */
    char mine[100], text[100], fd_text[20];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    enum faulty_call kind = (enum faulty_call)_i;
    snprintf(at.sun_path, sizeof at.sun_path, "%s.inherited", path);
    snprintf(text, sizeof text, "unix:%s,mode=600", path);
    snprintf(mine, sizeof mine, "%s.inherited", path);
    int outer = socket(AF_UNIX, SOCK_STREAM, 0), failed = 0;
    ck_assert_int_eq(bind(outer, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(outer, 5), 0);
    for (uint64_t k = 1;; k++) {
        int inherited = dup(outer), error = 0;
        unsigned before = faulty_sys_open_descriptors();
        snprintf(fd_text, sizeof fd_text, "fd:%d", inherited);
        struct rill_server_config config = {
            .handler = &handler,
            .threads = 2,
            .accept = RILL_ACCEPT_REUSEPORT,
            .listens = {{.address = text}, {.address = "127.0.0.1:0"}, {.address = fd_text}},
            .workers = 2,
            .max_connections_per_address = 10};
        faulty_sys.counts[kind] = true;
        faulty_sys.fail_after = k;
        struct rill_server *server = rill_server_new(&config, &error);
        bool over = faulty_sys.failed == 0;
        faulty_sys_reset();
        bool fatal = server == NULL;
        failed += fatal;
        ck_assert_int_eq(mode_of_file(), server ? 0600 : -1);
        rill_server_free(server);
        ck_assert_int_eq(mode_of_file(), -1);
        ck_assert_int_eq(access(mine, F_OK), 0);
        unsigned after = faulty_sys_open_descriptors();
        if (fcntl(inherited, F_GETFD) == 0)
            close(inherited); /* it had not come to that one */
        else
            after++;
        ck_assert_uint_eq(after, before);
        if (over)
            break;
    }
    ck_assert_int_ge(failed, kind == FAULTY_THREAD ? 2 : 4);
    close(outer);
    unlink(mine);
}
END_TEST

/* --- inherited descriptors --- */

static int tcp_socket(int type, bool listening)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert(!listening || listen(fd, 5) == 0);
    return fd;
}

static const char *fd_text(int fd)
{
    static char text[20];
    snprintf(text, sizeof text, "fd:%d", fd);
    return text;
}

static unsigned port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t length = sizeof at;
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    return ntohs(at.sin_port);
}

START_TEST(a_listening_socket_is_taken_over)
{
    int fd = tcp_socket(SOCK_STREAM, true);
    unsigned port = port_of(fd);
    struct rill_server *server = must_listen(fd_text(fd), NULL);
    ck_assert_uint_eq(rill_server_port(server, 0), port);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    rill_server_free(server);
    ck_assert_int_lt(fcntl(fd, F_GETFD), 0); /* closed */
}
END_TEST

START_TEST(the_file_of_an_inherited_socket_stays)
{
    int fd = local_socket(SOCK_STREAM, true);
    struct rill_server *server = must_listen(fd_text(fd), "127.0.0.1:0");
    ck_assert_uint_eq(rill_server_port(server, 0), 0);
    ck_assert_uint_ne(rill_server_port(server, 1), 0);
    rill_server_free(server);
    ck_assert_int_lt(fcntl(fd, F_GETFD), 0);
    ck_assert_int_ne(mode_of_file(), -1);
}
END_TEST

START_TEST(what_does_not_listen_is_refused_and_stays_open)
{
    int pair[2],
        fds[] = {tcp_socket(SOCK_STREAM, false), tcp_socket(SOCK_DGRAM, false), local_socket(SOCK_SEQPACKET, true), -1};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    fds[3] = pair[0];
    for (unsigned i = 0; i < 4; i++) {
        int flags = fcntl(fds[i], F_GETFL);
        must_not_listen(fd_text(fds[i]), NULL, -EINVAL);
        ck_assert_int_eq(fcntl(fds[i], F_GETFL), flags); /* untouched */
        close(fds[i]);
    }
    close(pair[1]);
    ck_assert(test_log_lines("it has to be a stream socket that listens already"));
}
END_TEST

START_TEST(what_is_no_socket_is_refused)
{
    char number[20];
    int file = open("/dev/null", O_RDONLY), gone = dup(file), pipe_fds[2];
    close(gone);
    ck_assert_int_eq(pipe(pipe_fds), 0);
    must_not_listen(fd_text(file), NULL, -ENOTSOCK);
    must_not_listen("127.0.0.1:0", fd_text(pipe_fds[0]), -ENOTSOCK);
    must_not_listen("fd:1000000", NULL, -EBADF);
    ck_assert(test_log_lines("cannot listen on descriptor 1000000: "));
    ck_assert_int_eq(fcntl(file, F_GETFD), 0);
    /* No descriptor of the server's own will do. */
    for (int fd = pipe_fds[1] + 1; fd < pipe_fds[1] + 8; fd++) {
        int error = 0;
        snprintf(number, sizeof number, "fd:%d", fd);
        ck_assert_ptr_null(new_server("127.0.0.1:0", number, &error));
        ck_assert(error == -ENOTSOCK || error == -EBADF || error == -EEXIST);
    }
    ck_assert(test_log_lines("it is listened on already"));
    close(file);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}
END_TEST

START_TEST(one_descriptor_is_one_listener)
{
    int fd = tcp_socket(SOCK_STREAM, true);
    unsigned before = faulty_sys_open_descriptors();
    const char *text = fd_text(fd);
    must_not_listen(text, text, -EEXIST);
    ck_assert_int_lt(fcntl(fd, F_GETFD), 0); /* the first had it already */
    ck_assert_uint_eq(faulty_sys_open_descriptors(), before - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listen");
    TCase *all = tcase_create("listen");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_loop_test(all, addresses_are_what_they_are_elsewhere, 0, 5);
    tcase_add_loop_test(all, modes_are_octal, 0, 7);
    tcase_add_test(all, descriptors_are_numbers);
    tcase_add_loop_test(all, nonsense_is_refused, 0, 28);
    tcase_add_test(all, paths_have_room_for_as_much_as_the_system_takes);
    tcase_add_test(all, every_listener_wants_a_handler);
    tcase_add_test(all, there_is_an_end_to_the_listeners);
    tcase_add_loop_test(all, the_file_has_the_mode_that_was_asked_for, 0, 6);
    tcase_add_test(all, a_stale_file_is_cleaned_up_and_a_live_one_is_not);
    tcase_add_test(all, a_busy_socket_is_not_stale);
    tcase_add_test(all, what_is_no_socket_stays);
    tcase_add_loop_test(all, a_failure_leaves_nothing_behind, FAULTY_MEMORY, FAULTY_MEMORY + 1);
    tcase_add_loop_test(all, a_failure_leaves_nothing_behind, FAULTY_DESCRIPTOR, FAULTY_THREAD + 1);
    tcase_add_test(all, a_listening_socket_is_taken_over);
    tcase_add_test(all, the_file_of_an_inherited_socket_stays);
    tcase_add_test(all, what_does_not_listen_is_refused_and_stays_open);
    tcase_add_test(all, what_is_no_socket_is_refused);
    tcase_add_test(all, one_descriptor_is_one_listener);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
