/* topics.c - see topics.h. The patterns are one table for all loops, as publishers on every loop need all of it. Many
 * publish at a time, and few subscribe, so its lock is one for readers and writers. */
#include "topics.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

struct hub_pattern {
    LIST_ENTRY(hub_pattern) link;
    struct rill_channel *channel;
    unsigned holders;
    char text[HUB_TOPIC_BYTES + 1];
};

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER; /* guards the patterns, and their `holders` */
static LIST_HEAD(pattern_list, hub_pattern) patterns = LIST_HEAD_INITIALIZER(patterns);

/* How long the first word of TEXT is. */
static size_t word_length(const char *text)
{
    return strcspn(text, ".");
}

static bool is_word(const char *word, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(word, text, length) == 0;
}

bool hub_is_topic(const char *text, bool wildcards)
{
    if (strlen(text) > HUB_TOPIC_BYTES)
        return false;
    for (;;) {
        size_t length = word_length(text);
        bool last = text[length] == '\0', star = is_word(text, length, "*"), rest = is_word(text, length, ">");
        if (length == 0 || ((star || rest) && !wildcards) || (rest && !last))
            return false;
        if (last)
            return true;
        text += length + 1;
    }
}

bool hub_matches(const char *pattern, const char *topic)
{
    for (;;) {
        size_t wanted = word_length(pattern), found = word_length(topic);
        if (is_word(pattern, wanted, ">"))
            return true;
        if (!is_word(pattern, wanted, "*") && (wanted != found || memcmp(pattern, topic, found) != 0))
            return false;
        if (pattern[wanted] == '\0' || topic[found] == '\0')
            return pattern[wanted] == topic[found];
        pattern += wanted + 1;
        topic += found + 1;
    }
}

/* With the lock. NULL: nobody holds it. */
static struct hub_pattern *find(const char *text)
{
    struct hub_pattern *pattern;
    LIST_FOREACH(pattern, &patterns, link)
    if (strcmp(pattern->text, text) == 0)
        return pattern;
    return NULL;
}

/* With the lock, to write. NULL: no memory. */
static struct hub_pattern *make(const char *text)
{
    struct hub_pattern *pattern = calloc(1, sizeof *pattern);
    if (!pattern || !(pattern->channel = rill_channel_new(NULL))) {
        free(pattern);
        return NULL;
    }
    memcpy(pattern->text, text, strlen(text) + 1);
    LIST_INSERT_HEAD(&patterns, pattern, link);
    return pattern;
}

struct hub_pattern *hub_pattern_hold(const char *text)
{
    pthread_rwlock_wrlock(&lock);
    struct hub_pattern *pattern = find(text);
    if (!pattern)
        pattern = make(text);
    if (pattern)
        pattern->holders++;
    pthread_rwlock_unlock(&lock);
    return pattern;
}

void hub_pattern_drop(struct hub_pattern *pattern)
{
    pthread_rwlock_wrlock(&lock);
    bool last = --pattern->holders == 0;
    if (last)
        LIST_REMOVE(pattern, link);
    pthread_rwlock_unlock(&lock);
    if (!last)
        return;
    rill_channel_unref(pattern->channel);
    free(pattern);
}

const char *hub_pattern_text(const struct hub_pattern *pattern)
{
    return pattern->text;
}

struct rill_channel *hub_pattern_channel(const struct hub_pattern *pattern)
{
    return pattern->channel;
}

int hub_publish(const char *topic, struct rill_buf *buf)
{
    struct hub_pattern *pattern;
    int error = 0;
    pthread_rwlock_rdlock(&lock);
    LIST_FOREACH(pattern, &patterns, link)
    if (hub_matches(pattern->text, topic)) {
        int result = rill_channel_publish(pattern->channel, rill_buf_ref(buf));
        error = result < 0 ? result : error;
    }
    pthread_rwlock_unlock(&lock);
    rill_buf_unref(buf);
    return error;
}
