/* sim_site_streams.c - see sim_site.h: the echo, the relay that leads to it, the channel. */
#include "sim_site_internal.h"

#include "rill/net/connect.h"
#include "rill/net/relay.h"
#include "rill/net/server_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the echo --- */

struct echo {
    struct rill_conn *conn;
    struct rill_timer resume;
    uint64_t active_ns;
    bool ended;
};

static void echo_active(struct echo *self)
{
    self->active_ns = sim_turn_began_ns();
    rill_conn_set_deadline(self->conn, SITE_ECHO_IDLE_MS);
}

static void echo_resume(struct rill_timer *timer)
{
    struct echo *self = rill_container_of(timer, struct echo, resume);
    rill_conn_resume(self->conn, RILL_PAUSE_USER);
}

static void echo_open(struct rill_conn *conn)
{
    struct echo *self = calloc(1, sizeof *self);
    site_note_open(conn);
    self->conn = conn;
    rill_timer_init(&self->resume, echo_resume);
    rill_conn_set_user(conn, self);
    echo_active(self);
}

static int echo_send(struct rill_conn *conn, const char *bytes, size_t length)
{
    switch (sim_below(3)) {
    case 0:
        return rill_conn_send(conn, bytes, length);
    case 1: {
        struct rill_buf *buf = rill_buf_copy(bytes, length);
        return buf ? rill_conn_send_buf(conn, buf) : rill_conn_send(conn, bytes, length);
    }
    default:
        while (length > 0) {
            size_t piece = 1 + sim_below(length < RILL_CONN_RESERVE_MAX ? length : RILL_CONN_RESERVE_MAX);
            char *room = rill_conn_reserve(conn, piece);
            if (!room)
                return -EPIPE;
            memcpy(room, bytes, piece);
            rill_conn_commit(conn, piece);
            bytes += piece;
            length -= piece;
        }
        return 0;
    }
}

static void resume_one(struct rill_conn *conn, void *arg)
{
    (void)arg;
    rill_conn_resume(conn, RILL_PAUSE_USER);
}

static void echo_data(struct rill_conn *conn, struct rill_input *input)
{
    struct echo *self = rill_conn_user(conn);
    site_note(conn, "on_data");
    if (self->ended)
        sim_fail("bytes after the end");
    echo_active(self);
    size_t wanted = sim_chance(3) ? sim_below(input->length + 1) : input->length;
    if (wanted > 0 && echo_send(conn, input->bytes, wanted) == 0)
        rill_input_consume(input, wanted);
    if (!rill_conn_is_open(conn))
        return;
    if (input->length > 0) {
        rill_conn_pause(conn, RILL_PAUSE_USER);
        rill_loop_arm(rill_conn_loop(conn), &self->resume, sim_below(30));
    }
    if (sim_chance(8)) /* in the middle of a turn, for some */
        rill_conn_each(rill_conn_loop(conn), &site.server.net->conn_configs[1], resume_one, NULL);
    if (rill_conn_is_full(conn))
        rill_conn_pause(conn, RILL_PAUSE_BACKPRESSURE);
}

static void echo_eof(struct rill_conn *conn)
{
    struct echo *self = rill_conn_user(conn);
    site_note(conn, "on_eof");
    if (self->ended)
        sim_fail("the end is told twice");
    self->ended = true;
    if (sim_chance(3))
        rill_conn_shutdown(conn);
    else
        rill_conn_finish(conn, sim_chance(2));
}

static void echo_drain(struct rill_conn *conn)
{
    site_note(conn, "on_drain");
    echo_active(rill_conn_user(conn));
    rill_conn_resume(conn, RILL_PAUSE_BACKPRESSURE);
}

static void echo_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct echo *self = rill_conn_user(conn);
    struct rill_loop *loop = rill_conn_loop(conn);
    site_note_close(conn, reason);
    if (reason == RILL_CLOSE_IDLE && rill_clock_ns() < self->active_ns + UINT64_C(1000000) * SITE_ECHO_IDLE_MS)
        sim_fail("a deadline passed early");
    rill_loop_disarm(loop, &self->resume);
    free(self);
}

