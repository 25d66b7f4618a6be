/* admin_process.c - what the kernel says of this process. */
#include "rill/core/number.h"
#include "rill/core/sys.h"
#include "rill/http/admin_internal.h"

uint64_t rill_admin_resident_bytes(void)
{
    char text[128];
    int fd = rill_sys_open("/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    ssize_t got = rill_sys_read(fd, text, sizeof text - 1);
    rill_sys_close(fd);
    text[got > 0 ? got : 0] = '\0';
    size_t skipped = strcspn(text, " "); /* the first number is the size of the address space; all are pages */
    if (text[skipped] == '\0')
        return 0;
    struct rill_slice digits = {text + skipped + 1, strspn(text + skipped + 1, "0123456789")};
    uint64_t pages;
    return rill_decimal_parse(digits, &pages) == 0 ? pages * (uint64_t)rill_sys_page_size() : 0;
}

uint64_t rill_admin_descriptors(void)
{
    uint64_t count = 0;
    int fd = rill_sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *folder = fd < 0 ? NULL : rill_sys_fdopendir(fd);
    if (!folder) {
        if (fd >= 0)
            rill_sys_close(fd);
        return 0;
    }
    const struct dirent *entry;
    while ((entry = rill_sys_readdir(folder)))
        count += entry->d_name[0] != '.';
    rill_sys_closedir(folder);
    return count > 0 ? count - 1 : 0; /* without the one that looked */
}
