/* fuzz_values.c - fuzzes what command lines say: durations, sizes, counts, addresses, networks, places to listen.
 *
 * The input is lines; each is read as everything. */
#include "rill/core/units.h"
#include "rill/net/addr.h"
#include "rill/net/cidr.h"
#include "rill/net/server.h"
#include "support/fuzz.h"
#include <arpa/inet.h>
#include <errno.h>
#include <regex.h>

enum pattern { DURATION, SIZE, COUNT, INHERITED, MODE, PATTERNS };

static bool matches(const char *text, enum pattern pattern)
{
    static const char *const patterns[PATTERNS] = {[DURATION] = "^[0-9]+(ms|s|m|h)$",
                                                   [SIZE] = "^[0-9]+[kKmMgG]?$",
                                                   [COUNT] = "^[0-9]+$",
                                                   [INHERITED] = "^fd:[0-9]+$",
                                                   [MODE] = ",mode=0?[0-7]{1,3}$"};
    static regex_t regexes[PATTERNS];
    static bool compiled[PATTERNS];
    if (!compiled[pattern]) {
        MUST(regcomp(&regexes[pattern], patterns[pattern], REG_EXTENDED | REG_NOSUB) == 0);
        compiled[pattern] = true;
    }
    return regexec(&regexes[pattern], text, 0, NULL, 0) == 0;
}

/* The number at the start of TEXT times UNIT; false: 64 bits are too few. */
static bool times(const char *text, uint64_t unit, uint64_t *value)
{
    errno = 0;
    uint64_t number = strtoull(text, NULL, 10);
    *value = number * unit;
    return errno == 0 && number <= UINT64_MAX / unit;
}

static void check_units(const char *text)
{
    uint64_t value, expected, unit = 1;
    const char *wanted = NULL, *end = text + strspn(text, "0123456789");
    bool sound = matches(text, DURATION);
    if (sound)
        unit = strcmp(end, "ms") == 0 ? 1 : *end == 's' ? 1000 : *end == 'm' ? 60000 : 3600000;
    sound = sound && times(text, unit, &expected);
    MUST(rill_parse_duration_ms(text, &value, &wanted) == (sound ? 0 : -EINVAL));
    MUST(sound ? value == expected : wanted != NULL);

    unit = 1;
    for (const char *k = "kmg"; *k != '\0' && *end != '\0'; k++)
        if ((*end | 0x20) == *k)
            unit = UINT64_C(1) << (10 * (k - "kmg" + 1));
    wanted = NULL;
    sound = matches(text, SIZE) && times(text, unit, &expected);
    MUST(rill_parse_size(text, &value, &wanted) == (sound ? 0 : -EINVAL));
    MUST(sound ? value == expected : wanted != NULL);

    wanted = NULL;
    sound = matches(text, COUNT) && times(text, 1, &expected) && expected >= 3 && expected <= 1000000;
    MUST(rill_parse_count(text, 3, 1000000, &value, &wanted) == (sound ? 0 : -EINVAL));
    MUST(sound ? value == expected : wanted != NULL);
}

/* What is read and written is read again as the same. */
static void check_address(const char *text)
{
    struct rill_addr addr, again;
    char host[RILL_HOST_TEXT], written[RILL_ADDR_TEXT];
    const char *why = NULL;
    int result = rill_addr_parse_numeric(text, &addr, host, &why);
    MUST(result == 0 || result == 1 || (result == -EINVAL && why));
    if (result == 1)
        MUST(strlen(host) > 0 && strncmp(text, host, strlen(host)) == 0 && text[strlen(host)] == ':');
    if (result != 0)
        return;
    rill_addr_format(&addr, written);
    MUST(rill_addr_parse_numeric(written, &again, host, &why) == 0);
    MUST(addr.length == again.length && memcmp(&addr.socket, &again.socket, addr.length) == 0);
    struct rill_ip ip = rill_ip_of(&addr);
    if (ip.version) {
        struct rill_addr back = rill_addr_of(&ip);
        struct rill_ip ip_again = rill_ip_of(&back);
        MUST(ip.port == rill_addr_port(&addr));
        MUST(ip_again.version == ip.version && memcmp(ip_again.bytes, ip.bytes, sizeof ip.bytes) == 0);
    }
    struct rill_listen_address listen;
    MUST(rill_listen_parse(text, &listen, &why) <= 0); /* a comma in a path may be followed by nonsense */
}

