/* sim_net.c - see sim.h: the peers, and the wires between them and the server's sockets.
 *
 * A wire delays by not being chosen, and splits by moving a part: pieces of a stream arrive when their turn comes, in
 * order. What a socket of the server takes or gives is as Linux has it: a read comes short only when it has emptied the
 * socket, a write only when it has filled it; room is reported when a third is free again; a reset is told once, after
 * the bytes that came before it; to close with bytes unread breaks the connection, and so does a byte that comes later.
 */
#include "sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RX_BYTES = 16384, LINK_BYTES = 4000 };

enum action { ACT_NONE, ACT_CONNECT, ACT_SEND, ACT_END, ACT_RECEIVE, ACT_LEAVE };

bool sim_can_write(struct sim_socket *socket)
{
    if (socket->connecting)
        return false;
    if (socket->dead || socket->error || socket->tx_end)
        return true;
    return socket->tx_capacity - socket->tx_length >= (socket->tx_length + 1) / 2;
}

static void wake(const struct sim_socket *socket, short what)
{
    if (socket->fd < 0)
        return;
    struct sim_fd *entry = sim_fd_of(socket->fd, SIM_FD_STREAM, "a wake-up");
    for (unsigned i = 0; i < SIM_WATCHES; i++)
        if (entry->watches[i] && (entry->watches[i]->ev_events & what || what == 0))
            entry->edge = true;
}

/* PEER has sent what does not fit what the server's end is: the answer is a reset. */
static void break_peer(struct sim_peer *peer)
{
    peer->saw_reset = true;
    peer->socket->tx_length = 0; /* what was on its way is lost with it */
    peer->socket->dead = true;
}

static void reset_server(struct sim_socket *socket)
{
    if (socket->dead)
        return;
    socket->dead = socket->error = true;
    socket->tx_length = 0;
    wake(socket, 0);
}

static size_t piece(const struct sim_peer *peer, size_t available)
{
    size_t most = peer->piece_max < available ? peer->piece_max : available;
    return sim_chance(2) ? most : 1 + sim_below(most);
}

static bool has_to_receive(const struct sim_peer *peer)
{
    const struct sim_socket *socket = peer->socket;
    if (peer->saw_end || peer->received_length >= peer->stops_reading)
        return false;
    if (peer->link && peer->received_length - peer->link->sent > LINK_BYTES)
        return false; /* the wire is full */
    return socket->tx_length > 0 || socket->tx_end;
}

/* What PEER, a half of a wire, has to send is what the other half has received; and its end is the other's. */
static void follow_link(struct sim_peer *peer)
{
    peer->sends = peer->link->received;
    peer->sends_length = peer->link->received_length;
    peer->end = peer->link->saw_end ? SIM_END_HALF : SIM_END_WAIT;
    if (peer->ended && peer->saw_end)
        peer->over = true;
}

/* What PEER could do now; one of several by chance. */
static enum action next_action(struct sim_peer *peer, bool random)
{
    if (peer->link)
        follow_link(peer);
    if (peer->over || peer->busy_until_ms > sim_now_ms())
        return ACT_NONE;
    if (!peer->connected)
        return peer->start_ms <= sim_now_ms() ? ACT_CONNECT : ACT_NONE;
    enum action actions[3];
    unsigned count = 0;
    if (peer->saw_reset)
        return ACT_LEAVE;
    if (has_to_receive(peer))
        actions[count++] = ACT_RECEIVE;
    if (peer->sent < peer->sends_length) {
        if (peer->socket->rx_length < peer->socket->rx_capacity)
            actions[count++] = ACT_SEND;
    } else if (!peer->ended && (peer->end == SIM_END_HALF || peer->end >= SIM_END_LEAVE)) {
        actions[count++] = ACT_END;
    }
    if (peer->saw_end && peer->end != SIM_END_STAY && !peer->link)
        actions[count++] = ACT_LEAVE;
    if (count == 0)
        return ACT_NONE;
    return actions[random ? sim_below(count) : 0];
}

