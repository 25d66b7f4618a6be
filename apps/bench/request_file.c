/* request_file.c - from the lines of a file to requests. */
#include "bench.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

char *bench_read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t size = 0, have = 0;
    if (!file)
        return NULL;
    for (;;) {
        if (have + 1 >= size) {
            char *more = realloc(bytes, size = size ? size * 2 : 65536);
            if (!more)
                break;
            bytes = more;
        }
        size_t got = fread(bytes + have, 1, size - have - 1, file);
        have += got;
        if (got == 0)
            break;
    }
    bool failed = ferror(file) || !bytes;
    fclose(file);
    if (failed) {
        free(bytes);
        return NULL;
    }
    bytes[have] = '\0';
    *length = have;
    return bytes;
}

bool bench_is_method(const char *text)
{
    static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    return *text != '\0' && text[strspn(text, token)] == '\0';
}

int bench_take_line(char *line, struct bench_line *parts, const char **wanted)
{
    char *save = NULL, *method = strtok_r(line, " \t", &save);
    parts->target = strtok_r(NULL, " \t", &save);
    parts->body_path = strtok_r(NULL, " \t", &save);
    parts->method = method ? bench_take_weight(method, &parts->weight) : NULL;
    *wanted = "[N*]METHOD URL-OR-PATH [BODY-FILE] is wanted";
    if (!parts->method || !bench_is_method(parts->method) || !parts->target || strtok_r(NULL, " \t", &save))
        return -EINVAL;
    return 0;
}

static int add_line(struct bench_plan *plan, const struct bench_line *line, const struct bench_request_options *options,
                    const char **wanted)
{
    struct bench_request_options own = *options;
    char text[5000], *body = NULL;
    bool has_host = *line->target != '/';
    if (!has_host && plan->server[0] == '\0') {
        *wanted = "a path wants a URL before it, on the command line or in the file, that says which server";
        return -EINVAL;
    }
    if (line->body_path && !(body = bench_read_file(line->body_path, &own.body_length))) {
        *wanted = strerror(errno);
        return -EINVAL;
    }
    own.method = line->method;
    own.body = body;
    snprintf(text, sizeof text, "%u*%s%s%s", line->weight, has_host ? "" : "http://", has_host ? "" : plan->server,
             line->target);
    int error = bench_plan_add_url(plan, text, &own, wanted);
    free(body);
    return error;
}

int bench_plan_add_text(struct bench_plan *plan, char *text, size_t length, const struct bench_request_options *options,
                        unsigned *number, const char **wanted)
{
    int error = 0;
    *number = 0;
    for (char *line = text, *end; error == 0 && line < text + length; line = end + 1) {
        struct bench_line parts;
        end = memchr(line, '\n', (size_t)(text + length - line));
        end = end ? end : text + length;
        *end = '\0';
        ++*number;
        *wanted = "a line of text is wanted";
        if (strlen(line) != (size_t)(end - line))
            return -EINVAL;
        if (end > line && end[-1] == '\r')
            end[-1] = '\0';
        if (*line == '\0' || *line == '#')
            continue;
        error = bench_take_line(line, &parts, wanted);
        if (error == 0)
            error = add_line(plan, &parts, options, wanted);
    }
    return error;
}

int bench_plan_add_file(struct bench_plan *plan, const char *path, const struct bench_request_options *options)
{
    size_t length;
    unsigned number;
    const char *wanted;
    char *text = bench_read_file(path, &length);
    if (!text) {
        fprintf(stderr, "rill-bench: cannot read %s: %s\n", path, strerror(errno));
        return -1;
    }
    int error = bench_plan_add_text(plan, text, length, options, &number, &wanted);
    if (error < 0)
        fprintf(stderr, "rill-bench: %s, line %u: %s\n", path, number, wanted);
    free(text);
    return error < 0 ? -1 : 0;
}
