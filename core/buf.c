#include "rill/core/buf.h"

#include "rill/core/memory_internal.h"
#include "rill/core/sys.h"

#include <stdatomic.h>

/* One struct for all three kinds, because a holder does not care which one it has. Only the count is touched by
 * several threads at once: everything else is written by the sole holder (count 1, nobody to race with) and read by
 * many only while the count is above 1, when nobody writes. */
enum buf_kind {
    BUF_OWN,     /* the bytes lie in data[] */
    BUF_SLICE,   /* they lie in another buf, to which this one holds a reference */
    BUF_WRAPPED, /* they are the caller's, until released */
};

struct rill_buf {
    atomic_size_t references;
    const char *bytes;
    size_t length;
    union {
        struct {
            size_t capacity; /* of data[] */
        } own;
        struct {
            struct rill_buf *block; /* never itself a slice */
        } slice;
        struct {
            void (*release)(void *arg);
            void *arg;
        } wrapped;
    };
    enum buf_kind kind;
    _Alignas(16) char data[];
};

/* The first growth of an empty buf asks the heap for 256 bytes; smaller ones would only come back at once. */
enum { MIN_CAPACITY = 256 - sizeof(struct rill_buf) };

#define MAX_CAPACITY ((size_t)PTRDIFF_MAX - sizeof(struct rill_buf))

/* Far above any number of pointers that fits into memory: a count beyond it was corrupted or never given back. */
#define MAX_REFERENCES (SIZE_MAX / 2)

static struct rill_buf *buf_make(enum buf_kind kind, size_t capacity)
{
    struct rill_buf *buf = rill_sys_malloc(sizeof *buf + capacity);
    if (!buf)
        return NULL;
    atomic_init(&buf->references, 1);
    buf->kind = kind;
    buf->bytes = buf->data;
    buf->length = 0;
    return buf;
}

/* Acquire: what other holders read from the bytes happened before their unref, and so before what we write now. */
static bool buf_is_sole(const struct rill_buf *buf)
{
    return atomic_load_explicit(&buf->references, memory_order_acquire) == 1;
}

/* For bytes of an own buf: the same place, writable. */
static char *buf_writable(struct rill_buf *buf)
{
    return buf->data + (buf->bytes - buf->data);
}

static void copy_bytes(char *to, const void *from, size_t length)
{
    if (length > 0)
        memcpy(to, from, length);
}

struct rill_buf *rill_buf_new(size_t capacity)
{
    if (capacity > MAX_CAPACITY)
        return NULL;
    struct rill_buf *buf = buf_make(BUF_OWN, capacity);
    if (buf)
        buf->own.capacity = capacity;
    return buf;
}

struct rill_buf *rill_buf_copy(const void *bytes, size_t length)
{
    struct rill_buf *buf = rill_buf_new(length);
    if (!buf)
        return NULL;
    copy_bytes(buf->data, bytes, length);
    buf->length = length;
    return buf;
}

struct rill_buf *rill_buf_wrap(const void *bytes, size_t length, void (*release)(void *arg), void *arg)
{
    struct rill_buf *buf = buf_make(BUF_WRAPPED, 0);
    if (!buf)
        return NULL;
    buf->bytes = bytes ? bytes : "";
    buf->length = length;
    buf->wrapped.release = release;
    buf->wrapped.arg = arg;
    return buf;
}

struct rill_buf *rill_buf_ref(struct rill_buf *buf)
{
    size_t before = atomic_fetch_add_explicit(&buf->references, 1, memory_order_relaxed);
    if (RILL_UNLIKELY(before - 1 >= MAX_REFERENCES - 1))
        rill_contract_broken(__func__, "the buf was freed already, or has lost count of its holders");
    return buf;
}

void rill_buf_unref(struct rill_buf *buf)
{
    if (!buf)
        return;
    /* The sole holder needs no read-modify-write: nobody else is there to change the count. */
    if (!buf_is_sole(buf)) {
        size_t before = atomic_fetch_sub_explicit(&buf->references, 1, memory_order_acq_rel);
        if (RILL_UNLIKELY(before == 0))
            rill_contract_broken(__func__, "the buf was freed already");
        if (before > 1)
            return;
    }
    struct rill_buf *block = NULL;
    if (buf->kind == BUF_SLICE)
        block = buf->slice.block;
    else if (buf->kind == BUF_WRAPPED && buf->wrapped.release)
        buf->wrapped.release(buf->wrapped.arg);
    rill_sys_free(buf);
    rill_buf_unref(block); /* one step deep: a block is no slice */
}

const char *rill_buf_bytes(const struct rill_buf *buf)
{
    return buf->bytes;
}

size_t rill_buf_length(const struct rill_buf *buf)
{
    return buf->length;
}

struct rill_slice rill_buf_view(const struct rill_buf *buf)
{
    return (struct rill_slice){buf->bytes, buf->length};
}

bool rill_buf_shared(const struct rill_buf *buf)
{
    return buf->kind != BUF_OWN || !buf_is_sole(buf);
}

size_t rill_buf_room(const struct rill_buf *buf)
{
    if (rill_buf_shared(buf))
        return 0;
    return buf->own.capacity - (size_t)(buf->bytes - buf->data) - buf->length;
}

size_t rill_buf_capacity(const struct rill_buf *buf)
{
    return buf && buf->kind == BUF_OWN ? buf->own.capacity : 0;
}

