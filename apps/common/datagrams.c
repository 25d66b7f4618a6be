/* datagrams.c - see datagrams.h. The sockets are opened before the loops start, so that what is wrong is said at once;
 * each loop adopts one. */
#include "datagrams.h"
#include "rill/core/log.h"
#include <errno.h>

int rill_app_parse_udp(void *target, const char *text, const char **wanted)
{
    struct rill_app_datagrams *datagrams = target;
    if (rill_addr_parse(text, &datagrams->addr, wanted) < 0)
        return -EINVAL;
    *wanted = "an IP address is wanted";
    datagrams->count = 1;
    return datagrams->addr.socket.any.sa_family == AF_UNIX ? -EINVAL : 0;
}

static int adopt(struct rill_loop *loop, void *arg)
{
    struct rill_app_datagrams *datagrams = arg;
    int error, fd = datagrams->fds[rill_loop_index(loop) % datagrams->count]; /* sub-reactors count from 1 */
    rill_datagram_adopt(loop, fd, &datagrams->config, &error);
    return error;
}

static int open_sockets(const struct rill_app *app, struct rill_app_datagrams *datagrams)
{
    char text[RILL_ADDR_TEXT];
    datagrams->count = app->server.threads > 0 ? (unsigned)app->server.threads : 1;
    int error = rill_datagram_bind(&datagrams->addr, datagrams->count, datagrams->fds);
    rill_addr_format(&datagrams->addr, text);
    if (error < 0)
        rill_log_error("%s: cannot receive datagrams on %s: %s; choose another address", app->name, text,
                       strerror(-error));
    else
        rill_log_info("%s: answering datagrams on %s", app->name, text);
    return error;
}

int rill_app_datagrams_main(struct rill_app *app, struct rill_app_datagrams *datagrams, int argc, char **argv)
{
    app->kind = RILL_APP_SERVER;
    int status = rill_app_parse(app, argc, argv);
    if (status >= 0)
        return status;
    if (datagrams->count > 0) {
        if (open_sockets(app, datagrams) < 0)
            return 1;
        app->server.on_loop_start = adopt;
        app->server.arg = datagrams;
    }
    return rill_app_serve(app);
}
