/* text.h - trimming, and the two ways in which bytes are made safe to stand inside something else: percent-encoding
 * (RFC 3986 2.1) and HTML escaping. Pure functions. Thread: any. Decimal and hexadecimal are in core/number.h, included
 * here. */
#ifndef RILL_HTTP_TEXT_H
#define RILL_HTTP_TEXT_H

#include "rill/core/base.h"
#include "rill/core/number.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether C is a space or a tab: RFC 9110's OWS is any number of these. */
static inline bool rill_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* TEXT without the spaces and tabs at its ends. */
static inline struct rill_slice rill_slice_trim(struct rill_slice text)
{
    while (text.length > 0 && rill_is_blank(text.bytes[0])) {
        text.bytes++;
        text.length--;
    }
    while (text.length > 0 && rill_is_blank(text.bytes[text.length - 1]))
        text.length--;
    return text;
}

/* The most bytes that one byte of input becomes. */
#define RILL_PATH_ENCODED_MAX 3
#define RILL_HTML_ESCAPED_MAX 6

/* Percent-encodes PATH into OUT: all but unreserved characters and '/', so that the result is one path in a URL,
 * never a scheme, a query or a fragment, and needs no further escaping inside HTML or a quoted header value.
 * Returns the length; with OUT NULL nothing is written. OUT has room for RILL_PATH_ENCODED_MAX * PATH.length bytes. */
size_t rill_path_encode(char *out, struct rill_slice path);

/* Escapes & < > " ' so that TEXT can stand in HTML as text or inside a quoted attribute.
 * Returns the length; with OUT NULL nothing is written. OUT has room for RILL_HTML_ESCAPED_MAX * TEXT.length bytes. */
size_t rill_html_escape(char *out, struct rill_slice text);

#ifdef __cplusplus
}
#endif

#endif
