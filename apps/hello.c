/* hello.c - rill-hello: every way to answer, on one page; also what the benchmarks ask. */
#include "options.h"
#include "rill/core/number.h"
#include <stdio.h>
#include <stdlib.h>

static void hello(struct rill_exchange *x, void *arg)
{
    rill_exchange_reply(x, 200, "text/plain", "Hello, World!", 13);
}
static void name(struct rill_exchange *x, void *arg)
{
    struct rill_slice who = rill_exchange_param(x, "name");
    rill_exchange_reply_format(x, 200, "Hello, %.*s!", (int)who.length, who.bytes);
}
static void echo_piece(struct rill_exchange *x, void *arg, struct rill_slice bytes, bool end)
{
    rill_exchange_write(x, bytes.bytes, bytes.length);
    if (end)
        rill_exchange_end(x);
}
static void echo(struct rill_exchange *x, void *arg)
{
    rill_exchange_read_body(x, echo_piece, NULL);
    rill_exchange_begin(x, 200, "application/octet-stream", rill_exchange_content_length(x));
}
static void nap(struct rill_exchange *x, void *arg)
{
    uint64_t ms = UINT64_MAX;
    if (rill_decimal_parse(rill_exchange_param(x, "ms"), &ms) < 0 || ms > 60000)
        rill_exchange_reply_text(x, 400, "0 to 60000 milliseconds are wanted");
    else
        rill_exchange_after(x, ms, hello, NULL);
}
static void hash_run(void *text) /* on a worker: FNV-1a of what begins at byte 16, put before it */
{
    uint64_t hash = 0xcbf29ce484222325;
    for (const unsigned char *p = (unsigned char *)text + 16; *p; p++)
        hash = (hash ^ *p) * 0x100000001b3;
    snprintf(text, 17, "%016llx", (unsigned long long)hash);
}
static void hash(struct rill_exchange *x, void *arg)
{
    struct rill_slice text = rill_exchange_param(x, "text");
    char *copy = NULL; /* for the worker, who may outlive the exchange */
    if (asprintf(&copy, "%16s%.*s", "", (int)text.length, text.bytes) < 0)
        rill_exchange_reply_status(x, 503);
    else
        rill_exchange_work(x, &(struct rill_work){hash_run, rill_work_reply_text, free, copy, 0});
}

int main(int argc, char **argv)
{
    static const struct rill_route routes[] = {
        {"GET", "/", hello, NULL},     {"GET", "/hello", hello, NULL},   {"GET", "/hello/:name", name, NULL},
        {"POST", "/echo", echo, NULL}, {"GET", "/sleep/:ms", nap, NULL}, {"GET", "/hash/:text", hash, NULL},
        {NULL, NULL, NULL, NULL}};
    return rill_app_main(&(struct rill_app){.name = "rill-hello", .summary = "answers"}, routes, argc, argv);
}
