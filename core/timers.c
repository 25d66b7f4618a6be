/* timers.c - timers by id: a slab of them for each loop that has any.
 *
 * A timer's slot is freed before its last call, so that the id is stale from then on and a callback that cancels what
 * has just fired finds nothing. A periodic timer keeps its slot while it is called; cancelled meanwhile, it is freed
 * when the call returns. */
#include "rill/core/timers.h"

#include "rill/core/log.h"
#include "rill/core/loop_internal.h"
#include "rill/core/slab.h"
#include "rill/core/sys.h"

/* What a loop keeps in RILL_LOOP_SLOT_TIMERS. */
struct timers {
    struct rill_slab slab;
    struct rill_loop *loop;
};

struct app_timer {
    struct rill_timer node;
    struct timers *timers;
    struct rill_timer_config config;
    uint32_t slot;
    bool called;    /* a periodic timer's call is under way ... */
    bool cancelled; /* ... and is the last */
};

/* ---- The end of a timer -------------------------------------------------------------------------------- */

static void end(struct app_timer *timer)
{
    struct rill_timer_config config = timer->config;
    rill_slab_free(&timer->timers->slab, timer->slot);
    if (config.destroy != NULL)
        config.destroy(config.arg);
}

static void timers_destroy(void *value)
{
    struct timers *timers = value;
    for (uint32_t slot = rill_slab_next(&timers->slab, 0); slot != RILL_SLAB_NONE;
         slot = rill_slab_next(&timers->slab, slot + 1)) {
        struct app_timer *timer = rill_slab_at(&timers->slab, slot);
        rill_loop_disarm(timers->loop, &timer->node);
        end(timer);
    }
    rill_slab_destroy(&timers->slab);
    rill_sys_free(timers);
}

/* ---- Firing -------------------------------------------------------------------------------------------- */

/* The first beat after now; UINT64_MAX when it is too far away to be told. */
static uint64_t next_beat(const struct app_timer *timer, uint64_t now_ms)
{
    uint64_t beat_ms = timer->node.deadline_ms, period_ms = timer->config.period_ms;
    uint64_t skipped_ms = now_ms > beat_ms ? (now_ms - beat_ms) / period_ms * period_ms : 0;
    beat_ms += skipped_ms;
    return period_ms < UINT64_MAX - beat_ms ? beat_ms + period_ms : UINT64_MAX;
}

static void fire_once(struct app_timer *timer)
{
    struct rill_timer_config config = timer->config;
    rill_slab_free(&timer->timers->slab, timer->slot);
    config.fn(config.arg);
    if (config.destroy != NULL)
        config.destroy(config.arg);
}

static void fire_again(struct app_timer *timer)
{
    struct rill_loop *loop = timer->timers->loop;
    timer->called = true;
    timer->config.fn(timer->config.arg);
    timer->called = false;
    if (timer->cancelled)
        end(timer);
    else
        rill_loop_arm_at(loop, &timer->node, next_beat(timer, rill_loop_now_ms(loop)));
}

static void on_fire(struct rill_timer *node)
{
    struct app_timer *timer = rill_container_of(node, struct app_timer, node);
    if (timer->config.period_ms > 0)
        fire_again(timer);
    else
        fire_once(timer);
}

/* ---- Starting and cancelling --------------------------------------------------------------------------- */

static struct timers *timers_of(struct rill_loop *loop)
{
    struct timers *timers = rill_loop_slot(loop, RILL_LOOP_SLOT_TIMERS);
    if (RILL_LIKELY(timers != NULL))
        return timers;
    timers = rill_sys_calloc(1, sizeof(*timers));
    if (timers == NULL)
        return NULL;
    if (rill_slab_init(&timers->slab, sizeof(struct app_timer), RILL_TIMERS_MAX) < 0) {
        rill_sys_free(timers);
        return NULL;
    }
    timers->loop = loop;
    rill_loop_set_slot(loop, RILL_LOOP_SLOT_TIMERS, timers, timers_destroy);
    return timers;
}

