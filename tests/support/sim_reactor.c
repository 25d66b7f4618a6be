/* sim_reactor.c - see sim.h: what Rill uses of libevent, and the choice of what happens next.
 *
 * With edges, as epoll has them: an event is told when something has happened to its descriptor since it was told last,
 * and says then all that is true of it; libevent makes of EPOLLERR, and of EPOLLHUP alone, both EV_READ and EV_WRITE.
 */
#include "sim_internal.h"

#include "rill/core/loop_internal.h"
#include "rill/core/sys.h"
#include <stdlib.h>
#include <string.h>

enum { BASE_ACTIVE = 32, SPIN_TURNS = 2000, STEPS_MAX = 400000 };

struct event_base {
    bool edges;
    struct event *watched[SIM_FD_MAX * SIM_WATCHES];
    unsigned watched_count;
    struct event *active[BASE_ACTIVE]; /* about to be told; NULL: deleted meanwhile */
    short what[BASE_ACTIVE];
    unsigned active_count;
};

struct event_config {
    bool avoids_epoll;
};

/* --- bases --- */

const char **event_get_supported_methods(void)
{
    static const char *methods[] = {"epoll", "poll", "select", NULL};
    return methods;
}

struct event_config *event_config_new(void)
{
    return calloc(1, sizeof(struct event_config));
}

void event_config_free(struct event_config *config)
{
    free(config);
}

int event_config_avoid_method(struct event_config *config, const char *method)
{
    config->avoids_epoll |= strcmp(method, "epoll") == 0;
    return 0;
}

int event_config_require_features(struct event_config *config, int features)
{
    (void)config, (void)features;
    return 0;
}

int event_config_set_flag(struct event_config *config, int flag)
{
    (void)config, (void)flag;
    return 0;
}

struct event_base *event_base_new_with_config(const struct event_config *config)
{
    struct event_base *base = calloc(1, sizeof *base);
    base->edges = !config->avoids_epoll;
    return base;
}

int event_base_get_features(const struct event_base *base)
{
    return base->edges ? EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE : EV_FEATURE_FDS;
}

void event_base_free(struct event_base *base)
{
    if (base->watched_count > 0)
        sim_fail("a base is freed that still watches descriptor %d", base->watched[0]->ev_fd);
    free(base);
}

/* --- events --- */

int event_assign(struct event *event, struct event_base *base, evutil_socket_t fd, short events,
                 event_callback_fn callback, void *arg)
{
    memset(event, 0, sizeof *event);
    event->ev_base = base;
    event->ev_fd = fd;
    event->ev_events = events;
    event->ev_evcallback.evcb_cb_union.evcb_callback = (void (*)(evutil_socket_t, short, void *))callback;
    event->ev_evcallback.evcb_arg = arg;
    return 0;
}

struct event *event_new(struct event_base *base, evutil_socket_t fd, short events, event_callback_fn callback,
                        void *arg)
{
    struct event *event = malloc(sizeof *event);
    event_assign(event, base, fd, events, callback, arg);
    return event;
}

static struct event **place_of(const struct event *wanted, const struct event *at)
{
    struct sim_fd *entry = sim_fd_of(at->ev_fd, SIM_FD_FREE, "an event");
    for (unsigned i = 0; i < SIM_WATCHES; i++)
        if (entry->watches[i] == wanted)
            return &entry->watches[i];
    return NULL;
}

/* What is watched for at ENTRY. When that changes, and only then, the kernel is told, and looks what there is: as if
 * something had happened. */
static short interest_at(const struct sim_fd *entry)
{
    short interest = 0;
    for (unsigned i = 0; i < SIM_WATCHES; i++)
        if (entry->watches[i])
            interest |= entry->watches[i]->ev_events;
    return interest;
}

int event_add(struct event *event, const struct timeval *timeout)
{
    (void)timeout;
    if (place_of(event, event))
        return 0;
    if (faulty_rule_apply(FAULTY_EPOLL_CTL, __builtin_return_address(0))) {
        sim_note("an event is refused", (uint64_t)event->ev_fd, 0);
        return -1;
    }
    struct event **place = place_of(NULL, event);
    if (!place)
        sim_fail("more than %d events of descriptor %d", SIM_WATCHES, event->ev_fd);
    struct sim_fd *entry = &sim.fds[event->ev_fd - SIM_FD_BASE];
    short before = interest_at(entry);
    *place = event;
    event->ev_base->watched[event->ev_base->watched_count++] = event;
    entry->edge |= interest_at(entry) != before;
    return 0;
}

