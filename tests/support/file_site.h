/* file_site.h - a folder of files, an HTTP server in front of it, and a plain blocking client. */
#ifndef RILL_TESTS_SUPPORT_FILE_SITE_H
#define RILL_TESTS_SUPPORT_FILE_SITE_H

#include "folder.h"
#include "rill/http/files.h"
#include "rill/http/server.h"

/* One site a test process. */
struct site {
    char folder[FOLDER_BYTES];
    char root[64];    /* in it, what is served */
    char outside[64]; /* beside that */
    struct rill_files *files;
    struct rill_router *router;
    struct rill_http_server *server;
    pthread_t thread;
};

/* Starts a site with an empty folder: files at `/`, again at `/deep/er/`, and at `/soon/` with a deadline of 50 ms;
 * `/pong` answers; `/block` holds a worker until site_unblock(). CONFIG's root and HTTP's router are filled in. */
void site_start(struct site *site, struct rill_files_config config, struct rill_http_server_config http);
void site_stop(struct site *site);

/* Lets COUNT workers go. */
void site_unblock(unsigned count);

/* Waits until COUNT jobs are running. */
void site_wait_running(struct site *site, unsigned count);

/* Jobs that the pool was given so far. */
uint64_t site_jobs(struct site *site);

/* Runs FN(LOOP, ARG) on the server's I-th loop, and waits for it. */
void site_on_loop(struct site *site, unsigned i, void (*fn)(struct rill_loop *loop, void *arg), void *arg);

/* Writes the file ROOT/NAME; its bytes are a function of SIZE and SEED, which site_bytes() gives. */
void site_write(const struct site *site, const char *name, size_t size, uint64_t seed);
char *site_bytes(size_t size, uint64_t seed); /* to be freed */

/* ROOT/NAME; good until the fourth call from here. */
const char *site_path(const struct site *site, const char *name);

/* A response as it came. */
struct response {
    char *head; /* terminated by NUL; to be freed with response_free() */
    char *body;
    size_t body_length;    /* as came */
    size_t content_length; /* as announced; SIZE_MAX without */
    unsigned status;
    bool closed; /* the connection ended before the body was complete */
};

int site_dial(const struct site *site);
void client_send(int fd, const char *text);

/* Reads one response off FD; one to HEAD, or of a status without content, has no body. */
struct response client_read(int fd, bool is_head);
void response_free(struct response *response);

/* The value of field NAME; "" when there is none. Good until the eighth call from here. */
const char *response_field(const struct response *response, const char *name);

/* Sends `METHOD PATH` with FIELDS (whole lines), and reads the response, on a connection of its own. */
struct response site_request(const struct site *site, const char *method, const char *path, const char *fields);

/* GET; the status alone. */
unsigned site_status(const struct site *site, const char *path);

#endif