int rill_timer_start(struct rill_loop *loop, const struct rill_timer_config *config, struct rill_timer_id *id)
{
    rill_loop_check(loop, __func__);
    if (loop->closed)
        return -ESHUTDOWN;
    struct timers *timers = timers_of(loop);
    uint32_t slot;
    struct app_timer *timer = timers != NULL ? rill_slab_alloc(&timers->slab, &slot) : NULL;
    if (timer == NULL)
        return -ENOMEM;
    *timer = (struct app_timer){.timers = timers, .config = *config, .slot = slot};
    rill_timer_init(&timer->node, on_fire);
    rill_loop_arm(loop, &timer->node, config->delay_ms);
    if (id != NULL)
        id->value = (uint64_t)loop->index << 56 | (uint64_t)slot << 32 | rill_slab_generation(&timers->slab, slot);
    return 0;
}

int rill_loop_after(struct rill_loop *loop, uint64_t delay_ms, void (*fn)(void *arg), void *arg,
                    struct rill_timer_id *id)
{
    return rill_timer_start(loop, &(struct rill_timer_config){.delay_ms = delay_ms, .fn = fn, .arg = arg}, id);
}

int rill_loop_every(struct rill_loop *loop, uint64_t period_ms, void (*fn)(void *arg), void *arg,
                    struct rill_timer_id *id)
{
    if (period_ms == 0)
        return -EINVAL;
    struct rill_timer_config config = {.delay_ms = period_ms, .period_ms = period_ms, .fn = fn, .arg = arg};
    return rill_timer_start(loop, &config, id);
}

static unsigned loop_of(struct rill_timer_id id)
{
    return (unsigned)(id.value >> 56);
}

bool rill_timer_cancel(struct rill_loop *loop, struct rill_timer_id id)
{
    rill_loop_check(loop, __func__);
    struct timers *timers = rill_loop_slot(loop, RILL_LOOP_SLOT_TIMERS);
    if (timers == NULL || loop_of(id) != loop->index)
        return false;
    struct app_timer *timer =
        rill_slab_lookup(&timers->slab, (uint32_t)(id.value >> 32) & 0xffffffu, (uint32_t)id.value);
    if (timer == NULL || timer->cancelled)
        return false;
    timer->cancelled = true;
    if (timer->called)
        return true;
    rill_loop_disarm(loop, &timer->node);
    end(timer);
    return true;
}

uint32_t rill_timer_count(struct rill_loop *loop)
{
    rill_loop_check(loop, __func__);
    struct timers *timers = rill_loop_slot(loop, RILL_LOOP_SLOT_TIMERS);
    return timers != NULL ? rill_slab_count(&timers->slab) : 0;
}

/* ---- From any thread ----------------------------------------------------------------------------------- */

/* An order: the poster's until it is posted, the loop's from then on. */
struct order {
    struct rill_task task;
    struct rill_loop *loop;
    struct rill_timer_id id;         /* to cancel */
    struct rill_timer_config config; /* to start */
};

static int post_order(const struct order *order)
{
    struct order *posted = rill_sys_malloc(sizeof(*posted));
    if (posted == NULL)
        return -ENOMEM;
    *posted = *order;
    struct rill_loop *loop = order->loop;
    int error = rill_loop_post(loop, &posted->task);
    if (error < 0)
        rill_sys_free(posted);
    return error;
}

static void start_posted(struct rill_task *task)
{
    struct order order = *rill_container_of(task, struct order, task);
    rill_sys_free(rill_container_of(task, struct order, task));
    int error = rill_timer_start(order.loop, &order.config, NULL);
    if (error == -ENOMEM)
        rill_log_warn("no memory for a timer of loop %s: it will not fire", rill_loop_name(order.loop));
    if (error < 0 && order.config.destroy != NULL)
        order.config.destroy(order.config.arg);
}

static void cancel_posted(struct rill_task *task)
{
    struct order *order = rill_container_of(task, struct order, task);
    rill_timer_cancel(order->loop, order->id);
    rill_sys_free(order);
}

int rill_timer_post_start(struct rill_loop *loop, const struct rill_timer_config *config)
{
    return post_order(&(struct order){.task.run = start_posted, .loop = loop, .config = *config});
}

int rill_timer_post_cancel(struct rill_loop *loop, struct rill_timer_id id)
{
    if (loop_of(id) != rill_loop_index(loop))
        return -ESTALE;
    return post_order(&(struct order){.task.run = cancel_posted, .loop = loop, .id = id});
}
