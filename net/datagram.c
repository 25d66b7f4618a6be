/* datagram.c - an endpoint's life, and receiving.
 *
 * Events are level-triggered: a datagram socket tells with the count of a batch whether there is more, so one call a
 * wake-up is enough, where edges would ask for a second one that finds nothing. The batch lands in an area that all
 * endpoints of the loop share, since its contents are needed no longer than the callbacks run. It is reserved for the
 * longest datagrams and committed by the system as far as those that come do reach. */
#include "rill/core/loop_stats.h"
#include "rill/net/conn_internal.h"
#include "rill/net/datagram_internal.h"

enum { BATCHES_A_TURN = 4 }; /* of one endpoint, before the others have their turn */

/* --- the per-loop context --- */

static void process_ready(struct rill_task *task);
static void free_closed(struct rill_task *task);

static void unmap_area(struct rill_datagram_net *net)
{
    if (net->area)
        rill_sys_munmap(net->area, RILL_DATAGRAM_AREA_BYTES);
    net->area = NULL;
    net->slot_bytes = 0;
}

void rill_datagram_end_all(struct rill_datagram_net *net)
{
    if (!net)
        return;
    net->ready_deferred = net->closed_deferred = true; /* the tasks go away with the net: no turn will end any more */
    while (!rill_list_empty(&net->open))
        rill_datagram_close(rill_container_of(net->open.next, struct rill_datagram, link));
}

void rill_datagram_net_free(struct rill_datagram_net *net)
{
    if (!net)
        return;
    free_closed(&net->closed_task);
    rill_datagram_free_leases(net);
    rill_sys_free(net);
}

/* The loop's context, made when first asked for. NULL with *ERROR a negative errno. */
static struct rill_datagram_net *net_of(struct rill_loop *loop, int *error)
{
    struct rill_net *owner = rill_net_of(loop);
    *error = owner && owner->ending ? -ESHUTDOWN : owner ? 0 : -ENOMEM;
    if (*error < 0 || owner->datagrams)
        return *error < 0 ? NULL : owner->datagrams;
    struct rill_datagram_net *net = rill_sys_calloc(1, sizeof *net);
    if (!net) {
        *error = -ENOMEM;
        return NULL;
    }
    net->loop = loop;
    net->ready_task.run = process_ready;
    net->closed_task.run = free_closed;
    rill_list_init(&net->open);
    rill_list_init(&net->ready);
    owner->datagrams = net;
    return net;
}

static void free_closed_later(struct rill_datagram_net *net)
{
    if (!net->closed_deferred) {
        net->closed_deferred = true;
        rill_loop_defer_last(net->loop, &net->closed_task);
    }
}

