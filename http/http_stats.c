/* http_stats.c - see http_stats.h. What the loop writes is in lease.c. */
#include "rill/http/session_internal.h"

const struct rill_http_stats *rill_http_server_stats(const struct rill_http_server *server, unsigned i)
{
    unsigned index = i + (server->config.net.threads > 0 ? 1 : 0); /* the main loop's is 0 */
    if (index >= RILL_LOOP_MAX)
        return NULL;
    const struct rill_http_loop *http = __atomic_load_n(&server->loops[index], __ATOMIC_ACQUIRE);
    return http ? &http->stats : NULL;
}

bool rill_http_server_lines_dropped(const struct rill_http_server *server, uint64_t *lines)
{
    *lines = server->log ? rill_line_writer_dropped(server->log) : 0;
    return server->log != NULL;
}

uint64_t rill_http_stats_ended(const struct rill_http_stats *stats, unsigned class_digit)
{
    uint64_t ended = 0;
    for (unsigned i = class_digit * 100; i < class_digit * 100 + 100; i++)
        ended += rill_stat_read(&stats->ended[i]);
    return ended;
}

uint64_t rill_http_stats_in_flight(const struct rill_http_stats *stats)
{
    uint64_t ended = 0;
    for (unsigned i = 0; i < RILL_HTTP_STATUSES / 100; i++)
        ended += rill_http_stats_ended(stats, i);
    uint64_t begun = rill_stat_read(&stats->begun);
    return begun > ended ? begun - ended : 0; /* they were not read at one moment */
}
