/* options.h - the command line that all programs share. */
#ifndef RILL_APPS_OPTIONS_H
#define RILL_APPS_OPTIONS_H

#include "rill/http/server.h"

/* What an option's value is, and the type of what its `target` points to. */
enum rill_option_kind {
    RILL_OPTION_FLAG,     /* no value; bool */
    RILL_OPTION_TEXT,     /* const char * */
    RILL_OPTION_DURATION, /* uint64_t, milliseconds */
    RILL_OPTION_SIZE,     /* uint64_t, bytes */
    RILL_OPTION_SIZE_32,  /* uint32_t, bytes */
    RILL_OPTION_COUNT,    /* unsigned */
    RILL_OPTION_CUSTOM,   /* whatever `parse` makes of it */
};

struct rill_option {
    const char *name;  /* with its dashes */
    const char *value; /* what the help calls it; NULL for a flag */
    const char *help;  /* one line, with the default */
    enum rill_option_kind kind;
    void *target;
    uint64_t min, max; /* SIZE, COUNT and DURATION; max 0: no limit */
    /* CUSTOM: returns 0, or -EINVAL with *WANTED set to what would have been right. */
    int (*parse)(void *target, const char *text, const char **wanted);
};

/* Which of the shared options a program has. */
enum rill_app_kind {
    RILL_APP_HTTP,   /* serves HTTP: all of them */
    RILL_APP_SERVER, /* serves a protocol of its own: all but those of HTTP */
    RILL_APP_TOOL,   /* serves nothing: those on messages, and help */
};

#define RILL_APP_ADMIN_BYTES 160

/* One program. Set the first group; the second is filled in from the command line, over what was set there before. */
struct rill_app {
    const char *name;                  /* "rill-hello" */
    const char *summary;               /* one line */
    const char *operand;               /* what the help calls the one operand, as in "ROOT"; NULL: none is allowed */
    const struct rill_option *options; /* of this program alone */
    size_t option_count;
    enum rill_app_kind kind;
    const char *default_listen; /* NULL: 127.0.0.1:8080 */
    const char *exit_status;    /* for the help, lines that say what it means; NULL: as usual for its kind */

    struct rill_server_config server;    /* --listen, --threads and so on */
    struct rill_http_server_config http; /* HTTP's; its `net` is set from `server` when the program serves */
    const char *operand_value;           /* NULL: not given */
    const char *error_log;
    const char *proxy_from;           /* --proxy-from: of every listener, see struct rill_listen; NULL: none */
    char admin[RILL_APP_ADMIN_BYTES]; /* --admin, as rill_listen_parse() reads it; "": off */
};

/* Reads the command line into APP. Returns -1 when the program is to go on, or else its exit status: 0 after --help and
 * --version, 2 after a usage error, which was written to standard error in one line, 1 when the error log cannot be
 * opened. */
int rill_app_parse(struct rill_app *app, int argc, char **argv);

/* After rill_app_parse(): serves app->server's protocol, or HTTP from app->http.router, until stopped. SIGHUP reopens
 * the error log. Returns the exit status. */
int rill_app_serve(struct rill_app *app);
int rill_app_serve_http(struct rill_app *app);

/* Parses, serves ROUTES (see rill_router_add_all()) until stopped, and returns the exit status: the whole of a main()
 * for HTTP. */
int rill_app_main(struct rill_app *app, const struct rill_route *routes, int argc, char **argv);

/* The same for a protocol of its own, APP's handler being set already. */
int rill_app_server_main(struct rill_app *app, int argc, char **argv);

#endif
