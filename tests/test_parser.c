/* test_parser.c - the request parser: verdicts, splits, every ISA, states, limits, what callers ask it. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "rill/http/parser.h"
#include "rill/http/parser_internal.h"
#include "support/parser_driver.h"
#include "support/parser_samples.h"
#include "support/random.h"
#include "support/reference_parser.h"
#include "support/run_suite.h"

static const struct rill_parser_limits limits = PARSER_SAMPLE_LIMITS;
static struct trace actual, expected;
static uint16_t visited[RILL_PARSER_STATE_COUNT];

static bool isa_is_there(int isa)
{
    struct rill_parser parser;
    rill_parser_init(&parser, &limits);
    return rill_parser_use(&parser, (enum rill_parser_isa)isa) == 0;
}

static void expect_same(const char *bytes, size_t length, int isa, const char *how)
{
    if (strcmp(actual.text, expected.text) == 0)
        return;
    struct trace input = {0};
    trace_clear(&input);
    trace_content(&input, (struct rill_slice){bytes, length});
    ck_abort_msg("%s, %s, of [%.1000s]:\n%.1000s\nshould be\n%.1000s", rill_parser_isa_name((enum rill_parser_isa)isa),
                 how, input.text, actual.text, expected.text);
}

static size_t split_at(void *arg, size_t offset, size_t length)
{
    size_t at = *(const size_t *)arg;
    return offset < at ? at - offset : length - offset;
}

static size_t split_random(void *arg, size_t offset, size_t length)
{
    (void)offset;
    (void)length;
    struct test_random *random = arg;
    return 1 + test_random_below(random, test_random_below(random, 2) ? 4 : 100);
}

/* The status that the trace ends with: 0 done, 1 more. */
static int status_of(const struct trace *trace)
{
    const char *error = strstr(trace->text, "\nerror ");
    if (strncmp(trace->text, "error ", 6) == 0)
        return atoi(trace->text + 6);
    if (error != NULL)
        return atoi(error + 7);
    return strcmp(trace->text + trace->length - 5, "more\n") == 0;
}

START_TEST(every_sample_gets_its_verdict)
{
    const struct parser_sample *sample = &parser_samples[_i];
    reference_parse(&limits, sample->bytes, sample->length, &expected);
    ck_assert_msg(status_of(&expected) == sample->status, "the reference makes %d of [%s], not %d",
                  status_of(&expected), sample->bytes, sample->status);
    for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
        if (!isa_is_there(isa))
            continue;
        driver_run((enum rill_parser_isa)isa, &limits, sample->bytes, sample->length, driver_whole, NULL, visited,
                   &actual);
        expect_same(sample->bytes, sample->length, isa, "whole");
    }
}
END_TEST

START_TEST(every_split_of_every_sample_says_the_same)
{
    const struct parser_sample *sample = &parser_samples[_i];
    reference_parse(&limits, sample->bytes, sample->length, &expected);
    for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
        if (!isa_is_there(isa))
            continue;
        for (size_t at = 1; at < sample->length; at++) {
            driver_run((enum rill_parser_isa)isa, &limits, sample->bytes, sample->length, split_at, &at, NULL, &actual);
            expect_same(sample->bytes, sample->length, isa, "in two pieces");
        }
        driver_run((enum rill_parser_isa)isa, &limits, sample->bytes, sample->length, driver_bytewise, NULL, NULL,
                   &actual);
        expect_same(sample->bytes, sample->length, isa, "byte by byte");
    }
}
END_TEST

/* A verdict depends on the bytes that are there, not on how they came: also while the request is incomplete. */
START_TEST(every_beginning_of_every_sample_says_the_same)
{
    const struct parser_sample *sample = &parser_samples[_i];
    for (size_t length = 0; length <= sample->length; length++) {
        reference_parse(&limits, sample->bytes, length, &expected);
        for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
            if (!isa_is_there(isa))
                continue;
            driver_run((enum rill_parser_isa)isa, &limits, sample->bytes, length, driver_whole, NULL, NULL, &actual);
            expect_same(sample->bytes, length, isa, "whole");
            if (length % 7 != 0 && length != sample->length)
                continue;
            driver_run((enum rill_parser_isa)isa, &limits, sample->bytes, length, driver_bytewise, NULL, NULL, &actual);
            expect_same(sample->bytes, length, isa, "byte by byte");
        }
    }
}
END_TEST

