/* faulty_internal.h - what the worlds under the rule share. */
#ifndef RILL_TESTS_SUPPORT_FAULTY_INTERNAL_H
#define RILL_TESTS_SUPPORT_FAULTY_INTERNAL_H

#include "faulty_rule.h"
#include <sys/uio.h>

/* Where the layers call from, in a function that stands in the system's place. */
#define SITE __builtin_return_address(0)

/* Counts a call; true with errno set when it is to fail. One that cannot come short fails instead. */
bool faulty_fails(enum faulty_call kind, const void *site);

/* Counts a call that could move LENGTH from or to FD. How much it may move; -1 with errno set when it fails. */
ssize_t faulty_moves(enum faulty_call kind, const void *site, int fd, size_t length);

/* Whether FD is an eventfd or a timerfd. */
bool faulty_is_signal(int fd);

enum { FAULTY_PARTS = 64 };

static inline size_t faulty_length(const struct iovec *parts, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += parts[i].iov_len;
    return length;
}

/* The first LENGTH bytes of COUNT PARTS, in LESS; returns how many parts these are. */
static inline size_t faulty_cut(const struct iovec *parts, size_t count, size_t length, struct iovec less[FAULTY_PARTS])
{
    size_t used = 0;
    for (; length > 0 && used < count && used < FAULTY_PARTS; used++) {
        less[used] = parts[used];
        if (less[used].iov_len > length)
            less[used].iov_len = length;
        length -= less[used].iov_len;
    }
    return used;
}

#endif
