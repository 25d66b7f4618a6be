/* test_datagram.c - endpoints: batches, cutting, the queue and its bound, errors, closing from everywhere, faults. */
#include "rill/core/sys.h"
#include "rill/net/conn.h"
#include "rill/net/datagram.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

enum { SEEN_MAX = 1024 };

static struct rill_loop *loop;
static struct rill_datagram_handler handler;
static struct rill_datagram_config config;
static char folder[64];

/* What the callbacks saw. */
static struct {
    int count, errors, drains, closed;
    size_t lengths[SEEN_MAX], lost[SEEN_MAX];
    int last_error;
    bool error_to; /* the last one named an address */
    struct rill_addr from;
} seen;

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    (void)endpoint;
    if (seen.count < SEEN_MAX) {
        seen.lengths[seen.count] = input->length;
        seen.lost[seen.count] = input->lost;
    }
    seen.count++;
    seen.from = *input->from;
}

static void echo(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    on_datagram(endpoint, input);
    int error = rill_datagram_send(endpoint, input->from, input->bytes, input->length);
    ck_assert(error == 0 || error == -ENOBUFS || error == -ENOMEM || error == -EPIPE);
}

static void on_error(struct rill_datagram *endpoint, const struct rill_addr *to, int error)
{
    (void)endpoint;
    seen.errors++;
    seen.last_error = error;
    seen.error_to = to != NULL;
}

static void on_drain(struct rill_datagram *endpoint)
{
    (void)endpoint;
    seen.drains++;
}

static void on_close(struct rill_datagram *endpoint)
{
    (void)endpoint;
    seen.closed++;
}

static void set_up(void)
{
    int error;
    faulty_sys_reset();
    memset(&seen, 0, sizeof seen);
    handler = (struct rill_datagram_handler){
        .on_datagram = on_datagram, .on_error = on_error, .on_drain = on_drain, .on_close = on_close};
    config = (struct rill_datagram_config){.handler = &handler};
    snprintf(folder, sizeof folder, "/tmp/rill-test-datagram-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    loop = rill_loop_new(&(struct rill_loop_config){.name = "datagram"}, &error);
    ck_assert_ptr_nonnull(loop);
}

static void use_backend(enum rill_backend backend)
{
    int error;
    rill_loop_free(loop);
    loop = rill_loop_new(&(struct rill_loop_config){.backend = backend}, &error);
    ck_assert_ptr_nonnull(loop);
}

static void tear_down(void)
{
    faulty_sys_reset();
    rill_loop_free(loop);
    ck_assert_int_eq(rmdir(folder), 0); /* no socket's file is left */
}

static void turns(int count)
{
    while (count-- > 0)
        ck_assert_int_eq(rill_loop_turn(loop, false), 0);
}

/* "v4", "v6" and "unix". */
static struct rill_addr address_of(int family)
{
    char text[RILL_ADDR_TEXT];
    struct rill_addr addr;
    snprintf(text, sizeof text, "unix:%s/socket", folder);
    ck_assert_int_eq(rill_addr_parse(family == 0 ? "127.0.0.1:0" : family == 1 ? "[::1]:0" : text, &addr, NULL), 0);
    return addr;
}

static struct rill_datagram *open_at(int family)
{
    struct rill_addr addr = address_of(family);
    int error = 1;
    struct rill_datagram *endpoint = rill_datagram_open(loop, &addr, &config, &error);
    ck_assert_msg(endpoint != NULL, "%s", strerror(-error));
    ck_assert_int_eq(error, 0);
    return endpoint;
}

/* A plain socket with an address, non-blocking. */
static int stranger(int family)
{
    const struct sockaddr unnamed = {.sa_family = AF_UNIX};
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (family == AF_UNIX)
        ck_assert_int_eq(bind(fd, &unnamed, sizeof unnamed.sa_family), 0);
    return fd;
}

/* One that talks to ENDPOINT. */
static int client_of(const struct rill_datagram *endpoint)
{
    const struct rill_addr *to = rill_datagram_local(endpoint);
    int fd = stranger(to->socket.any.sa_family);
    ck_assert_int_eq(connect(fd, &to->socket.any, to->length), 0);
    return fd;
}

static struct rill_addr name_of(int fd)
{
    struct rill_addr addr = {.length = sizeof addr.socket};
    ck_assert_int_eq(getsockname(fd, &addr.socket.any, &addr.length), 0);
    return addr;
}

static void put(int fd, char fill, size_t length)
{
    static char bytes[70000];
    memset(bytes, fill, length);
    ck_assert_int_eq(send(fd, bytes, length, 0), (ssize_t)length);
}

/* Whether the next datagram of FD is LENGTH times FILL. */
static void expect(int fd, char fill, size_t length)
{
    static char bytes[70000], wanted[70000];
    memset(wanted, fill, length);
    ck_assert_int_eq(recv(fd, bytes, sizeof bytes, 0), (ssize_t)length);
    ck_assert_int_eq(memcmp(bytes, wanted, length), 0);
}

static void expect_nothing(int fd)
{
    char byte;
    ck_assert_int_eq(recv(fd, &byte, 1, 0), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

/* --- sending and receiving --- */

START_TEST(every_family_and_backend_echoes)
{
    static const size_t lengths[] = {1, 0, 100, 1472, 9000, 65507, 2};
    use_backend((enum rill_backend)(_i / 3));
    handler.on_datagram = echo;
    struct rill_datagram *endpoint = open_at(_i % 3);
    int client = client_of(endpoint);
    for (size_t i = 0; i < rill_array_length(lengths); i++) {
        put(client, (char)('a' + i), lengths[i]);
        turns(1);
        expect(client, (char)('a' + i), lengths[i]);
    }
    ck_assert_int_eq(seen.count, (int)rill_array_length(lengths));
    struct rill_addr name = name_of(client);
    ck_assert_uint_eq(seen.from.length, name.length);
    ck_assert_mem_eq(&seen.from.socket, &name.socket, name.length);
    ck_assert_ptr_eq(rill_datagram_loop(endpoint), loop);
    close(client);
}
END_TEST

START_TEST(many_share_a_system_call)
{
    static const struct {
        size_t max_datagram_bytes;
        unsigned at_once;
    } cases[] = {{2048, 64}, {0, 16}, {65536, 16}, {40000, 26}, {1, 64}};
    config.max_datagram_bytes = cases[_i].max_datagram_bytes;
    handler.on_datagram = echo;
    struct rill_datagram *endpoint = open_at(0);
    int client = client_of(endpoint);
    for (int i = 0; i < 200; i++)
        put(client, 'x', 1);
    uint64_t receives = faulty_sys.calls[FAULTY_RECV], sends = faulty_sys.calls[FAULTY_SEND];
    turns(10);
    ck_assert_int_eq(seen.count, 200);
    unsigned batches = (200 + cases[_i].at_once - 1) / cases[_i].at_once;
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_RECV] - receives, batches);
    /* What one wake-up brought leaves together: four batches. */
    unsigned wake_ups = (batches + 3) / 4, full = 4 * cases[_i].at_once;
    unsigned rest = 200 - (wake_ups - 1) * full;
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND] - sends, (wake_ups - 1) * ((full + 63) / 64) + (rest + 63) / 64);
    for (int i = 0; i < 200; i++)
        expect(client, 'x', 1);
    expect_nothing(client);
    close(client);
}
END_TEST

