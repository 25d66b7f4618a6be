/* fuzz_chat.c - fuzzes rill-redis-chat: what its users say, and what others publish on the bus, which the test plays.
 * What is published and what each user hears is held against a chat that is slow and simple.
 *
 * The input is lines, each a byte that says what happens, and text: 0, 1 or 2: that user comes, or says the text, with
 * an end of line; a, b or c: he says it without one; A, B or C: he goes. m: somebody else publishes, "TOPIC TEXT", in
 * which $ is an end of line; p: what was published arrives; l: it is lost; s: what was subscribed to is confirmed; S:
 * the text is; d: the bus goes down; u: it comes up; r: it takes no more, or again. */
#include "rill/apps/redis-chat/rooms.h"
#include "rill/apps/redis-chat/users.h"
#include "support/fuzz.h"
#include <ctype.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { USERS = 3, ROOMS = USERS + 2 /* one moves */, MOST = 64, TEXT_BYTES = 1200, PENDING_BYTES = 1002 };

static struct rill_loop *loop;

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* --- the bus --- */

struct publication {
    char topic[32], text[TEXT_BYTES];
    uint64_t tag;
    unsigned user; /* the model's */
};

struct rill_bus {
    const struct rill_bus_handler *handler;
    void *arg;
    bool up, refuses;
    char topics[ROOMS][32];
    unsigned topic_count;
    struct publication published[MOST];
    unsigned published_count, known; /* known: to the model */
};

static struct rill_bus bus;

struct rill_bus *rill_bus_new(struct rill_loop *of, const struct rill_bus_config *config,
                              const struct rill_bus_handler *handler, void *arg)
{
    (void)of;
    (void)config;
    memset(&bus, 0, sizeof bus);
    bus.handler = handler;
    bus.arg = arg;
    return &bus;
}

void rill_bus_free(struct rill_bus *freed)
{
    MUST(freed == &bus);
}

static unsigned topic_at(const char *topic)
{
    unsigned i = 0;
    while (i < bus.topic_count && strcmp(bus.topics[i], topic) != 0)
        i++;
    return i;
}

void rill_bus_subscribe(struct rill_bus *to, const char *topic)
{
    if (!to->up)
        return;
    MUST(topic_at(topic) == to->topic_count && to->topic_count < ROOMS && strlen(topic) < sizeof to->topics[0]);
    strcpy(to->topics[to->topic_count++], topic);
}

void rill_bus_unsubscribe(struct rill_bus *from, const char *topic)
{
    if (!from->up)
        return;
    unsigned i = topic_at(topic);
    MUST(i < from->topic_count);
    memmove(from->topics[i], from->topics[--from->topic_count], sizeof from->topics[0]);
}

int rill_bus_publish(struct rill_bus *on, const char *topic, const char *text, size_t length, uint64_t tag)
{
    MUST(strlen(topic) < sizeof on->published->topic && length < sizeof on->published->text);
    MUST(strlen(text) == length && !strchr(text, '\n'));
    if (!on->up)
        return -ENOTCONN;
    if (on->refuses || on->published_count == MOST)
        return -EAGAIN;
    struct publication *made = &on->published[on->published_count++];
    *made = (struct publication){.tag = tag};
    strcpy(made->topic, topic);
    strcpy(made->text, text);
    return 0;
}

/* --- the model --- */

struct user {
    int fd; /* -1: he is not there */
    bool goes;
    char nick[32], room[32], pending[PENDING_BYTES + 4096]; /* pending: said, without an end */
    size_t pending_length;
    char hears[1 << 17]; /* what he is to hear now */
    size_t hears_length;
    unsigned times; /* that he has come */
};

static struct user users[USERS];

/* Rooms that have a name. */
static struct model_room {
    char name[32];
    bool open;
} rooms[ROOMS];

static struct model_room *find_room(const char *name)
{
    for (unsigned i = 0; i < ROOMS; i++)
        if (strcmp(rooms[i].name, name) == 0)
            return &rooms[i];
    return NULL;
}

static void hears(struct user *user, const char *text, size_t length)
{
    MUST(user->hears_length + length < sizeof user->hears);
    memcpy(user->hears + user->hears_length, text, length);
    user->hears_length += length;
}

