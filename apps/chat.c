/* chat.c - rill-chat: lines of text, in rooms, under nicknames; try `nc 127.0.0.1 7013`.
 *
 * A room is a channel: what is said costs one post a loop, wherever the others are connected. Who is where is one table
 * for all loops, under a lock. It could be some loop's own, but then every /who and /nick would be a question sent
 * there and an answer sent back; with the lock the answer is there at once, and nobody waits for it long: it is taken
 * when somebody comes, moves or asks, never for what is said. */
#include "common/talk.h"
#include "options.h"
#include "rill/net/channel.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

struct user {
    LIST_ENTRY(user) link;              /* in users; with the lock, as all names are changed, and read by others */
    char nick[RILL_APP_NAME_BYTES + 1]; /* the user's own loop reads its names without */
    char room[RILL_APP_NAME_BYTES + 1]; /* "": none yet */
    struct rill_channel *channel;       /* the room's */
    struct rill_framing_state framing;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two below */
static LIST_HEAD(user_list, user) users = LIST_HEAD_INITIALIZER(users);
static unsigned guests;

/* A line for all in CHANNEL. When a loop is so far behind that it is refused, it is lost. */
RILL_PRINTF(2, 3) static void say(struct rill_channel *channel, const char *format, ...)
{
    char line[RILL_APP_LINE_BYTES + 2 * RILL_APP_NAME_BYTES + 64];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    rill_app_defuse(line, (size_t)length - 1); /* not the newline */
    struct rill_buf *buf = rill_buf_copy(line, (size_t)length);
    if (buf)
        rill_channel_publish(channel, buf);
}

static void leave(struct rill_conn *conn, struct user *user, struct rill_channel *channel, const char *room)
{
    rill_channel_leave(channel, conn);
    say(channel, "* %s has left %s\n", user->nick, room);
    rill_channel_unref(channel); /* the last one out; what was said still arrives */
}

static void enter(struct rill_conn *conn, const char *name)
{
    struct user *user = rill_conn_user(conn), before = *user, *other;
    struct rill_channel *channel = NULL;
    pthread_mutex_lock(&lock);
    LIST_FOREACH(other, &users, link) /* a room is there as long as somebody is in it */
    if (!channel && strcmp(other->room, name) == 0)
        channel = rill_channel_ref(other->channel);
    if (!channel)
        channel = rill_channel_new(NULL);
    bool joined = channel && rill_channel_join(channel, conn, NULL) == 0;
    if (joined) {
        user->channel = channel;
        snprintf(user->room, sizeof user->room, "%s", name);
    }
    pthread_mutex_unlock(&lock);
    if (!joined) {
        rill_app_tell(conn, strcmp(user->room, name) == 0 ? "* you are there\n" : "* there is no room for that now\n");
        rill_channel_unref(channel);
        return;
    }
    if (before.channel)
        leave(conn, user, before.channel, before.room);
    say(channel, "* %s has come to %s\n", user->nick, user->room);
}

static void change_nick(struct rill_conn *conn, const char *nick)
{
    struct user *user = rill_conn_user(conn), before = *user, *other;
    bool taken = false;
    pthread_mutex_lock(&lock);
    LIST_FOREACH(other, &users, link)
    taken |= strcmp(other->nick, nick) == 0;
    if (!taken)
        snprintf(user->nick, sizeof user->nick, "%s", nick);
    pthread_mutex_unlock(&lock);
    if (taken)
        rill_app_tell(conn, "* that name is taken\n");
    else
        say(user->channel, "* %s is now %s\n", before.nick, nick);
}

static void who(struct rill_conn *conn)
{
    struct user *user = rill_conn_user(conn), *other;
    char *text = NULL; /* sent without the lock: a send may close the connection, and that takes it */
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return;
    pthread_mutex_lock(&lock);
    LIST_FOREACH(other, &users, link)
    if (strcmp(other->room, user->room) == 0)
        fprintf(out, "* %s is here\n", other->nick);
    pthread_mutex_unlock(&lock);
    if (fclose(out) == 0)
        rill_conn_send(conn, text, length);
    free(text);
}

static void speak(struct rill_conn *conn, const char *line)
{
    const struct user *user = rill_conn_user(conn);
    say(user->channel, "%s: %s\n", user->nick, line);
}

static void on_open(struct rill_conn *conn)
{
    struct user *user = calloc(1, sizeof *user);
    if (!user) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return;
    }
    rill_conn_set_user(conn, user);
    pthread_mutex_lock(&lock);
    snprintf(user->nick, sizeof user->nick, "guest-%u", ++guests);
    LIST_INSERT_HEAD(&users, user, link);
    pthread_mutex_unlock(&lock);
    enter(conn, "lobby");
    if (rill_conn_is_open(conn) && !user->channel)
        rill_conn_finish(conn, true);
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    static const struct rill_app_talk talk = {.said = speak, .nick = change_nick, .join = enter, .who = who};
    struct user *user = rill_conn_user(conn);
    rill_app_talk_lines(&talk, &user->framing, conn, in);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct user *user = rill_conn_user(conn);
    if (!user)
        return;
    pthread_mutex_lock(&lock);
    LIST_REMOVE(user, link);
    pthread_mutex_unlock(&lock);
    if (user->channel)
        leave(conn, user, user->channel, user->room);
    free(user);
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    struct rill_app app = {.name = "rill-chat",
                           .summary = "rooms for people who talk in lines",
                           .default_listen = "127.0.0.1:7013",
                           .server = {.handler = &handler, .output_limit = RILL_OUTPUT_PAUSE}};
    return rill_app_server_main(&app, argc, argv);
}
