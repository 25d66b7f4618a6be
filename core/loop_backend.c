/* loop_backend.c - a libevent base with the method that was asked for.
 *
 * The flags are chosen for a loop with no libevent timers and one thread: NOLOCK saves all locking, NO_CACHE_TIME a
 * clock reading a turn, and IGNORE_ENV keeps the environment from overruling the configuration. The change list of
 * epoll (EPOLL_USE_CHANGELIST) stays off: it delays epoll_ctl to the next wait, when a descriptor that was closed and
 * opened again in between is another file, and an event added once and never changed gains nothing by it. */
#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "rill/core/loop_internal.h"

static const char *backend_name(enum rill_backend backend)
{
    switch (backend) {
    case RILL_BACKEND_EPOLL:
        return "epoll";
    case RILL_BACKEND_POLL:
        return "poll";
    case RILL_BACKEND_SELECT:
        return "select";
    }
    return "";
}

int rill_backend_parse(const char *text, enum rill_backend *backend)
{
    for (int i = RILL_BACKEND_EPOLL; i <= RILL_BACKEND_SELECT; i++) {
        if (strcmp(text, backend_name((enum rill_backend)i)) == 0) {
            *backend = (enum rill_backend)i;
            return 0;
        }
    }
    return -EINVAL;
}

int rill_loop_base_new(struct event_base **base, enum rill_backend backend)
{
    const char *wanted = backend_name(backend);
    struct event_config *config = event_config_new();
    if (config == NULL)
        return -ENOMEM;
    int error = -ENOTSUP;
    for (const char **method = event_get_supported_methods(); method != NULL && *method != NULL; method++) {
        if (strcmp(*method, wanted) == 0)
            error = 0;
        else if (event_config_avoid_method(config, *method) != 0)
            error = -ENOMEM;
    }
    if (error == 0 && (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_NO_CACHE_TIME |
                                                         EVENT_BASE_FLAG_IGNORE_ENV) != 0 ||
                       (backend == RILL_BACKEND_EPOLL && event_config_require_features(config, EV_FEATURE_ET) != 0)))
        error = -ENOTSUP;
    if (error == 0) {
        errno = 0;
        *base = event_base_new_with_config(config);
        if (*base == NULL)
            error = errno != 0 ? -errno : -ENOMEM;
    }
    event_config_free(config);
    return error;
}
