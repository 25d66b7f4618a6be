/* sim_site_client.c - see sim_site.h: a client a loop that keeps a connection up, to the echo or to the channel, and
 * what net/client.h says of its callbacks. */
#include "sim_site_internal.h"

#include "rill/net/client.h"
#include <stdlib.h>
#include <string.h>

enum { OUTAGES_MAX = 6, MEDDLES_IN = 12 };

static struct caller {
    struct rill_loop *loop;
    struct rill_client *client; /* NULL: freed */
    struct rill_client_config config;
    struct rill_conn_config conn_config;
    bool making;            /* rill_client_new() has not returned */
    bool up;                /* on_up has been called, on_down has not */
    bool opened, closed;    /* what has been called of that connection */
    struct rill_conn_id id; /* of it */
    enum rill_close_reason reason;
    unsigned failures;      /* in a row */
    uint64_t since_ms;      /* when the connection came up */
    uint64_t not_before_ms; /* there is no other attempt sooner */
    unsigned outages_left;  /* then it stops for good, or no run would come to its end */
    enum site_target target;
    size_t n, got; /* what was sent to the echo, what of it has come back */
    unsigned next_message;
} callers[SITE_LOOPS];

/* --- what an app may do in every callback --- */

static void halt(struct caller *caller)
{
    caller->up = false; /* on_down does not come any more */
}

static void stop(struct caller *caller)
{
    const struct rill_conn *conn = rill_client_conn(caller->client);
    halt(caller);
    rill_client_stop(caller->client);
    if (!conn && rill_client_state(caller->client) != RILL_CLIENT_STOPPED) /* on_close may have started it again */
        sim_fail("a client that was stopped is not");
}

static void release(struct caller *caller)
{
    struct rill_client *client = caller->client;
    halt(caller);
    caller->client = NULL;
    rill_client_free(client);
}

static void start(struct caller *caller)
{
    enum rill_client_state state = rill_client_state(caller->client);
    if (state == RILL_CLIENT_STOPPED || state == RILL_CLIENT_WAITING) {
        caller->failures = 0;
        caller->not_before_ms = rill_loop_now_ms(caller->loop);
    }
    rill_client_start(caller->client);
}

/* Does something now and then. */
static void meddle(struct caller *caller)
{
    if (!caller->client || !sim_chance(MEDDLES_IN))
        return;
    struct rill_conn *conn = rill_client_conn(caller->client);
    sim_note("a client is meddled with", rill_loop_index(caller->loop), 0);
    switch (sim_below(6)) {
    case 0:
        stop(caller);
        break;
    case 1:
        stop(caller);
        if (caller->client && caller->outages_left > 0)
            start(caller);
        break;
    case 2:
        if (caller->outages_left > 0)
            start(caller);
        break;
    case 3:
        release(caller);
        break;
    default:
        if (conn)
            rill_conn_close(conn, RILL_CLOSE_LOCAL);
    }
}

/* --- its connection --- */

/* Whose connection CONN is, which the client has up. */
static struct caller *caller_of(struct rill_conn *conn, const char *callback)
{
    struct caller *caller = rill_conn_user(conn);
    site_note(conn, callback);
    if (!caller->client || rill_client_conn(caller->client) != conn ||
        rill_client_state(caller->client) != RILL_CLIENT_UP)
        sim_fail("%s of a connection that is not the client's any more", callback);
    return caller;
}

static void ask(struct caller *caller, struct rill_conn *conn)
{
    caller->n = 1 + sim_below(2000);
    caller->got = 0;
    char *bytes = site_content(caller->n);
    (void)rill_conn_send(conn, bytes, caller->n);
    free(bytes);
}

static void on_open(struct rill_conn *conn)
{
    site_note_open(conn);
    struct caller *caller = caller_of(conn, "on_open of a client");
    if (!caller->up || caller->opened || caller->id.value != rill_conn_id(conn).value)
        sim_fail("on_open of a client's connection comes before on_up");
    caller->opened = true;
    if (caller->target != SITE_TARGET_CHANNEL)
        ask(caller, conn);
    meddle(caller);
}

