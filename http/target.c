/* target.c - request targets taken apart and checked, paths decoded and normalised. */
#include "rill/http/target.h"

#include <errno.h>

#include "rill/http/scan_internal.h"

/* Two hexadecimal digits other than 00 stand at BYTES. */
static bool escape_is_valid(const char *bytes, size_t length)
{
    return length >= 2 && rill_hex_value(bytes[0]) >= 0 && rill_hex_value(bytes[1]) >= 0 &&
           (bytes[0] != '0' || bytes[1] != '0');
}

static int refuse(const char **reason, const char *text)
{
    *reason = text;
    return -EINVAL;
}

/* Path and query, from START to the end of TARGET. */
static int parse_path(struct rill_slice target, size_t start, struct rill_target *out, const char **reason)
{
    size_t i = start;
    size_t path_end = target.length;
    for (;;) {
        i += rill_byte_run(target.bytes + i, target.length - i, RILL_BYTE_TARGET);
        if (i == target.length)
            break;
        char c = target.bytes[i];
        if (c == '?') {
            if (!out->has_query)
                path_end = i;
            out->has_query = true;
        } else if (c == '%') {
            if (!escape_is_valid(target.bytes + i + 1, target.length - i - 1))
                return refuse(reason, "bad percent-encoding in the request target");
        } else if (c != '\\' || !out->has_query) {
            return refuse(reason, "byte not allowed in a request target");
        }
        i++;
    }
    out->path_offset = (uint32_t)start;
    out->path_length = (uint32_t)(path_end - start);
    out->query_offset = (uint32_t)(out->has_query ? path_end + 1 : path_end);
    out->query_length = (uint32_t)(target.length - out->query_offset);
    return 0;
}

/* The length of `http://` or `https://` at the start of TARGET; 0 when it begins otherwise. Schemes have no case. */
static size_t scheme_length(struct rill_slice target, bool *is_https)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < rill_array_length(schemes); i++) {
        struct rill_slice scheme = rill_slice_of(schemes[i]);
        struct rill_slice start = {target.bytes, scheme.length};
        if (target.length >= scheme.length && rill_slice_equal_nocase(start, scheme)) {
            *is_https = i == 1;
            return scheme.length;
        }
    }
    return 0;
}

static int parse_absolute(struct rill_slice target, struct rill_target *out, const char **reason)
{
    size_t start = scheme_length(target, &out->is_https);
    if (start == 0)
        return refuse(reason, "request target is neither a path nor an http or https URI");
    size_t end = start;
    while (end < target.length && target.bytes[end] != '/' && target.bytes[end] != '?')
        end++;
    struct rill_slice authority = {target.bytes + start, end - start};
    if (rill_host_check(authority) != 0)
        return refuse(reason, "bad authority in the request target");
    out->form = RILL_TARGET_ABSOLUTE;
    out->authority_offset = (uint32_t)start;
    out->authority_length = (uint32_t)authority.length;
    return parse_path(target, end, out, reason);
}

/* `host:port`, with both, as CONNECT wants it (RFC 9112 3.2.3). */
static int parse_authority(struct rill_slice target, struct rill_target *out, const char **reason)
{
    if (rill_host_check(target) != 0 || !rill_byte_is_digit(target.bytes[target.length - 1]))
        return refuse(reason, "CONNECT needs host:port for its target");
    size_t colon = target.length - 1;
    while (colon > 0 && rill_byte_is_digit(target.bytes[colon]))
        colon--;
    if (target.bytes[colon] != ':')
        return refuse(reason, "CONNECT needs host:port for its target");
    out->form = RILL_TARGET_AUTHORITY;
    out->authority_length = (uint32_t)target.length;
    return 0;
}

