/* sweep_site.c - see sweep_site.h. */
#include "sweep_site.h"
#include "must.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/files.h"
#include "rill/net/channel.h"
#include "rill/net/client.h"
#include "rill/net/conn_pool.h"
#include "rill/net/datagram.h"
#include "rill/net/relay.h"
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>

static struct {
    char folder[64], root[80], log[80], trace[80];
    struct rill_files *files;
    struct rill_router *router;
    struct rill_http_server *server;
    struct rill_channel *channel;
    struct rill_addr echo;
    pthread_t thread;
    size_t awaited;
    int result;
} site;

char sweep_site_byte(size_t i)
{
    return (char)('a' + (i * 7 + i / 26) % 26);
}

/* --- HTTP --- */

static void text(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "text");
}

static void later(struct rill_exchange *x, void *arg)
{
    rill_exchange_after(x, 1, text, arg);
}

static void run_nothing(void *arg)
{
    (void)arg;
}

static void pool(struct rill_exchange *x, void *arg)
{
    rill_exchange_work(x, &(struct rill_work){.run = run_nothing, .done = text, .arg = arg});
}

/* The stream's bytes, as far as there is room. ARG counts those that have been written. */
static void pump(struct rill_exchange *x, void *arg)
{
    size_t *at = arg;
    char piece[20000];
    while (*at < SWEEP_STREAM_BYTES) {
        if (rill_exchange_is_full(x)) {
            rill_exchange_on_room(x, pump, at);
            return;
        }
        size_t count = SWEEP_STREAM_BYTES - *at < sizeof piece ? SWEEP_STREAM_BYTES - *at : sizeof piece;
        for (size_t i = 0; i < count; i++)
            piece[i] = sweep_site_byte(*at + i);
        *at += count;
        struct rill_buf *buf = *at / sizeof piece % 2 ? rill_buf_copy(piece, count) : NULL;
        if ((buf ? rill_exchange_write_buf(x, buf) : rill_exchange_write(x, piece, count)) < 0) {
            rill_exchange_abort(x);
            return;
        }
    }
    rill_exchange_end(x);
}

static void stream(struct rill_exchange *x, void *arg)
{
    size_t *at = rill_arena_calloc(rill_exchange_arena(x), 1, sizeof *at);
    (void)arg;
    if (!at)
        rill_exchange_reply_status(x, 503);
    else if (rill_exchange_begin(x, 200, "text/plain", RILL_LENGTH_UNKNOWN) == 0)
        pump(x, at);
}

static void on_echo(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    (void)arg;
    if (end)
        rill_exchange_end(x);
    else if (rill_exchange_write(x, piece.bytes, piece.length) < 0)
        rill_exchange_abort(x);
}

static void http_echo(struct rill_exchange *x, void *arg)
{
    rill_exchange_read_body(x, on_echo, arg);
    rill_exchange_begin(x, 200, NULL, RILL_LENGTH_UNKNOWN);
}

static void on_count(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    size_t *count = arg;
    *count += piece.length;
    if (end)
        rill_exchange_reply_format(x, 200, "%zu", *count);
}

static void count(struct rill_exchange *x, void *arg)
{
    size_t *counted = rill_arena_calloc(rill_exchange_arena(x), 1, sizeof *counted);
    (void)arg;
    if (counted)
        rill_exchange_read_body(x, on_count, counted);
    else
        rill_exchange_reply_status(x, 503);
}

/* --- the echo, and what leads to it --- */

