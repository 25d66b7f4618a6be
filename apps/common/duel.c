/* duel.c - see duel.h. The main thread runs the server's main loop, where a timer looks how far the clients are. */
#include "duel.h"
#include "rill/core/log.h"
#include "rill/core/loop_group.h"
#include "rill/core/timers.h"
#include "rill/net/connect.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOK_MS = 5 };

/* Of the one duel of the program. */
static struct rill_app_duel *duel;
static struct rill_server *server;  /* NULL: it is elsewhere */
static struct rill_loop *main_loop; /* the server's, or our own */
static struct rill_addr server_addr;
static struct client_loop {
    struct rill_loop *loop;
    struct rill_conn_config config;
    unsigned connections;
} client_loops[RILL_LOOP_MAX];
static struct rill_conn_handler handler;
static unsigned connected, trouble; /* atomic: the client loops count */
static bool ended;                  /* atomic: what happens to connections now is no trouble */
static uint64_t began_ns;
static char *message;

const char *rill_app_duel_message(void)
{
    return message;
}

/* --- the clients' loops --- */

static void on_connected(struct rill_conn *conn, void *arg)
{
    __atomic_add_fetch(&connected, 1, __ATOMIC_RELAXED);
}

static void on_failed(int error, const char *why, void *arg)
{
    if (__atomic_fetch_add(&trouble, 1, __ATOMIC_RELAXED) == 0)
        rill_log_error("%s: %s", duel->app.name, why);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    if (!__atomic_load_n(&ended, __ATOMIC_RELAXED) && __atomic_fetch_add(&trouble, 1, __ATOMIC_RELAXED) == 0)
        rill_log_error("%s: a connection ended: %s", duel->app.name, rill_close_reason_text(reason));
}

static void connect_all(void *arg)
{
    struct client_loop *client = arg;
    struct rill_connect_config config = {.target = duel->app.operand_value,
                                         .conn = &client->config,
                                         .on_connected = on_connected,
                                         .on_failed = on_failed};
    if (server) {
        config.addrs = &server_addr;
        config.addr_count = 1;
    }
    for (unsigned i = 0; i < client->connections; i++) {
        int error = rill_connect(client->loop, &config, NULL);
        if (error < 0)
            on_failed(error, strerror(-error), NULL);
    }
}

/* --- the main thread --- */

static void stop(void)
{
    if (server)
        rill_server_stop(server, true);
    else
        rill_loop_stop(main_loop);
}

static void look(void *arg)
{
    uint64_t now = rill_clock_ns();
    if (ended)
        return;
    if (__atomic_load_n(&trouble, __ATOMIC_RELAXED) > 0) {
        stop();
    } else if (began_ns == 0) {
        if (__atomic_load_n(&connected, __ATOMIC_RELAXED) < duel->connections)
            return;
        began_ns = now;
        duel->on_begin();
    } else if (now - began_ns >= duel->time_ms * 1000000) {
        duel->seconds = (double)(now - began_ns) / 1e9;
        duel->on_end();
        __atomic_store_n(&ended, true, __ATOMIC_RELAXED);
        stop();
    }
}

static void echo(struct rill_conn *conn, struct rill_input *in)
{
    rill_conn_send(conn, in->bytes, in->length);
    rill_input_consume(in, in->length);
}

/* The server, unless it is elsewhere, and its main loop or one of our own. Returns 0 or a negative errno. */
static int make_server(void)
{
    static const struct rill_conn_handler server_handler = {.on_data = echo};
    struct rill_listen_address listen;
    const char *why;
    int error = 0;
    if (duel->app.operand_value) {
        main_loop = rill_loop_new(&(struct rill_loop_config){.name = "main"}, &error);
        return error;
    }
    duel->app.server.handler = &server_handler;
    server = rill_server_new(&duel->app.server, &error);
    if (!server || (error = rill_listen_parse(duel->app.server.listens[0].address, &listen, &why)) < 0)
        return error;
    main_loop = rill_server_main_loop(server);
    server_addr = listen.addr;
    if (server_addr.socket.any.sa_family != AF_UNIX) /* sin6_port lies where sin_port does */
        server_addr.socket.v4.sin_port = htons((uint16_t)rill_server_port(server, 0));
    return 0;
}

static struct rill_loop_group *start_clients(int *error)
{
    struct rill_loop_group_config config = {.name = "client",
                                            .count = duel->loops,
                                            .first_index = (unsigned)duel->app.server.threads + 1,
                                            .backend = duel->app.server.backend};
    struct rill_loop_group *group = rill_loop_group_start(&config, error);
    handler = *duel->handler;
    handler.on_close = on_close;
    for (unsigned i = 0; group && i < duel->loops; i++) {
        client_loops[i] = (struct client_loop){
            .loop = rill_loop_group_loop(group, i),
            .config = {.handler = &handler, .arg = (char *)duel->sides + i * duel->side_bytes},
            .connections = duel->connections / duel->loops + (i < duel->connections % duel->loops)};
        *error = rill_post(client_loops[i].loop, connect_all, &client_loops[i]);
        if (*error < 0)
            return group;
    }
    return group;
}

static int run(void)
{
    struct rill_loop_group *group = NULL;
    int error = make_server();
    if (error == 0)
        group = start_clients(&error);
    if (error == 0)
        error = rill_loop_every(main_loop, LOOK_MS, look, NULL, NULL);
    if (error == 0)
        error = server ? rill_server_run(server, true) : rill_loop_run(main_loop);
    rill_loop_group_stop(group);
    if (error < 0 && main_loop) /* a server that cannot be made has said why */
        rill_log_error("%s: %s", duel->app.name, strerror(-error));
    if (server)
        rill_server_free(server);
    else
        rill_loop_free(main_loop);
    return error == 0 && ended ? 0 : 1;
}

int rill_app_duel_main(struct rill_app_duel *this_duel, int argc, char **argv)
{
    char size[64], length[64], connections[64], loops[64];
    duel = this_duel;
    snprintf(size, sizeof size, "of a message (%llu)", (unsigned long long)duel->size);
    snprintf(length, sizeof length, "to measure for, once all are connected (%llus)",
             (unsigned long long)duel->time_ms / 1000);
    snprintf(connections, sizeof connections, "in all (%u)", duel->connections);
    snprintf(loops, sizeof loops, "of the clients; --threads is the server's (%u)", duel->loops);
    const struct rill_option options[] = {
        {"--size", "SIZE", size, RILL_OPTION_SIZE, &duel->size, .min = 1, .max = 64 << 20},
        {"--time", "TIME", length, RILL_OPTION_DURATION, &duel->time_ms, .min = 1},
        {"--connections", "N", connections, RILL_OPTION_COUNT, &duel->connections, .min = 1, .max = 60000},
        {"--loops", "N", loops, RILL_OPTION_COUNT, &duel->loops, .min = 1, .max = RILL_LOOP_MAX / 2},
    };
    duel->app.kind = RILL_APP_SERVER;
    duel->app.operand = "ADDR";
    duel->app.options = options;
    duel->app.option_count = duel->one_client ? 2 : rill_array_length(options);
    duel->app.default_listen = "127.0.0.1:0";
    int status = rill_app_parse(&duel->app, argc, argv);
    if (status >= 0)
        return status;
    message = malloc(duel->size);
    if (!message)
        return 1;
    memset(message, 'x', duel->size);
    status = run();
    free(message);
    return status;
}
