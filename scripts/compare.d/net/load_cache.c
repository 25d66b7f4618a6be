/* load_cache.c - the client of all caches: each connection sends some requests of the memcached text protocol, waits
 * for all their replies, and sends the next. Keys are drawn at random from those that were stored before the start, so
 * that every get is a hit; every byte of every reply is compared with what it must be.
 *
 *     load_cache PORT CONNECTIONS SET_PERCENT VALUE_BYTES AT_A_TIME THREADS WARM_MS WINDOW_MS */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { KEYS = 10000, MAX_VALUE_BYTES = 1024, MAX_AT_A_TIME = 64, MAX_LINE_BYTES = 64, MAX_EVENTS = 256 };
enum { MAX_BATCH_BYTES = MAX_AT_A_TIME * (MAX_VALUE_BYTES + MAX_LINE_BYTES) };

struct shape {
    uint16_t port;
    unsigned connections, set_percent, value_bytes, at_a_time, threads;
};

struct conn {
    int fd;
    uint64_t start_ns;
    size_t expected_bytes, received;
    char *expected; /* of MAX_BATCH_BYTES: the replies under way */
};

/* What is sent for a key and what comes back, rendered once. */
struct text {
    unsigned length;
    char bytes[MAX_VALUE_BYTES + MAX_LINE_BYTES];
};

static struct text gets[KEYS], hits[KEYS], sets[KEYS];
static const struct text stored = {.length = 8, .bytes = "STORED\r\n"};

static void render(const struct shape *shape)
{
    char value[MAX_VALUE_BYTES + 1] = "";
    int bytes = (int)shape->value_bytes;

    for (int i = 0; i < bytes; i++) {
        value[i] = (char)('a' + i % 26);
    }
    for (unsigned k = 0; k < KEYS; k++) {
        size_t room = sizeof(gets[k].bytes);
        gets[k].length = (unsigned)snprintf(gets[k].bytes, room, "get key:%05u\r\n", k);
        hits[k].length =
            (unsigned)snprintf(hits[k].bytes, room, "VALUE key:%05u 0 %d\r\n%s\r\nEND\r\n", k, bytes, value);
        sets[k].length = (unsigned)snprintf(sets[k].bytes, room, "set key:%05u 0 0 %d\r\n%s\r\n", k, bytes, value);
    }
}

static void append(char *batch, size_t *length, const struct text *text)
{
    memcpy(batch + *length, text->bytes, text->length);
    *length += text->length;
}

static void send_batch(struct conn *conn, const char *batch, size_t length)
{
    conn->received = 0;
    conn->start_ns = load_now_ns();
    /* Closed loop: the socket's buffer is empty, and takes a batch whole. */
    if (send(conn->fd, batch, length, MSG_NOSIGNAL) != (ssize_t)length) {
        load_die("cannot send");
    }
}

static void ask(struct conn *conn, const struct shape *shape, uint64_t *random)
{
    static _Thread_local char batch[MAX_BATCH_BYTES];
    size_t length = 0;

    conn->expected_bytes = 0;
    for (unsigned i = 0; i < shape->at_a_time; i++) {
        *random ^= *random << 13; /* xorshift64 */
        *random ^= *random >> 7;
        *random ^= *random << 17;
        unsigned key = (unsigned)((*random >> 32) % KEYS);
        bool set = (*random & 0xffffffff) % 100 < shape->set_percent;
        append(batch, &length, set ? &sets[key] : &gets[key]);
        append(conn->expected, &conn->expected_bytes, set ? &stored : &hits[key]);
    }
    send_batch(conn, batch, length);
}

/* Returns whether all the replies are there. */
static bool receive(struct conn *conn)
{
    static _Thread_local char buffer[MAX_BATCH_BYTES];
    ssize_t n = recv(conn->fd, buffer, sizeof(buffer), 0);

    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0) {
        load_die("the server closed a connection");
    }
    if ((size_t)n > conn->expected_bytes - conn->received ||
        memcmp(conn->expected + conn->received, buffer, (size_t)n) != 0) {
        fprintf(stderr, "load_cache: wanted '%.60s', got '%.*s'\n", conn->expected + conn->received,
                n < 60 ? (int)n : 60, buffer);
        exit(1);
    }
    conn->received += (size_t)n;
    return conn->received == conn->expected_bytes;
}

static void store_all(const struct shape *shape)
{
    struct conn conn = {.fd = load_connect(shape->port, 0), .expected = malloc(MAX_BATCH_BYTES)};
    for (unsigned k = 0; k < KEYS; k++) {
        conn.expected_bytes = 0;
        append(conn.expected, &conn.expected_bytes, &stored);
        send_batch(&conn, sets[k].bytes, sets[k].length);
        while (!receive(&conn)) {
        }
    }
    close(conn.fd);
    free(conn.expected);
}

static void work(struct load_thread *self)
{
    const struct shape *shape = self->arg;
    struct epoll_event events[MAX_EVENTS];
    struct conn *conns = calloc(shape->connections, sizeof(*conns));
    int epoll_fd = load_epoll();
    uint64_t random = 88172645463325252u + (unsigned)self->index;

    for (unsigned i = (unsigned)self->index; i < shape->connections; i += shape->threads) {
        conns[i].fd = load_connect(shape->port, (int)i);
        conns[i].expected = malloc(MAX_BATCH_BYTES);
        load_watch(epoll_fd, conns[i].fd, EPOLLIN | EPOLLET, &conns[i]);
        ask(&conns[i], shape, &random);
    }
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct conn *conn = events[i].data.ptr;
            if (receive(conn)) {
                load_count(self, shape->at_a_time);
                load_took(self, shape->at_a_time, conn->start_ns);
                ask(conn, shape, &random);
            }
        }
    }
}

int main(int argc, char **argv)
{
    unsigned values[8];
    load_operands(argc, argv, "PORT CONNECTIONS SET_PERCENT VALUE_BYTES AT_A_TIME THREADS WARM_MS WINDOW_MS", values);
    struct shape shape = {.port = (uint16_t)values[0],
                          .connections = values[1],
                          .set_percent = values[2],
                          .value_bytes = values[3],
                          .at_a_time = values[4],
                          .threads = values[5]};

    if (shape.value_bytes > MAX_VALUE_BYTES || shape.at_a_time < 1 || shape.at_a_time > MAX_AT_A_TIME) {
        load_fail("values are at most 1024 bytes, requests 1 to 64 at a time");
    }
    render(&shape);
    store_all(&shape);
    load_run(&(struct load){
        .threads = values[5], .work = work, .arg = &shape, .warm_ms = values[6], .window_ms = values[7]});
}
