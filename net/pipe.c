/* pipe.c - the pipes that a loop's relays splice through.
 *
 * A pipe is leased for as long as it holds bytes, so a relay at rest has none, and few are in use as long as the
 * receivers keep up. Those that were leased last are leased first. */
#include "rill/core/sys.h"
#include "rill/net/conn_internal.h"

enum {
    MAX_PIPES = 128,         /* of a loop; who finds none copies */
    MAX_FREE_PIPES = 16,     /* kept open */
    WANTED_BYTES = 1 << 20,  /* what the system allows everybody, unless it was told otherwise */
    LEAST_BYTES = 64 * 1024, /* in smaller ones there is no gain; who has many pipes gets such from the kernel */
};

static void pipe_close(struct rill_net *net, struct rill_pipe *pipe)
{
    rill_sys_close(pipe->read_fd);
    rill_sys_close(pipe->write_fd);
    rill_sys_free(pipe);
    net->pipe_count--;
}

static struct rill_pipe *pipe_open(struct rill_net *net)
{
    int fds[2];
    struct rill_pipe *pipe = rill_sys_calloc(1, sizeof *pipe);
    if (!pipe || rill_sys_pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        rill_sys_free(pipe);
        return NULL;
    }
    net->pipe_count++;
    pipe->read_fd = fds[0];
    pipe->write_fd = fds[1];
    int size = rill_sys_set_pipe_bytes(pipe->write_fd, WANTED_BYTES);
    if (size < 0)
        size = rill_sys_set_pipe_bytes(pipe->write_fd, LEAST_BYTES);
    if (size < LEAST_BYTES) {
        pipe_close(net, pipe);
        return NULL;
    }
    pipe->size = (size_t)size;
    return pipe;
}

struct rill_pipe *rill_pipe_lease(struct rill_net *net)
{
    struct rill_pipe *pipe = net->free_pipes;
    if (!pipe)
        return net->pipe_count < MAX_PIPES ? pipe_open(net) : NULL;
    net->free_pipes = pipe->next;
    net->free_pipe_count--;
    return pipe;
}

void rill_pipe_return(struct rill_net *net, struct rill_pipe *pipe)
{
    if (pipe->held > 0 || net->free_pipe_count >= MAX_FREE_PIPES) {
        pipe_close(net, pipe);
        return;
    }
    pipe->next = net->free_pipes;
    net->free_pipes = pipe;
    net->free_pipe_count++;
}

void rill_pipes_free(struct rill_net *net)
{
    while (net->free_pipes) {
        struct rill_pipe *pipe = net->free_pipes;
        net->free_pipes = pipe->next;
        pipe_close(net, pipe);
    }
    net->free_pipe_count = 0;
}
