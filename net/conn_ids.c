/* conn_ids.c - connections named by their ids from any thread: an order travels to the loop, which finds the connection
 * or not. What is sent so in one turn leaves, as everything does, in as few system calls as can be. */
#include "rill/core/sys.h"
#include "rill/net/conn.h"

/* An order to one connection: the poster's until it is posted, the loop's from then on. */
struct by_id {
    struct rill_task task;
    struct rill_loop *loop;
    struct rill_conn_id id;
    struct rill_buf *buf; /* NULL: close */
};

static void act_by_id(struct rill_task *task)
{
    struct by_id order = *rill_container_of(task, struct by_id, task);
    rill_sys_free(rill_container_of(task, struct by_id, task));
    struct rill_conn *conn = rill_conn_find(order.loop, order.id);
    if (!conn)
        rill_buf_unref(order.buf);
    else if (order.buf)
        rill_conn_send_buf(conn, order.buf);
    else
        rill_conn_close(conn, RILL_CLOSE_LOCAL);
}

static int post_by_id(struct rill_loop *loop, struct rill_conn_id id, struct rill_buf *buf)
{
    if (rill_conn_id_loop(id) != rill_loop_index(loop))
        return -ESTALE;
    struct by_id *order = rill_sys_malloc(sizeof *order);
    if (!order)
        return -ENOMEM;
    *order = (struct by_id){.task.run = act_by_id, .loop = loop, .id = id, .buf = buf};
    int error = rill_loop_post(loop, &order->task);
    if (error < 0)
        rill_sys_free(order);
    return error;
}

int rill_conn_post_send(struct rill_loop *loop, struct rill_conn_id id, struct rill_buf *buf)
{
    int error = post_by_id(loop, id, buf);
    if (error < 0)
        rill_buf_unref(buf);
    return error;
}

int rill_conn_post_close(struct rill_loop *loop, struct rill_conn_id id)
{
    return post_by_id(loop, id, NULL);
}
