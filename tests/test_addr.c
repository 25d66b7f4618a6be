/* test_addr.c - addresses from text and to text, and the compact form of a peer's. */
#include "rill/net/addr.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>

/* 107 and 108 bytes of path. */
#define TEN "/234567890"
#define LONGEST TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "/234567"

static const struct {
    const char *text;
    const char *back; /* as it is written again; NULL: it is refused */
} table[] = {
    {"127.0.0.1:8080", "127.0.0.1:8080"},
    {"127.0.0.1:0", "127.0.0.1:0"},
    {"0.0.0.0:65535", "0.0.0.0:65535"},
    {"255.255.255.255:1", "255.255.255.255:1"},
    {"*:80", "0.0.0.0:80"},
    {":80", "0.0.0.0:80"},
    {"127.0.0.1:00080", "127.0.0.1:80"},
    {"[::1]:8080", "[::1]:8080"},
    {"[::]:0", "[::]:0"},
    {"[2001:DB8:0:0::1]:443", "[2001:db8::1]:443"},
    {"[::ffff:192.0.2.1]:80", "[::ffff:192.0.2.1]:80"},
    {"[1:2:3:4:5:6:7:8]:9", "[1:2:3:4:5:6:7:8]:9"},
    {"unix:/run/rill.sock", "unix:/run/rill.sock"},
    {"unix:relative.sock", "unix:relative.sock"},
    {"unix:/with:colons:80", "unix:/with:colons:80"},
    {"unix:" LONGEST, "unix:" LONGEST},
    {"unix:" LONGEST "8", NULL},
    {"unix:", NULL},
    {"", NULL},
    {"127.0.0.1", NULL},
    {"8080", NULL},
    {"127.0.0.1:", NULL},
    {"127.0.0.1:65536", NULL},
    {"127.0.0.1:99999", NULL},
    {"127.0.0.1:100000", NULL},
    {"127.0.0.1:000080", NULL},
    {"127.0.0.1:4294967376", NULL},
    {"127.0.0.1:-1", NULL},
    {"127.0.0.1:+80", NULL},
    {"127.0.0.1: 80", NULL},
    {"127.0.0.1:80 ", NULL},
    {"127.0.0.1:8o", NULL},
    {"127.0.0.1:0x50", NULL},
    {"::1:8080", NULL}, /* which colon? */
    {"::1", NULL},
    {"[::1]", NULL},
    {"[::1]8080", NULL},
    {"[]:80", NULL},
    {"[::g]:80", NULL},
    {"[127.0.0.1]:80", NULL},
    {"[::1:80", NULL},
    {"::1]:80", NULL},
    {"[localhost]:80", NULL},
    {"no such host:80", NULL},
    {"256.0.0.1:80", NULL},
    {"name.invalid:80", NULL}, /* RFC 6761, 6.4: never resolves */
};

START_TEST(reads_what_it_should_and_writes_it_back)
{
    struct rill_addr addr;
    const char *why = NULL;
    char text[RILL_ADDR_TEXT];
    int error = rill_addr_parse(table[_i].text, &addr, &why);
    if (!table[_i].back) {
        ck_assert_msg(error == -EINVAL, "\"%s\" was taken", table[_i].text);
        ck_assert_ptr_nonnull(why);
        ck_assert_uint_gt(strlen(why), 10);
        ck_assert_int_eq(rill_addr_parse(table[_i].text, &addr, NULL), -EINVAL);
        return;
    }
    ck_assert_msg(error == 0, "\"%s\" was refused: %s", table[_i].text, why);
    rill_addr_format(&addr, text);
    ck_assert_str_eq(text, table[_i].back);
    /* What was written reads as the same address. */
    struct rill_addr again;
    ck_assert_int_eq(rill_addr_parse(text, &again, NULL), 0);
    ck_assert_uint_eq(again.length, addr.length);
    ck_assert_mem_eq(&again.socket, &addr.socket, addr.length);
}
END_TEST

START_TEST(looks_names_up)
{
    struct rill_addr addr;
    ck_assert_int_eq(rill_addr_parse("localhost:8080", &addr, NULL), 0);
    struct rill_ip ip = rill_ip_of(&addr);
    ck_assert_uint_eq(ip.port, 8080);
    ck_assert(ip.version == 4 || ip.version == 6);
    ck_assert_uint_eq(addr.length, ip.version == 4 ? sizeof addr.socket.v4 : sizeof addr.socket.v6);
}
END_TEST

