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

uint64_t rill_server_refused(const struct rill_server *server)
{
    return __atomic_load_n(&server->refused, __ATOMIC_RELAXED);
}

struct rill_workers *rill_server_workers(const struct rill_server *server)
{
    return server->workers;
}

/* An order to one connection, on its way to its loop. */
struct by_id {
    struct rill_task task;
    struct rill_loop *loop;
    struct rill_conn_id id;
    struct rill_buf *buf; /* NULL: close */
};

static void act_by_id(struct rill_task *task)
{
    struct by_id *order_by_id = rill_container_of(task, struct by_id, task);
    struct rill_conn *conn = rill_conn_find(order_by_id->loop, order_by_id->id);
    if (conn && order_by_id->buf)
        rill_conn_send_buf(conn, rill_buf_ref(order_by_id->buf));
    else if (conn)
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
    rill_buf_unref(order_by_id->buf);
    rill_sys_free(order_by_id);
}

static int post_by_id(struct rill_server *server, struct rill_conn_id id, struct rill_buf *buf)
{
    unsigned index = rill_conn_id_loop(id) - (server->config.threads > 0 ? 1 : 0);
    /* Before it starts a server has no loops, and no connection that an ID could name. */
    bool known = index < server->loop_count && rill_server_state(server) != SERVER_NEW;
    struct by_id *order_by_id = known ? rill_sys_malloc(sizeof *order_by_id) : NULL;
    int error = !known ? -ESTALE : order_by_id ? 0 : -ENOMEM;
    if (error == 0) {
        *order_by_id = (struct by_id){.task.run = act_by_id, .loop = server->loops[index].loop, .id = id, .buf = buf};
        error = rill_loop_post(order_by_id->loop, &order_by_id->task);
    }
    if (error < 0) {
        rill_buf_unref(buf);
        rill_sys_free(order_by_id);
    }
    return error;
}

int rill_server_send(struct rill_server *server, struct rill_conn_id id, struct rill_buf *buf)
{
    return post_by_id(server, id, buf);
}

int rill_server_close(struct rill_server *server, struct rill_conn_id id)
{
    return post_by_id(server, id, NULL);
}
