/* proxy_check.c - see proxy_check.h. */
#include "proxy_check.h"
#include "fuzz.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the slow reading --- */

#define OCTET "(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
#define V4 OCTET "[.]" OCTET "[.]" OCTET "[.]" OCTET
#define V6 "[0-9a-fA-F:.]{2,45}"
#define PORT "(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

enum { LINE_V4, LINE_V6, LINES };

static bool matches(const char *text, int line)
{
    static struct fuzz_pattern patterns[LINES] = {
        [LINE_V4] = {.text = "^PROXY TCP4 " V4 " " V4 " " PORT " " PORT "$"},
        [LINE_V6] = {.text = "^PROXY TCP6 " V6 " " V6 " " PORT " " PORT "$"},
    };
    return fuzz_match(&patterns[line], text, 0, NULL);
}

static size_t reference_v1(const char *bytes, size_t length)
{
    char line[108], a[46], b[46];
    size_t end = 0;
    while (end + 1 < length && !(bytes[end] == '\r' && bytes[end + 1] == '\n'))
        end++;
    if (end + 1 >= length || end + 2 > 107)
        return 0;
    for (size_t i = 0; i < end; i++)
        if (bytes[i] == '\r' || bytes[i] == '\n')
            return 0;
    memcpy(line, bytes, end);
    line[end] = '\0';
    if (end >= 13 && memcmp(line, "PROXY UNKNOWN", 13) == 0 && (end == 13 || line[13] == ' '))
        return end + 2;
    if (strlen(line) != end)
        return 0;
    if (matches(line, LINE_V4))
        return end + 2;
    struct in6_addr addr;
    if (!matches(line, LINE_V6) || sscanf(line, "PROXY TCP6 %45s %45s", a, b) != 2)
        return 0;
    return inet_pton(AF_INET6, a, &addr) == 1 && inet_pton(AF_INET6, b, &addr) == 1 ? end + 2 : 0;
}

uint32_t proxy_reference_crc32c(const char *bytes, size_t length)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < 8 * length; i++) {
        uint32_t bit = (uint32_t)(uint8_t)bytes[i / 8] >> i % 8 & 1;
        crc = (crc & 1) != bit ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return crc ^ 0xffffffff;
}

static bool checksum_is_right(const char *bytes, size_t at, size_t whole)
{
    const uint8_t *said = (const uint8_t *)bytes + at;
    char *copy = malloc(whole);
    MUST(copy != NULL);
    memcpy(copy, bytes, whole);
    memset(copy + at, 0, 4);
    uint32_t crc = proxy_reference_crc32c(copy, whole);
    free(copy);
    return crc == ((uint32_t)said[0] << 24 | (uint32_t)said[1] << 16 | (uint32_t)said[2] << 8 | said[3]);
}

/* Whether the fields from AT on are whole, and checksums among them right. */
static bool fields_are_right(const char *bytes, size_t at, size_t whole)
{
    const uint8_t *b = (const uint8_t *)bytes;
    while (at < whole) {
        if (at + 3 > whole || at + 3 + b[at + 1] * 256u + b[at + 2] > whole)
            return false;
        if (b[at] == 3 && (b[at + 1] != 0 || b[at + 2] != 4 || !checksum_is_right(bytes, at + 3, whole)))
            return false;
        at += 3 + b[at + 1] * 256u + b[at + 2];
    }
    return true;
}

static size_t reference_v2(const char *bytes, size_t length)
{
    const uint8_t *b = (const uint8_t *)bytes;
    size_t whole = length < 16 ? SIZE_MAX : 16 + b[14] * 256u + b[15];
    if (whole > length)
        return 0;
    if (b[12] == 0x20)
        return whole;
    size_t least;
    if (b[12] != 0x21)
        return 0;
    switch (b[13]) {
    case 0x00: /* neither known */
    case 0x01:
    case 0x02:
    case 0x10:
    case 0x20:
    case 0x30:
        return whole;
    case 0x11:
    case 0x12:
        least = 16 + 12;
        break;
    case 0x21:
    case 0x22:
        least = 16 + 36;
        break;
    case 0x31:
    case 0x32:
        least = 16 + 216;
        break;
    default:
        return 0;
    }
    return whole >= least && fields_are_right(bytes, least, whole) ? whole : 0;
}

