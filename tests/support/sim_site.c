/* sim_site.c - see sim_site.h: the server, and the layer between it and its callbacks. */
#include "sim_site_internal.h"

#include "rill/core/number.h"
#include "rill/net/server_internal.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct site site;

/* --- content --- */

/* Letters that repeat only after ROUND, another row for each of 26 lengths. */
enum { LETTERS = 26, ROUND = LETTERS * LETTERS };

static const char *letters_of(size_t n)
{
    static char letters[LETTERS][ROUND];
    if (letters[0][0] == '\0')
        for (size_t row = 0; row < LETTERS; row++)
            for (size_t i = 0; i < ROUND; i++)
                letters[row][i] = (char)('a' + (i * 7 + row + i / LETTERS) % LETTERS);
    return letters[n % LETTERS];
}

void site_fill(char *into, size_t n, size_t from, size_t length)
{
    const char *letters = letters_of(n);
    while (length > 0) {
        size_t at = from % ROUND, count = ROUND - at < length ? ROUND - at : length;
        memcpy(into, letters + at, count);
        into += count;
        from += count;
        length -= count;
    }
}

bool site_is_content(const char *bytes, size_t n, size_t from, size_t length)
{
    const char *letters = letters_of(n);
    while (length > 0) {
        size_t at = from % ROUND, count = ROUND - at < length ? ROUND - at : length;
        if (memcmp(bytes, letters + at, count) != 0)
            return false;
        bytes += count;
        from += count;
        length -= count;
    }
    return true;
}

bool site_read_number(const char *digits, unsigned *number)
{
    uint64_t value = 0;
    bool read = rill_decimal_parse((struct rill_slice){digits, 8}, &value) == 0;
    *number = (unsigned)value;
    return read;
}

char *site_content(size_t n)
{
    char *bytes = malloc(n + 1);
    site_fill(bytes, n, 0, n);
    return bytes;
}

/* --- the rules of callbacks --- */

struct site_conn *site_record(struct rill_conn_id id)
{
    for (unsigned i = site.conn_count; i-- > 0;)
        if (site.conns[i].id == id.value)
            return &site.conns[i];
    return NULL;
}

struct site_conn *site_note(struct rill_conn *conn, const char *callback)
{
    struct site_conn *record = site_record(rill_conn_id(conn));
    if (!record)
        sim_fail("%s before on_open", callback);
    if (record->closed)
        sim_fail("%s after on_close", callback);
    if (record->loop != rill_loop_current())
        sim_fail("%s on another loop", callback);
    sim_note(callback, record->id >> 32, 0);
    return record;
}

void site_note_open(struct rill_conn *conn)
{
    uint64_t id = rill_conn_id(conn).value;
    if (site_record(rill_conn_id(conn)))
        sim_fail("on_open twice, or an id that was used before");
    if (site.conn_count == SITE_CONNS)
        sim_fail("more connections than peers");
    site.conns[site.conn_count++] = (struct site_conn){.id = id, .loop = rill_loop_current()};
    sim_note("on_open", id >> 32, 0);
}

void site_note_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    site_note(conn, "on_close")->closed = true;
    site.closed[reason]++;
    sim_note(rill_close_reason_text(reason), 0, 0);
}

/* --- the server --- */

static struct rill_task loop_checks[SITE_LOOPS];

/* The last turn of the server on this loop ends: nothing is left. */
static void check_loop(struct rill_task *task)
{
    struct rill_loop *loop = rill_loop_current();
    const struct rill_net *net = rill_net_of(loop);
    (void)task;
    site.loops_stopped++;
    if (net->stats.open != 0 || rill_conn_count(loop) != 0)
        sim_fail("a connection is left");
    if (net->stats.held_back_now != 0)
        sim_fail("somebody is held back for ever");
    if (net->stats.waiting_bytes != 0 || net->stats.leased_segments != 0)
        sim_fail("output is left: %" PRIu64 " bytes, %" PRIu64 " segments", net->stats.waiting_bytes,
                 net->stats.leased_segments);
    if (rill_slab_count(&rill_http_loop_of(loop)->sessions) != 0)
        sim_fail("a session is left");
}

static void loop_stops(struct rill_loop *loop, void *arg)
{
    struct rill_task *check = &loop_checks[rill_loop_index(loop)];
    (void)arg;
    site_apps_stop(loop);
    check->run = check_loop;
    rill_loop_defer_last(loop, check); /* after what has closed was freed */
}

void site_start(struct rill_http_server_config *config)
{
    int error = 0;
    memset(&site, 0, sizeof site);
    site.router = rill_router_new();
    if (!site.router || rill_router_add_all(site.router, site_routes) < 0)
        sim_fail("the routes are wrong");
    config->router = site.router;
    site.channel = rill_channel_new(NULL);
    if (!site.channel)
        sim_fail("there is no channel");
    config->net.listens[1].handler = &site_echo_handler;
    config->net.listens[2].handler = &site_relay_handler;
    config->net.listens[3].handler = &site_channel_handler;
    site.refuses = config->max_requests > 0;
    site.limited = config->net.max_connections > 0 || config->net.max_connections_per_address > 0;
    for (unsigned i = 0; i < SITE_APPS; i++)
        site.has[i] = sim_chance(4);
    site.has_fronts = site.has[SITE_POOL] && !site.limited && sim_chance(2);
    if (site.has_fronts)
        config->net.listens[4] = (struct rill_listen){.address = "127.0.0.1:10", .handler = &site_front_handler};
    if (rill_http_server_configure(&site.server, config) < 0)
        sim_fail("the configuration is wrong");
    struct rill_server_config *net = &site.server.config.net;
    net->handler = &site_http_handler;
    net->on_loop_start = site_apps_start;
    net->on_loop_stop = loop_stops;
    site.server.net = rill_server_new(net, &error);
    if (!site.server.net)
        sim_fail("the server cannot be made: %s", strerror(-error));
    sim_set_main(site.server.net->main_loop);
    if (site.has[SITE_DATAGRAMS])
        site_datagram_bind(site.server.net->loop_count);
}

void site_run(void)
{
    unsigned loops = site.server.net->loop_count;
    int error = rill_server_run(site.server.net, false);
    if (error < 0)
        sim_fail("the server ends with %s", strerror(-error));
    rill_server_free(site.server.net);
    if (site.has[SITE_DATAGRAMS])
        site_datagram_unbind();
    rill_router_free(site.router);
    rill_channel_unref(site.channel);
    for (unsigned i = 0; i < site.conn_count; i++)
        if (!site.conns[i].closed && !site.conns[i].silent)
            sim_fail("on_close was never called");
    if (site.started != site.cleaned)
        sim_fail("%u exchanges began, %u ended", site.started, site.cleaned);
    if (site.connects != site.connects_ended)
        sim_fail("%u connects began, %u ended", site.connects, site.connects_ended);
    if (site.endpoints != site.endpoints_closed)
        sim_fail("%u endpoints were opened, %u closed", site.endpoints, site.endpoints_closed);
    if (site.borrowers != site.borrowers_gone)
        sim_fail("%u borrowers came, %u went", site.borrowers, site.borrowers_gone);
    if (site.relays != site.relays_ended)
        sim_fail("%u relays began, %u ended", site.relays, site.relays_ended);
    if (site.jobs != site.jobs_gone)
        sim_fail("%u jobs were made, %u destroyed", site.jobs, site.jobs_gone);
    if (site.loops_stopped != loops)
        sim_fail("%u loops of %u stopped in order", site.loops_stopped, loops);
}
