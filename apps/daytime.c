/* daytime.c - rill-daytime: says what time it is, and closes (RFC 867), over TCP, Unix sockets and UDP. */
#include "common/datagrams.h"
#include <time.h>

enum { TEXT = 64 };

/* "Tuesday, February 22, 1982 17:37:43-UTC", as the RFC has it. Returns the length. */
static size_t tell(struct rill_loop *loop, char text[TEXT])
{
    time_t now = (time_t)rill_loop_unix_seconds(loop);
    struct tm parts;
    return strftime(text, TEXT, "%A, %B %d, %Y %H:%M:%S-UTC\r\n", gmtime_r(&now, &parts));
}

static void on_open(struct rill_conn *conn)
{
    char text[TEXT];
    rill_conn_send(conn, text, tell(rill_conn_loop(conn), text));
    rill_conn_finish(conn, true); /* lingering: what the client says meanwhile must not cost it the answer */
}

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *in)
{
    char text[TEXT];
    rill_datagram_send(endpoint, in->from, text, tell(rill_datagram_loop(endpoint), text));
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open};
    static const struct rill_datagram_handler datagram_handler = {.on_datagram = on_datagram};
    static struct rill_app_datagrams datagrams = {.config = {.handler = &datagram_handler, .max_datagram_bytes = 1}};
    const struct rill_option options[] = {RILL_APP_UDP_OPTION(&datagrams)};
    struct rill_app app = {.name = "rill-daytime",
                           .summary = "says what time it is",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7013",
                           .server = {.handler = &handler}};
    return rill_app_datagrams_main(&app, &datagrams, argc, argv);
}
