/* test_trailers.c - fields behind a chunked body, both ways. */
#include "support/fake_http.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>

static struct fake_http web;
static struct fake_peer peer;
static size_t keep_bytes;
static int results[6];

/* Answers with the trailer X-Sum of the request, as content and as a trailer. */
static void summed(struct rill_exchange *x, void *arg, struct rill_slice bytes, bool end)
{
    (void)arg;
    (void)bytes;
    if (!end) {
        ck_assert_ptr_null(rill_exchange_trailer(x, "X-Sum").bytes); /* not before the end */
        return;
    }
    struct rill_slice sum = rill_exchange_trailer(x, "x-sum");
    results[0] = rill_exchange_set_trailer(x, "X-Early", rill_slice_of("1")); /* before the head */
    rill_exchange_begin(x, 200, "text/plain", RILL_LENGTH_UNKNOWN);
    rill_exchange_write(x, sum.bytes ? sum.bytes : "none", sum.bytes ? sum.length : 4);
    results[1] = rill_exchange_set_trailer(x, "X-Back", sum.bytes ? sum : rill_slice_of("none"));
    results[2] = rill_exchange_set_trailer(x, "Content-Length", rill_slice_of("5"));
    results[3] = rill_exchange_set_trailer(x, "Set-Cookie", rill_slice_of("a=b"));
    results[4] = rill_exchange_set_trailer(x, "X-Bad", rill_slice_of("a\r\nX-Smuggled: 1"));
    results[5] = rill_exchange_set_trailer(x, "X-Second", rill_slice_of(""));
    rill_exchange_end(x);
}

static void sum(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_set_header(x, "X-Before", rill_slice_of("1"));
    if (keep_bytes > 0)
        ck_assert_int_eq(rill_exchange_keep_trailers(x, keep_bytes), 0);
    rill_exchange_read_body(x, summed, NULL);
}

static void setup(void)
{
    fake_sys_reset(1000000);
    keep_bytes = 1000;
    memset(results, 77, sizeof results);
    fake_http_start(&web, NULL);
    ck_assert_int_eq(rill_router_add(web.router, "POST", "/sum", sum, NULL), 0);
    fake_http_open(&web, &peer);
}

static void teardown(void)
{
    fake_http_stop(&web);
    fake_peer_free(&peer);
}

/* Sends TEXT in two pieces, split at SPLIT. */
static void say(const char *text, size_t split)
{
    fake_peer_send(&peer, text, split);
    fake_http_settle(&web);
    fake_peer_send(&peer, text + split, strlen(text) - split);
    fake_http_settle(&web);
}

static bool heard(const char *text)
{
    return memmem(peer.received, peer.received_length, text, strlen(text)) != NULL;
}

#define HEAD(version) "POST /sum HTTP/1." version "\r\nHost: a\r\n"
#define REQUEST HEAD("1") "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Other: o\r\nX-Sum: 42 \r\n\r\n"

START_TEST(go_both_ways_at_every_split)
{
    say(REQUEST, (size_t)_i);
    ck_assert(heard("\r\n\r\n2\r\n42\r\n0\r\nX-Back: 42\r\nX-Second: \r\n\r\n"));
    ck_assert(heard("X-Before: 1\r\n"));
    const int expected[] = {-ENOTSUP, 0, -EINVAL, -EINVAL, -EINVAL, 0};
    ck_assert_mem_eq(results, expected, sizeof expected);
    size_t first = peer.received_length;
    keep_bytes = 0; /* what one request kept is not the next one's */
    say(REQUEST, 10);
    ck_assert(
        memmem(peer.received + first, peer.received_length - first, "\r\n\r\n4\r\nnone\r\n0\r\nX-Back: none", 28));
}
END_TEST

START_TEST(have_no_place_without_chunks)
{
    say(HEAD("0") "Content-Length: 3\r\n\r\nabc", 20);
    ck_assert_int_eq(results[1], -ENOTSUP);
    ck_assert(heard("\r\n\r\nnone"));
    ck_assert(!heard("X-Back"));
}
END_TEST

START_TEST(that_are_too_many_are_refused)
{
    keep_bytes = 8;
    say(REQUEST, 30);
    ck_assert(heard("HTTP/1.1 431 "));
    ck_assert(peer.finished);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trailers");
    TCase *all = tcase_create("trailers");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, go_both_ways_at_every_split, 0, (int)sizeof REQUEST - 1);
    tcase_add_test(all, have_no_place_without_chunks);
    tcase_add_test(all, that_are_too_many_are_refused);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
