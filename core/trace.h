/* trace.h - a request's way through the threads, written to a file that trace viewers open (Chrome trace events).
 *
 * One connection in N is followed from its accept to its first response, and one read in N, which is a request as a
 * rule, from its bytes to the response. Each thread has a lane: a ring of events with one producer and no lock, which
 * the trace's own thread empties into the file. A lane whose ring is full drops events, and the file says at its end
 * how many.
 *
 * The hooks below stand where the parts of a request begin and end. A thread without a trace has no lane: then a hook
 * is a comparison with NULL. KEY is what is under way: the connection. Times are nanoseconds of rill_clock_ns(); the 0
 * that a beginning returns means that nobody wants to know. Thread: the lane's, all of them. */
#ifndef RILL_CORE_TRACE_H
#define RILL_CORE_TRACE_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_trace;
struct rill_trace_lane;

struct rill_trace_config {
    const char *path;     /* made (0640), emptied when it exists; copied */
    unsigned sample;      /* one in so many is traced, the first of each thread always; 0: 256 */
    unsigned ring_events; /* that a thread may be ahead of the file, rounded up to a power of two; 0: 4096 */
};

/* Opens the file and starts the trace's thread. Returns NULL and sets *ERROR to a negative errno. */
struct rill_trace *rill_trace_start(const struct rill_trace_config *config, int *error);

/* Writes the rest and the file's end, stops the thread and frees all, lanes included; producers must have ended. NULL
 * is ignored. */
void rill_trace_stop(struct rill_trace *trace);

/* A lane for one producer thread, called NAME in the file; it lives until rill_trace_stop(). NULL when memory is
 * lacking, or TRACE is NULL. Thread: any. */
struct rill_trace_lane *rill_trace_lane_new(struct rill_trace *trace, const char *name);

/* Events dropped so far, and those that could not be written. Thread: any. */
uint64_t rill_trace_dropped(const struct rill_trace *trace);

/* The parts of a request's way. */
enum rill_trace_part {
    RILL_TRACE_ACCEPT,    /* a connection is admitted and given to a loop */
    RILL_TRACE_HANDOFF,   /* a wait: for the batch to be complete */
    RILL_TRACE_WAKE_UP,   /* a wait: posted to a loop, not yet taken */
    RILL_TRACE_ADOPT,     /* the loop makes it a connection */
    RILL_TRACE_READ,      /* recv */
    RILL_TRACE_DATA,      /* the connection's on_data; PARSE and HANDLER lie within */
    RILL_TRACE_PARSE,     /* of a request's head */
    RILL_TRACE_HANDLER,   /* the route's handler, or a later callback of it */
    RILL_TRACE_POOL_WAIT, /* a wait: a job in the pool's queue */
    RILL_TRACE_POOL_RUN,  /* a job, on its worker */
    RILL_TRACE_POOL_DONE, /* its `done`, on the loop */
    RILL_TRACE_WRITE,     /* send, or what goes in its place */
    RILL_TRACE_REQUEST,   /* a wait: all of it */
    RILL_TRACE_PARTS,
};

/* ---- What the hooks come to when there is a lane ----------------------------------------------------------- */

/* A connection on its way to its loop. */
struct rill_trace_mark {
    uint64_t id; /* 0: it is not traced */
    uint64_t began_ns;
};

/* One event. FIRST: it is the first of its request. */
void rill_trace_record(struct rill_trace_lane *lane, enum rill_trace_part part, struct rill_trace_mark of,
                       uint64_t ended_ns, bool first);
struct rill_trace_mark rill_trace_look_at_accept(struct rill_trace_lane *lane);
void rill_trace_note_accept(struct rill_trace_lane *lane, struct rill_trace_mark mark);
uint64_t rill_trace_look(const struct rill_trace_lane *lane, const void *key);
uint64_t rill_trace_look_before_read(struct rill_trace_lane *lane, const void *key);
uint64_t rill_trace_enter(struct rill_trace_lane *lane, const void *key);
void rill_trace_note(struct rill_trace_lane *lane, const void *key, enum rill_trace_part part, uint64_t began_ns);
void rill_trace_note_read(struct rill_trace_lane *lane, const void *key, uint64_t began_ns);
void rill_trace_note_write(struct rill_trace_lane *lane, const void *key, uint64_t began_ns, bool all_sent);
void rill_trace_change_holds(struct rill_trace_lane *lane, const void *key, int change);
void rill_trace_finish(struct rill_trace_lane *lane, const void *key);
void rill_trace_note_arrival(struct rill_trace_lane *lane, struct rill_trace_mark mark, uint64_t posted_ns);
uint64_t rill_trace_note_joining(struct rill_trace_lane *lane, struct rill_trace_mark mark);
void rill_trace_note_joined(struct rill_trace_lane *lane, struct rill_trace_mark mark, uint64_t began_ns);
void rill_trace_note_key(struct rill_trace_lane *lane, const void *key);

