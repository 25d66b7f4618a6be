/* backends.h - the servers that rill-relay may send a client to: which of them is next, and which are down. */
#ifndef RILL_APPS_RELAY_BACKENDS_H
#define RILL_APPS_RELAY_BACKENDS_H

#include "rill/net/connect.h"

enum { BACKENDS_MAX = 64 };

enum backends_balance {
    BACKENDS_ROUND_ROBIN,
    BACKENDS_LEAST_CONNECTIONS,
};

/* One server. What any loop may look at is read and written with atomics. */
struct backend {
    struct backends *all;
    const char *target;         /* see rill_connect() */
    unsigned active;            /* any loop's: clients that are there or on their way */
    unsigned failures;          /* any loop's: connects that failed in a row */
    bool down;                  /* any loop's */
    struct rill_loop *loop;     /* where it is checked, and what follows lives */
    struct rill_timer timer;    /* until the next check */
    struct rill_connect *check; /* under way; NULL: none */
};

/* Set `balance` and the three that follow, then backends_add(); all of it before the loops run. */
struct backends {
    enum backends_balance balance;
    /* Of one that is up; one that is down is given more and more time, up to 16 times that. 0: none is checked, or ever
     * taken to be down. */
    uint64_t check_interval_ms;
    uint64_t connect_timeout_ms;
    unsigned failures_to_down;
    struct backend backend[BACKENDS_MAX];
    unsigned count;
    unsigned next;    /* any loop's: round-robin */
    bool are_checked; /* any loop's: one has taken it on */
};

/* Adds the server at TARGET, which lives as long. Returns 0, or -EINVAL with *WANTED set. */
int backends_add(struct backends *backends, const char *target, const char **wanted);

/* The server for the next client: one that is up and not in TRIED, a mask by number; when none is, one that is down.
 * It is given back with backends_release(). NULL: all are in TRIED. Thread: any. */
struct backend *backends_choose(struct backends *backends, uint64_t tried);
void backends_release(struct backend *backend);

/* The mask of BACKEND in TRIED. */
uint64_t backends_mask(const struct backend *backend);

/* A connect to BACKEND succeeded, or failed because of WHY: it is up or, after enough failures in a row, down. Thread:
 * any. */
void backends_note_success(struct backend *backend);
void backends_note_failure(struct backend *backend, const char *why);

/* Connects to each of them now and then, on the LOOP that says so first; ends that, for the loop that does it. */
void backends_start_checks(struct backends *backends, struct rill_loop *loop);
void backends_end_checks(struct backends *backends, struct rill_loop *loop);

#endif
