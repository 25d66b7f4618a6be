/* client.c - one connection of the generator: sends requests, checks what comes back, and connects again when it has
 * to. What a response is judged by is in answered(); everything else that can happen is an error of its kind. */
#include "bench.h"
#include <errno.h>

/* A request that was sent. */
struct sent {
    uint64_t sent_ns, intended_ns;
    bool head;
};

struct bench_client {
    struct bench_thread *thread;
    const struct bench_plan *plan;
    struct bench_client *next_waiting;
    struct rill_conn *conn;       /* NULL while there is none */
    struct rill_connect *connect; /* while it is under way */
    struct rill_timer again;      /* until the next attempt */
    unsigned number, attempts;
    unsigned first, outstanding; /* of `sent`, a ring */
    bool closing, in_body, in_response;
    bool waiting; /* in the thread's list */
    uint64_t body_length, body_hash;
    struct rill_parser parser;
    struct sent sent[]; /* plan->pipeline of them */
};

static const struct rill_conn_handler handler;

static const struct rill_parser_limits no_limits = {.max_request_line_bytes = 65536,
                                                    .max_header_bytes = 262144,
                                                    .max_headers = RILL_PARSER_MAX_HEADERS,
                                                    .max_chunk_extension_bytes = 65536,
                                                    .max_trailer_bytes = 65536,
                                                    .max_body_bytes = UINT64_MAX};

size_t bench_client_size(const struct bench_plan *plan)
{
    size_t size = sizeof(struct bench_client) + plan->pipeline * sizeof(struct sent);
    return (size + 63) & ~(size_t)63;
}

struct bench_client **bench_client_link(struct bench_client *client)
{
    return &client->next_waiting;
}

/* --- connecting --- */

static void connect_again(struct rill_timer *timer)
{
    bench_client_open(rill_container_of(timer, struct bench_client, again));
}

/* After failures it waits longer and longer, up to half a second: a server that is gone is not to be flooded. */
static void connect_later(struct bench_client *client)
{
    uint64_t delay_ms = client->attempts == 0 ? 0 : client->attempts > 6 ? 500 : 5u << client->attempts;
    if (!client->closing)
        rill_loop_arm(bench_thread_loop(client->thread), &client->again, delay_ms);
}

static void on_failed(int error, const char *why, void *arg)
{
    struct bench_client *client = arg;
    client->connect = NULL;
    client->attempts++;
    bench_thread_no_connection(client->thread, why);
    bench_thread_failed(client->thread, error == -ETIMEDOUT ? BENCH_TIMEOUT : BENCH_CONNECT, 1);
    connect_later(client);
}

static void on_connected(struct rill_conn *conn, void *arg)
{
    struct bench_client *client = arg;
    client->connect = NULL;
    client->conn = conn;
    client->attempts = 0;
    bench_thread_connected(client->thread);
}

void bench_client_open(struct bench_client *client)
{
    static const struct rill_conn_config conn_config = {.handler = &handler, .max_input_bytes = 1 << 20};
    struct rill_addr source = {.length = 0};
    struct rill_connect_config config = {.addrs = &client->plan->address,
                                         .addr_count = 1,
                                         .timeout_ms = client->plan->timeout_ms,
                                         .conn = &conn_config,
                                         .user = client,
                                         .on_connected = on_connected,
                                         .on_failed = on_failed,
                                         .arg = client};
    if (client->plan->sources) { /* 127.0.0.2 and up, so that there are ports for all */
        source.socket.v4.sin_family = AF_INET;
        source.socket.v4.sin_addr.s_addr = htonl(0x7f000002 + client->number % client->plan->sources);
        source.length = sizeof source.socket.v4;
        config.source = &source;
    }
    if (client->closing)
        return;
    int error = rill_connect(bench_thread_loop(client->thread), &config, &client->connect);
    if (error < 0)
        on_failed(error, strerror(-error), client);
}

/* --- sending --- */

static void send_one(struct bench_client *client, unsigned number, uint64_t now_ns, uint64_t intended_ns)
{
    const struct bench_plan *plan = client->plan;
    const struct bench_request *request = &plan->requests[plan->order[number]];
    unsigned at = client->first + client->outstanding;
    struct sent *sent = &client->sent[at < plan->pipeline ? at : at - plan->pipeline];
    *sent = (struct sent){now_ns, intended_ns, request->head};
    client->outstanding++;
    rill_conn_send(client->conn, request->bytes, request->length); /* an error closes: on_close tells */
}

