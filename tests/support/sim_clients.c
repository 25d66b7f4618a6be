/* sim_clients.c - see sim_clients.h. */
#include "sim_clients.h"
#include "http_response.h"
#include "sim_site.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE_BYTES = 300000 };

struct sim_plan sim_plan;

/* --- what clients send --- */

/* Room for LENGTH bytes at the end, which are counted already. */
static char *room_for(struct sim_client *client, size_t length)
{
    size_t at = client->length;
    client->length += length;
    if (client->length > client->capacity) {
        client->capacity = 2 * client->length + 1024;
        client->sends = realloc(client->sends, client->capacity);
    }
    return client->sends + at;
}

static void append(struct sim_client *client, const char *bytes, size_t length)
{
    memcpy(room_for(client, length), bytes, length);
}

__attribute__((format(printf, 2, 3))) static void say(struct sim_client *client, const char *format, ...)
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

static void append_content(struct sim_client *client, size_t n, size_t from, size_t length)
{
    site_fill(room_for(client, length), n, from, length);
}

static void append_body(struct sim_client *client, size_t n, bool chunked)
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

static void ask(struct sim_client *client, bool last)
{
    struct sim_request *request = &client->requests[client->count++];
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
static void spoil(struct sim_client *client)
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
    if (site.has_fronts && sim_chance(3))
        return SITE_FRONT_PORT;
    return !sim_chance(3) ? SITE_HTTP_PORT : site.limited ? SITE_ECHO_PORT : ports[sim_below(3)];
}

/* What a member of the channel has to say is nothing but that something is to be published; it stays. */
static void make_member(struct sim_client *client)
{
    for (size_t i = sim_below(4); i > 0; i--)
        append(client, "!", 1);
    client->expected = 4000;
    client->peer.end = SIM_END_STAY;
}

void sim_client_make(struct sim_client *client)
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
        for (size_t i = 1 + sim_below(SIM_REQUESTS); i > 0; i--)
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

/* Whether a valid request may be answered with STATUS, which is not 200. */
static bool may_be(unsigned status)
{
    return (sim_plan.faults && (status == 500 || status == 503)) || (site.refuses && status == 503);
}

/* Every response is the next request's, whole and right; but the last, of a client whom something befell. */
static void check_responses(const struct sim_client *client, bool all)
{
    const struct sim_peer *peer = &client->peer;
    unsigned answered = 0;
    bool closing = false;
    for (size_t at = 0; at < peer->received_length;) {
        struct http_response response;
        const struct sim_request *request = answered < client->count ? &client->requests[answered] : NULL;
        enum http_response_result result =
            http_response_read(peer->received + at, peer->received_length - at, request && request->is_head,
                               peer->saw_end && !peer->saw_reset, &response);
        if (closing)
            sim_fail("bytes after a response that said it is the last");
        if (result == HTTP_RESPONSE_MALFORMED)
            sim_fail("a response is malformed: %s", response.why);
        if (result == HTTP_RESPONSE_PART) {
            if (client->sound && peer->saw_end && !peer->saw_reset && !sim_plan.stop_now && !sim_plan.rude &&
                !sim_plan.faults && sim_now_ms() < sim_plan.stopped_ms + SIM_DRAIN_MS)
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
            if (!site_is_content(response.content, wanted, 0, wanted))
                sim_fail("%s: the content is another", request->target);
        } else if (client->sound && !may_be(response.status)) {
            sim_fail("%s is answered %u", request ? request->target : "nothing", response.status);
        }
        bool unclear = response.status != 200 && !(client->sound && site.refuses);
        answered++;
        http_response_free(&response);
        if (unclear)
            break; /* to a request that was not whole: it may have been for HEAD or not */
    }
    if (all && answered != client->count && !(site.refuses && closing)) /* who has much to say is not read then */
        sim_fail("%u of %u requests were answered to a client of port %u", answered, client->count, peer->port);
}

static void check_echo(const struct sim_client *client, bool all)
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
static void check_member(const struct sim_client *client, bool last)
{
    const struct sim_peer *peer = &client->peer;
    unsigned number = 0, next = 0;
    for (size_t at = 0; at + 9 <= peer->received_length;) {
        const char *message = peer->received + at;
        if (!site_read_number(message, &number) || number < next || number >= site.published)
            sim_fail("a message is not among those that may come");
        if (sim_plan.complete && next > 0 && number != next)
            sim_fail("messages from %u to %u are lost", next, number - 1);
        size_t length = site_message_length(number);
        size_t here = length < peer->received_length - at ? length : peer->received_length - at;
        if (!site_is_message(message, number, here))
            sim_fail("message %u is another", number);
        next = number + 1;
        at += length;
    }
    if (last && next != site.published)
        sim_fail("a member has not received the last message, %u, but %u at the most", site.published - 1, number);
}

void sim_client_check(const struct sim_client *client, bool all)
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
