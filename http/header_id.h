/* header_id.h - well-known request header fields as small numbers, so that asking for one is no string comparison.
 *
 * The numbers fit a 64-bit set: a parser keeps one bit for each field it has seen. The fields that decide how a
 * message is framed and routed come first; the parser acts on those itself. Thread: any. */
#ifndef RILL_HTTP_HEADER_ID_H
#define RILL_HTTP_HEADER_ID_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(identifier, lower-case name). At most 63 entries, none longer than 32 bytes. */
#define RILL_HEADER_LIST(X)                                                                                            \
    X(HOST, "host")                                                                                                    \
    X(CONNECTION, "connection")                                                                                        \
    X(CONTENT_LENGTH, "content-length")                                                                                \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                                          \
    X(EXPECT, "expect")                                                                                                \
    X(UPGRADE, "upgrade")                                                                                              \
    X(ACCEPT, "accept")                                                                                                \
    X(ACCEPT_CHARSET, "accept-charset")                                                                                \
    X(ACCEPT_ENCODING, "accept-encoding")                                                                              \
    X(ACCEPT_LANGUAGE, "accept-language")                                                                              \
    X(ACCESS_CONTROL_REQUEST_HEADERS, "access-control-request-headers")                                                \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method")                                                  \
    X(AUTHORIZATION, "authorization")                                                                                  \
    X(CACHE_CONTROL, "cache-control")                                                                                  \
    X(CONTENT_DISPOSITION, "content-disposition")                                                                      \
    X(CONTENT_ENCODING, "content-encoding")                                                                            \
    X(CONTENT_LANGUAGE, "content-language")                                                                            \
    X(CONTENT_RANGE, "content-range")                                                                                  \
    X(CONTENT_TYPE, "content-type")                                                                                    \
    X(COOKIE, "cookie")                                                                                                \
    X(DATE, "date")                                                                                                    \
    X(DNT, "dnt")                                                                                                      \
    X(FORWARDED, "forwarded")                                                                                          \
    X(HTTP2_SETTINGS, "http2-settings")                                                                                \
    X(IF_MATCH, "if-match")                                                                                            \
    X(IF_MODIFIED_SINCE, "if-modified-since")                                                                          \
    X(IF_NONE_MATCH, "if-none-match")                                                                                  \
    X(IF_RANGE, "if-range")                                                                                            \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since")                                                                      \
    X(KEEP_ALIVE, "keep-alive")                                                                                        \
    X(LAST_EVENT_ID, "last-event-id")                                                                                  \
    X(MAX_FORWARDS, "max-forwards")                                                                                    \
    X(ORIGIN, "origin")                                                                                                \
    X(PRAGMA, "pragma")                                                                                                \
    X(PRIORITY, "priority")                                                                                            \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                                      \
    X(PROXY_CONNECTION, "proxy-connection")                                                                            \
    X(RANGE, "range")                                                                                                  \
    X(REFERER, "referer")                                                                                              \
    X(SEC_CH_UA, "sec-ch-ua")                                                                                          \
    X(SEC_CH_UA_MOBILE, "sec-ch-ua-mobile")                                                                            \
    X(SEC_CH_UA_PLATFORM, "sec-ch-ua-platform")                                                                        \
    X(SEC_FETCH_DEST, "sec-fetch-dest")                                                                                \
    X(SEC_FETCH_MODE, "sec-fetch-mode")                                                                                \
    X(SEC_FETCH_SITE, "sec-fetch-site")                                                                                \
    X(SEC_FETCH_USER, "sec-fetch-user")                                                                                \
    X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions")                                                            \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key")                                                                          \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol")                                                                \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version")                                                                  \
    X(TE, "te")                                                                                                        \
    X(TRACEPARENT, "traceparent")                                                                                      \
    X(TRAILER, "trailer")                                                                                              \
    X(UPGRADE_INSECURE_REQUESTS, "upgrade-insecure-requests")                                                          \
    X(USER_AGENT, "user-agent")                                                                                        \
    X(VIA, "via")                                                                                                      \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                                              \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                                            \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                                          \
    X(X_REAL_IP, "x-real-ip")                                                                                          \
    X(X_REQUEST_ID, "x-request-id")                                                                                    \
    X(X_REQUESTED_WITH, "x-requested-with")

enum rill_header_id {
    RILL_HEADER_OTHER, /* none of the following */
#define RILL_HEADER_ENUMERATOR(identifier, name) RILL_HEADER_##identifier,
    RILL_HEADER_LIST(RILL_HEADER_ENUMERATOR)
#undef RILL_HEADER_ENUMERATOR
        RILL_HEADER_COUNT
};

/* The number of the field called NAME, in any case; RILL_HEADER_OTHER when it is not in the list. */
enum rill_header_id rill_header_id_of(struct rill_slice name);

/* The lower-case name of ID, a static string; "" for RILL_HEADER_OTHER. */
const char *rill_header_name(enum rill_header_id id);

#ifdef __cplusplus
}
#endif

#endif
