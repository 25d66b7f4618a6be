/* main.c - rill-relay: a TCP load balancer. Each client gets a connection to one of several servers, and the bytes of
 * one are the other's (net/relay.h). A server that does not answer is passed over, by this client and after a while by
 * all, until a check finds it alive. */
#include "../options.h"
#include "backends.h"
#include "rill/core/log.h"
#include "rill/net/proxy_protocol.h"
#include "rill/net/relay.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct backends backends = {.check_interval_ms = 2000, .connect_timeout_ms = 5000, .failures_to_down = 3};
static struct rill_relay_config relay_config;
static uint8_t proxy_version; /* 0: no PROXY header */

/* A client, from its arrival to the end of its relay. */
struct link {
    struct rill_conn *client;
    struct backend *backend; /* the one that is tried, and then used */
    uint64_t tried;          /* mask of those that were of no use */
    struct rill_connect *connect;
};

static void link_free(struct link *link)
{
    if (link->backend)
        backends_release(link->backend);
    free(link);
}

static void relay_ended(const struct rill_relay_end *end, void *arg)
{
    struct link *link = arg;
    rill_log_debug("relay to %s: %s by the %s, %llu bytes there and %llu back", link->backend->target,
                   rill_close_reason_text(end->reason), end->side ? "server" : "client",
                   (unsigned long long)end->bytes[0], (unsigned long long)end->bytes[1]);
    link_free(link);
}

/* Says who the client is. */
static int send_proxy_header(const struct link *link, struct rill_conn *server)
{
    struct rill_proxy_header header = {
        .version = proxy_version, .has_addresses = true, .source = rill_addr_of(rill_conn_peer(link->client))};
    char bytes[RILL_PROXY_WRITE_BYTES];
    header.has_addresses = rill_conn_local(link->client, &header.destination) == 0;
    int length = rill_proxy_write(&header, bytes, sizeof bytes);
    return length < 0 ? length : rill_conn_send(server, bytes, (size_t)length);
}

static void on_connected(struct rill_conn *server, void *arg)
{
    struct link *link = arg;
    link->connect = NULL;
    backends_note_success(link->backend);
    if ((proxy_version && send_proxy_header(link, server) < 0) ||
        rill_relay_start(link->client, server, &relay_config, link) < 0) {
        rill_conn_close(server, RILL_CLOSE_NO_MEMORY);
        rill_conn_close(link->client, RILL_CLOSE_NO_MEMORY);
    }
}

static void connect_next(struct link *link);

static void on_failed(int error, const char *why, void *arg)
{
    struct link *link = arg;
    link->connect = NULL;
    rill_log_debug("%s", why);
    backends_note_failure(link->backend, why);
    link->tried |= backends_mask(link->backend);
    backends_release(link->backend);
    connect_next(link);
}

/* Connects to the next server; when there is none left, the client is told as a closed port would tell it. */
static void connect_next(struct link *link)
{
    static const struct rill_conn_handler none;
    static const struct rill_conn_config conn = {.handler = &none}; /* until it is the relay's */
    link->backend = backends_choose(&backends, link->tried);
    struct rill_connect_config config = {.target = link->backend ? link->backend->target : NULL,
                                         .timeout_ms = backends.connect_timeout_ms,
                                         .conn = &conn,
                                         .on_connected = on_connected,
                                         .on_failed = on_failed,
                                         .arg = link};
    if (!link->backend || rill_connect(rill_conn_loop(link->client), &config, &link->connect) < 0) {
        rill_conn_set_reset_on_close(link->client, true);
        rill_conn_close(link->client, RILL_CLOSE_LOCAL);
    }
}

/* --- the client's connection, until it is the relay's --- */

static void on_open(struct rill_conn *client)
{
    struct link *link = calloc(1, sizeof *link);
    rill_conn_set_user(client, link);
    if (!link) {
        rill_conn_close(client, RILL_CLOSE_NO_MEMORY);
        return;
    }
    link->client = client;
    rill_conn_pause(client, RILL_PAUSE_USER); /* what it sends waits in the kernel */
    connect_next(link);
}

