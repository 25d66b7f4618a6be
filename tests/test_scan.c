/* test_scan.c - every way of scanning sees the same classes of bytes: those of the table, and those of the RFCs. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "rill/http/parser.h"
#include "rill/http/scan_internal.h"
#include "support/run_suite.h"

static const struct rill_parser_limits limits = RILL_PARSER_LIMITS_DEFAULT;

static bool is_in(int c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* The sets, spelled as the RFCs spell them. */
static unsigned class_of(int c)
{
    unsigned classes = 0;
    if (is_in(c, LETTERS DIGITS "!#$%&'*+-.^_`|~"))
        classes |= RILL_BYTE_TOKEN;
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        classes |= RILL_BYTE_CONTROL;
    if (c > 0x20 && c < 0x7f && !is_in(c, "#\"<>%?\\"))
        classes |= RILL_BYTE_TARGET;
    if (is_in(c, LETTERS DIGITS "-._~!$&'()*+;="))
        classes |= RILL_BYTE_HOST;
    return classes;
}

START_TEST(the_table_is_what_the_rfcs_say)
{
    for (int c = 0; c < 256; c++)
        ck_assert_msg(rill_byte_class[c] == class_of(c), "byte 0x%02x: class %u should be %u", c, rill_byte_class[c],
                      class_of(c));
}
END_TEST

START_TEST(hexadecimal_digits_have_their_values)
{
    for (int c = 0; c < 256; c++) {
        const char *digits = "0123456789abcdefABCDEF";
        const char *found = c != 0 ? strchr(digits, c) : NULL;
        int value = found == NULL ? -1 : (int)(found - digits) - (found - digits > 15 ? 6 : 0);
        ck_assert_int_eq(rill_hex_value((char)c), value);
    }
}
END_TEST

/* Where in a request a byte of some class may stand: behind BEFORE and a filling of any length, before AFTER. */
static const struct place {
    const char *before, *filling, *after;
    unsigned wanted, unwanted; /* a byte is fine here if it is in a class wanted and in none unwanted */
    const char *also;          /* and if it is one of these all the same */
} places[] = {
    {"", "M", " / HTTP/1.1\r\nHost: a\r\n\r\n", RILL_BYTE_TOKEN, 0, ""},
    {"GET /", "t", " HTTP/1.1\r\nHost: a\r\n\r\n", RILL_BYTE_TARGET, 0, "?"},
    {"GET /?", "t", " HTTP/1.1\r\nHost: a\r\n\r\n", RILL_BYTE_TARGET, 0, "?\\"},
    {"GET / HTTP/1.1\r\nHost: a\r\n", "n", ": v\r\n\r\n", RILL_BYTE_TOKEN, 0, ":"},
    {"GET / HTTP/1.1\r\nHost: a\r\nName: ", "v", "\r\n\r\n", 0, RILL_BYTE_CONTROL, ""},
    {"GET / HTTP/1.1\r\nHost: ", "h", "h\r\n\r\n", RILL_BYTE_HOST, 0, ""},
};

static bool is_fine(const struct place *place, int c)
{
    unsigned classes = class_of(c);
    if (is_in(c, place->also))
        return true;
    return (place->wanted == 0 || (classes & place->wanted) != 0) && (classes & place->unwanted) == 0;
}

/* Each byte, at each distance from the start of a scan, so that it meets every lane of a vector and every tail. The
 * bytes end where their memory does: a sanitizer sees a read behind them. */
START_TEST(every_isa_stops_at_the_same_bytes)
{
    const struct place *place = &places[_i / 150];
    size_t filling = (size_t)(_i % 150) + 2;
    struct rill_parser parser;
    rill_parser_init(&parser, &limits);
    size_t before = strlen(place->before);
    size_t after = strlen(place->after);
    size_t length = before + filling + 1 + after;
    char *text = malloc(length);
    ck_assert_ptr_nonnull(text);
    for (int tail = 0; tail < 2; tail++) {
        size_t at = before + (tail ? filling / 2 : filling); /* the byte last, or amid the filling */
        memcpy(text, place->before, before);
        memset(text + before, place->filling[0], filling + 1);
        memcpy(text + before + filling + 1, place->after, after);
        for (int c = 0; c < 256; c++) {
            text[at] = (char)c;
            for (int isa = 0; isa < RILL_PARSER_ISA_COUNT; isa++) {
                if (rill_parser_use(&parser, (enum rill_parser_isa)isa) != 0)
                    continue;
                rill_parser_reset(&parser);
                enum rill_parse_result result = rill_parser_head(&parser, text, length);
                if ((result == RILL_PARSE_HEAD) != is_fine(place, c)) /* Check writes a note for each assertion */
                    ck_abort_msg("%s: byte 0x%02x after %zu bytes behind [%s]: result %d (%s)",
                                 rill_parser_isa_name((enum rill_parser_isa)isa), c, at - before, place->before, result,
                                 parser.reason != NULL ? parser.reason : "");
            }
        }
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scan");
    TCase *cases = tcase_create("scan");
    tcase_add_test(cases, the_table_is_what_the_rfcs_say);
    tcase_add_test(cases, hexadecimal_digits_have_their_values);
    tcase_add_loop_test(cases, every_isa_stops_at_the_same_bytes, 0, (int)rill_array_length(places) * 150);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
