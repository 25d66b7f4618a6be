/* status.h - what belongs to a status code (RFC 9110 15 and the IANA registry). Pure functions on constant tables.
 * Thread: any. All slices are constants that live as long as the program. */
#ifndef RILL_HTTP_STATUS_H
#define RILL_HTTP_STATUS_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The registered reason phrase, such as `Not Found`; an empty slice for a code that is not registered. */
struct rill_slice rill_status_reason(unsigned status);

/* The status line, `HTTP/1.1 404 Not Found\r\n`, ready to be sent. An unregistered code from 100 to 599 has an empty
 * reason phrase (`HTTP/1.1 299 \r\n`, RFC 9112 4); a number that is no status code (RFC 9110 15) is a fault of the
 * program and gives the line of 500. */
struct rill_slice rill_status_line(unsigned status);

/* Whether a response of this status never has content, whatever the method, nor Content-Length or Transfer-Encoding
 * that would announce any: 1xx, 204, 304 (RFC 9112 6.3). */
static inline bool rill_status_has_no_body(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

#ifdef __cplusplus
}
#endif

#endif
