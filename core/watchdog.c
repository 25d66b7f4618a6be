/* watchdog.c - see watchdog.h.
 *
 * A loop's `progress` is odd while it works and never the same in two turns: who sees the same odd number twice knows
 * that one turn has lasted at least from then to now. The watchdog needs no clock of the loop's for that, and adds up
 * the time between its own looks, none for more than two of its periods: after the whole process, or the machine, has
 * stood still nobody is to blame. */
#include "rill/core/watchdog.h"

#include <execinfo.h>
#include <signal.h>

#include "rill/core/crash_internal.h"
#include "rill/core/log.h"
#include "rill/core/loop_group.h"
#include "rill/core/loop_internal.h"
#include "rill/core/sys.h"

enum {
    LOOKS = 8, /* in the time of the threshold */
    FRAMES = 48,
    ANSWER_MS = 1000, /* that a thread may take to answer the signal */
};

#define NS_PER_MS 1000000u
#define NS_PER_S 1000000000u

struct watched {
    struct rill_loop *loop;
    uint64_t progress;  /* seen last */
    uint64_t lasted_ns; /* so long at least the turn has lasted */
    bool told;
};

struct rill_watchdog {
    uint64_t threshold_ns, period_ns;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop; /* lock */
    unsigned count;
    struct watched watched[]; /* the thread's */
};

/* ---- Asking a thread ----------------------------------------------------------------------------------- */

/* The signal hook, process-wide. A watchdog that holds `lock` writes `wanted`; the thread that it names, and it alone,
 * takes it back to 0 and has the answer from then until `done`; so does the watchdog when it gives up. */
static struct {
    pthread_mutex_t lock;
    bool installed;  /* lock */
    pid_t wanted;    /* atomic */
    bool done;       /* atomic */
    uint64_t answer; /* the loop's progress */
    struct rill_note note;
    void *frames[FRAMES];
    int count;
} hook = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool take_wanted(pid_t thread)
{
    return __atomic_compare_exchange_n(&hook.wanted, &thread, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void on_asked(int number)
{
    int saved_errno = errno;
    const struct rill_loop *loop = rill_loop_current();
    (void)number;
    if (!take_wanted(gettid()))
        return;
    hook.note.length = 0;
    hook.note.callback = NULL;
    hook.count = 0;
    hook.answer = 0;
    if (loop != NULL) {
        hook.answer = rill_stat_read(&loop->progress);
        rill_loop_describe(loop, &hook.note);
        hook.count = backtrace(hook.frames, FRAMES);
    }
    __atomic_store_n(&hook.done, true, __ATOMIC_RELEASE);
    errno = saved_errno;
}

static void install(void)
{
    void *frame;
    struct sigaction before, ask = {.sa_handler = on_asked, .sa_flags = SA_RESTART};
    pthread_mutex_lock(&hook.lock);
    if (!hook.installed) {
        backtrace(&frame, 1); /* the first call loads a library, and allocates */
        if (sigaction(SIGURG, NULL, &before) == 0 && (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN))
            hook.installed = sigaction(SIGURG, &ask, NULL) == 0;
    }
    pthread_mutex_unlock(&hook.lock);
}

static bool is_answered(void)
{
    return __atomic_load_n(&hook.done, __ATOMIC_ACQUIRE);
}

/* Has THREAD fill in the hook, whose lock is held. False: it did not answer. */
static bool ask(pid_t thread)
{
    if (!hook.installed)
        return false;
    __atomic_store_n(&hook.done, false, __ATOMIC_RELAXED);
    __atomic_store_n(&hook.wanted, thread, __ATOMIC_RELEASE);
    bool sent = rill_sys_tgkill(thread, SIGURG) == 0;
    for (unsigned waited_ms = 0; sent && !is_answered() && waited_ms < ANSWER_MS; waited_ms++)
        rill_sys_poll(NULL, 0, 1);
    if (!is_answered() && take_wanted(thread))
        return false;
    while (!is_answered()) /* it is about to be */
        rill_sys_poll(NULL, 0, 1);
    return true;
}

/* ---- Reports ------------------------------------------------------------------------------------------- */

static void log_frames(const char *what, const char *name, void *const *frames, int count)
{
    char **symbols = backtrace_symbols(frames, count);
    for (int i = 0; i < count; i++) {
        if (symbols != NULL)
            rill_log_warn("loop %s: %s %s", name, what, symbols[i]);
        else
            rill_log_warn("loop %s: %s %p", name, what, frames[i]);
    }
    rill_sys_free(symbols);
}

static void report(const struct rill_watchdog *watchdog, const struct watched *watched)
{
    const struct rill_loop *loop = watched->loop;
    unsigned long long lasted_ms = watched->lasted_ns / NS_PER_MS, threshold_ms = watchdog->threshold_ns / NS_PER_MS;
    pthread_mutex_lock(&hook.lock);
    if (!ask(__atomic_load_n(&loop->owner_thread, __ATOMIC_RELAXED))) {
        rill_log_warn(
            "loop %s is stalled: its turn has lasted %llu ms, longer than %llu ms; its thread cannot be asked",
            loop->name, lasted_ms, threshold_ms);
    } else if (hook.answer != watched->progress) {
        rill_log_warn("loop %s was stalled: its turn lasted %llu ms, longer than %llu ms; it has ended", loop->name,
                      lasted_ms, threshold_ms);
    } else {
        rill_log_warn("loop %s is stalled: its turn has lasted %llu ms, longer than %llu ms, in %.*s", loop->name,
                      lasted_ms, threshold_ms, hook.note.length > 0 ? (int)hook.note.length : 7,
                      hook.note.length > 0 ? hook.note.text : "a timer");
        if (hook.note.callback != NULL)
            log_frames("called back", loop->name, &hook.note.callback, 1);
        log_frames("stalled at", loop->name, hook.frames, hook.count);
    }
    pthread_mutex_unlock(&hook.lock);
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

/* ELAPSED_NS have gone by since the last look. */
static void look(const struct rill_watchdog *watchdog, struct watched *watched, uint64_t elapsed_ns)
{
    struct rill_loop_stats *stats = &watched->loop->stats;
    uint64_t progress = rill_stat_read(&watched->loop->progress);
    if (progress != watched->progress || progress % 2 == 0) {
        if (watched->told)
            rill_log_warn("loop %s goes on, after %llu ms", watched->loop->name,
                          (unsigned long long)(watched->lasted_ns / NS_PER_MS));
        watched->progress = progress;
        watched->lasted_ns = 0;
        watched->told = false;
        return;
    }
    watched->lasted_ns += elapsed_ns;
    if (watched->lasted_ns < watchdog->threshold_ns)
        return;
    if (watched->lasted_ns / NS_PER_MS > stats->longest_stall_ms)
        rill_stat_set(&stats->longest_stall_ms, watched->lasted_ns / NS_PER_MS);
    if (watched->told)
        return;
    watched->told = true;
    rill_stat_add(&stats->stalls, 1);
    report(watchdog, watched);
}

/* Waits until UNTIL_NS. True: it is to end. */
static bool await(struct rill_watchdog *watchdog, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S)};
    pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->stop && pthread_cond_timedwait(&watchdog->changed, &watchdog->lock, &until) != ETIMEDOUT)
        ;
    bool stop = watchdog->stop;
    pthread_mutex_unlock(&watchdog->lock);
    return stop;
}