/* The request whose callback runs on the lane's thread, 0 for none; jobs that it submits carry it. */
uint64_t rill_trace_current(const struct rill_trace_lane *lane);
void rill_trace_set_current(struct rill_trace_lane *lane, uint64_t id);

/* ---- Hooks ------------------------------------------------------------------------------------------------- */

/* 0: nothing can be traced. Only `scripts/compare counters` builds it so, to measure what the hooks cost. */
#ifndef RILL_TRACING
#define RILL_TRACING 1
#endif

/* Whether the thread of LANE is traced: what every hook asks. Where requests pass it is asked once for both ends of a
 * part, and a traced twin of what lies between them called, so that without a trace a part costs this one comparison.
 */
static inline bool rill_trace_on(const struct rill_trace_lane *lane)
{
    return RILL_TRACING && RILL_UNLIKELY(lane != NULL);
}

/* A part of what KEY is busy with. */
static inline uint64_t rill_trace_begin(struct rill_trace_lane *lane, const void *key)
{
    return rill_trace_on(lane) ? rill_trace_look(lane, key) : 0;
}

static inline void rill_trace_end(struct rill_trace_lane *lane, const void *key, enum rill_trace_part part,
                                  uint64_t began_ns)
{
    if (RILL_UNLIKELY(began_ns != 0))
        rill_trace_note(lane, key, part, began_ns);
}

/* A read, and that it found something: what is sampled is counted here. */
static inline uint64_t rill_trace_begin_read(struct rill_trace_lane *lane, const void *key)
{
    return rill_trace_on(lane) ? rill_trace_look_before_read(lane, key) : 0;
}

static inline void rill_trace_end_read(struct rill_trace_lane *lane, const void *key, uint64_t began_ns)
{
    if (rill_trace_on(lane))
        rill_trace_note_read(lane, key, began_ns);
}

/* KEY's on_data; what it gives to the pool is traced there. */
static inline uint64_t rill_trace_begin_data(struct rill_trace_lane *lane, const void *key)
{
    return rill_trace_on(lane) ? rill_trace_enter(lane, key) : 0;
}

static inline void rill_trace_end_data(struct rill_trace_lane *lane, const void *key, uint64_t began_ns)
{
    if (RILL_UNLIKELY(began_ns != 0)) {
        rill_trace_note(lane, key, RILL_TRACE_DATA, began_ns);
        rill_trace_set_current(lane, 0);
    }
}

/* A write. With ALL_SENT the request has ended, unless somebody holds it. */
static inline void rill_trace_end_write(struct rill_trace_lane *lane, const void *key, uint64_t began_ns, bool all_sent)
{
    if (RILL_UNLIKELY(began_ns != 0))
        rill_trace_note_write(lane, key, began_ns, all_sent);
}

/* What KEY is busy with goes on, although all may have been written; and does so no longer. */
static inline void rill_trace_hold(struct rill_trace_lane *lane, const void *key)
{
    if (rill_trace_on(lane))
        rill_trace_change_holds(lane, key, 1);
}

static inline void rill_trace_release(struct rill_trace_lane *lane, const void *key)
{
    if (rill_trace_on(lane))
        rill_trace_change_holds(lane, key, -1);
}

/* KEY closes. */
static inline void rill_trace_closed(struct rill_trace_lane *lane, const void *key)
{
    if (rill_trace_on(lane))
        rill_trace_finish(lane, key);
}

/* A connection was accepted: here it is counted for the sample; and it has been given to a loop. */
static inline struct rill_trace_mark rill_trace_begin_accept(struct rill_trace_lane *lane)
{
    struct rill_trace_mark none = {0, 0};
    return rill_trace_on(lane) ? rill_trace_look_at_accept(lane) : none;
}

static inline void rill_trace_end_accept(struct rill_trace_lane *lane, struct rill_trace_mark mark)
{
    if (RILL_UNLIKELY(mark.id != 0))
        rill_trace_note_accept(lane, mark);
}

/* It has come, posted at POSTED_NS, to the loop that LANE is of. */
static inline void rill_trace_arrived(struct rill_trace_lane *lane, struct rill_trace_mark mark, uint64_t posted_ns)
{
    if (RILL_UNLIKELY(mark.id != 0) && rill_trace_on(lane))
        rill_trace_note_arrival(lane, mark, posted_ns);
}

/* It becomes a connection between these two, and in between is found out which. */
static inline uint64_t rill_trace_begin_adopt(struct rill_trace_lane *lane, struct rill_trace_mark mark)
{
    return RILL_UNLIKELY(mark.id != 0) && rill_trace_on(lane) ? rill_trace_note_joining(lane, mark) : 0;
}

static inline void rill_trace_adopted(struct rill_trace_lane *lane, const void *key)
{
    if (rill_trace_on(lane))
        rill_trace_note_key(lane, key);
}

static inline void rill_trace_end_adopt(struct rill_trace_lane *lane, struct rill_trace_mark mark, uint64_t began_ns)
{
    if (RILL_UNLIKELY(began_ns != 0))
        rill_trace_note_joined(lane, mark, began_ns);
}

#ifdef __cplusplus
}
#endif

#endif
