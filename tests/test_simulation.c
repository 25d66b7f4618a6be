/* Whole servers on a virtual clock and an in-memory network, each drawn from a seed; see support/sim.h.
 *
 *   test_simulation                       the seeds that found something (simulation_seeds.txt), and 10,000 others
 *   test_simulation --seeds A..B          these
 *   test_simulation --seeds A --trace     one, with all that happens in it
 */
#include "support/http_response.h"
#include "support/run_suite.h"
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

enum { CLIENTS = 8, REQUESTS = 6, LATE_MS = 2, DRAIN_MS = 10000, WELL_MS = 5000, LARGE_BYTES = 300000 };

/* A request, and what has to come back. */
struct request {
    char target[40];
    bool is_head;
    size_t content; /* bytes of the response's */
};

struct client {
    struct sim_peer peer;
    struct request requests[REQUESTS];
    unsigned count;
    bool garbled; /* what it sends is not what is in `requests` any more */
    bool sound;   /* it sends nothing but valid requests, and all of them, and reads what comes: all is answered */
    char *sends;
    size_t length, capacity;
    size_t expected; /* bytes, about */
};

static struct plan {
    struct client clients[CLIENTS];
    unsigned count;
    bool stops_early, stop_now, rude; /* connections are closed from elsewhere */
    bool limited;                     /* there may be fewer connections than clients */
    unsigned faults;                  /* one in so many calls fails while it runs; 0: none */
    unsigned messages;                /* that are published on the channel, at most */
    bool complete;                    /* members miss none */
    bool last_was_published;
    unsigned stop_at_step;
    bool stopping;
    uint64_t stopped_ms; /* when that began */
} plan;

/* --- what clients send --- */

static void append(struct client *client, const char *bytes, size_t length)
{
    if (client->length + length > client->capacity) {
        client->capacity = 2 * (client->length + length) + 1024;
        client->sends = realloc(client->sends, client->capacity);
    }
    memcpy(client->sends + client->length, bytes, length);
    client->length += length;
}

__attribute__((format(printf, 2, 3))) static void say(struct client *client, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    append(client, line, (size_t)length);
}

static size_t size_of_content(void)
{
    static const size_t most[] = {1, 20, 300, 4000, 4000, 30000};
    return sim_below(most[sim_below(rill_array_length(most))]);
}

static void append_content(struct client *client, size_t n, size_t from, size_t length)
{
    char piece[256];
    while (length > 0) {
        size_t count = length < sizeof piece ? length : sizeof piece;
        for (size_t i = 0; i < count; i++)
            piece[i] = site_byte(n, from + i);
        append(client, piece, count);
        from += count;
        length -= count;
    }
}

static void append_body(struct client *client, size_t n, bool chunked)
{
    for (size_t at = 0; chunked && at < n;) {
        size_t count = 1 + sim_below(n - at);
        say(client, "%zx\r\n", count);
        append_content(client, n, at, count);
        say(client, "\r\n");
        at += count;
    }
    if (chunked)
        say(client, "0\r\n\r\n");
    else
        append_content(client, n, 0, n);
}

static void ask(struct client *client, bool last)
{
    struct request *request = &client->requests[client->count++];
    size_t n = size_of_content(), body = size_of_content();
    static const char *const posts[] = {"/echo", "/count", "/slow"};
    bool post = false;
    switch (sim_below(8)) {
    case 0:
        snprintf(request->target, sizeof request->target, "/later/%zu/%zu", sim_below(200), n);
        break;
    case 1:
        snprintf(request->target, sizeof request->target, "/pool/%zu", n);
        break;
    case 2:
        snprintf(request->target, sizeof request->target, "/stream/%zu", n);
        break;
    case 3:
        snprintf(request->target, sizeof request->target, "/known/%zu", n);
        break;
    case 4:
        post = true;
        snprintf(request->target, sizeof request->target, "/ignore/%zu", n);
        break;
    case 5:
    case 6:
        post = true;
        n = body;
        snprintf(request->target, sizeof request->target, "%s", posts[sim_below(3)]);
        break;
    default:
        snprintf(request->target, sizeof request->target, "/at-once/%zu", n);
    }
    request->content = n;
    request->is_head = !post && sim_chance(6);
    client->expected += request->is_head ? 200 : 200 + n;
    bool chunked = post && sim_chance(2);
    say(client, "%s %s HTTP/1.1\r\nHost: simulated\r\n",
        post               ? "POST"
        : request->is_head ? "HEAD"
                           : "GET",
        request->target);
    if (last)
        say(client, "Connection: close\r\n");
    if (post && request->target[1] != 'i' && sim_chance(8)) /* unread, the body would be the connection's end */
        say(client, "Expect: 100-continue\r\n");            /* and does not wait for it */
    if (post && chunked)
        say(client, "Transfer-Encoding: chunked\r\n");
    else if (post)
        say(client, "Content-Length: %zu\r\n", body);
    say(client, "\r\n");
    if (post)
        append_body(client, body, chunked);
}

