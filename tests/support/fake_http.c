/* fake_http.c - see fake_http.h. */
#include "fake_http.h"
#include "rill/core/number.h"
#include "rill/core/sys.h"
#include <ctype.h>
#include <stdio.h>

/* What a handler keeps of its exchange, in the exchange's arena: whoever uses it too late is seen by ASan. */
struct probe {
    struct fake_http *web;
    char *path;
    uint64_t bytes, sum;
    uint64_t pieces, piece_bytes;
    bool ended;
};

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fake_http: %s\n", what);
    abort();
}

static void expect(struct fake_http *web, bool condition, const char *what)
{
    if (condition)
        return;
    web->mistaken = true;
    web->mistake = what;
}

static void clean_up(void *arg)
{
    struct probe *probe = arg;
    must(!probe->ended, "a clean-up handler ran twice");
    probe->ended = true;
    probe->web->cleaned++;
}

/* Begins a handler's work. NULL: no memory, and that has been answered. */
static struct probe *begin(struct rill_exchange *x, void *arg)
{
    struct fake_http *web = arg;
    struct probe *probe = rill_arena_calloc(rill_exchange_arena(x), 1, sizeof *probe);
    char *path = probe ? rill_arena_copy(rill_exchange_arena(x), rill_exchange_path(x)) : NULL;
    if (!path || rill_exchange_set_header(x, "X-Target", rill_exchange_target(x)) < 0 ||
        rill_arena_on_reset(rill_exchange_arena(x), clean_up, probe) < 0) {
        rill_exchange_reply_status(x, 503);
        return NULL;
    }
    probe->web = web;
    probe->path = path;
    web->started++;
    return probe;
}

/* The request is still what it was. */
static void check_request(struct rill_exchange *x, const struct probe *probe)
{
    struct rill_slice path = rill_exchange_path(x);
    expect(probe->web, rill_slice_equal(path, rill_slice_of(probe->path)), "the path has changed");
    expect(probe->web, rill_exchange_header(x, RILL_HEADER_HOST).bytes || rill_exchange_version_minor(x) == 0,
           "the Host field is gone");
}

/* The parameter NAME as a number, at most LIMIT. */
static uint64_t number(const struct rill_exchange *x, const char *name, uint64_t limit)
{
    uint64_t value = 0;
    if (rill_decimal_parse(rill_exchange_param(x, name), &value) < 0 || value > limit)
        value = limit;
    return value;
}

/* COUNT bytes that tell where they are; to be freed. */
static char *pattern(size_t count)
{
    char *bytes = malloc(count + 1);
    must(bytes != NULL, "no memory");
    for (size_t i = 0; i < count; i++)
        bytes[i] = (char)('a' + i % 26);
    return bytes;
}

/* --- at once --- */

static void hello(struct rill_exchange *x, void *arg)
{
    if (begin(x, arg))
        rill_exchange_reply_text(x, 200, "Hello, World!");
}

static void hello_name(struct rill_exchange *x, void *arg)
{
    if (!begin(x, arg))
        return;
    struct rill_slice name = rill_exchange_param(x, "name");
    rill_exchange_reply_format(x, 200, "Hello, %.*s!", (int)name.length, name.bytes);
}

static void bytes(struct rill_exchange *x, void *arg)
{
    if (!begin(x, arg))
        return;
    size_t count = number(x, "n", 1 << 20);
    char *content = pattern(count);
    rill_exchange_reply(x, 200, "text/plain", content, count);
    free(content);
}

static void buf(struct rill_exchange *x, void *arg)
{
    if (!begin(x, arg))
        return;
    size_t count = number(x, "n", 1 << 20);
    char *content = pattern(count);
    struct rill_buf *copy = rill_buf_copy(content, count);
    free(content);
    if (copy)
        rill_exchange_reply_buf(x, 200, "text/plain", copy);
    else
        rill_exchange_reply_status(x, 503);
}

static void status(struct rill_exchange *x, void *arg)
{
    if (begin(x, arg))
        rill_exchange_reply_status(x, (unsigned)number(x, "code", 599));
}

