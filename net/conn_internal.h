/* conn_internal.h - what the files of net/ share about connections: the per-loop context, the connection itself and
 * its output queue. */
#ifndef RILL_NET_CONN_INTERNAL_H
#define RILL_NET_CONN_INTERNAL_H

#include "rill/core/list.h"
#include "rill/core/slab.h"
#include "rill/core/trace.h"
#include "rill/net/address_counts_internal.h"
#include "rill/net/conn.h"
#include "rill/net/net_stats.h"
#include "rill/net/overload_internal.h"
#include <event2/event.h>
#include <event2/event_struct.h>

/* A connection's way through life; see the table in conn_state.c. */
enum rill_conn_state {
    RILL_CONN_OPEN,      /* both ways, or half-closed by either side */
    RILL_CONN_FINISHING, /* output is leaving; then the end */
    RILL_CONN_LINGERING, /* output has left; what still comes in is dropped until the peer closes */
    RILL_CONN_CLOSED,    /* on_close has run or is running; the memory goes back at the end of the turn */
    RILL_CONN_STATES,
};

/* Whether a connection may go from FROM to TO. */
bool rill_conn_state_may_change(enum rill_conn_state from, enum rill_conn_state to);

/* What a stretch of output is. */
enum rill_segment_kind {
    RILL_SEGMENT_COPIED, /* `bytes` */
    RILL_SEGMENT_SHARED, /* a block */
    RILL_SEGMENT_FILE,   /* a stretch of a file */
    RILL_SEGMENT_PIPE,   /* all that a pipe holds */
};

/* One stretch of output. */
struct rill_segment {
    struct rill_segment *next;
    union {
        struct rill_buf *buf;
        struct rill_file_ref *file;
        struct rill_pipe *pipe;
    } of;
    uint64_t start, end; /* what is still to be sent of it */
    uint32_t capacity;   /* COPIED: of `bytes`; otherwise 0 */
    uint32_t kind;       /* enum rill_segment_kind */
    char bytes[];
};

/* Output that has not left; leased from the loop while there is some. */
struct rill_output {
    struct rill_segment *first, *last;
    uint64_t bytes;
    uint64_t kernel_bytes; /* of these, those in files and pipes */
    uint64_t deadline_ms;  /* by when the peer must have taken another byte; 0: none */
};

/* Somebody beside the handler who has to know how a connection fares: a channel's member. Those of one connection are a
 * ring; see conn_watchers.c. */
struct rill_conn_watcher {
    struct rill_conn_watcher *next, *previous;
    /* All output has left, and somebody wanted to know. May send with rill_conn_send_now() and rill_conn_queue_buf();
     * when the connection is finishing there is nothing to wait for any more. NULL: never sends. */
    void (*on_room)(struct rill_conn_watcher *watcher);
    /* The connection closes, for its finish_reason; the watcher is off it already, and the handler's on_close comes
     * next. */
    void (*on_close)(struct rill_conn_watcher *watcher);
};

#define RILL_SEGMENT_BYTES RILL_NET_SEGMENT_BYTES /* of a leased COPIED segment, header included */
#define RILL_LINGER_MS 5000

/* Which requests a loop reads when it cannot even refuse all; see admission.c. */
struct rill_admission {
    struct rill_list queue; /* connections with a request that is not read yet, through `link` */
    bool on;
    bool turn_deferred, let_in_deferred;
    unsigned most_refused; /* in a turn, before it is on; constant, as the next, but for tests */
    uint64_t budget_ns;    /* of a tick, for those let in beside */
    unsigned refused;      /* in this turn; when `on`, since the last tick */
    unsigned credit;       /* how many may be let in */
    struct rill_task turn_task, let_in_task;
    struct rill_timer tick;
};

/* The beginning of what rill_net_free_with_closed() is to free. */
struct rill_attached {
    struct rill_attached *next;
};

