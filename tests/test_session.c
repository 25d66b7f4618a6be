/* test_session.c - HTTP sessions in memory: what goes in, what comes out, and what is left over. */
#include "support/fake_http.h"
#include "support/http_response.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define HOST "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define POST(path, length, body) "POST " path " HTTP/1.1\r\n" HOST "Content-Length: " length "\r\n\r\n" body
#define CHUNKED(path, body) "POST " path " HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n" body

static struct fake_http web;
static struct fake_peer peer;
static size_t cursor; /* how much of peer.received was looked at */

static void start(const struct rill_http_server_config *config)
{
    fake_sys_reset(1000000);
    fake_overload = (struct fake_overload){0};
    cursor = 0;
    fake_http_start(&web, config);
    fake_http_open(&web, &peer);
}

static void setup(void)
{
    start(NULL);
}

static void teardown(void)
{
    ck_assert_msg(!web.mistaken, "%s", web.mistake);
    fake_http_stop(&web);
    ck_assert_uint_eq(peer.opens, 1);
    ck_assert_uint_eq(peer.closes, 1);
    fake_peer_free(&peer);
}

/* From the setup's server to one with another CONFIG. */
static void restart(const struct rill_http_server_config *config)
{
    teardown();
    start(config);
}

static void again(void)
{
    restart(NULL);
}

static void say(const char *text)
{
    fake_peer_send(&peer, text, strlen(text));
    fake_http_settle(&web);
}

static void end_of_client(void)
{
    fake_peer_end(&peer);
    fake_http_settle(&web);
}

static bool closed(void)
{
    return peer.closes > 0;
}

/* Reads the next response, which must be whole. Good until the next call. */
static const struct http_response *next_to(bool head)
{
    static struct http_response response;
    http_response_free(&response);
    enum http_response_result result =
        http_response_read(peer.received + cursor, peer.received_length - cursor, head, closed(), &response);
    ck_assert_msg(result == HTTP_RESPONSE_WHOLE, "%s in \"%s\"", response.why ? response.why : "only a part",
                  peer.received ? peer.received + cursor : "");
    cursor += response.length;
    return &response;
}

static const struct http_response *next(void)
{
    return next_to(false);
}

static void expect_text(unsigned status, const char *content)
{
    const struct http_response *response = next();
    ck_assert_uint_eq(response->status, status);
    ck_assert_str_eq(response->content, content);
}

static void expect_status(unsigned status)
{
    ck_assert_uint_eq(next()->status, status);
}

static void expect_nothing_more(void)
{
    ck_assert_msg(cursor == peer.received_length, "more than expected: \"%s\"", peer.received + cursor);
}

static void expect_open(void)
{
    expect_nothing_more();
    ck_assert_msg(!closed(), "closed: %s", rill_close_reason_text(peer.reason));
    ck_assert(!peer.finished);
}

/* The server has ended, having read on or not after its last byte. */
static void expect_end(bool linger)
{
    expect_nothing_more();
    ck_assert(peer.finished);
    ck_assert_int_eq(peer.lingered, linger);
    if (linger && !closed()) {
        end_of_client();
        ck_assert(closed());
    }
}

/* --- the state table --- */

START_TEST(states_change_as_the_table_says)
{
    static const char *const legal[RILL_SESSION_STATES] = {
        [RILL_SESSION_IDLE] = "-H--C",    [RILL_SESSION_HEAD] = "I-B-C",    [RILL_SESSION_BUSY] = "I--DC",
        [RILL_SESSION_DISCARD] = "I---C", [RILL_SESSION_CLOSING] = "-----",
    };
    for (unsigned from = 0; from <= RILL_SESSION_STATES; from++)
        for (unsigned to = 0; to <= RILL_SESSION_STATES; to++) {
            bool expected = from < RILL_SESSION_STATES && to < RILL_SESSION_STATES && legal[from][to] != '-';
            ck_assert_int_eq(rill_session_state_may_change((enum rill_session_state)from, (enum rill_session_state)to),
                             expected);
        }
}
END_TEST

static enum rill_session_state state(void)
{
    return (enum rill_session_state)((struct rill_session *)rill_conn_user(peer.conn))->state;
}

