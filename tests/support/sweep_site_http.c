/* sweep_site_http.c - see sweep_site.h: answers of every kind. */
#include "rill/http/exchange.h"
#include "sweep_site_internal.h"

static void text(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "text");
}

static void later(struct rill_exchange *x, void *arg)
{
    rill_exchange_after(x, 1, text, arg);
}

static void run_nothing(void *arg)
{
    (void)arg;
}

static void pool(struct rill_exchange *x, void *arg)
{
    rill_exchange_work(x, &(struct rill_work){.run = run_nothing, .done = text, .arg = arg});
}

/* The stream's bytes, as far as there is room. ARG counts those that have been written. */
static void pump(struct rill_exchange *x, void *arg)
{
    size_t *at = arg;
    char piece[20000];
    while (*at < SWEEP_STREAM_BYTES) {
        if (rill_exchange_is_full(x)) {
            rill_exchange_on_room(x, pump, at);
            return;
        }
        size_t count = SWEEP_STREAM_BYTES - *at < sizeof piece ? SWEEP_STREAM_BYTES - *at : sizeof piece;
        for (size_t i = 0; i < count; i++)
            piece[i] = sweep_site_byte(*at + i);
        *at += count;
        struct rill_buf *buf = *at / sizeof piece % 2 ? rill_buf_copy(piece, count) : NULL;
        if ((buf ? rill_exchange_write_buf(x, buf) : rill_exchange_write(x, piece, count)) < 0) {
            rill_exchange_abort(x);
            return;
        }
    }
    rill_exchange_end(x);
}

static void stream(struct rill_exchange *x, void *arg)
{
    size_t *at = rill_arena_calloc(rill_exchange_arena(x), 1, sizeof *at);
    (void)arg;
    if (!at)
        rill_exchange_reply_status(x, 503);
    else if (rill_exchange_begin(x, 200, "text/plain", RILL_LENGTH_UNKNOWN) == 0)
        pump(x, at);
}

static void on_echo(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    (void)arg;
    if (end)
        rill_exchange_end(x);
    else if (rill_exchange_write(x, piece.bytes, piece.length) < 0)
        rill_exchange_abort(x);
}

static void http_echo(struct rill_exchange *x, void *arg)
{
    rill_exchange_read_body(x, on_echo, arg);
    rill_exchange_begin(x, 200, NULL, RILL_LENGTH_UNKNOWN);
}

static void on_count(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    size_t *count = arg;
    *count += piece.length;
    if (end)
        rill_exchange_reply_format(x, 200, "%zu", *count);
}

static void count(struct rill_exchange *x, void *arg)
{
    size_t *counted = rill_arena_calloc(rill_exchange_arena(x), 1, sizeof *counted);
    (void)arg;
    if (counted)
        rill_exchange_read_body(x, on_count, counted);
    else
        rill_exchange_reply_status(x, 503);
}

/* Opens an endpoint, and closes it. */
static void try_datagrams(struct rill_exchange *x, void *arg)
{
    struct rill_datagram *endpoint = sweep_open_endpoint(rill_exchange_loop(x));
    (void)arg;
    if (endpoint)
        rill_datagram_close(endpoint);
    if (endpoint)
        text(x, NULL);
    else
        rill_exchange_reply_status(x, 503);
}

const struct rill_route sweep_routes[] = {{"GET", "/text", text, NULL},
                                          {"GET", "/later", later, NULL},
                                          {"GET", "/pool", pool, NULL},
                                          {"GET", "/stream", stream, NULL},
                                          {"POST", "/echo", http_echo, NULL},
                                          {"POST", "/count", count, NULL},
                                          {"GET", "/datagrams", try_datagrams, NULL},
                                          {NULL, NULL, NULL, NULL}};
