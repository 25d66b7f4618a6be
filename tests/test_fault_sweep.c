/* test_fault_sweep.c - every call that a server makes of the system, and every allocation, fails once: in its start, in
 * one exchange of each kind, and in its stop. For every k the k-th call fails, with each of the errors that it may
 * have, or does a part only; and again so that from the k-th on all fail for a while. Then whoever asked has either got
 * what he should or was told so, or his connection has ended; nothing is left of it; and who asks next is served.
 *
 *   test_fault_sweep                 all
 *   test_fault_sweep exchange7       the eighth of `scenes`; start0, stop2: of `configs`
 *   CK_FORK=no test_fault_sweep      says also which places in the code were struck, and which never
 */
#include "support/faulty_sys.h"
#include "support/sweep_client.h"
#include "support/sweep_site.h"

#include "rill/core/stat.h"
#include "rill/core/sys.h"
#include "rill/net/net_stats.h"
#include <check.h>

/* --- exchanges of each kind --- */

static const struct sweep_scene scenes[] = {
    {.name = "text", .says = "GET /text HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {SWEEP_TEXT}},
    {.name = "from a timer", .says = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {SWEEP_TEXT}},
    {.name = "from the pool", .says = "GET /pool HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {SWEEP_TEXT}},
    {.name = "chunked", .says = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", .status = 200, .content = {SWEEP_STREAM}},
    {.name = "no such path", .says = "GET /none HTTP/1.1\r\nHost: x\r\n\r\n", .status = 404, .content = {SWEEP_ANY}},
    {.name = "a malformed one", .says = "GET /none HTTP/1.1\r\n: x\r\n\r\n", .status = 400, .content = {SWEEP_ANY}},
    {.name = "HEAD",
     .says = "HEAD /text HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_NO_CONTENT},
     .head = true},
    {.name = "small file, cold",
     .says = "GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_FILE_SMALL},
     .cold = true},
    {.name = "small file, cached",
     .says = "GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_FILE_SMALL}},
    {.name = "large file, cold",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_FILE_LARGE},
     .cold = true},
    {.name = "large file, cached",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_FILE_LARGE}},
    {.name = "range",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\nRange: bytes=1000-150999\r\n\r\n",
     .status = 206,
     .content = {SWEEP_FILE_RANGE},
     .cold = true},
    {.name = "ranges",
     .says = "GET /files/large HTTP/1.1\r\nHost: x\r\nRange: bytes=10-20,70000-90000\r\n\r\n",
     .status = 206,
     .content = {SWEEP_ANY},
     .cold = true},
    {.name = "listing",
     .says = "GET /files/ HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_LISTING},
     .cold = true},
    {.name = "no such file",
     .says = "GET /files/none HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 404,
     .content = {SWEEP_ANY},
     .cold = true},
    {.name = "streamed body, echoed", .status = 200, .content = {SWEEP_ECHOED}, .long_body = true},
    {.name = "streamed body, counted", .status = 200, .content = {SWEEP_COUNTED}, .long_body = true},
    {.name = "pipelined",
     .says = "GET /text HTTP/1.1\r\nHost: x\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n\r\n"
             "GET /pool HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_TEXT, SWEEP_TEXT, SWEEP_TEXT}},
    {.name = "behind a PROXY header",
     .port = SWEEP_PROXY,
     .says = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nGET /text HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_TEXT}},
    {.name = "echo", .port = SWEEP_ECHO, .says = "hello, echo"},
    {.name = "relay", .port = SWEEP_RELAY, .says = "hello, relay"},
    {.name = "much by the relay", .port = SWEEP_RELAY},
    {.name = "relay by a name", .port = SWEEP_NAMED, .says = "hello, name"},
    {.name = "channel", .port = SWEEP_CHANNEL, .says = "hello, all"},
    {.name = "client", .port = SWEEP_CLIENT, .says = "hello, client"},
    {.name = "pool of connections", .port = SWEEP_POOL, .says = "hello, pool"},
    {.name = "endpoint of datagrams",
     .says = "GET /datagrams HTTP/1.1\r\nHost: x\r\n\r\n",
     .status = 200,
     .content = {SWEEP_TEXT}},
    {.name = "datagram", .says = "hello, datagram", .datagram = true},
};

/* --- what is left --- */

/* What there is when nobody is there. */
static struct {
    unsigned connections;
    unsigned descriptors; /* 0: not known yet */
} idle;

/* NULL: not even the start is over, though somebody may have been served. */
static const struct rill_net_stats *look(void)
{
    return rill_server_net_stats(sweep_site_server(), 0);
}

static bool is_quiet(void)
{
    const struct rill_net_stats *net = look();
    return net && rill_stat_read(&net->open) <= idle.connections && rill_stat_read(&net->waiting_bytes) == 0 &&
           rill_stat_read(&net->leased_segments) == 0 &&
           (idle.descriptors == 0 || faulty_sys_open_descriptors() <= idle.descriptors);
}

static void expect_quiet(void)
{
    for (int ms = 0; !is_quiet(); ms++) {
        const struct rill_net_stats *net = look();
        if (ms == SWEEP_PATIENCE_MS && net)
            sweep_broken("there is left: %u connections, %u bytes of output, %u segments, %u descriptors of %u",
                         (unsigned)rill_stat_read(&net->open), (unsigned)rill_stat_read(&net->waiting_bytes),
                         (unsigned)rill_stat_read(&net->leased_segments), faulty_sys_open_descriptors(),
                         idle.descriptors);
        poll(NULL, 0, 1);
    }
}

/* Puts another file into the place of the scene's in the cache. */
static void evict(void)
{
    static const struct sweep_scene other = {.name = "another file",
                                             .says = "GET /files/other HTTP/1.1\r\nHost: x\r\n\r\n",
                                             .status = 200,
                                             .content = {SWEEP_ANY}};
    const struct sweep_scene *scene = sweep_play.scene;
    char *bytes = sweep_play.bytes;
    size_t length = sweep_play.length;
    sweep_compose(&other);
    if (sweep_ask_once() != SWEEP_WHOLE)
        sweep_broken("it is not answered");
    free(sweep_play.bytes);
    sweep_play.scene = scene;
    sweep_play.bytes = bytes;
    sweep_play.length = length;
}

/* --- the sweep --- */

/* Has the K-th of the calls that FAULTS counts fail, and the LASTING that follow. */
static void arm(const struct faulty_sys *faults, uint64_t k)
{
    memcpy(faulty_sys.counts, faults->counts, sizeof faulty_sys.counts);
    faulty_sys.lasting = faults->lasting;
    faulty_sys.variant = faults->variant;
    faulty_sys.struck = NULL;
    faulty_sys.failed = 0;
    __atomic_store_n(&faulty_sys.fail_after, k, __ATOMIC_RELEASE);
}

/* Calls TRY with FAULTS for every k, until none is struck. Returns how many were. */
static unsigned for_every_call(const struct faulty_sys *faults,
                               void (*try)(const struct faulty_sys *faults, uint64_t k))
{
    for (uint64_t k = 1;; k++) {
        try(faults, k);
        if (!sweep_struck())
            return (unsigned)k - 1;
    }
}

/* Every call and allocation, with every error, and then storms. Returns how many faults there were. */
static unsigned sweep(void (*try)(const struct faulty_sys *faults, uint64_t k))
{
    unsigned faults_made = 0, errors;
    for (unsigned variant = 0;; variant++) {
        struct faulty_sys faults = {.variant = variant};
        bool any = false;
        for (unsigned kind = 0; kind < FAULTY_CALLS; kind++) {
            faulty_errors((enum faulty_call)kind, &errors);
            any |= faults.counts[kind] = variant < errors;
        }
        if (!any)
            break;
        faults_made += for_every_call(&faults, try);
    }
    static const unsigned storms[] = {
        1 << FAULTY_MEMORY, 1 << FAULTY_DESCRIPTOR | 1 << FAULTY_ACCEPT | 1 << FAULTY_FILE | 1 << FAULTY_EPOLL_CTL,
        (1 << FAULTY_CALLS) - 1};
    for (unsigned i = 0; i < rill_array_length(storms); i++) {
        struct faulty_sys faults = {.lasting = UINT64_MAX};
        for (unsigned kind = 0; kind < FAULTY_CALLS; kind++)
            faults.counts[kind] = storms[i] >> kind & 1;
        faults_made += for_every_call(&faults, try);
    }
    return faults_made;
}

/* --- one exchange --- */

static void try_exchange(const struct faulty_sys *faults, uint64_t k)
{
    if (sweep_play.scene->cold)
        evict();
    arm(faults, k);
    sweep_ask_in_trouble();
    expect_quiet();
    if (sweep_ask_once() != SWEEP_WHOLE)
        sweep_broken("the next one is not served");
    expect_quiet();
}

static const struct rill_server_config server_config = {.threads = 1, .workers = 1};

START_TEST(one_exchange_of_each_kind)
{
    memset(&sweep_play, 0, sizeof sweep_play);
    memset(&idle, 0, sizeof idle);
    sweep_site_prepare();
    ck_assert_int_eq(sweep_site_start(&server_config), 0);
    sweep_compose(&scenes[0]);
    ck_assert_int_eq(sweep_ask_once(), SWEEP_WHOLE); /* it has started */
    free(sweep_play.bytes);
    sweep_compose(&scenes[_i]);
    if (sweep_play.scene->datagram)
        sweep_play.datagrams = sweep_site_datagrams();
    if (sweep_play.scene->port == SWEEP_POOL)
        idle.connections = 2;
    ck_assert_int_eq(sweep_ask_once(), SWEEP_WHOLE);
    ck_assert_int_eq(sweep_ask_once(), SWEEP_WHOLE);
    expect_quiet();
    idle.descriptors = faulty_sys_open_descriptors();
    ck_assert_uint_gt(sweep(try_exchange), 5);
    sweep_site_stop(true);
    ck_assert_int_eq(sweep_site_end(), 0);
    sweep_site_clear();
    free(sweep_play.bytes);
}
END_TEST

/* --- the start --- */

static const struct rill_server_config configs[] = {
    {.threads = 1, .workers = 1}, {.threads = 0}, {.threads = 2, .workers = 2, .accept = RILL_ACCEPT_REUSEPORT}};

static unsigned config_number;

/* Starts a server while calls fail, and asks it for something. It serves, or it says that it cannot; and then the next
 * one serves. */
static void try_start(const struct faulty_sys *faults, uint64_t k)
{
    unsigned descriptors = faulty_sys_open_descriptors();
    arm(faults, k);
    int error = sweep_site_start(&configs[config_number]);
    if (error == 0) {
        sweep_compose(&scenes[0]);
        enum sweep_verdict verdict = sweep_ask_once(); /* one listener may serve while the next cannot be opened */
        sweep_end_faults();
        bool serves = sweep_ask_once() == SWEEP_WHOLE;
        free(sweep_play.bytes);
        sweep_site_stop(k % 2);
        error = sweep_site_end();
        if (error == 0 && !serves)
            sweep_broken("it has started, and does not serve");
        if (!sweep_struck() && verdict != SWEEP_WHOLE)
            sweep_broken("it does not serve");
    }
    sweep_end_faults();
    if (!sweep_struck() && error < 0)
        sweep_broken("it does not start: %s", strerror(-error));
    if (faulty_sys_open_descriptors() != descriptors)
        sweep_broken("%u descriptors are left of %u", faulty_sys_open_descriptors(), descriptors);
}

START_TEST(the_start)
{
    memset(&sweep_play, 0, sizeof sweep_play);
    memset(&idle, 0, sizeof idle);
    config_number = (unsigned)_i;
    sweep_site_prepare();
    ck_assert_uint_gt(sweep(try_start), 100);
    sweep_site_clear();
}
END_TEST

/* --- the stop --- */

enum { GUESTS = 5 };

/* Connects to PORT and says WHAT. */
static int visit(unsigned port, const char *what)
{
    int fd = sweep_dial(port, SOCK_STREAM);
    ck_assert_int_eq(send(fd, what, strlen(what), MSG_NOSIGNAL), (ssize_t)strlen(what));
    return fd;
}

static void hear_something(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, SWEEP_PATIENCE_MS) != 1)
        sweep_broken("nothing is heard before the stop");
}

