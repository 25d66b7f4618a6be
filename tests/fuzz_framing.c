/* Fuzzes the taking apart of streams: any framing, any bytes, in any pieces, against a slow reading of the same rules.
 *
 * The input: a byte for the kind and what goes with it, a byte for max_bytes, a byte for the length of the delimiter
 * (its lowest 3 bits), the delimiter; the rest is the stream, and also a message to be sent. */
#include "support/framing_check.h"
#include "support/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t delimiter_bytes = 1 + (data[2] & 7u);
    if (size < 3 + delimiter_bytes)
        return 0;
    struct rill_framing framing = {
        .kind = (enum rill_framing_kind)(data[0] % 5),
        .max_bytes = data[1],
        .delimiter = {(const char *)data + 3, delimiter_bytes},
        .prefix_bytes = (uint8_t)(1u << (data[0] >> 3 & 3)),
        .little_endian = data[0] & 0x80,
    };
    struct rill_slice stream = {(const char *)data + 3 + delimiter_bytes, size - 3 - delimiter_bytes};
    struct test_random random = {data[0] + 256u * data[1] + 65536u * size};
    framing_check_stream(&framing, stream, &random);
    framing_check_message(&framing, stream);
    return 0;
}
