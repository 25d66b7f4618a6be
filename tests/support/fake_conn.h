/* fake_conn.h - connections without sockets: the functions of net/conn.h over bytes in memory, on a real loop, and the
 * client's end of each in the hands of the test. Linked instead of net/conn.c; keeps the same rules of life.
 *
 * Whatever a callback is shown lies in a block of memory of exactly its size that is freed when the callback
 * returns, and room for output is a block of its own, so that AddressSanitizer sees a byte too far and a slice kept too
 * long. */
#ifndef RILL_TESTS_SUPPORT_FAKE_CONN_H
#define RILL_TESTS_SUPPORT_FAKE_CONN_H

#include "rill/net/conn.h"

/* The client's end. All zero, then fake_conn_open(); stays good after the connection has closed. */
struct fake_peer {
    /* The test's to set. */
    size_t read_max; /* the server reads at most so many bytes at a time; 0: all */
    bool stalled;    /* the client takes no more than `room` further bytes */
    size_t room;

    /* To be looked at. */
    struct rill_conn *conn; /* NULL once it has closed */
    char *received;         /* all that has left the server; NUL-terminated */
    size_t received_length;
    unsigned opens, closes; /* calls of on_open and on_close */
    enum rill_close_reason reason;
    bool lingered;       /* after its last byte the server went on reading */
    bool finished;       /* the server has ended its stream */
    uint64_t dropped;    /* bytes of output that never left */
    size_t unread;       /* bytes sent that the server has not read */
    uint64_t read_total; /* bytes that it has */

    /* Private. */
    char *sent;
    size_t received_capacity;
    bool ended, reset;
};

/* Makes PEER a client of LOOP. Returns 0, or -ENFILE as rill_conn_adopt(). */
int fake_conn_open(struct rill_loop *loop, struct fake_peer *peer, const struct rill_conn_config *config);

/* The client sends, ends its stream, or breaks the connection. Nothing happens before the loop's next turn. */
void fake_peer_send(struct fake_peer *peer, const void *bytes, size_t length);
void fake_peer_end(struct fake_peer *peer);
void fake_peer_reset(struct fake_peer *peer);

/* Forgets what was received. */
void fake_peer_forget(struct fake_peer *peer);

/* Frees what PEER holds; the connection must have closed. */
void fake_peer_free(struct fake_peer *peer);

/* A turn of LOOP in which all connections read and write what can be. */
void fake_conn_turn(struct rill_loop *loop);

#endif
