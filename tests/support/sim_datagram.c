/* sim_datagram.c - see sim.h: datagrams. What is sent is in the air until it is chosen to arrive: in any order, not
 * always, sometimes twice, unless the world is faithful; whole or not at all in either. A socket holds what fits it and
 * loses the rest; who is connected hears that nobody was there. */
#include "sim_internal.h"

#include "rill/core/sys.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define SITE __builtin_return_address(0)

enum { LONGEST = 65507, ROOM_MAX = 64, HELD_MAX = 64, ONE_IN = 8, FIRST_PORT = 50000, AIR_CHOICES = 3 };

/* A datagram in the air, or in a socket. */
struct sim_datagram {
    struct sim_datagram *next;
    struct sim_udp *sender; /* NULL: closed, or no socket of the server's */
    uint16_t from, to;
    size_t length;
    char bytes[];
};

/* A socket of the server's. */
struct sim_udp {
    bool shared;   /* SO_REUSEPORT */
    uint16_t peer; /* that it is connected with; 0: none */
    int error;     /* not told yet */
    struct sim_datagram *first, **end;
    unsigned held;         /* of these */
    unsigned in_air, room; /* sent, and not arrived; at most */
    uint64_t given, taken; /* by the server, and to it */
};

/* --- the air --- */

static void launch(struct sim_udp *sender, uint16_t from, uint16_t to, const struct iovec *part)
{
    struct sim_datagram *datagram = malloc(sizeof *datagram + part->iov_len);
    *datagram = (struct sim_datagram){.sender = sender, .from = from, .to = to, .length = part->iov_len};
    if (part->iov_len > 0)
        memcpy(datagram->bytes, part->iov_base, part->iov_len);
    struct sim_datagram **place = &sim.air;
    while (*place)
        place = &(*place)->next;
    *place = datagram;
    sim.air_count++;
    if (sender)
        sender->in_air++;
}

void sim_datagram_send(uint16_t from, uint16_t to, const void *bytes, size_t length)
{
    struct iovec part = {(char *)(uintptr_t)bytes, length};
    sim_note("a peer sends a datagram", from, length);
    launch(NULL, from, to, &part);
}

unsigned sim_air_choices(void)
{
    return sim.air_count < AIR_CHOICES ? sim.air_count : AIR_CHOICES;
}

/* The socket that a datagram comes to: the one that is connected with its sender; or one of those that share the port,
 * the same for all that comes from there. */
static struct sim_fd *receiver(uint16_t from, uint16_t to)
{
    struct sim_fd *fits[SIM_FD_MAX];
    unsigned count = 0;
    for (int i = 0; i < sim.fd_top; i++) {
        struct sim_fd *entry = &sim.fds[i];
        if (entry->kind != SIM_FD_DATAGRAM || entry->port != to)
            continue;
        if (entry->udp->peer == from)
            return entry;
        if (entry->udp->peer == 0)
            fits[count++] = entry;
    }
    return count > 0 ? fits[from % count] : NULL;
}

static void hold(struct sim_udp *udp, struct sim_datagram *datagram)
{
    datagram->next = NULL;
    *udp->end = datagram;
    udp->end = &datagram->next;
    udp->held++;
}

/* Consumes DATAGRAM, which is out of the air. */
static void arrive(struct sim_datagram *datagram)
{
    struct sim_fd *entry = receiver(datagram->from, datagram->to);
    if (entry && (sim.world.faithful || entry->udp->held < HELD_MAX)) {
        sim_note("a datagram arrives", (uint64_t)(entry - sim.fds + SIM_FD_BASE), datagram->length);
        hold(entry->udp, datagram);
        return;
    }
    if (!entry && !sim.world.on_datagram(datagram->from, datagram->to, datagram->bytes, datagram->length)) {
        sim_note("nobody is there", datagram->to, 0);
        if (datagram->sender && datagram->sender->peer)
            datagram->sender->error = ECONNREFUSED;
    }
    free(datagram);
}

void sim_air_choose(void)
{
    struct sim_datagram **place = &sim.air, *chosen;
    bool faithful = sim.world.faithful;
    for (size_t i = faithful ? 0 : sim_below(sim.air_count); i > 0; i--)
        place = &(*place)->next;
    chosen = *place;
    if (!faithful && sim_chance(ONE_IN)) {
        struct iovec part = {chosen->bytes, chosen->length};
        sim_note("a datagram is doubled", chosen->to, chosen->length);
        launch(chosen->sender, chosen->from, chosen->to, &part);
    }
    *place = chosen->next;
    sim.air_count--;
    struct sim_udp *sender = chosen->sender;
    if (!faithful && sim_chance(ONE_IN)) {
        sim_note("a datagram is lost", chosen->to, chosen->length);
        free(chosen);
    } else {
        arrive(chosen);
    }
    if (sender)
        sender->in_air--;
}

void sim_air_free(void)
{
    while (sim.air) {
        struct sim_datagram *datagram = sim.air;
        sim.air = datagram->next;
        free(datagram);
    }
}

