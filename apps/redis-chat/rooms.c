/* rooms.c - see rooms.h. */
#include "rooms.h"
#include "rill/apps/common/talk.h"
#include "rill/core/list.h"
#include "rill/net/channel.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TOPIC "chat:" /* before the name of the room */

enum {
    TOPIC_BYTES = sizeof TOPIC + RILL_APP_NAME_BYTES,
    LINE_BYTES = RILL_APP_LINE_BYTES + 2 * RILL_APP_NAME_BYTES + 64, /* of what somebody says, and who it was */
};

/* What a loop has. */
struct rooms {
    struct rill_loop *loop;
    struct rill_bus *bus;
    struct rill_list all;
    struct room *lobby; /* always there, so that there is something to subscribe to */
};

struct room {
    struct rill_list link;
    struct rill_channel *channel; /* those who are there, on this loop */
    unsigned users;
    bool open; /* what is said there is heard */
    char topic[TOPIC_BYTES];
};

const char *room_name(const struct room *room)
{
    return room->topic + strlen(TOPIC);
}

static struct rooms *rooms_of(const struct rill_conn *conn)
{
    return rill_loop_slot(rill_conn_loop(conn), RILL_LOOP_SLOT_APP);
}

/* A line for those in ROOM on this loop. */
static void tell_room(struct room *room, struct rill_slice text)
{
    struct rill_buf *buf = rill_buf_new(text.length + 1);
    if (buf && rill_buf_append(&buf, text.bytes, text.length) == 0 && rill_buf_append(&buf, "\n", 1) == 0)
        rill_channel_publish(room->channel, buf);
    else
        rill_buf_unref(buf);
}

void rooms_say(struct rill_conn *conn, const struct room *room, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (rill_bus_publish(rooms_of(conn)->bus, room->topic, line, (size_t)length, rill_conn_id(conn).value) < 0)
        rill_app_tell(conn, "* Redis is away: nobody has heard that\n");
}

/* --- coming and going --- */

static struct room *find_room(struct rooms *rooms, struct rill_slice topic)
{
    for (struct rill_list *link = rooms->all.next; link != &rooms->all; link = link->next) {
        struct room *room = rill_container_of(link, struct room, link);
        if (strlen(room->topic) == topic.length && memcmp(room->topic, topic.bytes, topic.length) == 0)
            return room;
    }
    return NULL;
}

static struct room *get_room(struct rooms *rooms, const char *name)
{
    char topic[TOPIC_BYTES];
    int length = snprintf(topic, sizeof topic, TOPIC "%s", name);
    struct room *room = find_room(rooms, (struct rill_slice){topic, (size_t)length});
    if (room || !(room = calloc(1, sizeof *room)))
        return room;
    room->channel = rill_channel_new(NULL);
    if (!room->channel) {
        free(room);
        return NULL;
    }
    memcpy(room->topic, topic, sizeof topic);
    rill_list_push_back(&rooms->all, &room->link);
    rill_bus_subscribe(rooms->bus, topic);
    return room;
}

static void drop_room_if_empty(struct rooms *rooms, struct room *room)
{
    if (room->users > 0 || room == rooms->lobby)
        return;
    rill_bus_unsubscribe(rooms->bus, room->topic);
    rill_list_remove(&room->link);
    rill_channel_unref(room->channel);
    free(room);
}

void rooms_leave(struct rill_conn *conn, struct room *room)
{
    rill_channel_leave(room->channel, conn);
    room->users--;
    drop_room_if_empty(rooms_of(conn), room);
}

struct room *rooms_enter(struct rill_conn *conn, struct room *room, const char *name)
{
    struct rooms *rooms = rooms_of(conn);
    struct room *next = get_room(rooms, name);
    if (!next || next == room || rill_channel_join(next->channel, conn, NULL) < 0) {
        rill_app_tell(conn, next && next == room ? "* you are there\n" : "* there is no room for that now\n");
        if (next)
            drop_room_if_empty(rooms, next);
        return NULL;
    }
    next->users++;
    if (next->open) { /* otherwise it will be said when it is */
        rill_app_tell(conn, "* you are in ");
        rill_app_tell(conn, name);
        rill_app_tell(conn, "\n");
    }
    return next;
}

/* --- what the bus tells --- */

static void on_up(void *arg)
{
    struct rooms *rooms = arg;
    for (struct rill_list *link = rooms->all.next; link != &rooms->all; link = link->next)
        rill_bus_subscribe(rooms->bus, rill_container_of(link, struct room, link)->topic);
}

static void on_down(void *arg)
{
    struct rooms *rooms = arg;
    for (struct rill_list *link = rooms->all.next; link != &rooms->all; link = link->next) {
        struct room *room = rill_container_of(link, struct room, link);
        room->open = false;
        tell_room(room, rill_slice_of("* Redis is away: nothing is heard until it is back"));
    }
}

static void on_subscribed(void *arg, struct rill_slice topic)
{
    struct room *room = find_room(arg, topic);
    char text[64];
    if (!room || room->open)
        return;
    room->open = true;
    int length = snprintf(text, sizeof text, "* you are in %s", room_name(room));
    tell_room(room, (struct rill_slice){text, (size_t)length});
}

static void on_message(void *arg, struct rill_slice topic, struct rill_slice text)
{
    struct room *room = find_room(arg, topic);
    char line[LINE_BYTES];
    if (!room || text.length >= sizeof line || memchr(text.bytes, '\n', text.length))
        return; /* others may publish anything */
    memcpy(line, text.bytes, text.length);
    rill_app_defuse(line, text.length);
    tell_room(room, (struct rill_slice){line, text.length});
}

static void on_lost(void *arg, uint64_t tag)
{
    struct rooms *rooms = arg;
    struct rill_conn *conn = rill_conn_find(rooms->loop, (struct rill_conn_id){tag});
    if (conn)
        rill_app_tell(conn, "* Redis is away: perhaps nobody has heard that\n");
}

/* --- a loop's --- */

int rooms_start(struct rill_loop *loop, const struct rill_bus_config *config)
{
    static const struct rill_bus_handler handler = {on_up, on_down, on_subscribed, on_message, on_lost};
    struct rooms *rooms = calloc(1, sizeof *rooms);
    if (!rooms)
        return -ENOMEM;
    rooms->loop = loop;
    rill_list_init(&rooms->all);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, rooms, NULL);
    rooms->bus = rill_bus_new(loop, config, &handler, rooms);
    rooms->lobby = rooms->bus ? get_room(rooms, "lobby") : NULL;
    if (rooms->lobby)
        return 0;
    rooms_stop(loop);
    return -ENOMEM;
}

void rooms_stop(struct rill_loop *loop)
{
    struct rooms *rooms = rill_loop_slot(loop, RILL_LOOP_SLOT_APP);
    rill_bus_free(rooms->bus);
    for (struct rill_list *link = rooms->all.next, *next; link != &rooms->all; link = next) {
        struct room *room = rill_container_of(link, struct room, link);
        next = link->next;
        rill_channel_unref(room->channel);
        free(room);
    }
    free(rooms);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, NULL, NULL);
}
