/* Layout of the one mapping, each part on a granule of its own so that it is committed apart from the others:
 *
 *     objects | frees (4 bytes a slot) | bit maps, the top level first
 *
 * A bit in level 0 is set when its slot is live; a bit in level n + 1 is set when its word in level n is all ones.
 * Fresh pages are zero, that is all free, so init writes none of them. The lowest free slot is found by following the
 * lowest zero bit down from the top; bits beyond max_objects are never reached, because a lower zero is there as long
 * as the slab is not full. */
#include "rill/core/slab.h"

#include "rill/core/memory_internal.h"
#include "rill/core/sys.h"

/* Parts of the mapping begin at multiples of this: a multiple of any page size of Linux. */
#define GRANULE_BYTES ((size_t)64 << 10)

/* The slack: at least this much and this many objects. */
#define MIN_SLACK_BYTES ((size_t)128 << 10)
#define MIN_SLACK_OBJECTS 64

/* Giving back looks at all slots. It has to be worth it: that many objects, and a quarter of all, must have gone. */
#define MIN_GONE 64

/* The most system calls that giving back may take. Where the range in use is so large that this means to pass over
 * holes of several pages, it does: a loop must not stop for long. */
#define MAX_HOLES 4096

#define FULL_WORD UINT64_MAX

static uint32_t words_for(uint32_t bits)
{
    return (bits + 63) / 64;
}

static size_t page_down(const struct rill_slab *slab, size_t bytes)
{
    return bytes & ~(slab->page_bytes - 1);
}

static size_t page_up(const struct rill_slab *slab, size_t bytes)
{
    return page_down(slab, bytes + slab->page_bytes - 1);
}

/* Adds COUNT times SIZE, rounded up to a granule, to *OFFSET; false when that is too much for a size_t. */
static bool add_part(size_t *offset, size_t count, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - GRANULE_BYTES)
        return false;
    bytes = (bytes + GRANULE_BYTES - 1) & ~(GRANULE_BYTES - 1);
    return !__builtin_add_overflow(*offset, bytes, offset);
}

int rill_slab_init(struct rill_slab *slab, size_t object_bytes, uint32_t max_objects)
{
    memset(slab, 0, sizeof *slab);
    if (object_bytes == 0 || max_objects == 0 || max_objects > RILL_SLAB_MAX_OBJECTS)
        return -EINVAL;
    if (object_bytes > PTRDIFF_MAX / (2 * MIN_SLACK_OBJECTS))
        return -ENOMEM;
    object_bytes = (object_bytes + 15) & ~(size_t)15;

    uint32_t level_words[RILL_SLAB_MAX_LEVELS];
    uint32_t level_count = 0;
    size_t all_words = 0;
    uint32_t bits = max_objects;
    do {
        bits = words_for(bits);
        level_words[level_count++] = bits;
        all_words += bits;
    } while (bits > 1);

    size_t frees_at = 0;
    if (!add_part(&frees_at, max_objects, object_bytes))
        return -ENOMEM;
    size_t levels_at = frees_at;
    if (!add_part(&levels_at, max_objects, sizeof(uint32_t)))
        return -ENOMEM;
    size_t map_bytes = levels_at;
    if (!add_part(&map_bytes, all_words, sizeof(uint64_t)))
        return -ENOMEM;

    char *map =
        rill_sys_mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return -ENOMEM;
    /* Huge pages would commit 2 MiB for the first object of each part, and 2 MiB more at a time. Only advice: a kernel
     * that has none refuses it, and nothing is lost. */
    (void)rill_sys_madvise(map, map_bytes, MADV_NOHUGEPAGE);

    slab->objects = map;
    slab->frees = (uint32_t *)(void *)(map + frees_at);
    uint64_t *words = (uint64_t *)(void *)(map + levels_at);
    for (uint32_t level = level_count; level-- > 0; words += level_words[level])
        slab->levels[level] = words;
    slab->object_bytes = object_bytes;
    slab->map_bytes = map_bytes;
    slab->page_bytes = (size_t)sysconf(_SC_PAGESIZE); /* a constant of the machine, hence not behind sys.h */
    slab->slack_bytes = page_up(slab, MIN_SLACK_OBJECTS * object_bytes);
    if (slab->slack_bytes < MIN_SLACK_BYTES)
        slab->slack_bytes = MIN_SLACK_BYTES;
    slab->level_count = level_count;
    slab->max_objects = max_objects;
    return 0;
}

