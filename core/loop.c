/* loop.c - one reactor.
 *
 * libevent is asked for one thing, to wait and to dispatch; a turn is one event_base_loop(EVLOOP_ONCE). Not even its
 * timers are used; loop_time.c says why.
 *
 * Freeing a loop has to reckon with a thread in rill_loop_post() that has pushed its task, which the loop has already
 * run, but has not yet written to wake_fd. Nothing on the way of a post guards against that. Instead the loop counts:
 * every take that finds tasks means exactly one push that found the mailbox empty, hence one write; and the eventfd's
 * own counter says how many writes have happened. rill_loop_free() waits until the two agree. */
#include "rill/core/crash_internal.h"
#include "rill/core/loop_internal.h"

#include <event2/event.h>
#include <poll.h>
#include <stdio.h>

#include "rill/core/sys.h"

enum { READ_BUFFER_DEFAULT = 64 * 1024 };

/* ---- Threads ------------------------------------------------------------------------------------------- */

static _Thread_local struct rill_loop *current_loop;
/* Its address names the thread. */
static _Thread_local char thread_token;

struct rill_loop *rill_loop_current(void)
{
    return current_loop;
}

bool rill_loop_is_current(const struct rill_loop *loop)
{
    return current_loop == loop;
}

static void describe_thread(char *text, size_t size)
{
    char name[16] = "?";
    pthread_getname_np(pthread_self(), name, sizeof(name));
    snprintf(text, size, "%s (%ld)", name, (long)syscall(SYS_gettid));
}

static void own(struct rill_loop *loop)
{
    describe_thread(loop->owner_name, sizeof(loop->owner_name));
    __atomic_store_n(&loop->owner_thread, gettid(), __ATOMIC_RELAXED);
    __atomic_store_n(&loop->owner, &thread_token, __ATOMIC_RELEASE);
}

__attribute__((cold, noinline)) static void check_slowly(const struct rill_loop *loop, const char *function)
{
    const void *owner = __atomic_load_n(&loop->owner, __ATOMIC_ACQUIRE);
    if (owner == NULL || owner == &thread_token)
        return;
    char caller[32];
    describe_thread(caller, sizeof(caller));
    fprintf(stderr, "rill: %s called on thread %s but belongs to loop %s run by thread %s\n", function, caller,
            loop->name, loop->owner_name);
    abort();
}

void rill_loop_check(const struct rill_loop *loop, const char *function)
{
    if (RILL_UNLIKELY(current_loop != loop))
        check_slowly(loop, function);
}

/* ---- Tasks --------------------------------------------------------------------------------------------- */

