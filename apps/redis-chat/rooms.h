/* rooms.h - the rooms of a loop: those who are there on this loop, and what is said there on all machines.
 *
 * A room is a topic of the bus (bus.h), subscribed to while somebody is there, and a channel. Everything is for the
 * loop's thread. */
#ifndef RILL_APPS_REDIS_CHAT_ROOMS_H
#define RILL_APPS_REDIS_CHAT_ROOMS_H

#include "bus.h"
#include "rill/net/conn.h"

struct room;

/* Gives LOOP its rooms, of which one is there from the start: the lobby. Returns 0 or -ENOMEM. */
int rooms_start(struct rill_loop *loop, const struct rill_bus_config *config);

/* Takes them away; nobody is there any more. */
void rooms_stop(struct rill_loop *loop);

/* CONN, which is in ROOM (NULL: in none yet), comes to the room called NAME; it is told when it hears what is said
 * there. Returns that room, or NULL and has told CONN why not: then it is still where it was. */
struct room *rooms_enter(struct rill_conn *conn, struct room *room, const char *name);

/* CONN has left ROOM, or is about to close. */
void rooms_leave(struct rill_conn *conn, struct room *room);

/* A line, without its end, from CONN to all in ROOM, wherever they are. */
RILL_PRINTF(3, 4) void rooms_say(struct rill_conn *conn, const struct room *room, const char *format, ...);

const char *room_name(const struct room *room);

#endif
