/* sim_site_pool.h - what sim_site_pool.c (a loop's pool, its connections) and sim_site_borrow.c (those who borrow from
 * it) share. */
#ifndef RILL_TESTS_SUPPORT_SIM_SITE_POOL_H
#define RILL_TESTS_SUPPORT_SIM_SITE_POOL_H

#include "rill/core/list.h"
#include "rill/net/conn_pool.h"
#include "sim_site_internal.h"

/* A connection of a pool, as its app may know it. */
enum pooled_state { POOLED_NEW, POOLED_CHECKED, POOLED_LEASED, POOLED_IDLE };

struct pooled {
    uint64_t id;
    enum pooled_state state;
    unsigned leases;
    uint64_t returned; /* the number of that return; 0: it was not */
    uint64_t idle_since_ms;
};

struct lender {
    struct rill_loop *loop;
    struct rill_conn_pool *pool; /* NULL: freed */
    struct rill_conn_pool_config config;
    struct rill_conn_config conn_config;
    struct rill_list waiting, leased; /* borrowers, in their order */
    bool freeing;                     /* rill_conn_pool_free() has not returned */
    struct pooled conns[SITE_CONNS];
    unsigned made;
    uint64_t returns;
};

enum borrower_state { ASKING, WAITING, LEASED, ENDED };

struct borrower {
    struct rill_list link; /* in one of the lender's lists */
    struct lender *lender;
    struct rill_lease *lease;
    enum borrower_state state;
    struct rill_timer hold;   /* he keeps the connection for a while when he is done */
    struct rill_conn_id conn; /* LEASED */
    struct rill_conn_id front;
    bool reused, patient;
    uint64_t not_before_ms; /* of "it took too long" */
    char *bytes;
    size_t n, got;
};

/* sim_site_pool.c: the pool of LOOP; what is known of CONN, which is leased or about to be. */
struct lender *site_lender_of(struct rill_loop *loop);
struct pooled *site_pooled_of(struct rill_conn *conn);

/* Gives CONN, which is not used any more, back to its pool, or closes it. */
void site_pool_give_back(struct rill_conn *conn);
void site_pool_free(struct lender *lender);

/* sim_site_borrow.c: on his connection INPUT has come; it has closed, and he takes what he has as his answer, or
 * borrows another. */
void site_borrower_hears(struct borrower *borrower, struct rill_conn *conn, struct rill_input *input);
void site_borrower_loses(struct borrower *borrower);

/* Something happens: somebody borrows, or changes his mind. */
void site_borrow(struct lender *lender);

/* The pool has gone: all who have a connection of it let it go. */
void site_borrowers_end(struct lender *lender);

#endif
