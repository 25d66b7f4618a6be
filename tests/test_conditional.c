/* Entity tags, and conditional requests as a full table against a reference that follows RFC 9110 13.2.2 step by step.
 */
#include "rill/http/conditional.h"
#include "support/run_suite.h"

#include <check.h>
#include <stdlib.h>

#define MTIME 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define EXACT "Sun, 06 Nov 1994 08:49:37 GMT"
#define EXACT_850 "Sunday, 06-Nov-94 08:49:37 GMT"
#define EXACT_ASCTIME "Sun Nov  6 08:49:37 1994"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static struct rill_slice slice(const char *text)
{
    return text ? rill_slice_of(text) : (struct rill_slice){NULL, 0};
}

START_TEST(comparing_entity_tags)
{
    static const struct {
        const char *a, *b;
        bool strong, weak;
    } cases[] = {
        /* The table of RFC 9110 8.8.3.2. */
        {"W/\"1\"", "W/\"1\"", false, true},
        {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", false, true},
        {"\"1\"", "\"1\"", true, true},
        {"\"1\"", "\"2\"", false, false},
        {"\"\"", "\"\"", true, true},
        {"\"a\"", "\"A\"", false, false},
        {"\"a\"", "\"ab\"", false, false},
        {"\"W/1\"", "\"W/1\"", true, true},
        {"\"a,b\"", "\"a,b\"", true, true},
        {"\"\xff\"", "\"\xff\"", true, true},
        {"\"\\\"", "\"\\\"", true, true},
        /* No tags at all. */
        {"", "", false, false},
        {"1", "1", false, false},
        {"\"1", "\"1", false, false},
        {"1\"", "1\"", false, false},
        {"\"", "\"", false, false},
        {"w/\"1\"", "w/\"1\"", false, false},
        {"W\"1\"", "W\"1\"", false, false},
        {"W/1", "W/1", false, false},
        {"W/ \"1\"", "W/ \"1\"", false, false},
        {"W/", "W/", false, false},
        {"W", "W", false, false},
        {"\"a b\"", "\"a b\"", false, false},
        {"\"a\tb\"", "\"a\tb\"", false, false},
        {"\"\x7f\"", "\"\x7f\"", false, false},
        {"\"1\"\"", "\"1\"\"", false, false},
        {"\"1\" ", "\"1\" ", false, false},
        {" \"1\"", " \"1\"", false, false},
        {"*", "*", false, false},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        struct rill_slice a = slice(cases[i].a), b = slice(cases[i].b);
        ck_assert_msg(rill_etag_equal_strong(a, b) == cases[i].strong, "%s %s", cases[i].a, cases[i].b);
        ck_assert_msg(rill_etag_equal_strong(b, a) == cases[i].strong, "%s %s", cases[i].b, cases[i].a);
        ck_assert_msg(rill_etag_equal_weak(a, b) == cases[i].weak, "%s %s", cases[i].a, cases[i].b);
        ck_assert_msg(rill_etag_equal_weak(b, a) == cases[i].weak, "%s %s", cases[i].b, cases[i].a);
    }
    ck_assert(!rill_etag_equal_weak(slice(NULL), slice(NULL)));
}
END_TEST

/* What the tests know about a field's value, instead of reading it: the reference decides by this alone. */
enum field_kind { ABSENT, MALFORMED, ANY, LIST, DATE };
struct field {
    const char *text;
    enum field_kind kind;
    bool has_strong; /* LIST: names "x" */
    bool has_weak;   /* LIST: names W/"x" */
    int order;       /* DATE: before, at or after the time of modification */
};

static const struct field lists[] = {
    {NULL, ABSENT, false, false, 0},
    {"*", ANY, false, false, 0},
    {" *\t", ANY, false, false, 0},
    {"\"x\"", LIST, true, false, 0},
    {"W/\"x\"", LIST, false, true, 0},
    {"\"y\"", LIST, false, false, 0},
    {"\"y\", \"x\" ,W/\"z\"", LIST, true, false, 0},
    {" ,\"y\",, \t,W/\"x\",", LIST, false, true, 0},
    {"\"x,\",\"y\"", LIST, false, false, 0},
    {"W/\"x\",\"x\"", LIST, true, true, 0},
    {"", LIST, false, false, 0},
    {" , ,", LIST, false, false, 0},
    {"x", MALFORMED, false, false, 0},
    {"\"x", MALFORMED, false, false, 0},
    {"\"x\" \"x\"", MALFORMED, false, false, 0},
    {"\"x\";\"x\"", MALFORMED, false, false, 0},
    {"\"x\", *", MALFORMED, false, false, 0},
    {"*, \"x\"", MALFORMED, false, false, 0},
    {"**", MALFORMED, false, false, 0},
    {"w/\"x\"", MALFORMED, false, false, 0},
};

static const struct field dates[] = {
    {NULL, ABSENT, false, false, 0},  {BEFORE, DATE, false, false, -1},
    {EXACT, DATE, false, false, 0},   {EXACT_850, DATE, false, false, 0},
    {AFTER, DATE, false, false, 1},   {" " AFTER "\t", DATE, false, false, 1},
    {"", MALFORMED, false, false, 0}, {"Sun, 06 Nov 1994", MALFORMED, false, false, 0},
};

static const struct field if_ranges[] = {
    {NULL, ABSENT, false, false, 0},   {"\"x\"", LIST, true, false, 0},
    {" \"x\" ", LIST, true, false, 0}, {"W/\"x\"", LIST, false, true, 0},
    {"\"y\"", LIST, false, false, 0},  {"\"y\", \"x\"", MALFORMED, false, false, 0},
    {"*", MALFORMED, false, false, 0}, {BEFORE, DATE, false, false, -1},
    {EXACT, DATE, false, false, 0},    {EXACT_ASCTIME, DATE, false, false, 0},
    {AFTER, DATE, false, false, 1},    {"", MALFORMED, false, false, 0},
};

struct resource {
    const char *etag;
    bool etag_is_weak;
    bool has_mtime;
    bool is_absent;
    int64_t age_seconds; /* how long ago it was modified */
};

static const struct resource resources[] = {
    {"\"x\"", false, true, false, 100},  {"\"x\"", false, true, false, 1},  {"\"x\"", false, true, false, 0},
    {"W/\"x\"", true, true, false, 100}, {"", false, true, false, 100},     {"\"x\"", false, false, false, 100},
    {"", false, false, false, 100},      {"\"x\"", false, true, true, 100},
};

static bool matches_strong(const struct field *field, const struct resource *resource)
{
    if (field->kind == ANY)
        return !resource->is_absent;
    return field->kind == LIST && !resource->is_absent && *resource->etag && !resource->etag_is_weak &&
           field->has_strong;
}

static bool matches_weak(const struct field *field, const struct resource *resource)
{
    if (field->kind == ANY)
        return !resource->is_absent;
    return field->kind == LIST && !resource->is_absent && *resource->etag && (field->has_strong || field->has_weak);
}

static bool date_counts(const struct field *field, const struct resource *resource)
{
    return field->kind == DATE && resource->has_mtime && !resource->is_absent;
}

/* RFC 9110 13.2.2, step by step. */
static enum rill_condition reference(const struct field fields[5], const struct resource *resource, bool is_get,
                                     bool has_range)
{
    const struct field *match = &fields[0], *none_match = &fields[1], *modified = &fields[2], *unmodified = &fields[3],
                       *range = &fields[4];
    /* 1. and 2. */
    if (match->kind != ABSENT) {
        if (!matches_strong(match, resource))
            return RILL_CONDITION_FAILED;
    } else if (date_counts(unmodified, resource)) {
        if (unmodified->order < 0)
            return RILL_CONDITION_FAILED;
    }
    /* 3. and 4. */
    if (none_match->kind != ABSENT) {
        if (matches_weak(none_match, resource))
            return is_get ? RILL_CONDITION_NOT_MODIFIED : RILL_CONDITION_FAILED;
    } else if (is_get && date_counts(modified, resource)) {
        if (modified->order >= 0)
            return RILL_CONDITION_NOT_MODIFIED;
    }
    /* 5. and 6. */
    if (has_range && range->kind != ABSENT) {
        bool date_is_same = date_counts(range, resource) && range->order == 0 && resource->age_seconds > 0;
        if (!(range->kind == LIST && matches_strong(range, resource)) && !date_is_same)
            return RILL_CONDITION_IGNORE_RANGE;
    }
    return RILL_CONDITION_PROCEED;
}

static unsigned check_row(const struct field fields[5], const struct resource *resource, unsigned seen)
{
    struct rill_validators validators = {.etag = slice(resource->etag),
                                         .has_mtime = resource->has_mtime,
                                         .is_absent = resource->is_absent,
                                         .mtime_seconds = MTIME,
                                         .now_seconds = MTIME + resource->age_seconds};
    for (unsigned flags = 0; flags < 4; flags++) {
        struct rill_conditional request = {.if_match = slice(fields[0].text),
                                           .if_none_match = slice(fields[1].text),
                                           .if_modified_since = slice(fields[2].text),
                                           .if_unmodified_since = slice(fields[3].text),
                                           .if_range = slice(fields[4].text),
                                           .is_get_or_head = flags & 1,
                                           .has_range = flags & 2};
        enum rill_condition found = rill_conditional_evaluate(&request, &validators);
        enum rill_condition expected = reference(fields, resource, flags & 1, flags & 2);
        if (found != expected)
            ck_abort_msg("%d instead of %d: If-Match %s, If-None-Match %s, If-Modified-Since %s, If-Unmodified-Since "
                         "%s, If-Range %s, etag %s, flags %u",
                         (int)found, (int)expected, fields[0].text, fields[1].text, fields[2].text, fields[3].text,
                         fields[4].text, resource->etag, flags);
        seen |= 1u << found;
    }
    return seen;
}

/* _i is the resource: 20 x 20 x 8 x 8 x 12 rows for each. */
START_TEST(every_combination)
{
    unsigned seen = 0;
    for (size_t a = 0; a < rill_array_length(lists); a++)
        for (size_t b = 0; b < rill_array_length(lists); b++)
            for (size_t c = 0; c < rill_array_length(dates); c++)
                for (size_t d = 0; d < rill_array_length(dates); d++)
                    for (size_t e = 0; e < rill_array_length(if_ranges); e++) {
                        struct field row[5] = {lists[a], lists[b], dates[c], dates[d], if_ranges[e]};
                        seen = check_row(row, &resources[_i], seen);
                    }
    /* All outcomes were met; but what is not there cannot be unmodified. */
    unsigned all = 1u << RILL_CONDITION_PROCEED | 1u << RILL_CONDITION_FAILED | 1u << RILL_CONDITION_IGNORE_RANGE;
    if (!resources[_i].is_absent)
        all |= 1u << RILL_CONDITION_NOT_MODIFIED;
    ck_assert_uint_eq(seen, all);
}
END_TEST

static enum rill_condition get_with(struct rill_conditional request, const char *etag)
{
    struct rill_validators validators = {
        .etag = slice(etag), .has_mtime = true, .mtime_seconds = MTIME, .now_seconds = MTIME + 60};
    request.is_get_or_head = true;
    return rill_conditional_evaluate(&request, &validators);
}

START_TEST(samples)
{
    struct rill_conditional none = {0};
    ck_assert_int_eq(get_with(none, "\"x\""), RILL_CONDITION_PROCEED);
    /* If-None-Match that does not match outdoes If-Modified-Since that does. */
    struct rill_conditional both = {.if_none_match = slice("\"y\""), .if_modified_since = slice(EXACT)};
    ck_assert_int_eq(get_with(both, "\"x\""), RILL_CONDITION_PROCEED);
    /* A range of what has changed meanwhile is not sent. */
    struct rill_conditional range = {.if_range = slice("\"x\""), .has_range = true};
    ck_assert_int_eq(get_with(range, "\"x\""), RILL_CONDITION_PROCEED);
    ck_assert_int_eq(get_with(range, "\"y\""), RILL_CONDITION_IGNORE_RANGE);
    ck_assert_int_eq(get_with(range, "W/\"x\""), RILL_CONDITION_IGNORE_RANGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conditional");
    TCase *tests = tcase_create("conditional");
    tcase_add_test(tests, comparing_entity_tags);
    tcase_add_loop_test(tests, every_combination, 0, (int)rill_array_length(resources));
    tcase_add_test(tests, samples);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
