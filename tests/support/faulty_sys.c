/* faulty_sys.c - see faulty_sys.h. */
#ifndef RILL_SYS_REPLACED
#define RILL_SYS_REPLACED
#endif
#include "faulty_sys.h"
#include "faulty_internal.h"
#include "random.h"
#include "rill/core/sys.h"
#include <event2/event.h>
#include <string.h>
#include <sys/epoll.h>

enum { TIMER_FDS = 64, WATCHED_FDS = 1024 };

/* What each timerfd was set to, to be set again when the clock is put forward. */
static struct {
    int fd;
    uint64_t at_ns; /* of the clock that the loops see; 0: nothing */
} timer_fds[TIMER_FDS];

/* What epoll was asked to watch, by descriptor; and which descriptors are eventfds and timerfds. */
static struct {
    int epoll_fd; /* 0: nothing */
    struct epoll_event event;
    bool is_signal;
} watched[WATCHED_FDS];

/* Who is told by a short count, or by EAGAIN, that there is nothing more waits for an edge, and the kernel knows of
 * none: so it is asked to look again. */
static void tell_again(int fd)
{
    if (fd >= 0 && fd < WATCHED_FDS && watched[fd].epoll_fd)
        syscall(SYS_epoll_ctl, watched[fd].epoll_fd, EPOLL_CTL_MOD, fd, &watched[fd].event);
}

/* With `short_seed`, how a call comes short that could move LENGTH: its error, or 0 with *LENGTH less. */
static int shorten_by_seed(size_t *length)
{
    struct test_random random = {faulty_sys.short_seed};
    uint64_t n = test_random_next(&random);
    size_t all = *length;
    faulty_sys.short_seed = random.state ? random.state : 1;
    switch (n % 8) {
    case 0:
        return EINTR;
    case 1:
        return EAGAIN;
    case 2:
        *length = 1;
        break;
    case 3:
    case 4:
        *length = 1 + (size_t)(n / 8 % (all < 16 ? all : 16));
        break;
    case 5:
    case 6:
        *length = 1 + (size_t)(n / 8 % all);
        break;
    default:
        break;
    }
    return 0;
}

ssize_t faulty_moves(enum faulty_call kind, const void *site, int fd, size_t length)
{
    size_t all = length;
    int error = faulty_rule_apply(kind, site);
    if (length > 0 && error == FAULTY_SHORT)
        length = 1;
    else if (!error && length > 0 && faulty_sys.short_seed)
        error = shorten_by_seed(&length);
    if (length < all || error == EAGAIN)
        tell_again(fd);
    if (error > 0) {
        errno = error;
        return -1;
    }
    return (ssize_t)length;
}

/* --- time --- */

static uint64_t skewed_ns(void)
{
    return (uint64_t)__atomic_load_n(&faulty_sys.skewed_ms, __ATOMIC_RELAXED) * 1000000;
}

uint64_t rill_sys_monotonic_ns(void)
{
    return rill_sys_clock_ns(CLOCK_MONOTONIC) + skewed_ns();
}

uint64_t rill_sys_realtime_ns(void)
{
    return rill_sys_clock_ns(CLOCK_REALTIME) + skewed_ns();
}

static int set_timer_fd(int fd, uint64_t at_ns)
{
    uint64_t real_ns = at_ns > skewed_ns() ? at_ns - skewed_ns() : 1;
    struct itimerspec when = {.it_value = {(time_t)(real_ns / 1000000000), (long)(real_ns % 1000000000)}};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int rill_sys_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    (void)flags;
    (void)before;
    uint64_t at_ns = (uint64_t)when->it_value.tv_sec * 1000000000 + (uint64_t)when->it_value.tv_nsec;
    for (unsigned i = 0; i < TIMER_FDS; i++) {
        if (timer_fds[i].fd == fd || timer_fds[i].fd == 0) {
            timer_fds[i].fd = fd;
            timer_fds[i].at_ns = at_ns;
            break;
        }
    }
    return set_timer_fd(fd, at_ns);
}

void faulty_sys_forward(uint64_t ms)
{
    __atomic_fetch_add(&faulty_sys.skewed_ms, (int64_t)ms, __ATOMIC_RELAXED); /* worker threads read the clock */
    for (unsigned i = 0; i < TIMER_FDS && timer_fds[i].fd != 0; i++)
        if (timer_fds[i].at_ns)
            set_timer_fd(timer_fds[i].fd, timer_fds[i].at_ns);
}

/* --- memory --- */

void *rill_sys_malloc(size_t size)
{
    return faulty_fails(FAULTY_MEMORY, SITE) ? NULL : malloc(size);
}

