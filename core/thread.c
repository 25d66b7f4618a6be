/* thread.c - names, signals and CPUs of threads. */
#include "rill/core/thread_internal.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "rill/core/sys.h"

enum {
    NAME_SIZE = 16 /* the kernel's limit, NUL included */
};

int rill_thread_start_quiet(pthread_t *thread, void *(*main)(void *arg), void *arg)
{
    /* A fault of the thread's own is none of those to keep off, and SIGURG is how core/watchdog.c asks it. */
    static const int left[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGURG};
    sigset_t all, before;
    sigfillset(&all);
    for (unsigned i = 0; i < rill_array_length(left); i++)
        sigdelset(&all, left[i]);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error != 0)
        return -error;
    error = rill_sys_thread_create(thread, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

void rill_thread_number_name(char *name, const char *base, unsigned number)
{
    char digits[NAME_SIZE];
    size_t digits_length = (size_t)snprintf(digits, sizeof(digits), "-%u", number);
    size_t base_length = strnlen(base, NAME_SIZE - 1 - digits_length);
    memcpy(name, base, base_length);
    memcpy(name + base_length, digits, digits_length + 1);
}

void rill_thread_set_name(const char *name)
{
    char cut[NAME_SIZE];
    snprintf(cut, sizeof(cut), "%s", name);
    pthread_setname_np(pthread_self(), cut);
}

/* The CPUs that the process was given. Read once, before the first thread is bound: threads inherit the binding of
 * the one that starts them, so asking later may find a single CPU. Constant from then on. */
static cpu_set_t allowed_cpus;
static int allowed_error;
static pthread_once_t allowed_once = PTHREAD_ONCE_INIT;

static void read_allowed_cpus(void)
{
    if (sched_getaffinity(0, sizeof(allowed_cpus), &allowed_cpus) != 0)
        allowed_error = -errno;
}

int rill_thread_pin(unsigned i)
{
    pthread_once(&allowed_once, read_allowed_cpus);
    if (allowed_error != 0)
        return allowed_error;
    unsigned wanted = i % (unsigned)CPU_COUNT(&allowed_cpus);
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &allowed_cpus) || wanted-- > 0)
        cpu++;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return -pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

void rill_thread_set_patient(void)
{
    const struct sched_param none = {.sched_priority = 0};
    rill_sys_sched_setscheduler(0, SCHED_BATCH, &none);
}
