/* sim_site.c - see sim_site.h. */
#include "sim_site.h"

#include "rill/core/number.h"
#include "rill/net/connect.h"
#include "rill/net/relay.h"
#include "rill/net/server_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct site site;

char site_byte(size_t n, size_t i)
{
    return (char)('a' + (i * 7 + n + i / 26) % 26);
}

static char *content_of(size_t n)
{
    char *bytes = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = site_byte(n, i);
    return bytes;
}

/* --- the rules of callbacks --- */

static struct site_conn *record_of(struct rill_conn *conn, const char *callback)
{
    uint64_t id = rill_conn_id(conn).value;
    for (unsigned i = site.conn_count; i-- > 0;) {
        struct site_conn *record = &site.conns[i];
        if (record->id != id)
            continue;
        if (record->closed)
            sim_fail("%s after on_close", callback);
        if (record->loop != rill_loop_current())
            sim_fail("%s on another loop", callback);
        sim_note(callback, id >> 32, 0);
        return record;
    }
    sim_fail("%s before on_open", callback);
}

static void note_open(struct rill_conn *conn)
{
    uint64_t id = rill_conn_id(conn).value;
    for (unsigned i = 0; i < site.conn_count; i++)
        if (site.conns[i].id == id)
            sim_fail("on_open twice, or an id that was used before");
    if (site.conn_count == SITE_CONNS)
        sim_fail("more connections than peers");
    site.conns[site.conn_count++] = (struct site_conn){.id = id, .loop = rill_loop_current()};
    sim_note("on_open", id >> 32, 0);
}

static void note_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    record_of(conn, "on_close")->closed = true;
    site.closed[reason]++;
    sim_note(rill_close_reason_text(reason), 0, 0);
}

/* --- HTTP, watched --- */

static void http_open(struct rill_conn *conn)
{
    note_open(conn);
    if (rill_session_handler.on_open)
        rill_session_handler.on_open(conn);
}

static void http_data(struct rill_conn *conn, struct rill_input *input)
{
    record_of(conn, "on_data");
    rill_session_handler.on_data(conn, input);
}

static void http_eof(struct rill_conn *conn)
{
    record_of(conn, "on_eof");
    rill_session_handler.on_eof(conn);
}

static void http_drain(struct rill_conn *conn)
{
    record_of(conn, "on_drain");
    rill_session_handler.on_drain(conn);
}

static void http_timeout(struct rill_conn *conn)
{
    record_of(conn, "on_timeout");
    rill_session_handler.on_timeout(conn);
}

static void http_stop(struct rill_conn *conn)
{
    record_of(conn, "on_stop");
    rill_session_handler.on_stop(conn);
}

static void http_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    note_close(conn, reason);
    rill_session_handler.on_close(conn, reason);
}

static const struct rill_conn_handler http_handler = {.on_open = http_open,
                                                      .on_data = http_data,
                                                      .on_eof = http_eof,
                                                      .on_drain = http_drain,
                                                      .on_timeout = http_timeout,
                                                      .on_stop = http_stop,
                                                      .on_close = http_close};

/* --- handlers --- */

/* The parameter NAME; 0 when there is none. */
static size_t number(const struct rill_exchange *x, const char *name)
{
    uint64_t value;
    return rill_decimal_parse(rill_exchange_param(x, name), &value) == 0 && value < 100000 ? (size_t)value : 0;
}

/* What a handler keeps of its exchange, in the exchange's arena. */
struct probe {
    size_t n, at;
    uint64_t not_before_ns; /* a timer that was asked for may not fire sooner */
    bool cleaned;
};

static void clean_up(void *arg)
{
    struct probe *probe = arg;
    if (probe->cleaned)
        sim_fail("an exchange ended twice");
    probe->cleaned = true;
    site.cleaned++;
}

