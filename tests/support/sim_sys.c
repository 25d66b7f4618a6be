/* sim_sys.c - see sim.h: the seam of core/sys.h, over descriptors that exist in memory only. */
#include "sim_internal.h"

#include "rill/core/sys.h"
#include <netinet/in.h>
#include <string.h>

struct sim sim;

enum { EPOCH_S = 1769860800 };

/* Where the layers call from, in a function that stands in the system's place. */
#define SITE __builtin_return_address(0)

/* --- randomness, time --- */

size_t sim_below(size_t bound)
{
    return test_random_below(&sim.random, bound);
}

bool sim_chance(size_t one_in)
{
    return sim_below(one_in) == 0;
}

uint64_t sim_now_ms(void)
{
    return (sim.now_ns - SIM_START_NS) / 1000000;
}

uint64_t sim_turn_began_ns(void)
{
    return sim.turn_began_ns;
}

unsigned sim_steps(void)
{
    return sim.steps;
}

uint64_t rill_sys_monotonic_ns(void)
{
    return sim.now_ns += 100; /* nothing takes no time */
}

uint64_t rill_sys_realtime_ns(void)
{
    return (uint64_t)EPOCH_S * 1000000000 + sim.now_ns;
}

ssize_t rill_sys_getrandom(void *into, size_t size, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < size; i++)
        ((char *)into)[i] = (char)sim_below(256);
    return (ssize_t)size;
}

/* --- memory --- */

static bool lacks_memory(const void *site)
{
    if (!faulty_rule_apply(FAULTY_MEMORY, site))
        return false;
    sim_note("memory is lacking", 0, 0);
    return true;
}

void *rill_sys_malloc(size_t size)
{
    return lacks_memory(SITE) ? NULL : malloc(size);
}

void *rill_sys_calloc(size_t count, size_t size)
{
    return lacks_memory(SITE) ? NULL : calloc(count, size);
}

void *rill_sys_realloc(void *old, size_t size)
{
    return lacks_memory(SITE) ? NULL : realloc(old, size);
}

void *rill_sys_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return lacks_memory(SITE) ? MAP_FAILED : mmap(at, length, protection, flags, fd, offset);
}

/* --- descriptors --- */

static int open_fd(enum sim_fd_kind kind)
{
    for (int i = 0; i < SIM_FD_MAX; i++) {
        if (sim.fds[i].kind != SIM_FD_FREE)
            continue;
        sim.fds[i] = (struct sim_fd){.kind = kind}; /* the lowest, as the system does: stale numbers mean another */
        if (i >= sim.fd_top)
            sim.fd_top = i + 1;
        return SIM_FD_BASE + i;
    }
    errno = EMFILE;
    return -1;
}

struct sim_fd *sim_fd_of(int fd, enum sim_fd_kind kind, const char *call)
{
    int i = fd - SIM_FD_BASE;
    if (i < 0 || i >= SIM_FD_MAX || sim.fds[i].kind == SIM_FD_FREE)
        sim_fail("%s of descriptor %d, which is not open", call, fd);
    if (kind != SIM_FD_FREE && sim.fds[i].kind != kind)
        sim_fail("%s of descriptor %d, which is of another kind", call, fd);
    return &sim.fds[i];
}

/* The server has closed its end. */
static void close_socket(struct sim_socket *socket)
{
    socket->fd = -1;
    socket->closed = true;
    if (socket->connecting) { /* the other end hears of it, if there is one by then, as of a reset */
        socket->connecting = false;
        socket->peer->over = true;
        return;
    }
    if (socket->dead)
        return;
    if (socket->rx_length > 0 ||
        socket->reset_on_close) { /* bytes that nobody will read: the peer is told so at once */
        socket->dead = true;
        socket->tx_length = 0;
        socket->peer->saw_reset = true;
    } else {
        socket->tx_end = true;
    }
}

int rill_sys_close(int fd)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_FREE, "close");
    for (unsigned i = 0; i < SIM_WATCHES; i++)
        if (entry->watches[i])
            sim_fail("descriptor %d is closed while libevent watches it", fd);
    sim_note("close", (uint64_t)fd, 0);
    if (entry->kind == SIM_FD_STREAM)
        close_socket(entry->socket);
    if (entry->kind == SIM_FD_DATAGRAM)
        sim_udp_free(entry->udp);
    for (struct sim_peer *peer = entry->backlog; peer; peer = peer->next) {
        peer->saw_reset = true;
        peer->over = !peer->link; /* half a wire tells the other one of it */
    }
    entry->kind = SIM_FD_FREE;
    return 0;
}

int rill_sys_eventfd(unsigned initial, int flags)
{
    (void)initial, (void)flags;
    return open_fd(SIM_FD_EVENT);
}

ssize_t rill_sys_write(int fd, const void *bytes, size_t length)
{
    uint64_t count;
    if (fd < SIM_FD_BASE)
        return write(fd, bytes, length);
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_EVENT, "write");
    memcpy(&count, bytes, sizeof count);
    entry->count += count;
    entry->edge = true;
    return (ssize_t)length;
}

