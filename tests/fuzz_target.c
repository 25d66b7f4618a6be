/* fuzz_target.c - fuzzes what becomes of a path: normalising and decoding, against slow readings of the same rules;
 * writing it into a URL and into HTML; the router, against one that holds the path against every route. And rill-hub's
 * topics, which are paths with dots in them.
 *
 * The input is lines: a method, then paths; a topic is held against the line before it as a pattern. */
#include "rill/apps/hub/topics.h"
#include "rill/http/router.h"
#include "rill/http/target.h"
#include "rill/http/text.h"
#include "support/fuzz.h"
#include <ctype.h>
#include <errno.h>

enum { MAX = 1024 };

/* --- slow readings --- */

/* The byte that the escape at TEXT stands for; -1: it is none. */
static int escaped_byte(struct rill_slice text)
{
    char digits[3] = {0};
    if (text.length < 3 || !isxdigit((unsigned char)text.bytes[1]) || !isxdigit((unsigned char)text.bytes[2]))
        return -1;
    memcpy(digits, text.bytes + 1, 2);
    return (int)strtol(digits, NULL, 16);
}

/* Decodes up to the next slash, into OUT. Returns the length, or -1; *AT is then behind it. */
static int decode_segment(struct rill_slice path, size_t *at, char *out)
{
    int length = 0;
    for (; *at < path.length && path.bytes[*at] != '/'; (*at)++) {
        int c = (unsigned char)path.bytes[*at];
        if (c == '%') {
            c = escaped_byte((struct rill_slice){path.bytes + *at, path.length - *at});
            *at += 2;
        }
        if (c <= 0 || c == '\\' || c == '/')
            return -1;
        out[length++] = (char)c;
    }
    return length;
}

/* A stack of segments. Returns the length of OUT, or -1. */
static int reference_normalise(struct rill_slice path, char *out)
{
    static char texts[MAX][MAX];
    static int lengths[MAX];
    int depth = 0, length = 0;
    bool slash_last = true;
    if (path.length > 0 && path.bytes[0] != '/')
        return -1;
    for (size_t at = 1; at <= path.length; at++) {
        int segment = decode_segment(path, &at, texts[depth]);
        if (segment < 0)
            return -1;
        lengths[depth] = segment;
        bool is_parent = segment == 2 && memcmp(texts[depth], "..", 2) == 0;
        slash_last = segment == 0 || is_parent || (segment == 1 && texts[depth][0] == '.');
        if (is_parent && depth-- == 0)
            return -1;
        depth += !slash_last;
    }
    for (int i = 0; i < depth; i++) {
        out[length++] = '/';
        memcpy(out + length, texts[i], (size_t)lengths[i]);
        length += lengths[i];
    }
    if (slash_last)
        out[length++] = '/';
    return length;
}

/* --- paths --- */

static void check_normalise(struct rill_slice path)
{
    static char expected[MAX + 1];
    struct rill_slice result;
    char *exact = fuzz_copy(path), *buffer = malloc(path.length ? path.length : 1);
    MUST(buffer);
    struct rill_slice copy = {exact, path.length};
    int length = reference_normalise(path, expected), error = rill_path_normalise(copy, buffer, path.length, &result);
    MUST(error == (length < 0 ? -EINVAL : 0));
    if (error == 0) {
        MUST(rill_slice_equal(result, (struct rill_slice){expected, (size_t)length}));
        struct rill_slice again;
        static char other[MAX];
        if (!memchr(result.bytes, '%', result.length)) { /* what was an escape of `%` is one now */
            MUST(rill_path_normalise(result, other, sizeof other, &again) == 0);
            MUST(rill_slice_equal(again, result));
        }
        if (result.bytes == buffer)
            MUST(rill_path_normalise(copy, buffer, path.length - 1, &result) == -ENOBUFS);
    }
    free(buffer);
    free(exact);
}