/* NULL: memory is lacking, and X has been answered. */
static struct probe *begin(struct rill_exchange *x)
{
    struct rill_arena *arena = rill_exchange_arena(x);
    struct probe *probe = rill_arena_calloc(arena, 1, sizeof *probe);
    if (!probe || rill_exchange_set_header(x, "X-Target", rill_exchange_target(x)) < 0 ||
        rill_arena_on_reset(arena, clean_up, probe) < 0) {
        rill_exchange_reply_status(x, 503);
        return NULL;
    }
    probe->n = number(x, "n");
    site.started++;
    return probe;
}

static void reply(struct rill_exchange *x, void *arg)
{
    const struct probe *probe = arg;
    if (probe->not_before_ns > rill_clock_ns())
        sim_fail("a timer fires too early");
    char *bytes = content_of(probe->n);
    struct rill_buf *buf = sim_chance(2) ? rill_buf_copy(bytes, probe->n) : NULL;
    if (buf)
        rill_exchange_reply_buf(x, 200, "text/plain", buf);
    else
        rill_exchange_reply(x, 200, "text/plain", bytes, probe->n);
    free(bytes);
}

static void at_once(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x);
    (void)arg;
    if (probe)
        reply(x, probe);
}

static void later(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x);
    (void)arg;
    if (!probe)
        return;
    probe->not_before_ns = sim_turn_began_ns() + number(x, "ms") * 1000000;
    rill_exchange_after(x, number(x, "ms"), reply, probe);
}

struct work {
    size_t n;
    bool ran;
};

static void work_run(void *arg)
{
    ((struct work *)arg)->ran = true;
}

static void work_done(struct rill_exchange *x, void *arg)
{
    const struct work *work = arg;
    struct probe probe = {.n = work->n};
    if (!work->ran)
        sim_fail("work is done that did not run");
    reply(x, &probe);
}

static void work_destroy(void *arg)
{
    site.jobs_gone++;
    free(arg);
}

static void pool(struct rill_exchange *x, void *arg)
{
    const struct probe *probe = begin(x);
    (void)arg;
    if (!probe)
        return;
    struct work *work = calloc(1, sizeof *work);
    work->n = probe->n;
    site.jobs++;
    rill_exchange_work(x,
                       &(struct rill_work){.run = work_run, .done = work_done, .destroy = work_destroy, .arg = work});
}

static void pump(struct rill_exchange *x, void *arg)
{
    struct probe *probe = arg;
    char piece[2000];
    int error = 0;
    while (error == 0 && probe->at < probe->n && !rill_exchange_is_full(x) && !sim_chance(8)) {
        size_t count = 1 + sim_below(sizeof piece);
        count = count < probe->n - probe->at ? count : probe->n - probe->at;
        for (size_t i = 0; i < count; i++)
            piece[i] = site_byte(probe->n, probe->at + i);
        probe->at += count;
        struct rill_buf *buf = sim_chance(2) ? rill_buf_copy(piece, count) : NULL;
        error = buf ? rill_exchange_write_buf(x, buf) : rill_exchange_write(x, piece, count);
    }
    if (error < 0)
        rill_exchange_abort(x);
    else if (probe->at == probe->n)
        rill_exchange_end(x);
    else if (sim_chance(4))
        rill_exchange_after(x, sim_below(5), pump, probe);
    else
        rill_exchange_on_room(x, pump, probe);
}

/* ARG is NULL, or anything: the length is said. */
static void stream(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x);
    if (probe && rill_exchange_begin(x, 200, "text/plain", arg ? probe->n : RILL_LENGTH_UNKNOWN) == 0)
        pump(x, probe);
}

static void on_echo(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    (void)arg;
    if (end)
        rill_exchange_end(x);
    else if (rill_exchange_write(x, piece.bytes, piece.length) < 0)
        rill_exchange_abort(x);
}

static void echo(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x);
    (void)arg;
    if (!probe)
        return;
    rill_exchange_read_body(x, on_echo, probe);
    rill_exchange_begin(x, 200, NULL, rill_exchange_content_length(x));
}

