/* trace.c - the trace's file: a JSON array of Chrome trace events, and the thread that writes it.
 *
 * What a thread does is a complete event ("X") on its track. What is a wait is a pair of asynchronous ones ("b" and
 * "e"), because a thread does other things meanwhile, and no two slices of a track may overlap; those of one request
 * have its id, and so a track of their own. A flow ("s", "t") of that id ties the slices together across the tracks.
 *
 * An event is a line, and the comma stands before it: cut off after any line the file lacks nothing but the bracket,
 * which viewers do without. */
#include "rill/core/log.h"
#include "rill/core/loop_group.h"
#include "rill/core/sys.h"
#include "rill/core/thread_internal.h"
#include "rill/core/trace_internal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    DEFAULT_SAMPLE = 256,
    DEFAULT_RING_EVENTS = 4096,
    MAX_RING_EVENTS = 1 << 24,
    EVERY_MS = 50,
    BUFFER_BYTES = 1 << 16,
    EVENT_BYTES = 1024, /* more than any event takes */
};

struct rill_trace {
    struct rill_trace_lane *lanes; /* atomic */
    unsigned lane_count;           /* atomic */
    unsigned sample, ring_events;
    bool stopping; /* atomic */
    int wake_fd;
    pthread_t thread;
    char *path;

    /* The thread's alone. */
    int fd;
    bool failed;   /* the file has taken what it will take */
    uint64_t lost; /* atomic: events taken out of a ring, and not written */
    size_t length; /* of what `buffer` holds, and the events of that */
    uint64_t events;
    char buffer[BUFFER_BYTES];
};

/* ---- Writing --------------------------------------------------------------------------------------------- */

static void give_up(struct rill_trace *trace)
{
    rill_log_error("cannot write to the trace %s: %s; tracing ends", trace->path, strerror(errno));
    trace->failed = true;
}

static void write_out(struct rill_trace *trace)
{
    size_t at = 0;
    while (at < trace->length && !trace->failed) {
        ssize_t written = rill_sys_write(trace->fd, trace->buffer + at, trace->length - at);
        if (written >= 0)
            at += (size_t)written;
        else if (errno != EINTR)
            give_up(trace);
    }
    if (trace->failed)
        __atomic_store_n(&trace->lost, trace->lost + trace->events, __ATOMIC_RELAXED);
    trace->length = 0;
    trace->events = 0;
}

__attribute__((format(printf, 2, 3))) static void put(struct rill_trace *trace, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    trace->length +=
        (size_t)vsnprintf(trace->buffer + trace->length, sizeof trace->buffer - trace->length, format, arguments);
    va_end(arguments);
}

/* NAME as it may stand in a JSON string. */
static void put_name(struct rill_trace *trace, const char *name)
{
    for (; *name != '\0'; name++)
        put(trace, "%c", (unsigned char)*name < ' ' || *name == '"' || *name == '\\' || *name > '~' ? '?' : *name);
}

/* The beginning that all events have, and its end, which is that of the event. */
static void put_event(struct rill_trace *trace, const struct rill_trace_lane *lane, const char *phase, const char *name,
                      uint64_t at_ns)
{
    put(trace, ",\n{\"ph\":\"%s\",\"name\":\"%s\",\"cat\":\"rill\",\"pid\":%d,\"tid\":%u,\"ts\":%" PRIu64 ".%03u",
        phase, name, (int)getpid(), lane->number, at_ns / 1000, (unsigned)(at_ns % 1000));
}

static const struct {
    const char *name;
    bool is_wait;
    bool in_flow; /* a slice that lies in no other of its request */
} parts[RILL_TRACE_PARTS] = {
    [RILL_TRACE_ACCEPT] = {"accept", false, true},       [RILL_TRACE_HANDOFF] = {"hand-off", true, false},
    [RILL_TRACE_WAKE_UP] = {"wake-up", true, false},     [RILL_TRACE_ADOPT] = {"adopt", false, true},
    [RILL_TRACE_READ] = {"read", false, true},           [RILL_TRACE_DATA] = {"on_data", false, true},
    [RILL_TRACE_PARSE] = {"parse", false, false},        [RILL_TRACE_HANDLER] = {"handler", false, false},
    [RILL_TRACE_POOL_WAIT] = {"pool wait", true, false}, [RILL_TRACE_POOL_RUN] = {"pool run", false, true},
    [RILL_TRACE_POOL_DONE] = {"pool done", false, true}, [RILL_TRACE_WRITE] = {"write", false, true},
    [RILL_TRACE_REQUEST] = {"request", true, false},
};

static void put_part(struct rill_trace *trace, const struct rill_trace_lane *lane, const struct rill_trace_event *event)
{
    const char *name = parts[event->part].name;
    if (parts[event->part].is_wait) {
        put_event(trace, lane, "b", name, event->began_ns);
        put(trace, ",\"id\":\"0x%" PRIx64 "\"}", event->id);
        put_event(trace, lane, "e", name, event->ended_ns);
        put(trace, ",\"id\":\"0x%" PRIx64 "\"}", event->id);
        return;
    }
    uint64_t took_ns = event->ended_ns - event->began_ns;
    put_event(trace, lane, "X", name, event->began_ns);
    put(trace, ",\"dur\":%" PRIu64 ".%03u,\"args\":{\"request\":\"0x%" PRIx64 "\"}}", took_ns / 1000,
        (unsigned)(took_ns % 1000), event->id);
    if (parts[event->part].in_flow) {
        put_event(trace, lane, event->first ? "s" : "t", "request", event->began_ns);
        put(trace, ",\"id\":\"0x%" PRIx64 "\"}", event->id);
    }
}

