/* thread.c - one generator thread: its connections, its share of the rate and of the requests, and what it counts.
 *
 * In a closed loop a connection that has its answer asks for the next request at once. In an open loop requests arrive
 * by the clock: a connection that finds none waits in a list, and a timer of the kernel's finest grain wakes it when
 * the next one is due; an arrival that finds no connection waits as well, and its latency counts from when it was due.
 */
#include "bench.h"
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    OPENED_AT_ONCE = 100, /* connections a millisecond: more would be lost on the way into a backlog */
    LOST_NS = 1000000000,
};

struct cpu_times {
    uint64_t ran_ns, waited_ns;
};

struct bench_thread {
    const struct bench_plan *plan;
    struct rill_loop *loop;
    unsigned index;
    char *clients; /* client_count of bench_client_size() */
    unsigned client_count, opened;
    struct rill_timer open_timer;
    struct bench_client *waiting, **waiting_end;

    struct bench_arrivals arrivals;
    int arrival_fd; /* timerfd; -1: a closed loop */
    struct event *arrival_event;
    uint64_t seed;

    unsigned next_in_order;
    uint64_t quota, issued, finished; /* quota UINT64_MAX: no limit */
    uint64_t lost_since_ns;           /* 0: it has connections */
    char last_error[160];

    bool counting, ended;
    uint64_t begin_ns, end_ns, backlog, unanswered;
    struct cpu_times at_begin, at_end;
    uint64_t second_ends_ns;
    struct bench_second *seconds;
    unsigned second_count, second_room;

    struct bench_counts counts;
};

/* Time that the calling thread ran, and that it was ready to and had to wait for a CPU: nanoseconds both. */
static void read_times(struct cpu_times *times)
{
    struct timespec ts;
    char text[128] = "";
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    times->ran_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    times->waited_ns = 0;
    FILE *file = fopen("/proc/thread-self/schedstat", "r"); /* time run, time waited, ... */
    if (!file)
        return;
    const char *space = fgets(text, sizeof text, file) ? strchr(text, ' ') : NULL;
    if (space)
        times->waited_ns = strtoull(space, NULL, 10);
    fclose(file);
}

static void add(uint64_t *counter, uint64_t count)
{
    __atomic_store_n(counter, *counter + count, __ATOMIC_RELAXED);
}

static struct bench_client *client_at(struct bench_thread *thread, unsigned i)
{
    return (struct bench_client *)(void *)(thread->clients + i * bench_client_size(thread->plan));
}

/* Thread INDEX's part of TOTAL. */
static uint64_t share(uint64_t total, unsigned threads, unsigned index)
{
    return total / threads + (index < total % threads);
}

struct bench_thread *bench_thread_new(const struct bench_plan *plan, unsigned index, uint64_t seed)
{
    struct bench_thread *thread = aligned_alloc(64, (sizeof *thread + 63) & ~(size_t)63);
    if (!thread)
        return NULL;
    memset(thread, 0, sizeof *thread);
    thread->plan = plan;
    thread->index = index;
    thread->seed = seed;
    thread->arrival_fd = -1;
    thread->client_count = (unsigned)share(plan->connections, plan->threads, index);
    thread->quota = plan->request_limit ? share(plan->request_limit, plan->threads, index) : UINT64_MAX;
    thread->waiting_end = &thread->waiting;
    thread->clients = aligned_alloc(64, thread->client_count * bench_client_size(plan) + 64);
    rill_histogram_init(&thread->counts.latency, LATENCY_BITS, thread->counts.latency_counts, LATENCY_BUCKETS);
    rill_histogram_init(&thread->counts.intended, LATENCY_BITS, thread->counts.intended_counts, LATENCY_BUCKETS);
    if (thread->clients)
        return thread;
    free(thread);
    return NULL;
}

void bench_thread_free(struct bench_thread *thread)
{
    if (!thread)
        return;
    if (thread->arrival_event)
        event_free(thread->arrival_event);
    if (thread->arrival_fd >= 0)
        close(thread->arrival_fd);
    free(thread->seconds);
    free(thread->clients);
    free(thread);
}

/* --- connections, opened over ramp_ms --- */

static void open_some(struct rill_timer *timer)
{
    struct bench_thread *thread = rill_container_of(timer, struct bench_thread, open_timer);
    uint64_t ramp_ms = thread->plan->ramp_ms;
    unsigned most = OPENED_AT_ONCE;
    if (ramp_ms) {
        unsigned a_tick = (unsigned)((thread->client_count + ramp_ms - 1) / ramp_ms);
        most = a_tick < most ? a_tick : most;
    }
    for (unsigned i = 0; i < most && thread->opened < thread->client_count && !thread->ended; i++)
        bench_client_open(client_at(thread, thread->opened++));
    if (thread->opened < thread->client_count && !thread->ended)
        rill_loop_arm(thread->loop, timer, ramp_ms > thread->client_count ? ramp_ms / thread->client_count : 1);
}

