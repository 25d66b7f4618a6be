/* server.h - a server: listeners, the main reactor that accepts, and the sub-reactors that serve.
 *
 * Life: rill_server_new() opens the sockets; rill_server_run() starts the sub-reactors, serves, and returns when the
 * server has stopped; rill_server_free(). Stopping is ordered: stop accepting, drain (on_stop for every connection),
 * after drain_timeout_ms close what is left, run what is queued, join. */
#ifndef RILL_NET_SERVER_H
#define RILL_NET_SERVER_H

#include "rill/core/loop.h"
#include "rill/core/workers.h"
#include "rill/net/address_rates.h"
#include "rill/net/conn.h"
#include "rill/net/listener.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_proxy_header;
struct rill_server;

/* How connections reach the sub-reactors. */
enum rill_accept_mode {
    RILL_ACCEPT_ROUND_ROBIN,       /* the main reactor accepts and deals out in turn */
    RILL_ACCEPT_LEAST_CONNECTIONS, /* the main reactor accepts; the loop with the fewest gets the next */
    RILL_ACCEPT_REUSEPORT,         /* every sub-reactor accepts on a socket of its own (SO_REUSEPORT) */
};

/* Reads "round-robin", "least-connections" or "reuseport". Returns 0 or -EINVAL. Thread: any. */
int rill_accept_mode_parse(const char *text, enum rill_accept_mode *mode);

#define RILL_SERVER_MAX_LISTENERS 32

/* One address to listen on, and what is spoken there. */
struct rill_listen {
    const char *address;                     /* see rill_listen_parse() */
    const struct rill_conn_handler *handler; /* NULL: the server's, with the server's `arg` */
    void *arg;                               /* rill_conn_arg() */
    /* Whose connections alone are accepted here ("10.0.0.0/8, ::1, unix:", see net/cidr.h): proxies, which begin each
     * with a PROXY header (net/proxy_protocol.h). Then rill_conn_peer() is their client, for limits and logs, too, and
     * on_open is called when the header has come; the connection is closed without a callback when it is malformed or
     * does not come within proxy_timeout_ms. NULL: there are no proxies. */
    const char *proxy_from;
    uint64_t proxy_timeout_ms; /* 0: 5 s */
    /* Right after on_open, with all that the header said; it is gone when this returns. May be NULL. */
    void (*on_proxy)(struct rill_conn *conn, const struct rill_proxy_header *header);
};

/* What the text of an address to listen on says. */
struct rill_listen_address {
    struct rill_addr addr;
    int fd;   /* inherited, listening already; -1: to be opened */
    int mode; /* of a Unix socket's file; 0: what the umask leaves */
};

/* Reads what rill_addr_parse() reads, and "unix:/PATH,mode=660" (octal), and "fd:N", a listening stream socket that the
 * program was started with (systemd's socket activation begins with fd:3), which the server makes non-blocking and
 * closes when it stops or fails to start; its file, if it is a Unix socket, stays. Returns 0, or -EINVAL with *WHY set
 * as there. Thread: any. */
int rill_listen_parse(const char *text, struct rill_listen_address *address, const char **why);

/* Zero is the default of every field; `handler` may be NULL only when every listener has one. */
struct rill_server_config {
    const char *name;   /* in logs; NULL: "rill" */
    const char *listen; /* one address, for the server's handler ... */
    struct rill_listen
        listens[RILL_SERVER_MAX_LISTENERS]; /* ... and further ones, up to the first without an address */
    int threads;                            /* sub-reactors; 0: all is done by the main reactor */
    enum rill_accept_mode accept;
    enum rill_backend backend;
    bool pin;    /* bind loops to CPUs */
    int backlog; /* of listen(2); 0: the system's limit */
    /* Of this server's; 0: what the descriptor limit allows. When they become so many that a sixteenth is left (64 at
     * the most), idle ones are closed for those who come; at the limit accepting pauses, and those are closed whose
     * peers keep them waiting (`awaits` in struct rill_conn_handler). */
    unsigned max_connections;
    /* Of memory for output that peers have not taken and for input that was not consumed, of all connections; 0: no
     * limit. At three quarters idle connections are closed, oldest first; at thirteen sixteenths those whose peers
     * have kept them waiting for longest, too; at seven eighths new work should be refused (rill_server_refusing()); at
     * fifteen sixteenths accepting pauses; and at the limit is closed who would need more behind what waits already.
     * Each loop may be 64 KiB off.
     */
    uint64_t max_buffered_bytes;
    /* From one IPv4 address or one IPv6 /64, of this server's; more are closed unheard; 0: no limit. */
    unsigned max_connections_per_address;
    struct rill_rate max_accepts_per_address; /* new connections; more are closed unheard */
    unsigned workers;                         /* threads of the pool, rill_loop_workers() of every loop; 0: no pool */
    unsigned worker_queue;                    /* jobs that may wait for one; 0: 1024 */
    const char *trace_path;                   /* where core/trace.h writes; NULL: nowhere */
    unsigned trace_sample;                    /* as there */
    uint64_t drain_timeout_ms;                /* 0: 10 s */
    uint64_t stall_threshold_ms;              /* loops are looked after, see core/watchdog.h; 0: they are not */
    enum rill_defer_accept defer_accept;      /* for protocols in which the client speaks first */
    const struct rill_conn_handler *handler;
    void *arg;                /* rill_conn_arg() */
    uint64_t idle_timeout_ms; /* these seven as in struct rill_conn_config */
    uint64_t write_timeout_ms;
    size_t high_watermark;
    size_t low_watermark;
    size_t max_input_bytes;
    size_t max_output_bytes;
    enum rill_output_limit output_limit;
    /* Called for each loop before any connection on it, by its own thread (the main loop: by the caller of
     * rill_server_run()). A negative errno ends the start. */
    int (*on_loop_start)(struct rill_loop *loop, void *arg);
    /* Called on each loop that on_loop_start succeeded on, when it has closed its last connection for good, before it
     * ends. */
    void (*on_loop_stop)(struct rill_loop *loop, void *arg);
    /* All connections have ended and the loops still run, on the main loop: the time to stop what posts to them. The
     * server's own pool is stopped next. */
    void (*on_drained)(struct rill_server *server, void *arg);
    /* SIGHUP, on the main loop. */
    void (*on_reload)(struct rill_server *server, void *arg);
};

