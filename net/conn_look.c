/* conn_look.c - finding connections, naming them, and what can be read off one. */
#include "rill/core/crash.h"
#include "rill/net/conn_internal.h"

struct rill_conn *rill_conn_find(struct rill_loop *loop, struct rill_conn_id id)
{
    rill_loop_check(loop, __func__);
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (!net || rill_conn_id_loop(id) != rill_loop_index(loop))
        return NULL;
    struct rill_conn *conn = rill_slab_lookup(&net->conns, (uint32_t)(id.value >> 32) & 0xffffffu, (uint32_t)id.value);
    return conn && conn->state != RILL_CONN_CLOSED ? conn : NULL;
}

struct rill_conn_id rill_conn_id(const struct rill_conn *conn)
{
    const struct rill_net *net = conn->net;
    uint64_t loop = rill_loop_index(net->loop), slot = conn->slot;
    return (struct rill_conn_id){loop << 56 | slot << 32 | rill_slab_generation(&net->conns, conn->slot)};
}

void rill_conn_describe(const struct rill_conn *conn, struct rill_note *note)
{
    uint64_t id = rill_conn_id(conn).value;
    rill_note_text(note, "connection ");
    rill_note_number(note, id >> 56, 10);
    rill_note_text(note, "/");
    rill_note_number(note, id >> 32 & 0xffffff, 10);
    rill_note_text(note, "/");
    rill_note_number(note, (uint32_t)id, 10);
}

uint32_t rill_conn_count(struct rill_loop *loop)
{
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    return net ? rill_slab_count(&net->conns) : 0;
}

void rill_conn_each(struct rill_loop *loop, const struct rill_conn_config *config,
                    void (*fn)(struct rill_conn *conn, void *arg), void *arg)
{
    rill_loop_check(loop, __func__);
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (!net)
        return;
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1)) {
        struct rill_conn *conn = rill_slab_at(&net->conns, slot);
        if (conn->state != RILL_CONN_CLOSED && (!config || conn->config == config))
            fn(conn, arg);
    }
}

void *rill_conn_user(const struct rill_conn *conn)
{
    return conn->user;
}

void rill_conn_set_user(struct rill_conn *conn, void *user)
{
    conn->user = user;
}

void *rill_conn_arg(const struct rill_conn *conn)
{
    return conn->config->arg;
}

struct rill_loop *rill_conn_loop(const struct rill_conn *conn)
{
    return conn->net->loop;
}

const struct rill_ip *rill_conn_peer(const struct rill_conn *conn)
{
    return &conn->peer;
}

bool rill_conn_is_open(const struct rill_conn *conn)
{
    return conn->state == RILL_CONN_OPEN;
}
