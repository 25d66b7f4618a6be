/* main.c - rill-redis-chat: a chat over several machines, which meet in a Redis. A room is one of its topics: what is
 * said goes there and comes back to everybody, its speaker included, in one order for all. `redis-cli subscribe
 * chat:lobby` listens in, and `redis-cli publish chat:lobby "robot: hello"` takes part.
 *
 * On each loop there is a bus (bus.h) and, for each room that has somebody there, a channel. */
#include "bus.h"
#include "rill/apps/options.h"
#include "rill/core/list.h"
#include "rill/core/random.h"
#include "rill/net/channel.h"
#include "rill/net/framing.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TOPIC "chat:" /* before the name of the room */

enum { NAME_BYTES = 20, LINE_BYTES = 1000 };

/* What a loop has. */
struct hub {
    struct rill_loop *loop;
    struct rill_bus *bus;
    struct rill_list rooms;
    struct room *lobby; /* always there, so that there is something to subscribe to */
    struct rill_random random;
};

struct room {
    struct rill_list link;
    struct rill_channel *channel; /* those who are there, on this loop */
    unsigned users;
    bool open; /* what is said there is heard */
    char topic[sizeof TOPIC + NAME_BYTES];
};

struct user {
    struct room *room;
    struct rill_framing_state framing;
    char nick[NAME_BYTES + 1];
};

static struct rill_addr redis_addr;

static const char *name_of(const struct room *room)
{
    return room->topic + strlen(TOPIC);
}

static struct hub *hub_of(const struct rill_conn *conn)
{
    return rill_loop_slot(rill_conn_loop(conn), RILL_LOOP_SLOT_APP);
}