static bool map_area(struct rill_datagram_net *net)
{
    if (!net->area) {
        void *area = rill_sys_mmap(NULL, RILL_DATAGRAM_AREA_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        net->area = area == MAP_FAILED ? NULL : area;
    }
    return net->area != NULL;
}

void rill_datagram_make_ready(struct rill_datagram *endpoint)
{
    struct rill_datagram_net *net = endpoint->net;
    if (!rill_list_empty(&endpoint->flush))
        return;
    rill_list_push_back(&net->ready, &endpoint->flush);
    if (!net->ready_deferred) {
        net->ready_deferred = true;
        rill_loop_defer(net->loop, &net->ready_task);
    }
}

static void process_ready(struct rill_task *task)
{
    struct rill_datagram_net *net = rill_container_of(task, struct rill_datagram_net, ready_task);
    struct rill_list batch, *link;
    rill_list_init(&batch);
    rill_list_splice_back(&batch, &net->ready);
    net->ready_deferred = false;
    while ((link = rill_list_pop_front(&batch)))
        rill_datagram_flush(rill_container_of(link, struct rill_datagram, flush));
}

/* --- receiving --- */

/* Has `in` ask for datagrams of ENDPOINT's length, which is most often what it was asked for last. */
static void set_up(struct rill_datagram_net *net, const struct rill_datagram_config *config)
{
    size_t most = config->max_datagram_bytes;
    if (most == 0 || most > RILL_DATAGRAM_MAX)
        most = RILL_DATAGRAM_MAX;
    if (net->slot_bytes == most)
        return;
    size_t stride = (most + RILL_CACHE_LINE - 1) / RILL_CACHE_LINE * RILL_CACHE_LINE;
    net->slot_bytes = most;
    net->slots = RILL_DATAGRAM_BATCH;
    if (RILL_DATAGRAM_AREA_BYTES / stride < net->slots)
        net->slots = (unsigned)(RILL_DATAGRAM_AREA_BYTES / stride);
    for (unsigned i = 0; i < net->slots; i++) {
        net->in_parts[i] = (struct iovec){.iov_base = net->area + i * stride, .iov_len = most};
        net->in[i].msg_hdr = (struct msghdr){.msg_name = &net->from[i].socket,
                                             .msg_namelen = sizeof net->from[i].socket,
                                             .msg_iov = &net->in_parts[i],
                                             .msg_iovlen = 1};
    }
}

/* The sender of the I-th message. The kernel writes no more of a Unix socket's address than there is. */
static const struct rill_addr *sender(struct rill_datagram_net *net, unsigned i)
{
    struct rill_addr *from = &net->from[i];
    from->length = net->in[i].msg_hdr.msg_namelen;
    net->in[i].msg_hdr.msg_namelen = sizeof from->socket; /* for the next time */
    if (from->length <= offsetof(struct sockaddr_un, sun_path)) {
        from->socket.local.sun_family = AF_UNIX;
        from->socket.local.sun_path[0] = '\0';
    }
    return from;
}

static void show(struct rill_datagram *endpoint, unsigned i)
{
    struct rill_datagram_net *net = endpoint->net;
    size_t length = net->in[i].msg_len; /* MSG_TRUNC: of all that was sent */
    struct rill_datagram_input input = {.from = sender(net, i), .bytes = net->in_parts[i].iov_base, .length = length};
    if (RILL_UNLIKELY(length > net->in_parts[i].iov_len)) {
        input.length = net->in_parts[i].iov_len;
        input.lost = length - input.length;
        endpoint->stats.cut++;
    }
    endpoint->stats.received++;
    if (endpoint->config->handler->on_datagram)
        endpoint->config->handler->on_datagram(endpoint, &input);
}

/* Receives one batch. True when more may wait. */
static bool receive(struct rill_datagram *endpoint)
{
    struct rill_datagram_net *net = endpoint->net;
    set_up(net, endpoint->config);
    int count = rill_sys_recvmmsg(endpoint->fd, net->in, net->slots, MSG_DONTWAIT | MSG_TRUNC);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR)
            rill_datagram_tell_error(endpoint, NULL, -errno);
        return false;
    }
    for (unsigned i = 0; i < (unsigned)count; i++) {
        if (RILL_UNLIKELY(endpoint->closed))
            sender(net, i); /* closed by its callback: what else has come is dropped */
        else
            show(endpoint, i);
    }
    return (unsigned)count == net->slots && !endpoint->closed;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct rill_datagram *endpoint = arg;
    (void)fd;
    (void)what;
    rill_loop_note_event(endpoint->net->loop);
    endpoint->in_callback = true;
    for (int i = 0; i < BATCHES_A_TURN && receive(endpoint); i++)
        ;
    endpoint->in_callback = false;
    if (endpoint->queued > 0 && !endpoint->waiting)
        rill_datagram_flush(endpoint);
}

void rill_datagram_tell_error(struct rill_datagram *endpoint, const struct rill_addr *to, int error)
{
    if (!endpoint->closed && endpoint->config->handler->on_error)
        endpoint->config->handler->on_error(endpoint, to, error);
}

/* --- opening --- */

static void wish_for_buffers(int fd, const struct rill_datagram_config *config)
{
    int receive_bytes = (int)config->receive_buffer_bytes, send_bytes = (int)config->send_buffer_bytes;
    if (receive_bytes > 0)
        rill_sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (send_bytes > 0)
        rill_sys_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
}

