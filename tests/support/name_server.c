/* name_server.c - see name_server.h. */
#include "name_server.h"
#include "faulty_sys.h"
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct name_server name_server;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of `held` and `look_ups` */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static int look_up(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    (void)host;
    (void)service;
    pthread_mutex_lock(&lock);
    name_server.look_ups++;
    pthread_cond_broadcast(&changed);
    while (name_server.held)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    errno = name_server.system_error;
    if (name_server.error)
        return name_server.error;
    struct addrinfo numeric = *hints, **end = found;
    numeric.ai_flags = AI_NUMERICHOST;
    *found = NULL;
    for (unsigned i = 0; name_server.addrs[i]; i++, end = &(*end)->ai_next) {
        bool other = strcmp(name_server.addrs[i], "unix") == 0;
        if (getaddrinfo(other ? "127.0.0.1" : name_server.addrs[i], NULL, &numeric, end) != 0)
            abort();
        if (other)
            (*end)->ai_family = AF_UNIX;
    }
    return 0;
}

/* ADDR's, without its port. */
static void host_of(const struct sockaddr *addr, char text[INET6_ADDRSTRLEN])
{
    if (addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr, text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, text, INET6_ADDRSTRLEN);
}

static int lead(int fd, const struct sockaddr *addr, socklen_t length)
{
    (void)length;
    char text[INET6_ADDRSTRLEN];
    host_of(addr, text);
    if (strlen(name_server.tried) + strlen(text) + 2 > sizeof name_server.tried)
        abort();
    strcat(strcat(name_server.tried, text), " ");
    for (unsigned i = 0; name_server.routes[i].from; i++)
        if (strcmp(name_server.routes[i].from, text) == 0)
            return connect(fd, &name_server.routes[i].to.socket.any, name_server.routes[i].to.length);
    errno = ECONNREFUSED;
    return -1;
}

void name_server_set_up(void)
{
    memset(&name_server, 0, sizeof name_server);
    faulty_sys.connect = lead;
    faulty_sys.getaddrinfo = look_up;
}

void name_server_route(const char *from, const struct rill_addr *to)
{
    unsigned i = 0;
    while (name_server.routes[i].from)
        i++;
    name_server.routes[i].from = from;
    name_server.routes[i].to = *to;
}

void name_server_await(unsigned look_ups)
{
    pthread_mutex_lock(&lock);
    while (name_server.look_ups < look_ups)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

void name_server_release(void)
{
    pthread_mutex_lock(&lock);
    name_server.held = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}
