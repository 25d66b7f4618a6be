/* test_loop.c - one loop on one thread: turns, timers, deferred tasks, posts to itself, slots, and the thread check.
 * Everything that waits runs with each of libevent's methods. */
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rill/core/loop.h"
#include "support/run_suite.h"

enum { BACKENDS = RILL_BACKEND_SELECT + 1, TRACE_MAX = 64 };

static struct rill_loop *loop;
static char trace[TRACE_MAX + 1]; /* a letter for each thing that happened */

static struct rill_loop *new_loop(int backend)
{
    int error = 1;
    struct rill_loop_config config = {.name = "under-test", .backend = (enum rill_backend)backend, .index = 7};
    trace[0] = '\0';
    loop = rill_loop_new(&config, &error);
    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(error, 0);
    return loop;
}

static void note(char c)
{
    size_t length = strlen(trace);
    ck_assert_uint_lt(length, TRACE_MAX);
    trace[length] = c;
    trace[length + 1] = '\0';
}

/* A task that notes its letter, and then does one thing more, if any. */
struct step {
    struct rill_task task;
    struct rill_timer timer;
    char letter;
    void (*then)(struct step *step);
    struct step *other;
    unsigned count;
};

static void run_step(struct rill_task *task)
{
    struct step *step = rill_container_of(task, struct step, task);
    note(step->letter);
    if (step->then != NULL)
        step->then(step);
}

static void fire_step(struct rill_timer *timer)
{
    run_step(&rill_container_of(timer, struct step, timer)->task);
}

static struct step make_step(char letter, void (*then)(struct step *step), struct step *other)
{
    struct step step = {.letter = letter, .then = then, .other = other};
    step.task.run = run_step;
    rill_timer_init(&step.timer, fire_step);
    return step;
}

static void then_stop(struct step *step)
{
    (void)step;
    rill_loop_stop(loop);
}

static void then_defer_other(struct step *step)
{
    rill_loop_defer(loop, &step->other->task);
}

static void then_defer_last_other(struct step *step)
{
    rill_loop_defer_last(loop, &step->other->task);
}

static void then_post_other(struct step *step)
{
    ck_assert_int_eq(rill_loop_post(loop, &step->other->task), 0);
}

static void then_disarm_other(struct step *step)
{
    rill_loop_disarm(loop, &step->other->timer);
}

static void turn_without_waiting(void)
{
    ck_assert_int_eq(rill_loop_turn(loop, false), 0);
}

static void must_post(struct step *step)
{
    ck_assert_int_eq(rill_loop_post(loop, &step->task), 0);
}

/* ---- Making and freeing -------------------------------------------------------------------------------- */

START_TEST(backend_names)
{
    enum rill_backend backend;
    ck_assert_int_eq(rill_backend_parse("epoll", &backend), 0);
    ck_assert_int_eq(backend, RILL_BACKEND_EPOLL);
    ck_assert_int_eq(rill_backend_parse("poll", &backend), 0);
    ck_assert_int_eq(backend, RILL_BACKEND_POLL);
    ck_assert_int_eq(rill_backend_parse("select", &backend), 0);
    ck_assert_int_eq(backend, RILL_BACKEND_SELECT);
    ck_assert_int_eq(rill_backend_parse("kqueue", &backend), -EINVAL);
    ck_assert_int_eq(rill_backend_parse("", &backend), -EINVAL);
    ck_assert_int_eq(backend, RILL_BACKEND_SELECT);
}
END_TEST

START_TEST(uses_the_method_asked_for)
{
    static const char *const names[BACKENDS] = {"epoll", "poll", "select"};
    /* The environment does not overrule the configuration. */
    setenv("EVENT_NOEPOLL", "1", 1);
    setenv("EVENT_EPOLL_USE_CHANGELIST", "1", 1);
    new_loop(_i);
    ck_assert_str_eq(event_base_get_method(rill_loop_base(loop)), names[_i]);
    ck_assert_int_eq(rill_loop_edge_triggered(loop), _i == RILL_BACKEND_EPOLL);
    ck_assert_str_eq(rill_loop_name(loop), "under-test");
    ck_assert_uint_eq(rill_loop_index(loop), 7);
    rill_loop_free(loop);
}
END_TEST

