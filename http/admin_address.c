/* admin_address.c - where an admin server listens; apart, so that who only reads the address is linked without HTTP. */
#include "rill/http/admin.h"
#include <errno.h>
#include <stdio.h>

int rill_admin_address(const char *text, char *into, size_t size, const char **why)
{
    struct rill_listen_address address;
    const char *port = text[0] == ':' ? text + 1 : text;
    bool alone = *port != '\0' && port[strspn(port, "0123456789")] == '\0';
    int length = alone ? snprintf(into, size, "127.0.0.1:%s", port) : snprintf(into, size, "%s", text);
    *why = "that is too long";
    if (length < 0 || (size_t)length >= size)
        return -EINVAL;
    return rill_listen_parse(into, &address, why);
}
