/* listing.c - see listing.h. The page is rendered twice: once without an output, to learn its length, and once into
 * memory of that length. */
#include "rill/http/listing.h"

#include "rill/core/sys.h"
#include "rill/http/date.h"
#include "rill/http/text.h"

/* System colours and color-scheme follow the reader's choice of light or dark by themselves. */
static const char head_before_path[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.3rem;overflow-wrap:anywhere}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #8884}\n"
    "td:first-child{overflow-wrap:anywhere;white-space:pre-wrap}\n"
    "th+th,td+td{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    "</style>\n"
    "<title>Index of ";
static const char table_start[] = "</h1>\n"
                                  "<table>\n"
                                  "<thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>\n"
                                  "<tbody>\n";
static const char page_end[] = "</tbody>\n"
                               "</table>\n"
                               "</body>\n"
                               "</html>\n";

/* Where the page goes; with `out` NULL it is only counted. */
struct page {
    char *out;
    size_t length;
};

static char *page_here(const struct page *page)
{
    return page->out ? page->out + page->length : NULL;
}

static void put(struct page *page, const char *bytes, size_t length)
{
    if (page->out)
        memcpy(page->out + page->length, bytes, length);
    page->length += length;
}

static void put_text(struct page *page, const char *text)
{
    put(page, text, strlen(text));
}

static void put_escaped(struct page *page, struct rill_slice text)
{
    page->length += rill_html_escape(page_here(page), text);
}

static void put_url(struct page *page, struct rill_slice path)
{
    page->length += rill_path_encode(page_here(page), path);
}

/* `512`, `1.5 KiB`, `20 MiB`: three digits at most before the unit, one decimal below ten, rounded down. */
static void put_size(struct page *page, uint64_t bytes)
{
    static const char *const units[] = {"", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    char digits[RILL_DECIMAL_MAX];
    unsigned unit = 0;
    while (unit + 1 < rill_array_length(units) && bytes >> (10 * unit) >= 1024)
        unit++;
    uint64_t whole = bytes >> (10 * unit);
    put(page, digits, rill_decimal_format(digits, whole));
    if (unit > 0 && whole < 10) {
        uint64_t tenths = ((bytes >> (10 * (unit - 1))) & 1023) * 10 >> 10;
        put_text(page, ".");
        put(page, digits, rill_decimal_format(digits, tenths));
    }
    put_text(page, units[unit]);
}

/* `06 Nov 1994 08:49`, the middle of an IMF-fixdate. */
static void put_time(struct page *page, int64_t unix_seconds)
{
    char date[RILL_HTTP_DATE_LENGTH];
    rill_http_date_format(date, unix_seconds);
    put(page, date + 5, 17);
}

static void put_entry(struct page *page, const struct rill_listing_entry *entry)
{
    const char *slash = entry->is_directory ? "/" : "";
    put_text(page, "<tr><td><a href=\"");
    put_url(page, entry->name);
    put_text(page, slash);
    put_text(page, "\">");
    put_escaped(page, entry->name);
    put_text(page, slash);
    put_text(page, "</a></td><td>");
    if (!entry->is_directory)
        put_size(page, entry->size_bytes);
    put_text(page, "</td><td>");
    put_time(page, entry->mtime_seconds);
    put_text(page, "</td></tr>\n");
}

static void put_page(struct page *page, struct rill_slice path, const struct rill_listing_entry *entries, size_t count)
{
    put_text(page, head_before_path);
    put_escaped(page, path);
    put_text(page, "</title>\n</head>\n<body>\n<h1>Index of ");
    put_escaped(page, path);
    put_text(page, table_start);
    if (path.length > 1)
        put_text(page, "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    for (size_t i = 0; i < count; i++)
        put_entry(page, &entries[i]);
    put_text(page, page_end);
}

static int compare_entries(const void *left, const void *right)
{
    const struct rill_listing_entry *a = (const struct rill_listing_entry *)left;
    const struct rill_listing_entry *b = (const struct rill_listing_entry *)right;
    if (a->is_directory != b->is_directory)
        return a->is_directory ? -1 : 1;
    size_t shorter = a->name.length < b->name.length ? a->name.length : b->name.length;
    int order = shorter > 0 ? memcmp(a->name.bytes, b->name.bytes, shorter) : 0;
    if (order != 0)
        return order;
    return (a->name.length > b->name.length) - (a->name.length < b->name.length);
}

int rill_listing_render(struct rill_slice path, struct rill_listing_entry *entries, size_t count, char **html,
                        size_t *length)
{
    struct page page = {NULL, 0};
    if (count > 1)
        qsort(entries, count, sizeof(*entries), compare_entries);
    put_page(&page, path, entries, count);
    page.out = (char *)rill_sys_malloc(page.length);
    if (!page.out)
        return -ENOMEM;
    page.length = 0;
    put_page(&page, path, entries, count);
    *html = page.out;
    *length = page.length;
    return 0;
}
