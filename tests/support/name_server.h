/* name_server.h - a name server and a network in the hands of a test, over support/faulty_sys.h: names that have the
 * addresses that the test says, looked up by workers that it can hold; and addresses anywhere that lead to sockets of
 * this machine. */
#ifndef RILL_TESTS_SUPPORT_NAME_SERVER_H
#define RILL_TESTS_SUPPORT_NAME_SERVER_H

#include "rill/net/addr.h"

enum { NAME_SERVER_MAX = 80 };

struct name_server {
    /* What every name has, as text without a port, up to the first NULL; "unix" is a socket of another kind. */
    const char *addrs[NAME_SERVER_MAX];
    int error;         /* what looking up fails with instead, EAI_...; 0: it does not */
    int system_error;  /* errno with EAI_SYSTEM */
    bool held;         /* workers wait in the look-up until name_server_release() */
    unsigned look_ups; /* that have begun */

    /* Where connecting to an address of `from` leads; anything else is refused. Up to the first NULL. */
    struct {
        const char *from;
        struct rill_addr to;
    } routes[NAME_SERVER_MAX];
    char tried[2048]; /* the addresses that were connected to, each with a space after it */
};

/* One for the whole program. Everything but `held` and `look_ups` is the test's thread's while no look-up runs. */
extern struct name_server name_server;

/* Forgets all and takes the place of the system in faulty_sys. */
void name_server_set_up(void);

/* Connecting to FROM leads to TO. */
void name_server_route(const char *from, const struct rill_addr *to);

/* Waits until so many look-ups have begun. */
void name_server_await(unsigned look_ups);

/* Lets all that are held go on, and none be held any more. */
void name_server_release(void);

#endif
