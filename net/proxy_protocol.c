/* proxy_protocol.c - PROXY headers, read and written.
 *
 * A header is parsed from its first byte at every attempt: it comes in one piece nearly always, and is short. Whatever
 * is wrong is told as soon as a byte shows it, so that the proxy has a chance to notice. */
#include "rill/net/proxy_protocol.h"
#include "rill/core/number.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

enum {
    V2_FIXED_BYTES = 16,
    V2_LOCAL = 0x0,
    V2_PROXY = 0x1,
    V2_INET = 0x1,
    V2_INET6 = 0x2,
    V2_UNIX = 0x3,
    V2_STREAM = 0x1,
    V2_DATAGRAM = 0x2,
    V2_PATH_BYTES = 108,
    TLV_FIXED_BYTES = 3,
    CHECKSUM_BYTES = 4,
};

static const char V1_SIGNATURE[] = "PROXY ";
static const char V2_SIGNATURE[] = "\r\n\r\n\0\r\nQUIT\n";

/* Whether BYTES are SIGNATURE as far as they go. */
static bool begins(const char *bytes, size_t length, const char *signature, size_t signature_length)
{
    return memcmp(bytes, signature, length < signature_length ? length : signature_length) == 0;
}

static unsigned read_be16(const char *bytes)
{
    return (unsigned)(uint8_t)bytes[0] << 8 | (uint8_t)bytes[1];
}

static uint32_t read_be32(const char *bytes)
{
    return (uint32_t)read_be16(bytes) << 16 | read_be16(bytes + 2);
}

/* Goes on with a CRC32c (RFC 4960, appendix B) that began as UINT32_MAX and ends inverted. Four bits at a time: headers
 * are short, and a larger table would cost more in the cache than it saves. */
static uint32_t crc32c(uint32_t crc, const char *bytes, size_t length)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (size_t i = 0; i < length; i++) {
        crc ^= (uint8_t)bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

/* The checksum of a header of LENGTH bytes in which it lies at CHECKSUM itself [2.2.3]. */
static uint32_t checksum_of(const char *header, size_t length, const char *checksum)
{
    const char *behind = checksum + CHECKSUM_BYTES;
    uint32_t crc = crc32c(UINT32_MAX, header, (size_t)(checksum - header));
    crc = crc32c(crc, "\0\0\0\0", CHECKSUM_BYTES);
    return ~crc32c(crc, behind, (size_t)(header + length - behind));
}

/* --- reading version 1 --- */

enum { V1_FIELDS = 6 }; /* PROXY TCP4 SOURCE DESTINATION PORT PORT */

/* Splits LINE at every space. Returns the number of fields, MAX + 1 when there are more than MAX. */
static unsigned split(struct rill_slice line, struct rill_slice *fields, unsigned max)
{
    for (unsigned count = 0; count < max; count++) {
        const char *space = memchr(line.bytes, ' ', line.length);
        size_t length = space ? (size_t)(space - line.bytes) : line.length;
        fields[count] = (struct rill_slice){line.bytes, length};
        if (!space)
            return count + 1;
        line.bytes += length + 1;
        line.length -= length + 1;
    }
    return max + 1;
}

static bool parse_port(struct rill_slice text, in_port_t *port)
{
    uint64_t value;
    if (rill_decimal_parse(text, &value) < 0 || value > 65535 || (text.bytes[0] == '0' && text.length > 1))
        return false;
    *port = htons((uint16_t)value);
    return true;
}

/* inet_pton() is as strict as the specification, save that it reads the dotted form of IPv6 that inet_ntop() writes for
 * mapped addresses, and with it many a proxy. */
static bool parse_end(int family, struct rill_slice host, struct rill_slice port, struct rill_addr *addr)
{
    char text[INET6_ADDRSTRLEN];
    if (host.length >= sizeof text || memchr(host.bytes, '\0', host.length))
        return false;
    memcpy(text, host.bytes, host.length);
    text[host.length] = '\0';
    memset(addr, 0, sizeof *addr);
    addr->socket.any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        addr->length = sizeof addr->socket.v4;
        return inet_pton(family, text, &addr->socket.v4.sin_addr) == 1 && parse_port(port, &addr->socket.v4.sin_port);
    }
    addr->length = sizeof addr->socket.v6;
    return inet_pton(family, text, &addr->socket.v6.sin6_addr) == 1 && parse_port(port, &addr->socket.v6.sin6_port);
}

