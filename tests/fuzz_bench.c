/* fuzz_bench.c - fuzzes what rill-bench makes of URLs. The input is one; with a name in it, which would be looked up,
 * it is passed over. What comes of it is at most one request, whatever was in it. */
#include "rill/apps/bench/bench.h"
#include "rill/http/parser.h"
#include "support/fuzz.h"
#include <errno.h>

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

static void check_request(const struct bench_request *request)
{
    static const struct rill_parser_limits limits = RILL_PARSER_LIMITS_DEFAULT;
    struct rill_parser parser;
    MUST(request->weight >= 1 && request->weight <= 1000);
    rill_parser_init(&parser, &limits);
    enum rill_parse_result result = rill_parser_head(&parser, request->bytes, request->length);
    MUST(result == RILL_PARSE_ERROR || (result == RILL_PARSE_HEAD && parser.head_length == request->length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench_plan plan = {.message_size = 16};
    struct bench_request_options options = {.method = NULL};
    const char *wanted = NULL;
    char *url = fuzz_string((struct rill_slice){(const char *)data, size});
    if (size < 6000 && needs_no_lookup(url)) {
        int result = bench_plan_add_url(&plan, url, &options, &wanted);
        MUST(result == 0 || (result == -EINVAL && wanted));
        MUST(plan.request_count == (result == 0));
        if (result == 0 && plan.protocol != BENCH_ECHO)
            check_request(&plan.requests[0]);
        MUST(bench_plan_finish(&plan) == result);
    }
    bench_plan_free(&plan);
    free(url);
    return 0;
}
