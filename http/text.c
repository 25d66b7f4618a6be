/* text.c - see text.h. */
#include "rill/http/text.h"

/* RFC 3986 2.3, and the separator of path segments. */
static bool stays_in_path(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~' || c == '/';
}

size_t rill_path_encode(char *out, struct rill_slice path)
{
    size_t length = 0;
    for (size_t i = 0; i < path.length; i++) {
        unsigned char c = (unsigned char)path.bytes[i];
        if (stays_in_path(c)) {
            if (out)
                out[length] = (char)c;
            length++;
            continue;
        }
        if (out) {
            out[length] = '%';
            out[length + 1] = "0123456789ABCDEF"[c >> 4];
            out[length + 2] = "0123456789ABCDEF"[c & 15];
        }
        length += 3;
    }
    return length;
}

size_t rill_html_escape(char *out, struct rill_slice text)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        const char *with = NULL;
        switch (text.bytes[i]) {
        case '&':
            with = "&amp;";
            break;
        case '<':
            with = "&lt;";
            break;
        case '>':
            with = "&gt;";
            break;
        case '"':
            with = "&quot;";
            break;
        case '\'':
            with = "&#39;";
            break;
        default:
            break;
        }
        struct rill_slice piece = {&text.bytes[i], 1};
        if (with)
            piece = rill_slice_of(with);
        if (out)
            memcpy(out + length, piece.bytes, piece.length);
        length += piece.length;
    }
    return length;
}