static void is_told(struct user *user, const char *line)
{
    if (user->goes)
        return;
    hears(user, line, strlen(line));
    hears(user, "\n", 1);
}

static void all_hear(const char *room, const char *line, size_t length)
{
    for (unsigned i = 0; i < USERS; i++) {
        if (users[i].fd < 0 || users[i].goes || strcmp(users[i].room, room) != 0)
            continue;
        hears(&users[i], line, length);
        hears(&users[i], "\n", 1);
    }
}

/* A guest's number is known once it was published. */
static void learn_nick(struct user *user, const char *published)
{
    if (!user->nick[0] && sscanf(starts_with(published, "* ") ? published + 2 : published, "%12[a-z0-9-]", user->nick))
        MUST(starts_with(user->nick, "guest-") && strlen(user->nick) == 12);
}

/* USER publishes BEFORE, his name and BEHIND. */
static void publishes(struct user *user, const char *before, const char *behind)
{
    char text[TEXT_BYTES], topic[40];
    if (!bus.up || bus.refuses || bus.known == MOST) {
        is_told(user, "* Redis is away: nobody has heard that");
        return;
    }
    MUST(bus.known < bus.published_count);
    struct publication *made = &bus.published[bus.known++];
    learn_nick(user, made->text);
    snprintf(text, sizeof text, "%s%s%s", before, user->nick, behind);
    snprintf(topic, sizeof topic, "chat:%s", user->room);
    MUST(strcmp(made->text, text) == 0 && strcmp(made->topic, topic) == 0);
    made->user = (unsigned)(user - users) + USERS * user->times;
}

static void close_if_empty(const char *name)
{
    struct model_room *room = find_room(name);
    for (unsigned i = 0; i < USERS; i++)
        if (users[i].fd >= 0 && strcmp(users[i].room, name) == 0)
            return;
    if (strcmp(name, "lobby") != 0)
        memset(room, 0, sizeof *room);
}

static void leaves(struct user *user)
{
    char behind[64], left[32];
    snprintf(behind, sizeof behind, " has left %s", user->room);
    publishes(user, "* ", behind);
    strcpy(left, user->room);
    user->room[0] = '\0';
    close_if_empty(left);
}

static void enters(struct user *user, const char *name)
{
    char text[64];
    struct model_room *room = find_room(name);
    if (strcmp(user->room, name) == 0) {
        is_told(user, "* you are there");
        return;
    }
    if (!room)
        snprintf((room = find_room(""))->name, sizeof room->name, "%s", name);
    snprintf(text, sizeof text, "* you are in %s", name);
    if (room->open)
        is_told(user, text);
    if (user->room[0])
        leaves(user);
    strcpy(user->room, name);
    snprintf(text, sizeof text, " has come to %s", name);
    publishes(user, "* ", text);
}

static bool is_name(const char *text)
{
    size_t length = 0;
    while (isalnum((unsigned char)text[length]) || text[length] == '-' || text[length] == '_')
        length++;
    return length >= 1 && length <= 20 && text[length] == '\0';
}

/* USER has said LINE. */
static void says(struct user *user, char *line)
{
    char text[TEXT_BYTES];
    if (*line != '/') {
        snprintf(text, sizeof text, ": %s", line);
        if (*line)
            publishes(user, "", text);
        return;
    }
    const char *word = strsep(&line, " ");
    bool nick = strcmp(word, "/nick") == 0;
    if (strcmp(word, "/quit") == 0) {
        user->goes = true;
    } else if (!nick && strcmp(word, "/join") != 0) {
        is_told(user, "* /nick NAME, /join ROOM, /quit; all else is said to the room");
    } else if (!line || !is_name(line)) {
        is_told(user, "* a name is 1 to 20 letters, digits, - and _");
    } else if (nick) {
        snprintf(text, sizeof text, " is now %s", line);
        publishes(user, "* ", text);
        strcpy(user->nick, line);
    } else {
        enters(user, line);
    }
}

/* What USER has said so far may be a line, or too much for one. */
static void takes(struct user *user)
{
    const char *end = memchr(user->pending, '\n', user->pending_length);
    size_t length = end ? (size_t)(end - user->pending) : user->pending_length;
    bool cr = end && length > 0 && end[-1] == '\r';
    if (length - cr > 1000 && (end || length >= PENDING_BYTES)) {
        is_told(user, "* a line has at most 1000 bytes");
        user->goes = true;
    } else if (end) {
        user->pending[length - cr] = '\0';
        user->pending_length = 0;
        says(user, user->pending);
    }
}

