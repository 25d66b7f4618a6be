/* reference_body.c - the reference parser's content: chunks, trailers, or so many bytes. */
#include "reference_internal.h"

/* The next byte; -1 when there is none yet. */
static int peek(const struct reference *ref)
{
    return ref->at < ref->length ? (uint8_t)ref->bytes[ref->at] : -1;
}

static enum reference_verdict expect(struct reference *ref, const char *text)
{
    for (; *text != 0; text++, ref->at++) {
        if (peek(ref) < 0)
            return MORE;
        if (peek(ref) != *text)
            return reference_bad(ref, 400);
    }
    return OK;
}

/* One byte or more for which IS_IN is true. */
static enum reference_verdict take_run(struct reference *ref, bool (*is_in)(int))
{
    size_t start = ref->at;
    while (peek(ref) >= 0 && is_in(peek(ref)))
        ref->at++;
    if (peek(ref) < 0)
        return MORE;
    return ref->at > start ? OK : reference_bad(ref, 400);
}

static enum reference_verdict take_quoted(struct reference *ref)
{
    ref->at++;
    for (;;) {
        int c = peek(ref);
        if (c < 0)
            return MORE;
        ref->at++;
        if (c == '"')
            return OK;
        if (c == '\\') {
            c = peek(ref);
            if (c < 0)
                return MORE;
            ref->at++;
        }
        if (reference_is_control(c))
            return reference_bad(ref, 400);
    }
}

static enum reference_verdict take_extension(struct reference *ref)
{
    ref->at++;
    enum reference_verdict verdict = take_run(ref, reference_is_tchar);
    if (verdict != OK || peek(ref) != '=')
        return verdict;
    ref->at++;
    if (peek(ref) < 0)
        return MORE;
    if (peek(ref) != '"')
        return take_run(ref, reference_is_tchar);
    verdict = take_quoted(ref);
    if (verdict == OK && peek(ref) < 0)
        return MORE;
    return verdict;
}

static enum reference_verdict take_size_line(struct reference *ref, uint64_t *size)
{
    int digits = 0;
    *size = 0;
    for (; peek(ref) >= 0 && reference_hex(peek(ref)) >= 0; ref->at++) {
        if (++digits > 16)
            return reference_bad(ref, 400);
        *size = *size * 16 + (uint64_t)reference_hex(peek(ref));
    }
    if (peek(ref) < 0)
        return MORE;
    if (digits == 0)
        return reference_bad(ref, 400);
    size_t start = ref->at;
    enum reference_verdict verdict = OK;
    while (verdict == OK && peek(ref) == ';')
        verdict = take_extension(ref);
    if (ref->at - start > ref->limits->max_chunk_extension_bytes)
        return reference_bad(ref, 400);
    return verdict == OK ? expect(ref, "\r\n") : verdict;
}

static bool is_value_byte(int c)
{
    return !reference_is_control(c);
}

static enum reference_verdict take_trailer(struct reference *ref, struct trace *lines)
{
    size_t start = ref->at;
    enum reference_verdict verdict = take_run(ref, reference_is_tchar);
    size_t name_end = ref->at;
    if (verdict == OK)
        verdict = expect(ref, ":");
    if (verdict != OK)
        return verdict;
    verdict = peek(ref) == '\r' ? OK : take_run(ref, is_value_byte);
    size_t end = ref->at;
    if (verdict == OK)
        verdict = expect(ref, "\r\n");
    if (verdict != OK)
        return verdict;
    size_t first = name_end + 1;
    while (first < end && reference_is_one_of(ref->bytes[first], " \t"))
        first++;
    while (end > first && reference_is_one_of(ref->bytes[end - 1], " \t"))
        end--;
    trace_slice(lines, "trailer name", reference_part(ref->bytes + start, name_end - start));
    trace_slice(lines, "trailer value", reference_part(ref->bytes + first, end - first));
    return OK;
}

static enum reference_verdict take_trailers(struct reference *ref, struct trace *lines)
{
    size_t start = ref->at;
    enum reference_verdict verdict = OK;
    while (verdict == OK && peek(ref) >= 0 && peek(ref) != '\r')
        verdict = take_trailer(ref, lines);
    if (verdict == OK)
        verdict = expect(ref, "\r\n");
    size_t used = ref->at - start;
    if (used > ref->limits->max_trailer_bytes)
        return reference_bad(ref, 431); /* more than that were sound; a fault behind the limit is not seen any more */
    return verdict;
}

enum reference_verdict reference_take_content(struct reference *ref, uint64_t size, uint64_t *total)
{
    size_t there = ref->length - ref->at;
    size_t taken = there < size ? there : (size_t)size;
    trace_content(ref->trace, reference_part(ref->bytes + ref->at, taken));
    ref->at += taken;
    *total += taken;
    return taken == size ? OK : MORE;
}

enum reference_verdict reference_take_chunks(struct reference *ref, struct trace *lines, uint64_t *total)
{
    for (;;) {
        uint64_t size;
        enum reference_verdict verdict = take_size_line(ref, &size);
        if (verdict == OK && size == 0)
            return take_trailers(ref, lines);
        if (verdict == OK && size > ref->limits->max_body_bytes - *total)
            return reference_bad(ref, 413);
        if (verdict == OK)
            verdict = reference_take_content(ref, size, total);
        if (verdict == OK)
            verdict = expect(ref, "\r\n");
        if (verdict != OK)
            return verdict;
    }
}
