/* response.c - responses are assembled, not printed: constant pieces and a few numbers, written straight into the
 * connection's output. */
#include "rill/core/number.h"
#include "rill/core/sys.h"
#include "rill/http/session_internal.h"
#include "rill/http/status.h"
#include <stdarg.h>
#include <stdio.h>

enum {
    HEAD_FIXED_BYTES = 512, /* more than all that send_head() writes beside fields and Content-Type */
    SMALL_BODY_BYTES = 4096 /* leaves together with its head, in one piece of memory */
};

void rill_http_loop_refresh(struct rill_http_loop *http)
{
    int64_t now = rill_loop_unix_seconds(http->loop);
    if (RILL_LIKELY(now == http->date_second))
        return;
    http->date_second = now;
    const struct rill_http_server *server = http->server;
    char *p = http->common;
    memcpy(p, server->common_prefix, server->common_prefix_length);
    p += server->common_prefix_length;
    memcpy(p, "Date: ", 6);
    rill_http_date_format(p + 6, now);
    memcpy(p + 6 + RILL_HTTP_DATE_LENGTH, "\r\n", 2);
    http->common_length = (size_t)(p + 6 + RILL_HTTP_DATE_LENGTH + 2 - http->common);
}

/* --- fields --- */

static bool is_framework_field(struct rill_slice name)
{
    static const char *const names[] = {"Content-Length", "Transfer-Encoding", "Connection", "Date"};
    for (size_t i = 0; i < rill_array_length(names); i++)
        if (rill_slice_equal_nocase(name, rill_slice_of(names[i])))
            return true;
    return false;
}

