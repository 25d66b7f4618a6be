/* sim_site_datagram.c - see sim_site.h: endpoints of datagrams, and what net/datagram.h says of them.
 *
 * A loop has two: its part of a service, which gives every question back as the answer, and one that asks, of the
 * service or of a port where nobody is. Strangers, outside, ask the service too. A datagram says what it is, so that
 * whoever sees it knows what it ought to be: 'Q' or 'A', the question's number in eight digits, and letters; the
 * shortest are nothing but 'z'. */
#include "sim_site_internal.h"

#include "rill/net/datagram_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HEAD = 9, BURST = 4, BURST_LONG = 100, CLOSE_IN = 200, DEAD_PORT = 98, ORIGINS = 64, LONGEST = 65000 };

static struct speaker {
    struct rill_loop *loop;
    struct rill_datagram *endpoint; /* NULL: it is closed */
    struct rill_datagram_config config;
    bool serves;
    uint16_t port, peer;        /* `peer` 0: not connected */
    uint64_t shown, cut;        /* to its handler */
    uint64_t accepted, refused; /* of what it sent */
    uint64_t lost;              /* of that, when it was closed */
    bool owed_drain;
    unsigned next[ORIGINS]; /* in a faithful world: no question or answer before this comes from there */
} speakers[SITE_LOOPS][2];

static int service_fds[SITE_LOOPS];
static unsigned service_count, service_taken;
static unsigned stranger_next[SITE_STRANGERS], stranger_asked, stranger_answered;

static char outgoing[LONGEST]; /* what is about to be sent */

/* --- what a datagram is --- */

static size_t length_of(unsigned number)
{
    if (number % 16 == 0)
        return number / 16 % HEAD; /* none at all, too */
    return HEAD + (number % 61 == 0 ? number * 977 % (LONGEST - HEAD) : number * 37 % 1500);
}

/* Writes it to `outgoing`. */
static size_t write_question(unsigned number)
{
    char head[16];
    size_t length = length_of(number);
    if (length < HEAD) {
        memset(outgoing, 'z', length);
        return length;
    }
    snprintf(head, sizeof head, "Q%08u", number);
    memcpy(outgoing, head, HEAD);
    site_fill(outgoing + HEAD, number, HEAD, length - HEAD);
    return length;
}

/* One place for each port that datagrams come from. */
static unsigned origin_of(uint16_t port)
{
    return port % ORIGINS;
}

/* Looks at LENGTH bytes that came from FROM, LOST more being cut off. Returns 'Q' or 'A' with the NUMBER, or 0 for one
 * that does not say what it is. NEXT: what may come from there, in a faithful world. */
static char read_datagram(uint16_t from, const char *bytes, size_t length, size_t lost, unsigned *next,
                          unsigned *number)
{
    site.datagrams++;
    if (length < HEAD) {
        for (size_t i = 0; i < length; i++)
            if (bytes[i] != 'z')
                sim_fail("a short datagram is another");
        return 0;
    }
    char kind = bytes[0];
    if ((kind != 'Q' && kind != 'A') || !site_read_number(bytes + 1, number) || *number >= site.question_count)
        sim_fail("a datagram is none of those that were sent");
    if (length + lost != length_of(*number))
        sim_fail("datagram %u has %zu bytes of %zu", *number, length + lost, length_of(*number));
    if (!site_is_content(bytes + HEAD, *number, HEAD, length - HEAD))
        sim_fail("datagram %u is another", *number);
    if (from != (kind == 'A' ? SITE_SERVICE_PORT : site.questions[*number]))
        sim_fail("datagram %u says that it is from port %u", *number, from);
    if (sim_is_faithful() && (kind == 'Q' || site.service_is_whole) && *number < *next)
        sim_fail("datagram %u comes twice, or after a later one", *number);
    *next = *number + 1;
    return kind;
}

/* The number of a new question from PORT; false: there were enough. */
static bool new_question(uint16_t port, unsigned *number)
{
    if (site.question_count == SITE_QUESTIONS)
        return false;
    *number = site.question_count++;
    site.questions[*number] = port;
    return true;
}

/* --- strangers --- */

