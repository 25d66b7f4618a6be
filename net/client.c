/* client.c - keeping a connection up.
 *
 * One timer does all that comes later: telling of a connection that was lost, which has to wait until the connection's
 * own on_close has run, and trying again. A timer can be taken back, so a client may be freed at any moment. In every
 * function a callback is the last thing that happens. */
#include "rill/net/client.h"
#include "rill/core/random.h"
#include "rill/core/sys.h"
#include "rill/net/connect_internal.h"

enum {
    DEFAULT_BACKOFF_MS = 100,
    DEFAULT_BACKOFF_MAX_MS = 30000,
    DEFAULT_STABLE_MS = 10000,
};

struct rill_client {
    struct rill_loop *loop;
    struct rill_client_config config; /* what `connect` points to is behind this struct, or the caller's */
    enum rill_client_state state;
    struct rill_connect *connect;     /* CONNECTING */
    struct rill_conn *conn;           /* UP */
    struct rill_conn_watcher watcher; /* of `conn` */
    struct rill_timer timer;          /* WAITING */
    bool lost;                        /* WAITING: on_down is still to be called, for `reason` */
    bool hurried;                     /* WAITING: the next attempt is due at once */
    enum rill_close_reason reason;
    unsigned failures; /* in a row */
    uint64_t up_since_ms;
    struct rill_random random;
};

static void set_state(struct rill_client *client, enum rill_client_state state)
{
    client->state = state;
    client->hurried = client->lost = false;
}

/* How long until the next attempt; counts the failure that makes it necessary. */
static uint64_t next_delay(struct rill_client *client, bool failed)
{
    uint64_t most = client->config.backoff_ms;
    for (unsigned i = 0; i < client->failures && most < client->config.backoff_max_ms; i++)
        most = most < UINT64_MAX / 2 ? 2 * most : UINT64_MAX;
    if (most > client->config.backoff_max_ms)
        most = client->config.backoff_max_ms;
    if (failed)
        client->failures++;
    return client->hurried ? 0 : rill_random_up_to(&client->random, most);
}

/* Sees to the next attempt and tells why one is needed. */
static void go_down(struct rill_client *client, struct rill_client_outage *outage, bool failed)
{
    uint64_t delay = next_delay(client, failed);
    set_state(client, RILL_CLIENT_WAITING);
    rill_loop_arm(client->loop, &client->timer, delay);
    outage->failures = client->failures;
    outage->retry_ms = delay;
    if (client->config.on_down)
        client->config.on_down(client, outage, client->config.arg);
}

static void tell_lost(struct rill_client *client)
{
    bool stable = rill_loop_now_ms(client->loop) - client->up_since_ms >= client->config.stable_ms;
    if (stable)
        client->failures = 0;
    go_down(client,
            &(struct rill_client_outage){
                .was_up = true, .reason = client->reason, .why = rill_close_reason_text(client->reason)},
            !stable);
}

static void on_failed(int error, const char *why, void *arg)
{
    struct rill_client *client = arg;
    client->connect = NULL;
    go_down(client, &(struct rill_client_outage){.error = error, .why = why}, true);
}

/* The connection closes; its on_close comes next, and on_down after that. */
static void on_conn_close(struct rill_conn_watcher *watcher)
{
    struct rill_client *client = rill_container_of(watcher, struct rill_client, watcher);
    client->reason = (enum rill_close_reason)client->conn->finish_reason;
    client->conn = NULL;
    set_state(client, RILL_CLIENT_WAITING);
    client->lost = true;
    rill_loop_arm(client->loop, &client->timer, 0);
}

static void on_connected(struct rill_conn *conn, void *arg)
{
    struct rill_client *client = arg;
    client->connect = NULL;
    client->conn = conn;
    client->up_since_ms = rill_loop_now_ms(client->loop);
    rill_conn_add_watcher(conn, &client->watcher);
    set_state(client, RILL_CLIENT_UP);
    if (client->config.on_up)
        client->config.on_up(client, conn, client->config.arg);
}

static int try(struct rill_client *client)
{
    int error = rill_connect(client->loop, &client->config.connect, &client->connect);
    if (error == 0)
        set_state(client, RILL_CLIENT_CONNECTING);
    return error;
}

static void on_timer(struct rill_timer *timer)
{
    struct rill_client *client = rill_container_of(timer, struct rill_client, timer);
    if (client->lost) {
        tell_lost(client);
        return;
    }
    int error = try(client);
    if (error < 0)
        on_failed(error, strerror(-error), client);
}

/* --- life --- */

struct rill_client *rill_client_new(struct rill_loop *loop, const struct rill_client_config *config, int *error)
{
    rill_loop_check(loop, __func__);
    struct rill_client *client = rill_sys_calloc(1, sizeof *client + rill_connect_config_room(&config->connect));
    if (!client) {
        *error = -ENOMEM;
        return NULL;
    }
    client->loop = loop;
    client->config = *config;
    rill_connect_config_copy(&client->config.connect, client + 1);
    client->config.connect.on_connected = on_connected;
    client->config.connect.on_failed = on_failed;
    client->config.connect.arg = client;
    if (config->backoff_ms == 0)
        client->config.backoff_ms = DEFAULT_BACKOFF_MS;
    if (config->backoff_max_ms == 0)
        client->config.backoff_max_ms = DEFAULT_BACKOFF_MAX_MS;
    if (config->stable_ms == 0)
        client->config.stable_ms = DEFAULT_STABLE_MS;
    client->watcher.on_close = on_conn_close;
    rill_timer_init(&client->timer, on_timer);
    rill_random_seed(&client->random);
    *error = try(client);
    if (*error < 0) {
        rill_sys_free(client);
        return NULL;
    }
    return client;
}

/* Ends whatever is going on, and returns the connection, which is to be closed last: its on_close may do anything. */
static struct rill_conn *halt(struct rill_client *client)
{
    struct rill_conn *conn = client->conn;
    if (conn)
        rill_conn_remove_watcher(conn, &client->watcher);
    rill_connect_cancel(client->connect);
    rill_loop_disarm(client->loop, &client->timer);
    client->conn = NULL;
    client->connect = NULL;
    set_state(client, RILL_CLIENT_STOPPED);
    return conn;
}

void rill_client_stop(struct rill_client *client)
{
    rill_loop_check(client->loop, __func__);
    struct rill_conn *conn = halt(client);
    if (conn)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

void rill_client_free(struct rill_client *client)
{
    if (!client)
        return;
    rill_loop_check(client->loop, __func__);
    struct rill_conn *conn = halt(client);
    rill_sys_free(client);
    if (conn)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

void rill_client_start(struct rill_client *client)
{
    rill_loop_check(client->loop, __func__);
    if (client->state == RILL_CLIENT_CONNECTING || client->state == RILL_CLIENT_UP)
        return;
    bool lost = client->lost;
    set_state(client, RILL_CLIENT_WAITING);
    client->lost = lost;
    client->hurried = true;
    client->failures = 0;
    rill_loop_arm(client->loop, &client->timer, 0);
}

enum rill_client_state rill_client_state(const struct rill_client *client)
{
    return client->state;
}

struct rill_conn *rill_client_conn(const struct rill_client *client)
{
    return client->conn;
}