START_TEST(defaults_and_limits)
{
    int error;
    size_t size;
    char *buffer;
    loop = rill_loop_new(&(struct rill_loop_config){.index = RILL_LOOP_MAX}, &error);
    ck_assert_ptr_null(loop);
    ck_assert_int_eq(error, -EINVAL);
    loop = rill_loop_new(&(struct rill_loop_config){.name = "a name of more than fifteen bytes"}, &error);
    ck_assert_str_eq(rill_loop_name(loop), "a name of more ");
    buffer = rill_loop_read_buffer(loop, &size);
    memset(buffer, 'x', size);
    ck_assert_uint_eq(size, 64 * 1024);
    rill_loop_free(loop);
    loop = rill_loop_new(&(struct rill_loop_config){.read_buffer_bytes = 100}, &error);
    ck_assert_str_eq(rill_loop_name(loop), "loop");
    buffer = rill_loop_read_buffer(loop, &size);
    memset(buffer, 'x', size);
    ck_assert_uint_eq(size, 100);
    rill_loop_free(loop);
    rill_loop_free(NULL);
}
END_TEST

START_TEST(free_without_run_runs_what_was_posted)
{
    new_loop(_i);
    struct step d = make_step('d', NULL, NULL), p = make_step('p', then_defer_other, &d),
                l = make_step('l', NULL, NULL), t = make_step('t', NULL, NULL);
    must_post(&p);
    rill_loop_defer_last(loop, &l.task);
    rill_loop_arm(loop, &t.timer, 0);
    rill_loop_free(loop);
    ck_assert_str_eq(trace, "pdl");
}
END_TEST

static void destroy_slot(void *value)
{
    note(*(char *)value);
    ck_assert_ptr_eq(rill_loop_current(), loop);
}

static struct step *deferred_by_destroy;

static void destroy_and_defer(void *value)
{
    destroy_slot(value);
    rill_loop_defer_last(loop, &deferred_by_destroy->task);
}

START_TEST(slots_go_highest_first)
{
    static char net = 'n', http = 'h', app = 'a';
    struct step freed = make_step('f', NULL, NULL);
    deferred_by_destroy = &freed;
    new_loop(RILL_BACKEND_EPOLL);
    for (int slot = 0; slot < RILL_LOOP_SLOTS; slot++)
        ck_assert_ptr_null(rill_loop_slot(loop, (enum rill_loop_slot)slot));
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_HTTP, &http, destroy_and_defer);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_NET, &net, destroy_slot);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, &app, destroy_slot);
    ck_assert_ptr_eq(rill_loop_slot(loop, RILL_LOOP_SLOT_HTTP), &http);
    rill_loop_free(loop);
    /* What a destructor defers is done before the next one: it may need the layer below. */
    ck_assert_str_eq(trace, "ahfn");

    new_loop(RILL_BACKEND_EPOLL);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, &app, NULL);
    rill_loop_free(loop);
    ck_assert_str_eq(trace, "");
}
END_TEST

/* ---- Running and stopping ------------------------------------------------------------------------------ */

START_TEST(stop_before_run)
{
    new_loop(_i);
    struct step p = make_step('p', NULL, NULL);
    must_post(&p);
    rill_loop_stop(loop);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "p");
    ck_assert_int_eq(rill_loop_post(loop, &p.task), -ESHUTDOWN);
    ck_assert_int_eq(rill_loop_run(loop), -ESHUTDOWN);
    rill_loop_free(loop);
}
END_TEST

START_TEST(stop_from_task)
{
    new_loop(_i);
    struct step after = make_step('a', NULL, NULL), s = make_step('s', then_stop, NULL);
    must_post(&s);
    must_post(&after);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "sa"); /* it ends after the turn, not within it */
    rill_loop_free(loop);
}
END_TEST

