/* overload.c - what a server does when it has more to do than it has room for.
 *
 * Who lacks room says which measures would help (rill_overload_want), from any thread. The main loop looks every
 * LOOK_MS for as long as that goes on: it has the loops close connections that are not missed much, a batch each, and
 * notes when it is over. Bytes are counted where they are leased and returned, by each loop for itself, and told to
 * `bytes` in strides, so that the hot path has neither a lock nor a shared counter; for who serves requests there is
 * one flag, written when it changes and read by everybody. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"

enum {
    LOOK_MS = 20,
    CALM_LOOKS = 50, /* nobody asked for anything in so many: it is over */
    MOST_HEADROOM = 64,
};

/* What BYTES call for. */
static unsigned measures_for(const struct rill_overload *overload, uint64_t bytes)
{
    unsigned measures = 0;
    if (bytes >= overload->idle_bytes)
        measures |= RILL_MEASURE_CLOSE_IDLE;
    if (bytes >= overload->waiting_bytes)
        measures |= RILL_MEASURE_CLOSE_WAITING;
    if (bytes >= overload->refuse_bytes)
        measures |= RILL_MEASURE_REFUSE;
    if (bytes >= overload->pause_bytes)
        measures |= RILL_MEASURE_PAUSE;
    return measures;
}

static unsigned measures_now(const struct rill_overload *overload)
{
    return measures_for(overload, __atomic_load_n(&overload->bytes, __ATOMIC_RELAXED));
}

static void set_refusing(struct rill_overload *overload, unsigned measures)
{
    bool refusing = measures & RILL_MEASURE_REFUSE;
    if (__atomic_load_n(&overload->refusing, __ATOMIC_RELAXED) != refusing)
        __atomic_store_n(&overload->refusing, refusing, __ATOMIC_RELAXED);
}

static uint64_t closed_connections(const struct rill_overload *overload)
{
    const struct rill_server *server = overload->server;
    uint64_t closed = 0;
    for (unsigned k = 0; k < server->loop_count; k++)
        closed += rill_stat_read(&server->loops[k].net->stats.closed[RILL_CLOSE_OVERLOAD]);
    return closed;
}

/* --- on the loops that serve --- */

static void make_room(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, room_task);
    unsigned measures = __atomic_exchange_n(&sl->room_wanted, 0, __ATOMIC_ACQ_REL);
    unsigned share = (sl->server->overload.headroom + sl->server->loop_count - 1) / sl->server->loop_count;
    rill_net_make_room(sl->net, share, measures & RILL_MEASURE_CLOSE_WAITING);
}

static void order_room(struct server_loop *sl, unsigned measures)
{
    if (__atomic_exchange_n(&sl->room_wanted, measures, __ATOMIC_ACQ_REL) != 0)
        return; /* it has not come to the last order yet */
    sl->room_task.run = make_room;
    if (rill_loop_post(sl->loop, &sl->room_task) < 0)
        rill_log_debug("%s has ended", rill_loop_name(sl->loop));
}

/* --- on the main loop --- */

static void say_why(const struct rill_overload *overload, unsigned measures)
{
    const struct rill_server *server = overload->server;
    unsigned long long bytes = __atomic_load_n(&overload->bytes, __ATOMIC_RELAXED);
    if (measures_for(overload, bytes))
        rill_log_warn("%s: overload: %llu of %llu bytes of buffers are in use", server->name, bytes,
                      (unsigned long long)overload->max_bytes);
    else if (measures & (RILL_MEASURE_CLOSE_IDLE | RILL_MEASURE_PAUSE))
        rill_log_warn("%s: overload: connections come near the limit of %u", server->name, server->max_connections);
    else
        rill_log_warn("%s: overload: requests are refused", server->name);
}

/* It has been calm. True when somebody has asked for something meanwhile: then it goes on. */
static bool ends(struct rill_overload *overload)
{
    __atomic_store_n(&overload->on, false, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&overload->wanted, __ATOMIC_SEQ_CST) != 0 &&
        !__atomic_exchange_n(&overload->on, true, __ATOMIC_SEQ_CST))
        return false;
    return true;
}

