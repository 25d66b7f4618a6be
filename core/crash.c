/* crash.c - see crash.h. All that runs in the handler is written so that it may be interrupted anywhere: write(2), and
 * from glibc backtrace() and backtrace_symbols_fd(), which allocate nothing once their library is loaded. What is
 * riskier comes later, so that a second fault, in the report itself, costs its end only. */
#include "rill/core/crash_internal.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/prctl.h>

#include "rill/core/log.h"
#include "rill/core/loop_internal.h"
#include "rill/core/sys.h"

enum {
    STACK_BYTES = 64 * 1024, /* a signal's frame has up to 12 KiB, with all that a CPU may have to save */
    FRAMES = 64,
};

/* The signal hook, process-wide: written by install() alone, and by who crashes. */
static bool installed;
static pid_t reporting; /* atomic: the thread that reports; 0: none */

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"},
};

/* ---- Notes --------------------------------------------------------------------------------------------- */

void rill_note_bytes(struct rill_note *note, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length && sizeof(note->text) - note->length >= 4; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != 0x7f) {
            note->text[note->length++] = (char)c;
            continue;
        }
        note->text[note->length++] = '\\';
        note->text[note->length++] = 'x';
        note->text[note->length++] = "0123456789abcdef"[c >> 4];
        note->text[note->length++] = "0123456789abcdef"[c & 15];
    }
}

void rill_note_text(struct rill_note *note, const char *text)
{
    rill_note_bytes(note, text, strlen(text));
}

void rill_note_number(struct rill_note *note, uint64_t number, unsigned base)
{
    char digits[64];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    rill_note_bytes(note, digits + at, sizeof(digits) - at);
}

void rill_loop_set_describe(struct rill_loop *loop, enum rill_loop_slot slot, rill_describe_fn *describe)
{
    rill_loop_check(loop, __func__);
    loop->describe[slot] = describe;
}

void rill_loop_describe(const struct rill_loop *loop, struct rill_note *note)
{
    for (int slot = RILL_LOOP_SLOTS - 1; slot >= 0 && note->length == 0; slot--)
        if (loop->describe[slot] != NULL && loop->slots[slot] != NULL)
            loop->describe[slot](loop->slots[slot], note);
    if (note->length == 0 && loop->task != NULL) {
        rill_note_text(note, "a task");
        note->callback = (void *)(uintptr_t)loop->task;
    }
}

/* ---- The report ---------------------------------------------------------------------------------------- */

/* Where the report goes. */
struct outputs {
    int fds[2];
    unsigned count;
};

static void say(const struct outputs *to, struct rill_note *note)
{
    note->text[note->length++] = '\n';
    for (unsigned i = 0; i < to->count; i++) {
        ssize_t ignored = rill_sys_write(to->fds[i], note->text, note->length);
        (void)ignored;
    }
    note->length = 0;
}

/* Room is left for the end of the line. */
static void begin(struct rill_note *note)
{
    *note = (struct rill_note){.length = 0};
    rill_note_text(note, "rill: crash: ");
}

static void say_what(const struct outputs *to, int number, const siginfo_t *info)
{
    struct rill_note note;
    char thread[16] = "?";
    const struct rill_loop *loop = rill_loop_current();
    begin(&note);
    for (unsigned i = 0; i < rill_array_length(signals); i++)
        if (signals[i].number == number)
            rill_note_text(&note, signals[i].name);
    if (number != SIGABRT && info->si_code > 0) {
        rill_note_text(&note, " at address 0x");
        rill_note_number(&note, (uintptr_t)info->si_addr, 16);
    }
    prctl(PR_GET_NAME, thread);
    rill_note_text(&note, " on thread ");
    rill_note_text(&note, thread);
    rill_note_text(&note, " (");
    rill_note_number(&note, (uint64_t)gettid(), 10);
    rill_note_text(&note, loop != NULL ? "), loop " : "), which runs no loop");
    if (loop != NULL)
        rill_note_bytes(&note, loop->name, strnlen(loop->name, sizeof(loop->name)));
    say(to, &note);
}

static void say_callback(const struct outputs *to)
{
    struct rill_note note, doing = {.length = 0};
    const struct rill_loop *loop = rill_loop_current();
    if (loop == NULL)
        return;
    rill_loop_describe(loop, &doing);
    begin(&note);
    rill_note_text(&note, "in ");
    rill_note_bytes(&note, doing.text, doing.length);
    if (doing.length == 0)
        rill_note_text(&note, "nothing that has a name");
    if (doing.callback != NULL)
        rill_note_text(&note, ", called back:");
    say(to, &note);
    for (unsigned i = 0; i < to->count && doing.callback != NULL; i++)
        backtrace_symbols_fd(&doing.callback, 1, to->fds[i]);
}

static void say_backtrace(const struct outputs *to)
{
    void *frames[FRAMES];
    struct rill_note note;
    int count = backtrace(frames, FRAMES);
    begin(&note);
    rill_note_text(&note, "backtrace:");
    say(to, &note);
    for (unsigned i = 0; i < to->count; i++)
        backtrace_symbols_fd(frames, count, to->fds[i]);
}

static void die(int number)
{
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigaction(number, &by_default, NULL);
    rill_sys_raise(number);
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    struct outputs to = {.fds = {STDERR_FILENO, rill_log_fd()}, .count = 1};
    to.count += to.fds[1] != STDERR_FILENO;
    pid_t other = 0, self = gettid();
    if (!__atomic_compare_exchange_n(&reporting, &other, self, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        while (other != self)
            rill_sys_poll(NULL, 0, -1); /* two threads at once: the other one's report is the process's last */
        struct rill_note note;
        begin(&note);
        rill_note_text(&note, "the report itself has crashed");
        say(&to, &note);
        die(number);
    }
    say_what(&to, number, info);
    say_callback(&to);
    say_backtrace(&to);
    die(number);
}

/* ---- Stacks and signals -------------------------------------------------------------------------------- */

static int reserve(void **stack)
{
    stack_t had, own = {.ss_size = STACK_BYTES};
    *stack = NULL;
    if (sigaltstack(NULL, &had) == 0 && (had.ss_flags & SS_DISABLE) == 0)
        return 0;
    own.ss_sp = rill_sys_mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own.ss_sp == MAP_FAILED)
        return -ENOMEM;
    if (sigaltstack(&own, NULL) != 0) {
        rill_sys_munmap(own.ss_sp, STACK_BYTES);
        return -ENOMEM;
    }
    *stack = own.ss_sp;
    return 0;
}

void *rill_crash_stack_reserve(void)
{
    void *stack = NULL;
    if (__atomic_load_n(&installed, __ATOMIC_RELAXED))
        reserve(&stack); /* without it, an overflow of the stack alone goes unreported */
    return stack;
}

void rill_crash_stack_release(void *stack)
{
    if (stack == NULL)
        return;
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    rill_sys_munmap(stack, STACK_BYTES);
}

int rill_crash_report_install(void)
{
    void *frame, *stack;
    if (__atomic_exchange_n(&installed, true, __ATOMIC_RELAXED))
        return 0;
    backtrace(&frame, 1); /* the first call loads a library, and allocates */
    for (unsigned i = 0; i < rill_array_length(signals); i++) {
        /* Nothing is blocked meanwhile: a fault within the report is to end it. */
        struct sigaction before, report = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        if (sigaction(signals[i].number, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(signals[i].number, &report, NULL);
    }
    return reserve(&stack);
}
