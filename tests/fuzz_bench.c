/* fuzz_bench.c - fuzzes what rill-bench makes of URLs and request files. The input is lines: a URL, as on the command
 * line, and then a request file. What comes of each is one request, the one that was meant, whatever was in it.
 *
 * Names would be looked up, and bodies read: lines with such are only taken apart, and with them nothing else is done.
 */
#include "rill/apps/bench/bench.h"
#include "rill/http/parser.h"
#include "support/fuzz.h"
#include <errno.h>

enum { MAX = 4096, LINES = 64 };

/* --- slow readings --- */

enum group { WEIGHT = 2, METHOD = 3, TARGET = 4, BODY = 6, GROUPS };

/* Whether LINE is one of a request file; then LINE is cut into the words that PARTS name. */
static bool reference_line(char *line, struct bench_line *parts)
{
    static struct fuzz_pattern pattern = {.text = "^[ \t]*(([0-9]+)[*])?([A-Za-z0-9!#$%&'*+.^_`|~-]+)[ \t]+([^ \t]+)"
                                                  "([ \t]+([^ \t]+))?[ \t]*$"};
    regmatch_t groups[GROUPS + 1];
    if (!fuzz_match(&pattern, line, GROUPS + 1, groups))
        return false;
    unsigned long weight = groups[WEIGHT].rm_so < 0 ? 1 : strtoul(line + groups[WEIGHT].rm_so, NULL, 10);
    line[groups[METHOD].rm_eo] = line[groups[TARGET].rm_eo] = '\0';
    if (groups[BODY].rm_so >= 0)
        line[groups[BODY].rm_eo] = '\0';
    *parts = (struct bench_line){.method = line + groups[METHOD].rm_so,
                                 .target = line + groups[TARGET].rm_so,
                                 .body_path = groups[BODY].rm_so < 0 ? NULL : line + groups[BODY].rm_so,
                                 .weight = (unsigned)weight};
    bool is_weight = groups[WEIGHT].rm_so < 0 && parts->method[strspn(parts->method, "0123456789")] == '*' &&
                     *parts->method != '*'; /* and nothing else: "8*" is no method */
    return weight >= 1 && weight <= 1000 && !is_weight;
}

/* Whether the host of URL is anything but a name. */
static bool needs_no_lookup(const char *url)
{
    char text[512], host[RILL_HOST_TEXT];
    struct rill_addr addr;
    const char *at = strstr(url, "://");
    if (!at)
        return true;
    size_t length = strcspn(at + 3, "/?#");
    bool has_port = length > 0 && at[2 + length] != ']' && memrchr(at + 3, ':', length);
    snprintf(text, sizeof text, "%.*s%s", (int)length, at + 3, has_port ? "" : ":80");
    return length < sizeof text - 10 && rill_addr_parse_numeric(text, &addr, host, NULL) <= 0;
}

/* Whether the LENGTH bytes at BYTES ask for what METHOD and URL say, if they can be read. */
static void check_request(const struct bench_request *request, const char *method, const char *url)
{
    static const struct rill_parser_limits limits = RILL_PARSER_LIMITS_DEFAULT;
    struct rill_parser parser;
    char target[MAX + 8];
    const char *host = *url == '/' ? NULL : strstr(url, "://"),
               *path = host ? host + 3 + strcspn(host + 3, "/?#") : url;
    snprintf(target, sizeof target, "%s%.*s", *path == '/' ? "" : "/", (int)strcspn(path, "#"), path);
    MUST(request->weight >= 1 && request->weight <= 1000);
    rill_parser_init(&parser, &limits);
    enum rill_parse_result result = rill_parser_head(&parser, request->bytes, request->length);
    MUST(result == RILL_PARSE_ERROR || (result == RILL_PARSE_HEAD && parser.head_length == request->length));
    if (result == RILL_PARSE_ERROR)
        return;
    MUST(strlen(method) < request->length && memcmp(request->bytes, method, strlen(method)) == 0);
    MUST(request->bytes[strlen(method)] == ' ');
    MUST(rill_slice_equal(rill_parser_target(&parser, request->bytes), rill_slice_of(target)));
    MUST(request->head == (strcmp(method, "HEAD") == 0));
}

/* --- a file --- */

/* Adds TEXT's lines to PLAN, one by one as URLs. Returns 0, or a negative errno and the *NUMBER of the line; 1: it has
 * one that only can be taken apart. */
