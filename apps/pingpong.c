/* pingpong.c - rill-pingpong: how much two sides that throw everything back at each other move in a second. Each
 * connection begins with one message, and from then on both sides send what they get.
 *
 * Prints one line of NAME=VALUE. A loop counts for itself; the main thread reads the counts twice. */
#include "common/duel.h"
#include <stdio.h>

static struct side {
    uint64_t bytes, reads; /* come back to this loop; written by it, read by the main thread */
    char apart[RILL_CACHE_LINE];
} sides[RILL_LOOP_MAX], before, after;

static struct rill_app_duel duel;

static void on_open(struct rill_conn *conn)
{
    rill_conn_send(conn, rill_app_duel_message(), duel.size);
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    struct side *side = rill_conn_arg(conn);
    __atomic_store_n(&side->bytes, side->bytes + in->length, __ATOMIC_RELAXED);
    __atomic_store_n(&side->reads, side->reads + 1, __ATOMIC_RELAXED);
    rill_conn_send(conn, in->bytes, in->length);
    rill_input_consume(in, in->length);
}

static void sum(struct side *all)
{
    for (unsigned i = 0; i < duel.loops; i++) {
        all->bytes += __atomic_load_n(&sides[i].bytes, __ATOMIC_RELAXED);
        all->reads += __atomic_load_n(&sides[i].reads, __ATOMIC_RELAXED);
    }
}

static void begin(void)
{
    sum(&before);
}

static void end(void)
{
    sum(&after);
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data};
    duel = (struct rill_app_duel){.app = {.name = "rill-pingpong", .summary = "throughput, all thrown back"},
                                  .handler = &handler,
                                  .sides = sides,
                                  .side_bytes = sizeof sides[0],
                                  .connections = 100,
                                  .loops = 1,
                                  .size = 16384,
                                  .time_ms = 5000,
                                  .on_begin = begin,
                                  .on_end = end};
    int status = rill_app_duel_main(&duel, argc, argv);
    if (status != 0 || duel.seconds <= 0)
        return status;
    uint64_t bytes = after.bytes - before.bytes, reads = after.reads - before.reads;
    printf("pingpong connections=%u size=%llu loops=%u threads=%d seconds=%.3f bytes=%llu reads=%llu "
           "mib_per_second=%.2f messages_per_second=%.0f\n",
           duel.connections, (unsigned long long)duel.size, duel.loops, duel.app.server.threads, duel.seconds,
           (unsigned long long)bytes, (unsigned long long)reads, (double)bytes / duel.seconds / (1 << 20),
           (double)bytes / (double)duel.size / duel.seconds);
    return 0;
}
