/* connect.c - outgoing connections.
 *
 * One struct is a connect: its addresses, each with its attempt, and one timer for the next attempt and for the end of
 * all patience. rill_connect_pursue() is where everything meets: it takes what came of one attempt and goes on until
 * something is under way, has connected, or has failed for good.
 *
 * What is cheap is done first. On the loopback interface connect() says EINPROGRESS although the handshake is over
 * when it returns; so there it is called a second time, at the end of the turn, which tells, before epoll is troubled.
 * Elsewhere the event that waits for the handshake watches for all that the connection will want, edge-triggered, and
 * the connection's own event joins it before it goes: the kernel hears of one registration and no change. */
#include "rill/core/sys.h"
#include "rill/net/connect_internal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

enum {
    DEFAULT_TIMEOUT_MS = 30000,
    DEFAULT_ATTEMPT_DELAY_MS = 250,
    SELF_RETRIES = 3,
    WHY_BYTES = 2048,
};

/* --- how it ends --- */

/* Nothing more will happen, save that the caller tells. */
static void end(struct rill_connect *connect)
{
    connect->ended = true;
    rill_list_remove(&connect->link);
    rill_loop_disarm(connect->net->loop, &connect->timer);
    if (connect->resolve)
        rill_resolve_cancel(connect->resolve);
    connect->resolve = NULL;
    for (unsigned i = 0; i < connect->next; i++)
        rill_attempt_close(&connect->attempts[i]);
}

/* Gives the memory of an ended connect back, unless its task is posted: then the task does. */
static void release(struct rill_connect *connect)
{
    if (connect->posted)
        return;
    if (connect->attempts != connect->first)
        rill_sys_free(connect->attempts);
    rill_sys_free(connect);
}

static const char *error_text(const struct rill_attempt *attempt)
{
    switch (-attempt->error) {
    case EADDRNOTAVAIL:
        return "no local port is free, or the source address is not this machine's";
    case EAFNOSUPPORT:
        return "the source address is of another family, or this machine has none of this one";
    case EAGAIN:
        return "its backlog is full";
    default:
        return strerror(-attempt->error);
    }
}

struct text {
    size_t length;
    char bytes[WHY_BYTES];
};

RILL_PRINTF(2, 3) static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text->bytes + text->length, sizeof text->bytes - text->length, format, args);
    va_end(args);
    text->length += length > 0 ? (size_t)length : 0;
    if (text->length >= sizeof text->bytes)
        text->length = sizeof text->bytes - 1;
}

/* Says what was wanted, and how far each address has come. */
static void explain(const struct rill_connect *connect, struct text *text)
{
    char address[RILL_ADDR_TEXT];
    bool several = connect->count > 1 || connect->attempts != connect->first;
    text->length = 0;
    add(text, "cannot connect");
    if (connect->config.target) {
        add(text, " to %s", connect->config.target);
    } else if (!several) {
        rill_addr_format(&connect->first->addr, address);
        add(text, " to %s", address);
    }
    if (connect->why)
        add(text, ": %s", connect->why);
    else if (connect->next == 0)
        add(text, ": looking the name up took longer than %" PRIu64 " ms", connect->config.timeout_ms);
    for (unsigned i = 0; !connect->why && i < connect->next; i++) {
        const struct rill_attempt *attempt = &connect->attempts[i];
        rill_addr_format(&attempt->addr, address);
        add(text, "%s%s%s", i == 0 ? ": " : "; ", several ? address : "", several ? ": " : "");
        if (attempt->error)
            add(text, "%s", error_text(attempt));
        else
            add(text, "no answer within %" PRIu64 " ms", connect->config.timeout_ms);
    }
}

static void fail(struct rill_connect *connect, int error)
{
    struct text text;
    explain(connect, &text);
    end(connect);
    if (connect->config.on_failed)
        connect->config.on_failed(error, text.bytes, connect->config.arg);
    release(connect);
}

/* Makes ATTEMPT's socket a connection, and ends. */
static void succeed(struct rill_attempt *attempt)
{
    struct rill_connect *connect = attempt->connect;
    const struct rill_connect_config *config = &connect->config;
    const struct rill_conn_handler *handler = config->conn->handler;
    struct rill_ip peer = rill_ip_of(&attempt->addr);
    struct rill_conn *conn = rill_conn_make(connect->net, attempt->fd, &peer, config->conn);
    if (!conn) {
        rill_attempt_close(attempt);
        attempt->error = -ENFILE;
        fail(connect, attempt->error);
        return;
    }
    conn->user = config->user;
    rill_attempt_hand_over(attempt, conn);
    end(connect);
    conn->callbacks++; /* what is sent leaves below, in one piece */
    if (config->on_connected)
        config->on_connected(conn, config->arg);
    conn->callbacks--;
    release(connect);
    if (conn->state == RILL_CONN_OPEN && handler->on_open)
        rill_conn_call(conn, handler->on_open);
    if (conn->readable)
        rill_conn_read(conn);
    if (conn->state != RILL_CONN_CLOSED)
        rill_conn_settle(conn);
}

