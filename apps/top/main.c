/* top - rill-top: what `--admin` of a server shows, in a terminal: a line each reactor, every second. */
#include "../options.h"
#include "rill/net/connect.h"
#include "top.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_BODY_BYTES = 16 << 20, HOST_BYTES = 256 };

/* All there is: one request at a time. */
static struct {
    char host[HOST_BYTES], request[HOST_BYTES + 64];
    bool once, terminal, met; /* met: the server has been connected to */
    uint64_t every_ms;
    int status; /* of the program */

    struct rill_loop *loop;
    struct rill_timer next;
    struct rill_parser parser;
    bool in_body, answered; /* answered: the response was read whole */
    char *text;
    size_t length;
    unsigned taken; /* samples so far; the newest is taken - 1, modulo 2 */
    struct metrics samples[2];
} top;

static const struct rill_parser_limits limits = {.max_request_line_bytes = 8192,
                                                 .max_header_bytes = 32768,
                                                 .max_headers = RILL_PARSER_MAX_HEADERS,
                                                 .max_chunk_extension_bytes = 256,
                                                 .max_trailer_bytes = 8192,
                                                 .max_body_bytes = MAX_BODY_BYTES};

/* --- what came --- */

static void give_up(const char *why)
{
    fprintf(stderr, "rill-top: %s\n", why);
    top.status = 1;
    rill_loop_stop(top.loop);
}

/* Nothing came that could be shown: says WHY, and that it goes on trying unless it was to look once. */
static void failed(const char *why)
{
    if (top.once) {
        give_up(why);
        return;
    }
    printf("%s%s; trying again\n", top.terminal ? "\033[H\033[J" : "", why);
    fflush(stdout);
    top.taken = 0;
    rill_loop_arm(top.loop, &top.next, top.every_ms);
}

static void show(void)
{
    struct metrics *now = &top.samples[top.taken % 2];
    if (metrics_read(now, top.text, top.length) < 0) {
        failed("what came is not the metrics of a Rill server");
        return;
    }
    now->time = (double)rill_clock_ns() * 1e-9;
    const struct metrics *before = top.taken > 0 ? &top.samples[(top.taken + 1) % 2] : NULL;
    top.taken++;
    if (before || !top.once) {
        printf("%s", top.terminal ? "\033[H\033[J" : "");
        struct winsize window = {0};
        if (top.terminal)
            ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
        top_print(now, before, window.ws_col ? window.ws_col : UINT16_MAX,
                  window.ws_row > 3 ? window.ws_row : UINT16_MAX);
        fflush(stdout);
    }
    if (before && top.once)
        rill_loop_stop(top.loop);
    else
        rill_loop_arm(top.loop, &top.next, top.every_ms);
}

/* --- the connection --- */

/* True when the head has come and is that of an answer with the metrics. */
static bool take_head(struct rill_conn *conn, struct rill_input *in)
{
    enum rill_parse_result result = rill_parser_head(&top.parser, in->bytes, in->length);
    if (result == RILL_PARSE_MORE)
        return false;
    if (result == RILL_PARSE_ERROR || top.parser.code != 200) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return false;
    }
    rill_input_consume(in, top.parser.head_length);
    top.in_body = true;
    return true;
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    if (!top.in_body && !take_head(conn, in))
        return;
    struct rill_parser_piece piece = {.result = RILL_PARSE_DATA};
    while (in->length > 0 && piece.result == RILL_PARSE_DATA) {
        rill_parser_body(&top.parser, in->bytes, in->length, &piece);
        char *grown = realloc(top.text, top.length + piece.data.length + 1);
        if (!grown || piece.result == RILL_PARSE_ERROR) {
            top.text = grown ? grown : top.text;
            rill_conn_close(conn, RILL_CLOSE_LOCAL);
            return;
        }
        top.text = grown;
        if (piece.data.length > 0)
            memcpy(top.text + top.length, piece.data.bytes, piece.data.length);
        top.length += piece.data.length;
        rill_input_consume(in, piece.consumed);
    }
    if (piece.result != RILL_PARSE_DONE)
        return;
    top.answered = true;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void on_open(struct rill_conn *conn)
{
    top.met = true;
    rill_conn_send(conn, top.request, strlen(top.request));
    rill_conn_set_deadline(conn, 5000);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    if (top.answered)
        show();
    else
        failed(reason == RILL_CLOSE_IDLE ? "no answer within 5 s"
                                         : "that server does not answer /metrics; give the address of its --admin");
}

