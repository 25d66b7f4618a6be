/* sim_site_internal.h - what the files of the site share. */
#ifndef RILL_TESTS_SUPPORT_SIM_SITE_INTERNAL_H
#define RILL_TESTS_SUPPORT_SIM_SITE_INTERNAL_H

#include "sim_site.h"

/* sim_site.c: the rules of callbacks. CALLBACK, a constant, has come for CONN: returns what is known of it. */
struct site_conn *site_note(struct rill_conn *conn, const char *callback);
void site_note_open(struct rill_conn *conn);
void site_note_close(struct rill_conn *conn, enum rill_close_reason reason);

/* Content of N bytes, on the heap. */
char *site_content(size_t n);

/* sim_site_http.c */
extern const struct rill_conn_handler site_http_handler;
extern const struct rill_route site_routes[];

/* sim_site_streams.c */
extern const struct rill_conn_handler site_echo_handler, site_relay_handler, site_channel_handler;

#endif