static void *watch(void *arg)
{
    struct rill_watchdog *watchdog = arg;
    uint64_t before_ns = rill_sys_monotonic_ns();
    rill_thread_set_name("watchdog");
    while (!await(watchdog, before_ns + watchdog->period_ns)) {
        uint64_t now_ns = rill_sys_monotonic_ns(), elapsed_ns = now_ns - before_ns;
        if (elapsed_ns > 2 * watchdog->period_ns)
            elapsed_ns = 2 * watchdog->period_ns;
        for (unsigned i = 0; i < watchdog->count; i++)
            look(watchdog, &watchdog->watched[i], elapsed_ns);
        before_ns = now_ns;
    }
    return NULL;
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void release(struct rill_watchdog *watchdog)
{
    pthread_cond_destroy(&watchdog->changed);
    pthread_mutex_destroy(&watchdog->lock);
    rill_sys_free(watchdog);
}

struct rill_watchdog *rill_watchdog_start(struct rill_loop *const *loops, unsigned count, uint64_t threshold_ms,
                                          int *error)
{
    *error = threshold_ms == 0 || threshold_ms > UINT64_MAX / NS_PER_S ? -EINVAL : 0;
    if (*error < 0)
        return NULL;
    struct rill_watchdog *watchdog =
        rill_sys_calloc(1, sizeof(*watchdog) + (size_t)count * sizeof(watchdog->watched[0]));
    if (watchdog == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    watchdog->threshold_ns = threshold_ms * NS_PER_MS;
    watchdog->period_ns = watchdog->threshold_ns / LOOKS;
    watchdog->count = count;
    for (unsigned i = 0; i < count; i++)
        watchdog->watched[i].loop = loops[i];
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&watchdog->lock, NULL);
    install();
    *error = rill_thread_start_quiet(&watchdog->thread, watch, watchdog);
    if (*error == 0)
        return watchdog;
    release(watchdog);
    return NULL;
}

void rill_watchdog_stop(struct rill_watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->lock);
    watchdog->stop = true;
    pthread_cond_signal(&watchdog->changed);
    pthread_mutex_unlock(&watchdog->lock);
    rill_sys_thread_join(watchdog->thread);
    release(watchdog);
}
