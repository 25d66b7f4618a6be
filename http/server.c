/* server.c - an HTTP server: puts sessions on a net server's connections, and starts and stops the log with it. */
#include "rill/http/server.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/session_internal.h"

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

struct rill_http_server *rill_http_server_new(const struct rill_http_server_config *config, int *error)
{
    struct rill_http_server *server = rill_sys_calloc(1, sizeof *server);
    *error = server ? rill_http_server_configure(server, config) : -ENOMEM;
    if (*error == 0 && config->max_requests_per_address.per_second > 0) {
        server->request_rates = rill_address_rates_new(&config->max_requests_per_address, "requests");
        if (!server->request_rates) {
            rill_log_error("no memory to count requests by address");
            *error = -ENOMEM;
        }
    }
    if (*error == 0 && config->access_log) {
        struct rill_line_writer_config log = {.path = config->access_log};
        server->log = rill_line_writer_start(&log, error);
        if (!server->log)
            rill_log_error("cannot open the access log %s: %s; choose a file that may be written to",
                           config->access_log, strerror(-*error));
    }
    if (*error == 0) {
        struct rill_server_config *net = &server->config.net;
        net->on_loop_start = rill_http_loop_start;
        net->on_reload = on_reload;
        server->net = rill_server_new(net, error);
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

void rill_http_server_free(struct rill_http_server *server)
{
    if (!server)
        return;
    rill_server_free(server->net);
    rill_line_writer_stop(server->log);
    rill_address_rates_free(server->request_rates);
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
