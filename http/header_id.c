/* header_id.c - well-known field names: the tables behind the perfect hash, and the look-up for everyone. */
#include "rill/http/header_id.h"

#include "rill/http/scan_internal.h"

_Static_assert(RILL_HEADER_COUNT <= 64, "a 64-bit set holds every well-known field");

const struct rill_header_entry rill_header_entries[RILL_HEADER_COUNT] = {
#define RILL_HEADER_ENTRY(identifier, text, first, last)                                                               \
    [RILL_HEADER_##identifier] = {.name = text, .head = first, .tail = last, .length = sizeof(text) - 1},
    RILL_HEADER_WORDS(RILL_HEADER_ENTRY)
#undef RILL_HEADER_ENTRY
};

const uint8_t rill_header_slots[1 << RILL_HEADER_SLOT_BITS] = {
#define RILL_HEADER_SLOT(slot, identifier) [slot] = RILL_HEADER_##identifier,
    RILL_HEADER_SLOTS(RILL_HEADER_SLOT)
#undef RILL_HEADER_SLOT
};

enum rill_header_id rill_header_id_of(struct rill_slice name)
{
    /* A copy, because the look-up reads eight bytes whatever the length, and takes the bytes to be a token. */
    char copy[32] = {0};
    if (name.length == 0 || name.length > sizeof(copy) ||
        rill_byte_run(name.bytes, name.length, RILL_BYTE_TOKEN) != name.length)
        return RILL_HEADER_OTHER;
    memcpy(copy, name.bytes, name.length);
    return rill_header_lookup(copy, name.length);
}

const char *rill_header_name(enum rill_header_id id)
{
    return (unsigned)id < RILL_HEADER_COUNT ? rill_header_entries[id].name : "";
}
