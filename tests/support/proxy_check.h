/* proxy_check.h - what must hold of net/proxy_protocol.h for any bytes: it agrees with a slow reading of the
 * specification, in any pieces, and what it writes says the same. For its test and its fuzzer; what does not hold stops
 * the process. */
#ifndef RILL_TESTS_SUPPORT_PROXY_CHECK_H
#define RILL_TESTS_SUPPORT_PROXY_CHECK_H

#include "rill/net/proxy_protocol.h"

/* The length of the whole and valid header that LENGTH BYTES begin with; 0: they begin with none. */
size_t proxy_reference(const char *bytes, size_t length);

/* The checksum of a header with a checksum of zeros in it. */
uint32_t proxy_reference_crc32c(const char *bytes, size_t length);

/* Whether A and B say the same. */
bool proxy_header_equal(const struct rill_proxy_header *a, const struct rill_proxy_header *b);

/* Parses every beginning of BYTES. Returns what rill_proxy_parse() makes of all of them. */
int proxy_check(const char *bytes, size_t length);

#endif
