/* crash.h - what a program says when it dies of a fault of its own, and how each layer adds what it was doing.
 *
 * On SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT the report names the signal, the thread, its loop, what the layers
 * have to say of their work there (connection and request), and a backtrace. It goes to standard error, and to the
 * error log when that is elsewhere. Then the process dies of that signal, with a core file where those are wanted.
 * Nothing of it allocates or locks, and loops and workers have a stack set aside for it, so that one that is used up is
 * reported, too.
 *
 * The same notes tell core/watchdog.h what a stalled loop is doing. */
#ifndef RILL_CORE_CRASH_H
#define RILL_CORE_CRASH_H

#include "rill/core/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes the five signals, save those that have a handler already (a sanitizer's, for instance): these stay as they are.
 * For the whole process; call it before threads are started, so that they get their stacks. A second call does
 * nothing. Returns 0, or -ENOMEM: without a stack set aside for the caller. Thread: the main one. */
int rill_crash_report_install(void);

/* A line in the making. What does not fit is cut; control bytes are shown as \xNN. */
struct rill_note {
    size_t length;
    void *callback; /* the address of the function that has been called; NULL: not known */
    char text[480];
};

/* All three may be called in a signal handler. */
void rill_note_bytes(struct rill_note *note, const char *bytes, size_t length);
void rill_note_text(struct rill_note *note, const char *text);
void rill_note_number(struct rill_note *note, uint64_t number, unsigned base);

/* Says in NOTE, in a few words, what a layer is doing on a loop right now; VALUE is what the layer keeps in its slot.
 * It is called by a signal handler, on the loop's thread, anywhere in the layer's code: it only reads, and calls
 * nothing but these functions. */
typedef void rill_describe_fn(const void *value, struct rill_note *note);

/* Has DESCRIBE speak for SLOT, whose value is set. Thread: the loop's. */
void rill_loop_set_describe(struct rill_loop *loop, enum rill_loop_slot slot, rill_describe_fn *describe);

#ifdef __cplusplus
}
#endif

#endif
