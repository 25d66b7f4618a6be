/* conn_pool.c - connections kept for the next who needs one.
 *
 * A member is a connection of the pool from the moment that it is begun; a watcher tells of its end, whoever's handler
 * it has by then. It wears three configs in its life: `fresh`, whose on_open has the app's called and passes it on; the
 * app's while it is leased, prepared or probed; `idle`, to which anything that happens is its end.
 *
 * Whatever makes a connection free, or a place for one, posts pump(), which alone meets requests with what is there: so
 * a lessee is never called from within somebody else's return. Requests that are made while it runs have to wait for
 * the next one, and a loop that stops runs no next one. */
#include "rill/net/conn_pool.h"
#include "rill/core/sys.h"
#include "rill/net/connect_internal.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    DEFAULT_MAX_CONNS = 16,
    DEFAULT_MAX_WAITING = 1024,
    DEFAULT_IDLE_TIMEOUT_MS = 60000,
    DEFAULT_LEASE_TIMEOUT_MS = 30000,
};

enum member_state {
    CONNECTING,
    CHECKED, /* being prepared or probed; or in its on_open */
    IDLE,
    LEASED,
};

struct member {
    struct rill_list link;       /* in pool->idle or pool->busy; in neither when the pool has gone */
    struct rill_conn_pool *pool; /* NULL: it has gone */
    struct rill_connect *connect;
    struct rill_conn *conn;
    struct rill_conn_watcher watcher;
    enum member_state state;
    bool ready; /* it has been idle or leased */
    bool used;  /* it has been leased */
    uint64_t idle_since_ms;
};

struct rill_lease {
    struct rill_list link;       /* in pool->waiting */
    struct rill_conn_pool *pool; /* NULL: a callback is running */
    struct rill_timer timer;
    struct rill_lease_request request;
};

struct rill_conn_pool {
    struct rill_loop *loop;
    struct rill_conn_pool_config config; /* what `connect` points to is behind this struct, or the caller's */
    struct rill_list idle;               /* members; returned last, first */
    struct rill_list busy;               /* the other members */
    struct rill_list waiting;            /* requests, oldest first */
    struct rill_conn_pool_counts counts;
    struct rill_task task; /* pump() */
    bool posted;           /* `task` is */
    bool pumping;          /* pump() is on the stack */
    bool freed;            /* and so the memory has to wait */
};

/* --- requests --- */

/* Has pump() run soon, if there is anything to do. Returns 0, or -ESHUTDOWN: the loop is stopping. */
static int pump_later(struct rill_conn_pool *pool)
{
    if (pool->posted || pool->pumping || pool->freed || rill_list_empty(&pool->waiting))
        return 0;
    int error = rill_loop_post(pool->loop, &pool->task);
    pool->posted = error == 0;
    return error;
}

/* Closes the idle connections that are too many, oldest first: while somebody waits, they are his. */
static void trim(struct rill_conn_pool *pool)
{
    while (pool->counts.waiting == 0 && pool->counts.idle > pool->config.max_idle)
        rill_conn_close(rill_container_of(pool->idle.previous, struct member, link)->conn, RILL_CLOSE_LOCAL);
}

/* Takes LEASE out of the queue; what is left is to tell. */
static void settle(struct rill_lease *lease)
{
    struct rill_conn_pool *pool = lease->pool;
    rill_list_remove(&lease->link);
    rill_loop_disarm(pool->loop, &lease->timer);
    pool->counts.waiting--;
    lease->pool = NULL;
    trim(pool);
}

static void fail(struct rill_lease *lease, int error, const char *why)
{
    settle(lease);
    if (lease->request.on_failed)
        lease->request.on_failed(error, why, lease->request.arg);
    rill_sys_free(lease);
}

static void fail_first(struct rill_conn_pool *pool, int error, const char *why)
{
    (void)pump_later(pool);
    if (rill_list_empty(&pool->waiting))
        return;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed is off the list */
    fail(rill_container_of(pool->waiting.next, struct rill_lease, link), error, why);
}

static void on_lease_timer(struct rill_timer *timer)
{
    struct rill_lease *lease = rill_container_of(timer, struct rill_lease, timer);
    char why[80];
    snprintf(why, sizeof why, "no connection of the pool was free within %" PRIu64 " ms", lease->request.timeout_ms);
    fail(lease, -ETIMEDOUT, why);
}

/* --- members --- */

static bool is_coming(const struct member *member)
{
    return member->state == CONNECTING || member->state == CHECKED;
}

