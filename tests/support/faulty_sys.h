/* faulty_sys.h - the seam of core/sys.h in the hands of a test, over the real system: calls that are counted, that fail
 * when they are told to, and that move fewer bytes than they could; a clock that can be put forward. Linked in place of
 * the layers' own calls, and of libevent's: its memory and its epoll_ctl fail by the same rule. */
#ifndef RILL_TESTS_SUPPORT_FAULTY_SYS_H
#define RILL_TESTS_SUPPORT_FAULTY_SYS_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Kinds of calls. */
enum faulty_call {
    FAULTY_MEMORY,   /* malloc, calloc, realloc, mmap; libevent's, too */
    FAULTY_RECV,     /* recv, recvmmsg */
    FAULTY_SEND,     /* send, sendmsg, sendmmsg */
    FAULTY_SENDFILE, /* sendfile */
    FAULTY_SPLICE,
    FAULTY_ACCEPT,
    FAULTY_CONNECT,
    FAULTY_EPOLL_CTL,  /* libevent's */
    FAULTY_DESCRIPTOR, /* socket, bind, listen, chmod, getsockname, setsockopt, eventfd, timerfd_create, pipe2 */
    FAULTY_THREAD,     /* pthread_create */
    FAULTY_CALLS,
};

/* All zero: the real system. Fields are read and written by the thread that runs the code under test; the counters and
 * `fail_after` may be used by several. */
struct faulty_sys {
    uint64_t calls[FAULTY_CALLS]; /* made so far */
    bool counts[FAULTY_CALLS];    /* which kinds `fail_after` counts and lets fail */
    uint64_t fail_after;     /* so many of these succeed, the one after them fails; 0: none fails, so 1 is the least */
    uint64_t failed;         /* calls that did */
    int error[FAULTY_CALLS]; /* what every call of a kind fails with; 0: it does not */
    int fail_error;          /* errno of what `fail_after` lets fail; 0: ENOMEM */
    size_t most_received;    /* bytes a recv, datagrams a recvmmsg; 0: no limit */
    size_t most_sent;        /* bytes a send, sendmsg or sendfile, datagrams a sendmmsg; 0: no limit */
    /* Not 0: every recv, send, sendmsg, sendfile and splice moves a part of what it could, one byte at least, or is
     * interrupted, or would have to wait, as a row of random numbers that begins with this has it. */
    uint64_t short_seed;
    bool send_limited; /* only send_quota more bytes (datagrams) are taken, then it is EAGAIN */
    uint64_t send_quota;
    int endless_fd;    /* not 0: recv always fills the buffer from it, sends to it take all */
    uint64_t endless;  /* bytes that it moved */
    int64_t skewed_ms; /* faulty_sys_forward() so far */
    /* In place of the system's, unless NULL; both may be called by several threads. */
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t length);
    int (*getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found);
};

extern struct faulty_sys faulty_sys;

/* Back to the real system; the clock stays where it is. */
void faulty_sys_reset(void);

/* Has epoll tell again what descriptors are ready for. To be called after each turn with `short_seed`: who was told by
 * a short count, or by EAGAIN, that there is nothing more waits for an edge, and the kernel knows of none. */
void faulty_sys_tell_again(void);

/* Puts the monotonic clock forward; timers that are due then fire in the next turn. */
void faulty_sys_forward(uint64_t ms);

/* Descriptors that are open in this process. */
unsigned faulty_sys_open_descriptors(void);

#endif
