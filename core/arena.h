/* arena.h - memory that is given back all at once: what one request needs, for as long as the request lasts.
 *
 * An allocation moves a pointer; there is no free for one of them. rill_arena_reset() ends the lives of all of them,
 * runs the clean-up handlers that were left with the arena, and keeps the first block for the next request: one that
 * fits into it costs the heap nothing. An arena belongs to one thread.
 *
 * In builds with AddressSanitizer, memory that is not allocated (padding, and all of it after a reset) is poisoned. */
#ifndef RILL_CORE_ARENA_H
#define RILL_CORE_ARENA_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What an arena takes from the heap at a time, in bytes, its own book-keeping included. An allocation of more than a
 * quarter of it gets a block of its own when it does not fit where the arena is. */
#define RILL_ARENA_BLOCK_BYTES 4096

struct rill_arena_block;
struct rill_arena_cleanup;

/* To be embedded in its owner; the fields are private. */
struct rill_arena {
    char *next;  /* the free part of the current block ... */
    size_t room; /* ... and how much it is */
    char *first; /* what a reset goes back to, or NULL as long as there is none */
    size_t first_bytes;
    struct rill_arena_block *kept;       /* the block from the heap that `first` lies in, or NULL */
    struct rill_arena_block *blocks;     /* all others, which a reset gives back */
    struct rill_arena_cleanup *cleanups; /* the newest first */
    size_t heap_bytes;                   /* sum of the blocks */
    size_t max_bytes;
};

/* Makes an empty arena. It allocates nothing now.
 *
 * FIRST, FIRST_BYTES: memory of the caller's to begin with, often an array beside the arena. It is lent until
 * rill_arena_free(), which has to be called before that memory is used for anything else. NULL and 0 for none: the
 * first block then comes from the heap when first needed, and is kept by resets. MAX_BYTES: the most that the arena may
 * hold from the heap at any time, headers included and FIRST not; 0 for no limit. An allocation that would go past it
 * fails as if memory were short. */
void rill_arena_init(struct rill_arena *arena, void *first, size_t first_bytes, size_t max_bytes);

/* SIZE bytes, aligned to 16, contents undefined, good until the next reset or free. SIZE 0 gives a pointer of its own
 * too. NULL when memory is short or the limit is reached; the arena stays usable. */
RILL_WARN_UNUSED void *rill_arena_alloc(struct rill_arena *arena, size_t size);

/* COUNT elements of SIZE bytes each, all zero; otherwise as rill_arena_alloc(). NULL also when the product is more
 * than a size_t holds. */
RILL_WARN_UNUSED void *rill_arena_calloc(struct rill_arena *arena, size_t count, size_t size);

/* A copy of TEXT with a NUL behind it, which is not part of the length. NULL as rill_arena_alloc(). */
RILL_WARN_UNUSED char *rill_arena_copy(struct rill_arena *arena, struct rill_slice text);

/* A copy of a NUL-terminated string. NULL as rill_arena_alloc(). */
RILL_WARN_UNUSED char *rill_arena_strdup(struct rill_arena *arena, const char *text);

/* Has HANDLER(ARG) called once, at the next reset or free, while all memory of the arena is still good; handlers run
 * in the reverse order of these calls. A handler may allocate and may leave further handlers, which run in the same
 * reset; it must neither reset nor free the arena. Returns 0, or -ENOMEM: the handler will then not be called. */
RILL_WARN_UNUSED int rill_arena_on_reset(struct rill_arena *arena, void (*handler)(void *arg), void *arg);

/* Runs the handlers and ends all allocations. The first block stays for reuse, all others go back to the heap. O(1)
 * besides the handlers when only the first block was used. */
void rill_arena_reset(struct rill_arena *arena);

/* As a reset, and gives the first block back too, if it came from the heap. The arena is then as after init with the
 * same arguments and may be used again. */
void rill_arena_free(struct rill_arena *arena);

/* Bytes held from the heap now; what MAX_BYTES limits. */
size_t rill_arena_heap_bytes(const struct rill_arena *arena);

#ifdef __cplusplus
}
#endif

#endif