static void set_state(struct member *member, enum member_state state)
{
    struct rill_conn_pool *pool = member->pool;
    pool->counts.coming -= is_coming(member);
    pool->counts.idle -= member->state == IDLE;
    member->state = state;
    pool->counts.coming += is_coming(member);
    pool->counts.idle += state == IDLE;
    rill_list_remove(&member->link);
    if (state == IDLE)
        rill_list_push_front(&pool->idle, &member->link);
    else
        rill_list_push_back(&pool->busy, &member->link);
}

/* Takes MEMBER, whose connection has gone or never came, out of its pool and frees it. */
static void forget(struct member *member)
{
    struct rill_conn_pool *pool = member->pool;
    if (pool) {
        pool->counts.coming -= is_coming(member);
        pool->counts.idle -= member->state == IDLE;
        pool->counts.conns--;
    }
    rill_list_remove(&member->link);
    rill_sys_free(member);
}

static void on_member_close(struct rill_conn_watcher *watcher)
{
    struct member *member = rill_container_of(watcher, struct member, watcher);
    struct rill_conn_pool *pool = member->pool;
    bool unready = member->state == CHECKED && !member->ready;
    enum rill_close_reason reason = (enum rill_close_reason)member->conn->finish_reason;
    forget(member);
    if (!pool)
        return;
    if (unready) {
        char why[80];
        snprintf(why, sizeof why, "the connection ended before it was ready: %s", rill_close_reason_text(reason));
        fail_first(pool, -ECONNABORTED, why);
    } else {
        (void)pump_later(pool);
    }
}

/* The member whose connection CONN is. */
static struct member *member_of(struct rill_conn *conn)
{
    struct rill_conn_watcher *watcher = conn->watchers;
    while (watcher && watcher->on_close != on_member_close)
        watcher = watcher->next != conn->watchers ? watcher->next : NULL;
    return watcher ? rill_container_of(watcher, struct member, watcher) : NULL;
}

