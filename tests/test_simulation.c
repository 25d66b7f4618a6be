/* Whole servers on a virtual clock and an in-memory network, each drawn from a seed; see support/sim.h.
 *
 *   test_simulation                       the seeds that found something (simulation_seeds.txt), and 10,000 others
 *   test_simulation --seeds A..B          these
 *   test_simulation --seeds A --trace     one, with all that happens in it
 */
#include "support/run_suite.h"
#include "support/sim_clients.h"
#include "support/sim_site.h"

#include "rill/core/log.h"
#include "rill/core/loop_internal.h"
#include "rill/net/conn_internal.h"
#include "rill/net/server_internal.h"
#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { LATE_MS = 2, WELL_MS = 5000 };

/* --- what has to hold all the time --- */

static void check_conn(struct rill_loop *loop, const struct rill_conn *conn, uint64_t now_ms)
{
    if (conn->state == RILL_CONN_CLOSED)
        sim_fail("a closed connection outlives the turn");
    struct sim_state state = sim_state_of(conn->fd);
    if (conn->eof && !conn->net->edge_triggered)
        state.error = false; /* poll has nothing to say of who neither reads nor writes: the next send finds it */
    if (conn->held_back && !conn->net->admission.on)
        sim_fail("loop %s sleeps, and nobody lets in whom it held back on descriptor %d", rill_loop_name(loop),
                 conn->fd);
    if (!conn->pause && !conn->held_back && (state.input > 0 || state.error || (state.end && !conn->eof)))
        sim_fail("loop %s sleeps, and there is input on descriptor %d", rill_loop_name(loop), conn->fd);
    if (conn->out && state.room)
        sim_fail("loop %s sleeps, and output waits that there is room for on descriptor %d", rill_loop_name(loop),
                 conn->fd);
    if (conn->redeliver && !conn->pause)
        sim_fail("loop %s sleeps, and bytes that were kept are to be shown", rill_loop_name(loop));
    if (conn->deadline_ms && conn->deadline_ms + LATE_MS < now_ms)
        sim_fail("loop %s sleeps, and a deadline has passed on descriptor %d", rill_loop_name(loop), conn->fd);
    if (conn->out && conn->out->deadline_ms && conn->out->deadline_ms + LATE_MS < now_ms)
        sim_fail("loop %s sleeps, and a peer has taken nothing for too long on descriptor %d", rill_loop_name(loop),
                 conn->fd);
}

/* LOOP sleeps: its timers are to come. */
static void check_timers(const struct rill_loop *loop, uint64_t now_ms)
{
    if (loop->next_timer_ms != UINT64_MAX && loop->next_timer_ms + LATE_MS < now_ms)
        sim_fail("loop %s sleeps, and a timer is due", rill_loop_name(loop));
}

static void after_turn(struct rill_loop *loop, bool asleep)
{
    struct rill_net *net = loop->slots[RILL_LOOP_SLOT_NET];
    if (sim_plan.faults && rill_server_state(site.server.net) >= SERVER_RUNNING)
        sim_faults(sim_plan.faults);
    if (net && site.refuses) { /* and is behind soon */
        net->admission.most_refused = site.started % 3;
        net->admission.budget_ns = site.started % 2; /* the clock stands still in a turn: none, or all */
    }
    if (!asleep)
        return;
    uint64_t now_ms = rill_clock_ns() / 1000000;
    check_timers(loop, now_ms);
    site_check_asleep(loop);
    if (!net)
        return;
    if (net->admission.on && !rill_timer_armed(&net->admission.tick))
        sim_fail("loop %s sleeps, and will hold back for ever", rill_loop_name(loop));
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        check_conn(loop, rill_slab_at(&net->conns, slot), now_ms);
}

static void stop(void *arg)
{
    (void)arg;
    if (!sim_plan.stopping)
        sim_plan.stopped_ms = sim_now_ms();
    sim_plan.stopping = true;
    sim_note("the server is to stop", sim_plan.stop_now, 0);
    rill_server_stop(site.server.net, sim_plan.stop_now);
}

