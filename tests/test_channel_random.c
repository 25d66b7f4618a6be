/* test_channel_random.c - channels and connections at random, with sockets that take what they like, against a model
 * that knows what was published and when each member came: nobody hears what he should not, torn, twice, or out of
 * order; what each policy promises holds; and memory is bounded at every step. */
#include "rill/core/sys.h"
#include "rill/net/channel_internal.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* As ck_assert(), which says where it is to another process each time that it is passed. */
#define must(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("%s", #condition);                                                                            \
    } while (0)

enum { CHANNELS = 2, CONNS = 8, STEPS = 1500, LONGEST = 300, HEADER = 1 + 1 + 6 + 3 };

/* One connection's membership of one channel, as it should be. */
struct seat {
    bool member;
    struct rill_membership how;
    uint32_t from; /* the number of the first message that it may hear */
    uint32_t next; /* the least that it may hear now, gaps allowed or not */
};

static struct {
    struct rill_channel *channel;
    uint32_t published;
} channels[CHANNELS];

static struct {
    struct rill_conn_id id;
    int peer;
    struct seat seats[CHANNELS];
    char partial[HEADER + LONGEST + 1];
    size_t partial_length;
} conns[CONNS];

static struct test_random dice;
static int alive;

static size_t below(size_t bound)
{
    return test_random_below(&dice, bound);
}

static struct rill_conn *conn_of(unsigned i)
{
    return rill_conn_find(rig.loop, conns[i].id);
}

static void adopt(unsigned i)
{
    if (conns[i].peer > 0)
        close(conns[i].peer);
    memset(&conns[i], 0, sizeof conns[i]);
    conns[i].id = rill_conn_id(rig_adopt());
    conns[i].peer = rig.peer;
    rig.peer = -1;
}

/* --- messages: "<", the channel, the number, the length of what follows, that, ">" --- */

static void on_release(void *arg)
{
    free(arg);
    alive--;
}

static void publish(unsigned c)
{
    size_t padding = below(below(4) ? 20 : LONGEST), length = HEADER + padding + 1;
    char *bytes = malloc(length + 1);
    snprintf(bytes, length + 1, "<%u%06u%03zu", c, channels[c].published, padding);
    memset(bytes + HEADER, 'a' + (int)(channels[c].published % 26), padding);
    bytes[length - 1] = '>';
    alive++;
    must(rill_channel_publish(channels[c].channel, rill_buf_wrap(bytes, length, on_release, bytes)) == 0);
    channels[c].published++;
}

static void heard_message(unsigned i, const char *text, size_t length)
{
    unsigned c, number, padding;
    must(sscanf(text, "<%1u%6u%3u", &c, &number, &padding) == 3);
    must(c < CHANNELS);
    must(length == HEADER + padding + 1);
    for (size_t k = HEADER; k < length - 1; k++)
        must(text[k] == 'a' + (int)(number % 26));
    struct seat *seat = &conns[i].seats[c];
    must(number >= seat->next); /* neither twice nor out of order, nor from before it came */
    if (seat->member && seat->how.slow == RILL_SLOW_CLOSE && number >= seat->from)
        must(number == (seat->next < seat->from ? seat->from : seat->next));
    seat->next = number + 1;
}

static void hear(unsigned i)
{
    char bytes[512];
    ssize_t got = read(conns[i].peer, bytes, 1 + below(sizeof bytes));
    for (ssize_t k = 0; k < got; k++) {
        if (bytes[k] == '|') { /* the app's own, between messages only */
            must(conns[i].partial_length == 0);
            continue;
        }
        must(conns[i].partial_length < sizeof conns[i].partial);
        conns[i].partial[conns[i].partial_length++] = bytes[k];
        if (bytes[k] == '>') {
            heard_message(i, conns[i].partial, conns[i].partial_length);
            conns[i].partial_length = 0;
        }
    }
}

/* --- what may happen --- */

