/* bus.c - another libevent library at work on a loop: hiredis' adapter adds its events to rill_loop_base(), and they
 * run between those of the loop's own, on its thread. */
#include "bus.h"
#include "rill/core/log.h"
#include "rill/core/random.h"
#include <errno.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    RETRY_MS = 100, /* doubled each time, up to ... */
    RETRY_MAX_MS = 5000,
    MOST_UNDER_WAY = 10000, /* publications not confirmed: a Redis that hangs is not to fill our memory */
};

/* One connection. */
struct line {
    struct rill_bus *bus;
    redisAsyncContext *redis; /* connecting or up; NULL: `retry` is armed */
    bool up;
    bool answered;     /* it does not only connect, it works */
    char refusal[128]; /* why it would not have the password; "": no matter */
    unsigned failures;
    struct rill_timer retry;
};

struct rill_bus {
    struct rill_loop *loop;
    const struct rill_bus_config *config;
    const struct rill_bus_handler *handler;
    void *arg;
    struct line listening, speaking;
    struct rill_random random;
    unsigned under_way;
    bool ending;
};

/* LINE's context is on its way out: hiredis frees it when this returns. */
static void lost(struct line *line, const char *why)
{
    struct rill_bus *bus = line->bus;
    bool heard = line->answered && line == &bus->listening;
    line->redis = NULL;
    line->up = line->answered = false;
    if (bus->ending)
        return;
    uint64_t most_ms = line->failures < 6 ? (uint64_t)RETRY_MS << line->failures : RETRY_MAX_MS;
    rill_loop_arm(bus->loop, &line->retry, most_ms / 2 + rill_random_up_to(&bus->random, most_ms / 2));
    if (line->failures++ == 0 && line == &bus->listening)
        rill_log_warn("Redis is away: %s; trying until it is back", why);
    if (heard)
        bus->handler->on_down(bus->arg);
}

static void up(struct line *line)
{
    line->up = true;
    if (line == &line->bus->listening)
        line->bus->handler->on_up(line->bus->arg);
}

/* Not the Redis that refuses all that it is asked, but one that works: then the next failure is the first. */
static void answered(struct line *line)
{
    if (!line->answered && line == &line->bus->listening)
        rill_log_info("connected to Redis");
    line->answered = true;
    line->failures = 0;
}

static void on_authenticated(redisAsyncContext *redis, void *data, void *arg)
{
    const redisReply *reply = data;
    struct line *line = redis->data;
    if (reply && reply->type == REDIS_REPLY_ERROR) { /* that may change, so it is tried again like what was lost */
        snprintf(line->refusal, sizeof line->refusal, "%s", reply->str);
        redisAsyncFree(redis);
    } else if (reply) {
        up(line);
    }
}

static void on_connect(const redisAsyncContext *redis, int status)
{
    struct line *line = redis->data;
    const struct rill_bus_config *config = line->bus->config;
    if (status != REDIS_OK) {
        lost(line, redis->c.errstr);
        return;
    }
    if (line->redis->c.connection_type == REDIS_CONN_TCP) /* it takes a Unix socket for broken */
        redisEnableKeepAlive(&line->redis->c);
    if (!config->password[0])
        up(line);
    else if (config->user)
        redisAsyncCommand(line->redis, on_authenticated, NULL, "AUTH %s %s", config->user, config->password);
    else
        redisAsyncCommand(line->redis, on_authenticated, NULL, "AUTH %s", config->password);
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    struct line *line = redis->data;
    lost(line, line->refusal[0] ? line->refusal : status == REDIS_OK ? "it has closed the connection" : redis->errstr);
    line->refusal[0] = '\0';
}

