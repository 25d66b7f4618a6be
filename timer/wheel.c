/* wheel.c - why it is built this way.
 *
 * Deadlines are numbers of eleven digits, six bits each. A timer sits on the level of the highest digit in which its
 * deadline differs from the wheel's time, in the slot of the deadline's digit there. So nothing ever wraps around:
 * all timers of a level share the higher digits with the wheel's time and have a greater digit on that level; every
 * timer of a level is due before every timer of a higher one; and the first occupied slot of the first occupied
 * level holds the next deadline. Two bit scans find it, however long the wheel was left alone.
 *
 * When the time reaches a slot's first millisecond, the slot's timers agree with the time in that digit too and move
 * to lower levels (they cascade), at most once a level in a timer's life. A slot of level 0 is a single tick: all its
 * timers are due. Lists are first in, first out, and a slot has cascaded before any timer can be armed directly into
 * the slots that it cascades to; so equal deadlines keep the order in which they were armed.
 *
 * An advance first collects everything that is due into one list, the batch, and only then runs callbacks. A callback
 * sees a wheel that has already arrived at the new time, can unlink any timer from wherever it is, and what it arms
 * cannot get into the batch.
 *
 * Heads are links in one array, so that the last timer to leave a list finds the bit to clear from the head's
 * address; a timer need not remember its slot. */
#include "rill/timer/wheel.h"

/* The two lists behind the levels take bits 0 and 1 of one occupancy word more, so that unlinking has no special
 * case for them. */
enum {
    AFTER_LEVELS = RILL_WHEEL_LEVELS,
    LATE_LIST = RILL_WHEEL_LEVELS * RILL_WHEEL_SLOTS,
    BATCH_LIST = LATE_LIST + 1,
    LISTS = BATCH_LIST + 1
};

static unsigned bit_lowest(uint64_t bits)
{
    return (unsigned)__builtin_ctzll(bits);
}

static struct rill_timer *timer_of(struct rill_timer_link *link)
{
    return (struct rill_timer *)link;
}

static bool list_empty(const struct rill_timer_link *head)
{
    return head->next == head;
}

static void list_init(struct rill_timer_link *head)
{
    head->next = head;
    head->previous = head;
}

static void list_mark(struct rill_wheel *wheel, size_t list)
{
    wheel->occupied[list / RILL_WHEEL_SLOTS] |= (uint64_t)1 << list % RILL_WHEEL_SLOTS;
    wheel->levels |= (uint32_t)1 << list / RILL_WHEEL_SLOTS;
}

static void list_unmark(struct rill_wheel *wheel, size_t list)
{
    size_t level = list / RILL_WHEEL_SLOTS;
    wheel->occupied[level] &= ~((uint64_t)1 << list % RILL_WHEEL_SLOTS);
    if (wheel->occupied[level] == 0)
        wheel->levels &= ~((uint32_t)1 << level);
}

static void list_append(struct rill_wheel *wheel, size_t list, struct rill_timer *timer)
{
    struct rill_timer_link *head = &wheel->slots[list];
    struct rill_timer_link *last = head->previous;
    timer->link.next = head;
    last->next = &timer->link;
    head->previous = &timer->link;
    if (last == head)
        list_mark(wheel, list);
    /* Apart from the store to next on purpose: gcc would merge the two into a wider one, and a cancel soon after would
     * wait for it, because its narrower loads are not forwarded from that; arm + cancel took twice as long. */
    timer->link.previous = last;
}

/* Moves all of list FROM to the end of the batch. */
static void list_to_batch(struct rill_wheel *wheel, size_t from)
{
    struct rill_timer_link *source = &wheel->slots[from];
    struct rill_timer_link *batch = &wheel->slots[BATCH_LIST];
    if (list_empty(source))
        return;
    source->next->previous = batch->previous;
    batch->previous->next = source->next;
    source->previous->next = batch;
    batch->previous = source->previous;
    list_init(source);
    list_unmark(wheel, from);
    list_mark(wheel, BATCH_LIST);
}

