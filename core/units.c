/* units.c - see units.h. */
#include "rill/core/units.h"

#include <errno.h>

#include "rill/core/number.h"

static int refuse(const char **wanted, const char *phrase)
{
    if (wanted)
        *wanted = phrase;
    return -EINVAL;
}

/* Splits TEXT into the digits at its start and the rest. */
static void split_digits(const char *text, struct rill_slice *digits, const char **rest)
{
    size_t length = 0;
    while (text[length] >= '0' && text[length] <= '9')
        length++;
    digits->bytes = text;
    digits->length = length;
    *rest = text + length;
}

int rill_parse_duration_ms(const char *text, uint64_t *ms, const char **wanted)
{
    static const struct {
        char name[3];
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}};
    struct rill_slice digits;
    const char *rest;
    uint64_t number;

    split_digits(text, &digits, &rest);
    if (digits.length > 0 && *rest == '\0')
        return refuse(wanted, "a duration needs a unit, as in 500ms, 30s, 5m or 1h");
    for (size_t i = 0; i < rill_array_length(units) && digits.length > 0; i++) {
        if (strcmp(rest, units[i].name) != 0)
            continue;
        if (rill_decimal_parse(digits, &number) != 0 || __builtin_mul_overflow(number, units[i].ms, &number))
            return refuse(wanted, "a duration has to fit 64 bits of milliseconds");
        *ms = number;
        return 0;
    }
    return refuse(wanted, "a duration is a whole number and a unit, as in 500ms, 30s, 5m or 1h");
}

int rill_parse_size(const char *text, uint64_t *bytes, const char **wanted)
{
    struct rill_slice digits;
    const char *rest;
    uint64_t number, unit = 1;

    split_digits(text, &digits, &rest);
    switch (rill_ascii_lower(*rest)) {
    case 'k':
        unit = (uint64_t)1 << 10;
        break;
    case 'm':
        unit = (uint64_t)1 << 20;
        break;
    case 'g':
        unit = (uint64_t)1 << 30;
        break;
    default:
        break;
    }
    if (digits.length == 0 || *(unit > 1 ? rest + 1 : rest) != '\0')
        return refuse(wanted, "a size is a whole number of bytes, or of k, m or g, as in 4096, 64k, 10m or 1g");
    if (rill_decimal_parse(digits, &number) != 0 || __builtin_mul_overflow(number, unit, &number))
        return refuse(wanted, "a size has to fit 64 bits of bytes");
    *bytes = number;
    return 0;
}

int rill_parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *count, const char **wanted)
{
    uint64_t number;
    int error = rill_decimal_parse(rill_slice_of(text), &number);
    if (error == -EINVAL)
        return refuse(wanted, "it has to be a whole number, in digits only");
    if (error != 0 || number > max)
        return refuse(wanted, "the number is too large");
    if (number < min)
        return refuse(wanted, "the number is too small");
    *count = number;
    return 0;
}