/* Opened, but not yet in the list of those that are. Returns 0 or a negative errno. */
static int set_going(struct rill_datagram *endpoint)
{
    struct event_base *base = rill_loop_base(endpoint->net->loop);
    endpoint->local.length = sizeof endpoint->local.socket;
    if (rill_sys_getsockname(endpoint->fd, &endpoint->local.socket.any, &endpoint->local.length) < 0)
        return -errno;
    wish_for_buffers(endpoint->fd, endpoint->config);
    if (!map_area(endpoint->net) ||
        event_assign(&endpoint->read_event, base, endpoint->fd, EV_READ | EV_PERSIST, on_readable, endpoint) < 0 ||
        event_assign(&endpoint->room_event, base, endpoint->fd, EV_WRITE, rill_datagram_on_room, endpoint) < 0 ||
        event_add(&endpoint->read_event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

struct rill_datagram *rill_datagram_adopt(struct rill_loop *loop, int fd, const struct rill_datagram_config *config,
                                          int *error)
{
    rill_loop_check(loop, __func__);
    struct rill_datagram_net *net = net_of(loop, error);
    struct rill_datagram *endpoint = net ? rill_sys_calloc(1, sizeof *endpoint) : NULL;
    if (net && !endpoint)
        *error = -ENOMEM;
    if (endpoint) {
        endpoint->net = net;
        endpoint->config = config;
        endpoint->fd = fd;
        rill_list_init(&endpoint->link);
        rill_list_init(&endpoint->flush);
        *error = set_going(endpoint);
    }
    if (*error == 0) {
        rill_list_push_back(&net->open, &endpoint->link);
        return endpoint;
    }
    if (net)
        free_closed_later(net); /* the area, when nobody else needs it */
    rill_sys_free(endpoint);
    rill_sys_close(fd);
    return NULL;
}

struct rill_datagram *rill_datagram_open(struct rill_loop *loop, const struct rill_addr *addr,
                                         const struct rill_datagram_config *config, int *error)
{
    int fd = rill_datagram_socket_bound(addr, false);
    if (fd < 0) {
        *error = fd;
        return NULL;
    }
    bool local = addr->socket.any.sa_family == AF_UNIX;
    struct rill_datagram *endpoint = rill_datagram_adopt(loop, fd, config, error);
    if (endpoint)
        endpoint->owns_file = local;
    else if (local)
        rill_sys_unlink(addr->socket.local.sun_path);
    return endpoint;
}

struct rill_datagram *rill_datagram_connect(struct rill_loop *loop, const struct rill_addr *peer,
                                            const struct rill_datagram_config *config, int *error)
{
    int fd = rill_datagram_socket_connected(peer);
    if (fd < 0) {
        *error = fd;
        return NULL;
    }
    return rill_datagram_adopt(loop, fd, config, error);
}

/* --- closing --- */

static void free_closed(struct rill_task *task)
{
    struct rill_datagram_net *net = rill_container_of(task, struct rill_datagram_net, closed_task);
    net->closed_deferred = false;
    while (net->closed) {
        struct rill_datagram *endpoint = net->closed;
        net->closed = endpoint->next_closed;
        rill_sys_free(endpoint);
    }
    if (rill_list_empty(&net->open))
        unmap_area(net);
}

void rill_datagram_close(struct rill_datagram *endpoint)
{
    struct rill_datagram_net *net = endpoint->net;
    rill_loop_check(net->loop, __func__);
    if (endpoint->closed)
        return;
    endpoint->closed = true;
    if (!endpoint->sending && !endpoint->waiting)
        rill_datagram_flush(endpoint);
    event_del(&endpoint->read_event);
    event_del(&endpoint->room_event);
    /* The file goes first: once nobody has it bound, another may put one of its own there. */
    if (endpoint->owns_file)
        rill_sys_unlink(endpoint->local.socket.local.sun_path);
    rill_sys_close(endpoint->fd);
    endpoint->fd = -1;
    rill_datagram_drop(endpoint);
    rill_list_remove(&endpoint->flush);
    rill_list_remove(&endpoint->link);
    endpoint->next_closed = net->closed;
    net->closed = endpoint;
    free_closed_later(net);
    if (endpoint->config->handler->on_close)
        endpoint->config->handler->on_close(endpoint);
}

/* --- looking --- */

void rill_datagram_stats(const struct rill_datagram *endpoint, struct rill_datagram_stats *stats)
{
    *stats = endpoint->stats;
}

size_t rill_datagram_queued(const struct rill_datagram *endpoint)
{
    return endpoint->queued_bytes;
}

const struct rill_addr *rill_datagram_local(const struct rill_datagram *endpoint)
{
    return &endpoint->local;
}

void *rill_datagram_arg(const struct rill_datagram *endpoint)
{
    return endpoint->config->arg;
}

void *rill_datagram_user(const struct rill_datagram *endpoint)
{
    return endpoint->user;
}

void rill_datagram_set_user(struct rill_datagram *endpoint, void *user)
{
    endpoint->user = user;
}

struct rill_loop *rill_datagram_loop(const struct rill_datagram *endpoint)
{
    return endpoint->net->loop;
}

int rill_datagram_fd(const struct rill_datagram *endpoint)
{
    return endpoint->fd;
}
