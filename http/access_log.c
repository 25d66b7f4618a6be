/* access_log.c - one line an exchange, in the combined format and with the duration in seconds:
 *
 *   127.0.0.1 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8.0" 0.000042
 *
 * What the client sent is escaped, so that it cannot write lines of its own. An exchange whose client went away before
 * a response began has status 499. */
#include "rill/core/number.h"
#include "rill/http/session_internal.h"

enum {
    MAX_PART_BYTES = 512, /* of what the client sent, each; escaped four times as many */
    PARTS = 4,            /* method, target, Referer, User-Agent */
    MAX_LINE_BYTES = PARTS * 4 * MAX_PART_BYTES + 256,
};

static char *put(char *p, const char *bytes, size_t length)
{
    memcpy(p, bytes, length);
    return p + length;
}

/* Writes TEXT with \xNN for what is not plain ASCII, `"` and `\`. */
static char *put_escaped(char *p, struct rill_slice text)
{
    static const char hex[] = "0123456789abcdef";
    size_t length = text.length < MAX_PART_BYTES ? text.length : MAX_PART_BYTES;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            *p++ = (char)c;
            continue;
        }
        p = put(p, "\\x", 2);
        *p++ = hex[c >> 4];
        *p++ = hex[c & 15];
    }
    return p;
}

static char *put_field(char *p, const struct rill_exchange *x, enum rill_header_id id)
{
    struct rill_slice value = x->failed ? (struct rill_slice){NULL, 0} : rill_exchange_header(x, id);
    *p++ = '"';
    p = value.bytes ? put_escaped(p, value) : put(p, "-", 1);
    return put(p, "\" ", 2);
}

/* "31/Jan/2026:12:00:00 +0000", rendered from the loop's Date once a second. */
static const char *log_time(struct rill_http_loop *http)
{
    char date[RILL_HTTP_DATE_LENGTH]; /* Sat, 31 Jan 2026 12:00:00 GMT */
    rill_http_loop_refresh(http);
    if (http->log_second != http->date_second) {
        http->log_second = http->date_second;
        rill_http_date_format(date, http->date_second);
        char *p = put(http->log_time, date + 5, 2);
        *p++ = '/';
        p = put(p, date + 8, 3);
        *p++ = '/';
        p = put(p, date + 12, 4);
        *p++ = ':';
        p = put(p, date + 17, 8);
        put(p, " +0000", 7);
    }
    return http->log_time;
}

/* Microseconds as seconds with six places. */
static char *put_duration(char *p, uint64_t us)
{
    p += rill_decimal_format(p, us / 1000000);
    *p++ = '.';
    for (uint64_t unit = 100000; unit > 0; unit /= 10)
        *p++ = (char)('0' + us / unit % 10);
    return p;
}

void rill_access_log_write(struct rill_exchange *x)
{
    struct rill_http_loop *http = rill_exchange_http(x);
    char *line = rill_line_channel_reserve(http->log, MAX_LINE_BYTES);
    if (!line)
        return; /* counted as dropped */
    char *p = line, ip[RILL_IP_TEXT];
    size_t ip_length = rill_ip_format(rill_conn_peer(x->session->conn), ip);
    p = put(p, ip, ip_length);
    p = put(p, " - - [", 6);
    p = put(p, log_time(http), 26);
    p = put(p, "] \"", 3);
    if (x->failed) {
        *p++ = '-';
    } else {
        p = put_escaped(p, rill_exchange_method_name(x));
        *p++ = ' ';
        p = put_escaped(p, rill_exchange_target(x));
        p = put(p, x->parser.version_minor ? " HTTP/1.1" : " HTTP/1.0", 9);
    }
    p = put(p, "\" ", 2);
    p += rill_decimal_format(p, x->status ? x->status : 499);
    *p++ = ' ';
    p += rill_decimal_format(p, x->body_sent);
    *p++ = ' ';
    p = put_field(p, x, RILL_HEADER_REFERER);
    p = put_field(p, x, RILL_HEADER_USER_AGENT);
    p = put_duration(p, (rill_clock_ns() - x->started_ns) / 1000);
    *p++ = '\n';
    rill_line_channel_commit(http->log, (size_t)(p - line));
}
