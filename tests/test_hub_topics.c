/* test_hub_topics.c - rill-hub's topics and patterns: what is one, what matches, and who is sent what is published. */
#include "rill/apps/hub/topics.h"
#include "rill/core/sys.h"
#include "support/conn_rig.h"
#include "support/faulty_sys.h"
#include "support/run_suite.h"
#include <check.h>
#include <stdio.h>

START_TEST(what_is_a_topic)
{
    static const struct {
        const char *text;
        bool topic, pattern;
    } samples[] = {
        {"a", true, true},       {"a.b", true, true},    {"news.sport.chess", true, true},
        {"", false, false},      {".", false, false},    {"a.", false, false},
        {".a", false, false},    {"a..b", false, false}, {"*", false, true},
        {"a.*", false, true},    {"*.a", false, true},   {"a.*.b", false, true},
        {"a.>", false, true},    {">", false, true},     {">.a", false, false},
        {"a.>.b", false, false}, {"*.*.>", false, true}, {"a*", true, true}, /* a word like others */
        {"a>b", true, true},     {"**", true, true},
    };
    for (size_t i = 0; i < rill_array_length(samples); i++) {
        ck_assert_msg(hub_is_topic(samples[i].text, false) == samples[i].topic, "%s", samples[i].text);
        ck_assert_msg(hub_is_topic(samples[i].text, true) == samples[i].pattern, "%s", samples[i].text);
    }
    char longest[HUB_TOPIC_BYTES + 2];
    memset(longest, 'x', sizeof longest);
    longest[HUB_TOPIC_BYTES] = '\0';
    ck_assert(hub_is_topic(longest, false));
    longest[HUB_TOPIC_BYTES] = 'x';
    longest[HUB_TOPIC_BYTES + 1] = '\0';
    ck_assert(!hub_is_topic(longest, true));
}
END_TEST

START_TEST(what_matches)
{
    static const struct {
        const char *pattern, *topic;
        bool matches;
    } samples[] = {
        {"news", "news", true},
        {"news", "new", false},
        {"new", "news", false},
        {"news", "news.a", false},
        {"news.a", "news", false},
        {"news.a", "news.a", true},
        {"news.a", "news.b", false},
        {"news.*", "news.a", true},
        {"news.*", "news", false},
        {"news.*", "news.a.b", false},
        {"*", "news", true},
        {"*", "news.a", false},
        {"*.a", "news.a", true},
        {"*.a", "news.b", false},
        {"*.*", "news.a", true},
        {"*.*", "news", false},
        {"news.*.b", "news.a.b", true},
        {"news.*.b", "news.a.c", false},
        {"news.*.b", "news.b", false},
        {">", "news", true},
        {">", "news.a.b", true},
        {"news.>", "news", false},
        {"news.>", "news.a", true},
        {"news.>", "news.a.b.c", true},
        {"news.>", "newsy.a", false},
        {"*.a.>", "news.a.b", true},
        {"*.a.>", "news.a", false},
        {"news.*", "news.*", true},
        {"a*", "ab", false},
        {"a*", "a*", true},
    };
    for (size_t i = 0; i < rill_array_length(samples); i++)
        ck_assert_msg(hub_matches(samples[i].pattern, samples[i].topic) == samples[i].matches, "%s and %s",
                      samples[i].pattern, samples[i].topic);
}
END_TEST

/* Slow and simple: whether the words from PATTERN on match those from TOPIC on. */
static bool model(const char *const *pattern, const char *const *topic)
{
    if (!*pattern || !*topic)
        return *pattern == *topic;
    if (strcmp(*pattern, ">") == 0)
        return true;
    return (strcmp(*pattern, "*") == 0 || strcmp(*pattern, *topic) == 0) && model(pattern + 1, topic + 1);
}

