/* chargen.c - rill-chargen: characters without end (RFC 864), over TCP and Unix sockets as fast as they are taken, over
 * UDP as many as a datagram's luck will have.
 *
 * All connections of all loops send the same counted buffer: the 95 lines of the pattern exist once. A connection fills
 * its output to the high watermark and goes on when on_drain says that there is room. */
#include "common/datagrams.h"

enum { FIRST = ' ', CHARACTERS = 95, WIDTH = 72, LINE = WIDTH + 2 };

static char pattern[CHARACTERS * LINE];
static struct rill_buf *pattern_buf;

static void draw_pattern(void)
{
    for (unsigned line = 0; line < CHARACTERS; line++) {
        char *at = &pattern[line * LINE];
        for (unsigned i = 0; i < WIDTH; i++)
            at[i] = (char)(FIRST + (line + i) % CHARACTERS);
        memcpy(at + WIDTH, "\r\n", 2);
    }
}

static void fill(struct rill_conn *conn)
{
    while (rill_conn_is_open(conn) && !rill_conn_is_full(conn))
        rill_conn_send_buf(conn, rill_buf_ref(pattern_buf));
}

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *in)
{
    static _Thread_local unsigned luck;
    luck = luck * 1103515245 + 12345;
    rill_datagram_send(endpoint, in->from, pattern, luck % 513); /* RFC 864: 0 to 512 */
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = fill, .on_drain = fill};
    static const struct rill_datagram_handler datagram_handler = {.on_datagram = on_datagram};
    static struct rill_app_datagrams datagrams = {.config = {.handler = &datagram_handler, .max_datagram_bytes = 1}};
    const struct rill_option options[] = {RILL_APP_UDP_OPTION(&datagrams)};
    struct rill_app app = {.name = "rill-chargen",
                           .summary = "characters without end",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7019",
                           .server = {.handler = &handler}};
    draw_pattern();
    pattern_buf = rill_buf_wrap(pattern, sizeof pattern, NULL, NULL);
    if (!pattern_buf)
        return 1;
    int status = rill_app_datagrams_main(&app, &datagrams, argc, argv);
    rill_buf_unref(pattern_buf);
    return status;
}
