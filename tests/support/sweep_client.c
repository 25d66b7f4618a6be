/* sweep_client.c - see sweep_client.h. */
#include "sweep_client.h"
#include "faulty_sys.h"
#include "http_response.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STORM_MS = 5, HEARD_BYTES = 1 << 20 };

struct sweep_play sweep_play;

void sweep_compose(const struct sweep_scene *scene)
{
    char head[200] = "";
    size_t body = scene->says ? 0 : SWEEP_STREAM_BYTES, length;
    if (scene->long_body)
        snprintf(head, sizeof head, "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                 scene->content[0] == SWEEP_ECHOED ? "echo" : "count", body);
    sweep_play.scene = scene;
    length = strlen(scene->says ? scene->says : head);
    sweep_play.length = length + body;
    sweep_play.bytes = malloc(sweep_play.length + 1);
    memcpy(sweep_play.bytes, scene->says ? scene->says : head, length);
    for (size_t i = 0; i < body; i++)
        sweep_play.bytes[length + i] = sweep_site_byte(i);
}

/* --- what came --- */

static struct {
    char bytes[HEARD_BYTES];
    size_t length, said;
    bool ended; /* the stream, or the connection by a reset */
} heard;

__attribute__((format(printf, 1, 2), noreturn)) void sweep_broken(const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ck_abort_msg("%s: %s; %s", sweep_play.scene ? sweep_play.scene->name : "start and stop", text, faulty_struck());
}

static void check_content(enum sweep_content content, const struct http_response *response)
{
    char counted[24];
    size_t wanted = response->content_length, from = 0;
    switch (content) {
    case SWEEP_ANY:
        if (wanted == 0)
            sweep_broken("there is no content");
        return;
    case SWEEP_LISTING:
        if (!strstr(response->content, "small") || !strstr(response->content, "large") ||
            !strstr(response->content, "other"))
            sweep_broken("the listing lacks something");
        return;
    case SWEEP_NO_CONTENT:
        if (wanted > 0)
            sweep_broken("there is content");
        return;
    case SWEEP_TEXT:
        if (strcmp(response->content, "text") != 0)
            sweep_broken("the text is another");
        return;
    case SWEEP_COUNTED:
        snprintf(counted, sizeof counted, "%d", SWEEP_STREAM_BYTES);
        if (strcmp(response->content, counted) != 0)
            sweep_broken("%s bytes were counted", response->content);
        return;
    case SWEEP_FILE_SMALL:
        wanted = SWEEP_SMALL_BYTES;
        break;
    case SWEEP_FILE_LARGE:
        wanted = SWEEP_LARGE_BYTES;
        break;
    case SWEEP_FILE_RANGE:
        wanted = 150000;
        from = 1000;
        break;
    default:
        wanted = SWEEP_STREAM_BYTES;
    }
    if (response->content_length != wanted)
        sweep_broken("there are %zu bytes", response->content_length);
    for (size_t i = 0; i < wanted; i++)
        if (response->content[i] != sweep_site_byte(from + i))
            sweep_broken("byte %zu is another", i);
}

/* Whether STATUS is one by which a server says that it cannot. */
static bool is_excuse(unsigned status)
{
    return status == 500 || status == 503;
}

/* What has come so far, of HTTP. FAULTY: something has failed meanwhile. */
static enum sweep_verdict judge_http(bool faulty)
{
    size_t at = 0;
    for (unsigned i = 0; i < SWEEP_MOST_RESPONSES && (i == 0 || sweep_play.scene->content[i]); i++) {
        struct http_response response = {0};
        enum http_response_result result =
            http_response_read(heard.bytes + at, heard.length - at, sweep_play.scene->head, heard.ended, &response);
        if (result == HTTP_RESPONSE_MALFORMED)
            sweep_broken("malformed: %s", response.why);
        bool excused = response.status != sweep_play.scene->status;
        if (result == HTTP_RESPONSE_WHOLE && excused && !(faulty && is_excuse(response.status)))
            sweep_broken("answered %u", response.status);
        if (result == HTTP_RESPONSE_WHOLE && !excused)
            check_content(sweep_play.scene->content[i], &response);
        at += response.length;
        http_response_free(&response);
        if (result == HTTP_RESPONSE_PART)
            return heard.ended ? SWEEP_ENDED : SWEEP_WAITING;
        if (excused)
            return SWEEP_EXCUSED;
    }
    if (at != heard.length)
        sweep_broken("more came than was asked for");
    return SWEEP_WHOLE;
}

static enum sweep_verdict judge(bool faulty)
{
    if (sweep_play.scene->status)
        return judge_http(faulty);
    if (heard.length > sweep_play.length || memcmp(heard.bytes, sweep_play.bytes, heard.length) != 0)
        sweep_broken("other bytes came than were said");
    return heard.length == sweep_play.length ? SWEEP_WHOLE : heard.ended ? SWEEP_ENDED : SWEEP_WAITING;
}

/* --- asking --- */

int sweep_dial(unsigned port, int type)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        heard.ended = true;
    return fd;
}

