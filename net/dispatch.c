/* dispatch.c - from accept to a loop: which loop gets a connection, and how it gets there.
 *
 * The main reactor gathers a batch of accepts into one message a loop and posts each message once, so that a burst
 * of connections costs a loop one wake-up. A loop's load is the difference of counters, each with one writer: how many
 * the main loop dealt to it, how many it accepted itself, and how many of them it has closed; nobody needs an atomic
 * read-modify-write. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"

/* Those closed are read first: read last they could be more than had come when that was read. */
static uint64_t open_connections(const struct server_loop *sl)
{
    uint64_t closed = __atomic_load_n(&sl->net->closed_total, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&sl->dealt, __ATOMIC_RELAXED) + __atomic_load_n(&sl->accepted, __ATOMIC_RELAXED) - closed;
}

static void count(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* Another thread's counters may be a moment old, so with RILL_ACCEPT_REUSEPORT the limit can be passed by a batch. */
static unsigned room(void *arg)
{
    const struct server_listener *listener = arg;
    struct rill_server *server = listener->server;
    uint64_t open = 0;
    if (RILL_UNLIKELY(rill_overload_pauses(&server->overload)))
        return 0;
    for (unsigned i = 0; i < server->loop_count; i++)
        open += open_connections(&server->loops[i]);
    if (RILL_UNLIKELY(open + server->overload.headroom > server->max_connections))
        rill_overload_want(&server->overload, RILL_MEASURE_CLOSE_IDLE);
    return open < server->max_connections ? (unsigned)(server->max_connections - open) : 0;
}

/* Somebody wants in, and there is no room. */
static void on_full(void *arg)
{
    const struct server_listener *listener = arg;
    struct rill_overload *overload = &listener->server->overload;
    __atomic_fetch_add(&overload->pauses, 1, __ATOMIC_RELAXED);
    rill_overload_want(overload, RILL_MEASURE_CLOSE_IDLE | RILL_MEASURE_PAUSE | RILL_MEASURE_CLOSE_WAITING);
}

static struct server_loop *choose(struct rill_server *server)
{
    struct server_loop *chosen = &server->loops[server->next_loop];
    server->next_loop = server->next_loop + 1 < server->loop_count ? server->next_loop + 1 : 0;
    if (server->config.accept != RILL_ACCEPT_LEAST_CONNECTIONS)
        return chosen;
    uint64_t fewest = open_connections(chosen);
    for (unsigned i = 0; i < server->loop_count; i++) {
        uint64_t open = open_connections(&server->loops[i]);
        if (open < fewest) {
            fewest = open;
            chosen = &server->loops[i];
        }
    }
    return chosen;
}

/* LISTENER's connections are counted by address when they come, unless that is a proxy's; then the gate does it. */
static bool counts_at_once(const struct rill_server *server, unsigned listener)
{
    return server->address_counts && !server->gates[listener];
}

/* What was admitted does not become a connection. */
static void forget(struct rill_server *server, unsigned listener, const struct rill_ip *peer)
{
    if (counts_at_once(server, listener))
        rill_address_counts_release(server->address_counts, peer);
}

static void adopt(struct server_loop *sl, unsigned listener, int fd, const struct rill_ip *peer,
                  struct rill_trace_mark traced)
{
    uint64_t began_ns = rill_trace_begin_adopt(sl->net->trace, traced);
    int error = rill_conn_adopt(sl->loop, fd, peer, &sl->server->conn_configs[listener]);
    rill_trace_end_adopt(sl->net->trace, traced, began_ns);
    if (error < 0) {
        forget(sl->server, listener, peer);
        /* It never became a connection, so nothing will count it as closed. */
        __atomic_store_n(&sl->net->closed_total, sl->net->closed_total + 1, __ATOMIC_RELEASE);
        rill_log_warn("a connection is dropped: %s", strerror(-error));
    }
}

/* On the loop's thread: the message and its sockets are the loop's now. */
static void adopt_batch(struct rill_task *task)
{
    struct handoff *handoff = rill_container_of(task, struct handoff, task);
    struct server_loop *sl = handoff->to;
    for (unsigned i = 0; i < handoff->count; i++) {
        rill_trace_arrived(sl->net->trace, handoff->accepted[i].traced, handoff->posted_ns);
        adopt(sl, handoff->accepted[i].listener, handoff->accepted[i].fd, &handoff->accepted[i].peer,
              handoff->accepted[i].traced);
    }
    rill_sys_free(handoff);
}

/* A socket that was accepted is dropped before it became a connection. */
static void drop(struct rill_server *server, unsigned listener, int fd, const struct rill_ip *peer)
{
    forget(server, listener, peer);
    rill_sys_close(fd);
}

static void drop_batch(struct handoff *handoff)
{
    for (unsigned i = 0; i < handoff->count; i++)
        drop(handoff->to->server, handoff->accepted[i].listener, handoff->accepted[i].fd, &handoff->accepted[i].peer);
    rill_sys_free(handoff);
}

bool rill_server_admits(struct rill_server *server, const struct rill_ip *peer)
{
    if ((RILL_LIKELY(!server->accept_rates) ||
         rill_address_rates_take(server->accept_rates, peer, rill_sys_monotonic_ns()) == 0) &&
        (RILL_LIKELY(!server->address_counts) || rill_address_counts_take(server->address_counts, peer)))
        return true;
    __atomic_fetch_add(&server->refused, 1, __ATOMIC_RELAXED);
    return false;
}

/* Whether one more connection from PEER is welcome at LISTENER. The client behind a proxy is looked at by the gate. */
static bool admit(struct rill_server *server, unsigned listener, const struct rill_ip *peer)
{
    struct server_gate *gate = server->gates[listener];
    if (RILL_LIKELY(!gate))
        return rill_server_admits(server, peer);
    if (RILL_LIKELY(rill_server_gate_admits(gate, peer)))
        return true;
    __atomic_fetch_add(&server->refused, 1, __ATOMIC_RELAXED);
    return false;
}

static void post_pending(struct server_loop *sl)
{
    struct handoff *handoff = sl->pending;
    sl->pending = NULL;
    if (handoff && RILL_UNLIKELY(sl->server->trace != NULL))
        handoff->posted_ns = rill_clock_ns();
    if (handoff && rill_loop_post(sl->loop, &handoff->task) < 0)
        drop_batch(handoff); /* the loop has ended: so does the server */
}

static void on_main_batch_end(void *arg)
{
    const struct server_listener *from = arg;
    struct rill_server *server = from->server;
    for (unsigned i = 0; i < server->loop_count; i++)
        post_pending(&server->loops[i]);
}

static void hand_over(struct server_loop *sl, unsigned listener, int fd, const struct rill_ip *peer,
                      struct rill_trace_mark traced)
{
    if (!sl->pending) {
        sl->pending = rill_sys_malloc(sizeof *sl->pending);
        if (!sl->pending) {
            rill_log_warn("a connection is dropped: %s", strerror(ENOMEM));
            drop(sl->server, listener, fd, peer);
            return;
        }
        sl->pending->task.run = adopt_batch;
        sl->pending->to = sl;
        sl->pending->count = 0;
    }
    sl->pending->accepted[sl->pending->count].fd = fd;
    sl->pending->accepted[sl->pending->count].listener = listener;
    sl->pending->accepted[sl->pending->count].traced = traced;
    sl->pending->accepted[sl->pending->count++].peer = *peer;
    count(&sl->dealt);
    if (sl->pending->count == HANDOFF_CONNECTIONS)
        post_pending(sl);
}

static void on_main_accept(void *arg, int fd, const struct rill_ip *peer)
{
    const struct server_listener *from = arg;
    struct rill_server *server = from->server;
    if (!admit(server, from->number, peer)) {
        rill_sys_close(fd);
        return;
    }
    struct rill_trace_mark traced = rill_trace_begin_accept(rill_loop_trace(server->main_loop));
    struct server_loop *sl = choose(server);
    if (sl->loop == server->main_loop) {
        count(&sl->dealt);
        adopt(sl, from->number, fd, peer, traced);
    } else {
        hand_over(sl, from->number, fd, peer, traced);
    }
    rill_trace_end_accept(rill_loop_trace(server->main_loop), traced);
}

static void on_loop_accept(void *arg, int fd, const struct rill_ip *peer)
{
    const struct server_listener *from = arg;
    if (!admit(from->server, from->number, peer)) {
        rill_sys_close(fd);
        return;
    }
    struct rill_trace_mark traced = rill_trace_begin_accept(from->to->net->trace);
    count(&from->to->accepted);
    adopt(from->to, from->number, fd, peer, traced);
    rill_trace_end_accept(from->to->net->trace, traced);
}

bool rill_server_listens_per_loop(const struct rill_server *server, unsigned i)
{
    return server->config.accept == RILL_ACCEPT_REUSEPORT && server->config.threads > 0 &&
           server->addresses[i].fd < 0 &&                             /* an inherited one there is only once */
           server->addresses[i].addr.socket.any.sa_family != AF_UNIX; /* the kernel does not balance those */
}

int rill_server_open_listeners(struct rill_loop *loop, struct server_listener *listeners, unsigned number,
                               void (*on_closed)(void *place))
{
    int error = 0;
    for (unsigned i = 0; i < number; i++) {
        struct server_listener *place = &listeners[i];
        struct rill_listener_handler handler = {.on_accept = on_main_accept,
                                                .on_batch_end = on_main_batch_end,
                                                .room = room,
                                                .on_full = on_full,
                                                .on_closed = on_closed,
                                                .arg = place};
        if (place->to) {
            handler.on_accept = on_loop_accept;
            handler.on_batch_end = NULL;
        }
        if (place->fd < 0)
            continue;
        place->listener = rill_listener_new(loop, place->fd, &handler, place->server->config.defer_accept, &error);
        place->fd = -1;
        if (!place->listener) {
            rill_server_remove_socket_file(&place->server->addresses[place->number]);
            return error;
        }
    }
    return 0;
}