START_TEST(stop_from_timer)
{
    new_loop(_i);
    struct step s = make_step('s', then_stop, NULL);
    rill_loop_arm(loop, &s.timer, 3);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "s");
    rill_loop_free(loop);
}
END_TEST

START_TEST(stop_from_deferred)
{
    new_loop(_i);
    struct step m = make_step('m', NULL, NULL), n = make_step('n', then_defer_other, &m),
                s = make_step('s', then_stop, NULL), d = make_step('d', then_defer_other, &n);
    rill_loop_defer(loop, &s.task);
    rill_loop_defer(loop, &d.task);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "sdnm"); /* deferred work is not left behind */
    rill_loop_free(loop);
}
END_TEST

static void on_pipe(evutil_socket_t fd, short events, void *arg)
{
    char c;
    ck_assert_int_eq(read(fd, &c, 1), 1);
    ck_assert_int_eq(events & EV_READ, EV_READ);
    note(c);
    if (c == 's')
        rill_loop_stop(arg);
    ck_assert_ptr_eq(rill_loop_current(), arg);
    ck_assert(rill_loop_is_current(arg));
}

START_TEST(an_event_of_the_app)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    new_loop(_i);
    ck_assert(!rill_loop_is_current(loop));
    struct event *event = event_new(rill_loop_base(loop), ends[0], EV_READ | EV_PERSIST, on_pipe, loop);
    ck_assert_int_eq(event_add(event, NULL), 0);
    ck_assert_int_eq(write(ends[1], "xs", 2), 2);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "xs");
    ck_assert_ptr_null(rill_loop_current());
    event_free(event);
    rill_loop_free(loop);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

static void on_libevent_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    note('t');
    rill_loop_stop(arg);
}

START_TEST(a_libevent_timer_of_the_app)
{
    struct timeval in_2ms = {0, 2000};
    new_loop(_i);
    ck_assert_int_eq(event_base_once(rill_loop_base(loop), -1, EV_TIMEOUT, on_libevent_timer, loop, &in_2ms), 0);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "t");
    rill_loop_free(loop);
}
END_TEST

static void then_turn(struct step *step)
{
    (void)step;
    ck_assert_int_eq(rill_loop_turn(loop, false), -EBUSY);
}

START_TEST(no_turn_within_a_turn)
{
    new_loop(_i);
    struct step t = make_step('t', then_turn, NULL), after = make_step('a', NULL, NULL);
    must_post(&t);
    must_post(&after);
    turn_without_waiting();
    ck_assert_str_eq(trace, "ta");
    rill_loop_free(loop);
}
END_TEST

/* ---- Tasks --------------------------------------------------------------------------------------------- */

START_TEST(post_to_itself)
{
    new_loop(_i);
    struct step s = make_step('3', then_stop, NULL), second = make_step('2', then_post_other, &s),
                first = make_step('1', then_post_other, &second);
    must_post(&first);
    /* Nobody else wakes this loop: it would hang if a post to itself did not keep it from waiting. */
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "123");
    rill_loop_free(loop);
}
END_TEST

START_TEST(a_task_posted_by_a_task_waits_for_the_next_turn)
{
    new_loop(_i);
    struct step again = make_step('a', then_post_other, NULL);
    again.other = &again;
    must_post(&again);
    turn_without_waiting();
    ck_assert_str_eq(trace, "a"); /* one that posts itself for ever starves nobody */
    ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    ck_assert_str_eq(trace, "aa");
    again.then = NULL;
    rill_loop_free(loop);
    ck_assert_str_eq(trace, "aaa");
}
END_TEST

static void note_call(void *arg)
{
    note(*(char *)arg);
}

START_TEST(post_of_a_function)
{
    static char a = 'a', b = 'b';
    new_loop(_i);
    ck_assert_int_eq(rill_post(loop, note_call, &a), 0);
    ck_assert_int_eq(rill_post(loop, note_call, &b), 0);
    turn_without_waiting();
    ck_assert_str_eq(trace, "ab");
    rill_loop_stop(loop);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_int_eq(rill_post(loop, note_call, &a), -ESHUTDOWN);
    rill_loop_free(loop);
}
END_TEST

