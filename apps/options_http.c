/* options_http.c - the whole of a main() for HTTP. */
#include "options.h"
#include <errno.h>
#include <stdio.h>

int rill_app_main(struct rill_app *app, const struct rill_route *routes, int argc, char **argv)
{
    int status = rill_app_parse(app, argc, argv);
    if (status >= 0)
        return status;
    struct rill_router *router = rill_router_new();
    int error = router ? rill_router_add_all(router, routes) : -ENOMEM;
    if (error == 0) {
        app->http.router = router;
        status = rill_app_serve_http(app);
    } else {
        fprintf(stderr, "%s: cannot set up the routes: %s\n", app->name, strerror(-error));
        status = 1;
    }
    rill_router_free(router);
    return status;
}
