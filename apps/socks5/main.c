/* main.c - rill-socks5: a SOCKS proxy, version 5 (RFC 1928), for CONNECT to IPv4, IPv6 and names, with user names and
 * passwords (RFC 1929) when --user asks for them. */
#include "../options.h"
#include "protocol.h"
#include "rill/core/log.h"
#include "rill/net/connect.h"
#include "rill/net/relay.h"
#include <errno.h>
#include <stdlib.h>

enum { MAX_USERS = 64, HANDSHAKE_MS = 30000 };

static struct rill_slice users[MAX_USERS]; /* NAME:PASSWORD */
static unsigned user_count;
static uint64_t connect_timeout_ms = 10000;
static struct rill_relay_config relay_config;

/* A client, until it is the relay's. */
struct session {
    struct rill_conn *client;
    /* Takes its message off INPUT once it has come whole, and answers. False: it has not. */
    bool (*next)(struct session *session, struct rill_input *input);
    struct rill_connect *connect;
};

/* --- request --- */

static void reply(struct rill_conn *client, enum socks_reply what, const struct rill_addr *bound)
{
    uint8_t bytes[SOCKS_REPLY_BYTES];
    rill_conn_send(client, bytes, socks_write_reply(bytes, what, bound));
    if (what != SOCKS_SUCCEEDED)
        rill_conn_finish(client, true);
}

static void on_connected(struct rill_conn *server, void *arg)
{
    struct session *session = arg;
    struct rill_conn *client = session->client;
    struct rill_addr bound;
    session->connect = NULL;
    reply(client, SOCKS_SUCCEEDED, rill_conn_local(server, &bound) == 0 ? &bound : NULL);
    if (rill_relay_start(client, server, &relay_config, NULL) == 0) {
        free(session); /* the client's on_close is the relay's now */
    } else {
        rill_conn_close(server, RILL_CLOSE_NO_MEMORY);
        rill_conn_close(client, RILL_CLOSE_NO_MEMORY);
    }
}

static void on_failed(int error, const char *why, void *arg)
{
    static const struct {
        int error;
        enum socks_reply reply;
    } table[] = {{ECONNREFUSED, SOCKS_REFUSED},
                 {ENETUNREACH, SOCKS_NETWORK_UNREACHABLE},
                 {ENETDOWN, SOCKS_NETWORK_UNREACHABLE},
                 {EHOSTUNREACH, SOCKS_HOST_UNREACHABLE},
                 {EHOSTDOWN, SOCKS_HOST_UNREACHABLE},
                 {ETIMEDOUT, SOCKS_HOST_UNREACHABLE},
                 {ENOENT, SOCKS_HOST_UNREACHABLE},
                 {EACCES, SOCKS_NOT_ALLOWED},
                 {EPERM, SOCKS_NOT_ALLOWED},
                 {EAGAIN, SOCKS_HOST_UNREACHABLE},
                 {EAFNOSUPPORT, SOCKS_NETWORK_UNREACHABLE}};
    struct session *session = arg;
    enum socks_reply what = SOCKS_FAILED;
    session->connect = NULL;
    for (size_t i = 0; i < rill_array_length(table); i++)
        if (table[i].error == -error)
            what = table[i].reply;
    rill_log_debug("%s", why);
    reply(session->client, what, NULL);
}

static void start_connect(struct session *session, const struct socks_request *request)
{
    static const struct rill_conn_handler none;
    static const struct rill_conn_config conn = {.handler = &none}; /* until it is the relay's */
    struct rill_connect_config config = {.target = request->is_name ? request->target : NULL,
                                         .addrs = request->is_name ? NULL : &request->addr,
                                         .addr_count = !request->is_name,
                                         .timeout_ms = connect_timeout_ms,
                                         .conn = &conn,
                                         .on_connected = on_connected,
                                         .on_failed = on_failed,
                                         .arg = session};
    rill_conn_set_deadline(session->client, 0);        /* the connect has one of its own */
    rill_conn_pause(session->client, RILL_PAUSE_USER); /* what comes now is for the other side */
    if (rill_connect(rill_conn_loop(session->client), &config, &session->connect) < 0)
        reply(session->client, SOCKS_FAILED, NULL);
}

static bool take_request(struct session *session, struct rill_input *input)
{
    struct socks_request request;
    int length = socks_read_request(input->bytes, input->length, &request);
    if (length == 0)
        return false;
    rill_input_consume(input, (size_t)length);
    if (request.refusal == SOCKS_SUCCEEDED)
        start_connect(session, &request);
    else
        reply(session->client, request.refusal, NULL);
    return request.refusal == SOCKS_SUCCEEDED;
}

