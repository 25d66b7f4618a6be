/* mime.h - which media type a file name's extension stands for.
 *
 * A table is loaded once and never changes afterwards, so that all threads may look things up in it without a lock,
 * from rill_mime_load() until rill_mime_free(). */
#ifndef RILL_HTTP_MIME_H
#define RILL_HTTP_MIME_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What rill_mime_load() reads when no path is given; Debian's package media-types has it. */
#define RILL_MIME_SYSTEM_PATH "/etc/mime.types"

/* What an unknown extension gives. */
#define RILL_MIME_DEFAULT "application/octet-stream"

struct rill_mime;

/* Makes *MIME from the table at PATH (lines of a type and its extensions; # starts a comment; malformed lines are
 * skipped), with a built-in table of the web's usual types for the extensions that PATH does not have. The first line
 * that lists an extension counts. Text types get `; charset=utf-8`; JavaScript's old names become text/javascript.
 * PATH NULL means RILL_MIME_SYSTEM_PATH, with two differences: a missing or unreadable file is fine and leaves the
 * built-in table; and a few extensions (ts, rss) are what the web means by them, whatever the file says. A PATH that
 * was asked for has to be readable and has the last word.
 * Blocks on the file, so for start-up only. Returns 0, -ENOMEM, -EFBIG (above 16 MiB) or the negative errno of open or
 * read. The caller owns *MIME and frees it with rill_mime_free(). Thread: any. */
RILL_WARN_UNUSED int rill_mime_load(struct rill_mime **mime, const char *path);

/* The media type of EXTENSION (without its dot; any case), or RILL_MIME_DEFAULT. The bytes live as long as the table,
 * or, for the default, as the program. Thread: any. O(1). */
struct rill_slice rill_mime_of_extension(const struct rill_mime *mime, struct rill_slice extension);

/* The same for a path or file name: what follows the last dot of the last component. A name without a dot, with one
 * only at its start (`.profile`) or at its end has no extension. */
struct rill_slice rill_mime_of_path(const struct rill_mime *mime, struct rill_slice path);

/* Frees the table and every slice that came from it. NULL is fine. */
void rill_mime_free(struct rill_mime *mime);

#ifdef __cplusplus
}
#endif

#endif
