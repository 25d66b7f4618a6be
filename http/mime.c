/* mime.c - see mime.h.
 *
 * The built-in tables are text in the format of /etc/mime.types and are read by the same code as the file. An extension
 * that is already in the table stays as it is, so the order in which the texts are read is their precedence. Strings
 * are copied into one pool, slots are open addressing at most half full: a look-up is a hash and, nearly always, one
 * comparison. */
#include "rill/http/mime.h"

#include "rill/core/sys.h"

#define MAX_FILE_BYTES ((size_t)16 << 20)
#define MAX_EXTENSION 63 /* longer ones are neither stored nor looked up */

static const char charset[] = "; charset=utf-8";
#define CHARSET_LENGTH (sizeof(charset) - 1)

/* What Debian's table says about these is right for somebody, but not for a web server. */
static const char corrections[] = "video/mp2t ts\n"
                                  "application/rss+xml rss\n";

static const char built_in[] = "text/html html htm shtml\n"
                               "text/css css\n"
                               "text/javascript js mjs cjs\n"
                               "text/plain txt text log conf cfg ini diff patch c h cc cpp hpp rs go py sh asc\n"
                               "text/csv csv\n"
                               "text/tab-separated-values tsv\n"
                               "text/markdown md markdown\n"
                               "text/calendar ics\n"
                               "text/vcard vcf\n"
                               "text/vtt vtt\n"
                               "text/xml xsl xslt\n"
                               "image/png png\n"
                               "image/apng apng\n"
                               "image/jpeg jpg jpeg jpe jfif\n"
                               "image/gif gif\n"
                               "image/webp webp\n"
                               "image/avif avif\n"
                               "image/heic heic\n"
                               "image/heif heif\n"
                               "image/jxl jxl\n"
                               "image/bmp bmp\n"
                               "image/tiff tif tiff\n"
                               "image/svg+xml svg\n"
                               "image/vnd.microsoft.icon ico cur\n"
                               "audio/mpeg mp3\n"
                               "audio/mp4 m4a\n"
                               "audio/aac aac\n"
                               "audio/ogg ogg oga opus spx\n"
                               "audio/flac flac\n"
                               "audio/x-wav wav\n"
                               "audio/midi mid midi\n"
                               "audio/webm weba\n"
                               "video/mp4 mp4 m4v mpg4\n"
                               "video/webm webm\n"
                               "video/ogg ogv\n"
                               "video/mpeg mpg mpeg mpe\n"
                               "video/mp2t ts m2ts\n"
                               "video/quicktime mov qt\n"
                               "video/x-matroska mkv\n"
                               "video/x-msvideo avi\n"
                               "video/x-flv flv\n"
                               "video/3gpp 3gp\n"
                               "font/woff woff\n"
                               "font/woff2 woff2\n"
                               "font/ttf ttf\n"
                               "font/otf otf\n"
                               "font/collection ttc\n"
                               "application/vnd.ms-fontobject eot\n"
                               "application/json json map\n"
                               "application/ld+json jsonld\n"
                               "application/geo+json geojson\n"
                               "application/manifest+json webmanifest\n"
                               "application/yaml yaml yml\n"
                               "application/toml toml\n"
                               "application/xml xml\n"
                               "application/xhtml+xml xhtml xht\n"
                               "application/atom+xml atom\n"
                               "application/rss+xml rss\n"
                               "application/wasm wasm\n"
                               "application/pdf pdf\n"
                               "application/rtf rtf\n"
                               "application/epub+zip epub\n"
                               "application/sql sql\n"
                               "application/zip zip\n"
                               "application/gzip gz tgz\n"
                               "application/x-bzip2 bz2\n"
                               "application/x-xz xz\n"
                               "application/zstd zst\n"
                               "application/x-tar tar\n"
                               "application/x-7z-compressed 7z\n"
                               "application/vnd.rar rar\n"
                               "application/java-archive jar war\n"
                               "application/vnd.debian.binary-package deb\n"
                               "application/x-redhat-package-manager rpm\n"
                               "application/vnd.android.package-archive apk\n"
                               "application/x-iso9660-image iso\n"
                               "application/vnd.apple.mpegurl m3u8\n"
                               "application/dash+xml mpd\n"
                               "application/postscript ps eps ai\n"
                               "application/msword doc\n"
                               "application/vnd.ms-excel xls\n"
                               "application/vnd.ms-powerpoint ppt\n"
                               "application/vnd.openxmlformats-officedocument.wordprocessingml.document docx\n"
                               "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx\n"
                               "application/vnd.openxmlformats-officedocument.presentationml.presentation pptx\n"
                               "application/vnd.oasis.opendocument.text odt\n"
                               "application/vnd.oasis.opendocument.spreadsheet ods\n"
                               "application/vnd.oasis.opendocument.presentation odp\n"
                               "application/octet-stream bin exe dll so img dmg msi\n";