static void visit(int *from, const struct rill_parser *parser)
{
    if (parser->state != *from)
        visited[*from] |= (uint16_t)(1 << parser->state);
    *from = parser->state;
}

/* A response, byte by byte, and the end of its connection. */
static void walk_response(const char *bytes)
{
    struct rill_parser parser;
    struct rill_parser_piece piece;
    size_t length = strlen(bytes), have = 0;
    int state = RILL_PARSER_REQUEST_LINE;
    rill_parser_init_response(&parser, &limits);
    while (++have < length && rill_parser_head(&parser, bytes, have) == RILL_PARSE_MORE)
        visit(&state, &parser);
    visit(&state, &parser);
    for (size_t at = parser.head_length; at < length; at++) {
        (void)rill_parser_body(&parser, bytes + at, 1, &piece);
        visit(&state, &parser);
    }
    ck_assert_int_ne(rill_parser_end(&parser, 1), RILL_PARSE_MORE);
    visit(&state, &parser);
}

/* Each state change that the table allows happens, and no other: seen from outside, byte by byte. */
START_TEST(samples_walk_the_whole_table_of_states)
{
    memset(visited, 0, sizeof(visited));
    for (size_t i = 0; i < parser_sample_count; i++)
        driver_run(RILL_PARSER_ISA_PORTABLE, &limits, parser_samples[i].bytes, parser_samples[i].length,
                   driver_bytewise, NULL, visited, &actual);
    walk_response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx");
    walk_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nx");
    walk_response("HTTP/1.1 200 OK\r\nA: b\r\n\r\nxyz");
    static char more_than_allowed[1 << 21] = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    memset(more_than_allowed + strlen(more_than_allowed), 'x', sizeof more_than_allowed - 100);
    walk_response(more_than_allowed);
    for (int from = 0; from < RILL_PARSER_STATE_COUNT; from++)
        ck_assert_msg(visited[from] == rill_parser_changes[from], "state %d: changes 0x%x seen, 0x%x legal", from,
                      visited[from], rill_parser_changes[from]);
}
END_TEST

#ifndef NDEBUG
START_TEST(an_illegal_state_change_aborts)
{
    struct rill_parser parser;
    rill_parser_init(&parser, &limits);
    rill_parser_enter(&parser, RILL_PARSER_CHUNK_DATA);
}
END_TEST
#endif

START_TEST(content_before_the_head_aborts)
{
    struct rill_parser parser;
    struct rill_parser_piece piece;
    rill_parser_init(&parser, &limits);
    (void)rill_parser_body(&parser, "x", 1, &piece);
}
END_TEST

/* Samples changed at random places, against the reference. */
START_TEST(mutations_get_the_verdict_of_the_reference)
{
    struct test_random random = {(uint64_t)_i + 1};
    char bytes[4096];
    static const char tricky[] = "\r\n\t\0 :,;=\"\\/%?#@[]*05aX\x7f\x80\xff";
    for (int round = 0; round < 400; round++) {
        const struct parser_sample *sample = &parser_samples[test_random_below(&random, parser_sample_count)];
        size_t length = sample->length;
        if (length == 0 || length > sizeof(bytes) - 16)
            continue;
        memcpy(bytes, sample->bytes, length);
        for (size_t changes = 1 + test_random_below(&random, 3); changes > 0; changes--) {
            size_t at = test_random_below(&random, length);
            char c = tricky[test_random_below(&random, sizeof(tricky) - 1)];
            if (test_random_below(&random, 3) == 0) {
                memmove(bytes + at + 1, bytes + at, length++ - at);
                bytes[at] = c;
            } else if (test_random_below(&random, 3) == 0 && length > 1) {
                memmove(bytes + at, bytes + at + 1, --length - at);
            } else {
                bytes[at] = c;
            }
        }
        reference_parse(&limits, bytes, length, &expected);
        for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
            if (!isa_is_there(isa))
                continue;
            driver_run((enum rill_parser_isa)isa, &limits, bytes, length, driver_whole, NULL, NULL, &actual);
            expect_same(bytes, length, isa, "whole");
            driver_run((enum rill_parser_isa)isa, &limits, bytes, length, split_random, &random, NULL, &actual);
            expect_same(bytes, length, isa, "in pieces");
        }
    }
}
END_TEST

