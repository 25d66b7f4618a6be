/* options.c - the command line that all programs share: one table of options, one parser, one help text. */
#include "options.h"
#include "rill/core/crash.h"
#include "rill/core/log.h"
#include "rill/core/units.h"
#include "rill/http/admin.h"
#include "rill/net/cidr.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int parse_listen(void *target, const char *text, const char **wanted)
{
    struct rill_server_config *server = target;
    struct rill_listen_address address;
    unsigned count = 0;
    while (count < RILL_SERVER_MAX_LISTENERS - 1 && server->listens[count].address)
        count++;
    if (count == RILL_SERVER_MAX_LISTENERS - 1) {
        *wanted = "at most 31 addresses can be listened on";
        return -EINVAL;
    }
    if (rill_listen_parse(text, &address, wanted) < 0)
        return -EINVAL;
    server->listens[count].address = text;
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

static int parse_defer_accept(void *target, const char *text, const char **wanted)
{
    *wanted = "on, off or auto is wanted";
    return rill_defer_accept_parse(text, target);
}

static int parse_proxy_from(void *target, const char *text, const char **wanted)
{
    int error;
    struct rill_cidr_list *proxies = rill_cidr_list_new(text, &error, wanted);
    if (!proxies && error != -EINVAL)
        *wanted = strerror(-error);
    rill_cidr_list_free(proxies); /* the server reads it again, for each listener */
    *(const char **)target = text;
    return error;
}

static int parse_rate(void *target, const char *text, const char **wanted)
{
    return rill_rate_parse(text, target, wanted);
}

static int parse_admin(void *target, const char *text, const char **wanted)
{
    char *address = target;
    return rill_admin_address(text, address, RILL_APP_ADMIN_BYTES, wanted);
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

/* The shared options, in tables; their targets are members of struct rill_app. */
struct option_table {
    const struct rill_option *options;
    size_t count;
};

enum { TABLES = 4 }; /* the program's own, all servers', its protocol's, everybody's */

#define AT(member) .target = (void *)offsetof(struct rill_app, member)

static const struct rill_option http_options[] = {
    {"--idle-timeout", "TIME", "between two requests of a connection (60s)", RILL_OPTION_DURATION,
     AT(http.idle_timeout_ms), .min = 1},
    {"--defer-accept", "WHEN", "leave new connections to the kernel until their first byte: on, off or auto (auto)",
     RILL_OPTION_CUSTOM, AT(server.defer_accept), .parse = parse_defer_accept},
    {"--header-timeout", "TIME", "from a request's first byte to its blank line (10s)", RILL_OPTION_DURATION,
     AT(http.header_timeout_ms), .min = 1},
    {"--body-timeout", "TIME", "stretch in which a body must bring 500 bytes a second (30s)", RILL_OPTION_DURATION,
     AT(http.body_timeout_ms), .min = 1},
    {"--max-requests", "N", "in flight at a time; more get 503 and Retry-After (no limit)", RILL_OPTION_COUNT,
     AT(http.max_requests), .min = 1, .max = 1 << 20},
    {"--request-rate", "RATE", "requests a second of one client address, RATE or RATE:BURST; more get 429 (no limit)",
     RILL_OPTION_CUSTOM, AT(http.max_requests_per_address), .parse = parse_rate},
    {"--max-header-bytes", "SIZE", "of a request's head; beyond: 431 (32k)", RILL_OPTION_SIZE_32,
     AT(http.limits.max_header_bytes), .min = 256, .max = 1 << 20},
    {"--max-body-bytes", "SIZE", "of a request's body; beyond: 413 (1m)", RILL_OPTION_SIZE,
     AT(http.limits.max_body_bytes), .min = 1},
};

/* Of servers with a protocol of their own, instead of HTTP's. */
static const struct rill_option protocol_options[] = {
    {"--idle-timeout", "TIME", "a connection on which nothing moves for so long is closed (never)",
     RILL_OPTION_DURATION, AT(server.idle_timeout_ms), .min = 1},
    {"--defer-accept", "WHEN", "leave new connections to the kernel until their first byte: on, off or auto (off)",
     RILL_OPTION_CUSTOM, AT(server.defer_accept), .parse = parse_defer_accept},
};

static const struct rill_option server_options[] = {
    {"--listen", "ADDR", "HOST:PORT, [V6]:PORT, unix:/PATH[,mode=660] or fd:N; may be repeated (%s)",
     RILL_OPTION_CUSTOM, AT(server), .parse = parse_listen},
    {"--threads", "N", "sub-reactors; 0: the main reactor does everything (one a CPU)", RILL_OPTION_CUSTOM,
     AT(server.threads), .parse = parse_threads},
    {"--workers", "N", "threads of the pool for whatever would block (4)", RILL_OPTION_COUNT, AT(server.workers),
     .min = 1, .max = 1024},
    {"--worker-queue", "N", "jobs that may wait for a worker; beyond they are refused (1024)", RILL_OPTION_COUNT,
     AT(server.worker_queue), .min = 1, .max = 1 << 20},
    {"--accept", "MODE", "round-robin, least-connections or reuseport (round-robin)", RILL_OPTION_CUSTOM,
     AT(server.accept), .parse = parse_accept},
    {"--backend", "NAME", "epoll, poll or select (epoll)", RILL_OPTION_CUSTOM, AT(server.backend),
     .parse = parse_backend},
    {"--pin", NULL, "bind each reactor to a CPU", RILL_OPTION_FLAG, AT(server.pin)},
    {"--write-timeout", "TIME", "a client that takes no byte for so long is dropped (30s)", RILL_OPTION_DURATION,
     AT(server.write_timeout_ms), .min = 1},
    {"--drain-timeout", "TIME", "for what is in flight to finish when stopping (10s)", RILL_OPTION_DURATION,
     AT(server.drain_timeout_ms), .min = 1},
    {"--stall-threshold", "TIME", "a turn of a reactor that takes longer is logged, with a backtrace; 0s: none is (1s)",
     RILL_OPTION_DURATION, AT(server.stall_threshold_ms), .max = 3600000},
    {"--max-connections", "N", "near so many idle ones are closed; then accepting pauses (the limit of open files)",
     RILL_OPTION_COUNT, AT(server.max_connections), .min = 1, .max = 1 << 20},
    {"--max-buffered-bytes", "SIZE", "of input and output that wait, in all; see docs/reliability.md (no limit)",
     RILL_OPTION_SIZE, AT(server.max_buffered_bytes), .min = 1 << 20},
    {"--admin", "ADDR", "show metrics, health and a page with them there: [HOST:]PORT; HOST 127.0.0.1 (off)",
     RILL_OPTION_CUSTOM, AT(admin), .parse = parse_admin},
    {"--trace", "FILE", "where the way of one request in --trace-sample is written, for a trace viewer (none is)",
     RILL_OPTION_TEXT, AT(server.trace_path)},
    {"--trace-sample", "N", "one in so many connections and requests is traced (256)", RILL_OPTION_COUNT,
     AT(server.trace_sample), .min = 1, .max = 1 << 30},
    {"--proxy-from", "NETS", "the proxies, as in 10.0.0.0/8,::1,unix:, that connect, each with a PROXY header (none)",
     RILL_OPTION_CUSTOM, AT(proxy_from), .parse = parse_proxy_from},
    {"--max-per-address", "N", "connections from one client address; more are refused (no limit)", RILL_OPTION_COUNT,
     AT(server.max_connections_per_address), .min = 1, .max = 1 << 20},
    {"--accept-rate", "RATE",
     "connections a second of one client address, RATE or RATE:BURST; more are refused (no limit)", RILL_OPTION_CUSTOM,
     AT(server.max_accepts_per_address), .parse = parse_rate},
};

static const struct rill_option common_options[] = {
    {"--error-log", "FILE", "where messages go; reopened on SIGHUP (standard error)", RILL_OPTION_TEXT, AT(error_log)},
    {"--log-level", "LEVEL", "debug, info, warn, error or off (info)", RILL_OPTION_CUSTOM, .parse = parse_log_level},
    {.name = "--help", .help = "show this and exit"},
    {.name = "--version", .help = "show the version and exit"},
};

#define TABLE(options) ((struct option_table){options, rill_array_length(options)})

/* The tables that APP has, in the order of its help. */
static void tables_of(const struct rill_app *app, struct option_table tables[TABLES])
{
    static const struct option_table none = {NULL, 0};
    tables[0] = (struct option_table){app->options, app->option_count};
    tables[1] = app->kind == RILL_APP_TOOL ? none : TABLE(server_options);
    tables[2] = app->kind == RILL_APP_TOOL   ? none
                : app->kind == RILL_APP_HTTP ? TABLE(http_options)
                                             : TABLE(protocol_options);
    tables[3] = TABLE(common_options);
}

/* The option called by the first LENGTH bytes of NAME; NULL: there is none. *TARGET is what it sets. */
static const struct rill_option *find(struct rill_app *app, const char *name, size_t length, void **target)
{
    struct option_table tables[TABLES];
    tables_of(app, tables);
    for (unsigned t = 0; t < TABLES; t++) {
        for (size_t i = 0; i < tables[t].count && tables[t].options[i].name; i++) {
            const struct rill_option *option = &tables[t].options[i];
            if (strlen(option->name) != length || memcmp(option->name, name, length) != 0)
                continue;
            *target = t == 0 ? option->target : (char *)app + (uintptr_t)option->target;
            return option;
        }
    }
    return NULL;
}

static const char *default_listen(const struct rill_app *app)
{
    return app->default_listen ? app->default_listen : "127.0.0.1:8080";
}

static void print_help(const struct rill_app *app)
{
    struct option_table tables[TABLES];
    tables_of(app, tables);
    printf("%s - %s\n\nusage: %s [options]%s%s%s\n\n", app->name, app->summary, app->name, app->operand ? " [" : "",
           app->operand ? app->operand : "", app->operand ? "]" : "");
    for (unsigned t = 0; t < TABLES; t++) {
        for (size_t i = 0; i < tables[t].count && tables[t].options[i].name; i++) {
            const struct rill_option *option = &tables[t].options[i];
            const char *mark = t == 1 ? strstr(option->help, "%s") : NULL;
            printf("  %s %-*s ", option->name, (int)(23 - strlen(option->name)), option->value ? option->value : "");
            if (mark)
                printf("%.*s%s%s\n", (int)(mark - option->help), option->help, default_listen(app), mark + 2);
            else
                printf("%s\n", option->help);
        }
    }
    printf("\nTIME is a number and ms, s, m or h; SIZE a number of bytes, or with k, m or g.\n");
    if (app->kind != RILL_APP_TOOL)
        printf("SIGTERM and SIGINT drain and stop, a second one stops at once; SIGHUP reopens the logs.\n");
    const char *usual = app->kind == RILL_APP_TOOL ? "0 all went well, 1 it did not, 2 the command line is wrong"
                                                   : "0 stopped as told, 1 cannot serve, 2 the command line is wrong";
    printf("Exit status: %s.\n", app->exit_status ? app->exit_status : usual);
}

/* What VALUE is called on the command line. */
static void write_bound(const struct rill_option *option, uint64_t value, char text[24])
{
    const bool is_time = option->kind == RILL_OPTION_DURATION;
    const bool hours = is_time && value > 0 && value % 3600000 == 0;
    snprintf(text, 24, "%llu%s", (unsigned long long)(hours ? value / 3600000 : value),
             hours     ? "h"
             : is_time ? "ms"
                       : "");
}

static const char *range_wanted(const struct rill_option *option)
{
    static char text[80];
    char least[24], most[24];
    write_bound(option, option->min, least);
    write_bound(option, option->max, most);
    if (option->max)
        snprintf(text, sizeof text, "from %s to %s is wanted", least, most);
    else
        snprintf(text, sizeof text, "at least %s is wanted", least);
    return text;
}

static int set_number(const struct rill_option *option, void *target, const char *text, const char **wanted)
{
    uint64_t value, max = option->max ? option->max : UINT64_MAX;
    int error;
    if (option->kind == RILL_OPTION_COUNT)
        error = rill_parse_count(text, 0, UINT64_MAX, &value, wanted);
    else if (option->kind == RILL_OPTION_DURATION)
        error = rill_parse_duration_ms(text, &value, wanted);
    else
        error = rill_parse_size(text, &value, wanted);
    if (error < 0)
        return error;
    if (value < option->min || value > max) {
        *wanted = range_wanted(option);
        return -EINVAL;
    }
    if (option->kind == RILL_OPTION_COUNT)
        *(unsigned *)target = (unsigned)value;
    else if (option->kind == RILL_OPTION_SIZE_32)
        *(uint32_t *)target = (uint32_t)value;
    else
        *(uint64_t *)target = value;
    return 0;
}

static int set(const struct rill_option *option, void *target, const char *text, const char **wanted)
{
    switch (option->kind) {
    case RILL_OPTION_FLAG:
        *(bool *)target = true;
        return 0;
    case RILL_OPTION_TEXT:
        *(const char **)target = text;
        return 0;
    case RILL_OPTION_CUSTOM:
        return option->parse(target, text, wanted);
    case RILL_OPTION_DURATION:
    case RILL_OPTION_SIZE:
    case RILL_OPTION_SIZE_32:
    case RILL_OPTION_COUNT:
        break;
    }
    return set_number(option, target, text, wanted);
}

/* Takes one option at ARGV[*I], and its value from there or from the next word. Returns as rill_app_parse(). */
static int take_option(struct rill_app *app, char **argv, int *i)
{
    const char *word = argv[*i], *equals = strchr(word, '='), *wanted = "";
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    void *target;
    const struct rill_option *option = find(app, word, length, &target);
    if (!option) {
        fprintf(stderr, "%s: there is no option %.*s; see %s --help\n", app->name, (int)length, word, app->name);
        return 2;
    }
    if (strcmp(option->name, "--help") == 0) {
        print_help(app);
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
    if (set(option, target, text, &wanted) < 0) {
        fprintf(stderr, "%s: %s: \"%s\" is not right: %s\n", app->name, option->name, text, wanted);
        return 2;
    }
    return -1;
}

int rill_app_parse(struct rill_app *app, int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    bool only_operands = false;
    app->server.name = app->name;
    app->server.stall_threshold_ms = 1000;
    app->server.threads = cpus > 0 && cpus < RILL_LOOP_MAX ? (int)cpus : 1;
    for (int i = 1; i < argc; i++) {
        if (!only_operands && strcmp(argv[i], "--") == 0) {
            only_operands = true;
        } else if (!only_operands && argv[i][0] == '-' && argv[i][1] != '\0') {
            int status = take_option(app, argv, &i);
            if (status >= 0)
                return status;
        } else if (!app->operand || app->operand_value) {
            fprintf(stderr, "%s: \"%s\" is one word too many; see %s --help\n", app->name, argv[i], app->name);
            return 2;
        } else {
            app->operand_value = argv[i];
        }
    }
    if (!app->server.listens[0].address)
        app->server.listens[0].address = default_listen(app);
    for (unsigned i = 0; i < RILL_SERVER_MAX_LISTENERS && app->server.listens[i].address; i++)
        app->server.listens[i].proxy_from = app->proxy_from;
    int error = app->error_log ? rill_log_open(app->error_log) : 0;
    if (error < 0) {
        fprintf(stderr, "%s: cannot open the error log %s: %s; choose a file that may be written to\n", app->name,
                app->error_log, strerror(-error));
        return 1;
    }
    rill_crash_report_install(); /* without a stack of its own it still reports all but the end of that */
    return -1;
}
