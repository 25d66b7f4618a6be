// echo.cc - a server in C++ with a protocol of its own, built against the installed Rill.
#include "rill/net/server.h"

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    rill_conn_send(conn, in->bytes, in->length);
    rill_input_consume(in, in->length);
}

int main()
{
    static struct rill_conn_handler handler;
    struct rill_server_config config = {};
    handler.on_data = on_data;
    config.listen = "127.0.0.1:0";
    config.threads = 2;
    config.handler = &handler;
    return rill_server_main(&config);
}
