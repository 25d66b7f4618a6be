/* scan_internal.h - what bytes mean to HTTP, one at a time; and the look-up of field names.
 *
 * The class of a byte is what all ways of scanning agree on: the vector units have the same table in another shape
 * (see scan_avx2_internal.h), and a test compares them for every byte. */
#ifndef RILL_HTTP_SCAN_INTERNAL_H
#define RILL_HTTP_SCAN_INTERNAL_H

#include "rill/core/base.h"
#include "rill/http/header_id.h"
#include "rill/http/header_table_internal.h"

enum {
    RILL_BYTE_TOKEN = 1,   /* tchar: methods, field names, codings (RFC 9110 5.6.2) */
    RILL_BYTE_CONTROL = 2, /* controls but HTAB, and DEL: what no field value may hold; ends a line, rightly or not */
    RILL_BYTE_TARGET = 4,  /* needs no look in a target: visible ASCII less # " < > % ? \ */
    RILL_BYTE_HOST = 8     /* unreserved and sub-delims less the comma: a host name, but for escapes */
};

extern const uint8_t rill_byte_class[256];

static inline bool rill_byte_is(char c, unsigned classes)
{
    return (rill_byte_class[(uint8_t)c] & classes) != 0;
}

static inline bool rill_byte_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool rill_byte_is_digit(char c)
{
    return (uint8_t)(c - '0') < 10;
}

/* The value of the hexadecimal digit C, in either case; negative when it is none. */
static inline int rill_hex_value(char c)
{
    if (rill_byte_is_digit(c))
        return c - '0';
    uint8_t letter = (uint8_t)((c | 0x20) - 'a');
    return letter < 6 ? letter + 10 : -1;
}

/* The length of the run of bytes at BYTES that are in one of CLASSES, at most LENGTH. */
static inline size_t rill_byte_run(const char *bytes, size_t length, unsigned classes)
{
    size_t i = 0;
    while (i < length && rill_byte_is(bytes[i], classes))
        i++;
    return i;
}

/* Eight bytes as a number, the first one lowest, whatever the machine. */
static inline uint64_t rill_load64(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

#define RILL_LOWER_WORD UINT64_C(0x2020202020202020)

/* A well-known name, lower case, padded with zeroes to whole words. */
struct rill_header_entry {
    uint64_t head; /* its first eight bytes as a number, zeroes behind a shorter name */
    uint64_t tail; /* its last eight bytes; the same as `head` when it is shorter */
    uint64_t length;
    char name[40];
};

extern const struct rill_header_entry rill_header_entries[RILL_HEADER_COUNT];
extern const uint8_t rill_header_slots[1 << RILL_HEADER_SLOT_BITS];

/* The words between the first and the last one of a name longer than two. */
static inline bool rill_header_middle_equal(const struct rill_header_entry *entry, const char *name, size_t length)
{
    for (size_t i = 8; i + 8 < length; i += 8)
        if ((rill_load64(name + i) | RILL_LOWER_WORD) != rill_load64(entry->name + i))
            return false;
    return true;
}

/* The number of the name of LENGTH bytes at NAME: a token, with eight bytes readable from NAME on. One multiplication
 * finds the one candidate. Setting bit 5 makes letters lower case, and turns no other byte of a token into a byte that
 * a well-known name has. */
static inline enum rill_header_id rill_header_lookup(const char *name, size_t length)
{
    uint64_t head = rill_load64(name) | RILL_LOWER_WORD;
    uint64_t tail;
    if (length < 8) {
        head &= ((uint64_t)1 << (8 * length)) - 1;
        tail = head;
    } else {
        tail = rill_load64(name + length - 8) | RILL_LOWER_WORD;
    }
    size_t id = rill_header_slots[(head + 3 * tail) * RILL_HEADER_FACTOR >> (64 - RILL_HEADER_SLOT_BITS)];
    const struct rill_header_entry *entry = &rill_header_entries[id];
    if (((entry->head ^ head) | (entry->tail ^ tail) | (entry->length ^ length)) != 0)
        return RILL_HEADER_OTHER;
    if (length > 16 && !rill_header_middle_equal(entry, name, length))
        return RILL_HEADER_OTHER;
    return (enum rill_header_id)id;
}

#endif
