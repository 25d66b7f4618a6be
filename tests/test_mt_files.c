/* test_mt_files.c - files over HTTP: contents, names, conditions, ranges, listings. */
#include "rill/core/sys.h"
#include "support/file_site.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

static struct site site;

static void start(struct rill_files_config config)
{
    site_start(&site, config, (struct rill_http_server_config){.net = {.threads = 1}});
}

static void stop(void)
{
    site_stop(&site);
}

/* --- contents --- */

/* Around every boundary: what is copied, what is kept in memory, what is one piece. */
START_TEST(every_size_arrives_whole)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 102400, 1048576, 1048577, 3300000};
    start((struct rill_files_config){0});
    for (size_t i = 0; i < rill_array_length(sizes); i++) {
        site_write(&site, "file.bin", sizes[i], i);
        rename(site_path(&site, "file.bin"), site_path(&site, "now.bin"));
        char name[32], *bytes = site_bytes(sizes[i], i);
        snprintf(name, sizeof name, "%zu.bin", sizes[i]);
        rename(site_path(&site, "now.bin"), site_path(&site, name));
        snprintf(name, sizeof name, "/%zu.bin", sizes[i]);
        for (int again = 0; again < 2; again++) { /* from the disk, and from the cache */
            struct response get = site_request(&site, "GET", name, "");
            ck_assert_uint_eq(get.status, 200);
            ck_assert_uint_eq(get.content_length, sizes[i]);
            ck_assert_uint_eq(get.body_length, sizes[i]);
            ck_assert(memcmp(get.body, bytes, sizes[i]) == 0);
            struct response head = site_request(&site, "HEAD", name, "");
            ck_assert_uint_eq(head.status, 200);
            ck_assert_uint_eq(head.content_length, sizes[i]);
            ck_assert_str_eq(response_field(&head, "ETag"), response_field(&get, "ETag"));
            ck_assert_str_eq(response_field(&head, "Last-Modified"), response_field(&get, "Last-Modified"));
            ck_assert_str_eq(response_field(&head, "Content-Type"), "application/octet-stream");
            ck_assert_str_eq(response_field(&head, "Accept-Ranges"), "bytes");
            response_free(&get);
            response_free(&head);
        }
        free(bytes);
    }
    stop();
}
END_TEST

START_TEST(pipelined_files_leave_in_order)
{
    start((struct rill_files_config){0});
    site_write(&site, "a.txt", 100, 1);
    site_write(&site, "b.txt", 200000, 2);
    site_write(&site, "c.txt", 5000, 3);
    char *bytes[] = {site_bytes(100, 1), site_bytes(200000, 2), site_bytes(5000, 3)};
    static const size_t sizes[] = {100, 200000, 5000};
    int fd = site_dial(&site);
    for (int round = 0; round < 5; round++)
        client_send(fd, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /b.txt HTTP/1.1\r\nHost: x\r\n\r\n"
                        "GET /none HTTP/1.1\r\nHost: x\r\n\r\nGET /c.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        struct response response = client_read(fd, false);
        int which = i % 4;
        if (which == 2) {
            ck_assert_uint_eq(response.status, 404);
        } else {
            which -= which == 3;
            ck_assert_uint_eq(response.status, 200);
            ck_assert_uint_eq(response.body_length, sizes[which]);
            ck_assert(memcmp(response.body, bytes[which], sizes[which]) == 0);
        }
        response_free(&response);
    }
    close(fd);
    for (int i = 0; i < 3; i++)
        free(bytes[i]);
    stop();
}
END_TEST

/* --- names --- */