START_TEST(a_session_goes_through_its_states)
{
    fake_http_settle(&web);
    ck_assert_uint_eq(state(), RILL_SESSION_IDLE);
    say("POST /ignore-later/10 HTTP/1.1\r\n");
    ck_assert_uint_eq(state(), RILL_SESSION_HEAD);
    say(HOST "Content-Length: 4\r\n\r\nab");
    ck_assert_uint_eq(state(), RILL_SESSION_BUSY);
    fake_http_pass(&web, 20);
    ck_assert_uint_eq(state(), RILL_SESSION_DISCARD);
    say("cd");
    ck_assert_uint_eq(state(), RILL_SESSION_IDLE);
    say("\r\n");
    ck_assert_uint_eq(state(), RILL_SESSION_HEAD);
    say("GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    ck_assert(closed());
}
END_TEST

/* --- every split --- */

static const char *const samples[] = {
    GET("/hello"),
    "\r\n" GET("/hello") "\r\n" GET("/hello/you"),
    GET("/hello/a%20b") GET("/later/5") GET("/pool/text") GET("/hello") GET("/later/0") GET("/pool/x"),
    "HEAD /hello HTTP/1.1\r\n" HOST "\r\n" GET("/hello"),
    "HEAD /stream/3/5 HTTP/1.1\r\n" HOST "\r\n" GET("/stream/3/5"),
    "OPTIONS * HTTP/1.1\r\n" HOST "\r\nOPTIONS /hello HTTP/1.1\r\n" HOST "\r\nDELETE /hello HTTP/1.1\r\n" HOST "\r\n",
    "GET http://b/hello/abs HTTP/1.1\r\n" HOST "\r\n" GET("/nowhere"),
    POST("/echo", "5", "12345") GET("/hello") POST("/collect", "3", "abc"),
    POST("/ignore", "5", "12345") POST("/early", "6", "123456") GET("/hello"),
    POST("/paused", "8", "12345678") POST("/late-read", "3", "abc") POST("/late-read", "0", "") GET("/hello"),
    CHUNKED("/collect", "3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n") GET("/hello"),
    CHUNKED("/ignore", "3\r\nabc\r\n0\r\n\r\n") CHUNKED("/paused", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n") GET("/hello"),
    CHUNKED("/limited", "5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n") POST("/limited", "11", "12345678901") GET("/hello"),
    CHUNKED("/limited", "5\r\n12345\r\n6\r\n678901\r\n0\r\n\r\n") GET("/hello"),
    "POST /collect HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" GET("/hello"),
    "POST /ignore HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" GET("/hello"),
    "GET /hello HTTP/1.0\r\n\r\n" GET("/hello"),
    "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /stream/2/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n" GET("/hello"),
    GET("/hello") "GET /bad HTTP/1.1\r\n\r\n" GET("/hello"),
    GET("/hello") "nonsense\r\n\r\n" GET("/hello"),
    GET("/hello") CHUNKED("/collect", "3\r\nabcd\r\n0\r\n\r\n") GET("/hello"),
    GET("/hello") CHUNKED("/ignore", "3\r\nabcd\r\n0\r\n\r\n") GET("/hello"),
    GET("/known/5/5") GET("/known/5/7") GET("/hello"),
    GET("/hello") GET("/known/5/3") GET("/hello"),
    GET("/hello") GET("/abort/before") GET("/hello"),
    GET("/hello") GET("/abort/after") GET("/hello"),
    GET("/hello") GET("/abort/later") GET("/hello"),
    GET("/hello") "GET /abort/after HTTP/1.0\r\n\r\n" GET("/hello"),
    GET("/end") GET("/status/204") GET("/status/304") GET("/status/599") GET("/headers") GET("/buf/10")
        GET("/bytes/5000"),
    GET("/deadline/10/50") GET("/deadline/50/10") GET("/hello"),
    POST("/deadline/10/20", "3", "abc") GET("/hello"),
    POST("/never", "3", "abc") GET("/hello"),
    "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n" GET("/hello"),
    GET("/%2e%2e/%2e%2e/x") GET("/hello"),
    "PATCH /any HTTP/1.1\r\n" HOST "\r\nODD /any HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/2.0\r\n\r\n",
};

struct outcome {
    char *bytes;
    size_t length;
    bool closed, lingered;
    unsigned started;
    uint64_t body_bytes;
};

/* What comes of sample INDEX when its first SPLIT bytes come first; SPLIT SIZE_MAX: byte by byte. */
static struct outcome run(const char *sample, size_t split, const struct rill_http_server_config *config)
{
    restart(config);
    size_t length = strlen(sample);
    if (split == SIZE_MAX) {
        peer.read_max = 1;
        split = 0;
    }
    fake_peer_send(&peer, sample, split);
    fake_http_settle(&web);
    fake_peer_send(&peer, sample + split, length - split);
    fake_http_settle(&web);
    fake_http_pass(&web, 400);
    struct outcome outcome = {.bytes = malloc(peer.received_length + 1),
                              .length = peer.received_length,
                              .closed = closed() || peer.finished,
                              .lingered = peer.lingered,
                              .started = web.started,
                              .body_bytes = web.body_bytes};
    if (peer.received_length > 0)
        memcpy(outcome.bytes, peer.received, peer.received_length);
    outcome.bytes[outcome.length] = '\0';
    return outcome;
}

static void compare(const char *sample, size_t split, const struct outcome *whole, const struct outcome *parts)
{
    ck_assert_msg(whole->length == parts->length &&
                      (whole->length == 0 || memcmp(whole->bytes, parts->bytes, whole->length) == 0),
                  "split at %zd of\n%s\nwhole:\n%s\nsplit:\n%s", (ssize_t)split, sample, whole->bytes, parts->bytes);
    ck_assert_msg(whole->closed == parts->closed && whole->lingered == parts->lingered,
                  "split at %zd of\n%s\nends otherwise", (ssize_t)split, sample);
    ck_assert_uint_eq(whole->started, parts->started);
    if (!strstr(sample, "/early")) /* which reads as much as comes first */
        ck_assert_uint_eq(whole->body_bytes, parts->body_bytes);
}

START_TEST(a_split_changes_nothing)
{
    const char *sample = samples[_i];
    struct outcome whole = run(sample, 0, NULL);
    for (size_t split = 1; split <= strlen(sample); split++) {
        size_t at = split == strlen(sample) ? SIZE_MAX : split;
        struct outcome parts = run(sample, at, NULL);
        compare(sample, at, &whole, &parts);
        free(parts.bytes);
    }
    free(whole.bytes);
}
END_TEST

/* Output that fills up at once: the same bytes leave, in their time. */
START_TEST(a_slow_reader_changes_nothing)
{
    const char *sample = samples[_i];
    struct rill_http_server_config config = {.net = {.high_watermark = 64, .low_watermark = 16}};
    struct outcome whole = run(sample, 0, NULL);
    restart(&config);
    peer.stalled = true;
    say(sample);
    for (unsigned i = 0; i < 2000 && !peer.finished && !closed(); i++) {
        peer.room = 13;
        fake_http_settle(&web);
        if (i % 4 == 0)
            fake_http_pass(&web, 1);
    }
    struct outcome slow = {.bytes = peer.received,
                           .length = peer.received_length,
                           .closed = closed() || peer.finished,
                           .lingered = peer.lingered,
                           .started = web.started,
                           .body_bytes = web.body_bytes};
    compare(sample, 0, &whole, &slow);
    free(whole.bytes);
}
END_TEST

/* --- requests and responses --- */

START_TEST(pipelined_requests_are_answered_in_order)
{
    say(GET("/later/30") GET("/hello") GET("/pool/one") GET("/later/10") GET("/pool/two") GET("/hello/three"));
    expect_open(); /* the first holds the others back */
    fake_http_pass(&web, 100);
    static const char *const targets[] = {"/later/30", "/hello", "/pool/one", "/later/10", "/pool/two", "/hello/three"};
    for (size_t i = 0; i < rill_array_length(targets); i++) {
        const struct http_response *response = next();
        ck_assert_uint_eq(response->status, 200);
        ck_assert(rill_slice_equal(http_response_field(response, "X-Target", NULL), rill_slice_of(targets[i])));
    }
    expect_open();
}
END_TEST

START_TEST(keep_alive_follows_version_and_connection)
{
    static const struct {
        const char *request;
        bool goes_on, says_close, says_keep_alive;
    } cases[] = {
        {"GET /hello HTTP/1.1\r\n" HOST "\r\n", true, false, false},
        {"GET /hello HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n", true, false, false},
        {"GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false, true, false},
        {"GET /hello HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n", false, true, false},
        {"GET /hello HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", false, true, false},
        {"GET /hello HTTP/1.0\r\n\r\n", false, true, false},
        {"GET /hello HTTP/1.0\r\nConnection: close\r\n\r\n", false, true, false},
        {"GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false, true},
        {"GET /nowhere HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, false, true},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        again();
        say(cases[i].request);
        const struct http_response *response = next();
        ck_assert_int_eq(response->close, cases[i].says_close);
        ck_assert_int_eq(response->keep_alive, cases[i].says_keep_alive);
        expect_nothing_more();
        ck_assert_msg(closed() != cases[i].goes_on, "%s", cases[i].request);
        if (cases[i].goes_on) {
            say(GET("/hello"));
            expect_text(200, "Hello, World!");
        }
    }
}
END_TEST

/* The head of one response without its Date, for comparing; to be freed. */
static char *head_of(const struct http_response *response)
{
    char *head = strndup(response->head.bytes, response->head.length);
    return head;
}

START_TEST(head_says_what_get_would)
{
    static const char *const paths[] = {"/hello",  "/hello/you",  "/bytes/100",  "/bytes/9000",
                                        "/buf/50", "/stream/3/7", "/known/5/5",  "/later/3",
                                        "/pool/x", "/nowhere",    "/status/204", "/end"};
    for (size_t i = 0; i < rill_array_length(paths); i++) {
        char request[128];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "\r\nHEAD %s HTTP/1.1\r\n" HOST "\r\n", paths[i],
                 paths[i]);
        say(request);
        fake_http_pass(&web, 20);
        char *to_get = head_of(next());
        char *to_head = head_of(next_to(true));
        ck_assert_str_eq(to_get, to_head);
        free(to_get);
        free(to_head);
        expect_open();
    }
    say("HEAD /known/5/3 HTTP/1.1\r\n" HOST "\r\n"); /* what was not written was not to be sent */
    ck_assert_uint_eq(next_to(true)->announced, 5);
    expect_open();
}
END_TEST

START_TEST(options_and_wrong_methods_name_the_methods)
{
    say("OPTIONS /hello HTTP/1.1\r\n" HOST "\r\n");
    const struct http_response *response = next();
    ck_assert_uint_eq(response->status, 204);
    ck_assert(rill_slice_equal(http_response_field(response, "Allow", NULL), rill_slice_of("GET, HEAD, OPTIONS")));
    say("DELETE /echo HTTP/1.1\r\n" HOST "\r\n");
    response = next();
    ck_assert_uint_eq(response->status, 405);
    ck_assert(rill_slice_equal(http_response_field(response, "Allow", NULL), rill_slice_of("POST, OPTIONS")));
    say("OPTIONS * HTTP/1.1\r\n" HOST "\r\n");
    response = next();
    ck_assert_uint_eq(response->status, 204);
    ck_assert_uint_gt(http_response_field(response, "Allow", NULL).length, 10);
    say("OPTIONS /nowhere HTTP/1.1\r\n" HOST "\r\n");
    expect_status(404);
    say("DELETE /nowhere HTTP/1.1\r\n" HOST "\r\n");
    expect_status(404);
    expect_open();
}
END_TEST

START_TEST(what_is_no_final_status_is_500)
{
    say(GET("/status/0") GET("/status/5") GET("/status/99") GET("/status/100") GET("/status/199"));
    for (unsigned i = 0; i < 5; i++)
        expect_status(500);
    say(GET("/status/299") GET("/status/599"));
    expect_status(299);
    expect_status(599);
    expect_open();
}
END_TEST

START_TEST(header_fields_are_checked)
{
    say(GET("/headers"));
    const struct http_response *response = next();
    unsigned count;
    ck_assert_uint_eq(response->status, 200);
    ck_assert_str_eq(response->content, "ok");
    ck_assert(rill_slice_equal(http_response_field(response, "X-Plain", &count), rill_slice_of("value")));
    ck_assert_uint_eq(count, 1);
    ck_assert_ptr_nonnull(http_response_field(response, "X-Empty", &count).bytes);
    ck_assert_uint_eq(count, 1);
    ck_assert_ptr_null(http_response_field(response, "X-Bad", NULL).bytes);
    ck_assert_ptr_null(http_response_field(response, "X-Replaced", NULL).bytes);
    ck_assert_ptr_null(http_response_field(response, "X-Late", NULL).bytes);
    ck_assert_uint_eq((http_response_field(response, "X-Block", &count), count), 2);
    expect_open();
}
END_TEST

START_TEST(an_empty_line_may_come_first)
{
    say("\r\n");
    expect_open();
    say(GET("/hello") "\r\n");
    expect_text(200, "Hello, World!");
    say(GET("/hello"));
    expect_text(200, "Hello, World!");
    say("\r\n");
    fake_http_pass(&web, 20000); /* was no request: no reply when its time is over */
    expect_end(false);
    ck_assert(closed());
}
END_TEST

START_TEST(malformed_requests_get_one_reply_and_nothing_after_it)
{
    static const struct {
        const char *request;
        unsigned status;
    } cases[] = {
        {"GET /hello HTTP/1.1\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST HOST "\r\n", 400},
        {"GET /hello\r\n\r\n", 400},
        {"GET  /hello HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST "X : 1\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST " X: 1\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\n" HOST "\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", 400},
        {"POST /collect HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /collect HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"GET /hello HTTP/2.0\r\n" HOST "\r\n", 505},
        {"GET /hello HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417},
        {"GET /../x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a%2fb HTTP/1.1\r\n" HOST "\r\n", 400},
        {"CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", 501},
        {"POST /collect HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n", 413},
        {CHUNKED("/collect", "x\r\n"), 400},
        {CHUNKED("/collect", "3\r\nabcX"), 400},
        {"\x16\x03\x01\x02\x00\x01", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        again();
        say(GET("/hello"));
        expect_text(200, "Hello, World!");
        fake_peer_send(&peer, cases[i].request, strlen(cases[i].request));
        say(GET("/hello"));
        const struct http_response *response = next();
        ck_assert_msg(response->status == cases[i].status, "%u for %s", response->status, cases[i].request);
        ck_assert(response->close);
        ck_assert_int_eq(peer.closes, 0);
        say(GET("/hello") GET("/hello"));
        expect_end(true);
    }
}
END_TEST

START_TEST(limits_have_their_statuses)
{
    struct rill_http_server_config config = {
        .limits = {.max_request_line_bytes = 100, .max_header_bytes = 300, .max_headers = 3}};
    restart(&config);
    say(GET("/hello/12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345"));
    expect_status(414);
    expect_end(true);
    restart(&config);
    say("GET /hello HTTP/1.1\r\n" HOST "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n");
    expect_status(431);
    expect_end(true);
}
END_TEST

/* --- Expect --- */

#define EXPECTING(path) "POST " path " HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"

START_TEST(continue_is_sent_once_to_whoever_waits)
{
    say(EXPECTING("/collect"));
    expect_status(100);
    expect_open();
    say("abc");
    expect_text(200, "3 bytes");
    say(EXPECTING("/late-read"));
    expect_open();
    fake_http_pass(&web, 30);
    expect_status(100);
    say("a");
    say("bc");
    expect_text(200, "3 bytes");
    expect_open();
    say("POST /collect HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    expect_open(); /* HTTP/1.0 knows no 100 */
    say("abc");
    expect_text(200, "3 bytes");
    say("POST /collect HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n"); /* nothing to wait for */
    expect_text(200, "0 bytes");
    expect_open();
}
END_TEST

START_TEST(a_final_status_instead_of_continue_closes)
{
    static const char *const requests[] = {EXPECTING("/ignore"), EXPECTING("/nowhere"), EXPECTING("/hello"),
                                           EXPECTING("/ignore-later/10")};
    for (size_t i = 0; i < rill_array_length(requests); i++) {
        again();
        say(requests[i]);
        fake_http_pass(&web, 20);
        const struct http_response *response = next();
        ck_assert_uint_ge(response->status, 200);
        ck_assert(response->close);
        say("abc");
        expect_end(true);
    }
}
END_TEST

START_TEST(an_aborted_response_takes_no_other_with_it)
{
    static const char *const requests[] = {
        GET("/hello") GET("/abort/before") GET("/hello"), GET("/hello") GET("/abort/after") GET("/hello"),
        GET("/hello") "GET /abort/after HTTP/1.0\r\n\r\n", GET("/hello") GET("/abort/later") GET("/hello")};
    for (size_t i = 0; i < rill_array_length(requests); i++) {
        again();
        say(requests[i]);
        fake_http_pass(&web, 10);
        expect_text(200, "Hello, World!");
        ck_assert(peer.finished);
        ck_assert_ptr_null(strstr(peer.received + cursor, "World"));
    }
}
END_TEST

/* --- request bodies --- */

START_TEST(bodies_are_read)
{
    say(POST("/collect", "3", "abc"));
    expect_text(200, "3 bytes");
    say(POST("/collect", "0", ""));
    expect_text(200, "0 bytes");
    say("POST /collect HTTP/1.1\r\n" HOST "\r\n");
    expect_text(200, "0 bytes");
    say(CHUNKED("/collect", "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"));
    expect_text(200, "3 bytes");
    ck_assert_uint_eq(web.bodies_ended, 4);
    say(CHUNKED("/echo", "2\r\nab\r\n"));
    say("1\r\nc\r\n0\r\n\r\n");
    const struct http_response *response = next();
    ck_assert(response->chunked);
    ck_assert_str_eq(response->content, "abc");
    say(POST("/echo", "4", "12"));
    say("34");
    response = next();
    ck_assert_uint_eq(response->announced, 4);
    ck_assert_str_eq(response->content, "1234");
    say("POST /echo HTTP/1.1\r\n" HOST "\r\n");
    expect_text(200, "");
    expect_open();
}
END_TEST

START_TEST(a_body_nobody_reads_is_dropped)
{
    say(POST("/ignore", "10", "12345"));
    expect_text(200, "Hello, World!"); /* at once */
    say("67890" GET("/hello"));
    expect_text(200, "Hello, World!");
    say(POST("/nowhere", "3", "abc"));
    expect_status(404);
    say(CHUNKED("/ignore", "3\r\nabc\r\n0\r\n\r\n"));
    expect_text(200, "Hello, World!");
    say(POST("/early", "6", "abc") "def");
    expect_text(200, "enough");
    say(POST("/ignore-later/10", "6", "abc") "def");
    fake_http_pass(&web, 20);
    expect_text(200, "later");
    expect_open();
    ck_assert_uint_eq(web.body_bytes, 6); /* of /early alone */
}
END_TEST

START_TEST(a_large_body_nobody_reads_ends_the_connection)
{
    struct rill_http_server_config config = {.limits = {.max_body_bytes = UINT64_MAX}};
    restart(&config);
    say(POST("/ignore", "10000000000", "12345"));
    const struct http_response *response = next();
    ck_assert(response->close); /* and it says so */
    say("67890");
    expect_end(true);

    restart(&config);
    say(CHUNKED("/ignore", "3\r\nabc\r\n"));
    expect_text(200, "Hello, World!");
    char chunk[1000 + 8] = "3e8\r\n";
    memset(chunk + 5, 'x', 1000);
    memcpy(chunk + 1005, "\r\n", 3);
    for (unsigned i = 0; i < 200; i++)
        say(chunk);
    expect_open();
    for (unsigned i = 0; i < 1000 && !peer.finished; i++)
        say(chunk);
    expect_end(true);

    restart(&config); /* chunks so small that their framing is nearly all */
    say(CHUNKED("/ignore", ""));
    expect_text(200, "Hello, World!");
    for (unsigned i = 0; i < 3000 && !peer.finished; i++) {
        char small[300];
        memset(small, 'e', sizeof small);
        memcpy(small, "1;", 2);
        memcpy(small + 240, "\r\nx\r\n", 6);
        say(small);
    }
    expect_end(true);
}
END_TEST

START_TEST(too_large_a_body_is_refused)
{
    struct rill_http_server_config config = {.limits = {.max_body_bytes = 20}};
    restart(&config);
    say(POST("/collect", "21", "abc"));
    expect_status(413);
    expect_end(true);
    restart(&config);
    say(CHUNKED("/collect", "a\r\n0123456789\r\n"));
    expect_open();
    say("b\r\n0123456789a\r\n");
    expect_status(413);
    expect_end(true);
    restart(&config);
    say(CHUNKED("/echo", "a\r\n0123456789\r\n")); /* too late for another status */
    say("b\r\n0123456789a\r\n");
    ck_assert(peer.finished || closed());
    ck_assert_ptr_null(strstr(peer.received, "413"));
    ck_assert_ptr_null(strstr(peer.received, "\r\n0\r\n\r\n"));

    restart(NULL); /* the handler's own limit */
    say(POST("/limited", "10", "0123456789"));
    expect_text(200, "10 bytes");
    say(POST("/limited", "11", "01234567890"));
    expect_status(413); /* small enough to be dropped */
    say(CHUNKED("/limited", "b\r\n01234567890\r\n0\r\n\r\n"));
    expect_status(413);
    expect_end(true);
}
END_TEST

START_TEST(a_handler_can_hold_the_sender_back)
{
    say(POST("/paused", "6", "abc"));
    uint64_t read = peer.read_total;
    ck_assert_uint_eq(web.body_bytes, 3);
    say("def");
    ck_assert_uint_eq(peer.read_total, read); /* left where it is */
    fake_http_pass(&web, 11);
    ck_assert_uint_eq(web.body_bytes, 6);
    expect_open();
    fake_http_pass(&web, 11);
    expect_text(200, "6 bytes");
    expect_open();
}
END_TEST

START_TEST(a_full_response_holds_the_sender_back)
{
    struct rill_http_server_config config = {.net = {.high_watermark = 1000, .low_watermark = 100}};
    restart(&config);
    peer.stalled = true;
    peer.read_max = 500;
    say("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    char *body = malloc(100001);
    for (size_t i = 0; i < 100000; i++)
        body[i] = (char)('A' + i % 53);
    body[100000] = '\0';
    say(body);
    ck_assert_uint_le(peer.read_total, 3000);
    for (unsigned i = 0; i < 2000; i++) {
        peer.room = 100;
        fake_http_settle(&web);
        ck_assert_uint_le(peer.read_total, peer.received_length + 3000);
    }
    const struct http_response *response = next();
    ck_assert_str_eq(response->content, body);
    free(body);
    expect_open();
}
END_TEST

/* --- response bodies --- */

START_TEST(streams_wait_for_room)
{
    struct rill_http_server_config config = {.net = {.high_watermark = 1000, .low_watermark = 100}};
    restart(&config);
    peer.stalled = true;
    say(GET("/stream/100/99"));
    ck_assert_uint_lt(rill_conn_buffered(peer.conn), 1500);
    for (unsigned i = 0; i < 1000; i++) {
        peer.room = 70;
        fake_http_settle(&web);
        ck_assert_uint_lt(rill_conn_buffered(peer.conn), 1500);
    }
    const struct http_response *response = next();
    ck_assert(response->chunked);
    ck_assert_uint_eq(response->content_length, 9900);
    expect_open();
    say(GET("/stream/0/5"));
    peer.stalled = false;
    fake_http_settle(&web);
    expect_text(200, "");
    say(GET("/stream/2/0") GET("/stream/3/1"));
    expect_text(200, "");
    expect_text(200, "aaa");
    expect_open();
}
END_TEST

START_TEST(a_length_that_was_said_holds)
{
    say(GET("/known/5/5"));
    expect_text(200, "abcde");
    ck_assert_uint_eq(web.too_long, 0);
    say(GET("/known/6/7")); /* the second piece is refused as a whole */
    ck_assert_uint_eq(web.too_long, 1);
    struct http_response response;
    ck_assert_int_eq(http_response_read(peer.received + cursor, peer.received_length - cursor, false, true, &response),
                     HTTP_RESPONSE_PART);
    ck_assert_str_eq(response.content, "abc");
    http_response_free(&response);
    ck_assert(peer.finished);
    again();
    say(GET("/hello") GET("/known/5/3") GET("/hello"));
    expect_text(200, "Hello, World!"); /* what was answered before arrives */
    ck_assert_int_eq(http_response_read(peer.received + cursor, peer.received_length - cursor, false, true, &response),
                     HTTP_RESPONSE_PART);
    ck_assert_str_eq(response.content, "abc");
    http_response_free(&response);
    ck_assert(peer.finished || closed());
}
END_TEST

START_TEST(http_1_0_bodies_of_unknown_length_end_with_the_connection)
{
    say("GET /stream/3/4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const struct http_response *response = next();
    ck_assert(response->close);
    ck_assert(!response->chunked);
    ck_assert_str_eq(response->content, "abcdabcdabcd");
    expect_end(false);
    again();
    say("HEAD /stream/3/4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    response = next_to(true);
    ck_assert(!response->chunked);
    expect_open();
}
END_TEST

START_TEST(responses_of_every_size_arrive_whole)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 7600, 7700, 8191, 8192, 8193, 20000, 300000};
    for (size_t i = 0; i < rill_array_length(sizes); i++) {
        char request[200];
        snprintf(request, sizeof request, GET("/bytes/%zu") GET("/buf/%zu"), sizes[i], sizes[i]);
        say(request);
        for (unsigned k = 0; k < 2; k++) {
            const struct http_response *response = next();
            ck_assert_uint_eq(response->content_length, sizes[i]);
            for (size_t at = 0; at < sizes[i]; at++)
                ck_assert_int_eq(response->content[at], (char)('a' + at % 26));
        }
        expect_open();
    }
}
END_TEST

/* --- later --- */

START_TEST(the_framework_answers_when_a_deadline_passes)
{
    say(GET("/deadline/100/1000"));
    fake_http_pass(&web, 90);
    expect_open();
    fake_http_pass(&web, 20);
    const struct http_response *response = next();
    ck_assert_uint_eq(response->status, 503);
    ck_assert_ptr_nonnull(http_response_field(response, "Retry-After", NULL).bytes);
    fake_http_pass(&web, 2000);
    ck_assert_uint_eq(web.late_calls, 0);
    expect_open();
    say(GET("/deadline/100/50"));
    fake_http_pass(&web, 60);
    expect_text(200, "later");
    fake_http_pass(&web, 200);
    expect_open();
    say(POST("/deadline/100/150", "4", "ab")); /* its body is still on the way then */
    fake_http_pass(&web, 110);
    expect_status(503);
    fake_http_pass(&web, 100);
    ck_assert_uint_eq(web.late_calls, 1);
    say("cd" GET("/hello"));
    expect_text(200, "Hello, World!");
    expect_open();
}
END_TEST

START_TEST(a_full_pool_is_503)
{
    struct rill_http_server_config config = {.net.worker_queue = 1};
    restart(&config);
    struct fake_peer other = {0};
    fake_http_open(&web, &other);
    fake_peer_send(&other, GET("/pool/a"), strlen(GET("/pool/a")));
    fake_peer_send(&peer, GET("/pool/b"), strlen(GET("/pool/b")));
    fake_conn_turn(web.loop);
    fake_http_settle(&web);
    const struct http_response *response = next(); /* the one opened first takes the room */
    ck_assert_uint_eq(response->status, 200);
    ck_assert_ptr_nonnull(strstr(other.received, " 503 "));
    ck_assert_ptr_nonnull(strstr(other.received, "Retry-After: "));
    ck_assert_uint_eq(web.submitted, 2);
    ck_assert_uint_eq(web.destroyed, 2);
    ck_assert_uint_eq(fake_overload.refused, 1); /* the server is told, and how the other one ended */
    ck_assert_uint_eq(fake_overload.answered, 1);
    fake_peer_send(&other, GET("/pool/c"), strlen(GET("/pool/c")));
    fake_conn_turn(web.loop);
    fake_workers_end_one(web.workers, RILL_JOB_EXPIRED);
    fake_http_settle(&web);
    ck_assert_ptr_nonnull(strstr(strstr(other.received, " 503 ") + 5, " 503 "));
    fake_peer_reset(&other);
    fake_http_settle(&web);
    fake_peer_free(&other);
}
END_TEST

START_TEST(an_overloaded_server_refuses_requests_and_keeps_connections)
{
    fake_overload.refusing = true;
    say(GET("/hello"));
    const struct http_response *response = next();
    ck_assert_uint_eq(response->status, 503);
    ck_assert_ptr_nonnull(http_response_field(response, "Retry-After", NULL).bytes);
    say(POST("/echo", "4", "abcd"));
    expect_status(503);
    ck_assert_uint_eq(web.started, 0);
    ck_assert_uint_eq(fake_overload.refused, 2);
    fake_overload.refusing = false;
    say(GET("/hello"));
    expect_text(200, "Hello, World!");
    expect_open();
    ck_assert_uint_eq(rill_http_loop_of(web.loop)->stats.refused, 2);
}
END_TEST

START_TEST(so_many_requests_are_in_flight_at_a_time)
{
    struct rill_http_server_config config = {.max_requests = 2};
    struct fake_peer others[3] = {0};
    restart(&config);
    for (unsigned i = 0; i < 3; i++) {
        fake_http_open(&web, &others[i]);
        fake_peer_send(&others[i], GET("/later/1000"), strlen(GET("/later/1000")));
        fake_http_settle(&web);
    }
    ck_assert_uint_eq(others[1].received_length, 0);
    ck_assert_ptr_nonnull(strstr(others[2].received, " 503 "));
    say(GET("/hello"));
    expect_status(503); /* who knows beforehand that it is answered at once? */
    fake_http_break(&web, &others[0]);
    fake_http_settle(&web);
    say(GET("/hello"));
    expect_text(200, "Hello, World!");
    fake_peer_forget(&others[2]);
    fake_peer_send(&others[2], GET("/later/1000"), strlen(GET("/later/1000")));
    fake_http_pass(&web, 2000);
    ck_assert_ptr_nonnull(strstr(others[1].received, " 200 "));
    ck_assert_ptr_nonnull(strstr(others[2].received, " 200 "));
    ck_assert_uint_eq(web.server.in_flight, 0);
    ck_assert_uint_eq(fake_overload.refused, 2);
    for (unsigned i = 0; i < 3; i++) {
        fake_peer_reset(&others[i]);
        fake_http_settle(&web);
        fake_peer_free(&others[i]);
    }
}
END_TEST

/* --- what a session waits for, as the server asks when it lacks room --- */

static void expect_awaits(enum rill_awaits what, uint64_t least_ms, uint64_t most_ms)
{
    uint64_t waited_ms = 0;
    ck_assert_int_eq(rill_session_handler.awaits(peer.conn, &waited_ms), what);
    if (what != RILL_AWAITS_PROGRAM) {
        ck_assert_uint_ge(waited_ms, least_ms);
        ck_assert_uint_le(waited_ms, most_ms);
    }
}

START_TEST(a_session_knows_what_it_waits_for)
{
    fake_http_pass(&web, 700);
    expect_awaits(RILL_AWAITS_REQUEST, 600, 800); /* nothing has come yet */
    say("GET /hello HTT");
    fake_http_pass(&web, 400);
    expect_awaits(RILL_AWAITS_PEER, 300, 500);
    say("P/1.1\r\n" HOST "\r\n");
    expect_text(200, "Hello, World!");
    fake_http_pass(&web, 1500);
    expect_awaits(RILL_AWAITS_REQUEST, 1400, 1600);
    say(GET("/later/2000"));
    fake_http_pass(&web, 1000);
    expect_awaits(RILL_AWAITS_PROGRAM, 0, 0);
    fake_http_pass(&web, 1100);
    expect_text(200, "later");
    say(POST("/collect", "3000", "a"));
    fake_http_pass(&web, 1000);
    expect_awaits(RILL_AWAITS_PEER, 900, 1100);
    char piece[1001];
    memset(piece, 'b', 1000);
    piece[1000] = 0;
    say(piece);
    expect_awaits(RILL_AWAITS_PROGRAM, 0, 0); /* at its rate */
    fake_http_pass(&web, 3000);
    expect_awaits(RILL_AWAITS_PEER, 3900, 4100);
}
END_TEST

START_TEST(ids_go_stale)
{
    struct rill_exchange_id none = {{0}, 0};
    ck_assert_ptr_null(rill_exchange_find(web.loop, none));
    say(GET("/kept"));
    struct rill_exchange_id first = web.kept;
    ck_assert_ptr_nonnull(rill_exchange_find(web.loop, first));
    ck_assert(fake_http_answer_kept(&web, 3));
    ck_assert_ptr_null(rill_exchange_find(web.loop, first));
    ck_assert(!fake_http_answer_kept(&web, 3));
    fake_http_settle(&web);
    expect_text(200, "piecepiecepiece");
    say(GET("/kept")); /* the same connection, another exchange */
    struct rill_exchange_id second = web.kept;
    ck_assert_ptr_null(rill_exchange_find(web.loop, first));
    ck_assert_ptr_nonnull(rill_exchange_find(web.loop, second));
    fake_peer_reset(&peer);
    fake_http_break(&web, &peer);
    ck_assert_ptr_null(rill_exchange_find(web.loop, second));
    fake_http_settle(&web);
    struct fake_peer other = {0}; /* the same slots, another connection */
    fake_http_open(&web, &other);
    fake_peer_send(&other, GET("/kept"), strlen(GET("/kept")));
    fake_http_settle(&web);
    ck_assert_ptr_null(rill_exchange_find(web.loop, first));
    ck_assert_ptr_null(rill_exchange_find(web.loop, second));
    ck_assert_ptr_nonnull(rill_exchange_find(web.loop, web.kept));
    fake_http_break(&web, &other);
    fake_http_settle(&web);
    fake_peer_free(&other);
}
END_TEST

START_TEST(answers_that_come_after_the_connection_died_are_dropped)
{
    static const char *const requests[] = {GET("/later/50"),
                                           GET("/abort/later"),
                                           GET("/deadline/50/60"),
                                           GET("/never"),
                                           GET("/stream/1000/1000"),
                                           POST("/paused", "9", "abc"),
                                           POST("/late-read", "9", "abc"),
                                           POST("/collect", "9", "abc"),
                                           POST("/echo", "9", "abc"),
                                           POST("/ignore", "9", "abc"),
                                           "GET /hel"};
    for (size_t i = 0; i < rill_array_length(requests); i++) {
        again();
        peer.stalled = true;
        peer.room = 10;
        say(requests[i]);
        fake_http_break(&web, &peer);
        unsigned started = web.started;
        fake_http_pass(&web, 200);
        ck_assert_uint_eq(web.cleaned, started);
        ck_assert_uint_eq(web.late_calls, 0);
    }
    again();
    fake_peer_send(&peer, GET("/pool/x"), strlen(GET("/pool/x")));
    fake_conn_turn(web.loop);
    ck_assert_uint_eq(web.submitted, 1);
    fake_http_break(&web, &peer);
    fake_conn_turn(web.loop);
    ck_assert_uint_eq(web.cleaned, 1);
    ck_assert_uint_eq(web.destroyed, 0);
    fake_http_settle(&web);
    ck_assert_uint_eq(web.destroyed, 1);
}
END_TEST

/* --- memory that runs out --- */

START_TEST(no_memory_ends_at_most_the_connection)
{
    const char *sample = samples[_i];
    for (uint64_t n = 1;; n++) {
        again();
        faulty_memory_fails_at(n);
        say(sample);
        fake_http_pass(&web, 400);
        uint64_t failed = faulty_sys.failed;
        faulty_sys.fail_after = 0;
        size_t at = 0;
        while (at < peer.received_length) {
            struct http_response response;
            enum http_response_result result =
                http_response_read(peer.received + at, peer.received_length - at, false, closed(), &response);
            bool head = false;
            if (strncmp(sample, "HEAD", 4) == 0 && at == 0) {
                http_response_free(&response);
                head = true;
                result = http_response_read(peer.received + at, peer.received_length - at, true, closed(), &response);
            }
            (void)head;
            ck_assert_msg(result != HTTP_RESPONSE_MALFORMED, "%s after failure %u of\n%s\n%s", response.why,
                          (unsigned)n, sample, peer.received + at);
            ck_assert_msg(result == HTTP_RESPONSE_WHOLE || closed() || peer.finished, "an open end");
            at = result == HTTP_RESPONSE_WHOLE ? at + response.length : peer.received_length;
            http_response_free(&response);
        }
        if (failed == 0)
            break;
    }
}
END_TEST

/* Whoever comes back on its own way is told, too, and may go on as if nothing had happened until it returns. */
START_TEST(no_memory_on_an_own_way)
{
    for (uint64_t n = 1;; n++) {
        again();
        say(GET("/kept"));
        faulty_memory_fails_at(n);
        fake_http_answer_kept(&web, 3);
        uint64_t failed = faulty_sys.failed;
        faulty_sys.fail_after = 0;
        fake_http_settle(&web);
        ck_assert_uint_eq(closed(), failed > 0);
        ck_assert_uint_eq(web.cleaned, 1);
        if (failed == 0)
            break;
    }
}
END_TEST

/* --- the ends of connections --- */

START_TEST(a_client_that_has_ended_still_gets_its_answers)
{
    fake_peer_send(&peer, GET("/later/50"), strlen(GET("/later/50")));
    end_of_client();
    fake_http_pass(&web, 100);
    expect_text(200, "later");
    ck_assert(closed());
    again();
    fake_peer_send(&peer, GET("/later/50") GET("/hello"), strlen(GET("/later/50") GET("/hello")));
    end_of_client();
    fake_http_pass(&web, 100);
    expect_text(200, "later");
    expect_text(200, "Hello, World!");
    ck_assert(closed());
    again();
    say(POST("/collect", "3", "abc") "\r\n");
    end_of_client();
    expect_text(200, "3 bytes");
    ck_assert(closed());
    again();
    end_of_client();
    expect_nothing_more();
    ck_assert(closed());
}
END_TEST

/* What was answered before the end leaves, however slowly it is taken. */
START_TEST(an_end_does_not_cut_responses_off)
{
    static const char *const rests[] = {"",
                                        "\r\n",
                                        "GET /hel",
                                        POST("/collect", "9", "abc"),
                                        POST("/ignore", "9", "abc"),
                                        GET("/known/5/3"),
                                        GET("/abort/before")};
    for (size_t i = 0; i < rill_array_length(rests); i++) {
        again();
        peer.stalled = true;
        say(GET("/bytes/100000"));
        say(rests[i]);
        end_of_client();
        for (unsigned k = 0; k < 100; k++) {
            peer.room = 5000;
            fake_http_settle(&web);
        }
        ck_assert_msg(peer.received_length > 100000, "cut off by %s", rests[i]);
        ck_assert_uint_eq(next()->content_length, 100000);
        ck_assert_msg(closed(), "still open after %s", rests[i]);
    }
}
END_TEST

START_TEST(a_request_that_breaks_off_ends_its_exchange)
{
    static const char *const requests[] = {"GET /hello HT",
                                           POST("/collect", "9", "abc"),
                                           POST("/echo", "9", "abc"),
                                           CHUNKED("/collect", "9\r\nabc"),
                                           CHUNKED("/echo", "9\r\nabc"),
                                           POST("/ignore", "9", "abc")};
    for (size_t i = 0; i < rill_array_length(requests); i++) {
        again();
        say(requests[i]);
        end_of_client();
        fake_http_settle(&web);
        ck_assert(closed());
        ck_assert_uint_eq(web.bodies_ended, 0);
        ck_assert_uint_eq(web.started, web.cleaned);
        ck_assert_ptr_null(peer.received ? strstr(peer.received, "\r\n0\r\n\r\n") : NULL);
    }
}
END_TEST

START_TEST(a_handler_that_never_answers)
{
    say(GET("/never") GET("/hello"));
    fake_http_pass(&web, 1000000);
    expect_open(); /* no deadline was wanted */
    end_of_client();
    fake_http_pass(&web, 1000);
    expect_nothing_more();
    fake_http_break(&web, &peer);
    fake_http_settle(&web);
    ck_assert_uint_eq(web.cleaned, 1);
}
END_TEST

/* --- time --- */

START_TEST(slow_heads_are_408)
{
    say("GET /hello HTTP/1.1\r\n");
    for (unsigned i = 0; i < 9; i++) {
        fake_http_pass(&web, 1000);
        say("A: 1\r\n");
    }
    expect_open();
    fake_http_pass(&web, 1100);
    const struct http_response *response = next();
    ck_assert_uint_eq(response->status, 408);
    ck_assert(response->close);
    expect_end(true);
    again();
    fake_http_pass(&web, 10100); /* never said a word */
    expect_end(false);
    ck_assert(closed());
    again();
    say(GET("/hello"));
    expect_text(200, "Hello, World!");
    fake_http_pass(&web, 59000);
    expect_open();
    fake_http_pass(&web, 1100);
    expect_end(false);
    ck_assert(closed());
}
END_TEST

START_TEST(slow_bodies_are_408)
{
    say("POST /collect HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    char piece[8001];
    memset(piece, 'x', 8000);
    piece[8000] = '\0';
    for (unsigned i = 0; i < 4; i++) { /* 16000 bytes in 30 s are just above 500 a second */
        say(piece);
        fake_http_pass(&web, 14990);
        say(piece);
        fake_http_pass(&web, 14990);
        expect_open();
    }
    say("x");
    fake_http_pass(&web, 31000);
    expect_status(408);
    expect_end(true);

    again(); /* in the middle of an answer: nothing more can be said */
    say("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nx");
    fake_http_pass(&web, 31000);
    ck_assert(peer.finished || closed());
    ck_assert_ptr_null(strstr(peer.received, "408"));

    again(); /* while it is dropped */
    say("POST /ignore HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nx");
    expect_text(200, "Hello, World!");
    fake_http_pass(&web, 31000);
    expect_nothing_more();
    ck_assert(peer.finished || closed());

    again(); /* the handler's own time does not count */
    say(POST("/never", "100", "x"));
    fake_http_pass(&web, 100000);
    expect_open();
}
END_TEST

/* --- the server stops --- */

START_TEST(a_drain_lets_exchanges_finish)
{
    fake_http_drain(&web); /* nothing yet: a request may be on its way */
    say(GET("/hello"));
    const struct http_response *response = next();
    ck_assert_uint_eq(response->status, 200);
    ck_assert(response->close);
    ck_assert(peer.finished);

    again();
    fake_http_drain(&web);
    fake_http_pass(&web, 260);
    expect_end(false);
    ck_assert(closed());

    again();
    say("GET /hel");
    fake_http_drain(&web);
    say("lo HTTP/1.1\r\n" HOST "\r\n" GET("/hello"));
    ck_assert(next()->close);
    expect_nothing_more();
    ck_assert(peer.finished);

    again();
    say(GET("/later/100"));
    fake_http_drain(&web);
    fake_http_pass(&web, 50);
    expect_open();
    fake_http_pass(&web, 100);
    ck_assert(next()->close);
    expect_nothing_more();
    ck_assert(peer.finished);

    again(); /* the head has left without `close` */
    peer.stalled = true;
    say(GET("/stream/500/1000"));
    fake_http_drain(&web);
    peer.stalled = false;
    fake_http_settle(&web);
    ck_assert_uint_eq(next()->content_length, 500000);
    expect_nothing_more();
    ck_assert(peer.finished);

    again(); /* a body on its way */
    say(POST("/collect", "6", "abc"));
    fake_http_drain(&web);
    say("def");
    expect_text(200, "6 bytes");
    ck_assert(peer.finished);

    again(); /* one that is dropped */
    say(POST("/ignore", "6", "abc"));
    expect_text(200, "Hello, World!");
    fake_http_drain(&web);
    say("def");
    expect_nothing_more();
    ck_assert(peer.finished);

    again(); /* on its way out already */
    say("nonsense\r\n\r\n");
    fake_http_drain(&web);
    expect_status(400);
    expect_end(true);
}
END_TEST

/* --- */

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, states_change_as_the_table_says);
    tcase_add_test(tcase, a_session_goes_through_its_states);
    tcase_add_loop_test(tcase, a_split_changes_nothing, 0, (int)rill_array_length(samples));
    tcase_add_loop_test(tcase, a_slow_reader_changes_nothing, 0, (int)rill_array_length(samples));
    tcase_add_test(tcase, pipelined_requests_are_answered_in_order);
    tcase_add_test(tcase, keep_alive_follows_version_and_connection);
    tcase_add_test(tcase, head_says_what_get_would);
    tcase_add_test(tcase, options_and_wrong_methods_name_the_methods);
    tcase_add_test(tcase, what_is_no_final_status_is_500);
    tcase_add_test(tcase, header_fields_are_checked);
    tcase_add_test(tcase, an_empty_line_may_come_first);
    tcase_add_test(tcase, malformed_requests_get_one_reply_and_nothing_after_it);
    tcase_add_test(tcase, limits_have_their_statuses);
    tcase_add_test(tcase, continue_is_sent_once_to_whoever_waits);
    tcase_add_test(tcase, a_final_status_instead_of_continue_closes);
    tcase_add_test(tcase, an_aborted_response_takes_no_other_with_it);
    tcase_add_test(tcase, bodies_are_read);
    tcase_add_test(tcase, a_body_nobody_reads_is_dropped);
    tcase_add_test(tcase, a_large_body_nobody_reads_ends_the_connection);
    tcase_add_test(tcase, too_large_a_body_is_refused);
    tcase_add_test(tcase, a_handler_can_hold_the_sender_back);
    tcase_add_test(tcase, a_full_response_holds_the_sender_back);
    tcase_add_test(tcase, streams_wait_for_room);
    tcase_add_test(tcase, a_length_that_was_said_holds);
    tcase_add_test(tcase, http_1_0_bodies_of_unknown_length_end_with_the_connection);
    tcase_add_test(tcase, responses_of_every_size_arrive_whole);
    tcase_add_test(tcase, the_framework_answers_when_a_deadline_passes);
    tcase_add_test(tcase, a_full_pool_is_503);
    tcase_add_test(tcase, ids_go_stale);
    tcase_add_test(tcase, an_overloaded_server_refuses_requests_and_keeps_connections);
    tcase_add_test(tcase, so_many_requests_are_in_flight_at_a_time);
    tcase_add_test(tcase, a_session_knows_what_it_waits_for);
    tcase_add_test(tcase, answers_that_come_after_the_connection_died_are_dropped);
    tcase_add_loop_test(tcase, no_memory_ends_at_most_the_connection, 0, (int)rill_array_length(samples));
    tcase_add_test(tcase, no_memory_on_an_own_way);
    tcase_add_test(tcase, a_client_that_has_ended_still_gets_its_answers);
    tcase_add_test(tcase, an_end_does_not_cut_responses_off);
    tcase_add_test(tcase, a_request_that_breaks_off_ends_its_exchange);
    tcase_add_test(tcase, a_handler_that_never_answers);
    tcase_add_test(tcase, slow_heads_are_408);
    tcase_add_test(tcase, slow_bodies_are_408);
    tcase_add_test(tcase, a_drain_lets_exchanges_finish);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
