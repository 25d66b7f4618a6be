/* session.c - from bytes to commands: lines, keys and values, however they are split.
 *
 * A value goes from where it was read straight into its item, piece by piece. A get is answered key by key, for as long
 * as there is room for output; then the rest of the line stays in the connection until the client has read what it was
 * sent. So neither what a client sends nor what it asks for takes memory beyond one item and the watermark. */
#include "session.h"
#include "rill/core/sys.h"

static bool take_line(struct rill_cache_session *session, struct rill_input *input)
{
    const char *end = memchr(input->bytes + session->scanned, '\n', input->length - session->scanned);
    size_t length = end ? (size_t)(end - input->bytes) : input->length;
    if (RILL_UNLIKELY(length > RILL_COMMAND_LINE_MAX) &&
        length > rill_command_limit((struct rill_slice){input->bytes, length})) {
        session->command.noreply = false;
        if (rill_cache_reply(session, "CLIENT_ERROR line too long\r\n"))
            rill_conn_finish(session->conn, true);
        return false;
    }
    session->scanned = end ? 0 : length;
    if (!end)
        return false;
    struct rill_slice line = {input->bytes, length - (length > 0 && end[-1] == '\r')};
    const char *error = rill_command_parse(line, &session->command);
    if (error) {
        rill_input_consume(input, length + 1);
        return rill_cache_reply(session, error);
    }
    if (session->command.verb <= RILL_VERB_GATS) {
        session->left = session->command.key.length;
        session->line_end = length + 1 - line.length;
        rill_input_consume(input, line.length - session->command.key.length);
    }
    if (!rill_cache_run(session))
        return false;
    if (session->state != RILL_CACHE_TAKE_KEY)
        rill_input_consume(input, length + 1);
    return true;
}

static bool take_key(struct rill_cache_session *session, struct rill_input *input)
{
    struct rill_slice keys = {input->bytes, session->left}, key;
    if (rill_command_next_key(&keys, &key) <= 0) {
        session->state = RILL_CACHE_TAKE_LINE;
        rill_input_consume(input, session->left + session->line_end);
        return rill_cache_reply(session, "END\r\n");
    }
    rill_input_consume(input, session->left - keys.length);
    session->left = keys.length;
    return rill_cache_run_key(session, key);
}

static bool take_value(struct rill_cache_session *session, struct rill_input *input)
{
    struct rill_item *item = session->item;
    size_t count = input->length < session->left ? input->length : session->left;
    memcpy(rill_item_value(item) + item->length + 2 - session->left, input->bytes, count);
    rill_input_consume(input, count);
    session->left -= count;
    if (session->left > 0)
        return false;
    session->state = RILL_CACHE_TAKE_LINE;
    return rill_cache_run_value(session);
}

static bool skip_value(struct rill_cache_session *session, struct rill_input *input)
{
    size_t count = input->length < session->left ? input->length : session->left;
    rill_input_consume(input, count);
    session->left -= count;
    if (session->left == 0)
        session->state = RILL_CACHE_TAKE_LINE;
    return session->left == 0;
}

/* Does one thing. False when there is nothing more to do for now, or the session has gone. */
static bool step(struct rill_cache_session *session, struct rill_input *input)
{
    if (session->state == RILL_CACHE_TAKE_LINE && session->stopping) {
        rill_conn_finish(session->conn, false);
        return false;
    }
    if (input->length == 0)
        return false;
    if (RILL_UNLIKELY(rill_conn_is_full(session->conn))) {
        rill_conn_pause(session->conn, RILL_PAUSE_BACKPRESSURE);
        return false;
    }
    switch (session->state) {
    case RILL_CACHE_TAKE_LINE:
        return take_line(session, input);
    case RILL_CACHE_TAKE_KEY:
        return take_key(session, input);
    case RILL_CACHE_TAKE_VALUE:
        return take_value(session, input);
    case RILL_CACHE_SKIP_VALUE:
        return skip_value(session, input);
    }
    return false;
}

static void on_open(struct rill_conn *conn)
{
    struct rill_cache *cache = rill_conn_arg(conn);
    struct rill_cache_session *session = rill_sys_calloc(1, sizeof *session);
    if (!session) {
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return;
    }
    session->conn = conn;
    session->cache = cache;
    session->counts = &cache->counts[rill_loop_index(rill_conn_loop(conn))];
    rill_cache_count(session->counts, RILL_COUNT_OPENED, 1);
    rill_conn_set_user(conn, session);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct rill_cache_session *session = rill_conn_user(conn);
    session->now_ms = rill_loop_now_ms(rill_conn_loop(conn));
    struct rill_cache_counts *counts = session->counts; /* the session may go */
    while (rill_conn_is_open(conn) && step(session, input))
        ;
    rill_cache_count(counts, RILL_COUNT_BYTES_READ, input->consumed);
}

static void on_drain(struct rill_conn *conn)
{
    rill_conn_resume(conn, RILL_PAUSE_BACKPRESSURE);
}

/* A command that has begun ends first. */
static void on_stop(struct rill_conn *conn)
{
    struct rill_cache_session *session = rill_conn_user(conn);
    session->stopping = true;
    if (session->state == RILL_CACHE_TAKE_LINE)
        rill_conn_finish(conn, false);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct rill_cache_session *session = rill_conn_user(conn);
    (void)reason;
    if (!session)
        return;
    rill_cache_count(session->counts, RILL_COUNT_CLOSED, 1);
    rill_item_release(session->item);
    rill_sys_free(session);
}

const struct rill_conn_handler rill_cache_handler = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_stop = on_stop, .on_close = on_close};
