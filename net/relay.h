/* relay.h - two connections of one loop made into one: what comes to either leaves by the other.
 *
 * A side that is slow holds the other one back: no more than one read (64 KiB), or one pipe in the kernel (1 MiB),
 * waits for it. The end of either stream is passed on when all before it has been, and the other way goes on; the relay
 * ends when both ways have. When a connection fails, the other one ends with it: by a reset when bytes may be missing,
 * so that nobody takes a part for the whole.
 *
 * Bytes that come in quantity go from socket to pipe to socket with splice(2), and are never copied to the program;
 * single messages, which are cheaper to copy, are copied, and so is everything while there are no pipes to be had.
 * splice(2) knows no MSG_NOSIGNAL: the program ignores SIGPIPE, as rill_server_run() with signals does. */
#ifndef RILL_NET_RELAY_H
#define RILL_NET_RELAY_H

#include "rill/net/conn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a relay ended. */
struct rill_relay_end {
    enum rill_close_reason reason; /* RILL_CLOSE_EOF: both streams ended, and all of both was passed on */
    int side;                      /* the connection that ended it, or that was the last to end: 0: A, 1: B */
    uint64_t bytes[2];             /* that came from A, and from B */
};

/* What many relays share; it outlives them. Zero is the default of every field. */
struct rill_relay_config {
    uint64_t idle_timeout_ms;  /* without a byte either way; 0: none */
    uint64_t write_timeout_ms; /* bytes wait and the peer takes none; 0: none */
    bool copy_only;            /* no splice(2) */
    /* Both connections have closed. May be NULL. USER is that of rill_relay_start(). */
    void (*on_end)(const struct rill_relay_end *end, void *user);
};

/* Couples A and B, two connections of one loop, which are the relay's from here on: their handlers hear nothing more of
 * them, on_close included. The first bytes to be relayed are those that A and B were shown and did not consume; what
 * waits to be sent leaves before them; an end that has come is passed on. Pauses that the app asked for end. Closing
 * either connection ends the relay; draining the server does not, until its time is up. Returns 0; -EPIPE: one of them
 * is closed, closing or shut down already; -EINVAL: they are not two of one loop; -ENOMEM. After an error nothing has
 * changed. */
RILL_WARN_UNUSED int rill_relay_start(struct rill_conn *a, struct rill_conn *b, const struct rill_relay_config *config,
                                      void *user);

#ifdef __cplusplus
}
#endif

#endif
