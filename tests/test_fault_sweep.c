/* test_fault_sweep.c - every call that a server makes of the system, and every allocation, fails once: in its start, in
 * one exchange of each kind, and in its stop. For every k the k-th call fails, with each of the errors that it may
 * have, or does a part only; and again so that from the k-th on all fail for a while. Then whoever asked has either got
 * what he should or was told so, or his connection has ended; nothing is left of it; and who asks next is served.
 *
 *   test_fault_sweep                 all
 *   test_fault_sweep exchange7       the eighth of `scenes`; start0, stop2: of `configs`
 *   CK_FORK=no test_fault_sweep      says also which places in the code were struck, and which never
 */
#include "support/faulty_sys.h"
#include "support/http_response.h"
#include "support/sweep_site.h"

#include "rill/core/stat.h"
#include "rill/core/sys.h"
#include "rill/http/http_stats.h"
#include "rill/net/net_stats.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

enum { PATIENCE_MS = 60000, STORM_MS = 5, MOST_RESPONSES = 3, HEARD_BYTES = 1 << 20 };

/* --- exchanges of each kind --- */

enum content { NO_CONTENT, TEXT, ANY, LISTING, FILE_SMALL, FILE_LARGE, FILE_RANGE, STREAM, ECHOED, COUNTED };

