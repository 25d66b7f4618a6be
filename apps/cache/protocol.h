/* protocol.h - the command lines of memcached's text protocol (its doc/protocol.txt), read. Knows no connection and no
 * store. Thread: any. */
#ifndef RILL_APPS_CACHE_PROTOCOL_H
#define RILL_APPS_CACHE_PROTOCOL_H

#include "rill/core/base.h"

/* So long may a line be, without its end: one that names many keys, and any other. */
#define RILL_COMMAND_KEYS_MAX (512 * 1024)
#define RILL_COMMAND_LINE_MAX 2048

enum rill_verb {
    RILL_VERB_GET,
    RILL_VERB_GETS,
    RILL_VERB_GAT,
    RILL_VERB_GATS,
    RILL_VERB_SET,
    RILL_VERB_ADD,
    RILL_VERB_REPLACE,
    RILL_VERB_APPEND,
    RILL_VERB_PREPEND,
    RILL_VERB_CAS,
    RILL_VERB_DELETE,
    RILL_VERB_INCR,
    RILL_VERB_DECR,
    RILL_VERB_TOUCH,
    RILL_VERB_FLUSH_ALL,
    RILL_VERB_VERBOSITY,
    RILL_VERB_STATS,
    RILL_VERB_VERSION,
    RILL_VERB_QUIT,
};

/* Slices lie in the line. */
struct rill_command {
    enum rill_verb verb;
    bool noreply;
    struct rill_slice key; /* of GET to GATS: all keys, to be taken one by one; of STATS: which; else none or one */
    uint32_t flags;        /* of SET to CAS */
    uint32_t length;       /* of SET to CAS: of the value that follows the line, without its CR LF */
    int64_t exptime;       /* as it is written */
    uint64_t number;       /* CAS: the unique number; INCR, DECR: by how much; VERBOSITY: the level */
};

/* Reads LINE, without its end. Returns NULL, or what the client is told instead of what it wanted, which is not to be
 * said when it set `noreply`. */
const char *rill_command_parse(struct rill_slice line, struct rill_command *command);

/* Takes the next key off KEYS. Returns 1; 0 when there is none; -EINVAL when it cannot be one. All keys of a command
 * that was parsed are good. */
int rill_command_next_key(struct rill_slice *keys, struct rill_slice *key);

/* The most that a line that begins so may have, which does not depend on how much of it is there. */
size_t rill_command_limit(struct rill_slice start);

#endif