/* --- what happens --- */

/* Turns until nothing more comes; what the users hear is what the model says. */
static void settle(void)
{
    char heard[1 << 16];
    for (unsigned idle = 0; idle < 3; idle++) {
        MUST(rill_loop_turn(loop, false) == 0);
        for (unsigned i = 0; i < USERS; i++) {
            struct user *user = &users[i];
            ssize_t got = user->fd < 0 ? 0 : recv(user->fd, heard, sizeof heard, MSG_DONTWAIT);
            if (got <= 0)
                continue;
            MUST((size_t)got <= user->hears_length && memcmp(heard, user->hears, (size_t)got) == 0);
            memmove(user->hears, user->hears + got, user->hears_length -= (size_t)got);
            idle = 0;
        }
    }
}

static void turn(void)
{
    for (unsigned i = 0; i < 3; i++)
        MUST(rill_loop_turn(loop, false) == 0);
}

static void comes(struct user *user)
{
    static const struct rill_conn_config config = {.handler = &users_handler};
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    *user = (struct user){.fd = pair[0], .times = user->times + 1};
    MUST(rill_conn_adopt(loop, pair[1], NULL, &config) == 0);
    turn();
    enters(user, "lobby");
}

/* USER's end is closed, if he has not been shown out before; he is gone then. */
static void goes(struct user *user)
{
    settle();
    MUST(user->hears_length == 0);
    close(user->fd);
    turn();
    user->goes = true;
    leaves(user);
    user->fd = -1;
}

static void speaks(struct user *user, struct rill_slice text, bool whole)
{
    MUST(send(user->fd, text.bytes, text.length, MSG_NOSIGNAL) == (ssize_t)text.length);
    MUST(!whole || send(user->fd, "\n", 1, MSG_NOSIGNAL) == 1);
    turn();
    MUST(user->pending_length + text.length + 1 < sizeof user->pending);
    memcpy(user->pending + user->pending_length, text.bytes, text.length);
    user->pending_length += text.length;
    if (whole)
        user->pending[user->pending_length++] = '\n';
    takes(user);
    if (user->goes) {
        settle();
        goes(user);
    }
}

static void confirm(struct rill_slice topic)
{
    char name[32], text[64];
    bus.handler->on_subscribed(bus.arg, topic);
    if (topic.length < 6 || topic.length > 25 || memcmp(topic.bytes, "chat:", 5) != 0)
        return;
    snprintf(name, sizeof name, "%.*s", (int)topic.length - 5, topic.bytes + 5);
    struct model_room *room = strlen(name) == topic.length - 5 ? find_room(name) : NULL;
    if (!room || room->open)
        return;
    room->open = true;
    snprintf(text, sizeof text, "* you are in %s", name);
    all_hear(name, text, strlen(text));
}

static void arrives(struct rill_slice topic, struct rill_slice text)
{
    char name[32];
    bus.handler->on_message(bus.arg, topic, text);
    if (topic.length < 6 || topic.length > 25 || memcmp(topic.bytes, "chat:", 5) != 0)
        return;
    snprintf(name, sizeof name, "%.*s", (int)topic.length - 5, topic.bytes + 5);
    bool is_line = text.length < 1104 && !memchr(text.bytes, '\n', text.length);
    if (!is_line || strlen(name) != topic.length - 5 || !find_room(name))
        return;
    char seen[1104];
    for (size_t i = 0; i < text.length; i++) {
        bool c1_begins = i + 1 < text.length && text.bytes[i] == '\xc2' && (text.bytes[i + 1] & '\xe0') == '\x80';
        bool c1_ends = i > 0 && text.bytes[i - 1] == '\xc2' && (text.bytes[i] & '\xe0') == '\x80';
        bool c0 = iscntrl((unsigned char)text.bytes[i]) && text.bytes[i] != '\t';
        seen[i] = c0 || c1_begins || c1_ends ? '?' : text.bytes[i];
    }
    all_hear(name, seen, text.length);
}

static void comes_up(void)
{
    bus.up = true;
    bus.handler->on_up(bus.arg);
}