/* Checks CONFIG (copied), makes the main loop and opens the listening sockets. Returns NULL when that fails, having
 * logged what was wanted, what was found and what to do, and sets *ERROR to a negative errno. */
struct rill_server *rill_server_new(const struct rill_server_config *config, int *error);

/* Serves until stopped. With SIGNALS, takes SIGINT and SIGTERM (drain; the second one stops at once), SIGHUP (reload)
 * and ignores SIGPIPE and SIGXFSZ; without, the program sees to them. Returns 0 after an orderly stop, or a negative
 * errno. Runs once. Thread: with SIGNALS the one that made the server. */
int rill_server_run(struct rill_server *server, bool signals);

/* Frees a server that does not run. NULL is ignored. */
void rill_server_free(struct rill_server *server);

/* new, run with signals, free: the whole of a main(). Returns the exit status: 0, or 1. */
int rill_server_main(const struct rill_server_config *config);

/* Begins to stop: drains, or with NOW closes everything at once. Called before or during the start, it takes effect
 * when that has ended. May be called again. Thread: any, callbacks of connections and loops included. */
void rill_server_stop(struct rill_server *server, bool now);

/* Whether the server is draining. Thread: any. */
bool rill_server_is_stopping(const struct rill_server *server);

/* Connections refused so far because of max_connections_per_address or max_accepts_per_address, or because they came
 * from elsewhere than the proxies of a listener. Thread: any. */
uint64_t rill_server_refused(const struct rill_server *server);

/* A flag that is true while SERVER is overloaded and new work should be refused: for protocols, to be read with
 * __atomic_load_n() before each piece of work. Good until rill_server_free(). Without a server (NULL) it
 * is never true. Thread: any. */
const bool *rill_server_refusing(const struct rill_server *server);

/* For protocols whose handlers have `awaits`: how a request has ended that came in on LOOP, which serves. It was
 * refused, for rill_server_refusing() or a reason of the program's own: then the server is overloaded, which its log
 * says (once, and once when it is over), and its metrics. Or it was answered, or given up. When so many are refused
 * that the loop cannot keep up with it, it leaves requests unread, and lets one in for each that is answered
 * (net/admission.c). Thread: LOOP's. */
void rill_server_note_refused(struct rill_loop *loop);
void rill_server_note_answered(struct rill_loop *loop);

/* The pool; NULL when none was asked for. It refuses jobs once all connections have ended, and goes with
 * rill_server_free(). Thread: any. */
struct rill_workers *rill_server_workers(const struct rill_server *server);

/* The loop that accepts. Thread: any. */
struct rill_loop *rill_server_main_loop(const struct rill_server *server);

/* The loops that serve: their number and the I-th, NULL before rill_server_run(). They accept no posts any more once it
 * has returned, and go with rill_server_free(). Thread: any. */
unsigned rill_server_loop_count(const struct rill_server *server);
struct rill_loop *rill_server_loop(const struct rill_server *server, unsigned i);

/* The port of the I-th listener, for those opened with port 0; 0 for a Unix socket. Thread: any. */
unsigned rill_server_port(const struct rill_server *server, unsigned i);

/* Sends BUF on the connection that ID names, taking over the reference, or closes it, from any thread. Returns 0 when
 * the order was posted: a connection gone by then drops it; -ESTALE: ID names no loop of this server; -ENOMEM;
 * -ESHUTDOWN. */
int rill_server_send(struct rill_server *server, struct rill_conn_id id, struct rill_buf *buf);
int rill_server_close(struct rill_server *server, struct rill_conn_id id);

#ifdef __cplusplus
}
#endif

#endif