static void tell(struct rill_conn *conn, const char *line)
{
    rill_conn_send(conn, line, strlen(line));
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

/* A line for all in USER's room, wherever they are. */
RILL_PRINTF(3, 4) static void say(struct rill_conn *conn, const struct user *user, const char *format, ...)
{
    char line[LINE_BYTES + 2 * NAME_BYTES + 64];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (rill_bus_publish(hub_of(conn)->bus, user->room->topic, line, (size_t)length, rill_conn_id(conn).value) < 0)
        tell(conn, "* Redis is away: nobody has heard that\n");
}

/* --- rooms --- */

static struct room *find_room(struct hub *hub, struct rill_slice topic)
{
    for (struct rill_list *link = hub->rooms.next; link != &hub->rooms; link = link->next) {
        struct room *room = rill_container_of(link, struct room, link);
        if (strlen(room->topic) == topic.length && memcmp(room->topic, topic.bytes, topic.length) == 0)
            return room;
    }
    return NULL;
}

static struct room *get_room(struct hub *hub, const char *name)
{
    char topic[sizeof TOPIC + NAME_BYTES];
    int length = snprintf(topic, sizeof topic, TOPIC "%s", name);
    struct room *room = find_room(hub, (struct rill_slice){topic, (size_t)length});
    if (room || !(room = calloc(1, sizeof *room)))
        return room;
    room->channel = rill_channel_new(NULL);
    if (!room->channel) {
        free(room);
        return NULL;
    }
    memcpy(room->topic, topic, sizeof topic);
    rill_list_push_back(&hub->rooms, &room->link);
    rill_bus_subscribe(hub->bus, topic);
    return room;
}

static void drop_room_if_empty(struct hub *hub, struct room *room)
{
    if (room->users > 0 || room == hub->lobby)
        return;
    rill_bus_unsubscribe(hub->bus, room->topic);
    rill_list_remove(&room->link);
    rill_channel_unref(room->channel);
    free(room);
}

static void leave(struct rill_conn *conn, struct user *user)
{
    say(conn, user, "* %s has left %s", user->nick, name_of(user->room));
    rill_channel_leave(user->room->channel, conn);
    user->room->users--;
    drop_room_if_empty(hub_of(conn), user->room);
    user->room = NULL;
}

static void enter(struct rill_conn *conn, struct user *user, const char *name)
{
    struct hub *hub = hub_of(conn);
    struct room *room = get_room(hub, name);
    if (!room || room == user->room || rill_channel_join(room->channel, conn, NULL) < 0) {
        tell(conn, room && room == user->room ? "* you are there\n" : "* there is no room for that now\n");
        if (room)
            drop_room_if_empty(hub, room);
        return;
    }
    room->users++;
    if (user->room)
        leave(conn, user);
    user->room = room;
    if (room->open) { /* otherwise it will be said when it is */
        tell(conn, "* you are in ");
        tell(conn, name);
        tell(conn, "\n");
    }
    say(conn, user, "* %s has come to %s", user->nick, name);
}

/* --- what the bus tells --- */

static void on_up(void *arg)
{
    struct hub *hub = arg;
    for (struct rill_list *link = hub->rooms.next; link != &hub->rooms; link = link->next)
        rill_bus_subscribe(hub->bus, rill_container_of(link, struct room, link)->topic);
}

static void on_down(void *arg)
{
    struct hub *hub = arg;
    for (struct rill_list *link = hub->rooms.next; link != &hub->rooms; link = link->next) {
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
    int length = snprintf(text, sizeof text, "* you are in %s", name_of(room));
    tell_room(room, (struct rill_slice){text, (size_t)length});
}

static void on_message(void *arg, struct rill_slice topic, struct rill_slice text)
{
    struct room *room = find_room(arg, topic);
    if (room && !memchr(text.bytes, '\n', text.length)) /* others may publish what is no line */
        tell_room(room, text);
}

static void on_lost(void *arg, uint64_t tag)
{
    struct hub *hub = arg;
    struct rill_conn *conn = rill_conn_find(hub->loop, (struct rill_conn_id){tag});
    if (conn)
        tell(conn, "* Redis is away: perhaps nobody has heard that\n");
}

/* --- users --- */

static void command(struct rill_conn *conn, struct user *user, char *line)
{
    char *name = strchr(line, ' ');
    if (name)
        *name++ = '\0';
    size_t length = name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") : 0;
    bool is_name = length > 0 && length <= NAME_BYTES && name[length] == '\0';
    if (strcmp(line, "/quit") == 0) {
        rill_conn_finish(conn, false);
    } else if (strcmp(line, "/nick") != 0 && strcmp(line, "/join") != 0) {
        tell(conn, "* /nick NAME, /join ROOM, /quit; all else is said to the room\n");
    } else if (!is_name) {
        tell(conn, "* a name is 1 to 20 letters, digits, - and _\n");
    } else if (line[1] == 'j') {
        enter(conn, user, name);
    } else {
        say(conn, user, "* %s is now %s", user->nick, name);
        snprintf(user->nick, sizeof user->nick, "%s", name);
    }
}

static void on_open(struct rill_conn *conn)
{
    struct user *user = calloc(1, sizeof *user);
    if (!user) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return;
    }
    rill_conn_set_user(conn, user);
    snprintf(user->nick, sizeof user->nick, "guest-%06u", (unsigned)rill_random_up_to(&hub_of(conn)->random, 999999));
    enter(conn, user, name_of(hub_of(conn)->lobby));
    if (!user->room)
        rill_conn_finish(conn, true);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    static const struct rill_framing lines = {.kind = RILL_FRAMING_LINE, .max_bytes = LINE_BYTES};
    struct user *user = rill_conn_user(conn);
    struct rill_slice frame;
    int got = 0;
    while (rill_conn_is_open(conn) && (got = rill_framing_next(&lines, &user->framing, input, &frame)) > 0) {
        char line[LINE_BYTES + 1];
        memcpy(line, frame.bytes, frame.length);
        line[frame.length] = '\0';
        if (line[0] == '/')
            command(conn, user, line);
        else if (line[0] != '\0')
            say(conn, user, "%s: %s", user->nick, line);
    }
    if (got < 0) {
        tell(conn, "* a line has at most 1000 bytes\n");
        rill_conn_finish(conn, true);
    }
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct user *user = rill_conn_user(conn);
    if (user && user->room)
        leave(conn, user);
    free(user);
}

/* --- loops --- */

static void on_loop_stop(struct rill_loop *loop, void *arg)
{
    struct hub *hub = rill_loop_slot(loop, RILL_LOOP_SLOT_APP);
    rill_bus_free(hub->bus);
    for (struct rill_list *link = hub->rooms.next, *next; link != &hub->rooms; link = next) {
        struct room *room = rill_container_of(link, struct room, link);
        next = link->next;
        rill_channel_unref(room->channel);
        free(room);
    }
    free(hub);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, NULL, NULL);
}

static int on_loop_start(struct rill_loop *loop, void *arg)
{
    static const struct rill_bus_handler handler = {on_up, on_down, on_subscribed, on_message, on_lost};
    struct hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return -ENOMEM;
    hub->loop = loop;
    rill_list_init(&hub->rooms);
    rill_random_seed(&hub->random);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, hub, NULL);
    hub->bus = rill_bus_new(loop, &redis_addr, &handler, hub);
    hub->lobby = hub->bus ? get_room(hub, "lobby") : NULL;
    if (hub->lobby)
        return 0;
    on_loop_stop(loop, arg);
    return -ENOMEM;
}

static int parse_redis(void *target, const char *text, const char **wanted)
{
    return rill_addr_parse(text, target, wanted);
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    static const struct rill_option options[] = {
        {"--redis", "ADDR", "HOST:PORT, [V6]:PORT or unix:/PATH of the Redis to meet in (127.0.0.1:6379)",
         RILL_OPTION_CUSTOM, &redis_addr, .parse = parse_redis},
    };
    struct rill_app app = {.name = "rill-redis-chat",
                           .summary = "rooms for people who talk in lines, on as many machines as share a Redis",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7020",
                           .server = {.handler = &handler,
                                      .output_limit = RILL_OUTPUT_PAUSE,
                                      .on_loop_start = on_loop_start,
                                      .on_loop_stop = on_loop_stop}};
    rill_addr_parse("127.0.0.1:6379", &redis_addr, NULL);
    return rill_app_server_main(&app, argc, argv);
}