static void make_socket(struct sim_peer *peer)
{
    peer->socket = calloc(1, sizeof *peer->socket);
    peer->socket->peer = peer;
    peer->socket->fd = -1;
    peer->socket->rx_capacity = peer->input_bytes ? peer->input_bytes : RX_BYTES;
    peer->socket->rx = malloc(peer->socket->rx_capacity);
    peer->socket->tx_capacity = peer->socket_bytes;
    peer->socket->tx = malloc(peer->socket_bytes);
}

/* The handshake of a connection that the server itself makes has ended; ERROR: in vain. */
static void end_handshake(struct sim_peer *far, int error)
{
    struct sim_socket *socket = far->link->socket;
    socket->connecting = false;
    socket->connect_error = error;
    socket->dead = socket->error = error != 0;
    far->link->over = error != 0;
    sim_note("handshake ends", (uint64_t)socket->fd, (uint64_t)error);
    wake(socket, 0);
}

static void connect_peer(struct sim_peer *peer)
{
    int fits[SIM_FD_MAX];
    unsigned count = 0;
    for (int i = 0; i < sim.fd_top; i++)
        if (sim.fds[i].kind == SIM_FD_LISTENING && sim.fds[i].port == peer->port)
            fits[count++] = i;
    if (count == 0 || (peer->link && peer->link->over)) {
        peer->refused = peer->over = true;
        sim_note("refused", peer->port, 0);
        if (peer->link && !peer->link->over)
            end_handshake(peer, ECONNREFUSED);
        return;
    }
    struct sim_fd *entry = &sim.fds[fits[sim_below(count)]];
    make_socket(peer);
    peer->connected = true;
    struct sim_peer **last = &entry->backlog;
    while (*last)
        last = &(*last)->next;
    *last = peer;
    entry->edge = true;
    sim_note("connect", peer->port, 0);
    if (peer->link)
        end_handshake(peer, 0);
}

void sim_net_connect(int fd, uint16_t port)
{
    struct sim_peer *halves = calloc(2, sizeof *halves);
    for (int i = 0; i < 2; i++) {
        halves[i] = (struct sim_peer){.port = port,
                                      .link = &halves[1 - i],
                                      .start_ms = port == SIM_HOLE_PORT ? UINT64_MAX : 0,
                                      .stops_reading = SIZE_MAX,
                                      .piece_max = (size_t)256 << sim_below(8),
                                      .socket_bytes = (size_t)256 << sim_below(6)};
        sim_add_peer(&halves[i]);
    }
    make_socket(&halves[0]);
    halves[0].connected = true;
    halves[0].socket->connecting = true;
    halves[0].socket->fd = fd;
    sim_fd_of(fd, SIM_FD_STREAM, "connect")->socket = halves[0].socket;
    if (port != SIM_HOLE_PORT && sim_chance(2)) /* it is over when connect() returns, and who asks again is told so */
        connect_peer(&halves[1]);
}

static void send_some(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    size_t room = socket->rx_capacity - socket->rx_length, left = peer->sends_length - peer->sent;
    size_t count = piece(peer, left < room ? left : room);
    if (socket->dead || (socket->fd < 0 && socket->tx_end)) { /* closed: nobody will read this */
        break_peer(peer);
        return;
    }
    memcpy(socket->rx + socket->rx_length, peer->sends + peer->sent, count);
    socket->rx_length += count;
    peer->sent += count;
    sim_note("arrives", (uint64_t)socket->fd, count);
    wake(socket, EV_READ);
}

static void receive_some(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    if (socket->tx_length == 0) {
        peer->saw_end = true;
        sim_note("end arrives at peer", peer->port, peer->received_length);
        return;
    }
    size_t count = piece(peer, socket->tx_length);
    if (peer->received_length + count + 1 > peer->received_capacity) {
        peer->received_capacity = 2 * (peer->received_length + count) + 256;
        peer->received = realloc(peer->received, peer->received_capacity);
    }
    memcpy(peer->received + peer->received_length, socket->tx, count);
    peer->received_length += count;
    peer->received[peer->received_length] = '\0';
    memmove(socket->tx, socket->tx + count, socket->tx_length -= count);
    sim_note("taken by peer", (uint64_t)socket->fd, count);
    if (socket->no_space && sim_can_write(socket)) {
        socket->no_space = false;
        wake(socket, EV_WRITE);
    }
}