/* --- the way there --- */

static void wait_for_more(struct rill_connect *connect)
{
    struct rill_loop *loop = connect->net->loop;
    uint64_t at = connect->deadline_ms;
    if (connect->next < connect->count) {
        uint64_t next = rill_loop_deadline_ms(loop, connect->config.attempt_delay_ms);
        at = next < at ? next : at;
    }
    rill_loop_arm_at(loop, &connect->timer, at);
}

void rill_connect_pursue(struct rill_attempt *attempt, int result)
{
    struct rill_connect *connect = attempt->connect;
    for (;;) {
        if (result == -EINPROGRESS)
            result = rill_attempt_await(attempt);
        if (result == -EINPROGRESS) {
            wait_for_more(connect);
            return;
        }
        if (result == 0 && !rill_attempt_is_self(attempt)) {
            succeed(attempt);
            return;
        }
        rill_attempt_close(attempt);
        if (result == 0 && attempt->self++ < SELF_RETRIES) {
            result = rill_attempt_start(attempt);
            continue;
        }
        attempt->error = result ? result : -ECONNREFUSED;
        if (connect->next == connect->count)
            break;
        attempt = &connect->attempts[connect->next++];
        result = rill_attempt_start(attempt);
    }
    if (connect->pending == 0)
        fail(connect, attempt->error);
    else
        wait_for_more(connect);
}

/* All addresses of this machine stand for this machine. */
static struct rill_addr reachable(const struct rill_addr *addr)
{
    struct rill_addr to = *addr;
    int family = to.socket.any.sa_family;
    if (family == AF_INET && to.socket.v4.sin_addr.s_addr == htonl(INADDR_ANY))
        to.socket.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&to.socket.v6.sin6_addr))
        to.socket.v6.sin6_addr = in6addr_loopback;
    return to;
}

/* Sets the addresses and tries the first. */
static void set_addrs(struct rill_connect *connect, const struct rill_addr *addrs, unsigned count)
{
    connect->count = count;
    for (unsigned i = 0; i < count; i++) {
        connect->attempts[i].connect = connect;
        connect->attempts[i].addr = reachable(&addrs[i]);
        connect->attempts[i].fd = -1;
    }
    connect->next = 1;
    connect->result = rill_attempt_start(connect->attempts);
}

static void on_timer(struct rill_timer *timer)
{
    struct rill_connect *connect = rill_container_of(timer, struct rill_connect, timer);
    uint64_t now = rill_loop_now_ms(connect->net->loop);
    if (now >= connect->deadline_ms) {
        fail(connect, -ETIMEDOUT);
    } else {
        struct rill_attempt *attempt = &connect->attempts[connect->next++];
        rill_connect_pursue(attempt, rill_attempt_start(attempt));
    }
}

static void on_resolved(const struct rill_resolved *resolved, void *arg)
{
    struct rill_connect *connect = arg;
    connect->resolve = NULL;
    if (resolved->error < 0) {
        connect->why = resolved->why;
        fail(connect, resolved->error);
        return;
    }
    struct rill_attempt *attempts = rill_sys_calloc(resolved->count, sizeof *attempts);
    if (!attempts) {
        connect->why = strerror(ENOMEM);
        fail(connect, -ENOMEM);
        return;
    }
    connect->attempts = attempts;
    set_addrs(connect, resolved->addrs, resolved->count);
    rill_connect_pursue(attempts, connect->result);
}

/* Everything else of the turn in which it began has been done. */
static void go_on(struct rill_task *task)
{
    struct rill_connect *connect = rill_container_of(task, struct rill_connect, task);
    connect->posted = false;
    if (connect->ended)
        release(connect);
    else if (connect->why)
        fail(connect, connect->result);
    else
        rill_connect_pursue(connect->attempts, connect->result);
}

static const char *resolve_why(int error)
{
    switch (error) {
    case -ENOTSUP:
        return "looking a name up takes a worker pool, and this loop has none";
    case -EAGAIN:
        return "the worker pool is busy";
    case -ESHUTDOWN:
        return "the worker pool has stopped";
    default:
        return strerror(-error);
    }
}

/* Has the name looked up. Returns 0, or what is to be told. */
static int look_up(struct rill_connect *connect, const char *host, uint16_t port)
{
    struct rill_loop *loop = connect->net->loop;
    int error = rill_resolve(loop, host, port, connect->deadline_ms, on_resolved, connect, &connect->resolve);
    if (error == 0)
        rill_loop_arm_at(loop, &connect->timer, connect->deadline_ms);
    else
        connect->why = resolve_why(error);
    return error == -ESHUTDOWN ? -ECANCELED : error;
}

