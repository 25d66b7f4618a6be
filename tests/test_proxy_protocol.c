/* test_proxy_protocol.c - PROXY headers: what is read of whole ones, that each way of being wrong is seen, in any
 * pieces, and what is written. */
#include "support/proxy_check.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define LITERAL(text)                                                                                                  \
    {                                                                                                                  \
        (text), sizeof(text) - 1                                                                                       \
    }
#define NINE_FS "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
#define TEN "0123456789"

static const struct {
    struct rill_slice bytes;
    const char *source, *destination; /* NULL: it has no addresses */
} valid[] = {
    {LITERAL("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), "192.168.0.1:56324", "192.168.0.11:443"},
    {LITERAL("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535",
     "255.255.255.255:65535"},
    {LITERAL("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0:0", "0.0.0.0:0"},
    {LITERAL("PROXY TCP6 " NINE_FS " " NINE_FS " 65535 65535\r\n"), "[" NINE_FS "]:65535", "[" NINE_FS "]:65535"},
    {LITERAL("PROXY TCP6 2001:DB8::1 :: 1 65535\r\n"), "[2001:db8::1]:1", "[::]:65535"},
    {LITERAL("PROXY TCP6 0001:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: 10 20\r\n"), "[1:2:3:4:5:6:7:8]:10",
     "[1:2:3:4:5:6:7:0]:20"},
    {LITERAL("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 10 20\r\n"), "[::ffff:192.0.2.1]:10",
     "[::ffff:192.0.2.2]:20"},
    {LITERAL("PROXY UNKNOWN\r\n"), NULL, NULL},
    {LITERAL("PROXY UNKNOWN \r\n"), NULL, NULL},
    {LITERAL("PROXY UNKNOWN what ever\0 this \377 is\r\n"), NULL, NULL},
    {LITERAL("PROXY UNKNOWN " NINE_FS " " NINE_FS " 65535 65535\r\n"), NULL, NULL},
    {LITERAL(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50"), "192.0.2.1:4660", "192.0.2.2:80"},
    {LITERAL(SIGNATURE "\x21\x12\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50"), "192.0.2.1:4660", "192.0.2.2:80"},
    {LITERAL(SIGNATURE
             "\x21\x21\0\x24\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\xff\xff\0\0"),
     "[2001:db8::1]:65535", "[::2]:0"},
    {LITERAL(SIGNATURE "\x21\x11\0\x15\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\4\0\3abc\xea\0\0"), "192.0.2.1:4660",
     "192.0.2.2:80"}, /* NOOP, and a field of an application's own */
    {LITERAL(SIGNATURE "\x20\0\0\0"), NULL, NULL},
    {LITERAL(SIGNATURE "\x20\xff\0\5dummy"), NULL, NULL},
    {LITERAL(SIGNATURE "\x20\x11\0\x0d\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50?"), NULL, NULL},
    {LITERAL(SIGNATURE "\x21\0\0\0"), NULL, NULL},
    {LITERAL(SIGNATURE "\x21\0\0\7\3\0\4abcd"), NULL, NULL}, /* who knows what that is? */
    {LITERAL(SIGNATURE "\x21\x10\0\1x"), NULL, NULL},
    {LITERAL(SIGNATURE "\x21\1\0\1x"), NULL, NULL},
};

static const struct rill_slice malformed[] = {
    /* The beginning. */
    LITERAL("G"),
    LITERAL("\n"),
    LITERAL("\0"),
    LITERAL("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY\r\n"),
    LITERAL("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL(" PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("GET / HTTP/1.1\r\n\r\n"),
    LITERAL("\x16\x03\x01\x02"),
    /* The family. */
    LITERAL("PROXY \r\n"),
    LITERAL("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY UNKNOWN2\r\n"),
    LITERAL("PROXY UNKNOWN\0\r\n"),
    LITERAL("PROXY UNKNOW\r\n"),
    LITERAL("PROXY unknown\r\n"),
    LITERAL("PROXY TCP4 ::1 ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP6 ::1 1.2.3.4 1 2\r\n"),
    /* The number of fields, and what is between them. */
    LITERAL("PROXY TCP4\r\n"),
    LITERAL("PROXY TCP4 \r\n"),
    LITERAL("PROXY TCP4 1.2.3.4\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"),
    LITERAL("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n"),
    /* Addresses. */
    LITERAL("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 01.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.0x4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3. 1 2\r\n"),
    LITERAL("PROXY TCP4 1..3.4 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 16909060 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP4 localhost 1.2.3.4 1 2\r\n"),
    LITERAL("PROXY TCP6 ::1::2 ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 12345::1 ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 ::g ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 [::1] ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 fe80::1%lo ::1 1 2\r\n"),
    LITERAL("PROXY TCP6 0000:0000:0000:0000:0000:0000:0000:0000:0000 ::1 1 2\r\n"),
    /* Ports. */
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 00\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 0x1 2\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 2a\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 18446744073709551617 2\r\n"),
    /* The end of the line. */
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n"),
    LITERAL("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n"),
    LITERAL("PROXY UNKNOWN\n"),
    LITERAL("PROXY UNKNOWN a\rb\r\n"),
    LITERAL("PROXY UNKNOWN a\nb\r\n"),
    LITERAL("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "12\r\n"), /* 108 bytes */
    LITERAL("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "123"),
    /* Version 2: signature, version and command, family, lengths. */
    LITERAL("\r\n\r\n\0\r\nQUIT\r"),
    LITERAL("\r\n\r\n\r\n"),
    LITERAL(SIGNATURE "\x11"),
    LITERAL(SIGNATURE "\x31"),
    LITERAL(SIGNATURE "\x01"),
    LITERAL(SIGNATURE "\x22"),
    LITERAL(SIGNATURE "\x2f"),
    LITERAL(SIGNATURE "\x21\x41"),
    LITERAL(SIGNATURE "\x21\xf1"),
    LITERAL(SIGNATURE "\x21\x13"),
    LITERAL(SIGNATURE "\x21\x03"),
    LITERAL(SIGNATURE "\x21\x11\0\x0b"),
    LITERAL(SIGNATURE "\x21\x11\0\0"),
    LITERAL(SIGNATURE "\x21\x21\0\x23"),
    LITERAL(SIGNATURE "\x21\x31\0\xd7"),
    /* Further fields: cut short, longer than the header, checksums that are wrong, or of a wrong size. */
    LITERAL(SIGNATURE "\x21\x11\0\x0d\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\4"),
    LITERAL(SIGNATURE "\x21\x11\0\x0e\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\4\0"),
    LITERAL(SIGNATURE "\x21\x11\0\x0f\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\4\0\1"),
    LITERAL(SIGNATURE "\x21\x11\0\x0f\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\4\xff\xff"),
    LITERAL(SIGNATURE "\x21\x11\0\x13\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\3\0\4\0\0\0\0"),
    LITERAL(SIGNATURE "\x21\x11\0\x12\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50\3\0\3\0\0\0"),
};

static void check_end(const struct rill_addr *addr, const char *expected)
{
    char text[RILL_ADDR_TEXT];
    rill_addr_format(addr, text);
    ck_assert_str_eq(text, expected);
}

START_TEST(reads_whole_headers)
{
    static char bytes[512];
    struct rill_proxy_header header;
    struct rill_slice sample = valid[_i].bytes;
    ck_assert_int_eq(rill_proxy_parse(sample.bytes, sample.length, &header), (int)sample.length);
    ck_assert_int_eq(header.version, sample.bytes[0] == 'P' ? 1 : 2);
    ck_assert_int_eq(header.is_local, header.version == 2 && sample.bytes[12] == 0x20);
    ck_assert_int_eq(header.is_datagram, header.version == 2 && sample.bytes[13] == 0x12);
    ck_assert_int_eq(header.has_addresses, valid[_i].source != NULL);
    ck_assert(!header.has_checksum);
    if (valid[_i].source) {
        check_end(&header.source, valid[_i].source);
        check_end(&header.destination, valid[_i].destination);
    }
    /* In any pieces; and whatever the client says then. */
    for (size_t more = 0; more < 200; more += 40) {
        memcpy(bytes, sample.bytes, sample.length);
        memset(bytes + sample.length, more % 80 ? '\n' : 'P', more);
        ck_assert_int_eq(proxy_check(bytes, sample.length + more), (int)sample.length);
    }
}
END_TEST

START_TEST(sees_what_is_wrong)
{
    struct rill_proxy_header header;
    ck_assert_int_eq(rill_proxy_parse(malformed[_i].bytes, malformed[_i].length, &header), -EPROTO);
    ck_assert_int_eq(proxy_check(malformed[_i].bytes, malformed[_i].length), -EPROTO);
}
END_TEST

/* One byte of a valid header is another one, is missing, or is there twice. */
START_TEST(agrees_with_a_slow_reading_near_valid_headers)
{
    static const char others[] = "\0\1\3\4\x11\x21\x80\xff\r\n 0169:.fgP";
    char bytes[200];
    struct rill_slice sample = valid[_i].bytes;
    for (size_t at = 0; at < sample.length; at++) {
        memcpy(bytes, sample.bytes, sample.length);
        for (size_t k = 0; k < sizeof others; k++) {
            bytes[at] = others[k];
            proxy_check(bytes, sample.length);
        }
        memcpy(bytes + at, sample.bytes + at + 1, sample.length - at - 1);
        proxy_check(bytes, sample.length - 1);
        memcpy(bytes + at, sample.bytes + at, 1);
        memcpy(bytes + at + 1, sample.bytes + at, sample.length - at);
        proxy_check(bytes, sample.length + 1);
    }
}
END_TEST

START_TEST(nothing_is_no_header_yet)
{
    struct rill_proxy_header header;
    ck_assert_int_eq(rill_proxy_parse("", 0, &header), 0);
    ck_assert_int_eq(rill_proxy_parse(NULL, 0, &header), 0);
}
END_TEST

/* The check value of the catalogues of checksums, and two of RFC 3720, B.4. */
START_TEST(the_checksum_is_crc32c)
{
    static const char zeros[32];
    char ones[32];
    memset(ones, 0xff, sizeof ones);
    ck_assert_uint_eq(proxy_reference_crc32c("123456789", 9), 0xe3069283);
    ck_assert_uint_eq(proxy_reference_crc32c(zeros, sizeof zeros), 0x8a9136aa);
    ck_assert_uint_eq(proxy_reference_crc32c(ones, sizeof ones), 0x62a8ab43);
}
END_TEST

static struct rill_addr addr_of(const char *text)
{
    struct rill_addr addr;
    const char *why;
    ck_assert_msg(rill_addr_parse(text, &addr, &why) == 0, "%s: %s", text, why);
    return addr;
}

START_TEST(a_checksum_wherever_it_is_must_be_right)
{
    char bytes[RILL_PROXY_WRITE_BYTES + 32];
    struct rill_proxy_header header = {.version = 2,
                                       .has_addresses = true,
                                       .has_checksum = true,
                                       .source = addr_of("192.0.2.1:1"),
                                       .destination = addr_of("192.0.2.2:2"),
                                       .tlvs = LITERAL("\1\0\2h2\4\0\0")};
    struct rill_proxy_header again;
    int length = rill_proxy_write(&header, bytes, sizeof bytes);
    ck_assert_int_eq(length, 28 + 8 + 7);
    ck_assert_int_eq(proxy_check(bytes, (size_t)length), length);
    ck_assert_int_eq(rill_proxy_parse(bytes, (size_t)length, &again), length);
    ck_assert(again.has_checksum);
    /* Any bit of the header counts; those of lengths and families may also be wrong for themselves. */
    for (size_t bit = 0; bit < (size_t)length * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        int got = proxy_check(bytes, (size_t)length);
        if (bit / 8 == 12 && bit % 8 == 0)
            ck_assert_int_eq(got, length); /* LOCAL: no field is looked at */
        else if (bit / 8 == 13 && (bit % 8 == 0 || bit % 8 == 4))
            ck_assert_int_eq(got, length); /* nor without a family or a protocol */
        else if (bit / 8 == 28 + 8)
            ck_assert_int_gt(got, 0); /* another field, not a checksum */
        else
            ck_assert_int_le(got, 0);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    /* In front of other fields; and two of them, neither of which knew of the other. */
    memmove(bytes + 28 + 7, bytes + 28, 8);
    memcpy(bytes + 28, "\3\0\4\0\0\0\0", 7);
    uint32_t crc = proxy_reference_crc32c(bytes, (size_t)length);
    for (int i = 0; i < 4; i++)
        bytes[28 + 3 + i] = (char)(crc >> (24 - 8 * i));
    ck_assert_int_eq(proxy_check(bytes, (size_t)length), length);
    memcpy(bytes + length, bytes + 28, 7);
    bytes[15] = (char)(bytes[15] + 7);
    ck_assert_int_eq(proxy_check(bytes, (size_t)length + 7), -EPROTO);
}
END_TEST

/* --- written --- */

static const struct {
    const char *source, *destination;
    struct rill_slice v1, v2;
} written[] = {
    {"192.0.2.1:4660", "192.0.2.2:80", LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\n"),
     LITERAL(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x50")},
    {"[2001:db8::1]:65535", "[::2]:0", LITERAL("PROXY TCP6 2001:db8::1 ::2 65535 0\r\n"),
     LITERAL(SIGNATURE
             "\x21\x21\0\x24\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\xff\xff\0\0")},
    {"192.0.2.1:1", "[::2]:2", LITERAL("PROXY TCP6 ::ffff:c000:201 ::2 1 2\r\n"),
     LITERAL(SIGNATURE "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\2")},
    {"[::ffff:192.0.2.1]:1", "192.0.2.2:2", LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
     LITERAL(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\2")},
    {"[::c000:201]:1", "[::2]:2", LITERAL("PROXY TCP6 ::0:c000:201 ::2 1 2\r\n"),
     LITERAL(SIGNATURE "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\0\0\xc0\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\2")},
    {"unix:/a", "192.0.2.2:2", LITERAL("PROXY UNKNOWN\r\n"), LITERAL(SIGNATURE "\x20\0\0\0")},
    {"192.0.2.2:2", "unix:/a", LITERAL("PROXY UNKNOWN\r\n"), LITERAL(SIGNATURE "\x20\0\0\0")},
    {NULL, NULL, LITERAL("PROXY UNKNOWN\r\n"), LITERAL(SIGNATURE "\x21\0\0\0")},
};

START_TEST(writes_what_the_specification_says)
{
    struct rill_proxy_header header = {.has_addresses = written[_i].source != NULL};
    char out[RILL_PROXY_WRITE_BYTES];
    if (header.has_addresses) {
        header.source = addr_of(written[_i].source);
        header.destination = addr_of(written[_i].destination);
    }
    for (unsigned version = 1; version <= 2; version++) {
        header.version = (uint8_t)version;
        struct rill_slice expected = version == 1 ? written[_i].v1 : written[_i].v2;
        ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), (int)expected.length);
        ck_assert_mem_eq(out, expected.bytes, expected.length);
        ck_assert_int_eq(proxy_check(out, expected.length), (int)expected.length);
        for (size_t size = 0; size < expected.length; size++) {
            char *exactly = malloc(size ? size : 1);
            ck_assert_int_eq(rill_proxy_write(&header, exactly, size), -ENOBUFS);
            free(exactly);
        }
    }
    header.is_local = true;
    header.version = 2;
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), 16);
    ck_assert_mem_eq(out, SIGNATURE "\x20\0\0\0", 16);
    header.version = 1;
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), 15);
    ck_assert_mem_eq(out, "PROXY UNKNOWN\r\n", 15);
    for (unsigned version = 0; version < 256; version++) {
        header.version = (uint8_t)version;
        ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out) < 0, version != 1 && version != 2);
    }
}
END_TEST

START_TEST(what_is_written_reads_as_the_same)
{
    struct test_random random = {(uint64_t)_i};
    for (int round = 0; round < 50; round++) {
        struct rill_proxy_header header = {.has_addresses = true}, again;
        struct rill_ip ends[2];
        for (int i = 0; i < 2; i++) {
            ends[i] = (struct rill_ip){.version = test_random_below(&random, 2) ? 4 : 6,
                                       .port = (uint16_t)test_random_next(&random)};
            for (size_t k = 0; k < (ends[i].version == 4 ? 4 : 16); k++)
                ends[i].bytes[k] = (uint8_t)(test_random_below(&random, 2) ? 0 : test_random_next(&random));
        }
        header.source = rill_addr_of(&ends[0]);
        header.destination = rill_addr_of(&ends[1]);
        header.version = (uint8_t)(1 + test_random_below(&random, 2));
        header.is_datagram = header.version == 2 && test_random_below(&random, 2);
        header.has_checksum = header.version == 2 && test_random_below(&random, 2);
        char out[RILL_PROXY_WRITE_BYTES];
        int length = rill_proxy_write(&header, out, sizeof out);
        ck_assert_int_gt(length, 0);
        ck_assert_int_eq(proxy_check(out, (size_t)length), length);
        ck_assert_int_eq(rill_proxy_parse(out, (size_t)length, &again), length);
        ck_assert(proxy_header_equal(&header, &again));
    }
}
END_TEST

START_TEST(datagrams_are_for_version_2)
{
    struct rill_proxy_header header = {.version = 1,
                                       .has_addresses = true,
                                       .is_datagram = true,
                                       .source = addr_of("192.0.2.1:1"),
                                       .destination = addr_of("192.0.2.2:2")};
    char out[RILL_PROXY_WRITE_BYTES];
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), 15);
    header.version = 2;
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), 28);
    ck_assert_int_eq(out[13], 0x12);
}
END_TEST

/* Paths of every length, abstract names, and no name at all. */
START_TEST(unix_sockets_have_paths)
{
    char out[RILL_PROXY_WRITE_BYTES];
    for (size_t length = 0; length <= 108; length++) {
        for (int abstract = 0; abstract < 2; abstract++) {
            struct rill_proxy_header header = {.version = 2, .has_addresses = true, .has_checksum = true}, again;
            struct sockaddr_un *local = &header.source.socket.local;
            local->sun_family = AF_UNIX;
            memset(local->sun_path, 'p', length);
            if (abstract && length > 0)
                local->sun_path[0] = '\0';
            bool terminated = !abstract && length > 0 && length < sizeof local->sun_path;
            header.source.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                                               (abstract && length == 1 ? 0 : length) + terminated);
            header.destination = addr_of("unix:/run/service.sock");
            int size = rill_proxy_write(&header, out, sizeof out);
            ck_assert_int_eq(size, RILL_PROXY_WRITE_BYTES);
            ck_assert_mem_eq(out, SIGNATURE "\x21\x31\0\xdf", 16);
            ck_assert_int_eq(proxy_check(out, (size_t)size), size);
            ck_assert_int_eq(rill_proxy_parse(out, (size_t)size, &again), size);
            ck_assert(proxy_header_equal(&header, &again));
            check_end(&again.destination, "unix:/run/service.sock");
            char text[RILL_ADDR_TEXT];
            rill_addr_format(&again.source, text);
            ck_assert_uint_eq(strlen(text), 5 + (abstract ? 0 : length));
        }
    }
}
END_TEST

START_TEST(further_fields_are_passed_on)
{
    static char tlvs[65600], out[RILL_PROXY_MAX_BYTES];
    struct rill_proxy_header header = {
        .version = 2, .has_addresses = true, .source = addr_of("192.0.2.1:1"), .destination = addr_of("192.0.2.2:2")};
    struct rill_proxy_header again;
    struct rill_proxy_tlv tlv;
    /* The most that there can be: two fields that fill the header. */
    const size_t most = 65535 - 12;
    tlvs[0] = RILL_PROXY_TLV_AUTHORITY;
    tlvs[2] = 11;
    memcpy(tlvs + 3, "example.com", 11);
    for (size_t length = most; length <= most + 1; length++) {
        size_t second = length - 14 - 3;
        tlvs[14] = (char)RILL_PROXY_TLV_CUSTOM_MAX;
        tlvs[15] = (char)(second >> 8);
        tlvs[16] = (char)second;
        header.tlvs = (struct rill_slice){tlvs, length};
        ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), length == most ? RILL_PROXY_MAX_BYTES : -EMSGSIZE);
    }
    header.tlvs.length = most;
    tlvs[15] = (char)((most - 17) >> 8);
    tlvs[16] = (char)(most - 17);
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), RILL_PROXY_MAX_BYTES);
    ck_assert_int_eq(proxy_check(out, sizeof out), RILL_PROXY_MAX_BYTES);
    ck_assert_int_eq(rill_proxy_parse(out, sizeof out, &again), RILL_PROXY_MAX_BYTES);
    ck_assert(rill_proxy_next_tlv(&again.tlvs, &tlv));
    ck_assert_int_eq(tlv.type, RILL_PROXY_TLV_AUTHORITY);
    ck_assert(rill_slice_equal(tlv.value, rill_slice_of("example.com")));
    ck_assert(rill_proxy_next_tlv(&again.tlvs, &tlv));
    ck_assert_int_eq(tlv.type, RILL_PROXY_TLV_CUSTOM_MAX);
    ck_assert_uint_eq(tlv.value.length, most - 17);
    ck_assert(!rill_proxy_next_tlv(&again.tlvs, &tlv));
    /* A checksum of another header is not passed on, nor are fields that are none. */
    header.tlvs = (struct rill_slice)LITERAL("\3\0\4abcd\4\0\1x\3\0\0");
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), 28 + 4);
    header.has_checksum = true;
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), 28 + 4 + 7);
    ck_assert_int_eq(proxy_check(out, 28 + 4 + 7), 28 + 4 + 7);
    header.tlvs = (struct rill_slice)LITERAL("\4\0\2x");
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), -EINVAL);
    header.tlvs = (struct rill_slice)LITERAL("\4\0");
    ck_assert_int_eq(rill_proxy_write(&header, out, sizeof out), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_protocol");
    TCase *reading = tcase_create("reading");
    tcase_add_loop_test(reading, reads_whole_headers, 0, (int)rill_array_length(valid));
    tcase_add_loop_test(reading, sees_what_is_wrong, 0, (int)rill_array_length(malformed));
    tcase_add_loop_test(reading, agrees_with_a_slow_reading_near_valid_headers, 0, (int)rill_array_length(valid));
    tcase_add_test(reading, nothing_is_no_header_yet);
    tcase_add_test(reading, the_checksum_is_crc32c);
    tcase_add_test(reading, a_checksum_wherever_it_is_must_be_right);
    suite_add_tcase(suite, reading);
    TCase *writing = tcase_create("writing");
    tcase_add_loop_test(writing, writes_what_the_specification_says, 0, (int)rill_array_length(written));
    tcase_add_loop_test(writing, what_is_written_reads_as_the_same, 0, 10);
    tcase_add_test(writing, datagrams_are_for_version_2);
    tcase_add_test(writing, unix_sockets_have_paths);
    tcase_add_test(writing, further_fields_are_passed_on);
    suite_add_tcase(suite, writing);
    return run_suite(suite);
}
