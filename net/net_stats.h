/* net_stats.h - what net/ counts for each loop, to be read while it runs. */
#ifndef RILL_NET_NET_STATS_H
#define RILL_NET_NET_STATS_H

#include "rill/core/stat.h"
#include "rill/net/conn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_server;

/* Of all stream connections of a loop, a server's and others. The loop writes it; others read with rill_stat_read(). */
struct rill_net_stats {
    uint64_t open;                       /* now */
    uint64_t adopted;                    /* ever */
    uint64_t closed[RILL_CLOSE_REASONS]; /* ever, by reason */
    uint64_t held_back;                  /* ever: requests that had to wait before they were read, for overload */
    uint64_t held_back_now;              /* connections with such a one */
    uint64_t bytes_in, bytes_out;        /* ever */
    uint64_t waiting_bytes;              /* of output that sockets have not taken, now */
    uint64_t leased_segments;            /* of 16 KiB, in use for output now */
    uint64_t kept_bytes;                 /* of memory for input that was not consumed and for other output, now */
};

#define RILL_NET_SEGMENT_BYTES 16384

/* Bytes of memory that input and output have now: what max_buffered_bytes limits. A block that several connections
 * send counts for each of them. Thread: any. */
static inline uint64_t rill_net_stats_buffered(const struct rill_net_stats *stats)
{
    return rill_stat_read(&stats->leased_segments) * RILL_NET_SEGMENT_BYTES + rill_stat_read(&stats->kept_bytes);
}

/* What a server does about overload; see max_buffered_bytes in net/server.h. */
struct rill_overload_stats {
    bool on;         /* now */
    uint64_t begun;  /* times that it began, ever */
    uint64_t pauses; /* times that accepting paused for want of room, ever */
};

/* Thread: any. */
void rill_server_overload_stats(const struct rill_server *server, struct rill_overload_stats *stats);

/* Those of the server's I-th loop; NULL before rill_server_run() has prepared it. Good until rill_server_free().
 * Thread: any. */
const struct rill_net_stats *rill_server_net_stats(const struct rill_server *server, unsigned i);

#ifdef __cplusplus
}
#endif

#endif
