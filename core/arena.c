#include "rill/core/arena.h"

#include "rill/core/memory_internal.h"
#include "rill/core/sys.h"

#define ALIGNMENT ((size_t)16)

/* In front of each piece from the heap; its size keeps what follows aligned. */
struct rill_arena_block {
    _Alignas(16) struct rill_arena_block *next;
    size_t bytes; /* header included */
};

struct rill_arena_cleanup {
    struct rill_arena_cleanup *next;
    void (*handler)(void *arg);
    void *arg;
};

static void rewind_to_first(struct rill_arena *arena)
{
    arena->next = arena->first;
    arena->room = arena->first_bytes;
    if (arena->first)
        RILL_POISON(arena->first, arena->first_bytes);
}

void rill_arena_init(struct rill_arena *arena, void *first, size_t first_bytes, size_t max_bytes)
{
    memset(arena, 0, sizeof *arena);
    arena->max_bytes = max_bytes;
    size_t skip = (size_t)(-(uintptr_t)first & (ALIGNMENT - 1));
    if (first && first_bytes >= skip + ALIGNMENT) {
        arena->first = (char *)first + skip;
        arena->first_bytes = (first_bytes - skip) & ~(ALIGNMENT - 1);
    }
    rewind_to_first(arena);
}

/* SIZE bytes in memory that is not in the current block: in a new current block, or, when that would throw away much
 * of either, in a block of their own beside it. ROUNDED is SIZE rounded up to the alignment. */
static void *alloc_in_new_block(struct rill_arena *arena, size_t size, size_t rounded)
{
    size_t budget = arena->max_bytes ? arena->max_bytes - arena->heap_bytes : SIZE_MAX;
    size_t bytes = sizeof(struct rill_arena_block) + rounded;
    if (bytes > budget)
        return NULL;
    bool becomes_current = rounded <= RILL_ARENA_BLOCK_BYTES / 4;
    if (becomes_current)
        bytes = (budget < RILL_ARENA_BLOCK_BYTES ? budget : RILL_ARENA_BLOCK_BYTES) & ~(ALIGNMENT - 1);

    struct rill_arena_block *block = rill_sys_malloc(bytes);
    if (!block)
        return NULL;
    block->bytes = bytes;
    block->next = NULL;
    arena->heap_bytes += bytes;
    char *memory = (char *)(block + 1);
    size_t memory_bytes = bytes - sizeof *block;
    RILL_POISON(memory, memory_bytes);
    if (becomes_current && !arena->first) {
        arena->kept = block;
        arena->first = memory;
        arena->first_bytes = memory_bytes;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    if (becomes_current) {
        arena->next = memory + rounded;
        arena->room = memory_bytes - rounded;
    }
    RILL_UNPOISON(memory, size);
    return memory;
}

void *rill_arena_alloc(struct rill_arena *arena, size_t size)
{
    if (RILL_UNLIKELY(size == 0))
        size = 1;
    if (RILL_UNLIKELY(size > PTRDIFF_MAX - RILL_ARENA_BLOCK_BYTES))
        return NULL;
    size_t rounded = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (RILL_UNLIKELY(rounded > arena->room))
        return alloc_in_new_block(arena, size, rounded);
    char *memory = arena->next;
    arena->next += rounded;
    arena->room -= rounded;
    RILL_UNPOISON(memory, size);
    return memory;
}

void *rill_arena_calloc(struct rill_arena *arena, size_t count, size_t size)
{
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *memory = rill_arena_alloc(arena, total);
    return memory ? memset(memory, 0, total) : NULL;
}

char *rill_arena_copy(struct rill_arena *arena, struct rill_slice text)
{
    if (text.length >= PTRDIFF_MAX)
        return NULL;
    char *copy = rill_arena_alloc(arena, text.length + 1);
    if (!copy)
        return NULL;
    if (text.length > 0)
        memcpy(copy, text.bytes, text.length);
    copy[text.length] = '\0';
    return copy;
}

char *rill_arena_strdup(struct rill_arena *arena, const char *text)
{
    return rill_arena_copy(arena, rill_slice_of(text));
}

int rill_arena_on_reset(struct rill_arena *arena, void (*handler)(void *arg), void *arg)
{
    struct rill_arena_cleanup *cleanup = rill_arena_alloc(arena, sizeof *cleanup);
    if (!cleanup)
        return -ENOMEM;
    cleanup->handler = handler;
    cleanup->arg = arg;
    cleanup->next = arena->cleanups;
    arena->cleanups = cleanup;
    return 0;
}

static void free_block(struct rill_arena *arena, struct rill_arena_block *block)
{
    arena->heap_bytes -= block->bytes;
    RILL_UNPOISON(block, block->bytes); /* the heap will want to write there */
    rill_sys_free(block);
}

void rill_arena_reset(struct rill_arena *arena)
{
    /* Each is taken off the list before it runs, so that it may leave new ones. */
    while (arena->cleanups) {
        struct rill_arena_cleanup *cleanup = arena->cleanups;
        arena->cleanups = cleanup->next;
        cleanup->handler(cleanup->arg);
    }
    while (arena->blocks) {
        struct rill_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free_block(arena, block);
    }
    rewind_to_first(arena);
}

void rill_arena_free(struct rill_arena *arena)
{
    rill_arena_reset(arena);
    if (arena->kept) {
        free_block(arena, arena->kept);
        arena->kept = NULL;
        arena->first = arena->next = NULL;
        arena->first_bytes = arena->room = 0;
    } else if (arena->first) {
        RILL_UNPOISON(arena->first, arena->first_bytes); /* the caller's again */
    }
}

size_t rill_arena_heap_bytes(const struct rill_arena *arena)
{
    return arena->heap_bytes;
}
