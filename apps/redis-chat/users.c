/* users.c - see users.h. */
#include "users.h"
#include "rill/apps/common/talk.h"
#include "rill/core/random.h"
#include "rooms.h"
#include <stdio.h>
#include <stdlib.h>

struct user {
    struct room *room; /* NULL: none yet */
    struct rill_framing_state framing;
    char nick[RILL_APP_NAME_BYTES + 1];
};

static void leave(struct rill_conn *conn, const struct user *user)
{
    rooms_say(conn, user->room, "* %s has left %s", user->nick, room_name(user->room));
    rooms_leave(conn, user->room);
}

static void enter(struct rill_conn *conn, const char *name)
{
    struct user *user = rill_conn_user(conn);
    struct room *room = rooms_enter(conn, user->room, name);
    if (!room)
        return;
    if (user->room)
        leave(conn, user);
    user->room = room;
    rooms_say(conn, room, "* %s has come to %s", user->nick, name);
}

static void change_nick(struct rill_conn *conn, const char *nick)
{
    struct user *user = rill_conn_user(conn);
    rooms_say(conn, user->room, "* %s is now %s", user->nick, nick);
    snprintf(user->nick, sizeof user->nick, "%s", nick);
}

static void speak(struct rill_conn *conn, const char *line)
{
    const struct user *user = rill_conn_user(conn);
    rooms_say(conn, user->room, "%s: %s", user->nick, line);
}

static void on_open(struct rill_conn *conn)
{
    static _Thread_local struct rill_random random; /* guests of other loops and machines have other numbers */
    struct user *user = calloc(1, sizeof *user);
    if (!user) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return;
    }
    if (random.state == 0)
        rill_random_seed(&random);
    rill_conn_set_user(conn, user);
    snprintf(user->nick, sizeof user->nick, "guest-%06u", (unsigned)rill_random_up_to(&random, 999999));
    enter(conn, "lobby");
    if (rill_conn_is_open(conn) && !user->room)
        rill_conn_finish(conn, true);
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    static const struct rill_app_talk talk = {.said = speak, .nick = change_nick, .join = enter};
    struct user *user = rill_conn_user(conn);
    rill_app_talk_lines(&talk, &user->framing, conn, in);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct user *user = rill_conn_user(conn);
    if (user && user->room)
        leave(conn, user);
    free(user);
}

const struct rill_conn_handler users_handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