static void end_only(struct rill_exchange *x, void *arg)
{
    if (begin(x, arg))
        rill_exchange_end(x);
}

static void headers(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    static const struct {
        const char *name, *value;
        size_t length;
        int error;
    } fields[] = {
        {"X-Plain", "value", 5, 0},
        {"X-Empty", "", 0, 0},
        {"X-High", "\xc3\xa4", 2, 0},
        {"X-Tab", "a\tb", 3, 0},
        {"x!#$%&'*+-.^_`|~9", "odd", 3, 0},
        {"X-Cr", "a\rX-Bad: 1", 10, -EINVAL},
        {"X-Lf", "a\nX-Bad: 1", 10, -EINVAL},
        {"X-CrLf", "a\r\nX-Bad: 1", 11, -EINVAL},
        {"X-Nul", "a\0b", 3, -EINVAL},
        {"X-Del", "a\x7f", 2, -EINVAL},
        {"X-Esc", "\x1b[0m", 4, -EINVAL},
        {"", "value", 5, -EINVAL},
        {"X-Bad ", "value", 5, -EINVAL},
        {"X-Bad:", "value", 5, -EINVAL},
        {"X-B\r\nad", "value", 5, -EINVAL},
        {"X-B\xc3\xa4", "value", 5, -EINVAL},
        {"Content-Length", "5", 1, -EINVAL},
        {"content-length", "5", 1, -EINVAL},
        {"Transfer-Encoding", "chunked", 7, -EINVAL},
        {"Connection", "close", 5, -EINVAL},
        {"date", "now", 3, -EINVAL},
    };
    for (size_t i = 0; i < rill_array_length(fields); i++) {
        struct rill_slice value = {fields[i].value, fields[i].length};
        int error = rill_exchange_set_header(x, fields[i].name, value);
        expect(probe->web, error == fields[i].error || error == -ENOMEM, fields[i].name);
    }
    rill_exchange_set_fields(x, rill_slice_of("X-Replaced: 1\r\n"));
    rill_exchange_set_fields(x, rill_slice_of("X-Block: 1\r\nX-Block: 2\r\n"));
    if (rill_exchange_begin(x, 200, NULL, 2) < 0)
        return;
    expect(probe->web, rill_exchange_set_header(x, "X-Late", rill_slice_of("1")) == -EALREADY,
           "a field after the head");
    rill_exchange_write(x, "ok", 2);
    rill_exchange_end(x);
}

/* --- later --- */

static void never(struct rill_exchange *x, void *arg)
{
    begin(x, arg);
}

static void kept(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    probe->web->kept = rill_exchange_id(x);
    expect(probe->web, rill_exchange_find(rill_exchange_loop(x), probe->web->kept) == x, "an exchange cannot be found");
}

static void on_nothing(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    struct fake_http *web = arg;
    (void)x, (void)piece, (void)end;
    expect(web, false, "told of the body of a dead exchange");
}

static void nothing(struct rill_exchange *x, void *arg)
{
    on_nothing(x, arg, (struct rill_slice){NULL, 0}, false);
}

/* The connection has died inside a call: the exchange is good for the rest of the turn, and nothing comes of it. */
static void use_dead(struct fake_http *web, struct rill_exchange *x)
{
    rill_exchange_read_body(x, on_nothing, web);
    rill_exchange_pause_body(x);
    rill_exchange_resume_body(x);
    rill_exchange_on_room(x, nothing, web);
    rill_exchange_after(x, 0, nothing, web);
    rill_exchange_set_deadline(x, 1);
    expect(web, rill_exchange_begin(x, 200, NULL, 0) < 0, "a dead exchange begins");
    expect(web, rill_exchange_write(x, "x", 1) < 0, "a dead exchange is written to");
    expect(web, rill_exchange_set_header(x, "X-A", rill_slice_of("a")) < 0, "a dead exchange takes a field");
    rill_exchange_reply_text(x, 200, "x");
    rill_exchange_abort(x);
}

