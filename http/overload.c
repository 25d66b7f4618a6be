/* overload.c - a request that comes when there is no room for it, or too soon after others of its sender: answered at
 * once, before its body is looked at.
 *
 * A request is in flight from the moment its handler's first call has returned and it is not answered: only then does
 * it hold anything for long, and only then is it counted, so that one that is answered at once costs no shared counter.
 */
#include "rill/core/number.h"
#include "rill/core/sys.h"
#include "rill/http/session_steps_internal.h"

static bool has_room(const struct rill_http_loop *http)
{
    const struct rill_http_server *server = http->server;
    return !__atomic_load_n(http->refusing, __ATOMIC_RELAXED) &&
           (server->config.max_requests == 0 ||
            __atomic_load_n(&server->in_flight, __ATOMIC_RELAXED) < server->config.max_requests);
}

void rill_exchange_refuse(struct rill_exchange *x)
{
    if (x->phase != RILL_RESPONSE_NONE)
        return;
    x->refused = true;
    rill_exchange_reply_status(x, 503);
}

/* It may come again in WAIT_NS. */
static void limit(struct rill_exchange *x, uint64_t wait_ns)
{
    char seconds[RILL_DECIMAL_MAX];
    size_t length = rill_decimal_format(seconds, (wait_ns + 999999999) / 1000000000);
    rill_stat_add(&rill_exchange_http(x)->stats.limited, 1);
    rill_exchange_set_header(x, "Retry-After", (struct rill_slice){seconds, length}); /* only advice: may be lacking */
    rill_exchange_reply_status(x, 429);
}

bool rill_session_turns_away(struct rill_exchange *x)
{
    const struct rill_http_loop *http = rill_exchange_http(x);
    struct rill_address_rates *rates = http->server->request_rates;
    uint64_t wait_ns = 0;
    bool room = has_room(http);
    if (RILL_UNLIKELY(rates != NULL))
        wait_ns = rill_address_rates_take(rates, rill_exchange_peer(x), rill_sys_monotonic_ns());
    if (RILL_LIKELY(room && wait_ns == 0))
        return false;
    x->callbacks++; /* concluded by the caller */
    if (wait_ns > 0)
        limit(x, wait_ns);
    else
        rill_exchange_refuse(x);
    x->callbacks--;
    return true;
}
