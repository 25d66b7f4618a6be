/* lease.c - where exchanges come from and go to: a list of the loop's, so that a request costs no allocation. */
#include "rill/core/sys.h"
#include "rill/http/session_internal.h"

enum { MAX_FREE_EXCHANGES = 64 };

static void on_after(struct rill_timer *timer)
{
    struct rill_exchange *x = rill_container_of(timer, struct rill_exchange, after_timer);
    rill_session_call(x, x->on_after, x->after_arg);
}

static void on_deadline(struct rill_timer *timer)
{
    struct rill_exchange *x = rill_container_of(timer, struct rill_exchange, deadline_timer);
    if (x->phase != RILL_RESPONSE_NONE)
        return;
    x->on_body = NULL; /* the handler has had its time */
    rill_exchange_reply_status(x, 503);
}

struct rill_exchange *rill_exchange_lease(struct rill_session *session)
{
    struct rill_http_loop *http = session->http;
    struct rill_exchange *x = http->free_exchanges;
    if (RILL_LIKELY(x != NULL)) {
        http->free_exchanges = x->next_free;
        http->free_exchange_count--;
        rill_parser_reset(&x->parser);
    } else {
        x = rill_sys_malloc(sizeof *x);
        if (!x)
            return NULL;
        rill_arena_init(&x->arena, x->arena_first, sizeof x->arena_first, RILL_EXCHANGE_ARENA_MAX);
        rill_parser_init(&x->parser, &http->server->config.limits);
        rill_timer_init(&x->after_timer, on_after);
        rill_timer_init(&x->deadline_timer, on_deadline);
    }
    memset(x, 0, offsetof(struct rill_exchange, match));
    rill_stat_add(&http->stats.begun, 1);
    x->began_ns = http->turn->began_ns;
    if (RILL_COUNTING && RILL_UNLIKELY(x->began_ns == 0)) /* what was kept is looked at after a timer or a task */
        x->began_ns = rill_clock_ns();
    x->session = session;
    session->x = x;
    rill_trace_hold(http->trace, session->conn);
    return x;
}

void rill_exchange_write_log(struct rill_exchange *x)
{
    if (!rill_exchange_http(x)->log || !x->started_ns)
        return;
    rill_access_log_write(x);
    x->started_ns = 0;
}

void rill_exchange_disarm(struct rill_exchange *x)
{
    struct rill_loop *loop = rill_exchange_http(x)->loop;
    if (RILL_UNLIKELY(rill_timer_armed(&x->after_timer)))
        rill_loop_disarm(loop, &x->after_timer);
    if (RILL_UNLIKELY(rill_timer_armed(&x->deadline_timer)))
        rill_loop_disarm(loop, &x->deadline_timer);
}

/* Once an exchange. */
static inline void count(struct rill_http_loop *http, const struct rill_exchange *x)
{
    struct rill_http_stats *stats = &http->stats;
    rill_stat_add(&stats->ended[x->status], 1);
    if (RILL_LIKELY(x->began_ns == http->turn->began_ns))
        http->turn->within += RILL_COUNTING;
    else if (RILL_COUNTING && x->status != 0)
        rill_histogram_record(&stats->took_us, (rill_clock_ns() - x->began_ns) / 1000);
}

static void note_refused(struct rill_http_loop *http)
{
    rill_stat_add(&http->stats.refused, 1);
    rill_server_note_refused(http->loop);
}

void rill_exchange_release(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    struct rill_http_loop *http = session->http;
    count(http, x);
    if (RILL_LIKELY(!x->refused))
        rill_server_note_answered(http->loop);
    else
        note_refused(http);
    if (RILL_UNLIKELY(x->detached) && http->server->config.max_requests > 0)
        __atomic_fetch_sub(&http->server->in_flight, 1, __ATOMIC_RELAXED);
    rill_exchange_write_log(x);
    rill_exchange_disarm(x);
    rill_trace_release(http->trace, session->conn);
    session->x = NULL;
    session->serial++;
    if (RILL_UNLIKELY(x->parser.trailer_buffer != NULL))
        rill_parser_keep_trailers(&x->parser, NULL, 0);
    rill_arena_reset(&x->arena);
    if (http->free_exchange_count < MAX_FREE_EXCHANGES) {
        x->next_free = http->free_exchanges;
        http->free_exchanges = x;
        http->free_exchange_count++;
        return;
    }
    rill_arena_free(&x->arena);
    rill_sys_free(x);
}

void rill_exchange_drop(struct rill_exchange *x)
{
    if (x->status == 0)
        x->began_ns = UINT64_MAX; /* which no turn did */
    rill_exchange_release(x);
}

void rill_session_free_leases(struct rill_http_loop *http)
{
    while (http->free_exchanges) {
        struct rill_exchange *x = http->free_exchanges;
        http->free_exchanges = x->next_free;
        rill_arena_free(&x->arena);
        rill_sys_free(x);
    }
    http->free_exchange_count = 0;
}

bool rill_exchange_detach(struct rill_exchange *x)
{
    if (x->detached)
        return true;
    size_t length = x->parser.head_length;
    char *copy = rill_arena_alloc(&x->arena, length);
    if (!copy)
        return false;
    memcpy(copy, x->base, length);
    uintptr_t from_base = (uintptr_t)x->path.bytes - (uintptr_t)x->base;
    if (from_base < length) { /* else it was decoded into the arena */
        x->path.bytes = copy + from_base;
        for (unsigned i = 0; i < x->match.param_count; i++)
            x->match.params[i].value.bytes = copy + (x->match.params[i].value.bytes - x->base);
    }
    x->base = copy;
    x->detached = true;
    struct rill_http_server *server = rill_exchange_http(x)->server;
    if (server->config.max_requests > 0)
        __atomic_fetch_add(&server->in_flight, 1, __ATOMIC_RELAXED);
    return true;
}