bool fake_http_answer_kept(struct fake_http *web, unsigned count)
{
    struct rill_exchange *x = rill_exchange_find(web->loop, web->kept);
    if (!x)
        return false;
    int error = rill_exchange_begin(x, 200, "text/plain", RILL_LENGTH_UNKNOWN);
    for (unsigned i = 0; error == 0 && i < count; i++)
        error = rill_exchange_write(x, "piece", 5);
    if (error < 0)
        use_dead(web, x);
    rill_exchange_end(x);
    return true;
}

static void say_late(struct rill_exchange *x, void *arg)
{
    struct probe *probe = arg;
    probe->web->late_calls++;
    check_request(x, probe);
    rill_exchange_reply_text(x, 200, "later");
}

static void later(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    rill_exchange_after(x, 1, never, NULL); /* replaced by the next line */
    rill_exchange_after(x, number(x, "ms", 100000), say_late, probe);
}

static void deadline(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    rill_exchange_set_deadline(x, number(x, "ms", 100000));
    rill_exchange_after(x, number(x, "later", 100000), say_late, probe);
}

struct job {
    struct fake_http *web;
    char text[64];
};

static void job_run(void *arg)
{
    struct job *job = arg;
    for (char *p = job->text; *p; p++)
        *p = (char)toupper((unsigned char)*p);
}

static void job_done(struct rill_exchange *x, void *arg)
{
    struct job *job = arg;
    rill_exchange_reply_text(x, 200, job->text);
}

static void job_destroy(void *arg)
{
    struct job *job = arg;
    job->web->destroyed++;
    free(job);
}

static void pool(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    struct rill_slice text = rill_exchange_param(x, "text");
    struct job *job = calloc(1, sizeof *job);
    must(job != NULL, "no memory");
    job->web = arg;
    memcpy(job->text, text.bytes, text.length < sizeof job->text ? text.length : sizeof job->text - 1);
    job->web->submitted++;
    rill_exchange_work(x, &(struct rill_work){.run = job_run, .done = job_done, .destroy = job_destroy, .arg = job});
}

/* --- streams --- */

static void pump(struct rill_exchange *x, void *arg)
{
    struct probe *probe = arg;
    check_request(x, probe);
    int error = 0;
    while (error == 0 && probe->pieces > 0 && !rill_exchange_is_full(x)) {
        char *piece = pattern(probe->piece_bytes);
        if (probe->pieces % 2) {
            error = rill_exchange_write(x, piece, probe->piece_bytes);
        } else {
            struct rill_buf *shared = rill_buf_copy(piece, probe->piece_bytes);
            error = shared ? rill_exchange_write_buf(x, shared) : -ENOMEM;
        }
        free(piece);
        probe->pieces--;
    }
    if (error < 0)
        rill_exchange_abort(x);
    else if (probe->pieces > 0)
        rill_exchange_on_room(x, pump, probe);
    else
        rill_exchange_end(x);
}

static void stream(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    probe->pieces = number(x, "n", 1000);
    probe->piece_bytes = number(x, "size", 1000);
    if (rill_exchange_begin(x, 200, "text/plain", RILL_LENGTH_UNKNOWN) == 0)
        pump(x, probe);
}

static void known(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    uint64_t said = number(x, "said", 100000), sent = number(x, "sent", 100000);
    if (rill_exchange_begin(x, 200, "text/plain", said) < 0)
        return;
    char *content = pattern(sent);
    int error = rill_exchange_write(x, content, sent / 2);
    if (error == 0)
        error = rill_exchange_write(x, content + sent / 2, sent - sent / 2);
    if (error == -EMSGSIZE)
        probe->web->too_long++;
    free(content);
    rill_exchange_end(x);
}

static void do_abort(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_abort(x);
}

static void abort_when(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    struct rill_slice when = rill_exchange_param(x, "when");
    if (rill_slice_equal(when, rill_slice_of("later"))) {
        rill_exchange_after(x, 5, do_abort, NULL);
        return;
    }
    if (rill_slice_equal(when, rill_slice_of("after")) &&
        rill_exchange_begin(x, 200, "text/plain", RILL_LENGTH_UNKNOWN) == 0)
        rill_exchange_write(x, "part", 4);
    rill_exchange_abort(x);
}