START_TEST(what_is_sent_elsewhere_leaves_with_the_turn)
{
    struct rill_datagram *endpoint = open_at(_i);
    int client = client_of(endpoint);
    struct rill_addr to = name_of(client);
    uint64_t sends = faulty_sys.calls[FAULTY_SEND];
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(rill_datagram_send(endpoint, &to, "some", 4), 0);
        ck_assert_uint_gt(rill_datagram_queued(endpoint), 0);
    }
    expect_nothing(client);
    turns(1);
    ck_assert_uint_eq(faulty_sys.calls[FAULTY_SEND], sends + 1);
    ck_assert_uint_eq(rill_datagram_queued(endpoint), 0);
    char bytes[5];
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(recv(client, bytes, sizeof bytes, 0), 4);
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.sent, 10);
    close(client);
}
END_TEST

START_TEST(too_long_ones_are_cut_and_it_is_told)
{
    static const size_t lengths[] = {99, 100, 101, 5000, 0, 100};
    config.max_datagram_bytes = 100;
    struct rill_datagram *endpoint = open_at(_i);
    int client = client_of(endpoint);
    for (size_t i = 0; i < rill_array_length(lengths); i++)
        put(client, 'x', lengths[i]);
    turns(1);
    ck_assert_int_eq(seen.count, (int)rill_array_length(lengths));
    for (size_t i = 0; i < rill_array_length(lengths); i++) {
        ck_assert_uint_eq(seen.lengths[i], lengths[i] < 100 ? lengths[i] : 100);
        ck_assert_uint_eq(seen.lost[i], lengths[i] - seen.lengths[i]);
    }
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.received, rill_array_length(lengths));
    ck_assert_uint_eq(stats.cut, 2);
    close(client);
}
END_TEST

START_TEST(endpoints_with_different_lengths_share_a_loop)
{
    static struct rill_datagram_config small;
    int error;
    small = config;
    small.max_datagram_bytes = 10;
    struct rill_addr addr = address_of(0);
    struct rill_datagram *large_one = open_at(0), *small_one = rill_datagram_open(loop, &addr, &small, &error);
    ck_assert_ptr_nonnull(small_one);
    int to_large = client_of(large_one), to_small = client_of(small_one);
    for (int i = 0; i < 3; i++) {
        seen.count = 0;
        put(to_large, 'l', 5000);
        turns(1);
        ck_assert_uint_eq(seen.lengths[0], 5000);
        put(to_small, 's', 5000);
        turns(1);
        ck_assert_int_eq(seen.count, 2);
        ck_assert_uint_eq(seen.lengths[1], 10);
        ck_assert_uint_eq(seen.lost[1], 4990);
    }
    close(to_large);
    close(to_small);
}
END_TEST

