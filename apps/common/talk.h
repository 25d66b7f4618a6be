/* talk.h - what people who talk in lines may say: "/join ROOM" and the like are commands, all else is said. */
#ifndef RILL_APPS_COMMON_TALK_H
#define RILL_APPS_COMMON_TALK_H

#include "rill/net/conn.h"
#include "rill/net/framing.h"

enum { RILL_APP_NAME_BYTES = 20, RILL_APP_LINE_BYTES = 1000 };

/* What a program does about each; none may be NULL but `who`, of a program that knows no /who. Names are 1 to 20
 * letters, digits, - and _; what is said is not empty. */
struct rill_app_talk {
    void (*said)(struct rill_conn *conn, const char *line);
    void (*nick)(struct rill_conn *conn, const char *name);
    void (*join)(struct rill_conn *conn, const char *room);
    void (*who)(struct rill_conn *conn);
};

/* For on_data: takes the lines in IN, and tells CONN what it has got wrong. FRAMING is the connection's, all zeros at
 * first. */
void rill_app_talk_lines(const struct rill_app_talk *talk, struct rill_framing_state *framing, struct rill_conn *conn,
                         struct rill_input *in);

/* Puts '?' in place of what a terminal would obey: control bytes but tabs, and C1 controls in UTF-8. For what strangers
 * have said, before it is shown to others. */
void rill_app_defuse(char *bytes, size_t length);

/* A line for one. */
void rill_app_tell(struct rill_conn *conn, const char *line);

#endif
