/* method.h - request methods: the well-known ones as numbers, every other token as RILL_METHOD_OTHER.
 *
 * Methods are case-sensitive (RFC 9110 9.1): `get` is a valid method, and it is not GET. Thread: any. */
#ifndef RILL_HTTP_METHOD_H
#define RILL_HTTP_METHOD_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum rill_method {
    RILL_METHOD_OTHER, /* a valid token that is none of the following; its bytes are in the request */
    RILL_METHOD_GET,
    RILL_METHOD_HEAD,
    RILL_METHOD_POST,
    RILL_METHOD_PUT,
    RILL_METHOD_DELETE,
    RILL_METHOD_CONNECT,
    RILL_METHOD_OPTIONS,
    RILL_METHOD_TRACE,
    RILL_METHOD_PATCH,
    RILL_METHOD_COUNT
};

/* The number of the method spelled NAME; RILL_METHOD_OTHER when it is not a well-known one. */
enum rill_method rill_method_of(struct rill_slice name);

/* The spelling of METHOD, a static string; "" for RILL_METHOD_OTHER. */
const char *rill_method_name(enum rill_method method);

#ifdef __cplusplus
}
#endif

#endif
