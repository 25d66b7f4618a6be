/* address_key_internal.h - what tells client addresses apart, and a keyed hash of it, so that nobody can choose
 * addresses that all fall into one place. */
#ifndef RILL_NET_ADDRESS_KEY_INTERNAL_H
#define RILL_NET_ADDRESS_KEY_INTERNAL_H

#include "rill/core/sys.h"
#include "rill/net/addr.h"
#include <endian.h>

/* An IPv4 address, or the network half of an IPv6 one: that is the least that a customer is given (RFC 6177), so who
 * has one address there has them all. */
struct rill_address_key {
    uint64_t high, low;
};

struct rill_address_hash {
    uint64_t key[2];
};

static inline void rill_address_hash_init(struct rill_address_hash *hash)
{
    if (rill_sys_getrandom(hash->key, sizeof hash->key, 0) != (ssize_t)sizeof hash->key)
        hash->key[0] = rill_sys_monotonic_ns(); /* before the kernel has gathered randomness: as good as there is */
}

static inline struct rill_address_key rill_address_key(const struct rill_ip *peer)
{
    struct rill_address_key key;
    memcpy(&key.high, peer->bytes, sizeof key.high);
    if (peer->version == 4)
        key.high &= htobe64(0xffffffff00000000);
    key.low = peer->version;
    return key;
}

static inline bool rill_address_key_equal(struct rill_address_key a, struct rill_address_key b)
{
    return a.high == b.high && a.low == b.low;
}

static inline uint64_t rill_address_mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t rill_address_hash(const struct rill_address_hash *hash, struct rill_address_key key)
{
    uint64_t mixed = rill_address_mix(key.high ^ hash->key[0], key.low ^ hash->key[1] ^ 0x9e3779b97f4a7c15);
    return rill_address_mix(mixed, 0xd6e8feb86659fd93);
}

#define RILL_ADDRESS_COMPLAINT_NS                                                                                      \
    UINT64_C(1000000000) /* from one to the next, or who is refused could fill the disk                                \
                          */

/* Whether it is time for another complaint; *LAST_NS, atomic, is when the last one was. */
static inline bool rill_address_may_complain(uint64_t *last_ns, uint64_t now_ns)
{
    uint64_t last = __atomic_load_n(last_ns, __ATOMIC_RELAXED);
    return (last == 0 || now_ns - last >= RILL_ADDRESS_COMPLAINT_NS) &&
           __atomic_compare_exchange_n(last_ns, &last, now_ns, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

#endif
