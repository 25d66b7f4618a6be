/* datagram.h - datagrams, of UDP and of Unix sockets: endpoints on a loop that receive and send in batches.
 *
 * Rules of life
 * 1. An endpoint belongs to one loop, from opening to close. To use all loops of a server, bind as many sockets to one
 *    address with rill_datagram_bind(), and have each loop adopt one in on_loop_start: the kernel deals peers out to
 *    them.
 * 2. on_close is the last callback, once: rill_datagram_close(), or rill_loop_free(), during which nothing can be
 *    opened any more (-ESHUTDOWN). Every callback may close its endpoint or any other of its loop; the memory goes
 *    back at the end of the turn.
 * 3. What is sent inside a callback of the endpoint leaves when the batch has been shown; what is sent at other
 *    times at the end of the turn; in both cases with one system call for many.
 * 4. Datagrams get lost, here as on their way: beyond max_queued_bytes they are refused, and what the kernel does
 *    not want is dropped. rill_datagram_stats() counts both.
 *
 * All functions are for the loop's thread and check it, save where marked "Thread: any". */
#ifndef RILL_NET_DATAGRAM_H
#define RILL_NET_DATAGRAM_H

#include "rill/core/loop.h"
#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_datagram; /* an endpoint */

/* One datagram that came; all of it is good until the callback returns. */
struct rill_datagram_input {
    const struct rill_addr *from; /* a Unix socket's peer that is bound to nothing cannot be answered */
    const char *bytes;
    size_t length; /* of `bytes`; 0 is a datagram too */
    size_t lost;   /* bytes beyond max_datagram_bytes that were cut off; 0: it is whole */
};

/* Constant, shared by many endpoints. Any may be NULL. */
struct rill_datagram_handler {
    void (*on_datagram)(struct rill_datagram *endpoint, const struct rill_datagram_input *input);
    /* ERROR, a negative errno: a datagram for TO could not be sent and is lost. Connected endpoints, where TO is NULL,
     * are also told that something sent before did not arrive, as far as the network says so: -ECONNREFUSED, nobody
     * listens there (RFC 1122, 4.1.3.3). */
    void (*on_error)(struct rill_datagram *endpoint, const struct rill_addr *to, int error);
    /* All that was queued has left, after a send had been refused with -ENOBUFS. */
    void (*on_drain)(struct rill_datagram *endpoint);
    /* It is over. */
    void (*on_close)(struct rill_datagram *endpoint);
};

/* What the endpoints of one kind share; it outlives them. Zero is the default of every field but `handler`. */
struct rill_datagram_config {
    const struct rill_datagram_handler *handler;
    void *arg;                   /* rill_datagram_arg() */
    size_t max_datagram_bytes;   /* longer ones are cut; 0, and the most: 65,536, which none of UDP exceeds */
    size_t max_queued_bytes;     /* waiting to be sent, with some 40 bytes for each; 0: 1 MiB */
    size_t receive_buffer_bytes; /* SO_RCVBUF, as a wish: bursts wait there; 0: the system's default */
    size_t send_buffer_bytes;    /* SO_SNDBUF, the same */
};

/* Binds COUNT (at least 1) non-blocking sockets to ADDR, an IP address whose port becomes the real one; with more than
 * one they share it (SO_REUSEPORT). They go to FDS. Returns 0; -EAFNOSUPPORT: not an IP address; or another negative
 * errno: none is open. Thread: any. */
int rill_datagram_bind(struct rill_addr *addr, unsigned count, int *fds);

/* Makes FD, a non-blocking datagram socket, an endpoint of LOOP, which owns FD from here on whatever comes of it. NULL
 * with *ERROR a negative errno: FD was closed. */
struct rill_datagram *rill_datagram_adopt(struct rill_loop *loop, int fd, const struct rill_datagram_config *config,
                                          int *error);

/* An endpoint of LOOP at ADDR, alone there. The file of a Unix socket goes when it is closed; one that nobody has
 * bound any more is removed before. NULL with *ERROR a negative errno. */
struct rill_datagram *rill_datagram_open(struct rill_loop *loop, const struct rill_addr *addr,
                                         const struct rill_datagram_config *config, int *error);

/* An endpoint of LOOP that talks to PEER alone: what others send is not received, and `to` is NULL in what it sends. On
 * a Unix socket it gets an abstract address of its own, so that the peer can answer. NULL with *ERROR a negative errno.
 */
struct rill_datagram *rill_datagram_connect(struct rill_loop *loop, const struct rill_addr *peer,
                                            const struct rill_datagram_config *config, int *error);

/* Sends a copy of LENGTH bytes to TO; NULL: to the peer that it is connected with. Returns 0: it will be tried;
 * -ENOBUFS: too much is queued; -EMSGSIZE: more than 65,536 bytes; -ENOMEM; -EPIPE: it is closed. Never blocks. */
int rill_datagram_send(struct rill_datagram *endpoint, const struct rill_addr *to, const void *bytes, size_t length);

/* Closes; what is queued is sent as far as the socket takes it now. on_close runs before this returns. A second call is
 * a no-op. */
void rill_datagram_close(struct rill_datagram *endpoint);

/* Since it was opened. */
struct rill_datagram_stats {
    uint64_t received;
    uint64_t cut;     /* of these, those that were longer than max_datagram_bytes */
    uint64_t sent;    /* given to the kernel */
    uint64_t refused; /* with -ENOBUFS or -ENOMEM */
    uint64_t failed;  /* refused by the kernel, or still queued at the close */
};
void rill_datagram_stats(const struct rill_datagram *endpoint, struct rill_datagram_stats *stats);

/* Bytes queued, as max_queued_bytes counts them. */
size_t rill_datagram_queued(const struct rill_datagram *endpoint);

/* The address that it is bound to. */
const struct rill_addr *rill_datagram_local(const struct rill_datagram *endpoint);

/* The `arg` of its config. */
void *rill_datagram_arg(const struct rill_datagram *endpoint);

/* The app's own pointer. */
void *rill_datagram_user(const struct rill_datagram *endpoint);
void rill_datagram_set_user(struct rill_datagram *endpoint, void *user);

struct rill_loop *rill_datagram_loop(const struct rill_datagram *endpoint);

/* The socket, for options that are not here (multicast groups, broadcast). -1: it is closed. */
int rill_datagram_fd(const struct rill_datagram *endpoint);

#ifdef __cplusplus
}
#endif

#endif
