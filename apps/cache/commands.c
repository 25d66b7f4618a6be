/* commands.c - what each command does, and what it replies. */
#include "rill/core/number.h"
#include "session.h"

enum {
    RELATIVE_SECONDS = 60 * 60 * 24 * 30, /* an exptime beyond is a date */
    COPIED_BYTES = 4096,                  /* values up to this are copied; longer ones are sent from where they are */
    VERBOSE = 2,                          /* the verbosity from which on everything is logged */
    HEAD_BYTES = 6 + RILL_ITEM_KEY_MAX + 3 * (1 + RILL_DECIMAL_MAX) + 2, /* "VALUE key flags bytes cas\r\n" */
};
_Static_assert(HEAD_BYTES + COPIED_BYTES + 2 <= RILL_CONN_RESERVE_MAX, "a copied value fits into one reservation");

bool rill_cache_reply(struct rill_cache_session *session, const char *text)
{
    size_t length = strlen(text);
    if (session->command.noreply)
        return true;
    rill_cache_count(session->counts, RILL_COUNT_BYTES_WRITTEN, length);
    return rill_conn_send(session->conn, text, length) == 0;
}

static bool reply_number(struct rill_cache_session *session, uint64_t number)
{
    char text[RILL_DECIMAL_MAX + 3];
    memcpy(text + rill_decimal_format(text, number), "\r\n", 3);
    return rill_cache_reply(session, text);
}

static bool reply_result(struct rill_cache_session *session, enum rill_store_result result)
{
    static const char *const texts[] = {
        [RILL_STORE_DONE] = "STORED\r\n",
        [RILL_STORE_NOT_FOUND] = "NOT_FOUND\r\n",
        [RILL_STORE_NOT_STORED] = "NOT_STORED\r\n",
        [RILL_STORE_EXISTS] = "EXISTS\r\n",
        [RILL_STORE_NOT_A_NUMBER] = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        [RILL_STORE_TOO_LARGE] = "SERVER_ERROR object too large for cache\r\n",
        [RILL_STORE_NO_MEMORY] = "SERVER_ERROR out of memory storing object\r\n",
    };
    if (result == RILL_STORE_TOO_LARGE)
        rill_cache_count(session->counts, RILL_COUNT_TOO_LARGE, 1);
    if (result == RILL_STORE_NO_MEMORY)
        rill_cache_count(session->counts, RILL_COUNT_NO_MEMORY, 1);
    return rill_cache_reply(session, texts[result]);
}

/* When EXPTIME is, for the store: in so many seconds, or at that date. 0: never; what is past is 1. */
static uint64_t moment_of(const struct rill_cache_session *session, int64_t exptime)
{
    if (exptime == 0)
        return 0;
    if (exptime > RELATIVE_SECONDS)
        exptime -= rill_loop_unix_seconds(rill_conn_loop(session->conn));
    if (exptime > INT32_MAX)
        exptime = INT32_MAX;
    return exptime > 0 ? session->now_ms + (uint64_t)exptime * 1000 : 1;
}

/* --- get --- */