START_TEST(connected_ones_talk_both_ways)
{
    int error;
    static const struct rill_datagram_handler echo_handler = {.on_datagram = echo};
    static struct rill_datagram_config echo_config = {.handler = &echo_handler, .arg = &echo_config};
    struct rill_addr addr = address_of(_i);
    struct rill_datagram *server = rill_datagram_open(loop, &addr, &echo_config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_ptr_eq(rill_datagram_arg(server), &echo_config);
    struct rill_datagram *client = rill_datagram_connect(loop, rill_datagram_local(server), &config, &error);
    ck_assert_ptr_nonnull(client);
    rill_datagram_set_user(client, &addr);
    ck_assert_ptr_eq(rill_datagram_user(client), &addr);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(rill_datagram_send(client, NULL, "hello", 5), 0);
    turns(4);
    ck_assert_int_eq(seen.count, 10); /* five there, five here */
    /* A stranger is not heard. */
    if (_i != 2) {
        int stranger = client_of(client);
        put(stranger, 'x', 1);
        turns(2);
        ck_assert_int_eq(seen.count, 10);
        close(stranger);
    }
}
END_TEST

START_TEST(a_sender_without_a_name_is_one)
{
    struct rill_datagram *endpoint = open_at(2);
    int named[2] = {client_of(endpoint), client_of(endpoint)}, unnamed = socket(AF_UNIX, SOCK_DGRAM, 0);
    const struct rill_addr *to = rill_datagram_local(endpoint);
    char text[RILL_ADDR_TEXT];
    handler.on_datagram = echo;
    for (int i = 1; i <= 3; i++) { /* in turn, so that one's name comes where the other's was */
        put(named[i % 2], 'n', 1);
        turns(1);
        expect(named[i % 2], 'n', 1);
        ck_assert_int_eq(sendto(unnamed, "u", 1, 0, &to->socket.any, to->length), 1);
        turns(2);
        ck_assert_int_eq(seen.count, 2 * i);
        rill_addr_format(&seen.from, text);
        ck_assert_str_eq(text, "unix:");
        ck_assert_int_eq(seen.errors, i); /* nobody can answer it */
    }
    close(named[0]);
    close(named[1]);
    close(unnamed);
}
END_TEST

/* --- the queue --- */

START_TEST(the_queue_is_bounded)
{
    struct rill_datagram *endpoint;
    int client, taken = 0, result;
    struct rill_addr to;
    static char bytes[700];
    config.max_queued_bytes = 100000;
    if (_i == 2) { /* one that is not connected would not wait for its peer */
        int error;
        client = stranger(AF_UNIX);
        to = name_of(client);
        endpoint = rill_datagram_connect(loop, &to, &config, &error);
        ck_assert_ptr_nonnull(endpoint);
    } else {
        endpoint = open_at(_i);
        client = client_of(endpoint);
        to = name_of(client);
    }
    faulty_sys.send_limited = true;
    do {
        bytes[0] = (char)taken;
        result = rill_datagram_send(endpoint, _i == 2 ? NULL : &to, bytes, sizeof bytes);
        taken += result == 0;
        ck_assert_uint_le(rill_datagram_queued(endpoint), 100000);
    } while (result == 0);
    ck_assert_int_eq(result, -ENOBUFS);
    ck_assert_int_gt(taken, 100000 / 800);
    ck_assert_int_le(taken, 100000 / 700);
    ck_assert_int_eq(rill_datagram_send(endpoint, _i == 2 ? NULL : &to, bytes, sizeof bytes), -ENOBUFS);
    turns(3);
    ck_assert_int_eq(seen.drains, 0);
    expect_nothing(client);
    for (int i = 0; i < taken; i++) {
        faulty_sys.send_quota = 1;
        turns(2);
        ck_assert_msg(recv(client, bytes, sizeof bytes, 0) == sizeof bytes, "%d of %d", i, taken);
        ck_assert_int_eq(bytes[0], (char)i);
    }
    ck_assert_int_eq(seen.drains, 1);
    ck_assert_uint_eq(rill_datagram_queued(endpoint), 0);
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.sent, (unsigned)taken);
    ck_assert_uint_eq(stats.refused, 2);
    ck_assert_uint_eq(stats.failed, 0);
    close(client);
    rill_datagram_close(endpoint);
}
END_TEST

