/* echo_uv.c - echo with libuv. All reads of a loop land in one buffer and are written from there at once; only what
 * the socket would not take is copied and written later, and nothing is read meanwhile.
 *
 *     echo_uv PORT LOOPS */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "peer.h"

enum { BUFFER_BYTES = 64 * 1024 };

struct rest {
    uv_write_t request;
    char bytes[];
};

static _Thread_local char buffer[BUFFER_BYTES];

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *from);

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void finish(uv_stream_t *stream)
{
    if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, on_closed);
    }
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *into)
{
    (void)handle;
    (void)suggested;
    *into = uv_buf_init(buffer, sizeof(buffer));
}

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;

    free(request);
    if (status < 0 || uv_read_start(stream, on_room, on_read) != 0) {
        finish(stream);
    }
}

static void write_later(uv_stream_t *stream, const char *bytes, size_t length)
{
    struct rest *rest = malloc(sizeof(*rest) + length);
    uv_buf_t later;

    if (rest == NULL) {
        peer_die("malloc");
    }
    memcpy(rest->bytes, bytes, length);
    later = uv_buf_init(rest->bytes, (unsigned)length);
    uv_read_stop(stream);
    if (uv_write(&rest->request, stream, &later, 1, on_written) != 0) {
        free(rest);
        finish(stream);
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *from)
{
    if (got <= 0) {
        if (got < 0) {
            finish(stream);
        }
        return;
    }
    uv_buf_t now = uv_buf_init(from->base, (unsigned)got);
    int sent = uv_try_write(stream, &now, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        finish(stream);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < got) {
        write_later(stream, from->base + sent, (size_t)(got - sent));
    }
}

static void on_inbox(uv_poll_t *poll, int status, int events)
{
    int fd;

    (void)events;
    if (status < 0) {
        peer_die("uv_poll");
    }
    while ((fd = peer_take((int)(intptr_t)poll->data)) >= 0) {
        uv_tcp_t *tcp = malloc(sizeof(*tcp));
        if (tcp == NULL || uv_tcp_init(poll->loop, tcp) != 0 || uv_tcp_open(tcp, fd) != 0 ||
            uv_read_start((uv_stream_t *)tcp, on_room, on_read) != 0) {
            peer_die("cannot adopt a connection");
        }
    }
}

static void run(int inbox)
{
    uv_loop_t loop;
    uv_poll_t incoming = {.data = (void *)(intptr_t)inbox};

    if (uv_loop_init(&loop) != 0 || uv_poll_init(&loop, &incoming, inbox) != 0 ||
        uv_poll_start(&incoming, UV_READABLE, on_inbox) != 0) {
        peer_die("cannot start a loop");
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    exit(1);
}

int main(int argc, char **argv)
{
    peer_serve(argc, argv, run);
}
