/* The MIME table: built in, from a file, from the system; and files that are no table. */
#include "rill/http/mime.h"
#include "rill/tests/support/random.h"
#include "rill/tests/support/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static void write_table(const char *bytes, size_t length)
{
    strcpy(path, "/tmp/rill-mime-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        ck_assert_int_gt(written, 0);
        bytes += written;
        length -= (size_t)written;
    }
    close(fd);
}

static struct rill_mime *load_text(const char *text)
{
    struct rill_mime *mime = NULL;
    write_table(text, strlen(text));
    ck_assert_int_eq(rill_mime_load(&mime, path), 0);
    unlink(path);
    return mime;
}

static void check_extension(const struct rill_mime *mime, const char *extension, const char *expected)
{
    struct rill_slice found = rill_mime_of_extension(mime, rill_slice_of(extension));
    ck_assert_msg(rill_slice_equal(found, rill_slice_of(expected)), "%s is %.*s", extension, (int)found.length,
                  found.bytes);
}

static void check_path(const struct rill_mime *mime, const char *name, const char *expected)
{
    struct rill_slice found = rill_mime_of_path(mime, rill_slice_of(name));
    ck_assert_msg(rill_slice_equal(found, rill_slice_of(expected)), "%s is %.*s", name, (int)found.length, found.bytes);
}

/* These have to be so with and without the system's table. */
static void check_web_types(const struct rill_mime *mime)
{
    static const char *const types[][2] = {
        {"html", "text/html; charset=utf-8"},
        {"htm", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},
        {"js", "text/javascript; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"},
        {"txt", "text/plain; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"},
        {"md", "text/markdown; charset=utf-8"},
        {"json", "application/json"},
        {"webmanifest", "application/manifest+json"},
        {"wasm", "application/wasm"},
        {"xml", "application/xml"},
        {"atom", "application/atom+xml"},
        {"rss", "application/rss+xml"},
        {"pdf", "application/pdf"},
        {"zip", "application/zip"},
        {"gz", "application/gzip"},
        {"png", "image/png"},
        {"jpg", "image/jpeg"},
        {"gif", "image/gif"},
        {"webp", "image/webp"},
        {"avif", "image/avif"},
        {"svg", "image/svg+xml"},
        {"ico", "image/vnd.microsoft.icon"},
        {"mp3", "audio/mpeg"},
        {"ogg", "audio/ogg"},
        {"mp4", "video/mp4"},
        {"webm", "video/webm"},
        {"ts", "video/mp2t"},
        {"m3u8", "application/vnd.apple.mpegurl"},
        {"woff", "font/woff"},
        {"woff2", "font/woff2"},
        {"ttf", "font/ttf"},
        {"bin", "application/octet-stream"},
    };
    for (size_t i = 0; i < rill_array_length(types); i++)
        check_extension(mime, types[i][0], types[i][1]);
}

START_TEST(the_system_s_table)
{
    struct rill_mime *mime = NULL;
    ck_assert_int_eq(rill_mime_load(&mime, NULL), 0);
    check_web_types(mime);
    if (access(RILL_MIME_SYSTEM_PATH, R_OK) == 0)
        check_extension(mime, "dwg", "image/vnd.dwg");
    rill_mime_free(mime);
}
END_TEST

START_TEST(the_built_in_table)
{
    struct rill_mime *mime = load_text("");
    check_web_types(mime);
    check_extension(mime, "dwg", RILL_MIME_DEFAULT);
    rill_mime_free(mime);
}
END_TEST

START_TEST(extensions_in_any_case_and_unknown_ones)
{
    char longest[65];
    struct rill_mime *mime = load_text("a/b Xy\n");
    check_extension(mime, "xy", "a/b");
    check_extension(mime, "XY", "a/b");
    check_extension(mime, "xY", "a/b");
    check_extension(mime, "HTML", "text/html; charset=utf-8");
    check_extension(mime, "", RILL_MIME_DEFAULT);
    check_extension(mime, "x", RILL_MIME_DEFAULT);
    check_extension(mime, "xyz", RILL_MIME_DEFAULT);
    check_extension(mime, "html ", RILL_MIME_DEFAULT);
    memset(longest, 'a', 64);
    longest[64] = '\0';
    check_extension(mime, longest, RILL_MIME_DEFAULT);
    ck_assert(
        rill_slice_equal(rill_mime_of_extension(mime, (struct rill_slice){NULL, 0}), rill_slice_of(RILL_MIME_DEFAULT)));
    ck_assert(rill_slice_equal(rill_mime_of_extension(mime, (struct rill_slice){"ht\0l", 4}),
                               rill_slice_of(RILL_MIME_DEFAULT)));
    rill_mime_free(mime);
}
END_TEST

START_TEST(names_and_paths)
{
    struct rill_mime *mime = load_text("");
    check_path(mime, "a.png", "image/png");
    check_path(mime, "/a.png", "image/png");
    check_path(mime, "/x.html/a.PNG", "image/png");
    check_path(mime, "/a.tar.gz", "application/gzip");
    check_path(mime, "/a..png", "image/png");
    check_path(mime, "/.a.png", "image/png");
    check_path(mime, "/x.png/a", RILL_MIME_DEFAULT);
    check_path(mime, "/x.png/", RILL_MIME_DEFAULT);
    check_path(mime, "/a.", RILL_MIME_DEFAULT);
    check_path(mime, "/.png", RILL_MIME_DEFAULT);
    check_path(mime, ".png", RILL_MIME_DEFAULT);
    check_path(mime, "png", RILL_MIME_DEFAULT);
    check_path(mime, ".", RILL_MIME_DEFAULT);
    check_path(mime, "..", RILL_MIME_DEFAULT);
    check_path(mime, "/", RILL_MIME_DEFAULT);
    check_path(mime, "", RILL_MIME_DEFAULT);
    rill_mime_free(mime);
}
END_TEST

