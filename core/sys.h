/* sys.h - the one seam between Rill and the system: clocks, descriptors, files, threads, memory.
 *
 * Every call is a plain inline call of the real thing. With RILL_SYS_REPLACED defined for the whole build they are
 * declarations instead, and a test build links its own: a virtual clock, an in-memory network, injected faults.
 * Each wrapper has the contract of the man page of the call that it is named after, errno included; the exceptions
 * (time) say so. Nothing outside this file and libevent asks the system for any of these. */
#ifndef RILL_CORE_SYS_H
#define RILL_CORE_SYS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined RILL_SYS_DEFAULTS /* for a test build: the real thing, wherever the replacement has nothing of its own */
#define RILL_SYS(type, name, parameters, call)                                                                         \
    type rill_sys_##name parameters;                                                                                   \
    __attribute__((weak)) type rill_sys_##name parameters                                                              \
    {                                                                                                                  \
        return call;                                                                                                   \
    }
#elif defined RILL_SYS_REPLACED
#define RILL_SYS(type, name, parameters, call) type rill_sys_##name parameters;
#else
#define RILL_SYS(type, name, parameters, call)                                                                         \
    static inline type rill_sys_##name parameters                                                                      \
    {                                                                                                                  \
        return call;                                                                                                   \
    }
#endif

/* Nanoseconds of CLOCK_MONOTONIC, and of the wall clock since 1970. */
static inline uint64_t rill_sys_clock_ns(clockid_t clock_id)
{
    struct timespec ts = {0, 0};
    clock_gettime(clock_id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
RILL_SYS(uint64_t, monotonic_ns, (void), rill_sys_clock_ns(CLOCK_MONOTONIC))
RILL_SYS(uint64_t, realtime_ns, (void), rill_sys_clock_ns(CLOCK_REALTIME))

/* Memory. */
RILL_SYS(void *, malloc, (size_t size), malloc(size))
RILL_SYS(void *, calloc, (size_t count, size_t size), calloc(count, size))
RILL_SYS(void *, realloc, (void *old, size_t size), realloc(old, size))
static inline void rill_sys_free(void *memory)
{
    free(memory);
}
RILL_SYS(void *, mmap, (void *at, size_t length, int protection, int flags, int fd, off_t offset),
         mmap(at, length, protection, flags, fd, offset))
RILL_SYS(int, munmap, (void *at, size_t length), munmap(at, length))
RILL_SYS(int, madvise, (void *at, size_t length, int advice), madvise(at, length, advice))

/* Sockets. */
RILL_SYS(int, socket, (int domain, int type, int protocol), socket(domain, type, protocol))
RILL_SYS(int, bind, (int fd, const struct sockaddr *addr, socklen_t length), bind(fd, addr, length))
RILL_SYS(int, listen, (int fd, int backlog), listen(fd, backlog))
RILL_SYS(int, accept4, (int fd, struct sockaddr *addr, socklen_t *length, int flags), accept4(fd, addr, length, flags))
RILL_SYS(int, connect, (int fd, const struct sockaddr *addr, socklen_t length), connect(fd, addr, length))
RILL_SYS(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *length), getsockname(fd, addr, length))
RILL_SYS(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *length), getpeername(fd, addr, length))
RILL_SYS(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *length),
         getsockopt(fd, level, name, value, length))
RILL_SYS(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length),
         setsockopt(fd, level, name, value, length))
RILL_SYS(int, shutdown, (int fd, int how), shutdown(fd, how))
/* To glibc recv() and send() are cancellation points (pthreads(7)), which is half of what they do outside the kernel,
 * and no thread of Rill's is ever cancelled. Debug builds call them by name: the sanitizers look for it. */
#ifdef NDEBUG
RILL_SYS(ssize_t, recv, (int fd, void *into, size_t size, int flags),
         syscall(SYS_recvfrom, fd, into, size, flags, NULL, NULL))
RILL_SYS(ssize_t, send, (int fd, const void *bytes, size_t length, int flags),
         syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0))
#else
RILL_SYS(ssize_t, recv, (int fd, void *into, size_t size, int flags), recv(fd, into, size, flags))
RILL_SYS(ssize_t, send, (int fd, const void *bytes, size_t length, int flags), send(fd, bytes, length, flags))
#endif
RILL_SYS(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), sendmsg(fd, message, flags))
RILL_SYS(int, recvmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags),
         recvmmsg(fd, messages, count, flags, NULL))
RILL_SYS(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags),
         sendmmsg(fd, messages, count, flags))
RILL_SYS(ssize_t, sendfile, (int out_fd, int in_fd, off_t *offset, size_t count),
         sendfile(out_fd, in_fd, offset, count))
RILL_SYS(ssize_t, splice, (int in_fd, int out_fd, size_t count, unsigned flags),
         splice(in_fd, NULL, out_fd, NULL, count, flags))
RILL_SYS(int, pipe2, (int fds[2], int flags), pipe2(fds, flags))
/* Of a pipe: the size that it got, which is no less than BYTES. */
RILL_SYS(int, set_pipe_bytes, (int fd, int bytes), fcntl(fd, F_SETPIPE_SZ, bytes))

