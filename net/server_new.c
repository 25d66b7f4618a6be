/* server_new.c - making a server: its configuration checked, its main loop, its listening sockets; and freeing it. All
 * that can fail for the user's reasons fails here, in words. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"

int rill_accept_mode_parse(const char *text, enum rill_accept_mode *mode)
{
    static const char *const names[] = {
        [RILL_ACCEPT_ROUND_ROBIN] = "round-robin",
        [RILL_ACCEPT_LEAST_CONNECTIONS] = "least-connections",
        [RILL_ACCEPT_REUSEPORT] = "reuseport",
    };
    for (unsigned i = 0; i < rill_array_length(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum rill_accept_mode)i;
            return 0;
        }
    }
    return -EINVAL;
}

void rill_server_remove_socket_file(const struct rill_listen_address *address)
{
    if (address->addr.socket.any.sa_family == AF_UNIX && address->fd < 0)
        rill_sys_unlink(address->addr.socket.local.sun_path);
}

static const char *advice(int error, const struct rill_addr *addr)
{
    switch (-error) {
    case EACCES:
    case EPERM:
        return addr->socket.any.sa_family == AF_UNIX ? "choose a folder that you may write to"
                                                     : "use a port above 1023 or CAP_NET_BIND_SERVICE";
    case EADDRINUSE:
        return "another program listens there: stop it, or choose another address";
    case EADDRNOTAVAIL:
        return "no interface of this machine has that address";
    case EMFILE:
        return "raise the limit of open files (ulimit -n)";
    case ENOENT:
        return "make the folder first";
    default:
        return "choose another address";
    }
}

static int cannot_listen(const struct rill_server *server, const struct rill_listen_address *address, int error)
{
    char text[RILL_ADDR_TEXT];
    rill_addr_format(&address->addr, text);
    rill_log_error("%s: cannot listen on %s: %s; %s", server->name, text, strerror(-error),
                   advice(error, &address->addr));
    return error;
}

/* Whether SERVER listens on FD already: inherited twice, or not inherited at all but the number of what was opened
 * here. */
static bool has_socket(const struct rill_server *server, int fd)
{
    bool found = false;
    for (unsigned i = 0; i < server->listener_count; i++) {
        found |= server->listeners[i].fd == fd;
        for (unsigned k = 0; k < server->loop_count; k++)
            found |= server->loops[k].listeners[i].fd == fd;
    }
    return found;
}

static int inherit(struct rill_server *server, unsigned i)
{
    struct rill_listen_address *address = &server->addresses[i];
    if (has_socket(server, address->fd)) {
        rill_log_error("%s: cannot listen on descriptor %d: it is listened on already; name each inherited one once",
                       server->name, address->fd);
        return -EEXIST;
    }
    int error = rill_sock_inherit(address->fd, &address->addr);
    if (error == 0)
        server->listeners[i].fd = address->fd;
    else
        rill_log_error("%s: cannot listen on descriptor %d: %s; it has to be a stream socket that listens already",
                       server->name, address->fd, strerror(-error));
    return error;
}

static int open_sockets(struct rill_server *server, unsigned i)
{
    struct rill_listen_address *address = &server->addresses[i];
    bool per_loop = rill_server_listens_per_loop(server, i);
    struct rill_sock_listen_options options = {
        .backlog = server->config.backlog, .reuse_port = per_loop, .mode = address->mode};
    if (address->fd >= 0)
        return inherit(server, i);
    for (unsigned k = 0; k < (per_loop ? server->loop_count : 1); k++) {
        int fd = rill_sock_listen(&address->addr, &options);
        if (fd < 0)
            return cannot_listen(server, address, fd);
        if (per_loop)
            server->loops[k].listeners[i].fd = fd;
        else
            server->listeners[i].fd = fd;
    }
    return 0;
}

