/* admin.c - see admin.h. */
#include "rill/core/log.h"
#include "rill/core/loop_group.h"
#include "rill/core/sys.h"
#include "rill/http/admin_internal.h"
#include "rill/net/addr.h"
#include <stdarg.h>
#include <stdio.h>

enum { MAX_CONNECTIONS = 64, NAME_BYTES = 64 };

struct rill_admin {
    char name[NAME_BYTES], title[NAME_BYTES + 8], version[NAME_BYTES];
    struct rill_server *server; /* who is shown */
    struct rill_http_server *http;
    struct rill_router *router;
    struct rill_http_server *own; /* who shows */
    pthread_t thread;
};

const char *const rill_admin_close_reasons[RILL_CLOSE_REASONS] = {
    [RILL_CLOSE_LOCAL] = "local",
    [RILL_CLOSE_EOF] = "eof",
    [RILL_CLOSE_RESET] = "reset",
    [RILL_CLOSE_IDLE] = "idle",
    [RILL_CLOSE_WRITE_TIMEOUT] = "write_timeout",
    [RILL_CLOSE_STOPPED] = "stopped",
    [RILL_CLOSE_NO_MEMORY] = "no_memory",
    [RILL_CLOSE_INPUT_LIMIT] = "input_limit",
    [RILL_CLOSE_OUTPUT_LIMIT] = "output_limit",
    [RILL_CLOSE_OVERLOAD] = "overload",
};

const char *const rill_admin_status_classes[6] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

/* --- text --- */

static bool make_room(struct rill_admin_text *text, size_t length)
{
    if (text->failed || text->length + length < text->capacity)
        return !text->failed;
    size_t capacity = (text->length + length + 4096) * 2;
    char *grown = rill_sys_realloc(text->bytes, capacity);
    text->failed = !grown;
    if (!grown)
        rill_sys_free(text->bytes);
    text->bytes = grown;
    text->capacity = capacity;
    return grown != NULL;
}

