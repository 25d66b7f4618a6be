/* test_mt_http.c - a whole HTTP server with its threads under mixed load from client threads, stopped in the middle of
 * it: nobody who has sent a whole request goes without an answer. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/server.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"
#include "support/http_response.h"
#include "support/must.h"
#include <arpa/inet.h>
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

enum { CLIENTS = 6, MOST_PIPELINED = 4, ENOUGH = 1500 };

static struct rill_router *router;
static struct rill_http_server *server;
static pthread_t server_thread;

static unsigned stopping;       /* atomic: set before the server is told */
static unsigned answered;       /* atomic: responses that came whole */
static unsigned begun, cleaned; /* atomic: exchanges */

#define LOAD(variable) __atomic_load_n(&(variable), __ATOMIC_SEQ_CST)
#define ADD(variable) __atomic_add_fetch(&(variable), 1, __ATOMIC_SEQ_CST)

/* --- the handlers --- */

static void clean_up(void *arg)
{
    (void)arg;
    ADD(cleaned);
}

static void begin(struct rill_exchange *x)
{
    MUST(rill_arena_on_reset(rill_exchange_arena(x), clean_up, NULL) == 0);
    ADD(begun);
}

static void hello(struct rill_exchange *x, void *arg)
{
    (void)arg;
    begin(x);
    rill_exchange_reply_text(x, 200, "hello");
}

static void slept(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "slept");
}

static void do_sleep(struct rill_exchange *x, void *arg)
{
    (void)arg;
    begin(x);
    struct rill_slice ms = rill_exchange_param(x, "ms");
    rill_exchange_after(x, (uint64_t)(ms.bytes[0] - '0'), slept, NULL);
}

struct work {
    uint64_t sum;
    size_t length;
    char text[40];
};

static void work_run(void *arg)
{
    struct work *work = arg;
    for (unsigned round = 0; round < 200; round++)
        for (size_t i = 0; i < work->length; i++)
            work->sum = work->sum * 31 + (unsigned char)work->text[i];
    snprintf(work->text, sizeof work->text, "%016llx", (unsigned long long)work->sum);
}

static void hash(struct rill_exchange *x, void *arg)
{
    (void)arg;
    begin(x);
    struct rill_slice text = rill_exchange_param(x, "text");
    struct work *work = calloc(1, sizeof *work);
    MUST(work && text.length < sizeof work->text);
    memcpy(work->text, text.bytes, text.length);
    work->length = text.length;
    rill_exchange_work(
        x, &(struct rill_work){
               .run = work_run, .done = rill_work_reply_text, .destroy = free, .arg = work}); /* the text comes last */
}

static void on_echo(struct rill_exchange *x, void *arg, struct rill_slice bytes, bool end)
{
    (void)arg;
    if (end)
        rill_exchange_end(x);
    else if (rill_exchange_write(x, bytes.bytes, bytes.length) < 0)
        rill_exchange_abort(x);
}

static void echo(struct rill_exchange *x, void *arg)
{
    begin(x);
    rill_exchange_read_body(x, on_echo, arg);
    rill_exchange_begin(x, 200, "text/plain", rill_exchange_content_length(x));
}

static void *serve(void *arg)
{
    (void)arg;
    MUST(rill_http_server_run(server, false) == 0);
    return NULL;
}

static void start(unsigned threads, enum rill_accept_mode accept_mode)
{
    static const struct rill_route routes[] = {{"GET", "/hello", hello, NULL},
                                               {"GET", "/sleep/:ms", do_sleep, NULL},
                                               {"GET", "/hash/:text", hash, NULL},
                                               {"POST", "/echo", echo, NULL},
                                               {NULL, NULL, NULL, NULL}};
    int error;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    stopping = answered = begun = cleaned = 0;
    router = rill_router_new();
    MUST(router && rill_router_add_all(router, routes) == 0);
    struct rill_http_server_config config = {
        .router = router,
        .net = {.listen = "127.0.0.1:0", .threads = (int)threads, .accept = accept_mode, .workers = 2}};
    server = rill_http_server_new(&config, &error);
    MUST(server);
    MUST(pthread_create(&server_thread, NULL, serve, NULL) == 0);
}

/* Stops the server and waits for it; it is freed when no client asks for its port any more. */
static void stop(bool now)
{
    __atomic_store_n(&stopping, 1, __ATOMIC_SEQ_CST);
    rill_http_server_stop(server, now);
    pthread_join(server_thread, NULL);
}

static void free_server(void)
{
    rill_http_server_free(server);
    rill_router_free(router);
}

/* --- the clients --- */

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    address.sin_port = htons((uint16_t)rill_server_port(rill_http_server_net(server), 0));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

struct request {
    char text[2600];
    char expected[2048];
    bool exact; /* else only that there is an answer */
};

static void make_request(struct request *request, struct test_random *random)
{
    size_t n;
    char *expected = request->expected;
    request->exact = true;
    switch (test_random_below(random, 4)) {
    case 0:
        strcpy(request->text, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
        strcpy(expected, "hello");
        break;
    case 1:
        snprintf(request->text, sizeof request->text, "GET /sleep/%zu HTTP/1.1\r\nHost: a\r\n\r\n",
                 test_random_below(random, 10));
        strcpy(expected, "slept");
        break;
    case 2:
        snprintf(request->text, sizeof request->text, "GET /hash/%zu HTTP/1.1\r\nHost: a\r\n\r\n",
                 test_random_below(random, 1000));
        request->exact = false;
        break;
    default:
        n = test_random_below(random, sizeof request->expected - 1);
        for (size_t i = 0; i < n; i++)
            expected[i] = (char)('a' + test_random_below(random, 26));
        expected[n] = '\0';
        snprintf(request->text, sizeof request->text, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s",
                 n, expected);
    }
}

static bool send_all(int fd, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        text += sent;
        length -= (size_t)sent;
    }
    return true;
}

