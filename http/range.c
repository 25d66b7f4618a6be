/* range.c - see range.h. */
#include "rill/http/range.h"

#include "rill/http/text.h"

/* Takes LITERAL's length off the front of TEXT when TEXT begins with it, in any case. */
static bool skip_literal(struct rill_slice *text, const char *literal)
{
    struct rill_slice expected = rill_slice_of(literal);
    struct rill_slice found = {text->bytes, expected.length};
    if (text->length < expected.length || !rill_slice_equal_nocase(found, expected))
        return false;
    text->bytes += expected.length;
    text->length -= expected.length;
    return true;
}

/* Takes digits, without leading zeros unless all are zeros, off the front of TEXT. Their value, or UINT64_MAX when it
 * is larger, goes to *VALUE. */
static struct rill_slice take_number(struct rill_slice *text, uint64_t *value)
{
    struct rill_slice digits = {text->bytes, 0};
    while (digits.length < text->length && text->bytes[digits.length] >= '0' && text->bytes[digits.length] <= '9')
        digits.length++;
    text->bytes += digits.length;
    text->length -= digits.length;
    while (digits.length > 1 && digits.bytes[0] == '0') {
        digits.bytes++;
        digits.length--;
    }
    if (rill_decimal_parse(digits, value) != 0)
        *value = UINT64_MAX;
    return digits;
}

/* Compares two numbers without leading zeros, of any length. */
static bool number_is_less(struct rill_slice a, struct rill_slice b)
{
    if (a.length != b.length)
        return a.length < b.length;
    return a.length > 0 && memcmp(a.bytes, b.bytes, a.length) < 0;
}

enum spec_result { SPEC_MALFORMED, SPEC_SATISFIABLE, SPEC_UNSATISFIABLE };

/* Reads one `first-last`, `first-` or `-suffix`. A satisfiable one has length 0 only when the SIZE is 0. */
static enum spec_result read_spec(struct rill_slice spec, uint64_t size, struct rill_range *range)
{
    uint64_t first, last;
    struct rill_slice first_digits = take_number(&spec, &first);
    if (!skip_literal(&spec, "-"))
        return SPEC_MALFORMED;
    struct rill_slice last_digits = take_number(&spec, &last);
    if (spec.length > 0 || (first_digits.length == 0 && last_digits.length == 0))
        return SPEC_MALFORMED;

    if (first_digits.length == 0) {
        if (last == 0)
            return SPEC_UNSATISFIABLE;
        range->length = last < size ? last : size;
        range->offset = size - range->length;
        return SPEC_SATISFIABLE;
    }
    if (last_digits.length > 0 && number_is_less(last_digits, first_digits))
        return SPEC_MALFORMED;
    if (first >= size)
        return SPEC_UNSATISFIABLE;
    if (last_digits.length == 0 || last >= size)
        last = size - 1;
    range->offset = first;
    range->length = last - first + 1;
    return SPEC_SATISFIABLE;
}

/* Whether two ranges share a byte or have none between them. */
static bool ranges_touch(struct rill_range a, struct rill_range b)
{
    return a.offset <= b.offset + b.length && b.offset <= a.offset + a.length;
}

static struct rill_range range_join(struct rill_range a, struct rill_range b)
{
    uint64_t end_a = a.offset + a.length, end_b = b.offset + b.length;
    struct rill_range joined;
    joined.offset = a.offset < b.offset ? a.offset : b.offset;
    joined.length = (end_a > end_b ? end_a : end_b) - joined.offset;
    return joined;
}

/* Adds RANGE to SET and joins it with all that it touches, in the place of the first of them. Returns whether there
 * was room. The ranges of a set are apart, so each of them is looked at once: joining makes no new neighbour among
 * those that did not touch RANGE itself. */
static bool set_add(struct rill_range_set *set, struct rill_range range)
{
    size_t kept = 0, place = RILL_RANGE_MAX;
    for (size_t i = 0; i < set->count; i++) {
        if (!ranges_touch(set->ranges[i], range)) {
            set->ranges[kept++] = set->ranges[i];
            continue;
        }
        range = range_join(range, set->ranges[i]);
        if (place == RILL_RANGE_MAX)
            place = kept++;
    }
    if (place == RILL_RANGE_MAX) {
        if (kept == RILL_RANGE_MAX)
            return false;
        place = kept++;
    }
    set->ranges[place] = range;
    set->count = kept;
    return true;
}

static enum rill_range_result ignore(struct rill_range_set *set)
{
    set->count = 0;
    return RILL_RANGE_IGNORE;
}