static void check_decode(struct rill_slice text, bool plus_is_space)
{
    static char expected[MAX];
    struct rill_slice result;
    char *exact = fuzz_copy(text), *buffer = malloc(text.length ? text.length : 1);
    MUST(buffer);
    size_t length = 0;
    bool sound = true;
    for (size_t at = 0; at < text.length && sound; at++) {
        int c = (unsigned char)text.bytes[at];
        if (c == '%') {
            c = escaped_byte((struct rill_slice){text.bytes + at, text.length - at});
            at += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        sound = c >= 0;
        expected[length++] = (char)c;
    }
    struct rill_slice copy = {exact, text.length};
    int error = rill_percent_decode(copy, plus_is_space, buffer, text.length, &result);
    MUST(error == (sound ? 0 : -EINVAL));
    if (sound)
        MUST(rill_slice_equal(result, (struct rill_slice){expected, length}));
    free(buffer);
    free(exact);
}

/* What is encoded is decoded as the same, and is all that it may be. */
static void check_written(struct rill_slice text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/%";
    struct rill_slice back;
    char *exact = fuzz_copy(text);
    size_t length = rill_path_encode(NULL, (struct rill_slice){exact, text.length});
    char *url = malloc(length + 1), *decoded = malloc(length + 1);
    MUST(url && decoded && length <= RILL_PATH_ENCODED_MAX * text.length);
    MUST(rill_path_encode(url, (struct rill_slice){exact, text.length}) == length);
    url[length] = '\0';
    MUST(strspn(url, plain) == length);
    MUST(rill_percent_decode((struct rill_slice){url, length}, false, decoded, length, &back) == 0);
    MUST(rill_slice_equal(back, text));
    free(decoded);
    free(url);

    static const struct {
        const char *escape;
        char byte;
    } escapes[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}};
    length = rill_html_escape(NULL, (struct rill_slice){exact, text.length});
    char *html = malloc(length + 1);
    MUST(html && rill_html_escape(html, (struct rill_slice){exact, text.length}) == length);
    size_t at = 0;
    for (size_t i = 0; i < text.length; i++) {
        const char *want = NULL;
        for (size_t k = 0; k < rill_array_length(escapes); k++)
            want = escapes[k].byte == text.bytes[i] ? escapes[k].escape : want;
        size_t bytes = want ? strlen(want) : 1;
        MUST(at + bytes <= length && memcmp(html + at, want ? want : text.bytes + i, bytes) == 0);
        at += bytes;
    }
    MUST(at == length);
    free(html);
    free(exact);
}

/* --- topics --- */

enum { WORDS = HUB_TOPIC_BYTES / 2 + 2 };

/* Cuts TEXT into the words between its dots. Returns how many there are; 0: that is no topic, or no pattern. */
static unsigned words_of(char *text, bool wildcards, char *words[WORDS])
{
    unsigned count = 0;
    if (strlen(text) > HUB_TOPIC_BYTES)
        return 0;
    for (char *word; (word = strsep(&text, "."));) {
        bool rest = strcmp(word, ">") == 0, is_wildcard = rest || strcmp(word, "*") == 0;
        if (!*word || (is_wildcard && !wildcards) || (rest && text))
            return 0;
        words[count++] = word;
    }
    return count;
}

static bool reference_matches(char *const *pattern, unsigned wanted, char *const *topic, unsigned found)
{
    for (unsigned i = 0; i < wanted; i++) {
        if (i < found && strcmp(pattern[i], ">") == 0)
            return true;
        if (i >= found || (strcmp(pattern[i], "*") != 0 && strcmp(pattern[i], topic[i]) != 0))
            return false;
    }
    return wanted == found;
}

static void check_topic(struct rill_slice pattern_line, struct rill_slice topic_line)
{
    char *pattern = fuzz_string(pattern_line), *topic = fuzz_string(topic_line);
    char *pattern_copy = strdup(pattern), *topic_copy = strdup(topic), *wanted[WORDS], *found[WORDS];
    MUST(pattern_copy && topic_copy);
    unsigned wanted_count = words_of(pattern_copy, true, wanted), found_count = words_of(topic_copy, false, found);
    MUST(hub_is_topic(pattern, true) == (wanted_count > 0));
    MUST(hub_is_topic(topic, false) == (found_count > 0));
    if (wanted_count > 0 && found_count > 0)
        MUST(hub_matches(pattern, topic) == reference_matches(wanted, wanted_count, found, found_count));
    free(topic_copy);
    free(pattern_copy);
    free(topic);
    free(pattern);
}

/* --- routes --- */

static const struct {
    const char *method, *pattern;
} routes[] = {
    {"GET", "/"},      {"POST", "/"},          {"GET", "/a"},       {"GET", "/a/"},          {NULL, "/a/b"},
    {"PUT", "/a/b"},   {"GET", "/a/:x"},       {"GET", "/a/:x/b"},  {"DELETE", "/a/:x/b"},   {"GET", "/:y/b"},
    {"HEAD", "/:y/b"}, {"GET", "/:y/:z/c"},    {"GET", "/a/*rest"}, {"ODD", "/files/*path"}, {"GET", "/files/:n/x"},
    {"OPTIONS", "/o"}, {NULL, "/every/:n/*m"}, {"GET", "/a//b"},    {"GET", "/:p/:q/:r/:s"}, {"GET", "/a/b/c/d"},
};

enum { ROUTES = rill_array_length(routes), MAX_SEGMENTS = 16 };

static void handler(struct rill_exchange *x, void *arg)
{
    (void)x;
    (void)arg;
}

