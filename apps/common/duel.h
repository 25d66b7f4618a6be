/* duel.h - a benchmark with both its sides in one program: an echo server on some loops and clients on others, for so
 * long. With the operand ADDR there is no server here, and the clients go there. */
#ifndef RILL_APPS_COMMON_DUEL_H
#define RILL_APPS_COMMON_DUEL_H

#include "rill/apps/options.h"

struct rill_app_duel {
    /* Set by the program; a value that has an option is its default. */
    struct rill_app app;                     /* `name` and `summary` */
    const struct rill_conn_handler *handler; /* of the clients; rill_conn_arg() is their loop's side */
    void *sides;                             /* what the program keeps for each client loop, side_bytes each */
    size_t side_bytes;
    bool one_client;        /* no --connections and no --loops: one connection on one loop */
    unsigned connections;   /* --connections, shared out to the loops */
    unsigned loops;         /* --loops of clients */
    uint64_t size;          /* --size of a message */
    uint64_t time_ms;       /* --time, from when all are connected */
    void (*on_begin)(void); /* on the main thread, while the clients run: what is measured begins */
    void (*on_end)(void);   /* it has ended, and the clients still run */

    double seconds; /* from on_begin to on_end; set when rill_app_duel_main() has returned 0 */
};

/* Parses, runs and stops both sides. Returns the exit status: 0 when every connection was made and lasted. */
int rill_app_duel_main(struct rill_app_duel *duel, int argc, char **argv);

/* What clients send: duel->size bytes of no meaning. */
const char *rill_app_duel_message(void);

#endif
