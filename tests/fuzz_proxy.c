/* Fuzzes the reading of PROXY headers, against a slow reading of the specification; and what is read is written again.
 * A checksum of zeros is made right first, because no fuzzer would guess it. */
#include "support/fuzz.h"
#include "support/proxy_check.h"

/* The right checksum for a last field that is one of zeros. */
static void fill_in_checksum(char *bytes, size_t size)
{
    static const char zeros[] = {RILL_PROXY_TLV_CRC32C, 0, 4, 0, 0, 0, 0};
    if (size < 16 + sizeof zeros || memcmp(bytes + size - sizeof zeros, zeros, sizeof zeros) != 0)
        return;
    uint32_t crc = proxy_reference_crc32c(bytes, size);
    for (int i = 0; i < 4; i++)
        bytes[size - 1 - (size_t)i] = (char)(crc >> 8 * i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    if (size > 0)
        memcpy(bytes, data, size);
    fill_in_checksum(bytes, size);
    proxy_check(bytes, size);
    free(bytes);
    return 0;
}