/* PATH from its AT-th segment's slash on; NULL: it has fewer. */
static const char *from_segment(const char *path, unsigned at)
{
    for (; path && at > 0; at--)
        path = strchr(path + 1, '/');
    return path;
}

/* How well PATTERN fits PATH: a digit a segment, the smaller the better; "": it does not. */
static void fit(const char *pattern, const char *path, char ranks[MAX_SEGMENTS])
{
    unsigned at = 0;
    for (;; at++) {
        const char *want = from_segment(pattern, at), *have = from_segment(path, at);
        ranks[at] = '\0';
        if (!want && !have)
            return;
        if (!want || !have)
            break;
        size_t want_length = strcspn(want + 1, "/"), have_length = strcspn(have + 1, "/");
        ranks[at + 1] = '\0';
        if (want[1] == '*') {
            ranks[at] = '3';
            return;
        }
        if (want[1] == ':' && have_length > 0)
            ranks[at] = '2';
        else if (want_length == have_length && memcmp(want, have, want_length + 1) == 0)
            ranks[at] = '1';
        else
            break;
    }
    ranks[0] = '\0';
}

/* Of the routes that fit best, which all have one pattern but for names: METHOD's, GET's for HEAD, or everybody's. */
static int reference_route(const char *method, const char *path, unsigned *status)
{
    char best[MAX_SEGMENTS] = "9";
    int exact = -1, get = -1, every = -1;
    bool is_head = strcmp(method, "HEAD") == 0, is_options = strcmp(method, "OPTIONS") == 0;
    *status = 404;
    for (int i = 0; i < ROUTES; i++) {
        char ranks[MAX_SEGMENTS];
        fit(routes[i].pattern, path, ranks);
        if (ranks[0] == '\0' || strcmp(ranks, best) > 0)
            continue;
        if (strcmp(ranks, best) < 0)
            exact = get = every = -1;
        strcpy(best, ranks);
        *status = is_options ? 204 : 405;
        const char *of = routes[i].method;
        exact = of && strcmp(of, method) == 0 ? i : exact;
        get = of && strcmp(of, "GET") == 0 ? i : get;
        every = !of ? i : every;
    }
    if (exact < 0 && is_head)
        exact = get;
    return exact < 0 && !is_options ? every : exact;
}

/* PARAMS are what stands in PATH for the names of PATTERN. */
static void check_params(const char *pattern, const char *path, const struct rill_route_match *match)
{
    unsigned param = 0;
    for (unsigned at = 0; from_segment(pattern, at); at++) {
        const char *want = from_segment(pattern, at) + 1, *have = from_segment(path, at) + 1;
        if (*want != ':' && *want != '*')
            continue;
        struct rill_slice name = {want + 1, strcspn(want, "/") - 1};
        struct rill_slice value = {have, *want == '*' ? strlen(have) : strcspn(have, "/")};
        MUST(param < match->param_count);
        MUST(rill_slice_equal(match->params[param].name, name));
        MUST(match->params[param].value.bytes == value.bytes && match->params[param].value.length == value.length);
        param++;
    }
    MUST(param == match->param_count);
}

static unsigned segments_of(const char *path)
{
    unsigned count = 0;
    for (; path; path = strchr(path + 1, '/'))
        count++;
    return count;
}

static void check_route(const struct rill_router *router, struct rill_slice method, struct rill_slice path)
{
    struct rill_route_match match;
    char *text = fuzz_string(path), *name = fuzz_string(method);
    struct rill_slice whole = rill_slice_of(text);
    unsigned status;
    if (*text == '/' && segments_of(text) < MAX_SEGMENTS) {
        int expected = reference_route(name, text, &status);
        rill_router_find(router, rill_method_of(rill_slice_of(name)), rill_slice_of(name), whole, &match);
        MUST((match.handler != NULL) == (expected >= 0));
        if (expected >= 0) {
            MUST(match.arg == &routes[expected]);
            check_params(routes[expected].pattern, text, &match);
        } else {
            MUST(match.status == status);
            MUST((match.allow.length > 0) == (status != 404));
        }
    }
    free(name);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rill_router *router;
    struct rill_slice text = {(const char *)data, size}, method, path, before;
    if (size > MAX)
        return 0;
    if (!router) {
        router = rill_router_new();
        MUST(router);
        for (int i = 0; i < ROUTES; i++)
            MUST(rill_router_add(router, routes[i].method, routes[i].pattern, handler, (void *)(uintptr_t)&routes[i]) ==
                 0);
    }
    method = before = fuzz_take_line(&text);
    while ((path = fuzz_take_line(&text)).bytes) {
        check_topic(before, path);
        check_written(path);
        before = path;
        check_normalise(path);
        check_decode(path, true);
        check_decode(path, false);
        check_route(router, method, path);
    }
    return 0;
}
