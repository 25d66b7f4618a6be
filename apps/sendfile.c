/* sendfile.c - rill-sendfile: sends one file to everybody who connects, in one of three ways.
 *
 *   memory    the whole file, read at the start into one counted buffer that all connections share
 *   pieces    piece by piece: as much as the high watermark allows, and more when on_drain says that there is room
 *   sendfile  sendfile(2): the kernel's page cache goes straight into the socket
 *
 * The first is for small files; the second for bytes that are made on the way; the third costs no memory and the fewest
 * copies. A loop must not wait for a disk: this program trusts the page cache, rill-httpd's files.c makes sure. */
#include "options.h"
#include "rill/core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_fd;
static uint64_t file_size;
static struct rill_buf *file_buf;

static void send_memory(struct rill_conn *conn)
{
    rill_conn_send_buf(conn, rill_buf_ref(file_buf));
    rill_conn_finish(conn, true);
}

/* The connection's own pointer is all that has to be remembered: how far it has come. */
static void send_pieces(struct rill_conn *conn)
{
    char piece[64 * 1024];
    while (rill_conn_is_open(conn) && !rill_conn_is_full(conn)) {
        uintptr_t offset = (uintptr_t)rill_conn_user(conn);
        ssize_t got = pread(file_fd, piece, sizeof piece, (off_t)offset);
        if (got > 0 && rill_conn_send(conn, piece, (size_t)got) == 0)
            rill_conn_set_user(conn, (void *)(offset + (uintptr_t)got));
        else if (got == 0)
            rill_conn_finish(conn, true);
        else
            rill_conn_close(conn, RILL_CLOSE_LOCAL); /* cut off, so that nobody takes it for whole */
    }
}

static void send_by_kernel(struct rill_conn *conn)
{
    rill_conn_send_file(conn, rill_loop_slot(rill_conn_loop(conn), RILL_LOOP_SLOT_APP), 0, file_size);
    rill_conn_finish(conn, true);
}

static void drop_file(void *file)
{
    rill_file_ref_drop(file);
}

/* A counted descriptor belongs to one loop, so each loop has its own. */
static int on_loop_start(struct rill_loop *loop, void *arg)
{
    int fd = dup(file_fd);
    struct rill_file_ref *file = fd < 0 ? NULL : rill_file_ref_new(fd);
    if (!file)
        return -ENOMEM;
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, file, drop_file);
    return 0;
}

/* Opens PATH, and reads it when it is to be sent from memory. Returns 0 or a negative errno. */
static int prepare(const char *path, bool into_memory)
{
    char piece[64 * 1024];
    struct stat st;
    ssize_t got;
    file_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file_fd < 0 || fstat(file_fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    file_size = (uint64_t)st.st_size;
    if (!into_memory)
        return 0;
    file_buf = rill_buf_new(file_size);
    if (!file_buf)
        return -ENOMEM;
    while ((got = read(file_fd, piece, sizeof piece)) > 0)
        if (rill_buf_append(&file_buf, piece, (size_t)got) < 0)
            return -ENOMEM;
    return got < 0 ? -errno : 0;
}

static const struct {
    const char *name;
    struct rill_conn_handler handler;
} ways[] = {{"sendfile", {.on_open = send_by_kernel}},
            {"memory", {.on_open = send_memory}},
            {"pieces", {.on_open = send_pieces, .on_drain = send_pieces}}};

static int parse_way(void *target, const char *text, const char **wanted)
{
    *wanted = "memory, pieces or sendfile is wanted";
    for (unsigned i = 0; i < rill_array_length(ways); i++) {
        if (strcmp(text, ways[i].name) == 0) {
            *(const struct rill_conn_handler **)target = &ways[i].handler;
            return 0;
        }
    }
    return -EINVAL;
}

int main(int argc, char **argv)
{
    struct rill_app app = {.name = "rill-sendfile",
                           .summary = "sends FILE to everybody who connects",
                           .operand = "FILE",
                           .kind = RILL_APP_SERVER,
                           .default_listen = "127.0.0.1:7020",
                           .server = {.handler = &ways[0].handler, .on_loop_start = on_loop_start}};
    const struct rill_option options[] = {{"--way", "WAY", "memory, pieces or sendfile (sendfile)", RILL_OPTION_CUSTOM,
                                           &app.server.handler, .parse = parse_way}};
    app.options = options;
    app.option_count = rill_array_length(options);
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    if (!app.operand_value) {
        fprintf(stderr, "%s: no file to send; see %s --help\n", app.name, app.name);
        return 2;
    }
    bool into_memory = app.server.handler->on_open == send_memory;
    int error = prepare(app.operand_value, into_memory);
    if (error < 0) {
        rill_log_error("%s: cannot send %s: %s; name a file that can be read", app.name, app.operand_value,
                       error == -EINVAL ? "it is no regular file" : strerror(-error));
        return 1;
    }
    status = rill_app_serve(&app);
    rill_buf_unref(file_buf);
    return status;
}
