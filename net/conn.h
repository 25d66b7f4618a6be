/* conn.h - a connection: bytes in, bytes out, on one loop.
 *
 * Rules of life
 * 1. A connection belongs to one loop from adoption to free. No lock protects it; no other thread may look at it.
 *    Other threads, timers and pool jobs name it by its rill_conn_id and find it, or not, with rill_conn_find().
 * 2. on_open is the first callback; on_close the last, exactly once, whatever happened. The pointer is good until
 *    on_close has returned. Every callback may close its own connection or any other of its loop.
 * 3. The memory goes back at the end of the loop's turn, so no caller up the stack is left with a dangling pointer.
 * 4. Reading is paused by a mask of reasons, and goes on when the last of them is gone. Bytes that a handler did not
 *    consume are kept and shown again, in front of what has come since.
 * 5. What is sent inside a callback of the connection leaves when the callback returns; what is sent at other
 *    times leaves at the end of the turn; in both cases in as few system calls as can be.
 *
 * All functions are for the loop's thread and check it, save where marked "Thread: any". */
#ifndef RILL_NET_CONN_H
#define RILL_NET_CONN_H

#include "rill/core/base.h"
#include "rill/core/buf.h"
#include "rill/core/loop.h"
#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_conn;
struct rill_file_ref;
struct rill_note;

/* Names a connection by value: loop (8 bits), slot (24), generation (32). 0 names none. May be copied anywhere and
 * kept for ever; one that outlived its connection finds nothing. */
struct rill_conn_id {
    uint64_t value;
};

/* What on_data is shown: all bytes not consumed yet. They are good until it returns. */
struct rill_input {
    const char *bytes;
    size_t length;
    size_t consumed; /* set by rill_input_consume() */
};

/* Takes the first COUNT of the bytes still in INPUT; the rest is shown again with the next data. */
static inline void rill_input_consume(struct rill_input *input, size_t count)
{
    input->bytes += count;
    input->length -= count;
    input->consumed += count;
}

/* Why a connection ended, as on_close is told. */
enum rill_close_reason {
    RILL_CLOSE_LOCAL,         /* the app closed it */
    RILL_CLOSE_EOF,           /* the peer ended its stream */
    RILL_CLOSE_RESET,         /* the peer, or the network, broke it: any error of a read or a write */
    RILL_CLOSE_IDLE,          /* its deadline passed */
    RILL_CLOSE_WRITE_TIMEOUT, /* the peer took no byte for write_timeout_ms */
    RILL_CLOSE_STOPPED,       /* the server stops */
    RILL_CLOSE_NO_MEMORY,     /* memory was lacking, here or in the kernel */
    RILL_CLOSE_INPUT_LIMIT,   /* the handler left more unconsumed than max_input_bytes */
    RILL_CLOSE_OUTPUT_LIMIT,  /* more than max_output_bytes would have waited for the peer to take it */
    RILL_CLOSE_OVERLOAD,      /* to make room for others: see max_buffered_bytes in net/server.h */
    RILL_CLOSE_REASONS,
};

/* "closed by the server", "reset by the peer", ...: for logs. Thread: any. */
const char *rill_close_reason_text(enum rill_close_reason reason);

/* Why reading is paused. */
enum rill_pause {
    RILL_PAUSE_USER = 1 << 0,         /* the app's own */
    RILL_PAUSE_BACKPRESSURE = 1 << 1, /* what is read cannot be passed on yet */
    RILL_PAUSE_PENDING = 1 << 2,      /* a request is being answered; the next one waits */
    RILL_PAUSE_CLOSING = 1 << 3,      /* no more input is wanted */
    RILL_PAUSE_OUTPUT = 1 << 4,       /* RILL_OUTPUT_PAUSE: output is above the high watermark. The connection's own */
};

