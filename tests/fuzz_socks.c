/* fuzz_socks.c - fuzzes the messages of SOCKS, against a slow reading of them, and in every length.
 *
 * The first byte of the input says which message the rest begins with. */
#include "rill/apps/socks5/protocol.h"
#include "support/fuzz.h"
#include <errno.h>

/* Takes bytes one by one; `length` and less is `ended`. */
struct reader {
    const uint8_t *bytes;
    size_t length, at;
    bool ended;
};

static uint8_t take(struct reader *reader)
{
    reader->ended |= reader->at == reader->length;
    return reader->ended ? 0 : reader->bytes[reader->at++];
}

/* Takes a length, and so many bytes. */
static struct rill_slice take_text(struct reader *reader, size_t length)
{
    struct rill_slice text = {(const char *)reader->bytes + reader->at, length};
    while (length-- > 0)
        take(reader);
    return text;
}

static int length_of(const struct reader *reader)
{
    return reader->ended ? 0 : (int)reader->at;
}

static void check_greeting(struct reader reader)
{
    struct rill_slice methods;
    int got = socks_read_greeting((const char *)reader.bytes, reader.length, &methods);
    if (reader.length > 0 && reader.bytes[0] != 5) {
        MUST(got == -EPROTO);
        return;
    }
    take(&reader);
    struct rill_slice expected = take_text(&reader, take(&reader));
    MUST(got == length_of(&reader));
    MUST(got == 0 || (methods.bytes == (const char *)reader.bytes + 2 && methods.length == expected.length));
}

static void check_password(struct reader reader)
{
    struct rill_slice name, password;
    int got = socks_read_password((const char *)reader.bytes, reader.length, &name, &password);
    bool is_known = take(&reader) == 1;
    size_t name_length = take(&reader);
    struct rill_slice want_name = take_text(&reader, name_length);
    size_t password_length = take(&reader);
    struct rill_slice want_password = take_text(&reader, password_length);
    MUST(got == length_of(&reader));
    if (got == 0)
        return;
    want_name.length = is_known ? want_name.length : 0;
    want_password.length = is_known ? want_password.length : 0;
    MUST(name.bytes == want_name.bytes && name.length == want_name.length);
    MUST(password.bytes == want_password.bytes && password.length == want_password.length);
}

static enum socks_reply reference_refusal(const uint8_t *bytes)
{
    if (bytes[0] != 5 || bytes[2] != 0)
        return SOCKS_FAILED;
    if (bytes[1] != 1)
        return SOCKS_NO_SUCH_COMMAND;
    return bytes[3] == 1 || bytes[3] == 3 || bytes[3] == 4 ? SOCKS_SUCCEEDED : SOCKS_NO_SUCH_ADDRESS_TYPE;
}

static bool is_name(struct rill_slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.bytes[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' && c != '.' &&
            c != '_')
            return false;
    }
    return text.length > 0;
}

static void check_request(struct reader reader)
{
    struct socks_request request;
    int got = socks_read_request((const char *)reader.bytes, reader.length, &request);
    if (reader.length < 5) {
        MUST(got == 0);
        return;
    }
    enum socks_reply refusal = reference_refusal(reader.bytes);
    if (refusal != SOCKS_SUCCEEDED) {
        MUST((size_t)got == reader.length && request.refusal == refusal);
        return;
    }
    reader.at = 3;
    uint8_t type = take(&reader);
    struct rill_slice address = take_text(&reader, type == 1 ? 4 : type == 4 ? 16 : take(&reader));
    unsigned port = take(&reader) * 256u;
    port += take(&reader);
    MUST(got == length_of(&reader));
    if (got == 0)
        return;
    if (type == 3) {
        char text[300];
        MUST(request.is_name && request.refusal == (is_name(address) ? SOCKS_SUCCEEDED : SOCKS_HOST_UNREACHABLE));
        snprintf(text, sizeof text, "%.*s:%u", (int)address.length, address.bytes, port);
        MUST(request.refusal != SOCKS_SUCCEEDED || strcmp(request.target, text) == 0);
        return;
    }
    const void *in =
        type == 1 ? (const void *)&request.addr.socket.v4.sin_addr : (const void *)&request.addr.socket.v6.sin6_addr;
    MUST(!request.is_name && request.refusal == SOCKS_SUCCEEDED);
    MUST(rill_addr_port(&request.addr) == port);
    /* An IPv4 address that is mapped into IPv6 may be either. */
    MUST(request.addr.socket.any.sa_family != (type == 1 ? AF_INET : AF_INET6) ||
         memcmp(in, address.bytes, address.length) == 0);

    uint8_t reply[SOCKS_REPLY_BYTES];
    size_t length = socks_write_reply(reply, SOCKS_SUCCEEDED, &request.addr);
    reply[1] = 1; /* a reply looks as its request does, but for this */
    MUST(request.addr.socket.any.sa_family != (type == 1 ? AF_INET : AF_INET6) ||
         (length == (size_t)got && memcmp(reply, reader.bytes, length) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct reader reader) = {check_greeting, check_password, check_request};
    if (size < 1 || size > 800)
        return 0;
    for (size_t length = 0; length < size; length++) {
        char *exact = fuzz_copy((struct rill_slice){(const char *)data + 1, length});
        checks[data[0] % 3]((struct reader){.bytes = (const uint8_t *)exact, .length = length});
        free(exact);
    }
    return 0;
}