/* Each limit, exactly at it and one beyond. */
START_TEST(limits_hold_to_the_byte)
{
    static const char head[] = "GET /0123456789 HTTP/1.1\r\nHost: abcdefgh\r\nX: y\r\n\r\n";
    static const char body[] = "POST / HTTP/1.1\r\nHost: abcdefgh\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "4;ext\r\n1234\r\n3\r\n123\r\n0\r\nT: u\r\n\r\n";
    const struct {
        const char *text;
        struct rill_parser_limits limits;
        int status;
    } cases[] = {
        {head, {26, sizeof(head) - 1, 2, 4, 8, 7}, 0},
        {head, {25, 1000, 2, 4, 8, 7}, 414},
        {head, {26, sizeof(head) - 2, 2, 4, 8, 7}, 431},
        {head, {26, 1000, 1, 4, 8, 7}, 431},
        {head, {26, 20, 2, 4, 8, 7}, 414},
        {body, {1000, 1000, 2, 4, 8, 7}, 0},
        {body, {1000, 1000, 2, 3, 8, 7}, 400},
        {body, {1000, 1000, 2, 4, 7, 7}, 431},
        {body, {1000, 1000, 2, 4, 8, 6}, 413},
        {head, {0, 0, 0, 0, 0, 0}, 414},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        size_t length = strlen(cases[i].text);
        reference_parse(&cases[i].limits, cases[i].text, length, &expected);
        ck_assert_int_eq(status_of(&expected), cases[i].status);
        for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
            if (!isa_is_there(isa))
                continue;
            driver_run((enum rill_parser_isa)isa, &cases[i].limits, cases[i].text, length, driver_whole, NULL, NULL,
                       &actual);
            expect_same(cases[i].text, length, isa, "whole");
            driver_run((enum rill_parser_isa)isa, &cases[i].limits, cases[i].text, length, driver_bytewise, NULL, NULL,
                       &actual);
            expect_same(cases[i].text, length, isa, "byte by byte");
        }
    }
}
END_TEST

static struct rill_parser parsed(const char *text)
{
    struct rill_parser parser;
    rill_parser_init(&parser, &limits);
    enum rill_parse_result result = rill_parser_head(&parser, text, strlen(text));
    ck_assert_msg(result == RILL_PARSE_HEAD, "%s", parser.reason != NULL ? parser.reason : "incomplete");
    return parser;
}

static void expect_slice(struct rill_slice slice, const char *text)
{
    ck_assert_msg(rill_slice_equal(slice, rill_slice_of(text)), "[%.*s] should be [%s]", (int)slice.length, slice.bytes,
                  text);
}

START_TEST(fields_are_found_by_number_and_by_name)
{
    const char *text = "GET /p?q HTTP/1.1\r\nHost: a\r\nAccept: one\r\nX-Mine: \t mine \t\r\naccept: two\r\n\r\n";
    struct rill_parser parser = parsed(text);
    struct rill_slice value;
    size_t index = 0;
    expect_slice(rill_parser_header(&parser, text, RILL_HEADER_ACCEPT), "one");
    ck_assert_ptr_null(rill_parser_header(&parser, text, RILL_HEADER_COOKIE).bytes);
    ck_assert(rill_parser_has(&parser, RILL_HEADER_ACCEPT));
    ck_assert(!rill_parser_has(&parser, RILL_HEADER_COOKIE));
    expect_slice(rill_parser_header_named(&parser, text, rill_slice_of("x-mine")), "mine");
    ck_assert_ptr_null(rill_parser_header_named(&parser, text, rill_slice_of("x-min")).bytes);
    ck_assert(rill_parser_header_next(&parser, text, RILL_HEADER_ACCEPT, &index, &value));
    expect_slice(value, "one");
    ck_assert(rill_parser_header_next(&parser, text, RILL_HEADER_ACCEPT, &index, &value));
    expect_slice(value, "two");
    ck_assert(!rill_parser_header_next(&parser, text, RILL_HEADER_ACCEPT, &index, &value));
    expect_slice(rill_parser_path(&parser, text), "/p");
    expect_slice(rill_parser_query(&parser, text), "q");
    ck_assert_int_eq(parser.method, RILL_METHOD_GET);
}
END_TEST

