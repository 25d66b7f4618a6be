/* test_net_faults.c - net/ when the system fails it: every single allocation and call once, in a scene that uses all
 * that a connection can do, and in the life of a whole server. Nothing leaks, nothing is called twice or never, and
 * whoever the failure did not hit gets what it should. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>

/* --- connections --- */

/* A scene of one loop: VICTIM goes through everything; BYSTANDER echoes. */
static struct scene {
    int files; /* a file to be sent */
    int opened, closed;
    enum rill_close_reason reason;
    int peers[3];
    size_t heard[3];
} scene;

static void scene_open(struct rill_conn *conn)
{
    scene.opened++;
    rig.conn = conn;
    rill_conn_set_deadline(conn, 50000);
    rill_conn_send(conn, "greeting", 8);
}

static void send_everything(struct rill_conn *conn)
{
    static const char much[20000];
    struct rill_buf *buf = rill_buf_copy(much, 3000);
    if (buf)
        rill_conn_send_buf(conn, buf);
    rill_conn_send(conn, much, 100);
    char *room = rill_conn_reserve(conn, 500);
    if (room) {
        memset(room, 'r', 500);
        rill_conn_commit(conn, 500);
    }
    int fd = rill_sys_dup(scene.files);
    struct rill_file_ref *file = rill_file_ref_new(fd);
    if (file) {
        rill_conn_send_file(conn, file, 0, 5000);
        rill_file_ref_drop(file);
    }
    rill_conn_send(conn, much, sizeof much);
    rill_conn_want_drain(conn);
}

static void scene_data(struct rill_conn *conn, struct rill_input *input)
{
    size_t whole = input->length - input->length % 7; /* the rest is kept */
    if (whole > 0)
        send_everything(conn);
    if (whole > 0 && rill_conn_is_open(conn)) {
        rill_conn_pause(conn, RILL_PAUSE_USER);
        rill_conn_set_deadline(conn, 60000);
    }
    rill_input_consume(input, whole);
}

static void scene_drain(struct rill_conn *conn)
{
    rill_conn_resume(conn, RILL_PAUSE_USER);
}

static void scene_eof(struct rill_conn *conn)
{
    rill_conn_send(conn, "farewell", 8);
    rill_conn_finish(conn, true);
}

static void scene_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    scene.closed++;
    scene.reason = reason;
}

static const struct rill_conn_handler actor = {.on_open = scene_open,
                                               .on_data = scene_data,
                                               .on_drain = scene_drain,
                                               .on_eof = scene_eof,
                                               .on_close = scene_close};

/* Lets everything go on its way, and listens. */
static void let_run(int count)
{
    while (count-- > 0) {
        rig_turns(1);
        for (int i = 0; i < 3; i++)
            if (scene.peers[i] >= 0)
                scene.heard[i] += rig_drop(scene.peers[i], NULL);
    }
}

/* Plays the scene with three connections that all do the same. Faults strike from the first adoption on. */
static void play(enum rill_backend backend, const struct faulty_sys *faults)
{
    memset(&scene, 0, sizeof scene);
    FILE *file = tmpfile();
    ck_assert_int_eq(ftruncate(fileno(file), 5000), 0);
    scene.files = fileno(file);
    rig_set_up(backend);
    rig.config.handler = &actor;
    rig.config.write_timeout_ms = 1000;
    int pairs[3][2];
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]), 0);
        scene.peers[i] = pairs[i][1];
    }
    int64_t skewed_ms = faulty_sys.skewed_ms;
    faulty_sys = *faults;
    faulty_sys.skewed_ms = skewed_ms;
    for (int i = 0; i < 3; i++) {
        if (rill_conn_adopt(rig.loop, pairs[i][0], NULL, &rig.config) < 0) {
            close(scene.peers[i]);
            scene.peers[i] = -1;
        }
    }
    for (int round = 0; round < 3; round++) { /* records in pieces */
        for (int i = 0; i < 3; i++)
            if (scene.peers[i] >= 0)
                ck_assert_int_ne(write(scene.peers[i], "record 1, rec", round == 2 ? 13 : 3), 0);
        let_run(20);
    }
    for (int i = 0; i < 3; i++)
        if (scene.peers[i] >= 0)
            shutdown(scene.peers[i], SHUT_WR);
    let_run(60);
    uint64_t failed = faulty_sys.failed;
    faulty_sys_reset();
    faulty_sys.failed = failed;
    for (int i = 0; i < 3; i++)
        if (scene.peers[i] >= 0)
            close(scene.peers[i]);
    rig_tear_down();
    fclose(file);
    ck_assert_int_eq(scene.opened, scene.closed);
}

