/* folder.c - see folder.h. */
#include "folder.h"
#include "must.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 1 << 16 };

void folder_make(char path[FOLDER_BYTES])
{
    snprintf(path, FOLDER_BYTES, "/tmp/rill-test-XXXXXX");
    MUST(mkdtemp(path));
}

void folder_remove(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "chmod -R u+rwx %s && rm -r %s", path, path);
    MUST(system(command) == 0);
}

void file_write(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "w");
    MUST(file);
    MUST(fwrite(bytes, 1, length, file) == length);
    MUST(fclose(file) == 0);
}

const char *file_text(const char *path)
{
    static char text[TEXT_BYTES];
    FILE *file = fopen(path, "r");
    MUST(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    return text;
}
