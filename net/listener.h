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
    /* Accepting pauses, because nobody is welcome or descriptors or memory are lacking. NULL: the former is logged. */
    void (*on_full)(void *arg);
    /* rill_listener_close() has done its work; the listener is gone. May be NULL. */
    void (*on_closed)(void *arg);
    void *arg;
};

/* Whether the kernel keeps new TCP connections until their first byte has come (TCP_DEFER_ACCEPT). For protocols in
 * which the client speaks first; one that says nothing is accepted about a second late. */
enum rill_defer_accept {
    RILL_DEFER_DEFAULT, /* an HTTP server's is AUTO, all others' OFF */
    RILL_DEFER_OFF,
    RILL_DEFER_ON,
    RILL_DEFER_AUTO, /* while short connections come in numbers; see net/defer_internal.h */
};

/* Reads "off", "on" or "auto". Returns 0 or -EINVAL. Thread: any. */
int rill_defer_accept_parse(const char *text, enum rill_defer_accept *defer);

/* Accepts on FD, a non-blocking listening socket that the listener owns from here on, on LOOP. HANDLER is copied.
 * Returns NULL and sets *ERROR to a negative errno when that cannot be; FD is closed then. */
struct rill_listener *rill_listener_new(struct rill_loop *loop, int fd, const struct rill_listener_handler *handler,
                                        enum rill_defer_accept mode, int *error);

/* Accepts what waits in the backlog already, then closes the socket, frees the listener and calls on_closed: nobody who
 * got through the handshake is turned away while there is room. Clients that the kernel holds back because they have
 * not said anything are waited for, which takes 1.2 s, unless NOW; a second call with NOW ends the wait. Called by
 * on_accept or on_batch_end, it takes effect after the batch. NULL is ignored. */
void rill_listener_close(struct rill_listener *listener, bool now);

#ifdef __cplusplus
}
#endif

#endif
