/* context.c - what there is before the first connection: the server's configuration with its defaults, and what http/
 * keeps for each loop. */
#include "rill/core/sys.h"
#include "rill/http/file_cache_internal.h"
#include "rill/http/session_internal.h"

/* Sets FIELD to DEFAULT when it is 0. */
#define FILL_IN(field, default_value) ((field) = (field) ? (field) : (default_value))

static void loop_context_free(struct rill_http_loop *http)
{
    if (http->turn)
        http->turn->within_us = NULL;
    rill_session_free_leases(http);
    rill_file_caches_free(http);
    rill_slab_destroy(&http->sessions);
    rill_sys_free(http);
}

static void end_task_run(struct rill_task *task)
{
    loop_context_free(rill_container_of(task, struct rill_http_loop, end_task));
}

/* The loop is about to be freed. Connections may be left when it ended in disorder: the layer below would close them
 * only after this context is gone. */
static void loop_context_destroy(void *value)
{
    struct rill_http_loop *http = value;
    rill_session_close_all(http);
    rill_loop_defer_last(http->loop, &http->end_task); /* after the exchanges of those connections */
}

int rill_http_loop_start(struct rill_loop *loop, void *arg)
{
    struct rill_http_server *server = arg;
    struct rill_http_loop *http = rill_sys_calloc(1, sizeof *http);
    if (!http)
        return -ENOMEM;
    http->server = server;
    http->loop = loop;
    http->trace = rill_loop_trace(loop);
    http->refusing = rill_server_refusing(server->net);
    http->dead_task.run = rill_session_free_dead;
    http->end_task.run = end_task_run;
    http->date_second = http->log_second = INT64_MIN;
    int error = rill_slab_init(&http->sessions, sizeof(struct rill_session), 1u << 20);
    if (error == 0 && server->log) {
        http->log = rill_line_channel_new(server->log);
        error = http->log ? 0 : -ENOMEM;
    }
    if (error < 0) {
        loop_context_free(http);
        return error;
    }
    rill_loop_histogram_init(&http->stats.took_us, http->stats.took_counts);
    http->turn = rill_loop_turn_under_way(loop);
    http->turn->within_us = &http->stats.took_us;
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_HTTP, http, loop_context_destroy);
    rill_loop_set_describe(loop, RILL_LOOP_SLOT_HTTP, rill_session_describe);
    __atomic_store_n(&server->loops[rill_loop_index(loop)], http, __ATOMIC_RELEASE);
    return 0;
}

int rill_http_server_configure(struct rill_http_server *server, const struct rill_http_server_config *config)
{
    static const struct rill_parser_limits standard = RILL_PARSER_LIMITS_DEFAULT;
    struct rill_http_server_config *own = &server->config;
    *own = *config;
    FILL_IN(own->limits.max_request_line_bytes, standard.max_request_line_bytes);
    FILL_IN(own->limits.max_header_bytes, standard.max_header_bytes);
    FILL_IN(own->limits.max_headers, standard.max_headers);
    FILL_IN(own->limits.max_chunk_extension_bytes, standard.max_chunk_extension_bytes);
    FILL_IN(own->limits.max_trailer_bytes, standard.max_trailer_bytes);
    FILL_IN(own->limits.max_body_bytes, standard.max_body_bytes);
    FILL_IN(own->header_timeout_ms, 10000);
    FILL_IN(own->body_timeout_ms, 30000);
    FILL_IN(own->min_body_bytes_per_second, 500);
    FILL_IN(own->idle_timeout_ms, 60000);
    FILL_IN(own->net.workers, 4);
    if (own->net.defer_accept == RILL_DEFER_DEFAULT)
        own->net.defer_accept = RILL_DEFER_AUTO;
    FILL_IN(own->net.write_timeout_ms, 30000);
    FILL_IN(own->net.max_input_bytes, (size_t)own->limits.max_header_bytes + (256 << 10));
    own->net.handler = &rill_session_handler;
    own->net.arg = server;
    own->net.idle_timeout_ms = 0; /* sessions set deadlines of their own */

    const char *name = config->server_header ? config->server_header : "rill";
    size_t length = strlen(name);
    if (length == 0)
        return 0;
    if (length > sizeof server->common_prefix - 10)
        return -EINVAL;
    memcpy(server->common_prefix, "Server: ", 8);
    memcpy(server->common_prefix + 8, name, length);
    memcpy(server->common_prefix + 8 + length, "\r\n", 2);
    server->common_prefix_length = length + 10;
    return 0;
}
