/* protocol.c - see protocol.h. Where the document is silent, the replies are those of memcached 1.6; but numbers have
 * digits only. Like memcached, and unlike its document, this takes any byte in a key that does not end it: there are
 * clients who rely on that, its own load generator among them. */
#include "protocol.h"
#include "item.h"
#include "rill/core/number.h"
#include <errno.h>

enum {
    MAX_WORDS = 6, /* after the verb, where they are counted */
    ANY = 255,
    NO_VERB = -1,
};

static const char no_such_command[] = "ERROR\r\n";
static const char bad_format[] = "CLIENT_ERROR bad command line format\r\n";
static const char bad_exptime[] = "CLIENT_ERROR invalid exptime argument\r\n";
static const char bad_delta[] = "CLIENT_ERROR invalid numeric delta argument\r\n";
static const char bad_delete[] = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";

/* In the order of enum rill_verb, which is about that of their use. How many words come after the verb, and from which
 * one on the last of them may be `noreply`. */
static const struct rule {
    const char *name;
    uint8_t length, min, max, noreply;
} rules[] = {
    {"get", 3, 1, ANY, ANY},   {"gets", 4, 1, ANY, ANY},    {"gat", 3, 1, ANY, ANY},   {"gats", 4, 1, ANY, ANY},
    {"set", 3, 4, 5, 1},       {"add", 3, 4, 5, 1},         {"replace", 7, 4, 5, 1},   {"append", 6, 4, 5, 1},
    {"prepend", 7, 4, 5, 1},   {"cas", 3, 5, 6, 1},         {"delete", 6, 1, 3, 1},    {"incr", 4, 2, 3, 1},
    {"decr", 4, 2, 3, 1},      {"touch", 5, 2, 3, 1},       {"flush_all", 9, 0, 2, 0}, {"verbosity", 9, 1, 2, 0},
    {"stats", 5, 0, ANY, ANY}, {"version", 7, 0, ANY, ANY}, {"quit", 4, 0, ANY, ANY},
};

/* Takes the next word off TEXT; false when there is none. */
static bool next_word(struct rill_slice *text, struct rill_slice *word)
{
    const char *p = text->bytes, *end = p + text->length, *space;
    while (p < end && *p == ' ')
        p++;
    word->bytes = p;
    space = p < end ? memchr(p, ' ', (size_t)(end - p)) : NULL;
    word->length = (size_t)((space ? space : end) - p);
    *text = (struct rill_slice){p + word->length, (size_t)(end - p) - word->length};
    return word->length > 0;
}

static bool is_key(struct rill_slice word)
{
    return word.length >= 1 && word.length <= RILL_ITEM_KEY_MAX;
}

int rill_command_next_key(struct rill_slice *keys, struct rill_slice *key)
{
    if (!next_word(keys, key))
        return 0;
    return is_key(*key) ? 1 : -EINVAL;
}

static int find_verb(struct rill_slice word)
{
    for (unsigned i = 0; i < rill_array_length(rules); i++)
        if (rules[i].length == word.length && memcmp(rules[i].name, word.bytes, word.length) == 0)
            return (int)i;
    return NO_VERB;
}

static bool is_word(struct rill_slice word, const char *text)
{
    return rill_slice_equal(word, rill_slice_of(text));
}

