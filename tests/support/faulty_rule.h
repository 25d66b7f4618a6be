/* faulty_rule.h - which call of the system fails, and with what: one rule for all worlds that tests put in place of
 * core/sys.h. A call is counted by its kind and by its site, the place in the layers' code that makes it; it fails
 * because it is the k-th of those that are counted, or by a seed, or because all of its kind do. */
#ifndef RILL_TESTS_SUPPORT_FAULTY_RULE_H
#define RILL_TESTS_SUPPORT_FAULTY_RULE_H

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
    FAULTY_EPOLL_CTL, /* libevent's */
    FAULTY_SHUTDOWN,
    FAULTY_DESCRIPTOR, /* socket, bind, listen, chmod, getsockname, getpeername, getsockopt, setsockopt, eventfd,
                          timerfd_create, pipe2 */
    FAULTY_THREAD,     /* pthread_create */
    FAULTY_NAME,       /* getaddrinfo */
    FAULTY_FILE,       /* open, openat2, fstat, lstat, dup, fdopendir, readdir, unlink */
    FAULTY_READ,       /* read, pread, preadv2; not of an eventfd or a timerfd */
    FAULTY_WRITE,      /* write, writev; not to an eventfd */
    FAULTY_POLL,       /* poll */
    FAULTY_ADVICE, /* cachestat, fadvise, madvise, F_SETPIPE_SZ, getrandom, sched_setscheduler, getrlimit, setrlimit,
                      tgkill: what is asked as a favour */
    FAULTY_CALLS,
};

/* In place of an errno: the call moves a part of what it could, one byte or one message. */
#define FAULTY_SHORT (-1)

/* All zero: the real system. Fields are read and written by the thread that runs the code under test, or while nothing
 * is counted (`fail_after` and `one_in` are 0); the counters, `fail_after` and `lasting` may be used by several. */
struct faulty_sys {
    uint64_t calls[FAULTY_CALLS]; /* made so far */
    bool counts[FAULTY_CALLS];    /* which kinds `fail_after` and `one_in` count and let fail */
    uint64_t fail_after; /* so many of these succeed, the one after them fails; 0: none fails, so 1 is the least */
    uint64_t lasting;    /* so many fail then, one after the other; 0: one */
    uint64_t failed;     /* calls that did */
    const void *site;    /* not NULL: only calls from there count */
    unsigned variant;    /* with `fail_error` 0: which of the errors that such a call may have, see faulty_errors() */
    int fail_error;      /* errno of what `fail_after` lets fail; 0: as `variant` says */
    unsigned one_in;     /* not 0: one in so many of these fails, with any of its errors, by the numbers of `seed` */
    uint64_t seed;
    int error[FAULTY_CALLS]; /* what every call of a kind fails with; 0: it does not */
    const void *struck;      /* the site of the call that failed last */
    enum faulty_call struck_call;
    int struck_error;
    size_t most_received; /* bytes a recv, datagrams a recvmmsg; 0: no limit */
    size_t most_sent;     /* bytes a send, sendmsg or sendfile, datagrams a sendmmsg; 0: no limit */
    /* Not 0: every recv, send, sendmsg, sendfile and splice moves a part of what it could, one byte at least, or is
     * interrupted, or would have to wait, as a row of random numbers that begins with this has it. */
    uint64_t short_seed;
    bool send_limited; /* only send_quota more bytes (datagrams) are taken, then it is EAGAIN */
    uint64_t send_quota;
    bool disk_limited; /* regular files take only disk_room more bytes, then it is ENOSPC; both used by several threads
                        */
    uint64_t disk_room;
    int endless_fd;    /* not 0: recv always fills the buffer from it, sends to it take all */
    uint64_t endless;  /* bytes that it moved */
    int64_t skewed_ms; /* faulty_sys_forward() so far */
    /* In place of the system's, unless NULL; both may be called by several threads. */
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t length);
    int (*getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found);
};

extern struct faulty_sys faulty_sys;

/* Back to a system that never fails; a clock that was put forward stays where it is. */
void faulty_sys_reset(void);

/* Has the K-th allocation from now on fail, and what else `counts`; 1: the next. */
static inline void faulty_memory_fails_at(uint64_t k)
{
    faulty_sys.counts[FAULTY_MEMORY] = true;
    faulty_sys.fail_after = k;
}

/* Counts a call of KIND from SITE. 0: it succeeds; else the errno that it fails with, or FAULTY_SHORT. */
int faulty_rule_apply(enum faulty_call kind, const void *site);

/* The errors that a call of KIND may have, *COUNT of them: the plainest first. */
const int *faulty_errors(enum faulty_call kind, unsigned *count);

/* Names the call that failed last, for messages; in a buffer of its own. */
const char *faulty_struck(void);

/* Says which sites that were counted no fault has struck, a line each, and how many there are of both. */
void faulty_sites_report(void);

#endif