struct rill_buf *rill_buf_slice(struct rill_buf *buf, size_t offset, size_t length)
{
    if (offset > buf->length || length > buf->length - offset)
        rill_contract_broken(__func__, "the slice reaches beyond the end");
    struct rill_buf *slice = buf_make(BUF_SLICE, 0);
    if (!slice)
        return NULL;
    slice->slice.block = rill_buf_ref(buf->kind == BUF_SLICE ? buf->slice.block : buf);
    slice->bytes = buf->bytes + offset;
    slice->length = length;
    return slice;
}

/* Puts a copy with at least CAPACITY in the place of *BUF, which is let go. */
static int replace_with_copy(struct rill_buf **buf, size_t capacity)
{
    struct rill_buf *copy = rill_buf_new(capacity);
    if (!copy)
        return -ENOMEM;
    copy_bytes(copy->data, (*buf)->bytes, (*buf)->length);
    copy->length = (*buf)->length;
    rill_buf_unref(*buf);
    *buf = copy;
    return 0;
}

/* The allocator may be able to extend in place or to move pages, which copying cannot; but it would also carry a gap
 * at the front along. */
static int grow_own(struct rill_buf **buf, size_t capacity)
{
    struct rill_buf *old = *buf;
    if (old->bytes != old->data)
        return replace_with_copy(buf, capacity);
    struct rill_buf *grown = rill_sys_realloc(old, sizeof *old + capacity);
    if (!grown)
        return -ENOMEM;
    grown->bytes = grown->data;
    grown->own.capacity = capacity;
    *buf = grown;
    return 0;
}

char *rill_buf_reserve(struct rill_buf **buf, size_t length)
{
    if (!*buf && !(*buf = rill_buf_new(length > MIN_CAPACITY ? length : MIN_CAPACITY)))
        return NULL;
    struct rill_buf *b = *buf;
    bool shared = rill_buf_shared(b);
    if (!shared && length <= rill_buf_room(b))
        return buf_writable(b) + b->length;
    if (length > MAX_CAPACITY - b->length)
        return NULL;
    size_t needed = b->length + length;
    /* Move the bytes over the gap that consume left only when the gap is as long as they are: every byte moved is then
     * paid for by one consumed. */
    if (!shared && needed <= b->own.capacity && (size_t)(b->bytes - b->data) >= b->length) {
        memmove(b->data, b->bytes, b->length);
        b->bytes = b->data;
        return b->data + b->length;
    }
    size_t capacity = b->length <= MAX_CAPACITY / 2 ? 2 * b->length : MAX_CAPACITY;
    if (capacity < needed)
        capacity = needed;
    if (capacity < MIN_CAPACITY)
        capacity = MIN_CAPACITY;
    if ((shared ? replace_with_copy(buf, capacity) : grow_own(buf, capacity)) != 0)
        return NULL;
    return (*buf)->data + (*buf)->length;
}

int rill_buf_append(struct rill_buf **buf, const void *bytes, size_t length)
{
    if (length == 0)
        return 0;
    char *to = rill_buf_reserve(buf, length);
    if (!to)
        return -ENOMEM;
    memcpy(to, bytes, length);
    (*buf)->length += length;
    return 0;
}

void rill_buf_commit(struct rill_buf *buf, size_t length)
{
    if (length > rill_buf_room(buf))
        rill_contract_broken(__func__, "more bytes than there was room for, or the buf was shared meanwhile");
    buf->length += length;
}

char *rill_buf_edit(struct rill_buf **buf)
{
    if (!*buf && !(*buf = rill_buf_new(0)))
        return NULL;
    if (rill_buf_shared(*buf) && replace_with_copy(buf, (*buf)->length) != 0)
        return NULL;
    return buf_writable(*buf);
}

/* Leaves LENGTH bytes from OFFSET on, which are within *BUF. */
static int narrow(struct rill_buf **buf, size_t offset, size_t length)
{
    struct rill_buf *b = *buf;
    if (length == b->length)
        return 0;
    if (!buf_is_sole(b)) {
        struct rill_buf *slice = rill_buf_slice(b, offset, length);
        if (!slice)
            return -ENOMEM;
        rill_buf_unref(b);
        *buf = slice;
        return 0;
    }
    b->bytes = length == 0 && b->kind == BUF_OWN ? b->data : b->bytes + offset;
    b->length = length;
    return 0;
}

int rill_buf_consume(struct rill_buf **buf, size_t length)
{
    size_t held = *buf ? (*buf)->length : 0;
    if (length > held)
        rill_contract_broken(__func__, "more bytes than there are");
    return *buf ? narrow(buf, length, held - length) : 0;
}

int rill_buf_trim(struct rill_buf **buf, size_t length)
{
    size_t held = *buf ? (*buf)->length : 0;
    if (length > held)
        rill_contract_broken(__func__, "more bytes than there are");
    return *buf ? narrow(buf, 0, length) : 0;
}

void rill_buf_shrink(struct rill_buf **buf)
{
    struct rill_buf *b = *buf;
    if (!b || rill_buf_shared(b) || b->own.capacity == b->length)
        return;
    if (b->bytes != b->data) {
        memmove(b->data, b->bytes, b->length);
        b->bytes = b->data;
    }
    struct rill_buf *shrunk = rill_sys_realloc(b, sizeof *b + b->length);
    if (!shrunk)
        return;
    shrunk->bytes = shrunk->data;
    shrunk->own.capacity = shrunk->length;
    *buf = shrunk;
}
