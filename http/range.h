/* range.h - range requests (RFC 9110 14) and the bytes of their answers. Pure functions. Thread: any. */
#ifndef RILL_HTTP_RANGE_H
#define RILL_HTTP_RANGE_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most parts that one response is made of. */
#define RILL_RANGE_MAX 32

/* LENGTH bytes (never 0 in a set) from OFFSET on. */
struct rill_range {
    uint64_t offset;
    uint64_t length;
};

/* No two ranges of a set overlap or touch. They are in the order in which the client first named them. */
struct rill_range_set {
    size_t count;
    struct rill_range ranges[RILL_RANGE_MAX];
};

enum rill_range_result {
    RILL_RANGE_IGNORE,        /* answer as if there were no Range: 200 and everything */
    RILL_RANGE_PARTIAL,       /* 206 with the ranges of the set; more than one: multipart/byteranges */
    RILL_RANGE_UNSATISFIABLE, /* 416 with rill_content_range_unsatisfied() */
};

/* Reads VALUE, a Range header's value, against a representation of SIZE bytes.
 *
 * Ignored: other units than bytes, anything malformed (last before first included), and, as RFC 9110 14.2 advises
 * against a request that costs more than the whole, a set that still has more than RILL_RANGE_MAX disjoint ranges at
 * some point when read from left to right. Overlapping and adjacent ranges are joined, in the place of the first of
 * them, so that no byte is sent twice. Numbers of any length are understood; unsatisfiable ranges are dropped while
 * others in the set can be had. The list may have empty elements and white space around the commas (RFC 9110 5.6.1).
 * *SET has ranges on RILL_RANGE_PARTIAL only; otherwise its count is 0. */
enum rill_range_result rill_range_parse(struct rill_slice value, uint64_t size, struct rill_range_set *set);

/* Room that a Content-Range value takes at most. */
#define RILL_CONTENT_RANGE_MAX 68

/* Writes `bytes FIRST-LAST/SIZE` without a NUL and returns its length. */
size_t rill_content_range(char out[RILL_CONTENT_RANGE_MAX], struct rill_range range, uint64_t size);

/* Writes `bytes * /SIZE` (without the space): the Content-Range of a 416. Returns its length. */
size_t rill_content_range_unsatisfied(char out[RILL_CONTENT_RANGE_MAX], uint64_t size);

/* Bytes of a boundary made by rill_multipart_boundary(), and of the Content-Type value that announces it. */
#define RILL_MULTIPART_BOUNDARY_LENGTH 32
#define RILL_MULTIPART_TYPE_LENGTH (31 + RILL_MULTIPART_BOUNDARY_LENGTH)

/* Writes a boundary made of 128 bits, which the caller draws at random for each response: who can foretell a boundary
 * can put it into a file. */
void rill_multipart_boundary(char out[RILL_MULTIPART_BOUNDARY_LENGTH], uint64_t random_high, uint64_t random_low);

/* Writes the value `multipart/byteranges; boundary=BOUNDARY`. */
void rill_multipart_type(char out[RILL_MULTIPART_TYPE_LENGTH], const char boundary[RILL_MULTIPART_BOUNDARY_LENGTH]);

/* What all parts of one multipart/byteranges body (RFC 9110 14.6) share; the slices are borrowed. */
struct rill_multipart {
    struct rill_slice boundary;
    struct rill_slice content_type; /* of the representation; empty: parts have no Content-Type */
    uint64_t size;                  /* of the representation */
};

/* Writes what comes before the bytes of RANGE: delimiter line, header, blank line. IS_FIRST leaves out the CRLF that
 * ends the part before. Returns the length; with OUT NULL nothing is written. */
size_t rill_multipart_part(const struct rill_multipart *multipart, struct rill_range range, bool is_first, char *out);

/* Writes what comes after the last part's bytes. Returns the length; with OUT NULL nothing is written. */
size_t rill_multipart_end(const struct rill_multipart *multipart, char *out);

/* The Content-Length of the whole body for SET. A size up to INT64_MAX, as files have, cannot overflow it. */
uint64_t rill_multipart_length(const struct rill_multipart *multipart, const struct rill_range_set *set);

#ifdef __cplusplus
}
#endif

#endif
