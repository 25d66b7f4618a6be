/* limit.c - rill-limit: an echo server that has room for so many at a time, in all and from one address, and says so to
 * those it turns away. (--max-connections and --max-per-address are the server's own limits; they are cheaper and speak
 * no word.)
 *
 * The counts are shared by all loops, under one lock that is held for a few instructions when a connection comes or
 * goes. */
#include "options.h"
#include <pthread.h>
#include <stdlib.h>

enum { BUCKETS = 4096 };

struct address {
    struct address *next;
    struct rill_ip ip;
    unsigned count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two below */
static struct address *buckets[BUCKETS];
static unsigned total;

static unsigned most = 100, most_per_address = 10;

/* Where the entry of IP's address is linked, or would be. */
static struct address **find(const struct rill_ip *ip)
{
    uint32_t hash = ip->version;
    for (unsigned i = 0; i < sizeof ip->bytes; i++)
        hash = hash * 31 + ip->bytes[i];
    struct address **at = &buckets[hash % BUCKETS];
    while (*at && ((*at)->ip.version != ip->version || memcmp((*at)->ip.bytes, ip->bytes, sizeof ip->bytes) != 0))
        at = &(*at)->next;
    return at;
}

/* Counts one more. Returns NULL, or why there is no room. */
static const char *enter(const struct rill_ip *ip)
{
    const char *why = NULL;
    pthread_mutex_lock(&lock);
    struct address **at = find(ip), *found = *at;
    if (total >= most)
        why = "busy: there is no room left; try again later\r\n";
    else if (found && found->count >= most_per_address)
        why = "busy: too many connections from your address\r\n";
    else if (!found && !(found = *at = calloc(1, sizeof *found)))
        why = "busy: no memory; try again later\r\n";
    if (!why) {
        found->ip = *ip;
        found->count++;
        total++;
    }
    pthread_mutex_unlock(&lock);
    return why;
}

static void leave(const struct rill_ip *ip)
{
    pthread_mutex_lock(&lock);
    struct address **at = find(ip), *found = *at;
    total--;
    if (--found->count == 0) {
        *at = found->next;
        free(found);
    }
    pthread_mutex_unlock(&lock);
}

static void on_open(struct rill_conn *conn)
{
    static char inside; /* its address marks who was counted */
    const char *why = enter(rill_conn_peer(conn));
    if (!why) {
        rill_conn_set_user(conn, &inside);
        return;
    }
    rill_conn_send(conn, why, strlen(why));
    rill_conn_finish(conn, true); /* lingering, so that a reset for unread bytes does not overtake the words */
}

static void on_data(struct rill_conn *conn, struct rill_input *in)
{
    rill_conn_send(conn, in->bytes, in->length);
    rill_input_consume(in, in->length);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    if (rill_conn_user(conn))
        leave(rill_conn_peer(conn));
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
    static const struct rill_option options[] = {
        {"--most", "N", "connections at a time (100)", RILL_OPTION_COUNT, &most, .min = 1, .max = 1 << 20},
        {"--most-per-address", "N", "of them from one address (10)", RILL_OPTION_COUNT, &most_per_address, .min = 1,
         .max = 1 << 20},
    };
    struct rill_app app = {.name = "rill-limit",
                           .summary = "echoes, for so many at a time",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7011",
                           .server = {.handler = &handler, .output_limit = RILL_OUTPUT_PAUSE}};
    return rill_app_server_main(&app, argc, argv);
}