void sweep_end_faults(void)
{
    __atomic_store_n(&faulty_sys.fail_after, 0, __ATOMIC_RELEASE);
}

bool sweep_struck(void)
{
    return __atomic_load_n(&faulty_sys.failed, __ATOMIC_RELAXED) > 0;
}

static void exchange_bytes(int fd, const struct pollfd *ready)
{
    if (ready->revents & POLLOUT) {
        ssize_t n =
            send(fd, sweep_play.bytes + heard.said, sweep_play.length - heard.said, MSG_NOSIGNAL | MSG_DONTWAIT);
        heard.said += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno != EAGAIN && !(ready->revents & POLLIN))
            heard.ended = true;
    }
    if (ready->revents & (POLLIN | POLLHUP | POLLERR)) {
        ssize_t n = recv(fd, heard.bytes + heard.length, sizeof heard.bytes - heard.length, MSG_DONTWAIT);
        heard.length += n > 0 ? (size_t)n : 0;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != ECONNREFUSED))
            heard.ended = true;
    }
}

/* Says on FD what there is to be said, and waits for what comes of it. A storm of faults ends when nothing has happened
 * for a while; then something has to. MAY_BE_LOST: unless it is a datagram, and something has failed. */
static enum sweep_verdict converse(int fd, bool may_be_lost)
{
    heard.length = heard.said = 0;
    int waited_ms = 0;
    bool faulty = false;
    enum sweep_verdict verdict = SWEEP_WAITING;
    while (verdict == SWEEP_WAITING) {
        struct pollfd ready = {.fd = fd, .events = (short)(POLLIN | (heard.said < sweep_play.length ? POLLOUT : 0))};
        int count = heard.ended ? 1 : poll(&ready, 1, STORM_MS);
        if (count == 0) {
            waited_ms += STORM_MS;
            sweep_end_faults();
            if (may_be_lost && sweep_play.scene->datagram && sweep_struck())
                return SWEEP_ENDED;
            if (waited_ms >= SWEEP_PATIENCE_MS)
                sweep_broken("nothing comes any more: %zu bytes were said, %zu heard", heard.said, heard.length);
        } else if (!heard.ended) {
            exchange_bytes(fd, &ready);
        }
        faulty |= sweep_struck();
        verdict = judge(faulty);
    }
    return verdict;
}

static unsigned port_of_scene(void)
{
    return sweep_play.scene->datagram ? sweep_play.datagrams : sweep_site_port(sweep_play.scene->port);
}

enum sweep_verdict sweep_ask_once(void)
{
    heard.ended = false;
    int fd = sweep_dial(port_of_scene(), sweep_play.scene->datagram ? SOCK_DGRAM : SOCK_STREAM);
    enum sweep_verdict verdict = converse(fd, false);
    close(fd);
    return verdict;
}

/* Asks while calls fail. A connection that has got all that it should is as good as new afterwards. */
void sweep_ask_in_trouble(void)
{
    heard.ended = false;
    int fd = sweep_dial(port_of_scene(), sweep_play.scene->datagram ? SOCK_DGRAM : SOCK_STREAM);
    enum sweep_verdict verdict = converse(fd, true);
    sweep_end_faults();
    if (!sweep_struck() && verdict != SWEEP_WHOLE)
        sweep_broken("without a fault it is not answered");
    if (verdict == SWEEP_WHOLE && sweep_play.scene->port != SWEEP_PROXY && sweep_play.scene->status != 400 &&
        !heard.ended && !sweep_play.scene->datagram) {
        verdict = converse(fd, false);
        if (verdict != SWEEP_WHOLE && verdict != SWEEP_ENDED)
            sweep_broken("the next request of the connection is not answered");
    }
    close(fd);
}