/* A server that has guests of every kind stops while calls fail. It comes to its end, and nothing is left. */
static void try_stop(const struct faulty_sys *faults, uint64_t k)
{
    unsigned descriptors = faulty_sys_open_descriptors();
    struct rill_server_config config = configs[config_number];
    config.drain_timeout_ms = 5;
    ck_assert_int_eq(sweep_site_start(&config), 0);
    int guests[GUESTS] = {
        visit(sweep_site_port(SWEEP_HTTP), "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"), /* and takes little of it */
        visit(sweep_site_port(SWEEP_HTTP), "GET /text HTTP/1.1\r\nHost: x\r\n\r\nGET /te"),
        visit(sweep_site_port(SWEEP_RELAY), "hello"),
        visit(sweep_site_port(SWEEP_CLIENT), "hello"),
        visit(sweep_site_port(SWEEP_CHANNEL), "hello"),
    };
    for (int i = 0; i < GUESTS; i++)
        hear_something(guests[i]);
    arm(faults, k);
    sweep_site_stop(k % 3 == 0);
    int error = sweep_site_end();
    sweep_end_faults();
    if (!sweep_struck() && error < 0)
        sweep_broken("it stops with %s", strerror(-error));
    for (int i = 0; i < GUESTS; i++)
        close(guests[i]);
    if (faulty_sys_open_descriptors() != descriptors)
        sweep_broken("%u descriptors are left of %u", faulty_sys_open_descriptors(), descriptors);
}

START_TEST(the_stop)
{
    memset(&sweep_play, 0, sizeof sweep_play);
    memset(&idle, 0, sizeof idle);
    config_number = (unsigned)_i;
    sweep_site_prepare();
    ck_assert_uint_gt(sweep(try_stop), 10);
    sweep_site_clear();
}
END_TEST

/* Adds TEST for each of COUNT, or for that alone which is asked for. */
static void add(TCase *all, const TTest *test, int count, const char *name, const char *wanted)
{
    if (!wanted)
        tcase_add_loop_test(all, test, 0, count);
    else if (strncmp(wanted, name, strlen(name)) == 0)
        tcase_add_loop_test(all, test, atoi(wanted + strlen(name)), atoi(wanted + strlen(name)) + 1);
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : NULL;
    Suite *suite = suite_create("fault sweep");
    TCase *all = tcase_create("fault sweep");
    add(all, one_exchange_of_each_kind, (int)rill_array_length(scenes), "exchange", wanted);
    add(all, the_start, (int)rill_array_length(configs), "start", wanted);
    add(all, the_stop, (int)rill_array_length(configs), "stop", wanted);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    if (srunner_fork_status(runner) == CK_NOFORK)
        faulty_sites_report();
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
