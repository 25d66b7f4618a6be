/* defer.c - see defer_internal.h. */
#include "rill/net/defer_internal.h"

enum {
    WINDOW_MS = 100,
    CALM_MS = 1000,
    MANY_PER_S = 500, /* to begin; half as many to go on */
};

/* Short connections: most of those that came have gone, or made room for others that have. */
static bool are_short(uint64_t accepted, int64_t closed, unsigned quarters)
{
    return closed * 4 >= (int64_t)accepted * quarters;
}

static bool decide(const struct rill_defer *defer, uint64_t elapsed_ms, uint64_t room)
{
    int64_t closed = (int64_t)defer->accepted + (int64_t)(room - defer->room_before);
    uint64_t per_s = defer->accepted * 1000u / elapsed_ms;
    if (defer->on)
        return per_s >= MANY_PER_S / 2 && are_short(defer->accepted, closed, 2);
    return per_s >= MANY_PER_S && are_short(defer->accepted, closed, 3);
}

bool rill_defer_look(struct rill_defer *defer, uint64_t now_ms, uint64_t room)
{
    if (defer->begun && now_ms - defer->began_ms < WINDOW_MS)
        return defer->on;
    if (defer->begun)
        defer->on = decide(defer, now_ms - defer->began_ms, room);
    defer->begun = true;
    defer->began_ms = now_ms;
    defer->room_before = room;
    defer->accepted = 0;
    return defer->on;
}

bool rill_defer_calm(struct rill_defer *defer, uint64_t now_ms)
{
    if (now_ms - defer->began_ms >= CALM_MS)
        defer->on = defer->begun = false;
    return defer->on;
}
