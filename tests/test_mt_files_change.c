/* test_mt_files_change.c - files that change, the loop's cache, waiting for look-ups, cold files, clients that leave.
 */
#include "rill/core/sys.h"
#include "rill/http/file_cache_internal.h"
#include "rill/http/page_cache_internal.h"
#include "support/file_site.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

static struct site site;

static void start(struct rill_files_config config, unsigned workers, unsigned queue)
{
    site_start(&site, config,
               (struct rill_http_server_config){.net = {.threads = 1, .workers = workers, .worker_queue = queue}});
}

/* --- looking into the loop's cache --- */

struct cache_state {
    unsigned count, entries; /* with a file, and all */
    size_t bytes;
    bool has_zero;                      /* there is one for `/0` */
    uint64_t oldest_by_ms;              /* in: makes all entries so much older */
    const struct rill_resource *newest; /* of what was used last */
};

static void look_at_cache(struct rill_loop *loop, void *arg)
{
    struct cache_state *state = arg;
    struct rill_file_cache *cache = rill_file_cache_of(rill_http_loop_of(loop), site.files);
    state->count = cache->count;
    state->bytes = cache->bytes;
    for (size_t i = 0; i <= cache->bucket_mask; i++)
        for (struct rill_file_entry *entry = cache->buckets[i]; entry; entry = entry->next) {
            state->entries++;
            entry->checked_ms -= state->oldest_by_ms;
        }
    state->has_zero = rill_file_cache_find(cache, rill_slice_of("/0"), 1) != NULL;
    if (cache->count > 0)
        state->newest = rill_container_of(cache->lru.next, struct rill_file_entry, lru)->resource;
}

static struct cache_state cache_state(void)
{
    struct cache_state state = {0};
    site_on_loop(&site, 0, look_at_cache, &state);
    return state;
}

/* As if seconds had passed. */
static void age(void)
{
    struct cache_state state = {.oldest_by_ms = 5000};
    site_on_loop(&site, 0, look_at_cache, &state);
}

/* The body of PATH is what site_bytes(SIZE, SEED) gives. */
static void check(const char *path, size_t size, uint64_t seed)
{
    struct response response = site_request(&site, "GET", path, "");
    char *bytes = site_bytes(size, seed);
    ck_assert_msg(response.status == 200 && response.body_length == size, "%s: %u, %zu bytes", path, response.status,
                  response.body_length);
    ck_assert(memcmp(response.body, bytes, size) == 0);
    free(bytes);
    response_free(&response);
}

/* Whether PATH comes from the cache, with no work for the pool. On a machine that stands still for a second the entry
 * is old; then once more. */
static bool is_cached(const char *path, size_t size, uint64_t seed)
{
    for (int tries = 0; tries < 20; tries++) {
        uint64_t jobs = site_jobs(&site);
        check(path, size, seed);
        if (site_jobs(&site) == jobs)
            return true;
    }
    return false;
}

/* --- changes --- */

START_TEST(a_change_shows_when_the_entry_is_old)
{
    static const size_t sizes[] = {2000, 200000}; /* in memory, and not */
    start((struct rill_files_config){0}, 2, 0);
    for (size_t i = 0; i < 2; i++) {
        size_t size = sizes[i];
        site_write(&site, "f", size, 1);
        check("/f", size, 1);
        ck_assert(is_cached("/f", size, 1));
        uint64_t jobs = site_jobs(&site);

        site_write(&site, "f", size, 2); /* of the same size, within the same tick perhaps */
        age();
        check("/f", size, 2);
        ck_assert_uint_eq(site_jobs(&site), jobs + 1);

        site_write(&site, "new", size + 5, 3);
        rename(site_path(&site, "new"), site_path(&site, "f"));
        age();
        check("/f", size + 5, 3);

        unlink(site_path(&site, "f"));
        age();
        ck_assert_uint_eq(site_status(&site, "/f"), 404);
        ck_assert_uint_eq(cache_state().entries, 0);
        mkdir(site_path(&site, "f"), 0755);
        ck_assert_uint_eq(site_status(&site, "/f"), 301); /* what is missing is not remembered */
        rmdir(site_path(&site, "f"));
    }
    site_stop(&site);
}
END_TEST

