/* test_response_parser.c - responses: status lines, where content ends, and every split of each. */
#include "rill/http/parser.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct rill_parser_limits limits = {.max_request_line_bytes = 200,
                                                 .max_header_bytes = 1000,
                                                 .max_headers = 20,
                                                 .max_chunk_extension_bytes = 20,
                                                 .max_trailer_bytes = 100,
                                                 .max_body_bytes = 1000};

/* What came of a stream: its responses in words. */
static char told[4096];
static size_t told_length;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    told_length += (size_t)vsnprintf(told + told_length, sizeof told - told_length, format, args);
    va_end(args);
}

/* Feeds BYTES in two pieces, the first of CUT bytes, as a client that sent METHOD again and again would; then the end
 * of the connection. */
static void feed(const char *bytes, size_t length, size_t cut, enum rill_method method, enum rill_parser_isa isa)
{
    struct rill_parser parser;
    size_t start = 0, have = cut;
    bool in_body = false;
    rill_parser_init_response(&parser, &limits);
    if (rill_parser_use(&parser, isa) < 0)
        return;
    rill_parser_answers(&parser, method);
    told_length = 0;
    told[0] = '\0';
    for (;;) {
        enum rill_parse_result result;
        struct rill_parser_piece piece = {.consumed = 0};
        char *copy = malloc(have - start + 1); /* so that reading beyond is seen */
        memcpy(copy, bytes + start, have - start);
        copy = realloc(copy, have - start ? have - start : 1);
        if (!in_body) {
            result = rill_parser_head(&parser, copy, have - start);
            if (result == RILL_PARSE_HEAD) {
                tell("%u%s", parser.code, parser.keep_alive ? "" : " last");
                start += parser.head_length;
                in_body = true;
                free(copy);
                continue;
            }
        } else {
            result = rill_parser_body(&parser, copy, have - start, &piece);
            start += piece.consumed;
            if (piece.data.length)
                tell(" %.*s", (int)piece.data.length, piece.data.bytes);
        }
        free(copy);
        if (result == RILL_PARSE_ERROR) {
            tell(" !%s", parser.reason);
            return;
        }
        if (result == RILL_PARSE_DONE) {
            tell(";");
            rill_parser_reset(&parser);
            in_body = false;
            if (start < length)
                continue;
        }
        if (result == RILL_PARSE_MORE || start == length) {
            if (have < length) {
                have = length;
                continue;
            }
            result = rill_parser_end(&parser, have - start);
            tell("%s", result == RILL_PARSE_DONE ? "." : result == RILL_PARSE_MORE ? "" : " !cut");
            return;
        }
    }
}

/* Pieces of content are told with a space before each, and a cut makes two of one. */
static void without_spaces(const char *from, char *to)
{
    for (; *from; from++)
        if (*from != ' ')
            *to++ = *from;
    *to = '\0';
}

static void check(const char *bytes, enum rill_method method, const char *expected)
{
    char plain[sizeof told], wanted[sizeof told];
    size_t length = strlen(bytes);
    without_spaces(expected, wanted);
    for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
        for (size_t cut = 0; cut <= length; cut++) {
            feed(bytes, length, cut, method, (enum rill_parser_isa)isa);
            without_spaces(told, plain);
            ck_assert_msg(strcmp(plain, wanted) == 0, "cut at %zu: \"%s\", wanted \"%s\"", cut, plain, wanted);
        }
    }
}

static const struct {
    const char *bytes;
    enum rill_method method;
    const char *told;
} samples[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", RILL_METHOD_GET, "200 hello;"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", RILL_METHOD_GET, "200;"},
    {"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET, "200 x;"},
    {"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET, "200 x;"},
    {"HTTP/1.1 299 \xc3\xa9t\xc3\xa9\tx\r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET, "299 x;"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET, "200 last x;"},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET, "200 x;"},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET, "200 last x;"},
    {"HTTP/1.1 200 OK\r\nHost: odd\r\n\r\nto the end", RILL_METHOD_GET, "200 last to the end."},
    {"HTTP/1.1 200 OK\r\n\r\n", RILL_METHOD_GET, "200 last."},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
     RILL_METHOD_GET, "200 abc de;"},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n"
     "HTTP/1.1 404 x\r\nContent-Length: 2\r\n\r\nno",
     RILL_METHOD_GET, "100;204;304;404 no;"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
     RILL_METHOD_HEAD, "200;200;"},
    {"HTTP/1.1 417 x\r\nExpect: x\r\nContent-Length: 0\r\n\r\n", RILL_METHOD_GET, "417;"},
    /* cut off */
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", RILL_METHOD_GET, "200 hell !cut"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", RILL_METHOD_GET, "200 abc !cut"},
    {"HTTP/1.1 200 OK\r\nContent-Le", RILL_METHOD_GET, " !cut"},
    {"HTT", RILL_METHOD_GET, " !cut"},
    {"", RILL_METHOD_GET, ""},
    /* not sound */
    {"HTTP/2.0 200 OK\r\n\r\n", RILL_METHOD_GET, " !HTTP version other than 1.x"},
    {"HTTP/1.1 20 OK\r\n\r\n", RILL_METHOD_GET, " !malformed status code"},
    {"HTTP/1.1 2000 OK\r\n\r\n", RILL_METHOD_GET, " !malformed status code"},
    {"HTTP/1.1 099 OK\r\n\r\n", RILL_METHOD_GET, " !malformed status code"},
    {"HTTP/1.1  200 OK\r\n\r\n", RILL_METHOD_GET, " !malformed status code"},
    {"HTTP/1.1 20\r\n\r\n", RILL_METHOD_GET, " !malformed HTTP version"},
    {"http/1.1 200 OK\r\n\r\n", RILL_METHOD_GET, " !malformed HTTP version"},
    {"SSH-2.0-OpenSSH_9.2\r\n", RILL_METHOD_GET, " !malformed HTTP version"},
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", RILL_METHOD_GET, " !malformed HTTP version"},
    {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", RILL_METHOD_GET, " !LF without CR"},
    {"HTTP/1.1 200 O\001K\r\n\r\n", RILL_METHOD_GET, " !control character in the head"},
    {"\r\nHTTP/1.1 200 OK\r\n\r\n", RILL_METHOD_GET, " !malformed HTTP version"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", RILL_METHOD_GET,
     " !more than one Content-Length"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", RILL_METHOD_GET,
     " !both Transfer-Encoding and Content-Length"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", RILL_METHOD_GET,
     " !Transfer-Encoding does not end in chunked"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", RILL_METHOD_GET, " !Content-Length above the limit"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTX/1.1 200 OK\r\n\r\n", RILL_METHOD_GET,
     "200 hi; !malformed HTTP version"},
};

