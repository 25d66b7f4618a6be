/* server.c - an HTTP server: puts sessions on a net server's connections, and starts and stops pool and log with it. */
#include "rill/http/server.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/file_cache_internal.h"
#include "rill/http/session_internal.h"

/* Sets FIELD to DEFAULT when it is 0. */
#define FILL_IN(field, default_value) ((field) = (field) ? (field) : (default_value))

static void loop_context_free(void *value)
{
    struct rill_http_loop *http = value;
    rill_session_free_leases(http);
    rill_file_caches_free(http);
    rill_slab_destroy(&http->sessions);
    rill_sys_free(http);
}

static int on_loop_start(struct rill_loop *loop, void *arg)
{
    struct rill_http_server *server = arg;
    struct rill_http_loop *http = rill_sys_calloc(1, sizeof *http);
    if (!http)
        return -ENOMEM;
    http->server = server;
    http->loop = loop;
    http->date_second = http->log_second = INT64_MIN;
    int error = rill_slab_init(&http->sessions, sizeof(struct rill_session), 1u << 20);
    if (error == 0 && server->log) {
        http->log = rill_line_channel_new(server->log);
        error = http->log ? 0 : -ENOMEM;
    }
    if (error < 0) {
        loop_context_free(http);
        return error;
    }
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_HTTP, http, loop_context_free);
    return 0;
}

/* The loops still run, so results on their way from the pool come home. */
static void on_drained(struct rill_server *net, void *arg)
{
    struct rill_http_server *server = arg;
    (void)net;
    rill_workers_stop(server->workers);
    server->workers = NULL;
}

static void on_reload(struct rill_server *net, void *arg)
{
    struct rill_http_server *server = arg;
    (void)net;
    int error = rill_log_reopen();
    if (error < 0)
        rill_log_error("cannot open the error log again: %s; the old file goes on being used", strerror(-error));
    if (server->log)
        rill_line_writer_reopen(server->log);
    rill_log_info("logs reopened");
    if (server->config.on_reload)
        server->config.on_reload(server->config.arg);
}

static int fill_in(struct rill_http_server *server, const struct rill_http_server_config *config)
{
    static const struct rill_parser_limits standard = RILL_PARSER_LIMITS_DEFAULT;
    struct rill_http_server_config *own = &server->config;
    *own = *config;
    FILL_IN(own->limits.max_request_line_bytes, standard.max_request_line_bytes);
    FILL_IN(own->limits.max_header_bytes, standard.max_header_bytes);
    FILL_IN(own->limits.max_headers, standard.max_headers);
    FILL_IN(own->limits.max_chunk_extension_bytes, standard.max_chunk_extension_bytes);
    FILL_IN(own->limits.max_trailer_bytes, standard.max_trailer_bytes);
    FILL_IN(own->limits.max_body_bytes, standard.max_body_bytes);
    FILL_IN(own->header_timeout_ms, 10000);
    FILL_IN(own->body_timeout_ms, 30000);
    FILL_IN(own->min_body_bytes_per_second, 500);
    FILL_IN(own->idle_timeout_ms, 60000);
    FILL_IN(own->workers, 4);
    FILL_IN(own->worker_queue, 1024);
    FILL_IN(own->net.write_timeout_ms, 30000);
    FILL_IN(own->net.max_input_bytes, (size_t)own->limits.max_header_bytes + (256 << 10));
    own->net.handler = &rill_session_handler;
    own->net.arg = server;
    own->net.defer_accept = true;
    own->net.idle_timeout_ms = 0; /* sessions set deadlines of their own */
    own->net.on_loop_start = on_loop_start;
    own->net.on_drained = on_drained;
    own->net.on_reload = on_reload;

    const char *name = config->server_header ? config->server_header : "rill";
    size_t length = strlen(name);
    if (length == 0)
        return 0;
    if (length > sizeof server->common_prefix - 10)
        return -EINVAL;
    memcpy(server->common_prefix, "Server: ", 8);
    memcpy(server->common_prefix + 8, name, length);
    memcpy(server->common_prefix + 8 + length, "\r\n", 2);
    server->common_prefix_length = length + 10;
    return 0;
}

struct rill_http_server *rill_http_server_new(const struct rill_http_server_config *config, int *error)
{
    struct rill_http_server *server = rill_sys_calloc(1, sizeof *server);
    *error = server ? fill_in(server, config) : -ENOMEM;
    if (*error == 0 && config->access_log) {
        struct rill_line_writer_config log = {.path = config->access_log};
        server->log = rill_line_writer_start(&log, error);
        if (!server->log)
            rill_log_error("cannot open the access log %s: %s; choose a file that may be written to",
                           config->access_log, strerror(-*error));
    }
    if (*error == 0) {
        server->net = rill_server_new(&server->config.net, error);
    }
    if (*error == 0) {
        struct rill_workers_config workers = {.threads = server->config.workers,
                                              .queue_length = server->config.worker_queue};
        server->workers = rill_workers_start(&workers, error);
        if (!server->workers)
            rill_log_error("cannot start %u workers: %s", server->config.workers, strerror(-*error));
    }
    if (*error == 0)
        return server;
    rill_http_server_free(server);
    return NULL;
}

int rill_http_server_run(struct rill_http_server *server, bool signals)
{
    return rill_server_run(server->net, signals);
}

void rill_http_server_stop(struct rill_http_server *server, bool now)
{
    rill_server_stop(server->net, now);
}

struct rill_server *rill_http_server_net(const struct rill_http_server *server)
{
    return server->net;
}

struct rill_workers *rill_http_server_workers(const struct rill_http_server *server)
{
    return server->workers;
}

void rill_http_server_free(struct rill_http_server *server)
{
    if (!server)
        return;
    rill_workers_stop(server->workers);
    rill_server_free(server->net);
    rill_line_writer_stop(server->log);
    rill_sys_free(server);
}

int rill_http_server_main(const struct rill_http_server_config *config)
{
    int error;
    struct rill_http_server *server = rill_http_server_new(config, &error);
    if (!server)
        return 1;
    error = rill_http_server_run(server, true);
    rill_http_server_free(server);
    return error < 0 ? 1 : 0;
}