/* "VALUE key flags bytes[ cas]\r\n" at TO. Returns where it ends. */
static char *write_head(char *to, const struct rill_item *item, bool with_cas)
{
    memcpy(to, "VALUE ", 6);
    memcpy(to + 6, item->bytes, item->key_length);
    to += 6 + item->key_length;
    *to++ = ' ';
    to += rill_decimal_format(to, item->flags);
    *to++ = ' ';
    to += rill_decimal_format(to, item->length);
    if (with_cas) {
        *to++ = ' ';
        to += rill_decimal_format(to, item->cas);
    }
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static void release_item(void *item)
{
    rill_item_release(item);
}

/* Sends ITEM and releases it, when it has left if it is long. */
static bool send_item(struct rill_cache_session *session, struct rill_item *item)
{
    struct rill_conn *conn = session->conn;
    bool with_cas = session->command.verb == RILL_VERB_GETS || session->command.verb == RILL_VERB_GATS;
    bool copied = item->length <= COPIED_BYTES;
    size_t length = (size_t)item->length + 2;
    char *room = rill_conn_reserve(conn, HEAD_BYTES + (copied ? length : 0));
    if (!room) {
        rill_item_release(item);
        return false;
    }
    char *end = write_head(room, item, with_cas);
    rill_cache_count(session->counts, RILL_COUNT_BYTES_WRITTEN, (size_t)(end - room) + length);
    if (copied) {
        memcpy(end, rill_item_value(item), length);
        rill_conn_commit(conn, (size_t)(end - room) + length);
        rill_item_release(item);
        return true;
    }
    rill_conn_commit(conn, (size_t)(end - room));
    struct rill_buf *value = rill_buf_wrap(rill_item_value(item), length, release_item, item);
    if (!value) {
        rill_item_release(item);
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
        return false;
    }
    return rill_conn_send_buf(conn, value) == 0;
}

bool rill_cache_run_key(struct rill_cache_session *session, struct rill_slice key)
{
    struct rill_store *store = session->cache->store;
    struct rill_item *item;
    if (session->command.verb <= RILL_VERB_GETS) {
        item = rill_store_get(store, key, session->now_ms);
    } else {
        item = rill_store_touch(store, key, session->expires_ms, session->now_ms);
        rill_cache_count(session->counts, item ? RILL_COUNT_TOUCH_HITS : RILL_COUNT_TOUCH_MISSES, 1);
    }
    rill_cache_count(session->counts, item ? RILL_COUNT_GET_HITS : RILL_COUNT_GET_MISSES, 1);
    return !item || send_item(session, item);
}

/* --- set and its like --- */

/* The value is to come; without an item for it, it goes nowhere. */
static bool begin_value(struct rill_cache_session *session)
{
    const struct rill_command *command = &session->command;
    struct rill_store *store = session->cache->store;
    enum rill_store_result result;
    session->left = (uint64_t)command->length + 2;
    session->item = rill_store_make(store, command->key, command->flags, session->expires_ms, command->length,
                                    session->now_ms, &result);
    if (session->item) {
        session->state = RILL_CACHE_TAKE_VALUE;
        return true;
    }
    session->state = RILL_CACHE_SKIP_VALUE;
    if (command->verb == RILL_VERB_SET) /* what was there is no longer what the client thinks it is */
        rill_store_delete(store, command->key, session->now_ms);
    return reply_result(session, result);
}

bool rill_cache_run_value(struct rill_cache_session *session)
{
    static const enum rill_store_order orders[] = {
        [RILL_VERB_SET] = RILL_STORE_SET,         [RILL_VERB_ADD] = RILL_STORE_ADD,
        [RILL_VERB_REPLACE] = RILL_STORE_REPLACE, [RILL_VERB_APPEND] = RILL_STORE_APPEND,
        [RILL_VERB_PREPEND] = RILL_STORE_PREPEND, [RILL_VERB_CAS] = RILL_STORE_CAS,
    };
    const struct rill_command *command = &session->command;
    struct rill_item *item = session->item;
    session->item = NULL;
    if (memcmp(rill_item_value(item) + item->length, "\r\n", 2) != 0) {
        rill_item_release(item);
        return rill_cache_reply(session, "CLIENT_ERROR bad data chunk\r\n");
    }
    enum rill_store_result result =
        rill_store_put(session->cache->store, item, orders[command->verb], command->number, session->now_ms);
    rill_cache_count(session->counts, RILL_COUNT_SET, 1);
    if (command->verb == RILL_VERB_CAS)
        rill_cache_count(session->counts,
                         result == RILL_STORE_DONE     ? RILL_COUNT_CAS_HITS
                         : result == RILL_STORE_EXISTS ? RILL_COUNT_CAS_CHANGED
                                                       : RILL_COUNT_CAS_MISSES,
                         1);
    return reply_result(session, result);
}

/* --- the others --- */

static bool run_delete(struct rill_cache_session *session)
{
    bool found = rill_store_delete(session->cache->store, session->command.key, session->now_ms);
    rill_cache_count(session->counts, found ? RILL_COUNT_DELETE_HITS : RILL_COUNT_DELETE_MISSES, 1);
    return rill_cache_reply(session, found ? "DELETED\r\n" : "NOT_FOUND\r\n");
}

static bool run_incr(struct rill_cache_session *session)
{
    const struct rill_command *command = &session->command;
    bool decr = command->verb == RILL_VERB_DECR;
    uint64_t number;
    enum rill_store_result result =
        rill_store_add(session->cache->store, command->key, command->number, decr, session->now_ms, &number);
    if (result == RILL_STORE_DONE) {
        rill_cache_count(session->counts, decr ? RILL_COUNT_DECR_HITS : RILL_COUNT_INCR_HITS, 1);
        return reply_number(session, number);
    }
    if (result == RILL_STORE_NOT_FOUND)
        rill_cache_count(session->counts, decr ? RILL_COUNT_DECR_MISSES : RILL_COUNT_INCR_MISSES, 1);
    return reply_result(session, result);
}

static bool run_touch(struct rill_cache_session *session)
{
    struct rill_item *item =
        rill_store_touch(session->cache->store, session->command.key, session->expires_ms, session->now_ms);
    rill_cache_count(session->counts, item ? RILL_COUNT_TOUCH_HITS : RILL_COUNT_TOUCH_MISSES, 1);
    bool found = item != NULL;
    rill_item_release(item);
    return rill_cache_reply(session, found ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
}

static bool run_flush(struct rill_cache_session *session)
{
    rill_store_flush(session->cache->store, session->expires_ms, session->now_ms);
    rill_cache_count(session->counts, RILL_COUNT_FLUSH, 1);
    return rill_cache_reply(session, "OK\r\n");
}

/* Clients can have more said, not less than whoever started the server wants to hear. */
static bool run_verbosity(struct rill_cache_session *session)
{
    struct rill_cache *cache = session->cache;
    uint32_t level = (uint32_t)session->command.number;
    rill_log_set_level(level >= VERBOSE ? RILL_LOG_DEBUG : cache->log_level);
    __atomic_store_n(&cache->verbosity, level, __ATOMIC_RELAXED);
    return rill_cache_reply(session, "OK\r\n");
}

static bool run_version(struct rill_cache_session *session)
{
    return rill_cache_reply(session, "VERSION ") && rill_cache_reply(session, session->cache->version) &&
           rill_cache_reply(session, "\r\n");
}

bool rill_cache_run(struct rill_cache_session *session)
{
    const struct rill_command *command = &session->command;
    session->expires_ms = moment_of(session, command->exptime);
    switch (command->verb) {
    case RILL_VERB_GET:
    case RILL_VERB_GETS:
    case RILL_VERB_GAT:
    case RILL_VERB_GATS:
        session->state = RILL_CACHE_TAKE_KEY;
        return true;
    case RILL_VERB_SET:
    case RILL_VERB_ADD:
    case RILL_VERB_REPLACE:
    case RILL_VERB_APPEND:
    case RILL_VERB_PREPEND:
    case RILL_VERB_CAS:
        return begin_value(session);
    case RILL_VERB_DELETE:
        return run_delete(session);
    case RILL_VERB_INCR:
    case RILL_VERB_DECR:
        return run_incr(session);
    case RILL_VERB_TOUCH:
        return run_touch(session);
    case RILL_VERB_FLUSH_ALL:
        return run_flush(session);
    case RILL_VERB_VERBOSITY:
        return run_verbosity(session);
    case RILL_VERB_STATS:
        return rill_cache_run_stats(session, command->key);
    case RILL_VERB_VERSION:
        return run_version(session);
    case RILL_VERB_QUIT:
        rill_conn_finish(session->conn, false);
        return false;
    }
    return false;
}