/* --- method, and user and password --- */

/* Without a difference in time between passwords that are wrong early and late. */
static bool same(struct rill_slice user, struct rill_slice name, struct rill_slice password)
{
    uint8_t difference = 0;
    if (user.length != name.length + 1 + password.length)
        return false;
    for (size_t i = 0; i < user.length; i++)
        difference |= (uint8_t)(user.bytes[i] ^ (i < name.length    ? name.bytes[i]
                                                 : i == name.length ? ':'
                                                                    : password.bytes[i - name.length - 1]));
    return difference == 0;
}

static bool take_password(struct session *session, struct rill_input *input)
{
    struct rill_slice name, password;
    int length = socks_read_password(input->bytes, input->length, &name, &password);
    if (length == 0)
        return false;
    bool known = false;
    for (unsigned i = 0; i < user_count; i++)
        known |= same(users[i], name, password);
    rill_input_consume(input, (size_t)length);
    rill_conn_send(session->client, (const uint8_t[]){SOCKS_PASSWORD_VERSION, !known}, 2);
    session->next = take_request;
    if (!known)
        rill_conn_finish(session->client, true);
    return true;
}

static bool take_greeting(struct session *session, struct rill_input *input)
{
    struct rill_slice methods;
    uint8_t wanted = user_count ? SOCKS_BY_PASSWORD : SOCKS_NO_AUTH;
    int length = socks_read_greeting(input->bytes, input->length, &methods);
    if (length < 0)
        rill_conn_close(session->client, RILL_CLOSE_LOCAL); /* not a client of ours: nothing it would understand */
    if (length <= 0)
        return false;
    bool offered = memchr(methods.bytes, wanted, methods.length) != NULL;
    rill_input_consume(input, (size_t)length);
    rill_conn_send(session->client, (const uint8_t[]){SOCKS_VERSION, offered ? wanted : SOCKS_NO_METHOD}, 2);
    session->next = user_count ? take_password : take_request;
    if (!offered)
        rill_conn_finish(session->client, true);
    return true;
}

/* --- the connection --- */

static void on_open(struct rill_conn *client)
{
    struct session *session = calloc(1, sizeof *session);
    rill_conn_set_user(client, session);
    if (!session) {
        rill_conn_close(client, RILL_CLOSE_NO_MEMORY);
        return;
    }
    session->client = client;
    session->next = take_greeting;
    rill_conn_set_deadline(client, HANDSHAKE_MS);
}

/* Clients may send their part of the handshake at once, and the first bytes for the other side with it. */
static void on_data(struct rill_conn *client, struct rill_input *input)
{
    struct session *session = rill_conn_user(client);
    while (input->length > 0 && rill_conn_is_open(client) && !session->connect && session->next(session, input))
        continue;
}

static void on_close(struct rill_conn *client, enum rill_close_reason reason)
{
    struct session *session = rill_conn_user(client);
    if (session)
        rill_connect_cancel(session->connect);
    free(session);
}

static int parse_user(void *target, const char *text, const char **wanted)
{
    const char *colon = strchr(text, ':');
    *wanted = "NAME:PASSWORD is wanted, each of 1 to 255 bytes";
    if (!colon || colon == text || colon - text > 255 || colon[1] == '\0' || strlen(colon + 1) > 255)
        return -EINVAL;
    *wanted = "there can be 64 users at most";
    if (user_count == MAX_USERS)
        return -EINVAL;
    users[user_count++] = rill_slice_of(text);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    static const struct rill_option options[] = {
        {"--user", "NAME:PASSWORD", "who may use it; to be repeated (everybody)", RILL_OPTION_CUSTOM,
         .parse = parse_user},
        {"--connect-timeout", "TIME", "for connecting to the destination (10s)", RILL_OPTION_DURATION,
         &connect_timeout_ms, .min = 1},
    };
    struct rill_app app = {.name = "rill-socks5",
                           .summary = "a SOCKS proxy, version 5",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .kind = RILL_APP_SERVER,
                           .default_listen = "127.0.0.1:1080",
                           .server = {.handler = &handler, .write_timeout_ms = 30000}};
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    relay_config.idle_timeout_ms = app.server.idle_timeout_ms;
    relay_config.write_timeout_ms = app.server.write_timeout_ms;
    app.server.idle_timeout_ms = 0; /* the relay's; the handshake and the connect have limits of their own */
    return rill_app_serve(&app);
}