/* All that net/ keeps for one loop; one thread's. */
struct rill_net {
    struct rill_loop *loop;
    struct rill_trace_lane *trace; /* the loop's; NULL: none */
    struct rill_slab conns;
    struct rill_list ready;         /* connections to be looked at when the turn ends */
    struct rill_list closed;        /* connections whose memory goes back when the turn ends */
    struct rill_attached *attached; /* memory that goes back with them: see rill_net_free_with_closed() */
    struct rill_task ready_task, closed_task;
    struct rill_conn *current;           /* whose event is looked after; NULL: none's */
    struct rill_list connects;           /* rill_connect() that are under way */
    struct rill_datagram_net *datagrams; /* what endpoints share; NULL: there was none yet */
    bool ready_deferred, closed_deferred;
    bool ending; /* the loop is being freed: nothing begins any more */
    bool edge_triggered;
    struct rill_admission admission;
    bool buffer_lent;                   /* on_data is looking at the loop's read buffer */
    struct rill_segment *free_segments; /* leased out and given back, last in first out */
    unsigned free_segment_count;
    struct rill_output *free_outputs; /* linked through `first` */
    unsigned free_output_count;
    struct rill_pipe *free_pipes; /* empty, last in first out; see pipe.c */
    unsigned free_pipe_count, pipe_count;
    /* Connections of the server that the loop serves; others, clients for instance, are not the server's to count. */
    const struct rill_conn_config *server_configs; /* what it adopts with, one a listener; NULL: no server */
    uint32_t server_config_count;
    struct rill_address_counts *address_counts; /* the server's; NULL: no limit by address */
    struct rill_overload *overload;             /* the server's; NULL: no server */
    uint64_t published_bytes;                   /* of what is buffered, those that `overload` has counted */
    uint32_t server_conns;                      /* open or closing */
    unsigned early_luck; /* how often a new connection's bytes were there already; see read_at_once() */
    unsigned adoptions;
    uint64_t closed_total;       /* ever closed; written by the loop, read by the acceptors */
    void (*on_empty)(void *arg); /* the last of them has gone */
    void *on_empty_arg;
    struct rill_net_stats stats; /* written by the loop, read by any */
};

/* Whether connections adopted with CONFIG are those of the server that NET's loop serves. */
static inline bool rill_net_serves(const struct rill_net *net, const struct rill_conn_config *config)
{
    return (uintptr_t)config - (uintptr_t)net->server_configs < net->server_config_count * sizeof *config;
}

/* Counts BYTES of memory more that input or output hold, beside leased segments; fewer when it is negative. */
static inline void rill_net_count_kept(struct rill_net *net, int64_t bytes)
{
    rill_stat_set(&net->stats.kept_bytes, net->stats.kept_bytes + (uint64_t)bytes);
}

/* What is buffered has changed: tells the server, when it is by a stride. */
static inline void rill_net_note_buffered(struct rill_net *net)
{
    uint64_t now = net->stats.leased_segments * RILL_SEGMENT_BYTES + net->stats.kept_bytes;
    if (RILL_UNLIKELY(now - net->published_bytes + RILL_OVERLOAD_STRIDE > 2 * RILL_OVERLOAD_STRIDE))
        rill_net_publish_buffered(net);
}

/* LOOP's context, made when first asked for; NULL when memory is lacking. */
struct rill_net *rill_net_of(struct rill_loop *loop);

/* 272 bytes: an idle connection costs this, its session, and what libevent keeps for a descriptor. */
struct rill_conn {
    struct event event;
    struct rill_timer timer;
    struct rill_list link; /* in net->ready, net->closed or net->admission.queue */
    struct rill_net *net;
    const struct rill_conn_config *config;
    void *user;
    struct rill_output *out;            /* NULL: nothing waits */
    struct rill_buf *held;              /* NULL: everything was consumed */
    struct rill_conn_watcher *watchers; /* the ring, where it is told next; NULL: nobody watches */
    uint64_t deadline_ms;               /* rill_conn_set_deadline(); 0: none */
    int fd;
    uint32_t slot;
    struct rill_ip peer;
    uint8_t state;         /* enum rill_conn_state, changed by conn_set_state() only */
    uint8_t pause;         /* mask of enum rill_pause */
    uint8_t finish_reason; /* what on_close is told after FINISHING */
    uint8_t callbacks;     /* callbacks of this connection on the stack: output is gathered until 0 */
    uint8_t interest;      /* what libevent watches; 0: not added */
    bool readable : 1;     /* the socket may have bytes, the peer's end or an error for us */
    bool spent : 1;        /* a short read took the bytes: only an error may be left, unless a send succeeds */
    bool writable : 1;     /* the socket may have room */
    bool peer_closed : 1;  /* libevent saw the peer's end coming: read up to it */
    bool received : 1;     /* a byte has come */
    bool eof : 1;          /* read up to the peer's end */
    bool shutdown_wanted : 1;
    bool shutdown_done : 1;
    bool linger : 1;
    bool above_high : 1; /* output passed the high watermark and has not come down yet */
    bool drain_wanted : 1;
    bool spliced : 1;     /* a relay's: what comes goes from socket to pipe to socket; see relay.c */
    bool served : 1;      /* one of the server's, for good, whoever's handler it has by now */
    bool counted : 1;     /* by net->address_counts, under `peer` */
    bool room_wanted : 1; /* a watcher is told when all output has left */
    bool redeliver : 1;   /* show `held` again although nothing new has come */
    bool held_back : 1;   /* its request is not read yet: in net->admission.queue */
};

