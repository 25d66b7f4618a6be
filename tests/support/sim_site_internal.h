/* sim_site_internal.h - what the files of the site share. */
#ifndef RILL_TESTS_SUPPORT_SIM_SITE_INTERNAL_H
#define RILL_TESTS_SUPPORT_SIM_SITE_INTERNAL_H

#include "rill/net/connect.h"
#include "sim_site.h"

/* sim_site.c: the rules of callbacks. CALLBACK, a constant, has come for CONN: returns what is known of it. */
struct site_conn *site_note(struct rill_conn *conn, const char *callback);
void site_note_open(struct rill_conn *conn);
void site_note_close(struct rill_conn *conn, enum rill_close_reason reason);
struct site_conn *site_record(struct rill_conn_id id);

/* Content of N bytes, on the heap. */
char *site_content(size_t n);

/* sim_site_http.c */
extern const struct rill_conn_handler site_http_handler;
extern const struct rill_route site_routes[];

/* sim_site_streams.c */
extern const struct rill_conn_handler site_echo_handler, site_relay_handler, site_channel_handler;

/* sim_site_apps.c: on_loop_start; and all that has begun then ends. */
int site_apps_start(struct rill_loop *loop, void *arg);
void site_apps_stop(struct rill_loop *loop);

/* Where connections of the apps lead. The first ones end at the echo. */
enum site_target {
    SITE_TARGET_ECHO,
    SITE_TARGET_RACE,   /* the first address never answers, and the echo is the second */
    SITE_TARGET_SECOND, /* the first address refuses */
    SITE_TARGET_NOBODY, /* refuses */
    SITE_TARGET_HOLE,   /* never answers */
    SITE_TARGET_HOPE,   /* the first address never answers, the second one refuses: there is hope until time is up */
    SITE_TARGET_CHANNEL,
    SITE_TARGETS,
};
enum { SITE_ECHO_TARGETS = SITE_TARGET_NOBODY, SITE_QUIET_TARGETS = SITE_TARGET_CHANNEL };
void site_target(struct rill_connect_config *config, enum site_target target);

/* What runs beside the server: it begins on a loop, something happens to it, it ends; what has to hold when the loop
 * sleeps (NULL: nothing more), and when nothing can happen any more: see site_check_quiet(). */
struct site_app {
    void (*start)(struct rill_loop *loop);
    void (*prod)(struct rill_loop *loop);
    void (*stop)(struct rill_loop *loop);
    void (*check_asleep)(struct rill_loop *loop);
    void (*check_quiet)(bool all);
};
extern const struct site_app site_client_app, site_pool_app, site_datagram_app;

/* sim_site_pool.c */

/* Has N bytes said back to FRONT by a connection of its loop's pool: site_front_answered(), in which N is 0 when that
 * has failed. */
void site_pool_ask(struct rill_conn *front, const char *bytes, size_t n);

/* sim_site_datagram.c: binds the service's sockets, one for each of LOOPS loops; and closes those that no loop took. */
void site_datagram_bind(unsigned loops);
void site_datagram_unbind(void);

/* sim_site_front.c */
extern const struct rill_conn_handler site_front_handler;
void site_front_answered(struct rill_conn *conn, const char *bytes, size_t n);

#endif