/* An extension, in lower case, and its type. Free when `extension` is NULL. */
struct slot {
    const char *extension;
    const char *type;
    uint32_t extension_length;
    uint32_t type_length;
};

struct rill_mime {
    struct slot *slots;
    size_t mask; /* how many slots there are, a power of two, less one */
    char *pool;  /* all strings; sized before it is filled, so that it never moves */
    size_t pool_used;
};

/* FNV-1a. The table is the administrator's, so nobody has to be kept from making collisions. */
static size_t hash_extension(struct rill_slice extension)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < extension.length; i++)
        hash = (hash ^ (unsigned char)extension.bytes[i]) * 16777619u;
    return hash;
}

/* The slot of EXTENSION, which is in lower case: its own, or the free one where it would be. */
static struct slot *find_slot(const struct rill_mime *mime, struct rill_slice extension)
{
    size_t at = hash_extension(extension) & mime->mask;
    while (mime->slots[at].extension) {
        struct rill_slice found = {mime->slots[at].extension, mime->slots[at].extension_length};
        if (rill_slice_equal(found, extension))
            break;
        at = (at + 1) & mime->mask;
    }
    return &mime->slots[at];
}

/* Copies TEXT to INTO in lower case. */
static struct rill_slice lower_case(char *into, struct rill_slice text)
{
    for (size_t i = 0; i < text.length; i++)
        into[i] = rill_ascii_lower(text.bytes[i]);
    return (struct rill_slice){into, text.length};
}

static void add_extension(struct rill_mime *mime, struct rill_slice word, struct rill_slice type)
{
    if (word.length > MAX_EXTENSION)
        return;
    struct rill_slice extension = lower_case(mime->pool + mime->pool_used, word);
    struct slot *slot = find_slot(mime, extension);
    if (slot->extension)
        return;
    mime->pool_used += extension.length;
    slot->extension = extension.bytes;
    slot->extension_length = (uint32_t)extension.length;
    slot->type = type.bytes;
    slot->type_length = (uint32_t)type.length;
}

static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Whether TYPE is `token/token`, and so can stand in a header. */
static bool type_is_valid(struct rill_slice type)
{
    size_t slash = 0, slashes = 0;
    for (size_t i = 0; i < type.length; i++) {
        if (type.bytes[i] == '/') {
            slash = i;
            slashes++;
        } else if (!is_token_byte(type.bytes[i])) {
            return false;
        }
    }
    return slashes == 1 && slash > 0 && slash + 1 < type.length;
}