void site_stranger_asks(void)
{
    unsigned number;
    uint16_t port = (uint16_t)(SITE_STRANGER_PORT + sim_below(SITE_STRANGERS));
    if (!new_question(port, &number))
        return;
    size_t length = write_question(number);
    stranger_asked += length >= HEAD;
    sim_datagram_send(port, SITE_SERVICE_PORT, outgoing, length);
}

bool site_datagram_arrives(uint16_t from, uint16_t port, const char *bytes, size_t length)
{
    unsigned number;
    if (port < SITE_STRANGER_PORT || port >= SITE_STRANGER_PORT + SITE_STRANGERS)
        return false;
    unsigned *next = &stranger_next[port - SITE_STRANGER_PORT];
    if (read_datagram(from, bytes, length, 0, next, &number) != 'A' || site.questions[number] != port)
        sim_fail("a stranger is told what he has not asked");
    stranger_answered++;
    return true;
}

/* --- endpoints --- */

static struct speaker *speaker_of(const struct rill_datagram *endpoint, const char *callback)
{
    struct speaker *speaker = rill_datagram_user(endpoint);
    if (speaker->endpoint != endpoint)
        sim_fail("%s of an endpoint that is closed", callback);
    if (speaker->loop != rill_loop_current())
        sim_fail("%s on another loop", callback);
    return speaker;
}

static void close_one(struct speaker *speaker)
{
    struct rill_datagram *endpoint = speaker->endpoint;
    if (!endpoint)
        return;
    if (speaker->serves)
        site.all_answered = site.service_is_whole = false;
    size_t queued = endpoint->queued, vacant = sim_datagram_state_of(rill_datagram_fd(endpoint)).vacant;
    bool leaves = !endpoint->waiting && !endpoint->sending && !sim_calls_fail();
    rill_datagram_close(endpoint);
    if (speaker->endpoint)
        sim_fail("on_close has not come");
    if (leaves && speaker->lost != (queued > vacant ? queued - vacant : 0))
        sim_fail("%" PRIu64 " of %zu datagrams are lost in a close, and there was room for %zu", speaker->lost, queued,
                 vacant);
}

/* In a callback: closes this one or the other one of the loop, now and then. */
static void meddle(const struct speaker *speaker)
{
    if (sim_chance(CLOSE_IN))
        close_one(&speakers[rill_loop_index(speaker->loop)][sim_below(2)]);
}

static void set_port(struct rill_addr *addr, unsigned port)
{
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    if (rill_addr_parse(text, addr, NULL) < 0)
        sim_fail("an endpoint has no address");
}

/* Sends the first LENGTH bytes of `outgoing`. */
static void say(struct speaker *speaker, const struct rill_addr *to, size_t length)
{
    switch (rill_datagram_send(speaker->endpoint, to, outgoing, length)) {
    case 0:
        speaker->accepted++;
        break;
    case -ENOBUFS:
        speaker->owed_drain = true;
        speaker->refused++;
        site.all_answered = false;
        break;
    case -ENOMEM:
        speaker->refused++;
        break;
    default:
        sim_fail("a datagram is refused");
    }
}

static void ask(struct speaker *speaker)
{
    unsigned number;
    for (size_t i = sim_chance(24) ? BURST_LONG : 1 + sim_below(BURST); i > 0 && speaker->endpoint; i--) {
        struct rill_addr to;
        if (!new_question(speaker->port, &number))
            break;
        set_port(&to, sim_chance(8) ? DEAD_PORT : SITE_SERVICE_PORT);
        say(speaker, speaker->peer ? NULL : &to, write_question(number));
    }
}

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    struct speaker *speaker = speaker_of(endpoint, "on_datagram");
    uint16_t from = rill_addr_port(input->from);
    unsigned number;
    speaker->shown++;
    speaker->cut += input->lost > 0;
    if (speaker->peer && from != speaker->peer)
        sim_fail("an endpoint that is connected hears somebody else");
    size_t most = speaker->config.max_datagram_bytes ? speaker->config.max_datagram_bytes : RILL_DATAGRAM_MAX;
    if (input->length > most || (input->lost > 0 && input->length != most))
        sim_fail("%zu bytes of a datagram are shown, at most %zu can be", input->length, most);
    char kind = read_datagram(from, input->bytes, input->length, input->lost, &speaker->next[origin_of(from)], &number);
    if (kind == 'A' && speaker->serves)
        sim_fail("the service is answered");
    if (kind == 'Q' && speaker->serves && input->lost == 0) {
        memcpy(outgoing, input->bytes, input->length);
        outgoing[0] = 'A';
        say(speaker, input->from, input->length);
    }
    meddle(speaker);
}