static void queue_init(struct rill_task_queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

static void queue_push(struct rill_task_queue *queue, struct rill_task *task)
{
    task->next = NULL;
    *queue->end = task;
    queue->end = &task->next;
}

static struct rill_task *queue_take(struct rill_task_queue *queue)
{
    struct rill_task *first = queue->first;
    queue_init(queue);
    return first;
}

/* The link is read first: a task is its callee's from the call on. */
static void run_all(struct rill_loop *loop, struct rill_task *task)
{
    while (task != NULL) {
        struct rill_task *next = task->next;
        loop->task = task->run;
        task->run(task);
        task = next;
    }
    loop->task = NULL;
}

void rill_loop_defer(struct rill_loop *loop, struct rill_task *task)
{
    rill_loop_check(loop, __func__);
    queue_push(&loop->deferred, task);
}

void rill_loop_defer_last(struct rill_loop *loop, struct rill_task *task)
{
    rill_loop_check(loop, __func__);
    queue_push(&loop->deferred_last, task);
}

static void run_deferred(struct rill_loop *loop)
{
    run_all(loop, queue_take(&loop->deferred));
    while (loop->deferred_last.first != NULL)
        run_all(loop, queue_take(&loop->deferred_last));
}

static void write_wake_fd(int fd)
{
    /* It cannot fail: the descriptor is valid and its counter far from full. */
    uint64_t one = 1;
    ssize_t written = rill_sys_write(fd, &one, sizeof(one));
    (void)written;
}

static void on_wake_fd(evutil_socket_t fd, short events, void *arg)
{
    (void)events;
    struct rill_loop *loop = arg;
    /* Edge-triggered, every write is an edge, and the counter may grow. */
    uint64_t wakes;
    if (!loop->edge_triggered && rill_sys_read(fd, &wakes, sizeof(wakes)) > 0)
        loop->wakes_seen += wakes;
}

int rill_loop_post(struct rill_loop *loop, struct rill_task *task)
{
    /* Read before the push: once it is in, the loop may have looked already. */
    bool will_wake = RILL_COUNTING && rill_mailbox_seems_empty(&loop->mailbox) && current_loop != loop;
    uint64_t now_ns = will_wake ? rill_sys_monotonic_ns() : 0;
    int pushed = rill_mailbox_push(&loop->mailbox, task);
    if (pushed <= 0)
        return pushed;
    if (now_ns)
        rill_stat_set(&loop->posted_ns, now_ns);
    if (current_loop == loop) {
        loop->wakes_owed--;
        loop->must_not_wait = true;
    } else {
        write_wake_fd(loop->wake_fd);
    }
    return 0;
}

struct call {
    struct rill_task task;
    void (*fn)(void *arg);
    void *arg;
};

static void run_call(struct rill_task *task)
{
    struct call *call = rill_container_of(task, struct call, task);
    void (*fn)(void *arg) = call->fn;
    void *arg = call->arg;
    rill_sys_free(call);
    fn(arg);
}

int rill_post(struct rill_loop *loop, void (*fn)(void *arg), void *arg)
{
    struct call *call = rill_sys_malloc(sizeof(*call));
    if (call == NULL)
        return -ENOMEM;
    call->task.run = run_call;
    call->fn = fn;
    call->arg = arg;
    int error = rill_loop_post(loop, &call->task);
    if (error < 0)
        rill_sys_free(call);
    return error;
}

static uint64_t count_tasks(const struct rill_task *task)
{
    uint64_t count = 0;
    for (; task != NULL; task = task->next)
        count++;
    return count;
}

static void run_posted(struct rill_loop *loop)
{
    struct rill_task *tasks = rill_mailbox_take(&loop->mailbox);
    if (tasks == NULL)
        return;
    loop->wakes_owed++;
    rill_loop_note_tasks(loop, count_tasks(tasks));
    run_all(loop, tasks);
}

/* ---- Turns --------------------------------------------------------------------------------------------- */

static int turn(struct rill_loop *loop, bool wait)
{
    rill_loop_set_timer_fd(loop);
    if (loop->must_not_wait || loop->deferred.first != NULL || loop->deferred_last.first != NULL)
        wait = false;
    loop->must_not_wait = false;
    loop->in_turn = true; /* the clock is read after the wait, by whoever asks first */
    int result = event_base_loop(loop->base, wait ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
    rill_loop_begin_work(loop);
    run_posted(loop);
    rill_loop_run_timers(loop);
    run_deferred(loop);
    if (loop->turn_events > 0)
        rill_loop_note_turn(loop);
    rill_stat_set(&loop->progress, loop->progress + 1);
    loop->in_turn = false;
    loop->now_valid = false;
    return result < 0 ? -EIO : 0;
}

/* Makes the calling thread LOOP's; returns the loop that it ran so far, for leave(). */
static struct rill_loop *enter(struct rill_loop *loop, const char *function)
{
    rill_loop_check(loop, function);
    struct rill_loop *outer = current_loop;
    current_loop = loop;
    return outer;
}

static void leave(struct rill_loop *outer)
{
    current_loop = outer;
}

/* Closes the mailbox and runs all that is in it, and then all that is deferred. */
static void run_rest(struct rill_loop *loop)
{
    struct rill_task *tasks = rill_mailbox_close(&loop->mailbox);
    loop->closed = true;
    if (tasks != NULL)
        loop->wakes_owed++;
    run_all(loop, tasks);
    do
        run_deferred(loop);
    while (loop->deferred.first != NULL);
}

int rill_loop_turn(struct rill_loop *loop, bool wait)
{
    struct rill_loop *outer = enter(loop, __func__);
    int error = loop->in_turn ? -EBUSY : turn(loop, wait);
    leave(outer);
    return error;
}

int rill_loop_run(struct rill_loop *loop)
{
    if (loop->ended)
        return -ESHUTDOWN;
    own(loop);
    struct rill_loop *outer = enter(loop, __func__);
    void *crash_stack = rill_crash_stack_reserve();
    int error = 0;
    while (error == 0 && !__atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE))
        error = turn(loop, true);
    loop->in_turn = true;
    run_rest(loop);
    loop->in_turn = false;
    loop->now_valid = false;
    loop->ended = true;
    rill_crash_stack_release(crash_stack);
    leave(outer);
    __atomic_store_n(&loop->owner, NULL, __ATOMIC_RELEASE);
    return error;
}

void rill_loop_stop(struct rill_loop *loop)
{
    if (current_loop == loop) {
        __atomic_store_n(&loop->stop, true, __ATOMIC_RELEASE);
        loop->must_not_wait = true;
        return;
    }
    int fd = loop->wake_fd;
    __atomic_add_fetch(&loop->stops, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->stop, true, __ATOMIC_RELEASE);
    write_wake_fd(fd);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

/* A persistent event for a descriptor of the loop's own, added. */
static int own_event_new(struct rill_loop *loop, struct event **event, int fd, event_callback_fn callback)
{
    short edge = loop->edge_triggered ? EV_ET : 0;
    *event = event_new(loop->base, fd, (short)(EV_READ | EV_PERSIST | edge), callback, loop);
    if (*event == NULL)
        return -ENOMEM;
    errno = 0;
    if (event_add(*event, NULL) != 0)
        return errno != 0 ? -errno : -ENOMEM;
    return 0;
}

/* Everything that the loop needs from the system; on an error what is there stays, for release(). */
static int acquire(struct rill_loop *loop, enum rill_backend backend)
{
    loop->read_buffer = rill_sys_malloc(loop->read_buffer_bytes);
    if (loop->read_buffer == NULL)
        return -ENOMEM;
    loop->wake_fd = rill_sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        return -errno;
    loop->timer_fd = rill_sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0)
        return -errno;
    int error = rill_loop_base_new(&loop->base, backend);
    if (error != 0)
        return error;
    loop->edge_triggered = (event_base_get_features(loop->base) & EV_FEATURE_ET) != 0;
    error = own_event_new(loop, &loop->wake_event, loop->wake_fd, on_wake_fd);
    if (error != 0)
        return error;
    return own_event_new(loop, &loop->timer_event, loop->timer_fd, rill_loop_on_timer_fd);
}

static void release(struct rill_loop *loop)
{
    if (loop->timer_event != NULL)
        event_free(loop->timer_event);
    if (loop->wake_event != NULL)
        event_free(loop->wake_event);
    if (loop->base != NULL)
        event_base_free(loop->base);
    if (loop->timer_fd >= 0)
        rill_sys_close(loop->timer_fd);
    if (loop->wake_fd >= 0)
        rill_sys_close(loop->wake_fd);
    rill_sys_free(loop->read_buffer);
    rill_sys_free(loop);
}

struct rill_loop *rill_loop_new(const struct rill_loop_config *config, int *error)
{
    *error = 0;
    if (config->index >= RILL_LOOP_MAX) {
        *error = -EINVAL;
        return NULL;
    }
    struct rill_loop *loop = rill_sys_calloc(1, sizeof(*loop));
    if (loop == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    snprintf(loop->name, sizeof(loop->name), "%s", config->name != NULL ? config->name : "loop");
    loop->index = config->index;
    loop->read_buffer_bytes = config->read_buffer_bytes != 0 ? config->read_buffer_bytes : READ_BUFFER_DEFAULT;
    loop->wake_fd = -1;
    loop->timer_fd = -1;
    rill_mailbox_init(&loop->mailbox);
    rill_loop_stats_init(&loop->stats);
    queue_init(&loop->deferred);
    queue_init(&loop->deferred_last);
    loop->next_timer_ms = UINT64_MAX;
    loop->timer_armed_ms = UINT64_MAX;
    *error = acquire(loop, config->backend);
    if (*error != 0) {
        release(loop);
        return NULL;
    }
    own(loop);
    rill_wheel_init(&loop->wheel, rill_loop_now_ms(loop));
    return loop;
}

/* Waits for threads that are still about to write to wake_fd; see the top of the file. */
static void await_wakes(struct rill_loop *loop)
{
    loop->wakes_owed += __atomic_load_n(&loop->stops, __ATOMIC_RELAXED);
    while (loop->wakes_seen != loop->wakes_owed) {
        uint64_t wakes;
        struct pollfd pollfd = {loop->wake_fd, POLLIN, 0};
        if (rill_sys_read(loop->wake_fd, &wakes, sizeof(wakes)) > 0)
            loop->wakes_seen += wakes;
        else
            rill_sys_poll(&pollfd, 1, -1);
    }
}

void rill_loop_free(struct rill_loop *loop)
{
    if (loop == NULL)
        return;
    struct rill_loop *outer = enter(loop, __func__);
    own(loop);
    run_rest(loop);
    for (int slot = RILL_LOOP_SLOTS - 1; slot >= 0; slot--) {
        void *value = loop->slots[slot];
        loop->slots[slot] = NULL;
        if (value != NULL && loop->slot_destroy[slot] != NULL)
            loop->slot_destroy[slot](value);
        run_rest(loop);
    }
    leave(outer);
    await_wakes(loop);
    release(loop);
}

/* ---- What it has --------------------------------------------------------------------------------------- */

char *rill_loop_read_buffer(struct rill_loop *loop, size_t *size)
{
    rill_loop_check(loop, __func__);
    *size = loop->read_buffer_bytes;
    return loop->read_buffer;
}

struct event_base *rill_loop_base(struct rill_loop *loop)
{
    rill_loop_check(loop, __func__);
    return loop->base;
}

bool rill_loop_edge_triggered(const struct rill_loop *loop)
{
    return loop->edge_triggered;
}

const char *rill_loop_name(const struct rill_loop *loop)
{
    return loop->name;
}

unsigned rill_loop_index(const struct rill_loop *loop)
{
    return loop->index;
}

void rill_loop_set_workers(struct rill_loop *loop, struct rill_workers *workers)
{
    rill_loop_check(loop, __func__);
    loop->workers = workers;
}

struct rill_workers *rill_loop_workers(const struct rill_loop *loop)
{
    rill_loop_check(loop, __func__);
    return loop->workers;
}

void rill_loop_set_trace(struct rill_loop *loop, struct rill_trace_lane *trace)
{
    rill_loop_check(loop, __func__);
    loop->trace = trace;
}

struct rill_trace_lane *rill_loop_trace(const struct rill_loop *loop)
{
    return loop->trace;
}

void *rill_loop_slot(const struct rill_loop *loop, enum rill_loop_slot slot)
{
    rill_loop_check(loop, __func__);
    return loop->slots[slot];
}

void rill_loop_set_slot(struct rill_loop *loop, enum rill_loop_slot slot, void *value, void (*destroy)(void *value))
{
    rill_loop_check(loop, __func__);
    loop->slots[slot] = value;
    loop->slot_destroy[slot] = destroy;
}
