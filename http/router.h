/* router.h - which handler answers which method and path.
 *
 * A router is filled in before its server runs and constant from then on, so all loops share it without a lock.
 *
 * A pattern is a path of segments; `:name` stands for one whole segment, not empty, and `*name` at the end for all the
 * rest, which may be empty. A literal segment goes before `:name`, and that before `*name`, segment by segment from the
 * left; a choice that leads nowhere is taken back. Paths are matched decoded and normalised. `/a` and `/a/` are two
 * paths. */
#ifndef RILL_HTTP_ROUTER_H
#define RILL_HTTP_ROUTER_H

#include "rill/http/exchange.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_router;

#define RILL_ROUTER_MAX_PARAMS 8

/* NULL when memory is lacking. */
struct rill_router *rill_router_new(void);
void rill_router_free(struct rill_router *router); /* NULL is ignored */

/* Has HANDLER(x, ARG) answer METHOD ("GET", any token; NULL: every method not named otherwise) on PATTERN. A handler
 * for GET answers HEAD too, unless HEAD has one of its own; OPTIONS is answered by the framework, unless it has.
 * Returns 0; -EINVAL: METHOD or PATTERN is not of the form above, or has more than RILL_ROUTER_MAX_PARAMS parameters;
 * -EEXIST: METHOD and PATTERN (parameter names aside) have a handler; -ENOMEM. */
int rill_router_add(struct rill_router *router, const char *method, const char *pattern, rill_handler_fn *handler,
                    void *arg);

/* The same for all of a table of routes, which ends with one whose `handler` is NULL. Stops at the first error. */
struct rill_route {
    const char *method, *pattern;
    rill_handler_fn *handler;
    void *arg;
};
RILL_WARN_UNUSED int rill_router_add_all(struct rill_router *router, const struct rill_route *routes);

/* What rill_router_find() found. */
struct rill_route_match {
    rill_handler_fn *handler; /* NULL: see `status` */
    void *arg;
    unsigned status;         /* 404: no such path; 405: the path is there, the method not; 204: OPTIONS to be answered
                                with `allow` */
    struct rill_slice allow; /* for 405 and 204: the methods there are, as in `GET, HEAD, OPTIONS`; the router's */
    unsigned param_count;
    struct {
        struct rill_slice name;  /* the router's */
        struct rill_slice value; /* in PATH */
    } params[RILL_ROUTER_MAX_PARAMS];
};

/* Looks METHOD (its name in NAME) and PATH (decoded, normalised) up. PATH `*` is OPTIONS for the whole server. Fills
 * in *MATCH. Allocates nothing. Thread: any. */
void rill_router_find(const struct rill_router *router, enum rill_method method, struct rill_slice name,
                      struct rill_slice path, struct rill_route_match *match);

#ifdef __cplusplus
}
#endif

#endif