static void check_listen(const char *text)
{
    struct rill_listen_address address;
    const char *why = NULL;
    if (strncmp(text, "unix:", 5) != 0 && strncmp(text, "fd:", 3) != 0) /* else it may be a name to be looked up */
        return;
    int result = rill_listen_parse(text, &address, &why);
    MUST(result == 0 || (result == -EINVAL && why));
    if (result < 0)
        return;
    MUST(*text == 'f' ? address.fd >= 0 && matches(text, INHERITED) : address.fd == -1);
    MUST(address.mode >= 0 && address.mode <= 0777);
    MUST(!address.mode || matches(text, MODE));
}

static bool bit(const uint8_t *bytes, unsigned at)
{
    return bytes[at / 8] >> (7 - at % 8) & 1;
}

/* CIDR has the addresses that begin with its bits: its own, that with a bit behind them, none with one of them other.
 */
static void check_members(const struct rill_cidr *cidr)
{
    struct rill_ip ip = {.version = cidr->version};
    unsigned size = cidr->version == 4 ? 32 : cidr->version == 6 ? 128 : 0;
    memcpy(ip.bytes, cidr->bytes, sizeof ip.bytes);
    MUST(cidr->bits <= size);
    MUST(rill_cidr_contains(cidr, &ip));
    for (unsigned i = 0; i < size; i++) {
        ip.bytes[i / 8] ^= (uint8_t)(0x80 >> i % 8);
        MUST(rill_cidr_contains(cidr, &ip) == (i >= cidr->bits));
        ip.bytes[i / 8] ^= (uint8_t)(0x80 >> i % 8);
        MUST(i < cidr->bits || !bit(cidr->bytes, i));
    }
    ip.version = cidr->version == 4 ? 6 : 4;
    MUST(!rill_cidr_contains(cidr, &ip));
}

static void check_network(struct rill_slice text)
{
    struct rill_cidr cidr;
    const char *why = NULL;
    int result = rill_cidr_parse(text, &cidr, &why);
    MUST(result == 0 || (result == -EINVAL && why));
    char *copy = fuzz_string(text), *slash = strchr(copy, '/');
    uint8_t bytes[16];
    if (slash)
        *slash = '\0';
    bool is_address = strlen(copy) == text.length || slash
                          ? inet_pton(AF_INET, copy, bytes) == 1 || inet_pton(AF_INET6, copy, bytes) == 1
                          : false;
    MUST(result < 0 || is_address || rill_slice_equal(text, rill_slice_of("unix:")));
    MUST(!is_address || slash || result == 0); /* every address is a network of one */
    free(copy);
    if (result == 0)
        check_members(&cidr);
}

/* A list is sound when all of its members are. */
static void check_networks(const char *text)
{
    int error = 0;
    const char *why = NULL;
    struct rill_cidr_list *list = rill_cidr_list_new(text, &error, &why);
    bool sound = true;
    for (const char *at = text;; at++) {
        struct rill_slice member = {at, strcspn(at, ",")};
        struct rill_cidr cidr;
        at += member.length;
        while (member.length > 0 && strchr(" \t", *member.bytes))
            member = (struct rill_slice){member.bytes + 1, member.length - 1};
        while (member.length > 0 && strchr(" \t", member.bytes[member.length - 1]))
            member.length--;
        sound &= rill_cidr_parse(member, &cidr, NULL) == 0;
        if (*at == '\0')
            break;
    }
    MUST((list != NULL) == sound);
    MUST(list || (error == -EINVAL && why));
    rill_cidr_list_free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rill_slice text = {(const char *)data, size}, line;
    if (size > 1024)
        return 0;
    while ((line = fuzz_take_line(&text)).bytes) {
        char *string = fuzz_string(line), *exact = fuzz_copy(line);
        check_units(string);
        check_address(string);
        check_listen(string);
        check_networks(string);
        check_network((struct rill_slice){exact, line.length});
        free(exact);
        free(string);
    }
    return 0;
}
