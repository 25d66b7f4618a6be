/* server.c - a server's life: start the loops, serve, drain, stop.
 *
 * The main loop's thread is in charge. It tells the other loops what to do by tasks embedded in their server_loop,
 * each in flight once at most, and counts their reports. Between posting and report the loop's part of
 * server_loop is the loop's; the rest is the main loop's. */
#include "rill/net/server.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/core/watchdog.h"
#include "rill/net/server_internal.h"
#include <signal.h>
#include <stdio.h>

enum { DRAIN_TIMEOUT_MS = 10000 };

static void set_state(struct rill_server *server, enum server_state state)
{
    __atomic_store_n(&server->state, (int)state, __ATOMIC_RELEASE);
}

/* --- orders to the loops, and their reports --- */

/* Posts ORDER, one of SL's tasks, or runs it here when SL is the main loop's own. */
static void order(struct server_loop *sl, struct rill_task *task, rill_task_fn *run)
{
    task->run = run;
    if (rill_loop_post(sl->loop, task) < 0)
        rill_log_error("internal error: loop %s ended before the server", rill_loop_name(sl->loop));
}

/* On the loop: has RUN called on the main loop, with what is now SL's report. */
static void report(struct server_loop *sl, rill_task_fn *run)
{
    sl->report_task.run = run;
    if (rill_loop_post(sl->server->main_loop, &sl->report_task) < 0)
        rill_log_error("internal error: the main loop ended before %s", rill_loop_name(sl->loop));
}

static void stop_loops(struct rill_server *server);

/* On the main loop: one loop has no connections left. */
static void on_drained(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, report_task);
    struct rill_server *server = sl->server;
    if (--server->waiting_for == 0)
        stop_loops(server);
}

/* On the loop: reports once that its last connection has gone. */
static void on_empty(void *arg)
{
    struct server_loop *sl = arg;
    if (!sl->draining || sl->drained)
        return;
    sl->drained = true;
    report(sl, on_drained);
}

void rill_server_stop_conn(struct rill_conn *conn)
{
    const struct rill_conn_handler *handler = conn->config->handler;
    if (handler->on_stop)
        handler->on_stop(conn);
    else
        rill_conn_finish_as(conn, false, RILL_CLOSE_STOPPED);
}

static void stop_one(struct rill_conn *conn, void *arg)
{
    (void)arg;
    if (conn->served)
        rill_server_stop_conn(conn);
}

/* --- listeners: they end first; that takes a while when the kernel holds clients back --- */

/* Ends those of NUMBER LISTENERS that accept, at once when NOW, and calls ALL_CLOSED(ARG) when none is left. LEFT
 * counts them, and this call itself, because they may end in it. */
static void close_listeners(struct server_listener *listeners, unsigned number, bool now, unsigned *left,
                            void (*all_closed)(void *arg), void *arg)
{
    *left = 1;
    for (unsigned i = 0; i < number; i++)
        *left += listeners[i].listener != NULL;
    for (unsigned i = 0; i < number; i++)
        rill_listener_close(listeners[i].listener, now);
    if (--*left == 0)
        all_closed(arg);
}

/* On the loop: every connection is to come to its end. */
static void tell_connections(void *arg)
{
    struct server_loop *sl = arg;
    sl->draining = true;
    rill_conn_each(sl->loop, NULL, stop_one, NULL);
    if (!sl->net || sl->net->server_conns == 0)
        on_empty(sl);
}

static void on_loop_listener_closed(void *arg)
{
    struct server_listener *place = arg;
    place->listener = NULL;
    if (--place->to->listeners_left == 0)
        tell_connections(place->to);
}

static void drain_loop(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, drain_task);
    close_listeners(sl->listeners, sl->server->listener_count, false, &sl->listeners_left, tell_connections, sl);
}

static void close_one(struct rill_conn *conn, void *arg)
{
    (void)arg;
    if (conn->served)
        rill_conn_close(conn, RILL_CLOSE_STOPPED);
}

static void close_loop(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, close_task);
    if (sl->listeners_left > 0)
        close_listeners(sl->listeners, sl->server->listener_count, true, &sl->listeners_left, tell_connections, sl);
    rill_conn_each(sl->loop, NULL, close_one, NULL);
}