void *rill_sys_calloc(size_t count, size_t size)
{
    return faulty_fails(FAULTY_MEMORY, SITE) ? NULL : calloc(count, size);
}

void *rill_sys_realloc(void *old, size_t size)
{
    return faulty_fails(FAULTY_MEMORY, SITE) ? NULL : realloc(old, size);
}

void *rill_sys_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return faulty_fails(FAULTY_MEMORY, SITE) ? MAP_FAILED : mmap(at, length, protection, flags, fd, offset);
}

static void say_nothing(int severity, const char *message)
{
    (void)severity;
    (void)message;
}

/* libevent wants to be told before its first allocation; what it says of failures that were made is noise. */
__attribute__((constructor)) static void take_libevent(void)
{
    event_set_mem_functions(rill_sys_malloc, rill_sys_realloc, free);
    event_set_log_callback(say_nothing);
}

/* --- sockets --- */

int rill_sys_socket(int domain, int type, int protocol)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : socket(domain, type, protocol);
}

int rill_sys_bind(int fd, const struct sockaddr *addr, socklen_t length)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : bind(fd, addr, length);
}

int rill_sys_listen(int fd, int backlog)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : listen(fd, backlog);
}

int rill_sys_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags)
{
    int error = faulty_rule_apply(FAULTY_ACCEPT, SITE);
    if (error == ECONNABORTED) /* it was there, and is lost */
        close(accept4(fd, addr, length, flags));
    errno = error ? error : errno;
    return error ? -1 : accept4(fd, addr, length, flags);
}

int rill_sys_connect(int fd, const struct sockaddr *addr, socklen_t length)
{
    if (faulty_fails(FAULTY_CONNECT, SITE))
        return -1;
    return faulty_sys.connect ? faulty_sys.connect(fd, addr, length) : connect(fd, addr, length);
}

int rill_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *length)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : getsockname(fd, addr, length);
}

int rill_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *length)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : getpeername(fd, addr, length);
}

int rill_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : getsockopt(fd, level, name, value, length);
}

int rill_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : setsockopt(fd, level, name, value, length);
}

/* It fails when the peer has gone, so then it goes. */
int rill_sys_shutdown(int fd, int how)
{
    if (!faulty_fails(FAULTY_SHUTDOWN, SITE))
        return shutdown(fd, how);
    shutdown(fd, SHUT_RDWR);
    errno = ENOTCONN;
    return -1;
}

ssize_t rill_sys_recv(int fd, void *into, size_t size, int flags)
{
    if (faulty_sys.most_received && size > faulty_sys.most_received)
        size = faulty_sys.most_received;
    ssize_t most = faulty_moves(FAULTY_RECV, SITE, fd, size);
    if (most < 0)
        return -1;
    if (faulty_sys.endless_fd && fd == faulty_sys.endless_fd) {
        memset(into, 'e', size);
        faulty_sys.endless += size;
        return (ssize_t)size;
    }
    return recv(fd, into, (size_t)most, flags);
}

int rill_sys_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    if (faulty_sys.most_received && count > faulty_sys.most_received)
        count = (unsigned)faulty_sys.most_received;
    ssize_t most = faulty_moves(FAULTY_RECV, SITE, fd, count);
    return most < 0 ? -1 : recvmmsg(fd, messages, (unsigned)most, flags, NULL);
}

/* How much of LENGTH may be sent to FD; -1 with errno set when nothing. */
static ssize_t allowed(enum faulty_call kind, const void *site, int fd, size_t length)
{
    ssize_t less = faulty_moves(kind, site, fd, length);
    if (less < 0)
        return -1;
    length = (size_t)less;
    if (faulty_sys.most_sent && length > faulty_sys.most_sent)
        length = faulty_sys.most_sent;
    if (faulty_sys.send_limited && length > faulty_sys.send_quota)
        length = (size_t)faulty_sys.send_quota;
    if (length == 0 && faulty_sys.send_limited) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)length;
}

static ssize_t sent(ssize_t count)
{
    if (count > 0 && faulty_sys.send_limited)
        faulty_sys.send_quota -= (uint64_t)count;
    return count;
}

static bool is_endless(int fd, size_t length)
{
    if (!faulty_sys.endless_fd || fd != faulty_sys.endless_fd)
        return false;
    faulty_sys.endless += length;
    return true;
}

ssize_t rill_sys_send(int fd, const void *bytes, size_t length, int flags)
{
    ssize_t most = allowed(FAULTY_SEND, SITE, fd, length);
    if (most < 0)
        return -1;
    if (is_endless(fd, length))
        return (ssize_t)length;
    return sent(send(fd, bytes, (size_t)most, flags));
}

