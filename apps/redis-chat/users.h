/* users.h - who talks in the rooms (rooms.h): a connection each, which is in one of them from the start. */
#ifndef RILL_APPS_REDIS_CHAT_USERS_H
#define RILL_APPS_REDIS_CHAT_USERS_H

#include "rill/net/conn.h"

/* For connections of a loop that has rooms. */
extern const struct rill_conn_handler users_handler;

#endif
