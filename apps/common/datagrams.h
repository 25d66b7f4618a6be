/* datagrams.h - the option --udp, for programs that answer datagrams beside connections, on every loop. */
#ifndef RILL_APPS_COMMON_DATAGRAMS_H
#define RILL_APPS_COMMON_DATAGRAMS_H

#include "rill/apps/options.h"
#include "rill/net/datagram.h"

struct rill_app_datagrams {
    struct rill_datagram_config config; /* the program's; its `handler` is set */
    struct rill_addr addr;              /* the rest is filled in */
    unsigned count;                     /* of sockets, one a loop; 0: no --udp was given */
    int fds[RILL_LOOP_MAX];
};

/* For a program's table of options. */
#define RILL_APP_UDP_OPTION(datagrams)                                                                                 \
    {                                                                                                                  \
        .name = "--udp", .value = "ADDR", .help = "answer datagrams at HOST:PORT or [V6]:PORT, too (none)",            \
        .kind = RILL_OPTION_CUSTOM, .target = (datagrams), .parse = rill_app_parse_udp                                 \
    }

int rill_app_parse_udp(void *target, const char *text, const char **wanted);

/* rill_app_server_main(), with DATAGRAMS; takes app->server's `arg` and `on_loop_start` for itself. */
int rill_app_datagrams_main(struct rill_app *app, struct rill_app_datagrams *datagrams, int argc, char **argv);

#endif
