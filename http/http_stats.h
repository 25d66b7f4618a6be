/* http_stats.h - what http/ counts for each loop, to be read while it runs. */
#ifndef RILL_HTTP_HTTP_STATS_H
#define RILL_HTTP_HTTP_STATS_H

#include "rill/core/loop_stats.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_http_server;

#define RILL_HTTP_STATUSES 600

/* A request counts from the moment its first byte is looked at, and has ended when the last byte of its response was
 * handed to the connection, or the connection died. The loop writes it; others read with rill_stat_read() and the
 * functions of core/histogram.h. */
struct rill_http_stats {
    uint64_t begun;                     /* ever */
    uint64_t ended[RILL_HTTP_STATUSES]; /* ever; by the response's status; 0: it got none */
    uint64_t refused;                   /* ever; of these, for overload */
    uint64_t limited;                   /* ever; of these, for the limit by address */

    /* Of those that were answered: how long they took. One that began and ended in one turn of the loop counts as long
     * as the turn, so that it costs no reading of the clock. */
    struct rill_histogram took_us;
    uint64_t took_counts[RILL_LOOP_TIME_BUCKETS]; /* its memory */
};

/* Those of the server's I-th loop; NULL before rill_http_server_run() has prepared it. Good until
 * rill_http_server_free(). Thread: any. */
const struct rill_http_stats *rill_http_server_stats(const struct rill_http_server *server, unsigned i);

/* Sets *LINES to how many lines the access log lacks, see rill_line_writer_dropped(); false when there is no access
 * log. Thread: any. */
bool rill_http_server_lines_dropped(const struct rill_http_server *server, uint64_t *lines);

/* Those that have ended with a status whose first digit is CLASS_DIGIT; 0: with none. Thread: any. */
uint64_t rill_http_stats_ended(const struct rill_http_stats *stats, unsigned class_digit);

/* Requests that have begun and not ended. Thread: any. */
uint64_t rill_http_stats_in_flight(const struct rill_http_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