/* What comes of a peer who takes its bytes more slowly than they are made. */
enum rill_output_limit {
    RILL_OUTPUT_CLOSE, /* a send that would pass max_output_bytes closes the connection (RILL_CLOSE_OUTPUT_LIMIT) */
    RILL_OUTPUT_DROP,  /* it is refused with -ENOBUFS, and nothing of it was taken: messages are dropped whole */
    RILL_OUTPUT_PAUSE, /* as RILL_OUTPUT_CLOSE; and from the high watermark down to the low one the connection is not
                        * read (RILL_PAUSE_OUTPUT): for who answers what comes in, so that the peer is held back */
};

/* What a connection waits for, which says what is lost when it is closed to make room for others. */
enum rill_awaits {
    RILL_AWAITS_PROGRAM, /* the program works for it, or the peer sends as fast as it should: it is never closed so */
    RILL_AWAITS_PEER,    /* the peer, with a request that has begun or a response that it does not take */
    RILL_AWAITS_REQUEST, /* the peer, with nothing outstanding: it is idle */
};

/* The callbacks of one protocol; constant, shared by all its connections. Any may be NULL. */
struct rill_conn_handler {
    /* A connection was adopted. Returns nothing: close it to refuse it. */
    void (*on_open)(struct rill_conn *conn);
    /* There are bytes. NULL: they are dropped. */
    void (*on_data)(struct rill_conn *conn, struct rill_input *input);
    /* The peer ended its stream; sending is still possible. NULL: close once all output has left. */
    void (*on_eof)(struct rill_conn *conn);
    /* Buffered output fell to the low watermark after it had passed the high one, or after
     * rill_conn_want_drain(). */
    void (*on_drain)(struct rill_conn *conn);
    /* The deadline of rill_conn_set_deadline() passed. NULL: close with RILL_CLOSE_IDLE. */
    void (*on_timeout)(struct rill_conn *conn);
    /* The server drains: end the connection soon. NULL: close once all output has left. */
    void (*on_stop)(struct rill_conn *conn);
    /* What the connection waits for, and since when: asked when the server needs room, and when it has more requests
     * than it can refuse. Changes nothing. NULL: it is never closed for that, and always read. */
    enum rill_awaits (*awaits)(const struct rill_conn *conn, uint64_t *waited_ms);
    /* It is over. */
    void (*on_close)(struct rill_conn *conn, enum rill_close_reason reason);
};

/* What all connections of one server share; it outlives them. */
struct rill_conn_config {
    const struct rill_conn_handler *handler;
    void *arg;                 /* rill_conn_arg() */
    uint64_t idle_timeout_ms;  /* without a byte read or sent; 0: none. For protocols that set no deadlines */
    uint64_t write_timeout_ms; /* output waits and the peer takes nothing; 0: none */
    size_t high_watermark;     /* of buffered output, in bytes; 0: 256 KiB */
    size_t low_watermark;      /* 0: a quarter of the high one */
    size_t max_input_bytes;    /* kept unconsumed; 0: 1 MiB */
    size_t max_output_bytes;   /* of memory that buffered output holds; 0: no limit. Stretches of files do not count */
    enum rill_output_limit output_limit;
};

/* Makes FD, a connected non-blocking stream socket, a connection of LOOP, which owns FD from here on whatever comes
 * of it. PEER may be NULL. on_open runs before it returns, and so may the other callbacks, when there are bytes
 * already; on_close, when it came to that. Returns 0; -ENOMEM or another negative errno: FD was closed and no callback
 * has run. */
RILL_WARN_UNUSED int rill_conn_adopt(struct rill_loop *loop, int fd, const struct rill_ip *peer,
                                     const struct rill_conn_config *config);

/* Gives CONN another protocol: from here on it has CONFIG's callbacks, arg and limits, and USER. The callbacks that it
 * had hear nothing more of it, on_close included; on_open of the new ones runs before this returns. Input that is not
 * consumed is shown to the new on_data, at the end of the turn at the latest; output that waits leaves as it would
 * have. The deadline is CONFIG's idle timeout. When the peer has ended its stream already, the new
 * on_eof is told, too. CONFIG
 * outlives the connection. Returns 0; -EPIPE: it is closed or closing, nothing was done. */
int rill_conn_become(struct rill_conn *conn, const struct rill_conn_config *config, void *user);

