/* sim.h - a whole server in one thread, on a clock, a network and a pool that exist in memory only, all of it drawn
 * from one seed: the same seed is the same run, step for step.
 *
 * What is replaced: core/sys.h (clocks, sockets, eventfds, timerfds), the few functions of libevent that Rill uses,
 * core/loop_group.c and core/workers.c. What runs is all the rest, as it is shipped: loops, wheel, mailboxes,
 * listeners, dealing out, connections, connecting, clients, pools of connections, relays, channels, datagrams,
 * sessions, draining. Memory is the real one, and fails, as the other calls do, by the rule of faulty_rule.h.
 *
 * The main loop runs as always. Whenever it waits, the others have their turns: a step is one of what could happen
 * next, chosen at random - a turn of another loop that has been woken, a piece of a stream or a datagram
 * arriving, a peer doing something, a job of the pool ending, time passing. A loop is given a turn only when something
 * has woken it, so that a wake-up that is lost is lost here, too; and its events come in any order and not always all
 * at once. */
#ifndef RILL_TESTS_SUPPORT_SIM_H
#define RILL_TESTS_SUPPORT_SIM_H

#include "faulty_rule.h"
#include "rill/core/loop.h"
#include "rill/core/workers.h"

/* What a peer does when it has sent all that it has. */
enum sim_peer_end {
    SIM_END_WAIT,  /* waits for the server to end the connection, then ends its side */
    SIM_END_HALF,  /* ends its stream, and reads on */
    SIM_END_STAY,  /* waits, and does not end its side even then */
    SIM_END_LEAVE, /* closes both ways at once, whatever is still on its way */
    SIM_END_RESET, /* breaks the connection */
};

/* Who connects to this port gets no answer. */
enum { SIM_HOLE_PORT = 1 };

struct sim_socket;

/* A client. All zero, then the first group filled in, then sim_add_peer(). */
struct sim_peer {
    uint16_t port;       /* of the listener */
    uint64_t start_ms;   /* when it connects, from the beginning of the run */
    const char *sends;   /* all that it sends */
    size_t sends_length; /* after which comes `end` */
    enum sim_peer_end end;
    size_t piece_max;     /* sent and received at a time */
    uint64_t pause_ms;    /* it does nothing for up to so long, now and then */
    size_t stops_reading; /* it receives no more after so many bytes; SIZE_MAX: all */
    size_t socket_bytes;  /* that the server's socket holds on their way to it */
    size_t input_bytes;   /* that it holds on their way to the server; 0: 16 KiB */

    /* To be looked at. */
    char *received;
    size_t received_length;
    size_t sent;
    bool connected, saw_end, saw_reset; /* the server has ended the stream; broken the connection */
    bool refused;                       /* nobody listened (any more) */
    bool over;                          /* it will do nothing any more */

    /* Private. */
    struct sim_peer *link; /* a connection of the server with itself: the wire's other half */
    struct sim_peer *next; /* in a backlog */
    struct sim_socket *socket;
    size_t received_capacity;
    uint64_t busy_until_ms;
    bool ended;
};

struct sim_world {
    /* Nothing can happen any more, ever, unless this makes something happen. Returns whether it did. */
    bool (*on_quiet)(void);
    /* Called now and then, with another thread's rights. */
    void (*on_other_thread)(void);
    /* A turn of LOOP has ended; ASLEEP: and it will not have another before something wakes it. */
    void (*after_turn)(struct rill_loop *loop, bool asleep);
    /* A datagram has come to a port that is none of the server's. Returns whether anybody is there. */
    bool (*on_datagram)(uint16_t from, uint16_t to, const char *bytes, size_t length);
    bool faithful;             /* datagrams arrive once, in their order */
    bool faults[FAULTY_CALLS]; /* these calls fail, as sim_faults() says */
    unsigned accept_faults;    /* of 256 accepts fail */
    unsigned interrupts;       /* of 256 reads and writes are interrupted */
};

/* Begins a run. Nothing of an earlier one is left. */
void sim_begin(uint64_t seed, const struct sim_world *world);

/* Tells which loop is the one that rill_loop_run() runs. */
void sim_set_main(struct rill_loop *loop);

/* From now on one in ONE_IN of the calls that the world's `faults` name fails; 0: none. Returns what it was before. */
unsigned sim_faults(unsigned one_in);

/* Whether calls may fail now; whether the world is faithful. */
bool sim_calls_fail(void);
bool sim_is_faithful(void);

/* Calls FN(ARG) as another thread would. */
void sim_as_other(void (*fn)(void *arg), void *arg);

void sim_add_peer(struct sim_peer *peer);

/* Stops giving turns to what belongs to the run; frees the peers' memory. Fails when a descriptor is open or a job is
 * left. Returns a number that depends on all that has happened. */
uint64_t sim_end(void);

/* A number below BOUND; true once in ONE_IN times. */
size_t sim_below(size_t bound);
bool sim_chance(size_t one_in);

uint64_t sim_now_ms(void);
unsigned sim_steps(void);

/* When the turn that a loop has now began, by the clock that rill_clock_ns() reads. */
uint64_t sim_turn_began_ns(void);

/* Writes down what happened, to be shown when the run fails: WHAT is a constant. */
void sim_note(const char *what, uint64_t a, uint64_t b);

/* Shows what was written down. */
void sim_show_trace(void);

/* The run has failed: says why, and aborts. The trace is shown whichever way the program dies. */
__attribute__((noreturn)) void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A datagram from somebody outside sets out. */
void sim_datagram_send(uint16_t from, uint16_t to, const void *bytes, size_t length);

/* How it stands with a datagram socket of the server's. */
struct sim_datagram_state {
    bool input, room;      /* a datagram or an error can be read; one can be sent, as far as libevent is told */
    size_t vacant;         /* so many can be sent */
    uint64_t given, taken; /* datagrams: by the server, and to it */
    uint16_t port;
};
struct sim_datagram_state sim_datagram_state_of(int fd);

/* What the server's end of a connection has in its socket: bytes that can be read, an end, an error; room to write. */
struct sim_state {
    size_t input;
    bool end, error, room;
};
struct sim_state sim_state_of(int fd);

#endif
