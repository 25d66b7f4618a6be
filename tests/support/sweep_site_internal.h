/* sweep_site_internal.h - what the files of the sweep's site share. */
#ifndef RILL_TESTS_SUPPORT_SWEEP_SITE_INTERNAL_H
#define RILL_TESTS_SUPPORT_SWEEP_SITE_INTERNAL_H

#include "rill/http/router.h"
#include "rill/net/channel.h"
#include "rill/net/datagram.h"
#include "sweep_site.h"

/* What leads to the echo needs to know of it; filled in by sweep_site.c. */
struct sweep_targets {
    struct rill_channel *channel;
    struct rill_addr echo;
    char named_echo[40]; /* the same, to be looked up first */
};
extern struct sweep_targets sweep_targets;

/* sweep_site_http.c: the routes but for the files. */
extern const struct rill_route sweep_routes[];

/* sweep_site_streams.c: what is behind the ports that do not speak HTTP. */
extern const struct rill_conn_handler sweep_handlers[SWEEP_PORTS];

/* sweep_site.c: an endpoint of datagrams on LOOP that sends back what comes; NULL: it cannot be had. */
struct rill_datagram *sweep_open_endpoint(struct rill_loop *loop);

#endif
