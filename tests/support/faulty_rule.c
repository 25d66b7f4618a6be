/* faulty_rule.c - see faulty_rule.h. */
#include "faulty_internal.h"
#include "random.h"
#include "rill/core/base.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct faulty_sys faulty_sys;

static const char *const names[] = {[FAULTY_MEMORY] = "memory",     [FAULTY_RECV] = "recv",
                                    [FAULTY_SEND] = "send",         [FAULTY_SENDFILE] = "sendfile",
                                    [FAULTY_SPLICE] = "splice",     [FAULTY_ACCEPT] = "accept",
                                    [FAULTY_CONNECT] = "connect",   [FAULTY_EPOLL_CTL] = "epoll_ctl",
                                    [FAULTY_SHUTDOWN] = "shutdown", [FAULTY_DESCRIPTOR] = "descriptor",
                                    [FAULTY_THREAD] = "thread",     [FAULTY_NAME] = "name",
                                    [FAULTY_FILE] = "file",         [FAULTY_READ] = "read",
                                    [FAULTY_WRITE] = "write",       [FAULTY_POLL] = "poll",
                                    [FAULTY_ADVICE] = "advice"};
_Static_assert(rill_array_length(names) == FAULTY_CALLS, "a kind of call has no name");

#define LIST(...)                                                                                                      \
    {                                                                                                                  \
        {__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int)                                                      \
    }

static const struct {
    int errors[8];
    unsigned count;
} errors[FAULTY_CALLS] = {
    [FAULTY_MEMORY] = LIST(ENOMEM),
    [FAULTY_RECV] = LIST(ECONNRESET, FAULTY_SHORT, EAGAIN, EINTR, ENOMEM),
    [FAULTY_SEND] = LIST(EPIPE, FAULTY_SHORT, EAGAIN, EINTR, ENOBUFS, ECONNRESET, ENOMEM),
    [FAULTY_SENDFILE] = LIST(EPIPE, FAULTY_SHORT, EAGAIN, EINTR, EIO, ENOMEM),
    [FAULTY_SPLICE] = LIST(EPIPE, FAULTY_SHORT, EAGAIN, EINTR, ENOMEM, EINVAL),
    [FAULTY_ACCEPT] = LIST(EMFILE, ECONNABORTED, EINTR, ENFILE, ENOBUFS, EAGAIN, EPERM),
    [FAULTY_CONNECT] = LIST(ECONNREFUSED, EADDRNOTAVAIL, ENETUNREACH, EAGAIN, ETIMEDOUT),
    [FAULTY_EPOLL_CTL] = LIST(ENOMEM, ENOSPC),
    [FAULTY_SHUTDOWN] = LIST(ENOTCONN),
    [FAULTY_DESCRIPTOR] = LIST(EMFILE, ENOBUFS, ENFILE, ENOMEM),
    [FAULTY_THREAD] = LIST(EAGAIN),
    [FAULTY_NAME] = LIST(EAGAIN, ENOENT, ENOMEM, EMFILE),
    [FAULTY_FILE] = LIST(EMFILE, ENOMEM, EIO, ENFILE, EINTR, EAGAIN),
    [FAULTY_READ] = LIST(EIO, FAULTY_SHORT, EINTR, EAGAIN),
    [FAULTY_WRITE] = LIST(ENOSPC, FAULTY_SHORT, EINTR, EIO),
    [FAULTY_POLL] = LIST(EINTR, ENOMEM),
    [FAULTY_ADVICE] = LIST(ENOSYS, EPERM),
};

const int *faulty_errors(enum faulty_call kind, unsigned *count)
{
    *count = errors[kind].count;
    return errors[kind].errors;
}

/* --- sites --- */

enum { SITES = 1024 };

static struct {
    const void *at; /* NULL: free */
    enum faulty_call kind;
    bool struck;
} sites[SITES];

