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
    bool complained; /* about this shortage, once until an accept succeeds again */
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

/* Accepts up to MOST connections. Returns 0 when more may wait, or the negative errno that ended it. */
static int accept_batch(struct rill_listener *listener, unsigned most)
{
    for (unsigned i = 0; i < most; i++) {
        struct rill_ip peer;
        int fd = rill_sock_accept(listener->fd, &peer);
        if (fd < 0) {
            /* The peer may have gone already, or been refused by a filter (accept(2)): the next may be fine. */
            if (fd == -ECONNABORTED || fd == -EINTR || fd == -EPROTO || fd == -EPERM || fd == -ENETDOWN ||
                fd == -EHOSTUNREACH || fd == -ENETUNREACH)
                continue;
            return fd;
        }
        listener->complained = false;
        listener->handler.on_accept(listener->handler.arg, fd, &peer);
    }
    return 0;
}

static unsigned room(struct rill_listener *listener)
{
    return listener->handler.room ? listener->handler.room(listener->handler.arg) : BATCH;
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
    int error = accept_batch(listener, welcome < BATCH ? welcome : BATCH);
    if (listener->handler.on_batch_end)
        listener->handler.on_batch_end(listener->handler.arg);
    if (error < 0 && error != -EAGAIN) {
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
    event_del(&listener->event);
    rill_loop_disarm(listener->loop, &listener->resume);
    int error = 0;
    while (error == 0 && room(listener) > 0)
        error = accept_batch(listener, BATCH);
    if (listener->handler.on_batch_end)
        listener->handler.on_batch_end(listener->handler.arg);
    rill_sys_close(listener->fd);
    rill_sys_free(listener);
}