static int add_listener(struct rill_server *server, const struct rill_listen *listen)
{
    const struct rill_server_config *config = &server->config;
    unsigned i = server->listener_count;
    const char *why = "";
    if (i == RILL_SERVER_MAX_LISTENERS) {
        rill_log_error("%s: cannot listen on more than %d addresses", server->name, RILL_SERVER_MAX_LISTENERS);
        return -EINVAL;
    }
    if (!listen->handler && !config->handler) {
        rill_log_error("%s: a handler is wanted for what listens on \"%s\"", server->name, listen->address);
        return -EINVAL;
    }
    int error = rill_listen_parse(listen->address, &server->addresses[i], &why);
    if (error < 0) {
        rill_log_error("%s: cannot listen on \"%s\": %s", server->name, listen->address, why);
        return error;
    }
    server->conn_configs[i] = (struct rill_conn_config){
        .handler = listen->handler ? listen->handler : config->handler,
        .arg = listen->handler ? listen->arg : config->arg,
        .idle_timeout_ms = config->idle_timeout_ms,
        .write_timeout_ms = config->write_timeout_ms,
        .high_watermark = config->high_watermark,
        .low_watermark = config->low_watermark,
        .max_input_bytes = config->max_input_bytes,
        .max_output_bytes = config->max_output_bytes,
        .output_limit = config->output_limit,
    };
    error = listen->proxy_from ? rill_server_put_gate(server, i, listen) : 0;
    if (error < 0)
        return error;
    server->listener_count++;
    return open_sockets(server, i);
}

static int open_listeners(struct rill_server *server)
{
    const struct rill_server_config *config = &server->config;
    int error = config->listen ? add_listener(server, &(struct rill_listen){.address = config->listen}) : 0;
    for (unsigned i = 0; error == 0 && i < RILL_SERVER_MAX_LISTENERS && config->listens[i].address; i++)
        error = add_listener(server, &config->listens[i]);
    if (error == 0 && server->listener_count == 0) {
        rill_log_error("%s: an address to listen on is wanted", server->name);
        error = -EINVAL;
    }
    return error;
}

