/* main.c - rill-httpd: serves a folder of files. */
#include "../options.h"
#include "rill/http/files.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *what_to_do(int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
        return "give a folder that exists";
    case EACCES:
    case EPERM:
        return "give a folder that this user may read";
    case ENOSYS:
        return "Linux 5.6 or newer is needed";
    default:
        return "see rill-httpd --help";
    }
}

int main(int argc, char **argv)
{
    struct rill_files_config config = {0};
    const char *log = "stdout";
    uint64_t cache_bytes = 0;
    const struct rill_option options[] = {
        {.name = "--access-log",
         .value = "WHERE",
         .kind = RILL_OPTION_TEXT,
         .target = &log,
         .help = "off, stdout or a file, in combined format with duration (stdout)"},
        {.name = "--index",
         .value = "NAME",
         .kind = RILL_OPTION_TEXT,
         .target = &config.index,
         .help = "served for a folder; \"\" for none (index.html)"},
        {.name = "--listing",
         .kind = RILL_OPTION_FLAG,
         .target = &config.listing,
         .help = "show folders that have no index file (off)"},
        {.name = "--mime-types",
         .value = "FILE",
         .kind = RILL_OPTION_TEXT,
         .target = &config.mime_types,
         .help = "media types by extension (/etc/mime.types, else built in)"},
        {.name = "--cache-bytes",
         .value = "SIZE",
         .kind = RILL_OPTION_SIZE,
         .target = &cache_bytes,
         .min = 4096,
         .max = 1ull << 40,
         .help = "of small files kept in memory by each reactor (16m)"},
    };
    const char *root = getenv("RILL_ROOT");
    struct rill_app app = {
        .name = "rill-httpd",
        .summary = "serves a folder of files over HTTP",
        .operand = "ROOT",
        .options = options,
        .option_count = rill_array_length(options),
    };
    int status = rill_app_parse(&app, argc, argv), error;
    if (status >= 0)
        return status;

    config.root = app.operand_value ? app.operand_value : root && *root ? root : ".";
    config.cache_bytes = (size_t)cache_bytes;
    if (config.mime_types && access(config.mime_types, R_OK) < 0) {
        fprintf(stderr, "rill-httpd: cannot read the media types in %s: %s; give a table like /etc/mime.types\n",
                config.mime_types, strerror(errno));
        return 1;
    }
    struct rill_files *files = rill_files_new(&config, &error);
    if (!files) {
        fprintf(stderr, "rill-httpd: cannot serve %s: %s; %s\n", config.root, strerror(-error), what_to_do(error));
        return 1;
    }
    if (strcmp(log, "off") != 0)
        app.http.access_log = strcmp(log, "stdout") == 0 ? "-" : log;
    app.http.router = rill_router_new();
    status = 1;
    if (app.http.router && rill_router_add(app.http.router, "GET", "/*path", rill_files_handle, files) == 0)
        status = rill_app_serve_http(&app);
    rill_router_free(app.http.router);
    rill_files_free(files);
    return status;
}
