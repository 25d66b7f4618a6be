/* cache_rig.c - see cache_rig.h. */
#include "cache_rig.h"
#include "fake_sys.h"
#include "rill/apps/cache/shard.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

struct cache_rig cache_rig;

const char cache_rig_script[] =
    "get a\r\nset a 1 0 6\r\nab\r\ncd\r\nadd b 2 10 1\r\ny\r\nget a b c\r\ngets b a\r\nappend a 0 0 3\r\n123\r\n"
    "prepend  b 0 0 0\r\n\r\nset n 0 0 2 noreply\r\n99\r\nincr n 1\r\nget n\r\ndecr n 991\nget n\r\nbogus\r\n\r\n"
    "set a 0 0 1\r\nxyz\r\nset x 0 0 3\r\nx\r\n\r\ntouch a 5\r\ngat 7 a n\r\ndelete b\r\ndelete b 0 noreply\r\n"
    "cas n 1 0 1 5\r\n1\r\nversion\r\nflush_all 1\r\nget n\r\nverbosity 1 noreply\r\nset q 0 0 3\r\n\n\n\n\r\n"
    "get  q  q \r\nset a x 0 1\r\nx\r\nflush_all\r\nget q\r\nset z 0 0 1\r\nz\r\nquit\r\nget z\r\n";

void cache_rig_set_up_with(uint64_t memory_bytes, uint32_t max_item_bytes)
{
    int error;
    fake_sys_reset(1000000);
    memset(&cache_rig, 0, sizeof cache_rig);
    cache_rig.cache.version = "1.2.3";
    cache_rig.cache.threads = 1;
    cache_rig.cache.store = rill_store_new(
        &(struct rill_store_config){.memory_bytes = memory_bytes, .max_item_bytes = max_item_bytes, .threads = 1},
        &error);
    ck_assert_ptr_nonnull(cache_rig.cache.store);
    cache_rig.loop = rill_loop_new(&(struct rill_loop_config){.name = "cache"}, &error);
    cache_rig.config = (struct rill_conn_config){
        .handler = &rill_cache_handler, .arg = &cache_rig.cache, .max_input_bytes = RILL_CACHE_MAX_INPUT};
    ck_assert_int_eq(fake_conn_open(cache_rig.loop, &cache_rig.peer, &cache_rig.config), 0);
    cache_rig.model = (struct cache_model){.now_ms = fake_sys.now_ms,
                                           .unix_seconds = FAKE_SYS_EPOCH,
                                           .max_item_bytes = max_item_bytes,
                                           .item_overhead = rill_shard_item_bytes(0, 0),
                                           .version = cache_rig.cache.version};
    cache_rig.client = (struct cache_model_client){.model = &cache_rig.model};
}

void cache_rig_set_up(void)
{
    cache_rig_set_up_with(CACHE_RIG_MEMORY, CACHE_RIG_MAX_ITEM);
}

struct rill_store_stats cache_rig_stats(void)
{
    struct rill_store_stats found;
    rill_store_stats(cache_rig.cache.store, &found);
    return found;
}

void cache_rig_tear_down(void)
{
    if (cache_rig.peer.conn)
        rill_conn_close(cache_rig.peer.conn, RILL_CLOSE_STOPPED);
    fake_conn_turn(cache_rig.loop);
    rill_loop_free(cache_rig.loop);
    fake_peer_free(&cache_rig.peer);
    rill_store_flush(cache_rig.cache.store, 0, fake_sys.now_ms);
    rill_store_free(cache_rig.cache.store);
    cache_model_client_free(&cache_rig.client);
    cache_model_free(&cache_rig.model);
}

void cache_rig_again(void)
{
    cache_rig_tear_down();
    cache_rig_set_up();
}

void cache_rig_turn(void)
{
    fake_conn_turn(cache_rig.loop);
    fake_conn_turn(cache_rig.loop);
}

void cache_rig_pass(uint64_t ms)
{
    fake_sys.now_ms += ms;
    cache_rig.model.now_ms += ms;
    cache_rig.model.unix_seconds = FAKE_SYS_EPOCH - 1000 + (int64_t)fake_sys.now_ms / 1000;
}

void cache_rig_send(const char *bytes, size_t length)
{
    fake_peer_send(&cache_rig.peer, bytes, length);
    cache_rig_turn();
    cache_model_send(&cache_rig.client, bytes, length);
}

void cache_rig_send_text(const char *text)
{
    cache_rig_send(text, strlen(text));
}

void cache_rig_compare(const char *what)
{
    size_t length = cache_rig.client.out_length < cache_rig.peer.received_length ? cache_rig.client.out_length
                                                                                 : cache_rig.peer.received_length,
           i = 0;
    while (i < length && cache_rig.peer.received[i] == cache_rig.client.out[i])
        i++;
    if (i < length || cache_rig.client.out_length != cache_rig.peer.received_length)
        ck_abort_msg("%s: from byte %zu on \"%.200s\" came instead of \"%.200s\"", what, i,
                     cache_rig.peer.received ? cache_rig.peer.received + i : "",
                     cache_rig.client.out ? cache_rig.client.out + i : "");
    ck_assert_int_eq(cache_rig.peer.conn == NULL || cache_rig.peer.finished, cache_rig.client.closed);
}

void cache_rig_send_set(const char *key, size_t length)
{
    char *text = malloc(length + 100);
    size_t at = (size_t)snprintf(text, 100, "set %s 0 0 %zu\r\n", key, length);
    memset(text + at, 'v', length);
    memcpy(text + at + length, "\r\n", 2);
    cache_rig_send(text, at + length + 2);
    free(text);
}
