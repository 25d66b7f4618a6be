/* socks5.c - rill-socks5: a SOCKS proxy, version 5 (RFC 1928), for CONNECT to IPv4, IPv6 and names, with user names and
 * passwords (RFC 1929) when --user asks for them. */
#include "options.h"
#include "rill/core/log.h"
#include "rill/net/connect.h"
#include "rill/net/relay.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { VERSION = 5, AUTH_VERSION = 1, CONNECT = 1, MAX_USERS = 64, HANDSHAKE_MS = 30000 };
enum { NO_AUTH = 0, BY_PASSWORD = 2, NO_METHOD = 0xff };
enum { IPV4 = 1, NAME = 3, IPV6 = 4 };

/* What a reply says (RFC 1928, 6). */
enum reply {
    SUCCEEDED,
    FAILED,
    NOT_ALLOWED,
    NETWORK_UNREACHABLE,
    HOST_UNREACHABLE,
    REFUSED,
    TTL_EXPIRED,
    NO_SUCH_COMMAND,
    NO_SUCH_ADDRESS_TYPE,
};

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

static const uint8_t *bytes_of(const struct rill_input *input)
{
    return (const uint8_t *)input->bytes;
}

/* --- request --- */

static void reply(struct rill_conn *client, enum reply what, const struct rill_addr *bound)
{
    uint8_t bytes[22] = {VERSION, (uint8_t)what, 0, IPV4}; /* with an address of zeros */
    size_t length = 10;
    if (bound && bound->socket.any.sa_family == AF_INET) {
        memcpy(bytes + 4, &bound->socket.v4.sin_addr, 4);
        memcpy(bytes + 8, &bound->socket.v4.sin_port, 2);
    } else if (bound && bound->socket.any.sa_family == AF_INET6) {
        bytes[3] = IPV6;
        memcpy(bytes + 4, &bound->socket.v6.sin6_addr, 16);
        memcpy(bytes + 20, &bound->socket.v6.sin6_port, 2);
        length = 22;
    }
    rill_conn_send(client, bytes, length);
    if (what != SUCCEEDED)
        rill_conn_finish(client, true);
}

static void on_connected(struct rill_conn *server, void *arg)
{
    struct session *session = arg;
    struct rill_conn *client = session->client;
    struct rill_addr bound;
    session->connect = NULL;
    reply(client, SUCCEEDED, rill_conn_local(server, &bound) == 0 ? &bound : NULL);
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
        enum reply reply;
    } table[] = {{ECONNREFUSED, REFUSED},
                 {ENETUNREACH, NETWORK_UNREACHABLE},
                 {ENETDOWN, NETWORK_UNREACHABLE},
                 {EHOSTUNREACH, HOST_UNREACHABLE},
                 {EHOSTDOWN, HOST_UNREACHABLE},
                 {ETIMEDOUT, HOST_UNREACHABLE},
                 {ENOENT, HOST_UNREACHABLE},
                 {EACCES, NOT_ALLOWED},
                 {EPERM, NOT_ALLOWED},
                 {EAGAIN, HOST_UNREACHABLE},
                 {EAFNOSUPPORT, NETWORK_UNREACHABLE}};
    struct session *session = arg;
    enum reply what = FAILED;
    session->connect = NULL;
    for (size_t i = 0; i < rill_array_length(table); i++)
        if (table[i].error == -error)
            what = table[i].reply;
    rill_log_debug("%s", why);
    reply(session->client, what, NULL);
}

/* The destination that ADDRESS names, of LENGTH bytes and without its port. Returns SUCCEEDED with either *ADDR or
 * TARGET filled in. A name is one: anything else that rill_connect() would understand, a Unix socket for one, is not
 * for strangers to reach. */
static enum reply destination(uint8_t type, const uint8_t *address, size_t length, uint16_t port,
                              struct rill_addr *addr, char target[RILL_HOST_TEXT + 8])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    struct rill_ip ip = {.port = port, .version = type == IPV4 ? 4 : 6};
    if (type != NAME) {
        memcpy(ip.bytes, address, length);
        *addr = rill_addr_of(&ip);
        return SUCCEEDED;
    }
    snprintf(target, RILL_HOST_TEXT + 8, "%.*s", (int)length, (const char *)address);
    if (length == 0 || strspn(target, allowed) != length)
        return HOST_UNREACHABLE;
    snprintf(target + length, 8, ":%u", port);
    return SUCCEEDED;
}

