/* exchange.c - the request as a handler sees it, its body, and the ways to answer later. */
#include "rill/http/exchange.h"
#include "rill/core/sys.h"
#include "rill/http/session_internal.h"

enum { WORK_DEADLINE_MS = 30000 };

/* --- the request --- */

enum rill_method rill_exchange_method(const struct rill_exchange *x)
{
    return (enum rill_method)x->parser.method;
}

struct rill_slice rill_exchange_method_name(const struct rill_exchange *x)
{
    return rill_parser_method(&x->parser, x->base);
}

struct rill_slice rill_exchange_path(const struct rill_exchange *x)
{
    return x->path;
}

struct rill_slice rill_exchange_query(const struct rill_exchange *x)
{
    return rill_parser_query(&x->parser, x->base);
}

struct rill_slice rill_exchange_target(const struct rill_exchange *x)
{
    return rill_parser_target(&x->parser, x->base);
}

struct rill_slice rill_exchange_authority(const struct rill_exchange *x)
{
    return rill_parser_authority(&x->parser, x->base);
}

struct rill_slice rill_exchange_header(const struct rill_exchange *x, enum rill_header_id id)
{
    return rill_parser_header(&x->parser, x->base, id);
}

struct rill_slice rill_exchange_header_named(const struct rill_exchange *x, const char *name)
{
    return rill_parser_header_named(&x->parser, x->base, rill_slice_of(name));
}

struct rill_slice rill_exchange_param(const struct rill_exchange *x, const char *name)
{
    struct rill_slice wanted = rill_slice_of(name);
    for (unsigned i = 0; i < x->match.param_count; i++)
        if (rill_slice_equal(x->match.params[i].name, wanted))
            return x->match.params[i].value;
    return (struct rill_slice){NULL, 0};
}

unsigned rill_exchange_version_minor(const struct rill_exchange *x)
{
    return x->parser.version_minor;
}

bool rill_exchange_has_body(const struct rill_exchange *x)
{
    return x->parser.has_body;
}

uint64_t rill_exchange_content_length(const struct rill_exchange *x)
{
    return x->parser.chunked ? RILL_LENGTH_UNKNOWN : x->parser.content_length;
}

struct rill_loop *rill_exchange_loop(const struct rill_exchange *x)
{
    return x->session->http->loop;
}

const struct rill_ip *rill_exchange_peer(const struct rill_exchange *x)
{
    return rill_conn_peer(x->session->conn);
}

struct rill_arena *rill_exchange_arena(struct rill_exchange *x)
{
    return &x->arena;
}

/* --- its body --- */

void rill_exchange_read_body(struct rill_exchange *x, rill_body_fn *fn, void *arg)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct rill_session *session = x->session;
    x->on_body = fn;
    x->body_arg = arg;
    rill_session_enter(session);
    if (x->continue_wanted && x->phase == RILL_RESPONSE_NONE) {
        x->continue_wanted = false;
        rill_conn_send(session->conn, go_on, sizeof go_on - 1);
    }
    rill_session_settle(x);
    rill_session_leave(session);
}

void rill_exchange_pause_body(struct rill_exchange *x)
{
    x->body_paused = true;
    rill_session_settle(x);
}

void rill_exchange_resume_body(struct rill_exchange *x)
{
    x->body_paused = false;
    rill_session_settle(x);
}

int rill_exchange_limit_body(struct rill_exchange *x, uint64_t max_bytes)
{
    return rill_parser_limit_body(&x->parser, max_bytes);
}

int rill_exchange_keep_trailers(struct rill_exchange *x, size_t max_bytes)
{
    char *buffer = rill_arena_alloc(&x->arena, max_bytes);
    if (!buffer)
        return -ENOMEM;
    rill_parser_keep_trailers(&x->parser, buffer, max_bytes);
    return 0;
}

struct rill_slice rill_exchange_trailer(const struct rill_exchange *x, const char *name)
{
    struct rill_slice wanted = rill_slice_of(name), field, value;
    struct rill_slice section = x->body_done ? rill_parser_trailers(&x->parser) : (struct rill_slice){NULL, 0};
    while (rill_trailer_next(&section, &field, &value))
        if (rill_slice_equal_nocase(field, wanted))
            return value;
    return (struct rill_slice){NULL, 0};
}

/* --- later --- */

struct rill_exchange_id rill_exchange_id(const struct rill_exchange *x)
{
    return (struct rill_exchange_id){rill_conn_id(x->session->conn), x->session->serial};
}

struct rill_exchange *rill_exchange_find(struct rill_loop *loop, struct rill_exchange_id id)
{
    struct rill_conn *conn = rill_conn_find(loop, id.conn);
    if (!conn)
        return NULL;
    struct rill_session *session = rill_conn_user(conn);
    struct rill_exchange *x = session && session->serial == id.serial ? session->x : NULL;
    return x && x->phase != RILL_RESPONSE_COMPLETE ? x : NULL;
}

void rill_exchange_after(struct rill_exchange *x, uint64_t delay_ms, rill_handler_fn *fn, void *arg)
{
    if (x->phase == RILL_RESPONSE_COMPLETE)
        return;
    x->on_after = fn;
    x->after_arg = arg;
    rill_loop_arm(rill_exchange_loop(x), &x->after_timer, delay_ms);
}

void rill_exchange_set_deadline(struct rill_exchange *x, uint64_t delay_ms)
{
    if (delay_ms > 0)
        rill_loop_arm(rill_exchange_loop(x), &x->deadline_timer, delay_ms);
    else
        rill_loop_disarm(rill_exchange_loop(x), &x->deadline_timer);
}

/* --- the pool --- */

/* Work on its way: the loop's, the pool's from submit to `done`, then the loop's again. */
struct work_job {
    struct rill_job job;
    struct rill_exchange_id id;
    struct rill_work work;
};

static void work_run(struct rill_job *job)
{
    struct work_job *work_job = rill_container_of(job, struct work_job, job);
    work_job->work.run(work_job->work.arg);
}

static void work_done(struct rill_job *job, enum rill_job_outcome outcome)
{
    struct work_job *work_job = rill_container_of(job, struct work_job, job);
    struct rill_work work = work_job->work;
    struct rill_exchange *x =
        rill_loop_is_current(job->loop) ? rill_exchange_find(job->loop, work_job->id) : NULL; /* else it has ended */
    rill_sys_free(work_job);
    if (x && outcome == RILL_JOB_RAN)
        rill_session_call(x, work.done, work.arg);
    else if (x)
        rill_exchange_refuse(x);
    if (work.destroy)
        work.destroy(work.arg);
}

int rill_exchange_work(struct rill_exchange *x, const struct rill_work *work)
{
    struct work_job *work_job = rill_sys_malloc(sizeof *work_job);
    int error = -ENOMEM;
    if (work_job) {
        uint64_t wait_ms = work->deadline_ms ? work->deadline_ms : WORK_DEADLINE_MS;
        *work_job = (struct work_job){
            .job = {.run = work_run,
                    .done = work_done,
                    .loop = rill_exchange_loop(x),
                    .deadline_ms = rill_clock_ns() / 1000000 + wait_ms},
            .id = rill_exchange_id(x),
            .work = *work,
        };
        error = rill_workers_submit(rill_loop_workers(rill_exchange_http(x)->loop), &work_job->job);
    }
    if (error < 0) {
        rill_sys_free(work_job);
        rill_exchange_refuse(x);
        if (work->destroy)
            work->destroy(work->arg);
    }
    return error;
}

void rill_work_reply_text(struct rill_exchange *x, void *arg)
{
    rill_exchange_reply_text(x, 200, arg);
}
