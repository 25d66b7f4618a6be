/* exchange.h - one request and its response: what a handler sees.
 *
 * Rules of life
 * 1. An exchange begins when the head of a request is complete and its handler is called. It ends when the response is
 *    complete and the request's body has been read or dropped, or when the connection dies before that.
 * 2. A handler answers at once, or later: from a timer (rill_exchange_after), from the pool (rill_exchange_work), or as
 *    a stream (rill_exchange_begin). The pointer is good inside every callback that hands it out. Whoever wants to come
 *    back on its own way keeps a rill_exchange_id and asks rill_exchange_find(), which knows whether it still lives.
 * 3. What lies in the exchange's arena lives as long as the exchange; clean-up handlers left with rill_arena_on_reset()
 *    run when it ends, however it ends. The slices that the functions here return lie where the request was read, and
 *    are good until the callback that asked for them returns: a later one asks again, or keeps a copy in the arena.
 * 4. The next request of a connection waits until this exchange has ended: responses leave in order.
 * 5. An exchange ends inside reply, end and abort calls: after rill_exchange_reply*(), rill_exchange_end() or
 *    rill_exchange_abort() the handler does not touch it any more. When the connection dies inside any other call,
 *    the exchange stays good for the rest of the loop's turn: its functions then do nothing or return an error.
 *
 * Thread: the connection's loop, for all functions. */
#ifndef RILL_HTTP_EXCHANGE_H
#define RILL_HTTP_EXCHANGE_H

#include "rill/core/arena.h"
#include "rill/core/workers.h"
#include "rill/http/header_id.h"
#include "rill/http/method.h"
#include "rill/net/conn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_exchange;

/* Answers, or sees that somebody will. ARG is what the route was added with. */
typedef void rill_handler_fn(struct rill_exchange *x, void *arg);

/* --- the request --- */

enum rill_method rill_exchange_method(const struct rill_exchange *x);
struct rill_slice rill_exchange_method_name(const struct rill_exchange *x);

/* The path: decoded, normalised, beginning with `/`. `*` for `OPTIONS *`. */
struct rill_slice rill_exchange_path(const struct rill_exchange *x);

/* The query as it came, without its `?`; empty when there is none. */
struct rill_slice rill_exchange_query(const struct rill_exchange *x);

/* The target as it came. */
struct rill_slice rill_exchange_target(const struct rill_exchange *x);

/* Host and port that the request is for. */
struct rill_slice rill_exchange_authority(const struct rill_exchange *x);

/* The value of the first field with this name; `bytes` is NULL when there is none. By number for well-known fields, by
 * name (in any case) for all. */
struct rill_slice rill_exchange_header(const struct rill_exchange *x, enum rill_header_id id);
struct rill_slice rill_exchange_header_named(const struct rill_exchange *x, const char *name);

/* What stands in the path for `:NAME` or `*NAME` of the route; `bytes` is NULL when the route has none. */
struct rill_slice rill_exchange_param(const struct rill_exchange *x, const char *name);

/* Minor version of HTTP/1: 0 or 1. */
unsigned rill_exchange_version_minor(const struct rill_exchange *x);

/* Whether the request has content; its length, or RILL_LENGTH_UNKNOWN when it is chunked, or 0. */
#define RILL_LENGTH_UNKNOWN UINT64_MAX
bool rill_exchange_has_body(const struct rill_exchange *x);
uint64_t rill_exchange_content_length(const struct rill_exchange *x);

struct rill_loop *rill_exchange_loop(const struct rill_exchange *x);
const struct rill_ip *rill_exchange_peer(const struct rill_exchange *x);

/* Memory that lives as long as the exchange, 1 MiB at most. */
struct rill_arena *rill_exchange_arena(struct rill_exchange *x);

/* --- a whole response --- */

/* Adds a field to the response. Content-Length, Transfer-Encoding, Connection and Date are the framework's: -EINVAL, as
 * for a name or value with bytes that RFC 9110 5.1 and 5.5 do not allow. Returns 0, -EINVAL, -ENOMEM, or -EALREADY
 * when the head has left. */
int rill_exchange_set_header(struct rill_exchange *x, const char *name, struct rill_slice value);

/* Adds FIELDS, whole and valid lines `Name: value\r\n`, that stay where they are until the head is sent: for blocks
 * that are built once and sent often. A second call replaces the first. */
void rill_exchange_set_fields(struct rill_exchange *x, struct rill_slice fields);

/* Answers with STATUS and a copy of LENGTH bytes of CONTENT_TYPE (NULL: no such field). To a HEAD request the head
 * alone is sent. Statuses that have no content get none; what is no final status is sent as 500. */
void rill_exchange_reply(struct rill_exchange *x, unsigned status, const char *content_type, const void *bytes,
                         size_t length);

/* The same with NUL-terminated text/plain in UTF-8. */
void rill_exchange_reply_text(struct rill_exchange *x, unsigned status, const char *text);

/* The same with text made as by printf(3), of any length. */
void rill_exchange_reply_format(struct rill_exchange *x, unsigned status, const char *format, ...) RILL_PRINTF(3, 4);

/* The same with the bytes of BUF, not copied; takes over the reference. */
void rill_exchange_reply_buf(struct rill_exchange *x, unsigned status, const char *content_type, struct rill_buf *buf);

/* Answers with STATUS and a small page that names it, or with no content where that is wanted. */
void rill_exchange_reply_status(struct rill_exchange *x, unsigned status);

/* Answers with 503 and Retry-After, because there is no room for it now: the server counts it as overload, and when
 * there are many of that kind reads no more requests than it can carry. */
void rill_exchange_refuse(struct rill_exchange *x);

/* --- a streamed response --- */

