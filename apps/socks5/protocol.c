/* protocol.c - see protocol.h. */
#include "protocol.h"
#include <errno.h>
#include <stdio.h>

enum { CONNECT = 1 };
enum { IPV4 = 1, NAME = 3, IPV6 = 4 };

static uint8_t byte(const char *bytes, size_t at)
{
    return (uint8_t)bytes[at];
}

int socks_read_greeting(const char *bytes, size_t length, struct rill_slice *methods)
{
    /* VER NMETHODS methods */
    if (length > 0 && byte(bytes, 0) != SOCKS_VERSION)
        return -EPROTO;
    if (length < 2 || length < 2u + byte(bytes, 1))
        return 0;
    *methods = (struct rill_slice){bytes + 2, byte(bytes, 1)};
    return 2 + byte(bytes, 1);
}

int socks_read_password(const char *bytes, size_t length, struct rill_slice *name, struct rill_slice *password)
{
    /* VER ULEN name PLEN password */
    if (length < 2 || length < 3u + byte(bytes, 1))
        return 0;
    *name = (struct rill_slice){bytes + 2, byte(bytes, 1)};
    *password = (struct rill_slice){bytes + 3 + name->length, byte(bytes, 2 + name->length)};
    size_t whole = 3 + name->length + password->length;
    if (length < whole)
        return 0;
    if (byte(bytes, 0) != SOCKS_PASSWORD_VERSION)
        name->length = password->length = 0;
    return (int)whole;
}

/* What is wrong with the first four bytes of a request. */
static enum socks_reply judge(const char *bytes)
{
    uint8_t type = byte(bytes, 3);
    if (byte(bytes, 0) != SOCKS_VERSION || byte(bytes, 2) != 0)
        return SOCKS_FAILED;
    if (byte(bytes, 1) != CONNECT)
        return SOCKS_NO_SUCH_COMMAND;
    return type == IPV4 || type == NAME || type == IPV6 ? SOCKS_SUCCEEDED : SOCKS_NO_SUCH_ADDRESS_TYPE;
}

static void take_address(struct socks_request *request, uint8_t version, struct rill_slice address, uint16_t port)
{
    struct rill_ip ip = {.port = port, .version = version};
    memcpy(ip.bytes, address.bytes, address.length);
    request->addr = rill_addr_of(&ip);
}

static void take_name(struct socks_request *request, struct rill_slice name, uint16_t port)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    request->is_name = true;
    snprintf(request->target, sizeof request->target, "%.*s", (int)name.length, name.bytes);
    if (name.length == 0 || strspn(request->target, allowed) != name.length)
        request->refusal = SOCKS_HOST_UNREACHABLE;
    else
        snprintf(request->target + name.length, 8, ":%u", port);
}

int socks_read_request(const char *bytes, size_t length, struct socks_request *request)
{
    /* VER CMD RSV ATYP, address (a name's length before it), port */
    if (length < 5)
        return 0;
    *request = (struct socks_request){.refusal = judge(bytes)};
    if (request->refusal != SOCKS_SUCCEEDED)
        return (int)length;
    uint8_t type = byte(bytes, 3);
    size_t at = type == NAME ? 5 : 4;
    struct rill_slice address = {bytes + at, type == NAME ? byte(bytes, 4) : type == IPV4 ? 4 : 16};
    at += address.length;
    if (length < at + 2)
        return 0;
    uint16_t port = (uint16_t)(byte(bytes, at) << 8 | byte(bytes, at + 1));
    if (type == NAME)
        take_name(request, address, port);
    else
        take_address(request, type == IPV4 ? 4 : 6, address, port);
    return (int)at + 2;
}

size_t socks_write_reply(uint8_t out[SOCKS_REPLY_BYTES], enum socks_reply reply, const struct rill_addr *bound)
{
    memset(out, 0, SOCKS_REPLY_BYTES);
    out[0] = SOCKS_VERSION;
    out[1] = (uint8_t)reply;
    out[3] = IPV4; /* with an address of zeros */
    if (bound && bound->socket.any.sa_family == AF_INET6) {
        out[3] = IPV6;
        memcpy(out + 4, &bound->socket.v6.sin6_addr, 16);
        memcpy(out + 20, &bound->socket.v6.sin6_port, 2);
        return 22;
    }
    if (bound && bound->socket.any.sa_family == AF_INET) {
        memcpy(out + 4, &bound->socket.v4.sin_addr, 4);
        memcpy(out + 8, &bound->socket.v4.sin_port, 2);
    }
    return 10;
}
