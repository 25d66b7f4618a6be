/* message_mutator.c - see message_mutator.h. Only the fuzzers have it called: it asks libFuzzer for its own changes,
 * too. */
#include "message_mutator.h"
#include "fuzz.h"
#include "random.h"

enum { MAX_LINES = 200 };

/* Lines that matter, whole or nearly so. */
static const char *const lines[] = {
    "GET / HTTP/1.1\r\n",
    "POST http://a:80/b?c HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "CONNECT [::1]:443 HTTP/1.1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 304\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "Host: a\r\n",
    "Host:\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked;a=b\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "Trailer: x\r\n",
    "X: y\r\n",
    " folded\r\n",
    "\r\n",
    "\n",
    "0\r\n",
    "0\r\n\r\n",
    "1\r\na\r\n",
    "5;name=value;quoted=\"a\\\"b\"\r\nhello\r\n",
    "00000005\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000000\r\n",
};

/* A message, and what is to become of it. */
struct edit {
    const uint8_t *bytes;
    size_t starts[MAX_LINES + 1]; /* of the lines; the last is the end */
    unsigned count;
    uint8_t *out;
    size_t length, room;
};

static void put(struct edit *edit, const void *bytes, size_t length)
{
    length = length < edit->room - edit->length ? length : edit->room - edit->length;
    if (length > 0)
        memcpy(edit->out + edit->length, bytes, length);
    edit->length += length;
}

static void put_line(struct edit *edit, unsigned line)
{
    put(edit, edit->bytes + edit->starts[line], edit->starts[line + 1] - edit->starts[line]);
}

static void find_lines(struct edit *edit, const uint8_t *bytes, size_t size)
{
    edit->bytes = bytes;
    edit->starts[0] = 0;
    for (size_t i = 0; i < size && edit->count + 1 < MAX_LINES; i++)
        if (bytes[i] == '\n')
            edit->starts[++edit->count] = i + 1;
    if (edit->starts[edit->count] < size)
        edit->starts[++edit->count] = size;
}

/* A chunk around LINE, so that what is content has its right length. */
static void put_chunk(struct edit *edit, unsigned line)
{
    char size[24];
    size_t length = edit->starts[line + 1] - edit->starts[line];
    put(edit, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", length));
    put_line(edit, line);
    put(edit, "\r\n", 2);
}

static void change(struct edit *edit, struct test_random *random)
{
    unsigned at = (unsigned)test_random_below(random, edit->count + 1u), how = (unsigned)test_random_below(random, 6);
    unsigned other = (unsigned)test_random_below(random, edit->count);
    for (unsigned line = 0; line <= edit->count; line++) {
        if (line == at && (how == 0 || how == 1)) {
            const char *inserted = lines[test_random_below(random, rill_array_length(lines))];
            put(edit, inserted, strlen(inserted));
        } else if (line == at && how == 2 && edit->count > 0) {
            put_line(edit, other);
        }
        if (line == edit->count)
            break;
        if (line == at && how == 3)
            continue;
        if (line == at && how == 4)
            put_chunk(edit, line);
        else
            put_line(edit, how == 5 && line == at ? other : how == 5 && line == other && at < edit->count ? at : line);
    }
}

size_t message_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, size_t prefix)
{
    struct test_random random = {seed};
    uint8_t copy[8192];
    struct edit edit = {.out = data + prefix, .room = max - prefix};
    if (size <= prefix || size > sizeof copy || max <= prefix || test_random_below(&random, 2) == 0)
        return LLVMFuzzerMutate(data, size, max);
    memcpy(copy, data, size);
    find_lines(&edit, copy + prefix, size - prefix);
    change(&edit, &random);
    return prefix + edit.length;
}