/* Files, pipes and the like need descriptors too; when none is left accepting pauses all the same. */
static unsigned default_max_connections(void)
{
    struct rlimit limit;
    if (rill_sys_getrlimit_nofile(&limit) < 0 || limit.rlim_cur > UINT32_MAX)
        return UINT32_MAX;
    return (unsigned)limit.rlim_cur;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (rill_sys_getrlimit_nofile(&limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        rill_sys_setrlimit_nofile(&limit); /* what we got is what there is */
    }
}

/* Nobody's listeners: I-th of LISTENERS will be of the I-th address. */
static void prepare_listeners(struct rill_server *server, struct server_loop *to, struct server_listener *listeners)
{
    for (unsigned i = 0; i < RILL_SERVER_MAX_LISTENERS; i++)
        listeners[i] = (struct server_listener){.server = server, .to = to, .number = i, .fd = -1};
}

static int fill_in(struct rill_server *server, const struct rill_server_config *config)
{
    server->config = *config;
    server->name = config->name ? config->name : "rill";
    prepare_listeners(server, NULL, server->listeners);
    if (config->threads < 0 || config->threads >= RILL_LOOP_MAX) {
        rill_log_error("%s: 0 to %d threads are wanted, not %d", server->name, RILL_LOOP_MAX - 1, config->threads);
        return -EINVAL;
    }
    server->loop_count = config->threads > 0 ? (unsigned)config->threads : 1;
    raise_descriptor_limit();
    server->max_connections = config->max_connections ? config->max_connections : default_max_connections();
    rill_overload_init(&server->overload, server);
    server->loops = rill_sys_calloc(server->loop_count, sizeof *server->loops);
    if (!server->loops) {
        rill_log_error("%s: no memory for %u loops", server->name, server->loop_count);
        return -ENOMEM;
    }
    for (unsigned k = 0; k < server->loop_count; k++) {
        server->loops[k].server = server;
        prepare_listeners(server, &server->loops[k], server->loops[k].listeners);
    }
    if (config->max_connections_per_address) {
        server->address_counts = rill_address_counts_new(config->max_connections_per_address, server->max_connections);
        if (!server->address_counts) {
            rill_log_error("%s: no memory to count connections by address", server->name);
            return -ENOMEM;
        }
    }
    if (config->max_accepts_per_address.per_second > 0) {
        server->accept_rates = rill_address_rates_new(&config->max_accepts_per_address, "connections");
        if (!server->accept_rates) {
            rill_log_error("%s: no memory to count new connections by address", server->name);
            return -ENOMEM;
        }
    }
    return 0;
}

static int start_trace(struct rill_server *server)
{
    struct rill_trace_config config = {.path = server->config.trace_path, .sample = server->config.trace_sample};
    int error = 0;
    if (!config.path)
        return 0;
    server->trace = rill_trace_start(&config, &error);
    if (!server->trace)
        rill_log_error("%s: cannot trace to %s: %s; choose a file that may be written to", server->name, config.path,
                       strerror(-error));
    else
        rill_loop_set_trace(server->main_loop, rill_trace_lane_new(server->trace, rill_loop_name(server->main_loop)));
    return error;
}

static int start_workers(struct rill_server *server)
{
    const struct rill_server_config *config = &server->config;
    struct rill_workers_config workers = {.threads = config->workers,
                                          .queue_length = config->worker_queue ? config->worker_queue : 1024,
                                          .trace = server->trace};
    int error = 0;
    if (config->workers == 0)
        return 0;
    server->workers = rill_workers_start(&workers, &error);
    if (!server->workers)
        rill_log_error("%s: cannot start %u workers: %s", server->name, config->workers, strerror(-error));
    else
        rill_loop_set_workers(server->main_loop, server->workers); /* the others get it when they are prepared */
    return error;
}

struct rill_server *rill_server_new(const struct rill_server_config *config, int *error)
{
    struct rill_server *server = rill_sys_calloc(1, sizeof *server);
    *error = server ? fill_in(server, config) : -ENOMEM;
    if (!server)
        rill_log_error("%s: no memory for a server", config->name ? config->name : "rill");
    if (*error == 0) {
        struct rill_loop_config main_config = {.name = "main", .backend = config->backend};
        server->main_loop = rill_loop_new(&main_config, error);
        if (!server->main_loop)
            rill_log_error("%s: cannot make the main loop: %s", server->name, strerror(-*error));
    }
    if (*error == 0)
        *error = open_listeners(server);
    if (*error == 0)
        *error = start_trace(server);
    if (*error == 0)
        *error = start_workers(server);
    if (*error == 0)
        return server;
    rill_server_free(server);
    return NULL;
}

static void close_socket(struct rill_server *server, struct server_listener *listener)
{
    if (listener->fd < 0)
        return;
    rill_server_remove_socket_file(&server->addresses[listener->number]);
    rill_sys_close(listener->fd);
    listener->fd = -1;
}

void rill_server_close_sockets(struct rill_server *server)
{
    for (unsigned i = 0; i < server->listener_count; i++) {
        close_socket(server, &server->listeners[i]);
        for (unsigned k = 0; k < server->loop_count; k++)
            close_socket(server, &server->loops[k].listeners[i]);
    }
}

void rill_server_free(struct rill_server *server)
{
    if (!server)
        return;
    if (server->loops)
        rill_server_close_sockets(server);
    rill_workers_stop(server->workers);
    rill_loop_group_stop(server->group);
    rill_loop_free(server->main_loop);
    rill_trace_stop(server->trace);
    rill_address_counts_free(server->address_counts);
    rill_address_rates_free(server->accept_rates);
    rill_server_free_gates(server);
    rill_sys_free(server->loops);
    rill_sys_free(server);
}