RILL_SYS(int, getaddrinfo,
         (const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found),
         getaddrinfo(host, service, hints, found))
static inline void rill_sys_freeaddrinfo(struct addrinfo *found)
{
    freeaddrinfo(found);
}

/* Files and other descriptors. */
RILL_SYS(int, open, (const char *path, int flags, mode_t mode), open(path, flags, mode))
RILL_SYS(int, openat2, (int dir_fd, const char *path, const void *how, size_t how_size),
         (int)syscall(SYS_openat2, dir_fd, path, how, how_size))
RILL_SYS(int, fstat, (int fd, struct stat *into), fstat(fd, into))
RILL_SYS(int, lstat, (const char *path, struct stat *into), lstat(path, into))
RILL_SYS(ssize_t, read, (int fd, void *into, size_t size), read(fd, into, size))
RILL_SYS(ssize_t, pread, (int fd, void *into, size_t size, off_t offset), pread(fd, into, size, offset))
RILL_SYS(ssize_t, preadv2, (int fd, const struct iovec *parts, int count, off_t offset, int flags),
         preadv2(fd, parts, count, offset, flags))
RILL_SYS(ssize_t, write, (int fd, const void *bytes, size_t length), write(fd, bytes, length))
RILL_SYS(ssize_t, writev, (int fd, const struct iovec *parts, int count), writev(fd, parts, count))
/* What the page cache holds of a file, as the kernel's <linux/mman.h> has it since 6.5; glibc knows nothing of it yet.
 */
struct rill_sys_cachestat_range {
    uint64_t offset, length;
};
struct rill_sys_cachestat {
    uint64_t cached, dirty, writeback, evicted, recently_evicted; /* pages */
};
#ifdef SYS_cachestat
#define RILL_SYS_CACHESTAT_NUMBER SYS_cachestat
#else
#define RILL_SYS_CACHESTAT_NUMBER 451
#endif
RILL_SYS(int, cachestat,
         (int fd, struct rill_sys_cachestat_range *range, struct rill_sys_cachestat *into, unsigned flags),
         (int)syscall(RILL_SYS_CACHESTAT_NUMBER, fd, range, into, flags))
RILL_SYS(long, page_size, (void), sysconf(_SC_PAGESIZE))
RILL_SYS(int, fadvise, (int fd, off_t offset, off_t length, int advice), posix_fadvise(fd, offset, length, advice))
RILL_SYS(DIR *, fdopendir, (int fd), fdopendir(fd))
/* Of a stream that one thread holds it is safe; readdir_r is deprecated. */
/* cppcheck-suppress readdirCalled */
RILL_SYS(struct dirent *, readdir, (DIR * dir), readdir(dir))
RILL_SYS(int, closedir, (DIR * dir), closedir(dir))
RILL_SYS(int, chmod, (const char *path, mode_t mode), chmod(path, mode))
RILL_SYS(int, unlink, (const char *path), unlink(path))
RILL_SYS(int, dup, (int fd), fcntl(fd, F_DUPFD_CLOEXEC, 0))
RILL_SYS(int, poll, (struct pollfd * fds, nfds_t count, int timeout_ms), poll(fds, count, timeout_ms))
RILL_SYS(int, eventfd, (unsigned initial, int flags), eventfd(initial, flags))
RILL_SYS(int, timerfd_create, (clockid_t clock_id, int flags), timerfd_create(clock_id, flags))
RILL_SYS(int, timerfd_settime, (int fd, int flags, const struct itimerspec *when, struct itimerspec *before),
         timerfd_settime(fd, flags, when, before))
/* O_NONBLOCK and FD_CLOEXEC, for a descriptor that was not opened here. */
static inline int rill_sys_fcntl_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -1 : fcntl(fd, F_SETFD, FD_CLOEXEC);
}
RILL_SYS(int, set_nonblocking, (int fd), rill_sys_fcntl_nonblocking(fd))
RILL_SYS(int, close, (int fd), close(fd))
/* Of RLIMIT_NOFILE: how many descriptors the process may have. */
RILL_SYS(int, getrlimit_nofile, (struct rlimit * limit), getrlimit(RLIMIT_NOFILE, limit))
RILL_SYS(int, setrlimit_nofile, (const struct rlimit *limit), setrlimit(RLIMIT_NOFILE, limit))
RILL_SYS(ssize_t, getrandom, (void *into, size_t size, unsigned flags), getrandom(into, size, flags))

/* Threads. */
RILL_SYS(int, thread_create, (pthread_t * thread, void *(*main)(void *), void *arg),
         pthread_create(thread, NULL, main, arg))
RILL_SYS(int, sched_setscheduler, (pid_t thread, int policy, const struct sched_param *parameters),
         sched_setscheduler(thread, policy, parameters))
RILL_SYS(int, thread_join, (pthread_t thread), pthread_join(thread, NULL))
/* Signals: to a thread of this process by its gettid(), and to the caller. */
RILL_SYS(int, tgkill, (pid_t thread, int number), (int)syscall(SYS_tgkill, getpid(), thread, number))
RILL_SYS(int, raise, (int number), raise(number))

#undef RILL_SYS

#ifdef __cplusplus
}
#endif

#endif