int rill_sys_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    ssize_t most = allowed(FAULTY_SEND, SITE, fd, count);
    return most < 0 ? -1 : (int)sent(sendmmsg(fd, messages, (unsigned)most, flags));
}

ssize_t rill_sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t length = faulty_length(message->msg_iov, message->msg_iovlen);
    ssize_t most = allowed(FAULTY_SEND, SITE, fd, length);
    if (most < 0)
        return -1;
    if (is_endless(fd, length))
        return (ssize_t)length;
    struct iovec parts[FAULTY_PARTS];
    struct msghdr less = *message;
    less.msg_iov = parts;
    less.msg_iovlen = faulty_cut(message->msg_iov, message->msg_iovlen, (size_t)most, parts);
    return sent(sendmsg(fd, &less, flags));
}

ssize_t rill_sys_sendfile(int out_fd, int in_fd, off_t *offset, size_t count)
{
    ssize_t most = allowed(FAULTY_SENDFILE, SITE, out_fd, count);
    if (most < 0)
        return -1;
    if (is_endless(out_fd, count))
        return (ssize_t)count;
    return sent(sendfile(out_fd, in_fd, offset, (size_t)most));
}

ssize_t rill_sys_splice(int in_fd, int out_fd, size_t count, unsigned flags)
{
    ssize_t most = faulty_moves(FAULTY_SPLICE, SITE, in_fd, count);
    if (most < 0 || (size_t)most < count)
        tell_again(out_fd);
    return most < 0 ? -1 : splice(in_fd, NULL, out_fd, NULL, (size_t)most, flags);
}

int rill_sys_pipe2(int fds[2], int flags)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : pipe2(fds, flags);
}

/* libevent calls it by this name, so this is the one it finds. The C library's parameters have reserved names. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int epoll_ctl(int epoll_fd, int order, int fd, struct epoll_event *event)
{
    if (order != EPOLL_CTL_DEL && faulty_fails(FAULTY_EPOLL_CTL, SITE))
        return -1;
    if (fd < WATCHED_FDS) {
        watched[fd].epoll_fd = order == EPOLL_CTL_DEL ? 0 : epoll_fd;
        watched[fd].event = order == EPOLL_CTL_DEL ? (struct epoll_event){0} : *event;
    }
    return (int)syscall(SYS_epoll_ctl, epoll_fd, order, fd, event);
}

/* --- files and other descriptors --- */

int rill_sys_chmod(const char *path, mode_t mode)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : chmod(path, mode);
}

static int as_signal(int fd)
{
    if (fd >= 0 && fd < WATCHED_FDS)
        watched[fd].is_signal = true;
    return fd;
}

bool faulty_is_signal(int fd)
{
    return fd >= 0 && fd < WATCHED_FDS && watched[fd].is_signal;
}

int rill_sys_eventfd(unsigned initial, int flags)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : as_signal(eventfd(initial, flags));
}

int rill_sys_timerfd_create(clockid_t clock_id, int flags)
{
    return faulty_fails(FAULTY_DESCRIPTOR, SITE) ? -1 : as_signal(timerfd_create(clock_id, flags));
}

int rill_sys_close(int fd)
{
    for (unsigned i = 0; i < TIMER_FDS; i++)
        if (timer_fds[i].fd == fd && fd != 0)
            timer_fds[i].at_ns = 0;
    if (fd >= 0 && fd < WATCHED_FDS)
        memset(&watched[fd], 0, sizeof watched[fd]);
    return close(fd);
}

/* --- names --- */

/* As the resolver would say it. */
static int name_error(int error)
{
    switch (error) {
    case EAGAIN:
        return EAI_AGAIN;
    case ENOENT:
        return EAI_NONAME;
    case ENOMEM:
        return EAI_MEMORY;
    default:
        errno = error;
        return EAI_SYSTEM;
    }
}

int rill_sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int error = faulty_rule_apply(FAULTY_NAME, SITE);
    if (error)
        return name_error(error);
    return faulty_sys.getaddrinfo ? faulty_sys.getaddrinfo(host, service, hints, found)
                                  : getaddrinfo(host, service, hints, found);
}

unsigned faulty_sys_open_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

int rill_sys_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return faulty_fails(FAULTY_POLL, SITE) ? -1 : poll(fds, count, timeout_ms);
}

/* --- threads --- */

int rill_sys_thread_create(pthread_t *thread, void *(*entry)(void *), void *arg)
{
    return faulty_fails(FAULTY_THREAD, SITE) ? EAGAIN : pthread_create(thread, NULL, entry, arg);
}
