/* options.c - the command line that all programs share: one table of options, one parser, one help text. */
#include "options.h"
#include "rill/core/log.h"
#include "rill/core/units.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int parse_listen(void *target, const char *text, const char **wanted)
{
    struct rill_server_config *net = target;
    struct rill_addr addr;
    unsigned count = 0;
    while (count < RILL_SERVER_MAX_LISTENERS - 1 && net->listens[count])
        count++;
    if (count == RILL_SERVER_MAX_LISTENERS - 1) {
        *wanted = "at most 31 addresses can be listened on";
        return -EINVAL;
    }
    if (rill_addr_parse(text, &addr, wanted) < 0)
        return -EINVAL;
    net->listens[count] = text;
    return 0;
}

static int parse_threads(void *target, const char *text, const char **wanted)
{
    uint64_t count;
    if (rill_parse_count(text, 0, RILL_LOOP_MAX - 1, &count, wanted) < 0)
        return -EINVAL;
    *(int *)target = (int)count;
    return 0;
}

static int parse_accept(void *target, const char *text, const char **wanted)
{
    *wanted = "round-robin, least-connections or reuseport is wanted";
    return rill_accept_mode_parse(text, target);
}

static int parse_backend(void *target, const char *text, const char **wanted)
{
    *wanted = "epoll, poll or select is wanted";
    return rill_backend_parse(text, target);
}

static int parse_log_level(void *target, const char *text, const char **wanted)
{
    enum rill_log_level level;
    (void)target;
    *wanted = "debug, info, warn, error or off is wanted";
    if (rill_log_level_parse(text, &level) < 0)
        return -EINVAL;
    rill_log_set_level(level);
    return 0;
}

#define SHARED_OPTIONS 20

/* The options that every program has, aimed at APP. */
static void shared_options(struct rill_app *app, struct rill_option options[SHARED_OPTIONS])
{
    struct rill_http_server_config *http = &app->http;
    struct rill_server_config *net = &http->net;
    const struct rill_option table[SHARED_OPTIONS] = {
        {.name = "--listen",
         .value = "ADDR",
         .kind = RILL_OPTION_CUSTOM,
         .target = net,
         .parse = parse_listen,
         .help = "HOST:PORT, [V6]:PORT or unix:/PATH; may be repeated (127.0.0.1:8080)"},
        {.name = "--threads",
         .value = "N",
         .kind = RILL_OPTION_CUSTOM,
         .target = &net->threads,
         .parse = parse_threads,
         .help = "sub-reactors; 0: the main reactor does everything (one a CPU)"},
        {.name = "--workers",
         .value = "N",
         .kind = RILL_OPTION_COUNT,
         .target = &http->workers,
         .min = 1,
         .max = 1024,
         .help = "threads of the pool for whatever would block (4)"},
        {.name = "--worker-queue",
         .value = "N",
         .kind = RILL_OPTION_COUNT,
         .target = &http->worker_queue,
         .min = 1,
         .max = 1 << 20,
         .help = "jobs that may wait for a worker; beyond: 503 (1024)"},
        {.name = "--accept",
         .value = "MODE",
         .kind = RILL_OPTION_CUSTOM,
         .target = &net->accept,
         .parse = parse_accept,
         .help = "round-robin, least-connections or reuseport (round-robin)"},
        {.name = "--backend",
         .value = "NAME",
         .kind = RILL_OPTION_CUSTOM,
         .target = &net->backend,
         .parse = parse_backend,
         .help = "epoll, poll or select (epoll)"},
        {.name = "--pin", .kind = RILL_OPTION_FLAG, .target = &net->pin, .help = "bind each reactor to a CPU"},
        {.name = "--defer-accept",
         .kind = RILL_OPTION_FLAG,
         .target = &net->defer_accept,
         .help = "leave a connection to the kernel until its first byte: cheaper, see docs/performance.md (off)"},
        {.name = "--idle-timeout",
         .value = "TIME",
         .kind = RILL_OPTION_DURATION,
         .target = &http->idle_timeout_ms,
         .min = 1,
         .help = "between two requests of a connection (60s)"},
        {.name = "--header-timeout",
         .value = "TIME",
         .kind = RILL_OPTION_DURATION,
         .target = &http->header_timeout_ms,
         .min = 1,
         .help = "from a request's first byte to its blank line (10s)"},
        {.name = "--body-timeout",
         .value = "TIME",
         .kind = RILL_OPTION_DURATION,
         .target = &http->body_timeout_ms,
         .min = 1,
         .help = "stretch in which a body must bring 500 bytes a second (30s)"},
        {.name = "--write-timeout",
         .value = "TIME",
         .kind = RILL_OPTION_DURATION,
         .target = &net->write_timeout_ms,
         .min = 1,
         .help = "a client that takes no byte for so long is dropped (30s)"},
        {.name = "--drain-timeout",
         .value = "TIME",
         .kind = RILL_OPTION_DURATION,
         .target = &net->drain_timeout_ms,
         .min = 1,
         .help = "for exchanges to finish when stopping (10s)"},
        {.name = "--max-connections",
         .value = "N",
         .kind = RILL_OPTION_COUNT,
         .target = &net->max_connections,
         .min = 1,
         .max = 1 << 20,
         .help = "accepting pauses at so many (the limit of open files)"},
        {.name = "--max-header-bytes",
         .value = "SIZE",
         .kind = RILL_OPTION_SIZE_32,
         .target = &http->limits.max_header_bytes,
         .min = 256,
         .max = 1 << 20,
         .help = "of a request's head; beyond: 431 (32k)"},
        {.name = "--max-body-bytes",
         .value = "SIZE",
         .kind = RILL_OPTION_SIZE,
         .target = &http->limits.max_body_bytes,
         .min = 1,
         .help = "of a request's body; beyond: 413 (1m)"},
        {.name = "--error-log",
         .value = "FILE",
         .kind = RILL_OPTION_TEXT,
         .target = &app->error_log,
         .help = "where messages go; reopened on SIGHUP (standard error)"},
        {.name = "--log-level",
         .value = "LEVEL",
         .kind = RILL_OPTION_CUSTOM,
         .parse = parse_log_level,
         .help = "debug, info, warn, error or off (info)"},
        {.name = "--help", .kind = RILL_OPTION_FLAG, .help = "show this and exit"},
        {.name = "--version", .kind = RILL_OPTION_FLAG, .help = "show the version and exit"},
    };
    memcpy(options, table, sizeof table);
}