static const struct scene {
    const char *name;
    enum sweep_port port;
    const char *says; /* NULL: a request whose body is the stream; see `long_body` */
    unsigned status;  /* of HTTP; 0: what is said comes back */
    enum content content[MOST_RESPONSES];
    bool head, cold; /* the file is not in the cache */
    bool long_body, datagram;
} scenes[] = {
    {.name = "text", .says = "GET /text HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {TEXT}},
    {.name = "from a timer", .says = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {TEXT}},
    {.name = "from the pool", .says = "GET /pool HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {TEXT}},
    {.name = "chunked", .says = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {STREAM}},
    {.name = "no such path", .says = "GET /none HTTP/1.1\r\nHost: x\r\n\r\n", .status = 404, .content = {ANY}},
    {.name = "a malformed one", .says = "GET /none HTTP/1.1\r\n: x\r\n\r\n", .status = 400, .content = {ANY}},
    {.name = "HEAD",
     .says = "HEAD /text HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {NO_CONTENT},
     .head = true},
    {.name = "small file, cold",
     .says = "GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {FILE_SMALL},
     .cold = true},
    {.name = "small file, cached",
     .says = "GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {FILE_SMALL}},
    {.name = "large file, cold",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {FILE_LARGE},
     .cold = true},
    {.name = "large file, cached",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {FILE_LARGE}},
    {.name = "range",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\nRange: bytes=1000-150999\r\n\r\n",
     .status = 206,
     .content = {FILE_RANGE},
     .cold = true},
    {.name = "ranges",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\nRange: bytes=10-20,70000-90000\r\n\r\n",
     .status = 206,
     .content = {ANY},
     .cold = true},
    {.name = "listing",
     .says = "GET /files/ HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {LISTING},
     .cold = true},
    {.name = "no such file",
     .says = "GET /files/none HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 404,
     .content = {ANY},
     .cold = true},
    {.name = "streamed body, echoed", .status = 200, .content = {ECHOED}, .long_body = true},
    {.name = "streamed body, counted", .status = 200, .content = {COUNTED}, .long_body = true},
    {.name = "pipelined",
     .says = "GET /text HTTP/1.1\r\nHost: x\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n\r\n"
             "GET /pool HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {TEXT, TEXT, TEXT}},
    {.name = "behind a PROXY header",
     .port = SWEEP_PROXY,
     .says = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nGET /text HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {TEXT}},
    {.name = "echo", .port = SWEEP_ECHO, .says = "hello, echo"},
    {.name = "relay", .port = SWEEP_RELAY, .says = "hello, relay"},
    {.name = "much by the relay", .port = SWEEP_RELAY},
    {.name = "channel", .port = SWEEP_CHANNEL, .says = "hello, all"},
    {.name = "client", .port = SWEEP_CLIENT, .says = "hello, client"},
    {.name = "pool of connections", .port = SWEEP_POOL, .says = "hello, pool"},
    {.name = "endpoint of datagrams",
     .says = "GET /datagrams HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {TEXT}},
    {.name = "datagram", .says = "hello, datagram", .datagram = true},
};

/* What the present scene says. */
static struct {
    const struct scene *scene;
    char *bytes;
    size_t length;
    unsigned datagrams; /* the endpoint's port */
    unsigned idle;      /* connections that the server keeps when nobody is there */
    unsigned descriptors;
    unsigned config; /* of `configs` */
} play;

static void compose(const struct scene *scene)
{
    char head[200] = "";
    size_t body = scene->says ? 0 : SWEEP_STREAM_BYTES, length;
    if (scene->long_body)
        snprintf(head, sizeof head, "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                 scene->content[0] == ECHOED ? "echo" : "count", body);
    play.scene = scene;
    length = strlen(scene->says ? scene->says : head);
    play.length = length + body;
    play.bytes = malloc(play.length + 1);
    memcpy(play.bytes, scene->says ? scene->says : head, length);
    for (size_t i = 0; i < body; i++)
        play.bytes[length + i] = sweep_site_byte(i);
}

/* --- what came --- */

static struct {
    char bytes[HEARD_BYTES];
    size_t length, said;
    bool ended; /* the stream, or the connection by a reset */
} heard;

__attribute__((format(printf, 1, 2), noreturn)) static void broken(const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ck_abort_msg("%s: %s; %s", play.scene ? play.scene->name : "start and stop", text, faulty_struck());
}

static void check_content(enum content content, const struct http_response *response)
{
    char counted[24];
    size_t wanted = response->content_length, from = 0;
    switch (content) {
    case ANY:
        if (wanted == 0)
            broken("there is no content");
        return;
    case LISTING:
        if (!strstr(response->content, "small") || !strstr(response->content, "large") ||
            !strstr(response->content, "other"))
            broken("the listing lacks something");
        return;
    case NO_CONTENT:
        if (wanted > 0)
            broken("there is content");
        return;
    case TEXT:
        if (strcmp(response->content, "text") != 0)
            broken("the text is another");
        return;
    case COUNTED:
        snprintf(counted, sizeof counted, "%d", SWEEP_STREAM_BYTES);
        if (strcmp(response->content, counted) != 0)
            broken("%s bytes were counted", response->content);
        return;
    case FILE_SMALL:
        wanted = SWEEP_SMALL_BYTES;
        break;
    case FILE_LARGE:
        wanted = SWEEP_LARGE_BYTES;
        break;
    case FILE_RANGE:
        wanted = 150000;
        from = 1000;
        break;
    default:
        wanted = SWEEP_STREAM_BYTES;
    }
    if (response->content_length != wanted)
        broken("there are %zu bytes", response->content_length);
    for (size_t i = 0; i < wanted; i++)
        if (response->content[i] != sweep_site_byte(from + i))
            broken("byte %zu is another", i);
}

/* Whether STATUS is one by which a server says that it cannot. */
static bool is_excuse(unsigned status)
{
    return status == 500 || status == 503;
}

enum verdict { WHOLE, EXCUSED, ENDED, WAITING };

/* What has come so far, of HTTP. FAULTY: something has failed meanwhile. */
static enum verdict judge_http(bool faulty)
{
    size_t at = 0;
    for (unsigned i = 0; i < MOST_RESPONSES && (i == 0 || play.scene->content[i]); i++) {
        struct http_response response = {0};
        enum http_response_result result =
            http_response_read(heard.bytes + at, heard.length - at, play.scene->head, heard.ended, &response);
        if (result == HTTP_RESPONSE_MALFORMED)
            broken("malformed: %s", response.why);
        bool excused = response.status != play.scene->status;
        if (result == HTTP_RESPONSE_WHOLE && excused && !(faulty && is_excuse(response.status)))
            broken("answered %u", response.status);
        if (result == HTTP_RESPONSE_WHOLE && !excused)
            check_content(play.scene->content[i], &response);
        at += response.length;
        http_response_free(&response);
        if (result == HTTP_RESPONSE_PART)
            return heard.ended ? ENDED : WAITING;
        if (excused)
            return EXCUSED;
    }
    if (at != heard.length)
        broken("more came than was asked for");
    return WHOLE;
}

static enum verdict judge(bool faulty)
{
    if (play.scene->status)
        return judge_http(faulty);
    if (heard.length > play.length || memcmp(heard.bytes, play.bytes, heard.length) != 0)
        broken("other bytes came than were said");
    return heard.length == play.length ? WHOLE : heard.ended ? ENDED : WAITING;
}

/* --- asking --- */

static int dial(unsigned port, int type)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        heard.ended = true;
    return fd;
}

static void no_more_faults(void)
{
    __atomic_store_n(&faulty_sys.fail_after, 0, __ATOMIC_RELEASE);
}

static bool struck(void)
{
    return __atomic_load_n(&faulty_sys.failed, __ATOMIC_RELAXED) > 0;
}

static void exchange_bytes(int fd, const struct pollfd *ready)
{
    if (ready->revents & POLLOUT) {
        ssize_t n = send(fd, play.bytes + heard.said, play.length - heard.said, MSG_NOSIGNAL | MSG_DONTWAIT);
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
static enum verdict converse(int fd, bool may_be_lost)
{
    heard.length = heard.said = 0;
    int waited_ms = 0;
    bool faulty = false;
    enum verdict verdict = WAITING;
    while (verdict == WAITING) {
        struct pollfd ready = {.fd = fd, .events = (short)(POLLIN | (heard.said < play.length ? POLLOUT : 0))};
        int count = heard.ended ? 1 : poll(&ready, 1, STORM_MS);
        if (count == 0) {
            waited_ms += STORM_MS;
            no_more_faults();
            if (may_be_lost && play.scene->datagram && struck())
                return ENDED;
            if (waited_ms >= PATIENCE_MS)
                broken("nothing comes any more: %zu bytes were said, %zu heard", heard.said, heard.length);
        } else if (!heard.ended) {
            exchange_bytes(fd, &ready);
        }
        faulty |= struck();
        verdict = judge(faulty);
    }
    return verdict;
}

static unsigned port_of_scene(void)
{
    return play.scene->datagram ? play.datagrams : sweep_site_port(play.scene->port);
}

static enum verdict ask_once(void)
{
    heard.ended = false;
    int fd = dial(port_of_scene(), play.scene->datagram ? SOCK_DGRAM : SOCK_STREAM);
    enum verdict verdict = converse(fd, false);
    close(fd);
    return verdict;
}

/* Asks while calls fail. A connection that has got all that it should is as good as new afterwards. */
static void ask_in_trouble(void)
{
    heard.ended = false;
    int fd = dial(port_of_scene(), play.scene->datagram ? SOCK_DGRAM : SOCK_STREAM);
    enum verdict verdict = converse(fd, true);
    no_more_faults();
    if (!struck() && verdict != WHOLE)
        broken("without a fault it is not answered");
    if (verdict == WHOLE && play.scene->port != SWEEP_PROXY && play.scene->status != 400 && !heard.ended &&
        !play.scene->datagram) {
        verdict = converse(fd, false);
        if (verdict != WHOLE && verdict != ENDED)
            broken("the next request of the connection is not answered");
    }
    close(fd);
}

/* --- what is left --- */

static bool is_quiet(void)
{
    const struct rill_net_stats *net = rill_server_net_stats(sweep_site_server(), 0);
    return rill_stat_read(&net->open) <= play.idle && rill_stat_read(&net->waiting_bytes) == 0 &&
           rill_stat_read(&net->leased_segments) == 0 &&
           (play.descriptors == 0 || faulty_sys_open_descriptors() <= play.descriptors);
}

static void expect_quiet(void)
{
    const struct rill_net_stats *net = rill_server_net_stats(sweep_site_server(), 0);
    for (int ms = 0; !is_quiet(); ms++) {
        if (ms == PATIENCE_MS)
            broken("there is left: %u connections, %u bytes of output, %u segments, %u descriptors of %u",
                   (unsigned)rill_stat_read(&net->open), (unsigned)rill_stat_read(&net->waiting_bytes),
                   (unsigned)rill_stat_read(&net->leased_segments), faulty_sys_open_descriptors(), play.descriptors);
        poll(NULL, 0, 1);
    }
}

/* Puts another file into the place of the scene's in the cache. */
static void evict(void)
{
    static const struct scene other = {.name = "another file",
                                       .says = "GET /files/other HTTP/1.1\r\nHost: x\r\n\r\n",
                                       .status = 200,
                                       .content = {ANY}};
    const struct scene *scene = play.scene;
    char *bytes = play.bytes;
    size_t length = play.length;
    compose(&other);
    if (ask_once() != WHOLE)
        broken("it is not answered");
    free(play.bytes);
    play.scene = scene;
    play.bytes = bytes;
    play.length = length;
}

/* --- the sweep --- */

/* Has the K-th of the calls that FAULTS counts fail, and the LASTING that follow. */
static void arm(const struct faulty_sys *faults, uint64_t k)
{
    memcpy(faulty_sys.counts, faults->counts, sizeof faulty_sys.counts);
    faulty_sys.lasting = faults->lasting;
    faulty_sys.variant = faults->variant;
    faulty_sys.struck = NULL;
    faulty_sys.failed = 0;
    __atomic_store_n(&faulty_sys.fail_after, k, __ATOMIC_RELEASE);
}

/* Calls TRY with FAULTS for every k, until none is struck. Returns how many were. */
static unsigned for_every_call(const struct faulty_sys *faults,
                               void (*try)(const struct faulty_sys *faults, uint64_t k))
{
    for (uint64_t k = 1;; k++) {
        try(faults, k);
        if (!struck())
            return (unsigned)k - 1;
    }
}

/* Every call and allocation, with every error, and then storms. Returns how many faults there were. */
static unsigned sweep(void (*try)(const struct faulty_sys *faults, uint64_t k))
{
    unsigned faults_made = 0, errors;
    for (unsigned variant = 0;; variant++) {
        struct faulty_sys faults = {.variant = variant};
        bool any = false;
        for (unsigned kind = 0; kind < FAULTY_CALLS; kind++) {
            faulty_errors((enum faulty_call)kind, &errors);
            any |= faults.counts[kind] = variant < errors;
        }
        if (!any)
            break;
        faults_made += for_every_call(&faults, try);
    }
    static const unsigned storms[] = {
        1 << FAULTY_MEMORY, 1 << FAULTY_DESCRIPTOR | 1 << FAULTY_ACCEPT | 1 << FAULTY_FILE | 1 << FAULTY_EPOLL_CTL,
        (1 << FAULTY_CALLS) - 1};
    for (unsigned i = 0; i < rill_array_length(storms); i++) {
        struct faulty_sys faults = {.lasting = UINT64_MAX};
        for (unsigned kind = 0; kind < FAULTY_CALLS; kind++)
            faults.counts[kind] = storms[i] >> kind & 1;
        faults_made += for_every_call(&faults, try);
    }
    return faults_made;
}

/* --- one exchange --- */

static void try_exchange(const struct faulty_sys *faults, uint64_t k)
{
    if (play.scene->cold)
        evict();
    arm(faults, k);
    ask_in_trouble();
    expect_quiet();
    if (ask_once() != WHOLE)
        broken("the next one is not served");
    expect_quiet();
}

static const struct rill_server_config server_config = {.threads = 1, .workers = 1};

START_TEST(one_exchange_of_each_kind)
{
    memset(&play, 0, sizeof play);
    sweep_site_prepare();
    ck_assert_int_eq(sweep_site_start(&server_config), 0);
    compose(&scenes[0]);
    ck_assert_int_eq(ask_once(), WHOLE); /* it has started */
    free(play.bytes);
    compose(&scenes[_i]);
    if (play.scene->datagram)
        play.datagrams = sweep_site_datagrams();
    if (play.scene->port == SWEEP_POOL)
        play.idle = 2;
    ck_assert_int_eq(ask_once(), WHOLE);
    ck_assert_int_eq(ask_once(), WHOLE);
    expect_quiet();
    play.descriptors = faulty_sys_open_descriptors();
    ck_assert_uint_gt(sweep(try_exchange), 5);
    sweep_site_stop(true);
    ck_assert_int_eq(sweep_site_end(), 0);
    sweep_site_clear();
    free(play.bytes);
}
END_TEST

/* --- the start --- */

static const struct rill_server_config configs[] = {
    {.threads = 1, .workers = 1}, {.threads = 0}, {.threads = 2, .workers = 2, .accept = RILL_ACCEPT_REUSEPORT}};

/* Starts a server while calls fail, and asks it for something. It serves, or it says that it cannot; and then the next
 * one serves. */
static void try_start(const struct faulty_sys *faults, uint64_t k)
{
    unsigned descriptors = faulty_sys_open_descriptors();
    arm(faults, k);
    int error = sweep_site_start(&configs[play.config]);
    if (error == 0) {
        compose(&scenes[0]);
        enum verdict verdict = ask_once(); /* one listener may serve while the next cannot be opened */
        no_more_faults();
        bool serves = ask_once() == WHOLE;
        free(play.bytes);
        sweep_site_stop(k % 2);
        error = sweep_site_end();
        if (error == 0 && !serves)
            broken("it has started, and does not serve");
        if (!struck() && verdict != WHOLE)
            broken("it does not serve");
    }
    no_more_faults();
    if (!struck() && error < 0)
        broken("it does not start: %s", strerror(-error));
    if (faulty_sys_open_descriptors() != descriptors)
        broken("%u descriptors are left of %u", faulty_sys_open_descriptors(), descriptors);
}

START_TEST(the_start)
{
    memset(&play, 0, sizeof play);
    play.config = (unsigned)_i;
    sweep_site_prepare();
    ck_assert_uint_gt(sweep(try_start), 100);
    sweep_site_clear();
}
END_TEST

/* --- the stop --- */

enum { GUESTS = 5 };

/* Connects to PORT and says WHAT. */
static int visit(unsigned port, const char *what)
{
    int fd = dial(port, SOCK_STREAM);
    ck_assert_int_eq(send(fd, what, strlen(what), MSG_NOSIGNAL), (ssize_t)strlen(what));
    return fd;
}

static void hear_something(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1)
        broken("nothing is heard before the stop");
}

/* A server that has guests of every kind stops while calls fail. It comes to its end, and nothing is left. */
static void try_stop(const struct faulty_sys *faults, uint64_t k)
{
    unsigned descriptors = faulty_sys_open_descriptors();
    struct rill_server_config config = configs[play.config];
    config.drain_timeout_ms = 5;
    ck_assert_int_eq(sweep_site_start(&config), 0);
    int guests[GUESTS] = {
        visit(sweep_site_port(SWEEP_HTTP), "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"), /* and takes little of it */
        visit(sweep_site_port(SWEEP_HTTP), "GET /text HTTP/1.1\r\nHost: x\r\n\r\nGET /te"),
        visit(sweep_site_port(SWEEP_RELAY), "hello"),
        visit(sweep_site_port(SWEEP_CLIENT), "hello"),
        visit(sweep_site_port(SWEEP_CHANNEL), "hello"),
    };
    for (int i = 0; i < GUESTS; i++)
        hear_something(guests[i]);
    arm(faults, k);
    sweep_site_stop(k % 3 == 0);
    int error = sweep_site_end();
    no_more_faults();
    if (!struck() && error < 0)
        broken("it stops with %s", strerror(-error));
    for (int i = 0; i < GUESTS; i++)
        close(guests[i]);
    if (faulty_sys_open_descriptors() != descriptors)
        broken("%u descriptors are left of %u", faulty_sys_open_descriptors(), descriptors);
}

START_TEST(the_stop)
{
    memset(&play, 0, sizeof play);
    play.config = (unsigned)_i;
    sweep_site_prepare();
    ck_assert_uint_gt(sweep(try_stop), 10);
    sweep_site_clear();
}
END_TEST

/* Adds TEST for each of COUNT, or for that alone which is asked for. */
static void add(TCase *all, const TTest *test, int count, const char *name, const char *wanted)
{
    if (!wanted)
        tcase_add_loop_test(all, test, 0, count);
    else if (strncmp(wanted, name, strlen(name)) == 0)
        tcase_add_loop_test(all, test, atoi(wanted + strlen(name)), atoi(wanted + strlen(name)) + 1);
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : NULL;
    Suite *suite = suite_create("fault sweep");
    TCase *all = tcase_create("fault sweep");
    add(all, one_exchange_of_each_kind, (int)rill_array_length(scenes), "exchange", wanted);
    add(all, the_start, (int)rill_array_length(configs), "start", wanted);
    add(all, the_stop, (int)rill_array_length(configs), "stop", wanted);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    if (srunner_fork_status(runner) == CK_NOFORK)
        faulty_sites_report();
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