int event_del(struct event *event)
{
    struct event_base *base = event->ev_base;
    for (unsigned i = 0; i < base->active_count; i++)
        if (base->active[i] == event)
            base->active[i] = NULL;
    struct event **place = place_of(event, event);
    if (!place)
        return 0;
    struct sim_fd *entry = &sim.fds[event->ev_fd - SIM_FD_BASE];
    short before = interest_at(entry);
    *place = NULL;
    entry->edge |= interest_at(entry) != before;
    unsigned at = 0;
    while (base->watched[at] != event)
        at++;
    base->watched[at] = base->watched[--base->watched_count];
    return 0;
}

void event_free(struct event *event)
{
    event_del(event);
    free(event);
}

/* --- what is ready --- */

static short socket_ready(struct sim_socket *socket, bool edges)
{
    bool end = socket->rx_end || socket->dead, out = sim_can_write(socket);
    bool hang_up = socket->dead || (socket->rx_end && socket->tx_end);
    short what = 0;
    if (!out)
        socket->no_space = true;
    if (socket->error || (!edges && hang_up))
        return EV_READ | EV_WRITE;
    if (socket->rx_length > 0 || end)
        what |= EV_READ;
    if (out)
        what |= EV_WRITE;
    if (end && edges)
        what |= EV_CLOSED;
    return what;
}

/* What EVENT would be told now. */
static short ready(const struct event *event)
{
    const struct sim_fd *entry = &sim.fds[event->ev_fd - SIM_FD_BASE];
    bool edges = event->ev_base->edges;
    if (edges && event->ev_events & EV_ET && !entry->edge)
        return 0;
    short what = 0;
    switch (entry->kind) {
    case SIM_FD_LISTENING:
        what = entry->backlog ? EV_READ : 0;
        break;
    case SIM_FD_EVENT:
        what = entry->count > 0 ? EV_READ : 0;
        break;
    case SIM_FD_TIMER:
        what = entry->fired ? EV_READ : 0;
        break;
    case SIM_FD_DATAGRAM:
        what = sim_udp_ready(entry->udp);
        break;
    case SIM_FD_STREAM:
        what = socket_ready(entry->socket, edges);
        break;
    default:
        break;
    }
    return (short)(what & event->ev_events);
}

static bool base_ready(const struct event_base *base)
{
    for (unsigned i = 0; i < base->watched_count; i++)
        if (ready(base->watched[i]))
            return true;
    return false;
}

bool sim_loop_is_awake(struct rill_loop *loop)
{
    return loop->must_not_wait || loop->deferred.first || loop->deferred_last.first || base_ready(loop->base);
}

/* Tells what is ready, in any order; not always all of it, because epoll_wait has a limit. */
static void dispatch(struct event_base *base)
{
    unsigned count = 0;
    for (unsigned i = 0; i < base->watched_count && count < BASE_ACTIVE; i++) {
        short what = ready(base->watched[i]);
        if (!what)
            continue;
        unsigned at = (unsigned)sim_below(++count);
        base->active[count - 1] = base->active[at];
        base->what[count - 1] = base->what[at];
        base->active[at] = base->watched[i];
        base->what[at] = what;
    }
    if (count > 1 && sim_chance(3))
        count = 1 + (unsigned)sim_below(count - 1);
    base->active_count = count;
    sim.turn_began_ns = sim.now_ns;
    for (unsigned i = 0; i < count; i++)
        sim.fds[base->active[i]->ev_fd - SIM_FD_BASE].edge = false;
    for (unsigned i = 0; i < count; i++) {
        struct event *event = base->active[i];
        if (!event)
            continue;
        base->active[i] = NULL;
        if (!(event->ev_events & EV_PERSIST))
            event_del(event);
        sim_note("event", (uint64_t)event->ev_fd, (uint64_t)base->what[i]);
        event->ev_evcallback.evcb_cb_union.evcb_callback(event->ev_fd, base->what[i], event->ev_evcallback.evcb_arg);
    }
    base->active_count = 0;
}

/* --- time --- */

static void advance(uint64_t ns)
{
    sim.now_ns += ns;
    for (int i = 0; i < sim.fd_top; i++) {
        struct sim_fd *entry = &sim.fds[i];
        if (entry->kind != SIM_FD_TIMER || entry->expires_ns == 0 || entry->expires_ns > sim.now_ns)
            continue;
        entry->expires_ns = 0;
        entry->fired = entry->edge = true;
    }
}