static int parse_v1(const char *bytes, size_t length, struct rill_proxy_header *header)
{
    size_t window = length < RILL_PROXY_V1_MAX_BYTES ? length : RILL_PROXY_V1_MAX_BYTES;
    const char *lf = memchr(bytes, '\n', window);
    if (!lf)
        return window == RILL_PROXY_V1_MAX_BYTES ? -EPROTO : 0;
    struct rill_slice line = {bytes, (size_t)(lf - bytes)};
    if (memchr(bytes, '\r', line.length) != lf - 1)
        return -EPROTO; /* the first CR is the one before the LF */
    line.length--;
    struct rill_slice fields[V1_FIELDS] = {{NULL, 0}};
    unsigned count = split(line, fields, V1_FIELDS);
    header->version = 1;
    if (rill_slice_equal(fields[1], rill_slice_of("UNKNOWN")))
        return (int)line.length + 2; /* whatever else it says */
    int family = rill_slice_equal(fields[1], rill_slice_of("TCP4")) ? AF_INET : AF_INET6;
    if (family == AF_INET6 && !rill_slice_equal(fields[1], rill_slice_of("TCP6")))
        return -EPROTO;
    if (count != V1_FIELDS || !parse_end(family, fields[2], fields[4], &header->source) ||
        !parse_end(family, fields[3], fields[5], &header->destination))
        return -EPROTO;
    header->has_addresses = true;
    return (int)line.length + 2;
}

/* --- reading version 2 --- */

bool rill_proxy_next_tlv(struct rill_slice *tlvs, struct rill_proxy_tlv *tlv)
{
    if (tlvs->length < TLV_FIXED_BYTES)
        return false;
    size_t length = read_be16(tlvs->bytes + 1);
    if (length > tlvs->length - TLV_FIXED_BYTES)
        return false;
    tlv->type = (uint8_t)tlvs->bytes[0];
    tlv->value = (struct rill_slice){tlvs->bytes + TLV_FIXED_BYTES, length};
    tlvs->bytes += TLV_FIXED_BYTES + length;
    tlvs->length -= TLV_FIXED_BYTES + length;
    return true;
}

static int check_tlvs(const char *bytes, size_t length, struct rill_proxy_header *header)
{
    struct rill_slice rest = header->tlvs;
    struct rill_proxy_tlv tlv;
    while (rill_proxy_next_tlv(&rest, &tlv)) {
        if (tlv.type != RILL_PROXY_TLV_CRC32C)
            continue;
        if (tlv.value.length != CHECKSUM_BYTES ||
            read_be32(tlv.value.bytes) != checksum_of(bytes, length, tlv.value.bytes))
            return -EPROTO;
        header->has_checksum = true;
    }
    return rest.length == 0 ? 0 : -EPROTO;
}

/* Bytes of both addresses and ports of a FAMILY of version 2. */
static size_t address_bytes(unsigned family)
{
    static const size_t bytes[] = {[V2_INET] = 2 * (4 + 2), [V2_INET6] = 2 * (16 + 2), [V2_UNIX] = 2 * V2_PATH_BYTES};
    return bytes[family];
}

static struct rill_addr read_path(const char *path)
{
    struct rill_addr addr = {.socket.local.sun_family = AF_UNIX};
    size_t length = strnlen(path, V2_PATH_BYTES);
    if (length == 0) /* of an abstract name the length is not told; its last byte is rarely NUL */
        for (length = V2_PATH_BYTES; length > 0 && path[length - 1] == '\0';)
            length--;
    else if (length < V2_PATH_BYTES)
        length++; /* its NUL */
    memcpy(addr.socket.local.sun_path, path, length);
    addr.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return addr;
}

/* Reads the end of FAMILY whose address and port lie at HOST and PORT. */
static struct rill_addr read_end(unsigned family, const char *host, const char *port)
{
    struct rill_addr addr;
    memset(&addr, 0, sizeof addr);
    if (family == V2_INET) {
        addr.socket.v4.sin_family = AF_INET;
        memcpy(&addr.socket.v4.sin_addr, host, 4);
        memcpy(&addr.socket.v4.sin_port, port, 2);
        addr.length = sizeof addr.socket.v4;
    } else {
        addr.socket.v6.sin6_family = AF_INET6;
        memcpy(&addr.socket.v6.sin6_addr, host, 16);
        memcpy(&addr.socket.v6.sin6_port, port, 2);
        addr.length = sizeof addr.socket.v6;
    }
    return addr;
}

static void read_ends(unsigned family, const char *from, struct rill_proxy_header *header)
{
    if (family == V2_UNIX) {
        header->source = read_path(from);
        header->destination = read_path(from + V2_PATH_BYTES);
        return;
    }
    size_t bytes = family == V2_INET ? 4 : 16;
    header->source = read_end(family, from, from + 2 * bytes);
    header->destination = read_end(family, from + bytes, from + 2 * bytes + 2);
}

