/* conn_watchers.c - those who watch a connection beside its handler.
 *
 * They are a ring, and the connection points at the one to be told first: who has filled the socket is the last to be
 * told the next time, so that one with much to send does not keep the others from sending at all. A connection that
 * nobody watches pays one pointer and two looks at it. */
#include "rill/net/conn_internal.h"

void rill_conn_add_watcher(struct rill_conn *conn, struct rill_conn_watcher *watcher)
{
    struct rill_conn_watcher *first = conn->watchers;
    if (!first) {
        conn->watchers = watcher->next = watcher->previous = watcher;
        return;
    }
    watcher->next = first;
    watcher->previous = first->previous;
    watcher->previous->next = first->previous = watcher;
}

void rill_conn_remove_watcher(struct rill_conn *conn, struct rill_conn_watcher *watcher)
{
    if (conn->watchers == watcher)
        conn->watchers = watcher->next == watcher ? NULL : watcher->next;
    watcher->previous->next = watcher->next;
    watcher->next->previous = watcher->previous;
    watcher->next = watcher->previous = NULL;
}

bool rill_conn_tell_room(struct rill_conn *conn)
{
    struct rill_conn_watcher *last = conn->watchers ? conn->watchers->previous : NULL;
    conn->room_wanted = false;
    conn->callbacks++; /* who called us sees to what is sent meanwhile */
    for (struct rill_conn_watcher *watcher = NULL; watcher != last;) {
        watcher = conn->watchers;
        conn->watchers = watcher->next;
        if (watcher->on_room)
            watcher->on_room(watcher);
        if (conn->out)
            conn->room_wanted = true; /* by this one or by those that come after it */
        if (conn->out || conn->state == RILL_CONN_CLOSED)
            break;
    }
    conn->callbacks--;
    return conn->state != RILL_CONN_CLOSED;
}

void rill_conn_tell_closed(struct rill_conn *conn)
{
    struct rill_conn_watcher *watcher;
    while ((watcher = conn->watchers) != NULL) {
        rill_conn_remove_watcher(conn, watcher);
        watcher->on_close(watcher);
    }
}
