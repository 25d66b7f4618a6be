/* fuzz_values.c - fuzzes what people write: on command lines durations, sizes, counts, rates, addresses, networks,
 * places to listen; a table of media types; a sudoku.
 *
 * The input is lines; each is read as everything, and all together as the table. */
#include "rill/apps/sudoku/solver.h"
#include "rill/core/units.h"
#include "rill/http/admin.h"
#include "rill/http/mime.h"
#include "rill/net/addr.h"
#include "rill/net/address_rates.h"
#include "rill/net/cidr.h"
#include "rill/net/server.h"
#include "support/fuzz.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum pattern { DURATION, SIZE, COUNT, RATE, PORT, PUZZLE, TYPE, INHERITED, MODE, PATTERNS };

static bool matches(const char *text, enum pattern pattern)
{
    static struct fuzz_pattern patterns[PATTERNS] = {
        [DURATION] = {.text = "^[0-9]+(ms|s|m|h)$"},
        [SIZE] = {.text = "^[0-9]+[kKmMgG]?$"},
        [COUNT] = {.text = "^[0-9]+$"},
        [RATE] = {.text = "^[0-9]+(:[0-9]+)?$"},
        [PORT] = {.text = "^:?[0-9]+$"},
        [PUZZLE] = {.text = "^[0-9.]{81}$"},
        [TYPE] = {.text = "^[-a-zA-Z0-9!#$%&'*+.^_`|~]+/[-a-zA-Z0-9!#$%&'*+.^_`|~]+$"},
        [INHERITED] = {.text = "^fd:[0-9]+$"},
        [MODE] = {.text = ",mode=0?[0-7]{1,3}$"},
    };
    return fuzz_match(&patterns[pattern], text, 0, NULL);
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

static void check_rate(const char *text)
{
    struct rill_rate rate;
    const char *wanted = NULL, *colon = strchr(text, ':');
    uint64_t each, burst = 1;
    bool sound = matches(text, RATE) && times(text, 1, &each) && (!colon || times(colon + 1, 1, &burst)) && each >= 1 &&
                 each <= 1000000 && burst >= 1 && burst <= 1000000;
    MUST(rill_rate_parse(text, &rate, &wanted) == (sound ? 0 : -EINVAL));
    MUST(sound ? rate.per_second == each && rate.burst == (colon ? burst : 0) : wanted != NULL);
}

/* A port alone is one of this machine. */
static void check_admin(const char *text)
{
    char into[RILL_ADDR_TEXT], expected[2048];
    const char *why = NULL;
    if (!matches(text, PORT))
        return;
    uint64_t port;
    snprintf(expected, sizeof expected, "127.0.0.1:%s", text + (*text == ':'));
    bool sound = times(text + (*text == ':'), 1, &port) && port <= 65535 && strlen(expected) < sizeof into;
    int result = rill_admin_address(text, into, sizeof into, &why);
    MUST(result == 0 || (result == -EINVAL && why));
    MUST(result < 0 || sound);
    MUST(result < 0 || strcmp(into, expected) == 0);
    MUST(result == 0 || !sound || strlen(text + (*text == ':')) > 5); /* more zeros than a port may begin with */
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

/* --- a sudoku --- */

/* Whether no digit of GRID is twice in a row, in a column or in a box. */
static bool is_consistent(const char *grid)
{
    bool seen[3][9][10] = {{{false}}};
    for (int i = 0; i < RILL_SUDOKU_CELLS; i++) {
        int row = i / 9, column = i % 9, digit = grid[i] == '.' ? 0 : grid[i] - '0';
        bool *places[] = {&seen[0][row][digit], &seen[1][column][digit], &seen[2][row / 3 * 3 + column / 3][digit]};
        for (int k = 0; k < 3 && digit > 0; k++) {
            if (*places[k])
                return false;
            *places[k] = true;
        }
    }
    return true;
}

static void check_puzzle(struct rill_slice line)
{
    struct rill_sudoku_search search = {.max_guesses = 50};
    char solution[RILL_SUDOKU_CELLS] = "";
    if (line.length != RILL_SUDOKU_CELLS)
        return;
    char *puzzle = fuzz_copy(line), *text = fuzz_string(line);
    enum rill_sudoku_result result = rill_sudoku_solve(puzzle, solution, &search);
    MUST((result == RILL_SUDOKU_MALFORMED) == !matches(text, PUZZLE));
    MUST(search.guesses <= 50);
    if (result == RILL_SUDOKU_SOLVED) {
        MUST(is_consistent(solution) && !memchr(solution, '.', sizeof solution) &&
             !memchr(solution, '0', sizeof solution));
        for (size_t i = 0; i < sizeof solution; i++)
            MUST(puzzle[i] == '0' || puzzle[i] == '.' || puzzle[i] == solution[i]);
    } else {
        MUST(solution[0] == '\0');
        MUST(result != RILL_SUDOKU_GIVEN_UP || is_consistent(puzzle));
    }
    free(text);
    free(puzzle);
}

/* --- a table of media types --- */

/* The type that the first line of TABLE with EXTENSION gives it, in lower case and before what is added to it; false:
 * there is none. */
static bool reference_type(struct rill_slice table, const char *extension, char type[1100])
{
    struct rill_slice line;
    bool found = false;
    while (!found && (line = fuzz_take_line(&table)).bytes) {
        char *copy = fuzz_copy(line), *text = malloc(line.length + 1), *save = NULL;
        MUST(text);
        for (size_t i = 0; i < line.length; i++)
            text[i] = copy[i] == '\0' ? '\1' : (char)tolower((unsigned char)copy[i]); /* neither is of a type */
        text[line.length] = '\0';
        char *first = strtok_r(text, " \t\r", &save);
        bool sound = first && *first != '#' && matches(first, TYPE);
        for (char *word = sound ? strtok_r(NULL, " \t\r", &save) : NULL; word && *word != '#' && !found;
             word = strtok_r(NULL, " \t\r", &save))
            found = strcmp(word, extension) == 0;
        if (found)
            snprintf(type, 1100, "%s", first);
        free(text);
        free(copy);
    }
    return found;
}

static void check_types(struct rill_slice table)
{
    static int fd = -1;
    char path[32], type[1100];
    struct rill_mime *mime;
    struct rill_slice rest = table, line;
    if (fd < 0)
        fd = memfd_create("types", MFD_CLOEXEC);
    MUST(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, table.bytes, table.length, 0) == (ssize_t)table.length);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    MUST(rill_mime_load(&mime, path) == 0);
    while ((line = fuzz_take_line(&rest)).bytes) {
        char *text = fuzz_string(line), *save = NULL;
        for (char *p = text; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        for (char *word = strtok_r(text, " \t\r", &save); word; word = strtok_r(NULL, " \t\r", &save)) {
            struct rill_slice got = rill_mime_of_extension(mime, rill_slice_of(word));
            MUST(got.length > 0 && memchr(got.bytes, '/', got.length));
            if (strlen(word) > 16 || !reference_type(table, word, type) || strstr(type, "javascript"))
                continue;
            MUST(got.length >= strlen(type) && memcmp(got.bytes, type, strlen(type)) == 0);
            MUST(rill_slice_equal((struct rill_slice){got.bytes + strlen(type), got.length - strlen(type)},
                                  rill_slice_of(strncmp(type, "text/", 5) == 0 ? "; charset=utf-8" : "")));
        }
        free(text);
    }
    rill_mime_free(mime);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rill_slice text = {(const char *)data, size}, line;
    if (size < 1 || size > 1024)
        return 0;
    if (memchr(text.bytes, '/', size) && (memchr(text.bytes, ' ', size) || memchr(text.bytes, '\t', size)))
        check_types(text); /* only then: it takes long */
    while ((line = fuzz_take_line(&text)).bytes) {
        char *string = fuzz_string(line), *exact = fuzz_copy(line);
        check_units(string);
        check_rate(string);
        check_admin(string);
        check_puzzle(line);
        check_address(string);
        check_listen(string);
        check_networks(string);
        check_network((struct rill_slice){exact, line.length});
        free(exact);
        free(string);
    }
    return 0;
}