enum rill_range_result rill_range_parse(struct rill_slice value, uint64_t size, struct rill_range_set *set)
{
    bool any_spec = false, empty_but_satisfiable = false, too_many = false;

    set->count = 0;
    value = rill_slice_trim(value);
    if (!skip_literal(&value, "bytes="))
        return RILL_RANGE_IGNORE;
    while (value.length > 0) {
        const char *comma = (const char *)memchr(value.bytes, ',', value.length);
        size_t length = comma ? (size_t)(comma - value.bytes) : value.length;
        struct rill_slice spec = rill_slice_trim((struct rill_slice){value.bytes, length});
        struct rill_range range;

        value.bytes += length + (comma != NULL);
        value.length -= length + (comma != NULL);
        if (spec.length == 0)
            continue;
        any_spec = true;
        switch (read_spec(spec, size, &range)) {
        case SPEC_MALFORMED:
            return ignore(set);
        case SPEC_UNSATISFIABLE:
            break;
        case SPEC_SATISFIABLE:
            if (range.length == 0)
                empty_but_satisfiable = true;
            else if (!set_add(set, range))
                too_many = true;
            break;
        }
        if (too_many)
            return ignore(set);
    }
    /* A suffix of an empty representation can be had, but Content-Range has no words for no bytes: send the whole. */
    if (!any_spec || empty_but_satisfiable)
        return ignore(set);
    return set->count > 0 ? RILL_RANGE_PARTIAL : RILL_RANGE_UNSATISFIABLE;
}

/* Appends bytes at *LENGTH, or only counts them when there is no OUT. */
static void put(char *out, size_t *length, const char *bytes, size_t count)
{
    if (out && count > 0)
        memcpy(out + *length, bytes, count);
    *length += count;
}

static void put_text(char *out, size_t *length, const char *text)
{
    put(out, length, text, strlen(text));
}

size_t rill_content_range(char out[RILL_CONTENT_RANGE_MAX], struct rill_range range, uint64_t size)
{
    size_t length = 0;
    put_text(out, &length, "bytes ");
    length += rill_decimal_format(out + length, range.offset);
    out[length++] = '-';
    length += rill_decimal_format(out + length, range.offset + range.length - 1);
    out[length++] = '/';
    length += rill_decimal_format(out + length, size);
    return length;
}

size_t rill_content_range_unsatisfied(char out[RILL_CONTENT_RANGE_MAX], uint64_t size)
{
    size_t length = 0;
    put_text(out, &length, "bytes */");
    return length + rill_decimal_format(out + length, size);
}

static void put_hex_64(char *out, uint64_t value)
{
    for (int i = 0; i < RILL_HEX_MAX; i++)
        out[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
}

void rill_multipart_boundary(char out[RILL_MULTIPART_BOUNDARY_LENGTH], uint64_t random_high, uint64_t random_low)
{
    put_hex_64(out, random_high);
    put_hex_64(out + RILL_HEX_MAX, random_low);
}

void rill_multipart_type(char out[RILL_MULTIPART_TYPE_LENGTH], const char boundary[RILL_MULTIPART_BOUNDARY_LENGTH])
{
    size_t length = 0;
    put_text(out, &length, "multipart/byteranges; boundary=");
    put(out, &length, boundary, RILL_MULTIPART_BOUNDARY_LENGTH);
}

size_t rill_multipart_part(const struct rill_multipart *multipart, struct rill_range range, bool is_first, char *out)
{
    char content_range[RILL_CONTENT_RANGE_MAX];
    size_t length = 0;

    put_text(out, &length, is_first ? "--" : "\r\n--");
    put(out, &length, multipart->boundary.bytes, multipart->boundary.length);
    if (multipart->content_type.length > 0) {
        put_text(out, &length, "\r\nContent-Type: ");
        put(out, &length, multipart->content_type.bytes, multipart->content_type.length);
    }
    put_text(out, &length, "\r\nContent-Range: ");
    put(out, &length, content_range, rill_content_range(content_range, range, multipart->size));
    put_text(out, &length, "\r\n\r\n");
    return length;
}

size_t rill_multipart_end(const struct rill_multipart *multipart, char *out)
{
    size_t length = 0;
    put_text(out, &length, "\r\n--");
    put(out, &length, multipart->boundary.bytes, multipart->boundary.length);
    put_text(out, &length, "--\r\n");
    return length;
}

uint64_t rill_multipart_length(const struct rill_multipart *multipart, const struct rill_range_set *set)
{
    uint64_t total = rill_multipart_end(multipart, NULL);
    for (size_t i = 0; i < set->count; i++)
        total += rill_multipart_part(multipart, set->ranges[i], i == 0, NULL) + set->ranges[i].length;
    return total;
}
