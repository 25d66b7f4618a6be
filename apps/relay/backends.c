/* backends.c - see backends.h. */
#include "backends.h"
#include "rill/core/log.h"
#include <errno.h>

enum { MOST_BACKOFF = 4 }; /* times that the time to the next check is doubled */

int backends_add(struct backends *backends, const char *target, const char **wanted)
{
    struct rill_addr addr;
    char host[RILL_HOST_TEXT];
    if (backends->count == BACKENDS_MAX) {
        *wanted = "there can be 64 servers at most";
        return -EINVAL;
    }
    if (rill_addr_parse_numeric(target, &addr, host, wanted) < 0)
        return -EINVAL;
    backends->backend[backends->count++] = (struct backend){.all = backends, .target = target};
    return 0;
}

/* --- choosing --- */

uint64_t backends_mask(const struct backend *backend)
{
    return UINT64_C(1) << (backend - backend->all->backend);
}

static unsigned active(const struct backend *backend)
{
    return __atomic_load_n(&backend->active, __ATOMIC_RELAXED);
}

struct backend *backends_choose(struct backends *backends, uint64_t tried)
{
    struct backend *chosen = NULL, *down = NULL;
    unsigned first = __atomic_fetch_add(&backends->next, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < backends->count; i++) {
        struct backend *backend = &backends->backend[(first + i) % backends->count];
        if (tried & backends_mask(backend))
            continue;
        if (__atomic_load_n(&backend->down, __ATOMIC_RELAXED))
            down = down ? down : backend;
        else if (!chosen || (backends->balance == BACKENDS_LEAST_CONNECTIONS && active(backend) < active(chosen)))
            chosen = backend;
    }
    chosen = chosen ? chosen : down; /* it may have come back since */
    if (chosen)
        __atomic_fetch_add(&chosen->active, 1, __ATOMIC_RELAXED);
    return chosen;
}

void backends_release(struct backend *backend)
{
    __atomic_fetch_sub(&backend->active, 1, __ATOMIC_RELAXED);
}

/* --- up and down --- */

void backends_note_success(struct backend *backend)
{
    if (__atomic_load_n(&backend->failures, __ATOMIC_RELAXED) > 0) /* the common case writes nothing */
        __atomic_store_n(&backend->failures, 0, __ATOMIC_RELAXED);
    if (__atomic_load_n(&backend->down, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&backend->down, false, __ATOMIC_RELAXED))
        rill_log_info("%s is up again", backend->target);
}

void backends_note_failure(struct backend *backend, const char *why)
{
    if (backend->all->check_interval_ms == 0)
        return; /* nobody would find it up again */
    unsigned failures = __atomic_add_fetch(&backend->failures, 1, __ATOMIC_RELAXED);
    if (failures >= backend->all->failures_to_down && !__atomic_exchange_n(&backend->down, true, __ATOMIC_RELAXED))
        rill_log_warn("%s is down: %s", backend->target, why);
}

/* --- checks --- */

static void check_later(struct backend *backend)
{
    const struct backends *all = backend->all;
    unsigned failures = __atomic_load_n(&backend->failures, __ATOMIC_RELAXED);
    unsigned beyond = failures > all->failures_to_down ? failures - all->failures_to_down : 0;
    unsigned doubled = beyond < MOST_BACKOFF ? beyond : MOST_BACKOFF;
    rill_loop_arm(backend->loop, &backend->timer, all->check_interval_ms << doubled);
}

static void check_succeeded(struct rill_conn *conn, void *arg)
{
    struct backend *backend = arg;
    backend->check = NULL;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    backends_note_success(backend);
    check_later(backend);
}

static void check_failed(int error, const char *why, void *arg)
{
    struct backend *backend = arg;
    backend->check = NULL;
    if (error == -ECANCELED)
        return;                                                   /* the loop ends */
    if (error != -ENOMEM && error != -ENFILE && error != -EMFILE) /* those are our own troubles */
        backends_note_failure(backend, why);
    check_later(backend);
}

static void check(struct rill_timer *timer)
{
    static const struct rill_conn_handler none;
    static const struct rill_conn_config conn = {.handler = &none};
    struct backend *backend = rill_container_of(timer, struct backend, timer);
    struct rill_connect_config config = {.target = backend->target,
                                         .timeout_ms = backend->all->connect_timeout_ms,
                                         .conn = &conn,
                                         .on_connected = check_succeeded,
                                         .on_failed = check_failed,
                                         .arg = backend};
    if (rill_connect(backend->loop, &config, &backend->check) < 0)
        check_later(backend); /* no memory now */
}

void backends_start_checks(struct backends *backends, struct rill_loop *loop)
{
    if (backends->check_interval_ms == 0 || __atomic_exchange_n(&backends->are_checked, true, __ATOMIC_ACQ_REL))
        return;
    for (unsigned i = 0; i < backends->count; i++) {
        struct backend *backend = &backends->backend[i];
        backend->loop = loop;
        rill_timer_init(&backend->timer, check);
        rill_loop_arm(loop, &backend->timer, 0);
    }
}

void backends_end_checks(struct backends *backends, struct rill_loop *loop)
{
    for (unsigned i = 0; i < backends->count && backends->backend[i].loop == loop; i++) {
        rill_loop_disarm(loop, &backends->backend[i].timer);
        rill_connect_cancel(backends->backend[i].check);
    }
}