static void end_loop(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, end_task);
    if (sl->started && sl->server->config.on_loop_stop)
        sl->server->config.on_loop_stop(sl->loop, sl->server->config.arg);
    if (sl->net)
        sl->net->on_empty = NULL;
}

/* --- stopping; all on the main loop --- */

static void stop_loops(struct rill_server *server)
{
    set_state(server, SERVER_STOPPING);
    rill_loop_disarm(server->main_loop, &server->drain_timer);
    rill_overload_stop(&server->overload);
    if (server->config.on_drained)
        server->config.on_drained(server, server->config.arg);
    rill_workers_join(server->workers); /* the loops still run, so results on their way come home */
    for (unsigned k = 0; k < server->loop_count; k++)
        order(&server->loops[k], &server->loops[k].end_task, end_loop);
    rill_loop_stop(server->main_loop);
}

/* Nobody accepts for the main loop any more: every loop is to end its own listeners, and then its connections. */
static void drain_loops(void *arg)
{
    struct rill_server *server = arg;
    server->waiting_for = server->loop_count;
    for (unsigned k = 0; k < server->loop_count; k++)
        order(&server->loops[k], &server->loops[k].drain_task, drain_loop);
}

static void on_main_listener_closed(void *arg)
{
    struct server_listener *place = arg;
    place->listener = NULL;
    if (--place->server->listeners_left == 0)
        drain_loops(place->server);
}

static void close_main_listeners(struct rill_server *server, bool now)
{
    close_listeners(server->listeners, server->listener_count, now, &server->listeners_left, drain_loops, server);
}

static void close_all(struct rill_server *server)
{
    if (rill_server_state(server) != SERVER_DRAINING)
        return;
    if (server->listeners_left > 0)
        close_main_listeners(server, true);
    set_state(server, SERVER_STOPPING);
    for (unsigned k = 0; k < server->loop_count; k++)
        order(&server->loops[k], &server->loops[k].close_task, close_loop);
}

static void on_drain_deadline(struct rill_timer *timer)
{
    struct rill_server *server = rill_container_of(timer, struct rill_server, drain_timer);
    rill_log_warn("%s: not all connections ended within the drain timeout; closing them", server->name);
    close_all(server);
}

static void drain(struct rill_server *server)
{
    if (rill_server_state(server) != SERVER_RUNNING)
        return;
    set_state(server, SERVER_DRAINING);
    rill_log_info("%s: draining", server->name);
    for (unsigned i = 0; i < server->listener_count; i++) /* once nobody listens, a new server may put its own there */
        if (server->listeners[i].listener)
            rill_server_remove_socket_file(&server->addresses[i]);
    uint64_t timeout_ms = server->config.drain_timeout_ms ? server->config.drain_timeout_ms : DRAIN_TIMEOUT_MS;
    rill_loop_arm(server->main_loop, &server->drain_timer, timeout_ms);
    close_main_listeners(server, false);
}

/* Drains, with NOW closes everything; while starting, as soon as that has ended, because the loops' tasks and reports
 * are on their way. */
static void stop(struct rill_server *server, bool now)
{
    if (rill_server_state(server) == SERVER_STARTING) {
        server->stop_wanted = true;
        server->stop_now |= now;
        return;
    }
    drain(server);
    if (now)
        close_all(server);
}

static void drain_wanted(struct rill_task *task)
{
    stop(rill_container_of(task, struct rill_server, want_drain.task), false);
}

static void close_wanted(struct rill_task *task)
{
    stop(rill_container_of(task, struct rill_server, want_close.task), true);
}

/* Each of the two goes to the main loop once: asking again would change nothing. Refused, it has stopped already. */
void rill_server_stop(struct rill_server *server, bool now)
{
    struct stop_request *request = now ? &server->want_close : &server->want_drain;
    if (__atomic_exchange_n(&request->made, true, __ATOMIC_ACQ_REL))
        return;
    request->task.run = now ? close_wanted : drain_wanted;
    if (rill_loop_post(server->main_loop, &request->task) < 0)
        rill_log_debug("%s: asked to stop, but it has stopped already", server->name);
}