/* Sends a copy of LENGTH bytes. Returns 0; -ENOMEM: nothing was taken, the connection closes; -EPIPE: it is closed
 * or closing, nothing was taken; -ENOBUFS: with what waits it is more than max_output_bytes, nothing was taken, and the
 * connection closes unless it is one that drops (enum rill_output_limit). Never blocks: what the socket does not take
 * waits in memory, so senders of much look at rill_conn_buffered() and wait for on_drain. */
int rill_conn_send(struct rill_conn *conn, const void *bytes, size_t length);

/* Room for LENGTH bytes (at most RILL_CONN_RESERVE_MAX) at the end of the output, to be written in place and then
 * counted with rill_conn_commit() before anything else is done with the connection and before the callback returns.
 * NULL when it is closed or closing; when memory was lacking: then it is closed now; and when it would be more than
 * max_output_bytes, counted in steps of 16 KiB here: then it is closed now unless it is one that drops. */
#define RILL_CONN_RESERVE_MAX 8192
char *rill_conn_reserve(struct rill_conn *conn, size_t length);

/* The first LENGTH bytes of the room reserved last are output; 0 is fine. */
void rill_conn_commit(struct rill_conn *conn, size_t length);

/* Sends the bytes of BUF without copying them, and takes over the caller's reference, on errors too. Returns as
 * rill_conn_send(). */
int rill_conn_send_buf(struct rill_conn *conn, struct rill_buf *buf);

/* Sends LENGTH bytes of FILE from OFFSET on with sendfile(2), holding a reference of its own. The caller has made
 * sure that they are in memory, because the loop will not wait for a disk. A file that turns out shorter
 * closes the connection (RILL_CLOSE_LOCAL). sendfile(2) knows no MSG_NOSIGNAL: the program ignores SIGPIPE, as
 * rill_server_run() with signals does. Returns as rill_conn_send(). */
int rill_conn_send_file(struct rill_conn *conn, struct rill_file_ref *file, uint64_t offset, uint64_t length);

/* Bytes of output that the socket has not taken yet. */
size_t rill_conn_buffered(const struct rill_conn *conn);

/* Whether more than the high watermark is buffered: time to wait for on_drain. */
bool rill_conn_is_full(const struct rill_conn *conn);

/* Has on_drain called once when the buffered output falls to the low watermark or is there already; then at the end
 * of this turn. */
void rill_conn_want_drain(struct rill_conn *conn);

/* Adds REASON to the mask that pauses reading, or takes it away. Reading goes on, and bytes kept are shown again,
 * at the end of the turn in which the mask became empty. */
void rill_conn_pause(struct rill_conn *conn, enum rill_pause reason);
void rill_conn_resume(struct rill_conn *conn, enum rill_pause reason);

/* Closes at once: output that has not left is dropped, on_close runs before this returns. A second call is a no-op. */
void rill_conn_close(struct rill_conn *conn, enum rill_close_reason reason);

/* Closes when all output has left; on_data and on_eof are called no more. With LINGER, what the peer is still sending
 * is read and dropped, and after the last byte of output has left for up to 5 s more, so that a reset does not destroy
 * that output on its way (RFC 9112, 9.6). */
void rill_conn_finish(struct rill_conn *conn, bool linger);

/* Sends the end of the stream once all output has left; reading goes on. */
void rill_conn_shutdown(struct rill_conn *conn);

/* Options of the socket. The system's errors come back as a negative errno, -EOPNOTSUPP for instance from a Unix socket
 * that is asked for TCP's; -EPIPE: the connection is closed. */

/* Whether small segments leave at once (TCP_NODELAY). Accepted connections begin with it. */
int rill_conn_set_nodelay(struct rill_conn *conn, bool on);

/* Has the system look after a peer that has fallen silent: after IDLE_S seconds without a byte it probes every
 * INTERVAL_S seconds, and after COUNT probes without an answer the connection is RILL_CLOSE_RESET. For half-open
 * connections, whose peer went away without a word; an idle timeout finds those too, and peers that are there and say
 * nothing with them. While bytes that were sent are not acknowledged the system repeats those instead, and gives up
 * after a quarter of an hour or so. An INTERVAL_S or COUNT of 0 leaves the system's. IDLE_S of 0 turns it off. */