START_TEST(one_that_exceeds_the_bound_alone_is_taken)
{
    config.max_queued_bytes = 1;
    struct rill_datagram *endpoint = open_at(0);
    int client = client_of(endpoint);
    struct rill_addr to = name_of(client);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "ab", 2), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "ab", 2), -ENOBUFS);
    turns(1);
    ck_assert_int_eq(seen.drains, 1);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "ab", 2), 0);
    static char much[RILL_ADDR_TEXT + 65536];
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, much, 65537), -EMSGSIZE);
    close(client);
}
END_TEST

static bool time_is_up;

static void on_time_up(struct rill_timer *timer)
{
    (void)timer;
    time_is_up = true;
}

/* How many turns that wait for something to do there are in MS milliseconds. */
static int turns_within(uint64_t ms)
{
    struct rill_timer timer;
    int count = 0;
    rill_timer_init(&timer, on_time_up);
    time_is_up = false;
    for (rill_loop_arm(loop, &timer, ms); !time_is_up; count++)
        ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    return count;
}

START_TEST(a_peer_that_does_not_read_is_waited_for_without_spinning)
{
    int error, peer = stranger(AF_UNIX);
    struct rill_addr to = name_of(peer);
    use_backend((enum rill_backend)_i);
    struct rill_datagram *endpoint = rill_datagram_connect(loop, &to, &config, &error);
    ck_assert_ptr_nonnull(endpoint);
    for (int i = 0; i < 1000; i++) /* net.unix.max_dgram_qlen is some dozen */
        ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
    turns(3);
    ck_assert_uint_gt(rill_datagram_queued(endpoint), 0);
    ck_assert_int_le(turns_within(30), 4);
    int got = 0;
    char byte;
    for (int idle = 0; got < 1000 && idle < 1000; idle++) {
        for (; recv(peer, &byte, 1, 0) == 1; got++)
            idle = 0;
        turns(1);
    }
    ck_assert_int_eq(got, 1000);
    ck_assert_uint_eq(rill_datagram_queued(endpoint), 0);
    ck_assert_int_eq(seen.errors, 0);
    close(peer);
}
END_TEST

START_TEST(a_full_peer_does_not_hold_up_the_others)
{
    struct rill_datagram *endpoint = open_at(2);
    int slow = stranger(AF_UNIX), quick = stranger(AF_UNIX);
    struct rill_addr to_slow = name_of(slow), to_quick = name_of(quick);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(rill_datagram_send(endpoint, &to_slow, "x", 1), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to_quick, "y", 1), 0);
    turns(1);
    expect(quick, 'y', 1);
    ck_assert_int_gt(seen.errors, 0);
    ck_assert_int_eq(seen.last_error, -EAGAIN);
    ck_assert(seen.error_to);
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.sent + stats.failed, 1001);
    ck_assert_uint_eq(stats.failed, (unsigned)seen.errors);
    close(slow);
    close(quick);
}
END_TEST

/* --- errors --- */

START_TEST(nobody_there_is_told)
{
    int error;
    struct rill_datagram *gone = open_at(_i);
    struct rill_addr to = *rill_datagram_local(gone);
    struct rill_datagram *endpoint = rill_datagram_connect(loop, &to, &config, &error);
    ck_assert_ptr_nonnull(endpoint);
    rill_datagram_close(gone);
    turns(1);
    ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
    turns(3);
    ck_assert_int_eq(seen.errors, 1);
    ck_assert_int_eq(seen.last_error, -ECONNREFUSED);
    ck_assert(!seen.error_to);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
    turns(3);
    ck_assert_int_gt(seen.errors, 1);
    /* Somebody is there again. */
    if (_i < 2) {
        gone = rill_datagram_open(loop, &to, &config, &error);
        ck_assert_ptr_nonnull(gone);
        int errors = seen.errors;
        ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
        turns(2);
        ck_assert_int_eq(seen.count, 1);
        ck_assert_int_eq(seen.errors, errors);
    }
}
END_TEST

START_TEST(the_report_on_an_earlier_one_costs_no_other)
{
    int error;
    struct rill_datagram *server = open_at(0);
    struct rill_datagram *endpoint = rill_datagram_connect(loop, rill_datagram_local(server), &config, &error);
    ck_assert_ptr_nonnull(endpoint);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
    faulty_sys.counts[FAULTY_SEND] = true;
    faulty_sys.fail_after = 1;
    faulty_sys.fail_error = ECONNREFUSED;
    turns(2);
    ck_assert_uint_eq(faulty_sys.failed, 1);
    ck_assert_int_eq(seen.errors, 1);
    ck_assert_int_eq(seen.last_error, -ECONNREFUSED);
    ck_assert_int_eq(seen.count, 3);
    /* One that says so again is lost. */
    faulty_sys.error[FAULTY_SEND] = EHOSTUNREACH;
    ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "x", 1), 0);
    turns(2);
    faulty_sys.error[FAULTY_SEND] = 0;
    ck_assert_int_eq(seen.errors, 3);
    ck_assert_int_eq(seen.last_error, -EHOSTUNREACH);
    ck_assert_int_eq(seen.count, 3);
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.sent, 3);
    ck_assert_uint_eq(stats.failed, 2);
}
END_TEST