static void timer_unlink(struct rill_wheel *wheel, struct rill_timer *timer)
{
    struct rill_timer_link *next = timer->link.next;
    struct rill_timer_link *previous = timer->link.previous;
    previous->next = next;
    next->previous = previous;
    timer->link.next = NULL;
    /* Both neighbours the same: that is the head, and its list is empty now. */
    if (next == previous)
        list_unmark(wheel, (size_t)(next - wheel->slots));
}

/* The list for a deadline that is not before the wheel's time. */
static size_t slot_for(const struct rill_wheel *wheel, uint64_t deadline_ms)
{
    uint64_t differs = (deadline_ms ^ wheel->current_ms) | 1;
    unsigned level = (63 - (unsigned)__builtin_clzll(differs)) / RILL_WHEEL_SLOT_BITS;
    uint64_t digit = deadline_ms >> level * RILL_WHEEL_SLOT_BITS & (RILL_WHEEL_SLOTS - 1);
    return level * RILL_WHEEL_SLOTS + (size_t)digit;
}

/* The first millisecond of a slot. Shifts in two steps, because the last level's digit ends beyond bit 63. */
static uint64_t slot_start(const struct rill_wheel *wheel, unsigned level, unsigned slot)
{
    unsigned shift = level * RILL_WHEEL_SLOT_BITS;
    uint64_t above = wheel->current_ms >> shift >> RILL_WHEEL_SLOT_BITS << RILL_WHEEL_SLOT_BITS;
    return (above | slot) << shift;
}

/* Spreads a slot over the lower levels; the wheel's time is the slot's first millisecond. */
static void slot_cascade(struct rill_wheel *wheel, size_t list)
{
    struct rill_timer_link *head = &wheel->slots[list];
    struct rill_timer_link *link = head->next;
    list_init(head);
    list_unmark(wheel, list);
    while (link != head) {
        struct rill_timer *timer = timer_of(link);
        link = link->next;
        list_append(wheel, slot_for(wheel, timer->deadline_ms), timer);
    }
}

/* Moves the wheel's time to NOW_MS and everything due by then into the batch, in order. Each turn of the loop empties
 * a slot with at least one timer in it; empty time costs nothing. */
static void wheel_collect(struct rill_wheel *wheel, uint64_t now_ms)
{
    list_to_batch(wheel, LATE_LIST);
    for (;;) {
        uint32_t levels = wheel->levels & (((uint32_t)1 << RILL_WHEEL_LEVELS) - 1);
        if (levels == 0)
            break;
        unsigned level = bit_lowest(levels);
        unsigned slot = bit_lowest(wheel->occupied[level]);
        uint64_t start_ms = slot_start(wheel, level, slot);
        if (start_ms > now_ms)
            break;
        wheel->current_ms = start_ms;
        if (level == 0)
            list_to_batch(wheel, slot);
        else
            slot_cascade(wheel, level * RILL_WHEEL_SLOTS + slot);
    }
    wheel->current_ms = now_ms;
}

void rill_wheel_init(struct rill_wheel *wheel, uint64_t now_ms)
{
    wheel->current_ms = now_ms;
    wheel->count = 0;
    wheel->levels = 0;
    wheel->advancing = false;
    for (size_t level = 0; level <= RILL_WHEEL_LEVELS; level++)
        wheel->occupied[level] = 0;
    for (size_t list = 0; list < LISTS; list++)
        list_init(&wheel->slots[list]);
}

void rill_wheel_arm(struct rill_wheel *wheel, struct rill_timer *timer, uint64_t deadline_ms)
{
    if (rill_timer_armed(timer))
        timer_unlink(wheel, timer);
    else
        wheel->count++;
    timer->deadline_ms = deadline_ms;
    list_append(wheel, deadline_ms > wheel->current_ms ? slot_for(wheel, deadline_ms) : LATE_LIST, timer);
}