static void take_echo(struct caller *caller, struct rill_conn *conn, struct rill_input *input)
{
    if (input->length > caller->n - caller->got ||
        !site_is_content(input->bytes, caller->n, caller->got, input->length))
        sim_fail("a client hears from the echo what it has not said");
    caller->got += input->length;
    rill_input_consume(input, input->length);
    if (caller->got == caller->n && sim_chance(2))
        ask(caller, conn);
}

static void take_messages(struct caller *caller, struct rill_input *input)
{
    unsigned number;
    while (input->length >= 9) {
        if (!site_read_number(input->bytes, &number) || number < caller->next_message || number >= site.published)
            sim_fail("a message to a client is not among those that may come");
        size_t length = site_message_length(number);
        if (input->length < length)
            return;
        if (!site_is_message(input->bytes, number, length))
            sim_fail("message %u to a client is another", number);
        caller->next_message = number + 1;
        rill_input_consume(input, length);
    }
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct caller *caller = caller_of(conn, "on_data of a client");
    if (caller->target == SITE_TARGET_CHANNEL)
        take_messages(caller, input);
    else
        take_echo(caller, conn, input);
    meddle(caller);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct caller *caller = rill_conn_user(conn);
    if (caller->opened) /* or on_up has closed it */
        site_note_close(conn, reason);
    if (caller->client && rill_client_conn(caller->client) == conn)
        sim_fail("a client has a connection that is closed");
    if (caller->id.value != rill_conn_id(conn).value)
        sim_fail("on_close of a connection that the client has not been told of");
    caller->closed = true;
    caller->reason = reason;
    meddle(caller);
}

/* --- its own callbacks --- */

static void on_up(struct rill_client *client, struct rill_conn *conn, void *arg)
{
    struct caller *caller = arg;
    if (caller->making || caller->client != client)
        sim_fail("on_up of a client that is not there");
    if (caller->up)
        sim_fail("on_up twice");
    if (rill_client_state(client) != RILL_CLIENT_UP || rill_client_conn(client) != conn ||
        rill_conn_user(conn) != caller)
        sim_fail("on_up, and the client does not say so");
    if (rill_loop_now_ms(caller->loop) < caller->not_before_ms)
        sim_fail("a client connects again too soon");
    caller->up = true;
    caller->opened = caller->closed = false;
    caller->id = rill_conn_id(conn);
    caller->since_ms = rill_loop_now_ms(caller->loop);
    caller->next_message = 0;
    site.ups++;
    sim_note("on_up", rill_loop_index(caller->loop), caller->id.value >> 32);
    meddle(caller);
}

/* How long the client may wait, and counts the outage. */
static uint64_t most_to_wait(struct caller *caller, const struct rill_client_outage *outage, uint64_t now_ms)
{
    bool stable = outage->was_up && now_ms - caller->since_ms >= caller->config.stable_ms;
    if (stable)
        caller->failures = 0;
    uint64_t most = caller->config.backoff_ms << (caller->failures < 20 ? caller->failures : 20);
    if (!stable)
        caller->failures++;
    return most < caller->config.backoff_max_ms ? most : caller->config.backoff_max_ms;
}