static void on_other_thread(void)
{
    struct rill_server *server = site.server.net;
    if (sim_plan.stops_early && sim_steps() >= sim_plan.stop_at_step && (!sim_plan.stopping || sim_chance(16)))
        stop(NULL);
    if (sim_plan.messages > 0 && site.published < sim_plan.messages)
        site_publish();
    if (site.has[SITE_DATAGRAMS])
        site_stranger_asks();
    if (!sim_plan.rude || site.conn_count == 0 || rill_server_state(server) != SERVER_RUNNING)
        return;
    const struct site_conn *conn = &site.conns[sim_below(site.conn_count)];
    int error = rill_conn_post_close(conn->loop, (struct rill_conn_id){conn->id});
    if (error < 0 && !(error == -ENOMEM && sim_plan.faults))
        sim_fail("an order is refused");
}

static void publish(void *arg)
{
    (void)arg;
    site_publish();
}

/* Nothing happens any more: everybody has what he can get. Then the server stops. */
static bool on_quiet(void)
{
    if (sim_plan.stopping)
        return false;
    if (!sim_plan.last_was_published) { /* and that comes to all members, too */
        sim_plan.last_was_published = true;
        sim_as_other(publish, NULL);
        return true;
    }
    bool all = !sim_plan.rude && !sim_plan.faults;
    for (unsigned i = 0; i < sim_plan.count; i++)
        sim_client_check(&sim_plan.clients[i], all);
    site_check_quiet(all);
    sim_as_other(stop, NULL);
    return true;
}

/* --- a run --- */

static void make_server(void)
{
    struct rill_http_server_config config = {
        .net = {.threads = (int)sim_below(4),
                .accept = (enum rill_accept_mode)sim_below(3),
                .backend = sim_chance(4) ? RILL_BACKEND_POLL : RILL_BACKEND_EPOLL,
                .max_connections = sim_chance(8) ? 2 : 0,
                .max_connections_per_address = sim_chance(8) ? 8 : 0,
                .workers = 1 + (unsigned)sim_below(3),
                .defer_accept = (enum rill_defer_accept)sim_below(4),
                .high_watermark = sim_chance(4) ? 0 : (size_t)256 << sim_below(8),
                .listens = {{.address = "127.0.0.1:80"},
                            {.address = "127.0.0.1:7"},
                            {.address = "127.0.0.1:8"},
                            {.address = "127.0.0.1:9"}}},
        .idle_timeout_ms = 1000 + sim_below(60000),
        .max_requests = sim_chance(8) ? 1 + (unsigned)sim_below(3) : 0,
    };
    site_start(&config);
    sim_plan.complete = sim_chance(2);
    if (sim_plan.complete) /* who must not miss anything is closed when there is no memory for it to wait in */
        site.membership = (struct rill_membership){.slow = RILL_SLOW_CLOSE};
    else
        site.membership = (struct rill_membership){.slow = (enum rill_slow)sim_below(2), .max_bytes = 1000};
}

static uint64_t run_seed(uint64_t seed)
{
    struct sim_world world = {.on_quiet = on_quiet,
                              .on_other_thread = on_other_thread,
                              .after_turn = after_turn,
                              .on_datagram = site_datagram_arrives,
                              .faithful = seed % 7 < 3,
                              .accept_faults = seed % 5 == 0 ? 40 : 0,
                              .interrupts = seed % 3 == 0 ? 30 : 0};
    static const enum faulty_call kinds[] = {FAULTY_MEMORY,    FAULTY_RECV,    FAULTY_SEND,
                                             FAULTY_EPOLL_CTL, FAULTY_CONNECT, FAULTY_DESCRIPTOR};
    memset(&sim_plan, 0, sizeof sim_plan);
    if (seed % 4 == 0) /* memory alone, or with it a kind of calls, or two */
        for (unsigned i = 0; i < 3; i++)
            world.faults[kinds[seed / 4 % rill_array_length(kinds) * i % rill_array_length(kinds)]] = true;
    sim_begin(seed, &world);
    make_server();
    sim_plan.faults = seed % 4 == 0 ? 4U << sim_below(8) : 0;
    sim_plan.messages = sim_chance(2) ? 0 : (unsigned)sim_below(40);
    sim_plan.count = 1 + (unsigned)sim_below(SIM_CLIENTS);
    for (unsigned i = 0; i < sim_plan.count; i++)
        sim_client_make(&sim_plan.clients[i]);
    sim_plan.stops_early = sim_chance(3);
    sim_plan.stop_now = sim_chance(3);
    sim_plan.stop_at_step = (unsigned)sim_below(600);
    sim_plan.rude = sim_chance(8);
    site_run();
    bool all_sound = !sim_plan.rude && !sim_plan.faults;
    for (unsigned i = 0; i < sim_plan.count; i++)
        all_sound = all_sound && sim_plan.clients[i].sound;
    if (sim_now_ms() > sim_plan.stopped_ms + (all_sound ? WELL_MS : SIM_DRAIN_MS + 100))
        sim_fail("it took %" PRIu64 " ms to stop", sim_now_ms() - sim_plan.stopped_ms);
    for (unsigned i = 0; i < sim_plan.count; i++)
        sim_client_check(&sim_plan.clients[i], false);
    uint64_t hash = sim_end();
    for (unsigned i = 0; i < sim_plan.count; i++)
        free(sim_plan.clients[i].sends);
    return hash;
}

