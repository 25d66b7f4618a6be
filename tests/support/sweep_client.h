/* sweep_client.h - who asks the sweep's site for something, and judges what comes of it: all that was asked for, or an
 * excuse, or the end of the connection. */
#ifndef RILL_TESTS_SUPPORT_SWEEP_CLIENT_H
#define RILL_TESTS_SUPPORT_SWEEP_CLIENT_H

#include "sweep_site.h"

enum { SWEEP_PATIENCE_MS = 60000, SWEEP_MOST_RESPONSES = 3 };

enum sweep_content {
    SWEEP_NO_CONTENT,
    SWEEP_TEXT,
    SWEEP_ANY,
    SWEEP_LISTING,
    SWEEP_FILE_SMALL,
    SWEEP_FILE_LARGE,
    SWEEP_FILE_RANGE,
    SWEEP_STREAM,
    SWEEP_ECHOED,
    SWEEP_COUNTED
};

struct sweep_scene {
    const char *name;
    enum sweep_port port;
    const char *says; /* NULL: a request whose body is the stream; see `long_body` */
    unsigned status;  /* of HTTP; 0: what is said comes back */
    enum sweep_content content[SWEEP_MOST_RESPONSES];
    bool head, cold; /* the file is not in the cache */
    bool long_body, datagram;
};

/* What the present scene says. */
extern struct sweep_play {
    const struct sweep_scene *scene;
    char *bytes;
    size_t length;
    unsigned datagrams; /* the port of the site's endpoint */
} sweep_play;

/* Makes SCENE the present one; `bytes` is the caller's to free. */
void sweep_compose(const struct sweep_scene *scene);

enum sweep_verdict { SWEEP_WHOLE, SWEEP_EXCUSED, SWEEP_ENDED, SWEEP_WAITING };

/* Plays the scene on a connection of its own. */
enum sweep_verdict sweep_ask_once(void);

/* The same while calls fail. A connection that has got all that it should is as good as new afterwards. */
void sweep_ask_in_trouble(void);

/* A socket that is connected to PORT, if anybody listens there. */
int sweep_dial(unsigned port, int type);

/* Whether any call has failed since the rule was set, and that none does any more. */
bool sweep_struck(void);
void sweep_end_faults(void);

/* Ends the test, naming the scene and the call that failed last. */
__attribute__((format(printf, 1, 2), noreturn)) void sweep_broken(const char *format, ...);

#endif
