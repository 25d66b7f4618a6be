/* address_counts.c - see address_counts_internal.h.
 *
 * A chained hash table under several locks, because every loop takes and gives back: a shard is every SHARDS-th chain.
 * A lock is held for a handful of instructions; the limit costs nothing when none is asked for. The hash is keyed with
 * random bits, so that nobody can choose addresses that all fall into one chain. */
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/net/address_counts_internal.h"
#include "rill/net/address_key_internal.h"

enum {
    SHARDS = 16, /* a power of two */
    LEAST_CHAINS = 1 << 8,
    MOST_CHAINS = 1 << 18, /* four connections a chain when there are as many as a process can have */
};

struct entry {
    struct entry *next;
    struct rill_address_key key;
    unsigned count;
    bool complained;
};

struct shard {
    pthread_mutex_t lock; /* guards `entries`, and the shard's chains */
    unsigned entries;
    char apart[RILL_CACHE_LINE];
};

struct rill_address_counts {
    unsigned limit;
    struct rill_address_hash hash;
    struct entry **chains;
    size_t chain_count;     /* a power of two, and a multiple of SHARDS */
    uint64_t complained_ns; /* when, last; atomic */
    struct shard shards[SHARDS];
};

struct rill_address_counts *rill_address_counts_new(unsigned limit, unsigned most)
{
    struct rill_address_counts *counts = rill_sys_calloc(1, sizeof *counts);
    if (!counts)
        return NULL;
    counts->limit = limit;
    counts->chain_count = LEAST_CHAINS;
    while (counts->chain_count < MOST_CHAINS && counts->chain_count < most / 4)
        counts->chain_count *= 2;
    counts->chains = rill_sys_calloc(counts->chain_count, sizeof(void *));
    if (!counts->chains) {
        rill_sys_free(counts);
        return NULL;
    }
    rill_address_hash_init(&counts->hash);
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_init(&counts->shards[i].lock, NULL);
    return counts;
}

void rill_address_counts_free(struct rill_address_counts *counts)
{
    if (!counts)
        return;
    for (size_t i = 0; i < counts->chain_count; i++) {
        for (struct entry *entry = counts->chains[i], *next; entry; entry = next) {
            next = entry->next;
            rill_sys_free(entry);
        }
    }
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&counts->shards[i].lock);
    rill_sys_free(counts->chains);
    rill_sys_free(counts);
}

/* The shard of KEY, locked, and where its entry is linked, or would be. */
static struct entry **find(struct rill_address_counts *counts, struct rill_address_key key, struct shard **shard)
{
    uint64_t hash = rill_address_hash(&counts->hash, key);
    *shard = &counts->shards[hash % SHARDS];
    pthread_mutex_lock(&(*shard)->lock);
    struct entry **link = &counts->chains[hash % counts->chain_count];
    while (*link && !rill_address_key_equal((*link)->key, key))
        link = &(*link)->next;
    return link;
}

bool rill_address_counts_take(struct rill_address_counts *counts, const struct rill_ip *peer)
{
    if (peer->version == 0)
        return true;
    struct shard *shard;
    bool complain = false, taken = false;
    struct rill_address_key key = rill_address_key(peer);
    struct entry **link = find(counts, key, &shard);
    if (!*link) {
        *link = rill_sys_calloc(1, sizeof **link);
        if (*link) {
            (*link)->key = key;
            shard->entries++;
        }
    }
    struct entry *entry = *link;
    if (entry && entry->count < counts->limit) {
        entry->count++;
        taken = true;
    } else if (entry && !entry->complained) {
        complain = entry->complained = rill_address_may_complain(&counts->complained_ns, rill_sys_monotonic_ns());
    }
    pthread_mutex_unlock(&shard->lock);
    if (complain) {
        char text[RILL_IP_TEXT];
        rill_ip_format(peer, text);
        rill_log_warn("%s has its %u connections; more are refused until some close", text, counts->limit);
    }
    return taken;
}

void rill_address_counts_release(struct rill_address_counts *counts, const struct rill_ip *peer)
{
    if (RILL_LIKELY(!counts) || peer->version == 0)
        return;
    struct shard *shard;
    struct entry **link = find(counts, rill_address_key(peer), &shard);
    struct entry *entry = *link;
    if (!entry || entry->count == 0) {
        rill_log_error("internal error: an address had fewer connections than it closes");
        abort();
    }
    if (--entry->count == 0) {
        *link = entry->next;
        rill_sys_free(entry);
        shard->entries--;
    }
    pthread_mutex_unlock(&shard->lock);
}

unsigned rill_address_counts_size(struct rill_address_counts *counts)
{
    unsigned size = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&counts->shards[i].lock);
        size += counts->shards[i].entries;
        pthread_mutex_unlock(&counts->shards[i].lock);
    }
    return size;
}