static void connect_line(struct rill_timer *retry)
{
    struct line *line = rill_container_of(retry, struct line, retry);
    struct rill_bus *bus = line->bus;
    struct rill_ip ip = rill_ip_of(&bus->config->addr);
    char host[RILL_IP_TEXT];
    rill_ip_format(&ip, host);
    redisAsyncContext *redis =
        ip.version ? redisAsyncConnect(host, ip.port) : redisAsyncConnectUnix(bus->config->addr.socket.local.sun_path);
    if (!redis || redis->err || redisLibeventAttach(redis, rill_loop_base(bus->loop)) != REDIS_OK) {
        lost(line, redis ? redis->c.errstr : "no memory");
        if (redis)
            redisAsyncFree(redis);
        return;
    }
    redis->data = line;
    line->redis = redis;
    redisAsyncSetConnectCallback(redis, on_connect);
    redisAsyncSetDisconnectCallback(redis, on_disconnect);
}

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

/* Of what is subscribed: ["subscribe", TOPIC, COUNT], ["message", TOPIC, TEXT], or NULL when the connection goes. What
 * else comes is passed over. */
static void on_heard(redisAsyncContext *redis, void *data, void *arg)
{
    const redisReply *reply = data;
    struct rill_bus *bus = arg;
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || !is_text(reply->element[0]) ||
        !is_text(reply->element[1]))
        return;
    struct rill_slice topic = {reply->element[1]->str, reply->element[1]->len};
    answered(&bus->listening);
    if (strcmp(reply->element[0]->str, "message") == 0 && is_text(reply->element[2]))
        bus->handler->on_message(bus->arg, topic, (struct rill_slice){reply->element[2]->str, reply->element[2]->len});
    else if (strcmp(reply->element[0]->str, "subscribe") == 0)
        bus->handler->on_subscribed(bus->arg, topic);
}

static void on_published(redisAsyncContext *redis, void *data, void *arg)
{
    const redisReply *reply = data;
    struct line *line = redis->data;
    struct rill_bus *bus = line->bus;
    bus->under_way--;
    if (reply && reply->type == REDIS_REPLY_INTEGER)
        answered(line);
    else
        bus->handler->on_lost(bus->arg, (uintptr_t)arg);
}

void rill_bus_subscribe(struct rill_bus *bus, const char *topic)
{
    if (bus->listening.up)
        redisAsyncCommand(bus->listening.redis, on_heard, bus, "SUBSCRIBE %s", topic);
}

void rill_bus_unsubscribe(struct rill_bus *bus, const char *topic)
{
    if (bus->listening.up)
        redisAsyncCommand(bus->listening.redis, NULL, NULL, "UNSUBSCRIBE %s", topic);
}

int rill_bus_publish(struct rill_bus *bus, const char *topic, const char *text, size_t length, uint64_t tag)
{
    if (!bus->speaking.up)
        return -ENOTCONN;
    if (bus->under_way == MOST_UNDER_WAY)
        return -EAGAIN;
    if (redisAsyncCommand(bus->speaking.redis, on_published, (void *)(uintptr_t)tag, "PUBLISH %s %b", topic, text,
                          length) != REDIS_OK)
        return -ENOMEM;
    bus->under_way++;
    return 0;
}

struct rill_bus *rill_bus_new(struct rill_loop *loop, const struct rill_bus_config *config,
                              const struct rill_bus_handler *handler, void *arg)
{
    struct rill_bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return NULL;
    bus->loop = loop;
    bus->config = config;
    bus->handler = handler;
    bus->arg = arg;
    rill_random_seed(&bus->random);
    struct line *lines[] = {&bus->listening, &bus->speaking};
    for (unsigned i = 0; i < rill_array_length(lines); i++) {
        lines[i]->bus = bus;
        rill_timer_init(&lines[i]->retry, connect_line);
        rill_loop_arm(loop, &lines[i]->retry, 0);
    }
    return bus;
}

void rill_bus_free(struct rill_bus *bus)
{
    if (!bus)
        return;
    bus->ending = true;
    struct line *lines[] = {&bus->listening, &bus->speaking};
    for (unsigned i = 0; i < rill_array_length(lines); i++) {
        rill_loop_disarm(bus->loop, &lines[i]->retry);
        if (lines[i]->redis)
            redisAsyncFree(lines[i]->redis);
    }
    free(bus);
}