START_TEST(deferred_after_tasks_and_timers)
{
    new_loop(_i);
    struct step last = make_step('L', NULL, NULL), deferred = make_step('d', NULL, NULL),
                task = make_step('p', NULL, NULL), timer = make_step('t', NULL, NULL);
    rill_loop_defer_last(loop, &last.task);
    rill_loop_defer(loop, &deferred.task);
    rill_loop_arm_at(loop, &timer.timer, 0);
    must_post(&task);
    turn_without_waiting();
    ck_assert_str_eq(trace, "ptdL");
    rill_loop_free(loop);
}
END_TEST

START_TEST(deferred_by_deferred_runs_in_the_next_turn)
{
    new_loop(_i);
    struct step b = make_step('b', NULL, NULL), a = make_step('a', then_defer_other, &b);
    rill_loop_defer(loop, &a.task);
    ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    ck_assert_str_eq(trace, "a");
    ck_assert_int_eq(rill_loop_turn(loop, true), 0); /* which does not wait */
    ck_assert_str_eq(trace, "ab");
    rill_loop_free(loop);
}
END_TEST

START_TEST(deferred_last_runs_in_this_turn_and_last)
{
    new_loop(_i);
    struct step deep = make_step('D', NULL, NULL), last = make_step('L', then_defer_last_other, &deep),
                second = make_step('2', NULL, NULL), first = make_step('1', then_defer_last_other, &last);
    rill_loop_defer(loop, &first.task);
    rill_loop_defer(loop, &second.task);
    turn_without_waiting();
    ck_assert_str_eq(trace, "12LD");
    struct step late = make_step('n', NULL, NULL), defers = make_step('L', then_defer_other, &late);
    rill_loop_defer_last(loop, &defers.task);
    ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    ck_assert_str_eq(trace, "12LDL");
    ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    ck_assert_str_eq(trace, "12LDLn");
    rill_loop_free(loop);
}
END_TEST

static void free_task(struct rill_task *task)
{
    note('f');
    free(rill_container_of(task, struct step, task));
}

START_TEST(a_task_may_free_itself)
{
    new_loop(_i);
    for (int i = 0; i < 6; i++) {
        struct step *step = calloc(1, sizeof(*step));
        ck_assert_ptr_nonnull(step);
        step->task.run = free_task;
        if (i < 2)
            must_post(step);
        else if (i < 4)
            rill_loop_defer(loop, &step->task);
        else
            rill_loop_defer_last(loop, &step->task);
    }
    turn_without_waiting();
    ck_assert_str_eq(trace, "ffffff");
    rill_loop_free(loop);
}
END_TEST

/* ---- Time and timers ----------------------------------------------------------------------------------- */

START_TEST(a_cancelled_timer_never_fires)
{
    new_loop(_i);
    struct step cancelled = make_step('c', NULL, NULL), victim = make_step('v', NULL, NULL),
                killer = make_step('k', then_disarm_other, &victim), end = make_step('e', then_stop, NULL);
    rill_loop_arm(loop, &cancelled.timer, 1);
    rill_loop_arm(loop, &killer.timer, 4);
    rill_loop_arm(loop, &victim.timer, 4);
    rill_loop_arm(loop, &end.timer, 8);
    rill_loop_disarm(loop, &cancelled.timer);
    rill_loop_disarm(loop, &cancelled.timer);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "ke");
    rill_loop_free(loop);
}
END_TEST

static void then_arm_again(struct step *step)
{
    ck_assert(!rill_timer_armed(&step->timer));
    if (++step->count < 5)
        rill_loop_arm(loop, &step->timer, step->count % 2);
    else
        rill_loop_stop(loop);
}

