/* sim_site_http.c - see sim_site.h: HTTP, with a handler for every way to answer. */
#include "sim_site_internal.h"

#include "rill/core/number.h"
#include <stdlib.h>
#include <string.h>

/* --- watched --- */

static void http_open(struct rill_conn *conn)
{
    site_note_open(conn);
    if (rill_session_handler.on_open)
        rill_session_handler.on_open(conn);
}

static void http_data(struct rill_conn *conn, struct rill_input *input)
{
    site_note(conn, "on_data");
    rill_session_handler.on_data(conn, input);
}

static void http_eof(struct rill_conn *conn)
{
    site_note(conn, "on_eof");
    rill_session_handler.on_eof(conn);
}

static void http_drain(struct rill_conn *conn)
{
    site_note(conn, "on_drain");
    rill_session_handler.on_drain(conn);
}

static void http_timeout(struct rill_conn *conn)
{
    site_note(conn, "on_timeout");
    rill_session_handler.on_timeout(conn);
}

static void http_stop(struct rill_conn *conn)
{
    site_note(conn, "on_stop");
    rill_session_handler.on_stop(conn);
}

static enum rill_awaits http_awaits(const struct rill_conn *conn, uint64_t *waited_ms)
{
    return rill_session_handler.awaits(conn, waited_ms);
}

static void http_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    site_note_close(conn, reason);
    rill_session_handler.on_close(conn, reason);
}

const struct rill_conn_handler site_http_handler = {.on_open = http_open,
                                                    .on_data = http_data,
                                                    .on_eof = http_eof,
                                                    .on_drain = http_drain,
                                                    .on_timeout = http_timeout,
                                                    .on_stop = http_stop,
                                                    .awaits = http_awaits,
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
    if (site.refuses && sim_chance(2)) /* as if others had been: so that it holds back the next ones */
        for (unsigned i = 0; i < 3; i++)
            rill_server_note_refused(rill_exchange_loop(x));
    return probe;
}

static void reply(struct rill_exchange *x, void *arg)
{
    const struct probe *probe = arg;
    if (probe->not_before_ns > rill_clock_ns())
        sim_fail("a timer fires too early");
    char *bytes = site_content(probe->n);
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
        site_fill(piece, probe->n, probe->at, count);
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

const struct rill_route site_routes[] = {
    {"GET", "/at-once/:n", at_once, NULL}, {"GET", "/later/:ms/:n", later, NULL},
    {"GET", "/pool/:n", pool, NULL},       {"GET", "/stream/:n", stream, NULL},
    {"GET", "/known/:n", stream, &site},   {"POST", "/echo", echo, NULL},
    {"POST", "/count", count, NULL},       {"POST", "/slow", count, &site},
    {"POST", "/ignore/:n", at_once, NULL}, {NULL, NULL, NULL, NULL},
};
