/* sim_site.h - what is served in the simulation: handlers of HTTP that answer in every way there is, an echo over the
 * bare connection, and, before both, a layer that sees to it that callbacks come as net/conn.h says. */
#ifndef RILL_TESTS_SUPPORT_SIM_SITE_H
#define RILL_TESTS_SUPPORT_SIM_SITE_H

#include "rill/http/session_internal.h"
#include "sim.h"

enum { SITE_HTTP_PORT = 80, SITE_ECHO_PORT = 7, SITE_CONNS = 64, SITE_ECHO_IDLE_MS = 20000 };

struct site {
    struct rill_router *router;
    struct rill_http_server server;
    unsigned started, cleaned; /* exchanges that got as far as a handler; those of them that ended */
    unsigned jobs, jobs_gone;
    unsigned loops_stopped;
    unsigned closed[RILL_CLOSE_REASONS];
    struct site_conn {
        uint64_t id;
        bool closed;
        struct rill_loop *loop;
    } conns[SITE_CONNS];
    unsigned conn_count;
};

extern struct site site;

/*  GET  /at-once/:n    n bytes                     POST /echo      the body back, as it comes
 *  GET  /later/:ms/:n  from a timer                POST /count     as many bytes as the body has, at its end
 *  GET  /pool/:n       from the pool               POST /slow      the same, holding back now and then
 *  GET  /stream/:n     a stream, length unknown    POST /ignore/:n n bytes at once, the body is not read
 *  GET  /known/:n      a stream of known length
 *
 * Makes the server with CONFIG, whose `net.listens[1]` is the echo's. */
void site_start(struct rill_http_server_config *config);

/* Serves until stopped; frees all, and checks that nothing is left. */
void site_run(void);

/* The I-th byte of content of N bytes. */
char site_byte(size_t n, size_t i);

#endif
