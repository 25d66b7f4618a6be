/* http_response.h - reads HTTP/1.1 responses, and believes nothing: what is not as RFC 9112 has it is wrong. */
#ifndef RILL_TESTS_SUPPORT_HTTP_RESPONSE_H
#define RILL_TESTS_SUPPORT_HTTP_RESPONSE_H

#include "rill/core/base.h"

enum http_response_result {
    HTTP_RESPONSE_WHOLE,
    HTTP_RESPONSE_PART,      /* sound so far, and more is to come */
    HTTP_RESPONSE_MALFORMED, /* see `why` */
};

struct http_response {
    unsigned status;
    size_t length;          /* bytes of the whole, framing included */
    struct rill_slice head; /* status line and fields, with the blank line; where they came */
    char *content;          /* decoded; owned; NUL-terminated */
    size_t content_length;  /* for a part: what has come */
    uint64_t announced;     /* Content-Length; UINT64_MAX without */
    bool chunked;
    bool close;      /* Connection: close */
    bool keep_alive; /* Connection: keep-alive */
    const char *why;
};

/* Reads one response to a request that was HEAD or not, from LENGTH bytes at BYTES. ENDED: nothing comes after them.
 * RESPONSE must be all zero or have been freed. */
enum http_response_result http_response_read(const char *bytes, size_t length, bool to_head, bool ended,
                                             struct http_response *response);

/* The value of the field NAME; `bytes` is NULL when there is none. COUNT, unless NULL, is how many there are. */
struct rill_slice http_response_field(const struct http_response *response, const char *name, unsigned *count);

void http_response_free(struct http_response *response);

#endif
