/* server_internal.h - what server_new.c (making), server.c (life), server_ids.c (use from any thread) and dispatch.c
 * (accepting and dealing out) share. */
#ifndef RILL_NET_SERVER_INTERNAL_H
#define RILL_NET_SERVER_INTERNAL_H

#include "rill/core/loop_group.h"
#include "rill/core/workers.h"
#include "rill/net/address_counts_internal.h"
#include "rill/net/cidr.h"
#include "rill/net/conn_internal.h"
#include "rill/net/listener.h"
#include "rill/net/overload_internal.h"
#include "rill/net/server.h"
#include "rill/net/sock_internal.h"

#define HANDOFF_CONNECTIONS 64

/* Accepted sockets on their way from the main loop to LOOP: the main loop's until it is posted, the loop's then. */
struct handoff {
    struct rill_task task;
    struct server_loop *to;
    unsigned count;
    uint64_t posted_ns; /* when there is a trace */
    struct {
        int fd;
        unsigned listener; /* its number, which says what is spoken */
        struct rill_ip peer;
        struct rill_trace_mark traced;
    } accepted[HANDOFF_CONNECTIONS];
};

/* One listening socket, on the main loop or on one that serves. */
struct server_listener {
    struct rill_server *server;
    struct server_loop *to;         /* who gets what it accepts; NULL: whoever's turn it is */
    unsigned number;                /* of its address and its configuration */
    int fd;                         /* opened, until it accepts; -1: none */
    struct rill_listener *listener; /* while it accepts */
};

/* What stands before a listener whose connections come through proxies; see proxy_gate.c. Constant while the server
 * runs, save for what is atomic. */
struct server_gate {
    struct rill_server *server;
    unsigned listener; /* its number */
    struct rill_cidr_list *proxies;
    struct rill_conn_config behind; /* what connections become when their header has come */
    uint64_t timeout_ms;            /* in which that has to be */
    void (*on_proxy)(struct rill_conn *conn, const struct rill_proxy_header *header);
    bool complained_of_source, complained_of_header; /* atomic: any that accepts or serves */
};

/* What the server keeps for each loop that serves. */
struct server_loop {
    struct rill_server *server;
    struct rill_loop *loop;
    struct rill_net *net;
    struct handoff *pending;                                       /* the main loop's: gathered in this batch */
    struct server_listener listeners[RILL_SERVER_MAX_LISTENERS];   /* the loop's own, with RILL_ACCEPT_REUSEPORT */
    struct rill_task start_task, drain_task, close_task, end_task; /* main loop to this loop */
    struct rill_task report_task;                                  /* this loop to the main loop */
    struct rill_task room_task;                                    /* main loop to this loop: see overload.c */
    unsigned room_wanted;                                          /* atomic: the measures of the order under way */
    unsigned listeners_left;                                       /* that accept still; this loop's */
    bool started, draining, drained;                               /* this loop's */
    int start_error;                                               /* this loop's until it has started */
    /* Each on a cache line of its own, because all that accept read them. */
    char apart_before[RILL_CACHE_LINE];
    uint64_t dealt; /* connections handed to this loop; the main loop's */
    char apart_between[RILL_CACHE_LINE];
    uint64_t accepted; /* connections that this loop accepted itself; this loop's */
    char apart_after[RILL_CACHE_LINE];
};

enum server_state {
    SERVER_NEW,
    SERVER_STARTING, /* loops are being prepared; a stop waits until they are */
    SERVER_RUNNING,
    SERVER_DRAINING,
    SERVER_STOPPING, /* closing what is left */
    SERVER_STOPPED,
};

/* Any thread's wish that the server stop, on its way to the main loop: embedded, because it must not fail. */
struct stop_request {
    struct rill_task task;
    bool made; /* atomic */
};

struct rill_server {
    struct rill_server_config config;
    struct rill_conn_config conn_configs[RILL_SERVER_MAX_LISTENERS]; /* one a listener */
    struct server_gate *gates[RILL_SERVER_MAX_LISTENERS];            /* before the I-th listener; NULL: none */
    const char *name;
    struct rill_loop *main_loop;
    struct rill_loop_group *group; /* NULL without sub-reactors, and before it runs */
    struct server_loop *loops;     /* loop_count of them */
    unsigned loop_count;
    unsigned next_loop; /* round-robin: the main loop's */
    struct rill_listen_address addresses[RILL_SERVER_MAX_LISTENERS];
    struct server_listener listeners[RILL_SERVER_MAX_LISTENERS]; /* the main loop's */
    unsigned listener_count;
    unsigned max_connections;
    struct rill_overload overload;
    uint64_t refused;                           /* by address; atomic: any that accepts or serves */
    struct rill_address_counts *address_counts; /* NULL: no limit by address */
    struct rill_address_rates *accept_rates;    /* NULL: no limit on how often one comes */
    struct rill_workers *workers;               /* NULL: none */
    struct rill_trace *trace;                   /* NULL: none */
    struct rill_watchdog *watchdog;             /* while it runs; NULL: none */
    int state;                                  /* enum server_state; written by the main loop's thread, read by any */
    int error;
    struct stop_request want_drain, want_close;
    bool stop_wanted, stop_now; /* asked for while starting; the main loop's */
    unsigned listeners_left;    /* of the main loop's, that accept still; the main loop's */
    unsigned waiting_for;       /* loops that have not reported yet: the main loop's */
    struct rill_timer drain_timer;
    struct event *signals[3];
    uint64_t drain_started_ms;
};

static inline enum server_state rill_server_state(const struct rill_server *server)
{
    return (enum server_state)__atomic_load_n(&server->state, __ATOMIC_ACQUIRE);
}

/* server_new.c */

/* Removes the file of a Unix socket that was opened here; nothing for other addresses. */
void rill_server_remove_socket_file(const struct rill_listen_address *address);

/* server.c */

/* Tells CONN that the server drains. On its loop. */
void rill_server_stop_conn(struct rill_conn *conn);

/* proxy_gate.c */

/* Puts a gate before the listener of that number, as LISTEN says, whose connection config is filled in. Returns 0 or a
 * negative errno, which is logged. */
int rill_server_put_gate(struct rill_server *server, unsigned listener, const struct rill_listen *listen);

/* Whether a connection from PEER may wait at GATE for its header. Thread: any. */
bool rill_server_gate_admits(struct server_gate *gate, const struct rill_ip *peer);

/* Frees all gates. */
void rill_server_free_gates(struct rill_server *server);

/* server_new.c */

/* Closes what was opened to listen on and has never accepted. While no loop runs. */
void rill_server_close_sockets(struct rill_server *server);

/* dispatch.c */

/* Whether one more connection of the client PEER is welcome; it is counted then. Thread: any. */
bool rill_server_admits(struct rill_server *server, const struct rill_ip *peer);

/* Starts accepting on those of NUMBER LISTENERS that are open, on LOOP; ON_CLOSED is told of each that has ended. On
 * its thread. */
int rill_server_open_listeners(struct rill_loop *loop, struct server_listener *listeners, unsigned number,
                               void (*on_closed)(void *place));

/* Whether listener I is opened once a loop. */
bool rill_server_listens_per_loop(const struct rill_server *server, unsigned i);

#endif