static void note_site(const void *at, enum faulty_call kind, bool struck)
{
    for (size_t i = (uintptr_t)at * 2654435761u >> 4, tried = 0; tried < SITES; i++, tried++) {
        const void *found = __atomic_load_n(&sites[i % SITES].at, __ATOMIC_RELAXED);
        if (!found &&
            __atomic_compare_exchange_n(&sites[i % SITES].at, &found, at, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            __atomic_store_n(&sites[i % SITES].kind, kind, __ATOMIC_RELAXED);
            found = at;
        }
        if (found == at) {
            if (struck)
                __atomic_store_n(&sites[i % SITES].struck, true, __ATOMIC_RELAXED);
            return;
        }
    }
}

/* The sanitizers' own, where there is one. */
__attribute__((weak)) void __sanitizer_symbolize_pc(void *at, const char *format, char *into, size_t size);

static void place(const void *at, char *into, size_t size)
{
    Dl_info info;
    if (__sanitizer_symbolize_pc) {
        __sanitizer_symbolize_pc((char *)(uintptr_t)at - 1, "%f %s:%l", into, size);
        return;
    }
    if (!at || !dladdr(at, &info))
        info = (Dl_info){.dli_fname = "?"};
    snprintf(into, size, "%s+%#zx", info.dli_fname, (size_t)((const char *)at - (const char *)info.dli_fbase));
}

const char *faulty_struck(void)
{
    static char text[512];
    char where[400];
    if (!faulty_sys.struck)
        return "no call failed";
    place(faulty_sys.struck, where, sizeof where);
    snprintf(text, sizeof text, "%s failed with %s at %s", names[faulty_sys.struck_call],
             faulty_sys.struck_error == FAULTY_SHORT ? "a part" : strerror(faulty_sys.struck_error), where);
    return text;
}

void faulty_sites_report(void)
{
    unsigned count = 0, hit = 0;
    for (unsigned i = 0; i < SITES; i++) {
        char where[400];
        count += sites[i].at != NULL;
        hit += sites[i].struck;
        if (!sites[i].at || sites[i].struck)
            continue;
        place(sites[i].at, where, sizeof where);
        printf("never struck: %s at %s\n", names[sites[i].kind], where);
    }
    printf("%u of %u places that call the system were struck\n", hit, count);
}

/* --- the rule --- */

static bool is_its_turn(void)
{
    uint64_t left = __atomic_load_n(&faulty_sys.fail_after, __ATOMIC_ACQUIRE), next;
    do {
        if (left == 0)
            return false;
        next = left - 1;
        if (next == 0 && faulty_sys.lasting > 1)
            next = 1; /* and the next one, too */
    } while (
        !__atomic_compare_exchange_n(&faulty_sys.fail_after, &left, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (left == 1 && next == 1)
        __atomic_fetch_sub(&faulty_sys.lasting, 1, __ATOMIC_RELAXED);
    return left == 1;
}

/* One of KIND's errors by the seed; 0: it succeeds. */
static int by_seed(enum faulty_call kind)
{
    struct test_random random = {faulty_sys.seed};
    int error = test_random_below(&random, faulty_sys.one_in) == 0
                    ? errors[kind].errors[test_random_below(&random, errors[kind].count)]
                    : 0;
    faulty_sys.seed = random.state;
    return error;
}

int faulty_rule_apply(enum faulty_call kind, const void *site)
{
    int error = 0;
    __atomic_fetch_add(&faulty_sys.calls[kind], 1, __ATOMIC_RELAXED);
    if (faulty_sys.error[kind])
        return faulty_sys.error[kind];
    if (faulty_sys.counts[kind] && (!faulty_sys.site || faulty_sys.site == site)) {
        if (faulty_sys.one_in)
            error = by_seed(kind);
        else if (is_its_turn())
            error = faulty_sys.fail_error ? faulty_sys.fail_error
                                          : errors[kind].errors[faulty_sys.variant % errors[kind].count];
    }
    note_site(site, kind, error != 0);
    if (error) {
        __atomic_fetch_add(&faulty_sys.failed, 1, __ATOMIC_RELAXED);
        faulty_sys.struck_error = error;
        faulty_sys.struck_call = kind;
        faulty_sys.struck = site;
    }
    return error;
}

void faulty_sys_reset(void)
{
    int64_t skewed_ms = faulty_sys.skewed_ms;
    memset(&faulty_sys, 0, sizeof faulty_sys);
    faulty_sys.skewed_ms = skewed_ms;
}

bool faulty_fails(enum faulty_call kind, const void *site)
{
    int error = faulty_rule_apply(kind, site);
    errno = error == FAULTY_SHORT ? EIO : error ? error : errno;
    return error != 0;
}
