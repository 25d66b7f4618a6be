/* number.c - see number.h. */
#include "rill/core/number.h"

#include <errno.h>

/* "00" to "99", so that a division gives two digits. */
static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

static size_t decimal_digits(uint64_t value)
{
    size_t digits = 1;
    while (value >= 10000) {
        value /= 10000;
        digits += 4;
    }
    return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

size_t rill_decimal_format(char *out, uint64_t value)
{
    size_t digits = decimal_digits(value);
    char *at = out + digits;
    while (value >= 100) {
        at -= 2;
        memcpy(at, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(out, digit_pairs + value * 2, 2);
    else
        out[0] = (char)('0' + value);
    return digits;
}

size_t rill_hex_format(char *out, uint64_t value)
{
    size_t digits = value == 0 ? 1 : (size_t)(67 - __builtin_clzll(value)) / 4;
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
    return digits;
}

int rill_decimal_parse(struct rill_slice text, uint64_t *value)
{
    uint64_t sum = 0;
    bool overflow = false;
    if (text.length == 0)
        return -EINVAL;
    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (unsigned char)text.bytes[i] - (unsigned)'0';
        if (digit > 9)
            return -EINVAL;
        /* Read on after an overflow: a later byte that is no digit makes the text malformed, not merely large. */
        overflow |= __builtin_mul_overflow(sum, 10u, &sum);
        overflow |= __builtin_add_overflow(sum, digit, &sum);
    }
    if (overflow)
        return -ERANGE;
    *value = sum;
    return 0;
}