/* A socket that nobody but PEER reaches from now on. */
static void set_peer(int fd, const struct rill_addr *peer)
{
    ck_assert_int_eq(connect(fd, &peer->socket.any, peer->length), 0);
}

static int reported_on; /* the socket that was not reached */

/* Nobody is there, and then somebody is; in between a report has come that the next send will bring. */
static void send_after_a_report(void *arg)
{
    struct rill_datagram *endpoint = arg;
    ck_assert_int_eq(send(rill_datagram_fd(endpoint), "x", 1, 0), 1);
    set_peer(reported_on, rill_datagram_local(endpoint));
    ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "y", 1), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "z", 1), 0);
    faulty_sys.counts[FAULTY_SEND] = true;
    faulty_sys.fail_after = 2; /* the first is what the report comes with */
    faulty_sys.fail_error = EINTR;
}

START_TEST(a_report_and_an_interruption_cost_no_other)
{
    int error;
    char got[4];
    struct rill_addr to = address_of(0);
    reported_on = stranger(AF_INET);
    ck_assert_int_eq(bind(reported_on, &to.socket.any, to.length), 0);
    ck_assert_int_eq(getsockname(reported_on, &to.socket.any, &to.length), 0);
    set_peer(reported_on, &to); /* itself */
    struct rill_datagram *endpoint = rill_datagram_connect(loop, &to, &config, &error);
    ck_assert_ptr_nonnull(endpoint);
    ck_assert_int_eq(rill_post(loop, send_after_a_report, endpoint), 0);
    turns(3);
    ck_assert_uint_eq(faulty_sys.failed, 1);
    ck_assert_int_eq(seen.errors, 1);
    ck_assert_int_eq(seen.last_error, -ECONNREFUSED);
    ck_assert_int_eq(recv(reported_on, got, sizeof got, 0), 1);
    ck_assert_int_eq(got[0], 'y');
    ck_assert_int_eq(recv(reported_on, got, sizeof got, 0), 1);
    ck_assert_int_eq(got[0], 'z');
    close(reported_on);
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.sent, 2);
    ck_assert_uint_eq(stats.failed, 0);
}
END_TEST

START_TEST(one_that_cannot_be_sent_stops_no_other)
{
    static char much[65536];
    struct rill_datagram *endpoint = open_at(_i);
    int client = client_of(endpoint);
    struct rill_addr to = name_of(client);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "a", 1), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, much, sizeof much), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "b", 1), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, NULL, "c", 1), 0); /* to whom? */
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "d", 1), 0);
    turns(1);
    expect(client, 'a', 1);
    expect(client, 'b', 1);
    expect(client, 'd', 1);
    expect_nothing(client);
    ck_assert_int_eq(seen.errors, 2);
    close(client);
}
END_TEST

static void send_again(struct rill_datagram *endpoint, const struct rill_addr *to, int error)
{
    on_error(endpoint, to, error);
    ck_assert_int_eq(rill_datagram_send(endpoint, to, "again", 5), 0);
}

START_TEST(who_tries_for_ever_does_not_stop_the_loop)
{
    handler.on_error = send_again;
    struct rill_datagram *endpoint = open_at(0);
    int client = client_of(endpoint);
    struct rill_addr to = name_of(client);
    faulty_sys.error[FAULTY_SEND] = EPERM;
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "x", 1), 0);
    ck_assert_int_eq(rill_datagram_send(endpoint, &to, "x", 1), 0);
    turns(5);
    ck_assert_int_eq(seen.errors, 10);
    faulty_sys.error[FAULTY_SEND] = 0;
    turns(1);
    char bytes[10];
    ck_assert_int_eq(recv(client, bytes, sizeof bytes, 0), 5);
    close(client);
}
END_TEST

START_TEST(a_failed_receive_is_told_and_goes_on)
{
    struct rill_datagram *endpoint = open_at(0);
    int client = client_of(endpoint);
    put(client, 'x', 1);
    faulty_sys.error[FAULTY_RECV] = _i ? EINTR : ENOMEM;
    turns(1);
    ck_assert_int_eq(seen.errors, _i ? 0 : 1);
    ck_assert_int_eq(seen.count, 0);
    faulty_sys.error[FAULTY_RECV] = 0;
    turns(1);
    ck_assert_int_eq(seen.count, 1);
    close(client);
}
END_TEST

/* --- opening and closing --- */

