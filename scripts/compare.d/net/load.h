/* load.h - what the load generators share: threads that make load and count it, and the window it is measured in.
 *
 * A generator's threads work for as long as the process lives and know nothing of time: the main thread sleeps through
 * the warm-up and the window, and takes the difference of what they have counted. It prints "begin" and
 * "end KEY=VALUE ..." at the window's ends, when its caller looks at the server, and then waits to be killed: closing
 * the connections is no part of the load. */
#ifndef LOAD_H
#define LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Latencies fall into buckets, 32 to each power of two. */
enum { LOAD_FINE = 32, LOAD_BUCKETS = 60 * LOAD_FINE };

struct load_thread {
    int index;
    void *arg;
    pthread_t thread;
    /* Written by the thread alone, read by the main one. */
    _Atomic uint64_t units; /* of work done: messages, requests, ... */
    _Atomic uint64_t latency[LOAD_BUCKETS];
};

struct load {
    unsigned threads;
    void (*work)(struct load_thread *self); /* does not return */
    void *arg;                              /* the threads' */
    unsigned warm_ms, window_ms;
};

/* Does not return. */
void load_run(const struct load *load);

/* COUNT units more are done. */
void load_count(struct load_thread *self, uint64_t count);

/* COUNT units, counted by load_count(), have taken since START_NS. */
void load_took(struct load_thread *self, uint64_t count, uint64_t start_ns);

uint64_t load_now_ns(void);

/* A connection to 127.0.0.1:PORT, non-blocking, with TCP_NODELAY. INDEX counts the process's connections: they come
 * from several addresses, because each has only 28,000 ports. The process ends when it cannot connect. */
int load_connect(uint16_t port, int index);

int load_epoll(void);
void load_watch(int epoll_fd, int fd, uint32_t events, void *data);

/* Reads the command line's operands, numbers all of them, into VALUES: as many as USAGE has words. The process ends
 * when it has others. */
void load_operands(int argc, char **argv, const char *usage, unsigned *values);

/* Stops the process with "NAME: WHAT: why", why by errno; load_fail() knows no errno. */
void load_die(const char *what) __attribute__((noreturn));
void load_fail(const char *what) __attribute__((noreturn));

#endif
