/* line_writer.h - lines from many loops into one file, written by a background thread (the access log).
 *
 * Each loop owns a channel: a ring of bytes with one producer (the loop) and one consumer (the writer's thread), with
 * no lock between them. A loop that finds its ring full drops the line and counts it; it never waits. The
 * thread gathers what all rings hold and writes it with few large writes; now and then it says in the file how many
 * lines were dropped. A file that takes nothing, because its disk is full for instance, is tried again and again; the
 * error log says so once. */
#ifndef RILL_CORE_LINE_WRITER_H
#define RILL_CORE_LINE_WRITER_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rill_line_writer;
struct rill_line_channel;

struct rill_line_writer_config {
    const char *path;           /* appended to, made when missing (0640); "-": standard output; copied */
    size_t ring_bytes;          /* of each channel, rounded up to a power of two; 0: 1 MiB */
    unsigned flush_interval_ms; /* how long a line may wait before it is written; 0: 200 */
};

/* Opens the file and starts the thread. Returns NULL and sets *ERROR to a negative errno. */
struct rill_line_writer *rill_line_writer_start(const struct rill_line_writer_config *config, int *error);

/* A channel for one producer thread. Returns NULL when memory is lacking or the writer is stopping. It lives until
 * rill_line_writer_stop(). Thread: any. */
struct rill_line_channel *rill_line_channel_new(struct rill_line_writer *writer);

/* Room for a line of at most MAX_BYTES (newline included), or NULL when the ring is full: the line is counted as
 * dropped. Follow with rill_line_channel_commit(). MAX_BYTES at most a quarter of the ring. Thread: the producer's. */
char *rill_line_channel_reserve(struct rill_line_channel *channel, size_t max_bytes);

/* The line in the room reserved last is whole and LENGTH bytes long; more than were reserved stop the process. Thread:
 * the producer's. No lock and no system call, save a wake-up of the writer when the ring gets half full. */
void rill_line_channel_commit(struct rill_line_channel *channel, size_t length);

/* Lines dropped since the start. Thread: any. */
uint64_t rill_line_writer_dropped(const struct rill_line_writer *writer);

/* Opens the path again (SIGHUP), by the background thread, soon. Thread: any. */
void rill_line_writer_reopen(struct rill_line_writer *writer);

/* Writes out what is in the rings, stops the thread and frees all, channels included; producers must have ended.
 * NULL is ignored. */
void rill_line_writer_stop(struct rill_line_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
