/* main.c - rill-sudoku: solves sudoku, and shows where to do what takes long. The ladder, --solve WHERE:
 *
 *   loop     where the line was read: simple, and everybody on that loop waits meanwhile
 *   pool     on the worker pool, whose queue takes everything: the loops stay quick, the queue grows with the load, and
 *            everybody waits for the whole of it
 *   bounded  on the pool, with a queue of --worker-queue: what does not fit is refused at once, so that those who are
 *            served are served soon
 *
 * A request is a line, PUZZLE or ID:PUZZLE, a puzzle 81 digits row after row, 0 or . for an empty cell, an ID up to 46
 * bytes of the client's own. The response is a line, too: the solution, NoSolution, TooHard (--max-guesses), BadRequest
 * or ServerTooBusy, after "ID:" if there was one. Requests with an ID may be answered in another order than they came
 * in; one without is answered before the next line is looked at. */
#include "rill/apps/options.h"
#include "rill/core/list.h"
#include "rill/net/framing.h"
#include "solver.h"
#include <errno.h>
#include <stdlib.h>

enum where { ON_LOOP, ON_POOL, ON_BOUNDED_POOL };

enum {
    MAX_LINE = 128,
    ENDLESS_QUEUE = 1 << 16, /* about 20 MiB of requests: the rest is refused in every mode */
    JOBS_A_WORKER = 4,       /* that may wait, when they are bounded */
};

static const struct rill_framing lines = {.kind = RILL_FRAMING_LINE, .max_bytes = MAX_LINE};

static enum where where = ON_BOUNDED_POOL;
static unsigned max_guesses = 100000;

/* What a connection has; its loop's. */
struct session {
    struct rill_framing_state framing;
    struct rill_list requests; /* in the pool */
    bool waiting;              /* for one without an ID: no line is looked at before it is answered */
    bool behind;               /* there is input that has not been looked at */
    bool ending;               /* the client says no more, or the server stops: close when all is answered */
    bool stopping;             /* the server stops: nothing more is begun */
};

/* A puzzle on its way through the pool: the loop's, the pool's from the submit to `done`, the loop's again. */
struct request {
    struct rill_job job;
    struct rill_list link; /* in the session's; in none when that has gone */
    struct rill_conn_id conn;
    enum rill_sudoku_result result;
    size_t id_length; /* with its colon */
    char line[MAX_LINE];
};

static void reply(struct rill_conn *conn, const char *id, size_t id_length, const char *text, size_t length)
{
    char line[MAX_LINE];
    memcpy(line, id, id_length);
    memcpy(line + id_length, text, length);
    rill_framing_send(&lines, conn, line, id_length + length);
}

static void reply_text(struct rill_conn *conn, const char *id, size_t id_length, const char *text)
{
    reply(conn, id, id_length, text, strlen(text));
}

static void reply_result(struct rill_conn *conn, const char *line, size_t id_length, enum rill_sudoku_result result)
{
    static const char *const words[] = {[RILL_SUDOKU_NO_SOLUTION] = "NoSolution",
                                        [RILL_SUDOKU_GIVEN_UP] = "TooHard",
                                        [RILL_SUDOKU_MALFORMED] = "BadRequest"};
    if (result == RILL_SUDOKU_SOLVED)
        reply(conn, line, id_length, line + id_length, RILL_SUDOKU_CELLS);
    else
        reply_text(conn, line, id_length, words[result]);
}

static void end_when_answered(struct rill_conn *conn)
{
    struct session *session = rill_conn_user(conn);
    if (session->ending && !session->behind && rill_list_empty(&session->requests))
        rill_conn_finish(conn, false);
}

/* --- on the pool --- */

static bool is_cancelled(void *job)
{
    return rill_job_cancelled(job);
}

static void run(struct rill_job *job)
{
    struct request *request = rill_container_of(job, struct request, job);
    struct rill_sudoku_search search = {.max_guesses = max_guesses, .is_cancelled = is_cancelled, .arg = job};
    char *puzzle = request->line + request->id_length;
    request->result = rill_sudoku_solve(puzzle, puzzle, &search);
}

static void done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct request *request = rill_container_of(job, struct request, job);
    struct rill_conn *conn = rill_conn_find(job->loop, request->conn); /* NULL: it has closed, nobody wants to know */
    if (conn) {
        struct session *session = rill_conn_user(conn);
        rill_list_remove(&request->link);
        if (outcome == RILL_JOB_RAN)
            reply_result(conn, request->line, request->id_length, request->result);
        else
            reply_text(conn, request->line, request->id_length, "ServerTooBusy");
        if (request->id_length == 0) {
            session->waiting = false;
            rill_conn_resume(conn, RILL_PAUSE_PENDING);
        }
        end_when_answered(conn);
    }
    free(request);
}

