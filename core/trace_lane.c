/* trace_lane.c - what a traced thread does: it knows which of its connections are followed, and puts events into its
 * ring.
 *
 * A request is followed from a read, or from the accept of its connection, until all has been written and nobody holds
 * it; a protocol that answers nothing shows by its next read that the last one is done with. Those that are followed
 * stand in a small table, so that a connection that is not costs nothing, on or off. */
#include "rill/core/sys.h"
#include "rill/core/trace_internal.h"
#include <stdio.h>
#include <string.h>

struct rill_trace_lane *rill_trace_lane_make(const char *name, unsigned number, unsigned sample, unsigned ring_events)
{
    struct rill_trace_lane *lane = rill_sys_calloc(1, sizeof *lane);
    struct rill_trace_event *ring = rill_sys_malloc(ring_events * sizeof *ring);
    if (!lane || !ring) {
        rill_sys_free(lane);
        rill_sys_free(ring);
        return NULL;
    }
    snprintf(lane->name, sizeof lane->name, "%s", name);
    lane->number = number;
    lane->sample = sample;
    lane->mask = ring_events - 1;
    lane->ring = ring;
    lane->accepts_left = lane->reads_left = 1;
    return lane;
}

void rill_trace_lane_free(struct rill_trace_lane *lane)
{
    rill_sys_free(lane->ring);
    rill_sys_free(lane);
}

void rill_trace_record(struct rill_trace_lane *lane, enum rill_trace_part part, struct rill_trace_mark of,
                       uint64_t ended_ns, bool first)
{
    uint64_t head = lane->head;
    if (RILL_UNLIKELY(head - lane->tail_seen > lane->mask)) {
        lane->tail_seen = __atomic_load_n(&lane->tail, __ATOMIC_ACQUIRE);
        if (head - lane->tail_seen > lane->mask) {
            __atomic_store_n(&lane->dropped, lane->dropped + 1, __ATOMIC_RELAXED);
            return;
        }
    }
    lane->ring[head & lane->mask] = (struct rill_trace_event){of.id, of.began_ns, ended_ns, part, first};
    __atomic_store_n(&lane->head, head + 1, __ATOMIC_RELEASE);
}

/* ---- Those that are followed ----------------------------------------------------------------------------- */

static struct rill_trace_followed *find(const struct rill_trace_lane *lane, const void *key)
{
    for (unsigned i = 0; i < lane->under_way; i++)
        if (lane->keys[i] == key)
            return (struct rill_trace_followed *)&lane->followed[i];
    return NULL;
}

/* Its whole way is known now. */
static void let_go(struct rill_trace_lane *lane, struct rill_trace_followed *followed)
{
    unsigned last = --lane->under_way;
    if (followed->read)
        rill_trace_record(lane, RILL_TRACE_REQUEST, followed->mark, followed->moved_ns, false);
    lane->keys[followed - lane->followed] = lane->keys[last];
    *followed = lane->followed[last];
}

static void let_the_stillest_go(struct rill_trace_lane *lane)
{
    struct rill_trace_followed *stillest = &lane->followed[0];
    for (unsigned i = 1; i < lane->under_way; i++)
        if (lane->followed[i].moved_ns < stillest->moved_ns)
            stillest = &lane->followed[i];
    let_go(lane, stillest);
}

static struct rill_trace_followed *follow(struct rill_trace_lane *lane, const void *key, struct rill_trace_mark mark)
{
    if (lane->under_way == RILL_TRACE_UNDER_WAY)
        let_the_stillest_go(lane);
    unsigned i = lane->under_way++;
    lane->keys[i] = key;
    lane->followed[i] = (struct rill_trace_followed){.mark = mark, .moved_ns = mark.began_ns};
    return &lane->followed[i];
}

/* A name that no other lane gives. */
static uint64_t new_id(struct rill_trace_lane *lane)
{
    return (uint64_t)lane->number << 40 | ++lane->ids;
}

/* A part that began at BEGAN_NS ends now. */
static void note_part(struct rill_trace_lane *lane, struct rill_trace_followed *followed, enum rill_trace_part part,
                      uint64_t began_ns, bool first)
{
    followed->moved_ns = rill_sys_monotonic_ns();
    rill_trace_record(lane, part, (struct rill_trace_mark){followed->mark.id, began_ns}, followed->moved_ns, first);
}

/* ---- Reading, handling, writing -------------------------------------------------------------------------- */

uint64_t rill_trace_look(const struct rill_trace_lane *lane, const void *key)
{
    return find(lane, key) ? rill_sys_monotonic_ns() : 0;
}

