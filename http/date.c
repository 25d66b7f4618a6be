/* date.c - see date.h.
 *
 * The calendar is computed, not asked for: timegm() and strftime() know time zones and locales, take locks in libc and
 * cost ten times as much. Days are counted in years that begin on 1 March, so that the leap day is a year's last day
 * and the months before it have lengths that one linear formula gives. */
#include "rill/http/date.h"

#include <errno.h>

#define SECONDS_PER_DAY 86400
#define FIRST_SECOND (-62167219200) /* 0000-01-01T00:00:00Z */
#define LAST_SECOND 253402300799    /* 9999-12-31T23:59:59Z */

static const char day_names[7][3] = {{'S', 'u', 'n'}, {'M', 'o', 'n'}, {'T', 'u', 'e'}, {'W', 'e', 'd'},
                                     {'T', 'h', 'u'}, {'F', 'r', 'i'}, {'S', 'a', 't'}};
static const char long_day_names[7][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                           "Thursday", "Friday", "Saturday"};
static const char month_names[12][3] = {{'J', 'a', 'n'}, {'F', 'e', 'b'}, {'M', 'a', 'r'}, {'A', 'p', 'r'},
                                        {'M', 'a', 'y'}, {'J', 'u', 'n'}, {'J', 'u', 'l'}, {'A', 'u', 'g'},
                                        {'S', 'e', 'p'}, {'O', 'c', 't'}, {'N', 'o', 'v'}, {'D', 'e', 'c'}};

/* A moment of the proleptic Gregorian calendar, in UTC. */
struct civil {
    int64_t year;
    int month; /* 1 to 12 */
    int day;   /* 1 to 31 */
    int hour;
    int minute;
    int second;
};

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days from 1970-01-01 to YEAR-MONTH-DAY. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    int64_t shifted_year = year - (month <= 2);
    int64_t era = floor_divide(shifted_year, 400); /* 400 years are always 146097 days */
    int64_t year_of_era = shifted_year - era * 400;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468; /* days from 0000-03-01 to 1970-01-01 */
}

static void civil_from_days(int64_t days, struct civil *civil)
{
    int64_t from_march_of_0 = days + 719468;
    int64_t era = floor_divide(from_march_of_0, 146097);
    int64_t day_of_era = from_march_of_0 - era * 146097;
    /* Take out the leap days that have passed: one in 1461 days, but for one in 36524, but for the era's last day. */
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (year_of_era * 365 + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    civil->day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    civil->month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    civil->year = era * 400 + year_of_era + (civil->month <= 2);
}

static void put_two_digits(char *out, int64_t value)
{
    out[0] = (char)('0' + value / 10);
    out[1] = (char)('0' + value % 10);
}

void rill_http_date_format(char out[RILL_HTTP_DATE_LENGTH], int64_t unix_seconds)
{
    struct civil civil;
    if (unix_seconds < FIRST_SECOND)
        unix_seconds = FIRST_SECOND;
    else if (unix_seconds > LAST_SECOND)
        unix_seconds = LAST_SECOND;
    int64_t days = floor_divide(unix_seconds, SECONDS_PER_DAY);
    int64_t second_of_day = unix_seconds - days * SECONDS_PER_DAY;
    int64_t weekday = days + 4 - floor_divide(days + 4, 7) * 7; /* day 0 was a Thursday */

    civil_from_days(days, &civil);
    memcpy(out, "Day, 00 Mon 0000 00:00:00 GMT", RILL_HTTP_DATE_LENGTH);
    memcpy(out, day_names[weekday], 3);
    put_two_digits(out + 5, civil.day);
    memcpy(out + 8, month_names[civil.month - 1], 3);
    put_two_digits(out + 12, civil.year / 100);
    put_two_digits(out + 14, civil.year % 100);
    put_two_digits(out + 17, second_of_day / 3600);
    put_two_digits(out + 20, second_of_day / 60 % 60);
    put_two_digits(out + 23, second_of_day % 60);
}

/* Reads COUNT digits, or a negative number when they are not all digits. */
static int read_digits(const char *bytes, size_t count)
{
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = (unsigned char)bytes[i] - (unsigned)'0';
        if (digit > 9)
            return -1;
        value = value * 10 + (int)digit;
    }
    return value;
}

/* The index of the three bytes at BYTES among COUNT names, or -1. Case counts, as in the RFC's grammar. */
static int read_name(const char *bytes, const char (*names)[3], int count)
{
    for (int i = 0; i < count; i++)
        if (memcmp(bytes, names[i], 3) == 0)
            return i;
    return -1;
}

