/* plan.c - from URLs and options to requests, ready to be sent. */
#include "bench.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_WEIGHT = 1000, MAX_ORDER = 100000 };

const char *const bench_error_names[BENCH_ERRORS] = {
    [BENCH_CONNECT] = "connect", [BENCH_RESET] = "reset",         [BENCH_CUT] = "cut_off",
    [BENCH_TIMEOUT] = "timeout", [BENCH_MALFORMED] = "malformed", [BENCH_UNASKED] = "unasked",
    [BENCH_STATUS] = "status",   [BENCH_LENGTH] = "length",       [BENCH_BODY] = "body"};

uint64_t bench_hash(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static int add_request(struct bench_plan *plan, const struct bench_request *request)
{
    unsigned count = plan->request_count;
    if ((count & (count - 1)) == 0) { /* a power of two, or none: there is room for so many */
        struct bench_request *more = realloc(plan->requests, (count ? 2 * (size_t)count : 1) * sizeof *more);
        if (!more)
            return -ENOMEM;
        plan->requests = more;
    }
    plan->requests[plan->request_count++] = *request;
    return 0;
}

const char *bench_take_weight(const char *text, unsigned *weight)
{
    char *end;
    *weight = 1;
    if (*text < '0' || *text > '9')
        return text;
    unsigned long number = strtoul(text, &end, 10);
    if (*end != '*')
        return text;
    *weight = (unsigned)number;
    return number >= 1 && number <= MAX_WEIGHT ? end + 1 : NULL;
}

/* HOST or HOST:PORT to the address of the server, which is one for all requests. */
static int take_server(struct bench_plan *plan, const char *host, size_t length, const char **wanted)
{
    char text[300];
    struct rill_addr address;
    bool has_port = length > 0 && host[length - 1] != ']' && memrchr(host, ':', length) != NULL;
    if (length == 0 || length > sizeof text - 10) {
        *wanted = "a host is wanted after http://";
        return -EINVAL;
    }
    snprintf(text, sizeof text, "%.*s%s", (int)length, host, has_port ? "" : ":80");
    if (rill_addr_parse(text, &address, wanted) < 0)
        return -EINVAL;
    rill_addr_format(&address, text);
    if (plan->address.length && strcmp(text, plan->server) != 0) {
        *wanted = "all URLs have to be of one server";
        return -EINVAL;
    }
    plan->address = address;
    snprintf(plan->server, sizeof plan->server, "%.*s", (int)sizeof plan->server - 1, text);
    return 0;
}

static bool has_header(const struct bench_request_options *options, const char *name)
{
    size_t length = strlen(name);
    for (unsigned i = 0; i < options->header_count; i++)
        if (strncasecmp(options->headers[i], name, length) == 0 && options->headers[i][length] == ':')
            return true;
    return false;
}

static int write_http(struct bench_request *request, const char *host, size_t host_length, const char *target,
                      const struct bench_request_options *options)
{
    const char *method = options->method ? options->method : options->body ? "POST" : "GET";
    FILE *out = open_memstream(&request->bytes, &request->length);
    if (!out)
        return -ENOMEM;
    fprintf(out, "%s %s HTTP/1.1\r\n", method, *target ? target : "/");
    if (!has_header(options, "Host"))
        fprintf(out, "Host: %.*s\r\n", (int)host_length, host);
    for (unsigned i = 0; i < options->header_count; i++)
        fprintf(out, "%s\r\n", options->headers[i]);
    if (options->body && !has_header(options, "Content-Length"))
        fprintf(out, "Content-Length: %zu\r\n", options->body_length);
    if (options->close && !has_header(options, "Connection"))
        fputs("Connection: close\r\n", out);
    fputs("\r\n", out);
    if (options->body)
        fwrite(options->body, 1, options->body_length, out);
    request->head = strcmp(method, "HEAD") == 0;
    return fclose(out) == 0 ? 0 : -ENOMEM;
}

static int write_echo(struct bench_request *request, size_t size)
{
    request->bytes = malloc(size);
    request->length = size;
    for (size_t i = 0; request->bytes && i < size; i++)
        request->bytes[i] = (char)('a' + i % 26);
    return request->bytes ? 0 : -ENOMEM;
}

int bench_plan_add_url(struct bench_plan *plan, const char *text, const struct bench_request_options *options,
                       const char **wanted)
{
    struct bench_request request = {.bytes = NULL};
    const char *url = bench_take_weight(text, &request.weight);
    bool echo = plan->protocol == BENCH_ECHO;
    if (!url) {
        *wanted = "a weight is from 1 to 1000, as in 3*http://localhost/";
        return -EINVAL;
    }
    if (strncmp(url, "http://", 7) == 0 && !echo) {
        url += 7;
    } else if (strncmp(url, "echo://", 7) == 0 && !echo && plan->request_count > 0) {
        *wanted = "all URLs have to be of one protocol";
        return -EINVAL;
    } else if (strncmp(url, "echo://", 7) == 0) {
        echo = true;
        plan->protocol = BENCH_ECHO;
        url += 7;
    } else if (strstr(url, "://") || !echo) {
        *wanted = "http://HOST[:PORT]/PATH is wanted, or echo://HOST:PORT";
        return -EINVAL;
    }
    size_t host_length = strcspn(url, "/?#");
    if (strcspn(url, " \t\r\n") != strlen(url)) {
        *wanted = "a URL has no white space";
        return -EINVAL;
    }
    if (take_server(plan, url, host_length, wanted) < 0)
        return -EINVAL;
    char target[4096];
    size_t length = strcspn(url + host_length, "#");
    if (length > sizeof target - 2) {
        *wanted = "a URL has at most 4094 bytes of path";
        return -EINVAL;
    }
    snprintf(target, sizeof target, "%s%.*s", url[host_length] == '?' ? "/" : "", (int)length, url + host_length);
    int error =
        echo ? write_echo(&request, plan->message_size) : write_http(&request, url, host_length, target, options);
    if (error == 0)
        error = add_request(plan, &request);
    if (error < 0) {
        *wanted = "there is no memory for it";
        free(request.bytes);
    }
    return error;
}

/* One of the times that a request comes, and where in the round: 0 to 1. */
struct turn {
    double at;
    unsigned request;
};

static int compare_turns(const void *left, const void *right)
{
    const struct turn *a = left, *b = right;
    return a->at != b->at ? (a->at > b->at) - (a->at < b->at) : (a->request > b->request) - (a->request < b->request);
}

/* Each request comes as often as its weight, evenly spread over the round. */
int bench_plan_finish(struct bench_plan *plan)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < plan->request_count; i++)
        total += plan->requests[i].weight;
    if (total == 0)
        return -EINVAL;
    struct turn *turns = total <= MAX_ORDER ? calloc(total, sizeof *turns) : NULL;
    plan->order = turns ? calloc(total, sizeof *plan->order) : NULL;
    if (!plan->order) {
        free(turns);
        return -ENOMEM;
    }
    plan->order_length = 0;
    for (unsigned i = 0; i < plan->request_count; i++)
        for (unsigned k = 0; k < plan->requests[i].weight; k++)
            turns[plan->order_length++] = (struct turn){(k + 0.5) / plan->requests[i].weight, i};
    qsort(turns, plan->order_length, sizeof *turns, compare_turns);
    for (unsigned i = 0; i < plan->order_length; i++)
        plan->order[i] = turns[i].request;
    free(turns);
    return 0;
}

void bench_plan_free(struct bench_plan *plan)
{
    for (unsigned i = 0; i < plan->request_count; i++)
        free(plan->requests[i].bytes);
    free(plan->requests);
    free(plan->order);
}
