/* test_mt_channel.c - a channel over two loops, with publishers on threads of their own and on the loops: one order for
 * all, members that come and go, loops and servers that stop under it, and whoever is the last to let go. */
#include "rill/core/log.h"
#include "rill/core/loop_group.h"
#include "rill/core/timers.h"
#include "rill/net/channel_internal.h"
#include "rill/net/server.h"
#include "support/run_suite.h"
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOPS = 2, PUBLISHERS = 3, MEMBERS = 6, MESSAGES = 2000, CHURNED = 24 };

struct message {
    uint32_t publisher, number;
};

static struct rill_loop_group *group;
static struct rill_channel *channel;
static int alive; /* atomic: messages that somebody holds */
static bool over; /* atomic: publishers stop */
static int wrong; /* atomic */

static void on_data(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    rill_input_consume(input, input->length);
}

static __thread struct rill_conn *adopted; /* last, by this thread */

static void on_open(struct rill_conn *conn)
{
    adopted = conn;
}

static const struct rill_conn_handler handler = {.on_open = on_open, .on_data = on_data};
static const struct rill_conn_config config = {.handler = &handler};

static void begin(const struct rill_channel_config *channel_config, bool slices)
{
    int error;
    signal(SIGPIPE, SIG_IGN);
    alive = wrong = 0;
    over = false;
    group = rill_loop_group_start(&(struct rill_loop_group_config){.count = LOOPS, .first_index = 1}, &error);
    ck_assert_ptr_nonnull(group);
    channel = rill_channel_new(channel_config);
    ck_assert_ptr_nonnull(channel);
    if (slices)
        channel->slice = 2; /* deliveries of several turns */
}

static void mistake(void)
{
    __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

/* --- publishers --- */

static void on_release(void *arg)
{
    free(arg);
    __atomic_fetch_sub(&alive, 1, __ATOMIC_RELAXED);
}

static int publish(uint32_t publisher, uint32_t number)
{
    struct message *message = malloc(sizeof *message);
    *message = (struct message){publisher, number};
    __atomic_fetch_add(&alive, 1, __ATOMIC_RELAXED);
    return rill_channel_publish(channel, rill_buf_wrap(message, sizeof *message, on_release, message));
}

struct publisher {
    pthread_t thread;
    uint32_t number;
    uint32_t count; /* to publish; 0: until it is over */
    bool holds_a_reference;
};

static void *publish_many(void *arg)
{
    struct publisher *self = arg;
    for (uint32_t n = 0; self->count ? n < self->count : !__atomic_load_n(&over, __ATOMIC_RELAXED);) {
        int error = publish(self->number, n);
        n += error == 0;
        if (error == -EAGAIN || n % 16 == 0)
            sched_yield();
        else if (error < 0)
            mistake();
    }
    if (self->holds_a_reference)
        rill_channel_unref(channel);
    return NULL;
}

static void start_publishers(struct publisher *publishers, uint32_t count, bool with_reference)
{
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){.number = i, .count = count, .holds_a_reference = with_reference};
        if (with_reference)
            rill_channel_ref(channel);
        ck_assert_int_eq(pthread_create(&publishers[i].thread, NULL, publish_many, &publishers[i]), 0);
    }
}

static void join_publishers(struct publisher *publishers)
{
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);
}

/* --- the same order for all --- */

static struct member {
    int peer, fd;
    struct rill_loop *loop;
    struct rill_membership how;
    sem_t *joined;
    size_t length;
    char heard[PUBLISHERS * MESSAGES * sizeof(struct message)];
} members[LOOPS * MEMBERS];

static void join_one(void *arg)
{
    struct member *member = arg;
    if (rill_conn_adopt(member->loop, member->fd, NULL, &config) != 0 ||
        rill_channel_join(channel, adopted, &member->how) != 0)
        mistake();
    sem_post(member->joined);
}

