/* stats.c - the "stats" command: what memcached's clients and tools ask for, as far as there is something true to say.
 */
#include "session.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* A reply that is being made; more than twice as much as is ever said. */
struct report {
    size_t length;
    char text[4096];
};

RILL_PRINTF(3, 4) static void tell(struct report *report, const char *name, const char *format, ...)
{
    char value[64];
    va_list values;
    va_start(values, format);
    vsnprintf(value, sizeof value, format, values);
    va_end(values);
    size_t room = sizeof report->text - report->length;
    int length = snprintf(report->text + report->length, room, "STAT %s %s\r\n", name, value);
    report->length += (size_t)length < room ? (size_t)length : 0;
}

static void tell_number(struct report *report, const char *name, uint64_t value)
{
    tell(report, name, "%llu", (unsigned long long)value);
}

static void tell_process(struct report *report, const struct rill_cache_session *session)
{
    const struct rill_cache *cache = session->cache;
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    tell_number(report, "pid", (uint64_t)getpid());
    tell_number(report, "uptime", (rill_clock_ns() - cache->started_ns) / 1000000000);
    tell_number(report, "time", (uint64_t)rill_loop_unix_seconds(rill_conn_loop(session->conn)));
    tell(report, "version", "%s", cache->version);
    tell_number(report, "pointer_size", 8 * sizeof(void *));
    tell(report, "rusage_user", "%lld.%06ld", (long long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec);
    tell(report, "rusage_system", "%lld.%06ld", (long long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec);
    tell_number(report, "threads", cache->threads);
}

static void tell_counters(struct report *report, const struct rill_cache *cache)
{
    static const char *const names[] = {
        [RILL_COUNT_OPENED] = "total_connections",
        [RILL_COUNT_CLOSED] = "closed_connections",
        [RILL_COUNT_SET] = "cmd_set",
        [RILL_COUNT_FLUSH] = "cmd_flush",
        [RILL_COUNT_GET_HITS] = "get_hits",
        [RILL_COUNT_GET_MISSES] = "get_misses",
        [RILL_COUNT_DELETE_HITS] = "delete_hits",
        [RILL_COUNT_DELETE_MISSES] = "delete_misses",
        [RILL_COUNT_INCR_HITS] = "incr_hits",
        [RILL_COUNT_INCR_MISSES] = "incr_misses",
        [RILL_COUNT_DECR_HITS] = "decr_hits",
        [RILL_COUNT_DECR_MISSES] = "decr_misses",
        [RILL_COUNT_CAS_HITS] = "cas_hits",
        [RILL_COUNT_CAS_MISSES] = "cas_misses",
        [RILL_COUNT_CAS_CHANGED] = "cas_badval",
        [RILL_COUNT_TOUCH_HITS] = "touch_hits",
        [RILL_COUNT_TOUCH_MISSES] = "touch_misses",
        [RILL_COUNT_TOO_LARGE] = "store_too_large",
        [RILL_COUNT_NO_MEMORY] = "store_no_memory",
        [RILL_COUNT_BYTES_READ] = "bytes_read",
        [RILL_COUNT_BYTES_WRITTEN] = "bytes_written",
    };
    uint64_t sums[RILL_COUNTERS] = {0};
    for (unsigned loop = 0; loop < RILL_LOOP_MAX; loop++)
        for (unsigned i = 0; i < RILL_COUNTERS; i++)
            sums[i] += __atomic_load_n(&cache->counts[loop].of[i], __ATOMIC_RELAXED);
    tell_number(report, "curr_connections", sums[RILL_COUNT_OPENED] - sums[RILL_COUNT_CLOSED]);
    tell_number(report, "cmd_get", sums[RILL_COUNT_GET_HITS] + sums[RILL_COUNT_GET_MISSES]);
    tell_number(report, "cmd_touch", sums[RILL_COUNT_TOUCH_HITS] + sums[RILL_COUNT_TOUCH_MISSES]);
    for (unsigned i = 0; i < RILL_COUNTERS; i++)
        tell_number(report, names[i], sums[i]);
}

static void tell_store(struct report *report, const struct rill_store_stats *store)
{
    tell_number(report, "limit_maxbytes", store->memory_bytes);
    tell_number(report, "hash_bytes", store->buckets * sizeof(void *));
    tell_number(report, "bytes", store->bytes);
    tell_number(report, "curr_items", store->items);
    tell_number(report, "total_items", store->stored);
    tell_number(report, "evictions", store->evicted);
    tell_number(report, "reclaimed", store->reclaimed);
}

static void tell_settings(struct report *report, const struct rill_cache *cache, const struct rill_store_stats *store)
{
    tell_number(report, "maxbytes", store->memory_bytes);
    tell_number(report, "verbosity", __atomic_load_n(&cache->verbosity, __ATOMIC_RELAXED));
    tell(report, "evictions", "on");
    tell_number(report, "num_threads", cache->threads);
    tell(report, "cas_enabled", "yes");
    tell_number(report, "item_size_max", store->max_item_bytes);
    tell_number(report, "shards", store->shards);
}

/* There are no classes of sizes here: all items are of the first. */
static void tell_items(struct report *report, const struct rill_store_stats *store)
{
    if (store->items == 0)
        return;
    tell_number(report, "items:1:number", store->items);
    tell_number(report, "items:1:mem_requested", store->bytes);
    tell_number(report, "items:1:evicted", store->evicted);
    tell_number(report, "items:1:reclaimed", store->reclaimed);
}

bool rill_cache_run_stats(struct rill_cache_session *session, struct rill_slice which)
{
    struct report report = {0};
    struct rill_store_stats store;
    rill_store_stats(session->cache->store, &store);
    if (which.length == 0) {
        tell_process(&report, session);
        tell_counters(&report, session->cache);
        tell_store(&report, &store);
    } else if (rill_slice_equal(which, rill_slice_of("settings"))) {
        tell_settings(&report, session->cache, &store);
    } else if (rill_slice_equal(which, rill_slice_of("items"))) {
        tell_items(&report, &store);
    } else {
        return rill_cache_reply(session, "ERROR\r\n");
    }
    return rill_cache_reply(session, report.text) && rill_cache_reply(session, "END\r\n");
}