static void join_or_leave(unsigned i, unsigned c)
{
    struct rill_conn *conn = conn_of(i);
    struct seat *seat = &conns[i].seats[c];
    if (!conn)
        return;
    must(rill_channel_leave(channels[c].channel, conn) == seat->member);
    seat->member = !seat->member && rill_conn_is_open(conn);
    if (!seat->member)
        return;
    seat->how = (struct rill_membership){.slow = (enum rill_slow)below(3), .max_messages = 1 + (uint32_t)below(8)};
    seat->from = channels[c].published;
    if (below(3) == 0)
        seat->how.max_messages = 10000; /* never reached */
    must(rill_channel_join(channels[c].channel, conn, &seat->how) == 0);
}

static void limit_sending(void)
{
    faulty_sys.send_limited = below(3) > 0;
    faulty_sys.send_quota = below(600);
    faulty_sys.most_sent = below(2) ? 0 : 1 + below(200);
}

static void step(void)
{
    unsigned i = (unsigned)below(CONNS);
    struct rill_conn *conn = conn_of(i);
    switch (below(16)) {
    case 0:
        join_or_leave(i, (unsigned)below(CHANNELS));
        break;
    case 1:
        if (conn && rill_conn_is_open(conn))
            must(rill_conn_send(conn, "|", 1) == 0);
        break;
    case 2:
        limit_sending();
        break;
    case 3:
        if (below(8) == 0 && conn)
            rill_conn_close(conn, RILL_CLOSE_LOCAL);
        if (below(8) == 0 && conn)
            rill_conn_finish(conn, false);
        break;
    case 4:
        if (!conn && below(2))
            adopt(i);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        publish((unsigned)below(CHANNELS));
        break;
    case 9:
    case 10:
    case 11:
        hear(i);
        break;
    default:
        rig_turns(1);
        break;
    }
}

/* After some turns nothing is on its way: what is alive waits for somebody, within his limits, or is being sent to him.
 */
static void check_memory(void)
{
    uint64_t most = CONNS;
    for (unsigned i = 0; i < CONNS; i++)
        for (unsigned c = 0; c < CHANNELS; c++) {
            const struct seat *seat = &conns[i].seats[c];
            if (seat->member && conn_of(i))
                most += seat->how.slow == RILL_SLOW_CONFLATE ? 1 : seat->how.max_messages;
        }
    must((uint64_t)alive <= most);
}

START_TEST(at_random)
{
    faulty_sys_reset();
    rig_set_up(
        (enum rill_backend)(1 + _i % 2)); /* with edges a socket that the kernel did not fill would tell nothing */
    dice = (struct test_random){(uint64_t)_i};
    alive = 0;
    memset(conns, 0, sizeof conns);
    for (unsigned c = 0; c < CHANNELS; c++) {
        channels[c].channel = rill_channel_new(NULL);
        if (below(2))
            channels[c].channel->slice = 1 + (uint32_t)below(CONNS); /* deliveries of several turns */
        channels[c].published = 0;
    }
    for (unsigned i = 0; i < CONNS; i++) {
        adopt(i);
        join_or_leave(i, i % CHANNELS);
    }
    for (int n = 0; n < STEPS; n++) {
        step();
        if (n % 64 == 0) {
            rig_turns(30);
            check_memory();
        }
    }
    /* All have time enough to hear what is theirs. */
    faulty_sys.send_limited = false;
    faulty_sys.most_sent = 0;
    for (int n = 0; n < 200 || alive > 0; n++) {
        must(n < 10000);
        rig_turns(1);
        for (unsigned i = 0; i < CONNS; i++)
            hear(i);
    }
    for (unsigned i = 0; i < CONNS; i++)
        for (unsigned c = 0; c < CHANNELS; c++) {
            const struct seat *seat = &conns[i].seats[c];
            struct rill_conn *conn = conn_of(i);
            if (conn && rill_conn_is_open(conn) && seat->member && seat->from < channels[c].published)
                must(seat->next == channels[c].published); /* the newest reaches all */
        }
    rig_tear_down();
    for (unsigned c = 0; c < CHANNELS; c++)
        rill_channel_unref(channels[c].channel);
    for (unsigned i = 0; i < CONNS; i++)
        close(conns[i].peer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *all = tcase_create("random");
    tcase_add_loop_test(all, at_random, 0, 60);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
