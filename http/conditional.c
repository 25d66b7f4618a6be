/* conditional.c - see conditional.h. */
#include "rill/http/conditional.h"

#include "rill/http/date.h"
#include "rill/http/text.h"

/* Takes one entity tag off the front of TEXT. *OPAQUE gets what is between the quotes. Returns whether there was one.
 */
static bool take_etag(struct rill_slice *text, struct rill_slice *opaque, bool *is_weak)
{
    const char *at = text->bytes, *end = text->bytes + text->length;
    *is_weak = text->length >= 2 && at[0] == 'W' && at[1] == '/';
    if (*is_weak)
        at += 2;
    if (at == end || *at != '"')
        return false;
    opaque->bytes = ++at;
    /* etagc: anything visible but the quote, and obs-text. */
    while (at < end && ((*at > ' ' && *at != '"' && *at != 0x7f) || (unsigned char)*at >= 0x80))
        at++;
    if (at == end || *at != '"')
        return false;
    opaque->length = (size_t)(at - opaque->bytes);
    text->length = (size_t)(end - ++at);
    text->bytes = at;
    return true;
}

static bool read_etag(struct rill_slice text, struct rill_slice *opaque, bool *is_weak)
{
    return text.length > 0 && take_etag(&text, opaque, is_weak) && text.length == 0;
}

static bool etag_equal(struct rill_slice a, struct rill_slice b, bool strong)
{
    struct rill_slice opaque_a, opaque_b;
    bool weak_a, weak_b;
    if (!read_etag(a, &opaque_a, &weak_a) || !read_etag(b, &opaque_b, &weak_b))
        return false;
    return rill_slice_equal(opaque_a, opaque_b) && !(strong && (weak_a || weak_b));
}

bool rill_etag_equal_strong(struct rill_slice a, struct rill_slice b)
{
    return etag_equal(a, b, true);
}

bool rill_etag_equal_weak(struct rill_slice a, struct rill_slice b)
{
    return etag_equal(a, b, false);
}

/* Whether LIST, a well-formed list of entity tags or `*`, names the current representation. */
static bool list_matches(struct rill_slice list, const struct rill_validators *resource, bool strong)
{
    bool matches = false;
    list = rill_slice_trim(list);
    if (list.length == 1 && list.bytes[0] == '*')
        return !resource->is_absent;
    while (list.length > 0) {
        struct rill_slice tag = {list.bytes, 0}, opaque;
        bool is_weak;
        if (list.bytes[0] != ',') {
            if (!take_etag(&list, &opaque, &is_weak))
                return false;
            tag.length = (size_t)(list.bytes - tag.bytes);
            matches |= !resource->is_absent && etag_equal(tag, resource->etag, strong);
            list = rill_slice_trim(list);
            if (list.length > 0 && list.bytes[0] != ',')
                return false;
        }
        if (list.length > 0) {
            list.bytes++;
            list.length--;
            list = rill_slice_trim(list);
        }
    }
    return matches;
}

/* Whether FIELD is there, the resource has a time to hold against it, and it is a date. */
static bool read_date(struct rill_slice field, const struct rill_validators *resource, int64_t *seconds)
{
    return field.bytes && resource->has_mtime && !resource->is_absent &&
           rill_http_date_parse(rill_slice_trim(field), resource->now_seconds, seconds) == 0;
}

static bool if_range_holds(struct rill_slice if_range, const struct rill_validators *resource)
{
    int64_t seconds;
    if_range = rill_slice_trim(if_range);
    if (!resource->is_absent && rill_etag_equal_strong(if_range, resource->etag))
        return true;
    return read_date(if_range, resource, &seconds) && seconds == resource->mtime_seconds &&
           resource->mtime_seconds < resource->now_seconds;
}

enum rill_condition rill_conditional_evaluate(const struct rill_conditional *request,
                                              const struct rill_validators *resource)
{
    int64_t seconds;

    if (request->if_match.bytes) {
        if (!list_matches(request->if_match, resource, true))
            return RILL_CONDITION_FAILED;
    } else if (read_date(request->if_unmodified_since, resource, &seconds) && resource->mtime_seconds > seconds) {
        return RILL_CONDITION_FAILED;
    }
    if (request->if_none_match.bytes) {
        if (list_matches(request->if_none_match, resource, false))
            return request->is_get_or_head ? RILL_CONDITION_NOT_MODIFIED : RILL_CONDITION_FAILED;
    } else if (request->is_get_or_head && read_date(request->if_modified_since, resource, &seconds) &&
               resource->mtime_seconds <= seconds) {
        return RILL_CONDITION_NOT_MODIFIED;
    }
    if (request->has_range && request->if_range.bytes && !if_range_holds(request->if_range, resource))
        return RILL_CONDITION_IGNORE_RANGE;
    return RILL_CONDITION_PROCEED;
}
