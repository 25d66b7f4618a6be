/* sweep_site.c - see sweep_site.h: the server, its files and its datagrams. */
#include "faulty_sys.h"
#include "folder.h"
#include "must.h"
#include "rill/core/log.h"
#include "rill/core/sys.h"
#include "rill/http/files.h"
#include "sweep_site_internal.h"
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>

static struct {
    char folder[FOLDER_BYTES], root[80], log[80], trace[80], local[80];
    struct rill_files *files;
    struct rill_router *router;
    struct rill_http_server *server;
    pthread_t thread;
    int result;
} site;

char sweep_site_byte(size_t i)
{
    return (char)('a' + (i * 7 + i / 26) % 26);
}

/* --- datagrams --- */

static void on_datagram(struct rill_datagram *endpoint, const struct rill_datagram_input *input)
{
    rill_datagram_send(endpoint, input->from, input->bytes, input->length);
}

static const struct rill_datagram_handler datagram_handler = {.on_datagram = on_datagram};
static const struct rill_datagram_config datagram_config = {.handler = &datagram_handler};

struct rill_datagram *sweep_open_endpoint(struct rill_loop *loop)
{
    struct rill_addr addr;
    int error = rill_addr_parse("127.0.0.1:0", &addr, NULL);
    return error < 0 ? NULL : rill_datagram_open(loop, &addr, &datagram_config, &error);
}

struct opening {
    unsigned port;
    sem_t done;
};

static void open_datagrams(void *arg)
{
    struct opening *opening = arg;
    struct rill_datagram *endpoint = sweep_open_endpoint(rill_loop_current());
    opening->port = endpoint ? rill_addr_port(rill_datagram_local(endpoint)) : 0;
    sem_post(&opening->done);
}

unsigned sweep_site_datagrams(void)
{
    struct opening opening = {0};
    struct rill_server *server = sweep_site_server();
    MUST(sem_init(&opening.done, 0, 0) == 0);
    MUST(rill_post(rill_server_loop(server, 0), open_datagrams, &opening) == 0);
    while (sem_wait(&opening.done) < 0)
        ;
    sem_destroy(&opening.done);
    return opening.port;
}

/* --- the server --- */

static void write_file(const char *name, size_t size)
{
    char path[100], bytes[SWEEP_LARGE_BYTES];
    snprintf(path, sizeof path, "%s/%s", site.root, name);
    for (size_t i = 0; i < size; i++)
        bytes[i] = sweep_site_byte(i);
    file_write(path, bytes, size);
}

/* Every name is this host's. */
static int look_up(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    (void)host;
    struct addrinfo numeric = *hints;
    numeric.ai_flags = AI_NUMERICHOST;
    return getaddrinfo("127.0.0.1", service, &numeric, found);
}

void sweep_site_prepare(void)
{
    faulty_sys.getaddrinfo = look_up;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_OFF);
    folder_make(site.folder);
    snprintf(site.root, sizeof site.root, "%s/root", site.folder);
    snprintf(site.log, sizeof site.log, "%s/log", site.folder);
    snprintf(site.trace, sizeof site.trace, "%s/trace", site.folder);
    snprintf(site.local, sizeof site.local, "unix:%s/socket", site.folder);
    MUST(mkdir(site.root, 0755) == 0);
    write_file("small", SWEEP_SMALL_BYTES);
    write_file("large", SWEEP_LARGE_BYTES);
    write_file("other", 1);
}

void sweep_site_clear(void)
{
    folder_remove(site.folder);
}

static void free_all(void)
{
    rill_http_server_free(site.server);
    rill_router_free(site.router);
    rill_files_free(site.files);
    rill_channel_unref(sweep_targets.channel);
    site.server = NULL;
    site.router = NULL;
    site.files = NULL;
    sweep_targets.channel = NULL;
}

static int make(const struct rill_server_config *net)
{
    int error = -ENOMEM;
    const struct rill_files_config files = {.root = site.root, .listing = true, .cache_entries = 1};
    site.files = rill_files_new(&files, &error);
    site.router = site.files ? rill_router_new() : NULL;
    if (!site.router)
        return error < 0 ? error : -ENOMEM;
    error = rill_router_add_all(site.router, sweep_routes);
    if (error == 0)
        error = rill_router_add(site.router, "GET", "/files/*path", rill_files_handle, site.files);
    sweep_targets.channel = error == 0 ? rill_channel_new(NULL) : NULL;
    if (!sweep_targets.channel)
        return error < 0 ? error : -ENOMEM;
    struct rill_http_server_config config = {.net = *net, .router = site.router, .access_log = site.log};
    config.net.trace_path = site.trace;
    config.net.stall_threshold_ms = 60000;
    for (unsigned i = 0; i < SWEEP_PORTS; i++) {
        config.net.listens[i].address = "127.0.0.1:0";
        config.net.listens[i].handler = i > SWEEP_PROXY ? &sweep_handlers[i] : NULL;
    }
    config.net.listens[SWEEP_LOCAL].address = site.local;
    config.net.listens[SWEEP_PROXY].proxy_from = "127.0.0.0/8";
    site.server = rill_http_server_new(&config, &error);
    return site.server ? 0 : error;
}

static void *run(void *arg)
{
    site.result = rill_http_server_run(site.server, false);
    return arg;
}

int sweep_site_start(const struct rill_server_config *net)
{
    char text_of_echo[64];
    int error = make(net);
    if (error < 0) {
        free_all();
        return error;
    }
    snprintf(text_of_echo, sizeof text_of_echo, "127.0.0.1:%u", sweep_site_port(SWEEP_ECHO));
    MUST(rill_addr_parse(text_of_echo, &sweep_targets.echo, NULL) == 0);
    snprintf(sweep_targets.named_echo, sizeof sweep_targets.named_echo, "echo.test:%u", sweep_site_port(SWEEP_ECHO));
    MUST(pthread_create(&site.thread, NULL, run, NULL) == 0);
    return 0;
}

void sweep_site_stop(bool now)
{
    rill_http_server_stop(site.server, now);
}

int sweep_site_end(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    MUST(pthread_timedjoin_np(site.thread, NULL, &until) == 0);
    free_all();
    return site.result;
}

struct rill_server *sweep_site_server(void)
{
    return rill_http_server_net(site.server);
}

unsigned sweep_site_port(enum sweep_port port)
{
    return rill_server_port(sweep_site_server(), port);
}
