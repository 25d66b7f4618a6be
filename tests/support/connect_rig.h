/* connect_rig.h - one loop, listening sockets, and callbacks that write down what they see: for the tests of outgoing
 * connections over support/faulty_sys.h. One rig a program; connect_rig_set_up() before each test. */
#ifndef RILL_TESTS_SUPPORT_CONNECT_RIG_H
#define RILL_TESTS_SUPPORT_CONNECT_RIG_H

#include "rill/core/workers.h"
#include "rill/net/conn_internal.h"
#include "rill/net/connect.h"

struct connect_rig {
    struct rill_loop *loop;
    struct rill_workers *workers;      /* NULL: none; stopped by the tear-down */
    struct rill_conn_handler handler;  /* the recorder's callbacks; may be changed */
    struct rill_conn_config conn;      /* with `handler` */
    struct rill_connect_config config; /* with `conn` and the recorder's callbacks; `user` and `arg` are the rig */
    /* What was called, a letter each: C on_connected, F on_failed, O on_open, D on_data, E on_eof, X on_close. */
    char order[64];
    struct rill_conn *last; /* connected last; NULL once it has closed */
    int error;              /* of the last failure */
    char why[4096];
    char received[256];   /* what on_data was shown */
    unsigned descriptors; /* that were open when the rig was set up */
};

extern struct connect_rig connect_rig;

/* POOL: with one worker, and a queue of one. */
void connect_rig_set_up(enum rill_backend backend, bool pool);

/* Frees the loop, stops the pool, and sees that no descriptor is left behind. */
void connect_rig_tear_down(void);

/* Opens a listening socket at TEXT, whose port is then the real one in ADDR. Returns its descriptor. */
int connect_rig_listen(const char *text, struct rill_addr *addr);

/* A listening socket whose backlog is full: who connects gets no answer. Its descriptors go to FDS. */
void connect_rig_black_hole(const char *text, struct rill_addr *addr, int fds[3]);

/* Closes *LISTENER, which becomes -1: nobody listens at ADDR, its address, any more. It may be listened at again. */
void connect_rig_shut(int *listener, const struct rill_addr *addr);

/* An address of TEXT's host where nobody listens. */
struct rill_addr connect_rig_nobody(const char *text);

/* ADDR's text, in a buffer of the rig's. */
const char *connect_rig_text(const struct rill_addr *addr);

/* Connects by the rig's config to TARGET (NULL: as it says). */
struct rill_connect *connect_rig_begin(const char *target);

/* Runs turns until ORDER is what has been called; aborts after a minute. */
void connect_rig_expect(const char *order);

/* Runs COUNT turns that do not wait. */
void connect_rig_turns(int count);

#endif