/* Gives LINE to the pool. False: there is no room. */
static bool submit(struct rill_conn *conn, struct rill_slice line, size_t id_length)
{
    struct session *session = rill_conn_user(conn);
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        return false;
    request->job = (struct rill_job){.run = run, .done = done, .loop = rill_conn_loop(conn)};
    request->conn = rill_conn_id(conn);
    request->id_length = id_length;
    memcpy(request->line, line.bytes, line.length);
    if (rill_workers_submit(rill_loop_workers(request->job.loop), &request->job) < 0) {
        free(request);
        return false;
    }
    rill_list_init(&request->link);
    rill_list_push_back(&session->requests, &request->link);
    if (id_length == 0) {
        session->waiting = true;
        rill_conn_pause(conn, RILL_PAUSE_PENDING);
    }
    return true;
}

/* --- on the loop --- */

static void take(struct rill_conn *conn, struct rill_slice line)
{
    const char *colon = memchr(line.bytes, ':', line.length);
    size_t id_length = colon ? (size_t)(colon - line.bytes) + 1 : 0;
    if (line.length - id_length != RILL_SUDOKU_CELLS) {
        reply_text(conn, line.bytes, id_length < MAX_LINE / 2 ? id_length : 0, "BadRequest");
    } else if (((const struct session *)rill_conn_user(conn))->stopping) {
        reply_text(conn, line.bytes, id_length, "ServerTooBusy");
    } else if (where == ON_LOOP) {
        struct rill_sudoku_search search = {.max_guesses = max_guesses};
        char solved[MAX_LINE];
        memcpy(solved, line.bytes, line.length);
        reply_result(conn, solved, id_length, rill_sudoku_solve(solved + id_length, solved + id_length, &search));
    } else if (!submit(conn, line, id_length)) {
        reply_text(conn, line.bytes, id_length, "ServerTooBusy");
    }
}

static void on_open(struct rill_conn *conn)
{
    struct session *session = calloc(1, sizeof *session);
    rill_conn_set_user(conn, session);
    if (session)
        rill_list_init(&session->requests);
    else
        rill_conn_close(conn, RILL_CLOSE_NO_MEMORY);
}

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    struct session *session = rill_conn_user(conn);
    struct rill_slice line;
    int got = 0;
    while (rill_conn_is_open(conn) && !session->waiting &&
           (got = rill_framing_next(&lines, &session->framing, input, &line)) > 0)
        take(conn, line);
    if (got < 0) {
        reply_text(conn, "", 0, "BadRequest");
        rill_conn_finish(conn, true); /* a line that does not end: where would the next one begin? */
    } else if (rill_conn_is_open(conn)) {
        session->behind = session->waiting && input->length > 0;
        end_when_answered(conn);
    }
}

static void on_eof(struct rill_conn *conn)
{
    struct session *session = rill_conn_user(conn);
    session->ending = true;
    end_when_answered(conn);
}

static void on_stop(struct rill_conn *conn)
{
    struct session *session = rill_conn_user(conn);
    session->stopping = true;
    on_eof(conn);
}

static void on_close(struct rill_conn *conn, enum rill_close_reason reason)
{
    struct session *session = rill_conn_user(conn);
    struct rill_list *link;
    while (session && (link = rill_list_pop_front(&session->requests)))
        rill_job_cancel(&rill_container_of(link, struct request, link)->job);
    free(session);
}

static int parse_where(void *target, const char *text, const char **wanted)
{
    static const char *const names[] = {[ON_LOOP] = "loop", [ON_POOL] = "pool", [ON_BOUNDED_POOL] = "bounded"};
    *wanted = "loop, pool or bounded is wanted";
    for (unsigned i = 0; i < rill_array_length(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *(enum where *)target = (enum where)i;
            return 0;
        }
    }
    return -EINVAL;
}

int main(int argc, char **argv)
{
    static const struct rill_conn_handler handler = {
        .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_stop = on_stop, .on_close = on_close};
    static const struct rill_option options[] = {
        {"--solve", "WHERE",
         "on the loop, on the pool, or on the pool with a bounded queue: loop, pool, bounded (bounded)",
         RILL_OPTION_CUSTOM, &where, .parse = parse_where},
        {"--max-guesses", "N", "for one puzzle; beyond it is TooHard (100000)", RILL_OPTION_COUNT, &max_guesses,
         .min = 1, .max = UINT32_MAX},
    };
    struct rill_app app = {.name = "rill-sudoku",
                           .summary = "solves sudoku: a line of 81 digits, or ID:DIGITS, at a time",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .default_listen = "127.0.0.1:7018",
                           .kind = RILL_APP_SERVER,
                           .server = {.handler = &handler, .output_limit = RILL_OUTPUT_PAUSE}};
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    if (where == ON_POOL)
        app.server.worker_queue = ENDLESS_QUEUE;
    else if (app.server.worker_queue == 0)
        app.server.worker_queue = JOBS_A_WORKER * (app.server.workers ? app.server.workers : 4);
    return rill_app_serve(&app);
}