START_TEST(names_mean_what_they_should)
{
    start((struct rill_files_config){0});
    site_write(&site, "file.txt", 10, 1);
    site_write(&site, ".hidden", 10, 1);
    mkdir(site_path(&site, "plain"), 0755);
    mkdir(site_path(&site, "indexed"), 0755);
    mkdir(site_path(&site, "odd"), 0755);
    mkdir(site_path(&site, "odd/index.html"), 0755);
    mkdir(site_path(&site, "pipe"), 0755);
    site_write(&site, "indexed/index.html", 10, 1);
    ck_assert_int_eq(mkfifo(site_path(&site, "fifo"), 0644), 0);
    ck_assert_int_eq(mkfifo(site_path(&site, "pipe/index.html"), 0644), 0);
    ck_assert_int_eq(symlink("file.txt", site_path(&site, "link")), 0);
    ck_assert_int_eq(symlink("loop", site_path(&site, "loop")), 0);
    ck_assert_int_eq(symlink("indexed", site_path(&site, "folder-link")), 0);
    char long_name[6000];
    memset(long_name, 'a', sizeof long_name);
    long_name[0] = '/';
    long_name[300] = '\0'; /* longer than a name */
    ck_assert_uint_eq(site_status(&site, long_name), 404);
    long_name[300] = 'a';
    long_name[5999] = '\0'; /* longer than a path */
    ck_assert_uint_eq(site_status(&site, long_name), 404);
    static const struct {
        const char *path;
        unsigned status;
    } cases[] = {
        {"/file.txt", 200},
        {"/file.txt?x", 200},
        {"/.hidden", 200},
        {"/link", 200},
        {"/indexed/", 200},
        {"/folder-link/", 200},
        {"/deep/er/file.txt", 200},
        {"/deep/er/", 403},
        {"/", 403},
        {"/plain/", 403},
        {"/odd/", 403},
        {"/fifo", 403},
        {"/pipe/", 403},
        {"/plain", 301},
        {"/folder-link", 301},
        {"/none", 404},
        {"/none/", 404},
        {"/file.txt/", 404},
        {"/file.txt/x", 404},
        {"/fifo/", 404},
        {"/loop", 404},
        {"/loop/", 404},
        {"/plain/../file.txt", 200},
        {"/../file.txt", 400},
        {"/%2e%2e/file.txt", 400},
        {"/plain%2ffile", 400},
        {"/file.txt%00", 400},
        {"/any/file.txt", 200},
    };
    for (int again = 0; again < 2; again++)
        for (size_t i = 0; i < rill_array_length(cases); i++)
            ck_assert_msg(site_status(&site, cases[i].path) == cases[i].status, "%s: %u, not %u", cases[i].path,
                          site_status(&site, cases[i].path), cases[i].status);
    struct response response = site_request(&site, "POST", "/any/file.txt", "Content-Length: 0\r\n");
    ck_assert_uint_eq(response.status, 405);
    ck_assert_str_eq(response_field(&response, "Allow"), "GET, HEAD");
    response_free(&response);
    stop();
}
END_TEST

START_TEST(unreadable_is_forbidden)
{
    uid_t user = geteuid();
    ck_assert_int_eq(user == 0 ? seteuid(65534) : 0, 0); /* root may read everything */
    start((struct rill_files_config){0});
    site_write(&site, "secret", 10, 1);
    mkdir(site_path(&site, "closed"), 0755);
    site_write(&site, "closed/file", 10, 1);
    ck_assert_int_eq(chmod(site_path(&site, "secret"), 0), 0);
    ck_assert_int_eq(chmod(site_path(&site, "closed"), 0), 0);
    ck_assert_uint_eq(site_status(&site, "/secret"), 403);
    ck_assert_uint_eq(site_status(&site, "/closed/"), 403);
    ck_assert_uint_eq(site_status(&site, "/closed/file"), 403);
    ck_assert_uint_eq(site_status(&site, "/closed/none"), 403); /* not even whether it is there */
    stop();
    ck_assert_int_eq(seteuid(user), 0);
}
END_TEST

/* A response without what differs between any two. */
static char *essence(const char *path)
{
    char *text;
    struct response response = site_request(&site, "GET", path, "");
    char *date = strstr(response.head, "Date: ");
    if (date)
        memset(date, '-', strlen("Date: ") + 29);
    ck_assert(asprintf(&text, "%s%s", response.head, response.body) > 0);
    response_free(&response);
    return text;
}