static int parse_v2(const char *bytes, size_t length, struct rill_proxy_header *header)
{
    unsigned command = V2_LOCAL, family = 0, transport = 0;
    if (length > 12) {
        command = (uint8_t)bytes[12] & 0xf;
        if ((uint8_t)bytes[12] >> 4 != 2 || command > V2_PROXY)
            return -EPROTO;
    }
    if (length > 13 && command == V2_PROXY) { /* with LOCAL it is to be ignored */
        family = (uint8_t)bytes[13] >> 4;
        transport = (uint8_t)bytes[13] & 0xf;
        if (family > V2_UNIX || transport > V2_DATAGRAM)
            return -EPROTO;
    }
    if (length < V2_FIXED_BYTES)
        return 0;
    size_t rest = read_be16(bytes + 14);
    bool has_addresses = family && transport;
    if (has_addresses && rest < address_bytes(family))
        return -EPROTO;
    if (length - V2_FIXED_BYTES < rest)
        return 0;
    header->version = 2;
    header->is_local = command == V2_LOCAL;
    header->has_addresses = has_addresses;
    if (has_addresses) {
        header->is_datagram = transport == V2_DATAGRAM;
        read_ends(family, bytes + V2_FIXED_BYTES, header);
        header->tlvs.bytes = bytes + V2_FIXED_BYTES + address_bytes(family);
        header->tlvs.length = rest - address_bytes(family);
        if (check_tlvs(bytes, V2_FIXED_BYTES + rest, header) < 0)
            return -EPROTO;
    }
    return V2_FIXED_BYTES + (int)rest;
}

int rill_proxy_parse(const char *bytes, size_t length, struct rill_proxy_header *header)
{
    memset(header, 0, sizeof *header);
    if (length == 0)
        return 0;
    if (begins(bytes, length, V2_SIGNATURE, sizeof V2_SIGNATURE - 1))
        return parse_v2(bytes, length, header);
    if (begins(bytes, length, V1_SIGNATURE, sizeof V1_SIGNATURE - 1))
        return parse_v1(bytes, length, header);
    return -EPROTO;
}

/* --- writing --- */

/* The family of version 2 that both ends can be told in; 0: none. */
static unsigned common_family(const struct rill_proxy_header *header, const struct rill_ip *source,
                              const struct rill_ip *destination)
{
    if (!header->has_addresses || header->is_local)
        return 0;
    if (source->version && destination->version)
        return source->version == 4 && destination->version == 4 ? V2_INET : V2_INET6;
    bool local = header->source.socket.any.sa_family == AF_UNIX && header->destination.socket.any.sa_family == AF_UNIX;
    return local ? V2_UNIX : 0;
}

/* IP as an IPv6 address: mapped (RFC 4291, 2.5.5.2) when it is none. */
static struct in6_addr as_v6(const struct rill_ip *ip)
{
    struct in6_addr v6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (ip->version == 4)
        memcpy(v6.s6_addr + 12, ip->bytes, 4);
    else
        memcpy(v6.s6_addr, ip->bytes, 16);
    return v6;
}

/* The specification knows groups of hexadecimal digits only, inet_ntop() a dotted form as well. */
static void write_host(unsigned family, const struct rill_ip *ip, char text[INET6_ADDRSTRLEN])
{
    if (family == V2_INET) {
        inet_ntop(AF_INET, ip->bytes, text, INET6_ADDRSTRLEN);
        return;
    }
    struct in6_addr v6 = as_v6(ip);
    const uint8_t *b = v6.s6_addr;
    inet_ntop(AF_INET6, b, text, INET6_ADDRSTRLEN);
    if (strchr(text, '.'))
        snprintf(text, INET6_ADDRSTRLEN, "::%x:%x:%x", b[10] << 8 | b[11], b[12] << 8 | b[13], b[14] << 8 | b[15]);
}

static int write_v1(unsigned family, const struct rill_ip *source, const struct rill_ip *destination, char *out,
                    size_t size)
{
    char line[RILL_PROXY_V1_MAX_BYTES + 1], from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    int length;
    if (family == V2_INET || family == V2_INET6) {
        write_host(family, source, from);
        write_host(family, destination, to);
        length = snprintf(line, sizeof line, "PROXY TCP%c %s %s %u %u\r\n", family == V2_INET ? '4' : '6', from, to,
                          source->port, destination->port);
    } else {
        length = snprintf(line, sizeof line, "PROXY UNKNOWN\r\n");
    }
    if ((size_t)length > size)
        return -ENOBUFS;
    memcpy(out, line, (size_t)length);
    return length;
}

