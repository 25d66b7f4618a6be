/* idle.c - rill-idle: an idle reaper. Echoes lines of work, and shows the door to who says nothing for --idle-timeout,
 * telling why.
 *
 * A deadline a connection, and one timer behind it: every byte moves the deadline, which is a store, and only a timer
 * that fires and finds the deadline moved is armed again. A hundred thousand idle connections cost no tick. */
#include "options.h"
#include <stdio.h>

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    rill_conn_send(conn, in->bytes, in->length);
    rill_input_consume(in, in->length);
}

static void on_timeout(struct rill_conn *conn)
{
    const struct rill_app *app = rill_conn_arg(conn);
    char why[80];
    int length = snprintf(why, sizeof why, "closing: not a byte for %.3g seconds\r\n",
                          (double)app->server.idle_timeout_ms / 1000);
    rill_conn_send(conn, why, (size_t)length);
    rill_conn_finish(conn, true);
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_data = on_data, .on_timeout = on_timeout};
    struct rill_app app = {
        .name = "rill-idle",
        .summary = "echoes, and closes what has been idle for --idle-timeout (10s here)",
        .default_listen = "127.0.0.1:7010",
        .server = {.handler = &handler, .idle_timeout_ms = 10000, .output_limit = RILL_OUTPUT_PAUSE},
    };
    app.server.arg = &app;
    return rill_app_server_main(&app, argc, argv);
}