static void on_error(struct rill_datagram *endpoint, const struct rill_addr *to, int error)
{
    struct speaker *speaker = speaker_of(endpoint, "on_error");
    bool expected = error == -ECONNREFUSED && speaker->peer && !to;
    if (!expected && !sim_calls_fail())
        sim_fail("an endpoint is told of error %d", -error);
    if (error >= 0 || error == -EAGAIN || error == -EINTR || (to && speaker->peer))
        sim_fail("an endpoint is told of error %d, which is none", -error);
    sim_note("on_error", speaker->port, (uint64_t)-error);
    if (sim_chance(2) && !speaker->serves)
        ask(speaker);
    meddle(speaker);
}

static void on_drain(struct rill_datagram *endpoint)
{
    struct speaker *speaker = speaker_of(endpoint, "on_drain");
    if (!speaker->owed_drain || rill_datagram_queued(endpoint) > 0)
        sim_fail("on_drain, and nothing was refused, or something waits");
    speaker->owed_drain = false;
    sim_note("on_drain", speaker->port, 0);
    if (sim_chance(2) && !speaker->serves)
        ask(speaker);
    meddle(speaker);
}

/* Returns how many of those that it was to send are lost. */
static uint64_t check_stats(const struct speaker *speaker, uint64_t queued)
{
    struct rill_datagram_stats stats;
    rill_datagram_stats(speaker->endpoint, &stats);
    if (stats.received != speaker->shown || stats.cut != speaker->cut || stats.refused != speaker->refused)
        sim_fail("an endpoint counts otherwise than its handler");
    if (stats.sent + stats.failed + queued != speaker->accepted)
        sim_fail("%" PRIu64 " datagrams were taken, %" PRIu64 " left, %" PRIu64 " failed, %" PRIu64 " wait",
                 speaker->accepted, stats.sent, stats.failed, queued);
    return stats.failed;
}

static void on_close(struct rill_datagram *endpoint)
{
    struct speaker *speaker = speaker_of(endpoint, "on_close");
    speaker->lost = check_stats(speaker, 0);
    speaker->endpoint = NULL;
    site.endpoints_closed++;
    sim_note("an endpoint closes", speaker->port, 0);
}

static const struct rill_datagram_handler handler = {
    .on_datagram = on_datagram, .on_error = on_error, .on_drain = on_drain, .on_close = on_close};

/* --- opening --- */

static void draw_config(struct speaker *speaker)
{
    static const size_t lengths[] = {0, 0, 1500, 700, 20}, queues[] = {0, 0, 30000, 2000, 1};
    speaker->config =
        (struct rill_datagram_config){.handler = &handler,
                                      .max_datagram_bytes = lengths[sim_below(rill_array_length(lengths))],
                                      .max_queued_bytes = queues[sim_below(rill_array_length(queues))]};
    if (speaker->serves && speaker->config.max_datagram_bytes)
        site.all_answered = false;
}

/* ENDPOINT, NULL when it could not be opened with ERROR, is SPEAKER's. */
static void begin(struct speaker *speaker, struct rill_datagram *endpoint, int error)
{
    if (!endpoint) {
        if (!sim_calls_fail())
            sim_fail("an endpoint cannot be opened: %s", strerror(-error));
        if (speaker->serves)
            site.all_answered = false;
        return;
    }
    speaker->endpoint = endpoint;
    speaker->port = sim_datagram_state_of(rill_datagram_fd(endpoint)).port;
    rill_datagram_set_user(endpoint, speaker);
    site.endpoints++;
    sim_note("an endpoint opens", speaker->port, speaker->peer);
}

static void open_service(struct speaker *speaker)
{
    int error;
    *speaker = (struct speaker){.loop = rill_loop_current(), .serves = true};
    draw_config(speaker);
    int fd = service_fds[service_taken++];
    begin(speaker, rill_datagram_adopt(speaker->loop, fd, &speaker->config, &error), error);
}

