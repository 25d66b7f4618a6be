/* files_listing.c - what is in a folder, as a page; on the pool. */
#include "rill/core/sys.h"
#include "rill/http/files_internal.h"
#include "rill/http/listing.h"
#include <limits.h>

enum {
    MAX_ENTRIES = 10000, /* nobody reads more, and a page is held in memory */
    MAX_NAME_BYTES = 4 << 20,
};

struct listing {
    const struct rill_files *files;
    struct rill_arena names;
    struct rill_listing_entry *entries;
    size_t count, capacity;
    char path[PATH_MAX + NAME_MAX + 1]; /* of the entry that is looked at */
    size_t folder_length;               /* bytes of `path` before its name */
};

/* Sees what ENTRY is, as a request for it would: a link that leads nowhere, or out of the root, is nothing. Returns 1:
 * it is to be shown; 0: it is not; or a negative errno when there was not what it takes to look: a page that left
 * something out because of that would pass for the whole. */
static int look_at(struct listing *listing, struct rill_listing_entry *entry)
{
    struct stat stat;
    if (entry->name.length > NAME_MAX)
        return 0;
    memcpy(listing->path + listing->folder_length, entry->name.bytes, entry->name.length);
    listing->path[listing->folder_length + entry->name.length] = '\0';
    int fd = rill_files_open_below(listing->files, listing->path, O_PATH);
    int error = fd < 0 ? fd : rill_sys_fstat(fd, &stat) < 0 ? -errno : 0;
    if (fd >= 0)
        rill_sys_close(fd);
    if (error < 0)
        return rill_files_status_of(error) >= 500 ? error : 0;
    if (!S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode))
        return 0;
    entry->is_directory = S_ISDIR(stat.st_mode);
    entry->size_bytes = (uint64_t)stat.st_size;
    entry->mtime_seconds = stat.st_mtim.tv_sec;
    return 1;
}

/* Adds NAME if it is to be shown. Returns 0 or a negative errno. */
static int add(struct listing *listing, const char *name)
{
    struct rill_listing_entry entry = {.name = rill_slice_of(name)};
    int shown = look_at(listing, &entry);
    if (shown <= 0)
        return shown;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 64;
        void *grown = rill_sys_realloc(listing->entries, capacity * sizeof entry);
        if (!grown)
            return -ENOMEM;
        listing->entries = grown;
        listing->capacity = capacity;
    }
    entry.name.bytes = rill_arena_copy(&listing->names, entry.name);
    if (!entry.name.bytes)
        return -ENOMEM;
    listing->entries[listing->count++] = entry;
    return 0;
}

/* Reads the folder FD, and closes it. Names that begin with a dot are not shown. */
static int read_folder(struct listing *listing, int fd)
{
    DIR *dir = rill_sys_fdopendir(fd);
    int error = 0;
    if (!dir) {
        error = -errno;
        rill_sys_close(fd);
        return error;
    }
    while (error == 0 && listing->count < MAX_ENTRIES) {
        errno = 0;
        const struct dirent *found = rill_sys_readdir(dir);
        if (!found) {
            error = -errno;
            break;
        }
        if (found->d_name[0] != '.')
            error = add(listing, found->d_name);
    }
    rill_sys_closedir(dir);
    return error;
}

static unsigned list(struct listing *listing, int fd, struct rill_slice path, struct rill_buf **page)
{
    int error = read_folder(listing, fd);
    char *html = NULL;
    size_t length = 0;
    if (error == 0)
        error = rill_listing_render(path, listing->entries, listing->count, &html, &length);
    if (error == 0) {
        *page = rill_buf_wrap(html, length, rill_sys_free, html);
        if (!*page) {
            rill_sys_free(html);
            error = -ENOMEM;
        }
    }
    return error == 0 ? 200 : rill_files_status_of(error);
}

unsigned rill_files_list(const struct rill_files *files, int fd, struct rill_slice path, size_t skip,
                         struct rill_buf **page)
{
    struct listing *listing = rill_sys_calloc(1, sizeof *listing);
    size_t below = path.length - skip;
    if (!listing || below >= PATH_MAX) {
        rill_sys_free(listing);
        rill_sys_close(fd);
        return listing ? 404 : 503;
    }
    listing->files = files;
    listing->folder_length = below;
    memcpy(listing->path, path.bytes + skip, below);
    rill_arena_init(&listing->names, NULL, 0, MAX_NAME_BYTES);
    unsigned status = list(listing, fd, path, page);
    rill_arena_free(&listing->names);
    rill_sys_free(listing->entries);
    rill_sys_free(listing);
    return status;
}