/* admission.c */

void rill_admission_init(struct rill_admission *admission);
void rill_admission_end(struct rill_net *net);

/* While admission is on: whether CONN is not to be read now; it is in the queue then. */
bool rill_conn_is_held_back(struct rill_conn *conn);

/* Reads CONN, which is in the queue. It may close. */
void rill_conn_let_in(struct rill_conn *conn);

/* Takes CONN off the queue. */
void rill_conn_leave_queue(struct rill_conn *conn);

/* datagram.c */

/* The loop is being freed: closes all endpoints; gives back what they held. NET may be NULL. */
void rill_datagram_end_all(struct rill_datagram_net *net);
void rill_datagram_net_free(struct rill_datagram_net *net);

/* conn_output.c */

/* Sends what the socket takes of conn->out, which is not NULL. Returns 0, or a negative errno when the connection is
 * broken (the caller closes). Afterwards conn->out is NULL or waits for room. */
int rill_conn_output_flush(struct rill_conn *conn);

/* Sends what PIPE holds, and returns it to the pool then, or on an error. Returns as rill_conn_send(). */
int rill_conn_send_pipe(struct rill_conn *conn, struct rill_pipe *pipe);

/* Drops all output. */
void rill_conn_output_drop(struct rill_conn *conn);

/* Frees the leases that NET keeps. */
void rill_conn_output_free_leases(struct rill_net *net);

/* Sends at once what the socket takes of COUNT parts, LENGTH bytes in all. Nothing may wait before them: conn->out is
 * NULL. Returns the bytes taken, of which 0 are none because there is no room, or a negative errno when the connection
 * is broken (the caller closes). */
ssize_t rill_conn_send_now(struct rill_conn *conn, const struct iovec *parts, size_t count, size_t length);

/* Puts the bytes of BUF from OFFSET on, of which there are some, at the end of the output, whatever its limits, and
 * takes over the reference. Returns 0, or -ENOMEM: the connection is closed. */
int rill_conn_queue_buf(struct rill_conn *conn, struct rill_buf *buf, size_t offset);

/* conn_watchers.c */

void rill_conn_add_watcher(struct rill_conn *conn, struct rill_conn_watcher *watcher);
void rill_conn_remove_watcher(struct rill_conn *conn, struct rill_conn_watcher *watcher);

/* All output has left: tells the watchers, each in its turn, as long as none of them has filled the socket. False when
 * the connection is closed now. */
bool rill_conn_tell_room(struct rill_conn *conn);

/* Takes all watchers off and tells each. */
void rill_conn_tell_closed(struct rill_conn *conn);

/* context.c */

/* Frees the allocation that begins with MEMORY when the connections closed in this turn are freed. Called by on_close,
 * for what it was the last to use. */
void rill_net_free_with_closed(struct rill_net *net, struct rill_attached *memory);

/* Frees what was left so. */
void rill_net_free_attached(struct rill_net *net);

/* conn.c */

#define RILL_EARLY_LUCK_MAX 7 /* of net->early_luck, where it begins */

/* Makes FD a connection, of which nobody has heard yet and that nothing watches. NULL: there are too many; FD is the
 * caller's still. */
struct rill_conn *rill_conn_make(struct rill_net *net, int fd, const struct rill_ip *peer,
                                 const struct rill_conn_config *config);

/* rill_conn_become() of an open connection, without on_open; what is left of its input is shown at the end of the turn.
 */