static void resume(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_resume_body(x);
}

static void on_count(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    struct probe *probe = arg;
    probe->n += piece.length;
    if (end) {
        reply(x, probe);
    } else if (probe->at > 0 && sim_chance(2)) {
        rill_exchange_pause_body(x);
        rill_exchange_after(x, sim_below(20), resume, NULL);
    }
}

/* ARG is NULL, or anything: it holds back. */
static void count(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x);
    if (!probe)
        return;
    probe->at = arg != NULL;
    rill_exchange_read_body(x, on_count, probe);
}

static const struct rill_route routes[] = {
    {"GET", "/at-once/:n", at_once, NULL}, {"GET", "/later/:ms/:n", later, NULL},
    {"GET", "/pool/:n", pool, NULL},       {"GET", "/stream/:n", stream, NULL},
    {"GET", "/known/:n", stream, &site},   {"POST", "/echo", echo, NULL},
    {"POST", "/count", count, NULL},       {"POST", "/slow", count, &site},
    {"POST", "/ignore/:n", at_once, NULL}, {NULL, NULL, NULL, NULL},
};

/* --- the echo --- */

struct echo {
    struct rill_conn *conn;
    struct rill_timer resume;
    uint64_t active_ns;
    bool ended;
};

static void echo_active(struct echo *self)
{
    self->active_ns = sim_turn_began_ns();
    rill_conn_set_deadline(self->conn, SITE_ECHO_IDLE_MS);
}

static void echo_resume(struct rill_timer *timer)
{
    struct echo *self = rill_container_of(timer, struct echo, resume);
    rill_conn_resume(self->conn, RILL_PAUSE_USER);
}

static void echo_open(struct rill_conn *conn)
{
    struct echo *self = calloc(1, sizeof *self);
    note_open(conn);
    self->conn = conn;
    rill_timer_init(&self->resume, echo_resume);
    rill_conn_set_user(conn, self);
    echo_active(self);
}

static int echo_send(struct rill_conn *conn, const char *bytes, size_t length)
{
    switch (sim_below(3)) {
    case 0:
        return rill_conn_send(conn, bytes, length);
    case 1: {
        struct rill_buf *buf = rill_buf_copy(bytes, length);
        return buf ? rill_conn_send_buf(conn, buf) : rill_conn_send(conn, bytes, length);
    }
    default:
        while (length > 0) {
            size_t piece = 1 + sim_below(length < RILL_CONN_RESERVE_MAX ? length : RILL_CONN_RESERVE_MAX);
            char *room = rill_conn_reserve(conn, piece);
            if (!room)
                return -EPIPE;
            memcpy(room, bytes, piece);
            rill_conn_commit(conn, piece);
            bytes += piece;
            length -= piece;
        }
        return 0;
    }
}

static void resume_one(struct rill_conn *conn, void *arg)
{
    (void)arg;
    rill_conn_resume(conn, RILL_PAUSE_USER);
}

static void echo_data(struct rill_conn *conn, struct rill_input *input)
{
    struct echo *self = rill_conn_user(conn);
    record_of(conn, "on_data");
    if (self->ended)
        sim_fail("bytes after the end");
    echo_active(self);
    size_t wanted = sim_chance(3) ? sim_below(input->length + 1) : input->length;
    if (wanted > 0 && echo_send(conn, input->bytes, wanted) == 0)
        rill_input_consume(input, wanted);
    if (!rill_conn_is_open(conn))
        return;
    if (input->length > 0) {
        rill_conn_pause(conn, RILL_PAUSE_USER);
        rill_loop_arm(rill_conn_loop(conn), &self->resume, sim_below(30));
    }
    if (sim_chance(8)) /* in the middle of a turn, for some */
        rill_conn_each(rill_conn_loop(conn), &site.server.net->conn_configs[1], resume_one, NULL);
    if (rill_conn_is_full(conn))
        rill_conn_pause(conn, RILL_PAUSE_BACKPRESSURE);
}