START_TEST(nothing_outside_shows)
{
    start((struct rill_files_config){.listing = true});
    char target[300];
    snprintf(target, sizeof target, "%s/secret.txt", site.outside);
    int fd = open(target, O_CREAT | O_WRONLY, 0644);
    ck_assert_int_eq(write(fd, "secret", 6), 6);
    close(fd);
    mkdir(site_path(&site, "sub"), 0755);
    ck_assert_int_eq(symlink(target, site_path(&site, "absolute")), 0);
    ck_assert_int_eq(symlink("../outside/secret.txt", site_path(&site, "relative")), 0);
    ck_assert_int_eq(symlink("../outside", site_path(&site, "folder")), 0);
    ck_assert_int_eq(symlink("../../outside/secret.txt", site_path(&site, "sub/deeper")), 0);
    ck_assert_int_eq(symlink("../outside/none", site_path(&site, "dangling")), 0);
    ck_assert_int_eq(symlink("../root/inside.txt", site_path(&site, "out-and-in")), 0);
    ck_assert_int_eq(symlink("/proc/self/root/etc/passwd", site_path(&site, "magic")), 0);
    ck_assert_int_eq(symlink("../inside.txt", site_path(&site, "sub/up")), 0);
    site_write(&site, "inside.txt", 5, 1);
    static const char *const out[] = {"/absolute",    "/relative",   "/folder", "/folder/",  "/folder/secret.txt",
                                      "/folder/none", "/out-and-in", "/magic",  "/dangling", "/sub/deeper"};
    char *missing = essence("/missing");
    for (size_t i = 0; i < rill_array_length(out); i++) {
        char *got = essence(out[i]);
        ck_assert_str_eq(got, missing); /* not even whether it is there */
        free(got);
    }
    free(missing);
    ck_assert_uint_eq(site_status(&site, "/sub/up"), 200); /* it stays below the root */
    char *listing = essence("/");
    ck_assert_ptr_nonnull(strstr(listing, "inside.txt"));
    for (size_t i = 0; i < 3; i++)
        ck_assert_ptr_null(strstr(listing, out[i] + 1));
    free(listing);
    stop();
}
END_TEST

START_TEST(folders_are_redirected)
{
    start((struct rill_files_config){0});
    mkdir(site_path(&site, "a b"), 0755);
    mkdir(site_path(&site, "a b/\"ü%"), 0755);
    static const struct {
        const char *path, *location;
    } cases[] = {
        {"/a%20b", "/a%20b/"},
        {"/a%20b?q=1&r=%20", "/a%20b/?q=1&r=%20"},
        {"/a%20b/%22%C3%BC%25", "/a%20b/%22%C3%BC%25/"},
        {"//a%20b", "/a%20b/"}, /* `//a` would be another host */
        {"/deep/er/a%20b", "/deep/er/a%20b/"},
    };
    for (size_t i = 0; i < rill_array_length(cases); i++) {
        struct response response = site_request(&site, "GET", cases[i].path, "");
        ck_assert_uint_eq(response.status, 301);
        ck_assert_str_eq(response_field(&response, "Location"), cases[i].location);
        response_free(&response);
    }
    stop();
}
END_TEST

START_TEST(listings)
{
    start((struct rill_files_config){.listing = true, .index = "home.htm"});
    mkdir(site_path(&site, "d"), 0755);
    mkdir(site_path(&site, "d/inner"), 0755);
    site_write(&site, "d/one.txt", 3, 1);
    site_write(&site, "d/.dot", 3, 1);
    ck_assert_int_eq(mkfifo(site_path(&site, "d/fifo"), 0644), 0);
    ck_assert_int_eq(symlink("one.txt", site_path(&site, "d/alias")), 0);
    struct response page = site_request(&site, "GET", "/deep/er/d/", "");
    ck_assert_uint_eq(page.status, 200);
    ck_assert_str_eq(response_field(&page, "Content-Type"), "text/html; charset=utf-8");
    ck_assert_ptr_nonnull(strstr(page.body, "/deep/er/d/")); /* as the client knows it */
    ck_assert_ptr_nonnull(strstr(page.body, "one.txt"));
    ck_assert_ptr_nonnull(strstr(page.body, "inner/"));
    ck_assert_ptr_nonnull(strstr(page.body, "alias"));
    ck_assert_ptr_null(strstr(page.body, "fifo"));
    ck_assert_ptr_null(strstr(page.body, ".dot"));
    struct response head = site_request(&site, "HEAD", "/deep/er/d/", "");
    ck_assert_uint_eq(head.content_length, page.content_length);
    response_free(&page);
    response_free(&head);
    site_write(&site, "d/home.htm", 7, 1); /* an index file goes before the listing */
    page = site_request(&site, "GET", "/d/", "");
    ck_assert_uint_eq(page.body_length, 7);
    response_free(&page);
    ck_assert_uint_eq(site_status(&site, "/none/"), 404);
    ck_assert_uint_eq(site_status(&site, "/d/one.txt/"), 404);
    stop();
}
END_TEST

START_TEST(no_index_at_all)
{
    start((struct rill_files_config){.index = ""});
    site_write(&site, "index.html", 7, 1);
    ck_assert_uint_eq(site_status(&site, "/"), 403);
    ck_assert_uint_eq(site_status(&site, "/index.html"), 200);
    stop();
}
END_TEST

