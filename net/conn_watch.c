/* conn_watch.c - those who watch a connection beside its handler.
 *
 * They are a ring, and the connection points at the one to be told first: who has filled the socket is the last to be
 * told the next time, so that one with much to send does not keep the others from sending at all. A connection that
 * nobody watches pays one pointer and two looks at it. */
#include "rill/net/conn_internal.h"

void rill_conn_watch(struct rill_conn *conn, struct rill_conn_watch *watch)
{
    struct rill_conn_watch *first = conn->watches;
    if (!first) {
        conn->watches = watch->next = watch->previous = watch;
        return;
    }
    watch->next = first;
    watch->previous = first->previous;
    watch->previous->next = first->previous = watch;
}

void rill_conn_unwatch(struct rill_conn *conn, struct rill_conn_watch *watch)
{
    if (conn->watches == watch)
        conn->watches = watch->next == watch ? NULL : watch->next;
    watch->previous->next = watch->next;
    watch->next->previous = watch->previous;
    watch->next = watch->previous = NULL;
}

bool rill_conn_tell_room(struct rill_conn *conn)
{
    struct rill_conn_watch *last = conn->watches ? conn->watches->previous : NULL;
    conn->room_wanted = false;
    for (struct rill_conn_watch *watch = NULL; watch != last;) {
        watch = conn->watches;
        conn->watches = watch->next;
        watch->on_room(watch);
        if (conn->state == RILL_CONN_CLOSED)
            return false;
        if (conn->out) {
            conn->room_wanted = true; /* by this one or by those that come after it */
            break;
        }
    }
    return true;
}

void rill_conn_tell_closed(struct rill_conn *conn)
{
    struct rill_conn_watch *watch;
    while ((watch = conn->watches) != NULL) {
        rill_conn_unwatch(conn, watch);
        watch->on_close(watch);
    }
}
