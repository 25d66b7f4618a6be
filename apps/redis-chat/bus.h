/* bus.h - topics that programs on several machines share, through a Redis: one loop's connections to it.
 *
 * There are two, one that listens and one that speaks, because a connection of Redis that has subscribed can do nothing
 * else. Each comes back when it was lost, later each time, and then hears the same topics again. Everything is for the
 * loop's thread; callbacks are called from its event base and not from within these functions. */
#ifndef RILL_APPS_REDIS_CHAT_BUS_H
#define RILL_APPS_REDIS_CHAT_BUS_H

#include "rill/core/loop.h"
#include "rill/net/addr.h"

struct rill_bus;

struct rill_bus_handler {
    /* The bus hears again; `subscribe` what is to be heard, one topic at least. */
    void (*on_up)(void *arg);
    /* It does not any more, until it is up again. */
    void (*on_down)(void *arg);
    /* What is published on TOPIC is heard from now on. */
    void (*on_subscribed)(void *arg, struct rill_slice topic);
    void (*on_message)(void *arg, struct rill_slice topic, struct rill_slice text);
    /* What was published with TAG was lost, or perhaps only its confirmation. */
    void (*on_lost)(void *arg, uint64_t tag);
};

struct rill_bus_config {
    struct rill_addr addr; /* of the Redis */
    const char *user;      /* NULL: the default one */
    char password[512];    /* "": Redis wants none */
};

/* Begins to connect to the Redis that CONFIG tells of. NULL: no memory. CONFIG and HANDLER outlive the bus. */
struct rill_bus *rill_bus_new(struct rill_loop *loop, const struct rill_bus_config *config,
                              const struct rill_bus_handler *handler, void *arg);

/* Asks for what is published on TOPIC, or for no more of it. Without effect while the bus is down. */
void rill_bus_subscribe(struct rill_bus *bus, const char *topic);
void rill_bus_unsubscribe(struct rill_bus *bus, const char *topic);

/* Publishes LENGTH bytes of TEXT. Returns 0; -ENOTCONN: there is no connection; -EAGAIN: Redis is too far behind;
 * -ENOMEM. */
int rill_bus_publish(struct rill_bus *bus, const char *topic, const char *text, size_t length, uint64_t tag);

/* Frees the bus. on_lost may be called for what was under way. NULL is ignored. */
void rill_bus_free(struct rill_bus *bus);

#endif
