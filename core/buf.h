/* buf.h - bytes that several holders share: reference-counted blocks, immutable while shared.
 *
 * A buf is a run of bytes and a count of its holders. Rules of life:
 *
 * 1. Whoever makes a buf (new, copy, wrap, slice) holds one reference; each rill_buf_ref() is one more, each
 *    rill_buf_unref() one less; the last one frees it, on whatever thread it happens.
 * 2. A buf with one holder is that holder's to change. One with several holders is never changed: the functions that
 *    change bytes take a pointer to the holder's pointer, and give that holder a buf of its own first (copy on write).
 *    What any other holder sees stays as it is.
 * 3. A slice is a buf of its own whose bytes lie in another's block. It holds that block: while a slice lives the
 *    whole block does, and counts as shared. Slices of slices hold the first block, not the slice between.
 * 4. After a function that takes `struct rill_buf **` the holder goes on with the pointer found there. Pointers to
 *    bytes are good until the next such call on the same holder's pointer, or until that holder lets go.
 *
 * Threads: the count is atomic, so holders of one buf may live on different threads. One reference belongs to one
 * thread at a time: ref, unref, slice and the readers may run on any thread that holds a reference; what changes a
 * buf runs only on the thread of the reference that it is given.
 *
 * Calls that break the contract (a slice out of range, a commit of more than the room, one unref too many) stop the
 * process with a message: going on would corrupt memory. */
#ifndef RILL_CORE_BUF_H
#define RILL_CORE_BUF_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_buf;

/* A new, empty buf with room for CAPACITY bytes, which may be 0. The caller holds it. NULL when memory is short.
 * Thread: any. */
RILL_WARN_UNUSED struct rill_buf *rill_buf_new(size_t capacity);

/* A new buf with a copy of LENGTH bytes. The caller holds it. NULL when memory is short. Thread: any. */
RILL_WARN_UNUSED struct rill_buf *rill_buf_copy(const void *bytes, size_t length);

/* A new buf whose bytes are the caller's own: not copied, never written to, and to be left unchanged by the caller
 * until RELEASE(ARG) is called, once, when the last holder (slices included) has let go, on that holder's thread.
 * RELEASE may be NULL, for bytes that live for ever. NULL when memory is short: RELEASE is then not called, and the
 * bytes are still the caller's to free. Thread: any. */
RILL_WARN_UNUSED struct rill_buf *rill_buf_wrap(const void *bytes, size_t length, void (*release)(void *arg),
                                                void *arg);

/* One more reference to BUF, which is returned. Thread: any that holds one. */
struct rill_buf *rill_buf_ref(struct rill_buf *buf);

/* Gives up one reference; the last one frees the buf. NULL is allowed and does nothing. Thread: any. */
void rill_buf_unref(struct rill_buf *buf);

/* The bytes: not NULL, and not terminated by NUL. Thread: any that holds a reference. */
const char *rill_buf_bytes(const struct rill_buf *buf);

/* How many bytes there are. Thread: any that holds a reference. */
size_t rill_buf_length(const struct rill_buf *buf);

/* Bytes and length as one value, good as long as rill_buf_bytes() is. Thread: any that holds a reference. */
struct rill_slice rill_buf_view(const struct rill_buf *buf);

/* How many bytes may be appended with neither allocation nor copy: 0 when the buf is shared, a slice or wrapped.
 * Thread: the holder's. */
size_t rill_buf_room(const struct rill_buf *buf);

/* Whether somebody else may see BUF's bytes, so that a change would copy them: true also for every slice and every
 * wrapped buf. Thread: the holder's. */
bool rill_buf_shared(const struct rill_buf *buf);

/* Bytes of memory that BUF has for its contents; 0 when they lie in memory of others. NULL: 0. */
size_t rill_buf_capacity(const struct rill_buf *buf);

/* A new buf for LENGTH bytes of BUF from OFFSET on; they are shared, not copied, and OFFSET + LENGTH must be within
 * BUF. The caller holds the slice, and keeps its reference to BUF. NULL when memory is short.
 * Thread: any that holds a reference to BUF. */
RILL_WARN_UNUSED struct rill_buf *rill_buf_slice(struct rill_buf *buf, size_t offset, size_t length);

/* The functions below change the buf at *BUF for the caller alone, as rule 2 says. Where *BUF is shared it is
 * replaced, and the caller's reference to the old one is given up. *BUF may be NULL and stands for an empty buf, which
 * is made when needed. When they fail with -ENOMEM (or NULL), *BUF and its bytes are as they were. */

/* Appends a copy of LENGTH bytes, which must not lie in *BUF itself. Room grows geometrically: appending n bytes in
 * any portions copies O(n). Returns 0, or -ENOMEM. Thread: the holder's. */
RILL_WARN_UNUSED int rill_buf_append(struct rill_buf **buf, const void *bytes, size_t length);

/* Makes room for LENGTH more bytes and returns where they go: write there up to rill_buf_room() bytes, then say how
 * many with rill_buf_commit(). NULL when memory is short. Thread: the holder's. */
RILL_WARN_UNUSED char *rill_buf_reserve(struct rill_buf **buf, size_t length);

/* Adds the LENGTH bytes that were written behind the end of BUF, at most rill_buf_room(). Nobody may have been given a
 * reference or a slice since rill_buf_reserve(). Thread: the holder's. */
void rill_buf_commit(struct rill_buf *buf, size_t length);

/* The bytes of *BUF for changing in place; their number stays. NULL when memory is short. Thread: the holder's. */
RILL_WARN_UNUSED char *rill_buf_edit(struct rill_buf **buf);

/* Drops the first LENGTH bytes, at most all. No byte is moved; the space is used again by later appends. A shared
 * buf becomes a slice of itself, which can fail; an unshared one cannot. Returns 0, or -ENOMEM.
 * Thread: the holder's. */
RILL_WARN_UNUSED int rill_buf_consume(struct rill_buf **buf, size_t length);

/* Keeps the first LENGTH bytes, at most all, and drops those behind; otherwise as rill_buf_consume(). */
RILL_WARN_UNUSED int rill_buf_trim(struct rill_buf **buf, size_t length);

/* Gives memory that holds no bytes back to the allocator, as far as that can be done: nothing happens to a shared
 * buf, a slice or a wrapped one, nor when memory is too short to move. Thread: the holder's. */
void rill_buf_shrink(struct rill_buf **buf);

#ifdef __cplusplus
}
#endif

#endif
