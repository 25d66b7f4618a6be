/* test_conn.c - connections on one loop, over socket pairs: life, input, output, time, ids. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"
#include "support/run_suite.h"
#include <check.h>
#include <signal.h>

#define RECORD 7 /* on_data takes whole records of so many bytes, when `records` is set */

/* What the handler saw, and how it is to behave. */
static struct seen {
    int opened, closed, eofs, drains, timeouts;
    enum rill_close_reason reason;
    char bytes[1 << 16];
    size_t length;
    bool records;                 /* consume whole records only */
    bool echo;                    /* send back what comes */
    int close_in;                 /* callback in which to close: 'o', 'd', 'e', 'r', 't'; 0: none */
    struct rill_conn *also_close; /* closed together with it */
    size_t sends_per_data;        /* small sends made in on_data */
    struct rill_conn *conn;
} seen;

static struct rill_loop *loop;
static struct rill_conn_config config;
static int peer = -1;

static void maybe_close(struct rill_conn *conn, int callback)
{
    if (seen.close_in != callback)
        return;
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    if (seen.also_close)
        rill_conn_close(seen.also_close, RILL_CLOSE_LOCAL);
}

static void on_open(struct rill_conn *conn)
{
    seen.opened++;
    seen.conn = conn;
    maybe_close(conn, 'o');
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    size_t take = seen.records ? input->length - input->length % RECORD : input->length;
    if (seen.length + take <= sizeof seen.bytes)
        memcpy(seen.bytes + seen.length, input->bytes, take);
    seen.length += take;
    if (seen.echo)
        rill_conn_send(conn, input->bytes, take);
    for (size_t i = 0; i < seen.sends_per_data; i++)
        rill_conn_send(conn, "abc", 3);
    rill_input_consume(input, take);
    maybe_close(conn, 'd');
}

static void on_eof(struct rill_conn *conn)
{
    seen.eofs++;
    maybe_close(conn, 'e');
}

static void on_drain(struct rill_conn *conn)
{
    seen.drains++;
    maybe_close(conn, 'r');
}

static void on_timeout(struct rill_conn *conn)
{
    seen.timeouts++;
    maybe_close(conn, 't');
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    seen.closed++;
    seen.reason = reason;
}

static const struct rill_conn_handler recorder = {.on_open = on_open,
                                                  .on_data = on_data,
                                                  .on_eof = on_eof,
                                                  .on_drain = on_drain,
                                                  .on_timeout = on_timeout,
                                                  .on_close = on_close};

/* Runs N turns that do not wait. */
static void turns(int n)
{
    while (n-- > 0)
        ck_assert_int_eq(rill_loop_turn(loop, false), 0);
}

/* Runs turns until CONDITION holds, two seconds at most: deadlines are real here. */
#define turns_until(condition)                                                                                         \
    do {                                                                                                               \
        for (int ms = 0; !(condition) && ms < 2000; ms++) {                                                            \
            turns(1);                                                                                                  \
            usleep(1000);                                                                                              \
        }                                                                                                              \
        ck_assert(condition);                                                                                          \
    } while (0)

static struct rill_conn *adopt_typed(int type)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair), 0);
    peer = pair[1];
    ck_assert_int_eq(rill_conn_adopt(loop, pair[0], NULL, &config), 0);
    return seen.conn;
}

static struct rill_conn *adopt(void)
{
    return adopt_typed(SOCK_STREAM);
}

static void make_loop(int backend)
{
    int error;
    loop = rill_loop_new(&(struct rill_loop_config){.index = 3, .backend = (enum rill_backend)backend}, &error);
    ck_assert_ptr_nonnull(loop);
}

static void set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    memset(&seen, 0, sizeof seen);
    config = (struct rill_conn_config){.handler = &recorder};
    peer = -1;
    make_loop(RILL_BACKEND_EPOLL);
}

static void tear_down(void)
{
    if (peer >= 0)
        close(peer);
    rill_loop_free(loop);
}

static void use_backend(int backend)
{
    rill_loop_free(loop);
    make_loop(backend);
}

