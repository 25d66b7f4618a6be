/* admin.h - a server seen from outside while it works: its numbers for programs and for people.
 *
 *   GET /metrics      Prometheus' text format 0.0.4
 *   GET /status.json  the same, for pages and scripts
 *   GET /health       200 "ok"; 503 "starting" before the server serves, 503 "draining" from when it begins to stop
 *   GET /             a page that shows the reactors at work
 *
 * They are answered by an HTTP server of their own, with one loop on one thread ("admin"), so that they come also while
 * a reactor is stalled or the server drains. It only reads: nothing here can be changed from outside. Whoever can
 * connect can read all of it, so let it listen where only those can who may.
 *
 * Life: rill_admin_start() after the server was made and before it runs; rill_admin_stop() after it has run and before
 * it is freed. */
#ifndef RILL_HTTP_ADMIN_H
#define RILL_HTTP_ADMIN_H

#include "rill/http/server.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_admin;

struct rill_admin_config {
    const char *name;              /* of the server, as people know it; NULL: "rill"; copied */
    const char *version;           /* NULL: none; copied */
    const char *listen;            /* see rill_listen_parse() */
    struct rill_server *server;    /* who is shown; outlives this */
    struct rill_http_server *http; /* when that speaks HTTP: whose net server it is; else NULL */
};

/* Listens, and answers on a thread of its own, with all signals blocked. Returns NULL, having logged why, and sets
 * *ERROR to a negative errno. Thread: any. */
struct rill_admin *rill_admin_start(const struct rill_admin_config *config, int *error);

/* The port that it listens on; 0 for a Unix socket. Thread: any. */
unsigned rill_admin_port(const struct rill_admin *admin);

/* Closes its connections, joins its thread, frees it. NULL is ignored. Thread: the one that started it. */
void rill_admin_stop(struct rill_admin *admin);

/* Puts into INTO, of SIZE bytes, the address that TEXT means: "PORT" and ":PORT" mean 127.0.0.1, all else is as
 * rill_listen_parse() reads it. Returns 0, or -EINVAL with *WHY set as there. Thread: any. */
int rill_admin_address(const char *text, char *into, size_t size, const char **why);

#ifdef __cplusplus
}
#endif

#endif