/* --- bodies --- */

static void count_body(struct probe *probe, struct rill_slice piece, bool end)
{
    expect(probe->web, !probe->ended, "told of the body after its end");
    expect(probe->web, end == (piece.length == 0), "an end with bytes, or a piece without");
    for (size_t i = 0; i < piece.length; i++) /* for ASan: they are all there */
        probe->sum += (unsigned char)piece.bytes[i];
    probe->bytes += piece.length;
    probe->web->body_bytes += piece.length;
    probe->web->bodies_ended += end;
}

static void on_collect(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    struct probe *probe = arg;
    count_body(probe, piece, end);
    check_request(x, probe);
    if (end)
        rill_exchange_reply_format(x, 200, "%llu bytes", (unsigned long long)probe->bytes);
}

static void collect(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (probe)
        rill_exchange_read_body(x, on_collect, probe);
}

static void limited(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    if (rill_exchange_limit_body(x, 10) < 0)
        rill_exchange_reply_status(x, 413);
    else
        rill_exchange_read_body(x, on_collect, probe);
}

static void resume(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_resume_body(x);
}

static void on_paused(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    on_collect(x, arg, piece, end);
    if (end)
        return;
    rill_exchange_pause_body(x);
    rill_exchange_after(x, 10, resume, NULL);
}

static void paused(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (probe)
        rill_exchange_read_body(x, on_paused, probe);
}

static void read_now(struct rill_exchange *x, void *arg)
{
    rill_exchange_read_body(x, on_collect, arg);
}

static void late_read(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (probe)
        rill_exchange_after(x, 20, read_now, probe);
}

static void on_echo(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    count_body(arg, piece, end);
    if (end)
        rill_exchange_end(x);
    else if (rill_exchange_write(x, piece.bytes, piece.length) < 0)
        rill_exchange_abort(x);
}

static void echo(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (!probe)
        return;
    rill_exchange_read_body(x, on_echo, probe);
    rill_exchange_begin(x, 200, "application/octet-stream", rill_exchange_content_length(x));
}

static void on_early(struct rill_exchange *x, void *arg, struct rill_slice piece, bool end)
{
    count_body(arg, piece, end);
    rill_exchange_reply_text(x, 200, "enough");
}

static void early(struct rill_exchange *x, void *arg)
{
    struct probe *probe = begin(x, arg);
    if (probe)
        rill_exchange_read_body(x, on_early, probe);
}

/* --- the server --- */

static const struct {
    const char *method, *pattern;
    rill_handler_fn *handler;
} routes[] = {
    {"GET", "/hello", hello},
    {"GET", "/hello/:name", hello_name},
    {"GET", "/later/:ms", later},
    {"GET", "/pool/:text", pool},
    {"GET", "/never", never},
    {"POST", "/never", never},
    {"GET", "/kept", kept},
    {"GET", "/bytes/:n", bytes},
    {"GET", "/buf/:n", buf},
    {"GET", "/stream/:n/:size", stream},
    {"GET", "/known/:said/:sent", known},
    {"GET", "/abort/:when", abort_when},
    {"POST", "/abort/:when", abort_when},
    {"GET", "/deadline/:ms/:later", deadline},
    {"POST", "/deadline/:ms/:later", deadline},
    {"GET", "/status/:code", status},
    {"GET", "/end", end_only},
    {"GET", "/headers", headers},
    {NULL, "/any", hello},
    {"POST", "/echo", echo},
    {"POST", "/collect", collect},
    {"POST", "/limited", limited},
    {"POST", "/paused", paused},
    {"POST", "/late-read", late_read},
    {"POST", "/ignore", hello},
    {"POST", "/ignore-later/:ms", later},
    {"POST", "/early", early},
};

struct fake_overload fake_overload;

const bool *rill_server_refusing(const struct rill_server *server)
{
    must(server == NULL, "there is a server");
    return &fake_overload.refusing;
}