static void print_options(const struct rill_option *options, size_t count)
{
    for (size_t i = 0; i < count && options[i].name; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", options[i].name, options[i].value ? " " : "",
                 options[i].value ? options[i].value : "");
        printf("  %-24s %s\n", left, options[i].help);
    }
}

static void print_help(const struct rill_app *app, const struct rill_option *shared)
{
    printf("%s - %s\n\nusage: %s [options]%s%s%s\n\n", app->name, app->summary, app->name, app->operand ? " [" : "",
           app->operand ? app->operand : "", app->operand ? "]" : "");
    print_options(app->options, app->option_count);
    print_options(shared, SHARED_OPTIONS);
    printf("\nTIME is a number and ms, s, m or h; SIZE a number of bytes, or with k, m or g.\n"
           "SIGTERM and SIGINT drain and stop, a second one stops at once; SIGHUP reopens the logs.\n");
}

static const struct rill_option *find(const struct rill_option *options, size_t count, const char *name, size_t length)
{
    for (size_t i = 0; i < count && options[i].name; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0)
            return &options[i];
    return NULL;
}

static int set_number(const struct rill_option *option, const char *text, const char **wanted)
{
    uint64_t value, max = option->max ? option->max : UINT64_MAX;
    int error;
    if (option->kind == RILL_OPTION_COUNT)
        error = rill_parse_count(text, option->min, max, &value, wanted);
    else if (option->kind == RILL_OPTION_DURATION)
        error = rill_parse_duration_ms(text, &value, wanted);
    else
        error = rill_parse_size(text, &value, wanted);
    if (error < 0)
        return error;
    if (value < option->min || value > max) {
        *wanted = value < option->min ? "that is too little" : "that is too much";
        return -EINVAL;
    }
    if (option->kind == RILL_OPTION_COUNT)
        *(unsigned *)option->target = (unsigned)value;
    else if (option->kind == RILL_OPTION_SIZE_32)
        *(uint32_t *)option->target = (uint32_t)value;
    else
        *(uint64_t *)option->target = value;
    return 0;
}

