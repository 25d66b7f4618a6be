/* admin_internal.h - what the files of the admin server share. */
#ifndef RILL_HTTP_ADMIN_INTERNAL_H
#define RILL_HTTP_ADMIN_INTERNAL_H

#include "rill/core/workers.h"
#include "rill/http/admin.h"
#include "rill/http/http_stats.h"
#include "rill/net/net_stats.h"

/* One loop's counters, which it goes on writing. */
struct rill_admin_loop {
    const char *name;
    const struct rill_loop_stats *loop;
    const struct rill_net_stats *net;   /* NULL: it serves no connections */
    const struct rill_http_stats *http; /* NULL: and no HTTP */
};

/* What there is to be told at one moment. */
struct rill_admin_view {
    const char *name, *version, *state; /* state: "starting", "running", "draining" or "stopped" */
    bool has_pool;
    struct rill_workers_stats pool;
    uint64_t refused; /* connections, by the server */
    bool has_access_log;
    uint64_t access_lines_dropped, error_lines_dropped;
    struct rill_overload_stats overload;
    uint64_t resident_bytes, descriptors;            /* of the process; 0: cannot be told */
    unsigned loop_count;                             /* none before the server runs */
    struct rill_admin_loop loops[RILL_LOOP_MAX + 1]; /* those that serve; then the one that only accepts, if any */
};

/* The words of enum rill_close_reason, as metrics and status have them. */
extern const char *const rill_admin_close_reasons[RILL_CLOSE_REASONS];

/* The keys of rill_http_stats.ended: "none", "1xx", ... */
extern const char *const rill_admin_status_classes[6];

/* Text that grows. When memory was lacking once, `bytes` stays NULL. */
struct rill_admin_text {
    char *bytes;
    size_t length, capacity;
    bool failed;
};

void rill_admin_print(struct rill_admin_text *text, const char *format, ...) RILL_PRINTF(2, 3);

/* admin_metrics.c: VIEW in Prometheus' text format. */
void rill_admin_metrics(struct rill_admin_text *text, const struct rill_admin_view *view);

/* admin_status.c: VIEW as JSON. */
void rill_admin_status(struct rill_admin_text *text, const struct rill_admin_view *view);

/* admin_process.c: resident memory and open descriptors of this process, from /proc; 0 where it cannot be read. */
uint64_t rill_admin_resident_bytes(void);
uint64_t rill_admin_descriptors(void);

/* Made of admin_page.html when this is built. */
extern const unsigned char rill_admin_page[];
extern const size_t rill_admin_page_length;

#endif