bool rill_server_is_stopping(const struct rill_server *server)
{
    return rill_server_state(server) >= SERVER_DRAINING;
}

/* --- signals: libevent turns them into events of the main loop --- */

static void on_stop_signal(evutil_socket_t number, short what, void *arg)
{
    struct rill_server *server = arg;
    (void)number;
    (void)what;
    bool second = rill_server_state(server) > SERVER_RUNNING || server->stop_wanted;
    if (second)
        rill_log_info("%s: second signal: stopping at once", server->name);
    stop(server, second);
}

static void on_reload_signal(evutil_socket_t number, short what, void *arg)
{
    struct rill_server *server = arg;
    (void)number;
    (void)what;
    if (server->config.on_reload)
        server->config.on_reload(server, server->config.arg);
}

static int take_signals(struct rill_server *server)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct event_base *base = rill_loop_base(server->main_loop);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that may not grow any more fails with EFBIG then */
    for (unsigned i = 0; i < rill_array_length(numbers); i++) {
        event_callback_fn callback = numbers[i] == SIGHUP ? on_reload_signal : on_stop_signal;
        server->signals[i] = evsignal_new(base, numbers[i], callback, server);
        if (!server->signals[i] || evsignal_add(server->signals[i], NULL) < 0)
            return -ENOMEM;
    }
    return 0;
}

static void release_signals(struct rill_server *server)
{
    for (unsigned i = 0; i < rill_array_length(server->signals); i++) {
        if (server->signals[i])
            event_free(server->signals[i]);
        server->signals[i] = NULL;
    }
}

/* --- running --- */

/* On the main loop: takes in one loop's report on its start. True when it was the last one. */
static bool all_reported(struct server_loop *sl)
{
    struct rill_server *server = sl->server;
    if (sl->start_error < 0)
        server->error = sl->start_error;
    return --server->waiting_for == 0;
}

/* Nobody reports any more: the server runs, or is stopped when it cannot start or is wanted no longer. */
static void end_start(struct rill_server *server)
{
    set_state(server, SERVER_RUNNING);
    if (server->error < 0)
        rill_log_error("%s: cannot start: %s", server->name, strerror(-server->error));
    if (server->error < 0 || server->stop_wanted)
        stop(server, server->error < 0 || server->stop_now);
}

/* On the main loop: a loop accepts on its own sockets. When all do, the server serves. */
static void on_listening(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, report_task);
    struct rill_server *server = sl->server;
    if (!all_reported(sl))
        return;
    for (unsigned i = 0; i < server->listener_count && server->error == 0; i++) {
        char text[RILL_ADDR_TEXT];
        rill_addr_format(&server->addresses[i].addr, text);
        rill_log_info("%s: listening on %s", server->name, text);
    }
    end_start(server);
}

static void listen_on_loop(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, start_task);
    sl->start_error =
        rill_server_open_listeners(sl->loop, sl->listeners, sl->server->listener_count, on_loop_listener_closed);
    report(sl, on_listening);
}

/* On the main loop: a loop is prepared. Nobody accepts before all are, because who accepts looks at all of them. */
static void on_prepared(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, report_task);
    struct rill_server *server = sl->server;
    if (!all_reported(sl))
        return;
    if (server->error == 0 && !server->stop_wanted)
        server->error = rill_server_open_listeners(server->main_loop, server->listeners, server->listener_count,
                                                   on_main_listener_closed);
    if (server->error < 0 || server->stop_wanted) {
        end_start(server);
        return;
    }
    server->waiting_for = server->loop_count;
    for (unsigned k = 0; k < server->loop_count; k++)
        order(&server->loops[k], &server->loops[k].start_task, listen_on_loop);
}

/* The main loop has its lane already. */
static void trace_loop(struct server_loop *sl)
{
    if (!rill_loop_trace(sl->loop))
        rill_loop_set_trace(sl->loop, rill_trace_lane_new(sl->server->trace, rill_loop_name(sl->loop)));
    sl->net->trace = rill_loop_trace(sl->loop);
}

