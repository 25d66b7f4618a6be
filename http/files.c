/* files.c - the file handler: a request finds its file in the loop's cache, or waits there while the pool looks.
 *
 * Names that begin with a dot are served like others: some have to be (/.well-known/, RFC 8615). They are not listed.
 */
#include "rill/http/files.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/file_cache_internal.h"
#include "rill/http/text.h"
#include <limits.h>
#include <linux/openat2.h>

enum { FRESH_MS = 1000 };

/* --- life --- */

static int open_root(const char *root)
{
    int fd = rill_sys_open(root, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    int probe = rill_sys_openat2(fd, ".", &how, sizeof how); /* -ENOSYS before Linux 5.6 */
    if (probe < 0) {
        int error = -errno;
        rill_sys_close(fd);
        return error;
    }
    rill_sys_close(probe);
    return fd;
}

struct rill_files *rill_files_new(const struct rill_files_config *config, int *error)
{
    const char *index = config->index ? config->index : "index.html";
    struct rill_files *files = rill_sys_calloc(1, sizeof *files);
    if (!files) {
        *error = -ENOMEM;
        return NULL;
    }
    files->listing = config->listing;
    files->cache_entries = config->cache_entries ? config->cache_entries : 512;
    files->cache_file_bytes = config->cache_file_bytes ? config->cache_file_bytes : 64 * 1024;
    files->cache_bytes = config->cache_bytes ? config->cache_bytes : 16 * 1024 * 1024;
    files->index_length = strlen(index);
    files->index = rill_sys_malloc(files->index_length + 1);
    files->root_fd = open_root(config->root);
    *error = files->root_fd < 0 ? files->root_fd : 0;
    if (*error == 0 && !files->index)
        *error = -ENOMEM;
    if (*error == 0)
        *error = rill_mime_load(&files->mime, config->mime_types);
    if (*error < 0) {
        rill_files_free(files);
        return NULL;
    }
    memcpy(files->index, index, files->index_length + 1);
    return files;
}

void rill_files_free(struct rill_files *files)
{
    if (!files)
        return;
    rill_mime_free(files->mime);
    if (files->root_fd >= 0)
        rill_sys_close(files->root_fd);
    rill_sys_free(files->index);
    rill_sys_free(files);
}

/* --- answers --- */

/* `/folder` to `/folder/`, so that links relative to it work. */
static void redirect(struct rill_exchange *x)
{
    struct rill_slice path = rill_exchange_path(x), query = rill_exchange_query(x);
    char *location = rill_arena_alloc(rill_exchange_arena(x), path.length * RILL_PATH_ENCODED_MAX + 2 + query.length);
    size_t length = 0;
    if (location) {
        length = rill_path_encode(location, path);
        location[length++] = '/';
        if (query.length > 0) {
            location[length++] = '?';
            memcpy(location + length, query.bytes, query.length);
            length += query.length;
        }
    }
    if (location && rill_exchange_set_header(x, "Location", (struct rill_slice){location, length}) == 0)
        rill_exchange_reply_status(x, 301);
    else
        rill_exchange_reply_status(x, 503);
}

/* What LOOKUP found is the answer to X. */
static void answer(struct rill_exchange *x, void *arg)
{
    struct rill_lookup *lookup = arg;
    if (lookup->status == 200 && lookup->listing)
        rill_exchange_reply_buf(x, 200, "text/html; charset=utf-8", rill_buf_ref(lookup->listing));
    else if (lookup->status == 200)
        rill_resource_send(x, lookup->resource);
    else if (lookup->status == 301)
        redirect(x);
    else
        rill_exchange_reply_status(x, lookup->status);
}

/* --- look-ups --- */

static void lookup_run(struct rill_job *job)
{
    rill_lookup_run(rill_container_of(job, struct rill_lookup, job));
}

static void lookup_free(struct rill_lookup *lookup)
{
    rill_resource_drop(lookup->resource);
    rill_buf_unref(lookup->listing);
    rill_sys_free(lookup);
}

/* Brings LOOKUP's entry up to date. LOOKUP keeps a reference of its own to what is to be sent. */
static void take_outcome(struct rill_lookup *lookup)
{
    struct rill_file_entry *entry = lookup->entry;
    if (lookup->status == 200 && lookup->unchanged)
        lookup->resource = rill_resource_hold(entry->resource);
    else
        rill_file_cache_put(lookup->cache, entry, lookup->resource ? rill_resource_hold(lookup->resource) : NULL);
    entry->checked_ms = lookup->begun_ms;
}

static void lookup_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct rill_lookup *lookup = rill_container_of(job, struct rill_lookup, job);
    if (!rill_loop_is_current(job->loop)) { /* the loop has ended, and the cache with it */
        lookup_free(lookup);
        return;
    }
    struct rill_file_entry *entry = lookup->entry;
    struct rill_list waiting;
    rill_list_init(&waiting);
    rill_list_splice_back(&waiting, &entry->waiting);
    entry->looking = false;
    entry->busy++; /* an answer may bring the next request along, and that one anything */
    if (outcome != RILL_JOB_RAN)
        lookup->status = 503;
    take_outcome(lookup);
    if (lookup->status == 503)
        rill_file_cache_clear(lookup->cache);
    struct rill_list *link;
    while ((link = rill_list_pop_front(&waiting))) {
        struct rill_exchange *x = rill_container_of(link, struct rill_file_request, link)->x;
        if (x->phase == RILL_RESPONSE_NONE) /* else its deadline was faster */
            rill_session_call(x, answer, lookup);
    }
    entry->busy--;
    rill_file_cache_trim(lookup->cache, entry);
    lookup_free(lookup);
}