void bench_thread_connected(struct bench_thread *thread)
{
    add(&thread->counts.connects, 1);
    __atomic_store_n(&thread->lost_since_ns, 0, __ATOMIC_RELAXED);
}

/* No connection has come about since when: told when there was none at all. */
void bench_thread_no_connection(struct bench_thread *thread, const char *why)
{
    snprintf(thread->last_error, sizeof thread->last_error, "%s", why);
    if (thread->lost_since_ns == 0)
        __atomic_store_n(&thread->lost_since_ns, rill_clock_ns(), __ATOMIC_RELAXED);
}

/* --- arrivals --- */

static void wake_for_arrival(struct bench_thread *thread)
{
    uint64_t at_ns = (uint64_t)thread->arrivals.next_ns;
    struct itimerspec when = {.it_value = {(time_t)(at_ns / 1000000000), (long)(at_ns % 1000000000)}};
    timerfd_settime(thread->arrival_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void feed_waiting(struct bench_thread *thread)
{
    while (thread->waiting && (double)rill_clock_ns() >= thread->arrivals.next_ns) {
        struct bench_client *client = thread->waiting, **link = bench_client_link(client);
        thread->waiting = *link;
        if (!thread->waiting)
            thread->waiting_end = &thread->waiting;
        bench_client_wake(client);
    }
    if (thread->waiting)
        wake_for_arrival(thread);
}

static void on_arrival(evutil_socket_t fd, short what, void *arg)
{
    uint64_t expirations;
    (void)what;
    if (read(fd, &expirations, sizeof expirations) > 0)
        feed_waiting(arg);
}

bool bench_thread_wait(struct bench_thread *thread, struct bench_client *client)
{
    bool first = thread->waiting == NULL;
    if (thread->arrival_fd < 0 || thread->issued >= thread->quota || thread->ended)
        return false; /* nothing more comes */
    struct bench_client **link = bench_client_link(client);
    *link = NULL;
    *thread->waiting_end = client;
    thread->waiting_end = link;
    if (first)
        wake_for_arrival(thread);
    return true;
}

int bench_thread_next(struct bench_thread *thread, uint64_t now_ns, uint64_t *intended_ns)
{
    *intended_ns = now_ns;
    if (thread->issued >= thread->quota || thread->ended)
        return -1;
    if (thread->arrival_fd >= 0) {
        if ((double)now_ns < thread->arrivals.next_ns)
            return -1;
        *intended_ns = bench_arrivals_next(&thread->arrivals);
    }
    thread->issued++;
    unsigned number = thread->next_in_order;
    thread->next_in_order = number + 1 < thread->plan->order_length ? number + 1 : 0;
    return (int)number;
}

/* --- counting --- */

/* The second of the run that it is now. NULL: the run is not measured, or too long to be told by the second. */
static struct bench_second *this_second(struct bench_thread *thread, uint64_t now_ns)
{
    while (thread->counting && now_ns >= thread->second_ends_ns) {
        if (thread->second_count == thread->second_room) {
            unsigned room = thread->second_room ? thread->second_room * 2 : 64;
            struct bench_second *more = realloc(thread->seconds, room * sizeof *more);
            if (!more)
                return NULL;
            thread->seconds = more;
            thread->second_room = room;
        }
        thread->seconds[thread->second_count++] = (struct bench_second){0};
        thread->second_ends_ns += 1000000000;
    }
    return thread->second_count ? &thread->seconds[thread->second_count - 1] : NULL;
}

void bench_thread_answered(struct bench_thread *thread, uint64_t sent_ns, uint64_t intended_ns, uint64_t now_ns)
{
    add(&thread->finished, 1);
    if (thread->lost_since_ns)
        __atomic_store_n(&thread->lost_since_ns, 0, __ATOMIC_RELAXED);
    if (!thread->counting)
        return;
    struct bench_second *second = this_second(thread, now_ns);
    if (second)
        second->requests++;
    add(&thread->counts.requests, 1);
    rill_histogram_record(&thread->counts.latency, (now_ns - sent_ns) / 1000);
    if (thread->arrival_fd >= 0)
        rill_histogram_record(&thread->counts.intended, now_ns > intended_ns ? (now_ns - intended_ns) / 1000 : 0);
}

void bench_thread_failed(struct bench_thread *thread, enum bench_error error, unsigned requests)
{
    if (error != BENCH_CONNECT && error != BENCH_UNASKED)
        add(&thread->finished, requests);
    if (!thread->counting || requests == 0)
        return;
    struct bench_second *second = this_second(thread, rill_clock_ns());
    if (second)
        second->errors += requests;
    add(&thread->counts.errors[error], requests);
}

/* --- the run --- */

int bench_thread_start(struct bench_thread *thread, struct rill_loop *loop)
{
    thread->loop = loop;
    rill_timer_init(&thread->open_timer, open_some);
    for (unsigned i = 0; i < thread->client_count; i++)
        bench_client_init(client_at(thread, i), thread, i * thread->plan->threads + thread->index);
    double rate = thread->plan->rate / thread->plan->threads;
    bench_arrivals_start(&thread->arrivals, rate, thread->plan->poisson, thread->seed, rill_clock_ns());
    if (rate > 0) {
        prctl(PR_SET_TIMERSLACK, 1UL); /* 50 us late are a lot for requests that take 100 */
        thread->arrival_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (thread->arrival_fd < 0)
            return -1;
        thread->arrival_event =
            event_new(rill_loop_base(loop), thread->arrival_fd, EV_READ | EV_PERSIST, on_arrival, thread);
        if (!thread->arrival_event || event_add(thread->arrival_event, NULL) < 0)
            return -1;
    }
    open_some(&thread->open_timer);
    return 0;
}

void bench_thread_begin(struct bench_thread *thread)
{
    struct bench_counts *counts = &thread->counts;
    rill_histogram_clear(&counts->latency);
    rill_histogram_clear(&counts->intended);
    counts->requests = counts->bytes_in = counts->connects = 0;
    memset(counts->errors, 0, sizeof counts->errors);
    memset(counts->status, 0, sizeof counts->status);
    thread->begin_ns = thread->second_ends_ns = rill_clock_ns();
    read_times(&thread->at_begin);
    thread->counting = true;
}

void bench_thread_end(struct bench_thread *thread)
{
    thread->end_ns = rill_clock_ns();
    read_times(&thread->at_end);
    (void)this_second(thread, thread->end_ns);
    thread->counting = false;
    thread->ended = true;
    double late_ns = (double)thread->end_ns - thread->arrivals.next_ns;
    if (thread->arrival_fd >= 0 && late_ns > 0)
        thread->backlog = (uint64_t)(late_ns / thread->arrivals.interval_ns);
    rill_loop_disarm(thread->loop, &thread->open_timer);
    for (unsigned i = 0; i < thread->client_count; i++)
        thread->unanswered += bench_client_close(client_at(thread, i));
    if (thread->arrival_event)
        event_del(thread->arrival_event);
}

/* --- seen from elsewhere --- */

struct rill_loop *bench_thread_loop(struct bench_thread *thread)
{
    return thread->loop;
}

const struct bench_plan *bench_thread_plan(const struct bench_thread *thread)
{
    return thread->plan;
}

struct bench_counts *bench_thread_writes(struct bench_thread *thread)
{
    return &thread->counts;
}

const struct bench_counts *bench_thread_counts(const struct bench_thread *thread)
{
    return &thread->counts;
}

bool bench_thread_is_done(const struct bench_thread *thread)
{
    return __atomic_load_n(&thread->finished, __ATOMIC_RELAXED) >= thread->quota;
}

bool bench_thread_is_lost(const struct bench_thread *thread)
{
    uint64_t since_ns = __atomic_load_n(&thread->lost_since_ns, __ATOMIC_RELAXED);
    return since_ns != 0 && rill_clock_ns() - since_ns > LOST_NS;
}

bool bench_thread_is_ready(const struct bench_thread *thread)
{
    return __atomic_load_n(&thread->counts.connects, __ATOMIC_RELAXED) >= thread->client_count;
}

double bench_thread_cpu_s(const struct bench_thread *thread)
{
    return (double)(thread->at_end.ran_ns - thread->at_begin.ran_ns) / 1e9;
}

double bench_thread_waited_s(const struct bench_thread *thread)
{
    return (double)(thread->at_end.waited_ns - thread->at_begin.waited_ns) / 1e9;
}

double bench_thread_elapsed_s(const struct bench_thread *thread)
{
    return (double)(thread->end_ns - thread->begin_ns) / 1e9;
}

uint64_t bench_thread_backlog(const struct bench_thread *thread)
{
    return thread->backlog;
}

uint64_t bench_thread_unanswered(const struct bench_thread *thread)
{
    return thread->unanswered;
}

const char *bench_thread_last_error(const struct bench_thread *thread)
{
    return thread->last_error;
}

unsigned bench_thread_seconds(const struct bench_thread *thread, const struct bench_second **seconds)
{
    *seconds = thread->seconds;
    return thread->second_count;
}