/* Something that a client does who is not sound. */
static void spoil(struct client *client)
{
    struct sim_peer *peer = &client->peer;
    client->sound = false;
    switch (sim_below(6)) {
    case 0: /* sends garbage */
        client->garbled = true;
        for (size_t i = 1 + sim_below(5); i > 0; i--)
            client->sends[sim_below(client->length)] = (char)sim_below(256);
        break;
    case 1: /* stops in the middle of something, and does nothing more */
        client->length = 1 + sim_below(client->length);
        peer->end = SIM_END_STAY;
        break;
    case 2: /* ends, leaves or resets in the middle of something */
        client->length = 1 + sim_below(client->length);
        peer->end = sim_chance(3) ? SIM_END_HALF : sim_chance(2) ? SIM_END_LEAVE : SIM_END_RESET;
        break;
    case 3: /* sends all and goes */
        peer->end = sim_chance(2) ? SIM_END_LEAVE : SIM_END_RESET;
        break;
    case 4: /* takes a part of the responses only */
        peer->stops_reading = sim_below(client->expected);
        break;
    default: /* says nothing */
        client->length = 0;
        peer->end = SIM_END_STAY;
    }
}

static uint16_t choose_port(void)
{
    static const uint16_t ports[] = {SITE_ECHO_PORT, SITE_RELAY_PORT, SITE_CHANNEL_PORT};
    return !sim_chance(3) ? SITE_HTTP_PORT : plan.limited ? SITE_ECHO_PORT : ports[sim_below(3)];
}

/* What a member of the channel has to say is nothing but that something is to be published; it stays. */
static void make_member(struct client *client)
{
    for (size_t i = sim_below(4); i > 0; i--)
        append(client, "!", 1);
    client->expected = 4000;
    client->peer.end = SIM_END_STAY;
}

static void make_client(struct client *client)
{
    struct sim_peer *peer = &client->peer;
    peer->port = choose_port();
    bool http = peer->port == SITE_HTTP_PORT;
    client->sound = true;
    peer->start_ms = sim_chance(2) ? 0 : sim_below(300);
    peer->stops_reading = SIZE_MAX;
    peer->end = http && sim_chance(2) ? SIM_END_WAIT : SIM_END_HALF;
    peer->pause_ms = sim_chance(2) ? 0 : sim_below(40);
    peer->socket_bytes = (size_t)64 << (2 * sim_below(6));
    if (peer->port == SITE_CHANNEL_PORT) {
        make_member(client);
    } else if (http) {
        for (size_t i = 1 + sim_below(REQUESTS); i > 0; i--)
            ask(client, i == 1 && sim_chance(2));
    } else {
        bool large = sim_chance(64); /* more than is read of one connection at a time */
        size_t n = large ? LARGE_BYTES : 1 + size_of_content();
        peer->input_bytes = large ? LARGE_BYTES : 0;
        append_content(client, n, 0, n);
        client->requests[0].content = n;
        client->expected = n;
    }
    if (sim_chance(3) && client->length > 0)
        spoil(client);
    peer->piece_max = (size_t)1 << sim_below(14);
    size_t pieces = 1 + (client->length + client->expected) / 40; /* a run shall not take too many steps */
    if (peer->piece_max < pieces)
        peer->piece_max = pieces;
    if (peer->socket_bytes < pieces)
        peer->socket_bytes = pieces;
    if (peer->input_bytes)
        peer->piece_max = peer->socket_bytes = peer->input_bytes;
    peer->sends = client->sends;
    peer->sends_length = client->length;
    sim_add_peer(peer);
}

/* --- what came back --- */