START_TEST(every_change_gets_its_own_tag)
{
    char before[100] = "";
    start((struct rill_files_config){0}, 1, 0);
    for (int i = 0; i < 5; i++) {
        site_write(&site, "f", 100, (uint64_t)i);
        struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000, .tv_nsec = i}};
        utimensat(AT_FDCWD, site_path(&site, "f"), times, 0);
        age();
        struct response response = site_request(&site, "GET", "/f", "");
        ck_assert_str_ne(response_field(&response, "ETag"), before);
        snprintf(before, sizeof before, "%s", response_field(&response, "ETag"));
        response_free(&response);
    }
    site_stop(&site);
}
END_TEST

START_TEST(what_has_not_changed_is_kept)
{
    start((struct rill_files_config){0}, 1, 0);
    site_write(&site, "f", 2000, 1);
    do { /* until the file has been at rest for a while */
        poll(NULL, 0, 5);
        age();
        check("/f", 2000, 1);
    } while (!cache_state().newest->settled);
    const struct rill_resource *kept = cache_state().newest;
    age();
    uint64_t jobs = site_jobs(&site);
    check("/f", 2000, 1);
    ck_assert_uint_eq(site_jobs(&site), jobs + 1); /* it was looked at ... */
    ck_assert_ptr_eq(cache_state().newest, kept);  /* ... and not read again */
    site_stop(&site);
}
END_TEST

/* Reads LENGTH bytes off FD. */
static void take(int fd, char *into, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t got = recv(fd, into + at, length - at, 0);
        ck_assert_int_gt(got, 0);
        at += (size_t)got;
    }
}

/* How many more bytes come off FD before it ends. */
static size_t drain(int fd)
{
    static char buffer[65536];
    size_t total = 0;
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        total += (size_t)got;
    return total;
}

/* What is left on FD, of whose head some has been read, is that and site_bytes(SIZE, SEED). Closes FD. */
static void take_rest(int fd, size_t size, uint64_t seed)
{
    struct response response = client_read(fd, true);
    char *body = malloc(size), *bytes = site_bytes(size, seed);
    take(fd, body, size);
    ck_assert(memcmp(body, bytes, size) == 0);
    free(body);
    free(bytes);
    response_free(&response);
    close(fd);
}

/* A connection with a request for PATH on it that takes little at a time. */
static int dial_slowly(const char *path)
{
    char request[200];
    int fd = site_dial(&site), small = 65536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    client_send(fd, request);
    return fd;
}

enum { LARGE = 40 << 20 };

START_TEST(truncation_ends_that_response_alone)
{
    static char start_of_it[1000];
    start((struct rill_files_config){0}, 2, 0);
    site_write(&site, "large", LARGE, 1);
    site_write(&site, "other", 300000, 2);
    int fd = dial_slowly("/large");
    take(fd, start_of_it, sizeof start_of_it);
    ck_assert_ptr_nonnull(strstr(start_of_it, "Content-Length: 41943040\r\n"));
    ck_assert_int_eq(truncate(site_path(&site, "large"), 100000), 0);
    ck_assert_uint_lt(drain(fd), LARGE); /* it ends before it should: the client can tell */
    close(fd);
    check("/other", 300000, 2);
    age();
    struct response response = site_request(&site, "GET", "/large", "");
    ck_assert_uint_eq(response.body_length, 100000);
    ck_assert(!response.closed);
    response_free(&response);
    site_stop(&site);
}
END_TEST

START_TEST(deletion_harms_no_download)
{
    start((struct rill_files_config){0}, 2, 0);
    site_write(&site, "large", LARGE, 1);
    int fd = dial_slowly("/large");
    char first;
    take(fd, &first, 1);
    unlink(site_path(&site, "large"));
    age();
    ck_assert_uint_eq(site_status(&site, "/large"), 404); /* the cache has let go of it */
    ck_assert_int_eq(first, 'H');
    take_rest(fd, LARGE, 1);
    site_stop(&site);
}
END_TEST

/* --- bounds --- */

/* Asks for 100 files one after the other, and for one of them all the time. */
static void check_bounds(struct rill_files_config config)
{
    char name[32];
    unsigned fullest = 0;
    start(config, 2, 0);
    for (int i = 0; i < 100; i++) {
        size_t size = i % 3 == 2 ? 6000 : 4000; /* every third is not kept in memory */
        snprintf(name, sizeof name, "/%d", i);
        site_write(&site, name + 1, size, (uint64_t)i);
        check(name, size, (uint64_t)i);
        ck_assert(cache_state().has_zero); /* what is used stays */
        check("/0", 4000, 0);
        ck_assert_uint_eq(site_status(&site, "/missing"), 404);
        struct cache_state state = cache_state();
        fullest = state.count > fullest ? state.count : fullest;
        ck_assert_uint_le(state.count, config.cache_entries);
        ck_assert_uint_eq(state.entries, state.count);
        ck_assert_uint_le(state.bytes, config.cache_bytes);
    }
    ck_assert_uint_ge(fullest, 7);
    uint64_t jobs = site_jobs(&site);
    check("/1", 4000, 1);
    ck_assert_uint_eq(site_jobs(&site), jobs + 1); /* what is not goes */
    site_stop(&site);
}

