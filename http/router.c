/* router.c - a tree of path segments.
 *
 * A node stands for the segments on the way to it. Its literal children are tried first, then its `:name` child, then
 * its `*name` child; the first way that ends at a node with handlers wins, so a look-up goes back at most once a
 * segment and kind. Trees are small and shallow: children are compared one by one. */
#include "rill/http/router.h"
#include "rill/core/sys.h"

struct route {
    struct route *next;
    char *method;        /* NULL: every method */
    enum rill_method id; /* of `method`, when it is well known */
    rill_handler_fn *handler;
    void *arg;
    struct rill_slice *names; /* of the parameters of this route's pattern, in order */
    unsigned name_count;
};

struct node {
    struct node *next;     /* the next literal child of the same parent */
    struct node *literals; /* children */
    struct node *param;    /* `:name` */
    struct node *rest;     /* `*name` */
    struct route *routes;
    char *allow; /* the methods of `routes` */
    size_t length;
    char segment[];
};

struct rill_router {
    struct node *root; /* stands for the empty path: its children are first segments */
    char *allow;       /* all methods of all routes */
};

static const struct rill_slice none = {NULL, 0};

/* --- building --- */

static struct node *node_new(struct rill_slice segment)
{
    struct node *node = rill_sys_calloc(1, sizeof *node + segment.length);
    if (!node)
        return NULL;
    node->length = segment.length;
    if (segment.length > 0)
        memcpy(node->segment, segment.bytes, segment.length);
    return node;
}

static void route_free(struct route *route)
{
    if (!route)
        return;
    for (unsigned i = 0; i < route->name_count; i++)
        rill_sys_free((char *)(uintptr_t)route->names[i].bytes);
    rill_sys_free(route->names);
    rill_sys_free(route->method);
    rill_sys_free(route);
}

static void node_free(struct node *node)
{
    if (!node)
        return;
    while (node->literals) {
        struct node *child = node->literals;
        node->literals = child->next;
        node_free(child);
    }
    node_free(node->param);
    node_free(node->rest);
    while (node->routes) {
        struct route *route = node->routes;
        node->routes = route->next;
        route_free(route);
    }
    rill_sys_free(node->allow);
    rill_sys_free(node);
}

struct rill_router *rill_router_new(void)
{
    struct rill_router *router = rill_sys_calloc(1, sizeof *router);
    if (!router)
        return NULL;
    router->root = node_new(none);
    if (!router->root) {
        rill_sys_free(router);
        return NULL;
    }
    return router;
}

void rill_router_free(struct rill_router *router)
{
    if (!router)
        return;
    node_free(router->root);
    rill_sys_free(router->allow);
    rill_sys_free(router);
}

static char *copy_text(struct rill_slice text)
{
    char *copy = rill_sys_malloc(text.length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text.bytes, text.length);
    copy[text.length] = '\0';
    return copy;
}

/* Takes the first segment off PATH, which begins with `/`. */
static struct rill_slice next_segment(struct rill_slice *path)
{
    struct rill_slice segment = {path->bytes + 1, 0};
    while (segment.length < path->length - 1 && segment.bytes[segment.length] != '/')
        segment.length++;
    path->bytes += segment.length + 1;
    path->length -= segment.length + 1;
    return segment;
}

static struct node *find_literal(const struct node *node, struct rill_slice segment)
{
    struct node *child = node->literals;
    while (child && !(child->length == segment.length &&
                      (segment.length == 0 || memcmp(child->segment, segment.bytes, segment.length) == 0)))
        child = child->next;
    return child;
}

/* The child of NODE for SEGMENT of a pattern, made when there is none; NULL when memory is lacking. */
static struct node *make_child(struct node *node, struct rill_slice segment)
{
    bool special = segment.length > 0 && (segment.bytes[0] == ':' || segment.bytes[0] == '*');
    struct node **place = &node->literals;
    if (special) {
        place = segment.bytes[0] == ':' ? &node->param : &node->rest;
        if (!*place)
            *place = node_new(none);
        return *place;
    }
    struct node *child = find_literal(node, segment);
    if (!child && (child = node_new(segment))) {
        child->next = *place;
        *place = child;
    }
    return child;
}

/* Checks PATTERN and counts its parameters. Returns the count or -EINVAL. */
static int check_pattern(struct rill_slice pattern)
{
    unsigned count = 0;
    if (pattern.length == 0 || pattern.bytes[0] != '/')
        return -EINVAL;
    while (pattern.length > 0) {
        struct rill_slice segment = next_segment(&pattern);
        if (segment.length == 0 || (segment.bytes[0] != ':' && segment.bytes[0] != '*'))
            continue;
        if (segment.length == 1 || ++count > RILL_ROUTER_MAX_PARAMS || (segment.bytes[0] == '*' && pattern.length > 0))
            return -EINVAL;
    }
    return (int)count;
}

