/* sim_internal.h - what the files of the simulation share. */
#ifndef RILL_TESTS_SUPPORT_SIM_INTERNAL_H
#define RILL_TESTS_SUPPORT_SIM_INTERNAL_H

#include "random.h"
#include "sim.h"
#include <event2/event.h>
#include <event2/event_struct.h>

enum {
    SIM_FD_BASE = 10000,
    SIM_FD_MAX = 256,
    SIM_WATCHES = 2,
    SIM_LOOPS = 8,
    SIM_PEERS = 512,
    SIM_JOBS = 256,
    SIM_START_NS = 1000000000
};

enum sim_fd_kind {
    SIM_FD_FREE,
    SIM_FD_NEW,
    SIM_FD_LISTENING,
    SIM_FD_STREAM,
    SIM_FD_EVENT,
    SIM_FD_TIMER,
    SIM_FD_DATAGRAM
};

/* A descriptor. */
struct sim_fd {
    enum sim_fd_kind kind;
    bool edge;     /* something has happened since it was reported last */
    bool fired;    /* TIMER */
    uint16_t port; /* LISTENING */
    uint64_t count, expires_ns;
    struct sim_socket *socket; /* STREAM */
    struct sim_udp *udp;       /* DATAGRAM */
    struct sim_peer *backlog;  /* LISTENING: who has connected, oldest first */
    struct event *watches[SIM_WATCHES];
};

/* The server's socket of a connection, and what is on its way to the client. */
struct sim_socket {
    struct sim_peer *peer;
    int fd; /* -1: closed */
    char *rx;
    size_t rx_length, rx_capacity;
    char *tx;
    size_t tx_length, tx_capacity;
    bool rx_end, tx_end; /* the streams' ends */
    bool closed;         /* by the server */
    bool error, dead;    /* a reset that was not told yet; there was one */
    bool no_space;       /* the server waits for room */
    bool reset_on_close;
    bool connecting;   /* the handshake is under way */
    int connect_error; /* it has failed, and that was not told yet */
};

struct sim {
    struct test_random random;
    struct sim_world world;
    uint64_t seed, now_ns, turn_began_ns, hash;
    unsigned steps, idle_turns;
    struct sim_fd fds[SIM_FD_MAX];
    int fd_top; /* no descriptor is open from here on */
    struct rill_loop *main, *other;
    struct event_base *main_base;
    struct rill_loop *loops[SIM_LOOPS];
    unsigned loop_count;
    struct sim_peer *peers[SIM_PEERS];  /* all */
    struct sim_peer *live[SIM_PEERS];   /* those of whom something may come yet */
    struct sim_peer *acting[SIM_PEERS]; /* those who could act when it was looked at last */
    unsigned peer_count, live_count;
    struct sim_datagram *air; /* those on their way, sent first, first */
    unsigned air_count, ports_given;
};

extern struct sim sim;

struct sim_fd *sim_fd_of(int fd, enum sim_fd_kind kind, const char *call);

/* sim_net.c: what could happen next to peers, and makes one of these happen. */
unsigned sim_net_choices(void);
void sim_net_choose(unsigned choice);
uint64_t sim_net_next_ms(void);
void sim_net_free(void);

/* Begins to connect the server's FD to PORT, by a wire whose two halves are peers of each other. */
void sim_net_connect(int fd, uint16_t port);
bool sim_can_write(struct sim_socket *socket);

/* sim_datagram.c: how many of the datagrams in the air to choose from; has one arrive, or not. */
unsigned sim_air_choices(void);
void sim_air_choose(void);
void sim_air_free(void);

struct sim_udp *sim_udp_new(void);
void sim_udp_free(struct sim_udp *udp);
void sim_udp_share(struct sim_udp *udp);
bool sim_udp_bind(struct sim_fd *entry, uint16_t port);
void sim_udp_connect(struct sim_fd *entry, uint16_t port);
short sim_udp_ready(const struct sim_udp *udp);

/* sim_sys.c: whether a call of KIND fails, with errno set: it is interrupted, or as faulty_rule.h has it. What comes
 * short here does so as sockets do, and what would have to wait has a reason. */
bool sim_call_fails(enum faulty_call kind, const void *site);

/* sim_reactor.c */
bool sim_loop_is_awake(struct rill_loop *loop);

/* sim_trace.c */
void sim_trace_reset(void);

/* sim_threads.c */
unsigned sim_jobs_running(void);
void sim_job_end(unsigned i);
void sim_jobs_reset(void);

#endif