static void echo_data(struct rill_conn *conn, struct rill_input *input)
{
    rill_conn_send(conn, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

/* A connection to the echo that belongs to another one, the front: by ids, because either may go at any time. */
static struct rill_conn *front_of(struct rill_loop *loop, uint64_t id)
{
    return rill_conn_find(loop, (struct rill_conn_id){id});
}

/* USER carries an id: it has 64 bits, as a pointer has. */
static void *as_user(struct rill_conn *conn)
{
    return (void *)(uintptr_t)rill_conn_id(conn).value; /* NOLINT(performance-no-int-to-ptr) */
}

/* What comes from the echo is the front's. */
static void back_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_conn *front = front_of(rill_conn_loop(conn), (uintptr_t)rill_conn_user(conn));
    if (front)
        rill_conn_send(front, input->bytes, input->length);
    rill_input_consume(input, input->length);
}

static const struct rill_conn_handler back_handler = {.on_data = back_data};
static const struct rill_conn_config back_config = {.handler = &back_handler};

/* The relay. */

static void relay_connected(struct rill_conn *back, void *arg)
{
    static const struct rill_relay_config config = {.write_timeout_ms = 0};
    struct rill_conn *front = front_of(rill_conn_loop(back), (uintptr_t)arg);
    int error = front ? rill_relay_start(front, back, &config, NULL) : -EPIPE;
    if (error < 0)
        rill_conn_close(back, RILL_CLOSE_LOCAL);
    if (error < 0 && front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static void relay_failed(int error, const char *why, void *arg)
{
    struct rill_conn *front = front_of(rill_loop_current(), (uintptr_t)arg);
    (void)error, (void)why;
    if (front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static void relay_open(struct rill_conn *conn)
{
    const struct rill_connect_config config = {.addrs = &site.echo,
                                               .addr_count = 1,
                                               .conn = &back_config,
                                               .on_connected = relay_connected,
                                               .on_failed = relay_failed,
                                               .arg = as_user(conn)};
    rill_conn_pause(conn, RILL_PAUSE_USER);
    if (rill_connect(rill_conn_loop(conn), &config, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

/* The channel. */

static void channel_open(struct rill_conn *conn)
{
    if (rill_channel_join(site.channel, conn, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void channel_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_buf *buf = rill_buf_copy(input->bytes, input->length);
    rill_input_consume(input, input->length);
    if (!buf || rill_channel_publish(site.channel, buf) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

/* The client. What comes before it is up is kept by the connection, unconsumed. */

static void client_up(struct rill_client *client, struct rill_conn *back, void *arg)
{
    struct rill_conn *front = front_of(rill_conn_loop(back), (uintptr_t)arg);
    (void)client;
    if (front)
        rill_conn_resume(front, RILL_PAUSE_USER);
}

static void client_down(struct rill_client *client, const struct rill_client_outage *outage, void *arg)
{
    struct rill_conn *front = front_of(rill_loop_current(), (uintptr_t)arg);
    (void)client;
    if (front && outage->was_up) /* bytes may be lost with it */
        rill_conn_finish(front, false);
}

static void client_open(struct rill_conn *conn)
{
    int error;
    const struct rill_client_config config = {
        .connect = {.addrs = &site.echo, .addr_count = 1, .conn = &back_config, .user = as_user(conn)},
        .backoff_ms = 1,
        .backoff_max_ms = 4,
        .on_up = client_up,
        .on_down = client_down,
        .arg = as_user(conn)};
    rill_conn_pause(conn, RILL_PAUSE_USER);
    rill_conn_set_user(conn, rill_client_new(rill_conn_loop(conn), &config, &error));
    if (!rill_conn_user(conn))
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void client_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_conn *back = rill_client_conn(rill_conn_user(conn));
    if (!back || rill_conn_send(back, input->bytes, input->length) < 0) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    rill_input_consume(input, input->length);
}

static void client_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)reason;
    rill_client_free(rill_conn_user(conn));
}

/* The pool. A connection of it is returned when all has come back that was sent on it; there is one at a time. */

static void pool_back_data(struct rill_conn *conn, struct rill_input *input)
{
    site.awaited -= input->length < site.awaited ? input->length : site.awaited;
    back_data(conn, input);
    if (site.awaited > 0)
        return;
    rill_conn_set_user(conn, NULL);
    rill_conn_pool_return(conn);
}

static void pool_back_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct rill_conn *front = front_of(rill_conn_loop(conn), (uintptr_t)rill_conn_user(conn));
    (void)reason;
    if (front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static const struct rill_conn_handler pool_back_handler = {.on_data = pool_back_data, .on_close = pool_back_close};
static const struct rill_conn_config pool_back_config = {.handler = &pool_back_handler};

static void pool_leased(struct rill_conn *back, bool reused, void *arg)
{
    struct rill_conn *front = front_of(rill_conn_loop(back), (uintptr_t)arg);
    (void)reused;
    if (front)
        rill_conn_resume(front, RILL_PAUSE_USER);
    rill_conn_pool_return(back);
}

static void pool_failed(int error, const char *why, void *arg)
{
    relay_failed(error, why, arg);
}

static struct rill_conn_pool *pool_of(struct rill_loop *loop)
{
    return rill_loop_slot(loop, RILL_LOOP_SLOT_APP);
}

static void free_pool(void *pool)
{
    rill_conn_pool_free(pool);
}

static void pool_open(struct rill_conn *conn)
{
    struct rill_loop *loop = rill_conn_loop(conn);
    int error = 0;
    if (!pool_of(loop)) {
        const struct rill_conn_pool_config config = {
            .connect = {.addrs = &site.echo, .addr_count = 1, .conn = &pool_back_config}};
        struct rill_conn_pool *made = rill_conn_pool_new(loop, &config, &error);
        if (made)
            rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, made, free_pool);
    }
    rill_conn_pause(conn, RILL_PAUSE_USER); /* until there is one to be had */
    const struct rill_lease_request request = {
        .on_leased = pool_leased, .on_failed = pool_failed, .arg = as_user(conn)};
    if (!pool_of(loop) || rill_conn_pool_lease(pool_of(loop), &request, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void pool_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_conn *back = rill_conn_pool_try(pool_of(rill_conn_loop(conn)), as_user(conn));
    if (!back || rill_conn_send(back, input->bytes, input->length) < 0) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    site.awaited = input->length;
    rill_input_consume(input, input->length);
}

/* --- datagrams --- */

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    rill_datagram_send(endpoint, input->from, input->bytes, input->length);
}

static const struct rill_datagram_handler datagram_handler = {.on_datagram = on_datagram};
static const struct rill_datagram_config datagram_config = {.handler = &datagram_handler};

static struct rill_datagram *open_endpoint(struct rill_loop *loop)
{
    struct rill_addr addr;
    int error = rill_addr_parse("127.0.0.1:0", &addr, NULL);
    return error < 0 ? NULL : rill_datagram_open(loop, &addr, &datagram_config, &error);
}

/* Opens an endpoint, and closes it. */
static void try_datagrams(struct rill_exchange *x, void *arg)
{
    struct rill_datagram *endpoint = open_endpoint(rill_exchange_loop(x));
    (void)arg;
    if (endpoint)
        rill_datagram_close(endpoint);
    if (endpoint)
        text(x, NULL);
    else
        rill_exchange_reply_status(x, 503);
}

struct opening {
    unsigned port;
    sem_t done;
};

static void open_datagrams(void *arg)
{
    struct opening *opening = arg;
    struct rill_datagram *endpoint = open_endpoint(rill_loop_current());
    opening->port = endpoint ? rill_addr_port(rill_datagram_local(endpoint)) : 0;
    sem_post(&opening->done);
}

unsigned sweep_site_datagrams(void)
{
    struct opening opening = {0};
    struct rill_server *server = sweep_site_server();
    MUST(sem_init(&opening.done, 0, 0) == 0);
    MUST(rill_post(rill_server_loop(server, 0), open_datagrams, &opening) == 0);
    while (sem_wait(&opening.done) < 0)
        ;
    sem_destroy(&opening.done);
    return opening.port;
}

/* --- the server --- */

static const struct rill_conn_handler handlers[SWEEP_PORTS] = {
    [SWEEP_ECHO] = {.on_data = echo_data},
    [SWEEP_RELAY] = {.on_open = relay_open},
    [SWEEP_CHANNEL] = {.on_open = channel_open, .on_data = channel_data},
    [SWEEP_CLIENT] = {.on_open = client_open, .on_data = client_data, .on_close = client_close},
    [SWEEP_POOL] = {.on_open = pool_open, .on_data = pool_data},
};

static void write_file(const char *name, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", site.root, name);
    FILE *file = fopen(path, "w");
    MUST(file);
    for (size_t i = 0; i < size; i++)
        putc(sweep_site_byte(i), file);
    MUST(fclose(file) == 0);
}

void sweep_site_prepare(void)
{
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_OFF);
    strcpy(site.folder, "/tmp/rill-sweep-XXXXXX"); /* NOLINT(clang-analyzer-security.insecureAPI.strcpy) */
    MUST(mkdtemp(site.folder));
    snprintf(site.root, sizeof site.root, "%s/root", site.folder);
    snprintf(site.log, sizeof site.log, "%s/log", site.folder);
    snprintf(site.trace, sizeof site.trace, "%s/trace", site.folder);
    MUST(mkdir(site.root, 0755) == 0);
    write_file("small", SWEEP_SMALL_BYTES);
    write_file("large", SWEEP_LARGE_BYTES);
    write_file("other", 1);
}

void sweep_site_clear(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -r %s", site.folder);
    MUST(system(command) == 0);
}

static void free_all(void)
{
    rill_http_server_free(site.server);
    rill_router_free(site.router);
    rill_files_free(site.files);
    rill_channel_unref(site.channel);
    site.server = NULL;
    site.router = NULL;
    site.files = NULL;
    site.channel = NULL;
}

static int make(const struct rill_server_config *net)
{
    int error = -ENOMEM;
    const struct rill_files_config files = {.root = site.root, .listing = true, .cache_entries = 1};
    site.files = rill_files_new(&files, &error);
    site.router = site.files ? rill_router_new() : NULL;
    if (!site.router)
        return error < 0 ? error : -ENOMEM;
    const struct rill_route routes[] = {{"GET", "/text", text, NULL},
                                        {"GET", "/later", later, NULL},
                                        {"GET", "/pool", pool, NULL},
                                        {"GET", "/stream", stream, NULL},
                                        {"POST", "/echo", http_echo, NULL},
                                        {"POST", "/count", count, NULL},
                                        {"GET", "/datagrams", try_datagrams, NULL},
                                        {"GET", "/files/*path", rill_files_handle, site.files},
                                        {NULL, NULL, NULL, NULL}};
    error = rill_router_add_all(site.router, routes);
    site.channel = error == 0 ? rill_channel_new(NULL) : NULL;
    if (!site.channel)
        return error < 0 ? error : -ENOMEM;
    struct rill_http_server_config config = {.net = *net, .router = site.router, .access_log = site.log};
    config.net.trace_path = site.trace;
    config.net.stall_threshold_ms = 60000;
    for (unsigned i = 0; i < SWEEP_PORTS; i++) {
        config.net.listens[i].address = "127.0.0.1:0";
        config.net.listens[i].handler = i > SWEEP_PROXY ? &handlers[i] : NULL;
    }
    config.net.listens[SWEEP_PROXY].proxy_from = "127.0.0.0/8";
    site.server = rill_http_server_new(&config, &error);
    return site.server ? 0 : error;
}

static void *run(void *arg)
{
    site.result = rill_http_server_run(site.server, false);
    return arg;
}

int sweep_site_start(const struct rill_server_config *net)
{
    char text_of_echo[64];
    int error = make(net);
    if (error < 0) {
        free_all();
        return error;
    }
    snprintf(text_of_echo, sizeof text_of_echo, "127.0.0.1:%u", sweep_site_port(SWEEP_ECHO));
    MUST(rill_addr_parse(text_of_echo, &site.echo, NULL) == 0);
    MUST(pthread_create(&site.thread, NULL, run, NULL) == 0);
    return 0;
}

void sweep_site_stop(bool now)
{
    rill_http_server_stop(site.server, now);
}

int sweep_site_end(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    MUST(pthread_timedjoin_np(site.thread, NULL, &until) == 0);
    free_all();
    return site.result;
}

struct rill_server *sweep_site_server(void)
{
    return rill_http_server_net(site.server);
}

unsigned sweep_site_port(enum sweep_port port)
{
    return rill_server_port(sweep_site_server(), port);
}