/* --- conditions --- */

START_TEST(conditions)
{
    start((struct rill_files_config){0});
    site_write(&site, "file.txt", 1000, 1);
    struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, site_path(&site, "file.txt"), times, 0), 0);
    struct response first = site_request(&site, "GET", "/file.txt", "");
    char etag[100];
    snprintf(etag, sizeof etag, "%s", response_field(&first, "ETag"));
    ck_assert_int_eq(etag[0], '"'); /* strong */
    ck_assert_str_eq(response_field(&first, "Last-Modified"), "Sun, 09 Sep 2001 01:46:40 GMT");
    response_free(&first);
    static const struct {
        const char *fields; /* @ stands for the entity tag */
        unsigned get, head;
    } cases[] = {
        {"If-None-Match: @\r\n", 304, 304},
        {"If-None-Match: W/@\r\n", 304, 304},
        {"If-None-Match: \"x\", @\r\n", 304, 304},
        {"If-None-Match: \"x\"\r\nIf-None-Match: @\r\n", 304, 304},
        {"If-None-Match: *\r\n", 304, 304},
        {"If-None-Match: \"x\"\r\n", 200, 200},
        {"If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n", 200, 200},
        {"If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n", 304, 304},
        {"If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n", 200, 200},
        {"If-Modified-Since: yesterday\r\n", 200, 200},
        {"If-Match: @\r\n", 200, 200},
        {"If-Match: W/@\r\n", 412, 412},
        {"If-Match: \"x\"\r\n", 412, 412},
        {"If-Match: \"x\"\r\nIf-Match: @\r\n", 200, 200},
        {"If-Unmodified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n", 200, 200},
        {"If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n", 412, 412},
        {"Range: bytes=10-19\r\n", 206, 200},
        {"Range: bytes=10-19\r\nRange: bytes=30-39\r\n", 200, 200},
        {"Range: bytes=1000-\r\n", 416, 200},
        {"Range: bytes=-0\r\n", 416, 200},
        {"Range: lines=1-2\r\n", 200, 200},
        {"Range: bytes=2-1\r\n", 200, 200},
        {"Range: bytes=10-19\r\nIf-Range: @\r\n", 206, 200},
        {"Range: bytes=10-19\r\nIf-Range: W/@\r\n", 200, 200},
        {"Range: bytes=10-19\r\nIf-Range: \"x\"\r\n", 200, 200},
        {"Range: bytes=1000-\r\nIf-Range: \"x\"\r\n", 200, 200},
        {"Range: bytes=10-19\r\nIf-Range: Sun, 09 Sep 2001 01:46:40 GMT\r\n", 206, 200},
        {"Range: bytes=10-19\r\nIf-Range: Sun, 09 Sep 2001 01:46:41 GMT\r\n", 200, 200},
        {"Range: bytes=10-19\r\nIf-None-Match: @\r\n", 304, 304},
        {"Range: bytes=10-19\r\nIf-Match: \"x\"\r\n", 412, 412},
        {"If-Range: @\r\n", 200, 200},
    };
    for (size_t i = 0; i < 2 * rill_array_length(cases); i++) {
        bool is_head = i % 2;
        unsigned expected = is_head ? cases[i / 2].head : cases[i / 2].get;
        char fields[400] = "";
        for (const char *p = cases[i / 2].fields; *p; p++) {
            char *end = fields + strlen(fields);
            snprintf(end, (size_t)(fields + sizeof fields - end), "%.*s", *p == '@' ? 100 : 1, *p == '@' ? etag : p);
        }
        struct response response = site_request(&site, is_head ? "HEAD" : "GET", "/file.txt", fields);
        ck_assert_msg(response.status == expected, "%s: %u", fields, response.status);
        if (expected == 304) {
            ck_assert_str_eq(response_field(&response, "ETag"), etag);
            ck_assert_str_ne(response_field(&response, "Date"), "");
            ck_assert_str_eq(response_field(&response, "Content-Length"), "");
            ck_assert_str_eq(response_field(&response, "Content-Type"), "");
        } else if (expected == 206) {
            ck_assert_str_eq(response_field(&response, "ETag"), etag);
            ck_assert_str_eq(response_field(&response, "Content-Range"), "bytes 10-19/1000");
            ck_assert_str_eq(response_field(&response, "Content-Type"), "text/plain; charset=utf-8");
            ck_assert_uint_eq(response.body_length, 10);
        } else if (expected == 416) {
            ck_assert_str_eq(response_field(&response, "Content-Range"), "bytes */1000");
        } else {
            ck_assert_str_eq(response_field(&response, "Content-Range"), "");
        }
        response_free(&response);
    }
    stop();
}
END_TEST