static void echo_eof(struct rill_conn *conn)
{
    struct echo *self = rill_conn_user(conn);
    record_of(conn, "on_eof");
    if (self->ended)
        sim_fail("the end is told twice");
    self->ended = true;
    if (sim_chance(3))
        rill_conn_shutdown(conn);
    else
        rill_conn_finish(conn, sim_chance(2));
}

static void echo_drain(struct rill_conn *conn)
{
    record_of(conn, "on_drain");
    echo_active(rill_conn_user(conn));
    rill_conn_resume(conn, RILL_PAUSE_BACKPRESSURE);
}

static void echo_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct echo *self = rill_conn_user(conn);
    struct rill_loop *loop = rill_conn_loop(conn);
    note_close(conn, reason);
    if (reason == RILL_CLOSE_IDLE && rill_clock_ns() < self->active_ns + UINT64_C(1000000) * SITE_ECHO_IDLE_MS)
        sim_fail("a deadline passed early");
    rill_loop_disarm(loop, &self->resume);
    free(self);
}

static const struct rill_conn_handler echo_handler = {
    .on_open = echo_open, .on_data = echo_data, .on_eof = echo_eof, .on_drain = echo_drain, .on_close = echo_close};

/* --- the relay: to the echo --- */

static struct rill_conn *front_of(struct rill_loop *loop, const void *arg)
{
    return rill_conn_find(loop, (struct rill_conn_id){(uintptr_t)arg});
}

static void relay_ended(const struct rill_relay_end *end, void *user)
{
    (void)user;
    site.relays_ended++;
    site.closed[end->reason]++;
    sim_note("a relay ends", end->bytes[0], end->bytes[1]);
}

static void relay_connected(struct rill_conn *back, void *arg)
{
    static const struct rill_relay_config config = {
        .copy_only = true, .idle_timeout_ms = SITE_RELAY_IDLE_MS, .on_end = relay_ended};
    struct rill_conn *front = front_of(rill_conn_loop(back), arg);
    site.connects_ended++;
    int error = front ? rill_relay_start(front, back, &config, NULL) : -EPIPE;
    if (error < 0) {
        rill_conn_close(back, RILL_CLOSE_LOCAL);
        if (front)
            rill_conn_close(front, RILL_CLOSE_LOCAL);
        return;
    }
    record_of(front, "the relay")->closed = true; /* its callbacks hear nothing more of it */
    site.relays++;
}

