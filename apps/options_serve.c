/* options_serve.c - serving, with an admin server beside it when --admin says so. */
#include "options.h"
#include "rill/core/log.h"
#include "rill/http/admin.h"
#include <errno.h>
#include <stdio.h>

static void reopen_log(struct rill_server *server, void *arg)
{
    int error = rill_log_reopen();
    if (error < 0)
        rill_log_error("cannot open the error log again: %s; the old file goes on being used", strerror(-error));
    else
        rill_log_info("logs reopened");
}

/* Starts the admin server that APP asks for, if any. Returns 0 or a negative errno. */
static int start_admin(const struct rill_app *app, struct rill_server *server, struct rill_http_server *http,
                       struct rill_admin **admin)
{
    const struct rill_admin_config config = {
        .name = app->name, .version = RILL_VERSION, .listen = app->admin, .server = server, .http = http};
    int error = 0;
    *admin = app->admin[0] ? rill_admin_start(&config, &error) : NULL;
    return error;
}

int rill_app_serve(struct rill_app *app)
{
    struct rill_admin *admin;
    int error;
    if (!app->server.on_reload)
        app->server.on_reload = reopen_log;
    if (!app->server.workers)
        app->server.workers = 4;
    if (!app->server.write_timeout_ms)
        app->server.write_timeout_ms = 30000;
    struct rill_server *server = rill_server_new(&app->server, &error);
    if (!server)
        return 1;
    error = start_admin(app, server, NULL, &admin);
    if (error == 0)
        error = rill_server_run(server, true);
    rill_admin_stop(admin);
    rill_server_free(server);
    return error < 0 ? 1 : 0;
}

int rill_app_server_main(struct rill_app *app, int argc, char **argv)
{
    app->kind = RILL_APP_SERVER;
    int status = rill_app_parse(app, argc, argv);
    return status >= 0 ? status : rill_app_serve(app);
}

int rill_app_serve_http(struct rill_app *app)
{
    struct rill_admin *admin;
    int error;
    app->http.net = app->server;
    struct rill_http_server *http = rill_http_server_new(&app->http, &error);
    if (!http)
        return 1;
    error = start_admin(app, rill_http_server_net(http), http, &admin);
    if (error == 0)
        error = rill_http_server_run(http, true);
    rill_admin_stop(admin);
    rill_http_server_free(http);
    return error < 0 ? 1 : 0;
}
