/* reference_range.c - RFC 9110, 14.1.2. */
#include "reference_range.h"
#include <stdlib.h>
#include <strings.h>

/* TEXT without the spaces and tabs around it, which are overwritten. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    for (size_t length = strlen(text); length > 0 && strchr(" \t", text[length - 1]); length--)
        text[length - 1] = '\0';
    return text;
}

/* Whether the number A, in digits, is less than B. */
static bool is_less(const char *a, size_t a_length, const char *b, size_t b_length)
{
    for (; a_length > 0 && *a == '0'; a++)
        a_length--;
    for (; b_length > 0 && *b == '0'; b++)
        b_length--;
    return a_length != b_length ? a_length < b_length : memcmp(a, b, a_length) < 0;
}

enum spec { MALFORMED, UNSATISFIABLE, EMPTY, SATISFIABLE };

static enum spec read_spec(const char *spec, uint64_t size, struct rill_range *range)
{
    size_t first_digits = strspn(spec, "0123456789");
    const char *last = spec + first_digits + 1;
    size_t last_digits = spec[first_digits] == '-' ? strspn(last, "0123456789") : 0;
    if (spec[first_digits] != '-' || last[last_digits] != '\0' || first_digits + last_digits == 0)
        return MALFORMED;
    uint64_t from = strtoull(spec, NULL, 10), to = last_digits > 0 ? strtoull(last, NULL, 10) : UINT64_MAX;
    if (first_digits == 0) { /* the last so many */
        if (to == 0)
            return UNSATISFIABLE;
        range->length = to < size ? to : size;
        range->offset = size - range->length;
        return size > 0 ? SATISFIABLE : EMPTY;
    }
    from = spec[0] == '-' ? 0 : from;
    if (last_digits > 0 && is_less(last, last_digits, spec, first_digits))
        return MALFORMED;
    if (from >= size)
        return UNSATISFIABLE;
    range->offset = from;
    range->length = (to < size ? to : size - 1) - from + 1;
    return SATISFIABLE;
}

static bool touch(struct rill_range a, struct rill_range b)
{
    uint64_t a_end = a.offset + a.length, b_end = b.offset + b.length;
    return (a.offset >= b.offset ? a.offset : b.offset) <= (a_end <= b_end ? a_end : b_end);
}

/* The first two of RANGES that touch become one, in the place of the first. False: there are none. */
static bool join_two(struct rill_range *ranges, size_t *count)
{
    for (size_t i = 0; i < *count; i++) {
        for (size_t k = i + 1; k < *count; k++) {
            if (!touch(ranges[i], ranges[k]))
                continue;
            uint64_t i_end = ranges[i].offset + ranges[i].length, k_end = ranges[k].offset + ranges[k].length;
            if (ranges[k].offset < ranges[i].offset)
                ranges[i].offset = ranges[k].offset;
            ranges[i].length = (i_end > k_end ? i_end : k_end) - ranges[i].offset;
            memmove(ranges + k, ranges + k + 1, (--*count - k) * sizeof *ranges);
            return true;
        }
    }
    return false;
}

/* VALUE has no NUL, and may be changed. */
static enum rill_range_result read_value(char *value, uint64_t size, struct rill_range *ranges, size_t *count)
{
    bool any = false, empty = false;
    value = trim(value);
    if (strncasecmp(value, "bytes=", 6) != 0)
        return RILL_RANGE_IGNORE;
    value += 6;
    for (char *spec; (spec = strsep(&value, ","));) {
        spec = trim(spec);
        if (*spec == '\0')
            continue;
        any = true;
        switch (read_spec(spec, size, &ranges[*count])) {
        case MALFORMED:
            return RILL_RANGE_IGNORE;
        case UNSATISFIABLE:
            continue;
        case EMPTY:
            empty = true;
            continue;
        case SATISFIABLE:
            break;
        }
        ++*count;
        while (join_two(ranges, count))
            continue;
        if (*count > RILL_RANGE_MAX)
            return RILL_RANGE_IGNORE;
    }
    if (!any || empty)
        return RILL_RANGE_IGNORE;
    return *count > 0 ? RILL_RANGE_PARTIAL : RILL_RANGE_UNSATISFIABLE;
}

enum rill_range_result reference_range(struct rill_slice value, uint64_t size, struct rill_range_set *set)
{
    struct rill_range ranges[RILL_RANGE_MAX + 1];
    enum rill_range_result result = RILL_RANGE_IGNORE;
    size_t count = 0;
    set->count = 0;
    char *copy = strndup(value.length ? value.bytes : "", value.length);
    if (copy && strlen(copy) == value.length)
        result = read_value(copy, size, ranges, &count);
    free(copy);
    if (result != RILL_RANGE_PARTIAL)
        return result;
    set->count = count;
    memcpy(set->ranges, ranges, count * sizeof *ranges);
    return result;
}
