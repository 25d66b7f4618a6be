/* resolve.c - getaddrinfo(3) as a job of the worker pool.
 *
 * The job owns all that it needs, and outlives whoever asked: a getaddrinfo() that runs cannot be interrupted. To
 * cancel takes the callback away, on the loop, where it is also called; the worker never looks at it. */
#include "rill/net/resolve.h"
#include "rill/core/sys.h"
#include "rill/core/workers.h"

struct rill_resolve {
    struct rill_job job;

    /* The loop's. */
    void (*fn)(const struct rill_resolved *resolved, void *arg); /* NULL: cancelled */
    void *arg;

    /* Whose the job is. */
    uint16_t port;
    int error;
    const char *why;         /* constant; NULL: what strerror() says */
    struct rill_addr *addrs; /* NULL: none */
    unsigned count;
    char host[RILL_HOST_TEXT];
};

/* --- on a worker --- */

static void set_error(struct rill_resolve *resolve, int gai_error, int system_error)
{
    resolve->why = gai_strerror(gai_error);
    switch (gai_error) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        resolve->error = -ENOENT;
        resolve->why = "no such host";
        break;
    case EAI_AGAIN:
        resolve->error = -EAGAIN;
        resolve->why = "the name server does not answer";
        break;
    case EAI_MEMORY:
        resolve->error = -ENOMEM;
        break;
    case EAI_SYSTEM:
        resolve->error = system_error ? -system_error : -EIO;
        resolve->why = NULL;
        break;
    default:
        resolve->error = -EIO;
    }
}

static bool usable(const struct addrinfo *info)
{
    return (info->ai_family == AF_INET || info->ai_family == AF_INET6) &&
           info->ai_addrlen <= sizeof(struct sockaddr_in6);
}

/* The first of the list from INFO on that is of FAMILY, or, with OTHER, of the other one. */
static const struct addrinfo *next_of(const struct addrinfo *info, int family, bool other)
{
    while (info && (!usable(info) || (info->ai_family == family) == other))
        info = info->ai_next;
    return info;
}

static void take(struct rill_resolve *resolve, const struct addrinfo *info)
{
    struct rill_addr *addr = &resolve->addrs[resolve->count++];
    memset(addr, 0, sizeof *addr);
    memcpy(&addr->socket, info->ai_addr, info->ai_addrlen);
    addr->length = info->ai_addrlen;
    if (info->ai_family == AF_INET6)
        addr->socket.v6.sin6_port = htons(resolve->port);
    else
        addr->socket.v4.sin_port = htons(resolve->port);
}

/* Copies what was found, the families in turn. */
static void take_all(struct rill_resolve *resolve, const struct addrinfo *found)
{
    while (found && !usable(found))
        found = found->ai_next;
    if (!found) {
        set_error(resolve, EAI_NODATA, 0);
        return;
    }
    unsigned most = 0;
    for (const struct addrinfo *info = found; info && most < RILL_RESOLVE_MAX_ADDRS; info = info->ai_next)
        most++;
    resolve->addrs = rill_sys_malloc(most * sizeof *resolve->addrs);
    if (!resolve->addrs) {
        set_error(resolve, EAI_MEMORY, 0);
        return;
    }
    int family = found->ai_family;
    const struct addrinfo *same = found, *other = next_of(found, family, true);
    while ((same || other) && resolve->count < most) {
        if (same) {
            take(resolve, same);
            same = next_of(same->ai_next, family, false);
        }
        if (other && resolve->count < most) {
            take(resolve, other);
            other = next_of(other->ai_next, family, true);
        }
    }
}

static void run(struct rill_job *job)
{
    struct rill_resolve *resolve = rill_container_of(job, struct rill_resolve, job);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    errno = 0;
    int error = rill_sys_getaddrinfo(resolve->host, NULL, &hints, &found);
    if (error != 0) {
        set_error(resolve, error, errno);
        return;
    }
    take_all(resolve, found);
    rill_sys_freeaddrinfo(found);
}

/* --- on the loop --- */

static void done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct rill_resolve *resolve = rill_container_of(job, struct rill_resolve, job);
    struct rill_resolved resolved = {
        .error = resolve->error, .why = resolve->why, .addrs = resolve->addrs, .count = resolve->count};
    if (outcome == RILL_JOB_EXPIRED) {
        resolved.error = -ETIMEDOUT;
        resolved.why = "no worker was free to look the name up";
    } else if (outcome == RILL_JOB_CANCELLED) {
        resolved.error = -ECANCELED;
        resolved.why = "the worker pool has stopped";
    } else if (resolved.error < 0 && !resolved.why) {
        resolved.why = strerror(-resolved.error);
    }
    if (resolve->fn)
        resolve->fn(&resolved, resolve->arg);
    rill_sys_free(resolve->addrs);
    rill_sys_free(resolve);
}

int rill_resolve(struct rill_loop *loop, const char *host, uint16_t port, uint64_t deadline_ms,
                 void (*fn)(const struct rill_resolved *resolved, void *arg), void *arg, struct rill_resolve **resolve)
{
    rill_loop_check(loop, __func__);
    struct rill_workers *workers = rill_loop_workers(loop);
    size_t length = strlen(host);
    if (!workers)
        return -ENOTSUP;
    if (length >= RILL_HOST_TEXT)
        return -EINVAL;
    struct rill_resolve *made = rill_sys_calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    made->job = (struct rill_job){.run = run, .done = done, .loop = loop, .deadline_ms = deadline_ms};
    made->fn = fn;
    made->arg = arg;
    made->port = port;
    memcpy(made->host, host, length + 1);
    int error = rill_workers_submit(workers, &made->job);
    if (error < 0) {
        rill_sys_free(made);
        return error;
    }
    *resolve = made;
    return 0;
}

void rill_resolve_cancel(struct rill_resolve *resolve)
{
    rill_loop_check(resolve->job.loop, __func__);
    resolve->fn = NULL;
    rill_job_cancel(&resolve->job);
}