static bool is_method(const char *method)
{
    for (const char *p = method; *p; p++)
        if (!(*p >= 'A' && *p <= 'Z') && !(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') &&
            !strchr("!#$%&'*+-.^_`|~", *p))
            return false;
    return *method != '\0';
}

/* Appends METHOD to the list *ALLOW unless it is in there. Returns 0 or -ENOMEM. */
static int allow_add(char **allow, const char *method)
{
    size_t old = *allow ? strlen(*allow) : 0, added = strlen(method);
    for (const char *p = *allow; p && *p; p += strcspn(p, ","), p += strspn(p, ", "))
        if (strcspn(p, ",") == added && memcmp(p, method, added) == 0)
            return 0;
    char *grown = rill_sys_realloc(*allow, old + added + 3);
    if (!grown)
        return -ENOMEM;
    *allow = grown;
    if (old > 0) {
        memcpy(grown + old, ", ", 2);
        old += 2;
    }
    memcpy(grown + old, method, added + 1);
    return 0;
}

static int allow_route(char **allow, const char *method)
{
    static const char *const every[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
    int error = 0;
    if (!method) {
        for (size_t i = 0; error == 0 && i < rill_array_length(every); i++)
            error = allow_add(allow, every[i]);
        return error;
    }
    error = allow_add(allow, method);
    if (error == 0 && strcmp(method, "GET") == 0)
        error = allow_add(allow, "HEAD");
    return error == 0 ? allow_add(allow, "OPTIONS") : error;
}

static struct route *route_new(const char *method, struct rill_slice pattern, unsigned name_count)
{
    struct route *route = rill_sys_calloc(1, sizeof *route);
    struct rill_slice *names = rill_sys_calloc(name_count + 1, sizeof *names);
    if (!route || !names) {
        rill_sys_free(route);
        rill_sys_free(names);
        return NULL;
    }
    route->names = names;
    route->method = method ? copy_text(rill_slice_of(method)) : NULL;
    route->id = method ? rill_method_of(rill_slice_of(method)) : RILL_METHOD_OTHER;
    bool ok = !method || route->method;
    while (ok && pattern.length > 0) {
        struct rill_slice segment = next_segment(&pattern);
        if (segment.length == 0 || (segment.bytes[0] != ':' && segment.bytes[0] != '*'))
            continue;
        struct rill_slice name = {segment.bytes + 1, segment.length - 1};
        names[route->name_count].length = name.length;
        names[route->name_count].bytes = copy_text(name);
        ok = names[route->name_count++].bytes != NULL;
    }
    if (ok)
        return route;
    route_free(route);
    return NULL;
}

static bool same_method(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

int rill_router_add(struct rill_router *router, const char *method, const char *pattern, rill_handler_fn *handler,
                    void *arg)
{
    struct rill_slice path = rill_slice_of(pattern);
    int names = check_pattern(path);
    if (names < 0 || !handler || (method && !is_method(method)))
        return -EINVAL;
    struct node *node = router->root;
    for (struct rill_slice rest = path; node && rest.length > 0;)
        node = make_child(node, next_segment(&rest));
    if (!node)
        return -ENOMEM;
    struct route **end = &node->routes;
    for (; *end; end = &(*end)->next)
        if (same_method((*end)->method, method))
            return -EEXIST;
    struct route *route = route_new(method, path, (unsigned)names);
    if (!route || allow_route(&node->allow, method) < 0 || allow_route(&router->allow, method) < 0) {
        route_free(route);
        return -ENOMEM;
    }
    route->handler = handler;
    route->arg = arg;
    *end = route;
    return 0;
}

int rill_router_add_all(struct rill_router *router, const struct rill_route *routes)
{
    int error = 0;
    for (; error == 0 && routes->handler; routes++)
        error = rill_router_add(router, routes->method, routes->pattern, routes->handler, routes->arg);
    return error;
}

/* --- looking up --- */

/* Follows PATH from NODE on, noting parameter values in MATCH. Returns the node with routes that it ends at, or NULL.
 */
static const struct node *follow(const struct node *node, struct rill_slice path, struct rill_route_match *match)
{
    if (path.length == 0 && node->routes)
        return node;
    unsigned param = match->param_count;
    if (path.length > 0) {
        struct rill_slice rest = path, segment = next_segment(&rest);
        const struct node *child = find_literal(node, segment);
        const struct node *found = child ? follow(child, rest, match) : NULL;
        if (found)
            return found;
        if (node->param && segment.length > 0) {
            match->params[param].value = segment;
            match->param_count = param + 1;
            if ((found = follow(node->param, rest, match)))
                return found;
        }
        if (node->rest) {
            match->params[param].value = (struct rill_slice){path.bytes + 1, path.length - 1};
            match->param_count = param + 1;
            return node->rest;
        }
    }
    match->param_count = param;
    return NULL;
}

/* NODE's route for a method; only one that is not well known is compared by NAME. */
static const struct route *find_route(const struct node *node, enum rill_method id, struct rill_slice name)
{
    const struct route *route = node->routes;
    for (; route; route = route->next)
        if (route->method && route->id == id &&
            (id != RILL_METHOD_OTHER || rill_slice_equal(rill_slice_of(route->method), name)))
            break;
    return route;
}

/* NODE's route for every method. */
static const struct route *find_any_route(const struct node *node)
{
    const struct route *route = node->routes;
    while (route && route->method)
        route = route->next;
    return route;
}

void rill_router_find(const struct rill_router *router, enum rill_method method, struct rill_slice name,
                      struct rill_slice path, struct rill_route_match *match)
{
    match->handler = NULL;
    match->allow = none;
    match->param_count = 0;
    if (path.length == 1 && path.bytes[0] == '*') { /* RFC 9110, 9.3.7 */
        match->status = 204;
        match->allow = rill_slice_of(router->allow ? router->allow : "OPTIONS");
        return;
    }
    const struct node *node = follow(router->root, path, match);
    if (!node) {
        match->status = 404;
        return;
    }
    const struct route *route = find_route(node, method, name);
    if (!route && method == RILL_METHOD_HEAD)
        route = find_route(node, RILL_METHOD_GET, none);
    if (!route)
        route = find_any_route(node);
    if (!route || (method == RILL_METHOD_OPTIONS && !route->method)) {
        match->status = method == RILL_METHOD_OPTIONS ? 204 : 405;
        match->allow = rill_slice_of(node->allow);
        match->param_count = 0;
        return;
    }
    match->handler = route->handler;
    match->arg = route->arg;
    for (unsigned i = 0; i < match->param_count; i++)
        match->params[i].name = route->names[i];
}
