/* reference_range.h - ranges and conditions, read a second time: by code that is slow, simple, and written for this
 * purpose alone. */
#ifndef RILL_TESTS_SUPPORT_REFERENCE_RANGE_H
#define RILL_TESTS_SUPPORT_REFERENCE_RANGE_H

#include "rill/http/conditional.h"
#include "rill/http/range.h"

/* As rill_range_parse(). */
enum rill_range_result reference_range(struct rill_slice value, uint64_t size, struct rill_range_set *set);

/* As rill_conditional_evaluate(), but for the reading of dates, which it leaves to rill_http_date_parse(). */
enum rill_condition reference_condition(const struct rill_conditional *request, const struct rill_validators *resource);

#endif
