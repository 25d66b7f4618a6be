/* listen.c - what the text of an address to listen on says beyond the address. */
#include "rill/core/number.h"
#include "rill/net/server.h"
#include <errno.h>

static int fail(const char **why, const char *text)
{
    if (why)
        *why = text;
    return -EINVAL;
}

static int parse_fd(const char *text, struct rill_listen_address *address, const char **why)
{
    uint64_t number;
    if (rill_decimal_parse((struct rill_slice){text, strlen(text)}, &number) < 0 || number > INT32_MAX)
        return fail(why, "the number of an inherited descriptor is wanted after \"fd:\", as in fd:3");
    address->fd = (int)number;
    return 0;
}

static int parse_mode(const char *text, struct rill_listen_address *address, const char **why)
{
    unsigned mode = 0;
    size_t digits = strspn(text, "01234567");
    for (size_t i = 0; i < digits && i < 5; i++)
        mode = mode * 8 + (unsigned)(text[i] - '0');
    if (digits == 0 || digits > 4 || text[digits] != '\0' || mode == 0 || mode > 0777)
        return fail(why, "three octal digits are wanted after \"mode=\", as in mode=660");
    address->mode = (int)mode;
    return 0;
}

/* Where the last WORD in TEXT begins, or NULL: a path may have the word in it, too. */
static const char *last_of(const char *text, const char *word)
{
    const char *found = NULL;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        found = at;
    return found;
}

int rill_listen_parse(const char *text, struct rill_listen_address *address, const char **why)
{
    static const char mode_option[] = ",mode=";
    *address = (struct rill_listen_address){.fd = -1};
    if (strncmp(text, "fd:", 3) == 0)
        return parse_fd(text + 3, address, why);
    const char *option = strncmp(text, "unix:", 5) == 0 ? last_of(text, mode_option) : NULL;
    if (!option)
        return rill_addr_parse(text, &address->addr, why);
    char path[RILL_ADDR_TEXT];
    size_t length = (size_t)(option - text);
    if (length >= sizeof path)
        return fail(why, "the path of a Unix socket may have 107 bytes at most");
    memcpy(path, text, length);
    path[length] = '\0';
    int error = rill_addr_parse(path, &address->addr, why);
    return error < 0 ? error : parse_mode(option + strlen(mode_option), address, why);
}