static void relay_failed(int error, const char *why, void *arg)
{
    struct rill_conn *front = front_of(rill_loop_current(), arg);
    (void)why;
    site.connects_ended++;
    sim_note("a connect fails", (uint64_t)-error, 0);
    if (front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static void relay_open(struct rill_conn *conn)
{
    static const struct rill_conn_handler nothing = {0};
    static const struct rill_conn_config back = {.handler = &nothing};
    struct rill_addr echo;
    note_open(conn);
    rill_conn_pause(conn, RILL_PAUSE_USER);
    if (rill_addr_parse("127.0.0.1:7", &echo, NULL) < 0)
        sim_fail("the echo has no address");
    const struct rill_connect_config config = {
        .addrs = &echo,
        .addr_count = 1,
        .conn = &back,
        .on_connected = relay_connected,
        .on_failed = relay_failed,
        .arg = (void *)(uintptr_t)rill_conn_id(conn).value, /* NOLINT(performance-no-int-to-ptr) */
    };
    if (rill_connect(rill_conn_loop(conn), &config, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
    else
        site.connects++;
}

static void plain_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    note_close(conn, reason);
}

static const struct rill_conn_handler relay_handler = {.on_open = relay_open, .on_close = plain_close};

/* --- the channel --- */

size_t site_message_length(unsigned number)
{
    return 9 + number * 37 % (SITE_MESSAGE_BYTES - 9);
}

void site_publish(void)
{
    char message[SITE_MESSAGE_BYTES + 1];
    size_t length = site_message_length(site.published);
    snprintf(message, sizeof message, "%08u", site.published);
    for (size_t i = 8; i < length; i++)
        message[i] = i + 1 < length ? site_byte(site.published, i) : '\n';
    struct rill_buf *buf = rill_buf_copy(message, length);
    if (buf && rill_channel_publish(site.channel, buf) == 0)
        sim_note("published", site.published++, length);
}

static void channel_open(struct rill_conn *conn)
{
    note_open(conn);
    if (rill_channel_join(site.channel, conn, &site.membership) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void channel_data(struct rill_conn *conn, struct rill_input *input)
{
    record_of(conn, "on_data");
    rill_input_consume(input, input->length);
    site_publish();
}

static const struct rill_conn_handler channel_handler = {
    .on_open = channel_open, .on_data = channel_data, .on_close = plain_close};

/* --- the server --- */

static void loop_stops(struct rill_loop *loop, void *arg)
{
    const struct rill_net *net = rill_net_of(loop);
    (void)arg;
    site.loops_stopped++;
    if (net->stats.open != 0 || rill_conn_count(loop) != 0)
        sim_fail("a connection is left");
    if (net->stats.waiting_bytes != 0 || net->stats.leased_segments != 0)
        sim_fail("output is left: %" PRIu64 " bytes, %" PRIu64 " segments", net->stats.waiting_bytes,
                 net->stats.leased_segments);
    if (rill_slab_count(&rill_http_loop_of(loop)->sessions) != 0)
        sim_fail("a session is left");
}

void site_start(struct rill_http_server_config *config)
{
    int error = 0;
    memset(&site, 0, sizeof site);
    site.router = rill_router_new();
    if (!site.router || rill_router_add_all(site.router, routes) < 0)
        sim_fail("the routes are wrong");
    config->router = site.router;
    site.channel = rill_channel_new(NULL);
    if (!site.channel)
        sim_fail("there is no channel");
    config->net.listens[1].handler = &echo_handler;
    config->net.listens[2].handler = &relay_handler;
    config->net.listens[3].handler = &channel_handler;
    if (rill_http_server_configure(&site.server, config) < 0)
        sim_fail("the configuration is wrong");
    struct rill_server_config *net = &site.server.config.net;
    net->handler = &http_handler;
    net->on_loop_start = rill_http_loop_start;
    net->on_loop_stop = loop_stops;
    site.server.net = rill_server_new(net, &error);
    if (!site.server.net)
        sim_fail("the server cannot be made: %s", strerror(-error));
    sim_set_main(site.server.net->main_loop);
}

void site_run(void)
{
    unsigned loops = site.server.net->loop_count;
    int error = rill_server_run(site.server.net, false);
    if (error < 0)
        sim_fail("the server ends with %s", strerror(-error));
    rill_server_free(site.server.net);
    rill_router_free(site.router);
    rill_channel_unref(site.channel);
    for (unsigned i = 0; i < site.conn_count; i++)
        if (!site.conns[i].closed)
            sim_fail("on_close was never called");
    if (site.started != site.cleaned)
        sim_fail("%u exchanges began, %u ended", site.started, site.cleaned);
    if (site.connects != site.connects_ended)
        sim_fail("%u connects began, %u ended", site.connects, site.connects_ended);
    if (site.relays != site.relays_ended)
        sim_fail("%u relays began, %u ended", site.relays, site.relays_ended);
    if (site.jobs != site.jobs_gone)
        sim_fail("%u jobs were made, %u destroyed", site.jobs, site.jobs_gone);
    if (site.loops_stopped != loops)
        sim_fail("%u loops of %u stopped in order", site.loops_stopped, loops);
}