static int set(const struct rill_option *option, const char *text, const char **wanted)
{
    switch (option->kind) {
    case RILL_OPTION_FLAG:
        *(bool *)option->target = true;
        return 0;
    case RILL_OPTION_TEXT:
        *(const char **)option->target = text;
        return 0;
    case RILL_OPTION_CUSTOM:
        return option->parse(option->target, text, wanted);
    case RILL_OPTION_DURATION:
    case RILL_OPTION_SIZE:
    case RILL_OPTION_SIZE_32:
    case RILL_OPTION_COUNT:
        break;
    }
    return set_number(option, text, wanted);
}

/* Takes one option at ARGV[*I], and its value from there or from the next word. Returns as rill_app_parse(). */
static int take_option(struct rill_app *app, const struct rill_option *shared, char **argv, int *i)
{
    const char *word = argv[*i], *equals = strchr(word, '='), *wanted = "";
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const struct rill_option *option = find(app->options, app->option_count, word, length);
    if (!option)
        option = find(shared, SHARED_OPTIONS, word, length);
    if (!option) {
        fprintf(stderr, "%s: there is no option %.*s; see %s --help\n", app->name, (int)length, word, app->name);
        return 2;
    }
    if (strcmp(option->name, "--help") == 0) {
        print_help(app, shared);
        return 0;
    }
    if (strcmp(option->name, "--version") == 0) {
        printf("%s %s\n", app->name, RILL_VERSION);
        return 0;
    }
    if (option->kind == RILL_OPTION_FLAG && equals) {
        fprintf(stderr, "%s: %s takes no value\n", app->name, option->name);
        return 2;
    }
    const char *text = equals ? equals + 1 : NULL;
    if (option->kind != RILL_OPTION_FLAG && !text && !(text = argv[*i + 1])) {
        fprintf(stderr, "%s: %s wants a value: %s %s\n", app->name, option->name, option->name, option->value);
        return 2;
    }
    *i += option->kind != RILL_OPTION_FLAG && !equals;
    if (set(option, text, &wanted) < 0) {
        fprintf(stderr, "%s: %s: \"%s\" is not right: %s\n", app->name, option->name, text, wanted);
        return 2;
    }
    return -1;
}

int rill_app_parse(struct rill_app *app, int argc, char **argv)
{
    struct rill_option shared[SHARED_OPTIONS];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    bool only_operands = false;
    app->http.net.name = app->name;
    app->http.net.threads = cpus > 0 && cpus < RILL_LOOP_MAX ? (int)cpus : 1;
    shared_options(app, shared);
    for (int i = 1; i < argc; i++) {
        if (!only_operands && strcmp(argv[i], "--") == 0) {
            only_operands = true;
        } else if (!only_operands && argv[i][0] == '-' && argv[i][1] != '\0') {
            int status = take_option(app, shared, argv, &i);
            if (status >= 0)
                return status;
        } else if (!app->operand || app->operand_value) {
            fprintf(stderr, "%s: \"%s\" is one word too many; see %s --help\n", app->name, argv[i], app->name);
            return 2;
        } else {
            app->operand_value = argv[i];
        }
    }
    if (!app->http.net.listens[0])
        app->http.net.listens[0] = "127.0.0.1:8080";
    int error = app->error_log ? rill_log_open(app->error_log) : 0;
    if (error < 0) {
        fprintf(stderr, "%s: cannot open the error log %s: %s; choose a file that may be written to\n", app->name,
                app->error_log, strerror(-error));
        return 1;
    }
    return -1;
}

int rill_app_main(struct rill_app *app, const struct rill_route *routes, int argc, char **argv)
{
    int status = rill_app_parse(app, argc, argv);
    if (status >= 0)
        return status;
    struct rill_router *router = rill_router_new();
    int error = router ? rill_router_add_all(router, routes) : -ENOMEM;
    if (error == 0) {
        app->http.router = router;
        status = rill_http_server_main(&app->http);
    } else {
        fprintf(stderr, "%s: cannot set up the routes: %s\n", app->name, strerror(-error));
        status = 1;
    }
    rill_router_free(router);
    return status;
}