/* The track's name, and its place among the others. */
static void introduce(struct rill_trace *trace, struct rill_trace_lane *lane)
{
    lane->introduced = true;
    put_event(trace, lane, "M", "thread_name", 0);
    put(trace, ",\"args\":{\"name\":\"");
    put_name(trace, lane->name);
    put(trace, "\"}}");
    put_event(trace, lane, "M", "thread_sort_index", 0);
    put(trace, ",\"args\":{\"sort_index\":%u}}", lane->number);
}

static void empty_lane(struct rill_trace *trace, struct rill_trace_lane *lane)
{
    uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_ACQUIRE);
    if (!lane->introduced)
        introduce(trace, lane);
    for (uint64_t tail = lane->tail; tail != head; tail++) {
        if (trace->length > BUFFER_BYTES - EVENT_BYTES)
            write_out(trace);
        put_part(trace, lane, &lane->ring[tail & lane->mask]);
        trace->events++;
        __atomic_store_n(&lane->tail, tail + 1, __ATOMIC_RELEASE);
    }
}

static void empty_lanes(struct rill_trace *trace)
{
    struct rill_trace_lane *lane = __atomic_load_n(&trace->lanes, __ATOMIC_ACQUIRE);
    for (; lane; lane = lane->next) {
        empty_lane(trace, lane);
        write_out(trace);
    }
}

static void put_end(struct rill_trace *trace)
{
    static const struct rill_trace_lane everybody = {.number = 0};
    put_event(trace, &everybody, "i", "events dropped", rill_sys_monotonic_ns());
    put(trace, ",\"s\":\"g\",\"args\":{\"dropped\":%" PRIu64 "}}\n]\n", rill_trace_dropped(trace));
    write_out(trace);
}

static void *thread_main(void *arg)
{
    struct rill_trace *trace = arg;
    rill_thread_set_name("trace");
    put(trace, "[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"", (int)getpid());
    put_name(trace, program_invocation_short_name);
    put(trace, "\"}}");
    while (!__atomic_load_n(&trace->stopping, __ATOMIC_ACQUIRE)) {
        empty_lanes(trace);
        struct pollfd wake = {.fd = trace->wake_fd, .events = POLLIN};
        rill_sys_poll(&wake, 1, EVERY_MS);
    }
    empty_lanes(trace);
    put_end(trace);
    return NULL;
}

/* ---- Life ------------------------------------------------------------------------------------------------ */

static void release(struct rill_trace *trace)
{
    struct rill_trace_lane *lane;
    while ((lane = trace->lanes)) {
        trace->lanes = lane->next;
        rill_trace_lane_free(lane);
    }
    if (trace->wake_fd >= 0)
        rill_sys_close(trace->wake_fd);
    if (trace->fd >= 0)
        rill_sys_close(trace->fd);
    rill_sys_free(trace->path);
    rill_sys_free(trace);
}

static int acquire(struct rill_trace *trace, const char *path)
{
    size_t size = strlen(path) + 1;
    trace->path = rill_sys_malloc(size);
    if (!trace->path)
        return -ENOMEM;
    memcpy(trace->path, path, size);
    trace->fd = rill_sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0640);
    if (trace->fd < 0)
        return -errno;
    trace->wake_fd = rill_sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (trace->wake_fd < 0)
        return -errno;
    return rill_thread_start_quiet(&trace->thread, thread_main, trace);
}

struct rill_trace *rill_trace_start(const struct rill_trace_config *config, int *error)
{
    struct rill_trace *trace = rill_sys_calloc(1, sizeof *trace);
    *error = -ENOMEM;
    if (!trace)
        return NULL;
    unsigned wanted = config->ring_events ? config->ring_events : DEFAULT_RING_EVENTS;
    trace->sample = config->sample ? config->sample : DEFAULT_SAMPLE;
    trace->ring_events = 1;
    while (trace->ring_events < wanted && trace->ring_events < MAX_RING_EVENTS)
        trace->ring_events *= 2;
    trace->fd = trace->wake_fd = -1;
    *error = acquire(trace, config->path);
    if (*error == 0)
        return trace;
    release(trace);
    return NULL;
}

struct rill_trace_lane *rill_trace_lane_new(struct rill_trace *trace, const char *name)
{
    if (!trace)
        return NULL;
    unsigned number = __atomic_add_fetch(&trace->lane_count, 1, __ATOMIC_RELAXED);
    struct rill_trace_lane *lane = rill_trace_lane_make(name, number, trace->sample, trace->ring_events);
    if (!lane)
        return NULL;
    lane->next = __atomic_load_n(&trace->lanes, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&trace->lanes, &lane->next, lane, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    return lane;
}

uint64_t rill_trace_dropped(const struct rill_trace *trace)
{
    uint64_t dropped = __atomic_load_n(&trace->lost, __ATOMIC_RELAXED);
    const struct rill_trace_lane *lane = __atomic_load_n(&trace->lanes, __ATOMIC_ACQUIRE);
    for (; lane; lane = lane->next)
        dropped += __atomic_load_n(&lane->dropped, __ATOMIC_RELAXED);
    return dropped;
}

void rill_trace_stop(struct rill_trace *trace)
{
    if (!trace)
        return;
    uint64_t one = 1;
    __atomic_store_n(&trace->stopping, true, __ATOMIC_RELEASE);
    ssize_t written = rill_sys_write(trace->wake_fd, &one, sizeof one); /* into an empty counter */
    (void)written;
    rill_sys_thread_join(trace->thread);
    release(trace);
}
