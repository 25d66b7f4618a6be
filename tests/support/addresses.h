/* addresses.h - addresses of peers, as tests write them. */
#ifndef RILL_TESTS_SUPPORT_ADDRESSES_H
#define RILL_TESTS_SUPPORT_ADDRESSES_H

#include "must.h"
#include "rill/net/addr.h"
#include <arpa/inet.h>

/* TEXT is an IPv4 or an IPv6 address. */
static inline struct rill_ip ip_from_text(const char *text)
{
    struct rill_addr addr = {.length = 0};
    if (strchr(text, ':')) {
        addr.socket.v6.sin6_family = AF_INET6;
        MUST(inet_pton(AF_INET6, text, &addr.socket.v6.sin6_addr) == 1);
    } else {
        addr.socket.v4.sin_family = AF_INET;
        MUST(inet_pton(AF_INET, text, &addr.socket.v4.sin_addr) == 1);
    }
    return rill_ip_of(&addr);
}

#endif
