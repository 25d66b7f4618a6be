/* hello.c - an HTTP server of somebody else's, built against the installed Rill. */
#include "rill/http/server.h"
#include <stdio.h>

static void hello(struct rill_exchange *x, void *arg)
{
    struct rill_slice name = rill_exchange_param(x, "name");
    (void)arg;
    rill_exchange_reply_format(x, 200, "Hello, %.*s!\n", (int)name.length, name.bytes);
}

int main(void)
{
    struct rill_router *router = rill_router_new();
    if (!router || rill_router_add(router, "GET", "/hello/:name", hello, NULL) < 0)
        return 1;
    return rill_http_server_main(
        &(struct rill_http_server_config){.net = {.listen = "127.0.0.1:0", .threads = 2}, .router = router});
}