static int reference_file(struct bench_plan *plan, struct rill_slice text, unsigned *number)
{
    struct rill_slice line;
    int result = 0;
    for (*number = 0; result == 0 && (line = fuzz_take_line(&text)).bytes;) {
        struct bench_line parts;
        char url[2 * MAX];
        const char *wanted;
        ++*number;
        if (memchr(line.bytes, '\0', line.length))
            return -EINVAL;
        line.length -= line.length > 0 && line.bytes[line.length - 1] == '\r';
        if (line.length == 0 || line.bytes[0] == '#')
            continue;
        char *words = fuzz_string(line);
        struct bench_request_options options = {.method = NULL};
        if (!reference_line(words, &parts) || (*parts.target == '/' && !plan->server[0])) {
            result = -EINVAL;
        } else if (parts.body_path || (*parts.target != '/' && !needs_no_lookup(parts.target))) {
            result = 1;
        } else {
            snprintf(url, sizeof url, "%u*%s%s%s", parts.weight, *parts.target == '/' ? "http://" : "",
                     *parts.target == '/' ? plan->server : "", parts.target);
            options.method = parts.method;
            result = bench_plan_add_url(plan, url, &options, &wanted);
        }
        if (result == 0 && plan->protocol == BENCH_HTTP)
            check_request(&plan->requests[plan->request_count - 1], parts.method, parts.target);
        free(words);
    }
    return result;
}

static void check_lines(struct rill_slice text)
{
    struct rill_slice line;
    while ((line = fuzz_take_line(&text)).bytes) {
        struct bench_line parts, expected;
        const char *wanted = NULL;
        char *words = fuzz_string(line), *again = strdup(words);
        MUST(again);
        bool sound = bench_take_line(words, &parts, &wanted) == 0;
        MUST(sound == reference_line(again, &expected));
        MUST(sound || wanted);
        if (sound) {
            MUST(strcmp(parts.method, expected.method) == 0 && strcmp(parts.target, expected.target) == 0);
            MUST(!parts.body_path == !expected.body_path);
            MUST(!parts.body_path || strcmp(parts.body_path, expected.body_path) == 0);
            MUST(parts.weight == expected.weight);
        }
        free(again);
        free(words);
    }
}

static void must_be_same(const struct bench_plan *plan, const struct bench_plan *expected)
{
    MUST(plan->protocol == expected->protocol && strcmp(plan->server, expected->server) == 0);
    MUST(plan->request_count == expected->request_count);
    for (unsigned i = 0; i < plan->request_count; i++) {
        const struct bench_request *a = &plan->requests[i], *b = &expected->requests[i];
        MUST(a->weight == b->weight && a->head == b->head && a->length == b->length);
        MUST(memcmp(a->bytes, b->bytes, a->length) == 0);
        MUST(plan->protocol == BENCH_HTTP || a->length == plan->message_size); /* and no request among the messages */
    }
}

/* Each request comes as often as its weight says. */
static void check_order(struct bench_plan *plan)
{
    unsigned total = 0, counts[LINES + 1] = {0};
    for (unsigned i = 0; i < plan->request_count; i++)
        total += plan->requests[i].weight;
    MUST(bench_plan_finish(plan) == (total > 0 ? 0 : -EINVAL));
    MUST(plan->order_length == total);
    for (unsigned i = 0; i < total; i++)
        counts[plan->order[i]]++;
    for (unsigned i = 0; i < plan->request_count; i++)
        MUST(counts[i] == plan->requests[i].weight);
}

/* --- the target --- */

static void run(struct bench_plan *plan, struct bench_plan *expected, const char *url, struct rill_slice file)
{
    struct bench_request_options options = {.method = NULL};
    const char *wanted = NULL;
    unsigned number, expected_number;
    int result = *url ? bench_plan_add_url(plan, url, &options, &wanted) : 0;
    MUST(result == 0 || (result == -EINVAL && wanted));
    MUST(plan->request_count == (result == 0 && *url));
    if (result < 0)
        return;
    if (*url && plan->protocol == BENCH_HTTP)
        check_request(&plan->requests[0], "GET", url);
    MUST(!*url || bench_plan_add_url(expected, url, &options, &wanted) == 0);

    result = reference_file(expected, file, &expected_number);
    if (result > 0)
        return;
    char *text = malloc(file.length + 1);
    MUST(text);
    memcpy(text, file.bytes, file.length);
    text[file.length] = '\0';
    MUST(bench_plan_add_text(plan, text, file.length, &options, &number, &wanted) == result);
    MUST(number == expected_number);
    MUST(result == 0 || wanted);
    free(text);
    must_be_same(plan, expected);
    check_order(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench_plan plan = {.message_size = 16}, expected = {.message_size = 16};
    struct rill_slice file = {(const char *)data, size};
    size_t lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    if (size > MAX || lines >= LINES)
        return 0;
    char *url = fuzz_string(fuzz_take_line(&file));
    check_lines(file);
    if (needs_no_lookup(url))
        run(&plan, &expected, url, file);
    bench_plan_free(&plan);
    bench_plan_free(&expected);
    free(url);
    return 0;
}