ssize_t rill_sys_read(int fd, void *into, size_t size)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_FREE, "read");
    uint64_t count = entry->kind == SIM_FD_TIMER ? entry->fired : entry->count;
    if (count == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(into, &count, sizeof count);
    entry->count = 0;
    entry->fired = false;
    return (ssize_t)size;
}

int rill_sys_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    (void)fds, (void)count, (void)timeout_ms;
    sim_fail("a loop that is freed waits for a wake-up that nobody owes it");
}

int rill_sys_timerfd_create(clockid_t clock_id, int flags)
{
    (void)clock_id, (void)flags;
    return open_fd(SIM_FD_TIMER);
}

int rill_sys_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    (void)flags, (void)before;
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_TIMER, "timerfd_settime");
    entry->expires_ns = (uint64_t)when->it_value.tv_sec * 1000000000 + (uint64_t)when->it_value.tv_nsec;
    entry->fired = false;
    return 0;
}

/* --- listening sockets --- */

int rill_sys_socket(int domain, int type, int protocol)
{
    bool stream = (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM;
    (void)domain, (void)protocol;
    errno = faulty_rule_apply(FAULTY_DESCRIPTOR, SITE);
    if (errno != 0)
        return -1;
    int fd = open_fd(stream ? SIM_FD_NEW : SIM_FD_DATAGRAM);
    if (!stream && fd >= 0)
        sim_fd_of(fd, SIM_FD_DATAGRAM, "socket")->udp = sim_udp_new();
    return fd;
}

int rill_sys_bind(int fd, const struct sockaddr *addr, socklen_t length)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_FREE, "bind");
    uint16_t port = ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
    (void)length;
    if (entry->kind == SIM_FD_DATAGRAM && !sim_udp_bind(entry, port)) {
        errno = EADDRINUSE;
        return -1;
    }
    entry->port = port;
    return 0;
}

int rill_sys_listen(int fd, int backlog)
{
    (void)backlog;
    sim_fd_of(fd, SIM_FD_NEW, "listen")->kind = SIM_FD_LISTENING;
    return 0;
}

int rill_sys_connect(int fd, const struct sockaddr *addr, socklen_t length)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_FREE, "connect");
    struct sim_socket *socket = entry->socket;
    int error = EINPROGRESS;
    (void)length;
    if (entry->kind == SIM_FD_DATAGRAM) {
        sim_udp_connect(entry, ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port));
        return 0;
    }
    if (entry->kind == SIM_FD_NEW) {
        error = faulty_rule_apply(FAULTY_CONNECT, SITE);
        error = error > 0 ? error : EINPROGRESS;
        if (error == EINPROGRESS) {
            entry->kind = SIM_FD_STREAM;
            sim_net_connect(fd, ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port));
        }
    } else if (socket->connecting) {
        error = EALREADY;
    } else {
        error = socket->connect_error ? socket->connect_error : EISCONN;
        if (socket->connect_error)
            socket->error = false;
        socket->connect_error = 0;
    }
    errno = error;
    sim_note("connect", (uint64_t)fd, (uint64_t)error);
    return -1;
}

int rill_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *length)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(sim_fd_of(fd, SIM_FD_FREE, "getsockname")->port)};
    memcpy(addr, &in, sizeof in);
    *length = sizeof in;
    return 0;
}

int rill_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_FREE, "setsockopt");
    (void)length;
    if (entry->kind == SIM_FD_STREAM && level == SOL_SOCKET && name == SO_LINGER)
        entry->socket->reset_on_close = ((const struct linger *)value)->l_onoff;
    if (entry->kind == SIM_FD_DATAGRAM && level == SOL_SOCKET && name == SO_REUSEPORT)
        sim_udp_share(entry->udp);
    return 0;
}

int rill_sys_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags)
{
    static const int faults[] = {ECONNABORTED, EMFILE, ENFILE, ENOBUFS, EINTR, ENETDOWN, EPROTO};
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_LISTENING, "accept4");
    (void)flags;
    if (!entry->backlog) {
        errno = EAGAIN;
        return -1;
    }
    if (sim_below(256) < sim.world.accept_faults) {
        errno = faults[sim_below(rill_array_length(faults))];
        sim_note("accept fails", (uint64_t)fd, (uint64_t)errno);
        return -1;
    }
    int new_fd = open_fd(SIM_FD_STREAM);
    if (new_fd < 0)
        return -1;
    struct sim_peer *peer = entry->backlog;
    entry->backlog = peer->next;
    sim_fd_of(new_fd, SIM_FD_STREAM, "accept")->socket = peer->socket;
    peer->socket->fd = new_fd;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(40000)};
    in.sin_addr.s_addr = htonl(0x0a000001u + (unsigned)sim_below(200));
    memcpy(addr, &in, sizeof in);
    *length = sizeof in;
    sim_note("accept", (uint64_t)fd, (uint64_t)new_fd);
    return new_fd;
}

/* --- streams --- */

bool sim_call_fails(enum faulty_call kind, const void *site)
{
    int error = sim_below(256) < sim.world.interrupts ? EINTR : faulty_rule_apply(kind, site);
    if (error == 0 || error == FAULTY_SHORT || error == EAGAIN)
        return false;
    errno = error;
    sim_note("a call fails", (uint64_t)kind, (uint64_t)error);
    return true;
}