/* --- sockets --- */

struct sim_udp *sim_udp_new(void)
{
    struct sim_udp *udp = calloc(1, sizeof *udp);
    udp->room = 1 + (unsigned)sim_below(ROOM_MAX);
    udp->end = &udp->first;
    return udp;
}

void sim_udp_free(struct sim_udp *udp)
{
    for (struct sim_datagram *datagram = sim.air; datagram; datagram = datagram->next)
        if (datagram->sender == udp)
            datagram->sender = NULL;
    while (udp->first) {
        struct sim_datagram *datagram = udp->first;
        udp->first = datagram->next;
        free(datagram);
    }
    free(udp);
}

void sim_udp_share(struct sim_udp *udp)
{
    udp->shared = true;
}

bool sim_udp_bind(struct sim_fd *entry, uint16_t port)
{
    for (int i = 0; i < sim.fd_top; i++)
        if (sim.fds[i].kind == SIM_FD_DATAGRAM && sim.fds[i].port == port &&
            !(sim.fds[i].udp->shared && entry->udp->shared))
            return false;
    entry->port = port;
    return true;
}

void sim_udp_connect(struct sim_fd *entry, uint16_t port)
{
    entry->udp->peer = port;
    if (entry->port == 0)
        entry->port = (uint16_t)(FIRST_PORT + sim.ports_given++);
}

short sim_udp_ready(const struct sim_udp *udp)
{
    short what = udp->held > 0 ? EV_READ : 0;
    if (udp->in_air <= udp->room / 2)
        what |= EV_WRITE;
    return udp->error ? EV_READ | EV_WRITE : what;
}

struct sim_datagram_state sim_datagram_state_of(int fd)
{
    const struct sim_fd *entry = sim_fd_of(fd, SIM_FD_DATAGRAM, "a look");
    short what = sim_udp_ready(entry->udp);
    return (struct sim_datagram_state){.input = (what & EV_READ) != 0,
                                       .room = (what & EV_WRITE) != 0,
                                       .vacant = entry->udp->room - entry->udp->in_air,
                                       .given = entry->udp->given,
                                       .taken = entry->udp->taken,
                                       .port = entry->port};
}

/* --- calls --- */

/* An error that was to be told comes instead of what was asked for. */
static bool tells_error(struct sim_udp *udp)
{
    errno = udp->error;
    udp->error = 0;
    return errno != 0;
}

static void take(struct sim_udp *udp, struct mmsghdr *message)
{
    struct sim_datagram *datagram = udp->first;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(datagram->from)};
    struct iovec *part = message->msg_hdr.msg_iov;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (message->msg_hdr.msg_namelen < sizeof(struct sockaddr_in6)) /* whichever it may be */
        sim_fail("there is no room for where a datagram comes from");
    memcpy(message->msg_hdr.msg_name, &from, sizeof from);
    message->msg_hdr.msg_namelen = sizeof from;
    memcpy(part->iov_base, datagram->bytes, datagram->length < part->iov_len ? datagram->length : part->iov_len);
    message->msg_len = (unsigned)datagram->length; /* MSG_TRUNC */
    udp->first = datagram->next;
    if (!udp->first)
        udp->end = &udp->first;
    udp->held--;
    udp->taken++;
    free(datagram);
}

int rill_sys_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct sim_udp *udp = sim_fd_of(fd, SIM_FD_DATAGRAM, "recvmmsg")->udp;
    unsigned i = 0;
    (void)flags;
    if (sim_call_fails(FAULTY_RECV, SITE) || tells_error(udp))
        return -1;
    while (i < count && udp->held > 0 && (i == 0 || !sim_chance(64)))
        take(udp, &messages[i++]);
    sim_note("recvmmsg", (uint64_t)fd, i);
    errno = EAGAIN;
    return i > 0 ? (int)i : -1;
}

/* Sends one. Returns false with errno set. */
static bool give(struct sim_fd *entry, const struct msghdr *message)
{
    struct sim_udp *udp = entry->udp;
    uint16_t to = udp->peer;
    if (tells_error(udp))
        return false;
    if (message->msg_name)
        to = ntohs(((const struct sockaddr_in *)message->msg_name)->sin_port);
    errno = to == 0                               ? EDESTADDRREQ
            : message->msg_iov->iov_len > LONGEST ? EMSGSIZE
            : udp->in_air >= udp->room            ? EAGAIN
                                                  : 0;
    if (errno != 0)
        return false;
    launch(udp, entry->port, to, message->msg_iov);
    udp->given++;
    return true;
}

int rill_sys_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_DATAGRAM, "sendmmsg");
    unsigned i = 0;
    (void)flags;
    if (sim_call_fails(FAULTY_SEND, SITE))
        return -1;
    while (i < count && (i == 0 || !sim_chance(64)) && give(entry, &messages[i].msg_hdr))
        i++;
    sim_note("sendmmsg", (uint64_t)fd, i);
    return i > 0 ? (int)i : -1;
}
