/* file_ref.c - descriptors with several holders on one loop. */
#include "rill/core/sys.h"
#include "rill/net/conn.h"

struct rill_file_ref {
    int fd;
    unsigned holders;
};

struct rill_file_ref *rill_file_ref_new(int fd)
{
    struct rill_file_ref *file = rill_sys_malloc(sizeof *file);
    if (!file) {
        rill_sys_close(fd);
        return NULL;
    }
    file->fd = fd;
    file->holders = 1;
    return file;
}

struct rill_file_ref *rill_file_ref_hold(struct rill_file_ref *file)
{
    file->holders++;
    return file;
}

void rill_file_ref_drop(struct rill_file_ref *file)
{
    if (!file || --file->holders > 0)
        return;
    rill_sys_close(file->fd);
    rill_sys_free(file);
}

int rill_file_ref_fd(const struct rill_file_ref *file)
{
    return file->fd;
}
