/* server_ids.c - a server seen from any thread: its loops, its ports, and its connections by their ids. */
#include "rill/core/sys.h"
#include "rill/net/server_internal.h"

struct rill_loop *rill_server_main_loop(const struct rill_server *server)
{
    return server->main_loop;
}

unsigned rill_server_loop_count(const struct rill_server *server)
{
    return server->loop_count;
}

struct rill_loop *rill_server_loop(const struct rill_server *server, unsigned i)
{
    return server->loops[i].loop;
}

unsigned rill_server_port(const struct rill_server *server, unsigned i)
{
    return i < server->listener_count ? rill_ip_of(&server->addresses[i].addr).port : 0;
}

const struct rill_net_stats *rill_server_net_stats(const struct rill_server *server, unsigned i)
{
    bool prepared = rill_server_state(server) >= SERVER_RUNNING; /* all loops have reported */
    return prepared && server->loops[i].net ? &server->loops[i].net->stats : NULL;
}

uint64_t rill_server_refused(const struct rill_server *server)
{
    return __atomic_load_n(&server->refused, __ATOMIC_RELAXED);
}

struct rill_workers *rill_server_workers(const struct rill_server *server)
{
    return server->workers;
}

/* The loop of SERVER that serves ID's connection; NULL when there is none. */
static struct rill_loop *loop_of(const struct rill_server *server, struct rill_conn_id id)
{
    unsigned index = rill_conn_id_loop(id) - (server->config.threads > 0 ? 1 : 0);
    /* Before it starts a server has no loops, and no connection that an ID could name. */
    bool known = index < server->loop_count && rill_server_state(server) != SERVER_NEW;
    return known ? server->loops[index].loop : NULL;
}

int rill_server_send(struct rill_server *server, struct rill_conn_id id, struct rill_buf *buf)
{
    struct rill_loop *loop = loop_of(server, id);
    if (loop)
        return rill_conn_post_send(loop, id, buf);
    rill_buf_unref(buf);
    return -ESTALE;
}

int rill_server_close(struct rill_server *server, struct rill_conn_id id)
{
    struct rill_loop *loop = loop_of(server, id);
    return loop ? rill_conn_post_close(loop, id) : -ESTALE;
}