static void on_down(struct rill_client *client, const struct rill_client_outage *outage, void *arg)
{
    struct caller *caller = arg;
    uint64_t now_ms = rill_loop_now_ms(caller->loop);
    if (caller->making || caller->client != client)
        sim_fail("on_down of a client that is not there");
    if (outage->was_up != caller->up)
        sim_fail("on_down says that there was a connection, or that there was none, wrongly");
    if (caller->up && (!caller->closed || caller->reason != outage->reason))
        sim_fail("on_down comes before on_close, or for another reason");
    if (!caller->up && (outage->error >= 0 || now_ms < caller->not_before_ms))
        sim_fail("a connect has failed without an error, or was made too soon");
    bool patient = caller->target == SITE_TARGET_HOLE || caller->target == SITE_TARGET_HOPE;
    if (patient && !sim_calls_fail() && now_ms < caller->not_before_ms + caller->config.connect.timeout_ms)
        sim_fail("a connect has failed before its time was up, and there was hope");
    if (rill_client_state(client) != RILL_CLIENT_WAITING || rill_client_conn(client))
        sim_fail("on_down, and the client does not say so");
    if (outage->retry_ms > most_to_wait(caller, outage, now_ms))
        sim_fail("a client waits for %u ms after %u failures", (unsigned)outage->retry_ms, caller->failures);
    if (outage->failures != caller->failures)
        sim_fail("a client counts %u failures, not %u", outage->failures, caller->failures);
    caller->up = false;
    caller->not_before_ms = now_ms + outage->retry_ms;
    site.outages++;
    sim_note("on_down", rill_loop_index(caller->loop), outage->was_up ? outage->reason : (uint64_t)-outage->error);
    if (--caller->outages_left > 0)
        meddle(caller);
    else if (sim_chance(2))
        stop(caller);
    else
        release(caller);
}

/* --- life --- */

static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};

static void begin_on(struct rill_loop *loop)
{
    struct caller *caller = &callers[rill_loop_index(loop)];
    enum site_target target = (enum site_target)sim_below(SITE_TARGETS);
    if (target == SITE_TARGET_CHANNEL && site.limited)
        target = SITE_TARGET_ECHO; /* which ends it some time, so that others are served */
    int error = 0;
    *caller = (struct caller){.loop = loop,
                              .conn_config = {.handler = &handler},
                              .outages_left = 1 + (unsigned)sim_below(OUTAGES_MAX),
                              .target = target,
                              .not_before_ms = rill_loop_now_ms(loop)};
    caller->config = (struct rill_client_config){
        .connect = {.conn = &caller->conn_config, .user = caller, .timeout_ms = 1 + sim_below(1000)},
        .backoff_ms = 1 + sim_below(100),
        .stable_ms = 1 + sim_below(1000),
        .on_up = on_up,
        .on_down = on_down,
        .arg = caller};
    caller->config.backoff_max_ms = caller->config.backoff_ms + sim_below(2000);
    site_target(&caller->config.connect, target);
    caller->making = true;
    caller->client = rill_client_new(loop, &caller->config, &error);
    caller->making = false;
    if (!caller->client)
        sim_fail("a client cannot be made: %s", strerror(-error));
}

static void prod(struct rill_loop *loop)
{
    meddle(&callers[rill_loop_index(loop)]);
}

static void end_on(struct rill_loop *loop)
{
    struct caller *caller = &callers[rill_loop_index(loop)];
    if (caller->client)
        release(caller);
}

/* When nothing can happen any more a client is up, or was stopped; and it has what was said to it. */
static void check_quiet(bool all)
{
    for (unsigned i = 0; i < SITE_LOOPS; i++) {
        const struct caller *caller = &callers[i];
        if (!caller->client)
            continue;
        enum rill_client_state state = rill_client_state(caller->client);
        if (state != RILL_CLIENT_UP && state != RILL_CLIENT_STOPPED)
            sim_fail("a client waits, and nothing will end that");
        if (state != RILL_CLIENT_UP || !all)
            continue;
        if (caller->target != SITE_TARGET_CHANNEL && caller->got != caller->n)
            sim_fail("a client has not been answered");
        if (caller->next_message > 0 && caller->next_message != site.published) /* 0: it may have come too late */
            sim_fail("a client has not received the last message");
    }
}

const struct site_app site_client_app = {.start = begin_on, .prod = prod, .stop = end_on, .check_quiet = check_quiet};