/* RFC 9110, 5.6.2. */
static bool is_token(struct rill_slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.bytes[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (rill_ascii_lower(c) >= 'a' && rill_ascii_lower(c) <= 'z');
        if (!alphanumeric && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return text.length > 0;
}

/* RFC 9110, 5.5: no control bytes; a CR or LF would let a value write further lines. */
static bool is_field_value(struct rill_slice value)
{
    for (size_t i = 0; i < value.length; i++) {
        unsigned char c = (unsigned char)value.bytes[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Makes room for LENGTH more bytes of extra lines; NULL when memory is lacking. */
static char *extra_room(struct rill_exchange *x, size_t length)
{
    if (x->extra_length + length > x->extra_capacity) {
        size_t capacity = (x->extra_length + length) * 2;
        char *grown = capacity <= RILL_EXCHANGE_ARENA_MAX ? rill_arena_alloc(&x->arena, capacity) : NULL;
        if (!grown)
            return NULL;
        if (x->extra_length > 0)
            memcpy(grown, x->extra, x->extra_length);
        x->extra = grown;
        x->extra_capacity = (uint32_t)capacity;
    }
    return x->extra + x->extra_length;
}

/* Appends a line `NAME: VALUE` to the extra lines. Returns 0 or a negative errno. */
static int add_line(struct rill_exchange *x, struct rill_slice name, struct rill_slice value)
{
    if (!is_token(name) || !is_field_value(value) || is_framework_field(name))
        return -EINVAL;
    char *p = extra_room(x, name.length + value.length + 4);
    if (!p)
        return -ENOMEM;
    memcpy(p, name.bytes, name.length);
    memcpy(p + name.length, ": ", 2);
    if (value.length > 0)
        memcpy(p + name.length + 2, value.bytes, value.length);
    memcpy(p + name.length + 2 + value.length, "\r\n", 2);
    x->extra_length += (uint32_t)(name.length + value.length + 4);
    return 0;
}

int rill_exchange_set_header(struct rill_exchange *x, const char *name, struct rill_slice value)
{
    return x->phase == RILL_RESPONSE_NONE ? add_line(x, rill_slice_of(name), value) : -EALREADY;
}

/* Fields that say how to take the message, route or guard it: too late behind the body. */
static bool must_come_first(struct rill_slice name)
{
    static const char *const names[] = {
        "Authorization", "Cache-Control", "Content-Encoding", "Content-Range", "Content-Type", "Expires",
        "Host",          "Location",      "Retry-After",      "Set-Cookie",    "TE",           "Trailer",
        "Vary",          "Warning",       "WWW-Authenticate"};
    for (size_t i = 0; i < rill_array_length(names); i++)
        if (rill_slice_equal_nocase(name, rill_slice_of(names[i])))
            return true;
    return false;
}

int rill_exchange_set_trailer(struct rill_exchange *x, const char *name, struct rill_slice value)
{
    if (x->phase != RILL_RESPONSE_STREAMING || !x->chunked)
        return -ENOTSUP;
    return must_come_first(rill_slice_of(name)) ? -EINVAL : add_line(x, rill_slice_of(name), value);
}

void rill_exchange_set_fields(struct rill_exchange *x, struct rill_slice fields)
{
    x->fields = fields;
}

/* --- the head --- */

#define PUT_LITERAL(p, text) (memcpy((p), (text), sizeof(text) - 1), (p) + sizeof(text) - 1)

static inline char *put(char *p, const char *bytes, size_t length)
{
    memcpy(p, bytes, length);
    return p + length;
}

/* What a handler may answer with: a final status, or 101. Anything else is its fault, and 500. */
static unsigned checked(unsigned status)
{
    return (status >= 200 && status <= 599) || status == 101 ? status : 500;
}

/* Decides how the body is framed (RFC 9112, 6.3) and whether the connection goes on (9.3). */
static void decide(struct rill_exchange *x, unsigned status, uint64_t content_length)
{
    const struct rill_parser *parser = &x->parser;
    bool http_1_0 = parser->version_minor == 0;
    x->status = (uint16_t)status;
    x->no_content = rill_status_has_no_body(status) || parser->method == RILL_METHOD_HEAD;
    x->keep_alive = parser->keep_alive && !x->session->closing && !x->failed;
    if (RILL_UNLIKELY(!x->body_done) && !x->on_body && !rill_session_would_discard(x))
        x->keep_alive = false;
    x->chunked = content_length == RILL_LENGTH_UNKNOWN && !http_1_0 && !rill_status_has_no_body(status);
    if (content_length == RILL_LENGTH_UNKNOWN && http_1_0 && !x->no_content)
        x->keep_alive = false; /* the end of the connection is the end of the body */
    x->body_left = content_length;
}

/* Writes the head to P, which has room for it; returns its end. */
static char *write_head(const struct rill_exchange *x, char *p, struct rill_slice content_type)
{
    const struct rill_http_loop *http = rill_exchange_http(x);
    struct rill_slice line = rill_status_line(x->status);
    p = put(p, line.bytes, line.length);
    p = put(p, http->common, http->common_length);
    if (content_type.length > 0) {
        p = PUT_LITERAL(p, "Content-Type: ");
        p = put(p, content_type.bytes, content_type.length);
        p = PUT_LITERAL(p, "\r\n");
    }
    if (x->fields.length > 0)
        p = put(p, x->fields.bytes, x->fields.length);
    if (x->extra_length > 0)
        p = put(p, x->extra, x->extra_length);
    if (RILL_UNLIKELY(x->chunked)) {
        p = PUT_LITERAL(p, "Transfer-Encoding: chunked\r\n");
    } else if (x->body_left != RILL_LENGTH_UNKNOWN && !rill_status_has_no_body(x->status)) {
        p = PUT_LITERAL(p, "Content-Length: ");
        p += rill_decimal_format(p, x->body_left);
        p = PUT_LITERAL(p, "\r\n");
    }
    if (RILL_UNLIKELY(!x->keep_alive))
        p = PUT_LITERAL(p, "Connection: close\r\n");
    else if (RILL_UNLIKELY(x->parser.version_minor == 0))
        p = PUT_LITERAL(p, "Connection: keep-alive\r\n");
    return PUT_LITERAL(p, "\r\n");
}

/* Sends the head, and BODY right behind it when that is not NULL: it must fit. Returns 0 or a negative errno. */
static int send_head(struct rill_exchange *x, unsigned status, const char *content_type, uint64_t content_length,
                     const void *body, size_t body_length)
{
    struct rill_conn *conn = x->session->conn;
    struct rill_slice type = rill_slice_of(content_type ? content_type : "");
    rill_http_loop_refresh(rill_exchange_http(x));
    decide(x, status, content_length);
    x->phase = RILL_RESPONSE_STREAMING;
    size_t room = HEAD_FIXED_BYTES + type.length + x->fields.length + x->extra_length + body_length;
    bool fits = room <= RILL_CONN_RESERVE_MAX;
    char *begin = fits ? rill_conn_reserve(conn, room) : rill_arena_alloc(&x->arena, room);
    if (RILL_UNLIKELY(!begin)) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return -ENOMEM;
    }
    char *end = write_head(x, begin, type);
    x->extra_length = 0; /* from here on: trailers */
    if (body_length > 0)
        end = put(end, body, body_length);
    if (RILL_UNLIKELY(!fits))
        return rill_conn_send(conn, begin, (size_t)(end - begin));
    rill_conn_commit(conn, (size_t)(end - begin));
    return 0;
}

/* --- whole responses --- */

/* Marks the response as complete; X may be gone afterwards. */
static void complete(struct rill_exchange *x)
{
    x->phase = RILL_RESPONSE_COMPLETE;
    if (x->callbacks == 0)
        rill_session_settle(x);
}

void rill_exchange_reply(struct rill_exchange *x, unsigned status, const char *content_type, const void *bytes,
                         size_t length)
{
    struct rill_session *session = x->session;
    if (x->phase != RILL_RESPONSE_NONE)
        return;
    status = checked(status);
    rill_session_enter(session);
    x->on_body = NULL; /* whole responses need no more of the request */
    bool sent = x->parser.method != RILL_METHOD_HEAD && !rill_status_has_no_body(status);
    bool small = length <= SMALL_BODY_BYTES;
    int error = send_head(x, status, content_type, length, small && sent ? bytes : NULL, small && sent ? length : 0);
    if (error == 0 && sent) {
        x->body_sent = length;
        if (!small)
            rill_conn_send(session->conn, bytes, length);
    }
    complete(x);
    rill_session_leave(session);
}

void rill_exchange_reply_text(struct rill_exchange *x, unsigned status, const char *text)
{
    rill_exchange_reply(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

void rill_exchange_reply_format(struct rill_exchange *x, unsigned status, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : rill_arena_alloc(&x->arena, (size_t)length + 1);
    if (text) {
        vsnprintf(text, (size_t)length + 1, format, again);
        rill_exchange_reply_text(x, status, text);
    } else {
        rill_exchange_reply_status(x, 503);
    }
    va_end(again);
    va_end(args);
}

void rill_exchange_reply_buf(struct rill_exchange *x, unsigned status, const char *content_type, struct rill_buf *buf)
{
    struct rill_session *session = x->session;
    size_t length = rill_buf_length(buf);
    if (x->phase != RILL_RESPONSE_NONE) {
        rill_buf_unref(buf);
        return;
    }
    rill_session_enter(session);
    x->on_body = NULL;
    if (rill_exchange_begin(x, status, content_type, length) < 0)
        rill_buf_unref(buf);
    else
        rill_exchange_write_buf(x, buf);
    x->body_left = 0; /* also when there was no content to be sent */
    complete(x);
    rill_session_leave(session);
}

void rill_exchange_reply_status(struct rill_exchange *x, unsigned status)
{
    status = checked(status);
    struct rill_slice reason = rill_status_reason(status);
    char page[256], *p = page;
    if (status == 503)
        rill_exchange_set_header(x, "Retry-After", rill_slice_of("1")); /* only advice: may be lacking */
    if (rill_status_has_no_body(status)) {
        rill_exchange_reply(x, status, NULL, NULL, 0);
        return;
    }
    p = PUT_LITERAL(p, "<!doctype html>\n<title>");
    for (unsigned twice = 0; twice < 2; twice++) {
        p += rill_decimal_format(p, status);
        *p++ = ' ';
        p = put(p, reason.bytes, reason.length);
        p = twice ? PUT_LITERAL(p, "</h1>\n") : PUT_LITERAL(p, "</title>\n<h1>");
    }
    rill_exchange_reply(x, status, "text/html; charset=utf-8", page, (size_t)(p - page));
}

/* --- streamed responses --- */

int rill_exchange_begin(struct rill_exchange *x, unsigned status, const char *content_type, uint64_t content_length)
{
    if (x->phase != RILL_RESPONSE_NONE)
        return -EALREADY;
    rill_session_enter(x->session);
    struct rill_session *session = x->session;
    int error = send_head(x, checked(status), content_type, content_length, NULL, 0);
    rill_session_leave(session);
    return error;
}

/* Counts LENGTH bytes off what was announced. Returns 1 when they are to be sent, 0 when not, or a negative errno. */
static int account(struct rill_exchange *x, uint64_t length)
{
    if (x->phase != RILL_RESPONSE_STREAMING)
        return -EPIPE;
    if (x->body_left != RILL_LENGTH_UNKNOWN) {
        if (length > x->body_left)
            return -EMSGSIZE;
        x->body_left -= length;
    }
    if (x->no_content || length == 0)
        return 0;
    x->body_sent += length;
    return 1;
}

/* The line before a chunk of LENGTH bytes (RFC 9112, 7.1). */
static void send_chunk_size(struct rill_exchange *x, size_t length)
{
    char line[RILL_HEX_MAX + 2];
    size_t digits = rill_hex_format(line, length);
    memcpy(line + digits, "\r\n", 2);
    rill_conn_send(x->session->conn, line, digits + 2);
}

int rill_exchange_write(struct rill_exchange *x, const void *bytes, size_t length)
{
    struct rill_session *session = x->session;
    int wanted = account(x, length);
    if (wanted <= 0)
        return wanted;
    rill_session_enter(session);
    if (x->chunked)
        send_chunk_size(x, length);
    int error = rill_conn_send(session->conn, bytes, length);
    if (x->chunked)
        rill_conn_send(session->conn, "\r\n", 2);
    rill_session_leave(session);
    return error;
}

int rill_exchange_write_buf(struct rill_exchange *x, struct rill_buf *buf)
{
    struct rill_session *session = x->session;
    int wanted = account(x, rill_buf_length(buf));
    if (wanted <= 0) {
        rill_buf_unref(buf);
        return wanted;
    }
    rill_session_enter(session);
    if (x->chunked)
        send_chunk_size(x, rill_buf_length(buf));
    int error = rill_conn_send_buf(session->conn, buf);
    if (x->chunked)
        rill_conn_send(session->conn, "\r\n", 2);
    rill_session_leave(session);
    return error;
}

int rill_exchange_write_file(struct rill_exchange *x, struct rill_file_ref *file, uint64_t offset, uint64_t length)
{
    struct rill_session *session = x->session;
    if (x->chunked)
        return -EINVAL;
    int wanted = account(x, length);
    if (wanted <= 0)
        return wanted;
    rill_session_enter(session);
    int error = rill_conn_send_file(session->conn, file, offset, length);
    rill_session_leave(session);
    return error;
}

void rill_exchange_end(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    if (x->phase == RILL_RESPONSE_COMPLETE)
        return;
    rill_session_enter(session);
    if (x->phase == RILL_RESPONSE_NONE)
        send_head(x, 500, NULL, 0, NULL, 0); /* it never said what to answer */
    if (x->chunked && !x->no_content) {      /* the last chunk and the trailer section (RFC 9112, 7.1) */
        rill_conn_send(session->conn, "0\r\n", 3);
        rill_conn_send(session->conn, x->extra, x->extra_length);
        rill_conn_send(session->conn, "\r\n", 2);
    }
    if (!x->no_content && x->body_left != 0 && x->body_left != RILL_LENGTH_UNKNOWN)
        rill_exchange_abort(x);
    else
        complete(x);
    rill_session_leave(session);
}

void rill_exchange_abort(struct rill_exchange *x)
{
    struct rill_session *session = x->session;
    rill_session_enter(session);
    x->aborted = true;
    complete(x);
    rill_session_leave(session);
}

bool rill_exchange_is_full(const struct rill_exchange *x)
{
    return rill_conn_is_full(x->session->conn);
}

void rill_exchange_on_room(struct rill_exchange *x, rill_handler_fn *fn, void *arg)
{
    x->on_room = fn;
    x->room_arg = arg;
    rill_conn_want_drain(x->session->conn);
}