void rill_slab_destroy(struct rill_slab *slab)
{
    if (!slab->objects)
        return;
    /* Whatever is mapped here next must not inherit the poison. */
    RILL_UNPOISON(slab->objects, slab->peak * slab->object_bytes);
    (void)rill_sys_munmap(slab->objects, slab->map_bytes);
    memset(slab, 0, sizeof *slab);
}

static char *object_at(const struct rill_slab *slab, uint32_t slot)
{
    return slab->objects + slot * slab->object_bytes;
}

static bool is_live(const struct rill_slab *slab, uint32_t slot)
{
    return slot < slab->top && (slab->levels[0][slot / 64] >> (slot % 64) & 1) != 0;
}

static uint32_t lowest_free_slot(const struct rill_slab *slab)
{
    uint32_t index = 0;
    for (uint32_t level = slab->level_count; level-- > 0;)
        index = index * 64 + (uint32_t)__builtin_ctzll(~slab->levels[level][index]);
    return index;
}

static void mark_live(struct rill_slab *slab, uint32_t slot)
{
    uint32_t index = slot;
    for (uint32_t level = 0; level < slab->level_count; level++, index /= 64) {
        uint64_t *word = &slab->levels[level][index / 64];
        *word |= UINT64_C(1) << (index % 64);
        if (*word != FULL_WORD)
            return;
    }
}

static void mark_free(struct rill_slab *slab, uint32_t slot)
{
    uint32_t index = slot;
    for (uint32_t level = 0; level < slab->level_count; level++, index /= 64) {
        uint64_t *word = &slab->levels[level][index / 64];
        bool was_full = *word == FULL_WORD;
        *word &= ~(UINT64_C(1) << (index % 64));
        if (!was_full)
            return;
    }
}

void *rill_slab_alloc(struct rill_slab *slab, uint32_t *slot)
{
    if (slab->count == slab->max_objects)
        return NULL;
    uint32_t found = lowest_free_slot(slab);
    mark_live(slab, found);
    slab->count++;
    if (slab->high < slab->count)
        slab->high = slab->count;
    if (found >= slab->top) {
        slab->top = found + 1;
        if (slab->peak < slab->top)
            slab->peak = slab->top;
    }
    char *object = object_at(slab, found);
    RILL_UNPOISON(object, slab->object_bytes);
    if (slot)
        *slot = found;
    return object;
}

/* One past the highest live slot that is below END. A word at a time: END only climbed here by one allocation a slot,
 * because the lowest free slot is always taken, so those allocations have paid for the way down. */
static uint32_t top_below(const struct rill_slab *slab, uint32_t end)
{
    for (uint32_t word = words_for(end); word-- > 0;) {
        uint64_t live = slab->levels[0][word];
        if (live != 0)
            return word * 64 + 64 - (uint32_t)__builtin_clzll(live);
    }
    return 0;
}

/* The lowest free slot from SLOT on and below END; END when there is none. */
static uint32_t next_free(const struct rill_slab *slab, uint32_t slot, uint32_t end)
{
    uint64_t mask = FULL_WORD << (slot % 64);
    for (uint32_t word = slot / 64; word < words_for(end); word++, mask = FULL_WORD) {
        uint64_t free_bits = ~slab->levels[0][word] & mask;
        if (free_bits != 0) {
            uint32_t found = word * 64 + (uint32_t)__builtin_ctzll(free_bits);
            return found < end ? found : end;
        }
    }
    return end;
}

/* Gives the pages without a live object back, except for the lowest of them, which the next allocations will use.
 * Below `dirty`, some may have been given back before and not been touched since; that is not known, and asking twice
 * is cheap. */
