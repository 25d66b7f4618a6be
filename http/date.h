/* date.h - HTTP dates (RFC 9110 5.6.7) to and from seconds since 1970-01-01T00:00:00Z. Pure functions: no locale, no
 * time zone, no clock. Thread: any. */
#ifndef RILL_HTTP_DATE_H
#define RILL_HTTP_DATE_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`. */
#define RILL_HTTP_DATE_LENGTH 29

/* Writes UNIX_SECONDS as an IMF-fixdate, without a NUL. Years have four digits there, so a time before 0000-01-01 or
 * after 9999-12-31T23:59:59 is written as that bound. */
void rill_http_date_format(char out[RILL_HTTP_DATE_LENGTH], int64_t unix_seconds);

/* Reads any of the three forms: IMF-fixdate, RFC 850 and asctime. NOW_SECONDS settles the century of RFC 850's
 * two-digit years: the latest year with these digits that is at most 50 years after the year of NOW_SECONDS.
 * The day name has to be a day name, but is not held against the date; second 60 (a leap second) is the first second
 * of the next minute. White space around the date is not accepted.
 * Returns 0 and sets *UNIX_SECONDS; -EINVAL for anything else, days that no calendar has included. */
RILL_WARN_UNUSED int rill_http_date_parse(struct rill_slice text, int64_t now_seconds, int64_t *unix_seconds);

#ifdef __cplusplus
}
#endif

#endif
