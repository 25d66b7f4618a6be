/* framing_check.h - what must hold of net/framing.h for any bytes in any pieces: it agrees with a slow reading of the
 * same rules, byte by byte. For its test and its fuzzer; what does not hold stops the process. */
#ifndef RILL_TESTS_SUPPORT_FRAMING_CHECK_H
#define RILL_TESTS_SUPPORT_FRAMING_CHECK_H

#include "random.h"
#include "rill/net/framing.h"

enum { FRAMING_CHECK_MAX_FRAMES = 256 };

/* What became of a stream. */
struct framing_result {
    unsigned count;                                     /* frames; no more than FRAMING_CHECK_MAX_FRAMES are taken */
    struct rill_slice frames[FRAMING_CHECK_MAX_FRAMES]; /* in the stream */
    size_t consumed;
    int end; /* 0, or the error that ended it */
};

/* The slow reading. */
void framing_reference(const struct rill_framing *framing, struct rill_slice stream, struct framing_result *result);

/* Reads STREAM with rill_framing_next(), which sees it in pieces that end at the COUNT ascending places CUTS, and
 * compares what comes out with EXPECTED. What is not consumed is kept in between as a connection does, in a block of
 * exactly its size. */
void framing_check_pieces(const struct rill_framing *framing, struct rill_slice stream, const size_t *cuts,
                          size_t count, const struct framing_result *expected);

/* The same against framing_reference(), in one piece, byte by byte, in two pieces wherever they can meet when STREAM is
 * short, and in pieces of random lengths. */
void framing_check_stream(const struct rill_framing *framing, struct rill_slice stream, struct test_random *random);

/* MESSAGE as one frame is read as itself; or it is refused, and then for the reason. */
void framing_check_message(const struct rill_framing *framing, struct rill_slice message);

#endif
