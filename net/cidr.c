/* cidr.c - see cidr.h. */
#include "rill/net/cidr.h"
#include "rill/core/number.h"
#include "rill/core/sys.h"
#include <arpa/inet.h>

static int fail(const char **why, const char *text)
{
    if (why)
        *why = text;
    return -EINVAL;
}

/* Whether A and B begin with the same BITS bits. */
static bool begin_alike(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

/* Whether all bits but the first BITS of SIZE bytes are 0. */
static bool ends_in_zeros(const uint8_t *bytes, unsigned bits, unsigned size)
{
    for (unsigned i = bits; i < 8 * size; i++)
        if (bytes[i / 8] >> (7 - i % 8) & 1)
            return false;
    return true;
}

static void unmap(struct rill_cidr *cidr)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */
    if (cidr->version != 6 || cidr->bits < 96 || memcmp(cidr->bytes, mapped, sizeof mapped) != 0)
        return;
    cidr->version = 4;
    cidr->bits = (uint8_t)(cidr->bits - 96);
    memmove(cidr->bytes, cidr->bytes + 12, 4);
    memset(cidr->bytes + 4, 0, 12);
}

int rill_cidr_parse(struct rill_slice text, struct rill_cidr *cidr, const char **why)
{
    char host[INET6_ADDRSTRLEN];
    memset(cidr, 0, sizeof *cidr);
    if (rill_slice_equal(text, rill_slice_of("unix:")))
        return 0;
    const char *slash = text.length ? memchr(text.bytes, '/', text.length) : NULL;
    size_t length = slash ? (size_t)(slash - text.bytes) : text.length;
    if (length >= sizeof host || (length > 0 && memchr(text.bytes, '\0', length)))
        return fail(why, "an address is wanted, or a network such as 10.0.0.0/8");
    if (length > 0)
        memcpy(host, text.bytes, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, cidr->bytes) == 1)
        cidr->version = 4;
    else if (inet_pton(AF_INET6, host, cidr->bytes) == 1)
        cidr->version = 6;
    else
        return fail(why, "an address is wanted, or a network such as 10.0.0.0/8");
    unsigned size = cidr->version == 4 ? 4 : 16;
    uint64_t bits = 8 * size;
    if (slash &&
        (rill_decimal_parse((struct rill_slice){slash + 1, text.length - length - 1}, &bits) < 0 || bits > 8 * size))
        return fail(why, "behind the slash the number of bits is wanted: 0 to 32, or for IPv6 to 128");
    if (!ends_in_zeros(cidr->bytes, (unsigned)bits, size))
        return fail(why, "only the bits before the slash's number may be set, as in 10.0.0.0/8");
    cidr->bits = (uint8_t)bits;
    unmap(cidr);
    return 0;
}

bool rill_cidr_contains(const struct rill_cidr *cidr, const struct rill_ip *ip)
{
    return cidr->version == ip->version && begin_alike(cidr->bytes, ip->bytes, cidr->bits);
}

struct rill_cidr_list {
    size_t count;
    struct rill_cidr networks[];
};

static struct rill_slice trimmed(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (from < to && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (struct rill_slice){from, (size_t)(to - from)};
}

struct rill_cidr_list *rill_cidr_list_new(const char *text, int *error, const char **why)
{
    size_t count = 1;
    for (const char *at = text; *at; at++)
        count += *at == ',';
    struct rill_cidr_list *list = rill_sys_malloc(sizeof *list + count * sizeof *list->networks);
    *error = list ? 0 : -ENOMEM;
    if (!list)
        return NULL;
    list->count = count;
    for (size_t i = 0; i < count && *error == 0; i++) {
        const char *end = strchrnul(text, ',');
        *error = rill_cidr_parse(trimmed(text, end), &list->networks[i], why);
        text = end + 1;
    }
    if (*error == 0)
        return list;
    rill_sys_free(list);
    return NULL;
}

bool rill_cidr_list_contains(const struct rill_cidr_list *list, const struct rill_ip *ip)
{
    for (size_t i = 0; i < list->count; i++)
        if (rill_cidr_contains(&list->networks[i], ip))
            return true;
    return false;
}

void rill_cidr_list_free(struct rill_cidr_list *list)
{
    rill_sys_free(list);
}
