/* loop_time.c - a loop's clock and its timers.
 *
 * libevent's timers are not used: with an empty heap it neither reads its clock nor gives epoll_wait a timeout, for
 * which the kernel would set up a timer of its own at every wait. The wheel's next deadline sits in a timerfd instead,
 * which is touched only when an earlier deadline appears or after it fired, and is exact, where libevent's coarse
 * clock may fire milliseconds early. */
#include "rill/core/loop_internal.h"
#include "rill/core/sys.h"

#define NS_PER_MS 1000000u
#define NS_PER_SECOND 1000000000u

uint64_t rill_clock_ns(void)
{
    return rill_sys_monotonic_ns();
}

uint64_t rill_loop_read_clock(struct rill_loop *loop)
{
    uint64_t now_ns = rill_sys_monotonic_ns();
    loop->now_ms = now_ns / NS_PER_MS;
    loop->now_up_ms = (now_ns + NS_PER_MS - 1) / NS_PER_MS;
    loop->now_valid = loop->in_turn; /* between turns nothing would ever make it stale */
    return now_ns;
}

uint64_t rill_loop_now_ms(const struct rill_loop *loop)
{
    rill_loop_check(loop, __func__);
    if (!loop->now_valid)
        rill_loop_read_clock((struct rill_loop *)loop); /* a cache: the loop does not change by being asked */
    return loop->now_ms;
}

int64_t rill_loop_unix_seconds(const struct rill_loop *loop)
{
    uint64_t now_ms = rill_loop_now_ms(loop);
    if (now_ms >= loop->unix_seconds_until_ms) {
        struct rill_loop *cache = (struct rill_loop *)loop;
        uint64_t real_ns = rill_sys_realtime_ns();
        cache->unix_seconds = (int64_t)(real_ns / NS_PER_SECOND);
        cache->unix_seconds_until_ms = now_ms + (NS_PER_SECOND - real_ns % NS_PER_SECOND + NS_PER_MS - 1) / NS_PER_MS;
    }
    return loop->unix_seconds;
}

/* ---- Timers -------------------------------------------------------------------------------------------- */

void rill_loop_arm_at(struct rill_loop *loop, struct rill_timer *timer, uint64_t deadline_ms)
{
    rill_loop_check(loop, __func__);
    rill_wheel_arm(&loop->wheel, timer, deadline_ms);
    if (deadline_ms < loop->next_timer_ms)
        loop->next_timer_ms = deadline_ms;
}

uint64_t rill_loop_deadline_ms(const struct rill_loop *loop, uint64_t delay_ms)
{
    uint64_t from_ms = rill_loop_now_ms(loop);
    if (delay_ms > 0)
        from_ms = loop->now_up_ms; /* counted from the millisecond under way, the timer could fire early */
    return delay_ms < UINT64_MAX - from_ms ? from_ms + delay_ms : UINT64_MAX;
}

void rill_loop_arm(struct rill_loop *loop, struct rill_timer *timer, uint64_t delay_ms)
{
    rill_loop_arm_at(loop, timer, rill_loop_deadline_ms(loop, delay_ms));
}

void rill_loop_disarm(struct rill_loop *loop, struct rill_timer *timer)
{
    rill_loop_check(loop, __func__);
    /* timer_fd stays: to fire once for nothing is cheaper than a system call for every timer disarmed. */
    rill_wheel_cancel(&loop->wheel, timer);
}

void rill_loop_set_timer_fd(struct rill_loop *loop)
{
    if (loop->next_timer_ms >= loop->timer_armed_ms)
        return;
    struct itimerspec when = {{0, 0}, {0, 0}};
    when.it_value.tv_sec = (time_t)(loop->next_timer_ms / 1000);
    when.it_value.tv_nsec = (long)(loop->next_timer_ms % 1000 * NS_PER_MS);
    if (loop->next_timer_ms == 0)
        when.it_value.tv_nsec = 1; /* 0 would disarm */
    if (rill_sys_timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
        loop->timer_armed_ms = loop->next_timer_ms;
    else
        loop->must_not_wait = true; /* cannot happen; late timers would be worse than a busy loop */
}

void rill_loop_on_timer_fd(int fd, short events, void *arg)
{
    (void)events;
    struct rill_loop *loop = arg;
    uint64_t expirations;
    if (!loop->edge_triggered && rill_sys_read(fd, &expirations, sizeof(expirations)) < 0)
        return;
    loop->timer_expired = true;
    loop->timer_armed_ms = UINT64_MAX;
}

void rill_loop_run_timers(struct rill_loop *loop)
{
    if (!loop->timer_expired && (!loop->now_valid || loop->now_ms < loop->next_timer_ms))
        return;
    loop->timer_expired = false;
    uint64_t now_ms = rill_loop_now_ms(loop);
    if (now_ms < loop->next_timer_ms)
        return;
    rill_loop_note_late_timer(loop, loop->next_timer_ms);
    /* Timers armed by the callbacks lower it again. */
    loop->next_timer_ms = UINT64_MAX;
    rill_wheel_advance(&loop->wheel, now_ms);
    uint64_t left_ms = rill_wheel_next(&loop->wheel, now_ms);
    loop->next_timer_ms = left_ms == UINT64_MAX ? UINT64_MAX : now_ms + left_ms;
}