START_TEST(the_cache_keeps_its_bounds)
{
    check_bounds((struct rill_files_config){.cache_entries = 10, .cache_file_bytes = 5000, .cache_bytes = 1 << 20});
    check_bounds((struct rill_files_config){.cache_entries = 1000, .cache_file_bytes = 5000, .cache_bytes = 20000});
}
END_TEST

START_TEST(a_file_larger_than_the_whole_cache)
{
    start((struct rill_files_config){.cache_file_bytes = 50000, .cache_bytes = 10000}, 1, 0);
    site_write(&site, "f", 40000, 1);
    check("/f", 40000, 1);
    check("/f", 40000, 1);
    ck_assert_uint_le(cache_state().bytes, 10000);
    site_stop(&site);
}
END_TEST

/* --- waiting --- */

enum { CROWD = 50 };

static int block_worker(void)
{
    int fd = site_dial(&site);
    client_send(fd, "GET /block HTTP/1.1\r\nHost: x\r\n\r\n");
    site_wait_running(&site, 1);
    return fd;
}

static void unblock_worker(int fd)
{
    site_unblock(1);
    struct response response = client_read(fd, false);
    ck_assert_uint_eq(response.status, 200);
    response_free(&response);
    close(fd);
}

/* The loop has looked at all that was sent before. */
static void ping(void)
{
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(site_status(&site, "/pong"), 200);
}

