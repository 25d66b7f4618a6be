/* reference_condition.c - RFC 9110, 13.2.2, step by step. */
#include "reference_range.h"
#include "rill/http/date.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* How many bytes the entity tag at the start of TEXT has; 0: there is none. *IS_WEAK says which kind. */
static size_t tag_length(struct rill_slice text, bool *is_weak)
{
    size_t at = 0;
    *is_weak = text.length >= 2 && memcmp(text.bytes, "W/", 2) == 0;
    at += *is_weak ? 2 : 0;
    if (at >= text.length || text.bytes[at++] != '"')
        return 0;
    for (; at < text.length; at++) {
        unsigned char c = (unsigned char)text.bytes[at];
        if (c == '"')
            return at + 1;
        if (c < 0x21 || c == 0x7f)
            return 0;
    }
    return 0;
}

/* A and B are whole entity tags and the same; with STRONG, neither is weak. */
static bool same_tag(struct rill_slice a, struct rill_slice b, bool strong)
{
    bool a_weak, b_weak;
    if (a.length == 0 || tag_length(a, &a_weak) != a.length || b.length == 0 || tag_length(b, &b_weak) != b.length)
        return false;
    size_t a_skip = a_weak ? 2 : 0, b_skip = b_weak ? 2 : 0;
    return !(strong && (a_weak || b_weak)) &&
           rill_slice_equal((struct rill_slice){a.bytes + a_skip, a.length - a_skip},
                            (struct rill_slice){b.bytes + b_skip, b.length - b_skip});
}

static struct rill_slice trimmed(struct rill_slice text)
{
    while (text.length > 0 && is_blank(text.bytes[0]))
        text = (struct rill_slice){text.bytes + 1, text.length - 1};
    while (text.length > 0 && is_blank(text.bytes[text.length - 1]))
        text.length--;
    return text;
}

/* LIST is well-formed and has the resource's tag in it, or is `*`. */
static bool names(struct rill_slice list, const struct rill_validators *resource, bool strong)
{
    bool found = false, wanted = true, is_weak; /* wanted: a tag may stand here */
    if (rill_slice_equal(trimmed(list), rill_slice_of("*")))
        return !resource->is_absent;
    for (size_t at = 0; at < list.length;) {
        struct rill_slice rest = {list.bytes + at, list.length - at};
        size_t length = 1;
        if (list.bytes[at] == ',') {
            wanted = true;
        } else if (!is_blank(list.bytes[at])) {
            length = wanted ? tag_length(rest, &is_weak) : 0;
            if (length == 0)
                return false;
            wanted = false;
            found |= same_tag((struct rill_slice){rest.bytes, length}, resource->etag, strong);
        }
        at += length;
    }
    return found && !resource->is_absent;
}

static bool is_date(struct rill_slice text, const struct rill_validators *resource, int64_t *seconds)
{
    return text.bytes && !resource->is_absent && resource->has_mtime &&
           rill_http_date_parse(trimmed(text), resource->now_seconds, seconds) == 0;
}

enum rill_condition reference_condition(const struct rill_conditional *request, const struct rill_validators *resource)
{
    int64_t then = 0;
    bool unmodified = is_date(request->if_unmodified_since, resource, &then) && resource->mtime_seconds > then;
    /* 1 and 2 */
    if (request->if_match.bytes ? !names(request->if_match, resource, true) : unmodified)
        return RILL_CONDITION_FAILED;
    /* 3 */
    if (request->if_none_match.bytes && names(request->if_none_match, resource, false))
        return request->is_get_or_head ? RILL_CONDITION_NOT_MODIFIED : RILL_CONDITION_FAILED;
    /* 4 */
    if (!request->if_none_match.bytes && request->is_get_or_head &&
        is_date(request->if_modified_since, resource, &then) && resource->mtime_seconds <= then)
        return RILL_CONDITION_NOT_MODIFIED;
    /* 5 */
    if (!request->has_range || !request->if_range.bytes)
        return RILL_CONDITION_PROCEED;
    bool holds = (!resource->is_absent && same_tag(trimmed(request->if_range), resource->etag, true)) ||
                 (is_date(request->if_range, resource, &then) && resource->mtime_seconds == then &&
                  resource->mtime_seconds < resource->now_seconds);
    return holds ? RILL_CONDITION_PROCEED : RILL_CONDITION_IGNORE_RANGE;
}
