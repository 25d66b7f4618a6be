/* sweep_site_streams.c - see sweep_site.h: the echo, and what leads to it. */
#include "rill/core/sys.h"
#include "rill/net/client.h"
#include "rill/net/conn_pool.h"
#include "rill/net/relay.h"
#include "sweep_site_internal.h"

struct sweep_targets sweep_targets;

static void echo_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

/* A connection to the echo that belongs to another one, the front: by ids, because either may go at any time. */
static struct rill_conn *front_of(struct rill_loop *loop, uint64_t id)
{
    return rill_conn_find(loop, (struct rill_conn_id){id});
}

/* USER carries an id: it has 64 bits, as a pointer has. */
static void *as_user(struct rill_conn *conn)
{
    return (void *)(uintptr_t)rill_conn_id(conn).value; /* NOLINT(performance-no-int-to-ptr) */
}

/* What comes from the echo is the front's. */
static void back_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_conn *front = front_of(rill_conn_loop(conn), (uintptr_t)rill_conn_user(conn));
    if (front)
        rill_conn_send(front, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static const struct rill_conn_handler back_handler = {.on_data = back_data};
static const struct rill_conn_config back_config = {.handler = &back_handler};

/* The relay. */

static void relay_connected(struct rill_conn *back, void *arg)
{
    static const struct rill_relay_config config = {.write_timeout_ms = 0};
    struct rill_conn *front = front_of(rill_conn_loop(back), (uintptr_t)arg);
    int error = front ? rill_relay_start(front, back, &config, NULL) : -EPIPE;
    if (error < 0)
        rill_conn_close(back, RILL_CLOSE_LOCAL);
    if (error < 0 && front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static void relay_failed(int error, const char *why, void *arg)
{
    struct rill_conn *front = front_of(rill_loop_current(), (uintptr_t)arg);
    (void)error, (void)why;
    if (front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static void relay_by(struct rill_conn *conn, struct rill_connect_config config)
{
    config.conn = &back_config;
    config.on_connected = relay_connected;
    config.on_failed = relay_failed;
    config.arg = as_user(conn);
    rill_conn_pause(conn, RILL_PAUSE_USER);
    if (rill_connect(rill_conn_loop(conn), &config, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void relay_open(struct rill_conn *conn)
{
    relay_by(conn, (struct rill_connect_config){.addrs = &sweep_targets.echo, .addr_count = 1});
}

static void named_open(struct rill_conn *conn)
{
    relay_by(conn, (struct rill_connect_config){.target = sweep_targets.named_echo});
}

/* The channel. */

static void channel_open(struct rill_conn *conn)
{
    if (rill_channel_join(sweep_targets.channel, conn, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void channel_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_buf *buf = rill_buf_copy(input->bytes, input->length);
    rill_input_consume(input, input->length);
    if (!buf || rill_channel_publish(sweep_targets.channel, buf) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

/* The client. What comes before it is up is kept by the connection, unconsumed. */

static void client_up(struct rill_client *client, struct rill_conn *back, void *arg)
{
    struct rill_conn *front = front_of(rill_conn_loop(back), (uintptr_t)arg);
    (void)client;
    if (front)
        rill_conn_resume(front, RILL_PAUSE_USER);
}

static void client_down(struct rill_client *client, const struct rill_client_outage *outage, void *arg)
{
    struct rill_conn *front = front_of(rill_loop_current(), (uintptr_t)arg);
    (void)client;
    if (front && outage->was_up) /* bytes may be lost with it */
        rill_conn_finish(front, false);
}

static void client_open(struct rill_conn *conn)
{
    int error;
    const struct rill_client_config config = {
        .connect = {.addrs = &sweep_targets.echo, .addr_count = 1, .conn = &back_config, .user = as_user(conn)},
        .backoff_ms = 1,
        .backoff_max_ms = 4,
        .on_up = client_up,
        .on_down = client_down,
        .arg = as_user(conn)};
    rill_conn_pause(conn, RILL_PAUSE_USER);
    rill_conn_set_user(conn, rill_client_new(rill_conn_loop(conn), &config, &error));
    if (!rill_conn_user(conn))
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void client_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_conn *back = rill_client_conn(rill_conn_user(conn));
    if (!back || rill_conn_send(back, input->bytes, input->length) < 0) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    rill_input_consume(input, input->length);
}

static void client_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)reason;
    rill_client_free(rill_conn_user(conn));
}

/* The pool. A connection of it is returned when all has come back that was sent on it; there is one at a time. */

static size_t awaited;

static void pool_back_data(struct rill_conn *conn, struct rill_input *input)
{
    awaited -= input->length < awaited ? input->length : awaited;
    back_data(conn, input);
    if (awaited > 0)
        return;
    rill_conn_set_user(conn, NULL);
    rill_conn_pool_return(conn);
}

static void pool_back_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct rill_conn *front = front_of(rill_conn_loop(conn), (uintptr_t)rill_conn_user(conn));
    (void)reason;
    if (front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static const struct rill_conn_handler pool_back_handler = {.on_data = pool_back_data, .on_close = pool_back_close};
static const struct rill_conn_config pool_back_config = {.handler = &pool_back_handler};

static void pool_leased(struct rill_conn *back, bool reused, void *arg)
{
    struct rill_conn *front = front_of(rill_conn_loop(back), (uintptr_t)arg);
    (void)reused;
    if (front)
        rill_conn_resume(front, RILL_PAUSE_USER);
    rill_conn_pool_return(back);
}

static void pool_failed(int error, const char *why, void *arg)
{
    relay_failed(error, why, arg);
}

static struct rill_conn_pool *pool_of(struct rill_loop *loop)
{
    return rill_loop_slot(loop, RILL_LOOP_SLOT_APP);
}

static void free_pool(void *pool)
{
    rill_conn_pool_free(pool);
}

static void pool_open(struct rill_conn *conn)
{
    struct rill_loop *loop = rill_conn_loop(conn);
    int error = 0;
    if (!pool_of(loop)) {
        const struct rill_conn_pool_config config = {
            .connect = {.addrs = &sweep_targets.echo, .addr_count = 1, .conn = &pool_back_config}};
        struct rill_conn_pool *made = rill_conn_pool_new(loop, &config, &error);
        if (made)
            rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, made, free_pool);
    }
    rill_conn_pause(conn, RILL_PAUSE_USER); /* until there is one to be had */
    const struct rill_lease_request request = {
        .on_leased = pool_leased, .on_failed = pool_failed, .arg = as_user(conn)};
    if (!pool_of(loop) || rill_conn_pool_lease(pool_of(loop), &request, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void pool_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_conn *back = rill_conn_pool_try(pool_of(rill_conn_loop(conn)), as_user(conn));
    if (!back || rill_conn_send(back, input->bytes, input->length) < 0) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    awaited = input->length;
    rill_input_consume(input, input->length);
}

const struct rill_conn_handler sweep_handlers[SWEEP_PORTS] = {
    [SWEEP_ECHO] = {.on_data = echo_data},
    [SWEEP_RELAY] = {.on_open = relay_open},
    [SWEEP_NAMED] = {.on_open = named_open},
    [SWEEP_CHANNEL] = {.on_open = channel_open, .on_data = channel_data},
    [SWEEP_CLIENT] = {.on_open = client_open, .on_data = client_data, .on_close = client_close},
    [SWEEP_POOL] = {.on_open = pool_open, .on_data = pool_data},
    [SWEEP_LOCAL] = {.on_data = echo_data},
};