int rill_target_parse(struct rill_slice target, enum rill_method method, struct rill_target *out, const char **reason)
{
    memset(out, 0, sizeof(*out));
    if (target.length == 0)
        return refuse(reason, "no request target");
    if (method == RILL_METHOD_CONNECT)
        return parse_authority(target, out, reason);
    if (target.bytes[0] == '/') {
        out->form = RILL_TARGET_ORIGIN;
        return parse_path(target, 0, out, reason);
    }
    if (target.length == 1 && target.bytes[0] == '*') {
        if (method != RILL_METHOD_OPTIONS)
            return refuse(reason, "request target * is for OPTIONS alone");
        out->form = RILL_TARGET_ASTERISK;
        return 0;
    }
    return parse_absolute(target, out, reason);
}

/* Whether PATH has nothing to decode, to drop or to refuse. Wrong in one direction only: `/.name` is called unclean,
 * which costs a copy that says the same. */
static bool path_is_clean(struct rill_slice path)
{
    char before = 0;
    for (size_t i = 0; i < path.length; i++) {
        char c = path.bytes[i];
        if (c == '%' || c == '\\' || c == 0 || (before == '/' && (c == '/' || c == '.')))
            return false;
        before = c;
    }
    return path.bytes[0] == '/';
}

/* Copies one segment, decoded, from *IN, which stops at the next slash or at the end. The length, or -EINVAL. */
static ptrdiff_t decode_segment(struct rill_slice path, size_t *in, char *out)
{
    size_t i = *in;
    size_t length = 0;
    while (i < path.length && path.bytes[i] != '/') {
        char c = path.bytes[i++];
        if (c == '%') {
            if (!escape_is_valid(path.bytes + i, path.length - i))
                return -EINVAL;
            c = (char)(rill_hex_value(path.bytes[i]) << 4 | rill_hex_value(path.bytes[i + 1]));
            i += 2;
            if (c == '/')
                return -EINVAL;
        }
        if (c == '\\' || c == 0)
            return -EINVAL;
        out[length++] = c;
    }
    *in = i;
    return (ptrdiff_t)length;
}

int rill_path_normalise(struct rill_slice path, char *buffer, size_t capacity, struct rill_slice *result)
{
    if (path.length == 0) {
        *result = rill_slice_of("/");
        return 0;
    }
    if (path_is_clean(path)) {
        *result = path;
        return 0;
    }
    if (path.bytes[0] != '/')
        return -EINVAL;
    if (capacity < path.length)
        return -ENOBUFS;

    size_t in = 0;
    size_t out = 0; /* bytes written: "" or "/segment", any number of times */
    bool slash_last = false;
    while (in < path.length) {
        in++; /* the slash */
        buffer[out] = '/';
        const char *segment = buffer + out + 1;
        ptrdiff_t length = decode_segment(path, &in, buffer + out + 1);
        if (length < 0)
            return (int)length;
        bool is_parent = length == 2 && segment[0] == '.' && segment[1] == '.';
        slash_last = length == 0 || is_parent || (length == 1 && segment[0] == '.');
        if (!slash_last) {
            out += (size_t)length + 1;
        } else if (is_parent) {
            if (out == 0)
                return -EINVAL;
            while (buffer[--out] != '/')
                ;
        }
    }
    if (slash_last || out == 0)
        buffer[out++] = '/';
    result->bytes = buffer;
    result->length = out;
    return 0;
}

int rill_percent_decode(struct rill_slice text, bool plus_is_space, char *buffer, size_t capacity,
                        struct rill_slice *result)
{
    size_t i = 0;
    while (i < text.length && text.bytes[i] != '%' && !(plus_is_space && text.bytes[i] == '+'))
        i++;
    if (i == text.length) {
        *result = text;
        return 0;
    }
    if (capacity < text.length)
        return -ENOBUFS;
    size_t out = 0;
    for (i = 0; i < text.length; i++) {
        char c = text.bytes[i];
        if (c == '%') {
            if (text.length - i < 3)
                return -EINVAL;
            int high = rill_hex_value(text.bytes[i + 1]);
            int low = rill_hex_value(text.bytes[i + 2]);
            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        buffer[out++] = c;
    }
    result->bytes = buffer;
    result->length = out;
    return 0;
}