START_TEST(a_timer_may_arm_itself)
{
    new_loop(_i);
    struct step again = make_step('a', then_arm_again, NULL);
    rill_loop_arm(loop, &again.timer, 1);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "aaaaa");
    rill_loop_free(loop);
}
END_TEST

static bool inside;

static void then_be_periodic(struct step *step)
{
    ck_assert(!inside);
    inside = true;
    rill_loop_arm(loop, &step->timer, 0);
    ck_assert_int_eq(rill_loop_turn(loop, false), -EBUSY);
    inside = false;
    if (++step->count == 5)
        rill_loop_stop(loop);
}

START_TEST(a_periodic_timer_never_runs_inside_itself)
{
    inside = false;
    new_loop(_i);
    struct step periodic = make_step('p', then_be_periodic, NULL);
    rill_loop_arm(loop, &periodic.timer, 0);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "ppppp");
    rill_loop_disarm(loop, &periodic.timer);
    rill_loop_free(loop);
}
END_TEST

START_TEST(timers_fire_in_order_whichever_was_armed_first)
{
    new_loop(_i);
    struct step late = make_step('3', then_stop, NULL), middle = make_step('2', NULL, NULL),
                early = make_step('1', NULL, NULL), far = make_step('x', NULL, NULL), never = far;
    rill_loop_arm(loop, &never.timer, UINT64_MAX);
    rill_loop_arm(loop, &far.timer, 3600 * 1000);
    rill_loop_arm(loop, &late.timer, 9);
    rill_loop_arm(loop, &early.timer, 2);
    rill_loop_arm(loop, &middle.timer, 5);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    ck_assert_str_eq(trace, "123");
    rill_loop_disarm(loop, &far.timer);
    rill_loop_disarm(loop, &never.timer);
    rill_loop_free(loop);
}
END_TEST

static uint64_t due_ns;

/* By the loop's clock, which within a turn stands still: how late the thread was scheduled meanwhile does not count. */
static void arm_and_note(struct step *step, uint64_t delay_ms)
{
    due_ns = (rill_loop_now_ms(loop) + delay_ms) * 1000 * 1000;
    rill_loop_arm(loop, &step->timer, delay_ms);
}

static void then_measure(struct step *step)
{
    ck_assert_uint_ge(rill_clock_ns(), due_ns);
    if (++step->count == 20)
        rill_loop_stop(loop);
    else
        arm_and_note(step, 3);
}

START_TEST(a_timer_is_never_early)
{
    new_loop(_i);
    struct step timer = make_step('.', then_measure, NULL);
    arm_and_note(&timer, 2);
    ck_assert_int_eq(rill_loop_run(loop), 0);
    rill_loop_free(loop);
}
END_TEST

static uint64_t seen_ms;

static void then_look_at_the_clock(struct step *step)
{
    (void)step;
    uint64_t now_ms = rill_loop_now_ms(loop);
    if (seen_ms == 0) {
        seen_ms = now_ms;
        usleep(3000);
    }
    ck_assert_uint_eq(rill_loop_now_ms(loop), seen_ms);
}

START_TEST(time_stands_still_within_a_turn)
{
    seen_ms = 0;
    new_loop(_i);
    struct step a = make_step('a', then_look_at_the_clock, NULL), b = make_step('b', then_look_at_the_clock, NULL),
                c = make_step('c', then_look_at_the_clock, NULL);
    must_post(&a);
    must_post(&b);
    rill_loop_defer(loop, &c.task);
    turn_without_waiting();
    ck_assert_str_eq(trace, "abc");
    uint64_t after_ms = rill_loop_now_ms(loop);
    ck_assert_uint_ge(after_ms, seen_ms + 3); /* and goes on after it */
    usleep(3000);
    ck_assert_uint_ge(rill_loop_now_ms(loop), after_ms + 3);
    int64_t began = time(NULL), unix_seconds = rill_loop_unix_seconds(loop);
    ck_assert_int_ge(unix_seconds, began - 1);
    ck_assert_int_le(unix_seconds, time(NULL) + 1); /* time() may be the clock's last tick behind */
    rill_loop_free(loop);
}
END_TEST