/* Sends the head. CONTENT_LENGTH is what will be written, or RILL_LENGTH_UNKNOWN: then the body is chunked, or for an
 * HTTP/1.0 client ends with the connection. Returns 0, or a negative errno when the connection is going. */
int rill_exchange_begin(struct rill_exchange *x, unsigned status, const char *content_type, uint64_t content_length);

/* Sends a piece of the body: a copy; a buf (taking over the reference, also on errors); LENGTH bytes of a file that are
 * in memory (see rill_conn_send_file(); needs a known content length). To a HEAD request nothing is sent. Returns
 * 0; -EMSGSIZE: more than the content length said, nothing was taken; another negative errno when the connection is
 * going. */
int rill_exchange_write(struct rill_exchange *x, const void *bytes, size_t length);
int rill_exchange_write_buf(struct rill_exchange *x, struct rill_buf *buf);
int rill_exchange_write_file(struct rill_exchange *x, struct rill_file_ref *file, uint64_t offset, uint64_t length);

/* Adds a field behind a chunked body (RFC 9112, 7.1.2); to be called between begin and end. Returns 0; -ENOTSUP: the
 * body is not chunked, so there is no place for it; -EINVAL: as for rill_exchange_set_header(), or a field that a
 * recipient has to know before the body (RFC 9110, 6.5.1); -ENOMEM. A client that has not said `TE: trailers` may
 * drop it. */
int rill_exchange_set_trailer(struct rill_exchange *x, const char *name, struct rill_slice value);

/* Whether so much waits to leave that a producer should stop until on_room. */
bool rill_exchange_is_full(const struct rill_exchange *x);

/* Has FN called once, when there is room (or there is already, then soon). FN may call this again. */
void rill_exchange_on_room(struct rill_exchange *x, rill_handler_fn *fn, void *arg);

/* The response is complete. One that is shorter than its content length said, or is aborted, closes the connection, so
 * that the client can tell: all but one of HTTP/1.0 that was announced no length. What was written before still leaves.
 */
void rill_exchange_end(struct rill_exchange *x);
void rill_exchange_abort(struct rill_exchange *x);

/* --- the request's body --- */

/* Told of each piece of the body: bytes that are good until it returns; and once, at the end, with END and no bytes.
 * A body that breaks off ends the exchange without END (see rule 3 for clean-up). */
typedef void rill_body_fn(struct rill_exchange *x, void *arg, struct rill_slice bytes, bool end);

/* Reads the body from now on, piece by piece. Sends `100 Continue` to a client that waits for it. FN is not called
 * before the caller has returned to the framework; it is called with END for a request without content too. A body that
 * no one reads is dropped after the reply. */
void rill_exchange_read_body(struct rill_exchange *x, rill_body_fn *fn, void *arg);

/* Holds the sender back, and lets it go on: for handlers that cannot keep up. */
void rill_exchange_pause_body(struct rill_exchange *x);
void rill_exchange_resume_body(struct rill_exchange *x);

/* Lets the body of this request be MAX_BYTES long at most; more is answered 413 by the framework. Call it before the
 * body is read; the server's own limit holds in any case. Returns 0, or -EMSGSIZE when the length is known already to
 * be larger: the handler then answers 413. */
RILL_WARN_UNUSED int rill_exchange_limit_body(struct rill_exchange *x, uint64_t max_bytes);

/* Keeps the trailer section that a chunked body may end with, MAX_BYTES of it at most (more: 431); else it is checked
 * and dropped. Call it before the body is read. Returns 0 or -ENOMEM. */
RILL_WARN_UNUSED int rill_exchange_keep_trailers(struct rill_exchange *x, size_t max_bytes);

/* The value of the first trailer field with this name; `bytes` is NULL when there is none, when they were not kept, and
 * before the body's END. Trailers are what the sender says after the fact, and never headers (RFC 9110, 6.5.1). */
struct rill_slice rill_exchange_trailer(const struct rill_exchange *x, const char *name);

/* --- later --- */

/* Names an exchange by value; may be kept for ever, on any thread. */
struct rill_exchange_id {
    struct rill_conn_id conn;
    uint32_t serial;
};
struct rill_exchange_id rill_exchange_id(const struct rill_exchange *x);

/* The exchange that ID names if it has not ended; else NULL. Thread: LOOP's. */
struct rill_exchange *rill_exchange_find(struct rill_loop *loop, struct rill_exchange_id id);

/* Calls FN(X, ARG) in DELAY_MS, unless the exchange ends first. One at a time: a second call replaces the first. */
void rill_exchange_after(struct rill_exchange *x, uint64_t delay_ms, rill_handler_fn *fn, void *arg);

/* A piece of work for the pool. */
struct rill_work {
    void (*run)(void *arg);                           /* on a worker thread; may block; knows no exchange */
    void (*done)(struct rill_exchange *x, void *arg); /* on the loop, if the exchange still lives: answer it */
    void (*destroy)(void *arg);                       /* on the loop, last, whatever happened; may be NULL */
    void *arg;
    uint64_t deadline_ms; /* not started when it has waited so long; 0: 30 s */
};

/* Gives WORK (copied) to the server's pool. When the queue is full, or its deadline passes before it is started, the
 * framework answers 503 with Retry-After. Always takes over `arg`: destroy runs in any case. Returns 0, or the negative
 * errno for which 503 was sent: then the exchange has ended. */
int rill_exchange_work(struct rill_exchange *x, const struct rill_work *work);

/* A `done` for work whose `arg` has become the answer: text, NUL-terminated. */
void rill_work_reply_text(struct rill_exchange *x, void *arg);

/* Answers 503 for the handler if it has not begun to answer in DELAY_MS; 0: never. */
void rill_exchange_set_deadline(struct rill_exchange *x, uint64_t delay_ms);

#ifdef __cplusplus
}
#endif

#endif