void rill_server_note_refused(struct rill_loop *loop)
{
    must(loop != NULL, "there is no loop");
    fake_overload.refused++;
}

void rill_server_note_answered(struct rill_loop *loop)
{
    must(loop != NULL, "there is no loop");
    fake_overload.answered++;
}

void fake_http_start(struct fake_http *web, const struct rill_http_server_config *config)
{
    struct rill_http_server_config wanted = config ? *config : (struct rill_http_server_config){.router = NULL};
    int error = 0;
    memset(web, 0, sizeof *web);
    web->router = rill_router_new();
    must(web->router != NULL, "no memory");
    for (size_t i = 0; error == 0 && i < rill_array_length(routes); i++)
        error = rill_router_add(web->router, routes[i].method, routes[i].pattern, routes[i].handler, web);
    must(error == 0, "a route is wrong");
    wanted.router = web->router;
    must(rill_http_server_configure(&web->server, &wanted) == 0, "the configuration is wrong");
    struct rill_workers_config workers = {.threads = 1,
                                          .queue_length = wanted.net.worker_queue ? wanted.net.worker_queue : 1024};
    web->workers = rill_workers_start(&workers, &error);
    web->loop = rill_loop_new(&(struct rill_loop_config){.name = "memory"}, &error);
    must(web->loop != NULL, "no loop");
    rill_loop_set_workers(web->loop, web->workers);
    must(rill_http_loop_start(web->loop, &web->server) == 0, "no memory");
    const struct rill_server_config *net = &web->server.config.net;
    web->conn_config = (struct rill_conn_config){.handler = net->handler,
                                                 .arg = net->arg,
                                                 .write_timeout_ms = net->write_timeout_ms,
                                                 .high_watermark = net->high_watermark,
                                                 .low_watermark = net->low_watermark,
                                                 .max_input_bytes = net->max_input_bytes};
}

static void close_conn(struct rill_conn *conn, void *arg)
{
    (void)arg;
    rill_conn_close(conn, RILL_CLOSE_STOPPED);
}

void fake_http_stop(struct fake_http *web)
{
    faulty_sys.fail_after = 0;
    rill_conn_each(web->loop, NULL, close_conn, NULL);
    fake_conn_turn(web->loop);
    rill_workers_stop(web->workers);
    fake_conn_turn(web->loop);
    must(rill_conn_count(web->loop) == 0, "a connection is left over");
    must(rill_slab_count(&rill_http_loop_of(web->loop)->sessions) == 0, "a session is left over");
    must(web->started == web->cleaned, "a clean-up handler did not run");
    must(web->submitted == web->destroyed, "a job was not destroyed");
    rill_loop_free(web->loop);
    rill_router_free(web->router);
}

void fake_http_open(struct fake_http *web, struct fake_peer *peer)
{
    must(fake_conn_open(web->loop, peer, &web->conn_config) == 0, "no connection");
}

void fake_http_settle(struct fake_http *web)
{
    for (unsigned quiet = 0; quiet < 3; quiet++) {
        fake_conn_turn(web->loop);
        while (fake_workers_end_one(web->workers, RILL_JOB_RAN))
            quiet = 0;
    }
}

void fake_http_pass(struct fake_http *web, uint64_t delay_ms)
{
    while (delay_ms > 0) {
        uint64_t step = delay_ms < 10 ? 1 : delay_ms / 8;
        fake_sys.now_ms += step;
        delay_ms -= step;
        fake_http_settle(web);
    }
}

static void tell_stop(struct rill_conn *conn, void *arg)
{
    (void)arg;
    rill_session_handler.on_stop(conn);
}

void fake_http_drain(struct fake_http *web)
{
    rill_conn_each(web->loop, NULL, tell_stop, NULL);
}

void fake_http_break(struct fake_http *web, struct fake_peer *peer)
{
    (void)web;
    if (peer->conn)
        rill_conn_close(peer->conn, RILL_CLOSE_NO_MEMORY);
}