/* A server that is not there may come, and one that was there may come back. But to an address that is none, or that no
 * route leads to, only whoever has written it can do something. */
static void on_failed(int error, const char *why, void *arg)
{
    static const int lasting[] = {EINVAL, ENOENT, EADDRNOTAVAIL, ENETUNREACH, EAFNOSUPPORT};
    bool lasts = false;
    for (unsigned i = 0; i < rill_array_length(lasting); i++)
        lasts |= error == -lasting[i];
    if (lasts && !top.met)
        give_up(why);
    else
        failed(why);
}

static void ask(struct rill_timer *timer)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    static const struct rill_conn_config conn = {.handler = &handler};
    const struct rill_connect_config config = {
        .target = top.host, .timeout_ms = 5000, .conn = &conn, .on_failed = on_failed};
    rill_parser_init_response(&top.parser, &limits);
    top.in_body = top.answered = false;
    top.length = 0;
    int error = rill_connect(top.loop, &config, NULL);
    if (error < 0)
        failed(strerror(-error));
}

/* --- the command line --- */

/* Takes host and port from URL: http://HOST:PORT/..., HOST:PORT, or PORT alone. */
static bool take_url(const char *url)
{
    const char *host = strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    size_t length = strcspn(host, "/");
    bool port_alone = length > 0 && strspn(host, "0123456789") == length;
    int written = snprintf(top.host, sizeof top.host, "%s%.*s", port_alone ? "127.0.0.1:" : "", (int)length, host);
    snprintf(top.request, sizeof top.request, "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
             top.host);
    return length > 0 && strstr(host, "://") == NULL && strcspn(host, " \t\r\n") == strlen(host) && written > 0 &&
           (size_t)written < sizeof top.host;
}

static int run(void)
{
    const struct rill_workers_config pool = {.threads = 1, .queue_length = 1}; /* looks names up */
    int error;
    top.loop = rill_loop_new(&(struct rill_loop_config){.name = "top"}, &error);
    struct rill_workers *workers = top.loop ? rill_workers_start(&pool, &error) : NULL;
    if (!workers) {
        fprintf(stderr, "rill-top: cannot start: %s\n", strerror(-error));
        rill_loop_free(top.loop);
        return 1;
    }
    rill_loop_set_workers(top.loop, workers);
    rill_timer_init(&top.next, ask);
    rill_loop_arm(top.loop, &top.next, 0);
    error = rill_loop_run(top.loop);
    rill_workers_stop(workers);
    rill_loop_free(top.loop);
    free(top.text);
    return error < 0 ? 1 : top.status;
}

int main(int argc, char **argv)
{
    top.every_ms = 1000;
    const struct rill_option options[] = {
        {"--once", .help = "look twice, --interval apart, print that, and exit", .kind = RILL_OPTION_FLAG,
         .target = &top.once},
        {"--interval", "TIME", "between two looks (1s)", RILL_OPTION_DURATION, &top.every_ms, .min = 10},
    };
    struct rill_app app = {.name = "rill-top",
                           .summary = "shows the reactors of a server that was started with --admin",
                           .operand = "URL",
                           .kind = RILL_APP_TOOL,
                           .options = options,
                           .option_count = rill_array_length(options),
                           .exit_status =
                               "0 all went well; 1 --once has seen nothing, or there can be no such server; 2 "
                               "the command line is wrong.\nWithout --once it waits for a server that is "
                               "not there, and for one that has gone"};
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    if (!app.operand_value || !take_url(app.operand_value)) {
        fprintf(stderr,
                "rill-top: http://HOST:PORT is wanted, or a port of this machine: what the server's --admin says\n");
        return 2;
    }
    top.terminal = isatty(STDOUT_FILENO);
    return run();
}