/* The peer closes both ways. */
static void leave(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    peer->over = true;
    if (peer->link) { /* this half saw a reset: so does the other one's socket */
        peer->link->over = true;
        if (peer->link->socket)
            reset_server(peer->link->socket);
        return;
    }
    sim_note("peer leaves", (uint64_t)socket->fd, 0);
    if (socket->tx_length > 0 || !peer->saw_end) {
        socket->rx_end = true; /* the end arrives; what the server sends after that is answered by a reset */
        wake(socket, EV_READ | EV_CLOSED);
        if (socket->tx_length > 0)
            reset_server(socket);
    } else {
        socket->rx_end = true;
        wake(socket, EV_READ | EV_CLOSED);
    }
}

static void end_stream(struct sim_peer *peer)
{
    peer->ended = true;
    switch (peer->end) {
    case SIM_END_LEAVE:
        leave(peer);
        return;
    case SIM_END_RESET:
        peer->over = true;
        sim_note("peer resets", (uint64_t)peer->socket->fd, 0);
        reset_server(peer->socket);
        return;
    default:
        peer->socket->rx_end = true;
        sim_note("peer ends its stream", (uint64_t)peer->socket->fd, 0);
        wake(peer->socket, EV_READ | EV_CLOSED);
    }
}

/* Bytes for a peer that has gone. */
static bool answers_reset(const struct sim_peer *peer)
{
    return peer->over && peer->socket && peer->socket->fd >= 0 && !peer->socket->dead && peer->socket->tx_length > 0;
}

static bool can_act(struct sim_peer *peer)
{
    return next_action(peer, false) != ACT_NONE || answers_reset(peer);
}

/* Nothing will come of PEER any more. */
static bool is_done(const struct sim_peer *peer)
{
    return peer->over && (!peer->socket || peer->socket->dead || peer->socket->closed);
}

unsigned sim_net_choices(void)
{
    unsigned count = 0, kept = 0;
    for (unsigned i = 0; i < sim.live_count; i++) {
        struct sim_peer *peer = sim.live[i];
        if (can_act(peer))
            sim.acting[count++] = peer;
        if (!is_done(peer))
            sim.live[kept++] = peer;
    }
    sim.live_count = kept;
    return count;
}

static void act(struct sim_peer *peer)
{
    if (answers_reset(peer)) {
        reset_server(peer->socket);
        return;
    }
    switch (next_action(peer, true)) {
    case ACT_CONNECT:
        connect_peer(peer);
        break;
    case ACT_SEND:
        send_some(peer);
        break;
    case ACT_END:
        end_stream(peer);
        break;
    case ACT_RECEIVE:
        receive_some(peer);
        break;
    case ACT_LEAVE:
        leave(peer);
        break;
    case ACT_NONE:
        break;
    }
    if (peer->pause_ms > 0 && sim_chance(4))
        peer->busy_until_ms = sim_now_ms() + sim_below(peer->pause_ms);
}

void sim_net_choose(unsigned choice)
{
    act(sim.acting[choice]);
}

uint64_t sim_net_next_ms(void)
{
    uint64_t next = UINT64_MAX, now = sim_now_ms();
    for (unsigned i = 0; i < sim.live_count; i++) {
        const struct sim_peer *peer = sim.live[i];
        uint64_t at = peer->connected ? peer->busy_until_ms : peer->start_ms;
        if (!peer->over && at > now && at < next)
            next = at;
    }
    return next;
}

void sim_add_peer(struct sim_peer *peer)
{
    if (sim.peer_count == SIM_PEERS)
        sim_fail("more than %d ends of connections", SIM_PEERS);
    sim.peers[sim.peer_count++] = peer;
    sim.live[sim.live_count++] = peer;
}

void sim_net_free(void)
{
    for (unsigned i = 0; i < sim.peer_count; i++) {
        struct sim_peer *peer = sim.peers[i];
        free(peer->received);
        peer->received = NULL;
        if (peer->socket) {
            free(peer->socket->rx);
            free(peer->socket->tx);
            free(peer->socket);
        }
    }
    for (unsigned i = 0; i < sim.peer_count; i++) /* halves are made in pairs */
        if (sim.peers[i]->link && sim.peers[i] < sim.peers[i]->link)
            free(sim.peers[i++]);
}
