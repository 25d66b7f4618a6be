/* sim_site_front.c - see sim_site.h: an echo that has its answers from the other one, by connections of a pool: bytes
 * are taken in pieces, and the next when the last has come back. */
#include "sim_site_internal.h"

#include <stdlib.h>

enum { PIECE_MOST = 3000 };

struct front {
    bool pending; /* a piece is on its way */
    bool ended;   /* the peer's stream */
};

static void on_open(struct rill_conn *conn)
{
    site_note_open(conn);
    rill_conn_set_user(conn, calloc(1, sizeof(struct front)));
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct front *front = rill_conn_user(conn);
    site_note(conn, "on_data of a front");
    if (front->pending)
        sim_fail("bytes come to a front that is paused");
    size_t most = 1 + sim_below(PIECE_MOST), n = input->length < most ? input->length : most;
    const char *bytes = input->bytes;
    front->pending = true;
    rill_conn_pause(conn, RILL_PAUSE_PENDING);
    rill_input_consume(input, n);
    site_pool_ask(conn, bytes, n);
}

void site_front_answered(struct rill_conn *conn, const char *bytes, size_t n)
{
    struct front *front = rill_conn_user(conn);
    front->pending = false;
    if (n == 0) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
    } else if (rill_conn_send(conn, bytes, n) == 0) {
        rill_conn_resume(conn, RILL_PAUSE_PENDING);
        if (front->ended)
            rill_conn_finish(conn, false);
    }
}

static void on_eof(struct rill_conn *conn)
{
    struct front *front = rill_conn_user(conn);
    site_note(conn, "on_eof of a front");
    front->ended = true;
    if (!front->pending)
        rill_conn_finish(conn, sim_chance(2));
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    site_note_close(conn, reason);
    free(rill_conn_user(conn));
}

const struct rill_conn_handler site_front_handler = {
    .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_close = on_close};