int rill_conn_set_keepalive(struct rill_conn *conn, unsigned idle_s, unsigned interval_s, unsigned count);

/* Whether the end of the connection is a reset (SO_LINGER of 0 s): the peer loses what it has not received, and no
 * TIME_WAIT stays here. */
int rill_conn_set_reset_on_close(struct rill_conn *conn, bool on);

/* Calls on_timeout in DELAY_MS unless set again before; 0: never. Cheap: a later deadline costs no timer operation.
 * rill_conn_finish() takes it back; one set after that closes the connection (RILL_CLOSE_IDLE). */
void rill_conn_set_deadline(struct rill_conn *conn, uint64_t delay_ms);

/* Milliseconds until the deadline; 0 when there is none or it has passed. */
uint64_t rill_conn_time_left_ms(const struct rill_conn *conn);

/* The app's own pointer. */
void *rill_conn_user(const struct rill_conn *conn);
void rill_conn_set_user(struct rill_conn *conn, void *user);

/* The `arg` of its config. */
void *rill_conn_arg(const struct rill_conn *conn);

struct rill_loop *rill_conn_loop(const struct rill_conn *conn);
struct rill_conn_id rill_conn_id(const struct rill_conn *conn);

/* Says "connection LOOP/SLOT/GENERATION", its id, in NOTE. For describers (core/crash.h). */
void rill_conn_describe(const struct rill_conn *conn, struct rill_note *note);
const struct rill_ip *rill_conn_peer(const struct rill_conn *conn);

/* Asks the system for the address of our end, or of the other one: behind proxies (net/server.h) that is the proxy's,
 * and rill_conn_peer() its client's. Returns 0 or a negative errno. */
int rill_conn_local(const struct rill_conn *conn, struct rill_addr *addr);
int rill_conn_remote(const struct rill_conn *conn, struct rill_addr *addr);

/* False from the moment that rill_conn_close() or rill_conn_finish() was called. */
bool rill_conn_is_open(const struct rill_conn *conn);

/* The open connection of LOOP that ID names; NULL when it is gone, or another loop's. */
struct rill_conn *rill_conn_find(struct rill_loop *loop, struct rill_conn_id id);

/* The number of the loop that ID's connection belongs to. Thread: any. */
static inline unsigned rill_conn_id_loop(struct rill_conn_id id)
{
    return (unsigned)(id.value >> 56);
}

/* Sends BUF on the connection of LOOP that ID names, taking over the reference, on errors too; or closes that
 * connection with RILL_CLOSE_LOCAL. Returns 0 when the order was posted: it is carried out after all that this thread
 * posted to LOOP before, and dropped when the connection has gone by then. -ESTALE: ID is none of LOOP's; -ENOMEM;
 * -ESHUTDOWN. LOOP has to be there still, as for rill_loop_post(). Thread: any. */
int rill_conn_post_send(struct rill_loop *loop, struct rill_conn_id id, struct rill_buf *buf);
int rill_conn_post_close(struct rill_loop *loop, struct rill_conn_id id);

/* Connections of LOOP that are open or closing. */
uint32_t rill_conn_count(struct rill_loop *loop);

/* Calls FN(CONN, ARG) for every open connection of LOOP that was adopted with CONFIG (NULL: all). FN may close any. */
void rill_conn_each(struct rill_loop *loop, const struct rill_conn_config *config,
                    void (*fn)(struct rill_conn *conn, void *arg), void *arg);

/* A descriptor with several holders; the last one closes it. The count belongs to one loop's thread. */
struct rill_file_ref *rill_file_ref_new(int fd); /* owns FD, also when it fails with NULL for lack of memory */
struct rill_file_ref *rill_file_ref_hold(struct rill_file_ref *file);
void rill_file_ref_drop(struct rill_file_ref *file);
int rill_file_ref_fd(const struct rill_file_ref *file);

#ifdef __cplusplus
}
#endif

#endif