/* Every response is the next request's, whole and right; but the last, of a client whom something befell. */
static void check_responses(const struct client *client, bool all)
{
    const struct sim_peer *peer = &client->peer;
    unsigned answered = 0;
    bool closing = false;
    for (size_t at = 0; at < peer->received_length;) {
        struct http_response response;
        const struct request *request = answered < client->count ? &client->requests[answered] : NULL;
        enum http_response_result result =
            http_response_read(peer->received + at, peer->received_length - at, request && request->is_head,
                               peer->saw_end && !peer->saw_reset, &response);
        if (closing)
            sim_fail("bytes after a response that said it is the last");
        if (result == HTTP_RESPONSE_MALFORMED)
            sim_fail("a response is malformed: %s", response.why);
        if (result == HTTP_RESPONSE_PART) {
            if (client->sound && peer->saw_end && !peer->saw_reset && !plan.stop_now && !plan.rude && !plan.faults &&
                sim_now_ms() < plan.stopped_ms + DRAIN_MS)
                sim_fail("a response is cut off because the server stops");
            http_response_free(&response);
            break;
        }
        at += response.length;
        if (response.status == 100) {
            http_response_free(&response);
            continue;
        }
        closing = response.close;
        struct rill_slice target = http_response_field(&response, "X-Target", NULL);
        if (response.status == 200) {
            if (!request || !rill_slice_equal(target, rill_slice_of(request->target)))
                sim_fail("response %u is not to %s", answered, request ? request->target : "any request");
            size_t wanted = request->is_head ? 0 : request->content;
            if (response.content_length != wanted)
                sim_fail("%s has %zu bytes", request->target, response.content_length);
            for (size_t i = 0; i < wanted; i++)
                if (response.content[i] != site_byte(wanted, i))
                    sim_fail("%s: byte %zu is another", request->target, i);
        } else if (client->sound && !(plan.faults && (response.status == 500 || response.status == 503))) {
            sim_fail("%s is answered %u", request ? request->target : "nothing", response.status);
        }
        bool refused = response.status != 200;
        answered++;
        http_response_free(&response);
        if (refused)
            break; /* to a request that was not whole: it may have been for HEAD or not */
    }
    if (all && answered != client->count)
        sim_fail("%u of %u requests were answered to a client of port %u", answered, client->count, peer->port);
}

static void check_echo(const struct client *client, bool all)
{
    const struct sim_peer *peer = &client->peer;
    if (peer->received_length > client->length)
        sim_fail("more came back than was sent");
    if (peer->received_length > 0 && memcmp(peer->received, client->sends, peer->received_length) != 0)
        sim_fail("other bytes came back than were sent");
    if (all && peer->received_length < client->length)
        sim_fail("%zu of %zu bytes came back", peer->received_length, client->length);
}

/* Messages are whole and as they were published, each newer than the one before; with none left out, if members miss
 * none, and the LAST among them. */
static void check_member(const struct client *client, bool last)
{
    const struct sim_peer *peer = &client->peer;
    unsigned number = 0, next = 0;
    for (size_t at = 0; at + 9 <= peer->received_length;) {
        const char *message = peer->received + at;
        if (sscanf(message, "%8u", &number) != 1 || number < next || number >= site.published)
            sim_fail("a message is not among those that may come");
        if (plan.complete && next > 0 && number != next)
            sim_fail("messages from %u to %u are lost", next, number - 1);
        size_t length = site_message_length(number);
        size_t here = length < peer->received_length - at ? length : peer->received_length - at;
        for (size_t i = 8; i < here; i++)
            if (message[i] != (i + 1 < length ? site_byte(number, i) : '\n'))
                sim_fail("byte %zu of message %u is another", i, number);
        next = number + 1;
        at += length;
    }
    if (last && next != site.published)
        sim_fail("a member has not received the last message, %u, but %u at the most", site.published - 1, number);
}

static void check_client(const struct client *client, bool all)
{
    if (client->peer.port == SITE_HTTP_PORT && client->garbled)
        return;
    all = all && client->sound;
    if (client->peer.port == SITE_HTTP_PORT)
        check_responses(client, all);
    else if (client->peer.port == SITE_CHANNEL_PORT)
        check_member(client, all);
    else
        check_echo(client, all);
}

/* --- what has to hold all the time --- */

static void check_conn(struct rill_loop *loop, const struct rill_conn *conn, uint64_t now_ms)
{
    if (conn->state == RILL_CONN_CLOSED)
        sim_fail("a closed connection outlives the turn");
    struct sim_state state = sim_state_of(conn->fd);
    if (conn->eof && !conn->net->edge_triggered)
        state.error = false; /* poll has nothing to say of who neither reads nor writes: the next send finds it */
    if (!conn->pause && (state.input > 0 || state.error || (state.end && !conn->eof)))
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
    if (plan.faults && rill_server_state(site.server.net) >= SERVER_RUNNING)
        sim_faults(plan.faults);
    if (!asleep)
        return;
    uint64_t now_ms = rill_clock_ns() / 1000000;
    check_timers(loop, now_ms);
    if (!net)
        return;
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        check_conn(loop, rill_slab_at(&net->conns, slot), now_ms);
}

