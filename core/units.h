/* units.h - durations, sizes and counts as people write them on a command line. Thread: any.
 *
 * Each function returns 0 and sets *VALUE, or returns -EINVAL, leaves *VALUE alone and, when WANTED is not NULL, points
 * *WANTED to a static phrase that says what would have been right, made to be printed after what was found:
 *
 *     --idle-timeout: "30" is not right: a duration needs a unit, as in 500ms, 30s, 5m or 1h
 */
#ifndef RILL_CORE_UNITS_H
#define RILL_CORE_UNITS_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A whole number and a unit: ms, s, m or h (lower case). A plain number is refused, because nobody can know which
 * unit was meant. *MS gets milliseconds. Refused as well: signs, spaces, fractions, what overflows 64 bits. */
RILL_WARN_UNUSED int rill_parse_duration_ms(const char *text, uint64_t *ms, const char **wanted);

/* A whole number of bytes, or of units of 1024 (k), 1024^2 (m) or 1024^3 (g) bytes; k, m, g in either case. */
RILL_WARN_UNUSED int rill_parse_size(const char *text, uint64_t *bytes, const char **wanted);

/* A whole number, digits only, from MIN to MAX inclusive. */
RILL_WARN_UNUSED int rill_parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *count,
                                      const char **wanted);

#ifdef __cplusplus
}
#endif

#endif