void bench_client_feed(struct bench_client *client)
{
    const struct bench_plan *plan = client->plan;
    unsigned depth = plan->new_connection ? 1 : plan->pipeline;
    if (client->waiting || !client->conn)
        return;
    uint64_t now_ns = rill_clock_ns();
    rill_conn_set_deadline(client->conn, plan->timeout_ms);
    while (client->conn && client->outstanding < depth && rill_conn_is_open(client->conn)) {
        uint64_t intended_ns;
        int number = bench_thread_next(client->thread, now_ns, &intended_ns);
        if (number < 0) {
            client->waiting = bench_thread_wait(client->thread, client);
            break;
        }
        send_one(client, (unsigned)number, now_ns, intended_ns);
    }
}

void bench_client_wake(struct bench_client *client)
{
    client->waiting = false;
    bench_client_feed(client);
}

static void on_open(struct rill_conn *conn)
{
    struct bench_client *client = rill_conn_user(conn);
    rill_parser_reset(&client->parser);
    client->first = client->outstanding = 0;
    client->in_body = client->in_response = false;
    bench_client_feed(client);
}

/* --- receiving --- */

/* Ends the connection; what was outstanding went wrong as ERROR says. */
static void fail(struct bench_client *client, enum bench_error error)
{
    struct rill_conn *conn = client->conn;
    unsigned lost = client->outstanding ? client->outstanding : error == BENCH_UNASKED;
    client->conn = NULL;
    client->outstanding = 0;
    bench_thread_failed(client->thread, error, lost);
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    connect_later(client);
}

/* The response to the oldest request has come, whole. */
static void answered(struct bench_client *client, uint64_t now_ns)
{
    const struct bench_plan *plan = client->plan;
    struct sent sent = client->sent[client->first];
    unsigned code = client->parser.code;
    client->first = client->first + 1 < plan->pipeline ? client->first + 1 : 0;
    client->outstanding--;
    client->in_response = false;
    if (plan->protocol == BENCH_HTTP) {
        bench_thread_writes(client->thread)->status[code < 600 ? code / 100 : 0]++;
        if (plan->status ? code != plan->status : code < 200 || code >= 400)
            bench_thread_failed(client->thread, BENCH_STATUS, 1);
        else if (plan->length != UINT64_MAX && client->body_length != plan->length && !sent.head)
            bench_thread_failed(client->thread, BENCH_LENGTH, 1);
        else if (plan->check_hash && client->body_hash != plan->hash && !sent.head)
            bench_thread_failed(client->thread, BENCH_BODY, 1);
        else
            bench_thread_answered(client->thread, sent.sent_ns, sent.intended_ns, now_ns);
    } else {
        bench_thread_answered(client->thread, sent.sent_ns, sent.intended_ns, now_ns);
    }
}

/* The last response on this connection: the next request takes a new one. */
static void leave(struct bench_client *client)
{
    struct rill_conn *conn = client->conn;
    if (client->outstanding) /* pipelined behind it, and never to be answered */
        bench_thread_failed(client->thread, BENCH_RESET, client->outstanding);
    client->conn = NULL;
    client->outstanding = 0;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    bench_client_open(client);
}

/* Takes what there is of one response. False: no more can be taken. */
static bool take_response(struct bench_client *client, struct rill_input *input, uint64_t now_ns)
{
    struct rill_parser *parser = &client->parser;
    enum rill_parse_result result = RILL_PARSE_DONE;
    if (!client->in_body) {
        rill_parser_answers(parser, client->sent[client->first].head ? RILL_METHOD_HEAD : RILL_METHOD_GET);
        result = rill_parser_head(parser, input->bytes, input->length);
        client->in_response = true;
        if (result == RILL_PARSE_HEAD) {
            rill_input_consume(input, parser->head_length);
            client->in_body = true;
            client->body_length = 0;
            client->body_hash = BENCH_HASH_START;
        }
    }
    while (client->in_body) {
        struct rill_parser_piece piece;
        result = rill_parser_body(parser, input->bytes, input->length, &piece);
        client->body_length += piece.data.length;
        if (client->plan->check_hash)
            client->body_hash = bench_hash(client->body_hash, piece.data.bytes, piece.data.length);
        rill_input_consume(input, piece.consumed);
        if (result != RILL_PARSE_DATA)
            break;
    }
    if (result == RILL_PARSE_ERROR)
        fail(client, BENCH_MALFORMED);
    if (result != RILL_PARSE_DONE)
        return false;
    client->in_body = false;
    bool last = !parser->keep_alive || client->plan->new_connection;
    bool interim = parser->code < 200;
    if (!interim)
        answered(client, now_ns);
    rill_parser_reset(parser);
    if (!interim && last)
        leave(client);
    return interim || !last;
}

