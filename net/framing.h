/* framing.h - messages in a stream of bytes: lines, delimited records, length-prefixed frames; read and written.
 *
 *     static const struct rill_framing lines = {.kind = RILL_FRAMING_LINE, .max_bytes = 1000};
 *
 *     static void on_data(struct rill_conn *conn, struct rill_input *input)
 *     {
 *         struct session *session = rill_conn_user(conn);
 *         struct rill_slice line;
 *         int got;
 *         while ((got = rill_framing_next(&lines, &session->framing, input, &line)) > 0)
 *             handle(conn, line);
 *         if (got < 0)
 *             rill_conn_close(conn, RILL_CLOSE_LOCAL);
 *     }
 *
 * However the bytes are split on their way, the frames and the errors are the same. A byte is searched once, even when
 * they come one at a time. A frame lies where it was received: nothing is copied, and nothing allocated.
 *
 * What has not come whole is kept by the connection, so max_input_bytes of its config must be at least max_bytes and
 * the prefix, or the delimiter. */
#ifndef RILL_NET_FRAMING_H
#define RILL_NET_FRAMING_H

#include "rill/core/base.h"
#include "rill/core/buf.h"
#include "rill/net/conn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How frames are told apart. */
enum rill_framing_kind {
    RILL_FRAMING_LINE,      /* ends with LF; one CR before that is no part of the line either. Sent with LF alone */
    RILL_FRAMING_CRLF,      /* ends with CRLF; a CR or an LF by itself is an error */
    RILL_FRAMING_DELIMITER, /* ends with `delimiter` */
    RILL_FRAMING_LENGTH,    /* begins with its length, in `prefix_bytes` bytes */
    RILL_FRAMING_VARINT,    /* begins with its length as a varint (LEB128), as delimited messages of protobuf do: 1 to
                               10 bytes, and no more than the value needs */
};

#define RILL_FRAMING_DEFAULT_MAX_BYTES 65536
#define RILL_FRAMING_DELIMITER_MAX 256
#define RILL_FRAMING_PREFIX_MAX 10

/* A protocol's framing: constant, shared by all its connections. */
struct rill_framing {
    enum rill_framing_kind kind;
    size_t max_bytes;            /* of a frame without its prefix or delimiter; 0: 64 KiB. A frame may be empty. */
    struct rill_slice delimiter; /* DELIMITER: 1 to RILL_FRAMING_DELIMITER_MAX bytes of any value */
    uint8_t prefix_bytes;        /* LENGTH: 1, 2, 4 or 8 */
    bool little_endian;          /* LENGTH; otherwise big-endian, the order of the network */
};

/* What is remembered from call to call; one for each connection, zero to begin with. Whoever consumes bytes
 * between two frames by other means than rill_framing_next() does so when that has just returned 1, or else zeroes
 * this. */
struct rill_framing_state {
    size_t searched; /* bytes of the next frame in which no end was found */
};

/* Takes the next frame off INPUT. Returns 1: *FRAME is the frame, without delimiter or prefix; it lies in the input and
 * is good for as long as that. 0: the frame has not come whole. -EMSGSIZE: it has more than max_bytes; known as soon as
 * it is certain, not when all of it has come. -EPROTO: a CR or an LF by itself (CRLF), or a length that is more than
 * 64 bits or written in more bytes than it needs (VARINT). -EINVAL: FRAMING says nothing that makes sense. After an
 * error nothing more can be read of the stream: nothing was consumed, and every further call returns the same. */
RILL_WARN_UNUSED int rill_framing_next(const struct rill_framing *framing, struct rill_framing_state *state,
                                       struct rill_input *input, struct rill_slice *frame);

/* Writes what goes before a frame of LENGTH bytes to PREFIX. Returns how many bytes that are: none when a delimiter
 * ends the frames; -EMSGSIZE: LENGTH is more than max_bytes, or than the prefix can say; -EINVAL. Thread: any. */
int rill_framing_prefix(const struct rill_framing *framing, uint64_t length, char prefix[RILL_FRAMING_PREFIX_MAX]);

/* Sends LENGTH bytes as one frame, in one piece: all of it is sent or nothing. Returns 0; -EMSGSIZE as
 * rill_framing_prefix(); -EBADMSG: with the delimiter behind them the receiver would not see these bytes as one frame,
 * because the delimiter is in them for instance; otherwise as rill_conn_send(). */
int rill_framing_send(const struct rill_framing *framing, struct rill_conn *conn, const void *bytes, size_t length);

/* A new buf with the frame, for rill_conn_send_buf() and for many receivers; the caller holds it. Returns 0, -ENOMEM,
 * or what is wrong with the frame as rill_framing_send(); then *BUF is NULL. Thread: any. */
RILL_WARN_UNUSED int rill_framing_buf(const struct rill_framing *framing, const void *bytes, size_t length,
                                      struct rill_buf **buf);

#ifdef __cplusplus
}
#endif

#endif
