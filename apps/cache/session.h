/* session.h - a connection that speaks memcached's text protocol, and what all of them share. */
#ifndef RILL_APPS_CACHE_SESSION_H
#define RILL_APPS_CACHE_SESSION_H

#include "protocol.h"
#include "rill/core/log.h"
#include "rill/net/conn.h"
#include "store.h"

/* What is counted; the names that it goes by are in stats.c. */
enum rill_counter {
    RILL_COUNT_OPENED,
    RILL_COUNT_CLOSED,
    RILL_COUNT_SET,
    RILL_COUNT_FLUSH,
    RILL_COUNT_GET_HITS,
    RILL_COUNT_GET_MISSES,
    RILL_COUNT_DELETE_HITS,
    RILL_COUNT_DELETE_MISSES,
    RILL_COUNT_INCR_HITS,
    RILL_COUNT_INCR_MISSES,
    RILL_COUNT_DECR_HITS,
    RILL_COUNT_DECR_MISSES,
    RILL_COUNT_CAS_HITS,
    RILL_COUNT_CAS_MISSES,
    RILL_COUNT_CAS_CHANGED,
    RILL_COUNT_TOUCH_HITS,
    RILL_COUNT_TOUCH_MISSES,
    RILL_COUNT_TOO_LARGE,
    RILL_COUNT_NO_MEMORY,
    RILL_COUNT_BYTES_READ,
    RILL_COUNT_BYTES_WRITTEN,
    RILL_COUNTERS,
};

/* What happened on one loop: written by its thread with plain stores, read by all. */
struct rill_cache_counts {
    _Alignas(RILL_CACHE_LINE) uint64_t of[RILL_COUNTERS];
};

/* One server: the `arg` of its connections. */
struct rill_cache {
    struct rill_store *store;
    const char *version;
    uint64_t started_ns;                            /* of rill_clock_ns() */
    unsigned threads;                               /* that serve */
    enum rill_log_level log_level;                  /* that the server was started with */
    uint32_t verbosity;                             /* what a client set last; atomic */
    struct rill_cache_counts counts[RILL_LOOP_MAX]; /* by rill_loop_index(); zero at first */
};

/* Its connections' handler, and their max_input_bytes: more than a line may have. */
extern const struct rill_conn_handler rill_cache_handler;
#define RILL_CACHE_MAX_INPUT (2 * RILL_COMMAND_KEYS_MAX)

/* --- what the files of the protocol share --- */

/* What is to come next. All others come from TAKE_LINE and go back to it. */
enum rill_cache_state {
    RILL_CACHE_TAKE_LINE,  /* a line */
    RILL_CACHE_TAKE_KEY,   /* the next of the keys of a get; all of them are there */
    RILL_CACHE_TAKE_VALUE, /* more of a value and its CR LF, for `item` */
    RILL_CACHE_SKIP_VALUE, /* more of a value that nobody wants */
};

struct rill_cache_session {
    struct rill_conn *conn;
    struct rill_cache *cache;
    struct rill_cache_counts *counts; /* the loop's */
    enum rill_cache_state state;
    bool stopping;               /* the next TAKE_LINE is the end */
    struct rill_command command; /* its slices are good only until its line has been consumed */
    uint64_t expires_ms;         /* what the command's exptime says */
    struct rill_item *item;      /* TAKE_VALUE: held */
    uint64_t left;               /* bytes: of the keys that are left, or of the value and its CR LF */
    size_t line_end;             /* TAKE_KEY: bytes of the end of the line */
    size_t scanned;              /* TAKE_LINE: so many bytes have no end of line among them */
    uint64_t now_ms;
};

static inline void rill_cache_count(struct rill_cache_counts *counts, enum rill_counter what, uint64_t by)
{
    uint64_t *counter = &counts->of[what];
    __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

/* The following return false when the session is gone: the connection has closed, or is to close. */

/* Sends TEXT, unless the client said that it wants no reply. */
bool rill_cache_reply(struct rill_cache_session *session, const char *text);

/* Does what session->command says, or begins to: the state is then no longer TAKE_LINE. */
bool rill_cache_run(struct rill_cache_session *session);

/* The next key of a get. */
bool rill_cache_run_key(struct rill_cache_session *session, struct rill_slice key);

/* session->item is whole. */
bool rill_cache_run_value(struct rill_cache_session *session);

/* "stats" and its argument. */
bool rill_cache_run_stats(struct rill_cache_session *session, struct rill_slice which);

#endif