static void on_http(struct rill_conn *conn, struct rill_input *input)
{
    struct bench_client *client = rill_conn_user(conn);
    uint64_t now_ns = rill_clock_ns();
    size_t length = input->length;
    while (client->conn && input->length > 0) {
        if (client->outstanding == 0) {
            fail(client, BENCH_UNASKED);
            break;
        }
        if (!take_response(client, input, now_ns))
            break;
    }
    bench_thread_writes(client->thread)->bytes_in += length - input->length;
    if (client->conn)
        bench_client_feed(client);
}

/* What comes back has to be what was sent: byte I of a message is byte I of the request. */
static void on_echo(struct rill_conn *conn, struct rill_input *input)
{
    struct bench_client *client = rill_conn_user(conn);
    const struct bench_request *request = &client->plan->requests[0];
    uint64_t now_ns = rill_clock_ns();
    bench_thread_writes(client->thread)->bytes_in += input->length;
    while (client->conn && input->length > 0) {
        if (client->outstanding == 0) {
            fail(client, BENCH_UNASKED);
            return;
        }
        size_t left = request->length - (size_t)client->body_length;
        size_t count = input->length < left ? input->length : left;
        client->in_response = true;
        if (memcmp(input->bytes, request->bytes + client->body_length, count) != 0) {
            fail(client, BENCH_BODY);
            return;
        }
        rill_input_consume(input, count);
        client->body_length += count;
        if (client->body_length < request->length)
            break;
        client->body_length = 0;
        answered(client, now_ns);
        if (client->plan->new_connection)
            leave(client);
    }
    if (client->conn)
        bench_client_feed(client);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    const struct bench_client *client = rill_conn_user(conn);
    if (client->plan->protocol == BENCH_HTTP)
        on_http(conn, input);
    else
        on_echo(conn, input);
}

/* The server's end: some responses end with it. */
static void on_eof(struct rill_conn *conn)
{
    struct bench_client *client = rill_conn_user(conn);
    if (client->plan->protocol == BENCH_HTTP && client->in_body &&
        rill_parser_end(&client->parser, 0) == RILL_PARSE_DONE) {
        client->in_body = false;
        answered(client, rill_clock_ns());
        leave(client);
    } else {
        fail(client, client->in_response ? BENCH_CUT : BENCH_RESET);
    }
}

static void on_timeout(struct rill_conn *conn)
{
    struct bench_client *client = rill_conn_user(conn);
    if (client->outstanding)
        fail(client, BENCH_TIMEOUT);
}

/* Not by us: then `conn` would be NULL. */
static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct bench_client *client = rill_conn_user(conn);
    if (client->conn != conn)
        return;
    (void)reason;
    client->conn = NULL;
    bench_thread_failed(client->thread, client->in_response ? BENCH_CUT : BENCH_RESET, client->outstanding);
    client->outstanding = 0;
    connect_later(client);
}

static const struct rill_conn_handler handler = {
    .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_timeout = on_timeout, .on_close = on_close};

void bench_client_init(struct bench_client *client, struct bench_thread *thread, unsigned number)
{
    *client = (struct bench_client){.thread = thread, .plan = bench_thread_plan(thread), .number = number};
    rill_timer_init(&client->again, connect_again);
    rill_parser_init_response(&client->parser, &no_limits);
}

unsigned bench_client_close(struct bench_client *client)
{
    struct rill_conn *conn = client->conn;
    unsigned unanswered = client->outstanding;
    client->closing = true;
    client->conn = NULL;
    client->outstanding = 0;
    rill_connect_cancel(client->connect);
    client->connect = NULL;
    rill_loop_disarm(bench_thread_loop(client->thread), &client->again);
    if (conn)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
    return unanswered;
}