struct reader {
    int fd;
    size_t length;
    char bytes[1 << 16];
};

/* Reads a whole response. False when the connection ends before its first byte. */
static bool read_response(struct reader *reader, const struct request *request, bool *close_said)
{
    for (;;) {
        struct http_response response;
        enum http_response_result result = http_response_read(reader->bytes, reader->length, false, false, &response);
        MUST(result != HTTP_RESPONSE_MALFORMED);
        if (result == HTTP_RESPONSE_WHOLE) {
            MUST(response.status == 200);
            MUST(!request->exact || strcmp(response.content, request->expected) == 0);
            *close_said = response.close;
            reader->length -= response.length;
            memmove(reader->bytes, reader->bytes + response.length, reader->length);
            http_response_free(&response);
            ADD(answered);
            return true;
        }
        http_response_free(&response);
        ssize_t got = recv(reader->fd, reader->bytes + reader->length, sizeof reader->bytes - reader->length, 0);
        if (got <= 0) {
            MUST(reader->length == 0); /* nobody is left with half an answer */
            return false;
        }
        reader->length += (size_t)got;
    }
}

/* One connection's worth of requests. False when there is no server any more. */
static bool use_connection(struct test_random *random, struct reader *reader)
{
    static _Thread_local struct request requests[MOST_PIPELINED];
    reader->fd = dial();
    reader->length = 0;
    if (reader->fd < 0) {
        MUST(LOAD(stopping));
        return false;
    }
    bool close_said = false;
    for (size_t rounds = 1 + test_random_below(random, 8); rounds > 0 && !close_said; rounds--) {
        size_t count = 1 + test_random_below(random, MOST_PIPELINED);
        static _Thread_local char all[MOST_PIPELINED * sizeof requests[0].text];
        all[0] = '\0';
        for (size_t i = 0; i < count; i++) {
            make_request(&requests[i], random);
            strcat(all, requests[i].text);
        }
        bool sent = send_all(reader->fd, all);
        bool owed = sent && !LOAD(stopping); /* so it was sent before the stop */
        if (test_random_below(random, 16) == 0)
            break; /* and never comes back */
        for (size_t i = 0; i < count && !close_said; i++) {
            bool came = read_response(reader, &requests[i], &close_said);
            MUST(came || !owed || i > 0);
            if (!came) {
                MUST(LOAD(stopping));
                close_said = true;
            }
        }
    }
    close(reader->fd);
    return true;
}

static void *client(void *arg)
{
    struct test_random random = {(uintptr_t)arg};
    struct reader *reader = malloc(sizeof *reader);
    MUST(reader);
    while (use_connection(&random, reader) && !LOAD(stopping))
        ;
    free(reader);
    return NULL;
}

static void load_and_stop(void)
{
    pthread_t clients[CLIENTS];
    for (uintptr_t i = 0; i < CLIENTS; i++)
        MUST(pthread_create(&clients[i], NULL, client, (void *)(i + 1)) == 0);
    while (LOAD(answered) < ENOUGH)
        usleep(1000);
    stop(false);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    free_server();
    ck_assert_uint_ge(answered, ENOUGH);
    ck_assert_uint_eq(begun, cleaned);
}

START_TEST(no_response_is_lost_when_the_server_drains)
{
    static const struct {
        unsigned threads;
        enum rill_accept_mode accept;
    } ways[] = {{0, RILL_ACCEPT_ROUND_ROBIN},
                {3, RILL_ACCEPT_ROUND_ROBIN},
                {2, RILL_ACCEPT_LEAST_CONNECTIONS},
                {2, RILL_ACCEPT_REUSEPORT}};
    start(ways[_i].threads, ways[_i].accept);
    load_and_stop();
}
END_TEST

/* Stopped at once: connections break, and everything is given back all the same. */
static void *rude_client(void *arg)
{
    struct test_random random = {(uintptr_t)arg};
    struct request request;
    for (;;) {
        int fd = dial();
        if (fd < 0)
            return NULL;
        bool sent = true;
        while (sent) {
            char bytes[4096];
            make_request(&request, &random);
            sent = send_all(fd, request.text);
            if (test_random_below(&random, 4) == 0)
                break;
            sent = sent && recv(fd, bytes, sizeof bytes, 0) > 0;
            if (sent)
                ADD(answered);
        }
        close(fd);
    }
}

START_TEST(a_stop_at_once_gives_everything_back)
{
    pthread_t clients[CLIENTS];
    start(2, RILL_ACCEPT_ROUND_ROBIN);
    for (uintptr_t i = 0; i < CLIENTS; i++)
        MUST(pthread_create(&clients[i], NULL, rude_client, (void *)(i + 1)) == 0);
    while (LOAD(answered) < ENOUGH)
        usleep(1000);
    stop(true);
    ck_assert_uint_eq(LOAD(begun), LOAD(cleaned));
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    free_server();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mt_http");
    TCase *tcase = tcase_create("mt_http");
    tcase_add_loop_test(tcase, no_response_is_lost_when_the_server_drains, 0, 4);
    tcase_add_test(tcase, a_stop_at_once_gives_everything_back);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
