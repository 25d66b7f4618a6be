/* append.c - see append_internal.h. */
#include "rill/core/append_internal.h"

#include "rill/core/sys.h"

/* FD may only be written to; who may not read the file either does not learn it. */
static bool ends_within_a_line(const char *path, int fd)
{
    struct stat st;
    char last = '\n';
    if (rill_sys_fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    int reader = rill_sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
    if (reader < 0)
        return false;
    bool known = rill_sys_pread(reader, &last, 1, st.st_size - 1) == 1;
    rill_sys_close(reader);
    return known && last != '\n';
}

int rill_append_open(const char *path, int more, bool *torn)
{
    int fd = rill_sys_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | more, 0640);
    if (fd < 0)
        return -errno;
    *torn = ends_within_a_line(path, fd);
    return fd;
}