/* Who got in is served. */
static void on_stop(struct rill_conn *client)
{
}

static void on_close(struct rill_conn *client, enum rill_close_reason reason)
{
    struct link *link = rill_conn_user(client);
    if (!link)
        return;
    rill_connect_cancel(link->connect);
    link_free(link);
}

static int on_loop_start(struct rill_loop *loop, void *arg)
{
    backends_start_checks(&backends, loop);
    return 0;
}

static void on_loop_stop(struct rill_loop *loop, void *arg)
{
    backends_end_checks(&backends, loop);
}

/* --- options --- */

static int parse_to(void *target, const char *text, const char **wanted)
{
    return backends_add(target, text, wanted);
}

static int parse_balance(void *target, const char *text, const char **wanted)
{
    enum backends_balance *balance = target;
    *wanted = "round-robin or least-connections is wanted";
    *balance = strcmp(text, "least-connections") == 0 ? BACKENDS_LEAST_CONNECTIONS : BACKENDS_ROUND_ROBIN;
    return *balance == BACKENDS_ROUND_ROBIN && strcmp(text, "round-robin") != 0 ? -EINVAL : 0;
}

static int parse_proxy(void *target, const char *text, const char **wanted)
{
    *wanted = "v1 or v2 is wanted";
    if (strcmp(text, "v1") != 0 && strcmp(text, "v2") != 0)
        return -EINVAL;
    *(uint8_t *)target = (uint8_t)(text[1] - '0');
    return 0;
}

static const struct rill_option options[] = {
    {"--to", "ADDR", "a server, HOST:PORT, [V6]:PORT or unix:/PATH; to be repeated", RILL_OPTION_CUSTOM, &backends,
     .parse = parse_to},
    {"--balance", "HOW", "round-robin or least-connections (round-robin)", RILL_OPTION_CUSTOM, &backends.balance,
     .parse = parse_balance},
    {"--proxy", "VERSION", "tell servers of the client with the PROXY protocol: v1 or v2 (off)", RILL_OPTION_CUSTOM,
     &proxy_version, .parse = parse_proxy},
    {"--connect-timeout", "TIME", "a server that does not answer for so long has failed (5s)", RILL_OPTION_DURATION,
     &backends.connect_timeout_ms, .min = 1},
    {"--check-interval", "TIME", "between two looks at a server, more when it is down; 0s: each client finds out (2s)",
     RILL_OPTION_DURATION, &backends.check_interval_ms, .max = 1 << 30},
    {"--check-failures", "N", "connects that fail in a row before a server is taken to be down (3)", RILL_OPTION_COUNT,
     &backends.failures_to_down, .min = 1, .max = 1000},
    {"--copy", NULL, "copy all bytes through the program, no splice(2)", RILL_OPTION_FLAG,
     .target = &relay_config.copy_only},
};

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_stop = on_stop, .on_close = on_close};
    struct rill_app app = {.name = "rill-relay",
                           .summary = "relays TCP connections to one of several servers",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .kind = RILL_APP_SERVER,
                           .server = {.handler = &handler,
                                      .write_timeout_ms = 30000,
                                      .on_loop_start = on_loop_start,
                                      .on_loop_stop = on_loop_stop}};
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    if (backends.count == 0) {
        fprintf(stderr, "rill-relay: no server to relay to; name one with --to HOST:PORT\n");
        return 2;
    }
    relay_config.idle_timeout_ms = app.server.idle_timeout_ms;
    relay_config.write_timeout_ms = app.server.write_timeout_ms;
    relay_config.on_end = relay_ended;
    app.server.idle_timeout_ms = 0; /* the relay's: a client who waits for its server is limited by --connect-timeout */
    return rill_app_serve(&app);
}