START_TEST(a_unix_socket_leaves_nothing_behind)
{
    int error;
    struct rill_addr addr = address_of(2);
    struct rill_datagram *endpoint = open_at(2);
    ck_assert_ptr_null(rill_datagram_open(loop, &addr, &config, &error));
    ck_assert_int_eq(error, -EADDRINUSE);
    ck_assert_int_eq(access(addr.socket.local.sun_path, F_OK), 0);
    rill_datagram_close(endpoint);
    ck_assert_int_eq(access(addr.socket.local.sun_path, F_OK), -1);
    /* One whose owner died. */
    int dead = socket(AF_UNIX, SOCK_DGRAM, 0);
    ck_assert_int_eq(bind(dead, &addr.socket.any, addr.length), 0);
    close(dead);
    endpoint = open_at(2);
    int client = client_of(endpoint);
    put(client, 'x', 1);
    turns(1);
    ck_assert_int_eq(seen.count, 1);
    close(client);
}
END_TEST

START_TEST(sockets_may_share_an_address)
{
    int fds[4], error;
    struct rill_addr addr = address_of(_i);
    if (_i == 2) {
        ck_assert_int_eq(rill_datagram_bind(&addr, 1, fds), -EAFNOSUPPORT);
        return;
    }
    ck_assert_int_eq(rill_datagram_bind(&addr, 4, fds), 0);
    ck_assert_uint_ne(rill_addr_port(&addr), 0);
    for (int i = 0; i < 4; i++) {
        struct rill_datagram *endpoint = rill_datagram_adopt(loop, fds[i], &config, &error);
        ck_assert_ptr_nonnull(endpoint);
        ck_assert_uint_eq(rill_addr_port(rill_datagram_local(endpoint)), rill_addr_port(&addr));
        ck_assert_int_eq(rill_datagram_fd(endpoint), fds[i]);
    }
    for (int i = 0; i < 100; i++) {
        int fd = socket(addr.socket.any.sa_family, SOCK_DGRAM, 0);
        ck_assert_int_eq(sendto(fd, "x", 1, 0, &addr.socket.any, addr.length), 1);
        close(fd);
    }
    turns(3);
    ck_assert_int_eq(seen.count, 100);
    int alone; /* those who share let nobody else in who does not */
    struct rill_addr same = addr;
    ck_assert_int_eq(rill_datagram_bind(&same, 1, &alone), -EADDRINUSE);
}
END_TEST

START_TEST(buffers_are_asked_for)
{
    int size = 0;
    socklen_t length = sizeof size;
    config.receive_buffer_bytes = 4096;
    config.send_buffer_bytes = 8192;
    struct rill_datagram *endpoint = open_at(0);
    ck_assert_int_eq(getsockopt(rill_datagram_fd(endpoint), SOL_SOCKET, SO_RCVBUF, &size, &length), 0);
    ck_assert_int_eq(size, 2 * 4096);
    ck_assert_int_eq(getsockopt(rill_datagram_fd(endpoint), SOL_SOCKET, SO_SNDBUF, &size, &length), 0);
    ck_assert_int_eq(size, 2 * 8192);
}
END_TEST

START_TEST(every_endpoint_is_closed_once)
{
    struct rill_datagram *first = open_at(0), *second = open_at(1);
    (void)second;
    struct rill_addr to = *rill_datagram_local(first);
    rill_datagram_close(first);
    ck_assert_int_eq(seen.closed, 1);
    rill_datagram_close(first);
    ck_assert_int_eq(seen.closed, 1);
    ck_assert_int_eq(rill_datagram_send(first, &to, "x", 1), -EPIPE);
    ck_assert_int_eq(rill_datagram_fd(first), -1);
    turns(1);
    rill_loop_free(loop); /* which closes the other */
    ck_assert_int_eq(seen.closed, 2);
    loop = NULL;
}
END_TEST

static int refused;

static void open_again(void)
{
    int error;
    struct rill_addr addr = address_of(0);
    if (rill_datagram_open(loop, &addr, &config, &error))
        return;
    ck_assert_int_eq(error, -ESHUTDOWN);
    refused++;
}

static void reopen(struct rill_datagram *endpoint)
{
    on_close(endpoint);
    open_again();
}

static void reopen_conn(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    open_again();
}

/* Who opens another whenever one closes comes to an end all the same. */
START_TEST(nothing_is_opened_on_a_loop_that_goes)
{
    static const struct rill_conn_handler conn_handler = {.on_close = reopen_conn};
    static const struct rill_conn_config conn_config = {.handler = &conn_handler};
    int pair[2];
    refused = 0;
    handler.on_close = reopen;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    ck_assert_int_eq(rill_conn_adopt(loop, pair[0], NULL, &conn_config), 0);
    if (_i) {
        open_at(0);
        rill_datagram_close(open_at(0)); /* which opens a third */
        ck_assert_int_eq(seen.closed, 1);
        ck_assert_int_eq(refused, 0);
    }
    rill_loop_free(loop);
    loop = NULL;
    ck_assert_int_eq(seen.closed, _i ? 3 : 0);
    ck_assert_int_eq(refused, _i ? 3 : 1); /* by the connection too */
    close(pair[1]);
}
END_TEST