/* Where the next bytes go, and how many more there is room for; goes on counting when there is none. */
struct writer {
    char *out;
    size_t size, length;
};

static void put(struct writer *writer, const void *bytes, size_t length)
{
    if (length > 0 && writer->length <= writer->size && length <= writer->size - writer->length)
        memcpy(writer->out + writer->length, bytes, length);
    writer->length += length;
}

static void put_be16(struct writer *writer, unsigned value)
{
    put(writer, (const uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

static void put_path(struct writer *writer, const struct rill_addr *addr)
{
    char path[V2_PATH_BYTES] = {0};
    size_t before = offsetof(struct sockaddr_un, sun_path);
    size_t length = addr->length > before ? addr->length - before : 0;
    memcpy(path, addr->socket.local.sun_path, length < sizeof path ? length : sizeof path);
    put(writer, path, sizeof path);
}

static void put_ends(struct writer *writer, unsigned family, const struct rill_proxy_header *header,
                     const struct rill_ip *source, const struct rill_ip *destination)
{
    if (family == V2_UNIX) {
        put_path(writer, &header->source);
        put_path(writer, &header->destination);
        return;
    }
    if (family == V2_INET) {
        put(writer, source->bytes, 4);
        put(writer, destination->bytes, 4);
    } else {
        struct in6_addr from = as_v6(source), to = as_v6(destination);
        put(writer, &from, sizeof from);
        put(writer, &to, sizeof to);
    }
    put_be16(writer, source->port);
    put_be16(writer, destination->port);
}

/* Everything behind the first 16 bytes. Returns 0 or -EINVAL. */
static int put_tlvs(struct writer *writer, const struct rill_proxy_header *header)
{
    struct rill_slice rest = header->tlvs;
    struct rill_proxy_tlv tlv;
    while (rill_proxy_next_tlv(&rest, &tlv))
        if (tlv.type != RILL_PROXY_TLV_CRC32C)
            put(writer, tlv.value.bytes - TLV_FIXED_BYTES, TLV_FIXED_BYTES + tlv.value.length);
    if (rest.length > 0)
        return -EINVAL;
    if (header->has_checksum)
        put(writer, (const uint8_t[]){RILL_PROXY_TLV_CRC32C, 0, CHECKSUM_BYTES, 0, 0, 0, 0},
            TLV_FIXED_BYTES + CHECKSUM_BYTES);
    return 0;
}

static int write_v2(unsigned family, const struct rill_proxy_header *header, const struct rill_ip *source,
                    const struct rill_ip *destination, char *out, size_t size)
{
    struct writer writer = {.out = out, .size = size};
    unsigned transport = !family ? 0 : header->is_datagram ? V2_DATAGRAM : V2_STREAM;
    put(&writer, V2_SIGNATURE, sizeof V2_SIGNATURE - 1);
    bool local = header->is_local || (header->has_addresses && !family);
    put_be16(&writer, (0x20u | (local ? V2_LOCAL : V2_PROXY)) << 8 | family << 4 | transport);
    put_be16(&writer, 0); /* the length, when it is known */
    if (family) {
        put_ends(&writer, family, header, source, destination);
        int error = put_tlvs(&writer, header);
        if (error < 0)
            return error;
    }
    if (writer.length > RILL_PROXY_MAX_BYTES)
        return -EMSGSIZE;
    if (writer.length > size)
        return -ENOBUFS;
    struct writer fixed = {.out = out, .size = size, .length = V2_FIXED_BYTES - 2};
    put_be16(&fixed, (unsigned)(writer.length - V2_FIXED_BYTES));
    if (family && header->has_checksum) {
        struct writer checksum = {.out = out, .size = size, .length = writer.length - CHECKSUM_BYTES};
        uint32_t crc = checksum_of(out, writer.length, out + checksum.length);
        put_be16(&checksum, crc >> 16);
        put_be16(&checksum, crc & 0xffff);
    }
    return (int)writer.length;
}

int rill_proxy_write(const struct rill_proxy_header *header, char *out, size_t size)
{
    struct rill_ip source = rill_ip_of(&header->source), destination = rill_ip_of(&header->destination);
    unsigned family = common_family(header, &source, &destination);
    if (header->version == 2)
        return write_v2(family, header, &source, &destination, out, size);
    if (header->version == 1)
        return write_v1(header->is_datagram ? 0 : family, &source, &destination, out, size);
    return -EINVAL;
}