void rill_conn_dress(struct rill_conn *conn, const struct rill_conn_config *config, void *user);

/* rill_conn_finish(), with what on_close is to be told. */
void rill_conn_finish_as(struct rill_conn *conn, bool linger, enum rill_close_reason reason);

/* All output has left while FINISHING: closes, or waits for the peer to close first. */
void rill_conn_finished(struct rill_conn *conn);

/* The turn has ended: gives the closed ones' memory back. */
void rill_conn_free_closed(struct rill_task *task);

/* conn_events.c */

/* Has libevent watch for INTEREST, in place of nothing. Returns 0 or -ENOMEM. */
int rill_conn_watch(struct rill_conn *conn, short interest);

/* Has CONN looked at (flushed, redelivered, read) when the turn ends. */
void rill_conn_make_ready(struct rill_conn *conn);

/* The turn ends: looks at every connection that asked for it. */
void rill_conn_process_ready(struct rill_task *task);

/* Calls one of the handler's callbacks; output made meanwhile is gathered. False when the connection is closed now. */
bool rill_conn_call(struct rill_conn *conn, void (*callback)(struct rill_conn *));

/* What comes after anything has happened to a connection: sends what waits, ends what is to end, and sees that somebody
 * wakes us for the rest. */
void rill_conn_settle(struct rill_conn *conn);

/* A read or a write failed for good with ERROR: closes. */
void rill_conn_broken(struct rill_conn *conn, int error);

/* conn_time.c */

void rill_conn_on_timer(struct rill_timer *timer);

/* Sees that the timer fires no later than AT, in the loop's milliseconds. */
void rill_conn_arm(struct rill_conn *conn, uint64_t at);

/* rill_conn_set_deadline(), whatever the state. */
void rill_conn_set_time(struct rill_conn *conn, uint64_t delay_ms);

/* Bytes were read or written: the idle timeout, which is set, begins anew. */
void rill_conn_was_active(struct rill_conn *conn);

/* connect.c */

/* Fails every connect of NET, which is ending. */
void rill_connect_end_all(struct rill_net *net);

/* make_room.c */

/* Closes connections of the server's that are not missed much, MOST at the most: those that have been idle for
 * longest, and, when WAITING, those whose peers have kept them waiting for longest. Whoever has waited for less than
 * 300 ms is left alone. Returns how many. */
unsigned rill_net_make_room(struct rill_net *net, unsigned most, bool waiting);

/* pipe.c */

/* A pipe between two sockets' splice(2)s. */
struct rill_pipe {
    struct rill_pipe *next;
    int read_fd, write_fd;
    size_t size;   /* bytes that it can hold, when they come in whole pages */
    uint64_t held; /* bytes that it holds */
};

/* An empty pipe; NULL when memory or descriptors are lacking, or a loop has as many as it may. */
struct rill_pipe *rill_pipe_lease(struct rill_net *net);

/* Takes PIPE back. */
void rill_pipe_return(struct rill_net *net, struct rill_pipe *pipe);

/* Closes those that are not leased. */
void rill_pipes_free(struct rill_net *net);

/* relay.c */

/* Moves what has come to CONN, which is spliced, to the other connection of its relay. Returns how many bytes; 0: its
 * stream has ended; -1 with errno set as recv(2) has it, EINTR too when there will be no more splicing. */
ssize_t rill_relay_splice(struct rill_conn *conn);

/* conn_input.c */

/* Reads until the socket is empty, reading is paused, or the others should have their turn. */
void rill_conn_read(struct rill_conn *conn);

/* The same, also when requests are held back. */
void rill_conn_read_now(struct rill_conn *conn);

/* Drops what was kept, which may be nothing. */
void rill_conn_forget_held(struct rill_conn *conn);

/* After a resume: shows what was kept. */
void rill_conn_show_again(struct rill_conn *conn);

static inline size_t rill_conn_high_watermark(const struct rill_conn *conn)
{
    return conn->config->high_watermark ? conn->config->high_watermark : 256 * 1024;
}

static inline size_t rill_conn_low_watermark(const struct rill_conn *conn)
{
    return conn->config->low_watermark ? conn->config->low_watermark : rill_conn_high_watermark(conn) / 4;
}

#endif
