/* bench_timers - the timing wheel beside libevent's min-heap, with many timers pending.
 *
 *     bench_timers [TIMERS [ROUNDS]]        default 1000000 and 7
 *
 * Both sides get the same owners (a timer in each, as far apart in memory as libevent's), the same random timeouts and
 * the same random order, in turns within each round; a figure is the median of the rounds. libevent's side is as fast
 * as it gets: no locks, and called from inside its loop, where the time is cached and costs no clock call. */
#include "rill/core/base.h"
#include "rill/core/sys.h"
#include "rill/tests/support/random.h"
#include "rill/timer/wheel.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>

enum {
    MAX_ROUNDS = 99,
    SHORTEST_MS = 60 * 1000, /* later than any round ends: nothing expires but where that is measured */
    LONGEST_MS = 660 * 1000,
    SOON_MS = 1000 /* timeouts of the timers that are to expire */
};

enum operation { OP_ARM, OP_REARM, OP_CANCEL_ARM, OP_SHORT_LIVED, OP_CANCEL, OP_EXPIRE, OPERATIONS };

static const char *const operation_names[OPERATIONS] = {
    "arm, from none to all",       "re-arm a pending timer",   "cancel + arm a pending timer",
    "arm + cancel one timer more", "cancel, from all to none", "expire, from all to none",
};

/* A timer in its owner. What is beside a timer is the same for both sides. */
struct wheel_owner {
    struct rill_timer timer;
    char rest[sizeof(struct event) - sizeof(struct rill_timer)];
};

struct bench {
    size_t timers;
    struct rill_wheel wheel;
    uint64_t now_ms; /* the wheel's time */
    struct wheel_owner *owners;
    struct event_base *base;
    struct event *events; /* TIMERS + 1; so are the owners */
    uint32_t *order;      /* a permutation of the timers */
    uint32_t *timeouts_ms;
    size_t fired;
    size_t errors;
    double ns[OPERATIONS][2][MAX_ROUNDS];
    int round;
};

/* New timeouts and a new order before each operation, outside of what is measured. */
static void draw(struct bench *bench, struct test_random *random, uint32_t shortest_ms, uint32_t longest_ms)
{
    for (size_t i = 0; i < bench->timers; i++) {
        bench->timeouts_ms[i] = shortest_ms + (uint32_t)test_random_below(random, longest_ms - shortest_ms);
        size_t other = test_random_below(random, i + 1);
        bench->order[i] = bench->order[other];
        bench->order[other] = (uint32_t)i;
    }
}

static struct bench *fired_in; /* the callbacks' way back; a pointer in each owner would tell nothing more */

static void on_timer(struct rill_timer *timer)
{
    (void)timer;
    fired_in->fired++;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ((struct bench *)arg)->fired++;
}

static void event_arm(struct bench *bench, struct event *event, uint32_t timeout_ms)
{
    struct timeval timeout = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    if (evtimer_add(event, &timeout) != 0)
        bench->errors++;
}

static void wheel_run(struct bench *bench, enum operation operation)
{
    struct rill_wheel *wheel = &bench->wheel;
    struct rill_timer *extra = &bench->owners[bench->timers].timer;

    if (operation == OP_EXPIRE) {
        bench->now_ms += SOON_MS;
        rill_wheel_advance(wheel, bench->now_ms);
        return;
    }
    for (size_t i = 0; i < bench->timers; i++) {
        struct rill_timer *timer = &bench->owners[bench->order[i]].timer;
        uint64_t deadline_ms = bench->now_ms + bench->timeouts_ms[i];
        switch (operation) {
        case OP_ARM:
        case OP_REARM:
            rill_wheel_arm(wheel, timer, deadline_ms);
            break;
        case OP_CANCEL_ARM:
            rill_wheel_cancel(wheel, timer);
            rill_wheel_arm(wheel, timer, deadline_ms);
            break;
        case OP_SHORT_LIVED:
            rill_wheel_arm(wheel, extra, deadline_ms);
            rill_wheel_cancel(wheel, extra);
            break;
        default:
            rill_wheel_cancel(wheel, timer);
            break;
        }
    }
}

static void heap_run(struct bench *bench, enum operation operation)
{
    struct event *extra = &bench->events[bench->timers];

    for (size_t i = 0; i < bench->timers; i++) {
        struct event *event = &bench->events[bench->order[i]];
        uint32_t timeout_ms = bench->timeouts_ms[i];
        switch (operation) {
        case OP_ARM:
        case OP_REARM:
            event_arm(bench, event, timeout_ms);
            break;
        case OP_CANCEL_ARM:
            evtimer_del(event);
            event_arm(bench, event, timeout_ms);
            break;
        case OP_SHORT_LIVED:
            event_arm(bench, extra, timeout_ms);
            evtimer_del(extra);
            break;
        default:
            evtimer_del(event);
            break;
        }
    }
}