START_TEST(every_well_known_name_has_its_number_in_any_case)
{
    enum rill_header_id id = (enum rill_header_id)(_i + 1);
    const char *name = rill_header_name(id);
    char text[128], upper[64];
    size_t length = strlen(name);
    for (size_t i = 0; i <= length; i++)
        upper[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
    ck_assert_int_eq(rill_header_id_of(rill_slice_of(name)), id);
    ck_assert_int_eq(rill_header_id_of(rill_slice_of(upper)), id);
    /* One byte more, less or other is another name. */
    snprintf(text, sizeof(text), "%sx", name);
    ck_assert_int_ne(rill_header_id_of(rill_slice_of(text)), id);
    ck_assert_int_ne(rill_header_id_of((struct rill_slice){name, length - 1}), id);
    for (size_t i = 0; i < length; i++) {
        snprintf(text, sizeof(text), "%s", name);
        for (int c = 0; c < 256; c++) {
            if ((c | 0x20) == name[i] && (c >= 'A' || c == name[i]))
                continue;
            text[i] = (char)c;
            if (rill_header_id_of((struct rill_slice){text, length}) == id) /* Check writes a note for each assertion */
                ck_abort_msg("[%s] is taken for [%s]", text, name);
        }
    }
}
END_TEST

START_TEST(methods_are_known_by_their_exact_names)
{
    for (int i = RILL_METHOD_GET; i < RILL_METHOD_COUNT; i++)
        ck_assert_int_eq(rill_method_of(rill_slice_of(rill_method_name((enum rill_method)i))), i);
    ck_assert_int_eq(rill_method_of(rill_slice_of("get")), RILL_METHOD_OTHER);
    ck_assert_int_eq(rill_method_of(rill_slice_of("GETX")), RILL_METHOD_OTHER);
    ck_assert_int_eq(rill_method_of(rill_slice_of("")), RILL_METHOD_OTHER);
    ck_assert_str_eq(rill_method_name(RILL_METHOD_OTHER), "");
}
END_TEST

START_TEST(a_route_may_lower_the_body_limit)
{
    struct rill_parser parser = parsed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    ck_assert_int_eq(rill_parser_limit_body(&parser, 5), 0);
    ck_assert_int_eq(rill_parser_limit_body(&parser, 4), -EMSGSIZE);

    parser = parsed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct rill_parser_piece piece;
    ck_assert_int_eq(rill_parser_limit_body(&parser, 4), 0);
    ck_assert_int_eq(rill_parser_body(&parser, "5\r\n", 3, &piece), RILL_PARSE_ERROR);
    ck_assert_int_eq(parser.status, 413);
}
END_TEST

START_TEST(a_trailer_buffer_limits_and_keeps)
{
    static const char chunks[] = "0\r\nA: b\r\nC:d\r\n\r\n";
    const char *head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    char buffer[16];
    struct rill_parser_piece piece;
    for (size_t capacity = 0; capacity <= sizeof(buffer); capacity++) {
        struct rill_parser parser = parsed(head);
        rill_parser_keep_trailers(&parser, buffer, capacity);
        enum rill_parse_result result = rill_parser_body(&parser, chunks, sizeof(chunks) - 1, &piece);
        ck_assert_int_eq(result, capacity >= 13 ? RILL_PARSE_DONE : RILL_PARSE_ERROR);
        if (result == RILL_PARSE_ERROR) {
            ck_assert_int_eq(parser.status, 431);
            continue;
        }
        struct rill_slice section = rill_parser_trailers(&parser), name, value;
        ck_assert(rill_trailer_next(&section, &name, &value));
        expect_slice(name, "A");
        expect_slice(value, "b");
        ck_assert(rill_trailer_next(&section, &name, &value));
        expect_slice(name, "C");
        expect_slice(value, "d");
        ck_assert(!rill_trailer_next(&section, &name, &value));
    }
    struct rill_parser parser = parsed(head);
    ck_assert_int_eq(rill_parser_body(&parser, chunks, sizeof(chunks) - 1, &piece), RILL_PARSE_DONE);
    ck_assert_uint_eq(rill_parser_trailers(&parser).length, 0);
}
END_TEST

/* One parser, many requests: nothing of one shows in the next. */
START_TEST(a_reset_leaves_nothing_behind)
{
    struct rill_parser fresh, used;
    memset(&fresh, 0, sizeof(fresh));
    memset(&used, 0, sizeof(used));
    rill_parser_init(&fresh, &limits);
    rill_parser_init(&used, &limits);
    for (size_t i = 0; i < parser_sample_count; i++) {
        struct rill_parser_piece piece = {RILL_PARSE_MORE, 0, {NULL, 0}};
        const char *bytes = parser_samples[i].bytes;
        size_t length = parser_samples[i].length;
        if (rill_parser_head(&used, bytes, length) == RILL_PARSE_HEAD && used.has_body)
            (void)rill_parser_body(&used, bytes + used.head_length, length - used.head_length, &piece);
        rill_parser_reset(&used);
        ck_assert_mem_eq(&used, &fresh, offsetof(struct rill_parser, headers));
    }
}
END_TEST

/* Pipelined requests come out one after the other, whatever is behind them. */
START_TEST(requests_follow_each_other)
{
    const char *text =
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n"
        "POST /3 HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    const char *at = text;
    const char *end = text + strlen(text);
    struct rill_parser parser;
    rill_parser_init(&parser, &limits);
    for (int i = 1; i <= 3; i++) {
        char path[3] = {'/', (char)('0' + i), 0};
        ck_assert_int_eq(rill_parser_head(&parser, at, (size_t)(end - at)), RILL_PARSE_HEAD);
        expect_slice(rill_parser_path(&parser, at), path);
        ck_assert_uint_eq(parser.request_offset, i == 2 ? 2 : 0);
        at += parser.head_length;
        struct rill_parser_piece piece = {RILL_PARSE_DONE, 0, {NULL, 0}};
        do {
            (void)rill_parser_body(&parser, at, (size_t)(end - at), &piece);
            at += piece.consumed;
        } while (piece.result == RILL_PARSE_DATA);
        ck_assert_int_eq(piece.result, RILL_PARSE_DONE);
        rill_parser_reset(&parser);
    }
    ck_assert_ptr_eq(at, end);
}
END_TEST

static void free_traces(void)
{
    trace_free(&actual);
    trace_free(&expected);
}

int main(void)
{
    Suite *suite = suite_create("parser");
    TCase *samples = tcase_create("samples");
    tcase_add_checked_fixture(samples, NULL, free_traces);
    tcase_add_loop_test(samples, every_sample_gets_its_verdict, 0, (int)parser_sample_count);
    tcase_add_loop_test(samples, every_split_of_every_sample_says_the_same, 0, (int)parser_sample_count);
    tcase_add_loop_test(samples, every_beginning_of_every_sample_says_the_same, 0, (int)parser_sample_count);
    tcase_add_loop_test(samples, mutations_get_the_verdict_of_the_reference, 0, 10);
    tcase_add_test(samples, limits_hold_to_the_byte);
    suite_add_tcase(suite, samples);

    TCase *states = tcase_create("states");
    tcase_add_checked_fixture(states, NULL, free_traces);
    tcase_add_test(states, samples_walk_the_whole_table_of_states);
    tcase_add_test(states, a_reset_leaves_nothing_behind);
    tcase_add_test(states, requests_follow_each_other);
#ifndef NDEBUG
    tcase_add_test_raise_signal(states, an_illegal_state_change_aborts, SIGABRT);
#endif
    tcase_add_test_raise_signal(states, content_before_the_head_aborts, SIGABRT);
    suite_add_tcase(suite, states);

    TCase *asking = tcase_create("asking");
    tcase_add_test(asking, fields_are_found_by_number_and_by_name);
    tcase_add_loop_test(asking, every_well_known_name_has_its_number_in_any_case, 0, RILL_HEADER_COUNT - 1);
    tcase_add_test(asking, methods_are_known_by_their_exact_names);
    tcase_add_test(asking, a_route_may_lower_the_body_limit);
    tcase_add_test(asking, a_trailer_buffer_limits_and_keeps);
    suite_add_tcase(suite, asking);

    return run_suite(suite);
}
