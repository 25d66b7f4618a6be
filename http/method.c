/* method.c - method names to numbers and back. */
#include "rill/http/method.h"

static const char *const method_names[RILL_METHOD_COUNT] = {
    [RILL_METHOD_OTHER] = "",          [RILL_METHOD_GET] = "GET",         [RILL_METHOD_HEAD] = "HEAD",
    [RILL_METHOD_POST] = "POST",       [RILL_METHOD_PUT] = "PUT",         [RILL_METHOD_DELETE] = "DELETE",
    [RILL_METHOD_CONNECT] = "CONNECT", [RILL_METHOD_OPTIONS] = "OPTIONS", [RILL_METHOD_TRACE] = "TRACE",
    [RILL_METHOD_PATCH] = "PATCH",
};

enum rill_method rill_method_of(struct rill_slice name)
{
    for (int i = RILL_METHOD_GET; i < RILL_METHOD_COUNT; i++)
        if (rill_slice_equal(name, rill_slice_of(method_names[i])))
            return (enum rill_method)i;
    return RILL_METHOD_OTHER;
}

const char *rill_method_name(enum rill_method method)
{
    return (unsigned)method < RILL_METHOD_COUNT ? method_names[method] : "";
}
