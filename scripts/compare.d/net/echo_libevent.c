/* echo_libevent.c - echo with libevent's bufferevents. What was read is moved into the output, not copied; the bases
 * take no locks and put off their epoll_ctl calls to the next wait.
 *
 *     echo_libevent PORT LOOPS */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>

#include "peer.h"

struct loop {
    struct event_base *base;
};

enum { HIGH_WATER_BYTES = 1 << 20 };

static void on_drained(struct bufferevent *bev, void *arg)
{
    (void)arg;
    bufferevent_enable(bev, EV_READ);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct evbuffer *output = bufferevent_get_output(bev);

    (void)arg;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
    if (evbuffer_get_length(output) > HIGH_WATER_BYTES) {
        bufferevent_disable(bev, EV_READ);
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        bufferevent_free(bev);
    }
}

static void on_inbox(evutil_socket_t inbox, short what, void *arg)
{
    struct loop *loop = arg;
    int fd;

    (void)what;
    while ((fd = peer_take(inbox)) >= 0) {
        struct bufferevent *bev = bufferevent_socket_new(loop->base, fd, BEV_OPT_CLOSE_ON_FREE);
        if (bev == NULL) {
            peer_die("bufferevent_socket_new");
        }
        bufferevent_setcb(bev, on_read, on_drained, on_event, NULL);
        bufferevent_enable(bev, EV_READ | EV_WRITE);
    }
}

static void run(int inbox)
{
    struct loop loop;
    struct event_config *config = event_config_new();

    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    loop.base = event_base_new_with_config(config);
    struct event *incoming = event_new(loop.base, inbox, EV_READ | EV_PERSIST, on_inbox, &loop);
    if (incoming == NULL || event_add(incoming, NULL) != 0) {
        peer_die("event_add");
    }
    event_base_dispatch(loop.base);
    exit(1);
}

int main(int argc, char **argv)
{
    peer_serve(argc, argv, run);
}