static void add_members(sem_t *joined)
{
    for (unsigned i = 0; i < LOOPS * MEMBERS; i++) {
        int pair[2];
        struct member *member = &members[i];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        memset(member, 0, sizeof *member);
        member->fd = pair[0];
        member->peer = pair[1];
        member->loop = rill_loop_group_loop(group, i % LOOPS);
        member->how = (struct rill_membership){
            .slow = RILL_SLOW_CLOSE, .max_bytes = SIZE_MAX / 2, .max_messages = UINT32_MAX / 2};
        member->joined = joined;
        ck_assert_int_eq(rill_post(member->loop, join_one, member), 0);
    }
    for (unsigned i = 0; i < LOOPS * MEMBERS; i++)
        sem_wait(joined);
}

/* Reads what all members are sent, until each has all. */
static void hear_all(void)
{
    size_t wanted = sizeof members[0].heard;
    for (unsigned done = 0; done < LOOPS * MEMBERS;) {
        struct pollfd fds[LOOPS * MEMBERS];
        for (unsigned i = 0; i < LOOPS * MEMBERS; i++)
            fds[i] = (struct pollfd){members[i].length < wanted ? members[i].peer : -1, POLLIN, 0};
        ck_assert_int_gt(poll(fds, LOOPS * MEMBERS, 60000), 0);
        for (unsigned i = 0; i < LOOPS * MEMBERS; i++) {
            struct member *member = &members[i];
            if (!(fds[i].revents & POLLIN))
                continue;
            ssize_t got = read(member->peer, member->heard + member->length, wanted - member->length);
            ck_assert_int_gt(got, 0);
            member->length += (size_t)got;
            done += member->length == wanted;
        }
    }
}

START_TEST(all_receive_all_in_one_order)
{
    struct publisher publishers[PUBLISHERS];
    uint32_t next[PUBLISHERS] = {0};
    sem_t joined;
    sem_init(&joined, 0, 0);
    begin(&(struct rill_channel_config){.max_pending_bytes = 50000}, _i); /* a loop that is behind is waited for */
    add_members(&joined);
    start_publishers(publishers, MESSAGES, false);
    hear_all();
    join_publishers(publishers);
    struct message *order = (struct message *)(void *)members[0].heard;
    for (unsigned n = 0; n < PUBLISHERS * MESSAGES; n++) {
        ck_assert_uint_lt(order[n].publisher, PUBLISHERS);
        if (order[n].number != next[order[n].publisher]++)
            mistake();
    }
    for (unsigned i = 1; i < LOOPS * MEMBERS; i++)
        ck_assert(memcmp(members[i].heard, order, sizeof members[i].heard) == 0);
    ck_assert_int_eq(wrong, 0);
    rill_loop_group_stop(group);
    for (unsigned i = 0; i < LOOPS * MEMBERS; i++)
        close(members[i].peer);
    rill_channel_unref(channel);
    ck_assert_int_eq(alive, 0);
    sem_destroy(&joined);
}
END_TEST

/* --- members that come and go --- */

/* One loop's: connections at which something happens every millisecond. */
static struct churn {
    struct rill_loop *loop;
    unsigned random, steps;
    struct {
        struct rill_conn_id id;
        int peer; /* -1: none */
        size_t partial;
        char part[sizeof(struct message)];
        uint32_t last[PUBLISHERS + LOOPS]; /* heard, and one more */
    } seats[CHURNED];
} churns[LOOPS];

/* What the peer of a seat was sent: whole messages, and of each publisher newer and newer ones. */
static void hear_seat(struct churn *churn, unsigned i)
{
    char bytes[4096];
    ssize_t got;
    while ((got = read(churn->seats[i].peer, bytes, sizeof bytes)) > 0)
        for (ssize_t k = 0; k < got; k++) {
            churn->seats[i].part[churn->seats[i].partial++] = bytes[k];
            if (churn->seats[i].partial < sizeof(struct message))
                continue;
            struct message message;
            memcpy(&message, churn->seats[i].part, sizeof message);
            churn->seats[i].partial = 0;
            if (message.publisher >= PUBLISHERS + LOOPS || message.number < churn->seats[i].last[message.publisher])
                mistake();
            else
                churn->seats[i].last[message.publisher] = message.number + 1;
        }
}

