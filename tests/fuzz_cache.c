/* Fuzzes rill-cache's protocol in memory: what two clients send, how it is split, how time passes and who is slow, held
 * against a slow and simple cache; and the same bytes against one that has hardly any memory.
 *
 * The input is a byte N, N bytes of script, and what the clients send. Each script byte is a step; what is left of the
 * bytes after the script is sent by the first client. */
#include "rill/apps/cache/session.h"
#include "rill/apps/cache/shard.h"
#include "support/cache_model.h"
#include "support/fake_conn.h"
#include "support/fake_sys.h"
#include "support/fuzz.h"

enum { CLIENTS = 2, MAX_ITEM = 4096, LITTLE_MEMORY = 8192 };

struct run {
    struct rill_loop *loop;
    struct rill_cache cache, little; /* one with memory, one without */
    struct rill_conn_config config, little_config;
    struct fake_peer peers[CLIENTS], little_peer;
    struct cache_model model;
    struct cache_model_client clients[CLIENTS];
};

static void make_cache(struct rill_cache *cache, struct rill_conn_config *config, uint64_t memory)
{
    int error;
    cache->version = "1";
    cache->threads = 1;
    cache->store = rill_store_new(
        &(struct rill_store_config){.memory_bytes = memory, .max_item_bytes = MAX_ITEM, .threads = 1}, &error);
    MUST(cache->store);
    *config = (struct rill_conn_config){
        .handler = &rill_cache_handler, .arg = cache, .high_watermark = 4096, .max_input_bytes = RILL_CACHE_MAX_INPUT};
}

static void free_cache(struct rill_cache *cache)
{
    struct rill_store_stats stats;
    rill_store_flush(cache->store, 0, fake_sys.now_ms);
    rill_store_stats(cache->store, &stats);
    rill_store_free(cache->store);
}

/* Turns until nothing more happens. */
static void settle(struct run *run)
{
    uint64_t before, now = 0;
    do {
        before = now;
        for (unsigned i = 0; i < 3; i++)
            fake_conn_turn(run->loop);
        now = run->little_peer.received_length + run->little_peer.read_total;
        for (unsigned i = 0; i < CLIENTS; i++)
            now += run->peers[i].received_length + run->peers[i].read_total;
    } while (now != before);
}

static void compare(struct run *run)
{
    struct rill_store_stats stats;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct cache_model_client *client = &run->clients[i];
        struct fake_peer *peer = &run->peers[i];
        MUST(client->closed == (!peer->conn || peer->finished));
        if (client->lost)
            continue;
        MUST(peer->received_length == client->out_length);
        MUST(client->out_length == 0 || memcmp(peer->received, client->out, client->out_length) == 0);
    }
    rill_store_stats(run->little.store, &stats);
    MUST(stats.bytes <= LITTLE_MEMORY);
}

static void send_to_all(struct run *run, unsigned who, const void *bytes, size_t length, bool slowly)
{
    struct fake_peer *peer = &run->peers[who];
    if (!peer->conn)
        return;
    peer->stalled = slowly;
    peer->room = 0;
    fake_peer_send(peer, bytes, length);
    settle(run);
    while (slowly && peer->conn && rill_conn_buffered(peer->conn) > 0) {
        MUST(rill_conn_buffered(peer->conn) <= 4096 + MAX_ITEM + 512 + 4096); /* the last: statistics */
        peer->room = 1000;
        settle(run);
    }
    peer->stalled = false;
    settle(run);
    cache_model_send(&run->clients[who], bytes, length);
    if (run->little_peer.conn)
        fake_peer_send(&run->little_peer, bytes, length);
    settle(run);
}

static void step(struct run *run, uint8_t what, const uint8_t **left, size_t *left_length)
{
    unsigned how = what >> 4, who = what & 1;
    size_t length = what & 2 ? how + 1 : (size_t)8 << how;
    switch (what >> 2 & 3) {
    case 0:
    case 1:
        length = length < *left_length ? length : *left_length;
        send_to_all(run, who, *left, length, what & 4);
        *left += length;
        *left_length -= length;
        break;
    case 2:
        fake_sys.now_ms += how * how * 50;
        run->model.now_ms = fake_sys.now_ms;
        run->model.unix_seconds = FAKE_SYS_EPOCH - 1000 + (int64_t)fake_sys.now_ms / 1000;
        break;
    default:
        run->peers[who].read_max = how;
    }
    compare(run);
}

static void close_all(struct run *run)
{
    struct fake_peer *peers[] = {&run->peers[0], &run->peers[1], &run->little_peer};
    for (unsigned i = 0; i < rill_array_length(peers); i++) {
        if (peers[i]->conn && i > 0)
            fake_peer_reset(peers[i]);
        else if (peers[i]->conn)
            fake_peer_end(peers[i]);
        settle(run);
        if (peers[i]->conn) /* has been asked to go, and waits for its client */
            fake_peer_reset(peers[i]);
        settle(run);
        MUST(!peers[i]->conn);
        fake_peer_free(peers[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    int error;
    if (size < 1 || size < 1u + data[0])
        return 0;
    const uint8_t *script = data + 1, *left = script + data[0];
    size_t left_length = size - 1 - data[0];
    memset(&run, 0, sizeof run);
    fake_sys_reset(1000000);
    run.loop = rill_loop_new(&(struct rill_loop_config){.name = "fuzz"}, &error);
    MUST(run.loop);
    make_cache(&run.cache, &run.config, 64 << 20);
    make_cache(&run.little, &run.little_config, LITTLE_MEMORY);
    run.model = (struct cache_model){.now_ms = fake_sys.now_ms,
                                     .unix_seconds = FAKE_SYS_EPOCH,
                                     .max_item_bytes = MAX_ITEM,
                                     .item_overhead = rill_shard_item_bytes(0, 0),
                                     .version = "1"};
    MUST(fake_conn_open(run.loop, &run.little_peer, &run.little_config) == 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        run.clients[i].model = &run.model;
        MUST(fake_conn_open(run.loop, &run.peers[i], &run.config) == 0);
    }
    for (unsigned i = 0; i < data[0]; i++)
        step(&run, script[i], &left, &left_length);
    send_to_all(&run, 0, left, left_length, false);
    compare(&run);
    close_all(&run);
    rill_loop_free(run.loop);
    free_cache(&run.cache);
    free_cache(&run.little);
    for (unsigned i = 0; i < CLIENTS; i++)
        cache_model_client_free(&run.clients[i]);
    cache_model_free(&run.model);
    return 0;
}