/* What a peer hears when nothing fails. */
static size_t heard_without_faults(enum rill_backend backend)
{
    play(backend, &(struct faulty_sys){0});
    ck_assert_int_eq(scene.opened, 3);
    ck_assert_int_eq(scene.reason, RILL_CLOSE_LOCAL);
    ck_assert_uint_gt(scene.heard[0], 28600);
    ck_assert_uint_eq(scene.heard[0], scene.heard[1]);
    ck_assert_uint_eq(scene.heard[0], scene.heard[2]);
    return scene.heard[0];
}

/* Lets each of the calls that FAULTS counts fail, one a scene, until there are no more of them. */
static void fail_each(enum rill_backend backend, struct faulty_sys faults, int least, int hit)
{
    size_t whole = heard_without_faults(backend);
    unsigned descriptors = faulty_sys_open_descriptors();
    int failed = 0;
    for (faults.fail_after = 1;; faults.fail_after++, failed++) {
        play(backend, &faults);
        if (faulty_sys.failed == 0)
            break;
        int unharmed = 0;
        for (int i = 0; i < 3; i++)
            unharmed += scene.heard[i] == whole;
        ck_assert_msg(unharmed >= 3 - hit, "failure %d hit %d connections", failed + 1, 3 - unharmed);
        ck_assert_msg(faulty_sys_open_descriptors() == descriptors, "failure %d: a descriptor leaks", failed + 1);
    }
    ck_assert_int_ge(failed, least);
}

/* Not with select: libevent's own reallocates its sets while it waits, and ends the loop when it cannot. */
START_TEST(each_allocation_may_fail)
{
    fail_each((enum rill_backend)_i, (struct faulty_sys){.counts[FAULTY_MEMORY] = true}, 20, 1);
}
END_TEST

START_TEST(each_call_may_fail)
{
    static const int errors[] = {ECONNRESET, ENOBUFS, EPIPE, ENOMEM, ETIMEDOUT};
    struct faulty_sys faults = {.fail_error = errors[_i / 3]};
    faults.counts[FAULTY_RECV + _i % 3] = true;
    fail_each((enum rill_backend)(_i % 2), faults, 3, 1);
}
END_TEST

START_TEST(an_interrupted_call_is_made_again)
{
    struct faulty_sys faults = {.fail_error = EINTR};
    faults.counts[FAULTY_RECV] = faults.counts[FAULTY_SEND] = faults.counts[FAULTY_SENDFILE] = true;
    fail_each((enum rill_backend)_i, faults, 15, 0);
}
END_TEST

START_TEST(each_event_may_be_refused)
{
    fail_each(RILL_BACKEND_EPOLL, (struct faulty_sys){.fail_error = ENOSPC, .counts[FAULTY_EPOLL_CTL] = true}, 3, 1);
}
END_TEST

START_TEST(the_reason_says_what_failed)
{
    static const struct {
        enum faulty_call call;
        int error;
        enum rill_close_reason reason;
    } table[] = {
        {FAULTY_RECV, ECONNRESET, RILL_CLOSE_RESET},   {FAULTY_RECV, ENOMEM, RILL_CLOSE_NO_MEMORY},
        {FAULTY_SEND, ECONNRESET, RILL_CLOSE_RESET},   {FAULTY_SEND, EPIPE, RILL_CLOSE_RESET},
        {FAULTY_SEND, ENOBUFS, RILL_CLOSE_NO_MEMORY},  {FAULTY_SENDFILE, EIO, RILL_CLOSE_RESET},
        {FAULTY_MEMORY, ENOMEM, RILL_CLOSE_NO_MEMORY},
    };
    rig_set_up(RILL_BACKEND_EPOLL);
    struct rill_conn *conn = rig_adopt();
    rig_turns(2);
    faulty_sys.error[table[_i].call] = table[_i].error;
    ck_assert_int_eq(write(rig.peer, "x", 1), 1);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (table[_i].call == FAULTY_SENDFILE) {
        struct rill_file_ref *file = rill_file_ref_new(fd);
        ck_assert_int_eq(rill_conn_send_file(conn, file, 0, 10), 0);
        rill_file_ref_drop(file);
    } else {
        int error = rill_conn_send(conn, "abc", 3);
        ck_assert_int_eq(error, table[_i].call == FAULTY_MEMORY ? -ENOMEM : 0);
        close(fd);
    }
    rig_turns(3);
    faulty_sys_reset();
    ck_assert_int_eq(rig.closed, 1);
    ck_assert_int_eq(rig.reason, table[_i].reason);
    rig_tear_down();
}
END_TEST

