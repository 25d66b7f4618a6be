/* reference_fields.c - the reference parser's lines, hosts and header fields. */
#include "reference_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_token(const char *text)
{
    for (const char *c = text; *c != 0; c++)
        if (!reference_is_tchar(*c))
            return false;
    return *text != 0;
}

int reference_hex(int c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c != 0 ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

bool reference_is_escape(const char *text)
{
    return text[0] == '%' && reference_hex(text[1]) >= 0 && reference_hex(text[2]) >= 0 &&
           (text[1] != '0' || text[2] != '0');
}

enum reference_verdict reference_take_line(struct reference *ref, size_t end, char **line)
{
    size_t i = ref->at;
    while (i < end && !reference_is_control((unsigned char)ref->bytes[i]))
        i++;
    if (i == end || (ref->bytes[i] == '\r' && i + 1 == end))
        return MORE;
    if (ref->bytes[i] != '\r' || ref->bytes[i + 1] != '\n')
        return reference_bad(ref, 400);
    *line = strndup(ref->bytes + ref->at, i - ref->at);
    ref->at = i + 2;
    return OK;
}

enum reference_verdict reference_take_first_line(struct reference *ref, size_t end, char **line)
{
    size_t most = ref->limits->max_request_line_bytes;
    size_t line_end = end - ref->at > most ? ref->at + most : end;
    enum reference_verdict verdict = reference_take_line(ref, line_end, line);
    if (verdict == MORE && (line_end - ref->at >= most || line_end >= ref->limits->max_header_bytes))
        return reference_bad(ref, 414);
    return verdict;
}

static bool is_port(const char *text)
{
    return strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) && atoi(text) <= 65535;
}

static bool is_literal(char *text)
{
    struct in6_addr address;
    char *close = strchr(text, ']');
    if (close == NULL || (close[1] != 0 && (close[1] != ':' || !is_port(close + 2))))
        return false;
    *close = 0;
    return inet_pton(AF_INET6, text + 1, &address) == 1;
}

static bool is_name(char *text)
{
    char *colon = strchr(text, ':');
    if (colon != NULL && !is_port(colon + 1))
        return false;
    if (colon != NULL)
        *colon = 0;
    for (const char *c = text; *c != 0; c++) {
        if (reference_is_escape(c))
            c += 2;
        else if (!is_alnum(*c) && !reference_is_one_of(*c, "-._~!$&'()*+;="))
            return false;
    }
    return *text != 0;
}

bool reference_is_host(const char *text)
{
    char *copy = strdup(text);
    bool sound = *copy == '[' ? is_literal(copy) : is_name(copy);
    free(copy);
    return sound;
}

/* Calls EACH for each member of the list VALUE that is not empty; false when one call said so. */
static bool each_member(const char *value, struct reference_fields *fields,
                        bool (*each)(const char *, struct reference_fields *))
{
    char *copy = strdup(value);
    char *rest = copy;
    bool sound = true;
    for (char *member = strsep(&rest, ","); member != NULL && sound; member = strsep(&rest, ",")) {
        member += strspn(member, " \t");
        size_t length = strlen(member);
        while (length > 0 && reference_is_one_of(member[length - 1], " \t"))
            member[--length] = 0;
        sound = length == 0 || each(member, fields);
    }
    free(copy);
    return sound;
}

static bool each_option(const char *option, struct reference_fields *fields)
{
    fields->close |= strcasecmp(option, "close") == 0;
    fields->keep_alive |= strcasecmp(option, "keep-alive") == 0;
    fields->upgrade |= strcasecmp(option, "upgrade") == 0;
    return is_token(option);
}

static bool each_coding(const char *coding, struct reference_fields *fields)
{
    if (fields->chunked)
        return false;
    fields->codings++;
    size_t length = 0;
    while (reference_is_tchar(coding[length]))
        length++;
    const char *rest = coding + length;
    rest += strspn(rest, " \t");
    if (length == 0 || (*rest != 0 && *rest != ';'))
        return false;
    if (length != 7 || strncasecmp(coding, "chunked", 7) != 0)
        fields->other_coding = true;
    else
        fields->chunked = true;
    return !fields->chunked || *rest == 0;
}

static bool each_expectation(const char *expectation, struct reference_fields *fields)
{
    if (strcasecmp(expectation, "100-continue") == 0)
        fields->expect = true;
    else
        fields->other_expect = true;
    return true;
}

static bool take_content_length(const char *value, struct reference_fields *fields)
{
    const char *most = "9223372036854775807";
    if (fields->lengths++ > 0 || *value == 0 || value[strspn(value, "0123456789")] != 0)
        return false;
    value += strspn(value, "0");
    if (strlen(value) > strlen(most) || (strlen(value) == strlen(most) && strcmp(value, most) > 0))
        return false;
    fields->content_length = strtoull(*value != 0 ? value : "0", NULL, 10);
    return true;
}

static bool take_field(const char *name, const char *value, struct reference_fields *fields)
{
    if (strcasecmp(name, "host") == 0) {
        fields->host_is_empty = *value == 0;
        if (fields->host == NULL)
            fields->host = strdup(value);
        return fields->hosts++ == 0 && (*value == 0 || reference_is_host(value));
    }
    if (strcasecmp(name, "content-length") == 0)
        return take_content_length(value, fields);
    if (strcasecmp(name, "connection") == 0)
        return each_member(value, fields, each_option);
    if (strcasecmp(name, "expect") == 0)
        return each_member(value, fields, each_expectation);
    if (strcasecmp(name, "transfer-encoding") == 0) {
        int before = fields->codings;
        return each_member(value, fields, each_coding) && fields->codings > before;
    }
    fields->upgrade_field |= strcasecmp(name, "upgrade") == 0;
    return true;
}

static int id_of(const char *name)
{
    for (int id = RILL_HEADER_OTHER + 1; id < RILL_HEADER_COUNT; id++)
        if (strcasecmp(name, rill_header_name((enum rill_header_id)id)) == 0)
            return id;
    return RILL_HEADER_OTHER;
}

static enum reference_verdict parse_field_line(struct reference *ref, char *line, struct reference_fields *fields,
                                               struct trace *lines)
{
    char *colon = strchr(line, ':');
    if (colon == NULL)
        return reference_bad(ref, 400);
    *colon = 0;
    if (!is_token(line))
        return reference_bad(ref, 400);
    if ((uint32_t)fields->count >= ref->limits->max_headers || fields->count >= RILL_PARSER_MAX_HEADERS ||
        strlen(line) > UINT16_MAX)
        return reference_bad(ref, 431);
    fields->count++;
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t length = strlen(value);
    while (length > 0 && reference_is_one_of(value[length - 1], " \t"))
        value[--length] = 0;
    trace_slice(lines, "name", rill_slice_of(line));
    trace_slice(lines, "value", rill_slice_of(value));
    trace_printf(lines, "id %d", id_of(line));
    if (!take_field(line, value, fields))
        return reference_bad(ref, 400);
    return OK;
}

enum reference_verdict reference_take_fields(struct reference *ref, size_t end, struct reference_fields *fields,
                                             struct trace *lines)
{
    for (;;) {
        char *line;
        enum reference_verdict verdict = reference_take_line(ref, end, &line);
        if (verdict == MORE && end >= ref->limits->max_header_bytes)
            return reference_bad(ref, 431);
        if (verdict != OK)
            return verdict;
        bool is_last = *line == 0;
        if (!is_last)
            verdict = parse_field_line(ref, line, fields, lines);
        free(line);
        if (verdict != OK || is_last)
            return verdict;
    }
}