/* To the next moment at which something happens by itself. False: there is none. */
static bool advance_to_next(void)
{
    uint64_t next_ns = UINT64_MAX, peers_ms = sim_net_next_ms();
    for (int i = 0; i < sim.fd_top; i++)
        if (sim.fds[i].kind == SIM_FD_TIMER && sim.fds[i].expires_ns > 0 && sim.fds[i].expires_ns < next_ns)
            next_ns = sim.fds[i].expires_ns;
    if (peers_ms != UINT64_MAX) {
        uint64_t peers_ns = sim.now_ns + (peers_ms - sim_now_ms()) * 1000000;
        next_ns = peers_ns < next_ns ? peers_ns : next_ns;
    }
    if (next_ns == UINT64_MAX)
        return false;
    sim_note("time passes", (next_ns - (next_ns < sim.now_ns ? next_ns : sim.now_ns)) / 1000, 0);
    advance((next_ns > sim.now_ns ? next_ns - sim.now_ns : 0) + (sim_chance(4) ? sim_below(3000000) : 0));
    return true;
}

/* --- what happens next --- */

/* WAITS: the loop has nothing to do that no event will announce. */
static void after_turn(struct rill_loop *loop, bool waits)
{
    rill_loop_set_timer_fd(loop); /* what a loop that runs does first in its next turn */
    if (sim.world.after_turn)
        sim.world.after_turn(loop, waits && !sim_loop_is_awake(loop));
}

static void turn(struct rill_loop *loop)
{
    sim_note("turn of loop", rill_loop_index(loop), 0);
    if (++sim.idle_turns > SPIN_TURNS)
        sim_fail("loop %s spins", rill_loop_name(loop));
    rill_loop_turn(loop, false);
    after_turn(loop, true);
}

static void call_as_other(void *arg)
{
    (void)arg;
    sim.world.on_other_thread();
}

/* One of what could happen next happens; that is time that passes when everybody waits, the main loop, too (WAITS).
 * False: nothing can happen, and nothing ever will by itself. */
static bool step(bool waits)
{
    struct rill_loop *awake[SIM_LOOPS];
    unsigned loops = 0, peers = sim_net_choices(), jobs = sim_jobs_running(), air = sim_air_choices();
    if (++sim.steps > STEPS_MAX)
        sim_fail("it does not come to an end");
    for (unsigned i = 0; i < sim.loop_count; i++)
        if (sim_loop_is_awake(sim.loops[i]))
            awake[loops++] = sim.loops[i];
    if (sim.world.on_other_thread && sim_chance(64)) {
        sim_as_other(call_as_other, NULL);
        return true;
    }
    bool main_awake = !waits || sim_loop_is_awake(sim.main);
    unsigned choices = 2 * loops + 2 * peers + air + jobs;
    if (choices == 0 && !main_awake)
        return advance_to_next();
    unsigned choice = (unsigned)sim_below(choices + 1);
    if (choice < 2 * loops) {
        turn(awake[choice / 2]);
    } else if ((choice -= 2 * loops) < 2 * peers) {
        sim.idle_turns = 0;
        sim_net_choose(choice / 2);
    } else if ((choice -= 2 * peers) < air) {
        sim.idle_turns = 0;
        sim_air_choose();
    } else if ((choice -= air) < jobs) {
        sim.idle_turns = 0;
        sim_job_end(choice);
    } else if (sim_chance(4)) {
        sim.idle_turns = 0;
        advance(sim_below(2000000));
    }
    return true;
}

void sim_set_main(struct rill_loop *loop)
{
    sim.main = loop;
    sim.main_base = loop->base;
}

/* The main loop waits: the others have their turns. */
static void wait_with_others(bool wait)
{
    sim_note("main loop waits", wait, 0);
    for (size_t steps = sim_below(4); steps > 0; steps--)
        step(false);
    while (wait && (!base_ready(sim.main_base) || sim_chance(2)))
        if (!step(true) && (!sim.world.on_quiet || !sim.world.on_quiet()))
            sim_fail("nothing can happen any more, and the server has not stopped");
}

int event_base_loop(struct event_base *base, int flags)
{
    if (base == sim.main_base) {
        bool waits = !(flags & EVLOOP_NONBLOCK);
        after_turn(sim.main, waits);
        if (++sim.idle_turns > SPIN_TURNS)
            sim_fail("the main loop spins");
        wait_with_others(waits);
    }
    dispatch(base);
    return 0;
}
