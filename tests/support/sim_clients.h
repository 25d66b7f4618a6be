/* sim_clients.h - the clients of a simulated server: what they send, and whether what comes back is right. */
#ifndef RILL_TESTS_SUPPORT_SIM_CLIENTS_H
#define RILL_TESTS_SUPPORT_SIM_CLIENTS_H

#include "sim.h"

enum { SIM_CLIENTS = 8, SIM_REQUESTS = 6, SIM_DRAIN_MS = 10000 };

/* A request, and what has to come back. */
struct sim_request {
    char target[40];
    bool is_head;
    size_t content; /* bytes of the response's */
};

struct sim_client {
    struct sim_peer peer;
    struct sim_request requests[SIM_REQUESTS];
    unsigned count;
    bool garbled; /* what it sends is not what is in `requests` any more */
    bool sound;   /* it sends nothing but valid requests, and all of them, and reads what comes: all is answered */
    char *sends;
    size_t length, capacity;
    size_t expected; /* bytes, about */
};

/* What is to happen in a run. */
struct sim_plan {
    struct sim_client clients[SIM_CLIENTS];
    unsigned count;
    bool stops_early, stop_now, rude; /* connections are closed from elsewhere */
    unsigned faults;                  /* one in so many calls fails while it runs; 0: none */
    unsigned messages;                /* that are published on the channel, at most */
    bool complete;                    /* members miss none */
    bool last_was_published;
    unsigned stop_at_step;
    bool stopping;
    uint64_t stopped_ms; /* when that began */
};

extern struct sim_plan sim_plan;

/* Draws CLIENT, which is all zero, and has it come. */
void sim_client_make(struct sim_client *client);

/* Fails when something came back that must not; ALL: and when something is missing that a sound client gets. */
void sim_client_check(const struct sim_client *client, bool all);

#endif
