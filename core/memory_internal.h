/* memory_internal.h - what buf, arena and slab share: stopping on a broken contract, and telling AddressSanitizer
 * which bytes are nobody's. */
#ifndef RILL_CORE_MEMORY_INTERNAL_H
#define RILL_CORE_MEMORY_INTERNAL_H

#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define RILL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RILL_ASAN 1
#endif
#endif

#ifdef RILL_ASAN
#include <sanitizer/asan_interface.h>
#define RILL_POISON(memory, length) ASAN_POISON_MEMORY_REGION(memory, length)
#define RILL_UNPOISON(memory, length) ASAN_UNPOISON_MEMORY_REGION(memory, length)
#else
#define RILL_POISON(memory, length) ((void)(memory), (void)(length))
#define RILL_UNPOISON(memory, length) ((void)(memory), (void)(length))
#endif

/* Ends the process: FUNCTION was called in a way that its contract forbids, and going on would corrupt memory. */
__attribute__((noreturn, cold)) static inline void rill_contract_broken(const char *function, const char *what)
{
    fprintf(stderr, "rill: %s: %s\n", function, what);
    abort();
}

#endif
