/* listener.h - a listening socket on a loop: accepts in batches, and pauses when descriptors run out. */
#ifndef RILL_NET_LISTENER_H
#define RILL_NET_LISTENER_H

#include "rill/core/loop.h"
#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_listener;

struct rill_listener_handler {
    /* Takes over FD, an accepted, non-blocking socket. */
    void (*on_accept)(void *arg, int fd, const struct rill_ip *peer);
    /* A batch of accepts is over: the time to pass on what was gathered. May be NULL. */
    void (*on_batch_end)(void *arg);
    /* How many more connections are welcome; 0 pauses accepting. NULL: always welcome. */
    unsigned (*room)(void *arg);
    void *arg;
};

/* Accepts on FD, a non-blocking listening socket that the listener owns from here on, on LOOP. HANDLER is copied.
 * Returns NULL and sets *ERROR to a negative errno when that cannot be; FD is closed then. */
struct rill_listener *rill_listener_new(struct rill_loop *loop, int fd, const struct rill_listener_handler *handler,
                                        int *error);

/* Accepts what waits in the backlog already, then closes the socket and frees the listener: nobody who got through
 * the handshake is turned away while there is room. Called by on_accept or on_batch_end, it takes effect after the
 * batch. NULL is ignored. */
void rill_listener_close(struct rill_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