START_TEST(what_was_queued_leaves_before_the_close)
{
    struct rill_datagram *endpoint = open_at(_i);
    int client = client_of(endpoint);
    struct rill_addr to = name_of(client);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(rill_datagram_send(endpoint, &to, "xx", 2), 0);
    faulty_sys.send_limited = true;
    faulty_sys.send_quota = 2;
    rill_datagram_close(endpoint);
    struct rill_datagram_stats stats;
    rill_datagram_stats(endpoint, &stats);
    ck_assert_uint_eq(stats.sent, 2);
    ck_assert_uint_eq(stats.failed, 1);
    expect(client, 'x', 2);
    expect(client, 'x', 2);
    expect_nothing(client);
    ck_assert_int_eq(seen.errors, 0); /* on_close is the last word */
    close(client);
}
END_TEST

/* Each callback closes its own endpoint, or the other one. */
static struct rill_datagram *victims[2];
static int close_which;

static void close_victim(void)
{
    rill_datagram_close(victims[close_which]);
}

static void close_on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    echo(endpoint, input);
    if (seen.count == 5)
        close_victim();
}

static void close_on_error(struct rill_datagram *endpoint, const struct rill_addr *to, int error)
{
    on_error(endpoint, to, error);
    close_victim();
}

static void close_on_drain(struct rill_datagram *endpoint)
{
    on_drain(endpoint);
    close_victim();
}

START_TEST(every_callback_may_close)
{
    close_which = _i % 2;
    handler.on_datagram = close_on_datagram;
    handler.on_error = close_on_error;
    handler.on_drain = close_on_drain;
    config.max_queued_bytes = 1000;
    victims[0] = open_at(0);
    victims[1] = open_at(0);
    int client = client_of(victims[0]), others = client_of(victims[1]);
    struct rill_addr to = name_of(client);
    switch (_i / 2) {
    case 0:
        for (int i = 0; i < 20; i++)
            put(client, 'x', 1);
        break;
    case 1:
        faulty_sys.error[FAULTY_SEND] = EPERM;
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(rill_datagram_send(victims[0], &to, "x", 1), 0);
        break;
    case 2:
        while (rill_datagram_send(victims[0], &to, "x", 1) == 0)
            ;
        break;
    }
    turns(3);
    ck_assert_int_eq(seen.closed, 1);
    if (_i == 0) { /* what was answered before the close has left; the rest of the batch was not shown */
        for (int i = 0; i < 5; i++)
            expect(client, 'x', 1);
        ck_assert_int_eq(recv(client, &to, sizeof to, 0), -1);
        ck_assert_int_eq(seen.count, 5);
    }
    faulty_sys_reset();
    close(client);
    close(others);
    turns(2);
}
END_TEST

static void replace(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    int error;
    struct rill_addr addr = *rill_datagram_local(endpoint);
    on_datagram(endpoint, input);
    rill_datagram_close(endpoint);
    faulty_sys.error[FAULTY_EPOLL_CTL] = ENOMEM; /* the loop has no endpoint now, and gets none */
    ck_assert_ptr_null(rill_datagram_open(loop, &addr, &config, &error));
    ck_assert_int_eq(error, -ENOMEM);
    faulty_sys.error[FAULTY_EPOLL_CTL] = 0;
    ck_assert_int_eq(input->bytes[input->length - 1], 'x'); /* still there */
    victims[0] = rill_datagram_open(loop, &addr, &config, &error);
    ck_assert_ptr_nonnull(victims[0]);
}

START_TEST(a_callback_may_open_another_in_its_place)
{
    handler.on_datagram = replace;
    struct rill_datagram *endpoint = open_at(0);
    int client = client_of(endpoint);
    for (int i = 1; i <= 3; i++) {
        put(client, 'x', 3000);
        turns(2);
        ck_assert_int_eq(seen.count, i);
        ck_assert_int_eq(seen.closed, i);
    }
    close(client);
}
END_TEST

/* --- faults --- */

/* Endpoints opened in every way talk to each other, while FAULTS strike. Nothing of them is left. */
static void live(const struct faulty_sys *faults)
{
    int error = 0, fds[2], opened = 0;
    struct rill_addr addr = address_of(0), path = address_of(2);
    struct rill_datagram *clients[2];
    memset(&seen, 0, sizeof seen);
    faulty_sys_reset();
    use_backend(RILL_BACKEND_EPOLL);
    unsigned descriptors = faulty_sys_open_descriptors();
    faulty_sys = *faults;
    if (rill_datagram_bind(&addr, 2, fds) == 0)
        for (int i = 0; i < 2; i++)
            opened += rill_datagram_adopt(loop, fds[i], &config, &error) != NULL;
    opened += rill_datagram_open(loop, &path, &config, &error) != NULL;
    clients[0] = rill_datagram_connect(loop, &addr, &config, &error);
    clients[1] = rill_datagram_connect(loop, &path, &config, &error);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 3 && clients[i]; k++)
                error = rill_datagram_send(clients[i], NULL, "hello", 5);
        turns(3);
    }
    opened += (clients[0] != NULL) + (clients[1] != NULL);
    for (int i = 0; i < 2; i++)
        if (clients[i])
            rill_datagram_close(clients[i]);
    uint64_t failed = faulty_sys.failed;
    faulty_sys_reset();
    faulty_sys.failed = failed;
    rill_loop_free(loop);
    loop = NULL;
    ck_assert_int_eq(seen.closed, opened);
    use_backend(RILL_BACKEND_EPOLL);
    ck_assert_uint_eq(faulty_sys_open_descriptors(), descriptors);
    ck_assert_int_eq(access(path.socket.local.sun_path, F_OK), -1);
}

