/* main.c - rill-cache: keeps values in memory, found by their keys; memcached's text protocol. */
#include "../options.h"
#include "rill/core/sys.h"
#include "session.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static struct rill_cache cache = {.version = "1.6.0-rill-" RILL_VERSION, .verbosity = 1};
    struct rill_store_config config = {.memory_bytes = 64 << 20, .max_item_bytes = 1 << 20};
    const struct rill_option options[] = {
        {"--memory", "SIZE", "for items, with all that keeping them costs; then the least recently used go (64m)",
         RILL_OPTION_SIZE, &config.memory_bytes, .min = 4096, .max = UINT64_C(1) << 40},
        {"--max-item", "SIZE", "of one item, with its key and some 100 bytes (1m)", RILL_OPTION_SIZE_32,
         &config.max_item_bytes, .min = 1024, .max = 1 << 30},
    };
    struct rill_app app = {
        .name = "rill-cache",
        .summary = "keeps values in memory, found by their keys: memcached's text protocol",
        .options = options,
        .option_count = rill_array_length(options),
        .kind = RILL_APP_SERVER,
        .default_listen = "127.0.0.1:11211",
        .server = {.handler = &rill_cache_handler, .arg = &cache, .max_input_bytes = RILL_CACHE_MAX_INPUT}};
    int error, status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    cache.threads = config.threads = app.server.threads > 0 ? (unsigned)app.server.threads : 1;
    cache.started_ns = rill_clock_ns();
    while (!rill_log_enabled(cache.log_level) && cache.log_level < RILL_LOG_OFF)
        cache.log_level++;
    if (rill_sys_getrandom(&config.seed, sizeof config.seed, 0) < 0)
        config.seed = cache.started_ns;
    cache.store = rill_store_new(&config, &error);
    if (!cache.store) {
        fprintf(stderr, "rill-cache: cannot keep %llu bytes: %s\n", (unsigned long long)config.memory_bytes,
                error == -EINVAL ? "--memory has to be twice --max-item at least" : strerror(-error));
        return error == -EINVAL ? 2 : 1;
    }
    status = rill_app_serve(&app);
    rill_store_free(cache.store);
    return status;
}