static void read_time_of_event(evutil_socket_t fd, short events, void *arg)
{
    char c;
    (void)events;
    (void)arg;
    ck_assert_int_eq(read(fd, &c, 1), 1);
    ck_assert_uint_ge(rill_loop_now_ms(loop), seen_ms);
    note('e');
}

static void *write_later(void *arg)
{
    usleep(5000);
    seen_ms = rill_clock_ns() / 1000000;
    return write(*(int *)arg, "x", 1) == 1 ? NULL : arg;
}

START_TEST(time_is_read_after_the_wait)
{
    int ends[2];
    pthread_t thread;
    ck_assert_int_eq(pipe(ends), 0);
    new_loop(_i);
    struct event *event = event_new(rill_loop_base(loop), ends[0], EV_READ, read_time_of_event, NULL);
    ck_assert_int_eq(event_add(event, NULL), 0);
    rill_loop_now_ms(loop);
    ck_assert_int_eq(pthread_create(&thread, NULL, write_later, &ends[1]), 0);
    ck_assert_int_eq(rill_loop_turn(loop, true), 0);
    pthread_join(thread, NULL);
    ck_assert_str_eq(trace, "e");
    event_free(event);
    rill_loop_free(loop);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* ---- The thread check ---------------------------------------------------------------------------------- */

static struct rill_timer some_timer;
static struct rill_task some_task;
static size_t some_size;

static void call_turn(void)
{
    rill_loop_turn(loop, false);
}
static void call_free(void)
{
    rill_loop_free(loop);
}
static void call_defer(void)
{
    rill_loop_defer(loop, &some_task);
}
static void call_defer_last(void)
{
    rill_loop_defer_last(loop, &some_task);
}
static void call_now_ms(void)
{
    rill_loop_now_ms(loop);
}
static void call_arm_at(void)
{
    rill_loop_arm_at(loop, &some_timer, 1);
}
static void call_disarm(void)
{
    rill_loop_disarm(loop, &some_timer);
}
static void call_read_buffer(void)
{
    rill_loop_read_buffer(loop, &some_size);
}
static void call_base(void)
{
    rill_loop_base(loop);
}
static void call_slot(void)
{
    rill_loop_slot(loop, RILL_LOOP_SLOT_APP);
}
static void call_set_slot(void)
{
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, NULL, NULL);
}

static const struct {
    const char *name;
    void (*call)(void);
} loop_bound[] = {
    {"rill_loop_turn", call_turn},         {"rill_loop_free", call_free},
    {"rill_loop_defer", call_defer},       {"rill_loop_defer_last", call_defer_last},
    {"rill_loop_now_ms", call_now_ms},     {"rill_loop_arm_at", call_arm_at},
    {"rill_loop_disarm", call_disarm},     {"rill_loop_read_buffer", call_read_buffer},
    {"rill_loop_base", call_base},         {"rill_loop_slot", call_slot},
    {"rill_loop_set_slot", call_set_slot},
};

static pthread_barrier_t in_the_loop;

static void meet(void *arg)
{
    (void)arg;
    pthread_barrier_wait(&in_the_loop);
}

static void *run_on_thread(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "the-runner");
    rill_loop_run(loop);
    return NULL;
}

/* In a child process: calls a loop-bound function while another thread runs the loop. */
static void break_the_rule(void (*call)(void), int stderr_fd)
{
    pthread_t thread;
    signal(SIGABRT, SIG_DFL);
    dup2(stderr_fd, STDERR_FILENO);
    pthread_setname_np(pthread_self(), "the-caller");
    pthread_barrier_init(&in_the_loop, NULL, 2);
    if (rill_post(loop, meet, NULL) != 0 || pthread_create(&thread, NULL, run_on_thread, NULL) != 0)
        _exit(3);
    pthread_barrier_wait(&in_the_loop);
    call();
    _exit(0);
}