static void goes_down(void)
{
    static const char line[] = "* Redis is away: nothing is heard until it is back";
    bus.up = false;
    bus.topic_count = 0;
    bus.handler->on_down(bus.arg);
    for (unsigned i = 0; i < ROOMS; i++) {
        rooms[i].open = false;
        if (rooms[i].name[0])
            all_hear(rooms[i].name, line, sizeof line - 1);
    }
}

static void is_over(bool lost)
{
    for (unsigned i = 0; i < bus.published_count; i++) {
        const struct publication *made = &bus.published[i];
        struct user *user = &users[made->user % USERS];
        if (!lost && topic_at(made->topic) < bus.topic_count) {
            arrives(rill_slice_of(made->topic), rill_slice_of(made->text));
        } else if (lost) {
            bus.handler->on_lost(bus.arg, made->tag);
            if (user->fd >= 0 && user->times == made->user / USERS)
                is_told(user, "* Redis is away: perhaps nobody has heard that");
        }
    }
    bus.published_count = bus.known = 0;
}

static void publish_for_others(struct rill_slice text)
{
    const char *space = memchr(text.bytes, ' ', text.length);
    size_t length = space ? (size_t)(space - text.bytes) : text.length;
    struct rill_slice topic = {text.bytes, length}, rest = {text.bytes + length, text.length - length};
    if (!space)
        return;
    rest.bytes++;
    rest.length--;
    char *exact_topic = fuzz_copy(topic), *exact_text = fuzz_copy(rest);
    for (size_t i = 0; i < rest.length; i++)
        exact_text[i] = exact_text[i] == '$' ? '\n' : exact_text[i];
    arrives((struct rill_slice){exact_topic, topic.length}, (struct rill_slice){exact_text, rest.length});
    free(exact_text);
    free(exact_topic);
}

/* False: nothing. */
static bool happens(char what, struct rill_slice text)
{
    const char *all = "012abcABC", *at = strchr(all, what);
    struct user *user = at && what ? &users[(at - all) % USERS] : NULL;
    if (user && user->fd < 0)
        comes(user);
    else if (user && isupper((unsigned char)what))
        goes(user);
    else if (user)
        speaks(user, text, isdigit((unsigned char)what));
    else if (what == 'm')
        publish_for_others(text);
    else if (what == 'p' || what == 'l')
        is_over(what == 'l');
    else if (what == 'S')
        confirm(text);
    else if (what == 's')
        for (unsigned i = 0; i < bus.topic_count; i++)
            confirm(rill_slice_of(bus.topics[i]));
    else if (what == 'd' && bus.up)
        goes_down();
    else if (what == 'r')
        bus.refuses = !bus.refuses;
    else if (what == 'u' && !bus.up)
        comes_up();
    else
        return false;
    return true;
}

static void check(void)
{
    unsigned count = 0;
    settle();
    MUST(bus.known == bus.published_count);
    for (unsigned i = 0; i < ROOMS; i++) {
        char topic[40];
        snprintf(topic, sizeof topic, "chat:%.31s", rooms[i].name);
        count += rooms[i].name[0] != '\0';
        MUST(!bus.up || !rooms[i].name[0] || topic_at(topic) < bus.topic_count);
    }
    MUST(bus.topic_count == (bus.up ? count : 0));
    for (unsigned i = 0; i < USERS; i++)
        MUST(users[i].fd < 0 || users[i].hears_length == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rill_bus_config config;
    struct rill_slice script = {(const char *)data, size}, line;
    int error;
    if (size > 4096)
        return 0;
    if (!loop)
        loop = rill_loop_new(&(struct rill_loop_config){.name = "fuzz"}, &error);
    MUST(loop);
    memset(rooms, 0, sizeof rooms);
    for (unsigned i = 0; i < USERS; i++)
        users[i].fd = -1;
    MUST(rooms_start(loop, &config) == 0);
    strcpy(rooms[0].name, "lobby");
    while ((line = fuzz_take_line(&script)).bytes) {
        if (line.length > 0 && happens(line.bytes[0], (struct rill_slice){line.bytes + 1, line.length - 1}))
            check();
    }
    for (unsigned i = 0; i < USERS; i++)
        if (users[i].fd >= 0)
            goes(&users[i]);
    check();
    rooms_stop(loop);
    return 0;
}
