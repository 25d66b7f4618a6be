/* conditional.h - entity tags and conditional requests (RFC 9110 8.8, 13). Pure functions. Thread: any. */
#ifndef RILL_HTTP_CONDITIONAL_H
#define RILL_HTTP_CONDITIONAL_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether A and B, each a whole entity tag with its quotes and perhaps W/, are the same by strong comparison (neither
 * is weak) or by weak comparison (RFC 9110 8.8.3.2). What is not an entity tag equals nothing. */
bool rill_etag_equal_strong(struct rill_slice a, struct rill_slice b);
bool rill_etag_equal_weak(struct rill_slice a, struct rill_slice b);

/* The request's side. A field that the request does not have has NULL bytes; one that is there and empty has other
 * bytes and length 0. A field that came on several lines is given as one, joined by commas (RFC 9110 5.3); a date or an
 * If-Range on several lines is malformed by that, as it should be. */
struct rill_conditional {
    struct rill_slice if_match;
    struct rill_slice if_none_match;
    struct rill_slice if_modified_since;
    struct rill_slice if_unmodified_since;
    struct rill_slice if_range;
    bool is_get_or_head;
    bool has_range; /* a GET with a Range field: If-Range means something */
};

/* The resource's side. */
struct rill_validators {
    struct rill_slice etag; /* with its quotes, and W/ if weak; empty: none */
    bool has_mtime;         /* mtime_seconds says something */
    bool is_absent;         /* there is no current representation (a PUT that would create it) */
    int64_t mtime_seconds;  /* what Last-Modified says */
    int64_t now_seconds;    /* what Date will say */
};

enum rill_condition {
    RILL_CONDITION_PROCEED,      /* do what the request says; its Range, if any, counts */
    RILL_CONDITION_NOT_MODIFIED, /* 304 */
    RILL_CONDITION_FAILED,       /* 412 */
    RILL_CONDITION_IGNORE_RANGE, /* as if there were no Range: If-Range does not hold */
};

/* Evaluates all preconditions in the order of RFC 9110 13.2.2. A malformed If-Match does not match (412, the side on
 * which nothing is overwritten); a malformed If-None-Match does not match either (the whole is sent); malformed dates
 * in If-Modified-Since and If-Unmodified-Since are no field at all, as the RFC says. An If-Range date has to be
 * exactly the time of modification, and that time be past, so that it is a strong validator (8.8.2.2). */
enum rill_condition rill_conditional_evaluate(const struct rill_conditional *request,
                                              const struct rill_validators *resource);

#ifdef __cplusplus
}
#endif

#endif
