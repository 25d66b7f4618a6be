/* conn_rig.h - one loop, connections over socket pairs, and a handler that writes down what it sees: for the tests of
 * connections over support/faulty_sys.h. One rig a program; rig_set_up() before each test. */
#ifndef RILL_TESTS_SUPPORT_CONN_RIG_H
#define RILL_TESTS_SUPPORT_CONN_RIG_H

#include "rill/net/conn_internal.h"

struct rig {
    struct rill_loop *loop;
    struct rill_conn_handler handler; /* the recorder's callbacks; may be changed before a connection is adopted */
    struct rill_conn_config config;   /* with `handler` */
    struct rill_conn *conn;           /* adopted last */
    int peer;                         /* the other end of it */
    int opened, closed, datas, eofs, drains, timeouts;
    enum rill_close_reason reason; /* of what closed last */
    size_t length;                 /* bytes consumed */
    bool keep;                     /* on_data consumes nothing */
};

extern struct rig rig;

void rig_set_up(enum rill_backend backend);

/* Closes the peer, frees the loop. */
void rig_tear_down(void);

/* Adopts one end of a new socket pair; the other one, non-blocking, is rig.peer. */
struct rill_conn *rig_adopt(void);

/* The same over TCP. */
struct rill_conn *rig_adopt_tcp(void);

/* Runs COUNT turns that do not wait. */
void rig_turns(int count);

/* How many turns that wait for something to do there are in MS milliseconds. One is the end of that time itself. */
int rig_turns_within(uint64_t ms);

/* Writes to the peer until it takes no more. Returns the count. */
size_t rig_stuff(int fd);

/* Reads and drops what there is. Returns the count; *ENDED (may be NULL) tells whether the stream has ended. */
size_t rig_drop(int fd, bool *ended);

#endif