/* Decimal digits, perhaps behind a minus sign. */
static bool parse_exptime(struct rill_slice word, int64_t *exptime)
{
    uint64_t value;
    bool negative = word.length > 0 && word.bytes[0] == '-';
    if (rill_decimal_parse((struct rill_slice){word.bytes + negative, word.length - negative}, &value) < 0)
        return false;
    if (value > INT64_MAX)
        value = INT64_MAX;
    *exptime = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool parse_number(struct rill_slice word, uint64_t max, uint64_t *number)
{
    return rill_decimal_parse(word, number) == 0 && *number <= max;
}

/* The rest of the line is keys. */
static const char *parse_get(struct rill_slice rest, struct rill_command *command)
{
    struct rill_slice word;
    if (command->verb >= RILL_VERB_GAT) {
        if (!next_word(&rest, &word))
            return no_such_command;
        if (!parse_exptime(word, &command->exptime))
            return bad_exptime;
    }
    command->key = rest;
    if (rest.length <= RILL_ITEM_KEY_MAX) /* no key in it can be too long */
        return next_word(&rest, &word) || command->verb >= RILL_VERB_GAT ? NULL : no_such_command;
    int found = rill_command_next_key(&rest, &word);
    if (found == 0 && command->verb <= RILL_VERB_GETS)
        return no_such_command;
    while (found > 0)
        found = rill_command_next_key(&rest, &word);
    return found < 0 ? bad_format : NULL;
}

static const char *parse_set(const struct rill_slice *words, struct rill_command *command)
{
    uint64_t flags, length;
    if (!parse_number(words[1], UINT32_MAX, &flags) || !parse_exptime(words[2], &command->exptime) ||
        !parse_number(words[3], INT32_MAX - 2, &length) ||
        (command->verb == RILL_VERB_CAS && !parse_number(words[4], UINT64_MAX, &command->number)))
        return bad_format;
    command->flags = (uint32_t)flags;
    command->length = (uint32_t)length;
    return NULL;
}

/* Clients of old send a time of 0. */
static const char *parse_delete(const struct rill_slice *words, unsigned count, bool noreply)
{
    bool zero = count > 1 && is_word(words[1], "0");
    return count == 1u + zero + noreply ? NULL : bad_delete;
}

/* A browser that was led here would have the body of its request carried out. */
static const char *parse_unknown(struct rill_slice rest, struct rill_command *command)
{
    struct rill_slice word;
    while (next_word(&rest, &word)) {
        if (word.length >= 5 && memcmp(word.bytes, "HTTP/", 5) == 0) {
            command->verb = RILL_VERB_QUIT;
            return NULL;
        }
    }
    return no_such_command;
}

const char *rill_command_parse(struct rill_slice line, struct rill_command *command)
{
    struct rill_slice words[MAX_WORDS + 1], verb;
    unsigned count = 0;
    int found = next_word(&line, &verb) ? find_verb(verb) : NO_VERB;
    *command = (struct rill_command){0};
    if (found == NO_VERB)
        return parse_unknown(line, command);
    const struct rule *rule = &rules[found];
    command->verb = (enum rill_verb)found;
    if (command->verb <= RILL_VERB_GATS)
        return parse_get(line, command);
    while (count <= MAX_WORDS && next_word(&line, &words[count]))
        count++;
    if (count < rule->min || count > rule->max)
        return no_such_command;
    command->noreply = count > rule->noreply && is_word(words[count - 1], "noreply");
    if (count > 0)
        command->key = words[0];
    if (command->verb <= RILL_VERB_TOUCH && !is_key(words[0]))
        return bad_format;

    unsigned said = count - command->noreply; /* words that are no `noreply` */
    switch (command->verb) {
    case RILL_VERB_DELETE:
        return parse_delete(words, count, command->noreply);
    case RILL_VERB_INCR:
    case RILL_VERB_DECR:
        return parse_number(words[1], UINT64_MAX, &command->number) ? NULL : bad_delta;
    case RILL_VERB_TOUCH:
        return parse_exptime(words[1], &command->exptime) ? NULL : bad_exptime;
    case RILL_VERB_FLUSH_ALL:
        return said == 0 || parse_exptime(words[0], &command->exptime) ? NULL : bad_exptime;
    case RILL_VERB_VERBOSITY:
        return said == 0 || parse_number(words[0], UINT32_MAX, &command->number) ? NULL : bad_format;
    case RILL_VERB_STATS:
    case RILL_VERB_VERSION:
    case RILL_VERB_QUIT:
        return NULL;
    default:
        return parse_set(words, command);
    }
}

size_t rill_command_limit(struct rill_slice start)
{
    struct rill_slice verb;
    if (start.length > RILL_COMMAND_LINE_MAX)
        start.length = RILL_COMMAND_LINE_MAX;
    int found = next_word(&start, &verb) ? find_verb(verb) : NO_VERB;
    return found != NO_VERB && found <= RILL_VERB_GATS ? RILL_COMMAND_KEYS_MAX : RILL_COMMAND_LINE_MAX;
}
