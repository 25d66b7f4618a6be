/* test_mt_proxy_accept.c - a server behind proxies: who may come, what a connection is once its PROXY header has come
 * in whatever pieces, and that nothing is heard of those whose header never does. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/net_stats.h"
#include "rill/net/proxy_protocol.h"
#include "rill/net/server.h"
#include "support/run_suite.h"
#include "support/test_log.h"
#include <check.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define TEN "0123456789"
#define LITERAL(text)                                                                                                  \
    {                                                                                                                  \
        (text), sizeof(text) - 1                                                                                       \
    }

enum { PROXIED, OPEN_TO_ALL, FROM_ELSEWHERE, UNIX_SOCKET, HASTY }; /* the listeners */

static struct rill_server *server;
static pthread_t server_thread;
static int server_result;
static char unix_path[64];

/* Counted by the loops, read by the test. */
static int opened, stopped, closed, from_proxies;

static void on_open(struct rill_conn *conn)
{
    char ip[RILL_IP_TEXT], text[RILL_IP_TEXT + 16];
    const struct rill_ip *peer = rill_conn_peer(conn);
    __atomic_fetch_add(&opened, 1, __ATOMIC_SEQ_CST);
    rill_ip_format(peer, ip);
    rill_conn_send(conn, text, (size_t)snprintf(text, sizeof text, "%s %u\n", ip, peer->port));
}

static void on_proxy(struct rill_conn *conn, const struct rill_proxy_header *header)
{
    char destination[RILL_ADDR_TEXT] = "none", text[RILL_ADDR_TEXT + 32];
    struct rill_addr remote;
    if (rill_conn_remote(conn, &remote) == 0 && remote.socket.v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK))
        __atomic_fetch_add(&from_proxies, 1, __ATOMIC_SEQ_CST);
    if (header->has_addresses)
        rill_addr_format(&header->destination, destination);
    rill_conn_send(conn, text,
                   (size_t)snprintf(text, sizeof text, "to %s, %zu more\n", destination, header->tlvs.length));
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static void on_stop(struct rill_conn *conn)
{
    __atomic_fetch_add(&stopped, 1, __ATOMIC_SEQ_CST);
    rill_conn_set_deadline(conn, 300); /* time enough to echo what comes now */
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    __atomic_fetch_add(&closed, 1, __ATOMIC_SEQ_CST);
}

static const struct rill_conn_handler echo = {
    .on_open = on_open, .on_data = on_data, .on_stop = on_stop, .on_close = on_close};