/* --- ranges --- */

/* What a client makes of a response to RANGES: the bytes they name, from BYTES. Each part is checked. */
static void check_parts(const struct response *response, const char *bytes, size_t size, const size_t (*wanted)[2],
                        size_t count)
{
    const char *type = response_field(response, "Content-Type"), *p = response->body;
    ck_assert_uint_eq(response->status, 206);
    ck_assert(!response->closed);
    if (count == 1) {
        char text[100];
        snprintf(text, sizeof text, "bytes %zu-%zu/%zu", wanted[0][0], wanted[0][1], size);
        ck_assert_str_eq(response_field(response, "Content-Range"), text);
        ck_assert_uint_eq(response->body_length, wanted[0][1] - wanted[0][0] + 1);
        ck_assert(memcmp(p, bytes + wanted[0][0], response->body_length) == 0);
        return;
    }
    const char *boundary = strstr(type, "multipart/byteranges; boundary=");
    ck_assert_ptr_eq(boundary, type);
    boundary += strlen("multipart/byteranges; boundary=");
    for (size_t i = 0; i < count; i++) {
        char text[300];
        size_t length = (size_t)snprintf(text, sizeof text,
                                         "%s--%s\r\nContent-Type: application/octet-stream\r\n"
                                         "Content-Range: bytes %zu-%zu/%zu\r\n\r\n",
                                         i ? "\r\n" : "", boundary, wanted[i][0], wanted[i][1], size);
        ck_assert(memcmp(p, text, length) == 0);
        p += length;
        length = wanted[i][1] - wanted[i][0] + 1;
        ck_assert(memcmp(p, bytes + wanted[i][0], length) == 0);
        p += length;
    }
    char end[100];
    snprintf(end, sizeof end, "\r\n--%s--\r\n", boundary);
    ck_assert_str_eq(p, end);
}

START_TEST(a_thousand_random_ranges)
{
    static const size_t sizes[] = {1000, 60000, 400000, 2500000}; /* copied, in memory, a piece, several */
    static const char *const paths[] = {"/0.bin", "/1.bin", "/2.bin", "/3.bin"};
    char *bytes[4];
    struct test_random random = {4711};
    start((struct rill_files_config){0});
    for (size_t i = 0; i < 4; i++) {
        bytes[i] = site_bytes(sizes[i], i);
        site_write(&site, paths[i] + 1, sizes[i], i);
    }
    for (int round = 0; round < 1000; round++) {
        size_t which = test_random_below(&random, 4), size = sizes[which];
        size_t wanted[8][2], count = 1 + test_random_below(&random, 8), stride = size / count, at = 0;
        char fields[400] = "Range: bytes=";
        for (size_t i = 0; i < count; i++) { /* disjoint, ascending, not touching */
            size_t *range = wanted[i], limit = (i + 1) * stride - 2;
            range[0] = at + test_random_below(&random, limit - at);
            range[1] = range[0] + test_random_below(&random, limit - range[0]);
            at = range[1] + 2;
            snprintf(fields + strlen(fields), sizeof fields - strlen(fields), "%s%zu-%zu", i ? ", " : "", range[0],
                     range[1]);
            at = at < (i + 1) * stride ? (i + 1) * stride : at;
        }
        snprintf(fields + strlen(fields), sizeof fields - strlen(fields), "\r\n");
        struct response response = site_request(&site, "GET", paths[which], fields);
        check_parts(&response, bytes[which], size, (const size_t(*)[2])wanted, count);
        response_free(&response);
    }
    for (size_t i = 0; i < 4; i++)
        free(bytes[i]);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("files");
    TCase *tcase = tcase_create("files");
    tcase_add_test(tcase, every_size_arrives_whole);
    tcase_add_test(tcase, pipelined_files_leave_in_order);
    tcase_add_test(tcase, names_mean_what_they_should);
    tcase_add_test(tcase, unreadable_is_forbidden);
    tcase_add_test(tcase, nothing_outside_shows);
    tcase_add_test(tcase, folders_are_redirected);
    tcase_add_test(tcase, listings);
    tcase_add_test(tcase, no_index_at_all);
    tcase_add_test(tcase, conditions);
    tcase_add_test(tcase, a_thousand_random_ranges);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