/* Not safe in general; here there is one thread, and it dies. */
static void on_death(int number)
{
    sim_show_trace(); /* NOLINT(bugprone-signal-handler,cert-sig30-c) */
    signal(number, SIG_DFL);
    raise(number);
}

/* Called by the sanitizers when they have found something. */
void __asan_on_error(void);
void __asan_on_error(void)
{
    sim_show_trace();
}

void __ubsan_on_report(void);
void __ubsan_on_report(void)
{
    sim_show_trace();
}

static void prepare(void)
{
    rill_log_set_level(RILL_LOG_OFF);
    signal(SIGABRT, on_death);
}

START_TEST(test_kept_seeds)
{
    char line[256];
    unsigned count = 0;
    FILE *file = fopen("tests/simulation_seeds.txt", "r");
    ck_assert_msg(file != NULL, "no tests/simulation_seeds.txt here");
    prepare();
    while (fgets(line, sizeof line, file)) {
        uint64_t seed;
        if (sscanf(line, "%" SCNu64, &seed) == 1) {
            run_seed(seed);
            count++;
        }
    }
    fclose(file);
    ck_assert_uint_gt(count, 0);
}
END_TEST

START_TEST(test_same_seed_same_run)
{
    prepare();
    for (uint64_t seed = 1; seed <= 30; seed++) {
        uint64_t first = run_seed(seed), second = run_seed(seed);
        ck_assert_uint_eq(first, second);
    }
}
END_TEST

START_TEST(test_seeds)
{
    prepare();
    uint64_t from = 1 + (uint64_t)_i * 1000;
    for (uint64_t seed = from; seed < from + 1000; seed++)
        run_seed(seed);
}
END_TEST

static int run_seeds(const char *range, bool trace)
{
    uint64_t from, to;
    char *end;
    from = to = strtoull(range, &end, 10);
    if (strncmp(end, "..", 2) == 0)
        to = strtoull(end + 2, &end, 10);
    if (*end || from == 0 || to < from) {
        fprintf(stderr, "test_simulation: seeds A or A..B are wanted, not \"%s\"\n", range);
        return 2;
    }
    prepare();
    uint64_t steps = 0, reasons[RILL_CLOSE_REASONS] = {0}, conns = 0, exchanges = 0, ups = 0, leases = 0, datagrams = 0;
    for (uint64_t seed = from; seed <= to; seed++) {
        run_seed(seed);
        steps += sim_steps();
        conns += site.conn_count;
        exchanges += site.started;
        ups += site.ups;
        leases += site.leases;
        datagrams += site.datagrams;
        for (unsigned i = 0; i < RILL_CLOSE_REASONS; i++)
            reasons[i] += site.closed[i];
        if (trace)
            sim_show_trace();
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " steps, %" PRIu64 " connections, %" PRIu64 " exchanges, %" PRIu64
           " clients up, %" PRIu64 " leases, %" PRIu64 " datagrams:",
           to - from + 1, steps, conns, exchanges, ups, leases, datagrams);
    for (unsigned i = 0; i < RILL_CLOSE_REASONS; i++)
        if (reasons[i] > 0)
            printf(" %" PRIu64 " %s;", reasons[i], rill_close_reason_text((enum rill_close_reason)i));
    puts("");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "--seeds") == 0)
        return run_seeds(argv[2], argc > 3);
    Suite *suite = suite_create("simulation");
    TCase *tcase = tcase_create("seeds");
    tcase_add_test(tcase, test_kept_seeds);
    tcase_add_test(tcase, test_same_seed_same_run);
    tcase_add_loop_test(tcase, test_seeds, 0, 10);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
