/* roundtrip.c - rill-roundtrip: how long a message takes there and back, one connection that has one message under way.
 *
 * Prints one line of NAME=VALUE: percentiles over all round trips of the measured time, exact, in microseconds. */
#include "common/duel.h"
#include "rill/core/log.h"
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 1 << 24 };

/* The client loop's until its thread has ended; the memory is committed as it is written. */
static uint32_t taken_ns[MOST];
static size_t count;
static uint64_t sent_ns;
static size_t back; /* bytes of the message under way */

static bool measuring; /* atomic: told to the client's loop by the main thread */
static struct rill_app_duel duel;

static void throw_one(struct rill_conn *conn)
{
    back = 0;
    sent_ns = rill_clock_ns();
    rill_conn_send(conn, rill_app_duel_message(), duel.size);
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    back += in->length;
    rill_input_consume(in, in->length);
    if (back < duel.size)
        return;
    uint64_t took = rill_clock_ns() - sent_ns;
    if (__atomic_load_n(&measuring, __ATOMIC_RELAXED) && count < MOST)
        taken_ns[count++] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    throw_one(conn);
}

static void begin(void)
{
    __atomic_store_n(&measuring, true, __ATOMIC_RELAXED);
}

static void end(void)
{
    __atomic_store_n(&measuring, false, __ATOMIC_RELAXED);
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* What the share of SHARE of all did not exceed. */
static double at_us(double share)
{
    size_t i = (size_t)(share * (double)count);
    return taken_ns[i < count ? i : count - 1] / 1e3;
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = throw_one, .on_data = on_data};
    duel = (struct rill_app_duel){.app = {.name = "rill-roundtrip", .summary = "latency, one message at a time"},
                                  .handler = &handler,
                                  .one_client = true,
                                  .connections = 1,
                                  .loops = 1,
                                  .size = 64,
                                  .time_ms = 5000,
                                  .on_begin = begin,
                                  .on_end = end};
    int status = rill_app_duel_main(&duel, argc, argv);
    if (status != 0 || duel.seconds <= 0)
        return status;
    if (count == 0) {
        rill_log_error("%s: nothing came back; is that an echo server?", duel.app.name);
        return 1;
    }
    qsort(taken_ns, count, sizeof taken_ns[0], compare);
    printf("roundtrip size=%llu seconds=%.3f round_trips=%zu per_second=%.0f min_us=%.1f p50_us=%.1f p90_us=%.1f "
           "p99_us=%.1f p99.9_us=%.1f max_us=%.1f\n",
           (unsigned long long)duel.size, duel.seconds, count, (double)count / duel.seconds, at_us(0), at_us(0.5),
           at_us(0.9), at_us(0.99), at_us(0.999), at_us(1));
    return 0;
}
