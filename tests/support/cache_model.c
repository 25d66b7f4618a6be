/* cache_model.c - see cache_model.h. */
#include "cache_model.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 2048, KEYS_MAX_BYTES = 512 * 1024 };

struct cache_model_item {
    struct cache_model_item *next;
    char *key, *value;
    size_t key_length, length;
    uint64_t flags, expires_ms, cas;
};

struct word {
    const char *bytes;
    size_t length;
};

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* What is allocated for LENGTH bytes and a NUL, so that few appends allocate. */
static size_t capacity(size_t length)
{
    size_t power = 64;
    while (power <= length)
        power *= 2;
    return power;
}

static char *copy(const char *bytes, size_t length)
{
    char *made = must(malloc(capacity(length)));
    memcpy(made, bytes, length);
    made[length] = '\0';
    return made;
}

static void append(char **to, size_t *to_length, const char *bytes, size_t length)
{
    if (!*to || capacity(*to_length + length) != capacity(*to_length))
        *to = must(realloc(*to, capacity(*to_length + length)));
    memcpy(*to + *to_length, bytes, length);
    *to_length += length;
    (*to)[*to_length] = '\0';
}

static void say(struct cache_model_client *client, const char *text)
{
    if (!client->noreply)
        append(&client->out, &client->out_length, text, strlen(text));
}

/* --- items --- */

static void free_item(struct cache_model_item *item)
{
    free(item->key);
    free(item->value);
    free(item);
}

static bool is_over(const struct cache_model *model, const struct cache_model_item *item)
{
    return (item->expires_ms != 0 && item->expires_ms <= model->now_ms) || item->cas <= model->flushed_cas;
}

/* Where the pointer to the item with that key is; to NULL when there is none. */
static struct cache_model_item **find(struct cache_model *model, struct word key)
{
    if (model->flush_at_ms != 0 && model->flush_at_ms <= model->now_ms) {
        model->flushed_cas = model->last_cas;
        model->flush_at_ms = 0;
    }
    struct cache_model_item **at = &model->items;
    while (*at) {
        struct cache_model_item *item = *at;
        if (is_over(model, item)) {
            *at = item->next;
            free_item(item);
        } else if (item->key_length == key.length && memcmp(item->key, key.bytes, key.length) == 0) {
            break;
        } else {
            at = &item->next;
        }
    }
    return at;
}

static void delete_at(struct cache_model_item **at)
{
    struct cache_model_item *item = *at;
    *at = item->next;
    free_item(item);
}

static void change(struct cache_model *model, struct cache_model_item *item, const char *value, size_t length)
{
    char *made = copy(value, length);
    free(item->value);
    item->value = made;
    item->length = length;
    item->cas = ++model->last_cas;
}

/* --- words --- */

static bool is(struct word word, const char *text)
{
    return word.length == strlen(text) && memcmp(word.bytes, text, word.length) == 0;
}

static bool to_number(struct word word, uint64_t max, uint64_t *number)
{
    char *text = copy(word.bytes, word.length);
    bool good = word.length > 0;
    for (size_t i = 0; i < word.length; i++)
        good = good && text[i] >= '0' && text[i] <= '9';
    errno = 0;
    *number = good ? strtoull(text, NULL, 10) : 0;
    good = good && errno == 0 && *number <= max;
    free(text);
    return good;
}

/* Until when, by a clock that is past 1 already. */
static bool to_moment(const struct cache_model *model, struct word word, uint64_t *moment)
{
    uint64_t seconds = 0;
    *moment = 1;
    if (word.length > 0 && word.bytes[0] == '-') {
        bool good = to_number((struct word){word.bytes + 1, word.length - 1}, UINT64_MAX, &seconds);
        if (good && seconds == 0)
            *moment = 0;
        return good;
    }
    if (!to_number(word, UINT64_MAX, &seconds))
        return false;
    if (seconds == 0)
        *moment = 0;
    else if (seconds <= 2592000)
        *moment = model->now_ms + seconds * 1000;
    else if (seconds > (uint64_t)model->unix_seconds + INT32_MAX)
        *moment = model->now_ms + (uint64_t)INT32_MAX * 1000;
    else if (seconds > (uint64_t)model->unix_seconds)
        *moment = model->now_ms + (seconds - (uint64_t)model->unix_seconds) * 1000;
    return true;
}