static void say(const char *text)
{
    ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

/* Reads all that has come to the peer. Returns the count; *ended tells whether the stream has. */
static size_t hear(char *into, size_t size, bool *ended)
{
    size_t got = 0;
    *ended = false;
    while (got < size) {
        ssize_t n = read(peer, into + got, size - got);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            *ended = true;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

/* --- life --- */

START_TEST(states_change_only_as_the_table_says)
{
    static const char *const ways[] = {"OPEN FINISHING", "OPEN CLOSED", "FINISHING LINGERING", "FINISHING CLOSED",
                                       "LINGERING CLOSED"};
    static const char *const names[] = {"OPEN", "FINISHING", "LINGERING", "CLOSED"};
    for (unsigned from = 0; from < RILL_CONN_STATES; from++) {
        for (unsigned to = 0; to < RILL_CONN_STATES; to++) {
            char way[32];
            bool legal = false;
            snprintf(way, sizeof way, "%s %s", names[from], names[to]);
            for (size_t i = 0; i < rill_array_length(ways); i++)
                legal |= strcmp(way, ways[i]) == 0;
            ck_assert_msg(rill_conn_state_may_change(from, to) == legal, "%s", way);
        }
    }
    ck_assert(!rill_conn_state_may_change(RILL_CONN_STATES, RILL_CONN_OPEN));
}
END_TEST

START_TEST(opens_and_closes_exactly_once)
{
    adopt();
    ck_assert_int_eq(seen.opened, 1);
    ck_assert_uint_eq(rill_conn_count(loop), 1);
    rill_conn_close(seen.conn, RILL_CLOSE_STOPPED);
    rill_conn_close(seen.conn, RILL_CLOSE_RESET);
    turns(2);
    ck_assert_int_eq(seen.closed, 1);
    ck_assert_int_eq(seen.reason, RILL_CLOSE_STOPPED);
    ck_assert_uint_eq(rill_conn_count(loop), 0);
}
END_TEST

START_TEST(may_be_closed_in_every_callback)
{
    static const unsigned char callbacks[] = "oderte";
    use_backend(_i / 6);
    seen.close_in = callbacks[_i % 6];
    struct rill_conn *other = NULL;
    if (seen.close_in != 'o') { /* another connection of the loop goes with it */
        int pair[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        ck_assert_int_eq(rill_conn_adopt(loop, pair[0], NULL, &config), 0);
        other = seen.conn;
        ck_assert_int_eq(write(pair[1], "x", 1), 1);
        close(pair[1]);
        seen.also_close = other;
    }
    struct rill_conn *conn = adopt();
    if (seen.close_in == 't')
        rill_conn_set_deadline(conn, 1);
    if (seen.close_in == 'r')
        rill_conn_want_drain(conn);
    if (seen.close_in != 'o') {
        say("hello");
        if (seen.close_in == 'e')
            shutdown(peer, SHUT_WR);
        turns_until(seen.closed == 2);
        ck_assert_int_eq(seen.opened, 2);
    }
    turns(3);
    ck_assert_int_eq(seen.closed, seen.opened);
    ck_assert_uint_eq(rill_conn_count(loop), 0);
}
END_TEST

START_TEST(tells_why_it_closed)
{
    adopt();
    struct linger now = {1, 0};
    close(peer);
    peer = -1;
    turns_until(seen.eofs == 1);
    ck_assert_int_eq(seen.closed, 0); /* the handler has an on_eof: it decides */
    rill_conn_close(seen.conn, RILL_CLOSE_EOF);

    /* A reset needs TCP. */
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&at, &length);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&at, sizeof at), 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    ck_assert_int_eq(rill_conn_adopt(loop, fd, NULL, &config), 0);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(client);
    close(listener);
    turns_until(seen.closed == 2);
    ck_assert_int_eq(seen.reason, RILL_CLOSE_RESET);
    for (int r = 0; r < RILL_CLOSE_REASONS; r++)
        ck_assert_str_ne(rill_close_reason_text((enum rill_close_reason)r), "unknown");
}
END_TEST

/* --- input --- */

START_TEST(shows_again_what_was_not_consumed)
{
    char text[70];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('0' + i % 10);
    use_backend(_i % 3);
    seen.records = true;
    adopt();
    size_t step = (size_t)_i / 3 + 1;
    for (size_t at = 0; at < sizeof text; at += step) {
        size_t piece = sizeof text - at < step ? sizeof text - at : step;
        ck_assert_int_eq(write(peer, text + at, piece), (ssize_t)piece);
        turns(2);
        ck_assert_uint_eq(seen.length, (at + piece) / RECORD * RECORD);
    }
    ck_assert_mem_eq(seen.bytes, text, sizeof text);
    ck_assert_ptr_null(seen.conn->held); /* gives its memory back when all is consumed */
}
END_TEST

START_TEST(pauses_until_the_last_reason_is_gone)
{
    use_backend(_i);
    struct rill_conn *conn = adopt();
    rill_conn_pause(conn, RILL_PAUSE_USER);
    rill_conn_pause(conn, RILL_PAUSE_BACKPRESSURE);
    turns(2);
    say("one");
    turns(3);
    rill_conn_resume(conn, RILL_PAUSE_USER);
    turns(3);
    ck_assert_uint_eq(seen.length, 0);
    rill_conn_resume(conn, RILL_PAUSE_BACKPRESSURE);
    turns(3);
    ck_assert_uint_eq(seen.length, 3);
}
END_TEST

static void pause_and_keep(struct rill_conn *conn, struct rill_input *input)
{
    seen.length += input->length;
    rill_conn_pause(conn, RILL_PAUSE_USER);
    seen.timeouts++;
}

START_TEST(shows_kept_bytes_again_after_a_resume)
{
    static const struct rill_conn_handler keeper = {.on_open = on_open, .on_data = pause_and_keep};
    config.handler = &keeper;
    struct rill_conn *conn = adopt();
    say("12345");
    turns(2);
    ck_assert_int_eq(seen.timeouts, 1);
    rill_conn_resume(conn, RILL_PAUSE_USER);
    turns(2); /* nothing new came */
    ck_assert_int_eq(seen.timeouts, 2);
    ck_assert_uint_eq(seen.length, 10);
}
END_TEST

START_TEST(limits_what_is_kept)
{
    config.max_input_bytes = 3;
    seen.records = true;
    adopt();
    say("abcd"); /* less than a record, more than the limit */
    turns(2);
    ck_assert_int_eq(seen.closed, 1);
    ck_assert_int_eq(seen.reason, RILL_CLOSE_INPUT_LIMIT);
}
END_TEST

/* --- output --- */

START_TEST(gathers_what_a_callback_sends)
{
    char text[64];
    bool ended;
    seen.sends_per_data = 5;
    adopt_typed(SOCK_SEQPACKET); /* keeps each send(2) apart */
    say("x");
    turns(2);
    ck_assert_int_eq(read(peer, text, sizeof text), 15);
    ck_assert_uint_eq(hear(text, sizeof text, &ended), 0);

    rill_conn_send(seen.conn, "12", 2); /* outside of its callbacks: at the end of the turn, together */
    rill_conn_send(seen.conn, "34", 2);
    rill_conn_send_buf(seen.conn, rill_buf_copy("56", 2));
    ck_assert_int_lt(read(peer, text, sizeof text), 0);
    turns(1);
    ck_assert_int_eq(read(peer, text, sizeof text), 6);
    ck_assert_mem_eq(text, "123456", 6);
    ck_assert_ptr_null(seen.conn->out);
}
END_TEST

START_TEST(keeps_the_order_of_all_that_is_sent)
{
    enum { TOTAL = 3000000 };
    char *sent = malloc(TOTAL), *got = malloc(TOTAL);
    size_t filled = 0, heard = 0;
    bool ended, was_full = false;
    unsigned random = (unsigned)_i + 1;
    use_backend(_i % 3);
    struct rill_conn *conn = adopt();
    FILE *file = tmpfile();
    while (filled < TOTAL) { /* copies, shared blocks and stretches of a file, of all lengths */
        random = random * 1103515245 + 12345;
        size_t length = 1 + (random >> 8) % ((random >> 5) % 3 ? 200 : 40000);
        length = length < TOTAL - filled ? length : TOTAL - filled;
        for (size_t i = 0; i < length; i++)
            sent[filled + i] = (char)((filled + i) * 31 >> 3);
        switch (random >> 16 & 3) {
        case 0:
            ck_assert_int_eq(rill_conn_send_buf(conn, rill_buf_copy(sent + filled, length)), 0);
            break;
        case 1: {
            long at = ftell(file);
            ck_assert_uint_eq(fwrite(sent + filled, 1, length, file), length);
            fflush(file);
            struct rill_file_ref *ref = rill_file_ref_new(dup(fileno(file)));
            ck_assert_int_eq(rill_conn_send_file(conn, ref, (uint64_t)at, length), 0);
            rill_file_ref_drop(ref);
            break;
        }
        default:
            ck_assert_int_eq(rill_conn_send(conn, sent + filled, length), 0);
        }
        filled += length;
        was_full |= rill_conn_is_full(conn);
        if ((random >> 20 & 7) == 0) {
            turns(1);
            heard += hear(got + heard, (random >> 10) % 100000, &ended);
        }
    }
    while (heard < TOTAL) {
        size_t more = hear(got + heard, TOTAL - heard, &ended);
        heard += more;
        turns(1);
    }
    ck_assert_mem_eq(got, sent, TOTAL);
    turns(2);
    ck_assert_int_eq(seen.drains > 0, was_full);
    ck_assert_uint_eq(rill_conn_buffered(conn), 0);
    fclose(file);
    free(sent);
    free(got);
}
END_TEST

START_TEST(sends_everything_before_it_finishes)
{
    static char much[1 << 20];
    bool ended = false;
    size_t heard = 0;
    use_backend(_i % 3);
    struct rill_conn *conn = adopt();
    memset(much, 'm', sizeof much);
    rill_conn_send(conn, much, sizeof much);
    rill_conn_finish(conn, _i >= 3);
    ck_assert_int_eq(rill_conn_send(conn, "x", 1), -EPIPE);
    ck_assert(!rill_conn_is_open(conn));
    for (int i = 0; i < 1000 && !ended; i++) {
        turns(1);
        heard += hear(much, sizeof much, &ended);
    }
    ck_assert_uint_eq(heard, sizeof much);
    ck_assert(ended);
    if (_i >= 3) { /* lingers: what still comes is dropped, until the peer closes */
        ck_assert_int_eq(seen.closed, 0);
        say("more of an unwanted body");
        turns(2);
        ck_assert_int_eq(seen.closed, 0);
        close(peer);
        peer = -1;
        turns(3);
    }
    ck_assert_int_eq(seen.closed, 1);
    ck_assert_int_eq(seen.reason, RILL_CLOSE_LOCAL);
    ck_assert_uint_eq(seen.length, 0);
}
END_TEST

START_TEST(half_closes_both_ways)
{
    char text[16];
    bool ended;
    struct rill_conn *conn = adopt();
    shutdown(peer, SHUT_WR);
    turns(2);
    ck_assert_int_eq(seen.eofs, 1);
    rill_conn_send(conn, "still", 5);
    turns(2);
    ck_assert_uint_eq(hear(text, sizeof text, &ended), 5);
    rill_conn_shutdown(conn);
    turns(2);
    ck_assert_int_eq(seen.closed, 1);
    close(peer);

    conn = adopt();
    rill_conn_send(conn, "bye", 3);
    rill_conn_shutdown(conn);
    turns(2);
    ck_assert_uint_eq(hear(text, sizeof text, &ended), 3);
    ck_assert(ended);
    say("thanks");
    turns(2);
    ck_assert_uint_eq(seen.length, 6);
    ck_assert_int_eq(seen.closed, 1);
}
END_TEST

START_TEST(closes_when_a_file_is_shorter_than_promised)
{
    char text[64];
    bool ended;
    FILE *file = tmpfile();
    fputs("only this", file);
    fflush(file);
    struct rill_conn *conn = adopt();
    struct rill_file_ref *ref = rill_file_ref_new(dup(fileno(file)));
    rill_conn_send_file(conn, ref, 0, 5000);
    rill_file_ref_drop(ref);
    turns(3);
    ck_assert_int_eq(seen.closed, 1);
    ck_assert_uint_eq(hear(text, sizeof text, &ended), 9);
    ck_assert(ended);
    fclose(file);
}
END_TEST

START_TEST(a_reader_who_stops_costs_bounded_memory)
{
    static char piece[16384];
    use_backend(_i);
    struct rill_conn *conn = adopt();
    size_t sent = 0;
    while (!rill_conn_is_full(conn)) { /* a producer who looks */
        rill_conn_send(conn, piece, sizeof piece);
        sent += sizeof piece;
        turns(1);
    }
    ck_assert_uint_le(rill_conn_buffered(conn), 256 * 1024 + sizeof piece);
    turns(50);
    ck_assert_int_eq(seen.drains, 0);
    ck_assert_uint_gt(sent, rill_conn_buffered(conn));
}
END_TEST

/* --- time --- */

START_TEST(a_deadline_can_move_and_fires_once)
{
    struct rill_conn *conn = adopt();
    rill_conn_set_deadline(conn, 10);
    rill_conn_set_deadline(conn, 40);
    uint64_t begin = rill_clock_ns();
    turns_until(seen.timeouts == 1);
    ck_assert_uint_ge((rill_clock_ns() - begin) / 1000000, 39);
    turns_until(!rill_timer_armed(&conn->timer));
    ck_assert_int_eq(seen.timeouts, 1);
    rill_conn_set_deadline(conn, 5);
    rill_conn_set_deadline(conn, 0);
    begin = rill_clock_ns();
    while (rill_clock_ns() - begin < 20000000)
        turns(1);
    ck_assert_int_eq(seen.timeouts, 1);
}
END_TEST

START_TEST(a_peer_who_takes_nothing_is_dropped)
{
    static char much[4 << 20];
    config.write_timeout_ms = 20;
    use_backend(_i);
    struct rill_conn *conn = adopt();
    rill_conn_send(conn, much, sizeof much);
    turns_until(seen.closed == 1);
    ck_assert_int_eq(seen.reason, RILL_CLOSE_WRITE_TIMEOUT);
}
END_TEST

/* --- ids --- */

START_TEST(an_id_never_names_another_connection)
{
    struct rill_conn *conn = adopt();
    struct rill_conn_id first = rill_conn_id(conn);
    ck_assert_uint_eq(rill_conn_id_loop(first), 3);
    ck_assert_ptr_eq(rill_conn_find(loop, first), conn);
    ck_assert_ptr_null(rill_conn_find(loop, (struct rill_conn_id){0}));
    ck_assert_ptr_null(rill_conn_find(loop, (struct rill_conn_id){first.value ^ (uint64_t)1 << 56}));
    rill_conn_close(conn, RILL_CLOSE_LOCAL);
    ck_assert_ptr_null(rill_conn_find(loop, first)); /* at once, though the memory is still there */
    turns(2);
    close(peer);
    struct rill_conn *again = adopt(); /* the same slot */
    ck_assert_ptr_eq(again, conn);
    ck_assert_ptr_null(rill_conn_find(loop, first));
    ck_assert_uint_ne(rill_conn_id(again).value, first.value);
    ck_assert_ptr_eq(rill_conn_find(loop, rill_conn_id(again)), again);
}
END_TEST

static void count_each(struct rill_conn *conn, void *arg)
{
    ++*(int *)arg;
    rill_conn_close(conn, RILL_CLOSE_STOPPED);
}

START_TEST(each_visits_the_open_ones_and_may_close_them)
{
    int visited = 0, fds[5];
    for (int i = 0; i < 5; i++) {
        adopt();
        fds[i] = peer;
    }
    rill_conn_each(loop, &config, count_each, &visited);
    rill_conn_each(loop, NULL, count_each, &visited);
    ck_assert_int_eq(visited, 5);
    ck_assert_int_eq(seen.closed, 5);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}
END_TEST

START_TEST(an_idle_connection_is_small)
{
    ck_assert_uint_le(sizeof(struct rill_conn), 272);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn");
    TCase *all = tcase_create("conn");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, states_change_only_as_the_table_says);
    tcase_add_test(all, opens_and_closes_exactly_once);
    tcase_add_loop_test(all, may_be_closed_in_every_callback, 0, 18);
    tcase_add_test(all, tells_why_it_closed);
    tcase_add_loop_test(all, shows_again_what_was_not_consumed, 0, 3 * 30);
    tcase_add_loop_test(all, pauses_until_the_last_reason_is_gone, 0, 3);
    tcase_add_test(all, shows_kept_bytes_again_after_a_resume);
    tcase_add_test(all, limits_what_is_kept);
    tcase_add_test(all, gathers_what_a_callback_sends);
    tcase_add_loop_test(all, keeps_the_order_of_all_that_is_sent, 0, 9);
    tcase_add_loop_test(all, sends_everything_before_it_finishes, 0, 6);
    tcase_add_test(all, half_closes_both_ways);
    tcase_add_test(all, closes_when_a_file_is_shorter_than_promised);
    tcase_add_loop_test(all, a_reader_who_stops_costs_bounded_memory, 0, 3);
    tcase_add_test(all, a_deadline_can_move_and_fires_once);
    tcase_add_loop_test(all, a_peer_who_takes_nothing_is_dropped, 0, 3);
    tcase_add_test(all, an_id_never_names_another_connection);
    tcase_add_test(all, each_visits_the_open_ones_and_may_close_them);
    tcase_add_test(all, an_idle_connection_is_small);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
