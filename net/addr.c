/* addr.c - socket addresses from and to text. */
#include "rill/net/addr.h"
#include "rill/core/sys.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char **why, const char *text)
{
    if (why)
        *why = text;
    return -EINVAL;
}

static int parse_local(const char *path, struct rill_addr *addr, const char **why)
{
    size_t length = strlen(path);
    if (length == 0)
        return fail(why, "a path is wanted after \"unix:\"");
    if (length >= sizeof addr->socket.local.sun_path)
        return fail(why, "the path of a Unix socket may have 107 bytes at most");
    addr->socket.local.sun_family = AF_UNIX;
    memcpy(addr->socket.local.sun_path, path, length + 1);
    addr->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

static int parse_port(const char *text, uint16_t *port)
{
    unsigned value = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 5; digits++)
        value = value * 10 + (unsigned)(text[digits] - '0');
    if (digits == 0 || text[digits] != '\0' || value > 65535)
        return -EINVAL;
    *port = (uint16_t)value;
    return 0;
}

static void set_port(struct rill_addr *addr, uint16_t port)
{
    if (addr->socket.any.sa_family == AF_INET6)
        addr->socket.v6.sin6_port = htons(port);
    else
        addr->socket.v4.sin_port = htons(port);
}

int rill_addr_parse_numeric(const char *text, struct rill_addr *addr, char host[RILL_HOST_TEXT], const char **why)
{
    memset(addr, 0, sizeof *addr);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_local(text + 5, addr, why);
    const char *colon = strrchr(text, ':');
    uint16_t port;
    if (!colon)
        return fail(why, "HOST:PORT, [V6]:PORT or unix:/PATH is wanted");
    if (parse_port(colon + 1, &port) < 0)
        return fail(why, "a port from 0 to 65535 is wanted after the last colon");
    size_t length = (size_t)(colon - text);
    bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    if (bracketed) {
        text++;
        length -= 2;
    }
    if (length >= RILL_HOST_TEXT)
        return fail(why, "the host is too long");
    memcpy(host, text, length);
    host[length] = '\0';
    if (!bracketed && strchr(host, ':'))
        return fail(why, "an IPv6 address is written in brackets: [::1]:8080");

    int result = 0;
    if (bracketed) {
        if (inet_pton(AF_INET6, host, &addr->socket.v6.sin6_addr) != 1)
            return fail(why, "an IPv6 address is wanted between the brackets");
        addr->socket.v6.sin6_family = AF_INET6;
        addr->length = sizeof addr->socket.v6;
    } else if (length == 0 || strcmp(host, "*") == 0 || inet_pton(AF_INET, host, &addr->socket.v4.sin_addr) == 1) {
        addr->socket.v4.sin_family = AF_INET;
        addr->length = sizeof addr->socket.v4;
    } else {
        result = 1;
    }
    set_port(addr, port);
    return result;
}

uint16_t rill_addr_port(const struct rill_addr *addr)
{
    switch (addr->socket.any.sa_family) {
    case AF_UNIX:
        return 0;
    case AF_INET6:
        return ntohs(addr->socket.v6.sin6_port);
    default:
        return ntohs(addr->socket.v4.sin_port);
    }
}

int rill_addr_parse(const char *text, struct rill_addr *addr, const char **why)
{
    char host[RILL_HOST_TEXT];
    int result = rill_addr_parse_numeric(text, addr, host, why);
    if (result <= 0)
        return result;
    uint16_t port = rill_addr_port(addr);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    if (rill_sys_getaddrinfo(host, NULL, &hints, &found) != 0)
        return fail(why, "no such host");
    memcpy(&addr->socket, found->ai_addr, found->ai_addrlen);
    addr->length = found->ai_addrlen;
    rill_sys_freeaddrinfo(found);
    set_port(addr, port);
    return 0;
}

void rill_addr_format(const struct rill_addr *addr, char text[RILL_ADDR_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";
    switch (addr->socket.any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->socket.v4.sin_addr, host, sizeof host);
        snprintf(text, RILL_ADDR_TEXT, "%s:%u", host, ntohs(addr->socket.v4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->socket.v6.sin6_addr, host, sizeof host);
        snprintf(text, RILL_ADDR_TEXT, "[%s]:%u", host, ntohs(addr->socket.v6.sin6_port));
        break;
    default:
        /* One that came from elsewhere may fill its place, and has no NUL then. */
        snprintf(text, RILL_ADDR_TEXT, "unix:%.*s", (int)sizeof addr->socket.local.sun_path,
                 addr->socket.local.sun_path);
    }
}

struct rill_ip rill_ip_of(const struct rill_addr *addr)
{
    struct rill_ip ip = {.version = 0};
    if (addr->socket.any.sa_family == AF_INET) {
        ip.version = 4;
        ip.port = ntohs(addr->socket.v4.sin_port);
        memcpy(ip.bytes, &addr->socket.v4.sin_addr, 4);
    } else if (addr->socket.any.sa_family == AF_INET6) {
        const struct in6_addr *v6 = &addr->socket.v6.sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(v6);
        ip.version = mapped ? 4 : 6;
        ip.port = ntohs(addr->socket.v6.sin6_port);
        memcpy(ip.bytes, v6->s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
    return ip;
}

struct rill_addr rill_addr_of(const struct rill_ip *ip)
{
    struct rill_addr addr;
    memset(&addr, 0, sizeof addr);
    if (ip->version == 4) {
        addr.socket.v4.sin_family = AF_INET;
        addr.socket.v4.sin_port = htons(ip->port);
        memcpy(&addr.socket.v4.sin_addr, ip->bytes, 4);
        addr.length = sizeof addr.socket.v4;
    } else if (ip->version == 6) {
        addr.socket.v6.sin6_family = AF_INET6;
        addr.socket.v6.sin6_port = htons(ip->port);
        memcpy(&addr.socket.v6.sin6_addr, ip->bytes, 16);
        addr.length = sizeof addr.socket.v6;
    } else {
        addr.socket.local.sun_family = AF_UNIX;
        addr.length = offsetof(struct sockaddr_un, sun_path);
    }
    return addr;
}

size_t rill_ip_format(const struct rill_ip *ip, char text[RILL_IP_TEXT])
{
    if (ip->version == 0) {
        memcpy(text, "unix", 5);
        return 4;
    }
    if (ip->version == 6) {
        inet_ntop(AF_INET6, ip->bytes, text, RILL_IP_TEXT);
        return strlen(text);
    }
    size_t length = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned value = ip->bytes[i];
        if (value >= 100)
            text[length++] = (char)('0' + value / 100);
        if (value >= 10)
            text[length++] = (char)('0' + value / 10 % 10);
        text[length++] = (char)('0' + value % 10);
        text[length++] = i < 3 ? '.' : '\0';
    }
    return length - 1;
}
