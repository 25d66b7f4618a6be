/* proxy_gate.c - a listener whose connections come through proxies: what they are until their PROXY header has come.
 *
 * Such a connection is adopted with the gate's own handler. It counts as one of the server's from the start, but the
 * protocol that is spoken behind the gate hears of it when the header is there (rill_conn_become()), and of one that
 * never brings a valid header not at all. The limit by address is the client's, so it is looked at there, too: by the
 * proxy's address everybody would be one. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/proxy_protocol.h"
#include "rill/net/server_internal.h"

enum {
    HEADER_TIMEOUT_MS = 5000, /* the specification wants 3 s at least, for a segment that is sent again */
    STOP_GRACE_MS = 250,      /* for a header that is on its way when the server stops */
};

/* Logs FORMAT about GATE and PEER once. Thread: any. */
static void complain(struct server_gate *gate, bool *complained, const char *what, const struct rill_ip *peer)
{
    if (__atomic_exchange_n(complained, true, __ATOMIC_RELAXED))
        return;
    char address[RILL_ADDR_TEXT], from[RILL_IP_TEXT];
    rill_addr_format(&gate->server->addresses[gate->listener].addr, address);
    rill_ip_format(peer, from);
    rill_log_warn("%s: a connection to %s from %s is closed: %s; others may follow unmentioned", gate->server->name,
                  address, from, what);
}

bool rill_server_gate_admits(struct server_gate *gate, const struct rill_ip *peer)
{
    if (RILL_LIKELY(rill_cidr_list_contains(gate->proxies, peer)))
        return true;
    complain(gate, &gate->complained_of_source, "only connections from its proxies are accepted there", peer);
    return false;
}

static void on_open(struct rill_conn *conn)
{
    const struct server_gate *gate = rill_conn_arg(conn);
    conn->counted = false; /* not yet, and not as the proxy's */
    rill_conn_set_deadline(conn, gate->timeout_ms);
}

/* The header has come: the connection is the client's, who may have too many. */
static void pass(struct server_gate *gate, struct rill_conn *conn, const struct rill_proxy_header *header)
{
    bool stopping = rill_conn_user(conn) != NULL;
    if (header->has_addresses)
        conn->peer = rill_ip_of(&header->source);
    if (!rill_server_admits(gate->server, &conn->peer)) {
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    conn->counted = conn->net->address_counts != NULL;
    if (rill_conn_become(conn, &gate->behind, NULL) == 0 && gate->on_proxy && rill_conn_is_open(conn))
        gate->on_proxy(conn, header);
    if (stopping && rill_conn_is_open(conn))
        rill_server_stop_conn(conn);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct server_gate *gate = rill_conn_arg(conn);
    struct rill_proxy_header header;
    int length = rill_proxy_parse(input->bytes, input->length, &header);
    if (length == 0)
        return;
    if (length < 0) {
        complain(gate, &gate->complained_of_header, "it does not begin with a valid PROXY header", &conn->peer);
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
        return;
    }
    rill_input_consume(input, (size_t)length);
    pass(gate, conn, &header);
}

static void on_timeout(struct rill_conn *conn)
{
    struct server_gate *gate = rill_conn_arg(conn);
    if (!rill_conn_user(conn))
        complain(gate, &gate->complained_of_header, "its PROXY header has not come in time", &conn->peer);
    rill_conn_close(conn, RILL_CLOSE_IDLE);
}

/* The server drains. Who got through the handshake is served, as without a proxy, if only the header comes now. */
static void on_stop(struct rill_conn *conn)
{
    rill_conn_set_user(conn, rill_conn_arg(conn)); /* any mark that says so */
    rill_conn_set_deadline(conn, STOP_GRACE_MS);
}

static enum rill_awaits awaits(const struct rill_conn *conn, uint64_t *waited_ms)
{
    const struct server_gate *gate = rill_conn_arg(conn);
    uint64_t left_ms = rill_conn_time_left_ms(conn);
    *waited_ms = gate->timeout_ms > left_ms ? gate->timeout_ms - left_ms : 0;
    return RILL_AWAITS_PEER;
}

static const struct rill_conn_handler at_the_gate = {
    .on_open = on_open, .on_data = on_data, .on_timeout = on_timeout, .on_stop = on_stop, .awaits = awaits};

int rill_server_put_gate(struct rill_server *server, unsigned listener, const struct rill_listen *listen)
{
    const char *why = "";
    int error;
    struct server_gate *gate = rill_sys_calloc(1, sizeof *gate);
    if (!gate) {
        rill_log_error("%s: no memory to listen on \"%s\"", server->name, listen->address);
        return -ENOMEM;
    }
    server->gates[listener] = gate;
    gate->proxies = rill_cidr_list_new(listen->proxy_from, &error, &why);
    if (!gate->proxies) {
        rill_log_error("%s: cannot accept PROXY headers on \"%s\" from \"%s\": %s", server->name, listen->address,
                       listen->proxy_from, error == -EINVAL ? why : strerror(-error));
        return error;
    }
    gate->server = server;
    gate->listener = listener;
    gate->timeout_ms = listen->proxy_timeout_ms ? listen->proxy_timeout_ms : HEADER_TIMEOUT_MS;
    gate->on_proxy = listen->on_proxy;
    gate->behind = server->conn_configs[listener];
    server->conn_configs[listener] =
        (struct rill_conn_config){.handler = &at_the_gate, .arg = gate, .max_input_bytes = RILL_PROXY_MAX_BYTES};
    return 0;
}

void rill_server_free_gates(struct rill_server *server)
{
    for (unsigned i = 0; i < RILL_SERVER_MAX_LISTENERS; i++) {
        if (!server->gates[i])
            continue;
        rill_cidr_list_free(server->gates[i]->proxies);
        rill_sys_free(server->gates[i]);
    }
}