static void look(struct rill_timer *timer)
{
    struct rill_overload *overload = rill_container_of(timer, struct rill_overload, look);
    struct rill_server *server = overload->server;
    unsigned measures = __atomic_exchange_n(&overload->wanted, 0, __ATOMIC_SEQ_CST) | measures_now(overload);
    set_refusing(overload, measures_now(overload));
    for (unsigned k = 0; k < server->loop_count; k++)
        if (measures & (RILL_MEASURE_CLOSE_IDLE | RILL_MEASURE_CLOSE_WAITING))
            order_room(&server->loops[k], measures);
    overload->calm_looks = measures ? 0 : overload->calm_looks + 1;
    if (overload->calm_looks < CALM_LOOKS || !ends(overload)) {
        rill_loop_arm(server->main_loop, timer, LOOK_MS);
        return;
    }
    uint64_t now_ms = rill_loop_now_ms(server->main_loop);
    rill_log_info("%s: the overload is over after %llu ms; %llu connections were closed to make room", server->name,
                  (unsigned long long)(now_ms - overload->began_ms),
                  (unsigned long long)(closed_connections(overload) - overload->closed_before));
}

static void begin(struct rill_task *task)
{
    struct rill_overload *overload = rill_container_of(task, struct rill_overload, begin_task);
    if (rill_server_state(overload->server) >= SERVER_DRAINING)
        return; /* all come to their end now */
    overload->began_ms = rill_loop_now_ms(overload->server->main_loop);
    overload->closed_before = closed_connections(overload);
    overload->calm_looks = 0;
    rill_stat_add(&overload->begun, 1);
    say_why(overload, __atomic_load_n(&overload->wanted, __ATOMIC_RELAXED));
    look(&overload->look);
}

void rill_overload_stop(struct rill_overload *overload)
{
    rill_loop_disarm(overload->server->main_loop, &overload->look);
}

/* --- anywhere --- */

void rill_overload_want(struct rill_overload *overload, unsigned measures)
{
    if ((__atomic_load_n(&overload->wanted, __ATOMIC_SEQ_CST) & measures) != measures)
        __atomic_fetch_or(&overload->wanted, measures, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&overload->on, __ATOMIC_SEQ_CST) || __atomic_exchange_n(&overload->on, true, __ATOMIC_SEQ_CST))
        return;
    overload->begin_task.run = begin;
    if (rill_loop_post(overload->server->main_loop, &overload->begin_task) < 0)
        rill_log_debug("%s has ended", overload->server->name);
}

bool rill_overload_pauses(struct rill_overload *overload)
{
    unsigned measures = measures_now(overload);
    if (RILL_LIKELY(!(measures & RILL_MEASURE_PAUSE)))
        return false;
    rill_overload_want(overload, measures);
    return true;
}

void rill_net_publish_buffered(struct rill_net *net)
{
    struct rill_overload *overload = net->overload;
    uint64_t now = rill_net_stats_buffered(&net->stats), change = now - net->published_bytes;
    net->published_bytes = now;
    if (!overload)
        return;
    unsigned measures = measures_for(overload, __atomic_add_fetch(&overload->bytes, change, __ATOMIC_RELAXED));
    set_refusing(overload, measures);
    if (measures)
        rill_overload_want(overload, measures);
}

bool rill_net_is_over_budget(struct rill_net *net)
{
    struct rill_overload *overload = net->overload;
    if (RILL_LIKELY(!overload || overload->max_bytes == UINT64_MAX))
        return false;
    uint64_t untold = rill_net_stats_buffered(&net->stats) - net->published_bytes;
    if (__atomic_load_n(&overload->bytes, __ATOMIC_RELAXED) + untold < overload->max_bytes)
        return false;
    rill_overload_want(overload, measures_for(overload, overload->max_bytes)); /* it may never be told */
    return true;
}

void rill_overload_init(struct rill_overload *overload, struct rill_server *server)
{
    uint64_t most = server->config.max_buffered_bytes;
    unsigned headroom = server->max_connections / 16;
    overload->server = server;
    overload->headroom = headroom < 1 ? 1 : headroom > MOST_HEADROOM ? MOST_HEADROOM : headroom;
    overload->max_bytes = most ? most : UINT64_MAX;
    overload->idle_bytes = most ? most / 4 * 3 : UINT64_MAX;
    overload->waiting_bytes = most ? most / 16 * 13 : UINT64_MAX;
    overload->refuse_bytes = most ? most / 8 * 7 : UINT64_MAX;
    overload->pause_bytes = most ? most / 16 * 15 : UINT64_MAX;
    rill_timer_init(&overload->look, look);
}

/* --- for programs --- */

const bool *rill_server_refusing(const struct rill_server *server)
{
    static const bool never;
    return server ? &server->overload.refusing : &never;
}

void rill_server_overload_stats(const struct rill_server *server, struct rill_overload_stats *stats)
{
    stats->on = __atomic_load_n(&server->overload.on, __ATOMIC_RELAXED);
    stats->begun = rill_stat_read(&server->overload.begun);
    stats->pauses = __atomic_load_n(&server->overload.pauses, __ATOMIC_RELAXED);
}