START_TEST(a_crowd_costs_one_look)
{
    int fds[CROWD];
    start((struct rill_files_config){0}, 1, 0);
    site_write(&site, "f", 5000, 1);
    char *bytes = site_bytes(5000, 1);
    int blocked = block_worker();
    for (int i = 0; i < CROWD; i++) {
        fds[i] = site_dial(&site);
        client_send(fds[i], "GET /f HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    ping();
    unblock_worker(blocked);
    for (int i = 0; i < CROWD; i++) {
        struct response response = client_read(fds[i], false);
        ck_assert_uint_eq(response.status, 200);
        ck_assert_uint_eq(response.body_length, 5000);
        ck_assert(memcmp(response.body, bytes, 5000) == 0);
        response_free(&response);
        close(fds[i]);
    }
    ck_assert_uint_eq(site_jobs(&site), 2); /* the block, and one look */
    free(bytes);
    site_stop(&site);
}
END_TEST

/* Those who wait leave, all or some, with an old entry or none; those who stay are served. */
START_TEST(clients_that_leave_while_they_wait)
{
    start((struct rill_files_config){0}, 1, 0);
    site_write(&site, "f", 5000, 1);
    for (int round = 0; round < 8; round++) {
        int fds[CROWD], blocked = block_worker();
        for (int i = 0; i < CROWD; i++) {
            fds[i] = site_dial(&site);
            client_send(fds[i], "GET /f HTTP/1.1\r\nHost: x\r\n\r\nGET /f HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        ping();
        for (int i = 0; i < CROWD; i++)
            if (round % 2 == 0 || i % 2 == 0) {
                struct linger reset = {.l_onoff = 1};
                setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                close(fds[i]);
                fds[i] = -1;
            }
        ping();
        unblock_worker(blocked);
        for (int i = 0; i < CROWD; i++)
            for (int twice = 0; fds[i] >= 0 && twice < 2; twice++) {
                struct response response = client_read(fds[i], false);
                ck_assert_uint_eq(response.body_length, 5000);
                response_free(&response);
                if (twice == 1)
                    close(fds[i]);
            }
        check("/f", 5000, 1);
        age();
    }
    site_stop(&site);
}
END_TEST

START_TEST(a_deadline_passes_while_waiting)
{
    start((struct rill_files_config){0}, 1, 0);
    site_write(&site, "f", 5000, 1);
    int blocked = block_worker(), fd = site_dial(&site);
    /* The body keeps the exchange alive after its answer. */
    client_send(fd, "GET /soon/f HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab");
    struct response response = client_read(fd, false);
    ck_assert_uint_eq(response.status, 503);
    response_free(&response);
    unblock_worker(blocked);
    check("/f", 5000, 1);
    client_send(fd, "cd");
    close(fd);
    check("/soon/f", 5000, 1);
    site_stop(&site);
}
END_TEST

START_TEST(a_full_queue_is_503)
{
    start((struct rill_files_config){0}, 1, 1);
    site_write(&site, "f", 5000, 1);
    site_write(&site, "g", 5000, 1);
    int blocked = block_worker(), waiting = site_dial(&site);
    client_send(waiting, "GET /f HTTP/1.1\r\nHost: x\r\n\r\n");
    ping();
    struct response response = site_request(&site, "GET", "/g", "");
    ck_assert_uint_eq(response.status, 503);
    ck_assert_str_ne(response_field(&response, "Retry-After"), "");
    response_free(&response);
    unblock_worker(blocked);
    response = client_read(waiting, false);
    ck_assert_uint_eq(response.status, 200);
    response_free(&response);
    close(waiting);
    check("/g", 5000, 1);
    ck_assert_uint_eq(cache_state().entries, 2);
    site_stop(&site);
}
END_TEST

START_TEST(a_server_stops_while_clients_wait)
{
    start((struct rill_files_config){0}, 2, 0);
    site_write(&site, "f", 5000, 1);
    site_write(&site, "large", LARGE, 1);
    int large = dial_slowly("/large"), blocked = block_worker(), waiting[CROWD];
    for (int i = 0; i < CROWD; i++) {
        waiting[i] = site_dial(&site);
        client_send(waiting[i], i % 2 ? "GET /f HTTP/1.1\r\nHost: x\r\n\r\n" : "GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    site_unblock(1); /* or the pool could not be joined */
    site_stop(&site);
    for (int i = 0; i < CROWD; i++)
        close(waiting[i]);
    close(blocked);
    close(large);
}
END_TEST

/* --- cold files --- */

/* Drops the file from the page cache; false when what lies behind FROM is still there (it never goes on tmpfs). */
static bool evict(const char *name, uint64_t from)
{
    struct rill_sys_cachestat_range range = {from, LARGE};
    struct rill_sys_cachestat stat = {0};
    int fd = open(site_path(&site, name), O_RDONLY);
    ck_assert_int_eq(fsync(fd), 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    bool gone = rill_sys_cachestat(fd, &range, &stat, 0) == 0 && stat.cached == 0;
    close(fd);
    return gone;
}

START_TEST(a_cold_file_is_read_by_the_pool)
{
    start((struct rill_files_config){0}, 2, 0);
    site_write(&site, "large", LARGE, 1);
    ck_assert(is_cached("/large", LARGE, 1)); /* warm: the look-up is all that the pool does */
    uint64_t jobs = site_jobs(&site);
    bool gone = evict("large", 0);
    check("/large", LARGE, 1);
    if (gone)
        ck_assert_uint_gt(site_jobs(&site), jobs);
    evict("large", 0);
    struct response response = site_request(&site, "GET", "/large", "Range: bytes=5-5000000,20000000-20000099\r\n");
    ck_assert_uint_eq(response.status, 206);
    ck_assert(!response.closed);
    response_free(&response);
    site_stop(&site);
}
END_TEST

START_TEST(a_file_that_goes_cold_on_the_way)
{
    enum { TURN = 10 << 20, AHEAD = 8 << 20 }; /* more than fits into the sockets */
    start((struct rill_files_config){0}, 2, 0);
    site_write(&site, "large", LARGE, 1);
    int fd = dial_slowly("/large");
    char *body = malloc(LARGE), *bytes = site_bytes(LARGE, 1);
    struct response response = client_read(fd, true);
    for (size_t at = 0; at < LARGE; at += TURN) {
        uint64_t jobs = site_jobs(&site);
        bool gone = at + AHEAD < LARGE && evict("large", at + AHEAD);
        take(fd, body + at, TURN);
        if (gone && at + TURN < LARGE)
            ck_assert_uint_gt(site_jobs(&site), jobs);
    }
    ck_assert(memcmp(body, bytes, LARGE) == 0);
    response_free(&response);
    free(body);
    free(bytes);
    close(fd);
    site_stop(&site);
}
END_TEST

START_TEST(clients_leave_cold_downloads)
{
    start((struct rill_files_config){0}, 1, 0);
    site_write(&site, "large", LARGE, 1);
    for (int i = 0; i < 30; i++) {
        char some[100];
        evict("large", 0);
        int fd = dial_slowly("/large");
        if (i % 3 != 0)
            take(fd, some, sizeof some);
        close(fd);
    }
    check("/large", LARGE, 1);
    site_stop(&site);
}
END_TEST

/* A queue that is full for a moment only delays a download that has begun. */
START_TEST(a_full_queue_delays_a_cold_download)
{
    start((struct rill_files_config){0}, 1, 1);
    site_write(&site, "large", LARGE, 1);
    site_write(&site, "f", 10, 1);
    response_free(&(struct response[]){site_request(&site, "HEAD", "/large", "")}[0]);
    int blocked = block_worker(), waiting = site_dial(&site);
    client_send(waiting, "GET /f HTTP/1.1\r\nHost: x\r\n\r\n");
    ping();
    evict("large", 0);
    int fd = dial_slowly("/large");
    char some[100];
    take(fd, some, sizeof some);
    ping();
    unblock_worker(blocked);
    struct response response = client_read(waiting, false);
    ck_assert_uint_eq(response.status, 200);
    response_free(&response);
    take_rest(fd, LARGE, 1);
    close(waiting);
    site_stop(&site);
}
END_TEST

START_TEST(what_the_page_cache_holds)
{
    enum { SIZE = 5 << 20 };
    start((struct rill_files_config){0}, 1, 0);
    site_write(&site, "f", SIZE, 1);
    int fd = open(site_path(&site, "f"), O_RDONLY);
    bool counts = rill_page_cache_counts(fd);
    for (int i = RILL_PAGE_CACHE_UNCOUNTED; i <= RILL_PAGE_CACHE_COUNTED; i++) {
        enum rill_page_cache_trust trust = (enum rill_page_cache_trust)i;
        if (trust != RILL_PAGE_CACHE_UNCOUNTED && !counts)
            continue;
        ck_assert_int_eq(rill_page_cache_fill(fd, 0, SIZE), 0);
        ck_assert(rill_page_cache_has(fd, 0, 1, trust));
        ck_assert(rill_page_cache_has(fd, 4095, 2, trust));
        ck_assert(rill_page_cache_has(fd, 0, SIZE, trust));
        ck_assert(!rill_page_cache_has(fd, SIZE - 1, 5000, trust)); /* beyond the end */
        ck_assert(!rill_page_cache_has(fd, SIZE, 1, trust));
        if (trust != RILL_PAGE_CACHE_UNCOUNTED && evict("f", 0)) { /* else asking begins to read, and may win */
            ck_assert(!rill_page_cache_has(fd, 0, SIZE, trust));
            ck_assert(!rill_page_cache_has(fd, 12345, 1, trust));
        }
        ck_assert_int_eq(rill_page_cache_fill(fd, 1 << 20, 1 << 20), 0);
        ck_assert(rill_page_cache_has(fd, 1 << 20, 1 << 20, trust));
        ck_assert_int_eq(rill_page_cache_fill(fd, 0, SIZE * 2), 0); /* as far as it goes */
        ck_assert(rill_page_cache_has(fd, 0, SIZE, trust));
    }
    close(fd);
    fd = open(site.root, O_RDONLY);
    ck_assert_int_eq(rill_page_cache_fill(fd, 0, 100), -EISDIR);
    ck_assert(!rill_page_cache_counts(fd));
    ck_assert(!rill_page_cache_has(fd, 0, 100, RILL_PAGE_CACHE_UNCOUNTED));
    close(fd);
    site_stop(&site);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("files that change");
    TCase *tcase = tcase_create("files that change");
    tcase_add_test(tcase, a_change_shows_when_the_entry_is_old);
    tcase_add_test(tcase, every_change_gets_its_own_tag);
    tcase_add_test(tcase, what_has_not_changed_is_kept);
    tcase_add_test(tcase, truncation_ends_that_response_alone);
    tcase_add_test(tcase, deletion_harms_no_download);
    tcase_add_test(tcase, the_cache_keeps_its_bounds);
    tcase_add_test(tcase, a_file_larger_than_the_whole_cache);
    tcase_add_test(tcase, a_crowd_costs_one_look);
    tcase_add_test(tcase, clients_that_leave_while_they_wait);
    tcase_add_test(tcase, a_deadline_passes_while_waiting);
    tcase_add_test(tcase, a_full_queue_is_503);
    tcase_add_test(tcase, a_server_stops_while_clients_wait);
    tcase_add_test(tcase, a_cold_file_is_read_by_the_pool);
    tcase_add_test(tcase, a_file_that_goes_cold_on_the_way);
    tcase_add_test(tcase, clients_leave_cold_downloads);
    tcase_add_test(tcase, a_full_queue_delays_a_cold_download);
    tcase_add_test(tcase, what_the_page_cache_holds);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
