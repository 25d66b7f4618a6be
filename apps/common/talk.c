/* talk.c - see talk.h. */
#include "talk.h"
#include "rill/core/base.h"
#include <string.h>

void rill_app_tell(struct rill_conn *conn, const char *line)
{
    rill_conn_send(conn, line, strlen(line));
}

void rill_app_defuse(char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i], next = i + 1 < length ? (unsigned char)bytes[i + 1] : 0;
        if (c == 0xc2 && next >= 0x80 && next < 0xa0)
            bytes[i] = bytes[i + 1] = '?';
        else if ((c < 0x20 && c != '\t') || c == 0x7f)
            bytes[i] = '?';
    }
}

static bool is_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return length > 0 && length <= RILL_APP_NAME_BYTES && name[length] == '\0';
}

static void command(const struct rill_app_talk *talk, struct rill_conn *conn, char *line)
{
    char *name = strchr(line, ' ');
    if (name)
        *name++ = '\0';
    bool nick = strcmp(line, "/nick") == 0;
    if (strcmp(line, "/quit") == 0)
        rill_conn_finish(conn, false);
    else if (talk->who && strcmp(line, "/who") == 0)
        talk->who(conn);
    else if (!nick && strcmp(line, "/join") != 0)
        rill_app_tell(conn, talk->who ? "* /nick NAME, /join ROOM, /who, /quit; all else is said to the room\n"
                                      : "* /nick NAME, /join ROOM, /quit; all else is said to the room\n");
    else if (!name || !is_name(name))
        rill_app_tell(conn, "* a name is 1 to 20 letters, digits, - and _\n");
    else
        (nick ? talk->nick : talk->join)(conn, name);
}

void rill_app_talk_lines(const struct rill_app_talk *talk, struct rill_framing_state *framing, struct rill_conn *conn,
                         struct rill_input *in)
{
    static const struct rill_framing lines = {.kind = RILL_FRAMING_LINE, .max_bytes = RILL_APP_LINE_BYTES};
    struct rill_slice frame;
    int got = 0;
    while (rill_conn_is_open(conn) && (got = rill_framing_next(&lines, framing, in, &frame)) > 0) {
        char line[RILL_APP_LINE_BYTES + 1];
        memcpy(line, frame.bytes, frame.length);
        line[frame.length] = '\0';
        if (line[0] == '/')
            command(talk, conn, line);
        else if (line[0] != '\0')
            talk->said(conn, line);
    }
    if (got < 0) {
        rill_app_tell(conn, "* a line has at most 1000 bytes\n");
        rill_conn_finish(conn, true);
    }
}
