/* sweep_site.h - a server that has one of everything: HTTP with answers of every kind, an echo, a relay, a channel, a
 * client, a pool of connections and datagrams, each behind a port of its own. For programs over support/faulty_sys.h,
 * which see what becomes of it when the system fails it; so all that it does itself copes with that. */
#ifndef RILL_TESTS_SUPPORT_SWEEP_SITE_H
#define RILL_TESTS_SUPPORT_SWEEP_SITE_H

#include "rill/http/server.h"

enum sweep_port {
    SWEEP_HTTP,    /* see sweep_routes */
    SWEEP_PROXY,   /* the same behind a PROXY header */
    SWEEP_ECHO,    /* all comes back */
    SWEEP_RELAY,   /* the same, by a relay to the echo */
    SWEEP_NAMED,   /* the same, where the echo's name is looked up */
    SWEEP_CHANNEL, /* who connects is a member, and what he says all are sent */
    SWEEP_CLIENT,  /* an echo, over a connection that a client keeps up as long as this one lasts */
    SWEEP_POOL,    /* an echo, over connections of a pool; one that cannot be had is this one's end */
    SWEEP_LOCAL,   /* an echo with a Unix socket, whose file is made and removed */
    SWEEP_PORTS,
};

enum { SWEEP_STREAM_BYTES = 150000, SWEEP_LARGE_BYTES = 200000, SWEEP_SMALL_BYTES = 3000 };

/* One site a process. Makes the folder that is served, and removes it. */
void sweep_site_prepare(void);
void sweep_site_clear(void);

/* Makes the server, and starts a thread that runs it. Returns 0 or a negative errno. */
int sweep_site_start(const struct rill_server_config *net);

/* Has the server stop, NOW or in order. */
void sweep_site_stop(bool now);

/* Waits until it has stopped, for a minute at the most, and frees it. Returns what running it returned. */
int sweep_site_end(void);

struct rill_server *sweep_site_server(void);
unsigned sweep_site_port(enum sweep_port port);

/* Where the server's one endpoint of datagrams is; 0: it could not be opened. */
unsigned sweep_site_datagrams(void);

/* The I-th byte of what the site sends by itself. */
char sweep_site_byte(size_t i);

#endif
