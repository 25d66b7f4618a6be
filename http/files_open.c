/* files_open.c - what a path means: the part of the file handler that asks the file system, on the pool.
 *
 * The kernel resolves the path below the root's descriptor (RESOLVE_BENEATH): a `..` or a link that leads out ends with
 * EXDEV, whatever is there, and that is answered as if nothing were. */
#include "rill/core/sys.h"
#include "rill/http/files_internal.h"
#include "rill/http/page_cache_internal.h"
#include "rill/http/text.h"
#include <linux/openat2.h>

enum {
    OPEN_TRIES = 16, /* of a path in which something was just renamed */
    READ_TRIES = 3,  /* of a file that changes while it is read */
    /* Clocks of file systems tick this coarsely; two changes within a tick leave the same time. */
    TICK_NS = 20 * 1000 * 1000,
};

int rill_files_open_below(const struct rill_files *files, const char *path, int flags)
{
    /* A FIFO would wait for a writer without O_NONBLOCK; a terminal would become ours without O_NOCTTY; openat2 refuses
     * both where O_PATH has no use for them. */
    flags |= flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    struct open_how how = {.flags = (unsigned)flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        int fd = rill_sys_openat2(files->root_fd, path, &how, sizeof how);
        if (fd >= 0)
            return fd;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return -EAGAIN;
}

unsigned rill_files_status_of(int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
    case EXDEV:
    case ELOOP:
    case ENAMETOOLONG:
    case EINVAL: /* a name that this file system cannot have */
    case EILSEQ:
        return 404;
    case EACCES:
    case EPERM:
    case ENXIO: /* a socket, or a device that is not there */
    case ENODEV:
        return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return 503;
    default:
        return 500;
    }
}

/* --- one version of a file --- */

struct rill_resource *rill_resource_hold(struct rill_resource *resource)
{
    resource->holders++;
    return resource;
}

void rill_resource_drop(struct rill_resource *resource)
{
    if (!resource || --resource->holders > 0)
        return;
    rill_file_ref_drop(resource->file);
    rill_buf_unref(resource->bytes);
    rill_sys_free(resource);
}

static struct rill_file_stamp stamp_of(const struct stat *stat)
{
    return (struct rill_file_stamp){
        .device = stat->st_dev,
        .inode = stat->st_ino,
        .size = (uint64_t)stat->st_size,
        .mtime_seconds = stat->st_mtim.tv_sec,
        .mtime_ns = stat->st_mtim.tv_nsec,
        .ctime_seconds = stat->st_ctim.tv_sec,
        .ctime_ns = stat->st_ctim.tv_nsec,
    };
}

static bool stamps_equal(const struct rill_file_stamp *a, const struct rill_file_stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_seconds == b->mtime_seconds && a->mtime_ns == b->mtime_ns && a->ctime_seconds == b->ctime_seconds &&
           a->ctime_ns == b->ctime_ns;
}

/* Whether the last change is so long ago that another one would leave another time. */
static bool at_rest(const struct rill_file_stamp *stamp, uint64_t now_ns)
{
    int64_t changed_ns = stamp->ctime_seconds * 1000000000 + stamp->ctime_ns;
    return changed_ns + TICK_NS < (int64_t)now_ns;
}

static char *put_text(char *p, const char *text)
{
    size_t length = strlen(text);
    memcpy(p, text, length);
    return p + length;
}

/* Writes the header lines of RESOURCE. A strong entity tag: it is made of all that a change of the file changes. */
static void write_fields(struct rill_resource *resource, struct rill_slice content_type)
{
    const struct rill_file_stamp *stamp = &resource->stamp;
    char *p = put_text(resource->text, "ETag: \"");
    p += rill_hex_format(p, (uint64_t)(stamp->mtime_seconds * 1000000000 + stamp->mtime_ns));
    *p++ = '-';
    p += rill_hex_format(p, stamp->size);
    *p++ = '-';
    p += rill_hex_format(p, stamp->inode);
    *p++ = '"';
    resource->etag_length = (uint16_t)(p - rill_resource_etag(resource).bytes);
    p = put_text(p, "\r\nLast-Modified: ");
    rill_http_date_format(p, stamp->mtime_seconds);
    p = put_text(p + RILL_HTTP_DATE_LENGTH, "\r\nAccept-Ranges: bytes\r\n");
    resource->common_length = (uint16_t)(p - resource->text);
    p = put_text(p, "Content-Type: ");
    memcpy(p, content_type.bytes, content_type.length);
    p = put_text(p + content_type.length, "\r\n");
    resource->fields_length = (uint16_t)(p - resource->text);
}

/* The first SIZE bytes of FD; NULL with *ERROR set: -ENODATA when there are fewer. */
static struct rill_buf *read_whole(int fd, size_t size, int *error)
{
    struct rill_buf *buf = rill_buf_new(size);
    *error = buf ? 0 : -ENOMEM;
    for (size_t at = 0; *error == 0 && at < size;) {
        char *room = rill_buf_reserve(&buf, size - at);
        ssize_t got = room ? rill_sys_pread(fd, room, size - at, (off_t)at) : -1;
        if (got > 0) {
            rill_buf_commit(buf, (size_t)got);
            at += (size_t)got;
        } else if (got == 0 || !room) {
            *error = room ? -ENODATA : -ENOMEM;
        } else if (errno != EINTR) {
            *error = -errno;
        }
    }
    if (*error == 0)
        return buf;
    rill_buf_unref(buf);
    return NULL;
}