void rill_wheel_cancel(struct rill_wheel *wheel, struct rill_timer *timer)
{
    if (!rill_timer_armed(timer))
        return;
    timer_unlink(wheel, timer);
    wheel->count--;
}

size_t rill_wheel_advance(struct rill_wheel *wheel, uint64_t now_ms)
{
    struct rill_timer_link *batch = &wheel->slots[BATCH_LIST];
    size_t fired = 0;

    if (wheel->advancing)
        return 0;
    wheel_collect(wheel, now_ms > wheel->current_ms ? now_ms : wheel->current_ms);
    wheel->advancing = true;
    while (!list_empty(batch)) {
        struct rill_timer *timer = timer_of(batch->next);
        timer_unlink(wheel, timer);
        wheel->count--;
        fired++;
        timer->fn(timer); /* may have freed the timer */
    }
    wheel->advancing = false;
    return fired;
}

uint64_t rill_wheel_next(const struct rill_wheel *wheel, uint64_t now_ms)
{
    if (wheel->levels == 0)
        return UINT64_MAX;
    if (wheel->occupied[AFTER_LEVELS] != 0)
        return 0;

    unsigned level = bit_lowest(wheel->levels);
    unsigned slot = bit_lowest(wheel->occupied[level]);
    const struct rill_timer_link *head = &wheel->slots[level * RILL_WHEEL_SLOTS + slot];
    uint64_t due_ms = slot_start(wheel, level, slot);
    /* Alone in its slot, a timer is known to be the next one: a process with few timers is not woken to cascade. */
    if (head->next == head->previous)
        due_ms = timer_of(head->next)->deadline_ms;
    return due_ms > now_ms ? due_ms - now_ms : 0;
}

size_t rill_wheel_count(const struct rill_wheel *wheel)
{
    return wheel->count;
}

/* NULL when every timer of a list belongs there and every link has its counterpart; otherwise what is wrong. */
static const char *list_validate(const struct rill_wheel *wheel, size_t list, size_t *timers)
{
    const struct rill_timer_link *head = &wheel->slots[list];
    const struct rill_timer_link *link = head;

    do {
        if (link->next == NULL || link->next->previous != link)
            return "a link has no counterpart";
        link = link->next;
        if (link == head)
            break;
        const struct rill_timer *timer = (const struct rill_timer *)link;
        if (timer->fn == NULL)
            return "an armed timer has no callback";
        if (list < LATE_LIST && timer->deadline_ms <= wheel->current_ms)
            return "a timer that is due is still in a slot";
        if (list < LATE_LIST && slot_for(wheel, timer->deadline_ms) != list)
            return "a timer is in the wrong slot";
        if (list >= LATE_LIST && timer->deadline_ms > wheel->current_ms)
            return "a timer that is not due is among those that are";
    } while (++*timers <= wheel->count);
    return NULL;
}

bool rill_wheel_validate(const struct rill_wheel *wheel, const char **why)
{
    const char *wrong = NULL;
    size_t timers = 0;

    for (size_t list = 0; list < LISTS && wrong == NULL; list++) {
        bool marked = (wheel->occupied[list / RILL_WHEEL_SLOTS] >> list % RILL_WHEEL_SLOTS & 1) != 0;
        if (marked == list_empty(&wheel->slots[list]))
            wrong = "a slot and its bit differ";
        else
            wrong = list_validate(wheel, list, &timers);
    }
    for (size_t level = 0; level <= RILL_WHEEL_LEVELS && wrong == NULL; level++) {
        if ((wheel->levels >> level & 1) != (wheel->occupied[level] != 0))
            wrong = "a level and its bit differ";
    }
    if (wrong == NULL && timers != wheel->count)
        wrong = "the count differs from the timers armed";
    if (wrong == NULL && !wheel->advancing && !list_empty(&wheel->slots[BATCH_LIST]))
        wrong = "an advance left timers unfired";
    if (why != NULL && wrong != NULL)
        *why = wrong;
    return wrong == NULL;
}
