/* faulty_files.c - see faulty_sys.h: files, and what is asked of the system as a favour. */
#ifndef RILL_SYS_REPLACED
#define RILL_SYS_REPLACED
#endif
#include "faulty_internal.h"
#include "rill/core/sys.h"

int rill_sys_open(const char *path, int flags, mode_t mode)
{
    return faulty_fails(FAULTY_FILE, SITE) ? -1 : open(path, flags, mode);
}

int rill_sys_openat2(int dir_fd, const char *path, const void *how, size_t how_size)
{
    return faulty_fails(FAULTY_FILE, SITE) ? -1 : (int)syscall(SYS_openat2, dir_fd, path, how, how_size);
}

int rill_sys_fstat(int fd, struct stat *into)
{
    return faulty_fails(FAULTY_FILE, SITE) ? -1 : fstat(fd, into);
}

int rill_sys_lstat(const char *path, struct stat *into)
{
    return faulty_fails(FAULTY_FILE, SITE) ? -1 : lstat(path, into);
}

int rill_sys_unlink(const char *path)
{
    return faulty_fails(FAULTY_FILE, SITE) ? -1 : unlink(path);
}

int rill_sys_dup(int fd)
{
    return faulty_fails(FAULTY_FILE, SITE) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

DIR *rill_sys_fdopendir(int fd)
{
    return faulty_fails(FAULTY_FILE, SITE) ? NULL : fdopendir(fd);
}

struct dirent *rill_sys_readdir(DIR *dir)
{
    return faulty_fails(FAULTY_FILE, SITE) ? NULL : readdir(dir);
}

ssize_t rill_sys_read(int fd, void *into, size_t size)
{
    ssize_t most = faulty_is_signal(fd) ? (ssize_t)size : faulty_moves(FAULTY_READ, SITE, fd, size);
    return most < 0 ? -1 : read(fd, into, (size_t)most);
}

ssize_t rill_sys_pread(int fd, void *into, size_t size, off_t offset)
{
    ssize_t most = faulty_moves(FAULTY_READ, SITE, fd, size);
    return most < 0 ? -1 : pread(fd, into, (size_t)most, offset);
}

ssize_t rill_sys_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    struct iovec less[FAULTY_PARTS];
    ssize_t most = faulty_moves(FAULTY_READ, SITE, fd, faulty_length(parts, (size_t)count));
    return most < 0 ? -1 : preadv2(fd, less, (int)faulty_cut(parts, (size_t)count, (size_t)most, less), offset, flags);
}

/* How much of LENGTH the disk has room for, which is then used up; -1 with errno set when there is none. */
static ssize_t take_room(int fd, size_t length)
{
    struct stat st;
    if (!__atomic_load_n(&faulty_sys.disk_limited, __ATOMIC_ACQUIRE) || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return (ssize_t)length;
    uint64_t room = __atomic_load_n(&faulty_sys.disk_room, __ATOMIC_RELAXED), taken;
    do
        taken = room < length ? room : length;
    while (!__atomic_compare_exchange_n(&faulty_sys.disk_room, &room, room - taken, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
    if (taken > 0)
        return (ssize_t)taken;
    errno = ENOSPC;
    return -1;
}

static ssize_t may_write(const void *site, int fd, size_t length)
{
    ssize_t most = faulty_is_signal(fd) ? (ssize_t)length : faulty_moves(FAULTY_WRITE, site, fd, length);
    return most > 0 ? take_room(fd, (size_t)most) : most;
}

ssize_t rill_sys_write(int fd, const void *bytes, size_t length)
{
    ssize_t most = may_write(SITE, fd, length);
    return most < 0 ? -1 : write(fd, bytes, (size_t)most);
}

ssize_t rill_sys_writev(int fd, const struct iovec *parts, int count)
{
    struct iovec less[FAULTY_PARTS];
    ssize_t most = may_write(SITE, fd, faulty_length(parts, (size_t)count));
    return most < 0 ? -1 : writev(fd, less, (int)faulty_cut(parts, (size_t)count, (size_t)most, less));
}

/* --- favours --- */

int rill_sys_cachestat(int fd, struct rill_sys_cachestat_range *range, struct rill_sys_cachestat *into, unsigned flags)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : (int)syscall(RILL_SYS_CACHESTAT_NUMBER, fd, range, into, flags);
}

int rill_sys_fadvise(int fd, off_t offset, off_t length, int advice)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? errno : posix_fadvise(fd, offset, length, advice);
}

int rill_sys_madvise(void *at, size_t length, int advice)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : madvise(at, length, advice);
}

int rill_sys_set_pipe_bytes(int fd, int bytes)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : fcntl(fd, F_SETPIPE_SZ, bytes);
}

int rill_sys_sched_setscheduler(pid_t thread, int policy, const struct sched_param *parameters)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : sched_setscheduler(thread, policy, parameters);
}

ssize_t rill_sys_getrandom(void *into, size_t size, unsigned flags)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : getrandom(into, size, flags);
}

int rill_sys_tgkill(pid_t thread, int number)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : (int)syscall(SYS_tgkill, getpid(), thread, number);
}

int rill_sys_getrlimit_nofile(struct rlimit *limit)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : getrlimit(RLIMIT_NOFILE, limit);
}

int rill_sys_setrlimit_nofile(const struct rlimit *limit)
{
    return faulty_fails(FAULTY_ADVICE, SITE) ? -1 : setrlimit(RLIMIT_NOFILE, limit);
}
