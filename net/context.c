/* context.c - what net/ keeps for one loop: made with the loop's first connection, ended with the loop. */
#include "rill/core/crash.h"
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

void rill_net_free_attached(struct rill_net *net)
{
    while (net->attached) {
        struct rill_attached *memory = net->attached;
        net->attached = memory->next;
        rill_sys_free(memory);
    }
}

void rill_net_free_with_closed(struct rill_net *net, struct rill_attached *memory)
{
    memory->next = net->attached;
    net->attached = memory;
}

static void net_destroy(void *value)
{
    struct rill_net *net = value;
    struct rill_loop *loop = net->loop;
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, net, NULL); /* callbacks find what there is, and begin nothing */
    net->ending = true;
    net->ready_deferred = net->closed_deferred = true; /* the tasks go away with the net: no turn will end any more */
    rill_admission_end(net);
    rill_connect_end_all(net);
    rill_datagram_end_all(net->datagrams);
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        rill_conn_close(rill_slab_at(&net->conns, slot), RILL_CLOSE_STOPPED);
    for (uint32_t slot = rill_slab_next(&net->conns, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&net->conns, slot + 1))
        rill_buf_unref(((struct rill_conn *)rill_slab_at(&net->conns, slot))->held);
    rill_conn_output_free_leases(net);
    rill_pipes_free(net);
    rill_net_free_attached(net);
    rill_datagram_net_free(net->datagrams);
    rill_slab_destroy(&net->conns);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, NULL, NULL);
    rill_sys_free(net);
}

/* Every open connection needs a descriptor, so there can be no more of them than the hard limit. Those that close give
 * theirs back at once, but their slot at the end of the turn only, and more may come in the same turn. */
static uint32_t most_connections(void)
{
    struct rlimit limit;
    uint32_t most = 1u << 20;
    if (rill_sys_getrlimit_nofile(&limit) == 0 && limit.rlim_max < most)
        most = (uint32_t)limit.rlim_max;
    return 2 * most + 4096;
}

static void describe(const void *value, struct rill_note *note)
{
    const struct rill_net *net = value;
    if (net->current)
        rill_conn_describe(net->current, note);
}

struct rill_net *rill_net_of(struct rill_loop *loop)
{
    struct rill_net *net = rill_loop_slot(loop, RILL_LOOP_SLOT_NET);
    if (RILL_LIKELY(net != NULL))
        return net;
    net = rill_sys_calloc(1, sizeof *net);
    if (!net)
        return NULL;
    if (rill_slab_init(&net->conns, sizeof(struct rill_conn), most_connections()) < 0) {
        rill_sys_free(net);
        return NULL;
    }
    net->loop = loop;
    net->trace = rill_loop_trace(loop);
    net->edge_triggered = rill_loop_edge_triggered(loop);
    net->early_luck = RILL_EARLY_LUCK_MAX;
    rill_admission_init(&net->admission);
    net->ready_task.run = rill_conn_process_ready;
    net->closed_task.run = rill_conn_free_closed;
    rill_list_init(&net->ready);
    rill_list_init(&net->closed);
    rill_list_init(&net->connects);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, net, net_destroy);
    rill_loop_set_describe(loop, RILL_LOOP_SLOT_NET, describe);
    return net;
}
