/* host.c - the check of `uri-host [":" port]` (RFC 9110 7.2, RFC 3986 3.2.2). */
#include "rill/http/target.h"

#include <errno.h>

#include "rill/http/scan_internal.h"

/* "" and ":0" to ":65535", of at most five digits; ":" alone is a port left empty, which RFC 3986 allows. */
static bool port_is_valid(const char *bytes, size_t length)
{
    if (length == 0)
        return true;
    if (bytes[0] != ':' || length > 6)
        return false;
    unsigned port = 0;
    for (size_t i = 1; i < length; i++) {
        if (!rill_byte_is_digit(bytes[i]))
            return false;
        port = port * 10 + (unsigned)(bytes[i] - '0');
    }
    return port <= 65535;
}

/* Four decimal numbers without leading zeroes, each at most 255: what an IPv6 literal may end with. */
static bool ipv4_is_valid(const char *bytes, size_t length)
{
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        unsigned value = 0;
        size_t start = i;
        while (i < length && i - start < 3 && rill_byte_is_digit(bytes[i]))
            value = value * 10 + (unsigned)(bytes[i++] - '0');
        if (i == start || value > 255 || (bytes[start] == '0' && i - start > 1))
            return false;
        if (part < 3 && (i == length || bytes[i++] != '.'))
            return false;
    }
    return i == length;
}

/* What stands between the brackets: up to eight groups of one to four digits, with at most one `::` in place of one
 * group or more, and an IPv4 address for the last two. Zone identifiers mean nothing to another machine: refused. */
static bool ipv6_is_valid(const char *bytes, size_t length)
{
    int groups = 0;
    bool compressed = false;
    size_t i = 0;
    if (length >= 2 && bytes[0] == ':' && bytes[1] == ':') {
        compressed = true;
        i = 2;
    }
    while (i < length) {
        size_t start = i;
        while (i < length && i - start < 4 && rill_hex_value(bytes[i]) >= 0)
            i++;
        if (i == start)
            return false;
        if (i < length && bytes[i] == '.') {
            groups += 2;
            return ipv4_is_valid(bytes + start, length - start) && (compressed ? groups <= 7 : groups == 8);
        }
        if (++groups > 8)
            return false;
        if (i == length)
            break;
        if (bytes[i++] != ':' || i == length)
            return false;
        if (bytes[i] == ':') {
            if (compressed)
                return false;
            compressed = true;
            i++;
        }
    }
    return compressed ? groups <= 7 : groups == 8;
}

int rill_host_check(struct rill_slice host)
{
    const char *bytes = host.bytes;
    size_t length = host.length;
    if (length == 0)
        return -EINVAL;
    if (bytes[0] == '[') {
        const char *close = memchr(bytes, ']', length);
        if (close == NULL || !ipv6_is_valid(bytes + 1, (size_t)(close - bytes) - 1))
            return -EINVAL;
        size_t used = (size_t)(close - bytes) + 1;
        return port_is_valid(bytes + used, length - used) ? 0 : -EINVAL;
    }
    size_t i = 0;
    for (;;) {
        i += rill_byte_run(bytes + i, length - i, RILL_BYTE_HOST);
        if (i == length || bytes[i] != '%')
            break;
        if (length - i < 3 || rill_hex_value(bytes[i + 1]) < 0 || rill_hex_value(bytes[i + 2]) < 0 ||
            (bytes[i + 1] == '0' && bytes[i + 2] == '0'))
            return -EINVAL;
        i += 3;
    }
    return i > 0 && port_is_valid(bytes + i, length - i) ? 0 : -EINVAL;
}