START_TEST(each_call_may_fail)
{
    static const enum faulty_call kinds[] = {FAULTY_MEMORY,    FAULTY_RECV,    FAULTY_SEND,
                                             FAULTY_EPOLL_CTL, FAULTY_CONNECT, FAULTY_DESCRIPTOR};
    static const int errors[] = {ENOMEM, EINTR, EAGAIN, ECONNREFUSED};
    struct faulty_sys faults = {.fail_error = errors[_i / 6]};
    faults.counts[kinds[_i % 6]] = true;
    handler.on_datagram = echo;
    live(&(struct faulty_sys){0});
    ck_assert_int_ge(seen.count, 2 * 3 * 3 * 2);
    do {
        faults.fail_after++;
        live(&faults);
    } while (faulty_sys.failed > 0);
    ck_assert_uint_gt(faults.fail_after, 2);
    faults.error[kinds[_i % 6]] = errors[_i / 6]; /* and all of them */
    if (errors[_i / 6] != EINTR)
        live(&faults);
}
END_TEST

START_TEST(short_batches_lose_nothing)
{
    handler.on_datagram = echo;
    struct rill_datagram *endpoint = open_at(0);
    int client = client_of(endpoint);
    faulty_sys.most_received = (size_t)_i;
    faulty_sys.most_sent = (size_t)(4 - _i);
    for (int i = 0; i < 50; i++)
        put(client, (char)i, (size_t)i + 1);
    turns(60);
    for (int i = 0; i < 50; i++)
        expect(client, (char)i, (size_t)i + 1);
    faulty_sys.short_seed = (uint64_t)_i;
    for (int i = 0; i < 50; i++)
        put(client, (char)i, (size_t)i + 1);
    turns(300);
    for (int i = 0; i < 50; i++)
        expect(client, (char)i, (size_t)i + 1);
    close(client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("datagram");
    TCase *all = tcase_create("datagram");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_loop_test(all, every_family_and_backend_echoes, 0, 9);
    tcase_add_loop_test(all, many_share_a_system_call, 0, 5);
    tcase_add_loop_test(all, what_is_sent_elsewhere_leaves_with_the_turn, 0, 3);
    tcase_add_loop_test(all, too_long_ones_are_cut_and_it_is_told, 0, 3);
    tcase_add_test(all, endpoints_with_different_lengths_share_a_loop);
    tcase_add_loop_test(all, connected_ones_talk_both_ways, 0, 3);
    tcase_add_test(all, a_sender_without_a_name_is_one);
    tcase_add_loop_test(all, the_queue_is_bounded, 0, 3);
    tcase_add_test(all, one_that_exceeds_the_bound_alone_is_taken);
    tcase_add_loop_test(all, a_peer_that_does_not_read_is_waited_for_without_spinning, 0, 3);
    tcase_add_test(all, a_full_peer_does_not_hold_up_the_others);
    tcase_add_loop_test(all, nobody_there_is_told, 0, 3);
    tcase_add_test(all, the_report_on_an_earlier_one_costs_no_other);
    tcase_add_test(all, a_report_and_an_interruption_cost_no_other);
    tcase_add_loop_test(all, one_that_cannot_be_sent_stops_no_other, 0, 2);
    tcase_add_test(all, who_tries_for_ever_does_not_stop_the_loop);
    tcase_add_loop_test(all, a_failed_receive_is_told_and_goes_on, 0, 2);
    tcase_add_test(all, a_unix_socket_leaves_nothing_behind);
    tcase_add_loop_test(all, sockets_may_share_an_address, 0, 3);
    tcase_add_test(all, buffers_are_asked_for);
    tcase_add_test(all, every_endpoint_is_closed_once);
    tcase_add_loop_test(all, nothing_is_opened_on_a_loop_that_goes, 0, 2);
    tcase_add_loop_test(all, what_was_queued_leaves_before_the_close, 0, 3);
    tcase_add_loop_test(all, every_callback_may_close, 0, 6);
    tcase_add_test(all, a_callback_may_open_another_in_its_place);
    tcase_add_loop_test(all, each_call_may_fail, 0, 24);
    tcase_add_loop_test(all, short_batches_lose_nothing, 1, 4);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