static void idle_ends(struct rill_conn *conn, struct rill_input *input)
{
    (void)input;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static const struct rill_conn_config idle_config = {
    .handler = &(const struct rill_conn_handler){.on_data = idle_ends},
};

static void make_idle(struct member *member)
{
    struct rill_conn_pool *pool = member->pool;
    set_state(member, IDLE);
    member->ready = true;
    member->idle_since_ms = rill_loop_now_ms(pool->loop);
    rill_conn_dress(member->conn, &idle_config, NULL);
    rill_conn_set_deadline(member->conn, pool->config.idle_timeout_ms);
    (void)pump_later(pool);
    trim(pool);
}

void rill_conn_pool_return(struct rill_conn *conn)
{
    rill_loop_check(conn->net->loop, __func__);
    struct member *member = member_of(conn);
    struct rill_conn_pool *pool = member ? member->pool : NULL;
    if (!pool || conn->state != RILL_CONN_OPEN || conn->eof || conn->shutdown_wanted ||
        (pool->counts.idle >= pool->config.max_idle && rill_list_empty(&pool->waiting))) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    rill_conn_resume(conn, (enum rill_pause)conn->pause);
    make_idle(member);
}

/* --- leasing --- */

/* Whether an idle connection may be leased: its peer has said nothing and not ended it, as far as can be seen here. */
static bool in_health(const struct rill_conn *conn)
{
    char byte;
    return conn->state == RILL_CONN_OPEN && !conn->held && !conn->peer_closed &&
           rill_sys_recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* The idle member to lease next; NULL: none. */
static struct member *healthy_idle(struct rill_conn_pool *pool)
{
    while (!rill_list_empty(&pool->idle)) {
        struct member *member = rill_container_of(pool->idle.next, struct member, link);
        if (in_health(member->conn))
            return member;
        rill_conn_close(member->conn, RILL_CLOSE_RESET);
    }
    return NULL;
}

static bool needs_probe(const struct member *member)
{
    const struct rill_conn_pool *pool = member->pool;
    return pool->config.probe && rill_loop_now_ms(pool->loop) - member->idle_since_ms > pool->config.probe_after_ms;
}

/* Takes MEMBER out of its idleness, or whatever comes before it. */
static void lease_to(struct member *member, void *user)
{
    if (member->state == IDLE)
        rill_conn_dress(member->conn, member->pool->config.connect.conn, user);
    else
        rill_conn_set_user(member->conn, user);
    set_state(member, LEASED);
    member->ready = member->used = true;
}

/* Meets the oldest request with MEMBER. */
static void meet(struct rill_conn_pool *pool, struct member *member)
{
    struct rill_lease *lease = rill_container_of(pool->waiting.next, struct rill_lease, link);
    struct rill_conn *conn = member->conn;
    bool reused = member->used;
    lease_to(member, lease->request.user);
    settle(lease);
    conn->callbacks++; /* what is sent leaves below, in one piece */
    if (lease->request.on_leased)
        lease->request.on_leased(conn, reused, lease->request.arg);
    conn->callbacks--;
    rill_sys_free(lease);
    if (conn->state != RILL_CONN_CLOSED && conn->callbacks == 0)
        rill_conn_settle(conn);
}

static void probe(struct rill_conn_pool *pool, struct member *member)
{
    rill_conn_dress(member->conn, pool->config.connect.conn, NULL);
    set_state(member, CHECKED);
    pool->config.probe(member->conn, pool->config.arg);
}

/* --- making connections --- */

/* A new connection: its on_open, which may do anything, and then what comes first. */
static void fresh_on_open(struct rill_conn *conn)
{
    struct member *member = rill_conn_user(conn);
    struct rill_conn_pool *pool = member->pool;
    rill_conn_become(conn, pool->config.connect.conn, NULL);
    if (conn->state != RILL_CONN_OPEN)
        return; /* the member has gone, and perhaps the pool */
    if (pool->config.prepare)
        pool->config.prepare(conn, pool->config.arg);
    else if (rill_list_empty(&pool->waiting))
        make_idle(member);
    else
        meet(pool, member);
}

static const struct rill_conn_config fresh_config = {
    .handler = &(const struct rill_conn_handler){.on_open = fresh_on_open},
};

static void on_connected(struct rill_conn *conn, void *arg)
{
    struct member *member = arg;
    member->connect = NULL;
    member->conn = conn;
    rill_conn_add_watcher(conn, &member->watcher);
    set_state(member, CHECKED);
}

static void on_connect_failed(int error, const char *why, void *arg)
{
    struct member *member = arg;
    struct rill_conn_pool *pool = member->pool;
    forget(member);
    fail_first(pool, error, why);
}

static void connect_one(struct rill_conn_pool *pool)
{
    int error = -ENOMEM;
    struct member *member = rill_sys_calloc(1, sizeof *member);
    if (member) {
        struct rill_connect_config config = pool->config.connect;
        config.conn = &fresh_config;
        config.user = config.arg = member;
        error = rill_connect(pool->loop, &config, &member->connect);
    }
    if (error < 0) {
        rill_sys_free(member);
        fail_first(pool, error, strerror(-error));
        return;
    }
    member->pool = pool;
    member->watcher.on_close = on_member_close;
    rill_list_init(&member->link);
    rill_list_push_back(&pool->busy, &member->link);
    member->state = CONNECTING;
    pool->counts.conns++;
    pool->counts.coming++;
}

/* The pool's memory, when nobody is going to look at it any more. */
static void release(struct rill_conn_pool *pool)
{
    if (pool->freed && !pool->posted && !pool->pumping)
        rill_sys_free(pool);
}

/* Meets a request, or does something for one. False: there is nothing to do. */
static bool step(struct rill_conn_pool *pool)
{
    if (pool->freed || pool->counts.waiting == 0)
        return false;
    struct member *member = healthy_idle(pool);
    if (member && !needs_probe(member))
        meet(pool, member);
    else if (pool->counts.waiting <= pool->counts.coming)
        return false;
    else if (member)
        probe(pool, member);
    else if (pool->counts.conns < pool->config.max_conns)
        connect_one(pool);
    else
        return false;
    return true;
}

/* Meets requests as long as there is something to meet them with, and sees to what the others need. Who asks again
 * whenever he is told does not keep the loop for himself. */
static void pump(struct rill_task *task)
{
    struct rill_conn_pool *pool = rill_container_of(task, struct rill_conn_pool, task);
    unsigned steps = 2 * pool->counts.waiting;
    pool->posted = false;
    pool->pumping = true;
    while (steps > 0 && step(pool))
        steps--;
    pool->pumping = false;
    if (steps == 0)
        (void)pump_later(pool);
    release(pool);
}

/* --- what users call --- */

int rill_conn_pool_lease(struct rill_conn_pool *pool, const struct rill_lease_request *request,
                         struct rill_lease **lease)
{
    rill_loop_check(pool->loop, __func__);
    if (pool->freed)
        return -ECANCELED;
    if (pool->counts.waiting >= pool->config.max_waiting)
        return -EAGAIN;
    struct rill_lease *made = rill_sys_malloc(sizeof *made);
    if (!made)
        return -ENOMEM;
    made->pool = pool;
    made->request = *request;
    if (request->timeout_ms == 0)
        made->request.timeout_ms = DEFAULT_LEASE_TIMEOUT_MS;
    rill_timer_init(&made->timer, on_lease_timer);
    rill_loop_arm(pool->loop, &made->timer, made->request.timeout_ms);
    rill_list_init(&made->link);
    rill_list_push_back(&pool->waiting, &made->link);
    pool->counts.waiting++;
    int error = pump_later(pool);
    if (error < 0) {
        rill_lease_cancel(made);
        return error;
    }
    if (lease)
        *lease = made;
    return 0;
}

void rill_lease_cancel(struct rill_lease *lease)
{
    if (!lease || !lease->pool)
        return;
    rill_loop_check(lease->pool->loop, __func__);
    settle(lease);
    rill_sys_free(lease);
}

struct rill_conn *rill_conn_pool_try(struct rill_conn_pool *pool, void *user)
{
    rill_loop_check(pool->loop, __func__);
    struct member *member = pool->counts.waiting == 0 ? healthy_idle(pool) : NULL;
    if (!member || needs_probe(member) || member->conn->callbacks > 0) /* it may leave bytes yet */
        return NULL;
    lease_to(member, user);
    return member->conn;
}

struct rill_conn_pool_counts rill_conn_pool_counts(const struct rill_conn_pool *pool)
{
    rill_loop_check(pool->loop, __func__);
    return pool->counts;
}

/* --- life --- */

struct rill_conn_pool *rill_conn_pool_new(struct rill_loop *loop, const struct rill_conn_pool_config *config,
                                          int *error)
{
    rill_loop_check(loop, __func__);
    *error = -EINVAL;
    if (!config->connect.target && config->connect.addr_count == 0)
        return NULL;
    *error = -ENOMEM;
    struct rill_conn_pool *pool = rill_sys_calloc(1, sizeof *pool + rill_connect_config_room(&config->connect));
    if (!pool)
        return NULL;
    pool->loop = loop;
    pool->config = *config;
    rill_connect_config_copy(&pool->config.connect, pool + 1);
    pool->config.connect.on_connected = on_connected;
    pool->config.connect.on_failed = on_connect_failed;
    if (config->max_conns == 0)
        pool->config.max_conns = DEFAULT_MAX_CONNS;
    if (config->max_idle == 0)
        pool->config.max_idle = pool->config.max_conns;
    if (config->max_waiting == 0)
        pool->config.max_waiting = DEFAULT_MAX_WAITING;
    if (config->idle_timeout_ms == 0)
        pool->config.idle_timeout_ms = DEFAULT_IDLE_TIMEOUT_MS;
    rill_list_init(&pool->idle);
    rill_list_init(&pool->busy);
    rill_list_init(&pool->waiting);
    pool->task.run = pump;
    *error = 0;
    return pool;
}

/* Lets every member go: those that are leased on their way, the others into DOOMED. */
static void disband(struct rill_conn_pool *pool, struct rill_list *doomed)
{
    struct rill_list *link;
    rill_list_init(doomed);
    rill_list_splice_back(&pool->busy, &pool->idle);
    while ((link = rill_list_pop_front(&pool->busy))) {
        struct member *member = rill_container_of(link, struct member, link);
        member->pool = NULL;
        if (member->state != LEASED)
            rill_list_push_back(doomed, link);
    }
}

void rill_conn_pool_free(struct rill_conn_pool *pool)
{
    if (!pool)
        return;
    rill_loop_check(pool->loop, __func__);
    struct rill_list doomed, *link;
    pool->freed = true;
    disband(pool, &doomed);
    while (!rill_list_empty(&pool->waiting))
        fail_first(pool, -ECANCELED, "the pool of connections was freed");
    while ((link = rill_list_pop_front(&doomed))) {
        struct member *member = rill_container_of(link, struct member, link);
        if (member->conn) {
            rill_conn_close(member->conn, RILL_CLOSE_LOCAL);
        } else {
            rill_connect_cancel(member->connect);
            forget(member);
        }
    }
    release(pool);
}
