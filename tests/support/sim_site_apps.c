/* sim_site_apps.c - see sim_site.h: what runs on each loop beside the server. */
#include "sim_site_internal.h"

#include "rill/http/session_internal.h"

enum { PRODS_MAX = 16, PROD_MS = 60 };

static const struct site_app *const apps[SITE_APPS] = {
    [SITE_CLIENT] = &site_client_app, [SITE_POOL] = &site_pool_app, [SITE_DATAGRAMS] = &site_datagram_app};

/* Something that happens on a loop of itself, so many times. */
static struct prod {
    struct rill_timer timer;
    struct rill_loop *loop;
    unsigned left;
} prods[SITE_LOOPS];

void site_target(struct rill_connect_config *config, enum site_target target)
{
    static const char *const texts[SITE_TARGETS][2] = {[SITE_TARGET_ECHO] = {"127.0.0.1:7"},
                                                       [SITE_TARGET_RACE] = {"127.0.0.1:1", "127.0.0.1:7"},
                                                       [SITE_TARGET_SECOND] = {"127.0.0.1:99", "127.0.0.1:7"},
                                                       [SITE_TARGET_NOBODY] = {"127.0.0.1:99"},
                                                       [SITE_TARGET_HOLE] = {"127.0.0.1:1"},
                                                       [SITE_TARGET_HOPE] = {"127.0.0.1:1", "127.0.0.1:99"},
                                                       [SITE_TARGET_CHANNEL] = {"127.0.0.1:9"}};
    static struct rill_addr addrs[SITE_TARGETS][2];
    unsigned count = texts[target][1] ? 2 : 1;
    for (unsigned i = 0; i < count; i++)
        if (rill_addr_parse(texts[target][i], &addrs[target][i], NULL) < 0)
            sim_fail("a target has no address");
    config->addrs = addrs[target];
    config->addr_count = count;
}

static void on_prod(struct rill_timer *timer)
{
    struct prod *prod = rill_container_of(timer, struct prod, timer);
    if (--prod->left > 0)
        rill_loop_arm(prod->loop, timer, sim_below(PROD_MS));
    for (unsigned i = 0; i < SITE_APPS; i++)
        if (site.has[i])
            apps[i]->prod(prod->loop);
}

int site_apps_start(struct rill_loop *loop, void *arg)
{
    struct prod *prod = &prods[rill_loop_index(loop)];
    bool any = false;
    int error = rill_http_loop_start(loop, arg);
    if (error < 0)
        return error;
    *prod = (struct prod){.loop = loop, .left = 1 + (unsigned)sim_below(PRODS_MAX)};
    rill_timer_init(&prod->timer, on_prod);
    for (unsigned i = 0; i < SITE_APPS; i++) {
        any |= site.has[i];
        if (site.has[i])
            apps[i]->start(loop);
    }
    if (any)
        rill_loop_arm(loop, &prod->timer, sim_below(PROD_MS));
    return 0;
}

void site_apps_stop(struct rill_loop *loop)
{
    rill_loop_disarm(loop, &prods[rill_loop_index(loop)].timer);
    for (unsigned i = 0; i < SITE_APPS; i++)
        if (site.has[i])
            apps[i]->stop(loop);
}

void site_check_asleep(struct rill_loop *loop)
{
    for (unsigned i = 0; i < SITE_APPS; i++)
        if (site.has[i] && apps[i]->check_asleep)
            apps[i]->check_asleep(loop);
}

void site_check_quiet(bool all)
{
    for (unsigned i = 0; i < SITE_APPS; i++)
        if (site.has[i])
            apps[i]->check_quiet(all);
}