START_TEST(however_it_is_split)
{
    check(samples[_i].bytes, samples[_i].method, samples[_i].told);
}
END_TEST

START_TEST(content_to_the_end_has_a_limit)
{
    struct rill_parser parser;
    struct rill_parser_piece piece;
    static const char head[] = "HTTP/1.1 200 OK\r\n\r\n";
    static char body[1001];
    rill_parser_init_response(&parser, &limits);
    ck_assert_int_eq(rill_parser_head(&parser, head, strlen(head)), RILL_PARSE_HEAD);
    ck_assert(parser.until_close);
    ck_assert_int_eq(rill_parser_body(&parser, body, 1000, &piece), RILL_PARSE_DATA);
    ck_assert_int_eq(rill_parser_body(&parser, body, 1, &piece), RILL_PARSE_ERROR);
}
END_TEST

START_TEST(a_status_line_without_end_has_a_limit)
{
    struct rill_parser parser;
    static char line[300] = "HTTP/1.1 200 ";
    memset(line + 13, 'x', sizeof line - 13);
    rill_parser_init_response(&parser, &limits);
    ck_assert_int_eq(rill_parser_head(&parser, line, 150), RILL_PARSE_MORE);
    ck_assert_int_eq(rill_parser_head(&parser, line, sizeof line), RILL_PARSE_ERROR);
}
END_TEST

START_TEST(a_status_line_has_the_same_limit_however_it_comes)
{
    struct rill_parser parser;
    static char head[300] = "HTTP/1.1 200 ";
    memset(head + 13, 'x', sizeof head - 13);
    for (uint32_t length = limits.max_request_line_bytes - 1; length <= limits.max_request_line_bytes + 1; length++) {
        memcpy(head + length - 2, "\r\n\r\n", 4);
        for (size_t first = 0; first <= length + 2; first++) {
            rill_parser_init_response(&parser, &limits);
            enum rill_parse_result result = rill_parser_head(&parser, head, first);
            if (result == RILL_PARSE_MORE)
                result = rill_parser_head(&parser, head, length + 2);
            ck_assert_int_eq(result, length <= limits.max_request_line_bytes ? RILL_PARSE_HEAD : RILL_PARSE_ERROR);
        }
        memcpy(head + length - 2, "xxxx", 4);
    }
}
END_TEST

START_TEST(of_too_much_content_comes_what_may_be_however_it_comes)
{
    struct rill_parser parser;
    static const char head[] = "HTTP/1.1 200 OK\r\n\r\n";
    static char body[1500];
    for (size_t piece_length = 1; piece_length <= sizeof body; piece_length += 7) {
        struct rill_parser_piece piece = {.result = RILL_PARSE_DATA};
        rill_parser_init_response(&parser, &limits);
        ck_assert_int_eq(rill_parser_head(&parser, head, strlen(head)), RILL_PARSE_HEAD);
        for (size_t at = 0; piece.result != RILL_PARSE_ERROR; at += piece.consumed) {
            size_t left = sizeof body - at;
            ck_assert_uint_gt(left, 0);
            rill_parser_body(&parser, body + at, left < piece_length ? left : piece_length, &piece);
        }
        ck_assert_uint_eq(parser.body_length, 1000);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("response parser");
    TCase *all = tcase_create("response parser");
    tcase_add_loop_test(all, however_it_is_split, 0, rill_array_length(samples));
    tcase_add_test(all, content_to_the_end_has_a_limit);
    tcase_add_test(all, a_status_line_without_end_has_a_limit);
    tcase_add_test(all, a_status_line_has_the_same_limit_however_it_comes);
    tcase_add_test(all, of_too_much_content_comes_what_may_be_however_it_comes);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
