/* main.c - rill-hub: publish and subscribe, in lines; try `nc 127.0.0.1 7014`.
 *
 *     what is said                        what is answered
 *     sub PATTERN [drop|conflate|close]   ok PATTERN
 *     unsub PATTERN                       ok PATTERN
 *     pub TOPIC TEXT                      nothing; all subscribers of patterns that match hear: msg TOPIC TEXT
 *     anything else                       error and what is wrong
 *
 * The third word of `sub` says what comes of a subscriber who reads too slowly: the oldest messages are dropped (as
 * without a word), only the newest is kept, or the connection is closed. A pattern is a channel (topics.h), wherever
 * its subscribers are connected. */
#include "rill/apps/options.h"
#include "rill/net/framing.h"
#include "topics.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_BYTES = 8192, MOST_SUBSCRIPTIONS = 128 };

struct session {
    struct rill_framing_state framing;
    struct hub_pattern *subscriptions[MOST_SUBSCRIPTIONS];
    unsigned count;
};

static void reply(struct rill_conn *conn, const char *word, const char *text)
{
    char line[LINE_BYTES];
    int length = snprintf(line, sizeof line, "%s %s\n", word, text);
    rill_conn_send(conn, line, (size_t)length);
}

/* Where SESSION has its subscription to PATTERN, or would have it. */
static unsigned find(const struct session *session, const char *pattern)
{
    unsigned i = 0;
    while (i < session->count && strcmp(hub_pattern_text(session->subscriptions[i]), pattern) != 0)
        i++;
    return i;
}

static void subscribe(struct rill_conn *conn, struct session *session, const char *text, const char *slow)
{
    static const char *const names[] = {
        [RILL_SLOW_DROP_OLDEST] = "drop", [RILL_SLOW_CONFLATE] = "conflate", [RILL_SLOW_CLOSE] = "close"};
    unsigned policy = 0;
    while (policy < rill_array_length(names) && slow && strcmp(slow, names[policy]) != 0)
        policy++;
    unsigned i = find(session, text);
    if (policy == rill_array_length(names) || i == MOST_SUBSCRIPTIONS || i < session->count) {
        reply(conn, "error",
              i < session->count        ? "that is subscribed to"
              : i == MOST_SUBSCRIPTIONS ? "there are 128 subscriptions already"
                                        : "drop, conflate or close is wanted");
        return;
    }
    struct rill_membership how = {.slow = (enum rill_slow)policy};
    struct hub_pattern *pattern = hub_pattern_hold(text);
    if (!pattern || rill_channel_join(hub_pattern_channel(pattern), conn, &how) < 0) {
        if (pattern)
            hub_pattern_drop(pattern);
        reply(conn, "error", "there is no memory for that now");
        return;
    }
    session->subscriptions[session->count++] = pattern;
    reply(conn, "ok", text);
}

static void unsubscribe(struct rill_conn *conn, struct session *session, const char *text)
{
    unsigned i = find(session, text);
    if (i == session->count) {
        reply(conn, "error", "that is not subscribed to");
        return;
    }
    struct hub_pattern *pattern = session->subscriptions[i];
    session->subscriptions[i] = session->subscriptions[--session->count];
    rill_channel_leave(hub_pattern_channel(pattern), conn);
    hub_pattern_drop(pattern);
    reply(conn, "ok", text);
}

static void publish(struct rill_conn *conn, const char *topic, const char *text)
{
    char line[LINE_BYTES + 8];
    int length = snprintf(line, sizeof line, "msg %s %s\n", topic, text ? text : "");
    struct rill_buf *buf = rill_buf_copy(line, (size_t)length);
    int error = buf ? hub_publish(topic, buf) : -ENOMEM;
    if (error < 0)
        reply(conn, "error", error == -EAGAIN ? "the hub is behind; try again" : "there is no memory for that now");
}

static void command(struct rill_conn *conn, struct session *session, char *line)
{
    char *words = line, *verb = strsep(&words, " "), *topic = words ? strsep(&words, " ") : NULL;
    bool pub = strcmp(verb, "pub") == 0, sub = strcmp(verb, "sub") == 0;
    if (!pub && !sub && strcmp(verb, "unsub") != 0)
        reply(conn, "error", "sub PATTERN [drop|conflate|close], unsub PATTERN or pub TOPIC TEXT is wanted");
    else if (!topic || !hub_is_topic(topic, !pub))
        reply(conn, "error",
              "a topic is words between dots; in a pattern * is any word, and > at the end all the rest");
    else if (pub)
        publish(conn, topic, words);
    else if (sub)
        subscribe(conn, session, topic, words);
    else
        unsubscribe(conn, session, topic);
}

static void on_open(struct rill_conn *conn)
{
    struct session *session = calloc(1, sizeof *session);
    rill_conn_set_user(conn, session);
    if (!session)
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    static const struct rill_framing lines = {.kind = RILL_FRAMING_LINE, .max_bytes = LINE_BYTES};
    struct session *session = rill_conn_user(conn);
    struct rill_slice frame;
    int got = 0;
    while (rill_conn_is_open(conn) && (got = rill_framing_next(&lines, &session->framing, in, &frame)) > 0) {
        char line[LINE_BYTES + 1];
        memcpy(line, frame.bytes, frame.length);
        line[frame.length] = '\0';
        command(conn, session, line);
    }
    if (got < 0) {
        reply(conn, "error", "a line has at most 8192 bytes");
        rill_conn_finish(conn, true);
    }
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct session *session = rill_conn_user(conn);
    while (session && session->count > 0)
        hub_pattern_drop(session->subscriptions[--session->count]);
    free(session);
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    struct rill_app app = {.name = "rill-hub",
                           .summary = "publish and subscribe, with wildcards",
                           .default_listen = "127.0.0.1:7014",
                           .server = {.handler = &handler, .output_limit = RILL_OUTPUT_PAUSE}};
    return rill_app_server_main(&app, argc, argv);
}