START_TEST(another_thread_is_stopped)
{
    int ends[2], status;
    char text[512];
    new_loop(RILL_BACKEND_EPOLL);
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        break_the_rule(loop_bound[_i].call, ends[1]);
    close(ends[1]);
    ssize_t length = read(ends[0], text, sizeof(text) - 1);
    ck_assert_int_gt(length, 0);
    text[length] = '\0';
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    char wanted[128];
    snprintf(wanted, sizeof(wanted), "rill: %s called on thread the-caller (", loop_bound[_i].name);
    ck_assert_msg(strncmp(text, wanted, strlen(wanted)) == 0, "%s", text);
    ck_assert_msg(strstr(text, ") but belongs to loop under-test run by thread the-runner (") != NULL, "%s", text);
    close(ends[0]);
    rill_loop_free(loop);
}
END_TEST

START_TEST(whoever_joined_the_runner_owns_the_loop)
{
    static char app = 'a';
    pthread_t thread;
    new_loop(RILL_BACKEND_EPOLL);
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_APP, &app, destroy_slot);
    struct step s = make_step('s', then_stop, NULL);
    must_post(&s);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_on_thread, NULL), 0);
    pthread_join(thread, NULL);
    ck_assert_ptr_eq(rill_loop_slot(loop, RILL_LOOP_SLOT_APP), &app);
    rill_loop_free(loop);
    ck_assert_str_eq(trace, "sa");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = tcase_create("life");
    tcase_add_test(tcase, backend_names);
    tcase_add_test(tcase, defaults_and_limits);
    tcase_add_test(tcase, slots_go_highest_first);
    tcase_add_loop_test(tcase, uses_the_method_asked_for, 0, BACKENDS);
    tcase_add_loop_test(tcase, free_without_run_runs_what_was_posted, 0, BACKENDS);
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("running");
    tcase_add_loop_test(tcase, stop_before_run, 0, BACKENDS);
    tcase_add_loop_test(tcase, stop_from_task, 0, BACKENDS);
    tcase_add_loop_test(tcase, stop_from_timer, 0, BACKENDS);
    tcase_add_loop_test(tcase, stop_from_deferred, 0, BACKENDS);
    tcase_add_loop_test(tcase, an_event_of_the_app, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_libevent_timer_of_the_app, 0, BACKENDS);
    tcase_add_loop_test(tcase, no_turn_within_a_turn, 0, BACKENDS);
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("tasks");
    tcase_add_loop_test(tcase, post_to_itself, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_task_posted_by_a_task_waits_for_the_next_turn, 0, BACKENDS);
    tcase_add_loop_test(tcase, post_of_a_function, 0, BACKENDS);
    tcase_add_loop_test(tcase, deferred_after_tasks_and_timers, 0, BACKENDS);
    tcase_add_loop_test(tcase, deferred_by_deferred_runs_in_the_next_turn, 0, BACKENDS);
    tcase_add_loop_test(tcase, deferred_last_runs_in_this_turn_and_last, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_task_may_free_itself, 0, BACKENDS);
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("timers");
    tcase_add_loop_test(tcase, a_cancelled_timer_never_fires, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_timer_may_arm_itself, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_periodic_timer_never_runs_inside_itself, 0, BACKENDS);
    tcase_add_loop_test(tcase, timers_fire_in_order_whichever_was_armed_first, 0, BACKENDS);
    tcase_add_loop_test(tcase, a_timer_is_never_early, 0, BACKENDS);
    tcase_add_loop_test(tcase, time_stands_still_within_a_turn, 0, BACKENDS);
    tcase_add_loop_test(tcase, time_is_read_after_the_wait, 0, BACKENDS);
    suite_add_tcase(suite, tcase);

    tcase = tcase_create("threads");
    tcase_add_loop_test(tcase, another_thread_is_stopped, 0, (int)rill_array_length(loop_bound));
    tcase_add_test(tcase, whoever_joined_the_runner_owns_the_loop);
    suite_add_tcase(suite, tcase);

    return run_suite(suite);
}