START_TEST(pieces_of_every_size)
{
    enum rill_backend backend = (enum rill_backend)(1 + _i % 2);
    static const size_t sizes[] = {100, 127, 499, 1000, 4095, 4096, 4097};
    for (size_t k = 0; k < rill_array_length(sizes); k++) {
        struct faulty_sys faults = {.most_received = k + 1, .most_sent = sizes[k]};
        play(backend, &faults);
        ck_assert_int_eq(scene.opened, 3); /* and closed, in whatever state the end found them */
        ck_assert_uint_gt(scene.heard[0], sizes[k]);
    }
}
END_TEST

/* --- a server --- */

static struct served {
    struct rill_server *server;
    struct rill_timer end;
    int opened, closed, started, stopped;
} served;

static void served_open(struct rill_conn *conn)
{
    (void)conn;
    __atomic_fetch_add(&served.opened, 1, __ATOMIC_SEQ_CST);
}

static void served_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static void served_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    __atomic_fetch_add(&served.closed, 1, __ATOMIC_SEQ_CST);
}

static const struct rill_conn_handler echo = {.on_open = served_open, .on_data = served_data, .on_close = served_close};

static int count_start(struct rill_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    __atomic_fetch_add(&served.started, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void count_stop(struct rill_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    __atomic_fetch_add(&served.stopped, 1, __ATOMIC_SEQ_CST);
}

static void end_server(struct rill_timer *timer)
{
    (void)timer;
    rill_server_stop(served.server, true);
}

static void hang_up(int *clients, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(clients[i]);
}

static unsigned call(int *clients, unsigned count)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(served.server, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < count; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(clients[i], (struct sockaddr *)&at, sizeof at), 0);
        ck_assert_int_eq(write(clients[i], "ping", 4), 4);
    }
    return count;
}

/* The life of a server with clients in its backlog. Whatever fails, it comes to an end. */
static void live(const struct rill_server_config *config, const struct faulty_sys *faults)
{
    int error, clients[5];
    unsigned called = 0;
    memset(&served, 0, sizeof served);
    int64_t skewed_ms = faulty_sys.skewed_ms;
    faulty_sys = *faults;
    faulty_sys.skewed_ms = skewed_ms;
    served.server = rill_server_new(config, &error);
    if (served.server) {
        called = call(clients, rill_array_length(clients));
        rill_timer_init(&served.end, end_server);
        rill_loop_arm(rill_server_main_loop(served.server), &served.end, 5);
        error = rill_server_run(served.server, false);
        rill_server_free(served.server);
    } else {
        ck_assert_int_lt(error, 0);
    }
    uint64_t failed = faulty_sys.failed;
    faulty_sys_reset();
    faulty_sys.failed = failed;
    hang_up(clients, called);
    ck_assert_int_eq(served.opened, served.closed);
    ck_assert_int_eq(served.started, served.stopped);
    ck_assert(failed > 0 || error == 0);
}

START_TEST(each_step_of_a_servers_life_may_fail)
{
    static const int threads[] = {0, 2};
    struct faulty_sys faults = {.fail_error = _i / 6 ? EMFILE : ENOMEM};
    faults.counts[FAULTY_MEMORY] = _i / 6 == 0;
    faults.counts[FAULTY_DESCRIPTOR] = faults.counts[FAULTY_EPOLL_CTL] = faults.counts[FAULTY_THREAD] =
        faults.counts[FAULTY_ACCEPT] = _i / 6 == 1;
    struct rill_server_config config = {.listen = "127.0.0.1:0",
                                        .handler = &echo,
                                        .threads = threads[_i % 2],
                                        .accept = (enum rill_accept_mode)(_i / 2 % 3),
                                        .on_loop_start = count_start,
                                        .on_loop_stop = count_stop};
    rill_log_set_level(RILL_LOG_OFF);
    live(&config, &(struct faulty_sys){0});
    unsigned descriptors = faulty_sys_open_descriptors();
    for (faults.fail_after = 1;; faults.fail_after++) {
        live(&config, &faults);
        ck_assert_msg(faulty_sys_open_descriptors() == descriptors, "failure %d: a descriptor leaks",
                      (int)faults.fail_after);
        if (faulty_sys.failed == 0)
            break;
    }
    ck_assert_uint_ge(faults.fail_after, 15);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net faults");
    TCase *all = tcase_create("net faults");
    tcase_add_loop_test(all, each_allocation_may_fail, 0, 2);
    tcase_add_loop_test(all, each_call_may_fail, 0, 15);
    tcase_add_loop_test(all, an_interrupted_call_is_made_again, 0, 3);
    tcase_add_test(all, each_event_may_be_refused);
    tcase_add_loop_test(all, the_reason_says_what_failed, 0, 7);
    tcase_add_loop_test(all, pieces_of_every_size, 0, 2);
    tcase_add_loop_test(all, each_step_of_a_servers_life_may_fail, 0, 12);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