/* Takes the version of the regular file FD that STAT saw, and closes FD unless the version needs it. Returns 0 or a
 * negative errno. */
static int take_version(struct rill_lookup *lookup, int fd, struct stat *stat, struct rill_slice path)
{
    const struct rill_files *files = lookup->files;
    struct rill_slice content_type = rill_mime_of_path(files->mime, path);
    uint64_t now_ns = rill_sys_realtime_ns();
    struct rill_buf *bytes = NULL;
    int error = -ENODATA;
    for (int tries = 0; tries < READ_TRIES && error == -ENODATA; tries++) {
        error = tries > 0 && rill_sys_fstat(fd, stat) < 0 ? -errno : 0;
        if (error == 0 && (uint64_t)stat->st_size <= files->cache_file_bytes)
            bytes = read_whole(fd, (size_t)stat->st_size, &error);
    }
    /* One that shrinks all the time is sent as the disk has it. */
    struct rill_resource *resource =
        error == 0 || error == -ENODATA ? rill_sys_calloc(1, sizeof *resource + 256 + content_type.length) : NULL;
    if (!resource) {
        rill_buf_unref(bytes);
        rill_sys_close(fd);
        return error == 0 || error == -ENODATA ? -ENOMEM : error;
    }
    resource->holders = 1;
    resource->stamp = stamp_of(stat);
    resource->settled = at_rest(&resource->stamp, now_ns);
    resource->bytes = bytes;
    write_fields(resource, content_type);
    if (bytes) {
        rill_sys_close(fd);
    } else {
        /* Or else sendfile(2) would begin to read what follows, and cachestat(2) would count pages still on their way.
         */
        rill_sys_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
        resource->pages_counted = rill_page_cache_counts(fd);
        resource->file = rill_file_ref_new(fd);
        if (!resource->file) {
            rill_resource_drop(resource);
            return -ENOMEM;
        }
    }
    lookup->resource = resource;
    return 0;
}

/* --- paths --- */

/* The open file FD, whose name is PATH, is the answer. */
static unsigned found_file(struct rill_lookup *lookup, int fd, struct stat *stat, struct rill_slice path)
{
    struct rill_file_stamp stamp = stamp_of(stat);
    if (lookup->has_known && stamps_equal(&stamp, &lookup->known)) {
        lookup->unchanged = true;
        rill_sys_close(fd);
        return 200;
    }
    int error = take_version(lookup, fd, stat, path);
    return error < 0 ? rill_files_status_of(error) : 200;
}

/* What a path without a slash at its end means. */
static unsigned look_for_file(struct rill_lookup *lookup, const char *below)
{
    struct stat stat;
    int fd = rill_files_open_below(lookup->files, below, O_RDONLY);
    if (fd < 0)
        return rill_files_status_of(fd);
    int error = rill_sys_fstat(fd, &stat) < 0 ? -errno : 0;
    if (error == 0 && S_ISREG(stat.st_mode))
        return found_file(lookup, fd, &stat, rill_slice_of(below));
    rill_sys_close(fd);
    if (error < 0)
        return rill_files_status_of(error);
    return S_ISDIR(stat.st_mode) ? 301 : 403;
}

/* What a folder means: its index file, its listing, or nothing that one may see. */
static unsigned look_for_folder(struct rill_lookup *lookup)
{
    const struct rill_files *files = lookup->files;
    char *end = lookup->path + lookup->path_length, *below = lookup->path + lookup->skip;
    if (files->index_length > 0) {
        memcpy(end, files->index, files->index_length + 1);
        unsigned status = look_for_file(lookup, below);
        bool is_missing = status == 301 || status == 404; /* a folder called like the index file is no index file */
        if (!is_missing)
            return status;
    }
    memcpy(end, ".", 2); /* the root's own path is empty */
    int fd = rill_files_open_below(files, below, O_DIRECTORY | (files->listing ? O_RDONLY : O_PATH));
    if (fd < 0)
        return rill_files_status_of(fd);
    if (files->listing)
        return rill_files_list(files, fd, (struct rill_slice){lookup->path, lookup->path_length}, lookup->skip,
                               &lookup->listing);
    rill_sys_close(fd);
    return 403;
}

void rill_lookup_run(struct rill_lookup *lookup)
{
    size_t length = lookup->path_length - lookup->skip;
    char *below = lookup->path + lookup->skip;
    below[length] = '\0';
    if (memchr(below, '\0', length))
        lookup->status = 404;
    else if (length == 0 || below[length - 1] == '/')
        lookup->status = look_for_folder(lookup);
    else
        lookup->status = look_for_file(lookup, below);
}
