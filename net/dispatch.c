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
    const struct rill_server *server = arg;
    uint64_t open = 0;
    for (unsigned i = 0; i < server->loop_count; i++)
        open += open_connections(&server->loops[i]);
    return open < server->max_connections ? (unsigned)(server->max_connections - open) : 0;
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

static void adopt(struct server_loop *sl, int fd, const struct rill_ip *peer)
{
    int error = rill_conn_adopt(sl->loop, fd, peer, &sl->server->conn_config);
    if (error < 0) {
        /* It never became a connection, so nothing will count it as closed. */
        __atomic_store_n(&sl->net->closed_total, sl->net->closed_total + 1, __ATOMIC_RELEASE);
        rill_log_warn("a connection is dropped: %s", strerror(-error));
    }
}

/* On the loop's thread: the message and its sockets are the loop's now. */
static void adopt_batch(struct rill_task *task)
{
    struct handoff *handoff = rill_container_of(task, struct handoff, task);
    for (unsigned i = 0; i < handoff->count; i++)
        adopt(handoff->to, handoff->accepted[i].fd, &handoff->accepted[i].peer);
    rill_sys_free(handoff);
}

static void drop_batch(struct handoff *handoff)
{
    for (unsigned i = 0; i < handoff->count; i++)
        rill_sys_close(handoff->accepted[i].fd);
    rill_sys_free(handoff);
}

static void post_pending(struct server_loop *sl)
{
    struct handoff *handoff = sl->pending;
    sl->pending = NULL;
    if (handoff && rill_loop_post(sl->loop, &handoff->task) < 0)
        drop_batch(handoff); /* the loop has ended: so does the server */
}

static void on_main_batch_end(void *arg)
{
    struct rill_server *server = arg;
    for (unsigned i = 0; i < server->loop_count; i++)
        post_pending(&server->loops[i]);
}

static void on_main_accept(void *arg, int fd, const struct rill_ip *peer)
{
    struct rill_server *server = arg;
    struct server_loop *sl = choose(server);
    if (sl->loop == server->main_loop) {
        count(&sl->dealt);
        adopt(sl, fd, peer);
        return;
    }
    if (!sl->pending) {
        sl->pending = rill_sys_malloc(sizeof *sl->pending);
        if (!sl->pending) {
            rill_log_warn("a connection is dropped: %s", strerror(ENOMEM));
            rill_sys_close(fd);
            return;
        }
        sl->pending->task.run = adopt_batch;
        sl->pending->to = sl;
        sl->pending->count = 0;
    }
    sl->pending->accepted[sl->pending->count].fd = fd;
    sl->pending->accepted[sl->pending->count++].peer = *peer;
    count(&sl->dealt);
    if (sl->pending->count == HANDOFF_CONNECTIONS)
        post_pending(sl);
}

static void on_loop_accept(void *arg, int fd, const struct rill_ip *peer)
{
    struct server_loop *sl = arg;
    count(&sl->accepted);
    adopt(sl, fd, peer);
}

static unsigned loop_room(void *arg)
{
    const struct server_loop *sl = arg;
    return room(sl->server);
}

bool rill_server_listens_per_loop(const struct rill_server *server, unsigned i)
{
    return server->config.accept == RILL_ACCEPT_REUSEPORT && server->config.threads > 0 &&
           server->addrs[i].socket.any.sa_family != AF_UNIX; /* the kernel does not balance those */
}

int rill_server_open_main_listeners(struct rill_server *server)
{
    const struct rill_listener_handler handler = {
        .on_accept = on_main_accept, .on_batch_end = on_main_batch_end, .room = room, .arg = server};
    int error = 0;
    for (unsigned i = 0; i < server->listener_count; i++) {
        if (server->listen_fds[i] < 0)
            continue;
        server->listeners[i] = rill_listener_new(server->main_loop, server->listen_fds[i], &handler, &error);
        server->listen_fds[i] = -1;
        if (!server->listeners[i])
            return error;
    }
    return 0;
}

int rill_server_open_loop_listeners(struct server_loop *sl)
{
    const struct rill_listener_handler handler = {.on_accept = on_loop_accept, .room = loop_room, .arg = sl};
    int error = 0;
    for (unsigned i = 0; i < sl->server->listener_count; i++) {
        if (sl->listen_fds[i] < 0)
            continue;
        sl->listeners[i] = rill_listener_new(sl->loop, sl->listen_fds[i], &handler, &error);
        sl->listen_fds[i] = -1;
        if (!sl->listeners[i])
            return error;
    }
    return 0;
}