static void start_connect(struct session *session, uint8_t type, const uint8_t *address, size_t length, uint16_t port)
{
    static const struct rill_conn_handler none;
    static const struct rill_conn_config conn = {.handler = &none}; /* until it is the relay's */
    struct rill_addr addr;
    char target[RILL_HOST_TEXT + 8];
    enum reply what = destination(type, address, length, port, &addr, target);
    struct rill_connect_config config = {.target = type == NAME ? target : NULL,
                                         .addrs = type == NAME ? NULL : &addr,
                                         .addr_count = type != NAME,
                                         .timeout_ms = connect_timeout_ms,
                                         .conn = &conn,
                                         .on_connected = on_connected,
                                         .on_failed = on_failed,
                                         .arg = session};
    rill_conn_set_deadline(session->client, 0);        /* the connect has one of its own */
    rill_conn_pause(session->client, RILL_PAUSE_USER); /* what comes now is for the other side */
    if (what == SUCCEEDED && rill_connect(rill_conn_loop(session->client), &config, &session->connect) < 0)
        what = FAILED;
    if (what != SUCCEEDED)
        reply(session->client, what, NULL);
}

/* What is wrong with the first four bytes of a request. */
static enum reply judge(const uint8_t *bytes)
{
    if (bytes[0] != VERSION || bytes[2] != 0)
        return FAILED;
    if (bytes[1] != CONNECT)
        return NO_SUCH_COMMAND;
    return bytes[3] == IPV4 || bytes[3] == NAME || bytes[3] == IPV6 ? SUCCEEDED : NO_SUCH_ADDRESS_TYPE;
}

static bool take_request(struct session *session, struct rill_input *input)
{
    const uint8_t *bytes = bytes_of(input); /* VER CMD RSV ATYP, address, port */
    if (input->length < 5)
        return false;
    enum reply what = judge(bytes);
    if (what != SUCCEEDED) {
        reply(session->client, what, NULL);
        return false;
    }
    size_t at = bytes[3] == NAME ? 5 : 4, length = bytes[3] == NAME ? bytes[4] : bytes[3] == IPV4 ? 4 : 16;
    if (input->length < at + length + 2)
        return false;
    rill_input_consume(input, at + length + 2);
    uint16_t port = (uint16_t)(bytes[at + length] << 8 | bytes[at + length + 1]);
    start_connect(session, bytes[3], bytes + at, length, port);
    return true;
}

/* --- method, and user and password --- */

/* Without a difference in time between passwords that are wrong early and late. */
static bool same(struct rill_slice a, const uint8_t *name, size_t name_length, const uint8_t *password, size_t length)
{
    uint8_t difference = 0;
    if (a.length != name_length + 1 + length)
        return false;
    for (size_t i = 0; i < a.length; i++)
        difference |= (uint8_t)a.bytes[i] ^ (i < name_length    ? name[i]
                                             : i == name_length ? (uint8_t)':'
                                                                : password[i - name_length - 1]);
    return difference == 0;
}

static bool take_password(struct session *session, struct rill_input *input)
{
    const uint8_t *bytes = bytes_of(input); /* VER ULEN name PLEN password */
    if (input->length < 2 || input->length < 3u + bytes[1])
        return false;
    const uint8_t *password = bytes + 3 + bytes[1];
    size_t name_length = bytes[1], length = password[-1];
    if (input->length < 3 + name_length + length)
        return false;
    bool known = false;
    for (unsigned i = 0; i < user_count; i++)
        known |= same(users[i], bytes + 2, name_length, password, length);
    known &= bytes[0] == AUTH_VERSION;
    rill_input_consume(input, 3 + name_length + length);
    rill_conn_send(session->client, (const uint8_t[]){AUTH_VERSION, !known}, 2);
    session->next = take_request;
    if (!known)
        rill_conn_finish(session->client, true);
    return true;
}

static bool take_greeting(struct session *session, struct rill_input *input)
{
    const uint8_t *bytes = bytes_of(input); /* VER NMETHODS methods */
    uint8_t wanted = user_count ? BY_PASSWORD : NO_AUTH;
    if (bytes[0] != VERSION) {
        rill_conn_close(session->client, RILL_CLOSE_LOCAL); /* not a client of ours: nothing it would understand */
        return false;
    }
    if (input->length < 2 || input->length < 2u + bytes[1])
        return false;
    bool offered = memchr(bytes + 2, wanted, bytes[1]) != NULL;
    rill_input_consume(input, 2u + bytes[1]);
    rill_conn_send(session->client, (const uint8_t[]){VERSION, offered ? wanted : NO_METHOD}, 2);
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