static void prepare_loop(struct rill_task *task)
{
    struct server_loop *sl = rill_container_of(task, struct server_loop, start_task);
    const struct rill_server_config *config = &sl->server->config;
    sl->net = rill_net_of(sl->loop);
    if (sl->net) {
        sl->net->server_configs = sl->server->conn_configs;
        sl->net->server_config_count = sl->server->listener_count;
        sl->net->address_counts = sl->server->address_counts;
        sl->net->overload = &sl->server->overload;
        rill_loop_set_workers(sl->loop, sl->server->workers);
        trace_loop(sl);
        sl->net->on_empty = on_empty;
        sl->net->on_empty_arg = sl;
        sl->start_error = config->on_loop_start ? config->on_loop_start(sl->loop, config->arg) : 0;
    } else {
        sl->start_error = -ENOMEM;
    }
    sl->started = sl->start_error >= 0;
    report(sl, on_prepared);
}

static int start_group(struct rill_server *server)
{
    const struct rill_server_config *config = &server->config;
    struct rill_loop_group_config group = {
        .count = server->loop_count, .first_index = 1, .backend = config->backend, .pin = config->pin};
    int error = 0;
    if (config->threads > 0) {
        server->group = rill_loop_group_start(&group, &error);
        if (!server->group) {
            rill_log_error("%s: cannot start %d threads: %s", server->name, config->threads, strerror(-error));
            return error;
        }
        /* On a CPU that it shares with its sub-reactors, an acceptor that is woken for every connection would take it
         * from them each time, to hand over one connection; so it waits its turn, and hands over many. */
        if (config->accept != RILL_ACCEPT_REUSEPORT)
            rill_thread_set_patient();
    } else if (config->pin) {
        rill_thread_pin(0); /* only a wish */
    }
    for (unsigned k = 0; k < server->loop_count; k++) {
        struct server_loop *sl = &server->loops[k];
        sl->loop = server->group ? rill_loop_group_loop(server->group, k) : server->main_loop;
    }
    return 0;
}

/* Without it a server runs all the same. */
static void start_watchdog(struct rill_server *server)
{
    struct rill_loop *loops[RILL_LOOP_MAX] = {server->main_loop};
    unsigned count = 1;
    int error;
    if (server->config.stall_threshold_ms == 0)
        return;
    for (unsigned k = 0; k < server->loop_count && server->group; k++)
        loops[count++] = server->loops[k].loop;
    server->watchdog = rill_watchdog_start(loops, count, server->config.stall_threshold_ms, &error);
    if (!server->watchdog)
        rill_log_warn("%s: nobody looks after stalled loops: %s", server->name, strerror(-error));
}

int rill_server_run(struct rill_server *server, bool signals)
{
    if (rill_server_state(server) != SERVER_NEW)
        return -EBUSY;
    rill_timer_init(&server->drain_timer, on_drain_deadline);
    int error = signals ? take_signals(server) : 0;
    if (error == 0)
        error = start_group(server);
    if (error == 0) {
        set_state(server, SERVER_STARTING);
        start_watchdog(server);
        server->waiting_for = server->loop_count;
        for (unsigned k = 0; k < server->loop_count; k++)
            order(&server->loops[k], &server->loops[k].start_task, prepare_loop);
        error = rill_loop_run(server->main_loop);
    }
    rill_watchdog_stop(server->watchdog);
    release_signals(server);
    rill_loop_group_join(server->group); /* the loops stay, for those who still post to them and are refused */
    for (unsigned k = 0; k < server->loop_count && error < 0 && server->loops[k].loop; k++)
        close_loop(&server->loops[k].close_task); /* the main loop gave up, so nobody told them to */
    rill_server_close_sockets(server); /* who waits at one that was stopped before it accepted waits no longer */
    set_state(server, SERVER_STOPPED);
    if (error == 0)
        rill_log_info("%s: stopped", server->name);
    return error < 0 ? error : server->error;
}

int rill_server_main(const struct rill_server_config *config)
{
    int error;
    struct rill_server *server = rill_server_new(config, &error);
    if (!server)
        return 1;
    error = rill_server_run(server, true);
    rill_server_free(server);
    return error < 0 ? 1 : 0;
}
