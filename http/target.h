/* target.h - request targets: which form, which parts, and what file or route the path means.
 *
 * The parser has already checked every byte of a target when a handler sees it; what is left to do is to decode and
 * normalise the path, once, and only if it needs that. Nothing here allocates. Thread: any. */
#ifndef RILL_HTTP_TARGET_H
#define RILL_HTTP_TARGET_H

#include "rill/core/base.h"
#include "rill/http/method.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The four forms of RFC 9112 3.2. */
enum rill_target_form {
    RILL_TARGET_ORIGIN,    /* /path?query */
    RILL_TARGET_ABSOLUTE,  /* http://authority/path?query, also https; its authority wins over Host */
    RILL_TARGET_AUTHORITY, /* host:port, CONNECT only */
    RILL_TARGET_ASTERISK   /* *, OPTIONS only */
};

/* A target taken apart. Offsets count from the target's first byte; an absent part has length 0. */
struct rill_target {
    enum rill_target_form form;
    bool is_https;  /* absolute-form with the scheme https */
    bool has_query; /* there is a `?`, even if nothing follows it */
    uint32_t authority_offset, authority_length;
    uint32_t path_offset, path_length;   /* still encoded; empty in `http://host` */
    uint32_t query_offset, query_length; /* without the `?` */
};

/* Takes TARGET apart and checks it for METHOD. Returns 0, or -EINVAL with *REASON (a static string) saying what is
 * wrong; such a request is answered 400. Refused: every byte outside visible ASCII, `#`, `"`, `<`, `>`, `\` in a path,
 * a `%` without two hexadecimal digits after it, %00, a form that METHOD does not allow, a scheme other than http and
 * https, an authority that rill_host_check() refuses or that is empty, and userinfo. The characters [ ] ^ ` { | } are
 * outside RFC 3986 and let through all the same, because browsers send them as they are. */
int rill_target_parse(struct rill_slice target, enum rill_method method, struct rill_target *out,
                      const char **reason) RILL_WARN_UNUSED;

/* Checks HOST as the value of a Host field or as the authority of a target: `uri-host [":" port]` (RFC 9110 7.2) less
 * the comma, so that a list of hosts is refused, as are userinfo, bad IPv6 literals and ports over 65535. An empty port
 * (`name:`) is valid, an empty host with a port is not; HOST empty altogether is -EINVAL too, and the caller's
 * business. Returns 0 or -EINVAL. */
int rill_host_check(struct rill_slice host) RILL_WARN_UNUSED;

/* Decodes and normalises PATH, the encoded path of a target, and points *RESULT at what it means: always starting with
 * `/`, with no escapes, no empty, `.` or `..` segments left. A path that is so already is given back as it is (*RESULT
 * is PATH, and nothing is copied); otherwise the outcome is written to BUFFER, which needs at most PATH.length bytes.
 *
 * Decoding happens once: `%252e` becomes the four characters `%2e`, a name like any other. A run of slashes counts as
 * one slash, as in file names, and a final slash is kept (`/a/.` and `/a/b/..` mean `/a/`). An empty PATH means `/`.
 * Returns 0; -EINVAL for what no honest client sends, answered 400: `..` above the root, an encoded slash (%2F), a
 * backslash in either spelling, %00, a broken escape; -ENOBUFS when CAPACITY is too small. */
int rill_path_normalise(struct rill_slice path, char *buffer, size_t capacity,
                        struct rill_slice *result) RILL_WARN_UNUSED;

/* Percent-decodes TEXT into BUFFER, once; for parts of a query. With PLUS_IS_SPACE a `+` becomes a space, as HTML forms
 * write it. *RESULT is TEXT itself when there is nothing to decode. Returns 0, -EINVAL for a broken escape, or -ENOBUFS
 * when CAPACITY is too small (TEXT.length always suffices). Decoded bytes may be anything, NUL included. */
int rill_percent_decode(struct rill_slice text, bool plus_is_space, char *buffer, size_t capacity,
                        struct rill_slice *result) RILL_WARN_UNUSED;

#ifdef __cplusplus
}
#endif

#endif