static struct rill_membership random_membership(unsigned random)
{
    return (struct rill_membership){.slow = (enum rill_slow)(random % 3), .max_messages = 1 + random / 3 % 20};
}

static void fill_seat(struct churn *churn, unsigned i)
{
    int pair[2];
    if (churn->seats[i].peer >= 0)
        close(churn->seats[i].peer);
    memset(&churn->seats[i], 0, sizeof churn->seats[i]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0 ||
        rill_conn_adopt(churn->loop, pair[0], NULL, &config) != 0) {
        mistake();
        return;
    }
    churn->seats[i].peer = pair[1];
    churn->seats[i].id = rill_conn_id(adopted);
    int small = 4096;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    struct rill_membership how = random_membership(churn->random >> 20);
    if (rill_channel_join(channel, adopted, &how) != 0)
        mistake();
}

static void churn_step(void *arg)
{
    struct churn *churn = arg;
    for (int k = 0; k < 8; k++) {
        churn->random = churn->random * 1103515245 + 12345;
        unsigned choice = churn->random >> 8, i = choice / 16 % CHURNED;
        struct rill_conn *conn = rill_conn_find(churn->loop, churn->seats[i].id);
        if (!conn)
            fill_seat(churn, i);
        else if (choice % 16 < 8)
            hear_seat(churn, i);
        else if (choice % 16 < 10)
            rill_conn_close(conn, RILL_CLOSE_LOCAL);
        else if (choice % 16 < 11)
            rill_conn_finish(conn, false);
        else if (choice % 16 < 13 && rill_channel_leave(channel, conn)) {
            struct rill_membership how = random_membership(churn->random >> 20);
            if (rill_conn_is_open(conn) && rill_channel_join(channel, conn, &how) != 0)
                mistake();
        } else if (choice % 16 < 15)
            publish(PUBLISHERS + (uint32_t)(churn - churns), churn->steps++);
        else {
            shutdown(churn->seats[i].peer, SHUT_RDWR);
        }
    }
}

static void start_churn(void *arg)
{
    struct churn *churn = arg;
    for (unsigned i = 0; i < CHURNED; i++)
        churn->seats[i].peer = -1;
    if (rill_loop_every(churn->loop, 1, churn_step, churn, NULL) != 0)
        mistake();
}

static void start_churns(void)
{
    for (unsigned i = 0; i < LOOPS; i++) {
        memset(&churns[i], 0, sizeof churns[i]);
        churns[i].loop = rill_loop_group_loop(group, i);
        churns[i].random = i + 1;
        ck_assert_int_eq(rill_post(churns[i].loop, start_churn, &churns[i]), 0);
    }
}

static void close_peers(void)
{
    for (unsigned l = 0; l < LOOPS; l++)
        for (unsigned i = 0; i < CHURNED; i++)
            if (churns[l].loop && churns[l].seats[i].peer > 0)
                close(churns[l].seats[i].peer);
}

START_TEST(members_come_and_go)
{
    struct publisher publishers[PUBLISHERS];
    struct rill_channel_stats stats;
    begin(NULL, _i);
    start_churns();
    start_publishers(publishers, 0, false);
    do {
        usleep(200000);
        rill_channel_stats(channel, &stats);
    } while (stats.published == 0);
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    join_publishers(publishers);
    rill_loop_group_stop(group);
    close_peers();
    rill_channel_stats(channel, &stats);
    ck_assert_uint_eq(stats.members, 0);
    ck_assert_int_eq(alive, 0);
    ck_assert_int_eq(wrong, 0);
    rill_channel_unref(channel);
}
END_TEST

