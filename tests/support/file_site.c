/* file_site.c - see file_site.h. */
#include "file_site.h"
#include "folder.h"
#include "must.h"
#include "random.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static sem_t gate;

static void pong(struct rill_exchange *x, void *arg)
{
    (void)arg;
    rill_exchange_reply_text(x, 200, "pong");
}

static void block_run(void *arg)
{
    (void)arg;
    while (sem_wait(&gate) < 0)
        ;
}

static void block(struct rill_exchange *x, void *arg)
{
    rill_exchange_work(x, &(struct rill_work){.run = block_run, .done = pong, .arg = arg});
}

static void soon(struct rill_exchange *x, void *arg)
{
    rill_exchange_set_deadline(x, 50);
    rill_files_handle(x, arg);
}

static void *serve(void *arg)
{
    struct site *site = arg;
    MUST(rill_http_server_run(site->server, false) == 0);
    return NULL;
}

void site_start(struct site *site, struct rill_files_config config, struct rill_http_server_config http)
{
    int error;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    MUST(sem_init(&gate, 0, 0) == 0);
    folder_make(site->folder);
    snprintf(site->root, sizeof site->root, "%s/root", site->folder);
    snprintf(site->outside, sizeof site->outside, "%s/outside", site->folder);
    MUST(mkdir(site->root, 0755) == 0 && mkdir(site->outside, 0755) == 0);
    config.root = site->root;
    site->files = rill_files_new(&config, &error);
    MUST(site->files);
    site->router = rill_router_new();
    MUST(site->router);
    const struct rill_route routes[] = {{"GET", "/*path", rill_files_handle, site->files},
                                        {"GET", "/deep/er/*path", rill_files_handle, site->files},
                                        {"GET", "/soon/*path", soon, site->files},
                                        {NULL, "/any/*path", rill_files_handle, site->files},
                                        {"GET", "/pong", pong, NULL},
                                        {"GET", "/block", block, NULL},
                                        {NULL, NULL, NULL, NULL}};
    MUST(rill_router_add_all(site->router, routes) == 0);
    http.router = site->router;
    http.net.listen = "127.0.0.1:0";
    site->server = rill_http_server_new(&http, &error);
    MUST(site->server);
    MUST(pthread_create(&site->thread, NULL, serve, site) == 0);
    MUST(site_status(site, "/pong") == 200); /* its loops run */
}

void site_stop(struct site *site)
{
    rill_http_server_stop(site->server, true);
    pthread_join(site->thread, NULL);
    rill_http_server_free(site->server);
    rill_router_free(site->router);
    rill_files_free(site->files);
    folder_remove(site->folder);
}

void site_unblock(unsigned count)
{
    while (count-- > 0)
        sem_post(&gate);
}

void site_wait_running(struct site *site, unsigned count)
{
    struct rill_workers_stats stats;
    do {
        poll(NULL, 0, 1);
        rill_workers_stats(rill_server_workers(rill_http_server_net(site->server)), &stats);
    } while (stats.running < count);
}

uint64_t site_jobs(struct site *site)
{
    struct rill_workers_stats stats;
    rill_workers_stats(rill_server_workers(rill_http_server_net(site->server)), &stats);
    return stats.submitted;
}

/* --- other threads' loops --- */

struct visit {
    void (*fn)(struct rill_loop *loop, void *arg);
    void *arg;
    struct rill_loop *loop;
    sem_t done;
};

static void visit(void *arg)
{
    struct visit *v = arg;
    v->fn(v->loop, v->arg);
    sem_post(&v->done);
}

void site_on_loop(struct site *site, unsigned i, void (*fn)(struct rill_loop *loop, void *arg), void *arg)
{
    struct visit v = {.fn = fn, .arg = arg, .loop = rill_server_loop(rill_http_server_net(site->server), i)};
    MUST(sem_init(&v.done, 0, 0) == 0);
    MUST(rill_post(v.loop, visit, &v) == 0);
    while (sem_wait(&v.done) < 0)
        ;
    sem_destroy(&v.done);
}

/* --- files --- */

char *site_bytes(size_t size, uint64_t seed)
{
    struct test_random random = {seed};
    char *bytes = malloc(size + sizeof(uint64_t));
    MUST(bytes);
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t word = test_random_next(&random);
        memcpy(bytes + i, &word, sizeof word);
    }
    return bytes;
}

const char *site_path(const struct site *site, const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", site->root, name);
    return path;
}

void site_write(const struct site *site, const char *name, size_t size, uint64_t seed)
{
    char *bytes = site_bytes(size, seed);
    file_write(site_path(site, name), bytes, size);
    free(bytes);
}

/* --- the client --- */

int site_dial(const struct site *site)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(rill_http_server_net(site->server), 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0);
    MUST(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return fd;
}

void client_send(int fd, const char *text)
{
    size_t length = strlen(text);
    MUST(send(fd, text, length, MSG_NOSIGNAL) == (ssize_t)length);
}

const char *response_field(const struct response *response, const char *name)
{
    static char values[8][512];
    static unsigned next;
    char *value = values[next++ % 8];
    value[0] = '\0';
    size_t length = strlen(name);
    for (const char *line = strstr(response->head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *from = line + 2 + length + 1 + (line[2 + length + 1] == ' ');
            snprintf(value, sizeof values[0], "%.*s", (int)(strstr(from, "\r\n") - from), from);
            break;
        }
    return value;
}

/* Byte by byte, so that nothing of the next response is taken. */
static char *read_head(int fd)
{
    size_t capacity = 4096, length = 0;
    char *head = calloc(1, capacity);
    MUST(head);
    while (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) != 0) {
        if (length + 1 == capacity) {
            head = realloc(head, capacity *= 2);
            MUST(head);
        }
        if (recv(fd, head + length, 1, 0) != 1)
            break;
        head[++length] = '\0';
    }
    return head;
}

struct response client_read(int fd, bool is_head)
{
    struct response response = {.head = read_head(fd), .content_length = SIZE_MAX};
    if (sscanf(response.head, "HTTP/1.1 %u", &response.status) != 1) {
        response.closed = true;
        return response;
    }
    const char *announced = response_field(&response, "Content-Length");
    if (*announced)
        response.content_length = strtoull(announced, NULL, 10);
    if (is_head || response.status == 304 || response.content_length == SIZE_MAX)
        return response;
    response.body = malloc(response.content_length + 1);
    MUST(response.body);
    while (response.body_length < response.content_length) {
        ssize_t got = recv(fd, response.body + response.body_length, response.content_length - response.body_length, 0);
        if (got <= 0)
            break;
        response.body_length += (size_t)got;
    }
    response.body[response.body_length] = '\0';
    response.closed = response.body_length < response.content_length;
    return response;
}

void response_free(struct response *response)
{
    free(response->head);
    free(response->body);
    response->head = response->body = NULL;
}

struct response site_request(const struct site *site, const char *method, const char *path, const char *fields)
{
    char *text;
    MUST(asprintf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, path, fields) > 0);
    int fd = site_dial(site);
    client_send(fd, text);
    struct response response = client_read(fd, strcmp(method, "HEAD") == 0);
    close(fd);
    free(text);
    return response;
}

unsigned site_status(const struct site *site, const char *path)
{
    struct response response = site_request(site, "GET", path, "");
    unsigned status = response.status;
    response_free(&response);
    return status;
}