START_TEST(a_host_too_long_is_refused)
{
    char text[400];
    struct rill_addr addr;
    for (int length = 250; length < 300; length++) {
        memset(text, 'h', sizeof text);
        memcpy(text + length, ":80", 4);
        ck_assert_int_eq(rill_addr_parse(text, &addr, NULL), -EINVAL);
    }
}
END_TEST

START_TEST(peers_are_written_as_the_c_library_does)
{
    static const char *const v6[] = {
        "::", "::1", "2001:db8::1", "fe80::1:2:3:4", "1:2:3:4:5:6:7:8", "64:ff9b::c000:201", "1:0:0:2::3"};
    char text[RILL_IP_TEXT], expected[RILL_IP_TEXT];
    struct rill_addr addr = {.socket.v4 = {.sin_family = AF_INET, .sin_port = htons(1234)}};
    for (unsigned byte = 0; byte < 256; byte++) {
        for (unsigned place = 0; place < 4; place++) {
            uint32_t value = byte << 8 * place | (byte ^ 0x5a) << 8 * ((place + 1) % 4);
            addr.socket.v4.sin_addr.s_addr = htonl(value);
            struct rill_ip ip = rill_ip_of(&addr);
            ck_assert_uint_eq(ip.version, 4);
            ck_assert_uint_eq(ip.port, 1234);
            inet_ntop(AF_INET, &addr.socket.v4.sin_addr, expected, sizeof expected);
            ck_assert_uint_eq(rill_ip_format(&ip, text), strlen(expected));
            ck_assert_str_eq(text, expected);
        }
    }
    for (size_t i = 0; i < rill_array_length(v6); i++) {
        addr.socket.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(5)};
        ck_assert_int_eq(inet_pton(AF_INET6, v6[i], &addr.socket.v6.sin6_addr), 1);
        struct rill_ip ip = rill_ip_of(&addr);
        ck_assert_uint_eq(ip.version, 6);
        inet_ntop(AF_INET6, &addr.socket.v6.sin6_addr, expected, sizeof expected);
        ck_assert_uint_eq(rill_ip_format(&ip, text), strlen(expected));
        ck_assert_str_eq(text, expected);
    }
}
END_TEST

START_TEST(a_mapped_ipv4_peer_is_ipv4)
{
    struct rill_addr addr;
    char text[RILL_IP_TEXT];
    ck_assert_int_eq(rill_addr_parse("[::ffff:192.0.2.33]:80", &addr, NULL), 0);
    struct rill_ip ip = rill_ip_of(&addr);
    ck_assert_uint_eq(ip.version, 4);
    ck_assert_uint_eq(rill_ip_format(&ip, text), 10);
    ck_assert_str_eq(text, "192.0.2.33");
    ck_assert_int_eq(rill_addr_parse("unix:/x", &addr, NULL), 0);
    ip = rill_ip_of(&addr);
    ck_assert_uint_eq(ip.version, 0);
    ck_assert_uint_eq(rill_ip_format(&ip, text), 4);
    ck_assert_str_eq(text, "unix");
}
END_TEST

START_TEST(the_compact_form_says_the_same)
{
    static const char *const texts[] = {"192.0.2.33:80", "[2001:db8::1]:65535", "0.0.0.0:0"};
    char text[RILL_ADDR_TEXT];
    struct rill_addr addr;
    for (size_t i = 0; i < rill_array_length(texts); i++) {
        ck_assert_int_eq(rill_addr_parse(texts[i], &addr, NULL), 0);
        struct rill_ip ip = rill_ip_of(&addr);
        struct rill_addr again = rill_addr_of(&ip);
        ck_assert_uint_eq(again.length, addr.length);
        rill_addr_format(&again, text);
        ck_assert_str_eq(text, texts[i]);
    }
    struct rill_addr local = rill_addr_of(&(struct rill_ip){.version = 0});
    ck_assert_int_eq(local.socket.any.sa_family, AF_UNIX);
    rill_addr_format(&local, text);
    ck_assert_str_eq(text, "unix:");
    memset(local.socket.local.sun_path, 'p', sizeof local.socket.local.sun_path); /* from elsewhere: no NUL */
    rill_addr_format(&local, text);
    ck_assert_uint_eq(strlen(text), 5 + sizeof local.socket.local.sun_path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("addr");
    TCase *all = tcase_create("addr");
    tcase_add_loop_test(all, reads_what_it_should_and_writes_it_back, 0, (int)rill_array_length(table));
    tcase_add_test(all, looks_names_up);
    tcase_add_test(all, a_host_too_long_is_refused);
    tcase_add_test(all, peers_are_written_as_the_c_library_does);
    tcase_add_test(all, a_mapped_ipv4_peer_is_ipv4);
    tcase_add_test(all, the_compact_form_says_the_same);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
