/* fake_sys.c - see fake_sys.h. What is not told otherwise does as the system does. */
#include "fake_sys.h"
#include "rill/core/sys.h"

struct fake_sys fake_sys = {.now_ms = 1000000};

uint64_t rill_sys_monotonic_ns(void)
{
    return fake_sys.now_ms * 1000000;
}

uint64_t rill_sys_realtime_ns(void)
{
    return (FAKE_SYS_EPOCH * UINT64_C(1000) - 1000000 + fake_sys.now_ms) * 1000000;
}

static bool out_of_memory(void)
{
    if (fake_sys.fail_after > 0 && --fake_sys.fail_after == 0) {
        fake_sys.failed++;
        return true;
    }
    fake_sys.allocations++;
    return false;
}

void *rill_sys_malloc(size_t size)
{
    return out_of_memory() ? NULL : malloc(size);
}

void *rill_sys_calloc(size_t count, size_t size)
{
    return out_of_memory() ? NULL : calloc(count, size);
}

void *rill_sys_realloc(void *old, size_t size)
{
    return out_of_memory() ? NULL : realloc(old, size);
}

void *rill_sys_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return fake_sys.no_maps ? MAP_FAILED : mmap(at, length, protection, flags, fd, offset);
}

int rill_sys_munmap(void *at, size_t length)
{
    return munmap(at, length);
}

int rill_sys_madvise(void *at, size_t length, int advice)
{
    return madvise(at, length, advice);
}

int rill_sys_shutdown(int fd, int how)
{
    return shutdown(fd, how);
}

ssize_t rill_sys_recv(int fd, void *into, size_t size, int flags)
{
    fake_sys.receives++;
    return recv(fd, into, size, flags);
}

ssize_t rill_sys_send(int fd, const void *bytes, size_t length, int flags)
{
    fake_sys.sends++;
    return send(fd, bytes, length, flags);
}

ssize_t rill_sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    fake_sys.sends++;
    return sendmsg(fd, message, flags);
}

ssize_t rill_sys_sendfile(int out_fd, int in_fd, off_t *offset, size_t count)
{
    fake_sys.sends++;
    return sendfile(out_fd, in_fd, offset, count);
}

ssize_t rill_sys_read(int fd, void *into, size_t size)
{
    return read(fd, into, size);
}

ssize_t rill_sys_pread(int fd, void *into, size_t size, off_t offset)
{
    return pread(fd, into, size, offset);
}

ssize_t rill_sys_write(int fd, const void *bytes, size_t length)
{
    return write(fd, bytes, length);
}

int rill_sys_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

int rill_sys_dup(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

int rill_sys_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return poll(fds, count, timeout_ms);
}

int rill_sys_eventfd(unsigned initial, int flags)
{
    return eventfd(initial, flags);
}

int rill_sys_timerfd_create(clockid_t clock_id, int flags)
{
    return timerfd_create(clock_id, flags);
}

/* The clock that a timerfd would follow is not the one that the loop sees. */
int rill_sys_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    (void)fd, (void)flags, (void)when, (void)before;
    fake_sys.timer_orders++;
    return 0;
}

int rill_sys_close(int fd)
{
    return close(fd);
}

int rill_sys_openat2(int dir_fd, const char *path, const void *how, size_t how_size)
{
    return (int)syscall(SYS_openat2, dir_fd, path, how, how_size);
}

int rill_sys_fstat(int fd, struct stat *into)
{
    return fstat(fd, into);
}

ssize_t rill_sys_writev(int fd, const struct iovec *parts, int count)
{
    return writev(fd, parts, count);
}

DIR *rill_sys_fdopendir(int fd)
{
    return fdopendir(fd);
}

struct dirent *rill_sys_readdir(DIR *dir)
{
    return readdir(dir);
}

int rill_sys_closedir(DIR *dir)
{
    return closedir(dir);
}

int rill_sys_thread_create(pthread_t *thread, void *(*main)(void *), void *arg)
{
    return pthread_create(thread, NULL, main, arg);
}

int rill_sys_thread_join(pthread_t thread)
{
    return pthread_join(thread, NULL);
}

int rill_sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    return getaddrinfo(host, service, hints, found);
}

int rill_sys_getrlimit_nofile(struct rlimit *limit)
{
    return getrlimit(RLIMIT_NOFILE, limit);
}

int rill_sys_socket(int domain, int type, int protocol)
{
    return socket(domain, type, protocol);
}

int rill_sys_bind(int fd, const struct sockaddr *addr, socklen_t length)
{
    return bind(fd, addr, length);
}

int rill_sys_listen(int fd, int backlog)
{
    return listen(fd, backlog);
}

int rill_sys_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags)
{
    return accept4(fd, addr, length, flags);
}

int rill_sys_connect(int fd, const struct sockaddr *addr, socklen_t length)
{
    return connect(fd, addr, length);
}

int rill_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *length)
{
    return getsockname(fd, addr, length);
}

int rill_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *length)
{
    return getpeername(fd, addr, length);
}

int rill_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    return getsockopt(fd, level, name, value, length);
}

int rill_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    return setsockopt(fd, level, name, value, length);
}

ssize_t rill_sys_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return preadv2(fd, parts, count, offset, flags);
}

int rill_sys_fadvise(int fd, off_t offset, off_t length, int advice)
{
    return posix_fadvise(fd, offset, length, advice);
}

int rill_sys_cachestat(int fd, struct rill_sys_cachestat_range *range, struct rill_sys_cachestat *into, unsigned flags)
{
    return (int)syscall(RILL_SYS_CACHESTAT_NUMBER, fd, range, into, flags);
}

long rill_sys_page_size(void)
{
    return sysconf(_SC_PAGESIZE);
}

int rill_sys_unlink(const char *path)
{
    return unlink(path);
}

ssize_t rill_sys_getrandom(void *into, size_t size, unsigned flags)
{
    return getrandom(into, size, flags);
}

int rill_sys_lstat(const char *path, struct stat *into)
{
    return lstat(path, into);
}

int rill_sys_setrlimit_nofile(const struct rlimit *limit)
{
    return setrlimit(RLIMIT_NOFILE, limit);
}

int rill_sys_sched_setscheduler(pid_t thread, int policy, const struct sched_param *parameters)
{
    return sched_setscheduler(thread, policy, parameters);
}