const struct rill_conn_handler site_echo_handler = {
    .on_open = echo_open, .on_data = echo_data, .on_eof = echo_eof, .on_drain = echo_drain, .on_close = echo_close};

/* --- the relay: to the echo --- */

static struct rill_conn *front_of(struct rill_loop *loop, const void *arg)
{
    return rill_conn_find(loop, (struct rill_conn_id){(uintptr_t)arg});
}

static void relay_ended(const struct rill_relay_end *end, void *user)
{
    (void)user;
    site.relays_ended++;
    site.closed[end->reason]++;
    sim_note("a relay ends", end->bytes[0], end->bytes[1]);
}

static void relay_connected(struct rill_conn *back, void *arg)
{
    static const struct rill_relay_config config = {
        .copy_only = true, .idle_timeout_ms = SITE_RELAY_IDLE_MS, .on_end = relay_ended};
    struct rill_conn *front = front_of(rill_conn_loop(back), arg);
    site.connects_ended++;
    int error = front ? rill_relay_start(front, back, &config, NULL) : -EPIPE;
    if (error < 0) {
        rill_conn_close(back, RILL_CLOSE_LOCAL);
        if (front)
            rill_conn_close(front, RILL_CLOSE_LOCAL);
        return;
    }
    site_note(front, "the relay")->closed = true; /* its callbacks hear nothing more of it */
    site.relays++;
}

static void relay_failed(int error, const char *why, void *arg)
{
    struct rill_conn *front = front_of(rill_loop_current(), arg);
    (void)why;
    site.connects_ended++;
    sim_note("a connect fails", (uint64_t)-error, 0);
    if (front)
        rill_conn_close(front, RILL_CLOSE_LOCAL);
}

static void relay_open(struct rill_conn *conn)
{
    static const struct rill_conn_handler nothing = {0};
    static const struct rill_conn_config back = {.handler = &nothing};
    struct rill_addr echo;
    site_note_open(conn);
    rill_conn_pause(conn, RILL_PAUSE_USER);
    if (rill_addr_parse("127.0.0.1:7", &echo, NULL) < 0)
        sim_fail("the echo has no address");
    const struct rill_connect_config config = {
        .addrs = &echo,
        .addr_count = 1,
        .conn = &back,
        .on_connected = relay_connected,
        .on_failed = relay_failed,
        .arg = (void *)(uintptr_t)rill_conn_id(conn).value, /* NOLINT(performance-no-int-to-ptr) */
    };
    if (rill_connect(rill_conn_loop(conn), &config, NULL) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
    else
        site.connects++;
}

static void plain_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    site_note_close(conn, reason);
}

const struct rill_conn_handler site_relay_handler = {.on_open = relay_open, .on_close = plain_close};

/* --- the channel --- */

size_t site_message_length(unsigned number)
{
    return 9 + number * 37 % (SITE_MESSAGE_BYTES - 9);
}

bool site_is_message(const char *bytes, unsigned number, size_t length)
{
    size_t letters = site_message_length(number) - 1; /* the number's digits among them */
    size_t here = length < letters ? length : letters;
    return (length <= 8 || site_is_content(bytes + 8, number, 8, here - 8)) &&
           (length <= letters || bytes[letters] == '\n');
}

void site_publish(void)
{
    char message[SITE_MESSAGE_BYTES + 1];
    size_t length = site_message_length(site.published);
    snprintf(message, sizeof message, "%08u", site.published);
    site_fill(message + 8, site.published, 8, length - 9);
    message[length - 1] = '\n';
    struct rill_buf *buf = rill_buf_copy(message, length);
    if (buf && rill_channel_publish(site.channel, buf) == 0)
        sim_note("published", site.published++, length);
}

static void channel_open(struct rill_conn *conn)
{
    site_note_open(conn);
    if (rill_channel_join(site.channel, conn, &site.membership) < 0)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static void channel_data(struct rill_conn *conn, struct rill_input *input)
{
    site_note(conn, "on_data");
    rill_input_consume(input, input->length);
    site_publish();
}

const struct rill_conn_handler site_channel_handler = {
    .on_open = channel_open, .on_data = channel_data, .on_close = plain_close};
