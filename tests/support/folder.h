/* folder.h - a folder of a test's own, and files in it. What fails there stops the process. */
#ifndef RILL_TESTS_SUPPORT_FOLDER_H
#define RILL_TESTS_SUPPORT_FOLDER_H

#include <stddef.h>

enum { FOLDER_BYTES = 32 };

/* Makes a new folder, and puts its path into PATH. */
void folder_make(char path[FOLDER_BYTES]);

/* Removes it with all that is in it, whatever the modes are. */
void folder_remove(const char *path);

/* Makes the file PATH of BYTES, or has it hold just them. */
void file_write(const char *path, const void *bytes, size_t length);

/* What the file PATH holds, as far as there is room for it; good until the next call. */
const char *file_text(const char *path);

#endif
