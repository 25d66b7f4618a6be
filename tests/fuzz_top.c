/* fuzz_top.c - fuzzes what rill-top makes of what a server says of itself: two samples, one after the other, and their
 * print. The input is both, with a NUL between. */
#include "rill/apps/top/top.h"
#include "support/fuzz.h"
#include <errno.h>

static void check(const struct metrics *sample)
{
    MUST(sample->loop_count <= METRICS_LOOPS);
    for (unsigned i = 0; i < sample->loop_count; i++) {
        const struct metrics_loop *loop = &sample->loops[i];
        size_t length = strnlen(loop->name, sizeof loop->name);
        MUST(length > 0 && length < sizeof loop->name);
        for (size_t k = 0; k < length; k++)
            MUST(loop->name[k] > ' ' && loop->name[k] < 0x7f);
        MUST(loop->latency.length <= METRICS_BUCKETS && loop->turn.length <= METRICS_BUCKETS);
        for (unsigned k = 0; k < i; k++)
            MUST(strcmp(loop->name, sample->loops[k].name) != 0);
    }
}

static int read_exact(struct metrics *sample, struct rill_slice text)
{
    char *copy = fuzz_copy(text);
    int result = metrics_read(sample, copy, text.length);
    free(copy);
    MUST(result == 0 || result == -EINVAL);
    check(sample);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct metrics before, now;
    static bool quiet;
    if (!quiet)
        quiet = freopen("/dev/null", "w", stdout) != NULL;
    const char *text = (const char *)data, *middle = size ? memchr(text, '\0', size) : NULL;
    size_t first = middle ? (size_t)(middle - text) : size;
    bool known = read_exact(&before, (struct rill_slice){text, first}) == 0;
    before.time = 1;
    if (known)
        top_print(&before, NULL, (unsigned)size % 200, 3 + (unsigned)size % 50);
    if (!middle || read_exact(&now, (struct rill_slice){middle + 1, size - first - 1}) < 0)
        return 0;
    now.time = 2.5;
    top_print(&now, known ? &before : NULL, (unsigned)size % 200, 3 + (unsigned)size % 50);
    return 0;
}
