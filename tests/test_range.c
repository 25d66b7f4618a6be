/* Range sets, against samples and against a map of the bytes; the texts of their answers. */
#include "rill/http/range.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* What a set should be: `0+5 9+1`, offsets and lengths in order. */
static void check_ranges(const char *value, uint64_t size, enum rill_range_result expected, const char *ranges)
{
    struct rill_range_set set;
    char found[1024] = "";
    enum rill_range_result result = rill_range_parse(rill_slice_of(value), size, &set);
    ck_assert_msg(result == expected, "\"%s\" of %llu: %d", value, (unsigned long long)size, (int)result);
    for (size_t i = 0, at = 0; i < set.count; i++)
        at += (size_t)snprintf(found + at, sizeof(found) - at, "%s%llu+%llu", i > 0 ? " " : "",
                               (unsigned long long)set.ranges[i].offset, (unsigned long long)set.ranges[i].length);
    ck_assert_msg(strcmp(found, ranges) == 0, "\"%s\" of %llu: %s", value, (unsigned long long)size, found);
}

static void check_ignored(const char *value)
{
    check_ranges(value, 10000, RILL_RANGE_IGNORE, "");
}

START_TEST(samples_of_the_rfc)
{
    check_ranges("bytes=0-499", 10000, RILL_RANGE_PARTIAL, "0+500");
    check_ranges("bytes=500-999", 10000, RILL_RANGE_PARTIAL, "500+500");
    check_ranges("bytes=-500", 10000, RILL_RANGE_PARTIAL, "9500+500");
    check_ranges("bytes=9500-", 10000, RILL_RANGE_PARTIAL, "9500+500");
    check_ranges("bytes=0-0,-1", 10000, RILL_RANGE_PARTIAL, "0+1 9999+1");
    check_ranges("bytes= 0-999, 4500-5499, -1000", 10000, RILL_RANGE_PARTIAL, "0+1000 4500+1000 9000+1000");
    check_ranges("bytes=500-600,601-999", 10000, RILL_RANGE_PARTIAL, "500+500");
    check_ranges("bytes=500-700,601-999", 10000, RILL_RANGE_PARTIAL, "500+500");
}
END_TEST