/* Reads TARGET. Returns how many addresses it has; 0: HOST is to be looked up; -EINVAL with *WHY set. */
static int read_target(const char *target, struct rill_addr addrs[2], char host[RILL_HOST_TEXT], const char **why)
{
    int result = rill_addr_parse_numeric(target, &addrs[0], host, why);
    if (result < 0)
        return result;
    uint16_t port = rill_addr_port(&addrs[0]);
    if (port == 0 && addrs[0].socket.any.sa_family != AF_UNIX) {
        *why = "a port from 1 to 65535 is wanted after the last colon";
        return -EINVAL;
    }
    if (result == 0)
        return 1;
    if (strcasecmp(host, "localhost") != 0) /* which is never looked up: RFC 6761, 6.3 */
        return 0;
    memset(addrs, 0, 2 * sizeof *addrs);
    addrs[0].socket.v6 =
        (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    addrs[0].length = sizeof addrs[0].socket.v6;
    addrs[1].socket.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    addrs[1].length = sizeof addrs[1].socket.v4;
    return 2;
}

/* --- life --- */

size_t rill_connect_config_room(const struct rill_connect_config *config)
{
    return (config->source ? sizeof *config->source : 0) +
           (config->target ? strlen(config->target) + 1 : config->addr_count * sizeof *config->addrs);
}

void rill_connect_config_copy(struct rill_connect_config *config, void *room)
{
    char *at = room;
    if (config->source) {
        config->source = memcpy(at, config->source, sizeof *config->source);
        at += sizeof *config->source;
    }
    if (config->target)
        config->target = memcpy(at, config->target, strlen(config->target) + 1);
    else if (config->addr_count)
        config->addrs = memcpy(at, config->addrs, config->addr_count * sizeof *config->addrs);
}

static struct rill_connect *make(struct rill_net *net, struct rill_connect_config config, unsigned count)
{
    size_t attempts_bytes = count * sizeof(struct rill_attempt);
    config.addr_count = 0; /* they go into the attempts */
    struct rill_connect *connect =
        rill_sys_calloc(1, sizeof *connect + attempts_bytes + rill_connect_config_room(&config));
    if (!connect)
        return NULL;
    rill_connect_config_copy(&config, (char *)connect->first + attempts_bytes);
    if (config.timeout_ms == 0)
        config.timeout_ms = DEFAULT_TIMEOUT_MS;
    if (config.attempt_delay_ms == 0)
        config.attempt_delay_ms = DEFAULT_ATTEMPT_DELAY_MS;
    connect->net = net;
    connect->config = config;
    connect->attempts = connect->first;
    connect->task.run = go_on;
    connect->deadline_ms = rill_loop_deadline_ms(net->loop, config.timeout_ms);
    rill_timer_init(&connect->timer, on_timer);
    rill_list_push_back(&net->connects, &connect->link);
    return connect;
}

int rill_connect(struct rill_loop *loop, const struct rill_connect_config *config, struct rill_connect **connect)
{
    rill_loop_check(loop, __func__);
    struct rill_net *net = rill_net_of(loop);
    if (!net)
        return -ENOMEM;
    if (net->ending)
        return -ESHUTDOWN;
    if (!config->target && (config->addr_count == 0 || config->addr_count > RILL_CONNECT_MAX_ADDRS))
        return -EINVAL;
    char host[RILL_HOST_TEXT];
    struct rill_addr read[2];
    const struct rill_addr *addrs = config->target ? read : config->addrs;
    const char *why = NULL;
    int count = config->target ? read_target(config->target, read, host, &why) : (int)config->addr_count;
    struct rill_connect *made = make(net, *config, count > 0 ? (unsigned)count : 0);
    if (!made)
        return -ENOMEM;
    made->why = why;
    made->result = count;
    if (count == 0)
        made->result = look_up(made, host, rill_addr_port(&read[0]));
    if (!made->resolve) {
        int error = rill_loop_post(loop, &made->task); /* a loop that stops takes none: who tries again at once ends */
        if (error < 0) {
            end(made);
            release(made);
            return error;
        }
        made->posted = true;
    }
    if (count > 0)
        set_addrs(made, addrs, (unsigned)count);
    if (connect)
        *connect = made;
    return 0;
}

void rill_connect_cancel(struct rill_connect *connect)
{
    if (!connect)
        return;
    rill_loop_check(connect->net->loop, __func__);
    if (connect->ended)
        return;
    end(connect);
    release(connect);
}

void rill_connect_end_all(struct rill_net *net)
{
    while (!rill_list_empty(&net->connects)) {
        struct rill_connect *connect = rill_container_of(net->connects.next, struct rill_connect, link);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed is off the list */
        connect->why = "the loop has ended";
        fail(connect, -ECANCELED);
    }
}
