/* address_rates.c - see address_rates.h.
 *
 * A bucket is one number: the moment at which it will be full again. To take a token moves that moment on by the time
 * that a token takes to grow; there is none when the moment is further away than a whole bucket takes. A bucket that is
 * full says nothing, so its place is free without anybody having to clean up.
 *
 * The table is divided into sets of eight; a set is a few cache lines under a lock, which is held for so long as to
 * look through them. */
#include "rill/net/address_rates.h"
#include "rill/core/log.h"
#include "rill/core/number.h"
#include "rill/net/address_key_internal.h"
#include <pthread.h>
#include <stdlib.h>

enum {
    SETS = 2048, /* a power of two */
    WAYS = 8,
    MOST = 1000000,
};

#define SECOND_NS UINT64_C(1000000000)

struct bucket {
    struct rill_address_key key;
    uint64_t full_ns; /* when it will be full */
    bool complained;  /* since it was */
};

struct set {
    pthread_mutex_t lock; /* guards `buckets` */
    struct bucket buckets[WAYS];
};

struct rill_address_rates {
    uint64_t token_ns;  /* in which one grows */
    uint64_t bucket_ns; /* in which all but one grow */
    unsigned per_second;
    const char *what;
    struct rill_address_hash hash;
    uint64_t complained_ns; /* when, last; atomic */
    struct set sets[SETS];
};

int rill_rate_parse(const char *text, struct rill_rate *rate, const char **wanted)
{
    uint64_t per_second, burst = 0;
    const char *colon = strchr(text, ':');
    struct rill_slice first = {text, colon ? (size_t)(colon - text) : strlen(text)};
    *wanted = "RATE or RATE:BURST is wanted, 1 to 1000000 each";
    if (rill_decimal_parse(first, &per_second) < 0 || per_second < 1 || per_second > MOST)
        return -EINVAL;
    if (colon && (rill_decimal_parse(rill_slice_of(colon + 1), &burst) < 0 || burst < 1 || burst > MOST))
        return -EINVAL;
    *rate = (struct rill_rate){(unsigned)per_second, (unsigned)burst};
    return 0;
}

struct rill_address_rates *rill_address_rates_new(const struct rill_rate *rate, const char *what)
{
    struct rill_address_rates *rates = rill_sys_calloc(1, sizeof *rates);
    if (!rates)
        return NULL;
    rates->per_second = rate->per_second;
    rates->what = what;
    rates->token_ns = SECOND_NS / rate->per_second;
    rates->bucket_ns = rates->token_ns * ((rate->burst ? rate->burst : rate->per_second) - 1);
    rill_address_hash_init(&rates->hash);
    for (unsigned i = 0; i < SETS; i++)
        pthread_mutex_init(&rates->sets[i].lock, NULL);
    return rates;
}

void rill_address_rates_free(struct rill_address_rates *rates)
{
    for (unsigned i = 0; rates && i < SETS; i++)
        pthread_mutex_destroy(&rates->sets[i].lock);
    rill_sys_free(rates);
}

/* The bucket of KEY in SET, or else the one whose place it takes, made full. */
static struct bucket *find(struct set *set, struct rill_address_key key)
{
    struct bucket *fullest = &set->buckets[0];
    for (unsigned i = 0; i < WAYS; i++) {
        struct bucket *bucket = &set->buckets[i];
        if (rill_address_key_equal(bucket->key, key))
            return bucket;
        if (bucket->full_ns < fullest->full_ns)
            fullest = bucket;
    }
    *fullest = (struct bucket){.key = key};
    return fullest;
}

uint64_t rill_address_rates_take(struct rill_address_rates *rates, const struct rill_ip *peer, uint64_t now_ns)
{
    if (peer->version == 0)
        return 0;
    struct rill_address_key key = rill_address_key(peer);
    struct set *set = &rates->sets[rill_address_hash(&rates->hash, key) % SETS];
    uint64_t wait_ns = 0;
    bool complain = false;
    pthread_mutex_lock(&set->lock);
    struct bucket *bucket = find(set, key);
    if (bucket->full_ns <= now_ns) {
        bucket->full_ns = now_ns;
        bucket->complained = false;
    }
    uint64_t missing_ns = bucket->full_ns - now_ns;
    if (missing_ns <= rates->bucket_ns) {
        bucket->full_ns += rates->token_ns;
    } else {
        wait_ns = missing_ns - rates->bucket_ns;
        if (!bucket->complained)
            complain = bucket->complained = rill_address_may_complain(&rates->complained_ns, now_ns);
    }
    pthread_mutex_unlock(&set->lock);
    if (complain) {
        char text[RILL_IP_TEXT];
        rill_ip_format(peer, text);
        rill_log_warn("%s makes more than %u %s a second; those beyond are refused", text, rates->per_second,
                      rates->what);
    }
    return wait_ns;
}