/* All patterns and topics of up to three words out of few, against the model. */
START_TEST(every_short_pattern_and_topic)
{
    static const char *const words[] = {"*", "a", "ab", ">"};
    for (int p = 1; p < 5 * 5 * 5; p++)
        for (int t = 1; t < 5 * 5 * 5; t++) {
            const char *pattern_words[4] = {0}, *topic_words[4] = {0};
            char pattern[16] = "", topic[16] = "";
            int count = 0;
            for (int rest = p; rest > 0 && rest % 5 > 0; rest /= 5)
                pattern_words[count++] = words[rest % 5 - 1];
            for (int i = 0; i < count; i++)
                strcat(strcat(pattern, i ? "." : ""), pattern_words[i]);
            count = 0;
            for (int rest = t; rest > 0 && rest % 5 > 0; rest /= 5)
                topic_words[count++] = words[rest % 5 - 1];
            for (int i = 0; i < count; i++)
                strcat(strcat(topic, i ? "." : ""), topic_words[i]);
            if (hub_is_topic(pattern, true) && hub_is_topic(topic, false))
                ck_assert_msg(hub_matches(pattern, topic) == model(pattern_words, topic_words), "%s and %s", pattern,
                              topic);
        }
}
END_TEST

static void set_up(void)
{
    faulty_sys_reset();
    rig_set_up(RILL_BACKEND_EPOLL);
}

static void publish(const char *topic)
{
    ck_assert_int_eq(hub_publish(topic, rill_buf_copy(topic, strlen(topic))), 0);
    rig_turns(1);
}

static const char *heard(void)
{
    static char text[256];
    ssize_t got = read(rig.peer, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

START_TEST(a_pattern_lasts_as_long_as_it_is_held)
{
    struct rill_conn *conn = rig_adopt();
    publish("news.a"); /* nobody listens */
    struct hub_pattern *first = hub_pattern_hold("news.*"), *same = hub_pattern_hold("news.*"),
                       *other = hub_pattern_hold("news.a");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_eq(first, same);
    ck_assert_ptr_ne(first, other);
    ck_assert_str_eq(hub_pattern_text(first), "news.*");
    ck_assert_int_eq(rill_channel_join(hub_pattern_channel(first), conn, NULL), 0);
    publish("news.b");
    ck_assert_str_eq(heard(), "news.b");
    ck_assert_int_eq(rill_channel_join(hub_pattern_channel(other), conn, NULL), 0);
    publish("news.a"); /* twice, for two subscriptions */
    ck_assert_str_eq(heard(), "news.anews.a");
    publish("weather");
    ck_assert_str_eq(heard(), "");
    hub_pattern_drop(first);
    publish("news.b");
    ck_assert_str_eq(heard(), "news.b"); /* it is still held */
    hub_pattern_drop(same);
    publish("news.b");
    ck_assert_str_eq(heard(), "");
    hub_pattern_drop(other);
}
END_TEST

START_TEST(without_memory_there_is_no_pattern)
{
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM; /* of the channel; the program's own memory is not the layers' */
    ck_assert_ptr_null(hub_pattern_hold("news"));
    faulty_sys.error[FAULTY_MEMORY] = 0;
    struct hub_pattern *pattern = hub_pattern_hold("news");
    ck_assert_int_eq(rill_channel_join(hub_pattern_channel(pattern), rig_adopt(), NULL), 0);
    struct rill_buf *buf = rill_buf_copy("x", 1);
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    ck_assert_int_eq(hub_publish("news", buf), -ENOMEM);
    faulty_sys.error[FAULTY_MEMORY] = 0;
    publish("news");
    ck_assert_str_eq(heard(), "news");
    hub_pattern_drop(pattern);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hub");
    TCase *all = tcase_create("topics");
    tcase_add_checked_fixture(all, set_up, rig_tear_down);
    tcase_add_test(all, what_is_a_topic);
    tcase_add_test(all, what_matches);
    tcase_add_test(all, every_short_pattern_and_topic);
    tcase_add_test(all, a_pattern_lasts_as_long_as_it_is_held);
    tcase_add_test(all, without_memory_there_is_no_pattern);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