START_TEST(at_the_ends)
{
    check_ranges("bytes=0-", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=0-9", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=0-10", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=9-", 10, RILL_RANGE_PARTIAL, "9+1");
    check_ranges("bytes=9-9", 10, RILL_RANGE_PARTIAL, "9+1");
    check_ranges("bytes=10-", 10, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=10-10", 10, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=-10", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=-11", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=-1", 10, RILL_RANGE_PARTIAL, "9+1");
    check_ranges("bytes=-0", 10, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=10-,3-4", 10, RILL_RANGE_PARTIAL, "3+2");
    check_ranges("bytes=-0,3-4", 10, RILL_RANGE_PARTIAL, "3+2");
    check_ranges("bytes=-0,10-12", 10, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=0-", 0, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=0-0", 0, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=-0", 0, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=-5", 0, RILL_RANGE_IGNORE, "");
    check_ranges("bytes=0-0,-5", 0, RILL_RANGE_IGNORE, "");
}
END_TEST

START_TEST(numbers_of_any_size)
{
    check_ranges("bytes=000000000000000000000000000001-0002", 10, RILL_RANGE_PARTIAL, "1+2");
    check_ranges("bytes=0-18446744073709551615", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=0-18446744073709551616", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=0-99999999999999999999999999999999", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=-99999999999999999999999999999999", 10, RILL_RANGE_PARTIAL, "0+10");
    check_ranges("bytes=18446744073709551616-", 10, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=18446744073709551617-18446744073709551616", 10, RILL_RANGE_IGNORE, "");
    check_ranges("bytes=18446744073709551616-18446744073709551617", 10, RILL_RANGE_UNSATISFIABLE, "");
    check_ranges("bytes=99999999999999999999-5", 10, RILL_RANGE_IGNORE, "");
    check_ranges("bytes=18446744073709551616-0", 10, RILL_RANGE_IGNORE, "");
    check_ranges("bytes=-1,0-0", INT64_MAX, RILL_RANGE_PARTIAL, "9223372036854775806+1 0+1");
    check_ranges("bytes=0-,-1", UINT64_MAX, RILL_RANGE_PARTIAL, "0+18446744073709551615");
    check_ranges("bytes=1-", UINT64_MAX, RILL_RANGE_PARTIAL, "1+18446744073709551614");
    check_ranges("bytes=18446744073709551615-", UINT64_MAX, RILL_RANGE_UNSATISFIABLE, "");
}
END_TEST

START_TEST(lists_with_gaps_and_blanks)
{
    check_ranges(" bytes=1-2 ", 10, RILL_RANGE_PARTIAL, "1+2");
    check_ranges("Bytes=1-2", 10, RILL_RANGE_PARTIAL, "1+2");
    check_ranges("bytes=,1-2", 10, RILL_RANGE_PARTIAL, "1+2");
    check_ranges("bytes=1-2,", 10, RILL_RANGE_PARTIAL, "1+2");
    check_ranges("bytes= ,, \t,1-2 ,\t, 5-6 ,, ", 10, RILL_RANGE_PARTIAL, "1+2 5+2");
}
END_TEST

START_TEST(what_is_ignored)
{
    static const char *const values[] = {
        "",
        " ",
        "bytes",
        "bytes=",
        "bytes= ",
        "bytes=,",
        "bytes=, ,",
        "bytes=-",
        "bytes=--1",
        "bytes=-1-",
        "bytes=-1-2",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=2-1",
        "bytes=10-9",
        "bytes=0-0,2-1",
        "bytes=2-1,0-0",
        "bytes=1 - 2",
        "bytes=1- 2",
        "bytes=1 -2",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=0x1-2",
        "bytes=a-b",
        "bytes=1-2;3-4",
        "bytes=1-2 3-4",
        "bytes=1-2,x",
        "bytes = 1-2",
        "bytes:1-2",
        "bytes 1-2",
        "bytes=bytes=1-2",
        "bits=1-2",
        "lines=1-2",
        "byte=1-2",
        "bytess=1-2",
        "none",
        "1-2",
        "=1-2",
    };
    for (size_t i = 0; i < rill_array_length(values); i++)
        check_ignored(values[i]);
    struct rill_range_set set;
    ck_assert_int_eq(rill_range_parse((struct rill_slice){NULL, 0}, 5, &set), RILL_RANGE_IGNORE);
    ck_assert_int_eq(rill_range_parse((struct rill_slice){"bytes=1-\0", 9}, 5, &set), RILL_RANGE_IGNORE);
}
END_TEST

START_TEST(overlaps_are_joined_in_the_place_of_the_first)
{
    check_ranges("bytes=0-1,2-3", 100, RILL_RANGE_PARTIAL, "0+4");
    check_ranges("bytes=2-3,0-1", 100, RILL_RANGE_PARTIAL, "0+4");
    check_ranges("bytes=0-1,3-4", 100, RILL_RANGE_PARTIAL, "0+2 3+2");
    check_ranges("bytes=0-1,3-4,2-2", 100, RILL_RANGE_PARTIAL, "0+5");
    check_ranges("bytes=50-59,10-19,30-39,15-35", 100, RILL_RANGE_PARTIAL, "50+10 10+30");
    check_ranges("bytes=50-59,10-19,30-39,80-,15-55", 100, RILL_RANGE_PARTIAL, "10+50 80+20");
    check_ranges("bytes=0-0,0-0,0-0,0-0", 100, RILL_RANGE_PARTIAL, "0+1");
    check_ranges("bytes=0-,5-,-10,7-9", 100, RILL_RANGE_PARTIAL, "0+100");
}
END_TEST

/* Writes `bytes=` and COUNT single bytes, STEP apart. */
static void write_singles(char *value, size_t count, unsigned step)
{
    value += sprintf(value, "bytes=");
    for (size_t i = 0; i < count; i++)
        value += sprintf(value, "%s%zu-%zu", i > 0 ? "," : "", i * step, i * step);
}

START_TEST(many_ranges)
{
    static char value[65536];
    struct rill_range_set set;

    write_singles(value, RILL_RANGE_MAX, 2);
    ck_assert_int_eq(rill_range_parse(rill_slice_of(value), 100000, &set), RILL_RANGE_PARTIAL);
    ck_assert_uint_eq(set.count, RILL_RANGE_MAX);
    for (size_t i = 0; i < set.count; i++)
        ck_assert(set.ranges[i].offset == 2 * i && set.ranges[i].length == 1);

    write_singles(value, RILL_RANGE_MAX + 1, 2);
    ck_assert_int_eq(rill_range_parse(rill_slice_of(value), 100000, &set), RILL_RANGE_IGNORE);
    ck_assert_uint_eq(set.count, 0);

    /* Thousands that are one when joined are one. */
    write_singles(value, 5000, 1);
    ck_assert_int_eq(rill_range_parse(rill_slice_of(value), 100000, &set), RILL_RANGE_PARTIAL);
    ck_assert_uint_eq(set.count, 1);
    ck_assert_uint_eq(set.ranges[0].length, 5000);

    /* Those that cannot be had do not count. */
    write_singles(value, 5000, 2);
    ck_assert_int_eq(rill_range_parse(rill_slice_of(value), 10, &set), RILL_RANGE_PARTIAL);
    ck_assert_uint_eq(set.count, 5);
}
END_TEST

/* The reference: marks bytes in a map, in which runs are ranges. */
#define MAP_SIZE 160
struct map {
    bool bytes[MAP_SIZE + 1]; /* the last one stays clear */
    unsigned order[MAP_SIZE]; /* which range was the first to name this byte */
};

static size_t map_runs(const struct map *map)
{
    size_t runs = 0;
    for (size_t at = 0; at < MAP_SIZE; at++)
        runs += map->bytes[at] && !map->bytes[at + 1];
    return runs;
}

/* The earliest range that named any byte of the run at FIRST. */
static unsigned run_order(const struct map *map, size_t first)
{
    unsigned order = map->order[first];
    for (size_t at = first; map->bytes[at]; at++)
        if (map->order[at] < order)
            order = map->order[at];
    return order;
}

static void check_set_is_map(const struct rill_range_set *set, const struct map *map, const char *value)
{
    unsigned previous = 0;
    if (set->count != map_runs(map))
        ck_abort_msg("%s: %zu ranges instead of %zu", value, set->count, map_runs(map));
    for (size_t i = 0; i < set->count; i++) {
        uint64_t first = set->ranges[i].offset, end = first + set->ranges[i].length;
        bool is_run = end <= MAP_SIZE && first < end && !map->bytes[end] && (first == 0 || !map->bytes[first - 1]);
        for (uint64_t at = first; is_run && at < end; at++)
            is_run = map->bytes[at];
        if (!is_run)
            ck_abort_msg("%s: range %zu is not what was asked for", value, i);
        unsigned order = run_order(map, first);
        if (i > 0 && order <= previous)
            ck_abort_msg("%s: range %zu is out of order", value, i);
        previous = order;
    }
}

/* A Range value that is being made, and what it should give. */
struct sample {
    struct test_random random;
    struct map map;
    size_t size;
    bool is_malformed;
    bool has_suffix;   /* one that could be had of a file that has bytes */
    bool had_too_many; /* at some point, from left to right */
    char value[16384];
};

/* Appends one spec at AT, and marks its bytes as named by the spec of number ORDER. Returns the new end. */
static char *add_spec(struct sample *sample, char *at, unsigned order, size_t longest)
{
    size_t first = test_random_below(&sample->random, sample->size + 5);
    size_t length = test_random_below(&sample->random, longest), last = first + length;
    switch (test_random_below(&sample->random, 50)) {
    case 0:
        sample->is_malformed = true;
        if (length % 2)
            return at + sprintf(at, "%zu", first);
        return at + sprintf(at, "%zu-%zu", last + 1, first);
    case 1:
        at += sprintf(at, "%zu-", first);
        last = sample->size;
        break;
    case 2:
    case 3:
        at += sprintf(at, "-%zu", length);
        sample->has_suffix |= length > 0;
        first = length < sample->size ? sample->size - length : 0;
        last = sample->size - (length == 0);
        break;
    default:
        at += sprintf(at, "%zu-%zu", first, last);
        break;
    }
    for (size_t byte = first; byte <= last && byte < sample->size; byte++) {
        if (!sample->map.bytes[byte])
            sample->map.order[byte] = order;
        sample->map.bytes[byte] = true;
    }
    sample->had_too_many |= map_runs(&sample->map) > RILL_RANGE_MAX;
    return at;
}

static void make_sample(struct sample *sample, bool many)
{
    static const char *const separators[] = {",", ", ", " ,", "\t, \t", ",,", ", ,"};
    size_t specs = 1 + test_random_below(&sample->random, many ? 60 : 6);
    size_t longest = 1 + test_random_below(&sample->random, many ? 3 : 30);
    char *at = sample->value + sprintf(sample->value, "bytes=");
    for (unsigned order = 0; order < specs; order++) {
        if (order > 0)
            at += sprintf(at, "%s", separators[test_random_below(&sample->random, rill_array_length(separators))]);
        at = add_spec(sample, at, order, longest);
    }
}

static enum rill_range_result sample_result(const struct sample *sample)
{
    if (sample->is_malformed || sample->had_too_many || (sample->size == 0 && sample->has_suffix))
        return RILL_RANGE_IGNORE;
    return map_runs(&sample->map) > 0 ? RILL_RANGE_PARTIAL : RILL_RANGE_UNSATISFIABLE;
}

START_TEST(random_sets_against_a_map_of_the_bytes)
{
    static struct sample sample;
    struct test_random random = {3};
    unsigned met[3] = {0};

    for (int round = 0; round < 60000; round++) {
        struct rill_range_set set;
        memset(&sample, 0, offsetof(struct sample, value));
        sample.random.state = test_random_next(&random);
        sample.size = test_random_below(&random, round % 2 ? 20 : MAP_SIZE + 1);
        make_sample(&sample, round % 20 == 0);

        enum rill_range_result expected = sample_result(&sample);
        enum rill_range_result result = rill_range_parse(rill_slice_of(sample.value), sample.size, &set);
        if (result != expected)
            ck_abort_msg("%s of %zu: %d instead of %d", sample.value, sample.size, (int)result, (int)expected);
        if (result == RILL_RANGE_PARTIAL)
            check_set_is_map(&set, &sample.map, sample.value);
        else if (set.count != 0)
            ck_abort_msg("%s of %zu leaves ranges", sample.value, sample.size);
        met[result] += !sample.is_malformed;
    }
    /* All three results were met, and not only for what is malformed. */
    ck_assert_uint_gt(met[RILL_RANGE_IGNORE], 100);
    ck_assert_uint_gt(met[RILL_RANGE_PARTIAL], 10000);
    ck_assert_uint_gt(met[RILL_RANGE_UNSATISFIABLE], 500);
}
END_TEST

static void check_text(const char *found, size_t length, const char *expected)
{
    ck_assert_msg(rill_slice_equal((struct rill_slice){found, length}, rill_slice_of(expected)), "%.*s", (int)length,
                  found);
}

START_TEST(content_range)
{
    char out[RILL_CONTENT_RANGE_MAX];
    check_text(out, rill_content_range(out, (struct rill_range){0, 5}, 10), "bytes 0-4/10");
    check_text(out, rill_content_range(out, (struct rill_range){9, 1}, 10), "bytes 9-9/10");
    check_text(out, rill_content_range(out, (struct rill_range){UINT64_MAX - 1, 1}, UINT64_MAX),
               "bytes 18446744073709551614-18446744073709551614/18446744073709551615");
    ck_assert_uint_eq(rill_content_range(out, (struct rill_range){UINT64_MAX - 1, 1}, UINT64_MAX), sizeof(out));
    check_text(out, rill_content_range_unsatisfied(out, 10), "bytes */10");
    check_text(out, rill_content_range_unsatisfied(out, 0), "bytes */0");
    check_text(out, rill_content_range_unsatisfied(out, UINT64_MAX), "bytes */18446744073709551615");
}
END_TEST

START_TEST(multipart_texts)
{
    char boundary[RILL_MULTIPART_BOUNDARY_LENGTH], type[RILL_MULTIPART_TYPE_LENGTH], out[256];
    rill_multipart_boundary(boundary, 0x0123456789abcdef, 0xfedcba9876543210);
    check_text(boundary, sizeof(boundary), "0123456789abcdeffedcba9876543210");
    rill_multipart_boundary(boundary, 0, 1);
    check_text(boundary, sizeof(boundary), "00000000000000000000000000000001");
    rill_multipart_type(type, boundary);
    check_text(type, sizeof(type), "multipart/byteranges; boundary=00000000000000000000000000000001");

    struct rill_multipart multipart = {rill_slice_of("SEP"), rill_slice_of("text/html"), 100};
    check_text(out, rill_multipart_part(&multipart, (struct rill_range){5, 10}, true, out),
               "--SEP\r\nContent-Type: text/html\r\nContent-Range: bytes 5-14/100\r\n\r\n");
    check_text(out, rill_multipart_part(&multipart, (struct rill_range){99, 1}, false, out),
               "\r\n--SEP\r\nContent-Type: text/html\r\nContent-Range: bytes 99-99/100\r\n\r\n");
    check_text(out, rill_multipart_end(&multipart, out), "\r\n--SEP--\r\n");
    multipart.content_type = (struct rill_slice){NULL, 0};
    check_text(out, rill_multipart_part(&multipart, (struct rill_range){99, 1}, false, out),
               "\r\n--SEP\r\nContent-Range: bytes 99-99/100\r\n\r\n");
}
END_TEST

/* The length that is announced is the length of a body that is put together. */
START_TEST(multipart_length)
{
    static char body[65536];
    struct test_random random = {4};
    for (int round = 0; round < 2000; round++) {
        struct rill_range_set set = {0};
        struct rill_multipart multipart = {rill_slice_of("0123456789"), rill_slice_of("video/mp4"), 0};
        size_t length = 0;
        if (round % 3 == 0)
            multipart.content_type.length = 0;
        set.count = 1 + test_random_below(&random, RILL_RANGE_MAX);
        for (size_t i = 0; i < set.count; i++) {
            uint64_t offset = multipart.size + test_random_below(&random, 3000);
            set.ranges[i] = (struct rill_range){offset, 1 + test_random_below(&random, 500)};
            multipart.size = offset + set.ranges[i].length + 1;
        }
        for (size_t i = 0; i < set.count; i++) {
            size_t header = rill_multipart_part(&multipart, set.ranges[i], i == 0, body + length);
            ck_assert_uint_eq(header, rill_multipart_part(&multipart, set.ranges[i], i == 0, NULL));
            length += header + set.ranges[i].length;
        }
        length += rill_multipart_end(&multipart, body + length);
        ck_assert_uint_eq(length, rill_multipart_length(&multipart, &set));
    }
    struct rill_multipart large = {rill_slice_of("X"), {NULL, 0}, INT64_MAX};
    struct rill_range_set whole = {.count = 1, .ranges = {{0, INT64_MAX}}};
    ck_assert(rill_multipart_length(&large, &whole) > INT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("range");
    TCase *tests = tcase_create("range");
    tcase_add_test(tests, samples_of_the_rfc);
    tcase_add_test(tests, at_the_ends);
    tcase_add_test(tests, numbers_of_any_size);
    tcase_add_test(tests, lists_with_gaps_and_blanks);
    tcase_add_test(tests, what_is_ignored);
    tcase_add_test(tests, overlaps_are_joined_in_the_place_of_the_first);
    tcase_add_test(tests, many_ranges);
    tcase_add_test(tests, random_sets_against_a_map_of_the_bytes);
    tcase_add_test(tests, content_range);
    tcase_add_test(tests, multipart_texts);
    tcase_add_test(tests, multipart_length);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
