/* listener.c - accepting.
 *
 * The event is level-triggered and a batch is bounded, so that a flood of connections does not starve the rest
 * of the loop. When descriptors (or memory, or the connection limit) run out the event is taken away and a timer
 * brings it back: the level-triggered event would spin otherwise. */
#include "rill/net/listener.h"
#include "rill/core/log.h"
#include "rill/core/loop_stats.h"
#include "rill/core/sys.h"
#include "rill/net/defer_internal.h"
#include "rill/net/sock_internal.h"
#include <event2/event.h>
#include <event2/event_struct.h>

enum {
    BATCH = 64,
    PAUSE_MS = 50,
    CALM_MS = 1000,
    HELD_MS = 1200, /* the kernel hands out a silent client when it has answered the second SYN-ACK, sent after 1 s */
};

struct rill_listener {
    struct rill_loop *loop;
    struct event event;
    struct rill_timer resume;
    struct rill_timer calm;     /* deferring may be over */
    struct rill_timer released; /* closing: the kernel holds nobody back any more */
    struct rill_listener_handler handler;
    struct rill_defer defer;
    enum rill_defer_accept mode;
    uint64_t held_until_ms; /* clients may be held back until then; UINT64_MAX: deferring goes on */
    int fd;
    bool complained;                     /* about this shortage, which lasts until the backlog was emptied */
    bool accepting;                      /* in accept_batch(): the callbacks may close the listener */
    bool close_wanted, close_wanted_now; /* by a callback of the batch */
    bool closing;                        /* in a while */
};

int rill_defer_accept_parse(const char *text, enum rill_defer_accept *defer)
{
    static const char *const names[] = {[RILL_DEFER_OFF] = "off", [RILL_DEFER_ON] = "on", [RILL_DEFER_AUTO] = "auto"};
    for (unsigned i = RILL_DEFER_OFF; i < rill_array_length(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *defer = (enum rill_defer_accept)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* --- deferring --- */

static void defer(struct rill_listener *listener, bool on)
{
    uint64_t now_ms = rill_loop_now_ms(listener->loop);
    if (on == (listener->held_until_ms == UINT64_MAX))
        return;
    if (rill_sock_defer_accept(listener->fd, on) < 0) {
        listener->mode = RILL_DEFER_OFF; /* not a TCP socket */
        listener->held_until_ms = 0;
        return;
    }
    listener->held_until_ms = on ? UINT64_MAX : now_ms + HELD_MS;
    if (on && listener->mode == RILL_DEFER_AUTO)
        rill_loop_arm(listener->loop, &listener->calm, CALM_MS);
}

static void on_calm(struct rill_timer *timer)
{
    struct rill_listener *listener = rill_container_of(timer, struct rill_listener, calm);
    if (rill_defer_calm(&listener->defer, rill_loop_now_ms(listener->loop)))
        rill_loop_arm(listener->loop, timer, CALM_MS);
    else
        defer(listener, false);
}

/* --- accepting --- */

static void pause_accepting(struct rill_listener *listener)
{
    event_del(&listener->event);
    rill_loop_arm(listener->loop, &listener->resume, PAUSE_MS);
    if (listener->handler.on_full)
        listener->handler.on_full(listener->handler.arg);
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

static void accepted(struct rill_listener *listener, int fd, const struct rill_ip *peer)
{
    listener->defer.accepted++;
    listener->handler.on_accept(listener->handler.arg, fd, peer);
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
            accepted(listener, fd, &peer);
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
    rill_loop_note_work(listener->loop);
    unsigned welcome = room(listener);
    if (welcome == 0) {
        if (!listener->handler.on_full)
            complain(listener, 0);
        pause_accepting(listener);
        return;
    }
    if (listener->mode == RILL_DEFER_AUTO && !listener->closing)
        defer(listener, rill_defer_look(&listener->defer, rill_loop_now_ms(listener->loop), welcome));
    int error = accept_batch(listener, welcome);
    if (listener->close_wanted) {
        rill_listener_close(listener, listener->close_wanted_now);
    } else if (error < 0 && error != -EAGAIN) {
        complain(listener, error);
        pause_accepting(listener);
    }
}

/* --- closing --- */

static void close_now(struct rill_listener *listener)
{
    struct rill_listener_handler handler = listener->handler;
    event_del(&listener->event);
    rill_loop_disarm(listener->loop, &listener->resume);
    rill_loop_disarm(listener->loop, &listener->calm);
    rill_loop_disarm(listener->loop, &listener->released);
    for (unsigned most = room(listener); most > 0; most = room(listener))
        if (accept_batch(listener, most) < 0)
            break;
    rill_sys_close(listener->fd);
    rill_sys_free(listener);
    if (handler.on_closed)
        handler.on_closed(handler.arg);
}

static void on_released(struct rill_timer *timer)
{
    close_now(rill_container_of(timer, struct rill_listener, released));
}

void rill_listener_close(struct rill_listener *listener, bool now)
{
    if (!listener)
        return;
    rill_loop_check(listener->loop, __func__);
    if (listener->accepting) {
        listener->close_wanted = true; /* when the batch has ended */
        listener->close_wanted_now |= now;
        return;
    }
    defer(listener, false);
    if (now || listener->held_until_ms <= rill_loop_now_ms(listener->loop)) {
        close_now(listener);
    } else if (!listener->closing) {
        listener->closing = true;
        listener->close_wanted = false;
        rill_loop_arm_at(listener->loop, &listener->released, listener->held_until_ms);
    }
}

struct rill_listener *rill_listener_new(struct rill_loop *loop, int fd, const struct rill_listener_handler *handler,
                                        enum rill_defer_accept mode, int *error)
{
    rill_loop_check(loop, __func__);
    struct rill_listener *listener = rill_sys_calloc(1, sizeof *listener);
    if (!listener)
        goto no_listener;
    listener->loop = loop;
    listener->fd = fd;
    listener->handler = *handler;
    listener->mode = mode;
    rill_timer_init(&listener->resume, resume_accepting);
    rill_timer_init(&listener->calm, on_calm);
    rill_timer_init(&listener->released, on_released);
    defer(listener, mode == RILL_DEFER_ON);
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
