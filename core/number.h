/* number.h - unsigned integers to and from text, by hand: no locale, no printf, no allocation, no state.
 * Thread: any. */
#ifndef RILL_CORE_NUMBER_H
#define RILL_CORE_NUMBER_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most bytes that a 64-bit value takes in decimal, and in hexadecimal. */
#define RILL_DECIMAL_MAX 20
#define RILL_HEX_MAX 16

/* Writes VALUE in decimal, without leading zeros and without a NUL, to OUT, which has room for RILL_DECIMAL_MAX
 * bytes. Returns how many bytes were written (at least 1). */
size_t rill_decimal_format(char *out, uint64_t value);

/* Writes VALUE in lower-case hexadecimal, without prefix, leading zeros or NUL, to OUT, which has room for
 * RILL_HEX_MAX bytes. Returns how many bytes were written (at least 1). */
size_t rill_hex_format(char *out, uint64_t value);

/* Reads TEXT, which must be decimal digits and nothing else (no sign, no space; leading zeros are fine), into *VALUE.
 * Returns 0; -EINVAL when TEXT is empty or has another byte; -ERANGE when the digits say more than UINT64_MAX.
 * *VALUE is set on success only. */
RILL_WARN_UNUSED int rill_decimal_parse(struct rill_slice text, uint64_t *value);

#ifdef __cplusplus
}
#endif

#endif