static bool is_key(struct word word)
{
    return word.length >= 1 && word.length <= 250;
}

/* --- commands --- */

static void do_get(struct cache_model_client *client, bool with_cas, const uint64_t *expires_ms,
                   const struct word *words, size_t count)
{
    char head[512];
    for (size_t i = 0; i < count; i++) {
        if (!is_key(words[i])) {
            say(client, "CLIENT_ERROR bad command line format\r\n");
            return;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct cache_model_item *item = *find(client->model, words[i]);
        if (!item)
            continue;
        if (expires_ms)
            item->expires_ms = *expires_ms;
        int length = snprintf(head, sizeof head, " %llu %zu", (unsigned long long)item->flags, item->length);
        if (with_cas)
            length += snprintf(head + length, sizeof head - (size_t)length, " %llu", (unsigned long long)item->cas);
        say(client, "VALUE ");
        append(&client->out, &client->out_length, item->key, item->key_length);
        append(&client->out, &client->out_length, head, (size_t)length);
        say(client, "\r\n");
        append(&client->out, &client->out_length, item->value, item->length);
        say(client, "\r\n");
    }
    say(client, "END\r\n");
}

static void begin_set(struct cache_model_client *client, struct word verb, const struct word *words)
{
    uint64_t length, flags;
    if (!is_key(words[0]) || !to_number(words[1], UINT32_MAX, &flags) ||
        !to_moment(client->model, words[2], &client->expires_ms) || !to_number(words[3], INT32_MAX - 2, &length) ||
        (is(verb, "cas") && !to_number(words[4], UINT64_MAX, &client->cas))) {
        say(client, "CLIENT_ERROR bad command line format\r\n");
        return;
    }
    client->pending = true;
    client->flags = flags;
    client->length = length;
    client->key_length = words[0].length;
    memcpy(client->key, words[0].bytes, words[0].length);
    memcpy(client->verb, verb.bytes, verb.length);
    client->verb[verb.length] = '\0';
    client->unwanted = client->model->item_overhead + words[0].length + length > client->model->max_item_bytes;
    if (!client->unwanted)
        return;
    struct cache_model_item **at = find(client->model, words[0]);
    if (is(verb, "set") && *at)
        delete_at(at);
    say(client, "SERVER_ERROR object too large for cache\r\n");
}

static void put(struct cache_model_client *client, const char *value)
{
    struct cache_model *model = client->model;
    struct word key = {client->key, client->key_length}, verb = {client->verb, strlen(client->verb)};
    struct cache_model_item **at = find(model, key), *item = *at;
    bool append_it = is(verb, "append"), prepend_it = is(verb, "prepend");
    if (is(verb, "cas") && !item) {
        say(client, "NOT_FOUND\r\n");
        return;
    }
    if (is(verb, "cas") && item->cas != client->cas) {
        say(client, "EXISTS\r\n");
        return;
    }
    if ((is(verb, "add") && item) || ((is(verb, "replace") || append_it || prepend_it) && !item)) {
        say(client, "NOT_STORED\r\n");
        return;
    }
    if (append_it || prepend_it) {
        if (model->item_overhead + key.length + item->length + client->length > model->max_item_bytes) {
            say(client, "SERVER_ERROR object too large for cache\r\n");
            return;
        }
        size_t length = append_it ? 0 : client->length;
        char *joined = copy(append_it ? "" : value, length);
        append(&joined, &length, item->value, item->length);
        if (append_it)
            append(&joined, &length, value, client->length);
        change(model, item, joined, length);
        free(joined);
    } else {
        if (item)
            delete_at(at);
        item = must(calloc(1, sizeof *item));
        item->next = model->items;
        item->key = copy(key.bytes, key.length);
        item->key_length = key.length;
        item->flags = client->flags;
        item->expires_ms = client->expires_ms;
        change(model, item, value, client->length);
        model->items = item;
    }
    say(client, "STORED\r\n");
}

static void do_delete(struct cache_model_client *client, const struct word *words, size_t count)
{
    bool zero = count > 1 && is(words[1], "0");
    if (!is_key(words[0])) {
        say(client, "CLIENT_ERROR bad command line format\r\n");
        return;
    }
    if ((count == 2 && !zero && !client->noreply) || (count == 3 && !(zero && client->noreply))) {
        say(client, "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
        return;
    }
    struct cache_model_item **at = find(client->model, words[0]);
    say(client, *at ? "DELETED\r\n" : "NOT_FOUND\r\n");
    if (*at)
        delete_at(at);
}

static void do_incr(struct cache_model_client *client, bool decr, const struct word *words)
{
    uint64_t delta, number;
    char digits[32];
    if (!is_key(words[0])) {
        say(client, "CLIENT_ERROR bad command line format\r\n");
        return;
    }
    if (!to_number(words[1], UINT64_MAX, &delta)) {
        say(client, "CLIENT_ERROR invalid numeric delta argument\r\n");
        return;
    }
    struct cache_model_item *item = *find(client->model, words[0]);
    if (!item) {
        say(client, "NOT_FOUND\r\n");
        return;
    }
    struct word value = {item->value, item->length};
    while (value.length > 0 && value.bytes[0] == ' ')
        value = (struct word){value.bytes + 1, value.length - 1};
    while (value.length > 0 && value.bytes[value.length - 1] == ' ')
        value.length--;
    if (!to_number(value, UINT64_MAX, &number)) {
        say(client, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    }
    number = !decr ? number + delta : number > delta ? number - delta : 0;
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    say(client, digits);
    say(client, "\r\n");
    size_t length = strlen(digits);
    char *text = copy(digits, length);
    while (length < item->length)
        append(&text, &length, " ", 1);
    change(client->model, item, text, length);
    free(text);
}

static void do_touch(struct cache_model_client *client, const struct word *words)
{
    uint64_t expires_ms;
    if (!is_key(words[0])) {
        say(client, "CLIENT_ERROR bad command line format\r\n");
        return;
    }
    if (!to_moment(client->model, words[1], &expires_ms)) {
        say(client, "CLIENT_ERROR invalid exptime argument\r\n");
        return;
    }
    struct cache_model_item *item = *find(client->model, words[0]);
    if (item)
        item->expires_ms = expires_ms;
    say(client, item ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
}

static void do_flush(struct cache_model_client *client, const struct word *words, size_t count)
{
    struct cache_model *model = client->model;
    uint64_t at_ms = 0;
    if (count > client->noreply && !to_moment(model, words[0], &at_ms)) {
        say(client, "CLIENT_ERROR invalid exptime argument\r\n");
        return;
    }
    find(model, (struct word){"", 0}); /* an earlier one whose time has come */
    model->flush_at_ms = at_ms > model->now_ms ? at_ms : 0;
    if (model->flush_at_ms == 0)
        model->flushed_cas = model->last_cas;
    say(client, "OK\r\n");
}

static void do_verbosity(struct cache_model_client *client, const struct word *words, size_t count)
{
    uint64_t level;
    if (count > client->noreply && !to_number(words[0], UINT32_MAX, &level))
        say(client, "CLIENT_ERROR bad command line format\r\n");
    else
        say(client, "OK\r\n");
}

static void do_version(struct cache_model_client *client)
{
    say(client, "VERSION ");
    say(client, client->model->version);
    say(client, "\r\n");
}

static const struct rule {
    const char *verb;
    size_t min, max; /* words that may come after it */
} rules[] = {
    {"get", 1, SIZE_MAX}, {"gets", 1, SIZE_MAX},  {"gat", 1, SIZE_MAX},     {"gats", 1, SIZE_MAX}, {"set", 4, 5},
    {"add", 4, 5},        {"replace", 4, 5},      {"append", 4, 5},         {"prepend", 4, 5},     {"cas", 5, 6},
    {"delete", 1, 3},     {"incr", 2, 3},         {"decr", 2, 3},           {"touch", 2, 3},       {"flush_all", 0, 2},
    {"verbosity", 1, 2},  {"stats", 0, SIZE_MAX}, {"version", 0, SIZE_MAX}, {"quit", 0, SIZE_MAX},
};

static const struct rule *rule_of(struct word verb)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (is(verb, rules[i].verb))
            return &rules[i];
    return NULL;
}

static void do_words(struct cache_model_client *client, struct word verb, const struct word *words, size_t count)
{
    uint64_t expires_ms = 0;
    bool get = is(verb, "get"), gets = is(verb, "gets"), gat = is(verb, "gat"), gats = is(verb, "gats");
    bool keyless = is(verb, "flush_all") || is(verb, "verbosity");
    bool with_noreply = !get && !gets && !gat && !gats && !is(verb, "stats") && !is(verb, "version");
    client->noreply = false;
    const struct rule *rule = rule_of(verb);
    for (size_t i = 0; i < count && !rule; i++)
        client->closed = client->closed || (words[i].length >= 5 && memcmp(words[i].bytes, "HTTP/", 5) == 0);
    if (client->closed)
        return;
    if (!rule || count < rule->min || count > rule->max) {
        say(client, "ERROR\r\n");
        return;
    }
    client->noreply = with_noreply && count > !keyless && is(words[count - 1], "noreply");
    if (get || gets)
        do_get(client, gets, NULL, words, count);
    else if ((gat || gats) && !to_moment(client->model, words[0], &expires_ms))
        say(client, "CLIENT_ERROR invalid exptime argument\r\n");
    else if (gat || gats)
        do_get(client, gats, &expires_ms, words + 1, count - 1);
    else if (is(verb, "delete"))
        do_delete(client, words, count);
    else if (is(verb, "incr") || is(verb, "decr"))
        do_incr(client, is(verb, "decr"), words);
    else if (is(verb, "touch"))
        do_touch(client, words);
    else if (is(verb, "flush_all"))
        do_flush(client, words, count);
    else if (is(verb, "verbosity"))
        do_verbosity(client, words, count);
    else if (is(verb, "version"))
        do_version(client);
    else if (is(verb, "stats"))
        client->lost = true;
    else if (is(verb, "quit"))
        client->closed = true;
    else
        begin_set(client, verb, words);
}

static void do_line(struct cache_model_client *client, const char *line, size_t length)
{
    struct word *words = must(malloc((length / 2 + 2) * sizeof *words));
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        if (line[i] == ' ')
            continue;
        if (i == 0 || line[i - 1] == ' ')
            words[count++] = (struct word){line + i, 0};
        words[count - 1].length++;
    }
    if (count == 0)
        words[0] = (struct word){"", 0};
    do_words(client, words[0], words + 1, count == 0 ? 0 : count - 1);
    free(words);
}

/* Whether what begins so names keys, and may be long for that. */
static bool is_long_verb(const char *start, size_t length)
{
    size_t begin = 0, end;
    length = length < LINE_MAX_BYTES ? length : LINE_MAX_BYTES;
    while (begin < length && start[begin] == ' ')
        begin++;
    for (end = begin; end < length && start[end] != ' ';)
        end++;
    struct word verb = {start + begin, end - begin};
    return is(verb, "get") || is(verb, "gets") || is(verb, "gat") || is(verb, "gats");
}

/* How many bytes it dealt with; 0: more are needed. */
static size_t do_some(struct cache_model_client *client)
{
    if (client->pending) {
        if (client->in_length < client->length + 2)
            return 0;
        client->pending = false;
        if (!client->unwanted && memcmp(client->in + client->length, "\r\n", 2) != 0)
            say(client, "CLIENT_ERROR bad data chunk\r\n");
        else if (!client->unwanted)
            put(client, client->in);
        return client->length + 2;
    }
    const char *end = client->in_length > 0 ? memchr(client->in, '\n', client->in_length) : NULL;
    size_t length = end ? (size_t)(end - client->in) : client->in_length;
    if (length > LINE_MAX_BYTES && (!is_long_verb(client->in, length) || length > KEYS_MAX_BYTES)) {
        client->noreply = false;
        say(client, "CLIENT_ERROR line too long\r\n");
        client->closed = true;
        return 0;
    }
    if (!end)
        return 0;
    do_line(client, client->in, length - (length > 0 && end[-1] == '\r'));
    return length + 1;
}

void cache_model_send(struct cache_model_client *client, const void *bytes, size_t length)
{
    size_t done = 1;
    if (length > 0)
        append(&client->in, &client->in_length, bytes, length);
    while (done > 0 && !client->closed) {
        done = do_some(client);
        client->in_length -= done;
        if (done > 0)
            memmove(client->in, client->in + done, client->in_length);
    }
}

void cache_model_client_free(struct cache_model_client *client)
{
    free(client->in);
    free(client->out);
    client->in = client->out = NULL;
}

void cache_model_free(struct cache_model *model)
{
    while (model->items)
        delete_at(&model->items);
}
