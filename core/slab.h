/* slab.h - objects of one size, each named by a slot number and a generation.
 *
 * The memory for all objects is reserved at once, and committed by the system page by page when it is first touched.
 * The lowest free slot is used first, so that the live objects stay together at the bottom. When a quarter of the
 * objects have gone, or the last one, all pages without a live object go back to the system, but for a slack of the
 * lowest of them: after a burst, whatever the order of its end, each survivor holds little more than its page, and a
 * load that swings within the slack never pays for it. Objects are packed: beside the object, a slot costs 4 bytes for
 * its generation and a bit and a little of bit map, and no object has a header.
 *
 * A slot number is reused; the pair of slot and generation is not, until a slot has been freed 4,294,967,295 times. So
 * an id made of both and kept beyond the object's life is found to be stale (rill_slab_lookup()), and reaches no other
 * object. Generations outlive the pages that were given back.
 *
 * A slab belongs to one thread. In builds with AddressSanitizer a free object is poisoned. */
#ifndef RILL_CORE_SLAB_H
#define RILL_CORE_SLAB_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* No slot: what rill_slab_next() gives at the end. */
#define RILL_SLAB_NONE UINT32_MAX

/* The most objects that a slab can be made for. */
#define RILL_SLAB_MAX_OBJECTS (UINT32_C(1) << 30)

/* 64-way bit map tree: 64^5 is RILL_SLAB_MAX_OBJECTS. */
#define RILL_SLAB_MAX_LEVELS 5

/* To be embedded in its owner; the fields are private. */
struct rill_slab {
    char *objects;                          /* start of the mapping; slot 0 */
    uint32_t *frees;                        /* how often each slot was freed, modulo 2^32 - 1 */
    uint64_t *levels[RILL_SLAB_MAX_LEVELS]; /* [0]: a bit per live slot; above: a bit per word below that is full */
    size_t object_bytes;                    /* rounded up to 16 */
    size_t map_bytes;
    size_t page_bytes;
    size_t slack_bytes; /* how much free memory stays committed */
    uint32_t level_count;
    uint32_t max_objects;
    uint32_t count;    /* live objects */
    uint32_t high;     /* the most that were live since memory was last given back */
    uint32_t top;      /* one past the highest live slot */
    uint32_t dirty;    /* one past the highest slot that was freed, or kept while free, since memory was given back */
    uint32_t peak;     /* one past the highest slot ever used */
    uint64_t releases; /* how many ranges of pages were given back */
};

/* Reserves room for MAX_OBJECTS (1 to RILL_SLAB_MAX_OBJECTS) of OBJECT_BYTES each (1 and up, rounded up to a multiple
 * of 16, which is also their alignment). Touches no memory but SLAB's. Returns 0; -EINVAL for arguments outside these
 * ranges; -ENOMEM when the address space or the system's limit does not allow it. */
RILL_WARN_UNUSED int rill_slab_init(struct rill_slab *slab, size_t object_bytes, uint32_t max_objects);

/* Gives everything back. Objects that are still live are gone too. A slab that is all zero bytes, or was destroyed
 * already, is left as it is. */
void rill_slab_destroy(struct rill_slab *slab);

/* A new object in the lowest free slot; its contents are undefined. The slot goes to *SLOT unless SLOT is NULL. NULL
 * only when all MAX_OBJECTS are live: memory was reserved before, so that a shortage does not show here (the system
 * would end the process at the first touch, as for any memory that it overcommitted). Constant time. */
RILL_WARN_UNUSED void *rill_slab_alloc(struct rill_slab *slab, uint32_t *slot);

/* Frees the object in SLOT and changes the slot's generation. A slot that is not live stops the process: it was freed
 * twice. Constant time, amortised: the one call that gives memory back looks at all slots. */
void rill_slab_free(struct rill_slab *slab, uint32_t slot);

/* The live object in SLOT; NULL when it is free or there is no such slot. */
void *rill_slab_at(const struct rill_slab *slab, uint32_t slot);

/* The slot of OBJECT, which must be a live object of this slab; anything else stops the process. */
uint32_t rill_slab_slot(const struct rill_slab *slab, const void *object);

/* The generation of SLOT, live or free: never 0 for a slot of the slab, so that an id of zeros names nothing; 0 when
 * there is no such slot. */
uint32_t rill_slab_generation(const struct rill_slab *slab, uint32_t slot);

/* The live object that was in SLOT when the slot had GENERATION; NULL when that object was freed since, or there never
 * was one. Any numbers may be given. */
void *rill_slab_lookup(const struct rill_slab *slab, uint32_t slot, uint32_t generation);

/* The lowest live slot that is SLOT or above; RILL_SLAB_NONE when there is none. Visits all objects that stay
 * live meanwhile, in order, whatever else is allocated and freed on the way, the current one included:
 *
 *     for (uint32_t s = rill_slab_next(slab, 0); s != RILL_SLAB_NONE; s = rill_slab_next(slab, s + 1))
 */
uint32_t rill_slab_next(const struct rill_slab *slab, uint32_t slot);

/* How many objects are live. */
uint32_t rill_slab_count(const struct rill_slab *slab);

#ifdef __cplusplus
}
#endif

#endif