/* Puts TYPE, as it is to be sent, into the pool. */
static struct rill_slice store_type(struct rill_mime *mime, struct rill_slice type)
{
    static const char *const old_javascript[] = {"application/javascript", "application/x-javascript",
                                                 "text/x-javascript"};
    char *into = mime->pool + mime->pool_used;
    struct rill_slice stored = lower_case(into, type);
    for (size_t i = 0; i < rill_array_length(old_javascript); i++) {
        if (rill_slice_equal(stored, rill_slice_of(old_javascript[i]))) {
            stored.length = strlen("text/javascript");
            memcpy(into, "text/javascript", stored.length);
        }
    }
    if (stored.length > 5 && memcmp(into, "text/", 5) == 0) {
        memcpy(into + stored.length, charset, CHARSET_LENGTH);
        stored.length += CHARSET_LENGTH;
    }
    mime->pool_used += stored.length;
    return stored;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Takes the next word of the first line of TEXT; empty at the line's end. A word that starts with # ends the line. */
static struct rill_slice take_word(struct rill_slice *text)
{
    size_t start = 0;
    while (start < text->length && is_space(text->bytes[start]))
        start++;
    size_t end = start;
    while (end < text->length && !is_space(text->bytes[end]) && text->bytes[end] != '\n')
        end++;
    struct rill_slice word = {text->bytes + start, end - start};
    if (word.length > 0 && word.bytes[0] == '#')
        word.length = 0;
    text->bytes += start + word.length;
    text->length -= start + word.length;
    return word;
}

static void skip_line(struct rill_slice *text)
{
    const char *end = text->length > 0 ? (const char *)memchr(text->bytes, '\n', text->length) : NULL;
    size_t length = end ? (size_t)(end - text->bytes) + 1 : text->length;
    text->bytes += length;
    text->length -= length;
}

static void add_text(struct rill_mime *mime, struct rill_slice text)
{
    for (; text.length > 0; skip_line(&text)) {
        struct rill_slice type = take_word(&text);
        struct rill_slice extension = take_word(&text);
        if (extension.length == 0 || !type_is_valid(type))
            continue;
        type = store_type(mime, type);
        for (; extension.length > 0; extension = take_word(&text))
            add_extension(mime, extension, type);
    }
}

/* Adds to *EXTENSIONS how many extensions TEXT has, and to *POOL_BYTES the most bytes that its strings can take. */
static void measure_text(struct rill_slice text, size_t *extensions, size_t *pool_bytes)
{
    *pool_bytes += text.length;
    for (; text.length > 0; skip_line(&text)) {
        *pool_bytes += CHARSET_LENGTH;
        if (take_word(&text).length > 0)
            while (take_word(&text).length > 0)
                ++*extensions;
    }
}

static int build(struct rill_mime **result, const struct rill_slice *texts, size_t count)
{
    size_t extensions = 0, pool_bytes = MAX_EXTENSION, slots = 64;
    for (size_t i = 0; i < count; i++)
        measure_text(texts[i], &extensions, &pool_bytes);
    while (slots < extensions * 2)
        slots *= 2;

    struct rill_mime *mime = (struct rill_mime *)rill_sys_calloc(1, sizeof(*mime));
    if (!mime)
        return -ENOMEM;
    mime->mask = slots - 1;
    mime->slots = (struct slot *)rill_sys_calloc(slots, sizeof(*mime->slots));
    mime->pool = (char *)rill_sys_malloc(pool_bytes);
    if (!mime->slots || !mime->pool) {
        rill_mime_free(mime);
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++)
        add_text(mime, texts[i]);
    *result = mime;
    return 0;
}

/* Reads all of FD into memory that the caller frees. */
static int read_all(int fd, char **bytes, size_t *length)
{
    size_t size = 0, used = 0;
    char *into = NULL;
    for (;;) {
        if (used == size) {
            size = size ? size * 2 : 65536;
            char *larger = (char *)rill_sys_realloc(into, size);
            if (!larger) {
                rill_sys_free(into);
                return -ENOMEM;
            }
            into = larger;
        }
        ssize_t got = rill_sys_read(fd, into + used, size - used);
        if (got < 0 && errno == EINTR)
            continue;
        int error = got < 0 ? -errno : 0;
        used += got > 0 ? (size_t)got : 0;
        if (used > MAX_FILE_BYTES)
            error = -EFBIG;
        if (error != 0) {
            rill_sys_free(into);
            return error;
        }
        if (got == 0)
            break;
    }
    *bytes = into;
    *length = used;
    return 0;
}

static int read_file(const char *path, char **bytes, size_t *length)
{
    int fd;
    do
        fd = rill_sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    int error = read_all(fd, bytes, length);
    rill_sys_close(fd);
    return error;
}

int rill_mime_load(struct rill_mime **mime, const char *path)
{
    char *bytes = NULL;
    size_t length = 0, count = 0;
    struct rill_slice texts[3];

    int error = read_file(path ? path : RILL_MIME_SYSTEM_PATH, &bytes, &length);
    if (error != 0 && (path || error == -ENOMEM))
        return error;
    if (!path)
        texts[count++] = rill_slice_of(corrections);
    texts[count++] = (struct rill_slice){bytes, length};
    texts[count++] = rill_slice_of(built_in);
    error = build(mime, texts, count);
    rill_sys_free(bytes);
    return error;
}

struct rill_slice rill_mime_of_extension(const struct rill_mime *mime, struct rill_slice extension)
{
    char lower[MAX_EXTENSION];
    if (extension.length > 0 && extension.length <= MAX_EXTENSION) {
        const struct slot *slot = find_slot(mime, lower_case(lower, extension));
        if (slot->extension)
            return (struct rill_slice){slot->type, slot->type_length};
    }
    return rill_slice_of(RILL_MIME_DEFAULT);
}

struct rill_slice rill_mime_of_path(const struct rill_mime *mime, struct rill_slice path)
{
    struct rill_slice extension = {NULL, 0};
    size_t at = path.length;
    while (at > 0 && path.bytes[at - 1] != '.' && path.bytes[at - 1] != '/')
        at--;
    /* A dot that starts the name hides the file, and begins no extension. */
    if (at > 1 && path.bytes[at - 1] == '.' && path.bytes[at - 2] != '/') {
        extension.bytes = path.bytes + at;
        extension.length = path.length - at;
    }
    return rill_mime_of_extension(mime, extension);
}

void rill_mime_free(struct rill_mime *mime)
{
    if (!mime)
        return;
    rill_sys_free(mime->slots);
    rill_sys_free(mime->pool);
    rill_sys_free(mime);
}