static void stop(void *arg)
{
    (void)arg;
    if (!plan.stopping)
        plan.stopped_ms = sim_now_ms();
    plan.stopping = true;
    sim_note("the server is to stop", plan.stop_now, 0);
    rill_server_stop(site.server.net, plan.stop_now);
}

static void on_other_thread(void)
{
    struct rill_server *server = site.server.net;
    if (plan.stops_early && sim_steps() >= plan.stop_at_step && (!plan.stopping || sim_chance(16)))
        stop(NULL);
    if (plan.messages > 0 && site.published < plan.messages)
        site_publish();
    if (!plan.rude || site.conn_count == 0 || rill_server_state(server) != SERVER_RUNNING)
        return;
    const struct site_conn *conn = &site.conns[sim_below(site.conn_count)];
    int error = rill_conn_post_close(conn->loop, (struct rill_conn_id){conn->id});
    if (error < 0 && !(error == -ENOMEM && plan.faults))
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
    if (plan.stopping)
        return false;
    if (!plan.last_was_published) { /* and that comes to all members, too */
        plan.last_was_published = true;
        sim_as_other(publish, NULL);
        return true;
    }
    for (unsigned i = 0; i < plan.count; i++)
        check_client(&plan.clients[i], !plan.rude && !plan.faults);
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
    };
    plan.limited = config.net.max_connections > 0 || config.net.max_connections_per_address > 0;
    site_start(&config);
    plan.complete = sim_chance(2);
    if (plan.complete) /* who must not miss anything is closed when there is no memory for it to wait in */
        site.membership = (struct rill_membership){.slow = RILL_SLOW_CLOSE};
    else
        site.membership = (struct rill_membership){.slow = (enum rill_slow)sim_below(2), .max_bytes = 1000};
}

static uint64_t run_seed(uint64_t seed)
{
    struct sim_world world = {.on_quiet = on_quiet,
                              .on_other_thread = on_other_thread,
                              .after_turn = after_turn,
                              .accept_faults = seed % 5 == 0 ? 40 : 0,
                              .interrupts = seed % 3 == 0 ? 30 : 0};
    static const enum faulty_call kinds[] = {FAULTY_MEMORY, FAULTY_RECV, FAULTY_SEND, FAULTY_EPOLL_CTL, FAULTY_CONNECT};
    memset(&plan, 0, sizeof plan);
    if (seed % 4 == 0) /* memory alone, or with it a kind of calls, or two */
        for (unsigned i = 0; i < 3; i++)
            world.faults[kinds[seed / 4 % rill_array_length(kinds) * i % rill_array_length(kinds)]] = true;
    sim_begin(seed, &world);
    make_server();
    plan.faults = seed % 4 == 0 ? 4U << sim_below(8) : 0;
    plan.messages = sim_chance(2) ? 0 : (unsigned)sim_below(40);
    plan.count = 1 + (unsigned)sim_below(CLIENTS);
    for (unsigned i = 0; i < plan.count; i++)
        make_client(&plan.clients[i]);
    plan.stops_early = sim_chance(3);
    plan.stop_now = sim_chance(3);
    plan.stop_at_step = (unsigned)sim_below(600);
    plan.rude = sim_chance(8);
    site_run();
    bool all_sound = !plan.rude && !plan.faults;
    for (unsigned i = 0; i < plan.count; i++)
        all_sound = all_sound && plan.clients[i].sound;
    if (sim_now_ms() > plan.stopped_ms + (all_sound ? WELL_MS : DRAIN_MS + 100))
        sim_fail("it took %" PRIu64 " ms to stop", sim_now_ms() - plan.stopped_ms);
    for (unsigned i = 0; i < plan.count; i++)
        check_client(&plan.clients[i], false);
    uint64_t hash = sim_end();
    for (unsigned i = 0; i < plan.count; i++)
        free(plan.clients[i].sends);
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
    uint64_t steps = 0, reasons[RILL_CLOSE_REASONS] = {0}, conns = 0, exchanges = 0;
    for (uint64_t seed = from; seed <= to; seed++) {
        run_seed(seed);
        steps += sim_steps();
        conns += site.conn_count;
        exchanges += site.started;
        for (unsigned i = 0; i < RILL_CLOSE_REASONS; i++)
            reasons[i] += site.closed[i];
        if (trace)
            sim_show_trace();
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " steps, %" PRIu64 " connections, %" PRIu64 " exchanges:", to - from + 1,
           steps, conns, exchanges);
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
