/* discard.c - rill-discard: takes what comes and says nothing (RFC 863), over TCP, Unix sockets and UDP. A handler
 * without callbacks does just that. */
#include "common/datagrams.h"

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler;
    static const struct rill_datagram_handler datagram_handler;
    static struct rill_app_datagrams datagrams = {.config = {.handler = &datagram_handler}};
    const struct rill_option options[] = {RILL_APP_UDP_OPTION(&datagrams)};
    struct rill_app app = {.name = "rill-discard",
                           .summary = "takes what comes and says nothing",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7009",
                           .server = {.handler = &handler}};
    return rill_app_datagrams_main(&app, &datagrams, argc, argv);
}