START_TEST(loops_stop_and_go_under_the_publishers)
{
    struct publisher publishers[PUBLISHERS];
    begin(NULL, _i % 4 > 1);
    start_churns();
    start_publishers(publishers, 0, true);
    usleep(5000 + (unsigned)_i * 1000);
    rill_channel_unref(channel); /* one of the publishers will be the last, or one of the loops */
    if (_i % 2) {
        rill_loop_group_stop(group); /* frees the loops, while they publish on */
        usleep(1000);
        __atomic_store_n(&over, true, __ATOMIC_RELAXED);
        join_publishers(publishers);
    } else {
        rill_loop_group_join(group);
        usleep(1000);
        __atomic_store_n(&over, true, __ATOMIC_RELAXED);
        join_publishers(publishers);
        rill_loop_group_stop(group);
    }
    close_peers();
    ck_assert_int_eq(alive, 0);
    ck_assert_int_eq(wrong, 0);
}
END_TEST

/* --- a server --- */

static struct rill_server *server;

static void *run_server(void *arg)
{
    (void)arg;
    return rill_server_run(server, false) == 0 ? NULL : server;
}

static void join_the_channel(struct rill_conn *conn)
{
    struct rill_membership how = random_membership((unsigned)rill_conn_id(conn).value);
    if (rill_channel_join(channel, conn, &how) != 0)
        mistake();
}

static void publish_what_comes(struct rill_conn *conn, struct rill_input *input)
{
    (void)conn;
    if (rill_channel_publish(channel, rill_buf_copy(input->bytes, input->length)) < 0)
        mistake();
    rill_input_consume(input, input->length);
}

static void say_goodbye(struct rill_conn *conn, enum rill_close_reason reason)
{
    (void)conn;
    (void)reason;
    if (rill_channel_publish(channel, rill_buf_copy("goodbye\n", 8)) < 0)
        mistake();
}

static void *chatter(void *arg)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)rill_server_port(server, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[4096];
    (void)arg;
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
            for (int i = 0; i < 20 && write(fd, "hello\n", 6) == 6; i++)
                (void)!recv(fd, text, sizeof text, i % 4 ? MSG_DONTWAIT : 0);
        close(fd);
    }
    return NULL;
}

START_TEST(a_server_stops_while_it_broadcasts)
{
    static const struct rill_conn_handler chat = {
        .on_open = join_the_channel, .on_data = publish_what_comes, .on_close = say_goodbye};
    pthread_t server_thread, chatters[3];
    void *result;
    int error;
    signal(SIGPIPE, SIG_IGN);
    rill_log_set_level(RILL_LOG_ERROR);
    wrong = 0;
    over = false;
    channel = rill_channel_new(NULL);
    server = rill_server_new(
        &(struct rill_server_config){
            .listen = "127.0.0.1:0", .threads = _i % 3, .handler = &chat, .drain_timeout_ms = 50},
        &error);
    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pthread_create(&server_thread, NULL, run_server, NULL), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&chatters[i], NULL, chatter, NULL), 0);
    usleep(30000);
    rill_server_stop(server, _i / 3);
    pthread_join(server_thread, &result);
    ck_assert_ptr_null(result);
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(chatters[i], NULL);
    ck_assert_int_eq(rill_channel_publish(channel, rill_buf_copy("nobody there", 12)), 0);
    rill_server_free(server);
    ck_assert_int_eq(wrong, 0);
    rill_channel_unref(channel);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *all = tcase_create("channel");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, all_receive_all_in_one_order, 0, 2);
    tcase_add_loop_test(all, members_come_and_go, 0, 2);
    tcase_add_loop_test(all, loops_stop_and_go_under_the_publishers, 0, 8);
    tcase_add_loop_test(all, a_server_stops_while_it_broadcasts, 0, 6);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
