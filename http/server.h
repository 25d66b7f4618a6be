/* server.h - an HTTP server: a net server whose connections speak HTTP/1.1, a router, a worker pool and an access log.
 */
#ifndef RILL_HTTP_SERVER_H
#define RILL_HTTP_SERVER_H

#include "rill/core/workers.h"
#include "rill/http/parser.h"
#include "rill/http/router.h"
#include "rill/net/server.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_http_server;

/* Zero is the default of every field but `router`. */
struct rill_http_server_config {
    /* Addresses, threads, limits of the net server; 0 workers: 4. `handler`, `arg`, `idle_timeout_ms` and the on_...
     * callbacks are the HTTP server's to fill in. */
    struct rill_server_config net;
    struct rill_router *router;       /* outlives the server */
    struct rill_parser_limits limits; /* each 0: as RILL_PARSER_LIMITS_DEFAULT */
    uint64_t
        header_timeout_ms; /* from the first byte of a request (or the connection's start) to its blank line; 0: 10 s */
    uint64_t body_timeout_ms;           /* in each such stretch min_body_rate must be kept; 0: 30 s */
    uint32_t min_body_bytes_per_second; /* 0: 500 */
    uint64_t idle_timeout_ms;           /* between requests; 0: 60 s */
    /* In flight at a time, of all loops: whose handlers have returned without having answered, downloads included. More
     * get 503 and Retry-After, as do all while the net server refuses new work (max_buffered_bytes). 0: no limit */
    unsigned max_requests;
    struct rill_rate max_requests_per_address; /* requests; more get 429 and Retry-After (RFC 6585) */
    const char *access_log;    /* a path, "-" for standard output, NULL for none; combined format and duration */
    const char *server_header; /* the Server field; NULL: "rill"; "": none */
    /* Called on SIGHUP after the logs were reopened, on the main loop. */
    void (*on_reload)(void *arg);
    void *arg;
};

/* Opens sockets and log, and starts the pool. Returns NULL, having logged why, and sets *ERROR. */
struct rill_http_server *rill_http_server_new(const struct rill_http_server_config *config, int *error);

/* Serves until stopped; see rill_server_run(). */
int rill_http_server_run(struct rill_http_server *server, bool signals);

/* Begins to stop; see rill_server_stop(). Thread: any. */
void rill_http_server_stop(struct rill_http_server *server, bool now);

/* The net server below. Thread: any. */
struct rill_server *rill_http_server_net(const struct rill_http_server *server);

/* Frees a server that does not run. NULL is ignored. */
void rill_http_server_free(struct rill_http_server *server);

/* new, run with signals, free: the whole of a main(). Returns the exit status: 0, or 1. */
int rill_http_server_main(const struct rill_http_server_config *config);

#ifdef __cplusplus
}
#endif

#endif
