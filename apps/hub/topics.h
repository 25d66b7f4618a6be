/* topics.h - what the hub knows of topics and of the patterns that somebody has subscribed to.
 *
 * A topic is words between dots: "news.sport.chess". In a pattern, "*" stands for any one word, and ">" at its end for
 * any number of words, at least one: "news.*.chess" and "news.>" both match the above, "news.*" does not.
 *
 * Thread: any, all of it. */
#ifndef RILL_APPS_HUB_TOPICS_H
#define RILL_APPS_HUB_TOPICS_H

#include "rill/net/channel.h"

enum { HUB_TOPIC_BYTES = 200 };

/* Whether TEXT is a topic, or with WILDCARDS a pattern: not too long, and no word of it empty. */
bool hub_is_topic(const char *text, bool wildcards);

/* Whether PATTERN matches TOPIC. */
bool hub_matches(const char *pattern, const char *topic);

/* A pattern with subscribers, and the channel of those. */
struct hub_pattern;

/* The entry of the pattern TEXT, made for its first subscriber; held until hub_pattern_drop(). NULL: no memory. */
struct hub_pattern *hub_pattern_hold(const char *text);
void hub_pattern_drop(struct hub_pattern *pattern);

const char *hub_pattern_text(const struct hub_pattern *pattern);
struct rill_channel *hub_pattern_channel(const struct hub_pattern *pattern);

/* Publishes BUF, whose reference it takes over, to the channel of every pattern that matches TOPIC: who has subscribed
 * to two of these receives it twice. Returns 0; -EAGAIN or -ENOMEM: some subscribers were not sent it. */
int hub_publish(const char *topic, struct rill_buf *buf);

#endif