ssize_t rill_sys_recv(int fd, void *into, size_t size, int flags)
{
    struct sim_socket *socket = sim_fd_of(fd, SIM_FD_STREAM, "recv")->socket;
    (void)flags;
    if (sim_call_fails(FAULTY_RECV, SITE))
        return -1;
    if (socket->rx_length > 0) {
        size_t count = size < socket->rx_length ? size : socket->rx_length;
        memcpy(into, socket->rx, count);
        memmove(socket->rx, socket->rx + count, socket->rx_length -= count);
        sim_note("recv", (uint64_t)fd, count);
        return (ssize_t)count;
    }
    if (socket->error) {
        socket->error = false;
        errno = ECONNRESET;
        sim_note("recv: reset", (uint64_t)fd, 0);
        return -1;
    }
    if (socket->rx_end || socket->dead) {
        sim_note("recv: end", (uint64_t)fd, 0);
        return 0;
    }
    errno = EAGAIN;
    return -1;
}

static ssize_t send_message(int fd, const struct msghdr *message)
{
    struct sim_socket *socket = sim_fd_of(fd, SIM_FD_STREAM, "send")->socket;
    size_t taken = 0, offered = 0;
    if (socket->error || socket->dead || socket->tx_end) {
        errno = socket->error ? ECONNRESET : EPIPE;
        socket->error = false;
        sim_note("send: broken", (uint64_t)fd, 0);
        return -1;
    }
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size_t room = socket->tx_capacity - socket->tx_length;
        size_t length = message->msg_iov[i].iov_len;
        size_t count = length < room ? length : room;
        memcpy(socket->tx + socket->tx_length, message->msg_iov[i].iov_base, count);
        socket->tx_length += count;
        taken += count;
        offered += length;
    }
    if (taken < offered)
        socket->no_space = true;
    sim_note("send", (uint64_t)fd, taken);
    if (taken == 0 && offered > 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)taken;
}

ssize_t rill_sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    (void)flags;
    return sim_call_fails(FAULTY_SEND, SITE) ? -1 : send_message(fd, message);
}

ssize_t rill_sys_send(int fd, const void *bytes, size_t length, int flags)
{
    struct iovec part = {(char *)(uintptr_t)bytes, length};
    (void)flags;
    return sim_call_fails(FAULTY_SEND, SITE) ? -1
                                             : send_message(fd, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
}

int rill_sys_shutdown(int fd, int how)
{
    struct sim_socket *socket = sim_fd_of(fd, SIM_FD_STREAM, "shutdown")->socket;
    if (socket->dead) {
        errno = ENOTCONN;
        return -1;
    }
    if (how != SHUT_RD)
        socket->tx_end = true;
    sim_note("shutdown", (uint64_t)fd, 0);
    return 0;
}

int rill_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    struct sim_fd *entry = sim_fd_of(fd, SIM_FD_FREE, "getsockopt");
    int result = 0;
    if (level == SOL_SOCKET && name == SO_ERROR && entry->kind == SIM_FD_STREAM && entry->socket->error) {
        entry->socket->error = false;
        result = entry->socket->connect_error ? entry->socket->connect_error : ECONNRESET;
        entry->socket->connect_error = 0;
    }
    memcpy(value, &result, sizeof result);
    *length = sizeof result;
    return 0;
}

struct sim_state sim_state_of(int fd)
{
    struct sim_socket *socket = sim_fd_of(fd, SIM_FD_STREAM, "a look")->socket;
    return (struct sim_state){.input = socket->rx_length,
                              .end = socket->rx_end || socket->dead,
                              .error = socket->error,
                              .room = sim_can_write(socket)};
}

/* --- a run --- */

unsigned sim_faults(unsigned one_in)
{
    unsigned before = faulty_sys.one_in;
    faulty_sys.one_in = one_in;
    return before;
}

bool sim_calls_fail(void)
{
    return faulty_sys.one_in > 0;
}

bool sim_is_faithful(void)
{
    return sim.world.faithful;
}

void sim_begin(uint64_t seed, const struct sim_world *world)
{
    memset(&sim, 0, sizeof sim);
    memset(&faulty_sys, 0, sizeof faulty_sys);
    sim.seed = seed;
    sim.random.state = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    sim.world = *world;
    faulty_sys.seed = seed;
    memcpy(faulty_sys.counts, world->faults, sizeof faulty_sys.counts);
    sim.now_ns = SIM_START_NS;
    sim.hash = UINT64_C(0xcbf29ce484222325);
    sim_trace_reset();
    sim_jobs_reset();
}

uint64_t sim_end(void)
{
    sim_faults(0);
    rill_loop_free(sim.other);
    for (int i = 0; i < SIM_FD_MAX; i++)
        if (sim.fds[i].kind != SIM_FD_FREE)
            sim_fail("descriptor %d is still open", SIM_FD_BASE + i);
    sim_net_free();
    sim_air_free();
    return sim.hash;
}
