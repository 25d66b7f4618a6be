/* Fuzzes the reading of header values: ranges, dates, conditions, numbers; against slow readings of the same rules, and
 * what must hold for any input.
 *
 * The input is lines: a representation's size, an entity tag, If-Match, If-None-Match, If-Modified-Since,
 * If-Unmodified-Since, If-Range, Range. A line that is missing is a field that is missing. */
#include "rill/core/number.h"
#include "rill/http/conditional.h"
#include "rill/http/date.h"
#include "rill/http/range.h"
#include "support/fuzz.h"
#include "support/reference_range.h"

#define NOW 1767225600
#define LAST_SECOND 253402300799

/* A number that is read is the one that is written. */
static void check_number(struct rill_slice text)
{
    char again[RILL_DECIMAL_MAX];
    uint64_t value;
    if (rill_decimal_parse(text, &value) != 0)
        return;
    while (text.length > 1 && text.bytes[0] == '0') {
        text.bytes++;
        text.length--;
    }
    MUST(rill_slice_equal((struct rill_slice){again, rill_decimal_format(again, value)}, text));
}

/* A date that is read says the same when it is written and read again. */
static void check_date(struct rill_slice text)
{
    char again[RILL_HTTP_DATE_LENGTH];
    int64_t seconds, back;
    if (rill_http_date_parse(text, NOW, &seconds) != 0 || seconds > LAST_SECOND)
        return;
    rill_http_date_format(again, seconds);
    MUST(rill_http_date_parse((struct rill_slice){again, sizeof(again)}, 0, &back) == 0 && back == seconds);
}

/* The ranges of a set lie inside the representation and apart; written as a Range they are read as themselves. */
static void check_range(struct rill_slice value, uint64_t size)
{
    static char text[RILL_RANGE_MAX * (2 * RILL_DECIMAL_MAX + 2) + 6];
    struct rill_range_set set, again;
    size_t length = 6;
    uint64_t total = 0;

    enum rill_range_result result = rill_range_parse(value, size, &set);
    MUST(result == reference_range(value, size, &again));
    MUST(set.count == again.count);
    if (result != RILL_RANGE_PARTIAL) {
        MUST(set.count == 0);
        return;
    }
    MUST(memcmp(again.ranges, set.ranges, set.count * sizeof(set.ranges[0])) == 0);
    MUST(set.count > 0 && set.count <= RILL_RANGE_MAX);
    memcpy(text, "bytes=", 6);
    for (size_t i = 0; i < set.count; i++) {
        struct rill_range a = set.ranges[i];
        MUST(a.length > 0 && a.length <= size && a.offset <= size - a.length);
        for (size_t j = 0; j < i; j++) {
            struct rill_range b = set.ranges[j];
            MUST(a.offset > b.offset + b.length || b.offset > a.offset + a.length);
        }
        total += a.length;
        length += rill_decimal_format(text + length, a.offset);
        text[length++] = '-';
        length += rill_decimal_format(text + length, a.offset + a.length - 1);
        text[length++] = ',';
    }
    MUST(total <= size);
    MUST(rill_range_parse((struct rill_slice){text, length}, size, &again) == RILL_RANGE_PARTIAL);
    MUST(again.count == set.count);
    MUST(memcmp(again.ranges, set.ranges, set.count * sizeof(set.ranges[0])) == 0);

    struct rill_multipart multipart = {{"boundary", 8}, {"text/html", 9}, size};
    if (size <= INT64_MAX)
        MUST(rill_multipart_length(&multipart, &set) > total);
}

static void check_etag(struct rill_slice tag, struct rill_slice other)
{
    MUST(rill_etag_equal_strong(tag, other) == rill_etag_equal_strong(other, tag));
    MUST(rill_etag_equal_weak(tag, other) == rill_etag_equal_weak(other, tag));
    MUST(rill_etag_equal_weak(tag, other) || !rill_etag_equal_strong(tag, other));
    MUST(rill_etag_equal_weak(tag, tag) || !rill_etag_equal_strong(tag, tag));
}

/* Each answer needs a field that can be its reason. */
static void check_conditional(struct rill_conditional request, struct rill_validators resource)
{
    enum rill_condition found = rill_conditional_evaluate(&request, &resource);
    MUST(found == reference_condition(&request, &resource));
    bool has_precondition = request.if_match.bytes || request.if_none_match.bytes || request.if_modified_since.bytes ||
                            request.if_unmodified_since.bytes;
    switch (found) {
    case RILL_CONDITION_NOT_MODIFIED:
        MUST(request.is_get_or_head && (request.if_none_match.bytes || request.if_modified_since.bytes));
        break;
    case RILL_CONDITION_FAILED:
        MUST(request.if_match.bytes || request.if_unmodified_since.bytes ||
             (request.if_none_match.bytes && !request.is_get_or_head));
        break;
    case RILL_CONDITION_IGNORE_RANGE:
        MUST(request.has_range && request.if_range.bytes);
        break;
    case RILL_CONDITION_PROCEED:
        break;
    }
    /* If-Range decides nothing but the range, and only when all else lets the request proceed. */
    request.has_range = !request.has_range;
    enum rill_condition other = rill_conditional_evaluate(&request, &resource);
    bool goes_on = found == RILL_CONDITION_PROCEED || found == RILL_CONDITION_IGNORE_RANGE;
    MUST(goes_on ? other == RILL_CONDITION_PROCEED || other == RILL_CONDITION_IGNORE_RANGE : other == found);
    MUST(has_precondition || goes_on);
    /* Without a time of modification the dates are no fields. */
    resource.has_mtime = false;
    found = rill_conditional_evaluate(&request, &resource);
    request.if_modified_since = request.if_unmodified_since = (struct rill_slice){NULL, 0};
    MUST(rill_conditional_evaluate(&request, &resource) == found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rill_slice text = {(const char *)data, size};
    struct rill_slice size_line = fuzz_take_line(&text);
    struct rill_validators resource = {.etag = fuzz_take_line(&text), .has_mtime = true, .now_seconds = NOW};
    struct rill_conditional request = {.if_match = fuzz_take_line(&text), .if_none_match = fuzz_take_line(&text)};
    request.if_modified_since = fuzz_take_line(&text);
    request.if_unmodified_since = fuzz_take_line(&text);
    request.if_range = fuzz_take_line(&text);
    struct rill_slice range = fuzz_take_line(&text);
    uint64_t file_size;

    check_number(size_line);
    if (rill_decimal_parse(size_line, &file_size) != 0)
        file_size = size;
    check_range(range, file_size);
    check_range(range, 0);
    check_date(request.if_modified_since);
    check_date(request.if_unmodified_since);
    check_date(request.if_range);
    check_etag(resource.etag, request.if_match);
    check_etag(resource.etag, request.if_range);

    resource.mtime_seconds = 784111777; /* Sun, 06 Nov 1994 08:49:37 GMT, which the corpus has */
    for (unsigned flags = 0; flags < 8; flags++) {
        request.is_get_or_head = flags & 1;
        request.has_range = flags & 2;
        resource.is_absent = flags & 4;
        check_conditional(request, resource);
    }
    return 0;
}
