/* listener.c - accepting.
 *
 * The event is level-triggered and a batch is bounded, so that a flood of connections does not starve the rest
 * of the loop. When descriptors (or memory, or the connection limit) run out the event is taken away and a timer
 * brings it back: the level-triggered event would spin otherwise. */
#include "rill/net/listener.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/sock_internal.h"
#include <event2/event.h>
#include <event2/event_struct.h>

enum {
    BATCH = 64,
    PAUSE_MS = 50,
};

struct rill_listener {
    struct rill_loop *loop;
    struct event event;
    struct rill_timer resume;
    struct rill_listener_handler handler;
    int fd;
    bool complained; /* about this shortage, which lasts until the backlog was emptied */
    bool accepting;  /* in accept_batch(): the callbacks may close the listener */
    bool closing;
};

static void pause_accepting(struct rill_listener *listener)
{
    event_del(&listener->event);
    rill_loop_arm(listener->loop, &listener->resume, PAUSE_MS);
}

static void resume_accepting(struct rill_timer *timer)
{
    struct rill_listener *listener = rill_container_of(timer, struct rill_listener, resume);
    if (event_add(&listener->event, NULL) < 0)
        rill_loop_arm(listener->loop, timer, PAUSE_MS);
}

static void complain(struct rill_listener *listener, int error)
{
    if (listener->complained)
        return;
    listener->complained = true;
    if (error == 0)
        rill_log_warn("the connection limit is reached; accepting pauses until connections close");
    else
        rill_log_warn("accepting pauses: %s; %s", strerror(-error),
                      error == -EMFILE ? "raise the limit of open files (ulimit -n) or lower --max-connections"
                                       : "it goes on when the system has room again");
}

/* Whether ERROR is one connection's trouble: the peer has gone already, or a filter refused it, or the network has
 * failed it (accept(2)). The next may be fine. */
static bool is_of_one_connection(int error)
{
    switch (-error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static unsigned room(struct rill_listener *listener)
{
    return listener->handler.room ? listener->handler.room(listener->handler.arg) : BATCH;
}

/* Accepts a batch, MOST connections at the most. Returns 0 when more may wait, -EAGAIN when none does, or what else
 * ended it. */
static int accept_batch(struct rill_listener *listener, unsigned most)
{
    int error = 0;
    listener->accepting = true;
    for (unsigned i = 0; i < most && i < BATCH && error == 0; i++) {
        struct rill_ip peer;
        int fd = rill_sock_accept(listener->fd, &peer);
        if (fd >= 0)
            listener->handler.on_accept(listener->handler.arg, fd, &peer);
        else if (!is_of_one_connection(fd))
            error = fd;
    }
    listener->accepting = false;
    if (listener->handler.on_batch_end)
        listener->handler.on_batch_end(listener->handler.arg);
    if (error == -EAGAIN)
        listener->complained = false;
    return error;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct rill_listener *listener = arg;
    (void)fd;
    (void)what;
    unsigned welcome = room(listener);
    if (welcome == 0) {
        complain(listener, 0);
        pause_accepting(listener);
        return;
    }
    int error = accept_batch(listener, welcome);
    if (listener->closing) {
        rill_listener_close(listener);
    } else if (error < 0 && error != -EAGAIN) {
        complain(listener, error);
        pause_accepting(listener);
    }
}

struct rill_listener *rill_listener_new(struct rill_loop *loop, int fd, const struct rill_listener_handler *handler,
                                        int *error)
{
    rill_loop_check(loop, __func__);
    struct rill_listener *listener = rill_sys_calloc(1, sizeof *listener);
    if (!listener)
        goto no_listener;
    listener->loop = loop;
    listener->fd = fd;
    listener->handler = *handler;
    rill_timer_init(&listener->resume, resume_accepting);
    if (event_assign(&listener->event, rill_loop_base(loop), fd, EV_READ | EV_PERSIST, on_acceptable, listener) < 0 ||
        event_add(&listener->event, NULL) < 0)
        goto no_event;
    return listener;

no_event:
    rill_sys_free(listener);
no_listener:
    rill_sys_close(fd);
    *error = -ENOMEM;
    return NULL;
}

void rill_listener_close(struct rill_listener *listener)
{
    if (!listener)
        return;
    rill_loop_check(listener->loop, __func__);
    if (listener->accepting) {
        listener->closing = true; /* when the batch has ended */
        return;
    }
    event_del(&listener->event);
    rill_loop_disarm(listener->loop, &listener->resume);
    for (unsigned most = room(listener); most > 0; most = room(listener))
        if (accept_batch(listener, most) < 0)
            break;
    rill_sys_close(listener->fd);
    rill_sys_free(listener);
}