static void measured(struct bench *bench, enum operation operation, int side, uint64_t start_ns)
{
    uint64_t took_ns = rill_sys_monotonic_ns() - start_ns;
    bench->ns[operation][side][bench->round] = (double)took_ns / (double)bench->timers;
}

static void measure(struct bench *bench, enum operation operation)
{
    /* Each side goes first in every other round. */
    for (int turn = 0; turn < 2; turn++) {
        int side = (turn + bench->round) % 2;
        uint64_t start_ns = rill_sys_monotonic_ns();
        if (side == 0)
            wheel_run(bench, operation);
        else
            heap_run(bench, operation);
        measured(bench, operation, side, start_ns);
    }
}

/* All that happens with timers pending; runs inside libevent's loop. */
static void round_in_loop(evutil_socket_t fd, short what, void *arg)
{
    struct bench *bench = arg;
    struct test_random random = {1 + (uint64_t)bench->round};
    (void)fd;
    (void)what;

    for (int operation = OP_ARM; operation < OP_EXPIRE; operation++) {
        draw(bench, &random, SHORTEST_MS, LONGEST_MS);
        measure(bench, (enum operation)operation);
    }
    /* For libevent to expire timers, time must pass: arm them now, and let the caller wait. */
    draw(bench, &random, 1, SOON_MS);
    wheel_run(bench, OP_ARM);
    heap_run(bench, OP_ARM);
}

static void round_run(struct bench *bench)
{
    bench->fired = 0;
    event_base_once(bench->base, -1, EV_TIMEOUT, round_in_loop, bench, NULL);
    event_base_loop(bench->base, EVLOOP_ONCE);

    uint64_t start_ns = rill_sys_monotonic_ns();
    wheel_run(bench, OP_EXPIRE);
    measured(bench, OP_EXPIRE, 0, start_ns);
    if (bench->fired != bench->timers)
        bench->errors++;

    bench->fired = 0;
    const struct timespec wait = {SOON_MS / 1000, SOON_MS % 1000 * 1000000};
    nanosleep(&wait, NULL);
    start_ns = rill_sys_monotonic_ns();
    event_base_loop(bench->base, EVLOOP_NONBLOCK);
    measured(bench, OP_EXPIRE, 1, start_ns);
    if (bench->fired != bench->timers)
        bench->errors++;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), compare);
    return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int bench_start(struct bench *bench)
{
    size_t all = bench->timers + 1;
    struct event_config *config = event_config_new();

    fired_in = bench;
    bench->owners = rill_sys_calloc(all, sizeof(*bench->owners));
    bench->events = rill_sys_calloc(all, sizeof(*bench->events));
    bench->order = rill_sys_calloc(all, sizeof(*bench->order));
    bench->timeouts_ms = rill_sys_calloc(all, sizeof(*bench->timeouts_ms));
    if (config == NULL || !bench->owners || !bench->events || !bench->order || !bench->timeouts_ms)
        return -ENOMEM;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    bench->base = event_base_new_with_config(config);
    event_config_free(config);
    if (bench->base == NULL)
        return -ENOMEM;
    rill_wheel_init(&bench->wheel, bench->now_ms);
    for (size_t i = 0; i < all; i++) {
        rill_timer_init(&bench->owners[i].timer, on_timer);
        evtimer_assign(&bench->events[i], bench->base, on_event, bench);
    }
    return 0;
}

static void bench_stop(struct bench *bench)
{
    event_base_free(bench->base);
    rill_sys_free(bench->owners);
    rill_sys_free(bench->events);
    rill_sys_free(bench->order);
    rill_sys_free(bench->timeouts_ms);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    long timers = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000;
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 7;

    if (timers < 1 || timers > 50000000 || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_timers [TIMERS [ROUNDS]]: 1 to 50000000 timers, 1 to %d rounds\n", MAX_ROUNDS);
        return 2;
    }
    bench.timers = (size_t)timers;
    if (bench_start(&bench) != 0) {
        fprintf(stderr, "bench_timers: not enough memory for %ld timers\n", timers);
        return 1;
    }
    for (bench.round = 0; bench.round < rounds; bench.round++)
        round_run(&bench);

    printf("%ld timers, a timer each %zu bytes, medians of %ld rounds; libevent %s\n\n", timers,
           sizeof(struct wheel_owner), rounds, event_get_version());
    printf("%-30s %10s %12s %8s\n", "operation", "wheel, ns", "min-heap, ns", "ratio");
    for (int operation = 0; operation < OPERATIONS; operation++) {
        double wheel_ns = median(bench.ns[operation][0], (int)rounds);
        double heap_ns = median(bench.ns[operation][1], (int)rounds);
        printf("%-30s %10.1f %12.1f %7.1fx\n", operation_names[operation], wheel_ns, heap_ns, heap_ns / wheel_ns);
    }
    bench_stop(&bench);
    if (bench.errors != 0) {
        fprintf(stderr, "bench_timers: %zu operations went wrong; the figures mean nothing\n", bench.errors);
        return 1;
    }
    return 0;
}
