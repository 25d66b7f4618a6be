/* sim_site.h - what is served in the simulation: handlers of HTTP that answer in every way there is, an echo over the
 * bare connection, a relay that leads to it, a channel, an echo by way of a pool; what runs on each loop beside the
 * server, a client and those who borrow from the pool, and endpoints of datagrams; and, before all, a layer that sees
 * to it that callbacks come as net/conn.h says. */
#ifndef RILL_TESTS_SUPPORT_SIM_SITE_H
#define RILL_TESTS_SUPPORT_SIM_SITE_H

#include "rill/http/session_internal.h"
#include "rill/net/channel.h"
#include "sim.h"

/* The ports, in the order of the config's listeners. */
enum {
    SITE_HTTP_PORT = 80,
    SITE_ECHO_PORT = 7,
    SITE_RELAY_PORT = 8,
    SITE_CHANNEL_PORT = 9,
    SITE_FRONT_PORT = 10,
    SITE_SERVICE_PORT = 53,
    SITE_ASKER_PORT = 5300
};

enum {
    SITE_CONNS = 512,
    SITE_LOOPS = 8,
    SITE_QUESTIONS = 1024,
    SITE_STRANGERS = 4,
    SITE_STRANGER_PORT = 6000,
    SITE_ECHO_IDLE_MS = 20000,
    SITE_RELAY_IDLE_MS = 30000,
    SITE_MESSAGE_BYTES = 400
};

/* What may run on each loop beside the server. */
enum { SITE_CLIENT, SITE_POOL, SITE_DATAGRAMS, SITE_APPS };

struct site {
    struct rill_router *router;
    struct rill_http_server server;
    unsigned started, cleaned; /* exchanges that got as far as a handler; those of them that ended */
    unsigned jobs, jobs_gone;
    unsigned loops_stopped;
    unsigned connects, connects_ended; /* that a relay's front asked for */
    unsigned relays, relays_ended;
    struct rill_channel *channel;
    struct rill_membership membership;
    unsigned published; /* messages, numbered from 0 on */
    bool refuses;       /* requests, at times */
    bool limited;       /* there may be fewer connections than peers */
    bool has[SITE_APPS];
    bool has_fronts;       /* and clients have the pool to themselves: nothing keeps them from being answered */
    unsigned ups, outages; /* of the clients */
    /* Datagrams that were sent to be answered, numbered from 0 on, and from where. */
    uint16_t questions[SITE_QUESTIONS];
    unsigned question_count;
    unsigned endpoints, endpoints_closed, datagrams; /* opened; shown */
    bool service_is_whole; /* none of its endpoints has closed, so that a port has all answers from the same */
    bool all_answered;     /* nothing keeps the strangers' questions from being answered, so far */
    unsigned leases, leases_failed, borrowers, borrowers_gone;
    unsigned closed[RILL_CLOSE_REASONS];
    struct site_conn {
        uint64_t id;
        bool closed;
        bool silent; /* it may go without a word */
        struct rill_loop *loop;
    } conns[SITE_CONNS];
    unsigned conn_count;
};

extern struct site site;

/*  GET  /at-once/:n    n bytes                     POST /echo      the body back, as it comes
 *  GET  /later/:ms/:n  from a timer                POST /count     as many bytes as the body has, at its end
 *  GET  /pool/:n       from the pool               POST /slow      the same, holding back now and then
 *  GET  /stream/:n     a stream, length unknown    POST /ignore/:n n bytes at once, the body is not read
 *  GET  /known/:n      a stream of known length
 *
 * Makes the server with CONFIG, whose `net.listens[1]` is the echo's, [2] the relay's, [3] the channel's; a fifth one
 * is added at times. */
void site_start(struct rill_http_server_config *config);

/* Serves until stopped; frees all, and checks that nothing is left. */
void site_run(void);

/* One who is no peer of the server's sends a question; a datagram has come to PORT, and whether anybody is there. */
void site_stranger_asks(void);
bool site_datagram_arrives(uint16_t from, uint16_t port, const char *bytes, size_t length);

/* What has to hold of what runs beside the server: LOOP sleeps; nothing can happen any more, and, with ALL, nothing has
 * failed, so that all that was said has been heard. */
void site_check_asleep(struct rill_loop *loop);
void site_check_quiet(bool all);

/* Publishes the next message on the channel: its number in eight digits, and so many letters as site_message_length()
 * says of it, a newline in the end. From any loop, and from elsewhere. */
void site_publish(void);
size_t site_message_length(unsigned number);

/* Whether BYTES are the first LENGTH of message NUMBER, from the ninth on. */
bool site_is_message(const char *bytes, unsigned number, size_t length);

/* Reads eight digits. */
bool site_read_number(const char *digits, unsigned *number);

/* Content of N bytes: writes LENGTH bytes of it, FROM one on; whether BYTES are these. */
void site_fill(char *into, size_t n, size_t from, size_t length);
bool site_is_content(const char *bytes, size_t n, size_t from, size_t length);

#endif