static void give_back(struct rill_slab *slab)
{
    size_t keep = slab->slack_bytes;
    uint32_t end = slab->dirty;
    size_t smallest = end * slab->object_bytes / MAX_HOLES;
    uint32_t live = 0;
    slab->high = slab->count;
    slab->dirty = 0;
    for (uint32_t slot; live < end && (slot = next_free(slab, live, end)) < end;) {
        live = rill_slab_next(slab, slot);
        /* Nothing lies behind the last hole but untouched memory, up to the next part of the mapping. */
        size_t from = page_up(slab, slot * slab->object_bytes);
        size_t to = live == RILL_SLAB_NONE ? page_up(slab, end * slab->object_bytes)
                                           : page_down(slab, live * slab->object_bytes);
        if (from >= to)
            continue;
        size_t kept = keep < to - from ? keep : to - from;
        if (to - from - kept < smallest)
            kept = to - from;
        keep -= kept < keep ? kept : keep;
        /* Rounded down: the slot that reaches beyond what is kept would have the page after it asked for each time. */
        size_t kept_slots = (from + kept) / slab->object_bytes;
        if (kept > 0)
            slab->dirty = kept_slots < end ? (uint32_t)kept_slots : end;
        if (from + kept == to)
            continue;
        (void)rill_sys_madvise(slab->objects + from + kept, to - from - kept, MADV_DONTNEED);
        slab->releases++;
    }
}

static bool is_worth_giving_back(const struct rill_slab *slab)
{
    uint32_t gone = slab->high - slab->count;
    if (RILL_LIKELY(gone < MIN_GONE && slab->count > 0))
        return false;
    return gone >= slab->high / 4 && slab->dirty * slab->object_bytes > slab->slack_bytes + slab->page_bytes;
}

void rill_slab_free(struct rill_slab *slab, uint32_t slot)
{
    if (!is_live(slab, slot))
        rill_contract_broken(__func__, "the slot is not live: freed twice, or never allocated");
    mark_free(slab, slot);
    slab->count--;
    /* One less than all 32-bit values, so that the generation, which is one more, is never 0. */
    slab->frees[slot] = slab->frees[slot] == UINT32_MAX - 1 ? 0 : slab->frees[slot] + 1;
    RILL_POISON(object_at(slab, slot), slab->object_bytes);
    if (slot + 1 == slab->top)
        slab->top = top_below(slab, slot);
    if (slab->dirty <= slot)
        slab->dirty = slot + 1;
    if (RILL_UNLIKELY(is_worth_giving_back(slab)))
        give_back(slab);
}

void *rill_slab_at(const struct rill_slab *slab, uint32_t slot)
{
    return is_live(slab, slot) ? object_at(slab, slot) : NULL;
}

uint32_t rill_slab_slot(const struct rill_slab *slab, const void *object)
{
    uintptr_t offset = (uintptr_t)object - (uintptr_t)slab->objects;
    size_t slot = offset / slab->object_bytes;
    if (slot >= slab->top || slot * slab->object_bytes != offset || !is_live(slab, (uint32_t)slot))
        rill_contract_broken(__func__, "not a live object of this slab");
    return (uint32_t)slot;
}

uint32_t rill_slab_generation(const struct rill_slab *slab, uint32_t slot)
{
    return slot < slab->max_objects ? slab->frees[slot] + 1 : 0;
}

void *rill_slab_lookup(const struct rill_slab *slab, uint32_t slot, uint32_t generation)
{
    return is_live(slab, slot) && slab->frees[slot] + 1 == generation ? object_at(slab, slot) : NULL;
}

uint32_t rill_slab_next(const struct rill_slab *slab, uint32_t slot)
{
    if (slot >= slab->top)
        return RILL_SLAB_NONE;
    uint32_t word = slot / 64;
    uint64_t live = slab->levels[0][word] & (FULL_WORD << (slot % 64));
    while (live == 0) {
        if (++word >= words_for(slab->top))
            return RILL_SLAB_NONE;
        live = slab->levels[0][word];
    }
    return word * 64 + (uint32_t)__builtin_ctzll(live);
}

uint32_t rill_slab_count(const struct rill_slab *slab)
{
    return slab->count;
}