size_t proxy_reference(const char *bytes, size_t length)
{
    static const char signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
    if (length > 12 && memcmp(bytes, signature, 12) == 0)
        return reference_v2(bytes, length);
    return length > 6 && memcmp(bytes, "PROXY ", 6) == 0 ? reference_v1(bytes, length) : 0;
}

/* --- any bytes --- */

static bool addr_equal(const struct rill_addr *a, const struct rill_addr *b)
{
    struct rill_ip x = rill_ip_of(a), y = rill_ip_of(b);
    if (x.version || y.version)
        return x.version == y.version && x.port == y.port && memcmp(x.bytes, y.bytes, sizeof x.bytes) == 0;
    return a->length == b->length && memcmp(&a->socket, &b->socket, a->length) == 0;
}

bool proxy_header_equal(const struct rill_proxy_header *a, const struct rill_proxy_header *b)
{
    return a->version == b->version && a->is_local == b->is_local && a->has_addresses == b->has_addresses &&
           a->is_datagram == b->is_datagram && a->has_checksum == b->has_checksum &&
           (!a->has_addresses || (addr_equal(&a->source, &b->source) && addr_equal(&a->destination, &b->destination)));
}

static int parse_copy(const char *bytes, size_t length, struct rill_proxy_header *header)
{
    char *copy = malloc(length ? length : 1);
    MUST(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    int got = rill_proxy_parse(copy, length, header);
    free(copy);
    return got;
}

/* What was read is written again: it says the same, without regard to the checksum's place. */
static void check_written(const struct rill_proxy_header *header)
{
    static char out[RILL_PROXY_MAX_BYTES];
    struct rill_proxy_header again;
    int length = rill_proxy_write(header, out, sizeof out);
    MUST(length > 0);
    MUST(proxy_reference(out, (size_t)length) == (size_t)length);
    MUST(rill_proxy_parse(out, (size_t)length, &again) == length);
    MUST(proxy_header_equal(header, &again));
    MUST(header->version == 2 || length <= RILL_PROXY_V1_MAX_BYTES);
    MUST(header->tlvs.length > 0 || length <= RILL_PROXY_WRITE_BYTES);
    MUST(rill_proxy_write(header, out, (size_t)length) == length);
    MUST(rill_proxy_write(header, out, (size_t)length - 1) == -ENOBUFS);
    struct rill_slice a = header->tlvs, b = again.tlvs;
    struct rill_proxy_tlv x, y;
    while (rill_proxy_next_tlv(&a, &x)) {
        if (x.type == RILL_PROXY_TLV_CRC32C)
            continue;
        MUST(rill_proxy_next_tlv(&b, &y) && x.type == y.type && rill_slice_equal(x.value, y.value));
    }
    MUST(a.length == 0);
    MUST(!header->has_checksum || (rill_proxy_next_tlv(&b, &y) && y.type == RILL_PROXY_TLV_CRC32C));
    MUST(b.length == 0);
}

int proxy_check(const char *bytes, size_t length)
{
    struct rill_proxy_header header, other;
    int got = rill_proxy_parse(bytes, length, &header);
    size_t whole = proxy_reference(bytes, length);
    MUST(got == 0 || got == -EPROTO || got > 0);
    MUST((got > 0 ? (size_t)got : 0) == whole);
    /* Less than the header is never taken for one; what is wrong stays wrong. */
    bool wrong = false;
    for (size_t part = 0; part < (whole ? whole : length); part += part < 512 ? 1 : 97) {
        int now = parse_copy(bytes, part, &other);
        MUST(now == 0 || (now == -EPROTO && got == -EPROTO));
        MUST(!wrong || now == -EPROTO);
        wrong = now < 0;
    }
    if (got <= 0) {
        MUST(got < 0 || length < RILL_PROXY_MAX_BYTES);
        return got;
    }
    /* Nothing beyond it is looked at. */
    MUST(parse_copy(bytes, whole, &other) == got);
    MUST(proxy_header_equal(&header, &other));
    MUST(header.tlvs.length == 0 ||
         (header.tlvs.bytes >= bytes && header.tlvs.bytes + header.tlvs.length == bytes + whole));
    check_written(&header);
    return got;
}