/* Has the pool look at ENTRY's path. Returns 0 or a negative errno. */
static int look(struct rill_file_cache *cache, struct rill_file_entry *entry)
{
    const struct rill_files *files = cache->files;
    struct rill_lookup *lookup = rill_sys_malloc(sizeof *lookup + entry->path_length + files->index_length + 2);
    if (!lookup)
        return -ENOMEM;
    *lookup = (struct rill_lookup){
        .job = {.run = lookup_run, .done = lookup_done, .loop = cache->http->loop},
        .files = files,
        .cache = cache,
        .entry = entry,
        .begun_ms = rill_loop_now_ms(cache->http->loop),
        .skip = entry->skip,
        .path_length = entry->path_length,
    };
    memcpy(lookup->path, entry->path, entry->path_length);
    if (entry->resource && entry->resource->settled) {
        lookup->has_known = true;
        lookup->known = entry->resource->stamp;
    }
    int error = rill_workers_submit(rill_loop_workers(cache->http->loop), &lookup->job);
    if (error < 0)
        rill_sys_free(lookup);
    else
        entry->looking = true;
    return error;
}

/* The exchange ends. */
static void leave(void *arg)
{
    rill_list_remove(&((struct rill_file_request *)arg)->link);
}

/* Has X wait at ENTRY (NULL: none yet) until the file has been looked at. */
static void look_and_wait(struct rill_exchange *x, struct rill_file_cache *cache, struct rill_file_entry *entry,
                          struct rill_slice path, size_t skip)
{
    struct rill_file_request *request = rill_arena_alloc(rill_exchange_arena(x), sizeof *request);
    if (request) {
        request->x = x;
        rill_list_init(&request->link);
    }
    if (!request || rill_arena_on_reset(rill_exchange_arena(x), leave, request) < 0 ||
        !(entry = entry ? entry : rill_file_cache_add(cache, path, skip))) {
        rill_exchange_refuse(x);
        return;
    }
    if (!entry->looking && look(cache, entry) < 0) {
        rill_file_cache_trim(cache, entry);
        rill_exchange_refuse(x);
        return;
    }
    rill_list_push_back(&entry->waiting, &request->link);
}

/* --- the handler --- */

/* How many bytes of PATH come before the part that X's route leaves to the files. */
static size_t skip_of(const struct rill_exchange *x, struct rill_slice path)
{
    struct rill_slice rest = rill_exchange_param(x, "path");
    if (!rest.bytes)
        return 1; /* the first slash */
    return path.length - rest.length;
}

void rill_files_handle(struct rill_exchange *x, void *arg)
{
    enum rill_method method = rill_exchange_method(x);
    if (RILL_UNLIKELY(method != RILL_METHOD_GET && method != RILL_METHOD_HEAD)) {
        rill_exchange_set_header(x, "Allow", rill_slice_of("GET, HEAD")); /* always fits */
        rill_exchange_reply_status(x, 405);
        return;
    }
    struct rill_slice path = rill_exchange_path(x);
    size_t skip = skip_of(x, path);
    struct rill_file_cache *cache = rill_file_cache_of(rill_exchange_http(x), arg);
    if (RILL_UNLIKELY(!cache || path.length - skip >= PATH_MAX)) {
        rill_exchange_reply_status(x, cache ? 404 : 503);
        return;
    }
    struct rill_file_entry *entry = rill_file_cache_find(cache, path, skip);
    if (RILL_LIKELY(entry && entry->resource && !entry->looking &&
                    rill_loop_now_ms(rill_exchange_loop(x)) - entry->checked_ms < FRESH_MS)) {
        rill_file_cache_touch(cache, entry);
        rill_resource_send(x, entry->resource);
        return;
    }
    look_and_wait(x, cache, entry, path, skip);
}