START_TEST(a_file_s_lines)
{
    struct rill_mime *mime = load_text("# comment x/y c1\n"
                                       "\n"
                                       "  \t\n"
                                       "A/Upper  one\ttwo \r\n"
                                       "\t x/lead three # four five\n"
                                       "x/alone\n"
                                       "x/dup one six six\n"
                                       "text/Odd seven\n"
                                       "text/ eight\n"
                                       "/html nine\n"
                                       "texthtml ten\n"
                                       "a/b/c eleven\n"
                                       "text/html;charset=x twelve\n"
                                       "x/\x80 thirteen\n"
                                       "x/y\x01 fourteen\n"
                                       "Application/JavaScript fifteen\n"
                                       "application/x-javascript sixteen\n"
                                       "x/html html\n"
                                       "x/t ts\n"
                                       "x/last seventeen");
    check_extension(mime, "c1", RILL_MIME_DEFAULT);
    check_extension(mime, "one", "a/upper");
    check_extension(mime, "two", "a/upper");
    check_extension(mime, "three", "x/lead");
    check_extension(mime, "four", RILL_MIME_DEFAULT);
    check_extension(mime, "#", RILL_MIME_DEFAULT);
    check_extension(mime, "six", "x/dup");
    check_extension(mime, "seven", "text/odd; charset=utf-8");
    check_extension(mime, "eight", RILL_MIME_DEFAULT);
    check_extension(mime, "nine", RILL_MIME_DEFAULT);
    check_extension(mime, "ten", RILL_MIME_DEFAULT);
    check_extension(mime, "eleven", RILL_MIME_DEFAULT);
    check_extension(mime, "twelve", RILL_MIME_DEFAULT);
    check_extension(mime, "thirteen", RILL_MIME_DEFAULT);
    check_extension(mime, "fourteen", RILL_MIME_DEFAULT);
    check_extension(mime, "fifteen", "text/javascript; charset=utf-8");
    check_extension(mime, "sixteen", "text/javascript; charset=utf-8");
    check_extension(mime, "seventeen", "x/last");
    /* The file outdoes what is built in, and leaves the rest. */
    check_extension(mime, "html", "x/html");
    check_extension(mime, "ts", "x/t");
    check_extension(mime, "png", "image/png");
    rill_mime_free(mime);
}
END_TEST

START_TEST(ten_thousand_extensions)
{
    static char text[400000];
    size_t at = 0;
    for (unsigned i = 0; i < 10000; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "x/t%u e%u f%u\n", i, i, i);
    struct rill_mime *mime = load_text(text);
    for (unsigned i = 0; i < 10000; i++) {
        char extension[16], type[16];
        snprintf(extension, sizeof(extension), "%c%u", i % 2 ? 'E' : 'f', i);
        snprintf(type, sizeof(type), "x/t%u", i);
        struct rill_slice found = rill_mime_of_extension(mime, rill_slice_of(extension));
        if (!rill_slice_equal(found, rill_slice_of(type)))
            ck_abort_msg("%s is %.*s", extension, (int)found.length, found.bytes);
    }
    rill_mime_free(mime);
}
END_TEST

/* Whatever is in the file, what comes out can stand in a header. */
START_TEST(noise)
{
    static const char alphabet[] = "ab/ \t\n\r#;.\0\x80T";
    struct test_random random = {5};
    for (int round = 0; round < 300; round++) {
        char text[2000];
        struct rill_mime *mime = NULL;
        size_t length = test_random_below(&random, sizeof(text));
        for (size_t i = 0; i < length; i++)
            text[i] = alphabet[test_random_below(&random, sizeof(alphabet) - 1)];
        write_table(text, length);
        ck_assert_int_eq(rill_mime_load(&mime, path), 0);
        unlink(path);
        for (size_t start = 0; start < length; start++) {
            for (size_t count = 1; count < 5 && start + count <= length; count++) {
                struct rill_slice type = rill_mime_of_extension(mime, (struct rill_slice){text + start, count});
                for (size_t i = 0; i < type.length; i++)
                    if (type.bytes[i] < ' ' || type.bytes[i] > '~')
                        ck_abort_msg("a byte %d in a type", type.bytes[i]);
            }
        }
        rill_mime_free(mime);
    }
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    struct rill_mime *mime = NULL;
    ck_assert_int_eq(rill_mime_load(&mime, "/nonexistent/mime.types"), -ENOENT);
    ck_assert_int_eq(rill_mime_load(&mime, "/"), -EISDIR);
    ck_assert_int_eq(rill_mime_load(&mime, "/dev/zero"), -EFBIG);
    ck_assert_ptr_null(mime);
    rill_mime_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime");
    TCase *tests = tcase_create("mime");
    tcase_add_test(tests, the_system_s_table);
    tcase_add_test(tests, the_built_in_table);
    tcase_add_test(tests, extensions_in_any_case_and_unknown_ones);
    tcase_add_test(tests, names_and_paths);
    tcase_add_test(tests, a_file_s_lines);
    tcase_add_test(tests, ten_thousand_extensions);
    tcase_add_test(tests, noise);
    tcase_add_test(tests, files_that_cannot_be_read);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