static int count_of(const int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

/* --- the server --- */

static void *run(void *arg)
{
    (void)arg;
    server_result = rill_server_run(server, false);
    return NULL;
}

static struct rill_server *new_server(struct rill_server_config config, int *error)
{
    snprintf(unix_path, sizeof unix_path, "unix:/tmp/rill-test-%d.sock", getpid());
    config.handler = &echo;
    config.listens[PROXIED] =
        (struct rill_listen){.address = "127.0.0.1:0", .proxy_from = "192.0.2.0/24, 127.0.0.1", .on_proxy = on_proxy};
    config.listens[OPEN_TO_ALL] = (struct rill_listen){.address = "127.0.0.1:0"};
    config.listens[FROM_ELSEWHERE] =
        (struct rill_listen){.address = "127.0.0.1:0", .proxy_from = "192.0.2.0/24, unix:"};
    config.listens[UNIX_SOCKET] =
        (struct rill_listen){.address = unix_path, .proxy_from = "unix:", .proxy_timeout_ms = 600000};
    config.listens[HASTY] =
        (struct rill_listen){.address = "127.0.0.1:0", .proxy_from = "127.0.0.0/8", .proxy_timeout_ms = 60};
    return rill_server_new(&config, error);
}

static void start(struct rill_server_config config)
{
    int error;
    opened = stopped = closed = from_proxies = 0;
    rill_log_set_level(RILL_LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    server = new_server(config, &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run, NULL), 0);
}

static void join(void)
{
    pthread_join(server_thread, NULL);
    ck_assert_int_eq(server_result, 0);
    ck_assert_int_eq(opened, closed); /* every connection that was heard of was opened and closed once */
    rill_server_free(server);
}

static void stop(bool now)
{
    rill_server_stop(server, now);
    join();
}

/* Until the first loop has adopted COUNT connections: one that is not even accepted when the server stops is nobody's.
 */
static void wait_for_adopted(uint64_t count)
{
    const struct rill_net_stats *stats;
    while (!(stats = rill_server_net_stats(server, 0)) || rill_stat_read(&stats->adopted) < count)
        usleep(1000);
}

/* --- its clients --- */

static int dial(unsigned listener)
{
    struct rill_addr at;
    struct timeval limit = {60, 0};
    int on = 1;
    if (listener == UNIX_SOCKET) {
        ck_assert_int_eq(rill_addr_parse(unix_path, &at, NULL), 0);
    } else {
        struct rill_ip ip = {
            .version = 4, .bytes = {127, 0, 0, 1}, .port = (uint16_t)rill_server_port(server, listener)};
        at = rill_addr_of(&ip);
    }
    int fd = socket(at.socket.any.sa_family, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (listener != UNIX_SOCKET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ck_assert_int_eq(connect(fd, &at.socket.any, at.length), 0);
    return fd;
}

static unsigned port_of(int fd)
{
    struct rill_addr addr = {.length = sizeof addr.socket};
    ck_assert_int_eq(getsockname(fd, &addr.socket.any, &addr.length), 0);
    return rill_addr_port(&addr);
}

static void say(int fd, const char *bytes, size_t length)
{
    ck_assert_int_eq(send(fd, bytes, length, MSG_NOSIGNAL), (int)length);
}

static void expect(int fd, const char *text)
{
    char got[512] = "";
    ck_assert_int_eq(recv(fd, got, strlen(text), MSG_WAITALL), (int)strlen(text));
    ck_assert_str_eq(got, text);
}

/* The server has closed FD and said nothing. */
static void expect_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    ck_assert_msg(got == 0 || (got < 0 && errno == ECONNRESET), "%zd: %s", got, strerror(errno));
    close(fd);
}

/* --- headers --- */

static const struct {
    struct rill_slice header;
    const char *greeting; /* NULL: the connection's own address, and no other */
} accepted[] = {
    {LITERAL("PROXY TCP4 198.51.100.7 192.0.2.2 4660 80\r\n"), "198.51.100.7 4660\nto 192.0.2.2:80, 0 more\n"},
    {LITERAL("PROXY TCP6 2001:db8::1 ::2 65535 0\r\n"), "2001:db8::1 65535\nto [::2]:0, 0 more\n"},
    {LITERAL("PROXY TCP6 ::ffff:198.51.100.7 ::2 1 2\r\n"), "198.51.100.7 1\nto [::2]:2, 0 more\n"},
    {LITERAL(SIGNATURE "\x21\x11\0\x13\xc6\x33\x64\7\xc0\0\2\2\x12\x34\0\x50\4\0\4abcd"),
     "198.51.100.7 4660\nto 192.0.2.2:80, 7 more\n"},
    {LITERAL("PROXY UNKNOWN\r\n"), NULL},
    {LITERAL(SIGNATURE "\x20\0\0\0"), NULL},
    {LITERAL(SIGNATURE "\x21\0\0\3abc"), NULL},
};

static const char *greeting_of(size_t sample, int fd)
{
    static char own[80];
    snprintf(own, sizeof own, "127.0.0.1 %u\nto none, 0 more\n", port_of(fd));
    return accepted[sample].greeting ? accepted[sample].greeting : own;
}

static const struct rill_server_config kinds[] = {
    {.threads = 0},
    {.threads = 2},
    {.threads = 2, .accept = RILL_ACCEPT_REUSEPORT},
    {.threads = 2, .max_connections_per_address = 1000},
    {.threads = 1, .backend = RILL_BACKEND_POLL},
};

START_TEST(the_peer_is_who_the_header_says)
{
    start(kinds[_i]);
    for (size_t i = 0; i < rill_array_length(accepted); i++) {
        char bytes[300];
        struct rill_slice header = accepted[i].header;
        int fd = dial(PROXIED);
        memcpy(bytes, header.bytes, header.length);
        memcpy(bytes + header.length, "hello", 5);
        say(fd, bytes, header.length + 5); /* the client's first bytes come with the header */
        expect(fd, greeting_of(i, fd));
        expect(fd, "hello");
        say(fd, "PROXY ", 6); /* one header is all there is */
        expect(fd, "PROXY ");
        close(fd);
    }
    int fd = dial(OPEN_TO_ALL);
    char greeting[80];
    snprintf(greeting, sizeof greeting, "127.0.0.1 %u\n", port_of(fd));
    expect(fd, greeting);
    say(fd, "PROXY UNKNOWN\r\n", 15);
    expect(fd, "PROXY UNKNOWN\r\n");
    close(fd);
    fd = dial(UNIX_SOCKET);
    say(fd, "PROXY TCP4 198.51.100.7 192.0.2.2 4660 80\r\n", 43);
    expect(fd, "198.51.100.7 4660\n"); /* and nothing of on_proxy, which that listener has not */
    close(fd);
    fd = dial(UNIX_SOCKET);
    say(fd, "PROXY UNKNOWN\r\n", 15);
    expect(fd, "unix 0\n");
    close(fd);
    stop(false);
    ck_assert_int_eq(opened, (int)rill_array_length(accepted) + 3);
    ck_assert_int_eq(from_proxies, (int)rill_array_length(accepted));
}
END_TEST

/* Every header, cut at every byte; all at once, so that waiting for the first parts to be read takes no time. */
START_TEST(a_header_may_come_in_any_two_pieces)
{
    static int fds[400];
    unsigned count = 0;
    start((struct rill_server_config){.threads = 2});
    for (size_t i = 0; i < rill_array_length(accepted); i++) {
        for (size_t cut = 0; cut <= accepted[i].header.length; cut++) {
            fds[count] = dial(PROXIED);
            say(fds[count++], accepted[i].header.bytes, cut);
        }
    }
    usleep(20000);
    ck_assert_int_le(count_of(&opened), (int)rill_array_length(accepted));
    count = 0;
    for (size_t i = 0; i < rill_array_length(accepted); i++) {
        for (size_t cut = 0; cut <= accepted[i].header.length; cut++) {
            char bytes[300];
            struct rill_slice rest = {accepted[i].header.bytes + cut, accepted[i].header.length - cut};
            memcpy(bytes, rest.bytes, rest.length);
            memcpy(bytes + rest.length, "!", 1);
            say(fds[count++], bytes, rest.length + 1);
        }
    }
    count = 0;
    for (size_t i = 0; i < rill_array_length(accepted); i++) {
        for (size_t cut = 0; cut <= accepted[i].header.length; cut++) {
            expect(fds[count], greeting_of(i, fds[count]));
            expect(fds[count], "!");
            close(fds[count++]);
        }
    }
    stop(false);
    ck_assert_int_eq(opened, (int)count);
}
END_TEST

START_TEST(a_header_may_dribble)
{
    int fds[rill_array_length(accepted)];
    start((struct rill_server_config){.threads = 1});
    for (size_t i = 0; i < rill_array_length(accepted); i++)
        fds[i] = dial(PROXIED);
    for (size_t at = 0; at < 60; at++) {
        for (size_t i = 0; i < rill_array_length(accepted); i++)
            if (at < accepted[i].header.length)
                say(fds[i], accepted[i].header.bytes + at, 1);
        usleep(500);
    }
    for (size_t i = 0; i < rill_array_length(accepted); i++) {
        expect(fds[i], greeting_of(i, fds[i]));
        say(fds[i], "x", 1);
        expect(fds[i], "x");
        close(fds[i]);
    }
    stop(false);
}
END_TEST

/* The largest there is, and the client's first bytes behind it in the same stream. */
START_TEST(a_header_may_be_large)
{
    static char bytes[RILL_PROXY_MAX_BYTES + 1000], tlvs[65535 - 12] = {RILL_PROXY_TLV_NOOP};
    struct rill_ip client = {.version = 4, .bytes = {198, 51, 100, 7}, .port = 7};
    struct rill_proxy_header header = {.version = 2, .has_addresses = true, .tlvs = {tlvs, sizeof tlvs}};
    header.source = header.destination = rill_addr_of(&client);
    tlvs[1] = (char)((sizeof tlvs - 3) >> 8);
    tlvs[2] = (char)(sizeof tlvs - 3);
    ck_assert_int_eq(rill_proxy_write(&header, bytes, sizeof bytes), RILL_PROXY_MAX_BYTES);
    memset(bytes + RILL_PROXY_MAX_BYTES, 'x', 1000);
    start((struct rill_server_config){.threads = 1});
    int fd = dial(PROXIED);
    say(fd, bytes, sizeof bytes);
    expect(fd, "198.51.100.7 7\nto 198.51.100.7:7, 65523 more\n");
    for (int i = 0; i < 1000; i++)
        expect(fd, "x");
    close(fd);
    stop(false);
}
END_TEST

/* --- who is not heard of --- */

static const struct rill_slice refused[] = {
    LITERAL("GET / HTTP/1.1\r\n\r\n"),
    LITERAL("\n"),
    LITERAL("PROXY TCP4 198.51.100.7 192.0.2.2 4660 80\nhello"),
    LITERAL("PROXY TCP4 198.51.100.07 192.0.2.2 4660 80\r\nhello"),
    LITERAL("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "123"), /* 107 bytes, and no end */
    LITERAL(SIGNATURE "\x11\x11\0\x0c"),
    LITERAL(SIGNATURE "\x21\x11\0\x0b"),
    LITERAL(SIGNATURE "\x21\x11\0\x13\xc6\x33\x64\7\xc0\0\2\2\x12\x34\0\x50\3\0\4abcd"), /* a wrong checksum */
};

START_TEST(without_a_valid_header_nothing_is_heard_of_it)
{
    struct rill_server_config config = kinds[_i];
    config.max_connections = 4; /* that they are counted as closed, too, shows when more than so many came */
    start(config);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < rill_array_length(refused); i++) {
            int fd = dial(PROXIED);
            say(fd, refused[i].bytes, refused[i].length);
            expect_closed(fd);
            /* An end before the header's, by the peer. */
            fd = dial(PROXIED);
            say(fd, "PROXY TCP", 9);
            if (i % 2)
                shutdown(fd, SHUT_WR);
            else
                close(fd);
            if (i % 2)
                expect_closed(fd);
        }
    }
    ck_assert_int_eq(count_of(&opened), 0);
    ck_assert_int_eq(count_of(&closed), 0);
    int fd = dial(PROXIED);
    say(fd, "PROXY UNKNOWN\r\nx", 16);
    expect(fd, greeting_of(4, fd));
    expect(fd, "x");
    close(fd);
    stop(false);
    ck_assert_int_eq(opened, 1);
}
END_TEST

START_TEST(who_is_no_proxy_is_closed_at_once)
{
    start(kinds[_i]);
    for (uint64_t i = 1; i <= 5; i++) {
        expect_closed(dial(FROM_ELSEWHERE));
        ck_assert_uint_eq(rill_server_refused(server), i);
    }
    stop(false);
    ck_assert_int_eq(opened, 0);
}
END_TEST

/* However much comes in the meantime, unless it is the header. */
START_TEST(a_header_has_its_time)
{
    start((struct rill_server_config){.threads = 1});
    int silent = dial(HASTY), slow = dial(HASTY), patient = dial(PROXIED);
    say(patient, "PROXY ", 6);
    ssize_t sent;
    int ms = 0;
    for (; (sent = send(slow, ms == 0 ? "PROXY UNKNOWN " : "x", ms == 0 ? 14 : 1, MSG_NOSIGNAL)) > 0 && ms < 2000;
         ms += 25)
        usleep(25000);
    ck_assert_int_lt(ms, 2000); /* before the line became too long, at 2325 */
    expect_closed(silent);
    close(slow);
    ck_assert_int_eq(count_of(&opened), 0);
    say(patient, "UNKNOWN\r\n", 9);
    expect(patient, greeting_of(4, patient));
    close(patient);
    stop(false);
}
END_TEST

/* Once it is there the time is the protocol's. On a busy machine it may come too late, but not time and again. */
START_TEST(a_header_in_time_ends_the_hurry)
{
    bool heard = false;
    start((struct rill_server_config){.threads = 1});
    for (int attempt = 0; attempt < 20 && !heard; attempt++) {
        char greeting[80], got[80];
        int fd = dial(HASTY);
        int length = snprintf(greeting, sizeof greeting, "127.0.0.1 %u\n", port_of(fd));
        send(fd, "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL);
        heard = recv(fd, got, (size_t)length, MSG_WAITALL) == length;
        if (heard) {
            ck_assert_mem_eq(got, greeting, (size_t)length);
            usleep(120000);
            say(fd, "x", 1);
            expect(fd, "x");
        }
        close(fd);
    }
    ck_assert(heard);
    stop(false);
}
END_TEST

START_TEST(the_limit_by_address_is_the_clients)
{
    start((struct rill_server_config){.threads = 2, .max_connections_per_address = 2});
    for (int round = 0; round < 10; round++) {
        int fds[6];
        for (unsigned i = 0; i < 6; i++) { /* two each of three clients, through one proxy */
            char header[80], greeting[80];
            fds[i] = dial(PROXIED);
            snprintf(header, sizeof header, "PROXY TCP4 198.51.100.%u 192.0.2.2 %u 80\r\n", i / 2, 1000 + i);
            snprintf(greeting, sizeof greeting, "198.51.100.%u %u\nto 192.0.2.2:80, 0 more\n", i / 2, 1000 + i);
            say(fds[i], header, strlen(header));
            expect(fds[i], greeting);
        }
        int fd = dial(PROXIED);
        say(fd, "PROXY TCP4 198.51.100.1 192.0.2.2 1 80\r\n", 40);
        expect_closed(fd);
        ck_assert_uint_eq(rill_server_refused(server), (uint64_t)round + 1);
        /* Those that wait for their header count for nobody. */
        int waiting[5];
        for (int i = 0; i < 5; i++)
            waiting[i] = dial(PROXIED);
        for (int i = 0; i < 5; i++)
            close(waiting[i]);
        for (unsigned i = 0; i < 6; i++)
            close(fds[i]);
        while (count_of(&closed) < 6 * (round + 1))
            usleep(1000);
    }
    stop(false);
    ck_assert_int_eq(opened, 60);
}
END_TEST

START_TEST(each_trouble_of_a_listener_is_logged_once)
{
    test_log_open();
    start((struct rill_server_config){.threads = 2});
    rill_log_set_level(RILL_LOG_WARN);
    for (int i = 0; i < 3; i++) {
        int fd = dial(PROXIED), silent = dial(HASTY);
        say(fd, "nonsense", 8);
        expect_closed(fd);
        expect_closed(dial(FROM_ELSEWHERE));
        expect_closed(silent);
    }
    stop(false);
    ck_assert_int_eq(test_log_lines("from 127.0.0.1 is closed: it does not begin with a valid PROXY header"), 1);
    ck_assert_int_eq(test_log_lines("from 127.0.0.1 is closed: only connections from its proxies"), 1);
    ck_assert_int_eq(test_log_lines("from 127.0.0.1 is closed: its PROXY header has not come in time"), 1);
    ck_assert_int_eq(test_log_lines(""), 3);
    test_log_close();
}
END_TEST

/* --- stopping --- */

START_TEST(a_stop_does_not_wait_for_headers)
{
    int fds[8];
    struct rill_server_config config = kinds[_i / 2];
    config.drain_timeout_ms = 600000;
    start(config);
    for (int i = 0; i < 8; i++) {
        fds[i] = dial(i % 2 ? PROXIED : UNIX_SOCKET);
        say(fds[i], "PROXY TCP4", i == 0 ? 0 : 10);
    }
    if (_i % 2 == 0)
        usleep(20000);
    stop(_i % 4 >= 2);
    ck_assert_int_eq(opened, 0);
    for (int i = 0; i < 8; i++)
        expect_closed(fds[i]);
}
END_TEST

/* Who got through the handshake before the stop is served, and told of it. The grace for that is short: where the
 * machine is too busy, once more. */
START_TEST(a_header_on_its_way_when_the_server_stops_is_heard)
{
    bool heard = false;
    for (int attempt = 0; attempt < 20 && !heard; attempt++) {
        char greeting[100], got[100] = "";
        start((struct rill_server_config){.threads = 1});
        int fd = dial(PROXIED), late = dial(PROXIED);
        snprintf(greeting, sizeof greeting, "%slast words", greeting_of(4, fd));
        say(fd, "PROXY ", 6);
        wait_for_adopted(2);
        rill_server_stop(server, false);
        while (!rill_server_is_stopping(server))
            usleep(1000);
        usleep(10000);
        send(fd, "UNKNOWN\r\nlast words", 19, MSG_NOSIGNAL);
        heard = recv(fd, got, strlen(greeting), MSG_WAITALL) == (ssize_t)strlen(greeting);
        if (heard)
            ck_assert_str_eq(got, greeting);
        expect_closed(fd);
        expect_closed(late);
        join();
        ck_assert_int_eq(opened, heard);
        ck_assert_int_eq(stopped, heard);
    }
    ck_assert(heard);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_accept");
    TCase *headers = tcase_create("headers");
    tcase_add_loop_test(headers, the_peer_is_who_the_header_says, 0, (int)rill_array_length(kinds));
    tcase_add_test(headers, a_header_may_come_in_any_two_pieces);
    tcase_add_test(headers, a_header_may_dribble);
    tcase_add_test(headers, a_header_may_be_large);
    suite_add_tcase(suite, headers);
    TCase *refusing = tcase_create("refused");
    tcase_add_loop_test(refusing, without_a_valid_header_nothing_is_heard_of_it, 0, (int)rill_array_length(kinds));
    tcase_add_loop_test(refusing, who_is_no_proxy_is_closed_at_once, 0, (int)rill_array_length(kinds));
    tcase_add_test(refusing, a_header_has_its_time);
    tcase_add_test(refusing, a_header_in_time_ends_the_hurry);
    tcase_add_test(refusing, the_limit_by_address_is_the_clients);
    tcase_add_test(refusing, each_trouble_of_a_listener_is_logged_once);
    suite_add_tcase(suite, refusing);
    TCase *stopping = tcase_create("stopping");
    tcase_add_loop_test(stopping, a_stop_does_not_wait_for_headers, 0, 2 * (int)rill_array_length(kinds));
    tcase_add_test(stopping, a_header_on_its_way_when_the_server_stops_is_heard);
    suite_add_tcase(suite, stopping);
    return run_suite(suite);
}
