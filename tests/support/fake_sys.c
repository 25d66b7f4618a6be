/* fake_sys.c - see fake_sys.h. What is not told otherwise does as the system does. */
#include "fake_sys.h"
#include "faulty_internal.h"
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

void fake_sys_reset(uint64_t now_ms)
{
    fake_sys = (struct fake_sys){.now_ms = now_ms};
    faulty_sys_reset();
}

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

ssize_t rill_sys_recv(int fd, void *into, size_t size, int flags)
{
    return faulty_fails(FAULTY_RECV, SITE) ? -1 : recv(fd, into, size, flags);
}

ssize_t rill_sys_send(int fd, const void *bytes, size_t length, int flags)
{
    return faulty_fails(FAULTY_SEND, SITE) ? -1 : send(fd, bytes, length, flags);
}

ssize_t rill_sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return faulty_fails(FAULTY_SEND, SITE) ? -1 : sendmsg(fd, message, flags);
}

ssize_t rill_sys_sendfile(int out_fd, int in_fd, off_t *offset, size_t count)
{
    return faulty_fails(FAULTY_SENDFILE, SITE) ? -1 : sendfile(out_fd, in_fd, offset, count);
}

/* The clock that a timerfd would follow is not the one that the loop sees. */
int rill_sys_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    (void)fd, (void)flags, (void)when, (void)before;
    fake_sys.timer_orders++;
    return 0;
}