void rill_admin_print(struct rill_admin_text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length >= 0 && make_room(text, (size_t)length + 1)) {
        vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

/* --- what there is to be told --- */

static void look_at_loops(const struct rill_admin *admin, struct rill_admin_view *view)
{
    unsigned count = rill_server_loop_count(admin->server);
    for (unsigned i = 0; i < count; i++) {
        const struct rill_net_stats *net = rill_server_net_stats(admin->server, i);
        if (!net)
            return; /* none is, before all are prepared */
        const struct rill_loop *loop = rill_server_loop(admin->server, i);
        view->loops[view->loop_count++] = (struct rill_admin_loop){
            .name = rill_loop_name(loop),
            .loop = rill_loop_stats(loop),
            .net = net,
            .http = admin->http ? rill_http_server_stats(admin->http, i) : NULL,
        };
    }
    const struct rill_loop *main_loop = rill_server_main_loop(admin->server);
    if (rill_server_loop(admin->server, 0) != main_loop)
        view->loops[view->loop_count++] =
            (struct rill_admin_loop){.name = rill_loop_name(main_loop), .loop = rill_loop_stats(main_loop)};
}

static const char *state_of(const struct rill_admin *admin)
{
    if (rill_server_is_stopping(admin->server))
        return "draining";
    return rill_server_net_stats(admin->server, 0) ? "running" : "starting";
}

static void look(const struct rill_admin *admin, struct rill_admin_view *view)
{
    struct rill_workers *pool = rill_server_workers(admin->server);
    memset(view, 0, sizeof *view);
    view->name = admin->name;
    view->version = admin->version;
    view->state = state_of(admin);
    view->has_pool = pool != NULL;
    if (pool)
        rill_workers_stats(pool, &view->pool);
    view->refused = rill_server_refused(admin->server);
    rill_server_overload_stats(admin->server, &view->overload);
    view->has_access_log = admin->http && rill_http_server_lines_dropped(admin->http, &view->access_lines_dropped);
    view->error_lines_dropped = rill_log_dropped();
    view->resident_bytes = rill_admin_resident_bytes();
    view->descriptors = rill_admin_descriptors();
    look_at_loops(admin, view);
}

/* --- answering --- */

static void reply_text(struct rill_exchange *x, const struct rill_admin *admin, const char *content_type,
                       void (*print)(struct rill_admin_text *, const struct rill_admin_view *))
{
    struct rill_admin_text text = {NULL, 0, 0, false};
    struct rill_admin_view *view = rill_arena_alloc(rill_exchange_arena(x), sizeof *view);
    if (view) {
        look(admin, view);
        print(&text, view);
    }
    if (text.bytes) {
        rill_exchange_set_fields(x, rill_slice_of("Cache-Control: no-store\r\n"));
        rill_exchange_reply(x, 200, content_type, text.bytes, text.length);
    } else {
        rill_exchange_reply_status(x, 503);
    }
    rill_sys_free(text.bytes);
}

static void metrics(struct rill_exchange *x, void *arg)
{
    reply_text(x, arg, "text/plain; version=0.0.4; charset=utf-8", rill_admin_metrics);
}

static void status(struct rill_exchange *x, void *arg)
{
    reply_text(x, arg, "application/json", rill_admin_status);
}

static void health(struct rill_exchange *x, void *arg)
{
    const char *state = state_of(arg);
    bool well = strcmp(state, "running") == 0;
    rill_exchange_set_fields(x, rill_slice_of("Cache-Control: no-store\r\n"));
    rill_exchange_reply(x, well ? 200 : 503, "text/plain", well ? "ok" : state, strlen(well ? "ok" : state));
}

static void page(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_set_fields(x, rill_slice_of("Cache-Control: no-cache\r\n"
                                              "Content-Security-Policy: default-src 'none'; connect-src 'self'; "
                                              "script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                                              "img-src data:; frame-ancestors 'none'\r\n"
                                              "X-Content-Type-Options: nosniff\r\n"));
    rill_exchange_reply(x, 200, "text/html; charset=utf-8", rill_admin_page, rill_admin_page_length);
}

/* --- life --- */

static void *serve(void *arg)
{
    struct rill_admin *admin = arg;
    rill_thread_set_name("admin");
    int error = rill_http_server_run(admin->own, false);
    if (error < 0)
        rill_log_error("%s: the admin server has ended: %s", admin->name, strerror(-error));
    return NULL;
}

static void free_admin(struct rill_admin *admin)
{
    rill_http_server_free(admin->own);
    rill_router_free(admin->router);
    rill_sys_free(admin);
}

/* Fills in what is needed before the thread. */
static int prepare(struct rill_admin *admin, const struct rill_admin_config *config)
{
    int error = -ENOMEM;
    snprintf(admin->name, sizeof admin->name, "%s", config->name ? config->name : "rill");
    snprintf(admin->title, sizeof admin->title, "%s admin", admin->name);
    snprintf(admin->version, sizeof admin->version, "%s", config->version ? config->version : "");
    admin->server = config->server;
    admin->http = config->http;
    admin->router = rill_router_new();
    const struct rill_route routes[] = {{"GET", "/metrics", metrics, admin},
                                        {"GET", "/status.json", status, admin},
                                        {"GET", "/health", health, admin},
                                        {"GET", "/", page, admin},
                                        {NULL, NULL, NULL, NULL}};
    if (admin->router)
        error = rill_router_add_all(admin->router, routes);
    if (error < 0)
        return error;
    const struct rill_http_server_config http = {.net = {.name = admin->title,
                                                         .listen = config->listen,
                                                         .max_connections = MAX_CONNECTIONS,
                                                         .workers = 1, /* has nothing to do; HTTP wants one */
                                                         .drain_timeout_ms = 1},
                                                 .router = admin->router};
    admin->own = rill_http_server_new(&http, &error);
    return error;
}

struct rill_admin *rill_admin_start(const struct rill_admin_config *config, int *error)
{
    struct rill_admin *admin = rill_sys_calloc(1, sizeof *admin);
    *error = admin ? prepare(admin, config) : -ENOMEM;
    if (*error == 0)
        *error = rill_thread_start_quiet(&admin->thread, serve, admin);
    if (*error == 0)
        return admin;
    rill_log_error("%s: cannot start the admin server: %s", config->name ? config->name : "rill", strerror(-*error));
    if (admin)
        free_admin(admin);
    return NULL;
}

unsigned rill_admin_port(const struct rill_admin *admin)
{
    return rill_server_port(rill_http_server_net(admin->own), 0);
}

void rill_admin_stop(struct rill_admin *admin)
{
    if (!admin)
        return;
    rill_http_server_stop(admin->own, true);
    rill_sys_thread_join(admin->thread);
    free_admin(admin);
}