/* Reads `08:49:37`. Returns whether that is what was there; whether it is a time is asked later. */
static bool read_time(const char *bytes, struct civil *civil)
{
    civil->hour = read_digits(bytes, 2);
    civil->minute = read_digits(bytes + 3, 2);
    civil->second = read_digits(bytes + 6, 2);
    return bytes[2] == ':' && bytes[5] == ':';
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static bool civil_is_valid(const struct civil *civil)
{
    return civil->year >= 0 && civil->month >= 1 && civil->day >= 1 &&
           civil->day <= days_in_month(civil->year, civil->month) && civil->hour >= 0 && civil->hour <= 23 &&
           civil->minute >= 0 && civil->minute <= 59 && civil->second >= 0 && civil->second <= 60;
}

/* `Sun, 06 Nov 1994 08:49:37 GMT` */
static bool read_imf_fixdate(struct rill_slice text, struct civil *civil)
{
    const char *at = text.bytes;
    if (text.length != RILL_HTTP_DATE_LENGTH || read_name(at, day_names, 7) < 0 || at[3] != ',' || at[4] != ' ' ||
        at[7] != ' ' || at[11] != ' ' || at[16] != ' ' || memcmp(at + 25, " GMT", 4) != 0)
        return false;
    civil->day = read_digits(at + 5, 2);
    civil->month = read_name(at + 8, month_names, 12) + 1;
    civil->year = read_digits(at + 12, 4);
    return read_time(at + 17, civil);
}

/* Settles the century of a two-digit year (RFC 9110 5.6.7): what would be more than 50 years ahead is past. */
static int64_t full_year(int two_digits, int64_t now_seconds)
{
    struct civil now;
    civil_from_days(floor_divide(now_seconds, SECONDS_PER_DAY), &now);
    int64_t latest = now.year + 50;
    int64_t year = floor_divide(latest, 100) * 100 + two_digits;
    return year > latest ? year - 100 : year;
}

/* `Sunday, 06-Nov-94 08:49:37 GMT` */
static bool read_rfc850(struct rill_slice text, int64_t now_seconds, struct civil *civil)
{
    size_t name_length = 0;
    for (size_t i = 0; i < rill_array_length(long_day_names) && name_length == 0; i++) {
        size_t length = strlen(long_day_names[i]);
        if (text.length > length && memcmp(text.bytes, long_day_names[i], length) == 0)
            name_length = length;
    }
    if (name_length == 0 || text.length - name_length != 24)
        return false;
    const char *at = text.bytes + name_length;
    if (at[0] != ',' || at[1] != ' ' || at[4] != '-' || at[8] != '-' || at[11] != ' ' ||
        memcmp(at + 20, " GMT", 4) != 0)
        return false;
    civil->day = read_digits(at + 2, 2);
    civil->month = read_name(at + 5, month_names, 12) + 1;
    int two_digits = read_digits(at + 9, 2);
    if (two_digits < 0)
        return false;
    civil->year = full_year(two_digits, now_seconds);
    return read_time(at + 12, civil);
}

/* `Sun Nov  6 08:49:37 1994` */
static bool read_asctime(struct rill_slice text, struct civil *civil)
{
    const char *at = text.bytes;
    if (text.length != 24 || read_name(at, day_names, 7) < 0 || at[3] != ' ' || at[7] != ' ' || at[10] != ' ' ||
        at[19] != ' ')
        return false;
    civil->month = read_name(at + 4, month_names, 12) + 1;
    civil->day = at[8] == ' ' ? read_digits(at + 9, 1) : read_digits(at + 8, 2);
    civil->year = read_digits(at + 20, 4);
    return read_time(at + 11, civil);
}

int rill_http_date_parse(struct rill_slice text, int64_t now_seconds, int64_t *unix_seconds)
{
    struct civil civil;
    /* A clock that is out of its mind must not overflow the arithmetic below. */
    if (now_seconds < FIRST_SECOND || now_seconds > LAST_SECOND)
        now_seconds = now_seconds < 0 ? FIRST_SECOND : LAST_SECOND;
    if (!read_imf_fixdate(text, &civil) && !read_rfc850(text, now_seconds, &civil) && !read_asctime(text, &civil))
        return -EINVAL;
    if (!civil_is_valid(&civil))
        return -EINVAL;
    *unix_seconds = days_from_civil(civil.year, civil.month, civil.day) * SECONDS_PER_DAY + civil.hour * 3600 +
                    civil.minute * 60 + civil.second;
    return 0;
}
