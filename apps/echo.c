/* echo.c - rill-echo: sends back what comes (RFC 862), over TCP, Unix sockets and UDP. */
#include "common/datagrams.h"

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    rill_conn_send(conn, in->bytes, in->length);
    rill_input_consume(in, in->length);
}

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *in)
{
    rill_datagram_send(endpoint, in->from, in->bytes,
                       in->length); /* beyond the queue's bound it is lost: that is UDP */
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_data = on_data};
    static const struct rill_datagram_handler datagram_handler = {.on_datagram = on_datagram};
    static struct rill_app_datagrams datagrams = {.config = {.handler = &datagram_handler}};
    const struct rill_option options[] = {RILL_APP_UDP_OPTION(&datagrams)};
    struct rill_app app = {.name = "rill-echo",
                           .summary = "sends back what comes",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7007",
                           .server = {.handler = &handler, .output_limit = RILL_OUTPUT_PAUSE}};
    return rill_app_datagrams_main(&app, &datagrams, argc, argv);
}