uint64_t rill_trace_enter(struct rill_trace_lane *lane, const void *key)
{
    const struct rill_trace_followed *followed = find(lane, key);
    if (!followed)
        return 0;
    lane->current = followed->mark.id;
    return rill_sys_monotonic_ns();
}

/* KEY may have been closed, and let go, within its own callback. */
void rill_trace_note(struct rill_trace_lane *lane, const void *key, enum rill_trace_part part, uint64_t began_ns)
{
    struct rill_trace_followed *followed = find(lane, key);
    if (followed)
        note_part(lane, followed, part, began_ns, false);
    else if (lane->current != 0)
        rill_trace_record(lane, part, (struct rill_trace_mark){lane->current, began_ns}, rill_sys_monotonic_ns(),
                          false);
}

uint64_t rill_trace_look_before_read(struct rill_trace_lane *lane, const void *key)
{
    struct rill_trace_followed *followed = find(lane, key);
    if (followed && followed->read && followed->holds == 0) {
        let_go(lane, followed);
        followed = NULL;
    }
    return followed || lane->reads_left == 1 ? rill_sys_monotonic_ns() : 0;
}

void rill_trace_note_read(struct rill_trace_lane *lane, const void *key, uint64_t began_ns)
{
    struct rill_trace_followed *followed = find(lane, key);
    bool first = !followed;
    if (began_ns == 0) {
        lane->reads_left--;
        return;
    }
    if (first) {
        lane->reads_left = lane->sample;
        followed = follow(lane, key, (struct rill_trace_mark){new_id(lane), began_ns});
    }
    followed->read = true;
    note_part(lane, followed, RILL_TRACE_READ, began_ns, first);
}

void rill_trace_note_write(struct rill_trace_lane *lane, const void *key, uint64_t began_ns, bool all_sent)
{
    struct rill_trace_followed *followed = find(lane, key);
    if (!followed)
        return;
    note_part(lane, followed, RILL_TRACE_WRITE, began_ns, false);
    if (all_sent && followed->read && followed->holds == 0)
        let_go(lane, followed);
}

void rill_trace_change_holds(struct rill_trace_lane *lane, const void *key, int change)
{
    struct rill_trace_followed *followed = find(lane, key);
    if (followed && (change > 0 || followed->holds > 0))
        followed->holds += (unsigned)change;
}

void rill_trace_finish(struct rill_trace_lane *lane, const void *key)
{
    struct rill_trace_followed *followed = find(lane, key);
    if (followed)
        let_go(lane, followed);
}

uint64_t rill_trace_current(const struct rill_trace_lane *lane)
{
    return lane->current;
}

void rill_trace_set_current(struct rill_trace_lane *lane, uint64_t id)
{
    lane->current = id;
}

/* ---- From accept to a loop ------------------------------------------------------------------------------- */

struct rill_trace_mark rill_trace_look_at_accept(struct rill_trace_lane *lane)
{
    if (lane->accepts_left > 1) {
        lane->accepts_left--;
        return (struct rill_trace_mark){0, 0};
    }
    lane->accepts_left = lane->sample;
    return (struct rill_trace_mark){new_id(lane), rill_sys_monotonic_ns()};
}

void rill_trace_note_accept(struct rill_trace_lane *lane, struct rill_trace_mark mark)
{
    rill_trace_record(lane, RILL_TRACE_ACCEPT, mark, rill_sys_monotonic_ns(), true);
}

void rill_trace_note_arrival(struct rill_trace_lane *lane, struct rill_trace_mark mark, uint64_t posted_ns)
{
    rill_trace_record(lane, RILL_TRACE_HANDOFF, mark, posted_ns, false);
    rill_trace_record(lane, RILL_TRACE_WAKE_UP, (struct rill_trace_mark){mark.id, posted_ns}, rill_sys_monotonic_ns(),
                      false);
}

uint64_t rill_trace_note_joining(struct rill_trace_lane *lane, struct rill_trace_mark mark)
{
    lane->joining = mark;
    return rill_sys_monotonic_ns();
}

/* The first connection made since is the one that joins. */
void rill_trace_note_key(struct rill_trace_lane *lane, const void *key)
{
    if (lane->joining.id != 0)
        follow(lane, key, lane->joining);
    lane->joining.id = 0;
}

void rill_trace_note_joined(struct rill_trace_lane *lane, struct rill_trace_mark mark, uint64_t began_ns)
{
    lane->joining.id = 0;
    mark.began_ns = began_ns;
    rill_trace_record(lane, RILL_TRACE_ADOPT, mark, rill_sys_monotonic_ns(), false);
}