static void open_asker(struct speaker *speaker)
{
    struct rill_addr addr;
    int error;
    *speaker = (struct speaker){.loop = rill_loop_current()};
    draw_config(speaker);
    if (sim_chance(2)) {
        speaker->peer = sim_chance(4) ? DEAD_PORT : SITE_SERVICE_PORT;
        set_port(&addr, speaker->peer);
        begin(speaker, rill_datagram_connect(speaker->loop, &addr, &speaker->config, &error), error);
    } else {
        set_port(&addr, SITE_ASKER_PORT + rill_loop_index(speaker->loop));
        begin(speaker, rill_datagram_open(speaker->loop, &addr, &speaker->config, &error), error);
    }
}

void site_datagram_bind(unsigned loops)
{
    struct rill_addr addr;
    set_port(&addr, SITE_SERVICE_PORT);
    service_count = loops;
    service_taken = stranger_asked = stranger_answered = 0;
    memset(stranger_next, 0, sizeof stranger_next);
    site.all_answered = sim_is_faithful();
    site.service_is_whole = true;
    if (rill_datagram_bind(&addr, loops, service_fds) < 0)
        sim_fail("the service cannot be bound");
}

void site_datagram_unbind(void)
{
    while (service_taken < service_count)
        rill_sys_close(service_fds[service_taken++]);
}

static void begin_on(struct rill_loop *loop)
{
    struct speaker *pair = speakers[rill_loop_index(loop)];
    open_service(&pair[0]);
    open_asker(&pair[1]);
}

/* --- what happens beside --- */

static void prod(struct rill_loop *loop)
{
    struct speaker *asker = &speakers[rill_loop_index(loop)][1];
    if (!asker->endpoint)
        open_asker(asker);
    else if (sim_chance(16))
        close_one(asker);
    else
        ask(asker);
}

/* What is left open goes with the loop. */
static void end_on(struct rill_loop *loop)
{
    struct speaker *pair = speakers[rill_loop_index(loop)];
    site.all_answered = false;
    if (pair[0].endpoint && sim_chance(2))
        close_one(&pair[0]);
    if (pair[1].endpoint && sim_chance(2))
        close_one(&pair[1]);
}

/* --- what has to hold --- */

static void check_asleep(struct rill_loop *loop)
{
    for (const struct speaker *speaker = speakers[rill_loop_index(loop)], *end = speaker + 2; speaker < end;
         speaker++) {
        if (!speaker->endpoint)
            continue;
        struct sim_datagram_state state = sim_datagram_state_of(rill_datagram_fd(speaker->endpoint));
        size_t queued = speaker->endpoint->queued, bytes = rill_datagram_queued(speaker->endpoint);
        size_t most = speaker->config.max_queued_bytes ? speaker->config.max_queued_bytes : 1 << 20;
        if (check_stats(speaker, queued) > 0 && !sim_calls_fail())
            sim_fail("a datagram is lost though nothing has failed");
        if (state.input)
            sim_fail("a loop sleeps, and a datagram waits at port %u", speaker->port);
        if (queued > 0 && state.room)
            sim_fail("a loop sleeps, and datagrams wait that there is room for at port %u", speaker->port);
        if (state.taken != speaker->shown || state.given != speaker->endpoint->stats.sent)
            sim_fail("a datagram is not shown, or is sent and not counted");
        if ((bytes > most && queued > 1) || (bytes > 0) != (queued > 0))
            sim_fail("%zu datagrams of %zu bytes wait", queued, bytes);
        if (speaker->owed_drain && queued == 0)
            sim_fail("on_drain has not come");
    }
}

static void check_quiet(bool all)
{
    for (unsigned i = 0; i < SITE_LOOPS; i++)
        for (unsigned k = 0; k < 2; k++)
            if (speakers[i][k].endpoint && speakers[i][k].endpoint->queued > 0)
                sim_fail("datagrams wait, and nothing will end that");
    if (all && site.all_answered && stranger_answered != stranger_asked)
        sim_fail("strangers have asked %u questions and have %u answers", stranger_asked, stranger_answered);
}

const struct site_app site_datagram_app = {
    .start = begin_on, .prod = prod, .stop = end_on, .check_asleep = check_asleep, .check_quiet = check_quiet};
